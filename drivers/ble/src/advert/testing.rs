//! What the tests of the formats share.

use wharf_contract::Value;

use super::{Advert, Frame, Key, Outcome, Refusal, Uuid};

pub(crate) fn hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "{text}");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

pub(crate) fn key(text: &str) -> Key {
    text.parse().unwrap()
}

/// An advertisement that carries nothing yet.
pub(crate) fn advert(address: &str) -> Advert {
    Advert::new(address.parse().unwrap())
}

impl Advert {
    pub(crate) fn with_service(mut self, short: u16, data: &str) -> Self {
        self.service_data.insert(Uuid::short(short), hex(data));
        self
    }

    pub(crate) fn with_company(mut self, id: u16, data: &str) -> Self {
        self.manufacturer_data.insert(id, hex(data));
        self
    }

    pub(crate) fn with_name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }
}

#[track_caller]
pub(crate) fn heard(outcome: Outcome) -> Frame {
    match outcome {
        Outcome::Heard(frame) => frame,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
pub(crate) fn refused(outcome: Outcome) -> Refusal {
    match outcome {
        Outcome::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

/// The values on one line: `temperature 25.06 °C, humidity (the sensor has no value)`.
pub(crate) fn values(frame: &Frame) -> String {
    let one = |datum: &super::Datum| {
        let value = match &datum.value {
            Ok(Value::Bool(on)) => on.to_string(),
            Ok(Value::Int(number)) => number.to_string(),
            Ok(Value::Float(number)) => number.to_string(),
            Ok(Value::Text(text)) => text.clone(),
            Ok(list) => format!("{list:?}"),
            Err(absent) => return format!("{} ({absent})", datum.point),
        };
        format!("{} {value} {}", datum.point, datum.unit).trim_end().to_owned()
    };
    frame.values.iter().map(one).collect::<Vec<_>>().join(", ")
}
