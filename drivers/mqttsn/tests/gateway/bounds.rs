//! Who is let in, and how much of everything there may be.

use serde_json::json;
use wharf_mqttsn::message::{Message, Qos, Return, Topic};

use crate::lab::{Gateway, Mosquitto, Sensor, connect, publish};

#[tokio::test]
async fn who_is_not_listed_is_refused() {
    let broker = Mosquitto::start().await;
    let gateway = Gateway::start(&broker, json!({ "allow": ["s1", "127.0.0.0/8"] })).await;
    let sensor = Sensor::connected(gateway.address, "s1", true).await;
    sensor.say(&connect("s2", true)).await;
    sensor.hears(&Message::ConnAck(Return::NotSupported)).await;
    assert_eq!(gateway.count("not_allowed"), 1);
    gateway.stop().await;

    let open = Gateway::start(&broker, json!({})).await;
    let sensor = Sensor::at(open.address).await;
    // It would take the gateway's own connection over.
    sensor.say(&connect("mqttsn-field", true)).await;
    sensor.hears(&Message::ConnAck(Return::NotSupported)).await;
    open.stop().await;

    let elsewhere = Gateway::start(&broker, json!({ "allow": ["192.0.2.0/24"] })).await;
    let sensor = Sensor::at(elsewhere.address).await;
    sensor.say(&connect("s1", true)).await;
    sensor.say(&Message::SearchGw { radius: 0 }).await;
    elsewhere.counted("not_allowed", 2).await;
    sensor.hears_nothing().await;
    elsewhere.stop().await;
}

#[tokio::test]
async fn one_client_more_than_there_may_be_is_told_to_try_later() {
    let broker = Mosquitto::start().await;
    let gateway = Gateway::start(&broker, json!({ "clients": 2 })).await;
    let first = Sensor::connected(gateway.address, "s1", true).await;
    let _second = Sensor::connected(gateway.address, "s2", true).await;
    let third = Sensor::at(gateway.address).await;
    third.say(&connect("s3", true)).await;
    third.hears(&Message::ConnAck(Return::Congestion)).await;
    first.say(&Message::Disconnect { duration: None }).await;
    first.hears(&Message::Disconnect { duration: None }).await;
    third.say(&connect("s3", true)).await;
    third.hears(&Message::ConnAck(Return::Accepted)).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_flood_of_one_does_not_reach_the_others() {
    let broker = Mosquitto::start().await;
    let gateway = Gateway::start(&broker, json!({ "rate": 50 })).await;
    let calm = Sensor::connected(gateway.address, "calm", true).await;
    let mad = Sensor::connected(gateway.address, "mad", true).await;
    for number in 0..5000 {
        mad.say(&publish(Qos::AtMostOnce, Topic::Short(*b"xx"), 0, "flood")).await;
        mad.raw(&[number as u8; 30]).await;
    }
    for id in 1..=20 {
        calm.say(&publish(Qos::AtLeastOnce, Topic::Short(*b"t1"), id, "calm")).await;
        calm.hears(&Message::PubAck { topic: 0x7431, id, code: Return::Accepted }).await;
    }
    assert!(gateway.count("too_fast") > 1000, "{:?}", gateway.end.counts.read());
    gateway.stop().await;
}

#[tokio::test]
async fn nonsense_is_counted_and_harms_nobody() {
    let broker = Mosquitto::start().await;
    let gateway = Gateway::start(&broker, json!({ "rate": 100000 })).await;
    let sensor = Sensor::connected(gateway.address, "s1", true).await;
    let mut dice = fastrand::Rng::with_seed(7);
    let stranger = Sensor::at(gateway.address).await;
    for _ in 0..3000 {
        let mut bytes: Vec<u8> = (0..dice.usize(0..40)).map(|_| dice.u8(..)).collect();
        // Few would have a length that fits. No CONNECT among them, for its client would stay.
        if dice.bool() && bytes.len() > 1 {
            (bytes[0], bytes[1]) = (bytes.len() as u8, dice.u8(5..0x20));
        }
        if bytes.get(1) != Some(&4) {
            stranger.raw(&bytes).await;
        }
    }
    gateway.counted("malformed", 100).await;
    sensor.say(&Message::PingReq { client: None }).await;
    sensor.hears(&Message::PingResp).await;
    gateway.stop().await;
}
