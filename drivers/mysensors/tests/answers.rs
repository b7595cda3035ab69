//! The answers of an independent controller, reproduced in the role `local`: see `vectors/NOTICE`.
//!
//! The rows of one test are replayed in order on one network. What came before the first row is not
//! recorded (rows that repeat a line and its answer were left out), so each row's answer also tells
//! what must have been known by then: the version of the gateway, the numbers in use, the units, the
//! time, the value.

#![expect(clippy::unwrap_used, reason = "in a test's helpers too, an unwrap is the assertion")]

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value as Json;
use tokio::time::Instant;
use wharf_mysensors::controller::{Controller, Now, Role, Rules, Step, Units};
use wharf_mysensors::message::{Command, Message};
use wharf_mysensors::registry::Registry;
use wharf_mysensors::registry::names::NameSource;
use wharf_mysensors::types;
use wharf_mysensors::zone::Zone;

/// The rows by test, in order.
fn tests() -> BTreeMap<String, Vec<Json>> {
    let mut tests: BTreeMap<String, Vec<Json>> = BTreeMap::new();
    for row in include_str!("vectors/lines.jsonl").lines() {
        let row: Json = serde_json::from_str(row).unwrap();
        tests.entry(row["test"].as_str().unwrap().to_owned()).or_default().push(row);
    }
    tests
}

/// Whether a row says what nobody can know from the rows.
fn is_beyond_the_lines(test: &str, line: &Message, answer: Option<&Message>) -> bool {
    // Which firmware is for which node: tested where firmware is.
    line.command == Command::Stream
        // Its clock is set to 1973, and one that was not set is told to nobody.
        || answer.is_some_and(|answer| answer.kind == types::TIME && answer.payload == "123456789")
        // A person has told the library to restart the node when it speaks.
        || answer.is_some_and(|answer| answer.command == Command::Internal && answer.kind == REBOOT)
        // The library keeps the answer back for a node that sleeps, until the next time it wakes. A
        // node that asks is awake, so here it is answered at once.
        || (line.command == Command::Req && test.contains("::test_smartsleep["))
}

const REBOOT: u8 = 13;

/// A network in the state that a row implies.
struct Network {
    registry: Registry,
    clock: Instant,
}

impl Network {
    fn new(version: &str) -> Self {
        let mut registry = Registry::new("garden", NameSource::Numbers);
        registry.hear(&message(&format!("0;255;3;0;2;{version}")), UNIX_EPOCH);
        Self { registry, clock: Instant::now() }
    }

    /// What the controller says to the line, given what the answer implies.
    fn said(&mut self, line: &Message, answer: Option<&Message>) -> Vec<Message> {
        let (mut rules, mut time) = (Rules::of(Role::Local), UNIX_EPOCH);
        match (line.command, line.kind, answer) {
            (Command::Internal, types::ID_REQUEST, Some(answer)) => {
                (1..answer.payload.parse().unwrap()).for_each(|node| self.know(node));
            }
            (Command::Internal, types::ID_REQUEST, None) => (1..=254).for_each(|node| self.know(node)),
            (Command::Internal, types::CONFIG, Some(answer)) if answer.payload == "I" => rules.units = Units::Imperial,
            (Command::Internal, types::TIME, Some(answer)) => {
                time = UNIX_EPOCH + Duration::from_secs(answer.payload.parse().unwrap());
            }
            (Command::Req, _, Some(answer)) => {
                self.registry.wrote(line.node, line.child, line.kind, &answer.payload);
            }
            _ => {}
        }
        // Long enough for whatever is said only so often.
        self.clock += Duration::from_secs(7200);
        let now = Now { clock: self.clock, time };
        let was_known = self.registry.node(line.node).is_some();
        self.registry.hear(line, time);
        let steps = Controller::new(rules, Zone::Fixed(0)).hear(line, was_known, &mut self.registry, now);
        let said = steps.into_iter().filter_map(|step| match step {
            Step::Say(message) | Step::SayWhenStored(message) => Some(message),
            Step::Tell(_) => None,
        });
        said.collect()
    }

    fn know(&mut self, node: u8) {
        if self.registry.node(node).is_none() {
            self.registry.hear(&message(&format!("{node};255;0;0;17;2.0")), SystemTime::UNIX_EPOCH);
        }
    }
}

fn message(line: &str) -> Message {
    Message::parse(line.as_bytes()).unwrap()
}

#[test]
fn every_recorded_answer_is_given_and_no_other() {
    let (mut reproduced, mut silent, mut beyond) = (0, 0, 0);
    for (name, rows) in tests() {
        let mut network = Network::new(rows[0]["protocol_version"].as_str().unwrap());
        for row in &rows {
            let Ok(line) = Message::parse(row["line"].as_str().unwrap().as_bytes()) else { continue };
            let answer = row["answer"].as_str().map(message);
            let mut said = network.said(&line, answer.as_ref());
            if is_beyond_the_lines(&name, &line, answer.as_ref()) {
                beyond += 1;
                continue;
            }
            // The library sends this one beside its answers, so no row has it.
            said.retain(|said| (said.command, said.kind) != (Command::Internal, types::PRESENT));
            assert_eq!(said, answer.clone().into_iter().collect::<Vec<_>>(), "{name}: {line}");
            if answer.is_some() { reproduced += 1 } else { silent += 1 }
        }
    }
    assert_eq!((reproduced, beyond), (44, 33));
    assert!(silent > 350, "{silent}");
}

/// What the library sends beside its answers stands in the names of some of its tests.
#[test]
fn a_node_is_asked_to_present_itself_where_the_library_asks_it() {
    let mut asked = 0;
    for (name, rows) in tests() {
        let Some((_, expected)) = name.split_once("non_presented_sensor[") else { continue };
        let version = rows[0]["protocol_version"].as_str().unwrap();
        for row in &rows {
            let line = message(row["line"].as_str().unwrap());
            let said = Network::new(version).said(&line, None);
            let questions: Vec<_> = said.iter().map(Message::to_string).collect();
            if expected.contains("None") {
                assert_eq!(questions, [""; 0], "{name}: {line}");
            } else {
                assert_eq!(questions, ["1;255;3;0;19;"], "{name}: {line}");
                asked += 1;
            }
        }
    }
    assert!(asked >= 4, "{asked}");
}
