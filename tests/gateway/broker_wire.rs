//! What comes over the wire to the local broker that no library would send: a table of bytes and what becomes of them.
//!
//! The same bytes go to a Mosquitto, so that each line is known to be right; where 2.0.11 is otherwise, it is marked.

use std::time::Duration;

use crate::lab::broker::Mosquitto;
use crate::lab::gateway::Site;
use crate::lab::raw::{Heard, Raw, connect_v3, connect_v5, packet, string};
use crate::lab::{PATIENCE, free_port};

use Said::{AfterV3, AfterV5, First};
use Then::{Answers, Closes, DeniesOrEnds, Ends, GoesOn, LetsIn, Refuses};

/// When the bytes are said.
enum Said {
    /// At the very beginning.
    First(Vec<u8>),
    /// After a CONNECT of MQTT 3.1.1 that was answered.
    AfterV3(Vec<u8>),
    /// After one of MQTT 5.
    AfterV5(Vec<u8>),
}

/// What becomes of it.
enum Then {
    /// The broker closes without a word.
    Closes,
    /// The broker answers the CONNECT with one of these codes, and closes.
    Refuses(&'static [u8]),
    /// The broker answers the CONNECT, and lets the client in.
    LetsIn,
    /// The broker closes, and if it says why, then with one of these reason codes: in a DISCONNECT, or in a CONNACK
    /// where there was none (section 4.13 of MQTT 5 leaves both to it).
    Ends(&'static [u8]),
    /// The broker answers with this packet.
    Answers(u8, &'static [u8]),
    /// The broker answers that this subscription is not to be had, or it closes: to the standard a filter that is no
    /// filter is malformed, and there is a reason code for it nevertheless.
    DeniesOrEnds,
    /// Nothing comes of it, and the next packet is served.
    GoesOn,
}

struct Case {
    what: &'static str,
    said: Said,
    then: Then,
    /// How Mosquitto is otherwise.
    mosquitto: Option<&'static str>,
}

fn case(what: &'static str, said: Said, then: Then) -> Case {
    Case { what, said, then, mosquitto: None }
}

impl Case {
    fn but_mosquitto(mut self, how: &'static str) -> Self {
        self.mosquitto = Some(how);
        self
    }

    fn verdict(&self, port: u16) -> Result<(), String> {
        let (mut raw, bytes) = match &self.said {
            First(bytes) => (Raw::new(port), bytes),
            AfterV3(bytes) => (Raw::v3(port, "wire", true).0, bytes),
            AfterV5(bytes) => (Raw::v5(port, "wire", true, &[]).0, bytes),
        };
        raw.say(bytes);
        if matches!(self.then, GoesOn) {
            raw.say(&[0xc0, 0]);
        }
        raw.waits(Duration::from_secs(1));
        let mut heard = raw.try_hear();
        raw.waits(PATIENCE);
        if heard.is_none() {
            // If it answers a ping now, then it has let pass what was wrong.
            raw.say(&[0xc0, 0]);
            heard = raw.try_hear();
        }
        let at_end = |raw: &mut Raw| match raw.try_hear() {
            Some(Heard::End) => Ok(()),
            other => Err(format!("{other:02x?} and not the end after it")),
        };
        match (&self.then, heard) {
            (Closes | Ends(_) | DeniesOrEnds, Some(Heard::End)) => Ok(()),
            (Refuses(codes), Some(Heard::Packet(0x20, body))) if body[0] == 0 && codes.contains(&body[1]) => {
                at_end(&mut raw)
            }
            (DeniesOrEnds, Some(Heard::Packet(0x90, body))) if matches!(body.last(), Some(0x80 | 0x8f)) => Ok(()),
            (DeniesOrEnds, Some(Heard::Packet(0xe0, body))) if matches!(body.first(), Some(0x81 | 0x82 | 0x8f)) => {
                at_end(&mut raw)
            }
            (Ends(codes), Some(Heard::Packet(0xe0, body))) if body.first().is_some_and(|code| codes.contains(code)) => {
                at_end(&mut raw)
            }
            (Ends(codes), Some(Heard::Packet(0x20, body)))
                if matches!(self.said, First(_)) && codes.contains(&body[1]) =>
            {
                at_end(&mut raw)
            }
            (Answers(first, bytes), Some(Heard::Packet(got, body))) if got == *first && body == *bytes => Ok(()),
            (LetsIn, Some(Heard::Packet(0x20, body))) if body[1] == 0 => Ok(()),
            (GoesOn, Some(Heard::Packet(0xd0, body))) if body.is_empty() => Ok(()),
            (_, other) => Err(format!("{other:02x?}")),
        }
    }
}

/// Puts every case to the broker, and fails with all that went wrong.
fn put(port: u16, cases: &[Case], to_mosquitto: bool) {
    let (mut neighbour, _) = Raw::v3(port, "neighbour", true);
    let mut wrong = Vec::new();
    for case in cases {
        let differs = case.mosquitto.filter(|_| to_mosquitto);
        match (case.verdict(port), differs) {
            (Ok(()), None) | (Err(_), Some(_)) => {}
            (Ok(()), Some(how)) => {
                wrong.push(format!("{}: Mosquitto is right, though it is said that it {how}", case.what))
            }
            (Err(why), None) => wrong.push(format!("{}: {why}", case.what)),
        }
        neighbour.hears_nothing();
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

fn ours() -> (Site, crate::lab::gateway::Gateway, u16) {
    let port = free_port();
    let site = Site::new(&format!("gateway: gw1\nbroker: {{ listen: [127.0.0.1:{port}] }}\n"));
    let gateway = site.run();
    gateway.wait_log("local broker listening");
    (site, gateway, port)
}

#[test]
fn wrong_packets_of_3_1_1_are_met_as_the_standard_says() {
    let (_site, gateway, port) = ours();
    put(port, &version_3(), false);
    assert!(!gateway.log().contains("panicked"));
}

#[test]
fn wrong_packets_of_5_are_met_as_the_standard_says() {
    let (_site, gateway, port) = ours();
    put(port, &version_5(), false);
    assert!(!gateway.log().contains("panicked"));
}

#[test]
fn mosquitto_meets_wrong_packets_the_same_way_but_for_what_is_marked() {
    let broker = Mosquitto::with("allow_anonymous true\nmax_packet_size 262144\n");
    put(broker.port, &version_3(), true);
    put(broker.port, &version_5(), true);
}

/// A PUBLISH of MQTT 3.1.1.
fn publish(first: u8, topic: impl AsRef<[u8]>, rest: &[u8]) -> Vec<u8> {
    packet(first, &[&string(topic)[..], rest].concat())
}

/// A PUBLISH of MQTT 5 with QoS 0 and these properties.
fn publish_v5(topic: &str, properties: &[u8]) -> Vec<u8> {
    packet(0x30, &[&string(topic)[..], &[properties.len() as u8], properties, b"x"].concat())
}

/// A SUBSCRIBE of MQTT 3.1.1 to one filter.
fn subscribe(filter: impl AsRef<[u8]>, options: u8) -> Vec<u8> {
    packet(0x82, &[&[0, 1][..], &string(filter), &[options]].concat())
}

/// A SUBSCRIBE of MQTT 5 to one filter, with properties.
fn subscribe_v5(filter: &str, options: u8, properties: &[u8]) -> Vec<u8> {
    packet(0x82, &[&[0, 1, properties.len() as u8][..], properties, &string(filter), &[options]].concat())
}

fn version_3() -> Vec<Case> {
    let id = string("wire");
    let connect = |flags: u8, payload: &[u8]| First(packet(0x10, &connect_v3(4, flags, 60, payload)));
    vec![
        // Section 3.1: before and instead of a CONNECT.
        case("a PINGREQ first", First(vec![0xc0, 0]), Closes),
        case("a PUBLISH first", First(publish(0x30, "t", b"x")), Closes),
        case("a SUBSCRIBE first", First(subscribe("t", 0)), Closes),
        case("a DISCONNECT first", First(vec![0xe0, 0]), Closes),
        case("a page of the web first", First(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()), Closes),
        case("the beginning of TLS first", First(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()), Closes),
        case("a second CONNECT", AfterV3(packet(0x10, &connect_v3(4, 2, 60, &id))), Closes),
        case(
            "another protocol's name",
            First(packet(0x10, &[&string("MQTX")[..], &[4, 2, 0, 60], &id].concat())),
            Closes,
        ),
        // With MQTT 5 came a code of its own for it.
        case("a version to come", First(packet(0x10, &connect_v3(6, 2, 60, &id))), Refuses(&[0x01, 0x84])),
        case(
            "MQTT 3.1, as it was before it was a standard",
            First(packet(0x10, &[&string("MQIsdp")[..], &[3, 2, 0, 60], &id].concat())),
            Refuses(&[0x01]),
        )
        .but_mosquitto("speaks it"),
        case("flags in the first byte of a CONNECT", First(packet(0x12, &connect_v3(4, 2, 60, &id))), Closes),
        case("the reserved flag of a CONNECT", connect(3, &id), Closes),
        case("a will's QoS without a will", connect(2 | 8, &id), Closes),
        case("a will's retain flag without a will", connect(2 | 0x20, &id), Closes),
        case("a will with QoS 3", connect(2 | 4 | 0x18, &[&id[..], &string("t"), &string("x")].concat()), Closes),
        case("a will on a wildcard", connect(2 | 4, &[&id[..], &string("a/#"), &string("x")].concat()), Closes),
        case("a password without a user", connect(2 | 0x40, &[&id[..], &string("x")].concat()), Closes),
        case("a CONNECT that ends too soon", connect(2 | 4, &id), Closes),
        case("a CONNECT that goes on after its end", connect(2, &[&id[..], b"more"].concat()), Closes),
        case("an id that is not UTF-8", connect(2, &string(b"\xff\xfe")), Closes),
        case("an id with a zero", connect(2, &string(b"a\0b")), Closes),
        case("no id and no clean session", connect(0, &string("")), Refuses(&[0x02])),
        case(
            "a CONNECT and more in one go",
            First([packet(0x10, &connect_v3(4, 2, 60, &id)), vec![0xc0, 0]].concat()),
            LetsIn,
        ),
        // Section 2.2: heads.
        case("packet type 0", AfterV3(vec![0x00, 0]), Closes),
        case("packet type 15", AfterV3(vec![0xf0, 0]), Closes),
        case("a length of five bytes", AfterV3(vec![0x30, 0xff, 0xff, 0xff, 0xff, 0x01]), Closes),
        case("a packet of 256 MB", AfterV3(vec![0x30, 0xff, 0xff, 0xff, 0x7f]), Closes),
        case("a CONNACK", AfterV3(vec![0x20, 2, 0, 0]), Closes),
        case("a SUBACK", AfterV3(vec![0x90, 3, 0, 1, 0]), Closes).but_mosquitto("lets it pass"),
        case("an UNSUBACK", AfterV3(vec![0xb0, 2, 0, 1]), Closes).but_mosquitto("lets it pass"),
        case("a PINGRESP", AfterV3(vec![0xd0, 0]), Closes).but_mosquitto("lets it pass"),
        case("flags in a PINGREQ", AfterV3(vec![0xc1, 0]), Closes).but_mosquitto("lets it pass"),
        case("a PINGREQ with something in it", AfterV3(vec![0xc0, 1, 0]), Closes).but_mosquitto("lets it pass"),
        case("flags in a DISCONNECT", AfterV3(vec![0xe1, 0]), Closes),
        // Section 3.3: PUBLISH.
        case("QoS 3", AfterV3(publish(0x36, "t", &[0, 1])), Closes),
        case("a repeated message with QoS 0", AfterV3(publish(0x38, "t", b"x")), Closes).but_mosquitto("lets it pass"),
        case("an empty topic", AfterV3(publish(0x30, "", b"x")), Closes),
        case("a topic with +", AfterV3(publish(0x30, "a/+", b"x")), Closes),
        case("a topic with #", AfterV3(publish(0x30, "a/#", b"x")), Closes),
        case("a topic that is not UTF-8", AfterV3(publish(0x30, b"a\xc3\x28", b"x")), Closes),
        case("a topic with half a pair of surrogates", AfterV3(publish(0x30, b"a\xed\xa0\x80", b"x")), Closes),
        case("a topic with an overlong sign", AfterV3(publish(0x30, b"a\xc0\xaf", b"x")), Closes),
        case("a topic with a zero", AfterV3(publish(0x30, b"a\0b", b"x")), Closes),
        case("a topic longer than its packet", AfterV3(packet(0x30, &[0, 50, b'a'])), Closes),
        case("packet id 0", AfterV3(publish(0x32, "t", &[0, 0, b'x'])), Closes),
        case("no packet id", AfterV3(publish(0x32, "t", &[])), Closes),
        case(
            "a topic of 65,535 bytes in one level",
            AfterV3(publish(0x32, "t".repeat(65_535), &[0, 1])),
            Answers(0x40, &[0, 1]),
        ),
        // Section 3.8 and 3.10: SUBSCRIBE, UNSUBSCRIBE.
        case("other flags in a SUBSCRIBE", AfterV3(packet(0x80, b"\0\x01\0\x01t\0")), Closes),
        case("a SUBSCRIBE to nothing", AfterV3(packet(0x82, b"\0\x01")), Closes),
        case("a SUBSCRIBE with packet id 0", AfterV3(packet(0x82, b"\0\0\0\x01t\0")), Closes),
        case("a subscription with QoS 3", AfterV3(subscribe("t", 3)), Closes),
        case("a subscription with reserved bits", AfterV3(subscribe("t", 4)), Closes),
        case("a subscription without its QoS", AfterV3(packet(0x82, b"\0\x01\0\x01t")), Closes),
        case("an empty filter", AfterV3(subscribe("", 0)), DeniesOrEnds),
        case("# before the end", AfterV3(subscribe("a/#/b", 0)), DeniesOrEnds),
        case("# beside other signs", AfterV3(subscribe("a#", 0)), DeniesOrEnds),
        case("+ beside other signs", AfterV3(subscribe("a/b+/c", 0)), DeniesOrEnds),
        case("a filter that is not UTF-8", AfterV3(subscribe(b"\xff", 0)), Closes),
        case("other flags in an UNSUBSCRIBE", AfterV3(packet(0xa0, b"\0\x01\0\x01t")), Closes),
        case("an UNSUBSCRIBE from nothing", AfterV3(packet(0xa2, b"\0\x01")), Closes),
        case(
            "an UNSUBSCRIBE from what was not subscribed",
            AfterV3(packet(0xa2, b"\0\x01\0\x01t")),
            Answers(0xb0, &[0, 1]),
        ),
        // Section 3.4 to 3.7: acknowledgements.
        case("flags in a PUBACK", AfterV3(vec![0x41, 2, 0, 1]), Closes).but_mosquitto("lets it pass"),
        case("a PUBACK that is too short", AfterV3(vec![0x40, 1, 0]), Closes),
        case("a PUBACK of nothing", AfterV3(vec![0x40, 2, 0, 1]), GoesOn),
        case("a PUBREC of nothing", AfterV3(vec![0x50, 2, 0, 1]), Answers(0x62, &[0, 1])),
        case("other flags in a PUBREL", AfterV3(vec![0x60, 2, 0, 1]), Closes),
        case("a PUBREL of nothing", AfterV3(vec![0x62, 2, 0, 1]), Answers(0x70, &[0, 1])),
        case("a PUBCOMP of nothing", AfterV3(vec![0x70, 2, 0, 1]), GoesOn),
    ]
}

fn version_5() -> Vec<Case> {
    let id = string("wire");
    let connect = |properties: &[u8]| First(packet(0x10, &connect_v5(2, 60, properties, &id)));
    let with_will = |properties: &[u8]| {
        let will = [&id[..], &[properties.len() as u8], properties, &string("t"), &string("x")].concat();
        First(packet(0x10, &connect_v5(2 | 4, 60, &[], &will)))
    };
    vec![
        // Section 3.1.2.11: properties of a CONNECT.
        case("a second CONNECT", AfterV5(packet(0x10, &connect_v5(2, 60, &[], &id))), Ends(&[0x82])),
        case("the reserved flag of a CONNECT", First(packet(0x10, &connect_v5(3, 60, &[], &id))), Ends(&[0x81, 0x82])),
        case("a property that does not exist", connect(&[0x7f, 0]), Ends(&[0x81, 0x82])),
        case("a property of another packet", connect(&[0x23, 0, 1]), Ends(&[0x81, 0x82])),
        case("a property twice", connect(&[0x11, 0, 0, 0, 1, 0x11, 0, 0, 0, 1]), Ends(&[0x81, 0x82])),
        case("a property that is cut short", connect(&[0x11, 0, 0]), Ends(&[0x81, 0x82])),
        case(
            "properties longer than their packet",
            First(packet(0x10, b"\0\x04MQTT\x05\x02\0\x3c\x7f\0\0")),
            Ends(&[0x81, 0x82]),
        ),
        case("a Receive Maximum of 0", connect(&[0x21, 0, 0]), Ends(&[0x81, 0x82])),
        case("a Maximum Packet Size of 0", connect(&[0x27, 0, 0, 0, 0]), Ends(&[0x81, 0x82])),
        case("a flag that is neither 0 nor 1", connect(&[0x17, 2]), Ends(&[0x81, 0x82])),
        case("authentication data without a method", connect(&[0x16, 0, 1, 0]), Ends(&[0x81, 0x82]))
            .but_mosquitto("lets it pass"),
        case("a user property that is not UTF-8", connect(&[0x26, 0, 1, 0xff, 0, 1, b'v']), Ends(&[0x81, 0x82])),
        case("a Will Delay in the wrong place", connect(&[0x18, 0, 0, 0, 1]), Ends(&[0x81, 0x82])),
        case("a Session Expiry among the will's", with_will(&[0x11, 0, 0, 0, 1]), Ends(&[0x81, 0x82])),
        case("a will with a wildcard to answer on", with_will(&[0x08, 0, 1, b'#']), Ends(&[0x81, 0x82, 0x90]))
            .but_mosquitto("does not look at it"),
        case("an AUTH out of nothing", AfterV5(vec![0xf0, 0]), Ends(&[0x82])),
        case(
            "a password without a user",
            First(packet(0x10, &connect_v5(2 | 0x40, 60, &[], &[&id[..], &string("x")].concat()))),
            LetsIn,
        ),
        // Heads.
        case("packet type 0", AfterV5(vec![0x00, 0]), Ends(&[0x81, 0x82])),
        case("a CONNACK", AfterV5(vec![0x20, 3, 0, 0, 0]), Ends(&[0x81, 0x82])),
        case("a length of five bytes", AfterV5(vec![0x30, 0xff, 0xff, 0xff, 0xff, 0x01]), Ends(&[0x81, 0x82, 0x95])),
        case("a packet of 256 MB", AfterV5(vec![0x30, 0xff, 0xff, 0xff, 0x7f]), Ends(&[0x95])),
        // Section 3.3: PUBLISH.
        case("QoS 3", AfterV5(packet(0x36, b"\0\x01t\0\x01\0x")), Ends(&[0x81, 0x82])),
        case("a topic with #", AfterV5(publish_v5("a/#", &[])), Ends(&[0x81, 0x82, 0x90])),
        case("a topic with a zero", AfterV5(publish_v5("a\0b", &[])), Ends(&[0x81, 0x82, 0x90])),
        case("no topic and no alias", AfterV5(publish_v5("", &[])), Ends(&[0x81, 0x82, 0x90])),
        case("an alias that stands for nothing", AfterV5(publish_v5("", &[0x23, 0, 1])), Ends(&[0x82, 0x94])),
        case("an alias of 0", AfterV5(publish_v5("t", &[0x23, 0, 0])), Ends(&[0x81, 0x82, 0x94])),
        case("an alias twice", AfterV5(publish_v5("t", &[0x23, 0, 1, 0x23, 0, 1])), Ends(&[0x81, 0x82])),
        case("a subscription identifier of a client's", AfterV5(publish_v5("t", &[0x0b, 1])), Ends(&[0x81, 0x82]))
            .but_mosquitto("lets it pass"),
        case("a payload format of 2", AfterV5(publish_v5("t", &[0x01, 2])), Ends(&[0x81, 0x82]))
            .but_mosquitto("lets it pass"),
        case("an expiry twice", AfterV5(publish_v5("t", &[2, 0, 0, 0, 1, 2, 0, 0, 0, 1])), Ends(&[0x81, 0x82])),
        case("a wildcard to answer on", AfterV5(publish_v5("t", &[0x08, 0, 1, b'+'])), Ends(&[0x81, 0x82, 0x90]))
            .but_mosquitto("lets it pass"),
        case("a content type that is not UTF-8", AfterV5(publish_v5("t", &[0x03, 0, 1, 0xff])), Ends(&[0x81, 0x82])),
        case("a property of a CONNECT", AfterV5(publish_v5("t", &[0x11, 0, 0, 0, 1])), Ends(&[0x81, 0x82])),
        case("packet id 0", AfterV5(packet(0x32, b"\0\x01t\0\0\0x")), Ends(&[0x81, 0x82])),
        // Section 3.8: SUBSCRIBE.
        case("a SUBSCRIBE to nothing", AfterV5(packet(0x82, b"\0\x01\0")), Ends(&[0x81, 0x82])),
        case("an identifier of 0", AfterV5(subscribe_v5("t", 0, &[0x0b, 0])), Ends(&[0x81, 0x82])),
        case("two identifiers", AfterV5(subscribe_v5("t", 0, &[0x0b, 1, 0x0b, 2])), Ends(&[0x81, 0x82])),
        case("retain handling 3", AfterV5(subscribe_v5("t", 0x30, &[])), Ends(&[0x81, 0x82])),
        case("reserved bits of a subscription", AfterV5(subscribe_v5("t", 0x40, &[])), Ends(&[0x81, 0x82])),
        case("a subscription with QoS 3", AfterV5(subscribe_v5("t", 3, &[])), Ends(&[0x81, 0x82])),
        case("# before the end", AfterV5(subscribe_v5("a/#/b", 0, &[])), DeniesOrEnds),
        case("# beside other signs", AfterV5(subscribe_v5("a#", 0, &[])), DeniesOrEnds),
        case("+ beside other signs", AfterV5(subscribe_v5("a/b+/c", 0, &[])), DeniesOrEnds),
        case("an empty filter", AfterV5(subscribe_v5("", 0, &[])), DeniesOrEnds),
        case("a share without a filter", AfterV5(subscribe_v5("$share/g", 0, &[])), DeniesOrEnds)
            .but_mosquitto("lets it pass"),
        case("a share with an empty filter", AfterV5(subscribe_v5("$share/g/", 0, &[])), DeniesOrEnds)
            .but_mosquitto("lets it pass"),
        case("a share without a name", AfterV5(subscribe_v5("$share//t", 0, &[])), DeniesOrEnds)
            .but_mosquitto("lets it pass"),
        case("a share with a wildcard in its name", AfterV5(subscribe_v5("$share/g+/t", 0, &[])), DeniesOrEnds),
        case("an UNSUBSCRIBE from nothing", AfterV5(packet(0xa2, b"\0\x01\0")), Ends(&[0x81, 0x82])),
        // Acknowledgements.
        case("a PUBACK of nothing", AfterV5(vec![0x40, 2, 0, 1]), GoesOn),
        case("a PUBREC of nothing", AfterV5(vec![0x50, 2, 0, 1]), Answers(0x62, &[0, 1, 0x92]))
            .but_mosquitto("knows no such code"),
        case("a PUBREL of nothing", AfterV5(vec![0x62, 2, 0, 1]), Answers(0x70, &[0, 1, 0x92]))
            .but_mosquitto("knows no such code"),
        case("a PUBCOMP of nothing", AfterV5(vec![0x70, 2, 0, 1]), GoesOn),
        case("other flags in a PUBREL", AfterV5(vec![0x60, 2, 0, 1]), Ends(&[0x81, 0x82])),
        case("flags in a DISCONNECT", AfterV5(vec![0xe1, 0]), Ends(&[0x81, 0x82])),
        case(
            "a session that is to outlive a connection it was to end with",
            AfterV5(packet(0xe0, &[0, 5, 0x11, 0, 0, 0, 9])),
            Ends(&[0x82]),
        ),
    ]
}
