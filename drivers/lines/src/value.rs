//! What the text of a field means, and how a value is spelt for the device.

use wharf_contract::meaning::{Scaling, Words, is_decimal, number, one_line, single, switch};
use wharf_contract::settings::node::clip;
use wharf_contract::{Unit, Value, setting_enum};

setting_enum! {
    /// What a field holds.
    pub enum ValueType {
        /// A number, with or without a fraction.
        Number = "number" | "float" | "f64",
        /// A whole number.
        Whole = "whole" | "int" | "i64",
        /// A whole number in hexadecimal digits.
        Hex = "hex",
        /// 1 or 0, true or false, on or off, yes or no.
        Bool = "bool",
        /// Text, as it is.
        Text = "text" | "string",
    }
}

/// How the text of a field becomes a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Meaning {
    /// What the field holds.
    pub kind: ValueType,
    /// What a number stands for.
    pub number: Scaling,
    /// What texts stand for.
    pub words: Words,
    /// The unit.
    pub unit: Option<Unit>,
    /// Whether fractions stand behind a comma, not a point.
    pub comma: bool,
}

/// How a number is spelt for a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spelling {
    /// How many signs it has at least; zeros lead.
    pub width: usize,
    /// How many decimals it has; without it as many as it needs.
    pub decimals: Option<usize>,
}

impl Meaning {
    /// What a text means.
    ///
    /// # Errors
    /// It is no value, or cannot be true: in words.
    pub fn read(&self, text: &str) -> Result<Value, String> {
        let text = text.trim();
        if let Some(value) = self.words.read(text)? {
            return Ok(value);
        }
        if self.kind == ValueType::Text {
            return Ok(Value::Text(text.to_owned()));
        }
        if text.is_empty() {
            return Err("the field is empty".into());
        }
        match self.kind {
            ValueType::Text | ValueType::Number => self.decimal(text),
            ValueType::Bool => {
                switch(text).map(Value::Bool).ok_or_else(|| format!("`{}` is neither on nor off", clip(text)))
            }
            ValueType::Hex => {
                let digits = text.strip_prefix("0x").unwrap_or(text);
                let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
                let number = is_hex.then(|| i64::from_str_radix(digits, 16).ok()).flatten();
                let number = number.ok_or_else(|| format!("`{}` is not a number in hexadecimal digits", clip(text)))?;
                self.number.apply_to_whole(number)
            }
            ValueType::Whole => {
                let number = tidy(self.without_unit(text)).parse().ok();
                let number = number.ok_or_else(|| format!("`{}` is not a whole number", clip(text)))?;
                self.number.apply_to_whole(number)
            }
        }
    }

    fn decimal(&self, text: &str) -> Result<Value, String> {
        let bare = self.without_unit(text);
        if !self.comma && bare.contains(',') {
            return Err(format!("`{}` is not a number; `decimal_comma: true` reads a comma", clip(text)));
        }
        // Where fractions stand behind a comma, points part the thousands.
        let spelt = if self.comma { bare.replace('.', "").replace(',', ".") } else { bare.to_owned() };
        let spelt = tidy(&spelt);
        let number = is_decimal(&spelt).then(|| spelt.parse().ok()).flatten();
        self.number.apply(number.ok_or_else(|| format!("`{}` is not a number", clip(text)))?)
    }

    /// A number may be followed by the point's own unit.
    fn without_unit<'t>(&self, text: &'t str) -> &'t str {
        let unit = self.unit.as_ref().map(Unit::as_str).filter(|unit| !unit.is_empty());
        unit.and_then(|unit| text.strip_suffix(unit)).unwrap_or(text).trim_end()
    }

    /// Whether the text of a field is what stands for its value.
    pub fn is_verbatim(&self) -> bool {
        self.words.names.is_empty() && !self.number.changes() && !self.comma && self.kind != ValueType::Hex
    }

    /// The text that stands for a value.
    ///
    /// # Errors
    /// The value cannot be one of this point: in words.
    pub fn spell(&self, value: &Value, spelling: Spelling) -> Result<String, String> {
        let value = single(value)?;
        if let Some(text) = self.words.spell(value, 0.0)? {
            return Ok(text.to_owned());
        }
        match self.kind {
            // A line break in it would be a second command.
            ValueType::Text => one_line(value),
            ValueType::Bool => {
                let on = match value {
                    Value::Bool(on) => Some(*on),
                    other => switch(&other.to_string()),
                };
                on.map(|on| if on { "1" } else { "0" }.to_owned())
                    .ok_or_else(|| format!("`{value}` is neither on nor off"))
            }
            ValueType::Number | ValueType::Whole | ValueType::Hex => self.spell_number(number(value)?, spelling),
        }
    }

    fn spell_number(&self, value: f64, spelling: Spelling) -> Result<String, String> {
        let number = self.number.undo(value);
        let width = spelling.width;
        let text = match (self.kind, spelling.decimals) {
            (ValueType::Number, Some(decimals)) => format!("{number:0width$.decimals$}"),
            (ValueType::Number, None) => format!("{number:0width$}"),
            (kind, _) => {
                // Every whole number up to here is one float.
                const EXACT: f64 = 9_007_199_254_740_992.0;
                if number.fract() != 0.0 || number.abs() > EXACT {
                    return Err(format!("{value} is not a whole number on the device"));
                }
                // It is whole and within the range.
                let whole = number as i64;
                match kind {
                    ValueType::Hex if whole < 0 => return Err(format!("{value} is below 0 on the device")),
                    ValueType::Hex => format!("{whole:0width$X}"),
                    _ => format!("{whole:0width$}"),
                }
            }
        };
        Ok(if self.comma { text.replace('.', ",") } else { text })
    }
}

/// A number without the blanks behind its sign, and without a plus.
fn tidy(text: &str) -> String {
    let bare = text.trim_start_matches(['+', '-']);
    // More than one sign is none.
    match text.strip_suffix(bare) {
        Some("-") => format!("-{}", bare.trim_start()),
        Some("+") => bare.trim_start().to_owned(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn plain(kind: ValueType) -> Meaning {
        Meaning { kind, number: Scaling::default(), words: Words::default(), unit: None, comma: false }
    }

    fn number(text: &str) -> Result<Value, String> {
        plain(ValueType::Number).read(text)
    }

    #[test]
    fn numbers_are_read_as_devices_write_them() {
        for (text, expected) in
            [("21.50", 21.5), ("+  12.345", 12.345), ("- 3", -3.0), ("00012", 12.0), (".5", 0.5), ("1e3", 1000.0)]
        {
            assert_eq!(number(text), Ok(Value::Float(expected)), "{text}");
        }
        for wrong in ["", "nan", "inf", "12a", "1,5", "--3", "+-3", "0x10", "1.2.3", "1e999"] {
            assert!(number(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_comma_and_a_unit_are_understood_where_the_site_file_says_so() {
        let comma = Meaning { comma: true, unit: Some(Unit::from("°C")), ..plain(ValueType::Number) };
        assert_eq!(comma.read("1.021,5 °C"), Ok(Value::Float(1021.5)));
        assert_eq!(comma.read("21,5°C"), Ok(Value::Float(21.5)));
        assert_eq!(comma.spell(&Value::Float(21.5), Spelling::default()), Ok("21,5".into()));
        assert!(number("21.5 °C").is_err());
    }

    #[test]
    fn a_value_that_cannot_be_true_is_none() {
        let limited = Meaning {
            number: Scaling { min: Some(-40.0), max: Some(60.0), ..Scaling::default() },
            words: Words { invalid: vec!["-999".into(), "---".into()], ..Words::default() },
            ..plain(ValueType::Number)
        };
        assert_eq!(limited.read("60"), Ok(Value::Float(60.0)));
        assert_eq!(limited.read("60.1"), Err("60.1 cannot be: it is above 60".into()));
        assert_eq!(limited.read("-41"), Err("-41 cannot be: it is below -40".into()));
        assert_eq!(limited.read(" --- "), Err("the device says `---`, which is no value".into()));
    }

    #[test]
    fn the_other_types_are_what_they_say() {
        let read = |kind, text: &str| plain(kind).read(text);
        assert_eq!(read(ValueType::Whole, "+ 17"), Ok(Value::Int(17)));
        assert!(read(ValueType::Whole, "17.5").is_err());
        assert_eq!(read(ValueType::Hex, "0xFF"), Ok(Value::Int(255)));
        assert!(read(ValueType::Hex, "-1").is_err());
        assert!(read(ValueType::Hex, "").is_err());
        assert_eq!(read(ValueType::Bool, "ON"), Ok(Value::Bool(true)));
        assert!(read(ValueType::Bool, "2").is_err());
        assert_eq!(read(ValueType::Text, " a b "), Ok(Value::Text("a b".into())));
        assert_eq!(read(ValueType::Text, ""), Ok(Value::Text(String::new())));
    }

    #[test]
    fn names_stand_for_values_in_both_directions() {
        let names = vec![("ST".to_owned(), Value::Text("stable".into())), ("US".into(), Value::Text("moving".into()))];
        let meaning = Meaning { words: Words { names, ..Words::default() }, ..plain(ValueType::Text) };
        assert_eq!(meaning.read("ST"), Ok(Value::Text("stable".into())));
        assert_eq!(meaning.read("OL"), Err("`OL` has no name".into()));
        assert_eq!(meaning.spell(&Value::Text("moving".into()), Spelling::default()), Ok("US".into()));
        assert!(meaning.spell(&Value::Text("US".into()), Spelling::default()).unwrap_err().contains("stable, moving"));
        let names = vec![("A".into(), Value::Bool(true))];
        let relay = Meaning { words: Words { names, ..Words::default() }, ..plain(ValueType::Bool) };
        assert_eq!(relay.spell(&Value::Text("on".into()), Spelling::default()), Ok("A".into()));
    }

    #[test]
    fn a_value_is_spelt_so_that_the_device_reads_it() {
        let spell = |meaning: &Meaning, value: f64, width, decimals| {
            meaning.spell(&Value::Float(value), Spelling { width, decimals })
        };
        let scaling = Scaling { scale: Some(0.1), offset: Some(-40.0), ..Scaling::default() };
        let tenths = Meaning { number: scaling, ..plain(ValueType::Number) };
        assert_eq!(spell(&tenths, 21.5, 0, None), Ok("615".into()));
        assert_eq!(tenths.read("615"), Ok(Value::Float(21.5)));
        assert_eq!(spell(&plain(ValueType::Number), 21.456, 7, Some(2)), Ok("0021.46".into()));
        assert_eq!(spell(&plain(ValueType::Whole), 7.0, 3, None), Ok("007".into()));
        assert_eq!(spell(&plain(ValueType::Hex), 255.0, 4, None), Ok("00FF".into()));
        assert!(spell(&plain(ValueType::Whole), 7.5, 0, None).is_err());
        assert!(spell(&plain(ValueType::Number), f64::NAN, 0, None).is_err());
        let text = plain(ValueType::Text);
        assert!(text.spell(&Value::Text("a\r\nRESET".into()), Spelling::default()).is_err());
    }
}
