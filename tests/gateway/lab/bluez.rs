//! A pretended BlueZ on a bus of its own: `tests/lab/ble/mock_bluez.py`, which steers its sensors.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value as Json;
use wharf_test_support::lab;

/// A running pretence; it ends when its standard input closes, so it never outlives the test.
pub struct Bluez {
    /// Where its bus is.
    pub address: String,
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Bluez {
    /// Starts it; `None`, and said, where Python lacks what it needs and cannot get it.
    pub fn start() -> Option<Self> {
        let mut child = Command::new(lab::python("ble")?)
            .arg(lab::folder("ble").join("mock_bluez.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        let address = answer(&mut answers)["address"].as_str().unwrap().to_owned();
        Some(Self { address, child, answers })
    }

    /// One line of control, see the head of `mock_bluez.py`.
    pub fn tell(&mut self, line: &str) -> Json {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
        let answer = answer(&mut self.answers);
        assert_eq!(answer["ok"], true, "{line}: {answer}");
        answer
    }
}

fn answer(answers: &mut impl BufRead) -> Json {
    let mut line = String::new();
    answers.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

impl Drop for Bluez {
    fn drop(&mut self) {
        // It takes its bus with it only if it can end by itself.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
