//! One behaviour after the other, over a loopback that loses nothing.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::net::UdpSocket;
use wharf_mqttsn::message::{Filter, Message, Publish, Qos, Return, Topic, WillTopic};

use crate::lab::{Gateway, Mosquitto, Sensor, connect, publish};

#[tokio::test]
async fn a_client_publishes_by_number_predefined_and_short_topic_at_every_qos() {
    let broker = Mosquitto::start().await;
    let gateway = Gateway::start(&broker, json!({ "predefined": { "7": "garden/soil" } })).await;
    let mut watcher = broker.listen("#").await;
    let sensor = Sensor::connected(gateway.address, "s1", true).await;
    let topic = sensor.register("garden/rain").await;
    assert_eq!(sensor.register("garden/rain").await, topic);

    sensor.say(&publish(Qos::AtMostOnce, Topic::Registered(topic), 0, "zero")).await;
    assert_eq!(watcher.next().await, "garden/rain 0 0 zero");
    sensor.say(&publish(Qos::AtLeastOnce, Topic::Predefined(7), 1, "one")).await;
    sensor.hears(&Message::PubAck { topic: 7, id: 1, code: Return::Accepted }).await;
    assert_eq!(watcher.next().await, "garden/soil 1 0 one");
    sensor.say(&publish(Qos::ExactlyOnce, Topic::Short(*b"t1"), 2, "two")).await;
    sensor.hears(&Message::PubRec { id: 2 }).await;
    sensor.say(&Message::PubRel { id: 2 }).await;
    sensor.hears(&Message::PubComp { id: 2 }).await;
    assert_eq!(watcher.next().await, "t1 2 0 two");

    sensor.say(&publish(Qos::AtLeastOnce, Topic::Registered(99), 3, "?")).await;
    sensor.hears(&Message::PubAck { topic: 99, id: 3, code: Return::InvalidTopic }).await;
    sensor.say(&Message::Disconnect { duration: None }).await;
    sensor.hears(&Message::Disconnect { duration: None }).await;
    gateway.known(|clients| clients == &json!([])).await;
    watcher.hears_nothing().await;
    gateway.stop().await;
}

#[tokio::test]
async fn subscriptions_bring_retained_and_new_messages_and_unknown_topics_are_told_first() {
    let broker = Mosquitto::start().await;
    for (aggregate, prefix) in [(false, "a"), (true, "b")] {
        let retained = format!("{prefix}/kept");
        broker.publish(&["-t", &retained, "-m", "old", "-r", "-q", "1"]).await;
        let gateway = Gateway::start(&broker, json!({ "aggregate": aggregate })).await;
        let sensor = Sensor::connected(gateway.address, "s1", true).await;
        let number = sensor.subscribe(Filter::Name(format!("{prefix}/#")), Qos::AtLeastOnce).await;
        assert_eq!(number, 0, "a wildcard has none");
        let Message::Register { topic, id, name } = sensor.next().await else { panic!("no number") };
        assert_eq!(name, retained);
        sensor.say(&Message::RegAck { topic, id, code: Return::Accepted }).await;
        let Message::Publish(old) = sensor.next().await else { panic!("no message") };
        assert_eq!(
            (old.topic, old.retain, old.qos, &old.data[..]),
            (Topic::Registered(topic), true, Qos::AtLeastOnce, &b"old"[..])
        );
        sensor.say(&Message::PubAck { topic, id: old.id, code: Return::Accepted }).await;

        broker.publish(&["-t", &retained, "-m", "new", "-q", "2"]).await;
        let new = sensor.delivered().await;
        assert_eq!(
            (new.topic, new.retain, new.qos, &new.data[..]),
            (Topic::Registered(topic), false, Qos::AtLeastOnce, &b"new"[..])
        );
        sensor.say(&Message::PubAck { topic, id: new.id, code: Return::Accepted }).await;

        sensor.say(&Message::Unsubscribe { id: 5, filter: Filter::Name(format!("{prefix}/#")) }).await;
        sensor.hears(&Message::UnsubAck { id: 5 }).await;
        broker.publish(&["-t", &retained, "-m", "unheard"]).await;
        sensor.hears_nothing().await;
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_message_of_qos_2_is_delivered_in_all_its_steps() {
    let broker = Mosquitto::start().await;
    let gateway = Gateway::start(&broker, json!({})).await;
    let sensor = Sensor::connected(gateway.address, "s1", true).await;
    sensor.subscribe(Filter::Short(*b"t1"), Qos::ExactlyOnce).await;
    broker.publish(&["-t", "t1", "-m", "two", "-q", "2"]).await;
    let Message::Publish(two) = sensor.next().await else { panic!("no message") };
    assert_eq!((two.topic, two.qos, two.dup), (Topic::Short(*b"t1"), Qos::ExactlyOnce, false));
    sensor.say(&Message::PubRec { id: two.id }).await;
    sensor.hears(&Message::PubRel { id: two.id }).await;
    sensor.say(&Message::PubComp { id: two.id }).await;
    sensor.hears_nothing().await;
    assert_eq!(gateway.count("delivered"), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_lost_client_s_will_is_published_and_one_that_leaves_has_none() {
    let broker = Mosquitto::start().await;
    for aggregate in [false, true] {
        let gateway = Gateway::start(&broker, json!({ "aggregate": aggregate })).await;
        let mut watcher = broker.listen("will/#").await;
        for leaves in [true, false] {
            let sensor = Sensor::at(gateway.address).await;
            sensor.say(&Message::Connect { will: true, clean: true, duration: 1, client: "s1".into() }).await;
            sensor.hears(&Message::WillTopicReq).await;
            let topic = WillTopic { qos: Qos::AtLeastOnce, retain: false, topic: "will/s1".into() };
            sensor.say(&Message::WillTopic(Some(topic))).await;
            sensor.hears(&Message::WillMsgReq).await;
            sensor.say(&Message::WillMsg(Bytes::from_static(b"gone"))).await;
            sensor.hears(&Message::ConnAck(Return::Accepted)).await;
            if leaves {
                sensor.say(&Message::Disconnect { duration: None }).await;
                sensor.hears(&Message::Disconnect { duration: None }).await;
                watcher.hears_nothing().await;
            } else {
                assert_eq!(watcher.next().await, "will/s1 1 0 gone");
            }
        }
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_short_topic_that_was_subscribed_to_by_name_comes_by_its_number() {
    let broker = Mosquitto::start().await;
    let gateway = Gateway::start(&broker, json!({})).await;
    let sensor = Sensor::connected(gateway.address, "s1", true).await;
    let topic = sensor.subscribe(Filter::Name("t1".into()), Qos::AtMostOnce).await;
    broker.publish(&["-t", "t1", "-m", "on"]).await;
    assert_eq!(sensor.delivered().await.topic, Topic::Registered(topic));
    gateway.stop().await;
}

#[tokio::test]
async fn a_will_can_be_changed() {
    let broker = Mosquitto::start().await;
    let gateway = Gateway::start(&broker, json!({})).await;
    let mut watcher = broker.listen("will/#").await;
    let sensor = Sensor::at(gateway.address).await;
    sensor.say(&Message::Connect { will: false, clean: true, duration: 1, client: "s1".into() }).await;
    sensor.hears(&Message::ConnAck(Return::Accepted)).await;
    let topic = WillTopic { qos: Qos::AtMostOnce, retain: false, topic: "will/s1".into() };
    sensor.say(&Message::WillTopicUpd(Some(topic))).await;
    sensor.hears(&Message::WillTopicResp(Return::Accepted)).await;
    sensor.say(&Message::WillMsgUpd(Bytes::from_static(b"later"))).await;
    sensor.hears(&Message::WillMsgResp(Return::Accepted)).await;
    assert_eq!(watcher.next().await, "will/s1 0 0 later");
    gateway.stop().await;
}

#[tokio::test]
async fn clients_find_the_gateway_by_asking_and_in_its_group() {
    let broker = Mosquitto::start().await;
    let group = format!("239.255.18.84:{}", crate::lab::free_address().port());
    let more = json!({ "group": group, "advertise": "15m", "gateway_id": 9, "allow": ["127.0.0.0/8"] });
    // It says so when it starts.
    let hears = wharf_mqttsn::field::member(group.parse().unwrap(), [127, 0, 0, 1].into()).unwrap();
    let gateway = Gateway::start(&broker, more).await;
    let mut buffer = [0; 100];
    let heard = tokio::time::timeout(crate::lab::PATIENCE, hears.recv(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(Message::read(&buffer[..heard]), Ok(Message::Advertise { gateway: 9, duration: 900 }));

    let sensor = Sensor::at(gateway.address).await;
    sensor.say(&Message::SearchGw { radius: 0 }).await;
    let found = Message::GwInfo { gateway: 9, address: Bytes::new() };
    sensor.hears(&found).await;
    let asks = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    asks.send_to(&Message::SearchGw { radius: 1 }.write().unwrap(), &group).await.unwrap();
    let (length, from) =
        tokio::time::timeout(crate::lab::PATIENCE, asks.recv_from(&mut buffer)).await.unwrap().unwrap();
    assert_eq!((Message::read(&buffer[..length]), from), (Ok(found), gateway.address));
    gateway.stop().await;
}

#[tokio::test]
async fn nodes_behind_a_forwarder_are_clients_of_their_own() {
    let broker = Mosquitto::start().await;
    let gateway = Gateway::start(&broker, json!({})).await;
    let mut watcher = broker.listen("#").await;
    let forwarder = Sensor::at(gateway.address).await;
    let through = |node: &'static [u8], message: Message| Message::Forwarded {
        radius: 0,
        node: Bytes::from_static(node),
        message: message.write().unwrap(),
    };
    for (node, id) in [(&b"\x01"[..], "n1"), (&b"\x02\x03"[..], "n2")] {
        forwarder.say(&through(node, connect(id, true))).await;
        forwarder.hears(&through(node, Message::ConnAck(Return::Accepted))).await;
    }
    forwarder.say(&through(b"\x02\x03", publish(Qos::AtLeastOnce, Topic::Short(*b"t2"), 4, "two"))).await;
    let code = Return::Accepted;
    forwarder.hears(&through(b"\x02\x03", Message::PubAck { topic: 0x7432, id: 4, code })).await;
    assert_eq!(watcher.next().await, "t2 1 0 two");
    let known = gateway.known(|clients| clients.as_array().is_some_and(|clients| clients.len() == 2)).await;
    assert!(known[1]["at"].as_str().unwrap().ends_with("/0203"), "{known}");
    gateway.stop().await;
}

#[tokio::test]
async fn who_has_not_connected_may_publish_where_the_site_file_says_so() {
    let broker = Mosquitto::start().await;
    let predefined = json!({ "7": "garden/soil" });
    let gateway = Gateway::start(&broker, json!({ "predefined": predefined, "qos_minus_one": true })).await;
    let mut watcher = broker.listen("#").await;
    let sensor = Sensor::at(gateway.address).await;
    sensor.say(&publish(Qos::Unconnected, Topic::Predefined(7), 0, "wet")).await;
    assert_eq!(watcher.next().await, "garden/soil 0 0 wet");
    sensor.say(&publish(Qos::Unconnected, Topic::Short(*b"t1"), 0, "on")).await;
    assert_eq!(watcher.next().await, "t1 0 0 on");
    sensor.say(&publish(Qos::Unconnected, Topic::Registered(1), 0, "?")).await;
    gateway.counted("refused_unconnected", 1).await;
    gateway.stop().await;

    let closed = Gateway::start(&broker, json!({ "predefined": predefined })).await;
    let sensor = Sensor::at(closed.address).await;
    sensor.say(&publish(Qos::Unconnected, Topic::Predefined(7), 0, "wet")).await;
    closed.counted("refused_unconnected", 1).await;
    sensor.hears_nothing().await;
    watcher.hears_nothing().await;
    closed.stop().await;
}

#[tokio::test]
async fn who_is_no_client_is_told_so() {
    let broker = Mosquitto::start().await;
    let gateway = Gateway::start(&broker, json!({})).await;
    let sensor = Sensor::at(gateway.address).await;
    let told = Message::Disconnect { duration: None };
    sensor.say(&Message::PingReq { client: None }).await;
    sensor.hears(&told).await;
    sensor.say(&Message::PingReq { client: Some("s1".into()) }).await;
    sensor.hears(&told).await;
    sensor.say(&publish(Qos::AtMostOnce, Topic::Short(*b"t1"), 0, "x")).await;
    sensor.hears(&told).await;
    // Two that both say so would never end.
    sensor.say(&told).await;
    sensor.hears_nothing().await;
    gateway.stop().await;
}

#[tokio::test]
async fn when_the_broker_goes_the_clients_are_told_and_the_session_ends() {
    let broker = Mosquitto::start().await;
    let gateway = Gateway::start(&broker, json!({})).await;
    let sensor = Sensor::connected(gateway.address, "s1", true).await;
    drop(broker);
    sensor.hears(&Message::Disconnect { duration: None }).await;
    assert!(gateway.ends().await.contains("is lost"));
}

#[tokio::test]
async fn clients_that_share_a_connection_hear_each_other_and_only_what_they_want() {
    let broker = Mosquitto::start().await;
    let gateway = Gateway::start(&broker, json!({ "aggregate": true })).await;
    let one = Sensor::connected(gateway.address, "s1", true).await;
    let two = Sensor::connected(gateway.address, "s2", true).await;
    let topic = two.subscribe(Filter::Name("to/two".into()), Qos::AtMostOnce).await;
    one.subscribe(Filter::Name("to/one".into()), Qos::AtMostOnce).await;
    let number = one.register("to/two").await;
    one.say(&publish(Qos::AtLeastOnce, Topic::Registered(number), 3, "hello")).await;
    one.hears(&Message::PubAck { topic: number, id: 3, code: Return::Accepted }).await;
    let Message::Publish(Publish { topic: Topic::Registered(heard), data, .. }) = two.next().await else {
        panic!("no message")
    };
    assert_eq!((heard, &data[..]), (topic, &b"hello"[..]));
    one.hears_nothing().await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_session_that_is_kept_brings_what_came_meanwhile() {
    let broker = Mosquitto::start().await;
    for aggregate in [false, true] {
        let gateway = Gateway::start(&broker, json!({ "aggregate": aggregate })).await;
        let id = if aggregate { "shared" } else { "alone" };
        let sensor = Sensor::connected(gateway.address, id, false).await;
        sensor.subscribe(Filter::Short(*b"t1"), Qos::AtLeastOnce).await;
        sensor.say(&Message::Disconnect { duration: None }).await;
        sensor.hears(&Message::Disconnect { duration: None }).await;
        // Until the broker knows, too.
        tokio::time::sleep(Duration::from_millis(300)).await;
        broker.publish(&["-t", "t1", "-m", "meanwhile", "-q", "1"]).await;
        let sensor = Sensor::connected(gateway.address, id, false).await;
        let waited = sensor.delivered().await;
        assert_eq!(&waited.data[..], b"meanwhile");
        gateway.stop().await;
    }
}
