//! What clients and the broker say to each other, for MQTT 3.1.1 and 5 alike.
//!
//! [`Request`] is what clients say, [`Reply`] what the broker does. [`incoming`] reads the ones from bytes, [`outgoing`]
//! writes the others. What MQTT 5 has and 3.1.1 has not is simply left out on a 3.1.1 connection.
//!
//! The encoding is our own and not that of the MQTT clients' crates. Those read what a good broker sends; what a
//! bad client may send (properties twice or where they do not belong, wrong flags) passes them, they tell too little
//! of what is wrong for the right reason code, and they copy where a publication is shared by all its receivers.
//! They are the counterpart in the tests instead.

mod cursor;
pub mod incoming;
pub mod outgoing;
mod properties;
pub mod size;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::publication::{Properties, Publication, Qos};

/// Why a packet is refused, and its connection closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The reason code of MQTT 5.
    pub reason: u8,
    /// What is wrong, for the log and for a client that wants to know.
    pub words: &'static str,
}

fn malformed(words: &'static str) -> Wrong {
    Wrong { reason: reason::MALFORMED_PACKET, words }
}

fn violation(words: &'static str) -> Wrong {
    Wrong { reason: reason::PROTOCOL_ERROR, words }
}

/// The version of MQTT a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1.
    V3,
    /// MQTT 5.
    V5,
}

/// A password, which is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Bytes);

impl<T: Into<Bytes>> From<T> for Password {
    fn from(password: T) -> Self {
        Self(password.into())
    }
}

impl Deref for Password {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// What a client begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// Which MQTT it speaks.
    pub version: Version,
    /// Its id; empty if the broker shall give one.
    pub client: String,
    /// Whether what is left of an earlier session goes.
    pub clean_start: bool,
    /// After how many seconds of silence it is gone, times 1.5. 0: never.
    pub keep_alive: u16,
    /// How long its session outlives the connection, in seconds; `u32::MAX` for ever. 3.1.1: 0 with a
    /// clean session, else for ever.
    pub session_expiry: u32,
    /// How many messages above QoS 0 it takes at once, 1 to 65,535.
    pub receive_maximum: u16,
    /// The largest packet it takes, in bytes.
    pub maximum_packet: Option<u32>,
    /// How many topic aliases it takes.
    pub topic_aliases: u16,
    /// Whether it wants reasons in words.
    pub wants_reasons: bool,
    /// The user it logs in as.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Password>,
    /// What is published for it when it breaks off.
    pub will: Option<Will>,
    /// The method of an authentication in several steps. None is known here.
    pub authentication_method: Option<String>,
}

/// What is published for a client that breaks off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// Its topic.
    pub topic: Arc<str>,
    /// What it says.
    pub payload: Bytes,
    /// How hard it is delivered.
    pub qos: Qos,
    /// Whether it is kept for later subscribers.
    pub retain: bool,
    /// How long after the end of the connection it goes out, unless the client is back.
    pub delay: Duration,
    /// How long it is worth delivering from then on.
    pub expiry: Option<Duration>,
    /// What MQTT 5 says of it.
    pub properties: Option<Box<Properties>>,
}

/// What a client says after that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// It publishes something.
    Publish(Publish),
    /// It has taken what was sent with that packet id (QoS 1). `reason` 0x80 and above: it would not.
    PubAck {
        /// The packet id.
        id: u16,
        /// The reason code.
        reason: u8,
    },
    /// It has got what was sent with that packet id (QoS 2, step 1).
    PubRec {
        /// The packet id.
        id: u16,
        /// The reason code.
        reason: u8,
    },
    /// It will not send that packet id again (QoS 2, step 2).
    PubRel {
        /// The packet id.
        id: u16,
    },
    /// It is done with that packet id (QoS 2, step 3).
    PubComp {
        /// The packet id.
        id: u16,
    },
    /// It wants to hear of topics.
    Subscribe {
        /// The packet id.
        id: u16,
        /// What it wants to hear of; one at least.
        filters: Vec<Wanted>,
        /// A number that comes back with every message these bring, 1 to 268,435,455.
        identifier: Option<u32>,
    },
    /// It does not want to hear of topics any more.
    Unsubscribe {
        /// The packet id.
        id: u16,
        /// The filters, as it subscribed to them.
        filters: Vec<String>,
    },
    /// It is there.
    Ping,
    /// It takes its leave.
    Disconnect {
        /// 0x00 as a rule, 0x04: its will is to be published.
        reason: u8,
        /// How long its session is to outlive the connection, if it has changed its mind; in seconds.
        session_expiry: Option<u32>,
    },
    /// A step of an authentication in several steps. None is known here.
    Auth,
}

/// Something a client publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Its topic; empty where the alias stands for it.
    pub topic: Arc<str>,
    /// The alias of its topic, above 0.
    pub alias: Option<u16>,
    /// What it says.
    pub payload: Bytes,
    /// How hard it is delivered.
    pub qos: Qos,
    /// Whether it is kept for later subscribers.
    pub retain: bool,
    /// Whether it may have come before.
    pub duplicate: bool,
    /// The packet id, above 0; 0 with QoS 0.
    pub id: u16,
    /// How long it is worth delivering.
    pub expiry: Option<Duration>,
    /// What MQTT 5 says of it.
    pub properties: Option<Box<Properties>>,
}

/// What a client wants to hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The filter, as it stands in the packet: it may be `$share/…`, and it may be wrong.
    pub filter: String,
    /// How hard at most.
    pub qos: Qos,
    /// Not what it published itself.
    pub no_local: bool,
    /// The retain flag stays as it was published.
    pub retain_as_published: bool,
    /// Which retained messages it gets.
    pub retained: RetainedWanted,
}

/// Which retained messages a subscriber gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetainedWanted {
    /// All that fit.
    #[default]
    All,
    /// All that fit, if it was not subscribed before.
    IfNew,
    /// None.
    None,
}

/// What the broker says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The answer to a [`Connect`].
    ConnAck(ConnAck),
    /// Something was published that the client wants to hear of.
    Publish(Delivery),
    /// What came with that packet id was taken, or why not (QoS 1).
    PubAck {
        /// The packet id.
        id: u16,
        /// The reason code of MQTT 5.
        reason: u8,
    },
    /// What came with that packet id was taken, or why not (QoS 2, step 1).
    PubRec {
        /// The packet id.
        id: u16,
        /// The reason code of MQTT 5.
        reason: u8,
    },
    /// That packet id is not sent again (QoS 2, step 2).
    PubRel {
        /// The packet id.
        id: u16,
        /// The reason code of MQTT 5.
        reason: u8,
    },
    /// That packet id is done with (QoS 2, step 3).
    PubComp {
        /// The packet id.
        id: u16,
        /// The reason code of MQTT 5.
        reason: u8,
    },
    /// What became of each filter: the QoS granted, or a reason of 0x80 and above.
    SubAck {
        /// The packet id.
        id: u16,
        /// The codes of MQTT 5, one for each filter. 3.1.1 gets 0x80 for any refusal.
        reasons: Vec<u8>,
    },
    /// What became of each filter.
    UnsubAck {
        /// The packet id.
        id: u16,
        /// The codes of MQTT 5, one for each filter.
        reasons: Vec<u8>,
    },
    /// The broker is there.
    Pong,
    /// The broker closes the connection. Nothing is sent to a 3.1.1 client.
    Disconnect {
        /// The reason code of MQTT 5.
        reason: u8,
        /// The reason in words, for whoever wants it.
        words: Option<&'static str>,
    },
}

/// The answer to a [`Connect`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnAck {
    /// Whether there was an earlier session, and it goes on.
    pub session_present: bool,
    /// 0, or the reason code of MQTT 5 for which the client is refused. 3.1.1 gets the nearest return code.
    pub reason: u8,
    /// The id the broker gave.
    pub client: Option<String>,
    /// How long the session outlives the connection, where that is less than was asked for; in seconds.
    pub session_expiry: Option<u32>,
    /// After how many seconds of silence the client is gone, where it is not what was asked for.
    pub keep_alive: Option<u16>,
    /// How many messages above QoS 0 the broker takes at once.
    pub receive_maximum: u16,
    /// The largest packet the broker takes, in bytes.
    pub maximum_packet: u32,
    /// How many topic aliases the broker takes.
    pub topic_aliases: u16,
    /// The reason in words, for whoever wants it.
    pub words: Option<&'static str>,
}

/// A publication on its way to one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// What is delivered.
    pub publication: Arc<Publication>,
    /// How hard.
    pub qos: Qos,
    /// The retain flag this client sees.
    pub retain: bool,
    /// Whether it may have been sent before.
    pub duplicate: bool,
    /// The packet id; 0 with QoS 0.
    pub id: u16,
    /// The numbers of the subscriptions it is for.
    pub subscriptions: Vec<u32>,
    /// How long it is still worth delivering, in seconds.
    pub expiry: Option<u32>,
}

/// Reason codes of MQTT 5 (chapter 2.4 of the standard), as far as they are used here.
pub mod reason {
    #![allow(missing_docs, reason = "the names are the standard's")]
    #![allow(dead_code, reason = "the list is the standard's as well")]
    pub const SUCCESS: u8 = 0x00;
    pub const DISCONNECT_WITH_WILL: u8 = 0x04;
    pub const NO_MATCHING_SUBSCRIBERS: u8 = 0x10;
    pub const NO_SUBSCRIPTION_EXISTED: u8 = 0x11;
    pub const UNSPECIFIED_ERROR: u8 = 0x80;
    pub const MALFORMED_PACKET: u8 = 0x81;
    pub const PROTOCOL_ERROR: u8 = 0x82;
    pub const UNSUPPORTED_PROTOCOL_VERSION: u8 = 0x84;
    pub const CLIENT_IDENTIFIER_NOT_VALID: u8 = 0x85;
    pub const BAD_USER_NAME_OR_PASSWORD: u8 = 0x86;
    pub const NOT_AUTHORIZED: u8 = 0x87;
    pub const SERVER_UNAVAILABLE: u8 = 0x88;
    pub const SERVER_BUSY: u8 = 0x89;
    pub const SERVER_SHUTTING_DOWN: u8 = 0x8b;
    pub const BAD_AUTHENTICATION_METHOD: u8 = 0x8c;
    pub const KEEP_ALIVE_TIMEOUT: u8 = 0x8d;
    pub const SESSION_TAKEN_OVER: u8 = 0x8e;
    pub const TOPIC_FILTER_INVALID: u8 = 0x8f;
    pub const TOPIC_NAME_INVALID: u8 = 0x90;
    pub const PACKET_IDENTIFIER_IN_USE: u8 = 0x91;
    pub const PACKET_IDENTIFIER_NOT_FOUND: u8 = 0x92;
    pub const RECEIVE_MAXIMUM_EXCEEDED: u8 = 0x93;
    pub const TOPIC_ALIAS_INVALID: u8 = 0x94;
    pub const PACKET_TOO_LARGE: u8 = 0x95;
    pub const MESSAGE_RATE_TOO_HIGH: u8 = 0x96;
    pub const QUOTA_EXCEEDED: u8 = 0x97;
    pub const ADMINISTRATIVE_ACTION: u8 = 0x98;
    pub const SHARED_SUBSCRIPTIONS_NOT_SUPPORTED: u8 = 0x9e;
    pub const CONNECTION_RATE_EXCEEDED: u8 = 0x9f;
}
