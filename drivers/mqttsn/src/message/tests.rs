use proptest::prelude::*;

use super::*;

/// A message and its bytes, both ways.
fn check(bytes: &[u8], message: &Message) {
    assert_eq!(Message::read(bytes).as_ref(), Ok(message));
    assert_eq!(message.write().unwrap(), bytes);
}

#[test]
fn messages_stand_in_bytes_as_the_specification_has_them() {
    check(&[5, 0x00, 7, 0x03, 0x84], &Message::Advertise { gateway: 7, duration: 900 });
    check(&[3, 0x01, 0], &Message::SearchGw { radius: 0 });
    check(&[3, 0x02, 1], &Message::GwInfo { gateway: 1, address: Bytes::new() });
    let connect = Message::Connect { will: true, clean: true, duration: 30, client: "s1".into() };
    check(b"\x08\x04\x0c\x01\x00\x1es1", &connect);
    check(&[3, 0x05, 1], &Message::ConnAck(Return::Congestion));
    let will = WillTopic { qos: Qos::AtLeastOnce, retain: true, topic: "w".into() };
    check(b"\x04\x07\x30w", &Message::WillTopic(Some(will)));
    check(&[2, 0x07], &Message::WillTopic(None));
    check(b"\x09\x0a\x00\x00\x00\x05a/b", &Message::Register { topic: 0, id: 5, name: "a/b".into() });
    let publish = Publish {
        dup: true,
        qos: Qos::AtLeastOnce,
        retain: false,
        topic: Topic::Short(*b"t1"),
        id: 9,
        data: Bytes::from_static(b"on"),
    };
    check(b"\x09\x0c\xa2t1\x00\x09on", &Message::Publish(publish));
    let subscribe = Message::Subscribe { dup: false, qos: Qos::ExactlyOnce, id: 2, filter: Filter::Predefined(300) };
    check(&[7, 0x12, 0x41, 0, 2, 1, 44], &subscribe);
    check(&[4, 0x18, 0, 60], &Message::Disconnect { duration: Some(60) });
    let message = Bytes::from_static(&[2, 0x16]);
    let forwarded = Message::Forwarded { radius: 1, node: Bytes::from_static(&[9, 8]), message };
    check(&[5, 0xFE, 1, 9, 8, 2, 0x16], &forwarded);
}

#[test]
fn a_long_message_has_a_length_of_three_bytes() {
    let message = Message::WillMsg(Bytes::from(vec![b'x'; 254]));
    let written = message.write().unwrap();
    assert_eq!(written.get(..4), Some(&[1, 1, 2, 0x09][..]));
    assert_eq!(Message::read(&written), Ok(message));
    let shorter = Message::WillMsg(Bytes::from(vec![b'x'; 253]));
    assert_eq!(shorter.write().unwrap().first(), Some(&255));
    let too_long = Message::WillMsg(Bytes::from(vec![b'x'; LONGEST]));
    assert_eq!(too_long.write(), Err(Malformed::TooLong));
}

#[test]
fn what_is_no_message_says_why() {
    let why = |bytes: &[u8]| Message::read(bytes).unwrap_err();
    assert_eq!(why(&[]), Malformed::Length);
    assert_eq!(why(&[0, 0x17]), Malformed::Length);
    assert_eq!(why(&[1, 0, 3, 0x17]), Malformed::Length);
    assert_eq!(why(&[3, 0x17]), Malformed::Length);
    assert_eq!(why(&[2, 0x17, 0]), Malformed::Length);
    assert_eq!(why(&[3, 0x17, 0]), Malformed::Fields);
    assert_eq!(why(&[2, 0x0B]), Malformed::Fields);
    assert_eq!(why(&[2, 0x03]), Malformed::Kind(3));
    assert_eq!(why(b"\x07\x04\x04\x02\x00\x1es"), Malformed::Protocol(2));
    assert_eq!(why(b"\x07\x04\x04\x01\x00\x1e\xff"), Malformed::Text);
    assert_eq!(why(b"\x08\x0a\x00\x00\x00\x05a\x00"), Malformed::Text);
    assert_eq!(why(&[7, 0x0C, 3, 0, 1, 0, 0]), Malformed::Flags);
    assert_eq!(why(b"\x04\x07\x60w"), Malformed::Flags);
}

fn name() -> impl Strategy<Value = String> {
    "[a-zé/+#0-9]{1,60}"
}

fn data() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..600).prop_map(Bytes::from)
}

fn will_topic() -> impl Strategy<Value = Option<WillTopic>> {
    proptest::option::of((0_u8..3, any::<bool>(), name()))
        .prop_map(|will| will.map(|(qos, retain, topic)| WillTopic { qos: Qos::from_bits(qos), retain, topic }))
}

fn filter() -> impl Strategy<Value = Filter> {
    prop_oneof![
        name().prop_map(Filter::Name),
        any::<u16>().prop_map(Filter::Predefined),
        any::<[u8; 2]>().prop_map(Filter::Short)
    ]
}

fn topic() -> impl Strategy<Value = Topic> {
    prop_oneof![
        any::<u16>().prop_map(Topic::Registered),
        any::<u16>().prop_map(Topic::Predefined),
        any::<[u8; 2]>().prop_map(Topic::Short)
    ]
}

fn code() -> impl Strategy<Value = Return> {
    any::<u8>().prop_map(Return::from_byte)
}

fn message() -> impl Strategy<Value = Message> {
    let qos = || (0_u8..4).prop_map(Qos::from_bits);
    let ids = || any::<(u16, u16)>();
    prop_oneof![
        any::<(u8, u16)>().prop_map(|(gateway, duration)| Message::Advertise { gateway, duration }),
        any::<u8>().prop_map(|radius| Message::SearchGw { radius }),
        (any::<u8>(), data()).prop_map(|(gateway, address)| Message::GwInfo { gateway, address }),
        (any::<(bool, bool, u16)>(), name()).prop_map(|((will, clean, duration), client)| Message::Connect {
            will,
            clean,
            duration,
            client
        }),
        code().prop_map(Message::ConnAck),
        Just(Message::WillTopicReq),
        will_topic().prop_map(Message::WillTopic),
        Just(Message::WillMsgReq),
        data().prop_map(Message::WillMsg),
        (ids(), name()).prop_map(|((topic, id), name)| Message::Register { topic, id, name }),
        (ids(), code()).prop_map(|((topic, id), code)| Message::RegAck { topic, id, code }),
        (any::<(bool, bool, u16)>(), qos(), topic(), data()).prop_map(|((dup, retain, id), qos, topic, data)| {
            Message::Publish(Publish { dup, qos, retain, topic, id, data })
        }),
        (ids(), code()).prop_map(|((topic, id), code)| Message::PubAck { topic, id, code }),
        any::<u16>().prop_map(|id| Message::PubRec { id }),
        any::<u16>().prop_map(|id| Message::PubRel { id }),
        any::<u16>().prop_map(|id| Message::PubComp { id }),
        (any::<(bool, u16)>(), qos(), filter()).prop_map(|((dup, id), qos, filter)| Message::Subscribe {
            dup,
            qos,
            id,
            filter
        }),
        (ids(), qos(), code()).prop_map(|((topic, id), qos, code)| Message::SubAck { qos, topic, id, code }),
        (any::<u16>(), filter()).prop_map(|(id, filter)| Message::Unsubscribe { id, filter }),
        any::<u16>().prop_map(|id| Message::UnsubAck { id }),
        proptest::option::of(name()).prop_map(|client| Message::PingReq { client }),
        Just(Message::PingResp),
        any::<Option<u16>>().prop_map(|duration| Message::Disconnect { duration }),
        will_topic().prop_map(Message::WillTopicUpd),
        code().prop_map(Message::WillTopicResp),
        data().prop_map(Message::WillMsgUpd),
        code().prop_map(Message::WillMsgResp),
        (0_u8..4, proptest::collection::vec(any::<u8>(), 0..250), data())
            .prop_map(|(radius, node, message)| Message::Forwarded { radius, node: node.into(), message }),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_the_same(message in message()) {
        prop_assert_eq!(Message::read(&message.write().unwrap()), Ok(message));
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_what_is_read_is_written_again(
        bytes in proptest::collection::vec(any::<u8>(), 0..64), kind in 0_u8..0x20,
    ) {
        // Few inputs would have a length that fits.
        let mut fitted = vec![u8::try_from(bytes.len() + 2).unwrap(), kind];
        fitted.extend_from_slice(&bytes);
        let _ = Message::read(&bytes);
        if let Ok(message) = Message::read(&fitted) {
            prop_assert_eq!(Message::read(&message.write().unwrap()), Ok(message));
        }
    }
}
