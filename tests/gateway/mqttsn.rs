//! Sensors too small for TCP, as clients of the gateway's own broker.

use std::net::UdpSocket;

use crate::lab::client::Client;
use crate::lab::gateway::Site;
use crate::lab::{PATIENCE, free_port};

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

#[test]
fn what_a_sensor_publishes_reaches_local_clients_and_what_they_publish_reaches_the_sensor() {
    let port = free_port();
    let field = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = Site::new(&format!(
        "gateway: gw1\nbroker: {{ listen: [127.0.0.1:{port}] }}\nmqttsn:\n  meadow: {{ udp: \"{field}\", predefined: {{ 1: meadow/soil }} }}\n"
    ))
    .run();
    gateway.wait_log("local broker listening");
    let local = Client::subscribe(port, &["#"]);
    local.wait("the link's health", |heard| heard.topic == "gw1-sys/link/meadow" && heard.payload.contains("online"));

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
