//! Over a radio that loses, doubles and reorders: nothing above QoS 0 is missed, and of QoS 2 nothing comes
//! twice.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, timeout};
use wharf_mqttsn::message::{Filter, Message, Publish, Qos, Return, Topic};

use crate::lab::{Gateway, Mosquitto, PATIENCE, Radio, Sensor, connect};

/// How long a client waits for an answer before it asks again.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// Asks until the answer comes. What else comes goes to `aside`.
async fn ask(sensor: &Sensor, question: Message, is_answer: impl Fn(&Message) -> bool, aside: &mut Vec<Message>) {
    let until = Instant::now() + PATIENCE;
    let mut question = question;
    while Instant::now() < until {
        sensor.say(&question).await;
        if let Message::Publish(publish) = &mut question {
            publish.dup = true;
        }
        let again = Instant::now() + ASK_AGAIN;
        while let Some(message) = sensor.within(again.saturating_duration_since(Instant::now())).await {
            if is_answer(&message) {
                return;
            }
            aside.push(message);
        }
    }
    panic!("no answer to {question:?}");
}

async fn through(seed: u64) {
    let broker = Mosquitto::start().await;
    let gateway = Gateway::start(&broker, json!({ "tries": 20, "rate": 10000 })).await;
    let radio = Radio::before(gateway.address, seed, 15).await;
    let mut watcher = broker.listen("up/#").await;
    let sensor = Sensor::at(radio.address).await;
    let mut aside = Vec::new();
    ask(&sensor, connect("s1", true), |m| *m == Message::ConnAck(Return::Accepted), &mut aside).await;
    let mut numbers = Vec::new();
    for (id, name) in [(1, "up/one"), (2, "up/two")] {
        let register = Message::Register { topic: 0, id, name: name.into() };
        ask(&sensor, register, |m| matches!(m, Message::RegAck { id: of, .. } if *of == id), &mut aside).await;
        numbers.push(u16::try_from(numbers.len() + 1).unwrap());
    }
    for id in 10..40_u16 {
        let qos = if id % 2 == 0 { Qos::ExactlyOnce } else { Qos::AtLeastOnce };
        let topic = Topic::Registered(numbers[usize::from(id % 2 == 0)]);
        let data = id.to_string().into_bytes().into();
        let message = Message::Publish(Publish { dup: false, qos, retain: false, topic, id, data });
        if qos == Qos::AtLeastOnce {
            ask(&sensor, message, |m| matches!(m, Message::PubAck { id: of, .. } if *of == id), &mut aside).await;
        } else {
            ask(&sensor, message, |m| *m == Message::PubRec { id }, &mut aside).await;
            ask(&sensor, Message::PubRel { id }, |m| *m == Message::PubComp { id }, &mut aside).await;
        }
    }
    let mut heard: HashMap<String, usize> = HashMap::new();
    while heard.len() < 30 {
        *heard.entry(watcher.next().await).or_default() += 1;
    }
    watcher.hears_nothing().await;
    for id in (10..40).step_by(2) {
        assert_eq!(heard.get(&format!("up/two 2 0 {id}")), Some(&1), "seed {seed}");
    }
    for id in (11..40).step_by(2) {
        assert!(heard.contains_key(&format!("up/one 1 0 {id}")), "seed {seed}");
    }
    gateway.stop().await;
}

async fn down(seed: u64) {
    let broker = Mosquitto::start().await;
    let gateway = Gateway::start(&broker, json!({ "tries": 20, "rate": 10000 })).await;
    let radio = Radio::before(gateway.address, seed, 15).await;
    let sensor = Sensor::at(radio.address).await;
    let mut aside = Vec::new();
    ask(&sensor, connect("s1", true), |m| *m == Message::ConnAck(Return::Accepted), &mut aside).await;
    let filter = Filter::Name("down/+".into());
    let subscribe = Message::Subscribe { dup: false, qos: Qos::ExactlyOnce, id: 1, filter };
    ask(&sensor, subscribe, |m| matches!(m, Message::SubAck { id: 1, .. }), &mut aside).await;
    for number in 0..20 {
        let (topic, qos) = if number % 2 == 0 { ("down/two", "2") } else { ("down/one", "1") };
        broker.publish(&["-t", topic, "-m", &number.to_string(), "-q", qos]).await;
    }
    // A message is known by its id: the gateway has given each its own.
    let mut taken: HashMap<String, usize> = HashMap::new();
    let mut seen = Vec::new();
    let all = async {
        // Its last answers may be lost as well, so it goes on until the gateway has them.
        while gateway.count("delivered") < 20 {
            match sensor.within(ASK_AGAIN).await {
                Some(Message::Register { topic, id, .. }) => {
                    sensor.say(&Message::RegAck { topic, id, code: Return::Accepted }).await;
                }
                Some(Message::Publish(Publish { qos, id, data, .. })) => {
                    if !seen.contains(&id) {
                        seen.push(id);
                        *taken.entry(String::from_utf8(data.to_vec()).unwrap()).or_default() += 1;
                    }
                    let is_once = qos == Qos::AtLeastOnce;
                    let code = Return::Accepted;
                    let answer = if is_once { Message::PubAck { topic: 0, id, code } } else { Message::PubRec { id } };
                    sensor.say(&answer).await;
                }
                Some(Message::PubRel { id }) => sensor.say(&Message::PubComp { id }).await,
                // An answer that came late, or twice.
                _ => {}
            }
        }
    };
    assert!(timeout(PATIENCE * 2, all).await.is_ok(), "seed {seed}: {:?}", gateway.end.counts.read());
    assert_eq!((taken.len(), taken.values().sum::<usize>()), (20, 20), "seed {seed}: {taken:?}");
    gateway.known(|clients| clients[0]["waiting"] == 0).await;
    assert_eq!(gateway.count("delivered"), 20, "seed {seed}");
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_published_over_a_bad_radio_reaches_the_broker_and_of_qos_2_once() {
    for seed in 1..=3 {
        through(seed).await;
    }
}

#[tokio::test]
async fn what_is_delivered_over_a_bad_radio_reaches_the_client() {
    for seed in 1..=3 {
        down(seed).await;
    }
}
