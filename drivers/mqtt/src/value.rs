//! What a value in a payload means, and how one is written into a payload. Pure functions.

use serde_json::Value as Json;
use wharf_contract::meaning::{self, Scaling, Words, is_decimal, number, one_line, single, switch};
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

/// How what stands in a payload becomes a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Meaning {
    /// What stands there.
    pub kind: ValueType,
    /// What a number stands for.
    pub number: Scaling,
    /// What texts stand for.
    pub words: Words,
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
        Self { kind, number: Scaling::default(), words: Words::default(), on: Vec::new(), off: Vec::new(), unit: None }
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
        if let Some(value) = self.words.read(&text)? {
            return Ok(value);
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
            (ValueType::Whole, _) => match decimal(&text) {
                Some(Value::Int(whole)) => self.number.apply_to_whole(whole),
                // 1e3 and 21.0 are whole, too.
                // Whole, and far inside i64.
                Some(Value::Float(float)) if float.fract() == 0.0 && float.abs() < 1e15 => {
                    self.number.apply_to_whole(float as i64)
                }
                _ => Err(format!("`{}` is not a whole number", clip(&text))),
            },
            (_, Json::Bool(_)) => Err(format!("`{text}` is not a number")),
            _ => {
                let number = decimal(&text).and_then(|number| number.as_f64());
                self.number.apply(number.ok_or_else(|| format!("`{}` is not a number", clip(&text)))?)
            }
        }
    }

    /// What stands for a value in a payload.
    ///
    /// # Errors
    /// The value cannot be one of this point: in words.
    pub fn spell(&self, value: &Value) -> Result<Json, String> {
        let value = single(value)?;
        if let Some(text) = self.words.spell(value, SLACK)? {
            return Ok(typed(text));
        }
        match self.kind {
            ValueType::Text => one_line(value).map(Json::String),
            ValueType::Bool => {
                let on = match value {
                    Value::Bool(on) => Some(*on),
                    other => self.switch(&other.to_string()).or_else(|| switch(&other.to_string())),
                };
                let on = on.ok_or_else(|| format!("`{value}` is neither on nor off"))?;
                let word = if on { self.on.first() } else { self.off.first() };
                Ok(word.map_or(Json::Bool(on), |word| typed(word)))
            }
            ValueType::Number | ValueType::Whole => self.unscaled(number(value)?, value),
        }
    }

    fn unscaled(&self, value: f64, given: &Value) -> Result<Json, String> {
        if let (Value::Int(whole), None, None) = (given, self.number.scale, self.number.offset) {
            return Ok((*whole).into());
        }
        let number = self.number.undo(value);
        if self.kind == ValueType::Whole && (number.fract() != 0.0 || number.abs() > 1e15) {
            return Err(format!("{value} is not a whole number on the device"));
        }
        Ok(Value::Float(number).to_json())
    }

    fn switch(&self, text: &str) -> Option<bool> {
        if self.on.is_empty() && self.off.is_empty() {
            return switch(text);
        }
        let (on, off) = (self.on.iter().any(|word| word == text), self.off.iter().any(|word| word == text));
        (on != off).then_some(on)
    }
}

/// A number as payloads spell it.
fn decimal(text: &str) -> Option<Value> {
    if !is_decimal(text) {
        return None;
    }
    match text.parse::<i64>() {
        Ok(whole) => Some(Value::Int(whole)),
        Err(_) => text.parse().ok().filter(|float: &f64| float.is_finite()).map(Value::Float),
    }
}

/// A word of the site file as JSON has it: a number or truth value where it is one.
fn typed(word: &str) -> Json {
    match serde_json::from_str(word) {
        Ok(json @ (Json::Bool(_) | Json::Number(_))) => json,
        _ => Json::String(word.to_owned()),
    }
}

/// What rounding may do to a number on its way to the device and back, of its size.
const SLACK: f64 = 1e-9;

/// Whether two values are the same thing, written differently. Both went through the same spelling, so only what
/// rounding does may differ.
pub fn same(named: &Value, value: &Value) -> bool {
    meaning::same(named, value, SLACK)
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
        let limited = Meaning {
            number: Scaling { min: Some(-40.0), max: Some(85.0), ..Scaling::default() },
            words: Words { invalid: vec!["-127".into()], ..Words::default() },
            ..plain
        };
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
        let scaling = Scaling { scale: Some(0.1), offset: Some(-40.0), ..Scaling::default() };
        let tenths = Meaning { number: scaling, ..Meaning::plain(ValueType::Number) };
        assert_eq!(tenths.spell(&Value::Float(21.5)), Ok(json!(615)));
        read(&tenths, json!(615), Ok(Value::Float(21.5)));
        assert_eq!(Meaning::plain(ValueType::Whole).spell(&Value::Int(i64::MAX)), Ok(json!(i64::MAX)));
        assert!(Meaning::plain(ValueType::Whole).spell(&Value::Float(7.5)).is_err());
        assert!(Meaning::plain(ValueType::Number).spell(&Value::Text("warm".into())).is_err());
        assert!(Meaning::plain(ValueType::Text).spell(&Value::Text("a\nb".into())).is_err());
        let names = vec![("heat".to_owned(), Value::Int(1)), ("cool".into(), Value::Int(2))];
        let mode = Meaning { words: Words { names, ..Words::default() }, ..Meaning::plain(ValueType::Text) };
        assert_eq!(mode.spell(&Value::Float(2.0)), Ok(json!("cool")));
        read(&mode, json!("heat"), Ok(Value::Int(1)));
        read(&mode, json!("dry"), Err("`dry` has no name"));
    }
}
