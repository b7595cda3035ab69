//! A finished publication, and the form in which the queue keeps it.
//!
//! The queue stores bytes and knows nothing of MQTT, so the form is defined here. It begins with a
//! version, so that a queue written by an older wharf is still delivered by a newer one.
//!
//! ```text
//! u8 version | u8 flags | u16 topic length | topic
//!     | [u16 length | correlation data] | [u8 count | u32 place of each time] | [properties] | payload
//! ```
//!
//! Numbers are big-endian. Flags: bit 0 QoS 1, bit 1 retain, bit 2 correlation data follows, bit 3
//! the payload is a JSON object that wharf has made, bit 4 places of times follow. The version is 1, or 2 if
//! [properties](Properties) follow:
//!
//! ```text
//! u8 flags | [u16 length | content type] | [u16 length | response topic] | [u64 milliseconds it is worth delivering]
//!     | u32 count | u16 length, name, u16 length, value of each user property
//! ```
//!
//! Their flags: bit 0 the payload says whether it is text, bit 1 it is, bit 2 content type, bit 3 response topic, bit 4
//! milliseconds follow.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};

const VERSION: u8 = 1;
const WITH_PROPERTIES: u8 = 2;
const QOS_1: u8 = 1;
const RETAIN: u8 = 1 << 1;
const CORRELATION: u8 = 1 << 2;
const JSON: u8 = 1 << 3;
const TIMES: u8 = 1 << 4;
/// How many places of times are stored; a payload with more of them keeps the rest uncorrected.
const MOST_TIMES: usize = 16;

/// How hard a publication is delivered. QoS 2 is left out: with at-least-once delivery from disk
/// it would promise what it cannot hold across a lost session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    /// Sent once; gone if the connection breaks.
    AtMostOnce,
    /// Sent until it is acknowledged.
    AtLeastOnce,
}

/// A finished publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The topic: not empty, without wildcards, at most 65,535 bytes.
    pub topic: String,
    /// The payload.
    pub payload: Bytes,
    /// How hard it is delivered.
    pub qos: Qos,
    /// Whether the broker keeps it for later subscribers.
    pub retain: bool,
    /// MQTT 5 correlation data, on an answer whose asker sent some.
    pub correlation: Option<Bytes>,
    /// Whether the payload is a JSON object that wharf has made. It may get further members on its
    /// way out, and its time is found by name.
    pub json: bool,
    /// Where in another payload the digits of times stand that a clock not yet set has shown;
    /// rising, at most 16. They are corrected on the way out, once the true time is known.
    pub times: Vec<u32>,
    /// What else MQTT 5 says of it, if somebody else has published it.
    pub properties: Option<Box<Properties>>,
}

/// What MQTT 5 says of a publication that passes through, beside correlation data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// Whether the payload says of itself that it is UTF-8.
    pub is_text: Option<bool>,
    /// What the payload is, such as `application/json`.
    pub content_type: Option<String>,
    /// Where an answer is wanted.
    pub response_topic: Option<String>,
    /// How long it is worth delivering from when it was captured on; to the millisecond.
    pub expires_in: Option<Duration>,
    /// Pairs of the publisher's own, in its order.
    pub user: Vec<(String, String)>,
}

impl Properties {
    /// The same, or nothing if they say nothing.
    pub fn boxed(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }
}

/// A stored message that cannot be read back.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The bytes end early.
    #[error("the stored message is cut short")]
    Short,
    /// Written by a newer wharf.
    #[error("the stored message has version {0}, this wharf knows version {WITH_PROPERTIES}")]
    Version(u8),
    /// The topic is not UTF-8.
    #[error("the stored topic is not text")]
    Topic,
    /// A property is not UTF-8.
    #[error("a stored property is not text")]
    Property,
}

impl Message {
    /// A QoS 1 message without correlation data.
    pub fn new(topic: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            qos: Qos::AtLeastOnce,
            retain: false,
            correlation: None,
            json: false,
            times: Vec::new(),
            properties: None,
        }
    }

    /// Whether it says where an answer is wanted.
    pub fn wants_answer(&self) -> bool {
        self.properties.as_ref().is_some_and(|said| said.response_topic.is_some())
    }

    /// The same message, whose payload is a JSON object that wharf has made.
    #[must_use]
    pub fn json(mut self) -> Self {
        self.json = true;
        self
    }

    /// The same message, retained.
    #[must_use]
    pub fn retained(mut self) -> Self {
        self.retain = true;
        self
    }

    /// The stored form. A topic or correlation data past 65,535 bytes would not be valid MQTT
    /// either; nothing in wharf makes one.
    pub fn encode(&self) -> Bytes {
        let correlation = self.correlation.as_ref();
        let times = &self.times[..self.times.len().min(MOST_TIMES)];
        let extra =
            correlation.map_or(0, |data| 2 + data.len()) + if times.is_empty() { 0 } else { 1 + 4 * times.len() };
        let size = 4 + self.topic.len() + extra + self.payload.len();
        let mut bytes = BytesMut::with_capacity(size);
        bytes.put_u8(if self.properties.is_some() { WITH_PROPERTIES } else { VERSION });
        let qos = if self.qos == Qos::AtLeastOnce { QOS_1 } else { 0 };
        let retain = if self.retain { RETAIN } else { 0 };
        let json = if self.json { JSON } else { 0 };
        let with_times = if times.is_empty() { 0 } else { TIMES };
        bytes.put_u8(qos | retain | correlation.map_or(0, |_| CORRELATION) | json | with_times);
        put_short(&mut bytes, self.topic.as_bytes());
        if let Some(data) = correlation {
            put_short(&mut bytes, data);
        }
        if !times.is_empty() {
            bytes.put_u8(u8::try_from(times.len()).unwrap_or(u8::MAX));
            times.iter().for_each(|place| bytes.put_u32(*place));
        }
        if let Some(properties) = &self.properties {
            put_properties(&mut bytes, properties);
        }
        bytes.put_slice(&self.payload);
        bytes.freeze()
    }

    /// Reads the stored form.
    pub fn decode(mut bytes: Bytes) -> Result<Self, MessageError> {
        if bytes.len() < 2 {
            return Err(MessageError::Short);
        }
        let head = bytes.split_to(2);
        if !matches!(head[0], VERSION | WITH_PROPERTIES) {
            return Err(MessageError::Version(head[0]));
        }
        let flags = head[1];
        let topic = take_short(&mut bytes)?;
        let topic = String::from_utf8(topic.to_vec()).map_err(|_| MessageError::Topic)?;
        let correlation = if flags & CORRELATION == 0 { None } else { Some(take_short(&mut bytes)?) };
        let qos = if flags & QOS_1 == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
        let times = if flags & TIMES == 0 { Vec::new() } else { take_times(&mut bytes)? };
        let properties = if head[0] == WITH_PROPERTIES { Some(Box::new(take_properties(&mut bytes)?)) } else { None };
        let (retain, json) = (flags & RETAIN != 0, flags & JSON != 0);
        Ok(Self { topic, payload: bytes, qos, retain, correlation, json, times, properties })
    }
}

fn put_short(bytes: &mut BytesMut, data: &[u8]) {
    let length = u16::try_from(data.len()).unwrap_or(u16::MAX);
    bytes.put_u16(length);
    bytes.put_slice(&data[..usize::from(length)]);
}

fn take_short(bytes: &mut Bytes) -> Result<Bytes, MessageError> {
    if bytes.len() < 2 {
        return Err(MessageError::Short);
    }
    let length = bytes.split_to(2);
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    if bytes.len() < length {
        return Err(MessageError::Short);
    }
    Ok(bytes.split_to(length))
}

fn take_times(bytes: &mut Bytes) -> Result<Vec<u32>, MessageError> {
    let count = usize::from(bytes.try_get_u8().map_err(|_| MessageError::Short)?);
    (0..count).map(|_| bytes.try_get_u32().map_err(|_| MessageError::Short)).collect()
}

fn put_properties(bytes: &mut BytesMut, properties: &Properties) {
    let Properties { is_text, content_type, response_topic, expires_in, user } = properties;
    let flags = [
        is_text.is_some(),
        *is_text == Some(true),
        content_type.is_some(),
        response_topic.is_some(),
        expires_in.is_some(),
    ];
    bytes.put_u8(flags.iter().enumerate().fold(0, |bits, (at, flag)| bits | u8::from(*flag) << at));
    content_type.iter().chain(response_topic).for_each(|text| put_short(bytes, text.as_bytes()));
    if let Some(time) = expires_in {
        bytes.put_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    }
    bytes.put_u32(u32::try_from(user.len()).unwrap_or(u32::MAX));
    for (name, value) in user {
        put_short(bytes, name.as_bytes());
        put_short(bytes, value.as_bytes());
    }
}

fn take_properties(bytes: &mut Bytes) -> Result<Properties, MessageError> {
    let flags = bytes.try_get_u8().map_err(|_| MessageError::Short)?;
    let is_text = (flags & 1 != 0).then_some(flags & 2 != 0);
    let content_type = if flags & 4 == 0 { None } else { Some(take_text(bytes)?) };
    let response_topic = if flags & 8 == 0 { None } else { Some(take_text(bytes)?) };
    let expires_in = match flags & 16 {
        0 => None,
        _ => Some(Duration::from_millis(bytes.try_get_u64().map_err(|_| MessageError::Short)?)),
    };
    let count = bytes.try_get_u32().map_err(|_| MessageError::Short)?;
    // Each takes four bytes at least, so a count that lies ends the loop soon.
    let mut user = Vec::new();
    for _ in 0..count {
        user.push((take_text(bytes)?, take_text(bytes)?));
    }
    Ok(Properties { is_text, content_type, response_topic, expires_in, user })
}

fn take_text(bytes: &mut Bytes) -> Result<String, MessageError> {
    String::from_utf8(take_short(bytes)?.to_vec()).map_err(|_| MessageError::Property)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_stored_is_read_back(
            topic in "[a-z/äß]{1,40}",
            payload in proptest::collection::vec(any::<u8>(), 0..200),
            qos in any::<bool>(),
            retain in any::<bool>(),
            correlation in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20)),
            json in any::<bool>(),
            times in proptest::collection::vec(any::<u32>(), 0..=MOST_TIMES),
            properties in proptest::option::of((
                any::<Option<bool>>(),
                proptest::option::of("[a-z/]{0,20}"),
                proptest::option::of("[a-z/ß]{1,20}"),
                any::<Option<u32>>(),
                proptest::collection::vec(("[a-z]{0,5}", "[a-z]{0,5}"), 0..5),
            )),
        ) {
            let properties = properties.map(|(is_text, content_type, response_topic, millis, user)| {
                let expires_in = millis.map(|millis| Duration::from_millis(millis.into()));
                Box::new(Properties { is_text, content_type, response_topic, expires_in, user })
            });
            let message = Message {
                topic,
                payload: payload.into(),
                qos: if qos { Qos::AtLeastOnce } else { Qos::AtMostOnce },
                retain,
                correlation: correlation.map(Bytes::from),
                json,
                times,
                properties,
            };
            prop_assert_eq!(Message::decode(message.encode()), Ok(message));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), version in 1_u8..3) {
            let mut bytes = bytes;
            let _ = Message::decode(bytes.clone().into());
            bytes.insert(0, version);
            let _ = Message::decode(bytes.into());
        }
    }

    #[test]
    fn a_message_of_an_earlier_version_is_read_and_one_that_says_no_more_is_written_like_it() {
        let stored = b"\x01\x03\x00\x0bgw1-out/a/bon";
        let message = Message::new("gw1-out/a/b", "on").retained();
        assert_eq!(Message::decode(Bytes::from_static(stored)).as_ref(), Ok(&message));
        assert_eq!(message.encode(), stored[..]);
        let more = Message { properties: Some(Box::default()), ..message };
        assert_eq!(more.encode()[0], 2, "an earlier wharf does not take properties for payload");
    }

    #[test]
    fn a_message_cut_short_is_an_error() {
        let properties = Properties {
            content_type: Some("text".into()),
            response_topic: Some("a".into()),
            expires_in: Some(Duration::from_secs(1)),
            user: vec![("a".into(), "b".into())],
            ..Properties::default()
        };
        let whole = Message {
            correlation: Some("c".into()),
            times: vec![7],
            properties: properties.boxed(),
            ..Message::new("gw1-out/a/b", "1")
        };
        let whole = whole.encode();
        for length in 0..whole.len() - 1 {
            assert_eq!(Message::decode(whole.slice(..length)), Err(MessageError::Short), "{length} bytes");
        }
    }
}
