//! Sensors too small for TCP, as clients of the gateway's own broker.

use std::fs;
use std::net::{SocketAddr, UdpSocket};

use crate::lab::broker::Mosquitto;
use crate::lab::ca::Ca;
use crate::lab::client::Client;
use crate::lab::gateway::{Gateway, Site};
use crate::lab::sensor::{ACCEPTED, Sensor, free_field};
use crate::lab::{PATIENCE, free_port, wait_for};
use crate::users::reload;

/// Says something and waits for what is expected: the messages are those of MQTT-SN 1.2, chapter 5.
fn hears(socket: &UdpSocket, say: &[u8], expected: &[u8]) {
    socket.send(say).unwrap();
    hears_next(socket, expected);
}

fn hears_next(socket: &UdpSocket, expected: &[u8]) {
    let mut buffer = [0; 256];
    let length = socket.recv(&mut buffer).expect("an answer");
    assert_eq!(&buffer[..length], expected);
}

/// A gateway whose broker lets everyone in, with a link for sensors, and somebody who hears everything at its broker.
struct Meadow {
    gateway: Gateway,
    site: Site,
    panel: Client,
    local: u16,
    field: SocketAddr,
}

/// Sensors know that topic as number 1.
fn meadow(topic: &str) -> Meadow {
    let (local, field) = (free_port(), free_field());
    let site = Site::new(&format!(
        "gateway: gw1\nbroker: {{ listen: [127.0.0.1:{local}] }}\nmqttsn:\n  meadow: {{ udp: \"{field}\", predefined: {{ 1: {topic} }} }}\n"
    ));
    let gateway = site.run();
    gateway.wait_log("local broker listening");
    let panel = Client::subscribe(local, &["#"]);
    panel.wait("the link's health", |heard| heard.topic == "gw1-sys/link/meadow" && heard.payload.contains("online"));
    Meadow { gateway, site, panel, local, field }
}

#[test]
fn what_a_sensor_publishes_reaches_local_clients_and_what_they_publish_reaches_the_sensor() {
    let Meadow { gateway: _gateway, panel: local, field, .. } = meadow("meadow/soil");

    let sensor = UdpSocket::bind("127.0.0.1:0").unwrap();
    sensor.set_read_timeout(Some(PATIENCE)).unwrap();
    sensor.connect(field).unwrap();
    hears(&sensor, b"\x08\x04\x04\x01\x00\x3cs1", b"\x03\x05\x00");
    hears(&sensor, b"\x0a\x0c\x21\x00\x01\x00\x05wet", b"\x07\x0d\x00\x01\x00\x05\x00");
    assert_eq!(local.wait_on("meadow/soil").payload, "wet");

    hears(&sensor, b"\x07\x12\x22\x00\x06s1", b"\x08\x13\x20\x00\x00\x00\x06\x00");
    local.publish("s1", "go");
    hears_next(&sensor, b"\x09\x0c\x22s1\x00\x01go");
}

/// Where everybody is.
struct Place {
    upstream: u16,
    field: SocketAddr,
    local: u16,
}

impl Place {
    fn beside(broker: &Mosquitto) -> Self {
        Self { upstream: broker.port, field: free_field(), local: free_port() }
    }

    fn site(&self, meadow: &str) -> Site {
        let site = Site::new(&self.file(meadow));
        Ca::new("Plant").issue("gw1", site.path());
        site
    }

    /// A site file whose sensors come as the user `meadow`, with these settings; its broker is listened on with TLS only.
    fn file(&self, meadow: &str) -> String {
        let Self { upstream, field, local } = self;
        format!(
            "gateway: gw1
uplinks: {{ central: {{ url: \"mqtt://127.0.0.1:{upstream}\" }} }}
bridge:
  up: [{{ topic: \"meadow/#\", to: \"site/#\" }}]
  down: [{{ topic: \"site-in/#\", to: \"meadow-in/#\" }}]
broker:
  listen: [{{ address: 127.0.0.1:{local}, tls: {{ cert: gw1.pem, key: gw1.key }} }}]
  users: {{ meadow: {meadow} }}
mqttsn:
  meadow:
    udp: \"{field}\"
    username: meadow
    predefined: {{ 1: meadow/s1, 2: meadow/s2, 3: gw1-in/tank/valve, 4: meadow-in/s1, 5: meadow-in/s2 }}
"
        )
    }
}

const MEADOW: &str = "{ client_ids: [s*], publish: [\"meadow/%c\", gw1-in/tank/valve], subscribe: [\"meadow-in/%c\"] }";

#[test]
fn a_sensor_may_do_what_the_user_of_its_link_may_without_a_password_and_the_audit_log_says_who_commands() {
    let broker = Mosquitto::start();
    let upstream = Client::subscribe(broker.port, &["#"]);
    let place = Place::beside(&broker);
    let (site, field) = (place.site(MEADOW), place.field);
    let gateway = site.run();
    upstream
        .wait("the link's health", |heard| heard.topic == "gw1-sys/link/meadow" && heard.payload.contains("online"));

    assert_ne!(Sensor::at(field).connect("t1"), ACCEPTED, "that is no client id of this user");
    let refused = gateway.wait_log("audit: login refused");
    assert!(refused.contains(r#"client="t1""#) && refused.contains("may not use this client id"), "{refused}");

    let sensor = Sensor::connected(field, "s1");
    sensor.publish(2, "not its own");
    sensor.publish(1, "its own");
    assert_eq!(upstream.wait_on("site/s1").payload, "its own");
    assert!(upstream.on("site/s2").is_empty());
    assert_ne!(sensor.subscribe(5), ACCEPTED);
    assert_eq!(sensor.subscribe(4), ACCEPTED);
    upstream.publish("site-in/s1", "go");
    assert_eq!(sensor.delivered(), "go");

    sensor.publish(3, "1");
    let command = gateway.wait_log("audit: command");
    assert!(command.contains(r#"client="s1" user="meadow" topic="gw1-in/tank/valve""#), "{command}");
    let (status, _) = gateway.terminate();
    assert!(status.success(), "{status}");
}

#[test]
fn other_rights_reach_sensors_that_are_connected_and_without_its_user_a_link_has_no_clients() {
    let broker = Mosquitto::start();
    let upstream = Client::subscribe(broker.port, &["#"]);
    let place = Place::beside(&broker);
    let (site, field) = (place.site(MEADOW), place.field);
    let gateway = site.run();
    upstream
        .wait("the link's health", |heard| heard.topic == "gw1-sys/link/meadow" && heard.payload.contains("online"));
    let sensor = Sensor::connected(field, "s1");
    sensor.publish(2, "not yet");

    fs::write(site.file(), place.file("{ client_ids: [s*], publish: [\"meadow/#\"] }")).unwrap();
    assert_eq!(reload(&gateway, &site)["ok"], true);
    sensor.publish(2, "now");
    assert_eq!(upstream.wait_on("site/s2").payload, "now");

    // The link runs with the user it was started with, and that is none any more.
    let other = place.file("{ publish: [\"meadow/#\"] }").replace("meadow: {", "field: {");
    fs::write(site.file(), other.replace("username: meadow", "username: field")).unwrap();
    let told = reload(&gateway, &site);
    assert_eq!(told["ok"], true, "{told}");
    sensor.sent_away();
    assert_ne!(Sensor::at(field).connect("s1"), ACCEPTED);
    gateway.wait_log("its link is set up for a user that there is not");
    let links = upstream.on("gw1-sys/link/meadow");
    assert!(links.iter().all(|heard| !heard.payload.contains("offline")), "the link itself is no client: {links:?}");
}

#[test]
fn a_sensor_takes_no_id_of_another_client_and_nobody_takes_that_of_a_sensor() {
    let Meadow { gateway, panel, local, field, .. } = meadow("meadow/soil");
    assert_ne!(Sensor::at(field).connect(panel.id()), ACCEPTED);
    let refused = gateway.wait_log("the client id is another client's");
    assert!(refused.contains("audit: login refused"), "{refused}");

    let sensor = Sensor::connected(field, "s1");
    let as_client = |id: &str| {
        let mut command = std::process::Command::new("mosquitto_pub");
        command.args(["-h", "127.0.0.1", "-p", &local.to_string(), "-t", "a", "-m", "b", "-i", id]);
        command.stderr(std::process::Stdio::null()).status().unwrap().success()
    };
    assert!(!as_client("s1") && !as_client("mqttsn-meadow") && as_client("s2"));
    sensor.publish(1, "wet");
    assert_eq!(panel.wait_on("meadow/soil").payload, "wet");
    assert_eq!(panel.subscribed(), 1, "it was never away");
}

#[test]
fn a_command_that_a_sensor_repeats_over_another_connection_is_obeyed_once() {
    let Meadow { gateway: _gateway, site, panel, field, .. } = meadow("gw1-in/tank/valve");
    // Nobody has such a device, which is an answer as well.
    let answered = |count: usize| {
        wait_for("the answers", PATIENCE, || (panel.on("gw1-sys/answer/tank/valve").len() == count).then_some(()));
    };
    let sensor = Sensor::connected(field, "s1");
    sensor.publish(1, "on");
    answered(1);
    sensor.leave();
    assert_eq!(sensor.connect("s1"), ACCEPTED);
    sensor.repeat(1, "on");
    let status = site.wharf(&["status"], &["--json"]).json();
    assert_eq!(status["broker"]["repeated_commands"], 1, "it was acknowledged, and nothing else became of it");
    // The same again is another command, and of each there is one answer.
    sensor.publish(1, "on");
    wait_for("all that was published", PATIENCE, || (panel.on("gw1-in/tank/valve").len() == 3).then_some(()));
    answered(2);
}

#[test]
fn whom_a_link_would_leave_nameless_is_said_before_anything_starts() {
    let check = |users: &str, link: &str| {
        let site = Site::new(&format!(
            "gateway: gw1\nuplinks: {{ u: {{ url: \"mqtt://127.0.0.1:1\" }} }}\nbroker:\n  listen: []\n  users: {users}\nmqttsn: {{ meadow: {{ udp: \"127.0.0.1:1884\", {link} }} }}\n"
        ));
        let answer = site.wharf(&["check"], &[]);
        (answer.code, answer.err)
    };
    let meadow = "{ meadow: { client_ids: [s*], publish: [a] } }";
    assert_eq!(check(meadow, "username: meadow").0, 0);
    for (link, words) in [
        ("qos_minus_one: false", "the local broker asks who its clients are"),
        ("username: barn", "the local broker has no user `barn`"),
        ("username: meadow, aggregate: true", "may not use the client id `mqttsn-meadow`"),
    ] {
        let (code, told) = check(meadow, link);
        assert!(code == 78 && told.contains(words), "{link}: {told}");
    }
    let (code, told) = check("{ barn: { publish: [a] } }", "broker: \"127.0.0.1:1\"");
    assert!(code == 78 && told.contains("`barn` has neither a password nor a certificate"), "{told}");
}

#[test]
fn all_clients_of_a_shared_connection_are_one_user_of_the_broker() {
    let broker = Mosquitto::start();
    let upstream = Client::subscribe(broker.port, &["#"]);
    let place = Place::beside(&broker);
    let field = place.field;
    let file = place.file("{ client_ids: [mqttsn-*], publish: [meadow/s1] }");
    let site = Site::new(&file.replace("    username", "    aggregate: true\n    username"));
    Ca::new("Plant").issue("gw1", site.path());
    let _gateway = site.run();
    upstream
        .wait("the link's health", |heard| heard.topic == "gw1-sys/link/meadow" && heard.payload.contains("online"));
    let (one, two) = (Sensor::connected(field, "t1"), Sensor::connected(field, "t2"));
    two.publish(2, "not allowed");
    one.publish(1, "allowed");
    two.publish(1, "as well");
    wait_for("both", PATIENCE, || (upstream.on("site/s1").len() == 2).then_some(()));
    assert!(upstream.on("site/s2").is_empty());
}

#[test]
fn what_waits_for_a_sensor_that_is_nobody_is_still_its_own_after_a_restart() {
    let (local, field) = (free_port(), free_field());
    let site = Site::new(&format!(
        "gateway: gw1\nbroker: {{ listen: [127.0.0.1:{local}] }}\nmqttsn:\n  meadow: {{ udp: \"{field}\", predefined: {{ 1: meadow/set }} }}\n"
    ));
    let is_up = |panel: &Client| {
        panel.wait("the link's health", |heard| {
            heard.topic == "gw1-sys/link/meadow" && heard.payload.contains("online")
        });
    };
    let gateway = site.run();
    gateway.wait_log("local broker listening");
    is_up(&Client::subscribe(local, &["#"]));
    let sensor = Sensor::at(field);
    assert_eq!(sensor.come_back("s1"), ACCEPTED);
    assert_eq!(sensor.subscribe(1), ACCEPTED);
    let (status, _) = gateway.terminate();
    assert!(status.success(), "{status}");

    let gateway = site.run();
    gateway.wait_log("local broker listening");
    let panel = Client::subscribe(local, &["#"]);
    is_up(&panel);
    panel.publish("meadow/set", "while it was away");
    panel.wait_on("meadow/set");
    let sensor = Sensor::at(field);
    assert_eq!(sensor.come_back("s1"), ACCEPTED);
    assert_eq!(sensor.delivered(), "while it was away");
}
