//! The properties of MQTT 5 (chapter 2.2.2), as clients send them.

use std::time::Duration;

use bytes::Bytes;
use wharf_contract::topic::has_wildcards;

use super::super::publication::Properties;
use super::cursor::Cursor;
use super::{Wrong, malformed, violation};

/// The numbers of the properties, as far as a broker meets them.
pub mod number {
    #![allow(missing_docs, reason = "the names are the standard's")]
    pub const PAYLOAD_FORMAT: u8 = 1;
    pub const MESSAGE_EXPIRY: u8 = 2;
    pub const CONTENT_TYPE: u8 = 3;
    pub const RESPONSE_TOPIC: u8 = 8;
    pub const CORRELATION_DATA: u8 = 9;
    pub const SUBSCRIPTION_IDENTIFIER: u8 = 11;
    pub const SESSION_EXPIRY: u8 = 17;
    pub const ASSIGNED_CLIENT_IDENTIFIER: u8 = 18;
    pub const SERVER_KEEP_ALIVE: u8 = 19;
    pub const AUTHENTICATION_METHOD: u8 = 21;
    pub const AUTHENTICATION_DATA: u8 = 22;
    pub const REQUEST_PROBLEM_INFORMATION: u8 = 23;
    pub const WILL_DELAY: u8 = 24;
    pub const REQUEST_RESPONSE_INFORMATION: u8 = 25;
    pub const REASON_STRING: u8 = 31;
    pub const RECEIVE_MAXIMUM: u8 = 33;
    pub const TOPIC_ALIAS_MAXIMUM: u8 = 34;
    pub const TOPIC_ALIAS: u8 = 35;
    pub const USER_PROPERTY: u8 = 38;
    pub const MAXIMUM_PACKET_SIZE: u8 = 39;
}

/// Which properties a packet may have.
#[derive(Clone, Copy)]
pub struct Among(u64);

impl Among {
    pub const CONNECT: Self = Self::of(&[
        number::SESSION_EXPIRY,
        number::RECEIVE_MAXIMUM,
        number::MAXIMUM_PACKET_SIZE,
        number::TOPIC_ALIAS_MAXIMUM,
        number::REQUEST_RESPONSE_INFORMATION,
        number::REQUEST_PROBLEM_INFORMATION,
        number::AUTHENTICATION_METHOD,
        number::AUTHENTICATION_DATA,
        number::USER_PROPERTY,
    ]);
    pub const WILL: Self = Self::of(&[
        number::WILL_DELAY,
        number::PAYLOAD_FORMAT,
        number::MESSAGE_EXPIRY,
        number::CONTENT_TYPE,
        number::RESPONSE_TOPIC,
        number::CORRELATION_DATA,
        number::USER_PROPERTY,
    ]);
    pub const PUBLISH: Self = Self::of(&[
        number::PAYLOAD_FORMAT,
        number::MESSAGE_EXPIRY,
        number::CONTENT_TYPE,
        number::RESPONSE_TOPIC,
        number::CORRELATION_DATA,
        number::TOPIC_ALIAS,
        number::USER_PROPERTY,
    ]);
    pub const ACKNOWLEDGEMENT: Self = Self::of(&[number::REASON_STRING, number::USER_PROPERTY]);
    pub const SUBSCRIBE: Self = Self::of(&[number::SUBSCRIPTION_IDENTIFIER, number::USER_PROPERTY]);
    pub const UNSUBSCRIBE: Self = Self::of(&[number::USER_PROPERTY]);
    pub const DISCONNECT: Self = Self::of(&[number::SESSION_EXPIRY, number::REASON_STRING, number::USER_PROPERTY]);
    pub const AUTH: Self = Self::of(&[
        number::AUTHENTICATION_METHOD,
        number::AUTHENTICATION_DATA,
        number::REASON_STRING,
        number::USER_PROPERTY,
    ]);

    const fn of(numbers: &[u8]) -> Self {
        let mut bits = 0;
        let mut index = 0;
        while index < numbers.len() {
            bits |= 1 << numbers[index];
            index += 1;
        }
        Self(bits)
    }
}

/// What a packet says by its properties.
#[derive(Debug, Default)]
pub struct Found {
    pub is_text: Option<bool>,
    pub message_expiry: Option<u32>,
    pub content_type: Option<String>,
    pub response_topic: Option<String>,
    pub correlation: Option<Bytes>,
    pub subscription: Option<u32>,
    pub session_expiry: Option<u32>,
    pub receive_maximum: Option<u16>,
    pub maximum_packet: Option<u32>,
    pub topic_aliases: Option<u16>,
    pub alias: Option<u16>,
    pub will_delay: Option<u32>,
    pub wants_reasons: Option<bool>,
    pub authentication_method: Option<String>,
    pub user: Vec<(String, String)>,
}

impl Found {
    /// Reads a packet's properties. Each may come once, but for those of the user's own.
    pub fn read(packet: &mut Cursor<'_>, among: Among) -> Result<Self, Wrong> {
        let mut part = packet.part()?;
        let (mut found, mut seen) = (Self::default(), 0_u64);
        while !part.is_empty() {
            // Their numbers are variable ones, and all that are known fit into one byte.
            let what = part.variable()?;
            let bit = 1_u64.checked_shl(what).unwrap_or(0);
            let what = u8::try_from(what).unwrap_or(u8::MAX);
            if among.0 & bit == 0 {
                return Err(match what {
                    1..=3 | 8 | 9 | 11 | 17..=19 | 21..=26 | 28 | 31 | 33..=42 => {
                        violation("a property that such a packet may not have")
                    }
                    _ => malformed("a property that is not known"),
                });
            }
            if seen & bit != 0 && what != number::USER_PROPERTY {
                return Err(violation("a property that comes twice"));
            }
            seen |= bit;
            found.take(what, &mut part)?;
        }
        let has = |what: u8| seen & (1 << what) != 0;
        if has(number::AUTHENTICATION_DATA) && !has(number::AUTHENTICATION_METHOD) {
            return Err(violation("authentication data without a method"));
        }
        Ok(found)
    }

    fn take(&mut self, what: u8, part: &mut Cursor<'_>) -> Result<(), Wrong> {
        match what {
            number::PAYLOAD_FORMAT => self.is_text = Some(flag(part)?),
            number::MESSAGE_EXPIRY => self.message_expiry = Some(part.four()?),
            number::CONTENT_TYPE => self.content_type = Some(part.text()?.to_owned()),
            number::RESPONSE_TOPIC => self.response_topic = Some(topic(part.text()?)?.to_owned()),
            number::CORRELATION_DATA => self.correlation = Some(part.owned()?),
            number::SUBSCRIPTION_IDENTIFIER => {
                self.subscription = Some(above_0(part.variable()?, "a subscription identifier of 0")?);
            }
            number::SESSION_EXPIRY => self.session_expiry = Some(part.four()?),
            number::AUTHENTICATION_METHOD => self.authentication_method = Some(part.text()?.to_owned()),
            number::AUTHENTICATION_DATA => drop(part.binary()?),
            number::REQUEST_PROBLEM_INFORMATION => self.wants_reasons = Some(flag(part)?),
            number::REQUEST_RESPONSE_INFORMATION => drop(flag(part)?),
            number::WILL_DELAY => self.will_delay = Some(part.four()?),
            number::REASON_STRING => drop(part.text()?),
            number::RECEIVE_MAXIMUM => self.receive_maximum = Some(above_0(part.two()?, "a receive maximum of 0")?),
            number::TOPIC_ALIAS_MAXIMUM => self.topic_aliases = Some(part.two()?),
            number::TOPIC_ALIAS => self.alias = Some(part.two()?),
            number::USER_PROPERTY => self.user.push((part.text()?.to_owned(), part.text()?.to_owned())),
            number::MAXIMUM_PACKET_SIZE => {
                self.maximum_packet = Some(above_0(part.four()?, "a maximum packet size of 0")?);
            }
            _ => return Err(malformed("a property that is not known")),
        }
        Ok(())
    }

    /// What goes end to end, if anything does.
    pub fn end_to_end(self) -> Option<Box<Properties>> {
        let Self { is_text, content_type, response_topic, correlation, user, .. } = self;
        let properties = Properties { is_text, content_type, response_topic, correlation, user };
        (properties != Properties::default()).then(|| Box::new(properties))
    }

    /// How long the message is worth delivering.
    pub fn expiry(&self) -> Option<Duration> {
        self.message_expiry.map(|seconds| Duration::from_secs(seconds.into()))
    }
}

/// A topic that may be published on.
pub fn topic(topic: &str) -> Result<&str, Wrong> {
    if topic.is_empty() {
        return Err(violation("a topic that is empty"));
    }
    if has_wildcards(topic) {
        return Err(Wrong { reason: super::reason::TOPIC_NAME_INVALID, words: "a wildcard where a topic belongs" });
    }
    Ok(topic)
}

fn flag(part: &mut Cursor<'_>) -> Result<bool, Wrong> {
    match part.byte()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(violation("a flag that is neither 0 nor 1")),
    }
}

fn above_0<N: Default + PartialEq>(number: N, words: &'static str) -> Result<N, Wrong> {
    if number == N::default() { Err(violation(words)) } else { Ok(number) }
}
