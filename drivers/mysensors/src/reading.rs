//! Messages from the network, turned into readings.

use std::sync::Arc;
use std::time::SystemTime;

use wharf_contract::{Labels, Quality, Reading, Value};

use crate::message::{Command, Message};
use crate::nodes::Nodes;
use crate::registry::Registry;
use crate::types::{self, Kind, Type};
use crate::values;

/// The reading a message is. Echoes, log lines and the gateway's word about itself are none, and
/// are the session's to keep back.
pub fn reading(nodes: &Nodes, registry: &Registry, message: &Message, taken_at: SystemTime) -> Reading {
    let row = row(message);
    let payload = upstream_payload(message);
    let (value, reason) = match values::decode(row.map_or(Kind::Text, |row| row.kind), &payload) {
        Ok(value) => (Some(value), None),
        Err(reason) => (None, Some(Arc::from(reason))),
    };
    Reading {
        device: nodes.device(message.node, registry),
        point: nodes.point(message, registry),
        quality: if value.is_some() { Quality::Good } else { Quality::Bad },
        value,
        verbatim: Some(payload.into()),
        unit: row.and_then(|row| nodes.unit(row)),
        reason,
        taken_at,
        labels: labels(message),
    }
}

/// The value in a `set` message, if it makes sense.
///
/// # Errors
/// Says in words why it does not.
pub fn value(message: &Message) -> Result<Value, String> {
    values::decode(row(message).map_or(Kind::Text, |row| row.kind), &upstream_payload(message))
}

/// What describes the payload. Presentations, requests and streams carry no value, so their
/// payload is text whatever their type says.
fn row(message: &Message) -> Option<&'static Type> {
    match message.command {
        Command::Set => types::value_type(message.kind),
        Command::Internal => types::internal_type(message.kind),
        Command::Presentation | Command::Req | Command::Stream => None,
    }
}

/// The payload as consumers expect it. The C library writes a position with semicolons, while
/// Home Assistant takes commas only.
fn upstream_payload(message: &Message) -> String {
    if message.command == Command::Set && message.kind == types::POSITION {
        message.payload.replace(';', ",")
    } else {
        message.payload.clone()
    }
}

fn labels(message: &Message) -> Labels {
    Labels::new([
        ("node", message.node.to_string()),
        ("child", message.child.to_string()),
        ("command", message.command.number().to_string()),
        ("ack", u8::from(message.ack).to_string()),
        ("type", message.kind.to_string()),
    ])
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use wharf_contract::Unit;

    use super::*;

    fn read(line: &str) -> Reading {
        let nodes = Nodes::new("garden".into(), HashMap::new(), Vec::new());
        reading(&nodes, &Registry::default(), &Message::parse(line.as_bytes()).unwrap(), SystemTime::UNIX_EPOCH)
    }

    fn check(line: &str, value: Value, unit: Option<&str>) {
        let reading = read(line);
        assert_eq!((reading.value, reading.quality), (Some(value), Quality::Good), "{line}");
        assert_eq!(reading.unit.as_ref().map(Unit::as_str), unit, "{line}");
    }

    #[test]
    fn values_are_typed_and_have_their_unit() {
        check("2;1;1;0;0;21.50", Value::Float(21.5), Some("°C"));
        check("2;1;1;0;1;60", Value::Float(60.0), Some("%"));
        check("2;1;1;0;4;1013.2", Value::Float(1013.2), Some("hPa"));
        check("2;1;1;0;18;1234.567", Value::Float(1_234.567), Some("kWh"));
        check("2;1;1;0;2;1", Value::Bool(true), None);
        check("2;1;1;0;16;0", Value::Bool(false), None);
        check("2;1;1;0;47;hello; world", Value::Text("hello; world".into()), None);
        check("2;255;3;0;0;87", Value::Int(87), Some("%"));
        check("2;255;3;0;22;123465", Value::Int(123_465), Some("ms"));
        check("2;255;3;0;11;Soil", Value::Text("Soil".into()), None);
        check("2;1;2;0;0;", Value::Text(String::new()), None);
        check("2;255;4;0;0;01000200", Value::Text("01000200".into()), None);
        check("2;1;1;0;200;what is it", Value::Text("what is it".into()), None);
    }

    #[test]
    fn the_payload_is_kept_as_it_was_sent() {
        assert_eq!(read("2;1;1;0;0;21.50").verbatim.as_deref(), Some("21.50"));
    }

    #[test]
    fn a_position_goes_north_with_commas() {
        for line in ["2;1;1;0;49;55.722526;13.017972;18", "2;1;1;0;49;55.722526,13.017972,18"] {
            check(line, Value::Text("55.722526,13.017972,18".into()), None);
            assert_eq!(read(line).verbatim.as_deref(), Some("55.722526,13.017972,18"));
        }
    }

    #[test]
    fn a_payload_that_does_not_fit_makes_a_bad_reading_that_keeps_it() {
        let reading = read("2;255;3;0;0;-1");
        assert_eq!((reading.quality, reading.value), (Quality::Bad, None));
        assert_eq!(reading.reason.as_deref(), Some("-1 is not a percentage from 0 to 100"));
        assert_eq!(reading.verbatim.as_deref(), Some("-1"));
    }

    #[test]
    fn the_labels_are_the_numbers_of_the_line() {
        let reading = read("2;1;1;0;49;55.722526,13.017972,18");
        let labels: Vec<_> = reading.labels.iter().collect();
        assert_eq!(labels, [("node", "2"), ("child", "1"), ("command", "1"), ("ack", "0"), ("type", "49")]);
    }
    /// The recorded lines of the pymysensors tests whose names begin so.
    fn recorded(test: &str) -> Vec<String> {
        let rows = include_str!("../tests/vectors/lines.jsonl").lines();
        let rows = rows.map(|row| serde_json::from_str::<serde_json::Value>(row).unwrap());
        let of_test = rows.filter(|row| row["test"].as_str().unwrap().starts_with(test));
        of_test.map(|row| row["line"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn every_value_that_pymysensors_takes_is_good() {
        for test in ["test_message.py::test_validate_set[", "test_message.py::test_validate_internal["] {
            let lines = recorded(test);
            assert!(lines.len() > 30, "{test}");
            for line in lines {
                assert_eq!(read(&line).quality, Quality::Good, "{line}");
            }
        }
    }

    #[test]
    fn what_pymysensors_refuses_is_bad() {
        let tests = ["bad_battery_level", "bad_heartbeat_value", "set_rgb", "set_position"];
        let lines: Vec<_> =
            tests.iter().flat_map(|test| recorded(&format!("test_mysensors.py::test_{test}"))).collect();
        // What these tests send beside the bad values.
        let good = ["40;ffffff", "41;ffffffff", "49;10.0,10.0,10.0"];
        let bad = lines.iter().filter(|line| !good.iter().any(|good| line.trim_end().ends_with(&format!(";{good}"))));
        assert_eq!(bad.clone().count(), 17);
        for line in bad {
            assert_eq!(read(line).quality, Quality::Bad, "{line}");
        }
    }
}
