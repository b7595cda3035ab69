//! An ordinary MQTT 5 client that remembers everything it hears.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rumqttc_v5 as mqtt;
use serde_json::Value as Json;

use super::{PATIENCE, wait_for};

/// One message as it arrived.
#[derive(Clone, Debug)]
pub struct Heard {
    pub topic: String,
    pub payload: String,
    pub retained: bool,
    pub correlation: Option<Vec<u8>>,
    /// Whether it says of itself that it is replayed.
    pub replayed: bool,
}

impl Heard {
    /// The payload as JSON.
    pub fn json(&self) -> Json {
        serde_json::from_str(&self.payload).unwrap_or_else(|error| panic!("{}: {error}", self.payload))
    }
}

/// A connected client. It comes back by itself when the broker does, to the session it had there.
pub struct Client {
    id: String,
    client: mqtt::Client,
    heard: Arc<Mutex<Vec<Heard>>>,
    subscribed: Arc<Mutex<usize>>,
    thread: Option<JoinHandle<()>>,
}

impl Client {
    /// Connects to a broker on loopback and subscribes.
    pub fn subscribe(port: u16, filters: &[&str]) -> Self {
        Self::subscribe_as(port, filters, None)
    }

    /// The same, with user name and password.
    pub fn subscribe_as(port: u16, filters: &[&str], login: Option<(&str, &str)>) -> Self {
        let id = format!("test-{}-{}", std::process::id(), fastrand::u64(..));
        let mut options = mqtt::MqttOptions::new(id.clone(), mqtt::Broker::tcp("127.0.0.1", port));
        options.set_clean_start(false).set_session_expiry_interval(Some(600)).set_keep_alive(20);
        if let Some((user, password)) = login {
            options.set_credentials(user, password.to_owned());
        }
        let (client, mut connection) = mqtt::Client::builder(options).capacity(1000).build();
        let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
        let subscribed: Arc<Mutex<usize>> = Arc::default();
        let thread = {
            let (client, heard, subscribed) = (client.clone(), heard.clone(), subscribed.clone());
            let filters: Vec<String> = filters.iter().map(|&f| f.to_owned()).collect();
            std::thread::spawn(move || {
                for event in connection.iter() {
                    match event {
                        Ok(mqtt::Event::Incoming(mqtt::Packet::ConnAck(_))) => {
                            for filter in &filters {
                                client.subscribe(filter.as_str(), mqtt::mqttbytes::QoS::AtLeastOnce).unwrap();
                            }
                        }
                        Ok(mqtt::Event::Incoming(mqtt::Packet::SubAck(_))) => *subscribed.lock().unwrap() += 1,
                        Ok(mqtt::Event::Incoming(mqtt::Packet::Publish(publish))) => {
                            let properties = publish.properties.unwrap_or_default();
                            heard.lock().unwrap().push(Heard {
                                topic: String::from_utf8(publish.topic.to_vec()).unwrap(),
                                payload: String::from_utf8_lossy(&publish.payload).into_owned(),
                                retained: publish.retain,
                                correlation: properties.correlation_data.map(|data| data.to_vec()),
                                replayed: properties.user_properties.iter().any(|(name, _)| name == "replay"),
                            });
                        }
                        Ok(_) => {}
                        Err(mqtt::ConnectionError::RequestsDone) => return,
                        Err(_) => std::thread::sleep(Duration::from_millis(50)),
                    }
                }
            })
        };
        let this = Self { id, client, heard, subscribed, thread: Some(thread) };
        let wanted = filters.len();
        wait_for("the client's subscriptions", PATIENCE, || (*this.subscribed.lock().unwrap() >= wanted).then_some(()));
        this
    }

    /// What it is called at the broker.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How many subscriptions were confirmed so far: all of them, once per connection.
    pub fn subscribed(&self) -> usize {
        *self.subscribed.lock().unwrap()
    }

    /// Publishes with QoS 1.
    pub fn publish(&self, topic: &str, payload: &str) {
        self.send(topic, payload, mqtt::PublishOptions::at_least_once());
    }

    /// Publishes with QoS 1 and the retain flag.
    pub fn publish_retained(&self, topic: &str, payload: &str) {
        self.send(topic, payload, mqtt::PublishOptions::at_least_once().retained());
    }

    /// Publishes a request with a response topic and correlation data.
    pub fn ask(&self, topic: &str, payload: &str, response_topic: &str, correlation: &[u8]) {
        let properties = mqtt::PublishProperties {
            response_topic: Some(response_topic.to_owned()),
            correlation_data: Some(correlation.to_vec().into()),
            ..Default::default()
        };
        self.send(topic, payload, mqtt::PublishOptions::at_least_once().properties(properties));
    }

    fn send(&self, topic: &str, payload: &str, options: mqtt::PublishOptions) {
        self.client.publish(topic.to_owned(), payload.to_owned(), options).unwrap();
    }

    /// Everything heard so far.
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    /// Everything heard so far on one topic.
    pub fn on(&self, topic: &str) -> Vec<Heard> {
        self.heard.lock().unwrap().iter().filter(|heard| heard.topic == topic).cloned().collect()
    }

    /// Forgets what was heard.
    pub fn forget(&self) {
        self.heard.lock().unwrap().clear();
    }

    /// Everything heard since it was last taken or forgotten.
    pub fn take(&self) -> Vec<Heard> {
        std::mem::take(&mut *self.heard.lock().unwrap())
    }

    /// Waits for a message.
    pub fn wait(&self, what: &str, wanted: impl Fn(&Heard) -> bool) -> Heard {
        wait_for(what, PATIENCE, || self.heard.lock().unwrap().iter().find(|heard| wanted(heard)).cloned())
    }

    /// Waits for a message on a topic.
    pub fn wait_on(&self, topic: &str) -> Heard {
        self.wait(topic, |heard| heard.topic == topic)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.client.disconnect_now();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
