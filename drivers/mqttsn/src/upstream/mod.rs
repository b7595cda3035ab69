//! The way to the broker: what the clients of the field ask of it, and what it says.
//!
//! Each client of the field is a client of the broker, and speaks through a channel of [`Request`]s and
//! [`News`]. In `connection` there is an MQTT 3.1.1 connection behind it; in `shared` several clients share
//! one connection. `dial` makes those over the network.

pub mod connection;
pub mod dial;
pub mod shared;

use bytes::Bytes;

use crate::message::Qos;

/// What is published for a client that is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// Where.
    pub topic: String,
    /// What it says.
    pub payload: Bytes,
    /// How hard it is delivered.
    pub qos: Qos,
    /// Whether the broker keeps it.
    pub retain: bool,
}

/// What a client asks of the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// To be let in.
    Connect {
        /// A number that comes back with all that is said from then on.
        session: u32,
        /// The client's id.
        client: String,
        /// Whether what is left of an earlier session goes.
        clean: bool,
        /// What is published when it is lost.
        will: Option<Will>,
    },
    /// To pass something on.
    Publish {
        /// Where.
        topic: String,
        /// What it says.
        payload: Bytes,
        /// How hard it is delivered.
        qos: Qos,
        /// Whether the broker keeps it.
        retain: bool,
        /// What [`News::Published`] names. `None`: nobody asks.
        tag: Option<u16>,
        /// Whether the client says that it repeats what it has said with that tag.
        repeated: bool,
    },
    /// To hear of something.
    Subscribe {
        /// Of what.
        filter: String,
        /// How hard at most.
        qos: Qos,
        /// What [`News::Subscribed`] names.
        tag: u16,
    },
    /// Not to hear of it any more.
    Unsubscribe {
        /// Of what.
        filter: String,
        /// What [`News::Unsubscribed`] names.
        tag: u16,
    },
    /// A delivery has come where it belongs, or is given up.
    Done(Receipt),
    /// To be told when all is said that there is to say now.
    Fence,
    /// To take its leave.
    Leave,
    /// It is lost: its will is published.
    Lose,
}

/// What a delivery above QoS 0 is acknowledged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The broker's number of it.
    pub id: u16,
    /// How hard it was delivered.
    pub qos: Qos,
}

/// Something that a client has subscribed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Where it was published.
    pub topic: String,
    /// What it says.
    pub payload: Bytes,
    /// How hard it is delivered.
    pub qos: Qos,
    /// Whether the broker had kept it.
    pub retain: bool,
    /// Above QoS 0: what it is acknowledged by. `None` too where that was done already.
    pub receipt: Option<Receipt>,
}

/// What the broker says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The client is let in.
    Connected,
    /// It is not.
    Refused(String),
    /// What was published with that tag is the broker's now.
    Published(u16),
    /// How hard it is told of what it subscribed to; `None`: not at all.
    Subscribed(u16, Option<Qos>),
    /// It is not told any more.
    Unsubscribed(u16),
    /// Something it has subscribed to.
    Delivery(Delivery),
    /// All is said that there was to say when it was asked.
    Fenced,
    /// The connection is gone.
    Lost(String),
}
