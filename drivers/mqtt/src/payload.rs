//! What is published to write a point: text, or JSON, with `{value}` in it.

use std::fmt;

use serde_json::Value as Json;

/// The word that stands for the value.
const VALUE: &str = "{value}";

/// The largest payload that is sent, in bytes.
pub const LARGEST: usize = 4096;

/// What is published. Only `{value}` is a word; any other brace is itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// Text. If it looks like JSON, what stands for `{value}` is escaped as JSON has it.
    Text(String),
    /// JSON. A text that is just `{value}` becomes the value with its type.
    Json(Json),
}

impl Payload {
    /// Whether the value is a part of it.
    pub fn has_value(&self) -> bool {
        match self {
            Self::Text(text) => text.contains(VALUE),
            Self::Json(json) => has_value(json),
        }
    }

    /// The payload for what [stands for](crate::value::Meaning::spell) a value.
    ///
    /// # Errors
    /// It would be too large: in words.
    pub fn render(&self, value: &Json) -> Result<Vec<u8>, String> {
        let rendered = match self {
            Self::Text(text) if text.trim_start().starts_with(['{', '[']) => {
                let escaped = Json::String(bare(value)).to_string();
                text.replace(VALUE, escaped.get(1..escaped.len() - 1).unwrap_or_default())
            }
            Self::Text(text) => text.replace(VALUE, &bare(value)),
            Self::Json(json) => filled(json, value).to_string(),
        };
        if rendered.len() > LARGEST {
            return Err(format!("the payload would have {} bytes, and {LARGEST} are sent at most", rendered.len()));
        }
        Ok(rendered.into_bytes())
    }
}

fn has_value(json: &Json) -> bool {
    match json {
        Json::String(text) => text.contains(VALUE),
        Json::Array(items) => items.iter().any(has_value),
        Json::Object(object) => object.values().any(has_value),
        _ => false,
    }
}

fn filled(json: &Json, value: &Json) -> Json {
    match json {
        Json::String(text) if text == VALUE => value.clone(),
        Json::String(text) => Json::String(text.replace(VALUE, &bare(value))),
        Json::Array(items) => items.iter().map(|item| filled(item, value)).collect(),
        Json::Object(object) => {
            Json::Object(object.iter().map(|(name, item)| (name.clone(), filled(item, value))).collect())
        }
        other => other.clone(),
    }
}

/// Text without quotes around it.
fn bare(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Json(json) => json.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(payload: &Payload, value: Json, expected: &str) {
        assert_eq!(String::from_utf8(payload.render(&value).unwrap()).unwrap(), expected);
    }

    #[test]
    fn a_value_takes_the_place_of_its_word() {
        let text = |text: &str| Payload::Text(text.into());
        check(&text("{value}"), json!("ON"), "ON");
        check(&text("{value}"), json!(21.5), "21.5");
        check(&text("Dimmer {value}%"), json!(40), "Dimmer 40%");
        check(&text(r#"{"state":"{value}"}"#), json!("ON"), r#"{"state":"ON"}"#);
        check(&text("{other}"), json!(1), "{other}");
        assert!(!text("TOGGLE").has_value());
    }

    #[test]
    fn no_value_breaks_out_of_json() {
        let evil = json!("a\",\"x\":\"b");
        check(&Payload::Text(r#"{"name":"{value}"}"#.into()), evil.clone(), r#"{"name":"a\",\"x\":\"b"}"#);
        check(&Payload::Json(json!({ "name": "{value}" })), evil, r#"{"name":"a\",\"x\":\"b"}"#);
    }

    #[test]
    fn a_text_that_is_just_the_word_keeps_the_type_of_the_value() {
        let rpc = Payload::Json(json!({ "id": 1, "params": { "on": "{value}", "note": "to {value}" } }));
        check(&rpc, json!(true), r#"{"id":1,"params":{"on":true,"note":"to true"}}"#);
        assert!(rpc.has_value());
        assert!(Payload::Text("{value}".into()).render(&json!("x".repeat(5000))).is_err());
    }
}
