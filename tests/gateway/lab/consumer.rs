//! A consumer that checks what it hears and keeps nothing else: readings that count, from nodes
//! that say `n<number>e` as V_CUSTOM.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rumqttc_v5 as mqtt;

use super::{PATIENCE, wait_for};

/// A node's number and the number it said.
pub type Said = (u64, u64);

/// What was said, from the end of a topic and the beginning of a payload: the form on the wire and
/// in the queue's files, where the one follows the other.
pub fn said(topic_and_payload: &[u8]) -> Option<Said> {
    let bytes = topic_and_payload.strip_prefix(b"gw1-out/")?;
    let text: String = bytes.iter().take(40).map(|&byte| char::from(byte)).collect();
    let (node, rest) = text.split_once("/1/1/0/24n")?;
    let (number, _) = rest.split_once('e')?;
    Some((node.parse().ok()?, number.parse().ok()?))
}

/// What the consumer has found out.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Readings that arrived, each counted once.
    pub arrived: u64,
    /// Readings that arrived again, for each time the gateway was gone, and after the last.
    pub again: Vec<u64>,
    /// The first readings that arrived for the first time after a later one of their node.
    pub late: Vec<Said>,
    /// When the first and the last reading arrived.
    pub times: Option<(Instant, Instant)>,
    /// How often the broker said that the gateway is gone.
    pub gone: usize,
    /// The highest number of each node, in what is live and in what is replayed: each is in order
    /// by itself.
    highest: BTreeMap<(u64, bool), u64>,
    seen: BTreeMap<u64, Vec<bool>>,
}

impl Tally {
    /// Whether this reading arrived.
    pub fn has(&self, (node, number): Said) -> bool {
        self.seen.get(&node).and_then(|seen| seen.get(number as usize)).is_some_and(|seen| *seen)
    }

    fn hear(&mut self, (node, number): Said, replayed: bool) {
        let now = Instant::now();
        self.times = Some((self.times.map_or(now, |(first, _)| first), now));
        let seen = self.seen.entry(node).or_default();
        seen.resize(seen.len().max(number as usize + 1), false);
        if std::mem::replace(&mut seen[number as usize], true) {
            match self.again.last_mut() {
                Some(again) => *again += 1,
                None => self.again.push(1),
            }
            return;
        }
        self.arrived += 1;
        let highest = self.highest.entry((node, replayed)).or_default();
        if number <= *highest && self.late.len() < 10 {
            self.late.push((node, number));
        }
        *highest = number.max(*highest);
    }

    fn gateway_is_gone(&mut self) {
        self.gone += 1;
        self.again.push(0);
    }
}

/// The consumer, connected to a broker on loopback as long as it lives.
pub struct Consumer {
    client: mqtt::Client,
    tally: Arc<Mutex<Tally>>,
    thread: Option<JoinHandle<()>>,
}

impl Consumer {
    /// Connects and subscribes. The broker keeps the session, should it restart.
    pub fn start(port: u16) -> Self {
        let id = format!("consumer-{}-{}", std::process::id(), fastrand::u64(..));
        let mut options = mqtt::MqttOptions::new(id, mqtt::Broker::tcp("127.0.0.1", port));
        options.set_clean_start(false).set_session_expiry_interval(Some(600)).set_keep_alive(60);
        let (client, connection) = mqtt::Client::builder(options).capacity(10).build();
        let tally: Arc<Mutex<Tally>> = Arc::default();
        let (subscribed, is_subscribed) = std::sync::mpsc::channel();
        let thread = std::thread::spawn({
            let (client, tally) = (client.clone(), tally.clone());
            move || listen(&client, connection, &tally, &subscribed)
        });
        is_subscribed.recv_timeout(PATIENCE).expect("the consumer cannot subscribe");
        Self { client, tally, thread: Some(thread) }
    }

    /// What it knows now, as far as `look` looks.
    pub fn look<T>(&self, look: impl FnOnce(&Tally) -> T) -> T {
        look(&self.tally.lock().unwrap())
    }

    /// Waits until it knows something.
    pub fn wait(&self, what: &str, known: impl Fn(&Tally) -> bool) {
        wait_for(what, PATIENCE, || self.look(&known).then_some(()));
    }

    /// For others who look.
    pub fn tally(&self) -> Arc<Mutex<Tally>> {
        self.tally.clone()
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let _ = self.client.disconnect_now();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listen(client: &mqtt::Client, mut connection: mqtt::Connection, tally: &Mutex<Tally>, subscribed: &Sender<()>) {
    for event in connection.iter() {
        match event {
            Ok(mqtt::Event::Incoming(mqtt::Packet::ConnAck(_))) => {
                // One filter after the other: the acknowledgement of the last one is for both.
                client.subscribe("gw1-sys/state", mqtt::mqttbytes::QoS::AtLeastOnce).unwrap();
                client.subscribe("gw1-out/#", mqtt::mqttbytes::QoS::AtLeastOnce).unwrap();
            }
            Ok(mqtt::Event::Incoming(mqtt::Packet::SubAck(_))) => {
                // Whoever asked may have stopped listening: this comes with every connection.
                let _ = subscribed.send(());
            }
            Ok(mqtt::Event::Incoming(mqtt::Packet::Publish(publish))) => hear(&publish, &mut tally.lock().unwrap()),
            Ok(_) => {}
            Err(mqtt::ConnectionError::RequestsDone) => return,
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn hear(publish: &mqtt::Publish, tally: &mut Tally) {
    if publish.topic == "gw1-sys/state" && publish.payload == "offline" && !publish.retain {
        tally.gateway_is_gone();
    }
    let replayed = publish.properties.as_ref().is_some_and(|properties| {
        properties.user_properties.iter().any(|(name, value)| (name.as_str(), value.as_str()) == ("replay", "true"))
    });
    if let Some(reading) = said(&[&publish.topic[..], &publish.payload[..]].concat()) {
        tally.hear(reading, replayed);
    }
}
