//! What a value in a payload means, and how one is written into a payload. Pure functions.

use serde_json::Value as Json;
use wharf_contract::settings::node::clip;
use wharf_contract::{Unit, Value, setting_enum};

setting_enum! {
    /// What stands in the payload.
    pub enum ValueType {
        /// A number; text is read as one.
        Number = "number" | "f64" | "float",
        /// A whole number.
        Whole = "whole" | "i64" | "int",
        /// On or off.
        Bool = "bool",
        /// Text, as it is.
        Text = "text" | "string",
    }
}

/// How what stands in a payload becomes a value: value = number × scale + offset.
#[derive(Clone, Debug, PartialEq)]
pub struct Meaning {
    /// What stands there.
    pub kind: ValueType,
    /// What the number is multiplied by.
    pub scale: Option<f64>,
    /// What is added after that.
    pub offset: Option<f64>,
    /// How many decimals the value is rounded to.
    pub precision: Option<u8>,
    /// The least value that can be true.
    pub min: Option<f64>,
    /// The greatest value that can be true.
    pub max: Option<f64>,
    /// Texts that say that there is no value.
    pub invalid: Vec<String>,
    /// Texts and the values they stand for. If there are any, no other text is one.
    pub names: Vec<(String, Value)>,
    /// Texts that say on; the first is the one that is written. Without any: true, on, yes, 1.
    pub on: Vec<String>,
    /// Texts that say off, likewise.
    pub off: Vec<String>,
    /// The unit.
    pub unit: Option<Unit>,
}

impl Meaning {
    /// A value as it stands, without anything else to it.
    pub fn plain(kind: ValueType) -> Self {
        Self {
            kind,
            scale: None,
            offset: None,
            precision: None,
            min: None,
            max: None,
            invalid: Vec::new(),
            names: Vec::new(),
            on: Vec::new(),
            off: Vec::new(),
            unit: None,
        }
    }

    /// What stands in a payload means this.
    ///
    /// # Errors
    /// It is no value, or cannot be true: in words.
    pub fn read(&self, json: &Json) -> Result<Value, String> {
        let text = match json {
            Json::Null => return Err("the device says null".into()),
            Json::Object(_) => return Err("there are names with values, not a value".into()),
            Json::Array(_) => return Err("there is a list, not a value".into()),
            Json::String(text) => text.trim().to_owned(),
            Json::Bool(_) | Json::Number(_) => json.to_string(),
        };
        if self.invalid.iter().any(|invalid| invalid.trim() == text) {
            return Err(format!("the device says `{}`, which is no value", clip(&text)));
        }
        if !self.names.is_empty() {
            let named = self.names.iter().find(|(name, _)| *name == text).map(|(_, value)| value.clone());
            return named.ok_or_else(|| format!("`{}` has no name", clip(&text)));
        }
        if self.kind == ValueType::Text {
            return Ok(Value::Text(text));
        }
        if text.is_empty() {
            return Err("the payload is empty".into());
        }
        match (self.kind, json) {
            (ValueType::Bool, _) => {
                self.switch(&text).map(Value::Bool).ok_or_else(|| format!("`{}` is neither on nor off", clip(&text)))
            }
            (ValueType::Whole, _) => match number(&text) {
                Some(Value::Int(whole)) => self.whole(whole),
                // 1e3 and 21.0 are whole, too.
                // Whole, and far inside i64.
                Some(Value::Float(float)) if float.fract() == 0.0 && float.abs() < 1e15 => self.whole(float as i64),
                _ => Err(format!("`{}` is not a whole number", clip(&text))),
            },
            (_, Json::Bool(_)) => Err(format!("`{text}` is not a number")),
            _ => {
                let number = number(&text).and_then(|number| number.as_f64());
                self.scaled(number.ok_or_else(|| format!("`{}` is not a number", clip(&text)))?)
            }
        }
    }

    /// What stands for a value in a payload.
    ///
    /// # Errors
    /// The value cannot be one of this point: in words.
    pub fn spell(&self, value: &Value) -> Result<Json, String> {
        if let Value::List(_) = value {
            return Err(format!("`{value}` is a list, and this point holds one value"));
        }
        if !self.names.is_empty() {
            let named = self.names.iter().find(|(_, named)| same(named, value));
            let known = || self.names.iter().map(|(_, value)| value.to_string()).collect::<Vec<_>>().join(", ");
            return named.map(|(text, _)| typed(text)).ok_or_else(|| format!("`{value}` is none of {}", known()));
        }
        match self.kind {
            ValueType::Text => {
                let text = value.to_string();
                if text.chars().any(char::is_control) {
                    return Err("the text holds a line break or another control character".into());
                }
                Ok(Json::String(text))
            }
            ValueType::Bool => {
                let on = match value {
                    Value::Bool(on) => Some(*on),
                    other => self.switch(&other.to_string()).or_else(|| usual(&other.to_string())),
                };
                let on = on.ok_or_else(|| format!("`{value}` is neither on nor off"))?;
                let word = if on { self.on.first() } else { self.off.first() };
                Ok(word.map_or(Json::Bool(on), |word| typed(word)))
            }
            ValueType::Number | ValueType::Whole => {
                let number = match value {
                    Value::Bool(_) => None,
                    other => other.as_f64(),
                };
                let number = number.filter(|number| number.is_finite());
                self.unscaled(number.ok_or_else(|| format!("`{value}` is not a number"))?, value)
            }
        }
    }

    fn unscaled(&self, value: f64, given: &Value) -> Result<Json, String> {
        if let (Value::Int(whole), None, None) = (given, self.scale, self.offset) {
            return Ok((*whole).into());
        }
        let mut number = value;
        if self.scale.is_some() || self.offset.is_some() {
            number = (value - self.offset.unwrap_or(0.0)) / self.scale.unwrap_or(1.0);
            // What undoing the scale adds in the last digits is nobody's.
            number = format!("{number:.12e}").parse().unwrap_or(number);
        }
        if self.kind == ValueType::Whole && (number.fract() != 0.0 || number.abs() > 1e15) {
            return Err(format!("{value} is not a whole number on the device"));
        }
        Ok(Value::Float(number).to_json())
    }

    fn whole(&self, number: i64) -> Result<Value, String> {
        // Whoever scales wants a float, and limits are written by hand.
        let float = number as f64;
        if self.scale.is_some() || self.offset.is_some() || self.precision.is_some() {
            return self.scaled(float);
        }
        self.plausible(float)?;
        Ok(Value::Int(number))
    }

    fn scaled(&self, number: f64) -> Result<Value, String> {
        let mut value = number * self.scale.unwrap_or(1.0) + self.offset.unwrap_or(0.0);
        if let Some(precision) = self.precision {
            let factor = 10_f64.powi(i32::from(precision));
            let rounded = (value * factor).round() / factor;
            value = if rounded.is_finite() { rounded } else { value };
        }
        if !value.is_finite() {
            return Err(format!("{number} is too large"));
        }
        self.plausible(value)?;
        // There is no negative zero among measurements.
        Ok(Value::Float(value + 0.0))
    }

    fn plausible(&self, value: f64) -> Result<(), String> {
        match (self.min, self.max) {
            (Some(min), _) if value < min => Err(format!("{value} cannot be: it is below {min}")),
            (_, Some(max)) if value > max => Err(format!("{value} cannot be: it is above {max}")),
            _ => Ok(()),
        }
    }

    fn switch(&self, text: &str) -> Option<bool> {
        if self.on.is_empty() && self.off.is_empty() {
            return usual(text);
        }
        let (on, off) = (self.on.iter().any(|word| word == text), self.off.iter().any(|word| word == text));
        (on != off).then_some(on)
    }
}

/// A number as payloads spell it. Rust would read `inf` and `nan`, too, which devices send when they have
/// no value.
fn number(text: &str) -> Option<Value> {
    let is_number = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'+' | b'-' | b'e' | b'E'));
    if !is_number {
        return None;
    }
    match text.parse::<i64>() {
        Ok(whole) => Some(Value::Int(whole)),
        Err(_) => text.parse().ok().filter(|float: &f64| float.is_finite()).map(Value::Float),
    }
}

fn usual(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "on" | "yes" => Some(true),
        "0" | "false" | "off" | "no" => Some(false),
        _ => None,
    }
}

/// A word of the site file as JSON has it: a number or truth value where it is one.
fn typed(word: &str) -> Json {
    match serde_json::from_str(word) {
        Ok(json @ (Json::Bool(_) | Json::Number(_))) => json,
        _ => Json::String(word.to_owned()),
    }
}

/// Whether two values are the same thing, written differently.
pub fn same(named: &Value, value: &Value) -> bool {
    match (named, value) {
        (Value::Bool(_), Value::Bool(_)) | (Value::Text(_), Value::Text(_)) => named == value,
        (Value::Bool(on), other) => usual(&other.to_string()) == Some(*on),
        // Both went through the same spelling, so only what rounding does may differ.
        _ => match (named.as_f64(), value.as_f64()) {
            (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * a.abs().max(1.0),
            _ => named.to_string() == value.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(meaning: &Meaning, json: Json, expected: Result<Value, &str>) {
        assert_eq!(meaning.read(&json), expected.map_err(str::to_owned), "{json}");
    }

    #[test]
    fn numbers_are_read_as_numbers_and_as_text() {
        let plain = Meaning::plain(ValueType::Number);
        for json in [json!(21.5), json!("21.5"), json!(" 21.50 ")] {
            read(&plain, json, Ok(Value::Float(21.5)));
        }
        for wrong in [json!("nan"), json!("inf"), json!("21,5"), json!("unavailable"), json!(true)] {
            assert!(plain.read(&wrong).is_err(), "{wrong}");
        }
        read(
            &Meaning::plain(ValueType::Whole),
            json!(9_007_199_254_740_993_i64),
            Ok(Value::Int(9_007_199_254_740_993)),
        );
        read(&Meaning::plain(ValueType::Whole), json!(21.0), Ok(Value::Int(21)));
        read(&Meaning::plain(ValueType::Whole), json!(21.5), Err("`21.5` is not a whole number"));
    }

    #[test]
    fn what_is_no_value_is_told_as_such_and_never_made_up() {
        let plain = Meaning::plain(ValueType::Number);
        read(&plain, json!(null), Err("the device says null"));
        read(&plain, json!({}), Err("there are names with values, not a value"));
        read(&plain, json!([1]), Err("there is a list, not a value"));
        read(&plain, json!(""), Err("the payload is empty"));
        let limited = Meaning { min: Some(-40.0), max: Some(85.0), invalid: vec!["-127".into()], ..plain };
        read(&limited, json!(-127), Err("the device says `-127`, which is no value"));
        read(&limited, json!(85.1), Err("85.1 cannot be: it is above 85"));
        read(&limited, json!(85), Ok(Value::Float(85.0)));
    }

    #[test]
    fn switches_are_on_and_off_in_the_words_of_the_device() {
        let plain = Meaning::plain(ValueType::Bool);
        for (json, on) in [(json!(true), true), (json!("ON"), true), (json!(1), true), (json!("off"), false)] {
            read(&plain, json, Ok(Value::Bool(on)));
        }
        let valve = Meaning { on: vec!["OPEN".into(), "OPENING".into()], off: vec!["CLOSED".into()], ..plain.clone() };
        read(&valve, json!("OPENING"), Ok(Value::Bool(true)));
        read(&valve, json!("CLOSED"), Ok(Value::Bool(false)));
        read(&valve, json!("ON"), Err("`ON` is neither on nor off"));
        assert_eq!(valve.spell(&Value::Bool(true)), Ok(json!("OPEN")));
        assert_eq!(valve.spell(&Value::Text("off".into())), Ok(json!("CLOSED")));
        assert_eq!(plain.spell(&Value::Int(1)), Ok(json!(true)));
        let numbers = Meaning { on: vec!["1".into()], off: vec!["0".into()], ..plain };
        assert_eq!(numbers.spell(&Value::Bool(true)), Ok(json!(1)));
    }

    #[test]
    fn a_value_is_spelt_so_that_it_reads_back_as_the_same() {
        let tenths = Meaning { scale: Some(0.1), offset: Some(-40.0), ..Meaning::plain(ValueType::Number) };
        assert_eq!(tenths.spell(&Value::Float(21.5)), Ok(json!(615)));
        read(&tenths, json!(615), Ok(Value::Float(21.5)));
        assert_eq!(Meaning::plain(ValueType::Whole).spell(&Value::Int(i64::MAX)), Ok(json!(i64::MAX)));
        assert!(Meaning::plain(ValueType::Whole).spell(&Value::Float(7.5)).is_err());
        assert!(Meaning::plain(ValueType::Number).spell(&Value::Text("warm".into())).is_err());
        assert!(Meaning::plain(ValueType::Text).spell(&Value::Text("a\nb".into())).is_err());
        let names = vec![("heat".to_owned(), Value::Int(1)), ("cool".into(), Value::Int(2))];
        let mode = Meaning { names, ..Meaning::plain(ValueType::Text) };
        assert_eq!(mode.spell(&Value::Float(2.0)), Ok(json!("cool")));
        read(&mode, json!("heat"), Ok(Value::Int(1)));
        read(&mode, json!("dry"), Err("`dry` has no name"));
    }
}
