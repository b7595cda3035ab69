//! One publication on its way through the broker, whatever version of MQTT its publisher speaks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

/// How hard a publication is delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[allow(clippy::enum_variant_names, reason = "the names are the standard's")]
pub enum Qos {
    /// Sent once; gone if the connection breaks.
    #[default]
    AtMostOnce = 0,
    /// Sent until it is acknowledged.
    AtLeastOnce = 1,
    /// Sent until it is acknowledged, and taken once.
    ExactlyOnce = 2,
}

/// A publication. Every receiver shares it; what differs between receivers is in their deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Its topic: 1 to 65,535 bytes of UTF-8 without wildcards.
    pub topic: Arc<str>,
    /// What it says.
    pub payload: Bytes,
    /// How hard its publisher had it delivered; no receiver gets it harder.
    pub qos: Qos,
    /// Whether its publisher wants it kept for later subscribers.
    pub retain: bool,
    /// Who published it.
    pub from: Origin,
    /// What MQTT 5 says of it, end to end. `None` for most.
    pub properties: Option<Box<Properties>>,
    /// When it is not worth delivering any more (MQTT 5 message expiry).
    pub expires: Option<Instant>,
}

/// Who published something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The gateway itself.
    Gateway,
    /// The client of that id, and the user it logged in as, if it did.
    Client {
        /// The client id.
        client: Arc<str>,
        /// The user.
        user: Option<Arc<str>>,
    },
    /// The broker itself, for the client of that id, after its connection had broken.
    Will {
        /// The client id.
        client: Arc<str>,
        /// The user.
        user: Option<Arc<str>>,
    },
}

/// The properties of MQTT 5 that go from publisher to receivers unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// Whether the payload says of itself that it is UTF-8.
    pub is_text: Option<bool>,
    /// What the payload is, such as `application/json`.
    pub content_type: Option<String>,
    /// Where an answer is wanted.
    pub response_topic: Option<String>,
    /// What the answer shall carry.
    pub correlation: Option<Bytes>,
    /// Pairs of the publisher's own, in its order.
    pub user: Vec<(String, String)>,
}

impl Publication {
    /// A publication of the gateway's own: QoS 1, not retained.
    pub fn new(topic: impl Into<Arc<str>>, payload: impl Into<Bytes>) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            qos: Qos::AtLeastOnce,
            retain: false,
            from: Origin::Gateway,
            properties: None,
            expires: None,
        }
    }

    /// Whether it is not worth delivering any more.
    pub fn has_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// How long it is still worth delivering. `None`: for ever.
    pub fn remaining(&self, now: Instant) -> Option<Duration> {
        self.expires.map(|expires| expires.saturating_duration_since(now))
    }

    /// What its publisher put into it: topic, payload and properties, in bytes.
    pub fn size(&self) -> usize {
        let properties = self.properties.as_ref().map_or(0, |properties| properties.size());
        self.topic.len() + self.payload.len() + properties
    }

    /// About what it costs in memory, in bytes.
    pub fn weight(&self) -> usize {
        let properties = self.properties.as_ref().map_or(0, |properties| 160 + properties.weight());
        160 + self.topic.len() + self.payload.len() + properties
    }
}

impl Properties {
    /// About what those cost in memory of which there may be any number, in bytes.
    pub fn weight(&self) -> usize {
        self.size() + 64 * self.user.len()
    }

    /// What they say, in bytes.
    pub fn size(&self) -> usize {
        let user = self.user.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let correlation = self.correlation.as_ref().map_or(0, Bytes::len);
        user + text(&self.content_type) + text(&self.response_topic) + correlation
    }
}

impl Origin {
    /// The client id, if it was a client.
    pub fn client(&self) -> Option<&Arc<str>> {
        match self {
            Self::Gateway => None,
            Self::Client { client, .. } | Self::Will { client, .. } => Some(client),
        }
    }

    /// The user the client logged in as.
    pub fn user(&self) -> Option<&Arc<str>> {
        match self {
            Self::Gateway => None,
            Self::Client { user, .. } | Self::Will { user, .. } => user.as_ref(),
        }
    }
}
