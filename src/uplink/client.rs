//! The MQTT client crates, behind one face. This file and its two children alone know them.
//!
//! MQTT 3.1.1 and 5 are two crates of one family with the same shape. What differs is in
//! [`v4`] and [`v5`]; what the session needs of either is here. The library's own memory of
//! unacknowledged publications is thrown away with every connection: the queue on disk decides
//! what is unsent.

mod v4;
mod v5;

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::message::Message;

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

/// What a connection needs to know.
#[derive(Clone)]
pub struct Options {
    /// 3.1.1 or 5.
    pub protocol: Protocol,
    /// The broker's host name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The same at every connect, so that the broker knows the session again.
    pub client_id: String,
    /// User name and password.
    pub credentials: Option<(String, String)>,
    /// How often the connection is probed when nothing else is sent.
    pub keep_alive: Duration,
    /// TLS, if the URL says so.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// What the broker publishes, retained, when the connection is lost.
    pub will: Message,
    /// The most publications under way.
    pub window: u16,
    /// How long the broker keeps the session of a gateway that is away.
    pub session_expiry: Duration,
    /// How long a connect may take.
    pub connect_timeout: Duration,
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
        refusal: Option<String>,
    },
    /// The broker answered a subscription.
    Subscribed {
        /// Whether it refused.
        refused: bool,
    },
    /// A publication for us.
    Incoming(Incoming),
    /// Nothing the session has to act on.
    Other,
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
}

/// A connection that failed, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConnectionError(pub String);

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
pub enum Connection {
    /// MQTT 3.1.1.
    V4(Box<v4::Connection>),
    /// MQTT 5.
    V5(Box<v5::Connection>),
}

impl Connection {
    /// A connection that is not made yet.
    pub fn new(options: Options) -> Self {
        match options.protocol {
            Protocol::V311 => Self::V4(Box::new(v4::Connection::new(options))),
            Protocol::V5 => Self::V5(Box::new(v5::Connection::new(options))),
        }
    }

    /// Forgets the last connection and whatever the library still holds for it. `clean`: have the
    /// broker forget, too, what it kept for us.
    pub async fn start_over(&mut self, clean: bool) -> Result<(), ConnectionError> {
        match self {
            Self::V4(connection) => connection.start_over(clean).await,
            Self::V5(connection) => {
                connection.start_over(clean);
                Ok(())
            }
        }
    }

    /// The half that sends, for the connection begun by the last [`Self::start_over`].
    pub fn sender(&self) -> Sender {
        match self {
            Self::V4(connection) => Sender::V4(connection.sender()),
            Self::V5(connection) => Sender::V5(connection.sender()),
        }
    }

    /// What happens next. Connects when there is no connection. Not to be dropped half-way: a
    /// packet being written would be cut.
    pub async fn next(&mut self) -> Result<Happening, ConnectionError> {
        match self {
            Self::V4(connection) => connection.next().await,
            Self::V5(connection) => connection.next().await,
        }
    }
}

impl Sender {
    /// Hands a publication to the library.
    pub fn publish(&self, message: &Message) -> Result<(), Full> {
        match self {
            Self::V4(sender) => sender.publish(message),
            Self::V5(sender) => sender.publish(message),
        }
    }

    /// Asks for commands.
    pub fn subscribe(&self, filter: &str) -> Result<(), Full> {
        match self {
            Self::V4(sender) => sender.subscribe(filter),
            Self::V5(sender) => sender.subscribe(filter),
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

/// A connection error in the words of someone who has to mend it.
fn words(error: &(dyn Error + 'static)) -> ConnectionError {
    let mut link = Some(error);
    while let Some(error) = link {
        if let Some(tls) = tls_error(error) {
            return ConnectionError(tls_words(tls));
        }
        if let Some(io) = error.downcast_ref::<io::Error>()
            && let Some(words) = io_words(io)
        {
            return ConnectionError(words.to_owned());
        }
        link = error.source();
    }
    ConnectionError(error.to_string())
}

/// A TLS error arrives as itself or inside an I/O error, whose `source` skips it.
fn tls_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    error.downcast_ref().or_else(|| error.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref())
}

fn tls_words(error: &rustls::Error) -> String {
    use rustls::{AlertDescription as Alert, CertificateError as Cert, Error as Tls};
    match error {
        Tls::InvalidCertificate(Cert::UnknownIssuer) => {
            "the broker's certificate is not signed by a CA known here: check `tls: ca`".into()
        }
        Tls::InvalidCertificate(Cert::NotValidForName | Cert::NotValidForNameContext { .. }) => {
            "the broker's certificate is for another host name than the one in `url`".into()
        }
        Tls::InvalidCertificate(Cert::Expired | Cert::ExpiredContext { .. }) => {
            "the broker's certificate has expired, or this machine's clock is wrong".into()
        }
        Tls::InvalidCertificate(Cert::NotValidYet | Cert::NotValidYetContext { .. }) => {
            "the broker's certificate is not valid yet: this machine's clock is probably wrong".into()
        }
        Tls::AlertReceived(Alert::CertificateRequired) => {
            "the broker asks for a client certificate: set `tls: cert` and `tls: key`".into()
        }
        Tls::AlertReceived(Alert::UnknownCA | Alert::BadCertificate | Alert::CertificateUnknown) => {
            "the broker does not accept this gateway's client certificate (`tls: cert`)".into()
        }
        Tls::InvalidMessage(_) => "the broker does not speak TLS on this port".into(),
        other => format!("TLS: {other}"),
    }
}

fn io_words(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Some("nothing listens at the broker's address and port"),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Some("no route to the broker"),
        io::ErrorKind::TimedOut => Some("the broker did not answer in time"),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
            Some("the broker closed the connection")
        }
        io::ErrorKind::UnexpectedEof => Some("the broker closed the connection"),
        _ => None,
    }
}

/// Why a broker refused a connection, by the name the library gives the code.
fn refused(code: &str) -> ConnectionError {
    ConnectionError(match code {
        "BadUserNamePassword" => "the broker refused user name or password".into(),
        "NotAuthorized" => "the broker does not let this gateway in: check user name, password and its rules".into(),
        "RefusedProtocolVersion" | "UnsupportedProtocolVersion" => {
            "the broker does not speak this version of MQTT: try `protocol: 3.1.1`".into()
        }
        "BadClientId" | "ClientIdentifierNotValid" => "the broker refused the client id".into(),
        other => format!("the broker refused the connection: {other}"),
    })
}
