//! Registers that have to hold certain numbers: `requires: {40070: 103}`.

use serde_json::json;
use wharf_contract::settings::{Context, Node, NodeKind, Schema, Setting, Typed};

/// Addresses with the numbers that have to stand there, at least one. No address is there twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requires(Vec<(u16, u16)>);

impl Requires {
    /// The addresses with their numbers.
    pub fn registers(&self) -> &[(u16, u16)] {
        &self.0
    }
}

impl Setting for Requires {
    fn schema() -> Schema {
        json!({
            "type": "object",
            "minProperties": 1,
            "propertyNames": { "pattern": "^(\\+?[0-9]+|-0+|0x[0-9a-fA-F]+|0o[0-7]+)$" },
            "additionalProperties": u16::schema(),
        })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        if !matches!(node.kind, NodeKind::Mapping(_)) || node.entries().is_empty() {
            cx.unexpected::<()>(node, "registers with numbers");
            cx.help_last("write {40070: 103}");
            return None;
        }
        let mut registers: Vec<(u16, u16)> = Vec::new();
        let mut whole = true;
        for entry in node.entries() {
            let decoded = cx.within_entry(entry, |cx, value| {
                let address = match Node::plain(entry.key.as_str(), entry.key_span).typed() {
                    Some(Typed::Int(number)) => u16::try_from(number).ok(),
                    _ => None,
                };
                if address.is_none() {
                    cx.problem(entry.key_span, format!("`{}` is no address from 0 to 65535", entry.key));
                }
                let (number, address) = (u16::decode(value, cx)?, address?);
                if registers.iter().any(|(other, _)| *other == address) {
                    cx.problem(entry.key_span, format!("register {address} is here twice"));
                    return None;
                }
                Some((address, number))
            });
            whole &= decoded.is_some();
            registers.extend(decoded);
        }
        whole.then_some(Self(registers))
    }
}
