//! Connections against a mock BlueZ: characteristics read, told of and written, by the driver as a whole.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "everything here is a test")]

#[expect(dead_code, reason = "the radio's tests use the rest")]
mod lab;

use std::time::Duration;

use lab::site::{Site, hurried};
use lab::{Bluez, PATIENCE, brisk, with_bluez};
use serde_json::json;
use tokio::time::Instant;
use wharf_ble::gatt::{Settings, Waits};
use wharf_contract::port::Outcome;
use wharf_contract::{Action, CommandError, Event, Value};

fn start(link: &serde_json::Value) -> Site {
    Site::start(link, brisk().timeouts, hurried)
}

fn written(bluez: &mut Bluez) -> Vec<String> {
    let stats = bluez.tell(r#"{"stats":1}"#);
    stats["written"].as_array().unwrap().iter().map(|write| write[2].as_str().unwrap().to_owned()).collect()
}

/// A probe that is kept connected, with a temperature it tells of, its battery, and a setpoint.
fn probe() -> serde_json::Value {
    json!({
        "mac": "C0:00:00:00:00:04",
        "gatt": "battery",
        "points": {
            "temperature": { "characteristic": "2a6e", "notify": true },
            "setpoint": {
                "characteristic": "2a56", "service": "181a", "type": "i16", "scale": 0.1, "unit": "°C",
                "every": "10m", "write": { "min": -30, "max": 80, "verify": true },
            },
        },
    })
}

fn one_probe() -> serde_json::Value {
    json!({ "devices": { "probe": probe() } })
}

const SET: &str = r#"{"set":"gattsensor","notify_interval":0,"values":{"2a19":"57","2a6e":"2efb","2a56":"d200"}}"#;

#[test]
fn a_device_is_read_tells_by_itself_and_is_written() {
    with_bluez(&["gattsensor"], async |mut bluez| {
        bluez.tell(SET);
        let mut site = start(&one_probe());
        site.device("probe", true).await;
        let mut temperatures = Vec::new();
        let mut note = |event: &Event, wanted: &str, value: Value| match event {
            Event::Reading(reading) => {
                let told = reading.value.clone();
                if reading.point.as_str() == "temperature" {
                    temperatures.extend(told.clone());
                }
                (reading.point.as_str() == wanted && told == Some(value)).then_some(())
            }
            Event::Device { .. } | Event::Renamed { .. } => None,
        };
        site.told("the battery", |event| note(event, "battery", Value::Int(87))).await;
        site.told("the setpoint", |event| note(event, "setpoint", Value::Float(21.0))).await;
        bluez.tell(r#"{"notify":"gattsensor","char":"2a6e","value":"c409"}"#);
        site.told("25 °C", |event| note(event, "temperature", Value::Float(25.0))).await;
        // Read once, told once: that the daemon tells of what was read as well makes no third.
        assert_eq!(temperatures, [Value::Float(-12.34), Value::Float(25.0)]);
        bluez.tell(r#"{"notify":"gattsensor","char":"2a6e","value":"c509"}"#);
        assert_eq!(site.value("probe", "temperature").await, Value::Float(25.01));

        let done = site.write("probe", "setpoint", Value::Float(-4.52), true).await.unwrap();
        assert_eq!(done.written, Some(Value::Float(-4.5)), "as the device holds it");
        assert_eq!(done.observed, Some(Value::Float(-4.5)));
        assert_eq!(site.value("probe", "setpoint").await, Value::Float(-4.5), "what is read back is told too");
        assert_eq!(written(&mut bluez), ["d3ff"]);

        let read = site.command("probe", "battery", Action::Read, Duration::from_secs(10)).await.unwrap();
        assert_eq!(read.observed, Some(Value::Int(87)));

        let last = site.stop().await;
        let leave = |event: &Event| matches!(event, Event::Device { alive: false, reason, .. } if reason.as_deref() == Some("the gateway is stopping"));
        assert_eq!(last.iter().filter(|event| leave(event)).count(), 1, "{last:?}");
        assert_eq!((bluez.calls("Connect"), bluez.calls("Disconnect")), (1, 1));
    });
}

#[test]
fn what_a_device_refuses_or_does_not_keep_is_told_to_the_one_who_asked() {
    with_bluez(&["gattsensor"], async |mut bluez| {
        bluez.tell(SET);
        let mut site = start(&one_probe());
        site.value("probe", "setpoint").await;

        bluez.tell(r#"{"fail":"WriteValue","error":"org.bluez.Error.NotPermitted","message":"Write not permitted"}"#);
        let refused = site.write("probe", "setpoint", Value::Int(20), true).await;
        assert_eq!(refused, Err(CommandError::Refused("Write not permitted".into())));

        let refused = site.write("probe", "setpoint", Value::Int(5000), true).await;
        assert_eq!(refused, Err(CommandError::Refused("50000 does not fit -32768 to 32767".into())));
        let refused = site.write("probe", "battery", Value::Int(5), true).await;
        assert!(
            matches!(&refused, Err(CommandError::Refused(why)) if why.contains("not open for writing")),
            "{refused:?}"
        );
        assert_eq!(written(&mut bluez), [""; 0], "none of it reached the device");

        bluez.tell(r#"{"set":"gattsensor","stubborn":["2a56"]}"#);
        let not_held = site.write("probe", "setpoint", Value::Int(20), true).await;
        let expected = CommandError::NotHeld { written: Value::Float(20.0), observed: Value::Float(21.0) };
        assert_eq!(not_held, Err(expected));
        let unverified = site.write("probe", "setpoint", Value::Int(20), false).await.unwrap();
        assert_eq!((unverified.written, unverified.observed), (Some(Value::Float(20.0)), None));
        assert_eq!(written(&mut bluez).len(), 2);
        site.stop().await;
    });
}

#[test]
fn a_write_that_is_not_answered_is_not_sent_twice() {
    with_bluez(&["gattsensor"], async |mut bluez| {
        bluez.tell(SET);
        let mut site = start(&one_probe());
        site.value("probe", "setpoint").await;
        bluez.tell(r#"{"hang":"WriteValue"}"#);
        let unanswered = site.write("probe", "setpoint", Value::Int(20), true).await;
        assert!(matches!(unanswered, Err(CommandError::NoAnswer(_))), "{unanswered:?}");
        // It is connected to again, and does as it is told.
        site.value("probe", "temperature").await;
        site.write("probe", "setpoint", Value::Int(30), true).await.unwrap();
        assert_eq!(written(&mut bluez), ["2c01"]);
        assert_eq!(bluez.calls("WriteValue"), 2);
        site.stop().await;
    });
}

#[test]
fn a_link_that_is_cut_is_made_again_and_the_device_is_not_said_to_be_gone() {
    with_bluez(&["gattsensor"], async |mut bluez| {
        bluez.tell(SET);
        let mut site = start(&one_probe());
        site.value("probe", "setpoint").await;
        for n in 0..2 {
            bluez.tell(r#"{"drop":"gattsensor"}"#);
            let connects = n + 2;
            let until = Instant::now() + PATIENCE;
            while bluez.calls("Connect") < connects {
                assert!(Instant::now() < until, "the cut was not noticed");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            // It is read once when it is connected, and tells by itself from then on.
            site.told("the temperature, without a word of being gone", |event| match event {
                Event::Device { alive: false, reason, .. } => panic!("said to be gone: {reason:?}"),
                Event::Reading(reading) if reading.point.as_str() == "temperature" => Some(()),
                _ => None,
            })
            .await;
            bluez.tell(&format!(r#"{{"notify":"gattsensor","char":"2a6e","value":"{:02x}00"}}"#, 100 + n));
            let expected = Value::Float(f64::from(u32::try_from(100 + n).unwrap()) / 100.0);
            loop {
                if site.value("probe", "temperature").await == expected {
                    break;
                }
            }
        }
        site.stop().await;
    });
}

#[test]
fn what_a_device_is_asked_and_its_connections_are_counted() {
    with_bluez(&["gattsensor"], async |mut bluez| {
        bluez.tell(SET);
        bluez.tell(r#"{"fail":"Connect","error":"org.bluez.Error.Failed","message":"no luck","count":1}"#);
        let mut site = start(&one_probe());
        site.device("probe", true).await;
        site.value("probe", "setpoint").await;
        let (answered, connections) = site.counted("probe", Outcome::Answered, "connections");
        assert!(answered >= 3, "told to tell, and read twice: {answered}");
        assert_eq!(connections, Some(1));
        assert_eq!(site.counted("probe", Outcome::Silent, "connections_broken"), (0, Some(1)));
        bluez.tell(r#"{"hang":"ReadValue","count":1}"#);
        let read = site.command("probe", "setpoint", Action::Read, PATIENCE).await;
        assert!(read.is_err(), "{read:?}");
        assert_eq!(site.counted("probe", Outcome::Silent, "heard").0, 1);
        site.stop().await;
    });
}

#[test]
fn a_device_that_cannot_be_connected_to_is_said_to_be_gone_and_commands_are_answered_at_once() {
    with_bluez(&["gattsensor", "counter"], async |mut bluez| {
        bluez.tell(SET);
        bluez.tell(r#"{"hang":"Connect","count":3}"#);
        let link = json!({ "devices": {
            "probe": probe(),
            "beside": { "mac": "C0:00:00:00:00:03" },
        }, "unknown": "publish" });
        let mut site = start(&link);
        // The scan goes on meanwhile.
        let mut heard = 0;
        let reason = site
            .told("the probe is gone", |event| match event {
                Event::Reading(reading) if reading.device.as_str() == "beside" => {
                    heard += 1;
                    None
                }
                Event::Device { device, alive: false, reason } if device.as_str() == "probe" => reason.clone(),
                _ => None,
            })
            .await;
        assert_eq!(reason, "cannot connect: no answer within 2 s");
        assert!(heard > 0, "the scan was starved");
        let answer = site.write("probe", "setpoint", Value::Int(20), true).await;
        assert!(answer.as_ref().is_err_and(CommandError::is_unsent), "{answer:?}");
        site.device("probe", true).await;
        site.write("probe", "setpoint", Value::Int(20), true).await.unwrap();
        assert_eq!(written(&mut bluez), ["c800"]);
        site.stop().await;
    });
}

#[test]
fn a_command_that_is_late_while_the_device_is_connected_to_is_never_carried_out() {
    with_bluez(&["gattsensor"], async |mut bluez| {
        bluez.tell(SET);
        bluez.tell(r#"{"hang":"Connect","count":1}"#);
        let site = start(&one_probe());
        let until = Instant::now() + PATIENCE;
        while bluez.calls("Connect") < 1 {
            assert!(Instant::now() < until, "never connected");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let write = Action::Write { value: Value::Int(20), verify: true };
        let late = site.command("probe", "setpoint", write, Duration::from_millis(200)).await;
        assert_eq!(late, Err(CommandError::Expired));
        assert_eq!(written(&mut bluez), [""; 0]);
        site.stop().await;
    });
}

const SECOND: &str = r#"{"set":"second","address":"C0:00:00:00:00:05","interval":0.2,"rssi":-50,"gatt":true,
    "ad":[[1,"06"],[9,"7365636f6e64"]],"notify_interval":0,"values":{"2a19":"0a","2a6e":"c409"}}"#;

#[test]
fn two_devices_share_one_connection_in_turns() {
    with_bluez(&["gattsensor"], async |mut bluez| {
        bluez.tell(SET);
        bluez.tell(&SECOND.replace('\n', ""));
        let second = json!({ "mac": "C0:00:00:00:00:05", "connect": "keep", "gatt": ["battery", "environmental"] });
        let link = json!({ "connections": 1, "devices": { "probe": probe(), "second": second } });
        let mut site = start(&link);
        let mut last = String::new();
        // Who has told something, whenever that changes: both get their turns, again and again.
        for _ in 0..6 {
            last = site
                .told("a change of turns", |event| match event {
                    Event::Reading(reading) if reading.device.as_str() != last && reading.point.as_str() != "rssi" => {
                        Some(reading.device.as_str().to_owned())
                    }
                    Event::Device { alive: false, reason, .. } => panic!("said to be gone: {reason:?}"),
                    _ => None,
                })
                .await;
            let stats = bluez.tell(r#"{"stats":1}"#);
            assert!(stats["most_connected"].as_u64().unwrap() <= 1, "{stats}");
            // What is read on an interval is not due for long; a command makes it speak.
            let other = if last == "probe" { "second" } else { "probe" };
            let read = site.command(other, "battery", Action::Read, Duration::from_secs(20)).await;
            assert!(read.is_ok(), "{read:?}");
        }
        site.stop().await;
    });
}

#[test]
fn a_device_that_is_polled_is_left_alone_in_between() {
    with_bluez(&["gattsensor"], async |mut bluez| {
        bluez.tell(SET);
        let point = json!({ "characteristic": "2a6e", "every": "2s" });
        let device = json!({ "mac": "C0:00:00:00:00:04", "connect": "poll", "gatt": "battery",
            "points": { "temperature": point, "missing": { "characteristic": "2a6f", "every": "1h" } } });
        let mut site = start(&json!({ "devices": { "probe": device } }));
        let words = site
            .told("what the device does not have", |event| match event {
                Event::Reading(reading) if reading.point.as_str() == "missing" => {
                    reading.reason.as_ref().map(ToString::to_string)
                }
                _ => None,
            })
            .await;
        assert!(words.contains("the device has no characteristic 2a6f"), "{words}");
        for _ in 0..3 {
            assert_eq!(site.value("probe", "temperature").await, Value::Float(-12.34));
        }
        let until = Instant::now() + PATIENCE;
        loop {
            let (connects, ends) = (bluez.calls("Connect"), bluez.calls("Disconnect"));
            if connects == ends && connects >= 3 {
                break;
            }
            assert!(Instant::now() < until, "{connects} connections, {ends} ended");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The battery was read along once, and not each time.
        assert_eq!(bluez.calls("StartNotify"), 0);
        site.stop().await;
    });
}

#[test]
fn connections_come_back_with_the_daemon() {
    with_bluez(&["gattsensor"], async |mut bluez| {
        bluez.tell(SET);
        let mut site = start(&one_probe());
        site.value("probe", "setpoint").await;
        bluez.tell(r#"{"restart":3,"busy":1}"#);
        site.device("probe", false).await;
        site.device("probe", true).await;
        bluez.tell(r#"{"notify":"gattsensor","char":"2a6e","value":"0100"}"#);
        while site.value("probe", "temperature").await != Value::Float(0.01) {}
        site.stop().await;
    });
}

#[test]
fn a_gateway_that_stops_hears_of_it_before_the_daemon_has_ended_the_connection() {
    with_bluez(&["gattsensor"], async |mut bluez| {
        bluez.tell(SET);
        let patient = |settings: Settings| Settings {
            waits: Waits { disconnect: Duration::from_secs(40), ..settings.waits },
            ..settings
        };
        let mut site = Site::start(&one_probe(), brisk().timeouts, patient);
        site.device("probe", true).await;
        site.value("probe", "setpoint").await;
        bluez.tell(r#"{"hang":"Disconnect"}"#);
        let begin = Instant::now();
        site.begin_to_stop();
        assert_eq!(site.device("probe", false).await, "the gateway is stopping");
        assert!(begin.elapsed() < Duration::from_secs(20), "that long after the connection");
    });
}
