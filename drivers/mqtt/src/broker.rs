//! The connection to the broker. This file alone knows the MQTT client.
//!
//! Nothing is sent twice or late: every connection begins with a clean session, and what the last one had
//! not sent is forgotten. Whoever waits for it is told.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rumqttc_v4 as mqtt;
use tokio::sync::mpsc;
use tokio::time::timeout;
use wharf_contract::Dial;
use wharf_contract::settings::Secret;

use crate::config::text::BrokerUrl;
use crate::config::{LinkSettings, TlsSettings};
use crate::roster::LARGEST_PAYLOAD;

/// How long the broker may take to let us in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take until there is room to send something.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the connection is probed when nothing else is sent, in seconds.
const KEEP_ALIVE: u16 = 15;
/// The largest packet that does not end the connection. Larger payloads than [`LARGEST_PAYLOAD`] are no use to
/// us, and one camera among the devices is no reason to hear none of them.
const LARGEST_PACKET: usize = 16 << 20;
/// How many requests may wait for the connection.
const REQUESTS_WAITING: usize = 64;
/// What the client calls a broker that has no address.
const INSIDE: &str = "inside";
/// The largest PEM file.
const LARGEST_PEM: u64 = 1 << 20;

/// Where the devices are heard.
#[derive(Debug)]
pub struct Broker {
    url: Option<BrokerUrl>,
    /// The way to the gateway's own broker, for want of a URL.
    own: Option<Arc<dyn Dial>>,
    login: Option<(String, Option<Secret>)>,
    tls: Option<TlsSettings>,
}

/// What comes from the broker.
#[derive(Debug)]
pub enum Received {
    /// A publication.
    Message {
        /// Its topic.
        topic: String,
        /// What was published.
        payload: Bytes,
        /// Whether the broker had kept it.
        retained: bool,
    },
    /// A publication that is too large to be of use. It was let go of at once.
    TooLarge {
        /// Its topic.
        topic: String,
        /// How large it was, in bytes.
        size: usize,
    },
    /// The answer to a subscription: whether each of its filters was accepted.
    Subscribed(Vec<bool>),
}

impl Broker {
    /// As the site file has it.
    pub fn new(settings: &LinkSettings) -> Self {
        let login = settings.username.as_ref().map(|user| (user.value.clone(), settings.password.clone()));
        Self { url: settings.broker.clone(), own: None, login, tls: settings.tls.clone() }
    }

    /// The gateway has a broker of its own, which is reached that way.
    pub fn reach_own(&mut self, own: Arc<dyn Dial>) {
        self.own = Some(own);
    }

    /// Connects.
    ///
    /// # Errors
    /// Says in words why there is no connection.
    pub async fn connect(&self) -> Result<(Publisher, Pump), String> {
        let (client, mut events) = mqtt::AsyncClient::builder(self.options()?).capacity(REQUESTS_WAITING).build();
        let connecting = async {
            loop {
                match events.poll().await {
                    Ok(mqtt::Event::Incoming(mqtt::Packet::ConnAck(_))) => return Ok(()),
                    Ok(_) => {}
                    Err(error) => return Err(words(&error)),
                }
            }
        };
        timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(|_| Err("it does not answer".into()))?;
        Ok((Publisher { client }, Pump { events }))
    }

    fn options(&self) -> Result<mqtt::MqttOptions, String> {
        // Another one at every connection: the broker forgets the one before in its own time.
        let id = format!("wharf-{:016x}", RandomState::new().build_hasher().finish());
        let address = self.url.as_ref().map_or((INSIDE, 0), |url| (&url.host, url.port));
        let mut options = mqtt::MqttOptions::new(id, mqtt::Broker::tcp(address.0, address.1));
        options.set_keep_alive(KEEP_ALIVE).set_clean_session(true);
        options.set_max_packet_size(LARGEST_PACKET, LARGEST_PACKET);
        if self.url.is_none() {
            let own = self.own.clone().ok_or("the gateway has no broker of its own")?;
            options.set_socket_connector(move |_, _| {
                let own = Arc::clone(&own);
                async move { own.dial().await }
            });
            return Ok(options);
        }
        if let Some((user, password)) = &self.login {
            let password = password.as_ref().map(|password| password.expose().to_owned().into_bytes());
            options.set_credentials(user.clone(), password.unwrap_or_default());
        }
        if self.url.as_ref().is_some_and(|url| url.tls) {
            options.set_transport(mqtt::Transport::tls_with_config(self.tls()?));
        }
        Ok(options)
    }

    /// Read anew at each connection, so that renewed certificates are used.
    fn tls(&self) -> Result<mqtt::TlsConfiguration, String> {
        let files = self.tls.as_ref();
        let identity = files.and_then(|files| files.cert.as_ref().zip(files.key.as_ref()));
        match (files.and_then(|files| files.ca.as_ref()), identity) {
            (None, None) => mqtt::TlsConfiguration::try_default_rustls().map_err(|error| error.to_string()),
            // The decoder does not let this through.
            (None, Some(_)) => Err("with a certificate of the gateway's own, tls needs `ca`".into()),
            (Some(ca), identity) => Ok(mqtt::TlsConfiguration::Simple {
                ca: read(ca.as_path())?,
                alpn: None,
                client_auth: match identity {
                    Some((cert, key)) => Some((read(cert.as_path())?, read(key.as_path())?)),
                    None => None,
                },
            }),
        }
    }
}

/// For people: where the link is.
impl std::fmt::Display for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.url {
            Some(url) => url.fmt(f),
            None => f.write_str("the gateway's own broker"),
        }
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let words = |error: std::io::Error| format!("{}: {error}", file.display());
    let size = std::fs::metadata(file).map_err(words)?.len();
    if size > LARGEST_PEM {
        return Err(format!("{}: it is larger than {} KiB", file.display(), LARGEST_PEM >> 10));
    }
    std::fs::read(file).map_err(words)
}

/// Sends to the broker.
#[derive(Debug)]
pub struct Publisher {
    client: mqtt::AsyncClient,
}

impl Publisher {
    /// Subscribes with QoS 1. The answer is [`Received::Subscribed`].
    ///
    /// # Errors
    /// The connection is stuck, or gone.
    pub async fn subscribe(&self, filters: &[String]) -> Result<(), String> {
        let qos = mqtt::mqttbytes::QoS::AtLeastOnce;
        let filters = filters.iter().map(|filter| mqtt::mqttbytes::v4::SubscribeFilter::new(filter.clone(), qos));
        let sent = timeout(SEND_TIMEOUT, self.client.subscribe_many(filters.collect::<Vec<_>>())).await;
        sent.map_err(|_| stuck())?.map_err(|error| error.to_string())
    }

    /// Publishes with QoS 1. What comes back ends when the broker has it.
    ///
    /// # Errors
    /// The connection is stuck, or gone.
    pub async fn publish(
        &self,
        topic: &str,
        payload: Vec<u8>,
        retain: bool,
    ) -> Result<impl Future<Output = Result<(), String>> + Send + use<>, String> {
        let options = mqtt::PublishOptions::new(mqtt::mqttbytes::QoS::AtLeastOnce).retain(retain);
        let sent = timeout(SEND_TIMEOUT, self.client.publish_tracked(topic, payload, options)).await;
        let notice = sent.map_err(|_| stuck())?.map_err(|error| error.to_string())?;
        Ok(async move { notice.wait_async().await.map(|_| ()).map_err(|error| error.to_string()) })
    }
}

fn stuck() -> String {
    "the connection does not take anything".into()
}

/// Keeps the connection going.
pub struct Pump {
    events: mqtt::EventLoop,
}

impl Pump {
    /// Passes on what comes until there is no connection any more, and says why.
    pub async fn run(mut self, received: mpsc::Sender<Received>) -> String {
        loop {
            let message = match self.events.poll().await {
                Ok(mqtt::Event::Incoming(mqtt::Packet::Publish(publish))) => {
                    let Ok(topic) = String::from_utf8(publish.topic.to_vec()) else { continue };
                    match publish.payload.len() {
                        size if size > LARGEST_PAYLOAD => Received::TooLarge { topic, size },
                        _ => Received::Message { topic, payload: publish.payload, retained: publish.retain },
                    }
                }
                Ok(mqtt::Event::Incoming(mqtt::Packet::SubAck(ack))) => {
                    let is_accepted =
                        |code: &mqtt::SubscribeReasonCode| matches!(code, mqtt::SubscribeReasonCode::Success(_));
                    Received::Subscribed(ack.return_codes.iter().map(is_accepted).collect())
                }
                Ok(_) => continue,
                Err(error) => return words(&error),
            };
            if received.send(message).await.is_err() {
                return "the session has ended".into();
            }
        }
    }
}

/// Why a connection ended, for people.
fn words(error: &mqtt::ConnectionError) -> String {
    use mqtt::ConnectReturnCode as Code;
    match error {
        mqtt::ConnectionError::ConnectionRefused(Code::NotAuthorized | Code::BadUserNamePassword) => {
            "it does not let us in: are username and password right?".into()
        }
        other => other.to_string(),
    }
}
