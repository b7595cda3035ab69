//! Characteristics whose meaning the Bluetooth SIG has laid down, and the services they are found in.
//!
//! Sources: Assigned Numbers (services 180f, 180a, 181a, 1809; the UUIDs below), GATT Specification
//! Supplement v5 (types, exponents, the values for "not known"; what has none there has none here),
//! Health Thermometer Service 1.0. Irradiance is in tenths of W/m², as the older XML definitions have it.
//! A CO₂ of 65534 stands for that or more.

use std::time::Duration;

use crate::advert::described::exact::{Decimal, Linear};
use crate::advert::described::field::{Field, Form, Meaning};
use crate::advert::{Kind, Uuid};

use super::value::{AS_IT_IS, Codec, Coding};

/// A standard characteristic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standard {
    /// The name its value gets.
    pub(crate) name: &'static str,
    pub(crate) characteristic: u16,
    pub(crate) service: u16,
    pub(crate) unit: &'static str,
    pub(crate) kind: Kind,
    /// How often it is read; `None` where the device tells by itself.
    pub(crate) every: Option<Duration>,
    coding: Plain,
}

/// How it stands there.
#[derive(Clone, Copy, Debug)]
enum Plain {
    Text,
    Thermometer,
    /// Of a form; divided by this; with these bits for "not known".
    Number(Form, i64, Option<u64>),
}

const BATTERY: u16 = 0x180f;
const DEVICE_INFORMATION: u16 = 0x180a;
const ENVIRONMENTAL: u16 = 0x181a;
const HEALTH_THERMOMETER: u16 = 0x1809;

/// The services that the site file calls by a name, with their numbers.
pub(crate) const SERVICES: [(&str, u16); 4] = [
    ("battery", BATTERY),
    ("device-information", DEVICE_INFORMATION),
    ("environmental", ENVIRONMENTAL),
    ("nordic-thermometer", HEALTH_THERMOMETER),
];

const fn text(name: &'static str, characteristic: u16) -> Standard {
    Standard {
        name,
        characteristic,
        service: DEVICE_INFORMATION,
        unit: "",
        kind: Kind::Diagnostic,
        every: Some(Duration::from_secs(86_400)),
        coding: Plain::Text,
    }
}

const fn environmental(
    name: &'static str,
    characteristic: u16,
    unit: &'static str,
    form: Form,
    divide: i64,
    unknown: Option<u64>,
) -> Standard {
    Standard {
        name,
        characteristic,
        service: ENVIRONMENTAL,
        unit,
        kind: Kind::Measurement,
        every: Some(Duration::from_secs(60)),
        coding: Plain::Number(form, divide, unknown),
    }
}

/// All that are known here.
pub(crate) const ALL: [Standard; 19] = [
    Standard {
        name: "battery",
        characteristic: 0x2a19,
        service: BATTERY,
        unit: "%",
        kind: Kind::Diagnostic,
        every: Some(Duration::from_secs(3600)),
        coding: Plain::Number(Form::Unsigned(1), 1, None),
    },
    text("manufacturer", 0x2a29),
    text("model", 0x2a24),
    text("serial_number", 0x2a25),
    text("hardware", 0x2a27),
    text("firmware", 0x2a26),
    text("software", 0x2a28),
    environmental("temperature", 0x2a6e, "°C", Form::Signed(2), 100, Some(0x8000)),
    environmental("humidity", 0x2a6f, "%", Form::Unsigned(2), 100, Some(0xffff)),
    // In tenths of a pascal.
    environmental("pressure", 0x2a6d, "hPa", Form::Unsigned(4), 1000, None),
    environmental("dew_point", 0x2a7b, "°C", Form::Signed(1), 1, Some(0x80)),
    environmental("illuminance", 0x2afb, "lx", Form::Unsigned(3), 100, Some(0xff_ffff)),
    environmental("co2", 0x2b8c, "ppm", Form::Unsigned(2), 1, Some(0xffff)),
    environmental("uv_index", 0x2a76, "", Form::Unsigned(1), 1, None),
    environmental("speed", 0x2a70, "m/s", Form::Unsigned(2), 100, None),
    environmental("direction", 0x2a71, "°", Form::Unsigned(2), 100, None),
    environmental("precipitation", 0x2a78, "mm", Form::Unsigned(2), 1, None),
    environmental("irradiance", 0x2a77, "W/m²", Form::Unsigned(2), 10, None),
    Standard {
        name: "temperature",
        characteristic: 0x2a1c,
        service: HEALTH_THERMOMETER,
        unit: "°C",
        kind: Kind::Measurement,
        every: None,
        coding: Plain::Thermometer,
    },
];

/// What a characteristic is, if that is laid down.
pub(crate) fn of(characteristic: Uuid) -> Option<&'static Standard> {
    let short = characteristic.as_short()?;
    ALL.iter().find(|standard| standard.characteristic == short)
}

/// Those of a service.
pub(crate) fn in_service(service: u16) -> impl Iterator<Item = &'static Standard> {
    ALL.iter().filter(move |standard| standard.service == service)
}

impl Standard {
    /// How its bytes are read.
    pub(crate) fn codec(&self) -> Codec {
        Codec::new(match self.coding {
            Plain::Text => Coding::Text(None),
            Plain::Thermometer => Coding::Thermometer,
            Plain::Number(form, divide, unknown) => {
                let scaled = Meaning::Scaled(Linear { divide: Decimal::whole(divide.into()), ..AS_IT_IS });
                let meaning = if divide == 1 { Meaning::Itself } else { scaled };
                let invalid = unknown.into_iter().collect();
                Coding::Field(Box::new(Field { invalid, meaning, ..Field::plain(form) }))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use wharf_contract::Value;

    use super::*;

    #[test]
    fn what_the_standard_lays_down_is_read_so() {
        let check = |characteristic, bytes: &[u8], expected| {
            let standard = of(Uuid::short(characteristic)).unwrap();
            assert_eq!(standard.codec().decode(bytes), expected, "{}", standard.name);
        };
        check(0x2a19, &[87], Ok(Value::Int(87)));
        check(0x2a6e, &[0xc4, 0x09], Ok(Value::Float(25.0)));
        check(0x2a6e, &[0x9c, 0xff], Ok(Value::Float(-1.0)));
        check(0x2a6f, &[0x94, 0x11], Ok(Value::Float(45.0)));
        check(0x2a6d, &[0x62, 0x76, 0x0f, 0x00], Ok(Value::Float(1013.346)));
        check(0x2a7b, &[0xfb], Ok(Value::Int(-5)));
        check(0x2b8c, &[0x20, 0x03], Ok(Value::Int(800)));
        check(0x2afb, &[0x40, 0xe2, 0x01], Ok(Value::Float(1234.56)));
        check(0x2a76, &[7], Ok(Value::Int(7)));
        check(0x2a70, &[0xd2, 0x04], Ok(Value::Float(12.34)));
        check(0x2a71, &[0x9f, 0x8c], Ok(Value::Float(359.99)));
        check(0x2a78, &[0x0c, 0x00], Ok(Value::Int(12)));
        check(0x2a77, &[0xd2, 0x04], Ok(Value::Float(123.4)));
        check(0x2a29, b"Acme", Ok(Value::Text("Acme".into())));
        for (characteristic, not_known) in [
            (0x2a6e, &[0x00, 0x80][..]),
            (0x2a6f, &[0xff, 0xff]),
            (0x2b8c, &[0xff, 0xff]),
            (0x2afb, &[0xff, 0xff, 0xff]),
        ] {
            assert!(of(Uuid::short(characteristic)).unwrap().codec().decode(not_known).is_err(), "{characteristic:x}");
        }
    }

    #[test]
    fn every_service_with_a_name_has_something_in_it_and_no_two_names_are_alike() {
        for (name, service) in SERVICES {
            let names: Vec<_> = in_service(service).map(|standard| standard.name).collect();
            let mut unique = names.clone();
            unique.sort_unstable();
            unique.dedup();
            assert!(!names.is_empty() && unique.len() == names.len(), "{name}");
        }
    }
}
