//! The MQTT client crates, behind one face. This file and its children alone know them.
//!
//! MQTT 3.1.1 and 5 are two crates of one family with the same shape. What differs is in
//! [`v4`] and [`v5`]; what the session needs of either is here; [`error`] puts failures in words. The library's own memory of
//! unacknowledged publications is thrown away with every connection: the queue on disk decides
//! what is unsent.

mod error;
mod v4;
mod v5;

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

pub use error::{Cause, ConnectionError, TAKEN_OVER};

use super::keyring::Keys;
use crate::config::url::BrokerUrl;
use crate::message::{Message, Properties};

/// The largest packet that is accepted from a broker: commands are small.
const LARGEST_INCOMING: u32 = 256 * 1024;
/// Requests that may wait in the library: more than a window and its subscriptions.
const REQUESTS_BEYOND_WINDOW: usize = 16;
/// How many requests the library writes before it flushes. It flushes after each unless told
/// otherwise, and a system call per publication costs more than all else on its way.
const WRITTEN_AT_ONCE: usize = 64;

/// Which protocol an uplink speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// MQTT 3.1.1.
    V311,
    /// MQTT 5.
    V5,
}

/// What is the same at every connect.
#[derive(Clone)]
pub struct Options {
    /// 3.1.1 or 5.
    pub protocol: Protocol,
    /// The same at every connect, so that the broker knows the session again.
    pub client_id: String,
    /// How often the connection is probed when nothing else is sent.
    pub keep_alive: Duration,
    /// What the broker publishes, retained, when the connection is lost.
    pub will: Message,
    /// The most publications under way.
    pub window: u16,
    /// How long the broker keeps the session of a gateway that is away.
    pub session_expiry: Duration,
    /// How long a connect may take.
    pub connect_timeout: Duration,
    /// Whether MySensors controllers command there. They have the broker keep what they send, and are
    /// obeyed all the same when they send it.
    pub for_controllers: bool,
}

/// What may be another at the next connect.
#[derive(Clone)]
pub struct Aim {
    /// Where the broker is.
    pub url: BrokerUrl,
    /// What it is shown.
    pub keys: Keys,
}

impl Aim {
    /// How to encrypt, if the URL says so. Both crates share the type.
    fn tls(&self) -> Option<rumqttc_v5::TlsConfiguration> {
        let config = self.keys.tls.clone().filter(|_| self.url.tls)?;
        Some(rumqttc_v5::TlsConfiguration::Rustls(config))
    }
}

/// What a connection has to say.
#[derive(Debug)]
pub enum Happening {
    /// The broker accepted the connection.
    Connected(Connected),
    /// The oldest publication handed over left with this packet id; 0 for QoS 0.
    Sent(u16),
    /// The broker acknowledged a publication; with MQTT 5 it may say that it refuses it.
    Acknowledged {
        /// The packet id.
        id: u16,
        /// The reason, if the broker refuses the publication.
        refusal: Option<Refusal>,
    },
    /// The broker answered a subscription.
    Subscribed {
        /// Whether commands will come.
        commands: bool,
        /// Whether everything else will.
        others: bool,
    },
    /// A publication for us.
    Incoming(Incoming),
    /// Nothing the session has to act on.
    Other,
}

/// Why a broker refuses a publication.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct Refusal {
    /// The reason code, 0x80 or above.
    pub code: u8,
    /// In words.
    pub words: String,
}

/// What the broker said when it accepted the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connected {
    /// Whether it remembers our session.
    pub session_present: bool,
    /// How many QoS 1 publications it takes at once.
    pub receive_maximum: Option<u16>,
    /// The largest packet it takes, in bytes.
    pub largest_packet: Option<u32>,
    /// Whether it keeps retained messages. What is published with the flag all the same ends the
    /// connection.
    pub retain_available: bool,
    /// The highest QoS it takes.
    pub maximum_qos: u8,
}

/// What goes with a publication beside the message itself. MQTT 3.1.1 has no place for any of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extras<'a> {
    /// How long it is worth delivering to those who are away; counted in whole seconds, rounded up.
    pub expires_in: Option<Duration>,
    /// Names and values for whoever reads it.
    pub user_properties: &'a [(&'static str, &'a str)],
}

impl Extras<'_> {
    /// The expiry as it is sent.
    pub fn expiry_seconds(&self) -> Option<u32> {
        let whole = |time: Duration| time.as_secs() + u64::from(time.subsec_nanos() > 0);
        self.expires_in.map(|time| u32::try_from(whole(time)).unwrap_or(u32::MAX))
    }
}

/// A publication for us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Where it was published.
    pub topic: String,
    /// What was published.
    pub payload: Bytes,
    /// Whether it comes from the broker's store rather than from a sender just now.
    pub retained: bool,
    /// Whether the broker sends it again.
    pub duplicate: bool,
    /// Its packet id; 0 for QoS 0.
    pub id: u16,
    /// How long it is still worth something (MQTT 5).
    pub expires_in: Option<Duration>,
    /// Where the asker wants the answer (MQTT 5).
    pub response_topic: Option<String>,
    /// What the asker wants to see in the answer (MQTT 5).
    pub correlation: Option<Bytes>,
    /// What else MQTT 5 says of it: what the payload is, and pairs of the sender's own. Nothing of the above.
    pub properties: Option<Box<Properties>>,
}

impl Incoming {
    /// A publication of somebody who wants no more than that it is published, just now.
    pub fn new(topic: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            retained: false,
            duplicate: false,
            id: 0,
            expires_in: None,
            response_topic: None,
            correlation: None,
            properties: None,
        }
    }
}

/// The library has no room for another request. Its room is larger than the window, so this means
/// that the connection is being torn down.
#[derive(Debug)]
pub struct Full;

/// The half that sends.
#[derive(Clone)]
pub enum Sender {
    /// MQTT 3.1.1.
    V4(v4::Sender),
    /// MQTT 5.
    V5(v5::Sender),
}

/// The half that connects, keeps the connection alive and receives.
pub struct Connection {
    library: Library,
    aim: Aim,
    /// Where the last connection that came about led to.
    connected_to: Option<BrokerUrl>,
    connected_since: Option<Instant>,
}

enum Library {
    V4(Box<v4::Connection>),
    V5(Box<v5::Connection>),
}

impl Connection {
    /// A connection that is not made yet.
    pub fn new(options: Options, aim: Aim) -> Self {
        let library = match options.protocol {
            Protocol::V311 => Library::V4(Box::new(v4::Connection::new(options))),
            Protocol::V5 => Library::V5(Box::new(v5::Connection::new(options))),
        };
        Self { library, aim, connected_to: None, connected_since: None }
    }

    /// Has the next [`Self::start_over`] lead to this broker, with these keys.
    pub fn aim(&mut self, aim: Aim) {
        self.aim = aim;
    }

    /// Where it leads to.
    pub fn url(&self) -> &BrokerUrl {
        &self.aim.url
    }

    /// For how long it has been connected since the last [`Self::start_over`]; `None` if the broker
    /// has not let us in.
    pub fn connected_for(&self) -> Option<Duration> {
        self.connected_since.map(|since| since.elapsed())
    }

    /// Forgets the last connection and whatever the library still holds for it. `clean`: have the
    /// broker forget, too, what it kept for us. So does another broker than the last one: what it
    /// kept is from an earlier time.
    pub async fn start_over(&mut self, clean: bool) -> Result<(), ConnectionError> {
        self.connected_since = None;
        let clean = clean || self.connected_to.as_ref() != Some(&self.aim.url);
        match &mut self.library {
            Library::V4(connection) => connection.start_over(&self.aim, clean).await,
            Library::V5(connection) => connection.start_over(&self.aim, clean),
        }
    }

    /// The half that sends, for the connection begun by the last [`Self::start_over`].
    pub fn sender(&self) -> Sender {
        match &self.library {
            Library::V4(connection) => Sender::V4(connection.sender()),
            Library::V5(connection) => Sender::V5(connection.sender()),
        }
    }

    /// What happens next. Connects when there is no connection. Not to be dropped half-way: a
    /// packet being written would be cut.
    pub async fn next(&mut self) -> Result<Happening, ConnectionError> {
        let happening = match &mut self.library {
            Library::V4(connection) => connection.next().await,
            Library::V5(connection) => connection.next().await,
        }?;
        if matches!(happening, Happening::Connected(_)) {
            self.connected_to = Some(self.aim.url.clone());
            self.connected_since = Some(Instant::now());
        }
        Ok(happening)
    }
}

impl Sender {
    /// Hands a publication to the library.
    pub fn publish(&self, message: &Message, extras: &Extras) -> Result<(), Full> {
        match self {
            Self::V4(sender) => sender.publish(message),
            Self::V5(sender) => sender.publish(message, extras),
        }
    }

    /// Asks for commands, and for what else is to come down. `for_controllers`: as in [`Options`].
    pub fn subscribe(&self, commands: &str, others: &[String], for_controllers: bool) -> Result<(), Full> {
        match self {
            Self::V4(sender) => sender.subscribe(commands, others),
            Self::V5(sender) => sender.subscribe(commands, others, !for_controllers),
        }
    }

    /// Says goodbye; the will is not published then.
    pub fn disconnect(&self) {
        match self {
            Self::V4(sender) => sender.disconnect(),
            Self::V5(sender) => sender.disconnect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// A connection to a server of the test's that sends this CONNACK.
    async fn connect(connack: &[u8]) -> (Connection, Connected, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = Options {
            protocol: Protocol::V5,
            client_id: "gw1".into(),
            keep_alive: Duration::from_secs(30),
            will: Message::new("state", "offline"),
            window: 10,
            session_expiry: Duration::ZERO,
            connect_timeout: Duration::from_secs(10),
            for_controllers: false,
        };
        let url = BrokerUrl::parse(&format!("mqtt://{}", listener.local_addr().unwrap())).unwrap();
        let mut connection = Connection::new(options, Aim { url, keys: Keys::default() });
        connection.start_over(true).await.unwrap();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(stream.read(&mut [0; 1000]).await.unwrap() > 0);
            stream.write_all(connack).await.unwrap();
            stream
        };
        let (happened, stream) = tokio::join!(connection.next(), serve);
        let Ok(Happening::Connected(connected)) = happened else { panic!("{happened:?}") };
        (connection, connected, stream)
    }

    #[tokio::test]
    async fn what_the_broker_can_do_is_read_from_its_greeting() {
        let (_, plain, _stream) = connect(&[0x20, 3, 0, 0, 0]).await;
        assert!(plain.retain_available && plain.maximum_qos == 2 && plain.receive_maximum.is_none());
        // Maximum QoS 0, no retain, Receive Maximum 5.
        let (_, little, _stream) = connect(&[0x20, 10, 0, 0, 7, 0x24, 0, 0x25, 0, 0x21, 0, 5]).await;
        assert!(!little.retain_available && little.maximum_qos == 0 && little.receive_maximum == Some(5));
    }

    #[tokio::test]
    async fn expiry_and_user_properties_go_out_with_a_publication() {
        let (mut connection, _, mut stream) = connect(&[0x20, 3, 0, 0, 0]).await;
        let extras = Extras { expires_in: Some(Duration::from_secs(300)), user_properties: &[("replay", "1")] };
        connection.sender().publish(&Message::new("a", "x"), &extras).unwrap();
        let mut packet = [0; 26];
        tokio::select! {
            read = stream.read_exact(&mut packet) => drop(read.unwrap()),
            () = async { while connection.next().await.is_ok() {} } => panic!("the connection ended"),
        }
        let properties = [&[0x02, 0, 0, 1, 44, 0x26, 0, 6][..], b"replay", &[0, 1], b"1"].concat();
        let body = [&[0, 1][..], b"a", &[0, 1], &[17], &properties, b"x"].concat();
        assert_eq!(packet[..], [&[0x32, 24][..], &body].concat());
    }
}
