//! Mopeka's ultrasonic tank sensors.
//!
//! Manufacturer data of the company 0x0059 together with the service 0xFEE5, 10 bytes: `kind |
//! battery u8 ÷32 V | bit 7 button, bits 0 to 6 temperature + 40 °C | echo u16, low byte first: bits 0
//! to 13 time, bits 14 and 15 quality | end of the address (3) | inclination x | inclination y`.
//!
//! The level is `echo × (c0 + c1·t + c2·t²)` millimetres, `t` being the temperature as it is sent;
//! the three constants tell how fast sound runs in the medium. The maker gives whole millimetres, so
//! the fraction is cut off. At quality 0 there is none.
//!
//! Source: layout, constants and battery curve as mopeka-iot-ble has them (Apache-2.0), checked
//! against its recordings. What the inclination counts in is not known, so it is not told. The TD40
//! and TD200 look down from the top through air; that their level is reckoned with the constants of
//! air is inferred from recordings named so.

use wharf_contract::setting_enum;

use super::bytes::Bytes;
use super::quantity::{BATTERY, BATTERY_VOLTAGE, BUTTON, LEVEL, LEVEL_QUALITY, TEMPERATURE};
use super::{Advert, Datum, Format, Frame, Known, Outcome, Refusal};

/// Mopeka tank sensors.
pub const FORMAT: Format = Format { name: "Mopeka", needs_active_scan: false, read };

const COMPANY: u16 = 0x0059; // Nordic Semiconductor's, and therefore everybody's.
const SERVICE: u16 = 0xfee5;

setting_enum! {
    /// What is in a tank.
    pub enum Medium {
        /// Liquid propane, in a gas bottle.
        Propane = "propane",
        /// Air: the sensor looks down on the liquid.
        Air = "air",
        /// Water.
        Water = "water",
    }
}

impl Medium {
    /// What the time of an echo is multiplied with, in powers of the temperature as it is sent.
    const fn constants(self) -> [f64; 3] {
        match self {
            Self::Propane => [0.573_045, -0.002_822, -0.000_005_35],
            Self::Air => [0.153_096, 0.000_327, -0.000_000_294],
            Self::Water => [0.600_592, 0.003_124, -0.000_013_68],
        }
    }
}

struct Model {
    kind: u8,
    name: &'static str,
    medium: Medium,
}

const fn model(kind: u8, name: &'static str, medium: Medium) -> Model {
    Model { kind, name, medium }
}

const MODELS: &[Model] = &[
    model(0x03, "Pro Check", Medium::Propane),
    model(0x06, "Lippert BottleCheck", Medium::Propane),
    model(0x08, "Pro Plus", Medium::Propane),
    model(0x0a, "TD40/TD200", Medium::Air),
    model(0x0c, "Pro Check Universal", Medium::Propane),
    model(0x12, "Pro-200", Medium::Propane),
];

fn read(advert: &Advert, known: &Known<'_>) -> Outcome {
    let is_known = || known.model.is_some_and(|name| MODELS.iter().any(|model| model.name == name));
    match advert.company(COMPANY) {
        Some(data) if advert.has_service(SERVICE) || is_known() => frame(data, known.medium).into(),
        _ => Outcome::NotMine,
    }
}

fn frame(data: &[u8], medium: Option<Medium>) -> Result<Frame, Refusal> {
    let mut bytes = Bytes::new(data);
    let kind = bytes.u8()?;
    let model = MODELS.iter().find(|model| model.kind == kind);
    let model = model.ok_or_else(|| Refusal::Unknown(format!("a Mopeka of kind {kind:#04x}")))?;
    let battery = f64::from(bytes.u8()? & 0x7f) / 32.0;
    let temperature = bytes.u8()?;
    let echo = bytes.u16_le()?;
    bytes.skip(5)?;
    let quality = echo >> 14;
    let mut values = vec![
        level(echo & 0x3fff, quality, temperature & 0x7f, medium.unwrap_or(model.medium)),
        TEMPERATURE.whole(i64::from(temperature & 0x7f) - 40),
        LEVEL_QUALITY.whole(quality),
        BATTERY.of(charge(battery)),
        BATTERY_VOLTAGE.of(battery),
    ];
    if temperature & 0x80 != 0 {
        values.push(BUTTON.says("press"));
    }
    Ok(Frame { format: FORMAT.name, model: Some(model.name.into()), values, ..Frame::default() })
}

fn level(echo: u16, quality: u16, temperature: u8, medium: Medium) -> Datum {
    if quality == 0 {
        return LEVEL.missing();
    }
    let [c0, c1, c2] = medium.constants();
    let t = f64::from(temperature);
    LEVEL.of((f64::from(echo) * (c0 + c1 * t + c2 * t * t)).trunc())
}

/// Percent of a button cell, guessed from its voltage as mopeka-iot-ble does: 2.2 V is empty.
fn charge(volts: f64) -> f64 {
    ((volts - 2.2) / 0.65 * 100.0).clamp(0.0, 100.0).round()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advert::Uuid;
    use crate::advert::testing::{advert, heard, refused, values};

    const TANK: &str = "087043b6c3e0f509fae3";

    fn read_data(data: &str) -> Outcome {
        let mut advert = advert("C9:F3:32:E0:F5:09").with_company(COMPANY, data);
        advert.services.push(Uuid::short(SERVICE));
        read(&advert, &Known::default())
    }

    #[test]
    fn a_tank_of_propane_has_a_level() {
        let told = "level 341 mm, temperature 27 °C, level_quality 3, battery 100 %, battery_voltage 3.5 V";
        assert_eq!(values(&heard(read_data(TANK))), told);
    }

    #[test]
    fn an_echo_that_is_none_gives_no_level() {
        let told = values(&heard(read_data("0872460030e0f509f0d8")));
        assert!(told.starts_with("level (the sensor has no value), temperature 30 °C"), "{told}");
    }

    #[test]
    fn below_zero_the_button_is_not_taken_for_warmth() {
        let told = values(&heard(read_data("08439eb6c3e0f509fae3")));
        assert!(told.contains("temperature -10 °C"), "{told}");
        assert!(told.ends_with("battery 0 %, battery_voltage 2.09375 V, button press"), "{told}");
    }

    #[test]
    fn sound_runs_as_fast_as_the_medium_lets_it() {
        let told = |medium| values(&Frame { values: vec![level(3406, 1, 64, medium)], ..Frame::default() });
        assert_eq!(told(Medium::Air), "level 588 mm");
        assert_eq!(told(Medium::Propane), "level 1262 mm");
        assert_eq!(told(Medium::Water), "level 2535 mm");
    }

    #[test]
    fn a_tank_of_water_has_the_level_of_water() {
        let mut advert = advert("C9:F3:32:E0:F5:09").with_company(COMPANY, TANK);
        advert.services.push(Uuid::short(SERVICE));
        let level = |medium| values(&heard(read(&advert, &Known { medium, ..Known::default() })));
        assert!(level(None).starts_with("level 341 mm,"), "propane is what it is made for");
        // 950 × (0.600592 + 0.003124·67 − 0.00001368·67²)
        assert!(level(Some(Medium::Water)).starts_with("level 711 mm,"), "{}", level(Some(Medium::Water)));
    }

    #[test]
    fn without_its_service_only_a_sensor_that_is_known_is_read() {
        let bare = advert("C9:F3:32:E0:F5:09").with_company(COMPANY, TANK);
        assert_eq!(read(&bare, &Known::default()), Outcome::NotMine);
        heard(read(&bare, &Known { model: Some("Pro Plus"), ..Known::default() }));
    }

    #[test]
    fn unknown_kinds_and_cut_ones_are_refused() {
        assert_eq!(refused(read_data("7f7043b6c3e0f509fae3")).to_string(), "a Mopeka of kind 0x7f");
        for length in 0..TANK.len() / 2 {
            let cut = TANK.get(..length * 2).unwrap();
            assert!(matches!(refused(read_data(cut)), Refusal::Truncated { .. }), "{length}");
        }
    }
}
