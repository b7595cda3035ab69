//! The local broker as clients of other makers see it: paho-mqtt, aiomqtt, the npm package mqtt, Mosquitto's tools and
//! Home Assistant's MySensors library, behaviour by behaviour.
//!
//! The behaviours are in `tests/lab/mqtt`. A Mosquitto is held to the same ones, so that each is known to be right.

use std::io::{Seek, Write};
use std::process::{Command, Stdio};

use crate::lab::broker::Mosquitto;
use crate::lab::ca::Ca;
use crate::lab::cases;
use crate::lab::controller::{Controller, value};
use crate::lab::gateway::{Gateway, Site};
use crate::lab::network::Network;
use crate::lab::raw::{Heard, Raw};
use crate::lab::{PATIENCE, free_port, wait_for};
use crate::passwd::passwd;

/// Users as the cases want them: see `cases_rights.py`.
const USERS: &str = r##"
    all: { publish: ["#"], subscribe: ["#"] }
    panel: { publish: ["open/#", "own/%c/#"], subscribe: ["open/#", "own/%c/#", "user/%u/#"] }
    mute: { subscribe: ["open/#"] }
    plug: { subscribe: ["open/#"] }
"##;

/// A gateway whose local broker is open to this machine, with MQTT on one port and web sockets on another.
fn open() -> (Gateway, Site, u16, u16) {
    let (port, web) = (free_port(), free_port());
    let site = Site::new(&format!(
        "gateway: gw1\nbroker:\n  listen:\n    - 127.0.0.1:{port}\n    - {{ address: 127.0.0.1:{web}, web_socket: true }}\n"
    ));
    let gateway = site.run();
    gateway.wait_log("listener=\"mqtt://");
    gateway.wait_log("listener=\"ws://");
    (gateway, site, port, web)
}

/// Writes the users' passwords beside the site file.
fn give_passwords(site: &Site) {
    let file = site.path().join("broker.passwd");
    for user in ["all", "panel", "mute", "plug"] {
        let answer = passwd(&["--file", file.to_str().unwrap(), user], &format!("{user}-secret\n"));
        assert_eq!(answer.code, 0, "{answer:?}");
    }
}

#[test]
fn clients_of_3_1_1_find_what_the_standard_promises() {
    let (_gateway, _site, port, web) = open();
    assert!(cases::put("v3", port, &["--ws", &web.to_string(), "--as", "wharf"]).is_empty());
}

#[test]
fn clients_of_5_find_what_the_standard_promises() {
    let (_gateway, _site, port, _) = open();
    assert!(cases::put("v5", port, &["--as", "wharf"]).is_empty());
}

#[test]
fn home_assistant_tasmota_and_scripts_find_what_they_need() {
    let (_gateway, _site, port, _) = open();
    assert!(cases::put("real", port, &["--as", "wharf"]).is_empty());
}

#[test]
fn users_may_do_what_they_may_and_nothing_else() {
    let port = free_port();
    let site = Site::new(&format!(
        "gateway: gw1\nbroker:\n  listen: [127.0.0.1:{port}]\n  anonymous: no\n  passwords: broker.passwd\n  users:\n{USERS}"
    ));
    give_passwords(&site);
    let gateway = site.run();
    gateway.wait_log("local broker listening");
    // One at a time: who tries too often has to wait.
    for line in cases::put("rights", port, &["--workers", "1", "--as", "wharf"]) {
        println!("{line}");
    }
}

#[test]
fn mosquitto_behaves_the_same_but_for_what_is_marked() {
    let web = free_port();
    let broker = Mosquitto::with(&format!(
        "listener {web} 127.0.0.1\nprotocol websockets\nallow_anonymous true\nmax_packet_size 262144\nmax_keepalive 3600\nsys_interval 1\n"
    ));
    for line in cases::put("v3,v5,real", broker.port, &["--ws", &web.to_string(), "--as", "mosquitto"]) {
        println!("{line}");
    }
    cases::put_web(&format!("ws://127.0.0.1:{web}/mqtt"), &[]);
}

#[test]
fn browsers_and_node_red_talk_through_a_web_socket() {
    let (_gateway, _site, _, web) = open();
    for path in ["/mqtt", "/", ""] {
        assert!(cases::put_web(&format!("ws://127.0.0.1:{web}{path}"), &[]).is_empty());
    }
}

#[test]
fn browsers_and_node_red_log_in_through_an_encrypted_web_socket() {
    let web = free_port();
    let site = Site::new(&format!(
        "gateway: gw1\nbroker:\n  listen:\n    - address: 127.0.0.1:{web}\n      web_socket: true\n      tls: {{ cert: broker.pem, key: broker.key }}\n  \
         passwords: broker.passwd\n  users:\n{USERS}"
    ));
    give_passwords(&site);
    let ca = Ca::new("the site's CA");
    ca.write(&site.path().join("ca.pem"));
    ca.issue("broker", site.path());
    let gateway = site.run();
    gateway.wait_log("listener=\"wss://");
    let trust = site.path().join("ca.pem");
    let login = ["all", "all-secret", trust.to_str().unwrap()];
    assert!(cases::put_web(&format!("wss://localhost:{web}/mqtt"), &login).is_empty());
}

#[test]
fn ten_thousand_lines_of_mosquitto_pub_arrive_at_mosquitto_sub_in_order() {
    const LINES: usize = 10_000;
    let (_gateway, _site, port, _) = open();
    let port = port.to_string();
    for qos in ["1", "2"] {
        let name = format!("ear-{qos}");
        let listen = ["-p", &port, "-i", &name, "-c", "-q", qos, "-t", "lines"];
        // It subscribes and leaves, so that everything waits for it whatever comes first.
        assert!(Command::new("mosquitto_sub").args(listen).arg("-E").status().unwrap().success());
        let sub = Command::new("mosquitto_sub")
            .args(listen)
            .args(["-C", &LINES.to_string(), "-W", "100"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = tempfile::tempfile().unwrap();
        lines.write_all((0..LINES).map(|line| format!("{line}\n")).collect::<String>().as_bytes()).unwrap();
        lines.rewind().unwrap();
        let publish = ["-p", &port, "-q", qos, "-t", "lines", "-l"];
        assert!(Command::new("mosquitto_pub").args(publish).stdin(lines).status().unwrap().success());
        let heard = String::from_utf8(sub.wait_with_output().unwrap().stdout).unwrap();
        assert_eq!(heard.lines().count(), LINES, "with QoS {qos}");
        assert!(heard.lines().enumerate().all(|(at, line)| line == at.to_string()), "out of order with QoS {qos}");
    }
}

#[test]
fn home_assistants_mysensors_library_sees_and_sets_a_network_at_the_local_broker() {
    let network = Network::start();
    let port = free_port();
    let site = Site::new(&format!(
        "gateway: gw1\nbroker: {{ listen: [127.0.0.1:{port}] }}\nmysensors:\n  garden: {{ {}, controller: upstream }}\n",
        network.settings()
    ));
    let gateway = site.run();
    gateway.wait_log("local broker listening");
    let Some(mut controller) = Controller::over_mqtt_live(port) else { return };
    // It came late, so it asks who is there.
    controller.send("255;255;3;0;20;");
    let bed = controller.wait_node(2, "the garden bed", |bed| value(bed, 1, 0).is_some() && bed["sketch"] == "Bed");
    assert_eq!(value(&bed, 1, 0), Some("21.50"));
    controller.set(2, 3, 2, "1");
    wait_for("the valve to be set", PATIENCE, || {
        network.told().iter().any(|line| line.starts_with("2;3;1;") && line.ends_with(";2;1")).then_some(())
    });
}

#[test]
fn a_forbidden_message_of_qos_2_is_refused_at_its_first_step() {
    let port = free_port();
    let site = Site::new(&format!(
        "gateway: gw1\nbroker:\n  listen: [127.0.0.1:{port}]\n  anonymous: loopback\n  anonymous_may: {{ publish: [open/#] }}\n"
    ));
    let gateway = site.run();
    gateway.wait_log("local broker listening");
    let (mut raw, _) = Raw::v5(port, "raw", true, &[]);
    raw.say(b"\x34\x0a\0\x04shut\0\x05\0x");
    assert_eq!(raw.hear(), Heard::Packet(0x50, vec![0, 5, 0x87]));
    // The packet id is free again: what is allowed goes through with it.
    raw.say(b"\x34\x0c\0\x06open/a\0\x05\0x");
    match raw.hear() {
        Heard::Packet(0x50, body) => assert!(matches!(body[2..], [] | [0x00 | 0x10, ..]), "{body:02x?}"),
        other => panic!("{other:02x?}"),
    }
}
