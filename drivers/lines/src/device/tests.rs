//! Lines of devices as a site file describes them.

use wharf_test_support::settings::valid;

use super::*;
use crate::config::LinkSettings;

/// A roster of the devices that stand under `devices:`, written as JSON.
fn roster(devices: &serde_json::Value) -> Roster {
    let link = serde_json::json!({ "tcp": "host:1", "devices": devices });
    Roster::new(valid::<LinkSettings>(&link).devices().into())
}

/// What a line is taken for, in one line.
fn claimed(roster: &mut Roster, line: &str, asked: Option<usize>) -> String {
    match roster.claim(line, asked, SystemTime::UNIX_EPOCH) {
        Claim::Of(spoken) => {
            let told = spoken.readings.iter().map(|reading| match (&reading.value, &reading.reason) {
                (Some(value), _) => format!(" {}={value}", reading.point),
                (None, reason) => format!(" {}: {}", reading.point, reason.as_deref().unwrap_or_default()),
            });
            format!("{}{}", spoken.device, told.collect::<String>())
        }
        other => format!("{other:?}"),
    }
}

fn check(devices: &serde_json::Value, lines: &[(&str, &str)]) {
    let mut roster = roster(devices);
    for (line, expected) in lines {
        assert_eq!(claimed(&mut roster, line, None), *expected, "{line}");
    }
}

#[test]
fn a_scale_a_weather_station_and_a_receiver_of_positions_are_told_apart() {
    let devices = serde_json::json!({
        "scale": {
            "pattern": "{state},{mode},{weight:number} kg",
            "points": {
                "weight": { "unit": "kg", "max": 60 },
                "stable": { "field": "state", "names": { "ST": true, "US": false } },
            },
        },
        "weather": {
            "csv": { "separator": ";", "columns": ["time", "temp", "hum"] },
            "decimal_comma": true,
            "points": { "temperature": { "field": "temp" }, "humidity": { "field": "3", "invalid": ["--"] } },
        },
        "ship": { "nmea": {}, "points": { "position": { "field": "RMC.position", "type": "text" } } },
        "node": { "json": {}, "points": { "t": { "field": "main.t" } } },
        "pump": { "pairs": {}, "points": { "rpm": { "type": "whole" }, "on": { "type": "bool" } } },
    });
    check(
        &devices,
        &[
            ("ST,GS,+  12.345 kg", "scale weight=12.345 stable=true"),
            ("US,GS,  99.0 kg", "scale weight: 99 cannot be: it is above 60 stable=false"),
            ("12:00;21,5;60", "weather temperature=21.5 humidity=60"),
            ("12:01;-3,0;--", "weather temperature=-3 humidity: the device says `--`, which is no value"),
            ("time;temp;hum", "Heading"),
            (
                "$GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W*6A",
                "ship position=48.1173000,11.5166667",
            ),
            ("$GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W*6B", "Damaged"),
            ("$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47", "ship"),
            (r#"{"main":{"t":21.5},"x":1}"#, "node t=21.5"),
            (r#"{"main":{"h":21.5}}"#, "Nobody"),
            ("rpm=1450 on=1 x=2", "pump rpm=1450 on=true"),
            ("rpm=0", "pump rpm=0"),
            ("hello", "Nobody"),
            ("", "Nobody"),
        ],
    );
}

#[test]
fn devices_of_one_kind_are_told_apart_by_a_field() {
    let points = serde_json::json!({ "t": {} });
    let devices = serde_json::json!({
        "attic": { "pairs": {}, "match": { "id": 7 }, "points": points },
        "cellar": { "pairs": {}, "match": { "id": ["8", "08"] }, "points": points },
        "others": { "pairs": {}, "device": "ws-{id}", "most": 2, "points": points },
    });
    check(
        &devices,
        &[
            ("id=7 t=21.5", "attic t=21.5"),
            ("id=08 t=12", "cellar t=12"),
            ("id=9 t=1", "ws-9 t=1"),
            ("id=9 t=2", "ws-9 t=2"),
            ("id=a/b t=2", "Nameless(\"a name cannot contain `/`\")"),
            ("id=10 t=3", "ws-10 t=3"),
            ("id=11 t=4", "Nameless(\"there are 2 already, so ws-11 is not taken in\")"),
            ("t=5", "Nameless(\"the line has no id\")"),
            ("id=7", "attic"),
        ],
    );
}

#[test]
fn no_line_can_take_the_name_of_another_device() {
    let devices = serde_json::json!({
        "any": { "pairs": {}, "device": "{id}", "points": { "t": {} } },
        "boiler": { "json": {}, "points": { "t": {} } },
    });
    check(
        &devices,
        &[("id=boiler t=1", "Nameless(\"`boiler` is another device's name\")"), ("id=shed t=1", "shed t=1")],
    );
}

#[test]
fn where_only_the_question_tells_devices_apart_a_line_belongs_to_who_was_asked() {
    let asked = |ask: &str| serde_json::json!({ "pattern": ">{t:number}", "ask": ask, "points": { "t": {} } });
    let devices = serde_json::json!({ "first": asked("#01\\r"), "second": asked("#02\\r") });
    let mut roster = roster(&devices);
    assert_eq!(claimed(&mut roster, ">+21.5", Some(1)), "second t=21.5");
    assert_eq!(claimed(&mut roster, ">+21.5", Some(0)), "first t=21.5");
    assert_eq!(claimed(&mut roster, ">+21.5", None), "Nobody");
    let alone = serde_json::json!({ "only": asked("#01\\r") });
    let mut roster = self::roster(&alone);
    assert_eq!(claimed(&mut roster, ">+21.5", None), "only t=21.5", "it may speak by itself, too");
}

#[test]
fn what_the_device_wrote_is_kept_where_nothing_was_done_to_it() {
    let devices = serde_json::json!({ "d": { "csv": {}, "points": {
        "plain": { "field": 1 }, "scaled": { "field": 1, "scale": 10 }, "bad": { "field": 2 },
    } } });
    let mut roster = roster(&devices);
    let Claim::Of(spoken) = roster.claim("21.50,x", None, SystemTime::UNIX_EPOCH) else { panic!("nobody claims it") };
    let verbatim: Vec<_> = spoken.readings.iter().map(|reading| reading.verbatim.as_deref()).collect();
    assert_eq!(verbatim, [Some("21.50"), None, Some("x")]);
    assert_eq!(spoken.readings[2].quality, Quality::Bad);
}

#[test]
fn a_write_is_refused_when_what_is_sent_would_be_outside_the_limits() {
    let devices = serde_json::json!({ "d": { "points": {
        "level": { "write": { "send": "L{value:.0}\\r", "min": 0.4, "max": 9.6 } },
        "tare": { "write": { "send": "T\\r", "allowed": [1] } },
    } } });
    let roster = roster(&devices);
    let prepare = |point: &str, value: Value| {
        let (_, point) = roster.point(&"d".into(), &point.into()).unwrap();
        point.write.as_ref().unwrap().prepare(&point.meaning, &value)
    };
    assert_eq!(prepare("level", Value::Float(7.4)), Ok((b"L7\r".to_vec(), Value::Float(7.0))));
    assert_eq!(prepare("level", Value::Float(0.45)), Err("sent as 0, 0 is below the minimum 0.4".into()));
    assert!(prepare("level", Value::Float(10.0)).is_err());
    assert_eq!(prepare("tare", Value::Int(1)), Ok((b"T\r".to_vec(), Value::Int(1))));
    assert!(prepare("tare", Value::Int(2)).is_err());
}
