//! Too much of everything for the local broker: it stays within its bounds, and the neighbours are served.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::thread;

use crate::lab::client::Client;
use crate::lab::gateway::{Gateway, Site};
use crate::lab::process::memory;
use crate::lab::{PATIENCE, free_port, wait_for};

/// A client that says exactly what it is told to.
struct Raw(BufReader<TcpStream>);

impl Raw {
    fn at(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::with_capacity(1024, stream))
    }

    /// One that has said hello, with a clean session, and has been answered so.
    fn hello(port: u16, client: &str, answer: u8) -> Self {
        let mut raw = Self::at(port);
        let mut hello =
            vec![0x10, 12 + client.len() as u8, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, client.len() as u8];
        hello.extend(client.as_bytes());
        raw.say(&hello);
        raw.hears(&[0x20, 2, 0, answer]);
        raw
    }

    fn say(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    fn hears(&mut self, bytes: &[u8]) {
        let mut heard = vec![0; bytes.len()];
        self.0.read_exact(&mut heard).unwrap();
        assert_eq!(heard, bytes);
    }
}

fn start(broker: &str) -> (Site, Gateway, u16) {
    let port = free_port();
    let site = Site::new(&format!("gateway: gw1\nbroker: {{ listen: [127.0.0.1:{port}]{broker} }}\n"));
    let gateway = site.run();
    gateway.wait_log("local broker listening");
    (site, gateway, port)
}

fn counted(site: &Site, what: &str) -> u64 {
    let status = site.wharf(&["status"], &["--json"]).json();
    status["broker"][what].as_u64().unwrap_or_else(|| panic!("{what} of {status}"))
}

#[test]
fn a_thousand_clients_are_served_and_one_more_is_told_that_there_are_too_many() {
    let (site, gateway, port) = start("");
    let before = memory(gateway.id(), "VmRSS");
    let mut clients: Vec<Raw> = (0..1000).map(|n| Raw::hello(port, &format!("client-{n}"), 0)).collect();
    let idle = memory(gateway.id(), "VmRSS");
    println!("an idle client costs {} bytes", (idle.saturating_sub(before)) * 1024 / 1000);
    assert!(idle < before + 20 * 1024, "{before} KiB before, {idle} KiB with a thousand idle clients");
    assert_eq!(counted(&site, "clients"), 1000);

    for client in &mut clients {
        client.say(b"\x82\x06\0\x01\0\x01t\0");
    }
    for client in &mut clients {
        client.hears(b"\x90\x03\0\x01\0");
    }
    clients[0].say(&b"\x30\x05\0\x01tab".repeat(20));
    for client in &mut clients {
        client.hears(&b"\x30\x05\0\x01tab".repeat(20));
    }
    Raw::hello(port, "one-more", 3);
    assert_eq!(counted(&site, "refused_full"), 1);
    drop(clients);
    wait_for("room again", PATIENCE, || (counted(&site, "clients") == 0).then_some(()));
    Raw::hello(port, "one-more", 0);
}

#[test]
fn a_subscriber_that_never_reads_costs_bounded_memory_and_its_neighbours_nothing() {
    const MESSAGES: usize = 30_000;
    let (site, gateway, port) = start(", limits: { queued: 2000, queued_size: 2MiB }");
    let mut mute = Raw::hello(port, "mute", 0);
    // QoS 1 and 0 at once: both have their bounds.
    mute.say(b"\x82\x0a\0\x01\0\x01q\x01\0\x01r\0");
    mute.hears(b"\x90\x04\0\x01\x01\0");
    let mut hears = Raw::hello(port, "hears", 0);
    hears.say(b"\x82\x0a\0\x01\0\x01q\0\0\x01r\0");
    hears.hears(b"\x90\x04\0\x01\0\0");
    let before = memory(gateway.id(), "VmRSS");
    let mut says = Raw::hello(port, "says", 0);
    let packet = |first: &[u8], id: &[u8]| {
        let mut packet = [first, id].concat();
        packet.resize(first.len() + id.len() + 1024, b'x');
        packet
    };
    let talk = thread::spawn(move || {
        for _ in 0..MESSAGES / 2 {
            says.say(&packet(b"\x32\x85\x08\0\x01q", b"\0\x01"));
            says.hears(b"\x40\x02\0\x01");
            says.say(&packet(b"\x30\x83\x08\0\x01r", b""));
        }
    });
    for _ in 0..MESSAGES / 2 {
        hears.hears(&packet(b"\x30\x83\x08\0\x01q", b""));
        hears.hears(&packet(b"\x30\x83\x08\0\x01r", b""));
    }
    talk.join().unwrap();
    let peak = memory(gateway.id(), "VmHWM");
    println!("{before} KiB before, {peak} KiB at most");
    assert!(peak < before + 24 * 1024, "{before} KiB before, {peak} KiB at most");
    assert!(counted(&site, "dropped_slow") + counted(&site, "dropped_full") > 1000);
    wait_for("the mute client to be closed", PATIENCE * 2, || (counted(&site, "stalled") == 1).then_some(()));
    assert_eq!(counted(&site, "clients"), 1);
}

#[test]
fn nonsense_from_many_disturbs_nobody() {
    let (site, gateway, port) = start("");
    let neighbour = Client::subscribe(port, &["fine/#"]);
    wait_for("the subscription", PATIENCE, || (neighbour.subscribed() == 1).then_some(()));
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..400_u32 {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let mut bytes = match round % 4 {
            0 => Vec::new(),
            1 => b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01n".to_vec(),
            2 => b"\x10\x0e\0\x04MQTT\x05\x02\0\0\0\0\x01n".to_vec(),
            _ => b"\x10\x0e\0\x04MQTT\x05\x02\0\0\0\0\x01n\x30\xff\xff\xff\x7f".to_vec(),
        };
        for _ in 0..random.usize(1..50) {
            let body: Vec<u8> = (0..random.usize(0..60)).map(|_| random.u8(..)).collect();
            bytes.extend([random.u8(..), body.len() as u8]);
            bytes.extend(body);
        }
        // It may be closed before all of it is said.
        let _ = stream.write_all(&bytes);
        if round % 50 == 0 {
            neighbour.publish("fine/a", &round.to_string());
            neighbour.wait("its own words", |heard| heard.payload == round.to_string());
        }
    }
    wait_for("most to be closed for their nonsense", PATIENCE, || (counted(&site, "violations") > 200).then_some(()));
    neighbour.publish("fine/a", "still here");
    neighbour.wait("its own words", |heard| heard.payload == "still here");
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
    let (status, _) = gateway.terminate();
    assert!(status.success());
}
