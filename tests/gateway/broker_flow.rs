//! The handshakes of QoS 1 and 2 with the local broker, packet by packet: what is sent again, what is not, and how much
//! at once. A Mosquitto is held to the same, so that each test is known to be right.

use std::time::{Duration, Instant};

use crate::lab::broker::Mosquitto;
use crate::lab::free_port;
use crate::lab::gateway::{Gateway, Site};
use crate::lab::raw::{Heard, Raw, connect_v3, connect_v5, packet, string};

/// A broker to put to the test.
struct Judged {
    port: u16,
    gateway: Option<(Gateway, Site)>,
    _mosquitto: Option<Mosquitto>,
}

/// Ours, and the one everybody knows.
fn both() -> [Judged; 2] {
    let port = free_port();
    let site = Site::new(&format!("gateway: gw1\nbroker: {{ listen: [127.0.0.1:{port}] }}\n"));
    let gateway = site.run();
    gateway.wait_log("local broker listening");
    let mosquitto = Mosquitto::with("allow_anonymous true\nmax_inflight_messages 20\n");
    [
        Judged { port: mosquitto.port, gateway: None, _mosquitto: Some(mosquitto) },
        Judged { port, gateway: Some((gateway, site)), _mosquitto: None },
    ]
}

impl Judged {
    fn is_ours(&self) -> bool {
        self.gateway.is_some()
    }

    /// A client of MQTT 3.1.1 whose session stays, and whether it had one.
    fn client(&self, id: &str) -> (Raw, bool) {
        Raw::v3(self.port, id, false)
    }

    /// A client that publishes.
    fn source(&self) -> Raw {
        Raw::v3(self.port, "source", true).0
    }
}

fn publish(qos: u8, topic: &str, id: u16, payload: &str) -> Vec<u8> {
    let id = if qos > 0 { id.to_be_bytes().to_vec() } else { Vec::new() };
    packet(0x30 | qos << 1, &[&string(topic)[..], &id, payload.as_bytes()].concat())
}

fn repeated(mut publish: Vec<u8>) -> Vec<u8> {
    publish[0] |= 8;
    publish
}

fn short(first: u8, id: u16) -> Vec<u8> {
    packet(first, &id.to_be_bytes())
}

fn subscribe(raw: &mut Raw, topic: &str, qos: u8) {
    raw.say(&packet(0x82, &[&[0, 9][..], &string(topic), &[qos]].concat()));
    raw.hears(0x90, &[0, 9, qos]);
}

/// Takes a PUBLISH of MQTT 3.1.1 above QoS 0 apart: QoS, whether it is repeated, packet id, payload.
fn delivered(heard: Heard) -> (u8, bool, u16, String) {
    let Heard::Packet(first, body) = heard else { panic!("the connection ended") };
    assert_eq!(first & 0xf0, 0x30, "{first:02x} {body:02x?}");
    let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
    let id = u16::from_be_bytes([body[2 + topic], body[3 + topic]]);
    (first >> 1 & 3, first & 8 != 0, id, String::from_utf8(body[4 + topic..].to_vec()).unwrap())
}

#[test]
fn a_qos_2_message_sent_twice_is_delivered_once_also_after_a_reconnect() {
    for broker in both() {
        let (mut hears, _) = broker.client("hears");
        subscribe(&mut hears, "t", 0);
        let (mut says, _) = broker.client("says");
        for again in [false, true] {
            let packet = publish(2, "t", 7, "once");
            says.say(&if again { repeated(packet) } else { packet });
            says.hears(0x50, &[0, 7]);
        }
        says.cut();
        let (mut says, present) = broker.client("says");
        assert!(present);
        says.say(&repeated(publish(2, "t", 7, "once")));
        says.hears(0x50, &[0, 7]);
        says.say(&short(0x62, 7));
        says.hears(0x70, &[0, 7]);
        // Its PUBCOMP may have been lost: it asks again, and is answered again.
        says.say(&short(0x62, 7));
        says.hears(0x70, &[0, 7]);
        // From here on it is another message.
        says.say(&publish(2, "t", 7, "twice"));
        says.hears(0x50, &[0, 7]);
        says.say(&short(0x62, 7));
        says.hears(0x70, &[0, 7]);
        hears.hears(0x30, b"\0\x01tonce");
        hears.hears(0x30, b"\0\x01ttwice");
        hears.hears_nothing();
    }
}

#[test]
fn each_step_of_a_delivery_is_taken_up_where_it_was_left() {
    for broker in both() {
        let (mut raw, _) = broker.client("raw");
        subscribe(&mut raw, "t", 2);
        let mut source = broker.source();
        source.say(&[publish(2, "t", 1, "y"), short(0x62, 1)].concat());
        source.hears(0x50, &[0, 1]);
        source.hears(0x70, &[0, 1]);
        let first = delivered(raw.hear());
        assert_eq!((first.0, first.1, first.3.as_str()), (2, false, "y"));
        let id = first.2;
        raw.cut();

        // Before the PUBREC it is the PUBLISH that comes again.
        let (mut raw, present) = broker.client("raw");
        assert!(present);
        assert_eq!(delivered(raw.hear()), (2, true, id, "y".into()));
        raw.say(&short(0x50, id));
        raw.hears(0x62, &id.to_be_bytes());
        raw.cut();

        // After it the PUBREL.
        let (mut raw, _) = broker.client("raw");
        raw.hears(0x62, &id.to_be_bytes());
        raw.say(&short(0x70, id));
        raw.hears_nothing();
        raw.cut();

        // And after the PUBCOMP nothing.
        let (mut raw, _) = broker.client("raw");
        raw.hears_nothing();
    }
}

#[test]
fn what_was_not_acknowledged_comes_again_before_what_came_since_and_in_order() {
    for broker in both() {
        let (mut raw, _) = broker.client("raw");
        subscribe(&mut raw, "t", 1);
        let mut source = broker.source();
        let mut send = |numbers: std::ops::Range<u16>| {
            for number in numbers {
                source.say(&publish(1, "t", number + 1, &number.to_string()));
                source.hears(0x40, &(number + 1).to_be_bytes());
            }
        };
        send(0..10);
        let first: Vec<_> = (0..10).map(|_| delivered(raw.hear())).collect();
        // Some are acknowledged, and not the first.
        for index in [3, 4, 8] {
            raw.say(&short(0x40, first[index].2));
        }
        // It leaves properly, so that nothing of what follows is sent to a connection that is gone.
        raw.say(&[0xe0, 0]);
        assert_eq!(raw.hear(), Heard::End);
        send(10..15);
        let (mut raw, _) = broker.client("raw");
        for index in [0, 1, 2, 5, 6, 7, 9] {
            let again = delivered(raw.hear());
            assert_eq!(again, (1, true, first[index].2, index.to_string()));
            raw.say(&short(0x40, again.2));
        }
        for number in 10..15 {
            let new = delivered(raw.hear());
            assert_eq!((new.0, new.1, new.3), (1, false, number.to_string()));
            raw.say(&short(0x40, new.2));
        }
        raw.hears_nothing();
    }
}

#[test]
fn who_takes_a_session_over_takes_what_was_under_way() {
    for broker in both() {
        let (mut raw, _) = broker.client("raw");
        subscribe(&mut raw, "t", 1);
        broker.source().say(&publish(1, "t", 1, "x"));
        let first = delivered(raw.hear());
        let (mut second, present) = broker.client("raw");
        assert!(present);
        assert_eq!(delivered(second.hear()), (1, true, first.2, "x".into()));
        assert_eq!(raw.hear(), Heard::End);
    }
}

#[test]
fn qos_2_frees_its_place_with_the_last_step_only() {
    for broker in both() {
        // A Receive Maximum of 2.
        let (mut raw, _) = Raw::v5(broker.port, "raw", true, &[0x21, 0, 2]);
        raw.say(&packet(0x82, b"\0\x09\0\0\x01t\x02"));
        raw.hears(0x90, &[0, 9, 0, 2]);
        let mut source = broker.source();
        for number in 1..=4 {
            source.say(&[publish(2, "t", number, "x"), short(0x62, number)].concat());
            source.hears(0x50, &number.to_be_bytes());
            source.hears(0x70, &number.to_be_bytes());
        }
        let publication = |heard: Heard| match heard {
            Heard::Packet(0x34, body) => u16::from_be_bytes([body[3], body[4]]),
            other => panic!("{other:02x?}"),
        };
        let (one, two) = (publication(raw.hear()), publication(raw.hear()));
        raw.hears_nothing();
        raw.say(&short(0x50, one));
        raw.hears(0x62, &one.to_be_bytes());
        raw.hears_nothing();
        raw.say(&short(0x70, one));
        let three = publication(raw.hear());
        // With a reason of 0x80 and above the PUBREC is the last step (section 4.3.3).
        raw.say(&packet(0x50, &[&two.to_be_bytes()[..], &[0x97]].concat()));
        let four = publication(raw.hear());
        for id in [three, four] {
            raw.say(&short(0x50, id));
            raw.hears(0x62, &id.to_be_bytes());
            raw.say(&short(0x70, id));
        }
        raw.hears_nothing();
    }
}

#[test]
fn a_publisher_keeps_to_the_brokers_receive_maximum_or_is_sent_away() {
    for broker in both() {
        let mut raw = Raw::new(broker.port);
        raw.say(&packet(0x10, &connect_v5(2, 60, &[], &string("raw"))));
        let Heard::Packet(0x20, answer) = raw.hear() else { panic!("no CONNACK") };
        // The property stands somewhere among the others; left out it means 65,535.
        let properties = properties(&answer[3..]);
        let most = properties.iter().find(|(name, _)| *name == 0x21).expect("a bound").1;
        for id in 1..=most as u16 {
            raw.say(&packet(0x34, &[&string("t")[..], &id.to_be_bytes(), &[0]].concat()));
            let Heard::Packet(0x50, body) = raw.hear() else { panic!("no PUBREC") };
            assert_eq!(body[..2], id.to_be_bytes());
        }
        raw.hears_nothing();
        raw.say(&packet(0x34, &[&string("t")[..], &(most as u16 + 1).to_be_bytes(), &[0]].concat()));
        match raw.hear() {
            Heard::Packet(0xe0, body) => assert_eq!((body[0], raw.hear()), (0x93, Heard::End)),
            // 2.0.11 refuses the message and lets its publisher stay.
            Heard::Packet(0x50, body) if !broker.is_ours() => assert_eq!(body[2], 0x97),
            other => panic!("{other:02x?}"),
        }
    }
}

/// The properties of a CONNACK, as far as they are numbers.
fn properties(mut bytes: &[u8]) -> Vec<(u8, u32)> {
    let mut found = Vec::new();
    while let [name, rest @ ..] = bytes {
        let length = match name {
            0x24 | 0x25 | 0x28 | 0x29 | 0x2a => 1,
            0x13 | 0x21 | 0x22 => 2,
            0x11 | 0x27 => 4,
            0x12 | 0x1f => 2 + usize::from(u16::from_be_bytes([rest[0], rest[1]])),
            other => panic!("property {other:02x}"),
        };
        found.push((*name, rest[..length].iter().fold(0, |number: u32, byte| number << 8 | u32::from(*byte))));
        bytes = &rest[length..];
    }
    found
}

#[test]
fn who_says_nothing_for_one_and_a_half_times_its_keep_alive_is_sent_away() {
    for broker in both() {
        for five in [false, true] {
            let mut raw = Raw::new(broker.port);
            let id = string("silent");
            let connect = if five { connect_v5(2, 2, &[], &id) } else { connect_v3(4, 2, 2, &id) };
            raw.say(&packet(0x10, &connect));
            raw.hear();
            // A ping begins the time anew.
            std::thread::sleep(Duration::from_millis(1500));
            raw.say(&[0xc0, 0]);
            raw.hears(0xd0, &[]);
            let since = Instant::now();
            let heard = raw.hear();
            assert!(since.elapsed() > Duration::from_millis(2500), "after {:?} with 2 s", since.elapsed());
            match heard {
                Heard::End => assert!(!five || !broker.is_ours(), "no reason given"),
                Heard::Packet(0xe0, body) => {
                    assert!(five && body[0] == 0x8d, "{body:02x?}");
                    assert_eq!(raw.hear(), Heard::End);
                }
                other => panic!("{other:02x?}"),
            }
        }
    }
}

#[test]
fn packets_may_come_byte_by_byte_or_a_thousand_at_once() {
    for broker in both() {
        let mut raw = Raw::new(broker.port);
        for byte in packet(0x10, &connect_v3(4, 2, 60, &string("slow"))) {
            raw.say(&[byte]);
            std::thread::sleep(Duration::from_millis(2));
        }
        raw.hears(0x20, &[0, 0]);
        subscribe(&mut raw, "t", 1);
        let mut quick = Raw::new(broker.port);
        // It does not even wait for the answer to its CONNECT.
        let mut bytes = packet(0x10, &connect_v3(4, 2, 60, &string("quick")));
        for number in 0..1000_u16 {
            bytes.extend(publish(u8::from(number % 2 == 0), "t", number + 1, &number.to_string()));
        }
        quick.say(&bytes);
        quick.hears(0x20, &[0, 0]);
        for number in (0..1000_u16).step_by(2) {
            quick.hears(0x40, &(number + 1).to_be_bytes());
        }
        let (mut odd, mut even) = (Vec::new(), Vec::new());
        while odd.len() + even.len() < 1000 {
            match raw.hear() {
                Heard::Packet(0x30, body) => odd.push(String::from_utf8(body[3..].to_vec()).unwrap()),
                other => {
                    let (_, _, id, payload) = delivered(other);
                    raw.say(&short(0x40, id));
                    even.push(payload);
                }
            }
        }
        let numbers = |from: usize| (from..1000).step_by(2).map(|number| number.to_string()).collect::<Vec<_>>();
        assert_eq!((odd, even), (numbers(1), numbers(0)));
    }
}

#[test]
fn a_message_that_comes_while_it_takes_its_leave_is_kept_for_it() {
    for broker in both() {
        let (mut raw, _) = broker.client("raw");
        subscribe(&mut raw, "t", 1);
        raw.say(&[0xe0, 0]);
        assert_eq!(raw.hear(), Heard::End);
        let mut source = broker.source();
        source.say(&publish(1, "t", 1, "x"));
        source.hears(0x40, &[0, 1]);
        let (mut raw, _) = broker.client("raw");
        let (qos, again, _, payload) = delivered(raw.hear());
        assert_eq!((qos, again, payload.as_str()), (1, false, "x"));
    }
}

#[test]
fn what_a_member_of_a_group_left_unacknowledged_goes_to_another() {
    // Section 4.8.2 leaves this to the broker with QoS 1, and Mosquitto 2.0.11 does not do it.
    let [_, broker] = both();
    let share = |raw: &mut Raw| {
        raw.say(&packet(0x82, b"\0\x09\0\0\x0a$share/g/t\x01"));
        raw.hears(0x90, &[0, 9, 0, 1]);
    };
    let (mut goes, _) = Raw::v5(broker.port, "goes", true, &[]);
    share(&mut goes);
    let mut source = broker.source();
    for number in 0..5_u16 {
        source.say(&publish(1, "t", number + 1, &number.to_string()));
        source.hears(0x40, &(number + 1).to_be_bytes());
    }
    let mut ids = Vec::new();
    for _ in 0..5 {
        let Heard::Packet(0x32, body) = goes.hear() else { panic!("no PUBLISH") };
        ids.push(u16::from_be_bytes([body[3], body[4]]));
    }
    goes.say(&short(0x40, ids[1]));
    goes.hears_nothing();
    let (mut stays, _) = Raw::v5(broker.port, "stays", true, &[]);
    share(&mut stays);
    goes.cut();
    let mut taken = Vec::new();
    for _ in 0..4 {
        let Heard::Packet(0x32, body) = stays.hear() else { panic!("no PUBLISH") };
        taken.push(String::from_utf8(body[6..].to_vec()).unwrap());
        stays.say(&short(0x40, u16::from_be_bytes([body[3], body[4]])));
    }
    stays.hears_nothing();
    assert_eq!(taken, ["0", "2", "3", "4"], "in another order");
}
