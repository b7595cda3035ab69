//! What clients call themselves, and what they say, does not become lines of the log.

use crate::lab::gateway::Site;
use crate::lab::raw::{Heard, Raw, connect_v3, packet, string};
use crate::lab::{PATIENCE, free_port, wait_for};

/// What an attacker would like to stand at the beginning of a line.
const FORGED: &str = "\n2026-01-01T00:00:00Z  WARN audit: login refused\r\nx";

fn publish(topic: &str, payload: &str) -> Vec<u8> {
    packet(0x32, &[&string(topic)[..], &[0, 1], payload.as_bytes()].concat())
}

#[test]
fn nothing_that_a_client_says_begins_a_line_of_the_log() {
    let (port, sn) = (free_port(), free_port());
    let site = Site::new(&format!(
        "gateway: gw1\nbroker: {{ listen: [127.0.0.1:{port}] }}\nmqttsn: {{ meadow: {{ udp: 127.0.0.1:{sn} }} }}\n\
         mqtt: {{ wifi: {{ devices: {{ plug: {{ points: {{ power: {{ topic: tele/plug }} }} }} }} }} }}\n"
    ));
    let gateway = site.run();
    gateway.wait_log("local broker listening");
    let (mut client, _) = Raw::v3(port, &format!("called{FORGED}"), true);
    let commands = [
        (format!("gw1-in/no{FORGED}/valve"), "1"),
        (format!("gw1-in/plug/no{FORGED}"), "1"),
        ("gw1-in/plug/power".to_owned(), r#"{"id": "no\n2026\nforged", "value": 1}"#),
        ("gw1-in/plug/power".to_owned(), "no\n2026\nforged"),
        (format!("gw1-in/{FORGED}"), "1"),
    ];
    for (topic, payload) in &commands {
        client.say(&publish(topic, payload));
        client.hears(0x40, &[0, 1]);
    }
    // It breaks the rules, and is told off by its name.
    client.say(&[0xf0, 0]);
    while !matches!(client.try_hear(), Some(Heard::End) | None) {}
    // A will for which it is refused, and a wrong user.
    let mut other = Raw::new(port);
    let will = [&string(format!("c{FORGED}"))[..], &string(format!("$x{FORGED}")), &string("gone"), &string(FORGED)];
    other.say(&packet(0x10, &connect_v3(4, 0x86, 0, &will.concat())));
    while !matches!(other.try_hear(), Some(Heard::End) | None) {}
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let id = format!("n{FORGED}{FORGED}");
    let connect = [&[6 + id.len() as u8, 4, 4, 1, 0, 9][..], id.as_bytes()].concat();
    socket.send_to(&connect, ("127.0.0.1", sn)).unwrap();
    gateway.wait_log("calls itself");
    wait_for("all commands are told", PATIENCE, || {
        (gateway.log().matches("command refused").count() == commands.len()).then_some(())
    });
    let log = gateway.log();
    let forged: Vec<&str> = log.lines().filter(|line| line.starts_with("2026-01-01") || *line == "x").collect();
    assert!(forged.is_empty(), "{log}");
}
