//! The driver against a real slave: pymodbus, as Debian packs it (`python3-pymodbus` and
//! `python3-serial-asyncio`, which it imports).

#![expect(clippy::unwrap_used, reason = "everything here is a test")]

mod common;

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{start, write};
use serde_json::{Value as Json, json};
use wharf_contract::{Action, CommandError, Done, Health, Quality, Value};

/// The slave, for as long as the test runs.
struct Slave {
    process: Child,
    port: u16,
}

impl Slave {
    fn start() -> Self {
        let python = ["/usr/bin/python3", "python3"].into_iter().find(|python| {
            let check = Command::new(python).args(["-c", "import pymodbus.server"]).stderr(Stdio::null()).status();
            check.is_ok_and(|status| status.success())
        });
        let python = python.expect("this test needs pymodbus: apt-get install python3-pymodbus python3-serial-asyncio");
        let port = wharf_test_support::lab::free_port();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/slave.py");
        let mut process =
            Command::new(python).args([script, &port.to_string()]).stdin(Stdio::piped()).spawn().expect("python runs");
        let deadline = Instant::now() + common::PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(process.try_wait().unwrap().is_none(), "the slave ended");
            assert!(Instant::now() < deadline, "the slave does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { process, port }
    }

    fn link(&self, devices: Json) -> Json {
        json!({ "tcp": format!("127.0.0.1:{}", self.port), "every": "200ms", "devices": devices })
    }

    fn tank(&self, points: Json) -> Json {
        self.link(json!({ "tank": { "unit": 7, "points": points } }))
    }
}

impl Drop for Slave {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn values_of_every_type_and_order_are_read_right() {
    let slave = Slave::start();
    let cases = [
        ("u16", json!({ "holding": 0 }), Value::Int(65_535)),
        ("i16", json!({ "holding": 1, "type": "i16" }), Value::Int(-2)),
        ("u32", json!({ "holding": 2, "type": "u32" }), Value::Int(100_000)),
        ("u32-low", json!({ "holding": 4, "type": "u32", "order": "CDAB" }), Value::Int(100_000)),
        ("f32", json!({ "holding": 6, "type": "f32" }), Value::Float(230.5)),
        ("f32-low", json!({ "holding": 8, "type": "f32", "order": "CDAB" }), Value::Float(230.5)),
        ("f64", json!({ "holding": 10, "type": "f64" }), Value::Float(-0.1)),
        ("u64", json!({ "holding": 14, "type": "u64" }), Value::Int((1 << 40) + 7)),
        ("i64-low", json!({ "holding": 18, "type": "i64", "order": "CDAB" }), Value::Int(-3)),
        ("text", json!({ "holding": 22, "type": "string", "length": 4 }), Value::Text("AB 12".into())),
        ("scaled", json!({ "holding": 30, "type": "i16", "scale": 0.1 }), Value::Float(21.5)),
        ("little", json!({ "holding": 40, "order": "BADC" }), Value::Int(0x1234)),
        ("truth", json!({ "holding": 0, "type": "bool" }), Value::Bool(true)),
        ("huge", json!({ "input": 40, "type": "u64", "order": "CDAB" }), Value::Float(2_f64.powi(63))),
        ("input", json!({ "input": 44 }), Value::Int(7)),
        ("off", json!({ "coil": 3 }), Value::Bool(false)),
        ("on", json!({ "coil": 4 }), Value::Bool(true)),
        ("open", json!({ "discrete": 0 }), Value::Bool(true)),
        ("closed", json!({ "discrete": 1 }), Value::Bool(false)),
    ];
    let points: serde_json::Map<_, _> = cases.iter().map(|(name, point, _)| ((*name).into(), point.clone())).collect();
    let mut driver = start(&slave.tank(points.into()));
    for (name, _, expected) in cases {
        assert_eq!(driver.value("tank", name).await, expected, "{name}");
    }
    driver.health(|health| *health == Health::Online).await;
    driver.stop().await;
}

#[tokio::test]
async fn a_missing_address_is_bad_in_words_and_costs_its_neighbours_nothing() {
    let slave = Slave::start();
    let mut driver = start(&slave.tank(json!({
        "before": { "holding": 33 }, "missing": { "holding": 34 }, "after": { "holding": 35 },
    })));
    let missing = driver.reading("tank", "missing").await;
    assert_eq!(missing.quality, Quality::Bad);
    let words =
        "illegal data address (exception 2): the device has no such register, or the block reaches past one it has";
    assert_eq!(missing.reason.as_deref(), Some(words));
    assert_eq!(driver.value("tank", "before").await, Value::Int(7));
    assert_eq!(driver.value("tank", "after").await, Value::Int(50));
    driver.health(|health| *health == Health::Online).await;
    driver.stop().await;
}

#[tokio::test]
async fn nan_is_a_bad_reading_with_its_reason() {
    let slave = Slave::start();
    let mut driver = start(&slave.tank(json!({ "level": { "holding": 41, "type": "f32", "unit": "m" } })));
    let level = driver.reading("tank", "level").await;
    assert_eq!((level.quality, level.value), (Quality::Bad, None));
    assert!(level.reason.is_some_and(|reason| reason.contains("NaN")));
    assert_eq!(level.unit, Some("m".into()));
    driver.stop().await;
}

#[tokio::test]
async fn writes_reach_the_device_and_are_verified() {
    let slave = Slave::start();
    let mut driver = start(&slave.tank(json!({
        "valve": { "coil": 3, "write": {} },
        "setpoint": { "holding": 30, "type": "i16", "scale": 0.1, "write": { "min": 5, "max": 80, "verify": true } },
        "target": { "holding": 31, "type": "f32", "write": {} },
        "stubborn": { "holding": 35, "write": {} },
        "wide": { "holding": 44, "type": "u32", "write": {} },
        "label": { "holding": 36, "type": "string", "length": 4, "write": {} },
    })));
    let held = |value: Value| Ok(Done { written: Some(value.clone()), observed: Some(value), note: None });

    assert_eq!(driver.command("tank", "valve", write("on", true)).await, held(Value::Bool(true)));
    assert_eq!(
        driver.command("tank", "setpoint", write(-2.0, true)).await.unwrap_err().to_string(),
        "refused: -2 is below the minimum 5"
    );
    assert_eq!(driver.command("tank", "setpoint", write(60.04, true)).await, held(Value::Float(60.0)));
    assert_eq!(driver.command("tank", "target", write(1.25, true)).await, held(Value::Float(1.25)));
    assert_eq!(driver.command("tank", "label", write("boiler", true)).await, held(Value::Text("boiler".into())));
    // A single register is confirmed with what it holds, several only with their number.
    for verify in [true, false] {
        let answer = driver.command("tank", "stubborn", write(500, verify)).await;
        assert_eq!(answer, Err(CommandError::NotHeld { written: Value::Int(500), observed: Value::Int(100) }));
    }
    let clamped = driver.command("tank", "wide", write(0xFF_0000, true)).await;
    assert_eq!(clamped, Err(CommandError::NotHeld { written: Value::Int(0xFF_0000), observed: Value::Int(100 << 16) }));
    assert_eq!(
        driver.command("tank", "stubborn", write(60, false)).await,
        Ok(Done { written: Some(Value::Int(60)), observed: None, note: None }),
    );
    assert_eq!(
        driver.command("tank", "stubborn", Action::Read).await,
        Ok(Done { written: None, observed: Some(Value::Int(60)), note: None }),
    );
    driver.stop().await;
}

#[tokio::test]
async fn neighbours_are_written_together_and_bits_by_themselves() {
    let slave = Slave::start();
    let mut driver = start(&slave.tank(json!({
        "valve": { "coil": 3, "write": {} },
        "pump": { "coil": 4, "write": {} },
        "setpoint": { "holding": 30, "type": "i16", "scale": 0.1, "write": {} },
        "target": { "holding": 31, "type": "f32", "write": {} },
        "alarm": { "holding": 33, "bit": 3, "write": {} },
        "status": { "holding": 33 },
    })));
    assert_eq!(driver.value("tank", "status").await, Value::Int(7));
    let together = [
        ("target", write(2.5, true)),
        ("valve", write(true, true)),
        ("setpoint", write(42, true)),
        ("pump", write(false, true)),
    ];
    let mut answers = Vec::new();
    for (index, (point, action)) in together.into_iter().enumerate() {
        let deadline = tokio::time::Instant::now() + common::PATIENCE;
        let (mut command, answer) = wharf_contract::Command::new("tank".into(), point.into(), action, deadline);
        command.more_follow = index < 3;
        driver.end.commands.try_send(command).unwrap();
        answers.push(answer);
    }
    let held = |value: Value| Ok(Done { written: Some(value.clone()), observed: Some(value), note: None });
    let expected = [Value::Float(2.5), Value::Bool(true), Value::Float(42.0), Value::Bool(false)];
    for (answer, expected) in answers.into_iter().zip(expected) {
        assert_eq!(answer.wait().await, held(expected));
    }
    assert_eq!(driver.command("tank", "alarm", write(true, true)).await, held(Value::Bool(true)));
    let status = driver.command("tank", "status", Action::Read).await.unwrap();
    assert_eq!(status.observed, Some(Value::Int(0b1111)));
    driver.stop().await;
}

#[tokio::test]
async fn a_write_that_cannot_be_right_is_refused_before_it_is_sent() {
    let slave = Slave::start();
    let mut driver = start(&slave.tank(json!({
        "shut": { "holding": 33 },
        "open": { "holding": 35, "write": {} },
        "missing": { "holding": 34, "write": {} },
    })));
    let mut refusal = async |point, value: Json| driver.command("tank", point, write(value, false)).await.unwrap_err();
    assert_eq!(refusal("shut", json!(1)).await.to_string(), "refused: tank/shut is not open for writing");
    assert_eq!(refusal("open", json!(65_536)).await.to_string(), "refused: 65536 does not fit 0 to 65535");
    assert_eq!(refusal("nowhere", json!(1)).await.to_string(), "refused: tank/nowhere is not known here");
    let words = refusal("missing", json!(1)).await.to_string();
    assert!(
        words.starts_with("refused: illegal data address (exception 2): the device has no such register"),
        "{words}"
    );
    assert_eq!(driver.command("tank", "shut", Action::Read).await.unwrap().observed, Some(Value::Int(7)));
    driver.stop().await;
}

#[tokio::test]
async fn a_silent_device_is_told_once_and_its_neighbours_keep_their_rhythm() {
    let slave = Slave::start();
    let point = json!({ "number": { "holding": 33 } });
    let mut link = slave.link(json!({
        "tank": { "unit": 7, "points": point }, "gone": { "unit": 99, "points": point }, "pump": { "unit": 8, "points": point },
    }));
    link["timeout"] = json!("500ms");
    let mut driver = start(&link);

    let (alive, reason) = driver.device("gone").await;
    assert!(!alive);
    assert_eq!(reason.as_deref(), Some("no answer within 500ms"));
    let health = driver.health(|health| matches!(health, Health::Degraded(_))).await;
    assert_eq!(health.reason(), Some("gone does not answer: no answer within 500ms"));
    assert_eq!(driver.reading("gone", "number").await.quality, Quality::Bad);
    // The silent device is left alone for nine timeouts, then eighteen. If it were asked in every
    // round, each reading of the others would come a whole timeout after the one before.
    let mut late = 0;
    let mut before = driver.reading("tank", "number").await.taken_at;
    for _ in 0..20 {
        assert_eq!(driver.value("pump", "number").await, Value::Int(8));
        let reading = driver.reading("tank", "number").await;
        late += usize::from(reading.taken_at.duration_since(before).unwrap() >= Duration::from_millis(500));
        before = reading.taken_at;
    }
    assert!(late <= 5, "{late} of 20 readings were late");
    driver.stop().await;
}
