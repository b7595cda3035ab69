//! Settings as a site file holds them, written as JSON here.

use serde_json::json;
use wharf_test_support::settings;

use super::*;
use crate::device::Identity;
use crate::value::ValueType;

pub fn read(value: &serde_json::Value) -> (Option<LinkSettings>, Vec<String>) {
    let (settings, problems) = settings::read(value);
    (settings, problems.iter().map(settings::mistake).collect())
}

/// Settings without a mistake.
pub fn link(value: &serde_json::Value) -> LinkSettings {
    let (settings, problems) = read(value);
    assert_eq!(problems, [""; 0], "{value}");
    settings.unwrap()
}

fn check(value: &serde_json::Value, expected: &[&str]) {
    assert_eq!(read(value).1, expected, "{value}");
}

fn check_device(device: &serde_json::Value, expected: &[&str]) {
    check(&json!({ "devices": { "d": device } }), expected);
}

#[test]
fn the_shortest_settings_have_usual_defaults() {
    let settings = link(&json!({ "devices": { "boiler": { "points": { "t": { "topic": "boiler/t" } } } } }));
    let shapes = settings.shapes();
    let point = &shapes[0].points[0];
    assert!(matches!(&shapes[0].identity, Identity::Named(name) if name.as_str() == "boiler"));
    assert_eq!((point.topics[0].as_str(), point.meaning.kind), ("boiler/t", ValueType::Number));
    assert!(settings.broker.is_none() && shapes[0].retained == Retained::LastKnown);
}

#[test]
fn the_type_of_a_point_follows_from_its_words() {
    let points =
        json!({ "switch": { "on": "ON", "off": "OFF" }, "mode": { "names": { "heat": 1 } }, "t": { "type": "f64" } });
    let shapes = link(&json!({ "devices": { "d": { "topic": "d", "points": points } } })).shapes();
    let kinds: Vec<ValueType> = shapes[0].points.iter().map(|point| point.meaning.kind).collect();
    assert_eq!(kinds, [ValueType::Bool, ValueType::Text, ValueType::Number]);
}

#[test]
fn the_name_of_a_listed_device_stands_for_device_in_its_topics() {
    let shapes =
        link(&json!({ "devices": { "lamp": { "topic": "z/{device}", "points": { "t": { "path": "t" } } } } })).shapes();
    assert_eq!(shapes[0].points[0].topics[0].as_str(), "z/lamp");
}

#[test]
fn mistakes_are_named_where_they_stand() {
    check_device(
        &json!({ "points": { "t": {} } }),
        &["mqtt.d.points.t: `topic` is missing".replace("mqtt.d", "devices.d").as_str()],
    );
    check_device(
        &json!({ "topic": "a/#", "points": {} }),
        &["devices.d.topic: # would be too much: + stands for one level, {device} for one that names the device"],
    );
    let with = |point: serde_json::Value| json!({ "topic": "a", "points": { "p": point } });
    check_device(&with(json!({ "path": "a..b" })), &["devices.d.points.p.path: a name in the path is empty"]);
    let foreign =
        |path: &str| format!("devices.d.points.p.path: `{path}` is taken for plain names, and leads nowhere then");
    for path in ["$.ENERGY.Power", "/ENERGY/Power", "{{ value_json.ENERGY.Power }}"] {
        check_device(&with(json!({ "path": path })), &[&foreign(path)]);
    }
    check_device(
        &with(json!({ "min": 5, "max": 1 })),
        &["devices.d.points.p.max: the maximum 1 is below the minimum 5"],
    );
    check_device(&with(json!({ "type": "text", "scale": 2 })), &["devices.d.points.p.scale: `scale` is about numbers"]);
    check_device(&with(json!({ "on": "1" })), &["devices.d.points.p.on: `on` needs `off` beside it"]);
    check_device(
        &with(json!({ "on": "1", "off": ["0", "1"] })),
        &["devices.d.points.p.off: `1` cannot be both on and off"],
    );
    check_device(&with(json!({ "write": {} })), &["devices.d.points.p.write: `topic` is missing"]);
    check_device(
        &with(json!({ "write": { "topic": "a/+/set" } })),
        &["devices.d.points.p.write.topic: `a/+/set` stands for many topics, and one is published on"],
    );
    check_device(
        &with(json!({ "write": { "topic": "a/set", "payload": "TOGGLE" } })),
        &["devices.d.points.p.write.payload: the value has no place in it"],
    );
    check(&json!({ "password": "x" }), &["password: MQTT 3.1.1 knows no password without a username"]);
    check(
        &json!({ "broker": "mqtt://u:hunter2@h" }),
        &["broker: a user or password cannot stand in the URL: use username: and password:"],
    );
    check(
        &json!({ "broker": "192.168.1.5" }),
        &["broker: a URL begins with mqtt:// or mqtts:// here: mqtt://192.168.1.5"],
    );
    check(&json!({ "broker": "mqtt://h", "tls": {} }), &["tls: `tls` has no effect: the connection is not encrypted"]);
}

#[test]
fn devices_to_discover_have_a_level_that_names_them_and_are_not_written() {
    check(
        &json!({ "discover": [{ "topic": "z/all", "points": { "t": { "path": "t" } } }] }),
        &["discover[0]: `z/all` does not say which device it is"],
    );
    check(
        &json!({ "discover": [{ "topic": "z/{device}", "points": { "t": { "path": "t", "write": { "topic": "z/set" } } } }] }),
        &["discover[0].points.t: a point of devices that are discovered cannot be written"],
    );
    check(&json!({ "discover": [{ "topic": "z/{device}" }] }), &["discover[0]: `points` is missing"]);
    let with = |available: serde_json::Value| json!({ "discover": [{ "topic": "z/{device}", "available": available, "points": { "t": { "path": "t" } } }] });
    check(
        &with(json!({ "topic": "z/bridge/state" })),
        &["discover[0]: `z/bridge/state` does not say which device it is"],
    );
    check(&with(json!([{ "topic": "z/{device}/up" }, { "topic": "z/bridge/state", "of": "gateway" }])), &[]);
    check(&with(json!([])), &["discover[0].available: the list is empty"]);
}
