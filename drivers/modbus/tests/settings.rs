//! What the site file may say, and how each mistake is told.

mod common;

use std::time::Duration;

use common::decode;
use serde_json::{Value as Json, json};
use wharf_contract::settings::Setting;
use wharf_contract::{Driver, WriteRule};
use wharf_modbus::{LinkSettings, Modbus, PointType, WordOrder};

fn link_with(point: Json) -> Json {
    json!({ "tcp": "192.168.1.40", "devices": { "tank": { "unit": 7, "points": { "level": point } } } })
}

/// Checks that the point has these mistakes: key and message of each.
fn check(point: Json, expected: &[(&str, &str)]) {
    let (_, problems) = decode(&link_with(point.clone()));
    let found: Vec<_> = problems
        .iter()
        .map(|problem| {
            let path = problem.path.strip_prefix("devices.tank.points.level").expect("a path to the point");
            (path.trim_start_matches('.'), problem.message.as_str())
        })
        .collect();
    assert_eq!(found, expected, "{point}");
}

#[test]
fn what_a_point_leaves_out_comes_from_its_device_or_its_link() {
    let json = json!({
        "tcp": "192.168.1.40", "every": "30s",
        "devices": {
            "tank": { "unit": 7, "every": "5s", "points": { "a": { "holding": 0, "every": "1s" }, "b": { "coil": 1 } } },
            "pump": { "unit": 8, "points": { "c": { "input": 2 } } },
        },
    });
    let (settings, problems) = decode(&json);
    assert_eq!(problems, []);
    let settings = settings.unwrap();
    assert_eq!((settings.tcp.host(), settings.tcp.port()), ("192.168.1.40", 502));
    assert_eq!(settings.timeout.get(), Duration::from_secs(1));
    assert_eq!(settings.every.get(), Duration::from_secs(30));
    assert_eq!(settings.devices.get("tank").unwrap().unit, 7);
}

#[test]
fn every_option_of_a_point_is_understood() {
    let point = json!({
        "holding": 110, "type": "i32", "word_order": "low_first", "byte_order": "little", "scale": 0.1, "offset": -40,
        "unit": "°C", "every": "250ms", "write": { "min": 5, "max": 80, "verify": true },
    });
    check(point.clone(), &[]);
    let settings = decode(&link_with(point)).0.unwrap();
    let level = settings.devices.get("tank").unwrap().points.get("level").unwrap();
    assert_eq!((level.r#type, level.word_order), (Some(PointType::I32), Some(WordOrder::LowFirst)));

    let catalogue = Modbus::new("boiler-room".into(), settings).catalogue();
    assert_eq!(catalogue.len(), 1);
    assert_eq!((catalogue[0].device.as_str(), catalogue[0].point.as_str()), ("tank", "level"));
    assert_eq!(catalogue[0].unit, Some("°C".into()));
    assert_eq!(catalogue[0].write, Some(WriteRule { min: Some(5.0), max: Some(80.0), verify: true }));
}

#[test]
fn a_point_stands_in_exactly_one_table() {
    check(json!({}), &[("", "one of `coil`, `discrete`, `holding`, `input` is needed")]);
    check(json!({ "coil": 1, "input": 2 }), &[("input", "`coil` and `input` exclude each other")]);
}

#[test]
fn a_bit_has_nothing_that_only_registers_have() {
    check(
        json!({ "coil": 3, "type": "f32", "word_order": "high_first", "scale": 2 }),
        &[
            ("type", "a coil is one bit, so it cannot be f32"),
            ("word_order", "a coil is one bit and has no word_order"),
            ("scale", "a coil is one bit and has no scale"),
        ],
    );
    check(json!({ "discrete": 3, "type": "bool" }), &[]);
}

#[test]
fn a_string_and_nothing_else_has_a_length() {
    check(json!({ "holding": 0, "type": "string" }), &[("length", "a string needs its length")]);
    check(json!({ "holding": 0, "type": "u16", "length": 2 }), &[("length", "the type u16 has its own length")]);
    check(json!({ "holding": 0, "length": 2 }), &[("length", "the type u16 has its own length")]);
    check(json!({ "input": 0, "type": "string", "length": 126 }), &[("length", "126 is out of range (1–125)")]);
}

#[test]
fn options_without_a_meaning_are_not_passed_over() {
    check(json!({ "holding": 0, "word_order": "low_first" }), &[("word_order", "the type u16 has no word order")]);
    check(
        json!({ "holding": 0, "type": "string", "length": 4, "word_order": "low_first", "scale": 2 }),
        &[
            ("word_order", "the type string has no word order"),
            ("scale", "the type string is not a number and has no scale"),
        ],
    );
    check(
        json!({ "holding": 0, "type": "bool", "offset": 1 }),
        &[("offset", "the type bool is not a number and has no offset")],
    );
    check(json!({ "holding": 0, "scale": 0 }), &[("scale", "a scale of 0 makes every value the same")]);
}

#[test]
fn a_value_ends_within_the_address_space() {
    check(json!({ "holding": 65_534, "type": "f32" }), &[]);
    check(
        json!({ "input": 65_535, "type": "f32" }),
        &[("input", "2 registers from 65535 on end beyond the last one, 65535")],
    );
    check(json!({ "coil": 65_536 }), &[("coil", "65536 is out of range (0–65535)")]);
}

#[test]
fn only_what_the_protocol_can_write_is_opened_for_writing() {
    check(json!({ "discrete": 0, "write": {} }), &[("write", "discrete inputs cannot be written")]);
    check(json!({ "input": 0, "write": {} }), &[("write", "input registers cannot be written")]);
    check(
        json!({ "holding": 0, "type": "string", "length": 124, "write": {} }),
        &[("length", "one request writes at most 123 registers, not 124")],
    );
}

#[test]
fn limits_are_numbers_that_the_device_can_hold() {
    check(
        json!({ "holding": 0, "write": { "min": -1, "max": 65_536 } }),
        &[("write.min", "-1 does not fit 0 to 65535"), ("write.max", "65536 does not fit 0 to 65535")],
    );
    check(json!({ "holding": 0, "type": "i16", "scale": 0.1, "write": { "min": -50, "max": 3276.7 } }), &[]);
    check(json!({ "coil": 0, "write": { "max": 1 } }), &[("write.max", "only numbers have limits")]);
    check(
        json!({ "holding": 0, "write": { "min": 9, "max": 1 } }),
        &[("write.max", "the maximum 1 is below the minimum 9")],
    );
}

#[test]
fn all_mistakes_of_a_link_are_told_at_once() {
    let (_, problems) = decode(&json!({
        "tcp": "192.168.1.40:0", "every": "1ms", "timeout": 5,
        "devices": { "tank": { "unit": 300, "points": { "level": { "holding": -1, "tpye": "f32" } } } },
    }));
    let paths: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "tcp",
            "every",
            "timeout",
            "devices.tank.unit",
            "devices.tank.points.level.tpye",
            "devices.tank.points.level.holding"
        ]
    );
}

#[test]
fn the_schema_knows_every_option() {
    let schema = LinkSettings::schema();
    let point =
        &schema["properties"]["devices"]["additionalProperties"]["properties"]["points"]["additionalProperties"];
    for key in ["coil", "discrete", "holding", "input", "type", "length", "word_order", "byte_order", "scale", "write"]
    {
        assert!(point["properties"][key]["description"].is_string(), "{key}");
    }
}
