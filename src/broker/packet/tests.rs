use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use rumqttc_v4::mqttbytes::v4;
use rumqttc_v5::mqttbytes::v5;

use super::super::publication::{Origin, Properties, Publication, Qos};
use super::super::{packet, publication};
use super::incoming::{Frame, NoConnect, Requests, connect, frame};
use super::outgoing::Manner;
use super::*;

#[path = "../../../tests/fuzz/packets.rs"]
mod packets;

const LARGEST: usize = 1 << 20;

fn whole(bytes: &[u8]) -> Frame<'_> {
    let frame = frame(bytes, LARGEST).unwrap().expect("a whole packet");
    assert_eq!(frame.size, bytes.len());
    frame
}

fn read(version: Version, bytes: &[u8]) -> Result<Request, u8> {
    Requests::new(version).read(&whole(bytes)).map_err(|wrong| wrong.reason)
}

fn check_connect(bytes: &[u8], expected: Result<Version, u8>) {
    let found = connect(&whole(bytes)).map(|connect| connect.version).map_err(|no| match no {
        NoConnect::Version(_) => reason::UNSUPPORTED_PROTOCOL_VERSION,
        NoConnect::Wrong(_, wrong) | NoConnect::Foreign(wrong) => wrong.reason,
    });
    assert_eq!(found, expected, "{bytes:x?}");
}

#[test]
fn a_packet_is_cut_off_when_it_is_there_as_a_whole() {
    let bytes = [0x30, 0x05, 0, 1, b'a', b'h', b'i', 0xc0, 0];
    for length in 0..7 {
        assert_eq!(frame(&bytes[..length], LARGEST), Ok(None));
    }
    assert_eq!(frame(&bytes, LARGEST), Ok(Some(Frame { first: 0x30, body: &bytes[2..7], size: 7 })));
    assert_eq!(frame(&[0x30, 0x80, 0x80, 0x80], LARGEST), Ok(None));
    assert_eq!(frame(&[0x30, 0x80, 0x80, 0x80, 0x80], LARGEST).unwrap_err().reason, reason::MALFORMED_PACKET);
    // The length alone says that there is no use in waiting for the rest.
    assert_eq!(frame(&[0x30, 0x80, 0x80, 0x80, 0x01], LARGEST).unwrap_err().reason, reason::PACKET_TOO_LARGE);
    assert_eq!(frame(&bytes, 6).unwrap_err().reason, reason::PACKET_TOO_LARGE);
}

#[test]
fn a_connect_is_taken_at_its_word_or_refused_for_what_is_wrong_with_it() {
    let v3 = |flags: u8, rest: &[u8]| packet_of(0x10, &[b"\0\x04MQTT\x04", &[flags], b"\0\x3c", rest]);
    let v5 = |flags: u8, rest: &[u8]| packet_of(0x10, &[b"\0\x04MQTT\x05", &[flags], b"\0\x3c", rest]);
    check_connect(&v3(2, b"\0\x01c"), Ok(Version::V3));
    check_connect(&v5(2, b"\0\0\x01c"), Ok(Version::V5));
    // A password alone: MQTT 5 has learnt to allow it.
    check_connect(&v3(0x42, b"\0\x01c\0\x01p"), Err(0x81));
    check_connect(&v5(0x42, b"\0\0\x01c\0\x01p"), Ok(Version::V5));
    for (flags, rest) in [
        (3, &b"\0\x01c"[..]),          // the reserved flag
        (0x0a, b"\0\x01c"),            // a QoS of a will without one
        (0x22, b"\0\x01c"),            // the retain flag of a will without one
        (0x1e, b"\0\x01c\0\x01w\0\0"), // a will of QoS 3
        (2, b"\0\x01c!"),              // something left over
        (2, b"\0\x02c"),               // something missing
        (2, b"\0\x01\0"),              // U+0000
        (2, b"\0\x02\xc3\x28"),        // no UTF-8
        (0x82, b"\0\x01c"),            // a user that is not there
    ] {
        check_connect(&v3(flags, rest), Err(0x81));
    }
    check_connect(&v3(6, b"\0\x01c\0\x03w/#\0\0"), Err(0x90));
    check_connect(&v3(6, b"\0\x01c\0\0\0\0"), Err(0x82));
    for (properties, wrong) in [
        (&[0x21, 0, 0][..], 0x82),                     // a receive maximum of 0
        (&[0x27, 0, 0, 0, 0], 0x82),                   // a maximum packet size of 0
        (&[0x11, 0, 0, 0, 1, 0x11, 0, 0, 0, 1], 0x82), // the same twice
        (&[0x17, 2], 0x82),                            // a flag of 2
        (&[0x16, 0, 0], 0x82),                         // authentication data without a method
        (&[0x23, 0, 1], 0x82),                         // a property of another packet
        (&[0x7f, 0], 0x81),                            // one that does not exist
        (&[0x21, 0], 0x81),                            // one that ends early
    ] {
        let mut rest = vec![properties.len() as u8];
        rest.extend(properties);
        rest.extend(b"\0\x01c");
        check_connect(&v5(2, &rest), Err(wrong));
    }
    check_connect(&packet_of(0x10, &[b"\0\x04MQTT\x06\x02\0\0\0\0\x01c"]), Err(0x84));
    check_connect(&packet_of(0x10, &[b"\0\x06MQIsdp\x03\x02\0\0\0\x01c"]), Err(0x84));
    check_connect(&packet_of(0x10, &[b"\0\x04HTTP\x04\x02\0\0\0\x01c"]), Err(0x81));
    check_connect(&packet_of(0x11, &[b"\0\x04MQTT\x04\x02\0\0\0\x01c"]), Err(0x82));
    check_connect(&[0xc0, 0], Err(0x82));
}

#[test]
fn a_bridge_that_marks_its_version_is_told_to_try_without() {
    let bytes = packet_of(0x10, &[b"\0\x04MQTT\x84\x02\0\0\0\x01c"]);
    assert_eq!(connect(&whole(&bytes)), Err(NoConnect::Version(Version::V3)));
}

#[test]
fn what_a_client_may_not_send_is_refused_with_the_reason_for_it() {
    let both = [Version::V3, Version::V5];
    let (v3, v5) = ([Version::V3], [Version::V5]);
    let check = |versions: &[Version], bytes: &[u8], wrong: u8| {
        for version in versions {
            assert_eq!(read(*version, bytes), Err(wrong), "{version:?} {bytes:x?}");
        }
    };
    check(&both, &[0x36, 6, 0, 1, b'a', 0, 1, 0], 0x81); // QoS 3
    check(&both, &[0x38, 4, 0, 1, b'a', 0], 0x81); // a duplicate at QoS 0
    check(&both, &[0x32, 6, 0, 1, b'a', 0, 0, 0], 0x81); // packet id 0
    check(&both, &[0x30, 4, 0, 1, b'#', 0], 0x90);
    check(&both, &[0x30, 6, 0, 3, b'a', b'/', b'+', 0], 0x90);
    check(&both, &[0x30, 4, 0, 1, 0, 0], 0x81);
    check(&both, &[0x30, 5, 0, 2, 0xed, 0xa0, 0], 0x81);
    check(&both, &[0x30, 3, 0, 0, 0], 0x82); // neither topic nor alias
    check(&both, &[0x30, 1, 0], 0x81);
    check(&v5, &[0x30, 6, 0, 1, b'a', 2, 11, 1], 0x82); // a subscription identifier
    check(&v5, &[0x30, 6, 0, 1, b'a', 2, 1, 2], 0x82); // a payload format of 2
    check(&v5, &[0x30, 10, 0, 1, b'a', 6, 35, 0, 1, 35, 0, 1], 0x82); // two aliases
    check(&v5, &[0x30, 8, 0, 1, b'a', 4, 8, 0, 1, b'#'], 0x90);
    check(&v5, &[0x30, 5, 0, 1, b'a', 9, 0], 0x81); // properties longer than the packet
    check(&both, &[0x41, 2, 0, 1], 0x81); // reserved flags
    check(&both, &[0x60, 2, 0, 1], 0x81);
    check(&both, &[0x40, 2, 0, 0], 0x81);
    check(&both, &[0x40, 1, 0], 0x81);
    check(&v3, &[0x40, 3, 0, 1, 0], 0x81);
    check(&v5, &[0x40, 6, 0, 1, 0, 2, 1, 1], 0x82); // a property of another packet
    check(&both, &[0x80, 6, 0, 1, 0, 1, b'a', 0], 0x81);
    check(&v3, &[0x82, 2, 0, 1], 0x82); // no filter
    check(&v5, &[0x82, 3, 0, 1, 0], 0x82);
    check(&v3, &[0x82, 6, 0, 1, 0, 1, b'a', 3], 0x81);
    check(&v3, &[0x82, 6, 0, 1, 0, 1, b'a', 4], 0x81); // an option of MQTT 5
    check(&v5, &[0x82, 7, 0, 1, 0, 0, 1, b'a', 0x40], 0x81);
    check(&v5, &[0x82, 7, 0, 1, 0, 0, 1, b'a', 0x30], 0x82); // a retain handling of 3
    check(&v5, &[0x82, 9, 0, 1, 2, 11, 0, 0, 1, b'a', 0], 0x82); // a subscription identifier of 0
    check(&v5, &[0x82, 11, 0, 1, 4, 11, 1, 11, 2, 0, 1, b'a', 0], 0x82);
    check(&v3, &[0xa2, 2, 0, 1], 0x82);
    check(&v3, &[0xa2, 5, 0, 0, 0, 1, b'a'], 0x81);
    check(&both, &[0xc0, 1, 0], 0x81);
    check(&v3, &[0xe0, 1, 0], 0x81);
    check(&v5, &[0xe0, 9, 0, 7, 28, 0, 1, b'a', 17, 0, 0], 0x82); // what only a broker says
    check(&v3, &[0xf0, 0], 0x81);
    check(&both, &[0x10, 0], 0x82);
    for from_broker in [0x20, 0x90, 0xb0, 0xd0] {
        check(&both, &[from_broker, 0], 0x82);
    }
    check(&both, &[0x00, 0], 0x81);
}

#[test]
fn what_may_be_left_out_may_be_left_out() {
    let v5 = |bytes: &[u8]| read(Version::V5, bytes);
    assert_eq!(v5(&[0x40, 2, 0, 1]), Ok(Request::PubAck { id: 1, reason: 0 }));
    assert_eq!(v5(&[0x50, 3, 0, 1, 0x87]), Ok(Request::PubRec { id: 1, reason: 0x87 }));
    assert_eq!(v5(&[0x62, 4, 0, 1, 0x92, 0]), Ok(Request::PubRel { id: 1 }));
    assert_eq!(v5(&[0x70, 8, 0, 1, 0, 4, 31, 0, 1, b'x']), Ok(Request::PubComp { id: 1 }));
    assert_eq!(v5(&[0xe0, 0]), Ok(Request::Disconnect { reason: 0, session_expiry: None }));
    assert_eq!(v5(&[0xe0, 1, 4]), Ok(Request::Disconnect { reason: 4, session_expiry: None }));
    assert_eq!(v5(&[0xe0, 7, 0, 5, 17, 0, 0, 0, 9]), Ok(Request::Disconnect { reason: 0, session_expiry: Some(9) }));
    assert_eq!(v5(&[0xf0, 0]), Ok(Request::Auth));
    let Ok(Request::Publish(by_alias)) = v5(&[0x30, 6, 0, 0, 3, 35, 0, 7]) else { panic!("an alias will do") };
    assert_eq!((&*by_alias.topic, by_alias.alias), ("", Some(7)));
}

#[test]
fn topics_that_come_again_are_shared() {
    let mut requests = Requests::new(Version::V3);
    let mut topic_of = |bytes: &[u8]| match requests.read(&whole(bytes)) {
        Ok(Request::Publish(publish)) => publish.topic,
        other => panic!("{other:?}"),
    };
    let [first, again, other] =
        [b"\x30\x04\0\x01a1", b"\x30\x04\0\x01a2", b"\x30\x04\0\x01b3"].map(|bytes| topic_of(bytes));
    assert!(Arc::ptr_eq(&first, &again));
    assert_eq!(&*other, "b");
}

#[test]
fn no_packet_is_larger_than_its_receiver_takes() {
    let manner = Manner { version: Version::V5, wants_reasons: true, largest: 20 };
    let mut out = BytesMut::new();
    assert!(manner.write(&Reply::Disconnect { reason: 0x8e, words: Some("words that are too many") }, &mut out));
    assert_eq!(&out[..], [0xe0, 2, 0x8e, 0], "the words are left out");
    out.clear();
    assert!(manner.write(&Reply::Disconnect { reason: 0x8e, words: Some("words") }, &mut out));
    assert_eq!(&out[..], b"\xe0\x0a\x8e\x08\x1f\0\x05words");
    out.clear();
    assert!(!manner.write(&Reply::SubAck { id: 1, reasons: vec![0; 40] }, &mut out));
    assert!(out.is_empty());
    let delivery = |length| Delivery {
        publication: Arc::new(Publication::new("a", vec![0; length])),
        qos: Qos::AtLeastOnce,
        retain: false,
        duplicate: false,
        id: 1,
        subscriptions: Vec::new(),
        expiry: None,
    };
    assert!(!manner.write(&Reply::Publish(delivery(13)), &mut out));
    assert!(manner.write(&Reply::Publish(delivery(12)), &mut out));
    assert_eq!((out.len(), delivery(12).size(Version::V5)), (20, 20));
}

/// The client crate loses its place behind the first of several numbers, so these are looked at by hand.
#[test]
fn a_delivery_for_several_subscriptions_bears_all_their_numbers() {
    let delivery = Delivery {
        publication: Arc::new(Publication::new("a", "x")),
        qos: Qos::AtMostOnce,
        retain: false,
        duplicate: false,
        id: 0,
        subscriptions: vec![1, 300],
        expiry: None,
    };
    let mut out = BytesMut::new();
    assert!(Manner::plain(Version::V5).write(&Reply::Publish(delivery), &mut out));
    assert_eq!(&out[..], b"\x30\x0a\0\x01a\x05\x0b\x01\x0b\xac\x02x");
}

#[test]
fn a_client_of_3_1_1_gets_its_own_codes() {
    let written = |reply: Reply| {
        let mut out = BytesMut::new();
        assert!(Manner::plain(Version::V3).write(&reply, &mut out));
        out.to_vec()
    };
    let refused = |reason| written(Reply::ConnAck(ConnAck { reason, ..ConnAck::default() }));
    for (reason, code) in [(0, 0), (0x84, 1), (0x85, 2), (0x97, 3), (0x86, 4), (0x87, 5), (0x8b, 3)] {
        assert_eq!(refused(reason), [0x20, 2, 0, code]);
    }
    assert_eq!(
        written(Reply::SubAck { id: 7, reasons: vec![0, 1, 2, 0x87, 0x8f] }),
        b"\x90\x07\0\x07\0\x01\x02\x80\x80"
    );
    assert_eq!(written(Reply::UnsubAck { id: 7, reasons: vec![0x11] }), b"\xb0\x02\0\x07");
    assert_eq!(written(Reply::PubAck { id: 7, reason: 0x87 }), b"\x40\x02\0\x07");
    assert_eq!(written(Reply::Disconnect { reason: 0x8e, words: None }), b"");
}

#[test]
fn an_answer_in_mqtt_5_is_read_by_a_client_as_it_was_meant() {
    let answer = ConnAck {
        session_present: true,
        client: Some("auto-1".into()),
        session_expiry: Some(60),
        keep_alive: Some(30),
        receive_maximum: 100,
        maximum_packet: 65_536,
        topic_aliases: 64,
        ..ConnAck::default()
    };
    let mut out = BytesMut::new();
    assert!(Manner::plain(Version::V5).write(&Reply::ConnAck(answer), &mut out));
    let v5::Packet::ConnAck(read) = v5::Packet::read(&mut out, None).unwrap() else { panic!("a CONNACK") };
    let properties = read.properties.unwrap();
    assert!(read.session_present && out.is_empty());
    assert_eq!(properties.assigned_client_identifier.as_deref(), Some("auto-1"));
    assert_eq!((properties.session_expiry_interval, properties.server_keep_alive), (Some(60), Some(30)));
    assert_eq!((properties.receive_max, properties.max_packet_size), (Some(100), Some(65_536)));
    assert_eq!(properties.topic_alias_max, Some(64));
}

proptest! {
    #[test]
    fn a_delivery_is_read_by_a_client_as_it_was_meant(delivery in deliveries()) {
        let publication = delivery.publication.clone();
        let mut out = BytesMut::new();
        prop_assert!(Manner::plain(Version::V3).write(&Reply::Publish(delivery.clone()), &mut out));
        prop_assert_eq!(out.len(), delivery.size(Version::V3));
        let v4::Packet::Publish(read) = v4::Packet::read(&mut out, LARGEST).unwrap() else { panic!("a PUBLISH") };
        prop_assert_eq!(&read.topic[..], publication.topic.as_bytes());
        prop_assert_eq!((&read.payload, read.pkid), (&publication.payload, delivery.id));
        prop_assert_eq!((read.dup, read.qos as u8, read.retain), (delivery.duplicate, delivery.qos as u8, delivery.retain));

        out.clear();
        prop_assert!(Manner::plain(Version::V5).write(&Reply::Publish(delivery.clone()), &mut out));
        prop_assert_eq!(out.len(), delivery.size(Version::V5));
        let v5::Packet::Publish(read) = v5::Packet::read(&mut out, None).unwrap() else { panic!("a PUBLISH") };
        prop_assert!(out.is_empty());
        prop_assert_eq!(&read.topic[..], publication.topic.as_bytes());
        prop_assert_eq!((&read.payload, read.pkid), (&publication.payload, delivery.id));
        prop_assert_eq!((read.dup, read.qos as u8, read.retain), (delivery.duplicate, delivery.qos as u8, delivery.retain));
        let found = read.properties.unwrap_or_default();
        let meant = publication.properties.as_deref().cloned().unwrap_or_default();
        prop_assert_eq!(found.message_expiry_interval, delivery.expiry);
        let numbers: Vec<u32> = found.subscription_identifiers.iter().map(|number| *number as u32).collect();
        prop_assert_eq!(numbers, delivery.subscriptions);
        prop_assert_eq!(found.payload_format_indicator.map(|flag| flag == 1), meant.is_text);
        prop_assert_eq!((found.content_type, found.response_topic), (meant.content_type, meant.response_topic));
        prop_assert_eq!((found.correlation_data, found.user_properties), (meant.correlation, meant.user));
    }

    #[test]
    fn what_a_client_publishes_is_read_as_it_was_meant(delivery in deliveries()) {
        // What the broker sends looks like what a client sends, but for the numbers of subscriptions.
        let sent = Delivery { subscriptions: Vec::new(), ..delivery };
        for version in [Version::V3, Version::V5] {
            let mut out = BytesMut::new();
            prop_assert!(Manner::plain(version).write(&Reply::Publish(sent.clone()), &mut out));
            let Ok(Request::Publish(read)) = read(version, &out) else { panic!("a PUBLISH") };
            prop_assert_eq!((&read.topic, &read.payload), (&sent.publication.topic, &sent.publication.payload));
            prop_assert_eq!((read.qos, read.id), (sent.qos, sent.id));
            prop_assert_eq!((read.retain, read.duplicate), (sent.retain, sent.duplicate));
            if version == Version::V5 {
                prop_assert_eq!(read.expiry, sent.expiry.map(|seconds| Duration::from_secs(seconds.into())));
                prop_assert_eq!(read.properties, sent.publication.properties.clone());
            }
        }
    }

    #[test]
    fn what_a_client_subscribes_to_is_read_as_it_was_meant(
        filters in prop::collection::vec(("[a-z/+#]{1,12}", 0_u8..3, any::<bool>(), any::<bool>(), 0_u8..3), 1..5),
        identifier in prop::option::of(1_usize..268_435_456),
        id in 1_u16..,
    ) {
        let mut out = BytesMut::new();
        let rules = [v5::RetainForwardRule::OnEverySubscribe, v5::RetainForwardRule::OnNewSubscribe, v5::RetainForwardRule::Never];
        let filter = |(path, qos, nolocal, preserve_retain, rule): &(String, u8, bool, bool, u8)| v5::SubscribeFilter {
            path: path.clone(),
            qos: rumqttc_v5::mqttbytes::qos(*qos).unwrap(),
            nolocal: *nolocal,
            preserve_retain: *preserve_retain,
            retain_forward_rule: rules[usize::from(*rule)].clone(),
        };
        let properties = v5::SubscribeProperties { id: identifier, user_properties: vec![("a".into(), "b".into())] };
        let subscribe = v5::Subscribe { pkid: id, filters: filters.iter().map(filter).collect(), properties: Some(properties) };
        v5::Packet::Subscribe(subscribe).write(&mut out, None).unwrap();
        let Ok(Request::Subscribe { id: read_id, filters: read_filters, identifier: number }) = read(Version::V5, &out) else {
            panic!("a SUBSCRIBE");
        };
        prop_assert_eq!((read_id, number), (id, identifier.map(|number| number as u32)));
        let kinds = [RetainedWanted::All, RetainedWanted::IfNew, RetainedWanted::None];
        for (wanted, (path, qos, no_local, as_published, rule)) in read_filters.iter().zip(&filters) {
            prop_assert_eq!((&wanted.filter, wanted.qos as u8), (path, *qos));
            prop_assert_eq!((wanted.no_local, wanted.retain_as_published), (*no_local, *as_published));
            prop_assert_eq!(wanted.retained, kinds[usize::from(*rule)]);
        }
        prop_assert_eq!(read_filters.len(), filters.len());
    }
}

#[test]
fn a_client_of_the_other_crate_is_understood_when_it_connects() {
    let will = v5::LastWill {
        topic: Bytes::from_static(b"gone"),
        message: Bytes::from_static(b"1"),
        qos: rumqttc_v5::mqttbytes::QoS::ExactlyOnce,
        retain: true,
        properties: Some(v5::LastWillProperties {
            delay_interval: Some(7),
            payload_format_indicator: Some(1),
            message_expiry_interval: Some(9),
            content_type: Some("text/plain".into()),
            response_topic: Some("r".into()),
            correlation_data: Some(Bytes::from_static(b"c")),
            user_properties: vec![("k".into(), "v".into())],
        }),
    };
    let mut properties = v5::ConnectProperties::new();
    properties.session_expiry_interval = Some(60);
    properties.receive_maximum = Some(5);
    properties.max_packet_size = Some(1000);
    properties.request_problem_info = Some(0);
    let connect_packet =
        v5::Connect { keep_alive: 30, client_id: "c".into(), clean_start: false, properties: Some(properties) };
    let auth = v5::ConnectAuth::UsernamePassword { username: "u".into(), password: Bytes::from_static(b"p") };
    let mut out = BytesMut::new();
    v5::Packet::Connect(connect_packet, Some(will), auth).write(&mut out, None).unwrap();
    let read = connect(&whole(&out)).unwrap();
    let properties = Properties {
        is_text: Some(true),
        content_type: Some("text/plain".into()),
        response_topic: Some("r".into()),
        correlation: Some(Bytes::from_static(b"c")),
        user: vec![("k".into(), "v".into())],
    };
    assert_eq!(
        read,
        Connect {
            version: Version::V5,
            client: "c".into(),
            clean_start: false,
            keep_alive: 30,
            session_expiry: 60,
            receive_maximum: 5,
            maximum_packet: Some(1000),
            topic_aliases: 0,
            wants_reasons: false,
            user: Some("u".into()),
            password: Some(Bytes::from_static(b"p").into()),
            will: Some(Will {
                topic: "gone".into(),
                payload: Bytes::from_static(b"1"),
                qos: Qos::ExactlyOnce,
                retain: true,
                delay: Duration::from_secs(7),
                expiry: Some(Duration::from_secs(9)),
                properties: Some(Box::new(properties)),
            }),
            authentication_method: None,
        }
    );
}

/// The fuzz target, over seeded inputs, so that it is tried with every `cargo test`.
#[test]
fn no_bytes_make_the_reader_panic_or_read_past_the_end() {
    for seed in 0..3000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut input = vec![random.u8(..), random.u8(..)];
        for _ in 0..random.usize(1..6) {
            // Half-good packets get further than dice do.
            let body: Vec<u8> = (0..random.usize(0..40))
                .map(|_| {
                    if random.bool() {
                        random.u8(0..12)
                    } else {
                        *random.choice(b"aM/+#\x26\x0b\x11\x21\x23\x27\xff").unwrap()
                    }
                })
                .collect();
            input.extend([random.u8(..), body.len() as u8]);
            input.extend(body);
        }
        packets::run(&input);
    }
}

fn packet_of(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut packet = vec![first, u8::try_from(body.len()).unwrap()];
    packet.extend(body);
    packet
}

fn deliveries() -> impl Strategy<Value = Delivery> {
    let text = || prop::option::of("[a-zé€/]{1,40}");
    let properties =
        (prop::option::of(any::<bool>()), text(), text(), prop::option::of(prop::collection::vec(any::<u8>(), 0..40)))
            .prop_flat_map(|(is_text, content_type, response_topic, correlation)| {
                prop::collection::vec(("[a-z]{0,8}", "[a-z]{0,200}"), 0..3).prop_map(move |user| Properties {
                    is_text,
                    content_type: content_type.clone(),
                    response_topic: response_topic.clone(),
                    correlation: correlation.clone().map(Bytes::from),
                    user,
                })
            });
    let flags = (0..3_usize, any::<bool>(), any::<bool>(), 1_u16..);
    let numbers = (prop::collection::vec(1_u32..268_435_456, 0..2), prop::option::of(any::<u32>()));
    ("[a-zé€/]{1,200}", prop::collection::vec(any::<u8>(), 0..300), properties, flags, numbers).prop_map(
        |(topic, payload, properties, (qos, retain, duplicate, id), (subscriptions, expiry))| {
            let qos = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce][qos];
            let is_tracked = qos != Qos::AtMostOnce;
            let properties = (properties != Properties::default()).then(|| Box::new(properties));
            let publication =
                Publication { qos, from: Origin::Gateway, properties, ..Publication::new(topic, payload) };
            Delivery {
                publication: Arc::new(publication),
                qos,
                retain,
                duplicate: duplicate && is_tracked,
                id: if is_tracked { id } else { 0 },
                subscriptions,
                expiry,
            }
        },
    )
}
