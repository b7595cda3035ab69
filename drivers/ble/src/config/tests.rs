//! Settings as a site file holds them, written as JSON here.

use std::time::SystemTime;

use serde_json::json;
use tokio::time::Instant;
use wharf_contract::Value;
use wharf_test_support::settings::read_with;

use super::*;
use crate::advert::{Advert, Uuid};
use crate::roster::Roster;

/// A device with nothing said of it but its address.
pub(crate) fn device(address: &str) -> DeviceSettings {
    DeviceSettings {
        gatt: None,
        connect: None,
        pair: None,
        mac: Mac(address.parse().unwrap()),
        key: None,
        model: None,
        medium: None,
        implausible: Implausible::Refuse,
        heartbeat: Period::secs(600),
        every: None,
        quiet_after: None,
        points: Named::none(),
    }
}

fn read(value: &serde_json::Value) -> (Option<LinkSettings>, Vec<String>) {
    let secrets = |name: &str| match name {
        "file:fridge.key" => Ok("231d39c1d7cc1ab1aee224cd096db932".to_owned()),
        "file:short.key" => Ok("231d39c1d7".to_owned()),
        "file:lock.passkey" => Ok("654321\n".to_owned()),
        "file:short.passkey" => Ok("12345".to_owned()),
        _ => Err(format!("{name} cannot be read")),
    };
    let (settings, problems) = read_with(value, &secrets);
    let problems = problems.into_iter();
    (settings, problems.map(|problem| format!("{}: {}", problem.path, problem.message)).collect())
}

fn mistakes(device: serde_json::Value) -> Vec<String> {
    read(&json!({ "devices": { "fridge": device } })).1
}

#[test]
fn an_empty_link_listens_actively_with_the_first_adapter() {
    let (settings, problems) = read(&json!(null));
    assert_eq!(problems, [""; 0]);
    let settings = settings.unwrap();
    assert_eq!((settings.adapter, settings.scan, settings.unknown), (None, Scan::Active, Unknown::Ignore));
}

#[test]
fn a_whole_link_is_read() {
    let (settings, problems) = read(&json!({
        "adapter": "00:1a:7d:da:71:13",
        "scan": "passive",
        "unknown": "publish",
        "devices": {
            "fridge": { "mac": "a4c138565384", "key": "${file:fridge.key}", "heartbeat": "5m", "every": "10s",
                        "quiet_after": "30m", "points": { "temperature": { "offset": -0.3, "precision": 1 } } },
        },
        "adopt": [{ "model": "ATC_*", "rssi": -80, "name": "th-{short}", "most": 5 }],
    }));
    assert_eq!(problems, [""; 0]);
    let settings = settings.unwrap();
    assert_eq!(settings.adapter.as_ref().map(Adapter::as_str), Some("00:1A:7D:DA:71:13"));
    let fridge = settings.devices.get("fridge").unwrap();
    assert_eq!(fridge.mac.0.to_string(), "A4:C1:38:56:53:84");
    assert_eq!(fridge.points.get("temperature").unwrap().offset, Some(-0.3));
    assert_eq!(settings.adopt[0].most.get(), 5);
}

#[test]
fn a_device_is_paired_with_by_six_digits_or_without_any() {
    let paired = |pair: serde_json::Value| {
        let device = json!({ "mac": "a4c138565384", "gatt": "battery", "pair": pair });
        let (settings, problems) = read(&json!({ "devices": { "fridge": device } }));
        assert_eq!(problems, [""; 0]);
        settings.unwrap().devices.get("fridge").unwrap().pair.unwrap()
    };
    let Pairing::Passkey(passkey) = paired(json!("012345")) else { panic!() };
    assert_eq!(passkey.expose(), 12345);
    assert_eq!(paired(json!(123_456)), Pairing::Passkey("123456".parse().unwrap()));
    assert_eq!(paired(json!("${file:lock.passkey}")), Pairing::Passkey("654321".parse().unwrap()));
    assert_eq!(paired(json!("just-works")), Pairing::JustWorks);
}

#[test]
fn a_passkey_is_never_shown_right_or_wrong() {
    let passkey = paired_with("012345");
    assert!(!format!("{:?}", passkey.0).contains("12345"));
    for wrong in ["12345", "1234567", "12345x", "+12345", "${file:short.passkey}"] {
        let (_, problems) = paired_with(wrong);
        assert_eq!(problems.len(), 1, "{problems:?}");
        let problem = &problems[0];
        assert!(problem.starts_with("devices.fridge.pair: a passkey has six digits"), "{problem}");
        assert!(!problem.contains("12345"), "{problem}");
    }
    assert_eq!(mistakes(json!({ "mac": "a4c138565384", "gatt": "battery", "pair": true })).len(), 1);
}

fn paired_with(pair: &str) -> (Option<LinkSettings>, Vec<String>) {
    read(&json!({ "devices": { "fridge": { "mac": "a4c138565384", "gatt": "battery", "pair": pair } } }))
}

#[test]
fn a_device_that_is_not_connected_to_is_not_paired_with() {
    let wrong = mistakes(json!({ "mac": "a4c138565384", "pair": "just-works" }));
    assert_eq!(wrong, ["devices.fridge.pair: a device that is only listened to is not paired with"]);
}

#[test]
fn a_key_is_never_shown_right_or_wrong() {
    let (settings, _) = read(&json!({ "devices": { "fridge": {
        "mac": "a4c138565384", "key": "${file:fridge.key}" } } }));
    assert!(!format!("{settings:?}").contains("231d39"));
    for key in ["${file:short.key}", "231d39c1d7"] {
        let wrong = mistakes(json!({ "mac": "a4c138565384", "key": key }));
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert!(wrong[0].starts_with("devices.fridge.key: ") && !wrong[0].contains("231d39"), "{wrong:?}");
    }
}

#[test]
fn two_devices_cannot_have_one_address() {
    let (_, problems) = read(&json!({ "devices": {
        "fridge": { "mac": "A4:C1:38:56:53:84" }, "freezer": { "mac": "a4-c1-38-56-53-84" } } }));
    assert_eq!(problems, ["devices.freezer: A4:C1:38:56:53:84 is `fridge` already"]);
}

#[test]
fn what_is_no_address_adapter_or_template_is_told() {
    assert_eq!(mistakes(json!({ "mac": "A4:C1:38" })).len(), 1);
    assert_eq!(read(&json!({ "adapter": "usb" })).1.len(), 1);
    assert_eq!(read(&json!({ "adopt": [{ "model": "*", "name": "th" }] })).1.len(), 1);
    assert_eq!(read(&json!({ "adopt": [{ "model": " " }] })).1.len(), 1);
}

#[test]
fn a_value_that_no_format_has_is_warned_of_and_two_of_one_name_are_a_mistake() {
    let with = |points: serde_json::Value| mistakes(json!({ "mac": "a4c138565384", "points": points }));
    assert_eq!(with(json!({ "temperature_2": { "offset": 1 }, "service_fcd2": null })), [""; 0]);
    assert_eq!(
        with(json!({ "temprature": { "offset": 1 } })),
        ["devices.fridge.points.temprature: no value that a format reads is called `temprature`"]
    );
    assert_eq!(with(json!({ "humidity": { "name": "temperature" }, "temperature": null })).len(), 1);
    assert_eq!(with(json!({ "humidity": { "drop": true, "offset": 1 } })).len(), 1);
    assert_eq!(with(json!({ "humidity": { "scale": 0 } })).len(), 1);
}

const MAC: &str = "A4:C1:38:56:53:84";

/// What is wrong with a device of these points.
fn mistakes_of_points(points: serde_json::Value) -> Vec<String> {
    mistakes(json!({ "mac": MAC, "points": points }))
}

#[test]
fn characteristics_are_read_with_all_they_may_say() {
    let (settings, problems) = read(&json!({ "connections": 2, "devices": { "probe": {
        "mac": MAC, "connect": "keep", "gatt": ["battery", "environmental"],
        "points": {
            "temperature": { "every": "10m", "name": "room" },
            "uv_index": { "drop": true },
            "warm": { "characteristic": "2a6e", "notify": true },
            "mode": { "characteristic": "ef680203-9b35-4933-9b10-52ffa9740042", "service": "0xfff0", "type": "u8",
                      "names": { "0": "off", "1": "eco" }, "write": { "allowed": ["off", "eco"] } },
            "level": { "characteristic": "fff1", "type": "i16", "at": 2, "order": "ABCD", "scale": 0.1, "offset": -5,
                       "invalid": [-32768, -1], "precision": 1, "unit": "mm", "every": "5s" },
            "door": { "characteristic": "fff1", "bit": 3 },
            "label": { "characteristic": "fff2", "type": "string", "length": 8 },
            "weight": { "characteristic": "2a9d", "type": "medfloat16", "at": 1, "scale": 0.5, "unit": "kg" },
        },
    } } }));
    assert_eq!(problems, [""; 0]);
    let targets = crate::gatt::target::targets(&settings.unwrap());
    let [probe] = targets.as_slice() else { panic!("{targets:?}") };
    let names: Vec<_> = probe.points.iter().map(|point| point.name.as_str()).collect();
    assert!(probe.keep && names.contains(&"room") && names.contains(&"humidity") && !names.contains(&"uv_index"));
    let point = |name: &str| probe.points.iter().find(|point| point.name.as_str() == name).unwrap();
    assert_eq!(point("room").every, Some(Duration::from_secs(600)));
    assert_eq!(point("warm").unit.as_ref().map(ToString::to_string).as_deref(), Some("°C"));
    assert_eq!((point("warm").every, point("door").every), (None, Some(Duration::from_secs(60))));
    let level = &point("level").codec;
    assert_eq!(level.decode(&[0, 0, 0xff, 0x9c]), Ok(wharf_contract::Value::Float(-15.0)));
    assert!(level.decode(&[0, 0, 0x80, 0x00]).is_err() && level.decode(&[0, 0, 0xff, 0xff]).is_err());
    assert_eq!(point("door").codec.decode(&[8]), Ok(wharf_contract::Value::Bool(true)));
    assert_eq!(point("weight").codec.decode(&[0, 0x6a, 0xf1]), Ok(wharf_contract::Value::Float(18.1)));
}

#[test]
fn a_device_is_kept_connected_where_it_is_read_often_or_tells_by_itself() {
    let keeps = |device: serde_json::Value| {
        let (settings, problems) = read(&json!({ "devices": { "probe": device } }));
        assert_eq!(problems, [""; 0]);
        crate::gatt::target::targets(&settings.unwrap()).first().unwrap().keep
    };
    let with = |point: serde_json::Value| json!({ "mac": MAC, "points": { "t": point } });
    assert!(keeps(with(json!({ "characteristic": "2a6e", "notify": true }))));
    assert!(keeps(with(json!({ "characteristic": "2a6e", "every": "10s" }))));
    assert!(!keeps(with(json!({ "characteristic": "2a6e", "every": "1m" }))));
    assert!(!keeps(json!({ "mac": MAC, "gatt": "battery" })));
    assert!(keeps(json!({ "mac": MAC, "gatt": "nordic-thermometer" })));
    assert!(keeps(json!({ "mac": MAC, "gatt": "battery", "connect": "keep" })));
}

#[test]
fn what_cannot_be_meant_of_a_characteristic_is_told() {
    let check = |points: serde_json::Value, expected: &str| {
        let mistakes = mistakes_of_points(points);
        assert!(mistakes.iter().any(|mistake| mistake.contains(expected)), "{mistakes:?}");
    };
    check(json!({ "t": { "characteristic": "warm" } }), "is no UUID");
    check(json!({ "t": { "characteristic": "fff1", "type": "u8", "flags": { "8": "fan" } } }), "there is no bit 8");
    check(json!({ "t": { "characteristic": "fff1", "type": "u8", "names": { "256": "on" } } }), "256 does not fit");
    check(json!({ "t": { "characteristic": "fff1", "type": "u16", "at": 511 } }), "a value has 512 at most");
    let write = json!({ "min": -1 });
    check(
        json!({ "t": { "characteristic": "fff1", "type": "u8", "write": write } }),
        "write.min: the point cannot hold -1",
    );
    check(json!({ "t": { "characteristic": "fff1" } }), "what characteristic fff1 holds is not known here");
    check(json!({ "temperature": { "type": "i16" } }), "only what is read over a connection has this `type`");
    check(json!({ "t": { "characteristic": "2a6e", "scale": 0.1 } }), "laid down by the standard has no scale");
    check(json!({ "t": { "characteristic": "fff1", "type": "string", "scale": 2 } }), "a string has no scale");
    check(json!({ "t": { "characteristic": "fff1", "type": "u8", "bit": 8 } }), "there is no bit 8");
    check(json!({ "t": { "characteristic": "fff1", "bit": 1, "write": {} } }), "as a whole can be written");
    check(
        json!({ "t": { "characteristic": "fff1", "type": "u8", "at": 1, "write": {} } }),
        "as a whole can be written",
    );
    check(
        json!({ "t": { "characteristic": "fff1", "type": "u8", "write": { "allowed": [300] } } }),
        "300 does not fit",
    );
    check(json!({ "t": { "characteristic": "fff1", "type": "u8", "invalid": 256 } }), "does not fit 8 bits");
    check(json!({ "t": { "characteristic": "2a6e", "drop": true } }), "a characteristic has no drop");
    let mistaken = mistakes(json!({ "mac": MAC, "connect": "keep" }));
    assert!(mistaken.iter().any(|mistake| mistake.contains("nothing to connect for")), "{mistaken:?}");
    let silent =
        json!({ "mac": MAC, "connect": "poll", "points": { "t": { "characteristic": "2a6e", "notify": true } } });
    assert!(mistakes(silent).iter().any(|mistake| mistake.contains("tells nothing by itself")));
    let twice = mistakes(json!({ "mac": MAC, "gatt": ["environmental", "nordic-thermometer"] }));
    assert!(twice.iter().any(|mistake| mistake.contains("two of these have a value called temperature")), "{twice:?}");
}

#[test]
fn whoever_adopts_is_told_that_the_neighbours_have_sensors_too() {
    let adopt = |rule: serde_json::Value| read(&json!({ "adopt": [rule] }));
    let (settings, told) = adopt(json!({ "model": "ATC_*" }));
    assert!(settings.is_some(), "it is a warning");
    assert_eq!(told, ["adopt[0].rssi: without `rssi` those of the neighbours are adopted, too"]);
    assert_eq!(adopt(json!({ "model": "ATC_*", "rssi": -127 })).1, [""; 0]);
}

#[test]
fn what_no_sensor_can_have_measured_is_let_through_where_the_site_says_so() {
    for (device, expected) in [
        (json!({ "mac": "a4c138565384" }), None),
        (json!({ "mac": "a4c138565384", "implausible": "publish" }), Some(Value::Float(127.5))),
    ] {
        let settings = read(&json!({ "devices": { "fridge": device } })).0.unwrap();
        let mut roster = Roster::new(&settings);
        let mut damp = Advert::new("A4:C1:38:56:53:84".parse().unwrap());
        damp.service_data.insert(Uuid::short(0xfcd2), vec![0x40, 0x03, 0xce, 0x31]);
        roster.hear(&damp, None, SystemTime::UNIX_EPOCH, Instant::now(), &mut Vec::new());
        assert_eq!(roster.last(&"fridge".into(), "humidity"), expected.as_ref());
    }
}

#[test]
fn a_passive_link_warns_of_sensors_that_say_something_only_if_they_are_asked() {
    let link = |scan: &str| {
        let models = ["H5075", "Meter", "LYWSD03MMC", "SwitchBot"];
        let device =
            |(n, model): (usize, &&str)| (format!("d{n}"), json!({ "mac": format!("a4c13856538{n}"), "model": model }));
        let devices: serde_json::Map<_, _> = models.iter().enumerate().map(device).collect();
        let adopt = [json!({ "model": "ATC_*", "rssi": -80 }), json!({ "model": "GVH5075*", "rssi": -80 })];
        read(&json!({ "scan": scan, "devices": devices, "adopt": adopt }))
    };
    assert_eq!(link("active").1, [""; 0]);
    let (settings, told) = link("passive");
    assert!(settings.is_some(), "it is a warning");
    let places: Vec<_> = told.iter().filter_map(|problem| problem.split_once(": ")).map(|(place, _)| place).collect();
    assert_eq!(places, ["devices.d0.model", "devices.d1.model", "devices.d3.model", "adopt[1].model"], "{told:?}");
}
