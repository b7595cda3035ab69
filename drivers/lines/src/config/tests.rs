//! Settings as a site file holds them, written as JSON here.

use serde_json::json;
use wharf_stream::{Cut, Transport};
use wharf_test_support::settings;

use super::*;

fn read(value: &serde_json::Value) -> (Option<LinkSettings>, Vec<String>) {
    let (settings, problems) = settings::read(value);
    (settings, problems.iter().map(settings::told).collect())
}

/// The mistakes in one device.
fn mistakes(device: &serde_json::Value) -> Vec<String> {
    read(&json!({ "tcp": "host:1", "devices": { "d": device } })).1
}

fn check(device: &serde_json::Value, expected: &[&str]) {
    assert_eq!(mistakes(device), expected, "{device}");
}

#[test]
fn the_shortest_settings_have_usual_defaults() {
    let (settings, problems) = read(&json!({
        "serial": "/dev/ttyUSB0",
        "devices": { "scale": { "pattern": "{weight} kg", "points": { "weight": {} } } },
    }));
    assert_eq!(problems, [""; 0]);
    let settings = settings.unwrap();
    let Transport::Serial(port) = settings.transport() else { panic!("not a serial port") };
    assert_eq!((port.baud, port.frame.to_string().as_str(), port.dtr), (9600, "8N1", None));
    assert_eq!(settings.records.cut(), Cut::End { end: b"\n".to_vec(), longest: 1024 });
    let devices = settings.devices();
    assert_eq!((devices[0].quiet_after.as_secs(), devices[0].ask.is_none()), (300, true));
}

#[test]
fn a_device_that_is_asked_is_missed_after_three_questions() {
    let (settings, problems) = read(&json!({
        "tcp": "192.168.1.60:4001", "timeout": "500ms",
        "devices": { "d": { "pattern": "{t}", "ask": "READ?\\r\\n", "every": "20s", "points": { "t": {} } } },
    }));
    assert_eq!(problems, [""; 0]);
    let device = settings.unwrap().devices().remove(0);
    let ask = device.ask.unwrap();
    assert_eq!((ask.bytes.as_slice(), ask.every.as_secs(), ask.timeout.as_millis()), (&b"READ?\r\n"[..], 20, 500));
    assert_eq!((device.quiet_after.as_millis(), device.thin), (60_500, None));
}

#[test]
fn the_settings_of_a_serial_port_are_for_serial_ports() {
    for key in ["baud", "frame", "flow", "dtr", "rts"] {
        let value = match key {
            "baud" => json!(9600),
            "frame" => json!("7E1"),
            "flow" => json!("xon_xoff"),
            _ => json!(true),
        };
        assert_eq!(read(&json!({ "tcp": "host:1", key: value })).1.len(), 1, "{key}");
        assert_eq!(read(&json!({ "serial": "/dev/ttyS0", key: value })).1, [""; 0], "{key}");
    }
    assert_eq!(read(&json!({})).1.len(), 1);
    assert_eq!(read(&json!({ "tcp": "host" })).1.len(), 1, "there is no usual TCP port");
}

#[test]
fn records_are_cut_in_one_way() {
    let check = |records: serde_json::Value, mistakes: usize| {
        let (_, problems) = read(&json!({ "tcp": "host:1", "records": records }));
        assert_eq!(problems.len(), mistakes, "{records}: {problems:?}");
    };
    check(json!({ "end": "\\r" }), 0);
    check(json!({ "length": 17 }), 0);
    check(json!({ "start": "\\x02", "length_at": 1, "end": "\\x03", "plus": 3 }), 0);
    check(json!({ "start": "\\x02\\x01", "length_at": 2, "length_bytes": 2, "order": "little" }), 0);
    check(json!({ "length": 17, "end": "\\r" }), 1);
    check(json!({ "start": "\\x02" }), 1);
    check(json!({ "start": "\\x02\\x02", "length_at": 1 }), 1);
    check(json!({ "start": "\\x02", "length_at": 1, "order": "big" }), 1);
    check(json!({ "plus": 3, "order": "little" }), 2);
    check(json!({ "start": "\\x02", "length_at": 200, "longest": 100 }), 1);
}

#[test]
fn a_field_has_to_be_there() {
    let pattern = |points| json!({ "pattern": ["{a} {b}", "{c}"], "points": points });
    check(&pattern(json!({ "a": {}, "c": {}, "x": { "field": "b" } })), &[]);
    check(
        &pattern(json!({ "weight": {} })),
        &["devices.d.points.weight: the pattern has no field {weight} [say in which `field` it stands]"],
    );
    check(
        &json!({ "csv": { "columns": ["time", "temp"] }, "points": { "t": { "field": "tmp" } } }),
        &["devices.d.points.t: there is no column `tmp`: there are time, temp"],
    );
    check(
        &json!({ "nmea": {}, "points": { "lat": { "field": "RMC.lat" } } }),
        &["devices.d.points.lat: RMC has no field `lat`: there are time, status, latitude, longitude, position, \
           speed, course, date"],
    );
    check(
        &json!({ "pattern": "{a}", "match": { "id": 7 }, "points": {} }),
        &["devices.d.match.id: the pattern has no field {id}"],
    );
    check(
        &json!({ "pattern": "{a}", "device": "x-{id}", "points": {} }),
        &["devices.d.device: the pattern has no field {id}"],
    );
}

#[test]
fn a_device_says_how_its_lines_are_taken_apart_unless_it_is_only_written() {
    let send = json!({ "send": "ON {value}\\r" });
    check(&json!({ "points": { "relay": { "type": "bool", "write": send } } }), &[]);
    check(
        &json!({ "points": { "t": {} } }),
        &["devices.d: how its lines are taken apart is missing [write one of pattern, csv, json, nmea, pairs]"],
    );
    assert_eq!(mistakes(&json!({ "csv": {}, "json": {}, "points": {} })).len(), 1);
    let strayed = mistakes(&json!({ "ask": "x", "points": { "relay": { "type": "bool", "write": send } } }));
    assert!(strayed[0].contains("no line is this device's"), "{strayed:?}");
}

#[test]
fn what_is_named_by_its_lines_is_neither_asked_nor_written() {
    let found = mistakes(&json!({
        "pairs": {}, "device": "ws-{id}", "ask": "?", "points": { "t": { "write": { "send": "{value}" } } },
    }));
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(mistakes(&json!({ "pairs": {}, "most": 3, "points": { "t": {} } })).len(), 1);
    assert_eq!(mistakes(&json!({ "pairs": {}, "timeout": "1s", "points": { "t": {} } })).len(), 1);
}

#[test]
fn what_may_be_written_is_what_can_be_sent() {
    let write = |point: serde_json::Value| mistakes(&json!({ "pairs": {}, "points": { "p": point } }));
    assert_eq!(
        write(json!({ "type": "bool", "write": { "send": "{value}", "allowed": [true, 7] } })),
        ["devices.d.points.p.write.allowed: `7` is neither on nor off"]
    );
    assert_eq!(write(json!({ "write": { "send": "{value}", "min": 5, "max": 1 } })).len(), 1);
    assert_eq!(write(json!({ "write": { "send": "{value}", "timeout": "1s", "refused": "ERR" } })).len(), 2);
    assert_eq!(write(json!({ "write": { "send": "TARE\\r" } })).len(), 1);
    assert_eq!(write(json!({ "write": { "send": "TARE\\r", "allowed": [1] } })), [""; 0]);
    assert_eq!(write(json!({ "write": {} })).len(), 1, "`send` is missing");
    assert_eq!(
        write(json!({ "type": "text", "scale": 2, "write": { "send": "{val}" } })),
        [
            "devices.d.points.p.write.send: `{val}` is not known here; {value}, {value:.1}, {value:05} and {value:07.2} are",
        ]
    );
    assert_eq!(write(json!({ "type": "text", "scale": 2, "max": 4 })).len(), 2);
    assert_eq!(write(json!({ "scale": 0 })).len(), 1);
}
