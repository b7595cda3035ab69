//! An MQTT-SN 1.2 gateway, over UDP or a serial line, as a wharf driver.
//!
//! Sensors too small for TCP speak MQTT-SN. What they publish goes to a broker, as a rule the one inside the
//! gateway, as messages of MQTT clients of their names, so that rules, bridging and the queue apply to it.
//! It has no devices of its own.
//!
//! - [`config`]: the part of the site file.
//! - [`message`]: the messages, and how they are written.
//! - [`client`]: one client: connecting, topics, publishing, sleeping, repeating. No I/O.
//! - [`gateway`]: all clients, by where they are and what they are called. No I/O.
//! - [`field`]: the network or the serial line.
//! - [`upstream`]: the way to the broker: a connection for each client, or one for all.
//! - `session`: what ties them together.

pub mod client;
pub mod config;
pub mod field;
pub mod gateway;
pub mod message;
mod session;
pub mod upstream;

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use wharf_contract::{Dial, Driver, DriverError, LinkId, PointInfo, Port, async_trait};

pub use config::LinkSettings;

use gateway::Key;
use upstream::connection::Login;
use upstream::dial::Tcp;
use upstream::shared::Shared;

/// The name of the driver, as the site file spells its section.
pub const KIND: &str = "mqttsn";

/// What outlives a session.
#[derive(Debug)]
struct Link {
    name: LinkId,
    settings: LinkSettings,
    broker: Option<Broker>,
    /// Who has subscribed to what, if all clients share a connection.
    shared: Option<Mutex<Shared<Key>>>,
    /// What was last known of the clients.
    known: Mutex<Value>,
}

/// The broker behind the clients.
#[derive(Debug)]
struct Broker {
    /// How each of its clients reaches it.
    clients: Arc<dyn Dial>,
    /// How the link itself does.
    link: Arc<dyn Dial>,
    login: Login,
    /// Where it is, for people.
    place: String,
}

/// The way to the broker inside the gateway.
#[derive(Clone, Debug)]
pub struct Own {
    /// For clients, who may do what the site file says of its `username`, or of nobody.
    pub clients: Arc<dyn Dial>,
    /// For the link itself, which is a part of the gateway.
    pub link: Arc<dyn Dial>,
}

impl Broker {
    /// The one that the settings name, or the gateway's own.
    fn new(settings: &LinkSettings, own: Option<Own>) -> Option<Self> {
        let Some(named) = &settings.broker else {
            let Own { clients, link } = own?;
            // What goes over the link's connection is then what clients say.
            let link = if settings.speaks_for_clients() { Arc::clone(&clients) } else { link };
            return Some(Self { clients, link, login: Login::default(), place: "inside the gateway".into() });
        };
        let tcp: Arc<dyn Dial> = Arc::new(Tcp { host: named.host().to_owned(), port: named.port() });
        let login = Login {
            user: settings.username.as_ref().map(|user| user.value.clone()),
            password: settings.password.clone(),
        };
        Some(Self { clients: Arc::clone(&tcp), link: tcp, login, place: named.to_string() })
    }
}

/// One MQTT-SN gateway.
#[derive(Debug)]
pub struct MqttSn {
    link: Link,
}

impl MqttSn {
    /// The gateway of one link. `own` is the way to the broker inside the gateway, which is taken where the
    /// settings name no other. All that could be wrong with the settings was found when they were decoded,
    /// and nothing is opened yet.
    pub fn new(name: LinkId, settings: &LinkSettings, own: Option<Own>) -> Self {
        let broker = Broker::new(settings, own);
        let (clients, buffer) = (usize::from(settings.clients.get()), usize::from(settings.buffer.get()));
        let shared = settings.aggregate.then(|| Mutex::new(Shared::new(clients, buffer)));
        let (settings, known) = (settings.clone(), Mutex::new(Value::Array(Vec::new())));
        Self { link: Link { name, settings, broker, shared, known } }
    }
}

#[async_trait]
impl Driver for MqttSn {
    fn name(&self) -> &LinkId {
        &self.link.name
    }

    fn kind(&self) -> &'static str {
        KIND
    }

    fn catalogue(&self) -> Vec<PointInfo> {
        Vec::new()
    }

    /// `{"do": "mqttsn"}`: the clients, with where they are and how they are.
    async fn ask(&self, request: &Value) -> Option<Result<Value, String>> {
        let known = || self.link.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (request["do"] == "mqttsn").then(|| Ok(json!({ "ok": true, "clients": known() })))
    }

    async fn run(&self, port: &mut Port) -> Result<(), DriverError> {
        session::run(&self.link, port).await
    }
}
