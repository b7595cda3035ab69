//! What clients send, from bytes. Strict: what the standards forbid is refused, with the reason code of
//! MQTT 5 for it.
//!
//! Nothing of a packet is kept by reference, so that a retained message of ten bytes does not hold on to
//! the buffer it was read into.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::super::publication::Qos;
use super::cursor::{Cursor, text};
use super::properties::{Among, Found, topic};
use super::{Connect, Publish, Request, RetainedWanted, Version, Wanted, Will, Wrong, malformed, reason, violation};

/// A packet that is there as a whole.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'b> {
    /// Its first byte: its kind, and flags.
    pub first: u8,
    /// What follows its length.
    pub body: &'b [u8],
    /// What it takes in all, in bytes.
    pub size: usize,
}

/// Cuts the first packet off what has come. `None`: there is more to come.
///
/// # Errors
/// A length that is none, or a packet of more than `largest` bytes.
pub fn frame(buffer: &[u8], largest: usize) -> Result<Option<Frame<'_>>, Wrong> {
    let Some((&first, rest)) = buffer.split_first() else { return Ok(None) };
    let mut length = 0_usize;
    for (index, &byte) in rest.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let head = 2 + index;
            let size = head + length;
            if size > largest {
                return Err(Wrong { reason: reason::PACKET_TOO_LARGE, words: "a packet larger than is taken here" });
            }
            return Ok(buffer.get(head..size).map(|body| Frame { first, body, size }));
        }
    }
    if rest.len() < 4 { Ok(None) } else { Err(malformed("a length of more than four bytes")) }
}

/// Why a client that wants to connect is not even asked for its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoConnect {
    /// It speaks another version. It is told in the form of the version next to it.
    Version(Version),
    /// It speaks the version, but not well. A client of MQTT 5 is told.
    Wrong(Version, Wrong),
    /// That is no MQTT.
    Foreign(Wrong),
}

/// Reads what has to be the first packet of a connection.
///
/// # Errors
/// It is not a CONNECT, or not a good one.
pub fn connect(frame: &Frame<'_>) -> Result<Connect, NoConnect> {
    if frame.first != 0x10 {
        return Err(NoConnect::Foreign(violation("the first packet is no CONNECT")));
    }
    let mut packet = Cursor::new(frame.body);
    let start = packet.text().and_then(|name| Ok((name, packet.byte()?)));
    let version = match start.map_err(NoConnect::Foreign)? {
        ("MQTT", 4) => Version::V3,
        ("MQTT", 5) => Version::V5,
        // Bridges set the highest bit of the level and try again without.
        ("MQTT", level) if level & 0x7f > 5 => return Err(NoConnect::Version(Version::V5)),
        ("MQTT" | "MQIsdp", _) => return Err(NoConnect::Version(Version::V3)),
        _ => return Err(NoConnect::Foreign(malformed("the protocol is not MQTT"))),
    };
    connect_of(version, &mut packet).map_err(|wrong| NoConnect::Wrong(version, wrong))
}

fn connect_of(version: Version, packet: &mut Cursor<'_>) -> Result<Connect, Wrong> {
    let flags = packet.byte()?;
    let [has_user, has_password, will_retain, has_will, clean_start] =
        [0x80, 0x40, 0x20, 0x04, 0x02].map(|bit| flags & bit != 0);
    let will_qos = qos(flags >> 3 & 3)?;
    if flags & 1 != 0 {
        return Err(malformed("the reserved flag of a CONNECT is set"));
    }
    if !has_will && (will_retain || will_qos != Qos::AtMostOnce) {
        return Err(malformed("flags of a will without a will"));
    }
    if version == Version::V3 && has_password && !has_user {
        return Err(malformed("a password without a user name"));
    }
    let keep_alive = packet.two()?;
    let found = properties(version, packet, Among::CONNECT)?;
    let client = packet.text()?.to_owned();
    let will = match has_will {
        true => Some(will(version, packet, will_qos, will_retain)?),
        false => None,
    };
    let user = if has_user { Some(packet.text()?.to_owned()) } else { None };
    let password = if has_password { Some(packet.owned()?.into()) } else { None };
    nothing_left(packet)?;
    let session_expiry = match version {
        Version::V3 if clean_start => 0,
        Version::V3 => u32::MAX,
        Version::V5 => found.session_expiry.unwrap_or(0),
    };
    Ok(Connect {
        version,
        client,
        clean_start,
        keep_alive,
        session_expiry,
        receive_maximum: found.receive_maximum.unwrap_or(u16::MAX),
        maximum_packet: found.maximum_packet,
        topic_aliases: found.topic_aliases.unwrap_or(0),
        wants_reasons: found.wants_reasons.unwrap_or(true),
        user,
        password,
        will,
        authentication_method: found.authentication_method,
    })
}

fn will(version: Version, packet: &mut Cursor<'_>, qos: Qos, retain: bool) -> Result<Will, Wrong> {
    let found = properties(version, packet, Among::WILL)?;
    let topic = Arc::from(topic(packet.text()?)?);
    let payload = packet.owned()?;
    let delay = Duration::from_secs(found.will_delay.unwrap_or(0).into());
    Ok(Will { topic, payload, qos, retain, delay, expiry: found.expiry(), properties: found.end_to_end() })
}

/// Reads what comes after the CONNECT. Remembers the last topic, because most clients publish on few.
#[derive(Debug)]
pub struct Requests {
    version: Version,
    last_topic: Arc<str>,
}

impl Requests {
    /// Of a client that speaks that version.
    pub fn new(version: Version) -> Self {
        Self { version, last_topic: "".into() }
    }

    /// Reads one.
    ///
    /// # Errors
    /// It is not what a client may send.
    pub fn read(&mut self, frame: &Frame<'_>) -> Result<Request, Wrong> {
        let mut packet = Cursor::new(frame.body);
        let kind = frame.first >> 4;
        if kind == 3 {
            return self.publish(frame.first, &mut packet);
        }
        // Three kinds have the flags 0010, for no reason that is still known.
        let flags = if matches!(kind, 6 | 8 | 10) { 2 } else { 0 };
        if frame.first & 0x0f != flags {
            return Err(malformed("reserved flags of a packet are not as they should be"));
        }
        let request = match (kind, self.version) {
            (4, _) => self.acknowledgement(&mut packet).map(|(id, reason)| Request::PubAck { id, reason }),
            (5, _) => self.acknowledgement(&mut packet).map(|(id, reason)| Request::PubRec { id, reason }),
            (6, _) => self.acknowledgement(&mut packet).map(|(id, _)| Request::PubRel { id }),
            (7, _) => self.acknowledgement(&mut packet).map(|(id, _)| Request::PubComp { id }),
            (8, _) => self.subscribe(&mut packet),
            (10, _) => self.unsubscribe(&mut packet),
            (12, _) => Ok(Request::Ping),
            (14, _) => self.disconnect(&mut packet),
            (15, Version::V5) => self.auth(&mut packet),
            (1, _) => Err(violation("a second CONNECT")),
            (2 | 9 | 11 | 13, _) => Err(violation("a packet that only a broker sends")),
            _ => Err(malformed("a packet of a kind that is not known")),
        }?;
        nothing_left(&packet)?;
        Ok(request)
    }

    fn publish(&mut self, first: u8, packet: &mut Cursor<'_>) -> Result<Request, Wrong> {
        let qos = qos(first >> 1 & 3)?;
        let duplicate = first & 8 != 0;
        if duplicate && qos == Qos::AtMostOnce {
            return Err(malformed("a duplicate at QoS 0"));
        }
        let name = packet.binary()?;
        let id = if qos == Qos::AtMostOnce { 0 } else { packet.id()? };
        let found = properties(self.version, packet, Among::PUBLISH)?;
        if name.is_empty() && found.alias.is_some() {
            self.last_topic = "".into();
        } else if name.is_empty() || name != self.last_topic.as_bytes() {
            self.last_topic = topic(text(name)?)?.into();
        }
        Ok(Request::Publish(Publish {
            topic: self.last_topic.clone(),
            alias: found.alias,
            payload: Bytes::copy_from_slice(packet.rest()),
            qos,
            retain: first & 1 != 0,
            duplicate,
            id,
            expiry: found.expiry(),
            properties: found.end_to_end(),
        }))
    }

    fn acknowledgement(&self, packet: &mut Cursor<'_>) -> Result<(u16, u8), Wrong> {
        let id = packet.id()?;
        // The reason may be left out if it is 0, and the properties if there are none.
        if self.version == Version::V3 || packet.is_empty() {
            return Ok((id, reason::SUCCESS));
        }
        let reason = packet.byte()?;
        if !packet.is_empty() {
            Found::read(packet, Among::ACKNOWLEDGEMENT)?;
        }
        Ok((id, reason))
    }

    fn subscribe(&self, packet: &mut Cursor<'_>) -> Result<Request, Wrong> {
        let id = packet.id()?;
        let identifier = properties(self.version, packet, Among::SUBSCRIBE)?.subscription;
        let mut filters = Vec::new();
        while !packet.is_empty() {
            let filter = packet.text()?.to_owned();
            let options = packet.byte()?;
            let reserved = if self.version == Version::V3 { 0xfc } else { 0xc0 };
            if options & reserved != 0 {
                return Err(malformed("reserved bits of a subscription are set"));
            }
            let retained = match options >> 4 {
                0 => RetainedWanted::All,
                1 => RetainedWanted::IfNew,
                2 => RetainedWanted::None,
                _ => return Err(violation("a retain handling of 3")),
            };
            filters.push(Wanted {
                filter,
                qos: qos(options & 3)?,
                no_local: options & 4 != 0,
                retain_as_published: options & 8 != 0,
                retained,
            });
        }
        if filters.is_empty() {
            return Err(violation("a SUBSCRIBE without a filter"));
        }
        Ok(Request::Subscribe { id, filters, identifier })
    }

    fn unsubscribe(&self, packet: &mut Cursor<'_>) -> Result<Request, Wrong> {
        let id = packet.id()?;
        properties(self.version, packet, Among::UNSUBSCRIBE)?;
        let mut filters = Vec::new();
        while !packet.is_empty() {
            filters.push(packet.text()?.to_owned());
        }
        if filters.is_empty() {
            return Err(violation("an UNSUBSCRIBE without a filter"));
        }
        Ok(Request::Unsubscribe { id, filters })
    }

    fn disconnect(&self, packet: &mut Cursor<'_>) -> Result<Request, Wrong> {
        if self.version == Version::V3 || packet.is_empty() {
            return Ok(Request::Disconnect { reason: reason::SUCCESS, session_expiry: None });
        }
        let reason = packet.byte()?;
        let session_expiry = match packet.is_empty() {
            true => None,
            false => Found::read(packet, Among::DISCONNECT)?.session_expiry,
        };
        Ok(Request::Disconnect { reason, session_expiry })
    }

    fn auth(&self, packet: &mut Cursor<'_>) -> Result<Request, Wrong> {
        if !packet.is_empty() {
            packet.byte()?;
        }
        if !packet.is_empty() {
            Found::read(packet, Among::AUTH)?;
        }
        Ok(Request::Auth)
    }
}

fn properties(version: Version, packet: &mut Cursor<'_>, among: Among) -> Result<Found, Wrong> {
    match version {
        Version::V3 => Ok(Found::default()),
        Version::V5 => Found::read(packet, among),
    }
}

fn qos(bits: u8) -> Result<Qos, Wrong> {
    match bits {
        0 => Ok(Qos::AtMostOnce),
        1 => Ok(Qos::AtLeastOnce),
        2 => Ok(Qos::ExactlyOnce),
        _ => Err(malformed("a QoS of 3")),
    }
}

fn nothing_left(packet: &Cursor<'_>) -> Result<(), Wrong> {
    if packet.is_empty() { Ok(()) } else { Err(malformed("a packet is longer than what it says")) }
}
