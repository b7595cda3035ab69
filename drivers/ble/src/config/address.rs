//! Addresses, adapters and keys, as they stand in a site file.

use serde_json::json;
use wharf_contract::settings::{Context, Node, Schema, Secret, Setting, Typed};

use crate::advert::{Address, Key};

/// A sensor's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mac(pub Address);

impl Setting for Mac {
    fn schema() -> Schema {
        let colons = "[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}";
        let dashes = "[0-9A-Fa-f]{2}(-[0-9A-Fa-f]{2}){5}";
        let pattern = format!("^({colons}|{dashes}|[0-9A-Fa-f]{{12}})$");
        // Twelve digits without letters look like a number to whoever reads YAML.
        json!({ "type": ["string", "integer"], "pattern": pattern })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let text = written(node, cx, "a Bluetooth address")?;
        match text.parse() {
            Ok(address) => Some(Self(address)),
            Err(_) => {
                cx.problem(node.span, format!("{} is not a Bluetooth address", node.describe()))
                    .help("it is six bytes in hexadecimal: A4:C1:38:56:53:84; `wharf scan ble` shows it");
                None
            }
        }
    }
}

/// Which adapter: by the name the system gives it, or by its own address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Adapter(String);

impl Adapter {
    /// As it stands in the site file; an address in capitals and with colons.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// An adapter of that name or address, if it is one.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse::<Address>() {
            return Some(Self(address.to_string()));
        }
        let number = text.strip_prefix("hci")?;
        let is_number = (1..=3).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| Self(text.to_owned()))
    }
}

impl Setting for Adapter {
    fn schema() -> Schema {
        let mut schema = Mac::schema();
        schema["pattern"] =
            schema["pattern"].as_str().map_or_else(String::new, |mac| mac.replacen("^(", "^(hci[0-9]{1,3}|", 1)).into();
        schema
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let text = written(node, cx, "an adapter such as hci0")?;
        let adapter = Self::parse(text);
        if adapter.is_none() {
            cx.problem(node.span, format!("{} is not a Bluetooth adapter", node.describe()))
                .help("it is called hci0, hci1, …, or by its own address: `bluetoothctl list` shows them");
        }
        adapter
    }
}

/// The text as it was written, also where it looks like a whole number.
fn written<'n>(node: &'n Node, cx: &mut Context<'_>, expected: &str) -> Option<&'n str> {
    match node.typed() {
        Some(Typed::Text(_) | Typed::Int(_)) => node.text(),
        Some(Typed::Float(_)) => {
            cx.unexpected::<()>(node, expected);
            cx.help_last("put it in quotes: without them it is a number with an exponent");
            None
        }
        _ => cx.unexpected(node, expected),
    }
}

/// The key of a sensor that encrypts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindKey(pub Key);

impl Setting for BindKey {
    fn schema() -> Schema {
        Secret::schema()
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let secret = Secret::decode(node, cx)?;
        match secret.expose().parse() {
            Ok(key) => Some(Self(key)),
            Err(why) => {
                // What was written may be the key after all, mistyped.
                cx.hide(node.span);
                let whose = if secret.file().is_some() { "what the file holds is no key" } else { "this is no key" };
                cx.problem(node.span, format!("{whose}: {why}"))
                    .help("the maker's app shows it, or the tool that the sensor was set up with");
                None
            }
        }
    }
}
