//! MySensors lines from a serial port and from a socket reach the broker upstream.

use std::io::Write;
use std::net::TcpListener;

use crate::lab::broker::Mosquitto;
use crate::lab::ca::Ca;
use crate::lab::client::Client;
use crate::lab::gateway::Site;
use crate::lab::line::Line;
use crate::lab::sensor::{ACCEPTED, Sensor, free_field};
use crate::lab::{accept, free_port};

const POSITION: &str = "2;1;1;0;49;55.722526,13.017972,18";

fn site(broker: &Mosquitto, link: &str) -> Site {
    Site::new(&format!(
        "gateway: gw1\nuplinks:\n  central: {{ url: \"mqtt://127.0.0.1:{}\" }}\nbroker: {{ listen: [] }}\n\
         mysensors:\n  garden: {{ {link} }}\n",
        broker.port
    ))
}

fn position_arrives(upstream: &Client) {
    let heard = upstream.wait_on("gw1-out/2/1/1/0/49");
    assert_eq!(heard.payload, "55.722526,13.017972,18");
}

#[test]
fn a_line_on_a_serial_port_arrives_upstream_in_classic_form() {
    let broker = Mosquitto::start();
    let upstream = Client::subscribe(broker.port, &["#"]);
    let site = site(&broker, "serial: ./ttyGarden");
    let mut line = Line::plug(&site.path().join("ttyGarden"));
    let _gateway = site.run();
    upstream.wait("the link to be up", |heard| heard.topic == "gw1-sys/link/garden");
    line.say("0;255;3;0;14;Gateway startup complete.");
    line.say(POSITION);
    position_arrives(&upstream);
}

#[test]
fn a_line_on_a_socket_arrives_upstream_in_classic_form() {
    let broker = Mosquitto::start();
    let upstream = Client::subscribe(broker.port, &["#"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let _gateway = site(&broker, &format!("tcp: {}", listener.local_addr().unwrap())).run();
    let mut node = accept(&listener);
    writeln!(node, "{POSITION}").unwrap();
    position_arrives(&upstream);
}

#[test]
fn a_cable_pulled_and_plugged_in_again_is_survived() {
    let broker = Mosquitto::start();
    let upstream = Client::subscribe(broker.port, &["#"]);
    let site = site(&broker, "serial: ./ttyGarden");
    let port = site.path().join("ttyGarden");
    let mut line = Line::plug(&port);
    let gateway = site.run();
    upstream.wait("the link to be up", |heard| heard.topic == "gw1-sys/link/garden");
    line.say(POSITION);
    position_arrives(&upstream);

    drop(line);
    gateway.wait_log("link lost");
    upstream
        .wait("the link's health", |heard| heard.topic == "gw1-sys/link/garden" && heard.payload.contains("offline"));
    upstream.forget();
    let mut line = Line::plug(&port);
    upstream.wait("the link to come back", |heard| {
        heard.topic == "gw1-sys/link/garden" && ["online", "degraded"].iter().any(|up| heard.payload.contains(up))
    });
    line.say(POSITION);
    position_arrives(&upstream);
}

#[test]
fn lines_that_make_no_sense_disturb_nothing() {
    let broker = Mosquitto::start();
    let upstream = Client::subscribe(broker.port, &["#"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let _gateway = site(&broker, &format!("tcp: {}", listener.local_addr().unwrap())).run();
    let mut node = accept(&listener);
    let noise: Vec<u8> = (0..=255).chain(std::iter::repeat_n(b'x', 5000)).collect();
    node.write_all(&noise).unwrap();
    node.write_all(b"\n;;;;;\n999;1;1;0;0;1\n2;1;1;0;49\n\n").unwrap();
    writeln!(node, "{POSITION}").unwrap();
    position_arrives(&upstream);
}

#[test]
fn a_missing_serial_port_and_a_silent_gateway_leave_their_neighbours_alone() {
    let broker = Mosquitto::start();
    let upstream = Client::subscribe(broker.port, &["#"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let site = Site::new(&format!(
        "gateway: gw1\nuplinks:\n  central: {{ url: \"mqtt://127.0.0.1:{}\" }}\nbroker: {{ listen: [] }}\n\
         mysensors:\n  missing: {{ serial: ./none }}\n  refused: {{ tcp: 127.0.0.1:{} }}\n  garden: {{ tcp: {} }}\n",
        broker.port,
        free_port(),
        listener.local_addr().unwrap()
    ));
    let _gateway = site.run();
    let mut node = accept(&listener);
    writeln!(node, "{POSITION}").unwrap();
    position_arrives(&upstream);
    let health = upstream.wait("the missing port's health", |heard| {
        heard.topic == "gw1-sys/link/missing" && heard.payload.contains("offline")
    });
    assert!(health.json()["reason"].as_str().unwrap().contains("none"), "{}", health.payload);
}

#[test]
fn a_node_that_says_its_name_is_a_device_of_that_name_only_and_nobody_else_is_one() {
    let (broker, local) = (Mosquitto::start(), free_port());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let site = Site::new(&format!(
        "gateway: gw1\nuplinks:\n  central: {{ url: \"mqtt://127.0.0.1:{}\" }}\nbroker: {{ listen: [127.0.0.1:{local}] }}\n\
         mysensors:\n  garden: {{ tcp: {}, controller: local, names: presentation }}\n",
        broker.port,
        listener.local_addr().unwrap()
    ));
    let gateway = site.run();
    let mut node = accept(&listener);
    gateway.wait_log("local broker listening");
    let here = Client::subscribe(local, &["gw1-sys/device/#"]);
    let upstream = Client::subscribe(broker.port, &["gw1-sys/device/#"]);
    writeln!(node, "0;255;0;0;18;2.3.2\n255;255;3;0;3;\n7;255;0;0;17;2.3.2").unwrap();
    for client in [&here, &upstream] {
        client.wait_on("gw1-sys/device/garden-7");
        client.forget();
    }
    writeln!(node, "7;255;3;0;11;Flower bed").unwrap();
    for (client, port) in [(&here, local), (&upstream, broker.port)] {
        let renamed = client.wait_on("gw1-sys/device/garden-flower-bed");
        assert_eq!(renamed.json()["state"], "online");
        let old: Vec<_> = client.on("gw1-sys/device/garden-7").into_iter().map(|heard| heard.payload).collect();
        assert_eq!(old, [""], "taken back, and never said to be offline");
        let late = Client::subscribe(port, &["gw1-sys/device/#"]);
        late.wait_on("gw1-sys/device/garden-flower-bed");
        assert_eq!(late.heard().len(), 1, "{:?}", late.heard());
    }
    let renamed = gateway.wait_log("device renamed");
    assert!(renamed.contains("INFO") && renamed.contains("old=garden-7 new=garden-flower-bed"), "{renamed}");
    assert!(!gateway.log().contains("device offline"), "{}", gateway.log());
    let status = site.wharf(&["status"], &["--json"]).json();
    let devices = status["links"][0]["devices"].as_array().unwrap();
    assert_eq!(devices.iter().map(|device| &device["name"]).collect::<Vec<_>>(), ["garden-flower-bed"], "{status}");
}

/// A WiFi node that speaks MQTT, behind a Mosquitto of its own.
fn wifi(broker: &Mosquitto, nodes: &Mosquitto) -> Site {
    site(broker, &format!("mqtt: {{ prefix: home/gw, broker: 127.0.0.1:{} }}", nodes.port))
}

fn is_up(upstream: &Client) {
    upstream.wait("the link to be up", |heard| {
        heard.topic == "gw1-sys/link/garden" && ["online", "degraded"].iter().any(|up| heard.payload.contains(up))
    });
}

#[test]
fn what_a_node_publishes_itself_arrives_upstream_and_what_was_retained_does_not() {
    let (broker, nodes) = (Mosquitto::start(), Mosquitto::start());
    let upstream = Client::subscribe(broker.port, &["#"]);
    let node = Client::subscribe(nodes.port, &["home/gw-in/#"]);
    node.publish_retained("home/gw-out/2/1/1/0/0", "4.5");
    let site = wifi(&broker, &nodes);
    let _gateway = site.run();
    let asked = node.wait_on("home/gw-in/0/255/3/0/2");
    assert_eq!((asked.payload.as_str(), asked.retained), ("", false), "the gateway is asked for its version");
    node.publish("home/gw-out/0/255/3/0/2", "2.3.2");
    node.publish("home/gw-out/2/1/1/0/49", "55.722526,13.017972,18");
    node.publish("other-out/2/1/1/0/0", "1");
    position_arrives(&upstream);
    let link = upstream.wait("the link to be online", |heard| {
        heard.topic == "gw1-sys/link/garden" && heard.payload.contains("\"online\"")
    });
    assert!(!link.payload.contains("reason"), "{}", link.payload);
    node.publish_retained("home/gw-out/2/1/1/0/0", "21.5");
    let fresh = upstream.wait_on("gw1-out/2/1/1/0/0");
    assert_eq!(fresh.payload, "21.5", "retained for others, but heard as it was said");
    let status = site.wharf(&["status"], &["--json"]).json();
    let counted = &status["links"][0]["counts"];
    let heard = ["lines", "bad_lines", "too_long", "echoes", "retained"].map(|what| counted[what].as_u64());
    assert_eq!(heard, [3, 0, 0, 0, 1].map(Some), "{status}");
}

#[test]
fn a_broker_that_goes_and_comes_back_is_found_again_and_the_loss_is_told() {
    let broker = Mosquitto::start();
    let upstream = Client::subscribe(broker.port, &["#"]);
    let mut nodes = Mosquitto::start();
    let gateway = wifi(&broker, &nodes).run();
    gateway.wait_log("link=garden");
    is_up(&upstream);
    nodes.stop();
    let lost =
        upstream.wait("the loss", |heard| heard.topic == "gw1-sys/link/garden" && heard.payload.contains("offline"));
    assert!(lost.json()["reason"].as_str().unwrap().contains("home/gw-out on 127.0.0.1"), "{}", lost.payload);
    upstream.forget();
    nodes.restart();
    is_up(&upstream);
    let node = Client::subscribe(nodes.port, &["home/gw-in/#"]);
    node.publish("home/gw-out/2/1/1/0/49", "55.722526,13.017972,18");
    position_arrives(&upstream);
}

#[test]
fn a_node_on_the_gateways_own_broker_is_read_and_written_to() {
    let local = free_port();
    let site = Site::new(&format!("gateway: gw1\nbroker: {{ listen: [\"127.0.0.1:{local}\"] }}\n{}", own_broker("")));
    let gateway = site.run();
    gateway.wait_log("local broker listening");
    let node = Client::subscribe(local, &["mygateway1-in/#", "gw1-out/#", "gw1-sys/answer/#"]);
    node.publish("mygateway1-out/2/1/1/0/49", "55.722526,13.017972,18");
    position_arrives(&node);
    node.publish("gw1-in/soil/valve", "true");
    assert_eq!(node.wait_on("mygateway1-in/2/3/1/0/2").payload, "1");
    assert_eq!(node.wait_on("gw1-sys/answer/soil/valve").json()["ok"], true);
}

/// A network at the gateway's own broker.
fn own_broker(more: &str) -> String {
    format!(
        "mysensors:\n  garden:\n    mqtt: {{ prefix: mygateway1 }}\n    devices:\n      soil:\n        node: 2\n        \
         points:\n          valve: {{ child: 3, type: status, write: {{ }} }}\n{more}"
    )
}

/// Has the node speak over MQTT-SN: its user needs no password, and the broker no listener for it.
fn node_over_mqtt_sn(broker_settings: &str, more: &str) {
    let broker = Mosquitto::start();
    let upstream = Client::subscribe(broker.port, &["#"]);
    let field = free_field();
    let mqttsn = format!(
        "mqttsn:\n  meadow: {{ udp: \"{field}\", {more}predefined: {{ 1: mygateway1-out/2/1/1/0/49, 2: mygateway1-in/2/3/1/0/2 }} }}\n"
    );
    let site = Site::new(&format!(
        "gateway: gw1\nuplinks: {{ central: {{ url: \"mqtt://127.0.0.1:{}\" }} }}\nbroker:\n{broker_settings}{}",
        broker.port,
        own_broker(&mqttsn)
    ));
    Ca::new("Plant").issue("gw1", site.path());
    let gateway = site.run();
    is_up(&upstream);
    upstream.wait("the field", |heard| heard.topic == "gw1-sys/link/meadow" && heard.payload.contains("online"));
    let node = Sensor::connected(field, "n2");
    assert_eq!(node.subscribe(2), ACCEPTED);
    node.publish(1, "55.722526,13.017972,18");
    position_arrives(&upstream);
    upstream.publish("gw1-in/soil/valve", "true");
    assert_eq!(node.delivered(), "1");
    let (status, _) = gateway.terminate();
    assert!(status.success(), "{status}");
}

#[test]
fn a_network_is_heard_at_a_broker_that_nobody_can_attach_to() {
    node_over_mqtt_sn("  listen: []\n", "");
}

#[test]
fn a_network_is_heard_at_a_broker_with_users_and_tls_without_a_login_of_its_own() {
    let settings = format!(
        "  listen: [{{ address: 127.0.0.1:{}, tls: {{ cert: gw1.pem, key: gw1.key }} }}]\n  \
         users: {{ node: {{ client_ids: [n2], publish: [\"mygateway1-out/2/#\"], subscribe: [\"mygateway1-in/2/#\"] }} }}\n",
        free_port()
    );
    node_over_mqtt_sn(&settings, "username: node, ");
}

#[test]
fn a_prefix_that_is_the_gateways_own_name_is_a_mistake() {
    let site = Site::new(
        "gateway: gw1\nmysensors:\n  garden: { mqtt: { prefix: gw1 } }\n  shed: { mqtt: { prefix: a } }\n  barn: { mqtt: { prefix: a } }\n",
    );
    let checked = site.wharf(&["check"], &[]);
    assert_eq!(checked.code, 78, "{checked:?}");
    for words in
        ["mysensors.garden.mqtt.prefix", "this gateway's own name", "the link `shed` listens to `a-out` already"]
    {
        assert!(checked.err.contains(words), "{words}: {checked:?}");
    }
}
