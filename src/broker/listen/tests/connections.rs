//! Connections over streams in memory, byte by byte, on a clock that waits for nobody.

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use rumqttc_v5::mqttbytes::v5;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// How long an answer may take; on a clock that jumps, none takes any time.
const SOON: Duration = Duration::from_secs(5);

/// A client that says exactly what it is told to.
struct Raw {
    stream: DuplexStream,
}

impl Raw {
    /// At the door of a broker.
    fn at(common: &Arc<Common>) -> Self {
        Self::with(common, 1 << 20)
    }

    /// With so much room for what is under way.
    fn with(common: &Arc<Common>, room: usize) -> Self {
        let (stream, theirs) = tokio::io::duplex(room);
        let common = common.clone();
        tokio::spawn(async move {
            let peer = Peer { listener: "test".into(), visitor: Some(Visitor::Part("test".into())), ..Peer::default() };
            let deadline = Instant::now() + HELLO;
            let welcome = hello::welcome(Wire::new(Box::new(theirs)), &peer, &common, deadline).await;
            if let Some(connection) = welcome {
                connection.live().await;
            }
        });
        Self { stream }
    }

    /// A client of 3.1.1 that is in, with a clean session.
    async fn v3(common: &Arc<Common>, client: &str, keep_alive: u8) -> Self {
        let mut raw = Self::at(common);
        raw.send(&connect(4, client, keep_alive)).await;
        raw.hears(b"\x20\x02\0\0").await;
        raw
    }

    /// A client of MQTT 5 that is in.
    async fn v5(common: &Arc<Common>, client: &str, keep_alive: u8) -> Self {
        let mut raw = Self::at(common);
        raw.send(&connect(5, client, keep_alive)).await;
        let v5::Packet::ConnAck(answer) = raw.packet().await else { panic!("a CONNACK") };
        assert_eq!(answer.code, v5::ConnectReturnCode::Success);
        raw
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next that comes are these bytes.
    async fn hears(&mut self, bytes: &[u8]) {
        let mut heard = vec![0; bytes.len()];
        let read = tokio::time::timeout(SOON, self.stream.read_exact(&mut heard)).await;
        read.expect("an answer in time").expect("an answer");
        assert_eq!(heard, bytes, "{heard:x?}");
    }

    /// The next packet of MQTT 5.
    async fn packet(&mut self) -> v5::Packet {
        let mut packet = BytesMut::new();
        loop {
            match v5::Packet::read(&mut packet.clone(), None) {
                Ok(read) => return read,
                Err(_) => packet
                    .put_u8(tokio::time::timeout(SOON, self.stream.read_u8()).await.expect("in time").expect("more")),
            }
        }
    }

    /// The broker hangs up, and says nothing more.
    async fn is_closed(&mut self) {
        let mut rest = Vec::new();
        let read = tokio::time::timeout(SOON, self.stream.read_to_end(&mut rest)).await;
        read.expect("closed in time").unwrap();
        assert_eq!(rest, b"", "{rest:x?}");
    }

    /// The broker hangs up, and says why.
    async fn is_told(&mut self, reason: u8) {
        let v5::Packet::Disconnect(told) = self.packet().await else { panic!("a DISCONNECT") };
        assert_eq!(told.reason_code as u8, reason, "{told:?}");
        self.is_closed().await;
    }
}

fn connect(level: u8, client: &str, keep_alive: u8) -> Vec<u8> {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', level, 2, 0, keep_alive];
    if level == 5 {
        body.push(0);
    }
    body.extend([0, client.len() as u8]);
    body.extend(client.as_bytes());
    [&[0x10, body.len() as u8], &body[..]].concat()
}

fn limits() -> Limits {
    Limits::default()
}

#[tokio::test(start_paused = true)]
async fn what_one_publishes_another_hears() {
    let common = common(limits());
    let mut hears = Raw::v3(&common, "hears", 0).await;
    let mut says = Raw::v5(&common, "says", 0).await;
    hears.send(b"\x82\x06\0\x01\0\x01a\x01").await;
    hears.hears(b"\x90\x03\0\x01\x01").await;
    // An alias is agreed upon, and used.
    says.send(b"\x32\x0a\0\x01a\0\x01\x03\x23\0\x01x\x32\x09\0\0\0\x02\x03\x23\0\x01y").await;
    says.hears(b"\x40\x02\0\x01\x40\x02\0\x02").await;
    hears.hears(b"\x32\x06\0\x01a\0\x01x\x32\x06\0\x01a\0\x02y").await;
    hears.send(b"\x40\x02\0\x01\x40\x02\0\x02\xc0\0").await;
    hears.hears(b"\xd0\0").await;
    assert_eq!((counted(&common.figures.received), counted(&common.figures.sent)), (2, 2));
    assert_eq!(counted(&common.figures.packets_received), 6);
    hears.send(b"\xe0\0").await;
    hears.is_closed().await;
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_at_the_door_is_not_waited_for() {
    let common = common(limits());
    for beginning in [&b""[..], b"\x10", b"\x10\x0d\0\x04MQ"] {
        let mut raw = Raw::at(&common);
        raw.send(beginning).await;
        tokio::time::sleep(HELLO - Duration::from_secs(1)).await;
        assert!(tokio::time::timeout(Duration::from_millis(1), raw.stream.read_u8()).await.is_err(), "too early");
        raw.is_closed().await;
    }
    assert_eq!(counted(&common.figures.silent), 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_mqtt_is_closed_at_its_first_byte() {
    let common = common(limits());
    for beginning in [&b"G"[..], b"\x16\x03\x01", b"\xc0\0"] {
        let mut raw = Raw::at(&common);
        raw.send(beginning).await;
        raw.is_closed().await;
    }
    assert_eq!(counted(&common.figures.violations), 3);
}

#[tokio::test(start_paused = true)]
async fn versions_that_are_not_spoken_here_are_told_so_in_the_nearest_form() {
    let common = common(limits());
    for (level, answer) in [(3, &b"\x20\x02\0\x01"[..]), (0x84, b"\x20\x02\0\x01")] {
        let mut raw = Raw::at(&common);
        raw.send(&connect(level, "c", 0)).await;
        raw.hears(answer).await;
        raw.is_closed().await;
    }
    let mut raw = Raw::at(&common);
    raw.send(&connect(6, "c", 0)).await;
    let v5::Packet::ConnAck(answer) = raw.packet().await else { panic!("a CONNACK") };
    assert_eq!(answer.code, v5::ConnectReturnCode::UnsupportedProtocolVersion);
    raw.is_closed().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_falls_silent_is_gone_after_one_and_a_half_times_its_keep_alive() {
    let common = common(limits());
    let mut lively = Raw::v3(&common, "lively", 10).await;
    let mut silent = Raw::v5(&common, "silent", 10).await;
    let mut carefree = Raw::v3(&common, "carefree", 0).await;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(4_900)).await;
        lively.send(b"\xc0\0").await;
        lively.hears(b"\xd0\0").await;
    }
    assert_eq!(counted(&common.figures.clients), 3, "14.7 s are not too long");
    tokio::time::sleep(Duration::from_millis(400)).await;
    silent.is_told(0x8d).await;
    lively.send(b"\xc0\0").await;
    lively.hears(b"\xd0\0").await;
    tokio::time::sleep(Duration::from_millis(15_100)).await;
    lively.is_closed().await;
    tokio::time::sleep(Duration::from_secs(100_000)).await;
    carefree.send(b"\xc0\0").await;
    carefree.hears(b"\xd0\0").await;
    assert_eq!(counted(&common.figures.silent), 2);
}

#[tokio::test(start_paused = true)]
async fn what_was_good_before_a_bad_packet_counts() {
    let common = common(limits());
    let mut hears = Raw::v3(&common, "hears", 0).await;
    hears.send(b"\x82\x06\0\x01\0\x01a\0").await;
    hears.hears(b"\x90\x03\0\x01\0").await;
    let bad: [(&[u8], u8); 6] = [
        (b"\x36\x06\0\x01a\0\x01x", 0x81),               // QoS 3
        (b"\x10\x0d\0\x04MQTT\x05\x02\0\0\0\0\0", 0x82), // a second CONNECT
        (b"\x30\xff\xff\xff\x7f", 0x95),                 // too large, and known to be by its length alone
        (b"\x30\x07\0\0\x03\x23\0\x63x", 0x94),          // an alias beyond the bound
        (b"\x30\x07\0\0\x03\x23\0\x01x", 0x82),          // an alias that stands for nothing
        (b"\xf0\x02\x18\0", 0x82),                       // an authentication that nobody began
    ];
    for (place, (bytes, reason)) in bad.into_iter().enumerate() {
        let mut raw = Raw::v5(&common, "bad", 0).await;
        raw.send(&[&b"\x30\x05\0\x01a\0x"[..], bytes].concat()).await;
        raw.is_told(reason).await;
        hears.hears(b"\x30\x04\0\x01ax").await;
        assert_eq!(counted(&common.figures.violations), place as u64 + 1);
    }
    let mut older = Raw::v3(&common, "bad", 0).await;
    older.send(b"\x30\x03\0\x01#").await;
    older.is_closed().await;
    assert_eq!(counted(&common.figures.clients), 1, "the neighbour is still there");
}

#[tokio::test(start_paused = true)]
async fn packets_may_come_in_pieces() {
    let common = common(limits());
    let mut raw = Raw::at(&common);
    for byte in connect(4, "slow", 0).into_iter().chain(*b"\x82\x06\0\x01\0\x01a\0\x30\x04\0\x01ax") {
        raw.send(&[byte]).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    raw.hears(b"\x20\x02\0\0\x90\x03\0\x01\0\x30\x04\0\x01ax").await;
}

#[tokio::test(start_paused = true)]
async fn the_largest_packet_passes_and_the_buffer_for_it_is_given_back() {
    let common = common(limits());
    let mut raw = Raw::v3(&common, "large", 0).await;
    raw.send(b"\x82\x06\0\x01\0\x01a\0").await;
    raw.hears(b"\x90\x03\0\x01\0").await;
    let largest = common.limits.packet;
    let length = largest - 4;
    let mut packet =
        vec![0x30, length as u8 & 0x7f | 0x80, (length >> 7) as u8 | 0x80, (length >> 14) as u8, 0, 1, b'a'];
    packet.resize(largest, b'x');
    raw.send(&packet).await;
    raw.hears(&packet).await;
    packet[1] += 1;
    packet.push(b'x');
    raw.send(&packet[..100]).await;
    raw.is_closed().await;
}

#[tokio::test(start_paused = true)]
async fn of_large_packets_only_so_many_are_under_way_at_once() {
    let common = common(Limits { packet: 1 << 20, queued_bytes_together: 2 << 20, ..limits() });
    // A packet of 300 KiB, and all of it but the last byte.
    let mut packet = b"\x30\x80\xe0\x12\0\x01a".to_vec();
    packet.resize(4 + (300 << 10), b'x');
    let (last, most) = packet.split_last().unwrap();
    let mut first = Raw::v3(&common, "first", 0).await;
    let mut second = Raw::v3(&common, "second", 0).await;
    let mut third = Raw::v3(&common, "third", 0).await;
    first.send(most).await;
    second.send(most).await;
    tokio::time::sleep(SOON).await;
    third.send(most).await;
    third.is_closed().await;
    assert_eq!(counted(&common.figures.violations), 1);
    // Who is done makes room.
    first.send(&[*last]).await;
    tokio::time::sleep(SOON).await;
    let mut fourth = Raw::v3(&common, "fourth", 0).await;
    fourth.send(&packet).await;
    second.send(&[*last]).await;
    tokio::time::sleep(SOON).await;
    assert_eq!((counted(&common.figures.clients), common.large.available_permits()), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_costs_its_neighbours_nothing_and_is_closed() {
    let bounds = Limits { queued: 100, ..limits() };
    let common = common(bounds);
    let mut mute = Raw::with(&common, 1024);
    mute.send(&connect(4, "mute", 0)).await;
    mute.send(b"\x82\x06\0\x01\0\x01a\0").await;
    let mut hears = Raw::v3(&common, "hears", 0).await;
    hears.send(b"\x82\x06\0\x01\0\x01a\0").await;
    hears.hears(b"\x90\x03\0\x01\0").await;
    let mut says = Raw::v3(&common, "says", 0).await;
    let mut packet = b"\x30\x84\x08\0\x01a".to_vec();
    packet.resize(3 + 0x404, b'x');
    for _ in 0..1000 {
        says.send(&packet).await;
        hears.hears(&packet).await;
    }
    let dropped = counted(&common.figures.dropped_slow);
    assert!((500..900).contains(&dropped), "{dropped} messages of a megabyte found no room");
    assert_eq!(counted(&common.figures.clients), 3);
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!((counted(&common.figures.clients), counted(&common.figures.stalled)), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_message_as_large_as_a_client_takes_arrives_and_a_larger_one_holds_nothing_up() {
    let common = common(limits());
    let mut small = Raw::at(&common);
    // It takes packets of 40 bytes, and two messages at once.
    small.send(b"\x10\x16\0\x04MQTT\x05\x02\0\0\x08\x27\0\0\0\x28\x21\0\x02\0\x01s").await;
    let v5::Packet::ConnAck(_) = small.packet().await else { panic!("a CONNACK") };
    small.send(b"\x82\x09\0\x01\x02\x0b\x07\0\x01a\x01").await;
    small.hears(b"\x90\x04\0\x01\0\x01").await;
    let mut says = Raw::v5(&common, "says", 0).await;
    for length in [31, 30, 30, 31, 1] {
        let mut packet = vec![0x32, length + 6, 0, 1, b'a', 0, 1, 0];
        packet.resize(usize::from(length) + 8, b'x');
        says.send(&packet).await;
        says.hears(b"\x40\x02\0\x01").await;
    }
    for (id, length) in [(1_u8, 30), (2, 30), (3, 1)] {
        let mut packet = vec![0x32, length + 8, 0, 1, b'a', 0, id, 2, 0x0b, 7];
        packet.resize(usize::from(length) + 10, b'x');
        assert!(packet.len() <= 40);
        small.hears(&packet).await;
        small.send(&[0x40, 2, 0, id]).await;
    }
    assert_eq!(counted(&common.figures.dropped_large), 2);
}

#[tokio::test(start_paused = true)]
async fn another_connection_with_the_same_id_takes_its_place() {
    let common = common(limits());
    let mut first = Raw::v5(&common, "twin", 0).await;
    let mut second = Raw::v3(&common, "twin", 0).await;
    first.is_told(0x8e).await;
    second.send(b"\xc0\0").await;
    second.hears(b"\xd0\0").await;
    assert_eq!(counted(&common.figures.clients), 1);
}

#[tokio::test(start_paused = true)]
async fn beyond_the_bound_clients_are_told_that_there_are_too_many() {
    let common = common(Limits { clients: 2, ..limits() });
    let _first = Raw::v3(&common, "first", 0).await;
    let second = Raw::v3(&common, "second", 0).await;
    let mut third = Raw::at(&common);
    third.send(&connect(4, "third", 0)).await;
    third.hears(b"\x20\x02\0\x03").await;
    third.is_closed().await;
    let mut third = Raw::at(&common);
    third.send(&connect(5, "third", 0)).await;
    let v5::Packet::ConnAck(answer) = third.packet().await else { panic!("a CONNACK") };
    assert_eq!(answer.code, v5::ConnectReturnCode::QuotaExceeded);
    assert_eq!(counted(&common.figures.refused_full), 2);
    drop(second);
    tokio::time::sleep(Duration::from_millis(1)).await;
    Raw::v3(&common, "third", 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_stops_gives_everyone_what_is_there_for_them() {
    let common = common(limits());
    let mut hears = Raw::v5(&common, "hears", 0).await;
    hears.send(b"\x82\x07\0\x01\0\0\x01a\0").await;
    hears.hears(b"\x90\x04\0\x01\0\0").await;
    {
        let mut hub = common.hub();
        for _ in 0..3 {
            let message = crate::broker::publication::Publication::new("a", "x");
            hub.publish(message, Instant::now().into_std());
        }
        hub.close_all(0x8b);
    }
    hears.hears(&b"\x30\x05\0\x01a\0x".repeat(3)).await;
    hears.is_told(0x8b).await;
}

#[tokio::test(start_paused = true)]
async fn a_will_goes_out_when_its_client_breaks_off_and_not_when_it_takes_its_leave() {
    let common = common(limits());
    let mut hears = Raw::v3(&common, "hears", 0).await;
    hears.send(b"\x82\x06\0\x01\0\x01w\0").await;
    hears.hears(b"\x90\x03\0\x01\0").await;
    let will = |goodbye: &'static [u8]| {
        let common = common.clone();
        async move {
            let mut raw = Raw::at(&common);
            raw.send(b"\x10\x13\0\x04MQTT\x04\x06\0\0\0\x01c\0\x01w\0\x01!").await;
            raw.hears(b"\x20\x02\0\0").await;
            raw.send(goodbye).await;
            drop(raw);
            tokio::time::sleep(Duration::from_millis(1)).await;
            let (wills, _) = common.hub().due(Instant::now().into_std());
            wills.len()
        }
    };
    assert_eq!(will(b"\xe0\0").await, 0);
    assert_eq!(will(b"").await, 1);
    // Nobody may have anything published on `$…`.
    let mut raw = Raw::at(&common);
    raw.send(b"\x10\x13\0\x04MQTT\x04\x06\0\0\0\x01c\0\x01$\0\x01!").await;
    raw.hears(b"\x20\x02\0\x03").await;
    raw.is_closed().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_costs_little() {
    let common = common(limits());
    let mut raw = Raw::v3(&common, "idle", 0).await;
    // It has said much before.
    raw.send(&b"\xc0\0".repeat(40_000)).await;
    raw.hears(&b"\xd0\0".repeat(40_000)).await;
    for _ in 0..8 {
        raw.send(b"\xc0\0").await;
        raw.hears(b"\xd0\0").await;
    }
    let (_ours, theirs) = tokio::io::duplex(1);
    let wire = Wire::new(Box::new(theirs));
    assert!(std::mem::size_of_val(&wire) < 256);
    let state = std::mem::size_of::<connection::Connection>();
    println!("a connection's state: {state} bytes");
    assert!(state < 1024, "{state} bytes");
}

#[tokio::test]
async fn a_client_at_full_speed_gives_others_their_turn_every_few_hundred_packets() {
    const PACKETS: usize = 500_000;
    let common = common(limits());
    let mut fast = Raw::with(&common, 8 << 20);
    fast.send(&connect(4, "fast", 0)).await;
    fast.hears(b"\x20\x02\0\0").await;
    // All of it is there before the first is read.
    fast.send(&b"\x30\x05\0\x01tab".repeat(PACKETS)).await;
    let (mut before, mut most) = (counted(&common.figures.received), 0);
    while before < PACKETS as u64 {
        tokio::task::yield_now().await;
        let received = counted(&common.figures.received);
        most = most.max(received - before);
        before = received;
    }
    assert!(most <= 1024, "{most} packets at a stretch");
}

#[tokio::test]
async fn a_flood_with_many_receivers_lets_others_have_their_turn() {
    const FLOOD: u64 = 400;
    let common = common(limits());
    let mut hear = Vec::new();
    for number in 0..300 {
        let mut raw = Raw::with(&common, 4 * 1024);
        raw.send(&connect(4, &format!("hears{number}"), 0)).await;
        raw.hears(b"\x20\x02\0\0").await;
        raw.send(b"\x82\x06\0\x01\0\x01a\0").await;
        raw.hears(b"\x90\x03\0\x01\0").await;
        hear.push(raw);
    }
    let mut says = Raw::v3(&common, "says", 0).await;
    says.send(&b"\x30\x04\0\x01ax".repeat(FLOOD as usize)).await;
    // Everything here is on one thread, so this sees only what others leave it to see.
    let mut between = 0;
    loop {
        tokio::task::yield_now().await;
        match counted(&common.figures.received) {
            0 => {}
            FLOOD => break,
            _ => between += 1,
        }
    }
    assert!(between >= 3, "{between}");
}
