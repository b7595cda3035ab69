//! What the broker sends, as bytes. Publications go from where all receivers share them straight into a
//! connection's buffer.

use bytes::{BufMut, BytesMut};

use super::properties::number;
use super::{ConnAck, Delivery, Reply, Version, reason, size};

/// The largest length a packet can have (chapter 2.1.4), in bytes.
const LONGEST: usize = 268_435_455;

/// How a client is spoken to.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Which MQTT it speaks.
    pub version: Version,
    /// Whether it wants reasons in words.
    pub wants_reasons: bool,
    /// The largest packet it takes, in bytes.
    pub largest: usize,
}

impl Manner {
    /// Of a client that has not said anything yet.
    pub fn plain(version: Version) -> Self {
        Self { version, wants_reasons: true, largest: LONGEST }
    }

    /// Appends a reply to what is to be sent. Whether that was possible: a packet that is larger than the client
    /// takes is left out.
    pub fn write(&self, reply: &Reply, out: &mut BytesMut) -> bool {
        match reply {
            Reply::Publish(delivery) => return self.publish(delivery, out),
            Reply::ConnAck(answer) => return self.connack(answer, out),
            Reply::PubAck { id, reason } => self.acknowledgement(0x40, *id, *reason, out),
            Reply::PubRec { id, reason } => self.acknowledgement(0x50, *id, *reason, out),
            Reply::PubRel { id, reason } => self.acknowledgement(0x62, *id, *reason, out),
            Reply::PubComp { id, reason } => self.acknowledgement(0x70, *id, *reason, out),
            Reply::SubAck { id, reasons } => return self.suback(*id, reasons, out),
            Reply::UnsubAck { id, reasons } => return self.unsuback(*id, reasons, out),
            Reply::Pong => out.put_slice(&[0xd0, 0]),
            Reply::Disconnect { reason, words } => return self.disconnect(*reason, *words, out),
        }
        true
    }

    fn publish(&self, delivery: &Delivery, out: &mut BytesMut) -> bool {
        let publication = &delivery.publication;
        let properties = delivery.properties_size(self.version);
        let length = delivery.length(properties);
        if length > LONGEST || size::packet(length) > self.largest {
            return false;
        }
        out.reserve(5 + length);
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        out.put_u8(0x30 | flag(delivery.duplicate, 8) | (delivery.qos as u8) << 1 | flag(delivery.retain, 1));
        variable(length, out);
        counted(publication.topic.as_bytes(), out);
        if delivery.id != 0 {
            out.put_u16(delivery.id);
        }
        if let Some(properties) = properties {
            variable(properties, out);
            delivery.put_properties(out);
        }
        out.put_slice(&publication.payload);
        true
    }

    fn connack(&self, answer: &ConnAck, out: &mut BytesMut) -> bool {
        let session_present = u8::from(answer.session_present);
        if self.version == Version::V3 {
            out.put_slice(&[0x20, 2, session_present, return_code(answer.reason)]);
            return true;
        }
        let mut properties = BytesMut::new();
        if answer.reason == reason::SUCCESS {
            if let Some(seconds) = answer.session_expiry {
                properties.put_u8(number::SESSION_EXPIRY);
                properties.put_u32(seconds);
            }
            properties.put_u8(number::RECEIVE_MAXIMUM);
            properties.put_u16(answer.receive_maximum.max(1));
            if answer.maximum_packet > 0 {
                properties.put_u8(number::MAXIMUM_PACKET_SIZE);
                properties.put_u32(answer.maximum_packet);
            }
            if let Some(client) = &answer.client {
                properties.put_u8(number::ASSIGNED_CLIENT_IDENTIFIER);
                counted(client.as_bytes(), &mut properties);
            }
            properties.put_u8(number::TOPIC_ALIAS_MAXIMUM);
            properties.put_u16(answer.topic_aliases);
            if let Some(seconds) = answer.keep_alive {
                properties.put_u8(number::SERVER_KEEP_ALIVE);
                properties.put_u16(seconds);
            }
        }
        let head = [session_present, answer.reason];
        self.with_words(answer.words, &mut properties, |properties| self.whole(0x20, &head, properties, &[], out))
    }

    fn disconnect(&self, reason: u8, words: Option<&'static str>, out: &mut BytesMut) -> bool {
        if self.version == Version::V3 {
            return true;
        }
        self.with_words(words, &mut BytesMut::new(), |properties| self.whole(0xe0, &[reason], properties, &[], out))
    }

    /// Sends with the reason in words, or without it if that would be too much.
    fn with_words(
        &self,
        words: Option<&'static str>,
        properties: &mut BytesMut,
        mut send: impl FnMut(&[u8]) -> bool,
    ) -> bool {
        let without = properties.len();
        if let Some(words) = words.filter(|_| self.wants_reasons) {
            properties.put_u8(number::REASON_STRING);
            counted(words.as_bytes(), properties);
            if send(properties) {
                return true;
            }
        }
        send(&properties[..without])
    }

    fn suback(&self, id: u16, reasons: &[u8], out: &mut BytesMut) -> bool {
        if self.version == Version::V5 {
            return self.whole(0x90, &id.to_be_bytes(), &[], reasons, out);
        }
        let codes: Vec<u8> = reasons.iter().map(|reason| if *reason < 0x80 { *reason } else { 0x80 }).collect();
        variable_packet(0x90, 2 + codes.len(), out);
        out.put_u16(id);
        out.put_slice(&codes);
        true
    }

    fn unsuback(&self, id: u16, reasons: &[u8], out: &mut BytesMut) -> bool {
        if self.version == Version::V5 {
            return self.whole(0xb0, &id.to_be_bytes(), &[], reasons, out);
        }
        self.acknowledgement(0xb0, id, reason::SUCCESS, out);
        true
    }

    /// The four packets of QoS 1 and 2. Two to four bytes of content: no client takes less.
    fn acknowledgement(&self, first: u8, id: u16, reason: u8, out: &mut BytesMut) {
        let [high, low] = id.to_be_bytes();
        if self.version == Version::V3 || reason == reason::SUCCESS {
            out.put_slice(&[first, 2, high, low]);
        } else {
            out.put_slice(&[first, 3, high, low, reason]);
        }
    }

    /// A packet of MQTT 5 with properties in its middle.
    fn whole(&self, first: u8, head: &[u8], properties: &[u8], tail: &[u8], out: &mut BytesMut) -> bool {
        let length = head.len() + size::variable(properties.len()) + properties.len() + tail.len();
        if size::packet(length) > self.largest {
            return false;
        }
        variable_packet(first, length, out);
        out.put_slice(head);
        variable(properties.len(), out);
        out.put_slice(properties);
        out.put_slice(tail);
        true
    }
}

impl Delivery {
    /// What it takes on the wire, in bytes.
    #[cfg(test)]
    pub fn size(&self, version: Version) -> usize {
        size::packet(self.length(self.properties_size(version)))
    }

    /// What comes after the fixed header, in bytes, with properties of that size.
    fn length(&self, properties: Option<usize>) -> usize {
        size::publish_rest(&self.publication, self.id != 0, properties)
    }

    /// Its properties, in bytes. MQTT 3.1.1 has none.
    fn properties_size(&self, version: Version) -> Option<usize> {
        let size = || size::publish_properties(&self.publication, self.expiry.is_some(), &self.subscriptions);
        (version == Version::V5).then(size)
    }

    fn put_properties(&self, out: &mut BytesMut) {
        if let Some(seconds) = self.expiry {
            out.put_u8(number::MESSAGE_EXPIRY);
            out.put_u32(seconds);
        }
        for identifier in &self.subscriptions {
            out.put_u8(number::SUBSCRIPTION_IDENTIFIER);
            variable(*identifier as usize, out);
        }
        let Some(properties) = &self.publication.properties else { return };
        if let Some(is_text) = properties.is_text {
            out.put_slice(&[number::PAYLOAD_FORMAT, u8::from(is_text)]);
        }
        let parts = [
            (number::CONTENT_TYPE, properties.content_type.as_deref().map(str::as_bytes)),
            (number::RESPONSE_TOPIC, properties.response_topic.as_deref().map(str::as_bytes)),
            (number::CORRELATION_DATA, properties.correlation.as_deref()),
        ];
        for (what, bytes) in parts {
            if let Some(bytes) = bytes {
                out.put_u8(what);
                counted(bytes, out);
            }
        }
        for (key, value) in &properties.user {
            out.put_u8(number::USER_PROPERTY);
            counted(key.as_bytes(), out);
            counted(value.as_bytes(), out);
        }
    }
}

/// The return code of MQTT 3.1.1 (table 3.1) nearest to a reason code of MQTT 5.
fn return_code(reason: u8) -> u8 {
    match reason {
        reason::SUCCESS => 0,
        reason::UNSUPPORTED_PROTOCOL_VERSION => 1,
        reason::CLIENT_IDENTIFIER_NOT_VALID => 2,
        reason::BAD_USER_NAME_OR_PASSWORD => 4,
        reason::NOT_AUTHORIZED | reason::BAD_AUTHENTICATION_METHOD => 5,
        _ => 3,
    }
}

fn variable_packet(first: u8, length: usize, out: &mut BytesMut) {
    out.reserve(5 + length);
    out.put_u8(first);
    variable(length, out);
}

/// A number of one to four bytes; what is too large for that does not get here.
fn variable(mut number: usize, out: &mut BytesMut) {
    while number > 0x7f {
        out.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

/// Bytes with their count before them: never more than 65,535, because none that came were longer.
fn counted(bytes: &[u8], out: &mut BytesMut) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.put_u16(length);
    out.put_slice(&bytes[..usize::from(length)]);
}
