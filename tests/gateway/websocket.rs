//! MQTT through web sockets, plain and encrypted, and what is said of a server that speaks something
//! else.

use std::io::{Read, Write};
use std::net::TcpListener;

use crate::lab::broker::Mosquitto;
use crate::lab::ca::Ca;
use crate::lab::client::Client;
use crate::lab::garden::{Garden, TOPIC};
use crate::lab::gateway::Site;
use crate::lab::{accept, free_port};

/// A Mosquitto with web sockets on its port, and plain MQTT on another one for the test's client.
fn broker(settings: &str) -> (Mosquitto, u16) {
    let plain = free_port();
    let broker =
        Mosquitto::with(&format!("allow_anonymous true\nprotocol websockets\n{settings}listener {plain} 127.0.0.1\n"));
    (broker, plain)
}

fn site(url: &str, settings: &str, more: &str) -> Site {
    Site::new(&format!(
        "gateway: gw1\nuplinks: {{ central: {{ url: \"{url}\", {settings} }} }}\nbroker: {{ listen: [] }}\n{more}"
    ))
}

#[test]
fn readings_and_commands_go_through_a_web_socket() {
    let (broker, plain) = broker("");
    for protocol in ["5", "3.1.1"] {
        let upstream = Client::subscribe(plain, &["#"]);
        let mut garden = Garden::new();
        let url = format!("ws://127.0.0.1:{}", broker.port);
        let gateway = site(&url, &format!("protocol: {protocol}"), &garden.settings()).run();
        let connected = gateway.wait_log("uplink connected");
        assert!(connected.contains(&format!("{url}/mqtt")), "{connected}");
        let last = garden.tell(500);
        upstream.wait("the last line", |heard| heard.topic == TOPIC && heard.payload == last.to_string());
        assert_eq!(upstream.on(TOPIC).len() as u64, last);
        upstream.publish("gw1-in/nobody/at-home", "1");
        upstream.wait_on("gw1-sys/answer/nobody/at-home");
        // A stop says goodbye through the web socket, too.
        gateway.terminate();
        upstream.wait("the farewell", |heard| heard.topic == "gw1-sys/state" && heard.payload == "offline");
    }
}

#[test]
fn a_web_socket_can_be_encrypted_and_ask_for_a_client_certificate() {
    let certificates = tempfile::tempdir().unwrap();
    let ca = Ca::new("the site's CA");
    ca.write(&certificates.path().join("ca.pem"));
    ca.issue("broker", certificates.path());
    let dir = certificates.path().display();
    let (broker, plain) = broker(&format!(
        "cafile {dir}/ca.pem\ncertfile {dir}/broker.pem\nkeyfile {dir}/broker.key\nrequire_certificate true\n"
    ));
    for protocol in ["5", "3.1.1"] {
        let upstream = Client::subscribe(plain, &["#"]);
        let mut garden = Garden::new();
        let url = format!("wss://localhost:{}/mqtt", broker.port);
        let tls = "tls: { ca: ca.pem, cert: gw1.pem, key: gw1.key }";
        let site = site(&url, &format!("protocol: {protocol}, {tls}"), &garden.settings());
        ca.write(&site.path().join("ca.pem"));
        ca.issue("gw1", site.path());
        let gateway = site.run();
        let last = garden.tell(100);
        upstream.wait("the last line", |heard| heard.topic == TOPIC && heard.payload == last.to_string());
        assert!(gateway.wait_log("uplink connected").contains(&url));
    }
}

#[test]
fn a_wrong_path_is_said() {
    for protocol in ["5", "3.1.1"] {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/wrong", server.local_addr().unwrap());
        let gateway = site(&url, &format!("protocol: {protocol}"), "").run();
        let mut stream = accept(&server);
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            asked.push(byte[0]);
        }
        let asked = String::from_utf8(asked).unwrap().to_lowercase();
        assert!(asked.starts_with("get /wrong http/1.1\r\n"), "{asked}");
        assert!(asked.contains("sec-websocket-protocol: mqtt\r\n"), "{asked}");
        stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
        let said = gateway.wait_log("uplink down");
        assert!(said.contains("HTTP 404 Not Found: check the path in `url`"), "{said}");
    }
}

#[test]
fn a_broker_without_web_sockets_is_said() {
    let broker = Mosquitto::start();
    for protocol in ["5", "3.1.1"] {
        let url = format!("ws://127.0.0.1:{}", broker.port);
        let gateway = site(&url, &format!("protocol: {protocol}"), "").run();
        let said = gateway.wait_log("uplink down");
        assert!(said.contains("may not be a web socket"), "{said}");
    }
}

#[test]
fn a_web_socket_that_is_no_broker_is_said() {
    for protocol in ["5", "3.1.1"] {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/mqtt", server.local_addr().unwrap());
        let gateway = site(&url, &format!("protocol: {protocol}"), "").run();
        let stream = accept(&server);
        // It agrees to everything, and to no protocol inside.
        let _socket = tungstenite::accept(stream).unwrap();
        let said = gateway.wait_log("uplink down");
        assert!(said.contains("does not speak MQTT over web sockets"), "{said}");
    }
}
