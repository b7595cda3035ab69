//! A pretended Tasmota plug, as its maker's documents describe it: it says what it measures, obeys `cmnd`,
//! and has a last will.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rumqttc_v4 as mqtt;

use super::{PATIENCE, wait_for};

/// A plug that is connected. Dropped, it vanishes without a word, and the broker tells its last will.
pub struct Tasmota {
    client: mqtt::Client,
    topic: String,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    is_on: AtomicBool,
    is_stubborn: AtomicBool,
    is_gone: AtomicBool,
    is_there: AtomicBool,
    obeyed: Mutex<Vec<String>>,
}

impl Tasmota {
    /// Plugs it in. Returns when the broker knows it.
    pub fn plug(port: u16, topic: &str) -> Self {
        let id = format!("tasmota-{}", fastrand::u64(..));
        let mut options = mqtt::MqttOptions::new(id, mqtt::Broker::tcp("127.0.0.1", port));
        let qos = mqtt::mqttbytes::QoS::AtLeastOnce;
        options.set_keep_alive(5).set_last_will(mqtt::LastWill::new(format!("tele/{topic}/LWT"), "Offline", qos, true));
        let (client, mut connection) = mqtt::Client::builder(options).capacity(100).build();
        let shared: Arc<Shared> = Arc::default();
        let mut plug =
            Self { client: client.clone(), topic: topic.to_owned(), shared: Arc::clone(&shared), thread: None };
        let thread = std::thread::spawn({
            let topic = topic.to_owned();
            move || {
                while !shared.is_gone.load(Ordering::Relaxed) {
                    match connection.recv_timeout(Duration::from_millis(50)) {
                        Ok(Ok(mqtt::Event::Incoming(mqtt::Packet::ConnAck(_)))) => {
                            client.subscribe(format!("cmnd/{topic}/#"), qos).unwrap();
                        }
                        Ok(Ok(mqtt::Event::Incoming(mqtt::Packet::SubAck(_)))) => {
                            say(&client, &format!("tele/{topic}/LWT"), "Online", true);
                            shared.is_there.store(true, Ordering::Relaxed);
                        }
                        Ok(Ok(mqtt::Event::Incoming(mqtt::Packet::Publish(publish)))) => {
                            let to = String::from_utf8_lossy(&publish.topic).into_owned();
                            let what = String::from_utf8_lossy(&publish.payload).into_owned();
                            shared.obey(&client, &topic, &to, &what);
                        }
                        Ok(Err(_)) => std::thread::sleep(Duration::from_millis(50)),
                        _ => {}
                    }
                }
                // Without a DISCONNECT: the connection just ends.
                drop(connection);
            }
        });
        plug.thread = Some(thread);
        wait_for("the plug to be connected", PATIENCE, || plug.shared.is_there.load(Ordering::Relaxed).then_some(()));
        plug
    }

    /// Says what it measures, as it does every five minutes.
    pub fn measure(&self, watts: f64) {
        let payload = format!(
            r#"{{"Time":"2026-11-21T18:45:00","ENERGY":{{"Total":2.896,"Today":0.155,"Power":{watts},"Factor":0.77,"Voltage":236,"Current":0.159}}}}"#
        );
        say(&self.client, &format!("tele/{}/SENSOR", self.topic), &payload, false);
    }

    /// From now on it says that it does what it is told, and does not.
    pub fn be_stubborn(&self, stubborn: bool) {
        self.shared.is_stubborn.store(stubborn, Ordering::Relaxed);
    }

    /// What it was told to switch to so far.
    pub fn obeyed(&self) -> Vec<String> {
        self.shared.obeyed.lock().unwrap().clone()
    }
}

impl Shared {
    fn obey(&self, client: &mqtt::Client, topic: &str, to: &str, what: &str) {
        if to == format!("cmnd/{topic}/POWER") {
            self.obeyed.lock().unwrap().push(what.to_owned());
            if !self.is_stubborn.load(Ordering::Relaxed) {
                self.is_on.store(what == "ON", Ordering::Relaxed);
            }
        } else if to != format!("cmnd/{topic}/State") {
            return;
        }
        let power = if self.is_on.load(Ordering::Relaxed) { "ON" } else { "OFF" };
        say(client, &format!("stat/{topic}/RESULT"), &format!(r#"{{"POWER":"{power}"}}"#), false);
        say(client, &format!("stat/{topic}/POWER"), power, false);
    }
}

fn say(client: &mqtt::Client, topic: &str, payload: &str, retain: bool) {
    let options = mqtt::PublishOptions::new(mqtt::mqttbytes::QoS::AtLeastOnce).retain(retain);
    client.publish(topic.to_owned(), payload.to_owned(), options).unwrap();
}

impl Drop for Tasmota {
    fn drop(&mut self) {
        self.shared.is_gone.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
