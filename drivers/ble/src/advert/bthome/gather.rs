//! Objects become values.

use std::collections::HashMap;
use std::fmt::Write as _;

use wharf_contract::Value;

use super::objects::{Number, Object, command, press};
use crate::advert::bytes::Bytes;
use crate::advert::{Absent, Datum, Frame, Quantity, Refusal, Sequence, quantity};

/// Whether there can be another object.
pub(super) enum Next {
    More,
    /// An id whose length nobody knows.
    Unknown(u8),
}

/// The values of a frame while it is read.
pub(super) struct Gather {
    frame: Frame,
    /// How many of each name there have been.
    seen: HashMap<&'static str, usize>,
    /// How many objects there have been.
    objects: usize,
}

impl Gather {
    pub(super) fn new(frame: Frame) -> Self {
        Self { frame, seen: HashMap::new(), objects: 0 }
    }

    pub(super) fn unread(&mut self, what: String) {
        self.frame.unread.push(what);
    }

    /// Reads objects to the end with `one`, which reads the next. What was read before one that is
    /// cut off or unknown stays: nothing after it can be found, but what came before is whole.
    pub(super) fn all(
        mut self,
        mut bytes: Bytes<'_>,
        one: fn(&mut Self, &mut Bytes<'_>) -> Result<Next, Refusal>,
    ) -> Result<Frame, Refusal> {
        while !bytes.is_empty() {
            match one(&mut self, &mut bytes) {
                Ok(Next::More) => self.objects += 1,
                Ok(Next::Unknown(id)) => {
                    self.unread(format!("object {id:#04x}"));
                    break;
                }
                Err(refusal) if self.objects == 0 => return Err(refusal),
                Err(_) => {
                    self.unread("an object that is cut off".to_owned());
                    break;
                }
            }
        }
        Ok(self.frame)
    }

    /// Reads what an id announced, with the lengths of version 2.
    pub(super) fn object(&mut self, object: Object, bytes: &mut Bytes<'_>) -> Result<(), Refusal> {
        match object {
            Object::PacketId => self.packet_id(bytes.u8()?),
            Object::Number(number) => {
                let raw = integer(bytes.take(number.bytes)?, number.signed);
                self.number(&number, raw);
            }
            Object::Binary(quantity) => self.binary(quantity, bytes.u8()?),
            Object::Button => self.button(bytes.u8()?),
            Object::Dimmer => {
                let (direction, steps) = (bytes.u8()?, bytes.u8()?);
                self.dimmer(direction, steps);
            }
            Object::Command => {
                // Three bits above the length are reserved.
                let length = usize::from(bytes.u8()? & 0x1f);
                let opcode = bytes.u8()?;
                let arguments = bytes.take(length)?;
                self.command(opcode, arguments);
            }
            Object::Text => {
                let length = usize::from(bytes.u8()?);
                self.text(bytes.take(length)?);
            }
            Object::Raw => {
                let length = usize::from(bytes.u8()?);
                let raw = hex(bytes.take(length)?);
                self.add(quantity::RAW, quantity::RAW.says(raw));
            }
            Object::DeviceType => {
                let kind = bytes.u16_le()?;
                self.frame.model = Some(format!("BTHome device type {kind}").into());
            }
            Object::Firmware(length) => {
                let parts = bytes.take(length)?.iter().rev().map(u8::to_string);
                self.frame.firmware = Some(parts.collect::<Vec<_>>().join("."));
            }
            Object::Settings => bytes.skip(1)?,
        }
        Ok(())
    }

    pub(super) fn packet_id(&mut self, number: u8) {
        // An encrypted frame has a counter of its own that nobody can make up.
        if !self.frame.encrypted {
            self.frame.sequence = Some(Sequence::Frame { number: number.into(), bits: 8 });
        }
    }

    pub(super) fn number(&mut self, number: &Number, raw: i64) {
        let quantity = number.quantity;
        // Version 2 has 32 bits at most, so this is exact.
        let datum = if number.whole { quantity.whole(raw) } else { quantity.of(number.scaled(raw as f64)) };
        self.add(quantity, datum);
    }

    pub(super) fn binary(&mut self, quantity: Quantity, code: u8) {
        let value = match code {
            0 => Ok(Value::Bool(false)),
            1 => Ok(Value::Bool(true)),
            _ => Err(Absent::Implausible(format!("{code} is neither on nor off"))),
        };
        self.add(quantity, quantity.with(value));
    }

    /// A button that says nothing still has its place: the next one is the next.
    pub(super) fn button(&mut self, code: u8) {
        self.event(quantity::BUTTON, code != 0, |quantity| match press(code) {
            Some(said) => Ok(quantity.says(said)),
            None => Err(format!("button event {code:#04x}")),
        });
    }

    /// Steps to the left are negative.
    pub(super) fn dimmer(&mut self, direction: u8, steps: u8) {
        self.event(quantity::DIMMER, direction != 0, |quantity| match direction {
            1 => Ok(quantity.whole(-i64::from(steps))),
            2 => Ok(quantity.whole(steps)),
            _ => Err(format!("dimmer event {direction:#04x}")),
        });
    }

    fn command(&mut self, opcode: u8, arguments: &[u8]) {
        self.event(quantity::COMMAND, true, |quantity| match command(opcode) {
            Some(said) if arguments.is_empty() => Ok(quantity.says(said)),
            Some(said) => Ok(quantity.says(format!("{said} {}", hex(arguments)))),
            None => Err(format!("command {opcode:#04x}")),
        });
    }

    pub(super) fn text(&mut self, bytes: &[u8]) {
        let text = std::str::from_utf8(bytes).map(|text| Value::Text(text.to_owned()));
        let text = text.map_err(|_| Absent::Implausible("text that is no UTF-8".to_owned()));
        self.add(quantity::TEXT, quantity::TEXT.with(text));
    }

    /// Adds a value of `quantity`, numbered if it is not the first.
    pub(super) fn add(&mut self, quantity: Quantity, datum: Datum) {
        let n = self.place(quantity);
        self.frame.values.push(datum.nth(n));
    }

    fn event(&mut self, quantity: Quantity, happened: bool, tell: impl Fn(Quantity) -> Result<Datum, String>) {
        let n = self.place(quantity);
        match tell(quantity) {
            _ if !happened => {}
            Ok(datum) => self.frame.values.push(datum.nth(n)),
            Err(unread) => self.unread(unread),
        }
    }

    /// The how-manieth of its name this is.
    fn place(&mut self, quantity: Quantity) -> usize {
        let n = self.seen.entry(quantity.name).or_default();
        *n += 1;
        *n
    }
}

/// Up to eight bytes, the lowest first.
pub(super) fn integer(bytes: &[u8], signed: bool) -> i64 {
    let negative = signed && bytes.last().is_some_and(|last| last & 0x80 != 0);
    let start = if negative { -1 } else { 0 };
    bytes.iter().rev().fold(start, |number, &byte| (number << 8) | i64::from(byte))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
