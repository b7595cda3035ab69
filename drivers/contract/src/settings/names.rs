//! What numbers on a device mean: `names: {0: off, 1: on}`, `flags: {3: door}`, `invalid: 0x8000`.

use super::{Context, Node, NodeKind, Schema, Setting, Typed};
use serde_json::json;

/// Numbers with their names, in rising order, at least one. Neither a number nor a name is there
/// twice.
#[derive(Clone, Debug, PartialEq)]
pub struct Names<const MIN: i64, const MAX: i64>(Vec<(i64, String)>);

impl<const MIN: i64, const MAX: i64> Names<MIN, MAX> {
    /// The numbers with their names.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &str)> {
        self.0.iter().map(|(number, name)| (*number, name.as_str()))
    }
}

impl<const MIN: i64, const MAX: i64> Setting for Names<MIN, MAX> {
    fn schema() -> Schema {
        json!({
            "type": "object",
            "minProperties": 1,
            "propertyNames": { "pattern": "^([-+]?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+)$" },
            "additionalProperties": { "type": ["string", "number", "boolean"] },
        })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        if !matches!(node.kind, NodeKind::Mapping(_)) || node.entries().is_empty() {
            cx.unexpected::<()>(node, "numbers with names");
            cx.help_last("write {0: off, 1: on}");
            return None;
        }
        let mut names: Vec<(i64, String)> = Vec::new();
        let mut whole = true;
        for entry in node.entries() {
            let decoded = cx.within_entry(entry, |cx, value| {
                let number = match Node::plain(entry.key.as_str(), entry.key_span).typed() {
                    Some(Typed::Int(number)) => i64::try_from(number).ok().filter(|n| (MIN..=MAX).contains(n)),
                    _ => None,
                };
                if number.is_none() {
                    cx.problem(entry.key_span, format!("`{}` is not a number from {MIN} to {MAX}", entry.key));
                }
                let name = value.text().filter(|text| !text.is_empty() && !value.is_null());
                if name.is_none() {
                    cx.unexpected::<()>(value, "a name");
                }
                let (number, name) = (number?, name?);
                if names.iter().any(|(other, _)| *other == number) {
                    cx.problem(entry.key_span, format!("{number} has a name already"));
                    return None;
                }
                if names.iter().any(|(_, other)| other == name) {
                    cx.problem(value.span, format!("another number is called {name} already"));
                    return None;
                }
                Some((number, name.to_owned()))
            });
            whole &= decoded.is_some();
            names.extend(decoded);
        }
        names.sort();
        whole.then_some(Self(names))
    }
}

/// A number as it stands on the device: bits if it is written in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RawNumber {
    /// Bits, such as `0x8000`.
    Bits(i128),
    /// A whole number.
    Whole(i128),
    /// A number with a fraction.
    Real(f64),
}

impl Setting for RawNumber {
    fn schema() -> Schema {
        json!({ "type": "number" })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        match node.typed() {
            Some(Typed::Int(bits)) if node.text().is_some_and(|text| text.starts_with("0x")) => Some(Self::Bits(bits)),
            Some(Typed::Int(number)) => Some(Self::Whole(number)),
            Some(Typed::Float(number)) if number.is_finite() => Some(Self::Real(number)),
            _ => cx.unexpected(node, "a number such as 0x8000 or -999"),
        }
    }
}
