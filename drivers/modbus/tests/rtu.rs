//! The driver on a serial bus: a line with real timing, and slaves made with libmodbus
//! (`libmodbus-dev` and a C compiler).

#![expect(clippy::unwrap_used, reason = "everything here is a test")]

mod common;
#[path = "../src/wire/lab.rs"]
mod lab;

use common::{PATIENCE, start, write};
use lab::{Lab, Slave};
use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use serde_json::{Value as Json, json};
use tokio::time::{Instant, timeout, timeout_at};
use wharf_contract::{Action, Done, DriverError, Event, Quality, Value};

fn link(lab: &Lab, more: Json) -> Json {
    let mut link = json!({ "serial": lab.port("a"), "baud": 19_200, "every": "100ms", "timeout": "500ms" });
    link.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    link
}

fn register(unit: u8, number: u16) -> Value {
    let bytes: [u8; 2] = Slave::registers(unit, number, 1).try_into().unwrap();
    Value::Int(u16::from_be_bytes(bytes).into())
}

#[tokio::test]
async fn two_devices_on_a_bus_are_read_and_written() {
    let lab = Lab::start("a,b,c", 19_200, &["--half-duplex"]);
    let _slaves = [Slave::start(&lab.port("b"), 19_200, 1), Slave::start(&lab.port("c"), 19_200, 2)];
    let points = json!({ "near": { "holding": 3, "write": { "verify": true } }, "far": { "holding": 100 } });
    let mut driver = start(&link(
        &lab,
        json!({ "frame": "8N1", "devices": { "one": { "unit": 1, "points": points }, "two": { "unit": 2, "points": points } } }),
    ));
    for _ in 0..3 {
        for (device, unit) in [("one", 1), ("two", 2)] {
            assert_eq!(driver.value(device, "near").await, register(unit, 3));
            assert_eq!(driver.value(device, "far").await, register(unit, 100));
        }
    }
    let done = Done { written: Some(Value::Int(4711)), observed: Some(Value::Int(4711)), note: None };
    assert_eq!(driver.command("two", "near", write(4711, true)).await, Ok(done));
    let read = driver.command("one", "near", Action::Read).await.unwrap();
    assert_eq!(read.observed, Some(register(1, 3)));
    driver.stop().await;
    assert_eq!(lab.tell("stats")["gaps_short"]["a"], 0);
}

#[tokio::test]
async fn the_first_thing_that_is_asked_on_a_line_may_be_a_write_of_one_register() {
    let lab = Lab::start("a,b", 19_200, &[]);
    let _slave = Slave::start(&lab.port("b"), 19_200, 1);
    let devices = json!({ "one": { "unit": 1, "points": { "near": { "holding": 3, "write": {} } } } });
    let mut driver = start(&link(&lab, json!({ "every": "1h", "devices": devices })));
    // Its answer is a copy of it, and whether the line has an echo nobody has found out yet.
    let done = driver.command("one", "near", write(4711, false)).await.unwrap();
    assert_eq!(done.written, Some(Value::Int(4711)));
    driver.stop().await;
}

/// Counts the good readings of each device for a while.
async fn count(driver: &mut common::Running, seconds: u64) -> HashMap<String, Vec<SystemTime>> {
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut seen: HashMap<String, Vec<SystemTime>> = HashMap::new();
    while let Ok(event) = timeout_at(end, driver.events.recv()).await {
        if let Event::Reading(reading) = event.expect("the driver runs").event
            && reading.quality == Quality::Good
        {
            seen.entry(reading.device.to_string()).or_default().push(reading.taken_at);
        }
    }
    seen
}

#[tokio::test]
async fn on_a_bus_of_eight_the_dead_one_leaves_the_others_their_intervals() {
    // Unit 7 is not there, and unit 8 has so much to tell that each answer takes 110 ms.
    let lab = Lab::start("a,b,c,d,e,f,g,h", 19_200, &["--half-duplex"]);
    let ports = ["b", "c", "d", "e", "f", "g", "h"];
    let units = [1, 2, 3, 4, 5, 6, 8];
    let _slaves: Vec<_> =
        ports.iter().zip(units).map(|(port, unit)| Slave::start(&lab.port(port), 19_200, unit)).collect();
    let device = |unit: u8| {
        // All that lies between the numbers is one point, so they come in one answer.
        let all = json!({ "first": { "holding": 0 }, "middle": { "holding": 1, "type": "string", "length": 98 }, "last": { "holding": 99 } });
        let points = if unit == 8 { all } else { json!({ "near": { "holding": 3 } }) };
        (format!("unit-{unit}"), json!({ "unit": unit, "points": points }))
    };
    let devices: serde_json::Map<String, Json> = (1..=8).map(device).collect();
    let mut driver = start(&link(&lab, json!({ "every": "500ms", "timeout": "300ms", "devices": devices })));
    assert!(!driver.device("unit-7").await.0, "the dead one is noticed");
    let seen = count(&mut driver, 12).await;
    driver.stop().await;
    for unit in 1..=6 {
        let times = &seen[&format!("unit-{unit}")];
        let lasted = times[times.len() - 1].duration_since(times[0]).unwrap();
        let mean = lasted.as_millis() / (times.len() as u128 - 1);
        assert!((450..=550).contains(&mean), "unit {unit} was read every {mean} ms");
    }
    assert_eq!(lab.tell("stats")["gaps_short"]["a"], 0);
}

#[tokio::test]
async fn an_adapter_that_was_pulled_out_ends_the_session_and_the_next_one_finds_it_again() {
    let lab = Lab::start("a,b", 19_200, &[]);
    let _slave = Slave::start(&lab.port("b"), 19_200, 1);
    let settings = link(&lab, json!({ "devices": { "one": { "unit": 1, "points": { "near": { "holding": 3 } } } } }));
    let mut driver = start(&settings);
    assert_eq!(driver.value("one", "near").await, register(1, 3));
    lab.tell("unplug a");
    let bad = loop {
        let reading = driver.reading("one", "near").await;
        if reading.quality != Quality::Good {
            break reading;
        }
    };
    assert!(bad.reason.is_some());
    let end = timeout(PATIENCE, driver.task).await.expect("the session ends").unwrap().unwrap_err();
    assert!(matches!(&end, DriverError::Lost(_)), "{end:?}");
    assert_eq!(end.to_string(), format!("no such port {}", lab.port("a")));
    // Another device behind the same name.
    lab.tell("plug a");
    let mut driver = start(&settings);
    assert_eq!(driver.value("one", "near").await, register(1, 3));
    driver.stop().await;
}

#[tokio::test]
async fn a_port_that_cannot_do_what_is_asked_is_not_tried_again() {
    let lab = Lab::start("a,b", 19_200, &[]);
    let devices = json!({ "one": { "unit": 1, "points": { "near": { "holding": 3 } } } });
    for (settings, expected) in [
        (link(&lab, json!({ "rs485": { "delay_before": "1ms" }, "devices": devices })), "has no RS-485 mode"),
        (json!({ "serial": "/dev/null", "devices": devices }), "/dev/null is not a serial port"),
    ] {
        let driver = start(&settings);
        let end = timeout(PATIENCE, driver.task).await.expect("the session ends").unwrap().unwrap_err();
        assert!(matches!(&end, DriverError::Fatal(_)), "{end:?}");
        assert!(end.to_string().contains(expected), "{end}");
    }
}
