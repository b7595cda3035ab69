//! Settings as a site file holds them, written as JSON here.

use serde_json::json;
use wharf_contract::Unit;
use wharf_test_support::settings;

use super::*;

fn read(value: serde_json::Value) -> (Option<LinkSettings>, Vec<String>) {
    let (settings, problems) = settings::read(&value);
    (settings, problems.iter().map(settings::told).collect())
}

fn mistakes(value: serde_json::Value) -> Vec<String> {
    read(value).1
}

fn with_devices(devices: serde_json::Value) -> serde_json::Value {
    json!({ "tcp": "192.168.1.50", "devices": devices })
}

#[test]
fn the_shortest_settings_have_usual_defaults() {
    let (settings, problems) = read(json!({ "tcp": "192.168.1.50" }));
    assert_eq!(problems, [""; 0]);
    let settings = settings.unwrap();
    assert_eq!(settings.tcp.as_ref().map(ToString::to_string).as_deref(), Some("192.168.1.50:5003"));
    assert_eq!(settings.echo_timeout, Period::secs(2));
    assert!(settings.nodes("garden".into()).catalogue().is_empty());
}

#[test]
fn a_whole_network_is_read() {
    let (settings, problems) = read(json!({
        "serial": "/dev/serial/by-id/usb-Arduino",
        "baud": 38_400,
        "echo_timeout": "500ms",
        "devices": { "soil": { "node": 2, "points": {
            "moisture": { "child": 1, "type": "level" },
            "valve": { "child": 3, "type": "V_STATUS", "write": null },
            "target": { "child": 4, "type": "percentage", "write": { "min": 10, "max": 90, "verify": true } },
            "4-temp": { "child": 4, "type": "temp" },
        } } },
    }));
    assert_eq!(problems, [""; 0]);
    let catalogue = settings.unwrap().nodes("garden".into()).catalogue();
    let names: Vec<_> = catalogue.iter().map(|info| format!("{}/{}", info.device, info.point)).collect();
    assert_eq!(names, ["soil/moisture", "soil/valve", "soil/target", "soil/4-temp"]);
    assert_eq!(catalogue[0].write, None);
    assert_eq!(catalogue[1].write.as_deref(), Some(&WriteRule::default()));
    assert_eq!(
        catalogue[2].write.as_deref(),
        Some(&WriteRule { min: Some(10.0), max: Some(90.0), verify: true, ..WriteRule::default() })
    );
    assert_eq!(catalogue[2].unit.as_ref().map(Unit::as_str), Some("%"));
}

#[test]
fn one_way_to_the_gateway_has_to_be_named_and_baud_is_for_serial_ports() {
    for wrong in
        [json!({}), json!({ "serial": "/dev/ttyUSB0", "tcp": "gateway" }), json!({ "tcp": "gateway", "baud": 9600 })]
    {
        assert_eq!(mistakes(wrong.clone()).len(), 1, "{wrong}");
    }
    let port = mistakes(json!({ "serial": "ttyUSB0" }));
    assert_eq!(
        port,
        ["serial: \"ttyUSB0\" is not the full path of a serial port \
         [write it from the root, such as /dev/serial/by-id/usb-FTDI…]"]
    );
}

#[test]
fn a_type_that_was_nearly_right_is_suggested() {
    let with_type = |name: &str| {
        mistakes(with_devices(json!({ "soil": { "node": 2, "points": { "x": { "child": 1, "type": name } } } })))
    };
    let path = "devices.soil.points.x.type";
    assert_eq!(with_type("tmep"), [format!("{path}: \"tmep\" is not a value type [did you mean `temp`?]")]);
    assert_eq!(with_type("V_Level"), [format!("{path}: \"V_Level\" is not a value type [did you mean `level`?]")]);
    let strange = &with_type("quicksilver")[0];
    assert!(strange.contains("it is the V_ name of the MySensors library in lower case"), "{strange}");
}

#[test]
fn two_things_cannot_be_one() {
    let point = json!({ "child": 1, "type": "temp" });
    let same_value = with_devices(json!({ "soil": { "node": 2, "points": { "a": point, "b": point } } }));
    assert_eq!(mistakes(same_value), ["devices.soil.points.b: child 1 has another point of type temp"]);
    let same_node = with_devices(json!({ "soil": { "node": 2 }, "shed": { "node": 2 } }));
    assert_eq!(mistakes(same_node), ["devices.shed: node 2 is `soil` already"]);
}

#[test]
fn a_point_cannot_take_the_name_that_another_has_by_itself() {
    for name in ["battery", "presentation", "internal-time", "2-temp", "1-hum"] {
        let point = json!({ name: { "child": 1, "type": "temp" } });
        let found = mistakes(with_devices(json!({ "soil": { "node": 2, "points": point } })));
        assert_eq!(
            found,
            [format!(
                "devices.soil.points.{name}: `{name}` is a name that values without a declaration have by \
             themselves [choose another name]"
            )]
        );
    }
}

#[test]
fn limits_are_refused_where_no_number_can_be() {
    let point = json!({ "child": 1, "type": "status", "write": { "max": 1 } });
    let found = mistakes(with_devices(json!({ "soil": { "node": 2, "points": { "valve": point } } })));
    assert_eq!(
        found,
        ["devices.soil.points.valve.write: a value of type status is not a number, so it has no \
                        limits [remove min, max and step]"]
    );
}

#[test]
fn allowed_and_fail_safe_values_are_ones_that_a_node_can_be_sent() {
    let write = json!({ "allowed": ["on", 7], "fail_safe": { "after": "10m", "write": "on" } });
    let switch = json!({ "child": 1, "type": "status", "write": write });
    let dimmer = json!({ "child": 2, "type": "percentage", "write": { "fail_safe": { "after": "1m", "write": 101 } } });
    let points = json!({ "valve": switch, "dimmer": dimmer });
    assert_eq!(
        mistakes(with_devices(json!({ "soil": { "node": 2, "points": points } }))),
        [
            "devices.soil.points.valve.write.allowed: `7` is neither on nor off",
            "devices.soil.points.dimmer.write.fail_safe: 101 is not a percentage from 0 to 100",
        ]
    );
}

#[test]
fn every_mistake_is_found_at_once() {
    let found = mistakes(json!({
        "serial": "/dev/ttyUSB0", "baud": 5, "echo_timeout": 2,
        "devices": { "soil": { "node": 255, "points": { "x": { "child": "one", "type": "tmp" } } } },
    }));
    let paths: Vec<_> = found.iter().filter_map(|line| line.split_once(": ")).map(|(path, _)| path).collect();
    let (child, value_type) = ("devices.soil.points.x.child", "devices.soil.points.x.type");
    assert_eq!(paths, ["baud", "echo_timeout", "devices.soil.node", child, value_type]);
}

#[test]
fn the_schema_offers_both_spellings_of_a_type() {
    let schema = ValueType::schema();
    let words = schema["enum"].as_array().unwrap();
    for word in ["light_level", "V_LIGHT_LEVEL"] {
        assert!(words.contains(&json!(word)), "{word}");
    }
    assert_eq!(words.len(), 2 * types::VALUES.len());
}

#[test]
fn firmware_is_for_the_devices_that_name_it_or_for_every_node_of_its_type() {
    let firmware = |entries: serde_json::Value, device: &str| json!({ "tcp": "192.168.1.50", "firmware": entries, "devices": { "soil": { "node": 2, "firmware": device } } });
    let soil = json!({ "type": 1, "version": 3, "file": "soil.hex" });
    assert_eq!(mistakes(firmware(json!({ "soil-3": soil }), "soil-3")), [""; 0]);
    assert_eq!(
        mistakes(firmware(json!({ "soil-3": soil }), "soil-2")),
        [
            "devices.soil.firmware: there is no firmware `soil-2` on this link [did you mean `soil-3`?]",
            "firmware.soil-3: no node gets the firmware `soil-3` [name it in `firmware` of a device, or write every_node: true]",
        ]
    );
    let all = json!({ "type": 1, "version": 4, "file": "b.hex", "every_node": true });
    let both = json!({ "soil-3": soil, "all-4": all, "all-5": all });
    assert_eq!(mistakes(firmware(both, "soil-3")), ["firmware.all-5: every node of type 1 gets `all-4` already"]);
    let blank = json!({ "a": { "type": 65535, "version": 3, "file": "soil.hex", "max_size": "1MiB" } });
    let told = mistakes(firmware(blank, "a"));
    assert!(told[0].contains("out of range (128B–512KiB)"), "{told:?}");
}

#[test]
fn a_link_is_on_a_port_or_on_a_socket_or_on_a_broker() {
    let (settings, problems) = read(json!({ "mqtt": { "prefix": "home/mygateway1" } }));
    assert_eq!(problems, [""; 0]);
    let Some(Transport::Mqtt(broker)) = settings.map(|settings| settings.transport()) else { panic!("it is a broker") };
    assert_eq!(broker.to_string(), "home/mygateway1-out on the gateway's own broker");
    for wrong in ["", "/a", "a/", "$a", "a+b", "#"] {
        let told = mistakes(json!({ "mqtt": { "prefix": wrong } }));
        assert!(told.len() == 1 && told[0].contains("before -out/"), "{wrong}: {told:?}");
    }
    assert_eq!(mistakes(json!({ "mqtt": { "prefix": "a" }, "tcp": "b" })).len(), 1);
    assert_eq!(mistakes(json!({ "mqtt": { "prefix": "a" }, "baud": 9600 })).len(), 1);
    assert_eq!(mistakes(json!({ "mqtt": { "prefix": "a", "username": "b" } })).len(), 1);
}
