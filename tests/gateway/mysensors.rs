//! MySensors lines from a serial port and from a socket reach the broker upstream.

use std::io::Write;
use std::net::TcpListener;

use crate::lab::broker::Mosquitto;
use crate::lab::client::Client;
use crate::lab::gateway::Site;
use crate::lab::line::Line;
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
