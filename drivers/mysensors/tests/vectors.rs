//! Lines recorded from the test suite of pymysensors, an independent controller: see
//! `vectors/NOTICE`.

#![expect(clippy::unwrap_used, reason = "in a test's helpers too, an unwrap is the assertion")]

use serde_json::Value;
use wharf_mysensors::message::Message;

fn rows() -> Vec<Value> {
    let text = include_str!("vectors/lines.jsonl");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Checks a line against its recorded fields; says whether it was a message.
fn check(line: &str, fields: &Value) -> bool {
    let Ok(message) = Message::parse(line.as_bytes()) else {
        assert!(fields["node"].is_null(), "{line:?} was read by pymysensors as {fields}");
        return false;
    };
    let read = serde_json::json!({
        "node": message.node,
        "child": message.child,
        "command": message.command.number(),
        "ack": u8::from(message.ack),
        "type": message.kind,
        "payload": message.payload,
    });
    assert_eq!(read, *fields, "{line:?}");
    assert_eq!(message.to_line().trim_end(), line.trim_end(), "and it is written as it was read");
    true
}

#[test]
fn every_recorded_line_is_read_as_pymysensors_reads_it() {
    let rows = rows();
    let read = rows.iter().filter(|row| check(row["line"].as_str().unwrap(), &row["parsed"])).count();
    assert!(read > 100, "only {read} of {} lines were messages", rows.len());
}

#[test]
fn every_answer_of_the_controller_is_a_message_too() {
    let answers = rows().into_iter().filter(|row| !row["answer"].is_null());
    let read = answers.filter(|row| check(row["answer"].as_str().unwrap(), &row["answer_parsed"])).count();
    assert!(read > 10, "only {read} answers were messages");
}
