//! More than one broker to go to, and brokers that come back: which one is used, and that nothing
//! is lost on the way.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use rumqttc_v5 as mqtt;

use crate::lab::broker::Mosquitto;
use crate::lab::client::Client;
use crate::lab::garden::{Garden, TOPIC};
use crate::lab::gateway::{Gateway, Site};
use crate::lab::{PATIENCE, accept, wait_for};

/// A gateway that prefers the first of these brokers.
fn gateway(brokers: &[&Mosquitto], settings: &str, garden: &Garden) -> Gateway {
    let urls: Vec<_> = brokers.iter().map(|broker| url(broker)).collect();
    Site::new(&format!(
        "gateway: gw1\nuplinks: {{ central: {{ url: {urls:?}, {settings} }} }}\nbroker: {{ listen: [] }}\n{}",
        garden.settings()
    ))
    .run()
}

fn url(broker: &Mosquitto) -> String {
    format!("mqtt://127.0.0.1:{}", broker.port)
}

fn wait_connected(gateway: &Gateway, broker: &Mosquitto, times: usize) {
    let line = format!("url={}", url(broker));
    wait_for(&format!("connection {times} to {line}"), PATIENCE, || {
        let log = gateway.log();
        let count = log.lines().filter(|l| l.contains("uplink connected") && l.contains(&line)).count();
        (count >= times).then_some(())
    });
}

/// Waits until every number up to `last` has been heard by one client or another.
fn wait_all(clients: &[&Client], last: u64) {
    wait_for(&format!("every line up to {last}"), PATIENCE, || {
        let heard: BTreeSet<u64> =
            clients.iter().flat_map(|client| client.on(TOPIC)).map(|heard| heard.payload.parse().unwrap()).collect();
        (heard == (1..=last).collect()).then_some(())
    });
}

fn last_state(client: &Client) -> Option<String> {
    client.on("gw1-sys/state").last().map(|heard| heard.payload.clone())
}

#[test]
fn the_second_broker_takes_over_and_the_first_gets_its_gateway_back_and_nothing_is_lost() {
    for protocol in ["5", "3.1.1"] {
        let (mut first, second) = (Mosquitto::with_memory(), Mosquitto::start());
        let (at_first, at_second) = (Client::subscribe(first.port, &["#"]), Client::subscribe(second.port, &["#"]));
        let mut garden = Garden::new();
        let gateway = gateway(&[&first, &second], &format!("protocol: {protocol}, return_after: 3s"), &garden);
        wait_connected(&gateway, &first, 1);
        let last = garden.tell(100);
        wait_all(&[&at_first], last);
        assert!(at_second.on(TOPIC).is_empty(), "the second broker is for times of need");

        first.terminate();
        garden.tell(100);
        wait_connected(&gateway, &second, 1);
        let last = garden.tell(100);
        wait_for("the last line at the second broker", PATIENCE, || {
            at_second.on(TOPIC).iter().any(|heard| heard.payload == last.to_string()).then_some(())
        });

        first.restart();
        // The node goes on talking while the gateway changes brokers.
        wait_for("the return", PATIENCE, || {
            garden.tell(5);
            gateway.log().contains("a preferred broker is back").then_some(())
        });
        wait_connected(&gateway, &first, 2);
        let last = garden.tell(100);
        wait_all(&[&at_first, &at_second], last);
        let states = || (last_state(&at_first), last_state(&at_second));
        let expected = (Some("online".to_owned()), Some("offline".to_owned()));
        wait_for("each broker to know", PATIENCE, || (states() == expected).then_some(()));
    }
}

#[test]
fn a_first_broker_that_refuses_makes_room_for_the_second_and_is_named() {
    let (first, second) = (Mosquitto::with("allow_anonymous false\n"), Mosquitto::start());
    let at_second = Client::subscribe(second.port, &["#"]);
    let mut garden = Garden::new();
    let gateway = gateway(&[&first, &second], "return_after: 1s", &garden);
    wait_connected(&gateway, &second, 1);
    let said = gateway.wait_log("uplink down");
    assert!(said.contains(&url(&first)) && said.contains("does not let this gateway in"), "{said}");
    // It takes connections, so returning is tried, fails, and ends where it began.
    gateway.wait_log("a preferred broker is back");
    wait_connected(&gateway, &second, 2);
    wait_all(&[&at_second], garden.tell(100));
}

#[test]
fn a_first_broker_that_hangs_makes_room_for_the_second() {
    // It takes connections, and never looks at them.
    let hung = TcpListener::bind("127.0.0.1:0").unwrap();
    let second = Mosquitto::start();
    let urls = [format!("mqtt://{}", hung.local_addr().unwrap()), url(&second)];
    let gateways = ["5", "3.1.1"].map(|protocol| {
        Site::new(&format!(
            "gateway: gw{protocol}\nuplinks: {{ central: {{ url: {urls:?}, protocol: {protocol} }} }}\nbroker: {{ listen: [] }}\n"
        ))
        .run()
    });
    for gateway in gateways {
        wait_connected(&gateway, &second, 1);
        let said = gateway.wait_log("uplink down");
        assert!(said.contains(&urls[0]) && said.contains("did not answer in time"), "{said}");
    }
}

#[test]
fn a_broker_that_comes_back_finds_its_gateway_soon_however_long_it_was_away() {
    let mut broker = Mosquitto::with_memory();
    let upstream = Client::subscribe(broker.port, &["#"]);
    let mut garden = Garden::new();
    let gateway = gateway(&[&broker], "", &garden);
    wait_all(&[&upstream], garden.tell(10));
    broker.terminate();
    // Long enough for a wait that doubles to have grown far beyond what is waited below.
    std::thread::sleep(Duration::from_secs(25));
    broker.restart();
    let back = || (gateway.log().matches("uplink connected").count() == 2).then_some(());
    // It tries every 1.5 s at the latest; the rest is for a busy machine.
    wait_for("the gateway to come back", Duration::from_secs(6), back);
    wait_all(&[&upstream], garden.tell(10));
    let told = gateway.log().lines().filter(|line| line.contains("WARN") && line.contains("uplink down")).count();
    assert!(told <= 3, "an outage is told {told} times");
}

#[test]
fn a_broker_that_lets_another_client_have_the_session_again_and_again_is_told_plainly() {
    let broker = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = broker.local_addr().unwrap().port();
    let gateway = Site::new(&format!(
        "gateway: gw1\nuplinks: {{ central: {{ url: \"mqtt://127.0.0.1:{port}\", client_id: twin }} }}\nbroker: {{ listen: [] }}\n",
    ))
    .run();
    for _ in 0..3 {
        let mut stream = accept(&broker);
        // CONNACK without properties; then DISCONNECT, session taken over.
        stream.write_all(&[0x20, 0x03, 0, 0, 0]).unwrap();
        stream.write_all(&[0xE0, 0x02, 0x8E, 0]).unwrap();
        // The connection stays open until the gateway has heard it.
        stream.read_to_end(&mut Vec::new()).unwrap();
    }
    gateway.wait_log("another client uses the client id `twin`");
    let fought = gateway.wait_log("somebody else uses this client id: ");
    assert!(fought.contains("ERROR") && fought.contains("client_id=\"twin\""), "{fought}");
}

#[test]
fn a_broker_that_closes_every_connection_without_a_word_raises_the_suspicion_of_a_twin() {
    let broker = Mosquitto::start();
    let gateway = gateway(&[&broker], "client_id: twin", &Garden::new());
    wait_connected(&gateway, &broker, 1);
    let options = mqtt::MqttOptions::new("twin", mqtt::Broker::tcp("127.0.0.1", broker.port));
    let (client, mut connection) = mqtt::Client::builder(options).capacity(1).build();
    // It comes back at once, as the gateway does, until it is told to go.
    let twin = std::thread::spawn(move || {
        for event in connection.iter() {
            match event {
                Err(mqtt::ConnectionError::RequestsDone) => return,
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
                Ok(_) => {}
            }
        }
    });
    gateway.wait_log("perhaps somebody else uses this client id");
    client.disconnect_now().unwrap();
    twin.join().unwrap();
}
