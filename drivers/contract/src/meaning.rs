//! What the numbers and words of a device mean, and how a value is told to it: for drivers whose devices are described by
//! whoever writes the site file. Pure functions; how a number is spelt is each driver's own.

use crate::Value;
use crate::settings::node::clip;

/// What a number stands for: value = number × scale + offset.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scaling {
    /// What the number is multiplied by; not 0.
    pub scale: Option<f64>,
    /// What is added after that.
    pub offset: Option<f64>,
    /// How many decimals the value is rounded to.
    pub precision: Option<u8>,
    /// The least value that can be true.
    pub min: Option<f64>,
    /// The greatest value that can be true.
    pub max: Option<f64>,
}

impl Scaling {
    /// What a number means.
    ///
    /// # Errors
    /// It cannot be true, or is too large: in words.
    pub fn apply(&self, number: f64) -> Result<Value, String> {
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

    /// What a whole number means: a whole number, unless it is scaled or rounded.
    ///
    /// # Errors
    /// It cannot be true: in words.
    pub fn apply_to_whole(&self, number: i64) -> Result<Value, String> {
        // Whoever scales wants a float, and limits are written by hand.
        let float = number as f64;
        if self.changes() {
            return self.apply(float);
        }
        self.plausible(float)?;
        Ok(Value::Int(number))
    }

    /// The number that means a value.
    pub fn undo(&self, value: f64) -> f64 {
        if self.scale.is_none() && self.offset.is_none() {
            return value;
        }
        let number = (value - self.offset.unwrap_or(0.0)) / self.scale.unwrap_or(1.0);
        // What undoing the scale adds in the last digits is nobody's.
        format!("{number:.12e}").parse().unwrap_or(number)
    }

    /// Whether a value may be another than its number.
    pub fn changes(&self) -> bool {
        self.scale.is_some() || self.offset.is_some() || self.precision.is_some()
    }

    fn plausible(&self, value: f64) -> Result<(), String> {
        match (self.min, self.max) {
            (Some(min), _) if value < min => Err(format!("{value} cannot be: it is below {min}")),
            (_, Some(max)) if value > max => Err(format!("{value} cannot be: it is above {max}")),
            _ => Ok(()),
        }
    }
}

/// Texts that stand for something else than themselves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Words {
    /// Texts that say that there is no value.
    pub invalid: Vec<String>,
    /// Texts and the values they stand for. If there are any, no other text is one.
    pub names: Vec<(String, Value)>,
}

impl Words {
    /// What a text without blanks around it stands for; `None`: for itself.
    ///
    /// # Errors
    /// It says that there is no value, or has no name where others have: in words.
    pub fn read(&self, text: &str) -> Result<Option<Value>, String> {
        if self.invalid.iter().any(|invalid| invalid.trim() == text) {
            return Err(format!("the device says `{}`, which is no value", clip(text)));
        }
        if self.names.is_empty() {
            return Ok(None);
        }
        let named = self.names.iter().find(|(name, _)| name == text).map(|(_, value)| value.clone());
        named.map(Some).ok_or_else(|| format!("`{}` has no name", clip(text)))
    }

    /// The text that stands for a value, which may be off by so much of a named number (see [`same`]). `None`: there are no
    /// names.
    ///
    /// # Errors
    /// There are, and none for this value: in words.
    pub fn spell(&self, value: &Value, slack: f64) -> Result<Option<&str>, String> {
        if self.names.is_empty() {
            return Ok(None);
        }
        let named = self.names.iter().find(|(_, named)| same(named, value, slack));
        let known = || self.names.iter().map(|(_, value)| value.to_string()).collect::<Vec<_>>().join(", ");
        named.map(|(text, _)| Some(text.as_str())).ok_or_else(|| format!("`{value}` is none of {}", known()))
    }
}

/// On or off, as people and devices usually spell it.
pub fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "on" | "yes" => Some(true),
        "0" | "false" | "off" | "no" => Some(false),
        _ => None,
    }
}

/// Whether there are only digits and signs of a decimal number in a text. Rust would read `inf` and `nan`, too, which
/// devices send when they have no value.
pub fn is_decimal(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'+' | b'-' | b'e' | b'E'))
}

/// Whether two values are the same thing, written differently. Numbers may differ by `slack` of the named one's size, or
/// of 1 if that is more.
pub fn same(named: &Value, value: &Value, slack: f64) -> bool {
    match (named, value) {
        (Value::Bool(_), Value::Bool(_)) | (Value::Text(_), Value::Text(_)) => named == value,
        (Value::Bool(on), other) => switch(&other.to_string()) == Some(*on),
        _ => match (named.as_f64(), value.as_f64()) {
            (Some(a), Some(b)) => (a - b).abs() <= slack * a.abs().max(1.0),
            _ => named.to_string() == value.to_string(),
        },
    }
}

/// A value that is not a list, for a device that takes one at a time.
///
/// # Errors
/// It is one: in words.
pub fn single(value: &Value) -> Result<&Value, String> {
    match value {
        Value::List(_) => Err(format!("`{value}` is a list, and this point holds one value")),
        _ => Ok(value),
    }
}

/// A value as text of one line: a line break in it could be a second command.
///
/// # Errors
/// It has one, or another control character: in words.
pub fn one_line(value: &Value) -> Result<String, String> {
    let text = value.to_string();
    if text.chars().any(char::is_control) {
        return Err("the text holds a line break or another control character".into());
    }
    Ok(text)
}

/// A value as a number that is finite.
///
/// # Errors
/// It is none: in words.
pub fn number(value: &Value) -> Result<f64, String> {
    let number = match value {
        Value::Bool(_) => None,
        other => other.as_f64(),
    };
    number.filter(|number| number.is_finite()).ok_or_else(|| format!("`{value}` is not a number"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_is_scaled_then_rounded_then_judged() {
        let tenths = Scaling { scale: Some(0.1), offset: Some(-40.0), ..Scaling::default() };
        assert_eq!(tenths.apply(615.0), Ok(Value::Float(21.5)));
        assert_eq!((tenths.undo(21.5), tenths.apply_to_whole(615)), (615.0, Ok(Value::Float(21.5))));
        let rounded = Scaling { precision: Some(1), max: Some(60.0), ..Scaling::default() };
        assert_eq!(rounded.apply(60.04), Ok(Value::Float(60.0)));
        assert_eq!(rounded.apply(60.06), Err("60.1 cannot be: it is above 60".into()));
        assert_eq!(rounded.apply(-0.01).map(|value| value.to_string()), Ok("0".into()), "no negative zero");
        assert_eq!(Scaling { scale: Some(10.0), ..tenths }.apply(f64::MAX), Err(format!("{} is too large", f64::MAX)));
    }

    #[test]
    fn a_whole_number_stays_one_unless_it_is_scaled() {
        let limited = Scaling { min: Some(0.0), ..Scaling::default() };
        assert_eq!(limited.apply_to_whole(i64::MAX), Ok(Value::Int(i64::MAX)));
        assert_eq!(limited.apply_to_whole(-1), Err("-1 cannot be: it is below 0".into()));
        assert_eq!(Scaling { precision: Some(0), ..limited }.apply_to_whole(7), Ok(Value::Float(7.0)));
    }

    proptest! {
        #[test]
        fn what_is_told_to_a_device_reads_back_as_the_same(
            value in -1e6..1e6_f64,
            scale in prop::sample::select(vec![0.001, 0.1, 1.0, -2.5, 1000.0]),
            offset in -100.0..100.0_f64,
        ) {
            let scaling = Scaling { scale: Some(scale), offset: Some(offset), ..Scaling::default() };
            let read = scaling.apply(scaling.undo(value)).unwrap();
            // Undone to twelve decimals of the number's own size.
            let size = value.abs() + offset.abs() + 1.0;
            prop_assert!((read.as_f64().unwrap() - value).abs() <= 1e-11 * size, "{value} became {read}");
        }
    }

    #[test]
    fn words_stand_for_values_in_both_directions() {
        let none = Words { invalid: vec![" --- ".into()], names: Vec::new() };
        assert_eq!((none.read("21"), none.spell(&Value::Int(1), 0.0)), (Ok(None), Ok(None)));
        assert_eq!(none.read("---"), Err("the device says `---`, which is no value".into()));
        let names = vec![("heat".to_owned(), Value::Int(1)), ("off".into(), Value::Bool(false))];
        let mode = Words { names, ..none };
        assert_eq!((mode.read("heat"), mode.read("dry")), (Ok(Some(Value::Int(1))), Err("`dry` has no name".into())));
        assert_eq!(mode.spell(&Value::Float(1.0), 0.0), Ok(Some("heat")));
        assert_eq!(mode.spell(&Value::Text("no".into()), 0.0), Ok(Some("off")));
        assert_eq!(mode.spell(&Value::Int(3), 0.0), Err("`3` is none of 1, false".into()));
    }

    #[test]
    fn numbers_are_the_same_within_the_slack_and_no_further() {
        let (one, near) = (Value::Int(1), Value::Float(1.0 + 1e-10));
        assert!(same(&one, &near, 1e-9) && !same(&one, &near, 0.0) && same(&one, &Value::Float(1.0), 0.0));
        assert!(same(&Value::Bool(true), &Value::Text("ON".into()), 0.0));
        assert!(!same(&Value::Text("1".into()), &Value::Text("on".into()), 0.0));
    }

    #[test]
    fn what_a_device_cannot_be_told_is_refused_in_words() {
        assert!(single(&Value::List(Vec::new())).unwrap_err().contains("is a list"));
        assert!(one_line(&Value::Text("a\r\nRESET".into())).unwrap_err().contains("line break"));
        for wrong in [Value::Bool(true), Value::Float(f64::NAN), Value::Text("warm".into())] {
            assert_eq!(number(&wrong), Err(format!("`{wrong}` is not a number")));
        }
        assert_eq!(number(&Value::Int(7)), Ok(7.0));
    }
}
