//! The messages of MQTT-SN 1.2, and how they are written.
//!
//! Source: *MQTT For Sensor Networks (MQTT-SN) Protocol Specification Version 1.2*, chapter 5. Numbers are
//! big-endian. A message begins with its own length, in one byte, or in three of which the first is 1.

mod wire;

use std::fmt;

use bytes::Bytes;

pub use wire::{LONGEST, Malformed};

/// How hard a message is delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Qos {
    /// At most once.
    #[default]
    AtMostOnce,
    /// At least once.
    AtLeastOnce,
    /// Exactly once.
    ExactlyOnce,
    /// Written −1: at most once, from whoever has not connected.
    Unconnected,
}

impl Qos {
    /// What two bits say: 0–2, and 3 for −1.
    pub fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::AtMostOnce,
            1 => Self::AtLeastOnce,
            2 => Self::ExactlyOnce,
            _ => Self::Unconnected,
        }
    }

    /// The two bits.
    pub fn bits(self) -> u8 {
        match self {
            Self::AtMostOnce => 0,
            Self::AtLeastOnce => 1,
            Self::ExactlyOnce => 2,
            Self::Unconnected => 3,
        }
    }
}

/// How a PUBLISH names its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// By a number that client and gateway have agreed upon (REGISTER, SUBACK).
    Registered(u16),
    /// By a number that both have known from the beginning.
    Predefined(u16),
    /// By its name, which has just two bytes.
    Short([u8; 2]),
}

/// How a SUBSCRIBE or UNSUBSCRIBE names a topic, or a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// By its name, perhaps with wildcards.
    Name(String),
    /// By a number that both have known from the beginning.
    Predefined(u16),
    /// By its name, which has just two bytes.
    Short([u8; 2]),
}

/// What is said to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// It was done.
    Accepted,
    /// There is no room just now.
    Congestion,
    /// There is no such topic number.
    InvalidTopic,
    /// It cannot be done.
    NotSupported,
    /// Something that MQTT-SN 1.2 does not know.
    Other(u8),
}

impl Return {
    fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Accepted,
            1 => Self::Congestion,
            2 => Self::InvalidTopic,
            3 => Self::NotSupported,
            other => Self::Other(other),
        }
    }

    fn byte(self) -> u8 {
        match self {
            Self::Accepted => 0,
            Self::Congestion => 1,
            Self::InvalidTopic => 2,
            Self::NotSupported => 3,
            Self::Other(other) => other,
        }
    }
}

/// The topic of a will, and how it is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WillTopic {
    /// How hard it is delivered.
    pub qos: Qos,
    /// Whether the broker keeps it.
    pub retain: bool,
    /// Where it is published.
    pub topic: String,
}

/// Something published, either way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Whether it was sent before.
    pub dup: bool,
    /// How hard it is delivered.
    pub qos: Qos,
    /// Whether the broker keeps it, or has kept it.
    pub retain: bool,
    /// Where.
    pub topic: Topic,
    /// What its acknowledgement names; 0 where there is none.
    pub id: u16,
    /// What it says.
    pub data: Bytes,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A gateway says that it is there, and says so again after `duration` seconds.
    Advertise {
        /// Which gateway.
        gateway: u8,
        /// In seconds.
        duration: u16,
    },
    /// A client looks for a gateway.
    SearchGw {
        /// How far the question goes, in hops; 0: everywhere.
        radius: u8,
    },
    /// The answer.
    GwInfo {
        /// Which gateway.
        gateway: u8,
        /// Where it is; empty if it says so itself.
        address: Bytes,
    },
    /// A client begins.
    Connect {
        /// Whether it wants to be asked for its will.
        will: bool,
        /// Whether its earlier subscriptions and its will go.
        clean: bool,
        /// How long it may be silent, in seconds; 0: for ever.
        duration: u16,
        /// Its id.
        client: String,
    },
    /// The answer.
    ConnAck(Return),
    /// The gateway asks for the will's topic.
    WillTopicReq,
    /// The answer; `None` for no will.
    WillTopic(Option<WillTopic>),
    /// The gateway asks what the will says.
    WillMsgReq,
    /// The answer.
    WillMsg(Bytes),
    /// A topic gets a number.
    Register {
        /// The number, if the gateway says so; 0 from a client.
        topic: u16,
        /// What the answer names.
        id: u16,
        /// The topic.
        name: String,
    },
    /// The answer.
    RegAck {
        /// The number.
        topic: u16,
        /// Of the question.
        id: u16,
        /// What came of it.
        code: Return,
    },
    /// Something is published.
    Publish(Publish),
    /// It has come (QoS 1), or cannot be taken (any QoS).
    PubAck {
        /// The topic's number.
        topic: u16,
        /// Of the message.
        id: u16,
        /// What came of it.
        code: Return,
    },
    /// It has come (QoS 2, step 1).
    PubRec {
        /// Of the message.
        id: u16,
    },
    /// It does not come again (QoS 2, step 2).
    PubRel {
        /// Of the message.
        id: u16,
    },
    /// That is known (QoS 2, step 3).
    PubComp {
        /// Of the message.
        id: u16,
    },
    /// A client wants to hear of a topic.
    Subscribe {
        /// Whether it was sent before.
        dup: bool,
        /// How hard at most.
        qos: Qos,
        /// What the answer names.
        id: u16,
        /// Which topics.
        filter: Filter,
    },
    /// The answer.
    SubAck {
        /// How hard.
        qos: Qos,
        /// The topic's number; 0 if there were wildcards, or none is needed.
        topic: u16,
        /// Of the question.
        id: u16,
        /// What came of it.
        code: Return,
    },
    /// A client does not want to hear of it any more.
    Unsubscribe {
        /// What the answer names.
        id: u16,
        /// Which topics.
        filter: Filter,
    },
    /// The answer.
    UnsubAck {
        /// Of the question.
        id: u16,
    },
    /// Are you there? With a client's id: it is awake, and takes what has waited for it.
    PingReq {
        /// The id of a client that was asleep.
        client: Option<String>,
    },
    /// Yes; and there is nothing more.
    PingResp,
    /// It is over; with a duration: the client sleeps so many seconds.
    Disconnect {
        /// In seconds.
        duration: Option<u16>,
    },
    /// A client has another will; `None` for none.
    WillTopicUpd(Option<WillTopic>),
    /// The answer.
    WillTopicResp(Return),
    /// The will says something else.
    WillMsgUpd(Bytes),
    /// The answer.
    WillMsgResp(Return),
    /// A forwarder passes a message on, for a node that reaches it and not the gateway.
    Forwarded {
        /// How far it goes, in hops: 0–3; 0: everywhere.
        radius: u8,
        /// The node, as the forwarder knows it.
        node: Bytes,
        /// The message, as it was written.
        message: Bytes,
    },
}

impl fmt::Display for Qos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AtMostOnce => "0",
            Self::AtLeastOnce => "1",
            Self::ExactlyOnce => "2",
            Self::Unconnected => "-1",
        })
    }
}

#[cfg(test)]
mod tests;
