//! The small words of a description: bytes, places, services, steps.

use serde_json::json;
use wharf_contract::setting_enum;
use wharf_contract::settings::{Context, Node, NodeKind, OneOrMany, Schema, Setting, Typed, clip};

use crate::advert::Uuid;
use crate::advert::described::NamePattern;
use crate::advert::described::condition::Position;
use crate::advert::described::field::Step;

/// The most bytes that a condition compares.
const MOST_BYTES: usize = 32;

/// How far from either end a place can be: an advertisement has 254 bytes at most.
const FARTHEST: i128 = 254;

setting_enum! {
    /// The order of the bytes of a number, as the device sends them.
    pub enum Order {
        /// The least significant byte leads, as Bluetooth itself has it.
        Little = "little" | "DCBA" | "BA",
        /// The most significant byte leads.
        Big = "big" | "ABCD" | "AB",
    }
}

setting_enum! {
    /// In which order an address stands.
    pub enum AddressOrder {
        /// As it is written.
        Written = "written",
        /// Its last byte leads, as on the air.
        Reversed = "reversed",
    }
}

setting_enum! {
    /// What kind of value it is.
    pub enum PointKind {
        /// What the sensor is for.
        Measurement = "measurement",
        /// How the sensor itself is: battery, signal.
        Diagnostic = "diagnostic",
        /// Something that happened, such as a press of a button.
        Event = "event",
    }
}

/// The scalar as it was written, whatever its type; `None` and a problem for anything else.
fn written<'n>(node: &'n Node, cx: &mut Context<'_>, expected: &str) -> Option<&'n str> {
    match node.typed() {
        Some(Typed::Text(_) | Typed::Int(_) | Typed::Float(_)) => node.text(),
        _ => cx.unexpected(node, expected),
    }
}

/// A problem at a word that cannot be meant.
fn no<T>(node: &Node, cx: &mut Context<'_>, what: &str, help: &str) -> Option<T> {
    cx.problem(node.span, format!("{} is {what}", node.describe())).help(help);
    None
}

/// Bytes in hexadecimal: `a101`, `0xa101`, `"a1 01"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HexBytes(pub(super) Vec<u8>);

impl Setting for HexBytes {
    fn schema() -> Schema {
        json!({ "type": ["string", "number"] })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let text = written(node, cx, "bytes in hexadecimal such as a101")?;
        let digits: String = text.strip_prefix("0x").unwrap_or(text).split_whitespace().collect();
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        if digits.is_empty() || !is_hex || !digits.len().is_multiple_of(2) || digits.len() > 2 * MOST_BYTES {
            let help = "each byte has two hexadecimal digits: 0a is ten";
            return no(node, cx, &format!("not 1 to {MOST_BYTES} bytes in hexadecimal"), help);
        }
        let pairs = digits.as_bytes().chunks_exact(2);
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        pairs.map(byte).collect::<Option<_>>().map(Self)
    }
}

/// A byte of the data, counted from 0; from the end if it is negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset(pub(crate) Position);

impl Setting for Offset {
    fn schema() -> Schema {
        json!({ "type": "integer", "minimum": -255, "maximum": 254 })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let at: i16 = wharf_contract::settings::scalar::whole(node, cx, -FARTHEST - 1, FARTHEST)?;
        Some(Self(Position(at)))
    }
}

/// Where a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// At this byte.
    Byte(Offset),
    /// Right behind the value before it that has no place of its own.
    Next,
    /// At the same place as that one.
    Last,
}

impl Setting for At {
    fn schema() -> Schema {
        json!({ "anyOf": [Offset::schema(), { "enum": ["next", "last"] }] })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        match node.typed() {
            Some(Typed::Text("next")) => Some(Self::Next),
            Some(Typed::Text("last")) => Some(Self::Last),
            Some(Typed::Text(_)) => {
                let help = "count the bytes of the data from 0, or write next or last";
                no(node, cx, "no place in the data", help)
            }
            _ => Offset::decode(node, cx).map(Self::Byte),
        }
    }
}

/// Bits of a number, from one to another: `0-6`. 0 is the least significant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BitRange {
    pub(super) low: u8,
    pub(super) high: u8,
}

impl Setting for BitRange {
    fn schema() -> Schema {
        json!({ "type": ["string", "integer"], "pattern": "^[0-9]{1,2}-[0-9]{1,2}$" })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let text = written(node, cx, "bits such as 0-6")?;
        let ends = text.split_once('-').and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)));
        match ends {
            Some((low, high)) if low < high && high < 64 => Some(Self { low, high }),
            _ => no(node, cx, "not a run of bits", "write the lowest first: 0-6; one bit alone is `bit: 3`"),
        }
    }
}

/// A service, by its UUID: four, eight or thirty-two hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service(pub(super) Uuid);

impl Setting for Service {
    fn schema() -> Schema {
        json!({ "type": ["string", "number"] })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let text = written(node, cx, "a service such as fe95")?;
        match text.strip_prefix("0x").unwrap_or(text).parse() {
            Ok(uuid) => Some(Self(uuid)),
            Err(_) => {
                no(node, cx, "no service", "it has four hexadecimal digits, such as fe95, or a UUID's thirty-two")
            }
        }
    }
}

/// The companies whose data are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Company {
    /// Whichever is there alone. Its two bytes are the first of the data: the sensor puts its own there.
    Any,
    /// The first of these.
    Ids(Vec<u16>),
}

impl Setting for Company {
    fn schema() -> Schema {
        json!({ "anyOf": [{ "const": "any" }, OneOrMany::<u16>::schema()] })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        match (&node.kind, node.typed()) {
            (_, Some(Typed::Text("any"))) => Some(Self::Any),
            (NodeKind::Scalar { .. }, Some(Typed::Text(_))) => {
                no(node, cx, "no company", "it is a number such as 0x0499, or any")
            }
            _ => OneOrMany::<u16>::decode(node, cx).map(|ids| Self::Ids(ids.to_vec())),
        }
    }
}

/// How many bytes the data have: `18`, or `18-24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    pub(super) least: u8,
    pub(super) most: u8,
}

impl Setting for Length {
    fn schema() -> Schema {
        json!({ "type": ["string", "integer"], "pattern": "^[0-9]{1,3}-[0-9]{1,3}$" })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let text = written(node, cx, "a length such as 18 or 18-24")?;
        let (least, most) = text.split_once('-').unwrap_or((text, text));
        match (least.parse(), most.parse()) {
            (Ok(least), Ok(most)) if least <= most => Some(Self { least, most }),
            _ => no(node, cx, "no length", "write how many bytes there are, 18, or at least and at most, 18-24"),
        }
    }
}

/// A local name, or its beginning: `MOCREO`, `P T*`.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalName(pub(super) NamePattern);

impl Setting for LocalName {
    fn schema() -> Schema {
        json!({ "type": ["string", "number"], "not": { "pattern": "\\$\\{" } })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let text = String::decode(node, cx)?;
        let (begins, name) = match text.strip_suffix('*') {
            Some(begins) => (true, begins),
            None => (false, text.as_str()),
        };
        if name.is_empty() || name.contains('*') {
            return no(node, cx, "no local name", "write the whole name, or how it begins and a `*`: `P T*`");
        }
        Some(Self(if begins { NamePattern::Begins(name.to_owned()) } else { NamePattern::Is(name.to_owned()) }))
    }
}

/// A step with a whole number before it is scaled: `"/ 1000"`, `"% 1000"`, `"& 0x7FFF"`, `">> 4"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepSetting(pub(super) Step);

impl StepSetting {
    fn parse(text: &str) -> Option<Step> {
        let text = text.trim();
        if let Some(by) = text.strip_prefix(">>") {
            return by.trim().parse().ok().filter(|by| *by < 64).map(Step::ShiftRight);
        }
        let mut chars = text.chars();
        let sign = chars.next()?;
        let by = chars.as_str().trim();
        let by = match by.strip_prefix("0x") {
            Some(digits) if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
                i64::from_str_radix(digits, 16).ok()?
            }
            Some(_) => return None,
            None => by.parse().ok()?,
        };
        match sign {
            '+' => Some(Step::Add(by)),
            '-' => Some(Step::Add(by.checked_neg()?)),
            '*' => Some(Step::Multiply(by)),
            '/' if by != 0 => Some(Step::Divide(by)),
            '%' if by != 0 => Some(Step::Remainder(by)),
            '&' => Some(Step::And(by)),
            '^' => Some(Step::Xor(by)),
            _ => None,
        }
    }
}

impl Setting for StepSetting {
    fn schema() -> Schema {
        json!({ "type": ["string", "number"] })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let text = written(node, cx, "a step such as \"/ 1000\"")?;
        let step = Self::parse(text);
        if step.is_none() {
            let help = "one of + - * / % & ^ >> and a whole number, in quotes: \"& 0x7FFF\"; / leaves whole numbers";
            cx.problem(node.span, format!("\"{}\" is no step", clip(text))).help(help);
        }
        step.map(Self)
    }
}
