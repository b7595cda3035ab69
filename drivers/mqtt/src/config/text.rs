//! Texts of the site file that mean more than themselves.

use serde_json::{Value as Json, json};
use wharf_contract::Value;
use wharf_contract::settings::{Context, HostPort, Node, NodeKind, Schema, Setting, Severity, Typed};

use crate::path::JsonPath;
use crate::payload::{LARGEST, Payload};
use crate::time;
use crate::topic::Pattern;

impl Setting for Pattern {
    fn schema() -> Schema {
        json!({ "type": ["string", "integer"], "pattern": "^[^$#\\u0000-\\u001f][^#\\u0000-\\u001f]*$", "maxLength": 256 })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let (Some(Typed::Text(_) | Typed::Int(_)), Some(text)) = (node.typed(), node.text()) else {
            return cx.unexpected(node, "a topic such as tele/plug/SENSOR");
        };
        Self::parse(text).map_err(|why| cx.problem(node.span, why).help = None).ok()
    }
}

impl Setting for JsonPath {
    fn schema() -> Schema {
        json!({ "type": ["string", "number"], "minLength": 1, "maxLength": 256 })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let (Some(Typed::Text(_) | Typed::Int(_) | Typed::Float(_)), Some(text)) = (node.typed(), node.text()) else {
            return cx.unexpected(node, "a path such as ENERGY.Power or sensors[0].temp");
        };
        if let Some(meant) = foreign(text) {
            let problem = cx.problem(node.span, format!("`{text}` is taken for plain names, and leads nowhere then"));
            problem.severity = Severity::Warning;
            problem.help(meant);
        }
        Self::parse(text).map_err(|why| cx.problem(node.span, why).help = None).ok()
    }
}

/// What to write in place of a path as other programs have it: JSONPath, a JSON pointer, a template.
fn foreign(text: &str) -> Option<String> {
    if let Some(path) = text.strip_prefix("$.") {
        return Some(format!("without `$.`: {path}"));
    }
    if let Some(pointer) = text.strip_prefix('/') {
        return Some(format!("points between names: {}", pointer.replace('/', ".")));
    }
    let template = text.strip_prefix("{{")?.strip_suffix("}}")?.trim();
    let path = template.strip_prefix("value_json.").unwrap_or(template);
    Some(format!("the path alone, without braces: {path}"))
}

/// A word that a device says: text, a number, true or false, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word(pub String);

impl Setting for Word {
    fn schema() -> Schema {
        json!({ "type": ["string", "number", "boolean"] })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        match (node.typed(), node.text()) {
            (Some(Typed::Text(_) | Typed::Int(_) | Typed::Float(_) | Typed::Bool(_)), Some(text)) => {
                Some(Self(text.to_owned()))
            }
            _ => cx.unexpected(node, "a word that the device says"),
        }
    }
}

/// Words and the values they stand for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Words(pub Vec<(String, Value)>);

impl Setting for Words {
    fn schema() -> Schema {
        json!({ "type": "object", "minProperties": 1, "additionalProperties": Value::schema() })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        if node.entries().is_empty() {
            cx.unexpected::<()>(node, "words with their values");
            cx.help_last("write {heat: 1, cool: 2}");
            return None;
        }
        let decoded = node.entries().iter().map(|entry| {
            cx.within_entry(entry, |cx, value| Value::decode(value, cx)).map(|value| (entry.key.clone(), value))
        });
        // Collected before they are judged, so that each one's mistakes are found.
        decoded.collect::<Vec<_>>().into_iter().collect::<Option<Vec<_>>>().map(Self)
    }
}

impl Setting for Payload {
    fn schema() -> Schema {
        json!({ "type": ["string", "number", "boolean", "object", "array"] })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let payload = match (&node.kind, node.typed(), node.text()) {
            (NodeKind::Mapping(_) | NodeKind::Sequence(_), ..) => Self::Json(as_json(node)),
            (_, Some(Typed::Null), _) | (_, _, None) => {
                return cx.unexpected(node, "what is published, such as \"{value}\"");
            }
            (_, _, Some(text)) => Self::Text(text.to_owned()),
        };
        if payload.to_string().len() > LARGEST {
            cx.problem(node.span, format!("a payload has {LARGEST} bytes at most"));
            return None;
        }
        Some(payload)
    }
}

/// What stands in the site file, as JSON.
fn as_json(node: &Node) -> Json {
    match (&node.kind, node.typed()) {
        (NodeKind::Mapping(entries), _) => {
            Json::Object(entries.iter().map(|entry| (entry.key.clone(), as_json(&entry.value))).collect())
        }
        (NodeKind::Sequence(items), _) => items.iter().map(as_json).collect(),
        (_, Some(Typed::Bool(on))) => on.into(),
        (_, Some(Typed::Int(number))) => i64::try_from(number).map_or(Json::Null, Json::from),
        (_, Some(Typed::Float(number))) => Value::Float(number).to_json(),
        (_, Some(Typed::Text(text))) => text.into(),
        (_, Some(Typed::Null) | None) => Json::Null,
    }
}

/// The offset from UTC of times that do not say theirs: `utc`, `+01:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Minutes east of Greenwich.
    pub minutes: i16,
}

impl Setting for Zone {
    fn schema() -> Schema {
        json!({ "type": "string", "pattern": "^(utc|[+-](0[0-9]|1[0-4]):[0-5][0-9])$" })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let minutes = match node.typed() {
            Some(Typed::Text("utc")) => Some(0),
            Some(Typed::Text(text)) if text.len() == 6 => time::offset(text),
            _ => None,
        };
        match minutes {
            Some(minutes) => Some(Self { minutes }),
            None => cx.unexpected(node, "utc, or an offset such as +01:00"),
        }
    }
}

/// Where a broker is: `mqtt://host:1883`, or `mqtts://host:8883`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerUrl {
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// The host name or address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl BrokerUrl {
    /// Reads a URL; the error says what is wrong, never what was written.
    ///
    /// # Errors
    /// In words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (tls, rest) = match text.split_once("://") {
            Some(("mqtt", rest)) => (false, rest),
            Some(("mqtts", rest)) => (true, rest),
            None if HostPort::<1883>::parse(text).is_ok() => {
                return Err(format!("a URL begins with mqtt:// or mqtts:// here: mqtt://{text}"));
            }
            _ => return Err("a URL begins with mqtt:// or mqtts:// here".into()),
        };
        if rest.contains('@') {
            return Err("a user or password cannot stand in the URL: use username: and password:".into());
        }
        let address = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = if tls {
            HostPort::<8883>::parse(address).map(|parsed| (parsed.host().to_owned(), parsed.port()))?
        } else {
            HostPort::<1883>::parse(address).map(|parsed| (parsed.host().to_owned(), parsed.port()))?
        };
        Ok(Self { tls, host, port })
    }
}

impl std::fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

impl Setting for BrokerUrl {
    fn schema() -> Schema {
        json!({ "type": "string", "pattern": "^mqtts?://(\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9._-]{1,253})(:[0-9]{1,5})?/?$" })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let Some(Typed::Text(text)) = node.typed() else {
            return cx.unexpected(node, "a URL such as mqtt://192.168.1.5:1883");
        };
        Self::parse(text).map_err(|why| cx.problem(node.span, why).help = None).ok()
    }
}
