//! How a device is paired with.

use std::fmt;

use serde_json::json;
use wharf_contract::settings::{Context, Node, Schema, Secret, Setting, Typed};

/// The word for pairing that asks for nothing.
const JUST_WORKS: &str = "just-works";

/// How many digits a passkey has (Bluetooth Core 5.4, Vol 3, Part H, 2.3.5.3).
const DIGITS: usize = 6;

/// How a device is paired with, if it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// With the six digits that stand on it, in its papers, or in its app.
    Passkey(Passkey),
    /// Without any: devices that have neither keys nor a display.
    JustWorks,
}

/// Six digits, 000000 to 999999. They are a secret, and neither shown nor printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Passkey(u32);

impl Passkey {
    /// The number the digits make, for the one place that hands it over.
    pub fn expose(self) -> u32 {
        self.0
    }
}

impl fmt::Debug for Passkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("•••")
    }
}

impl std::str::FromStr for Passkey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_whole = text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| is_whole);
        number.map(Self).ok_or("a passkey has six digits")
    }
}

impl Setting for Pairing {
    fn schema() -> Schema {
        // Six digits without quotes are a number to whoever reads YAML.
        json!({
            "type": ["string", "integer"],
            "pattern": format!("^([0-9]{{{DIGITS}}}|{JUST_WORKS}|\\$\\{{(file|env):[^}}]+\\}})$"),
            "minimum": 0,
            "maximum": 999_999,
        })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        if matches!(node.typed(), Some(Typed::Text(JUST_WORKS))) {
            return Some(Self::JustWorks);
        }
        let secret = Secret::decode(node, cx)?;
        match secret.expose().trim().parse() {
            Ok(passkey) => Some(Self::Passkey(passkey)),
            Err(why) => {
                // What was written may be the passkey after all, mistyped.
                cx.hide(node.span);
                let whose = if secret.file().is_some() { "what the file holds is none" } else { "this is none" };
                cx.problem(node.span, format!("{why}, and {whose}"))
                    .help("write the six digits, ${file:name} or ${env:NAME}; or just-works if the device has none");
                None
            }
        }
    }
}
