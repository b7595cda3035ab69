//! The profiles that are part of the program: the files in `config/profiles`, in its folder `mqtt` those of
//! devices that speak MQTT, and in its folder `ble`
//! those of Bluetooth sensors.

/// Names and texts, from a list that a test holds complete.
macro_rules! profiles {
    (in $folder:literal: $($name:literal),* $(,)?) => {
        const PROFILES: &[(&str, &str)] = &[
            $(($name, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), $folder, $name, ".yaml")))),*
        ];

        /// The names, sorted.
        pub fn names() -> impl Iterator<Item = &'static str> {
            PROFILES.iter().map(|(name, _)| *name)
        }

        /// The text of a profile.
        pub fn get(name: &str) -> Option<&'static str> {
            PROFILES.iter().find(|(candidate, _)| *candidate == name).map(|(_, text)| *text)
        }

        /// What a profile is for: its first line.
        pub fn title(name: &str) -> &'static str {
            let first = get(name).and_then(|text| text.lines().next()).unwrap_or_default();
            first.trim_start_matches(['#', ' '])
        }
    };
}

profiles! {
    in "/config/profiles/":
    "abb-b21",
    "abb-b23",
    "carlo-gavazzi-em24",
    "carlo-gavazzi-em24-e1",
    "carlo-gavazzi-em340",
    "chint-dtsu666",
    "deye-sg04lp3",
    "deye-string",
    "eastron-sdm120",
    "eastron-sdm230",
    "eastron-sdm630",
    "eastron-sdm72d-m",
    "eastron-sdm72d-m-v2",
    "eletechsup-r4dcb08",
    "finder-7m-24",
    "finder-7m-38",
    "growatt-tl3-x",
    "huawei-sun2000",
    "huawei-sun2000-hybrid",
    "inepro-pro380",
    "janitza-umg",
    "moxa-iologik-e1210",
    "moxa-iologik-e1211",
    "moxa-iologik-e1212",
    "moxa-iologik-e1214",
    "orno-or-we-516",
    "schneider-iem3000",
    "shelly-pro-3em",
    "siemens-pac2200",
    "sma-battery-inverter",
    "sma-inverter",
    "sungrow-sh",
    "sunspec-1",
    "sunspec-101",
    "sunspec-102",
    "sunspec-103",
    "sunspec-111",
    "sunspec-112",
    "sunspec-113",
    "sunspec-201",
    "sunspec-202",
    "sunspec-203",
    "sunspec-204",
    "sunspec-211",
    "sunspec-212",
    "sunspec-213",
    "sunspec-214",
    "victron-gx-battery",
    "victron-gx-grid",
    "victron-gx-system",
    "victron-vm-3p75ct",
    "wago-750-digital",
    "waveshare-relay-8",
    "waveshare-relay-d",
    "wp8025adam",
    "xy-md02",
}

/// Descriptions of Bluetooth sensors.
pub mod ble {
    profiles! {
        in "/config/profiles/ble/":
        "acconeer-xm122",
        "almendo-blusensor",
        "aranet-radon",
        "aranet2",
        "aranet4",
        "b-parasite",
        "blustream-humiditrak",
        "brifit-t201",
        "ela-blue",
        "ela-blue-service",
        "jaalee-jht",
        "jaalee-jht-ibeacon",
        "kegtron",
        "mikrotik-tg-bt5",
        "minew-sensor",
        "moat-s2",
        "mocreo",
        "omron-2jcie-bl01",
        "rapt-pill",
        "relsib-eclerk",
        "sensirion-gadget",
        "smartdry",
        "teltonika-eye",
        "tpms",
    }
}

/// Devices that speak MQTT.
pub mod mqtt {
    profiles! {
        in "/config/profiles/mqtt/":
        "esphome-climate",
        "esphome-switch",
        "shelly-gen1-ht",
        "shelly-gen1-plug",
        "shelly-gen2-switch",
        "tasmota-plug",
        "tasmota-sensor",
        "tasmota-switch",
        "theengs",
        "zigbee2mqtt-plug",
        "zigbee2mqtt-sensor",
    }
}
