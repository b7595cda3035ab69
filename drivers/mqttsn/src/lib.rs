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
use wharf_contract::{Driver, DriverError, LinkId, PointInfo, Port, async_trait};

pub use config::LinkSettings;
pub use upstream::dial::{Dial, Tcp};

use gateway::Key;
use upstream::connection::Login;
use upstream::shared::Shared;

/// The name of the driver, as the site file spells its section.
pub const KIND: &str = "mqttsn";

/// What outlives a session.
#[derive(Debug)]
struct Link {
    name: LinkId,
    settings: LinkSettings,
    login: Login,
    dial: Option<Arc<dyn Dial>>,
    /// Who has subscribed to what, if all clients share a connection.
    shared: Option<Mutex<Shared<Key>>>,
    /// What was last known of the clients.
    known: Mutex<Value>,
}

impl Link {
    fn no_broker(&self) -> String {
        format!("{}: there is no broker: `broker.listen` is empty, and `broker` is not said here", self.name)
    }
}

/// One MQTT-SN gateway.
#[derive(Debug)]
pub struct MqttSn {
    link: Link,
}

impl MqttSn {
    /// The gateway of one link. `local` is the way to the broker inside the gateway, which is taken where the
    /// settings name no other. All that could be wrong with the settings was found when they were decoded,
    /// and nothing is opened yet.
    pub fn new(name: LinkId, settings: &LinkSettings, local: Option<Arc<dyn Dial>>) -> Self {
        let elsewhere = settings
            .broker
            .as_ref()
            .map(|broker| -> Arc<dyn Dial> { Arc::new(Tcp { host: broker.host().to_owned(), port: broker.port() }) });
        let login = Login { user: settings.username.clone(), password: settings.password.clone() };
        let (clients, buffer) = (usize::from(settings.clients.get()), usize::from(settings.buffer.get()));
        let shared = settings.aggregate.then(|| Mutex::new(Shared::new(clients, buffer)));
        let (settings, known) = (settings.clone(), Mutex::new(Value::Array(Vec::new())));
        Self { link: Link { name, settings, login, dial: elsewhere.or(local), shared, known } }
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
