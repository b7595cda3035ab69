//! What a message carries: JSON, the bare value, or a template.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value as Json;
use wharf_contract::{Reading, Value};

use super::{LinkFacts, Template, common_word};

/// The form of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// `{"value":21.5,"unit":"°C","ts":1795219869123,"quality":"good"}`
    Json,
    /// The bare value: as the device wrote it where it speaks text.
    Raw,
    /// The site's own.
    Template(Template),
}

/// A payload, and where the times in it stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The payload.
    pub text: String,
    /// Where in a template the digits of a time stand that the clock showed before it was set.
    pub times: Vec<u32>,
}

impl Payload {
    /// The payload of a reading; `None` when it has no value and this form cannot say so.
    /// `clock_set`: whether the time it was taken at can be trusted.
    pub fn render(&self, gateway: &str, link: &LinkFacts, reading: &Reading, clock_set: bool) -> Option<Rendered> {
        match self {
            Self::Json => Some(json(reading).into()),
            Self::Raw => bare(reading).map(Rendered::from),
            Self::Template(template) => {
                if reading.value.is_none() && template.uses("value") {
                    return None;
                }
                let (mut text, mut times) = (String::with_capacity(96), Vec::new());
                template.render(&mut text, |word, out| {
                    if word == "ts" && !clock_set {
                        times.extend(u32::try_from(out.len()));
                    }
                    payload_word(word, gateway, link, reading, out);
                });
                Some(Rendered { text, times })
            }
        }
    }
}

impl From<String> for Rendered {
    fn from(text: String) -> Self {
        Self { text, times: Vec::new() }
    }
}

/// Milliseconds since 1970, as payloads carry time; 0 for a clock set before that.
pub fn epoch_ms(time: SystemTime) -> u64 {
    let elapsed = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

fn payload_word(word: &str, gateway: &str, link: &LinkFacts, reading: &Reading, out: &mut String) {
    match word {
        "value" => out.push_str(&bare(reading).unwrap_or_default()),
        "value_json" => push_value(out, reading.value.as_ref()),
        "unit" => out.push_str(reading.unit.as_ref().map_or("", |unit| unit.as_str())),
        "ts" => push_number(out, epoch_ms(reading.taken_at)),
        "quality" => out.push_str(reading.quality.as_str()),
        other => out.push_str(common_word(gateway, other, link, reading).unwrap_or_default()),
    }
}

fn bare(reading: &Reading) -> Option<String> {
    match &reading.verbatim {
        Some(verbatim) => Some(verbatim.to_string()),
        None => reading.value.as_ref().map(Value::to_string),
    }
}

/// Written by hand rather than through a `serde_json` tree: this runs once per reading.
fn json(reading: &Reading) -> String {
    let mut out = String::with_capacity(96);
    out.push_str("{\"value\":");
    push_value(&mut out, reading.value.as_ref());
    if let Some(unit) = &reading.unit {
        out.push_str(",\"unit\":");
        push_text(&mut out, unit.as_str());
    }
    out.push_str(",\"ts\":");
    push_number(&mut out, epoch_ms(reading.taken_at));
    out.push_str(",\"quality\":\"");
    out.push_str(reading.quality.as_str());
    out.push('"');
    if let Some(reason) = &reading.reason {
        out.push_str(",\"reason\":");
        push_text(&mut out, reason);
    }
    out.push('}');
    out
}

fn push_value(out: &mut String, value: Option<&Value>) {
    match value {
        None => out.push_str("null"),
        Some(Value::Text(text)) => push_text(out, text),
        // JSON has no NaN and no infinity. Drivers do not emit them; should one slip through, null
        // is the honest answer.
        Some(Value::Float(number)) if !number.is_finite() => out.push_str("null"),
        // A list shows itself as JSON.
        Some(other) => {
            let _ = write!(out, "{other}");
        }
    }
}

fn push_text(out: &mut String, text: &str) {
    let _ = write!(out, "{}", Json::from(text));
}

fn push_number(out: &mut String, number: u64) {
    let _ = write!(out, "{number}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(value: Value) -> Reading {
        Reading::good("d".into(), "p".into(), value, UNIX_EPOCH)
    }

    #[test]
    fn json_payloads_are_json_whatever_the_value() {
        for (value, expected) in [
            (Value::Bool(true), "true"),
            (Value::Int(i64::MIN), "-9223372036854775808"),
            (Value::Float(1e300), "1e300"),
            (Value::Float(0.1), "0.1"),
            (Value::Text("say \"hi\"\n\u{1}".into()), r#""say \"hi\"\n\u0001""#),
            (Value::List(vec![Value::Float(0.1), Value::Text("\"".into())]), r#"[0.1, "\""]"#),
        ] {
            let text = json(&reading(value.clone()));
            let parsed: Json = serde_json::from_str(&text).unwrap();
            let expected: Json = serde_json::from_str(expected).unwrap();
            assert_eq!(parsed["value"], expected, "{text}");
        }
        assert!(json(&reading(Value::Float(f64::NAN))).starts_with("{\"value\":null,"));
    }

    #[test]
    fn a_template_can_be_json_of_its_own_shape() {
        let words = super::super::PAYLOAD_WORDS;
        let template = Template::payload(r#"{{"v":{value_json},"q":"{quality}","at":{ts}}}"#, words).unwrap();
        let link = LinkFacts { link: "bus".into(), driver: "modbus", labels: &[] };
        let template = Payload::Template(template);
        let rendered = template.render("gw1", &link, &reading(Value::Text("x".into())), true).unwrap();
        assert_eq!(rendered, Rendered::from(r#"{"v":"x","q":"good","at":0}"#.to_owned()));
    }

    #[test]
    fn a_template_remembers_where_a_clock_not_yet_set_has_shown_its_time() {
        let words = super::super::PAYLOAD_WORDS;
        let template = Payload::Template(Template::payload("{ts} {value} {ts}", words).unwrap());
        let link = LinkFacts { link: "bus".into(), driver: "modbus", labels: &[] };
        let rendered = template.render("gw1", &link, &reading(Value::Int(7)), false).unwrap();
        assert_eq!(rendered, Rendered { text: "0 7 0".into(), times: vec![0, 4] });
    }

    #[test]
    fn the_bare_value_is_what_the_device_wrote() {
        let mut reading = reading(Value::Float(21.5));
        assert_eq!(bare(&reading).as_deref(), Some("21.5"));
        reading.verbatim = Some("21.50".into());
        assert_eq!(bare(&reading).as_deref(), Some("21.50"));
    }
}
