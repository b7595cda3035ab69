//! Clients that sleep, and what waits for them.

use std::collections::BTreeSet;

use serde_json::json;
use wharf_mqttsn::message::{Filter, Message, Qos, Return};

use crate::lab::{Gateway, Mosquitto, Sensor, connect};

/// Wakes up, takes everything, and sleeps again. What was delivered, in order.
async fn wake(sensor: &Sensor, id: &str) -> Vec<String> {
    sensor.say(&Message::PingReq { client: Some(id.into()) }).await;
    let mut taken = Vec::new();
    loop {
        match sensor.next().await {
            Message::PingResp => return taken,
            Message::Register { topic, id, .. } => {
                sensor.say(&Message::RegAck { topic, id, code: Return::Accepted }).await;
            }
            Message::Publish(publish) => {
                if publish.qos == Qos::AtLeastOnce {
                    sensor.say(&Message::PubAck { topic: 0, id: publish.id, code: Return::Accepted }).await;
                }
                taken.push(String::from_utf8(publish.data.to_vec()).unwrap());
            }
            other => panic!("{other:?}"),
        }
    }
}

async fn sleep(sensor: &Sensor) {
    sensor.say(&Message::Disconnect { duration: Some(600) }).await;
    sensor.hears(&Message::Disconnect { duration: None }).await;
}

#[tokio::test]
async fn a_sleeping_client_misses_nothing_although_the_broker_sends_little_at_once() {
    let broker = Mosquitto::start().await;
    for aggregate in [false, true] {
        let gateway = Gateway::start(&broker, json!({ "aggregate": aggregate })).await;
        let sensor = Sensor::connected(gateway.address, "s1", true).await;
        sensor.subscribe(Filter::Name("to/s1".into()), Qos::AtLeastOnce).await;
        sleep(&sensor).await;
        // More than Mosquitto sends without an acknowledgement, which are 20.
        let all: Vec<String> = (0..60).map(|number| number.to_string()).collect();
        for number in &all {
            broker.publish(&["-t", "to/s1", "-m", number, "-q", "1"]).await;
        }
        sensor.hears_nothing().await;
        assert_eq!(wake(&sensor, "s1").await, all, "aggregate: {aggregate}");
        assert_eq!(wake(&sensor, "s1").await, [""; 0]);
        sensor.hears_nothing().await;
        gateway.known(|clients| clients[0]["state"] == "asleep").await;
        gateway.stop().await;
    }
}

#[tokio::test]
async fn of_what_waits_here_the_oldest_goes_and_is_counted() {
    let broker = Mosquitto::start().await;
    let gateway = Gateway::start(&broker, json!({ "buffer": 5 })).await;
    let sensor = Sensor::connected(gateway.address, "s1", true).await;
    sensor.subscribe(Filter::Short(*b"t1"), Qos::AtMostOnce).await;
    sleep(&sensor).await;
    for number in 0..8 {
        broker.publish(&["-t", "t1", "-m", &number.to_string()]).await;
    }
    gateway.counted("dropped_buffer_full", 3).await;
    assert_eq!(wake(&sensor, "s1").await, ["3", "4", "5", "6", "7"]);
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_may_wake_up_elsewhere_and_connect_to_stay_awake() {
    let broker = Mosquitto::start().await;
    let gateway = Gateway::start(&broker, json!({})).await;
    let sensor = Sensor::connected(gateway.address, "s1", false).await;
    sensor.subscribe(Filter::Short(*b"t1"), Qos::AtLeastOnce).await;
    sleep(&sensor).await;
    broker.publish(&["-t", "t1", "-m", "a", "-q", "1"]).await;
    let elsewhere = Sensor::at(gateway.address).await;
    assert_eq!(wake(&elsewhere, "s1").await, ["a"]);

    broker.publish(&["-t", "t1", "-m", "b", "-q", "1"]).await;
    gateway.known(|clients| clients[0]["waiting"] == 1).await;
    elsewhere.say(&connect("s1", false)).await;
    elsewhere.hears(&Message::ConnAck(Return::Accepted)).await;
    let taken = elsewhere.delivered().await;
    assert_eq!(&taken.data[..], b"b");
    elsewhere.say(&Message::PubAck { topic: 0, id: taken.id, code: Return::Accepted }).await;
    broker.publish(&["-t", "t1", "-m", "c", "-q", "1"]).await;
    assert_eq!(&elsewhere.delivered().await.data[..], b"c", "it is awake");
    gateway.stop().await;
}

#[tokio::test]
async fn many_sleepers_each_get_their_own() {
    let broker = Mosquitto::start().await;
    let gateway = Gateway::start(&broker, json!({ "clients": 50 })).await;
    let mut sensors = Vec::new();
    for number in 0..50 {
        let id = format!("s{number}");
        let sensor = Sensor::connected(gateway.address, &id, true).await;
        sensor.subscribe(Filter::Name(format!("to/{id}")), Qos::AtLeastOnce).await;
        sleep(&sensor).await;
        sensors.push((id, sensor));
    }
    for (id, _) in &sensors {
        broker.publish(&["-t", &format!("to/{id}"), "-m", id, "-q", "1"]).await;
    }
    let mut taken = BTreeSet::new();
    for (id, sensor) in &sensors {
        let woken = wake(sensor, id).await;
        assert_eq!(woken, std::slice::from_ref(id));
        taken.extend(woken);
    }
    assert_eq!(taken.len(), 50);
    gateway.stop().await;
}
