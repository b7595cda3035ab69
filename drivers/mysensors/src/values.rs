//! Payloads to values, and values to payloads, by the kind of their type.
//!
//! The kind of a value never depends on how one payload happens to be spelt: a `V_TEMP` of `20` and
//! one of `20.5` are both floats, so what reads them further north needs to know one shape only.

use wharf_contract::Value;

use crate::types::Kind;

/// The longest payload that fits a radio frame, in bytes.
pub const LONGEST_PAYLOAD: usize = 25;

/// What a payload says.
///
/// # Errors
/// Says in words why the payload does not fit its kind, or cannot be true.
pub fn decode(kind: Kind, payload: &str) -> Result<Value, String> {
    // The Arduino way to print a number pads it with spaces.
    let trimmed = payload.trim();
    match kind {
        Kind::Switch => match trimmed {
            "0" => Ok(Value::Bool(false)),
            "1" => Ok(Value::Bool(true)),
            _ => Err(format!("`{payload}` is neither 0 nor 1")),
        },
        Kind::Number => number(trimmed).map(Value::Float),
        Kind::Within(low, high) => {
            let number = number(trimmed)?;
            if !(low..=high).contains(&number) {
                return Err(format!("{number} cannot be: such a value lies between {low} and {high}"));
            }
            Ok(Value::Float(number))
        }
        Kind::Word(words) => match words.contains(&trimmed) {
            true => Ok(Value::Text(trimmed.into())),
            false => Err(format!("`{payload}` is none of {}", words.join(", "))),
        },
        Kind::Percent => {
            let percent = number(trimmed)?;
            if !(0.0..=100.0).contains(&percent) {
                return Err(not_a_percentage(payload));
            }
            Ok(Value::Float(percent))
        }
        Kind::WholePercent => match trimmed.parse() {
            Ok(percent @ 0..=100) => Ok(Value::Int(percent)),
            Ok(_) => Err(not_a_percentage(payload)),
            Err(_) => Err(format!("`{payload}` is not a whole number")),
        },
        Kind::Count => match trimmed.parse() {
            Ok(count @ 0..) => Ok(Value::Int(count)),
            _ => Err(format!("`{payload}` is not a whole number from 0")),
        },
        Kind::Hex(digits) => {
            if payload.len() != digits || !payload.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(format!("`{payload}` is not {digits} hexadecimal digits"));
            }
            Ok(Value::Text(payload.into()))
        }
        Kind::Position => {
            let numbers = payload.split(',').map(|part| number(part.trim()));
            if numbers.collect::<Result<Vec<_>, _>>().is_ok_and(|numbers| numbers.len() == 3) {
                Ok(Value::Text(trimmed.into()))
            } else {
                Err(format!("`{payload}` is not latitude,longitude,altitude"))
            }
        }
        Kind::Text => Ok(Value::Text(payload.into())),
    }
}

/// The payload that writes a value, as the node will be sent it.
///
/// # Errors
/// Says in words why the value cannot be written to a point of this kind.
pub fn encode(kind: Kind, value: &Value) -> Result<String, String> {
    let payload = match (kind, value) {
        (_, Value::List(_)) => return Err(format!("`{value}` is a list, and this point holds one value")),
        (Kind::Switch, _) => match switch(value) {
            Some(on) => digit(on).into(),
            None => return Err(format!("`{value}` is neither on nor off")),
        },
        (Kind::Text, Value::Bool(on)) => digit(*on).into(),
        (_, Value::Bool(_)) => return Err(format!("`{value}` is on or off, and this point is neither")),
        (Kind::Text, _) => value.to_string(),
        _ => value.to_string().trim().to_owned(),
    };
    if payload.chars().any(char::is_control) {
        return Err("the text holds a line break or another control character".into());
    }
    if payload.len() > LONGEST_PAYLOAD {
        let length = payload.len();
        return Err(format!("the value takes {length} bytes, and a node is sent at most {LONGEST_PAYLOAD}"));
    }
    decode(kind, &payload)?;
    Ok(payload)
}

fn number(text: &str) -> Result<f64, String> {
    // Rust reads `nan` and `inf` as numbers, and some sensors send just these when they fail.
    text.parse().ok().filter(|number: &f64| number.is_finite()).ok_or_else(|| format!("`{text}` is not a number"))
}

fn not_a_percentage(payload: &str) -> String {
    format!("{} is not a percentage from 0 to 100", payload.trim())
}

fn switch(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(on) => Some(*on),
        Value::Text(text) => match text.to_ascii_lowercase().as_str() {
            "1" | "true" | "on" => Some(true),
            "0" | "false" | "off" => Some(false),
            _ => None,
        },
        Value::Int(_) | Value::Float(_) => match value.as_f64() {
            Some(0.0) => Some(false),
            Some(1.0) => Some(true),
            _ => None,
        },
        Value::List(_) => None,
    }
}

fn digit(on: bool) -> &'static str {
    if on { "1" } else { "0" }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types;

    fn reads(kind: Kind, payload: &str, expected: Result<Value, &str>) {
        assert_eq!(decode(kind, payload), expected.map_err(str::to_owned), "{kind:?} {payload:?}");
    }

    fn writes(kind: Kind, value: Value, expected: Result<&str, &str>) {
        let got = encode(kind, &value);
        assert_eq!(got.as_deref(), expected.map_err(str::to_owned).as_deref(), "{kind:?} {value:?}");
    }

    #[test]
    fn numbers_are_floats_however_they_are_spelt() {
        reads(Kind::Number, "21.5", Ok(Value::Float(21.5)));
        reads(Kind::Number, "20", Ok(Value::Float(20.0)));
        reads(Kind::Number, " -5.25 ", Ok(Value::Float(-5.25)));
        reads(Kind::Number, "nan", Err("`nan` is not a number"));
        reads(Kind::Number, "-inf", Err("`-inf` is not a number"));
        reads(Kind::Number, "1e999", Err("`1e999` is not a number"));
        reads(Kind::Number, "21,5", Err("`21,5` is not a number"));
        reads(Kind::Number, "", Err("`` is not a number"));
    }

    #[test]
    fn percentages_beyond_their_range_are_refused() {
        reads(Kind::Percent, "0", Ok(Value::Float(0.0)));
        reads(Kind::Percent, "99.5", Ok(Value::Float(99.5)));
        reads(Kind::Percent, "100.1", Err("100.1 is not a percentage from 0 to 100"));
        reads(Kind::WholePercent, "87", Ok(Value::Int(87)));
        reads(Kind::WholePercent, "-1", Err("-1 is not a percentage from 0 to 100"));
        reads(Kind::WholePercent, "full", Err("`full` is not a whole number"));
        reads(Kind::Count, "123456", Ok(Value::Int(123_456)));
        reads(Kind::Count, "-1", Err("`-1` is not a whole number from 0"));
    }

    #[test]
    fn a_switch_is_0_or_1_and_nothing_else() {
        reads(Kind::Switch, "1", Ok(Value::Bool(true)));
        reads(Kind::Switch, "0", Ok(Value::Bool(false)));
        reads(Kind::Switch, "2", Err("`2` is neither 0 nor 1"));
        reads(Kind::Switch, "", Err("`` is neither 0 nor 1"));
    }

    #[test]
    fn colours_and_positions_have_a_shape() {
        reads(Kind::Hex(6), "ffAA00", Ok(Value::Text("ffAA00".into())));
        reads(Kind::Hex(6), "ffaa0", Err("`ffaa0` is not 6 hexadecimal digits"));
        reads(Kind::Hex(6), "nothex", Err("`nothex` is not 6 hexadecimal digits"));
        reads(Kind::Position, "55.7,13,18", Ok(Value::Text("55.7,13,18".into())));
        reads(Kind::Position, "bad,format", Err("`bad,format` is not latitude,longitude,altitude"));
        reads(Kind::Position, "55.7,13", Err("`55.7,13` is not latitude,longitude,altitude"));
    }

    #[test]
    fn what_means_on_or_off_is_written_as_1_or_0() {
        for on in [Value::Bool(true), Value::Int(1), Value::Float(1.0), Value::Text("ON".into())] {
            writes(Kind::Switch, on, Ok("1"));
        }
        for off in [Value::Bool(false), Value::Int(0), Value::Text("false".into())] {
            writes(Kind::Switch, off, Ok("0"));
        }
        writes(Kind::Switch, Value::Int(2), Err("`2` is neither on nor off"));
        writes(Kind::Switch, Value::Text("open".into()), Err("`open` is neither on nor off"));
        writes(Kind::Number, Value::Bool(true), Err("`true` is on or off, and this point is neither"));
    }

    #[test]
    fn a_value_that_does_not_fit_is_not_written() {
        writes(Kind::Percent, Value::Int(60), Ok("60"));
        writes(Kind::Percent, Value::Float(101.0), Err("101 is not a percentage from 0 to 100"));
        writes(Kind::Number, Value::Float(21.5), Ok("21.5"));
        writes(Kind::Number, Value::Text(" 21.50\n".into()), Ok("21.50"));
        writes(Kind::Number, Value::Float(f64::NAN), Err("`NaN` is not a number"));
        writes(Kind::Number, Value::Text("warm".into()), Err("`warm` is not a number"));
        writes(Kind::Text, Value::Text("håll".into()), Ok("håll"));
        let list = Value::List(vec![Value::Int(1)]);
        writes(Kind::Text, list, Err("`[1]` is a list, and this point holds one value"));
        writes(Kind::Text, Value::Text("a\nb".into()), {
            Err("the text holds a line break or another control character")
        });
        writes(Kind::Text, Value::Text("ä".repeat(13)), {
            Err("the value takes 26 bytes, and a node is sent at most 25")
        });
    }

    /// What no sensor can mean, by the number of its value type; the others take any text.
    #[test]
    fn no_value_type_takes_what_cannot_be() {
        let absurd = [
            (0, "-300"),
            (1, "300"),
            (2, "on"),
            (3, "-1"),
            (4, "-5"),
            (5, "rainy"),
            (6, "-1"),
            (7, "1e9"),
            (8, "-3"),
            (9, "900"),
            (10, "361"),
            (11, "-1"),
            (12, "heavy"),
            (13, "-0.5"),
            (14, "-1"),
            (15, "2"),
            (16, "yes"),
            (17, "nan"),
            (18, "1e30"),
            (21, "Warm"),
            (22, "2"),
            (23, "100.5"),
            (34, "inf"),
            (35, "-1"),
            (36, ""),
            (37, "wet"),
            (38, "1e10"),
            (39, "1,5"),
            (40, "12345"),
            (41, "1234567"),
            (44, "5000"),
            (45, "-274"),
            (46, "Off"),
            (49, "1,2"),
            (51, "17"),
            (52, "1e6"),
            (53, "-1"),
            (54, "x"),
            (55, ""),
            (56, "1.01"),
            (58, "101"),
        ];
        for (number, payload) in absurd {
            let row = types::value_type(number).unwrap();
            assert!(decode(row.kind, payload).is_err(), "{} of {payload}", row.name);
        }
        for row in types::VALUES.iter().filter(|row| !absurd.iter().any(|(number, _)| *number == row.number)) {
            assert_eq!(row.kind, Kind::Text, "{} is not checked", row.name);
        }
    }

    #[test]
    fn words_and_limits_are_said_to_whoever_is_refused() {
        reads(Kind::Within(0.0, 360.0), "361", Err("361 cannot be: such a value lies between 0 and 360"));
        reads(Kind::Within(0.0, 360.0), " 180", Ok(Value::Float(180.0)));
        reads(Kind::Word(&["Off", "HeatOn"]), "HeatOn", Ok(Value::Text("HeatOn".into())));
        writes(Kind::Word(&["Off", "HeatOn"]), Value::Text("Warm".into()), Err("`Warm` is none of Off, HeatOn"));
    }

    proptest! {
        #[test]
        fn a_number_that_can_be_written_is_read_back_exactly(number: f64) {
            if let Ok(payload) = encode(Kind::Number, &Value::Float(number)) {
                prop_assert_eq!(decode(Kind::Number, &payload), Ok(Value::Float(number)));
            }
        }

        #[test]
        fn no_payload_upsets_it(payload in ".{0,40}") {
            for kind in [Kind::Switch, Kind::Number, Kind::Percent, Kind::Hex(8), Kind::Position, Kind::Count] {
                if let Ok(Value::Float(number)) = decode(kind, &payload) {
                    prop_assert!(number.is_finite());
                }
            }
        }
    }
}
