//! How messages stand in bytes.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Filter, Message, Publish, Qos, Return, Topic, WillTopic};

/// The longest message that is read or written, in bytes.
pub const LONGEST: usize = 8192;

const DUP: u8 = 0x80;
const RETAIN: u8 = 0x10;
const WILL: u8 = 0x08;
const CLEAN: u8 = 0x04;

/// MQTT-SN's own number in a CONNECT.
const PROTOCOL: u8 = 0x01;

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The length it begins with is not the one it has.
    #[error("the length is wrong")]
    Length,
    /// There is less in it than belongs there, or more.
    #[error("its fields do not fill it")]
    Fields,
    /// There is no such message.
    #[error("there is no message of type 0x{0:02x}")]
    Kind(u8),
    /// What should be text is none, or has a zero in it.
    #[error("a name is not text")]
    Text,
    /// Its flags cannot be meant.
    #[error("its flags cannot be meant")]
    Flags,
    /// It speaks another protocol.
    #[error("there is no protocol 0x{0:02x}")]
    Protocol(u8),
    /// It would be too long.
    #[error("it is longer than {LONGEST} bytes")]
    TooLong,
}

/// How long a message is that begins like this, in bytes, and how many of them say so. `None`: more is
/// needed to know.
///
/// # Errors
/// No message begins so.
pub fn length(bytes: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let (length, header) = match *bytes {
        [] | [1] | [1, _] => return Ok(None),
        [1, high, low, ..] => (usize::from(u16::from_be_bytes([high, low])), 3),
        [length, ..] => (usize::from(length), 1),
    };
    if length <= header || length > LONGEST { Err(Malformed::Length) } else { Ok(Some((length, header))) }
}

impl Message {
    /// How long a message is that begins like this, in bytes. `None`: more is needed to know.
    ///
    /// # Errors
    /// No message begins so.
    pub fn length(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        Ok(length(bytes)?.map(|(length, _)| length))
    }

    /// Reads a whole datagram.
    ///
    /// # Errors
    /// It is no message.
    pub fn read(datagram: &[u8]) -> Result<Self, Malformed> {
        let (length, header) = length(datagram)?.ok_or(Malformed::Length)?;
        let kind = *datagram.get(header).ok_or(Malformed::Length)?;
        // A forwarder's length ends before the message it passes on.
        if kind != 0xFE && length != datagram.len() {
            return Err(Malformed::Length);
        }
        let body = datagram.get(header + 1..length).ok_or(Malformed::Length)?;
        let mut fields = Fields(body);
        let message = match kind {
            0x00 => Self::Advertise { gateway: fields.byte()?, duration: fields.number()? },
            0x01 => Self::SearchGw { radius: fields.byte()? },
            0x02 => Self::GwInfo { gateway: fields.byte()?, address: fields.rest() },
            0x04 => {
                let flags = fields.byte()?;
                match fields.byte()? {
                    PROTOCOL => {}
                    other => return Err(Malformed::Protocol(other)),
                }
                let duration = fields.number()?;
                Self::Connect { will: flags & WILL != 0, clean: flags & CLEAN != 0, duration, client: fields.text()? }
            }
            0x05 => Self::ConnAck(fields.code()?),
            0x06 => Self::WillTopicReq,
            0x07 => Self::WillTopic(fields.will_topic()?),
            0x08 => Self::WillMsgReq,
            0x09 => Self::WillMsg(fields.rest()),
            0x0A => Self::Register { topic: fields.number()?, id: fields.number()?, name: fields.text()? },
            0x0B => Self::RegAck { topic: fields.number()?, id: fields.number()?, code: fields.code()? },
            0x0C => {
                let flags = fields.byte()?;
                let number: [u8; 2] = fields.number()?.to_be_bytes();
                let topic = match flags & 3 {
                    0 => Topic::Registered(u16::from_be_bytes(number)),
                    1 => Topic::Predefined(u16::from_be_bytes(number)),
                    2 => Topic::Short(number),
                    _ => return Err(Malformed::Flags),
                };
                let (dup, qos, retain) = (flags & DUP != 0, qos(flags), flags & RETAIN != 0);
                Self::Publish(Publish { dup, qos, retain, topic, id: fields.number()?, data: fields.rest() })
            }
            0x0D => Self::PubAck { topic: fields.number()?, id: fields.number()?, code: fields.code()? },
            0x0E => Self::PubComp { id: fields.number()? },
            0x0F => Self::PubRec { id: fields.number()? },
            0x10 => Self::PubRel { id: fields.number()? },
            0x12 => {
                let flags = fields.byte()?;
                let id = fields.number()?;
                Self::Subscribe { dup: flags & DUP != 0, qos: qos(flags), id, filter: fields.filter(flags)? }
            }
            0x13 => {
                let flags = fields.byte()?;
                Self::SubAck { qos: qos(flags), topic: fields.number()?, id: fields.number()?, code: fields.code()? }
            }
            0x14 => {
                let flags = fields.byte()?;
                Self::Unsubscribe { id: fields.number()?, filter: fields.filter(flags)? }
            }
            0x15 => Self::UnsubAck { id: fields.number()? },
            0x16 if fields.0.is_empty() => Self::PingReq { client: None },
            0x16 => Self::PingReq { client: Some(fields.text()?) },
            0x17 => Self::PingResp,
            0x18 if fields.0.is_empty() => Self::Disconnect { duration: None },
            0x18 => Self::Disconnect { duration: Some(fields.number()?) },
            0x1A => Self::WillTopicUpd(fields.will_topic()?),
            0x1B => Self::WillTopicResp(fields.code()?),
            0x1C => Self::WillMsgUpd(fields.rest()),
            0x1D => Self::WillMsgResp(fields.code()?),
            0xFE => {
                let radius = fields.byte()? & 3;
                let inner = datagram.get(length..).unwrap_or_default();
                Self::Forwarded { radius, node: fields.rest(), message: Bytes::copy_from_slice(inner) }
            }
            other => return Err(Malformed::Kind(other)),
        };
        if fields.0.is_empty() { Ok(message) } else { Err(Malformed::Fields) }
    }

    /// Writes it as a datagram.
    ///
    /// # Errors
    /// It is longer than [`LONGEST`], or a forwarder's node has more bytes than a length of one byte can
    /// say: 252.
    pub fn write(&self) -> Result<Bytes, Malformed> {
        let mut body = BytesMut::new();
        body.put_u8(self.kind());
        match self {
            Self::Advertise { gateway, duration } => {
                body.put_u8(*gateway);
                body.put_u16(*duration);
            }
            Self::SearchGw { radius } => body.put_u8(*radius),
            Self::GwInfo { gateway, address } => {
                body.put_u8(*gateway);
                body.put_slice(address);
            }
            Self::Connect { will, clean, duration, client } => {
                body.put_u8(flag(*will, WILL) | flag(*clean, CLEAN));
                body.put_u8(PROTOCOL);
                body.put_u16(*duration);
                body.put_slice(client.as_bytes());
            }
            Self::ConnAck(code) | Self::WillTopicResp(code) | Self::WillMsgResp(code) => body.put_u8(code.byte()),
            Self::WillTopicReq | Self::WillMsgReq | Self::PingResp => {}
            Self::WillTopic(will) | Self::WillTopicUpd(will) => {
                if let Some(will) = will {
                    body.put_u8(will.qos.bits() << 5 | flag(will.retain, RETAIN));
                    body.put_slice(will.topic.as_bytes());
                }
            }
            Self::WillMsg(message) | Self::WillMsgUpd(message) => body.put_slice(message),
            Self::Register { topic, id, name } => {
                body.put_u16(*topic);
                body.put_u16(*id);
                body.put_slice(name.as_bytes());
            }
            Self::RegAck { topic, id, code } | Self::PubAck { topic, id, code } => {
                body.put_u16(*topic);
                body.put_u16(*id);
                body.put_u8(code.byte());
            }
            Self::Publish(Publish { dup, qos, retain, topic, id, data }) => {
                let (kind, number) = match topic {
                    Topic::Registered(number) => (0, *number),
                    Topic::Predefined(number) => (1, *number),
                    Topic::Short(name) => (2, u16::from_be_bytes(*name)),
                };
                body.put_u8(flag(*dup, DUP) | qos.bits() << 5 | flag(*retain, RETAIN) | kind);
                body.put_u16(number);
                body.put_u16(*id);
                body.put_slice(data);
            }
            Self::PubRec { id } | Self::PubRel { id } | Self::PubComp { id } | Self::UnsubAck { id } => {
                body.put_u16(*id);
            }
            Self::Subscribe { dup, qos, id, filter } => {
                body.put_u8(flag(*dup, DUP) | qos.bits() << 5 | kind(filter));
                body.put_u16(*id);
                put_filter(&mut body, filter);
            }
            Self::SubAck { qos, topic, id, code } => {
                body.put_u8(qos.bits() << 5);
                body.put_u16(*topic);
                body.put_u16(*id);
                body.put_u8(code.byte());
            }
            Self::Unsubscribe { id, filter } => {
                body.put_u8(kind(filter));
                body.put_u16(*id);
                put_filter(&mut body, filter);
            }
            Self::PingReq { client } => body.put_slice(client.as_deref().unwrap_or_default().as_bytes()),
            Self::Disconnect { duration } => {
                if let Some(duration) = duration {
                    body.put_u16(*duration);
                }
            }
            Self::Forwarded { radius, node, message } => {
                body.put_u8(radius & 3);
                body.put_slice(node);
                let length = u8::try_from(body.len() + 1).map_err(|_| Malformed::TooLong)?;
                let mut whole = BytesMut::with_capacity(usize::from(length) + message.len());
                whole.put_u8(length);
                whole.put_slice(&body);
                whole.put_slice(message);
                return Ok(whole.freeze());
            }
        }
        framed(&body)
    }

    /// The number of its type.
    fn kind(&self) -> u8 {
        match self {
            Self::Advertise { .. } => 0x00,
            Self::SearchGw { .. } => 0x01,
            Self::GwInfo { .. } => 0x02,
            Self::Connect { .. } => 0x04,
            Self::ConnAck(_) => 0x05,
            Self::WillTopicReq => 0x06,
            Self::WillTopic(_) => 0x07,
            Self::WillMsgReq => 0x08,
            Self::WillMsg(_) => 0x09,
            Self::Register { .. } => 0x0A,
            Self::RegAck { .. } => 0x0B,
            Self::Publish(_) => 0x0C,
            Self::PubAck { .. } => 0x0D,
            Self::PubComp { .. } => 0x0E,
            Self::PubRec { .. } => 0x0F,
            Self::PubRel { .. } => 0x10,
            Self::Subscribe { .. } => 0x12,
            Self::SubAck { .. } => 0x13,
            Self::Unsubscribe { .. } => 0x14,
            Self::UnsubAck { .. } => 0x15,
            Self::PingReq { .. } => 0x16,
            Self::PingResp => 0x17,
            Self::Disconnect { .. } => 0x18,
            Self::WillTopicUpd(_) => 0x1A,
            Self::WillTopicResp(_) => 0x1B,
            Self::WillMsgUpd(_) => 0x1C,
            Self::WillMsgResp(_) => 0x1D,
            Self::Forwarded { .. } => 0xFE,
        }
    }
}

/// Puts the length before it.
fn framed(body: &[u8]) -> Result<Bytes, Malformed> {
    let mut whole = BytesMut::with_capacity(body.len() + 3);
    match u8::try_from(body.len() + 1) {
        Ok(length) => whole.put_u8(length),
        Err(_) => {
            let length = u16::try_from(body.len() + 3).map_err(|_| Malformed::TooLong)?;
            whole.put_u8(1);
            whole.put_u16(length);
        }
    }
    whole.put_slice(body);
    if whole.len() > LONGEST { Err(Malformed::TooLong) } else { Ok(whole.freeze()) }
}

fn flag(is_set: bool, bit: u8) -> u8 {
    if is_set { bit } else { 0 }
}

fn qos(flags: u8) -> Qos {
    Qos::from_bits(flags >> 5)
}

fn kind(filter: &Filter) -> u8 {
    match filter {
        Filter::Name(_) => 0,
        Filter::Predefined(_) => 1,
        Filter::Short(_) => 2,
    }
}

fn put_filter(body: &mut BytesMut, filter: &Filter) {
    match filter {
        Filter::Name(name) => body.put_slice(name.as_bytes()),
        Filter::Predefined(number) => body.put_u16(*number),
        Filter::Short(name) => body.put_slice(name),
    }
}

/// What has not been read yet.
struct Fields<'m>(&'m [u8]);

impl Fields<'_> {
    fn byte(&mut self) -> Result<u8, Malformed> {
        let (byte, rest) = self.0.split_first().ok_or(Malformed::Fields)?;
        self.0 = rest;
        Ok(*byte)
    }

    fn pair(&mut self) -> Result<[u8; 2], Malformed> {
        let (pair, rest) = self.0.split_first_chunk().ok_or(Malformed::Fields)?;
        self.0 = rest;
        Ok(*pair)
    }

    fn number(&mut self) -> Result<u16, Malformed> {
        self.pair().map(u16::from_be_bytes)
    }

    fn code(&mut self) -> Result<Return, Malformed> {
        self.byte().map(Return::from_byte)
    }

    fn rest(&mut self) -> Bytes {
        Bytes::copy_from_slice(std::mem::take(&mut self.0))
    }

    /// What is left, which is text and not empty.
    fn text(&mut self) -> Result<String, Malformed> {
        let bytes = std::mem::take(&mut self.0);
        let text = std::str::from_utf8(bytes).map_err(|_| Malformed::Text)?;
        match text {
            "" => Err(Malformed::Fields),
            _ if text.contains('\0') => Err(Malformed::Text),
            _ => Ok(text.to_owned()),
        }
    }

    fn filter(&mut self, flags: u8) -> Result<Filter, Malformed> {
        match flags & 3 {
            0 => self.text().map(Filter::Name),
            1 => self.number().map(Filter::Predefined),
            2 => self.pair().map(Filter::Short),
            _ => Err(Malformed::Flags),
        }
    }

    fn will_topic(&mut self) -> Result<Option<WillTopic>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let flags = self.byte()?;
        match qos(flags) {
            Qos::Unconnected => Err(Malformed::Flags),
            qos => Ok(Some(WillTopic { qos, retain: flags & RETAIN != 0, topic: self.text()? })),
        }
    }
}
