//! What the site file may say, and how each mistake is told.

mod common;

use std::time::Duration;

use common::decode;
use serde_json::{Value as Json, json};
use wharf_contract::settings::{Problem, Setting};
use wharf_contract::{Driver, WriteRule};
use wharf_modbus::{LinkSettings, Modbus, Order, PointType};

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
    let address = &settings.tcp.as_ref().unwrap()[0];
    assert_eq!((address.host(), address.port(false), address.port(true)), ("192.168.1.40", 502, 802));
    assert_eq!(settings.timeout.get(), Duration::from_secs(1));
    assert_eq!(settings.every.get(), Duration::from_secs(30));
    assert_eq!(settings.devices.get("tank").unwrap().unit, 7);
}

#[test]
fn every_option_of_a_point_is_understood() {
    let point = json!({
        "holding": 110, "type": "i32", "order": "DCBA", "scale": 0.1, "offset": -40,
        "unit": "°C", "every": "250ms", "write": { "min": 5, "max": 80, "verify": true },
    });
    check(point.clone(), &[]);
    let settings = decode(&link_with(point)).0.unwrap();
    let level = settings.devices.get("tank").unwrap().points.get("level").unwrap();
    assert_eq!((level.r#type, level.order), (Some(PointType::I32), Some(Order::Dcba)));

    let catalogue = Modbus::new("boiler-room".into(), &settings).catalogue();
    assert_eq!(catalogue.len(), 1);
    assert_eq!((catalogue[0].device.as_str(), catalogue[0].point.as_str()), ("tank", "level"));
    assert_eq!(catalogue[0].unit, Some("°C".into()));
    assert_eq!(
        catalogue[0].write.as_deref(),
        Some(&WriteRule { min: Some(5.0), max: Some(80.0), verify: true, ..WriteRule::default() })
    );
}

#[test]
fn a_point_stands_in_exactly_one_table() {
    check(json!({}), &[("", "one of `coil`, `discrete`, `holding`, `input` is needed")]);
    check(json!({ "coil": 1, "input": 2 }), &[("input", "`coil` and `input` exclude each other")]);
}

#[test]
fn a_bit_has_nothing_that_only_registers_have() {
    check(
        json!({ "coil": 3, "type": "f32", "order": "CDAB", "scale": 2 }),
        &[
            ("type", "a coil is one bit, so it cannot be f32"),
            ("order", "a coil is one bit and has no order"),
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
    check(json!({ "holding": 0, "order": "CDAB" }), &[("order", "the type u16 has no word order")]);
    check(json!({ "holding": 0, "order": "BADC" }), &[]);
    check(json!({ "holding": 0, "type": "time_unix32", "order": "CDAB" }), &[]);
    check(
        json!({ "holding": 0, "type": "time_bcd", "order": "CDAB" }),
        &[("order", "the type time_bcd has no word order")],
    );
    check(json!({ "holding": 0, "type": "string", "length": 4, "order": "BADC" }), &[]);
    check(
        json!({ "holding": 0, "type": "string", "length": 4, "order": "DCBA", "scale": 2 }),
        &[
            ("order", "the type string has no word order"),
            ("scale", "the type string is not a number and has no scale"),
        ],
    );
    check(
        json!({ "holding": 0, "precision": 1 }),
        &[("precision", "a whole number without a scale has no decimals to round")],
    );
    check(
        json!({ "holding": 0, "type": "time_bcd", "invalid": 0 }),
        &[("invalid", "the type time_bcd is not a number and has no invalid")],
    );
    check(
        json!({ "holding": 0, "type": "bool", "offset": 1 }),
        &[("offset", "the type bool is not a number and has no offset")],
    );
    check(json!({ "holding": 0, "scale": 0 }), &[("scale", "a scale of 0 makes every value the same")]);
}

#[test]
fn a_part_of_a_register_says_which() {
    check(json!({ "holding": 0, "type": "u8", "byte": "high" }), &[]);
    check(json!({ "input": 0, "bit": 15 }), &[]);
    check(
        json!({ "holding": 0, "type": "i8" }),
        &[("byte", "the type i8 is half of a register, and has to say which")],
    );
    check(json!({ "holding": 0, "byte": "low" }), &[("byte", "the type u16 is not half of a register")]);
    check(json!({ "holding": 0, "bit": 16 }), &[("bit", "16 is out of range (0–15)")]);
    check(
        json!({ "holding": 0, "bit": 1, "type": "u16" }),
        &[("type", "one bit of a register is a bool, so it cannot be u16")],
    );
    check(json!({ "holding": 0, "bit": 1, "count": 2 }), &[("count", "a bit is read one at a time, not as a list")]);
    check(json!({ "coil": 0, "bit": 1 }), &[("bit", "a coil is one bit and has no bit")]);
    check(
        json!({ "holding": 0, "type": "u8", "byte": "low", "write": { "max": 256 } }),
        &[("write.max", "256 does not fit 0 to 255")],
    );
}

#[test]
fn a_list_fits_into_one_request() {
    check(json!({ "holding": 0, "type": "f32", "count": 62 }), &[]);
    check(json!({ "coil": 0, "count": 2000 }), &[]);
    check(
        json!({ "holding": 0, "type": "f32", "count": 63 }),
        &[("count", "one request reads at most 125 registers, not 126")],
    );
    check(
        json!({ "holding": 0, "type": "string", "length": 2, "count": 2 }),
        &[("count", "string is read one at a time, not as a list")],
    );
    check(
        json!({ "coil": 0, "count": 2000, "write": {} }),
        &[("count", "one request writes at most 1968 coils, not 2000")],
    );
}

#[test]
fn what_stands_for_no_value_is_something_the_type_can_be() {
    check(json!({ "holding": 0, "type": "i16", "invalid": [-32_768, 32_767] }), &[]);
    check(json!({ "holding": 0, "type": "f32", "invalid": -999.9 }), &[]);
    check(
        json!({ "holding": 0, "invalid": [65_536, -1, 0.5] }),
        &[
            ("invalid", "65536 does not fit 0 to 65535"),
            ("invalid", "-1 does not fit 0 to 65535"),
            ("invalid", "0.5 is not a whole number"),
        ],
    );
    check(
        json!({ "holding": 0, "invalid": "none" }),
        &[("invalid", "expected a number such as 0x8000 or -999, found \"none\"")],
    );
}

#[test]
fn names_belong_to_numbers_that_can_come() {
    check(json!({ "holding": 0, "type": "i16", "names": { "-1": "fault", "0x10": "off", "2": true } }), &[]);
    check(json!({ "coil": 0, "names": { "0": "closed", "1": "open" } }), &[]);
    check(json!({ "coil": 0, "names": { "2": "ajar" } }), &[("names", "2 is not a value of bool, which holds 0 to 1")]);
    check(
        json!({ "holding": 0, "type": "f32", "names": { "0": "off" } }),
        &[("names", "the type f32 is no whole number and has no names")],
    );
    check(
        json!({ "holding": 0, "names": { "0": "off", "0x0": "on", "3": "off", "x": "y" } }),
        &[
            ("names.0x0", "0 has a name already"),
            ("names.3", "another number is called off already"),
            ("names.x", "`x` is not a number from -9223372036854775808 to 9223372036854775807"),
        ],
    );
    check(
        json!({ "holding": 0, "names": { "0": "off" }, "scale": 0.1, "unit": "V" }),
        &[("scale", "a point with names has no scale"), ("unit", "a point with names has no unit")],
    );
    check(json!({ "holding": 0, "names": {} }), &[("names", "expected numbers with names, found a mapping")]);
}

#[test]
fn flags_belong_to_bits_that_are_there() {
    check(json!({ "holding": 0, "type": "u32", "flags": { "31": "door" } }), &[]);
    check(
        json!({ "holding": 0, "flags": { "16": "door" } }),
        &[("flags", "u16 has no bit 16, they are counted from 0")],
    );
    let only = "only one unsigned number, such as a u16, has flags";
    check(json!({ "holding": 0, "type": "i16", "flags": { "0": "door" } }), &[("flags", only)]);
    check(json!({ "holding": 0, "count": 2, "flags": { "0": "door" } }), &[("flags", only)]);
    check(
        json!({ "holding": 0, "names": { "0": "a" }, "flags": { "0": "b" } }),
        &[("flags", "`names` and `flags` exclude each other")],
    );
}

#[test]
fn a_counter_only_counts_up_and_is_not_written() {
    check(json!({ "holding": 0, "type": "u32", "counter": true, "scale": 0.001, "unit": "kWh" }), &[]);
    check(json!({ "holding": 0, "type": "bcd32", "wraps_at": 10_000_000 }), &[]);
    check(
        json!({ "holding": 0, "type": "i16", "counter": true }),
        &[("counter", "the type i16 is no counter: it has to be unsigned or BCD")],
    );
    check(json!({ "holding": 0, "wraps_at": 65_537 }), &[("wraps_at", "the type u16 begins anew at 65536 already")]);
    check(json!({ "holding": 0, "counter": true, "write": {} }), &[("write", "a point with counter has no write")]);
    check(
        json!({ "holding": 0, "names": { "0": "a" }, "counter": true }),
        &[("counter", "a point with names has no counter")],
    );
}

#[test]
fn an_address_from_a_manual_is_pointed_out() {
    let warnings = |points: Json| {
        let link = json!({ "tcp": "a", "devices": { "tank": { "unit": 1, "points": points } } });
        let (settings, problems) = decode(&link);
        assert!(settings.is_some() && problems.iter().all(Problem::is_warning), "{problems:?}");
        problems
    };
    let found = warnings(json!({ "a": { "holding": 40_101 }, "b": { "input": 30_001 }, "c": { "holding": 5 } }));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].path, "devices.tank.points.a.holding");
    assert_eq!(
        found[0].message,
        "40101 looks like a number from a manual, and so does one more address of this device"
    );
    let help = found[0].help.as_ref().unwrap();
    assert!(help.contains("40101 in a manual is `holding: 100`") && help.contains("write 0x9CA5"), "{help}");
    let none = json!({ "a": { "holding": 40_000 }, "b": { "input": 40_001 }, "c": { "coil": 10_001 } });
    assert_eq!(warnings(none), []);

    let (_, problems) = decode(&link_with(json!({ "holding": 400_001 })));
    assert_eq!(problems[0].message, "400001 is out of range (0–65535)");
    assert_eq!(problems[0].help.as_deref(), Some("addresses are counted from 0: 400001 in a manual is 0"));
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
    for key in ["coil", "discrete", "holding", "input", "type", "length", "order", "names", "flags", "scale", "write"] {
        assert!(point["properties"][key]["description"].is_string(), "{key}");
    }
}

#[test]
fn registers_beside_a_value_are_near_it_and_of_its_kind() {
    check(json!({ "holding": 50083, "type": "i16", "scale_from": 50084, "requires": { "50069": 103 } }), &[]);
    check(
        json!({ "holding": 0, "type": "u32", "scale_from": 125 }),
        &[("scale_from", "it is read with the value, and that would take 126 registers")],
    );
    check(
        json!({ "input": 0, "requires": { "65535": 1 } }),
        &[("requires", "it is read with the value, and that would take 65535 registers")],
    );
    check(json!({ "coil": 0, "requires": { "1": 1 } }), &[("requires", "a coil has no requires")]);
    check(
        json!({ "holding": 0, "type": "string", "length": 2, "scale_from": 9 }),
        &[("scale_from", "only numbers are scaled")],
    );
    check(
        json!({ "holding": 0, "names": { "1": "on" }, "scale_from": 9 }),
        &[("scale_from", "only numbers are scaled")],
    );
    check(json!({ "holding": 0, "scale_from": 9, "write": {} }), &[("write", "a point with scale_from has no write")]);
    check(json!({ "holding": 0, "requires": { "a": 1 } }), &[("requires.a", "`a` is no address from 0 to 65535")]);
    check(json!({ "holding": 0, "requires": { "1": 1, "0x1": 2 } }), &[("requires.0x1", "register 1 is here twice")]);
    check(json!({ "holding": 0, "requires": {} }), &[("requires", "expected registers with numbers, found a mapping")]);
}

#[test]
fn on_a_serial_bus_unit_0_is_a_broadcast_or_a_mistake() {
    let point = json!({ "holding": 0, "write": {} });
    let link = |way: &str, device: Json| {
        let mut link = json!({ "devices": { "all": device } });
        link[way] = json!(if way == "serial" { "/dev/ttyUSB0" } else { "127.0.0.1:5020" });
        decode(&link).1
    };
    let alone = json!({ "unit": 0, "points": { "level": point } });
    let broadcast = json!({ "unit": 0, "broadcast": true, "points": { "level": point } });
    for way in ["serial", "rtu_over_tcp"] {
        let problems = link(way, alone.clone());
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(!problems[0].is_warning() && problems[0].message.contains("every device at once"), "{problems:?}");
        assert_eq!(problems[0].path, "devices.all.unit");
        assert_eq!(link(way, broadcast.clone()), []);
    }
    // Over TCP it is the device itself, for many.
    assert_eq!(link("tcp", alone), []);
}

#[test]
fn two_devices_with_one_unit_id_are_worth_a_warning() {
    let device = json!({ "unit": 3, "points": { "level": { "holding": 0 } } });
    let (settings, problems) = decode(&json!({ "tcp": "127.0.0.1:5020", "devices": {
        "tank": device, "well": { "unit": 4, "points": { "level": { "holding": 0 } } }, "pump": device,
    } }));
    assert!(settings.is_some());
    let told: Vec<_> = problems.iter().map(|p| (p.is_warning(), p.path.as_str(), p.message.as_str())).collect();
    assert_eq!(told, [(true, "devices.pump.unit", "unit 3 is `tank` on this link already")]);
}
