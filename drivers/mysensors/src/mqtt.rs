//! A node or gateway that speaks MQTT itself, as the WiFi boards of the MySensors library do: what it
//! publishes becomes lines, and lines become what it is subscribed to.
//!
//! `<prefix>-out/2/1/1/0/49` with its payload is the line `2;1;1;0;49;…`, and the other way
//! `<prefix>-in/…`. So the session sees a stream like any other. What the broker had retained is not
//! passed on: it may be days old, and nothing in it says so.
//!
//! This file alone knows the MQTT client. Nothing is sent twice or late: it publishes once, with QoS 0,
//! and a new connection begins with nothing.

use std::collections::hash_map::RandomState;
use std::convert::Infallible;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rumqttc_v4 as mqtt;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::time::timeout;
use tracing::{debug, info};
use wharf_contract::settings::{Context, HostPort, Node, Schema, Secret, Setting, Spanned, Typed};
use wharf_contract::{Counts, Dial, settings};
use wharf_stream::Frames;

use crate::message::{LONGEST_LINE, Message};

/// What the client calls a broker that has no address.
const INSIDE: &str = "inside";
/// How long the broker may take to let us in, and to take our subscription.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the connection is probed when nothing else is sent, in seconds.
const KEEP_ALIVE: u16 = 15;
/// The largest packet that is accepted: other things may be published under the same prefix.
const LARGEST_PACKET: usize = 256 * 1024;
/// How many messages may wait for the broker. The session waits for room, and gives up after a while.
const MESSAGES_WAITING: usize = 64;
/// How many bytes may wait on their way to the session and back.
const BYTES_WAITING: usize = 8 * 1024;
/// The longest prefix, in bytes.
const LONGEST_PREFIX: usize = 200;

settings! {
    /// A MySensors gateway, or a WiFi node that is one, which speaks MQTT itself.
    pub struct MqttSettings {
        /// What its topics begin with: it publishes on <prefix>-out/… and listens on <prefix>-in/….
        prefix: Spanned<Prefix>,
        /// The broker it uses, `host:port`: the gateway's own when left out, which asks the link for no login, or
        /// another one on a network that can be trusted, for the connection is not encrypted.
        broker: Option<HostPort<1883>> = None,
        /// The name to log in with.
        username: Option<Spanned<String>> = None,
        /// The password.
        password: Option<Secret> = None,
    }
    together: [username, password];
}

/// What the topics of a gateway begin with: one level or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(String);

impl Prefix {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for Prefix {
    fn schema() -> Schema {
        json!({ "type": "string", "pattern": "^[^$+#/\\u0000-\\u001f]([^+#\\u0000-\\u001f]*[^+#/\\u0000-\\u001f])?$", "maxLength": LONGEST_PREFIX })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let Some(Typed::Text(text)) = node.typed() else {
            return cx.unexpected(node, "what its topics begin with, such as mygateway1");
        };
        let is_bad = |letter: char| matches!(letter, '+' | '#') || letter.is_control();
        if text.is_empty()
            || text.len() > LONGEST_PREFIX
            || text.contains(is_bad)
            || text.starts_with(['$', '/'])
            || text.ends_with('/')
        {
            cx.problem(node.span, format!("{} cannot stand before -out/ in a topic", node.describe()))
                .help("the words before -out, without it: mygateway1 for mygateway1-out/2/1/1/0/0");
            return None;
        }
        Some(Self(text.to_owned()))
    }
}

/// Where such a gateway is.
#[derive(Debug)]
pub struct Broker {
    settings: MqttSettings,
    /// The way to the gateway's own broker, for want of another.
    own: Option<Arc<dyn Dial>>,
    /// Why the last connection ended.
    why: Mutex<Option<String>>,
}

impl Broker {
    /// As the site file has it.
    pub fn new(settings: MqttSettings) -> Self {
        Self { settings, own: None, why: Mutex::default() }
    }

    /// The gateway has a broker of its own, which is reached that way.
    pub fn reach_own(&mut self, own: Arc<dyn Dial>) {
        self.own = Some(own);
    }

    /// Connects and subscribes. The stream carries lines as long as the bridge is [run](Bridge::run).
    ///
    /// # Errors
    /// Says in words why there is no connection.
    pub async fn open(&self) -> Result<(DuplexStream, Bridge<'_>), String> {
        let (client, mut events) = self.client()?;
        let filter = format!("{}-out/+/+/+/+/+", self.settings.prefix.as_str());
        let connecting = async {
            loop {
                match events.poll().await.map_err(|error| error.to_string())? {
                    mqtt::Event::Incoming(mqtt::Packet::ConnAck(_)) => {
                        let qos = mqtt::mqttbytes::QoS::AtMostOnce;
                        client.try_subscribe(filter.as_str(), qos).map_err(|error| error.to_string())?;
                    }
                    mqtt::Event::Incoming(mqtt::Packet::SubAck(ack)) => {
                        let accepted =
                            |code: &mqtt::SubscribeReasonCode| matches!(code, mqtt::SubscribeReasonCode::Success(_));
                        let is_accepted = ack.return_codes.iter().all(accepted);
                        return if is_accepted {
                            Ok(())
                        } else {
                            Err(format!("it does not let us subscribe to {filter}"))
                        };
                    }
                    _ => {}
                }
            }
        };
        let connected = timeout(CONNECT_TIMEOUT, connecting).await;
        connected.unwrap_or_else(|_| Err("it does not answer".into()))?;
        let (near, far) = duplex(BYTES_WAITING);
        Ok((near, Bridge { broker: self, client, events, far }))
    }

    /// Why the last connection ended, if it is known.
    pub fn why(&self) -> Option<String> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn client(&self) -> Result<(mqtt::AsyncClient, mqtt::EventLoop), String> {
        let named = self.settings.broker.as_ref();
        let (host, port) = named.map_or((INSIDE, 0), |broker| (broker.host(), broker.port()));
        // Another one at every connection: the broker forgets the one before in its own time.
        let id = format!("wharf-{:016x}", RandomState::new().build_hasher().finish());
        let mut options = mqtt::MqttOptions::new(id, mqtt::Broker::tcp(host, port));
        options.set_keep_alive(KEEP_ALIVE).set_clean_session(true);
        options.set_max_packet_size(LARGEST_PACKET, LARGEST_PACKET);
        if named.is_none() {
            let own = self.own.clone().ok_or("the gateway has no broker of its own")?;
            options.set_socket_connector(move |_, _| {
                let own = Arc::clone(&own);
                async move { own.dial().await }
            });
        } else if let (Some(user), Some(password)) = (&self.settings.username, &self.settings.password) {
            options.set_credentials(user.value.clone(), password.expose().to_owned().into_bytes());
        }
        Ok(mqtt::AsyncClient::builder(options).capacity(MESSAGES_WAITING).build())
    }
}

/// For people: where the link is.
impl std::fmt::Display for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let prefix = self.settings.prefix.as_str();
        match &self.settings.broker {
            Some(broker) => write!(f, "{prefix}-out on {broker}"),
            None => write!(f, "{prefix}-out on the gateway's own broker"),
        }
    }
}

/// Passes lines on, in both directions.
pub struct Bridge<'a> {
    broker: &'a Broker,
    client: mqtt::AsyncClient,
    events: mqtt::EventLoop,
    far: DuplexStream,
}

impl Bridge<'_> {
    /// Passes lines on until there is no connection any more; the stream has ended then. What it leaves out is
    /// counted as `retained`.
    pub async fn run(self, counts: Counts) -> Infallible {
        let Self { broker, client, events, far } = self;
        let prefix = broker.settings.prefix.as_str();
        let (reader, writer) = split(far);
        // Side by side, so that one that waits for room does not hold the other up.
        let why = tokio::select! {
            why = hear(prefix, events, writer, &counts) => why,
            why = say(prefix, &client, reader) => why,
        };
        *broker.why.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        // Both halves are gone, so the session sees the end of its stream and ends.
        std::future::pending().await
    }
}

/// What is published becomes lines.
async fn hear(
    prefix: &str,
    mut events: mqtt::EventLoop,
    mut writer: WriteHalf<DuplexStream>,
    counts: &Counts,
) -> String {
    let mut is_said = false;
    counts.add("retained", 0);
    loop {
        let publish = match events.poll().await {
            Ok(mqtt::Event::Incoming(mqtt::Packet::Publish(publish))) => publish,
            Ok(_) => continue,
            Err(error) => return error.to_string(),
        };
        if publish.retain {
            counts.add("retained", 1);
            if !std::mem::replace(&mut is_said, true) {
                info!(prefix, "the broker has retained messages; they are not taken for readings, as they may be old");
            }
            debug!(prefix, topic = %String::from_utf8_lossy(&publish.topic), "a retained message is left out");
            continue;
        }
        if let Some(line) = line(prefix, &publish.topic, &publish.payload)
            && let Err(error) = writer.write_all(&line).await
        {
            return error.to_string();
        }
    }
}

/// Lines become publications.
async fn say(prefix: &str, client: &mqtt::AsyncClient, mut reader: ReadHalf<DuplexStream>) -> String {
    let (mut lines, mut chunk) = (Frames::lines(LONGEST_LINE), [0; 1024]);
    loop {
        let count = match reader.read(&mut chunk).await {
            Ok(0) => return "the session has ended".into(),
            Ok(count) => count,
            Err(error) => return error.to_string(),
        };
        for line in lines.push(&chunk[..count]) {
            // The session writes nothing else.
            let Ok(message) = Message::parse(&line) else { continue };
            let options = mqtt::PublishOptions::new(mqtt::mqttbytes::QoS::AtMostOnce);
            if let Err(error) = client.publish(topic(prefix, &message), message.payload, options).await {
                return error.to_string();
            }
        }
    }
}

/// The line that a publication stands for. Its payload may make no sense as one: then it is told so where
/// lines are read. `None` if the topic is none of this gateway's.
fn line(prefix: &str, topic: &[u8], payload: &[u8]) -> Option<Vec<u8>> {
    let rest = std::str::from_utf8(topic).ok()?.strip_prefix(prefix)?.strip_prefix("-out/")?;
    // It would shift the fields.
    if rest.contains(';') {
        return None;
    }
    let mut line = rest.replace('/', ";").into_bytes();
    line.push(b';');
    // A line break would begin a line of the publisher's own making. Any other control character makes
    // the line one that is refused, and counted.
    line.extend(payload.iter().map(|&byte| if matches!(byte, b'\n' | b'\r') { 0 } else { byte }));
    line.push(b'\n');
    Some(line)
}

/// The topic that a message to the network is published on.
fn topic(prefix: &str, message: &Message) -> String {
    let Message { node, child, command, ack, kind, .. } = message;
    format!("{prefix}-in/{node}/{child}/{}/{}/{kind}", command.number(), u8::from(*ack))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publication_is_the_line_that_a_serial_gateway_would_say() {
        let line = |topic: &str, payload: &str| {
            line("home/gw", topic.as_bytes(), payload.as_bytes()).map(|line| String::from_utf8(line).unwrap())
        };
        assert_eq!(line("home/gw-out/2/1/1/0/49", "55.7;13").as_deref(), Some("2;1;1;0;49;55.7;13\n"));
        assert_eq!(line("home/gw-out/0/255/3/0/14", "").as_deref(), Some("0;255;3;0;14;\n"));
        assert_eq!(line("home/gw2-out/2/1/1/0/49", "1"), None);
        assert_eq!(line("home/gw-in/2/1/1/0/49", "1"), None);
        assert_eq!(line("home/gw-out/2;1/1/1/0/47", "1"), None);
        for (topic, payload) in [("home/gw-out/2/1/1/0/47", "a\n3;1;1;0;2;1"), ("home/gw-out/2/1/1/x/47", "a")] {
            let line = line(topic, payload).unwrap();
            assert_eq!(line.matches('\n').count(), 1, "{line:?}");
            assert!(Message::parse(line.as_bytes()).is_err(), "{line:?}");
        }
    }

    #[test]
    fn a_message_is_published_where_the_node_listens() {
        let message = Message::parse(b"2;3;1;1;2;1").unwrap();
        assert_eq!(topic("home/gw", &message), "home/gw-in/2/3/1/1/2");
    }
}
