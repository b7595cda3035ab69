//! ThermoPro.
//!
//! There is no company id: what stands in its place is the beginning of the reading.
//!
//! The room thermometers TP35x and TP39x, low byte first: `C2 | temperature s16 ×0.1 °C | humidity
//! u8 % | bits 0 and 1 battery: 0 low, 1 half, 2 full | …`. One recording has 82 for the C2. All ones
//! stand for no value. The battery is told as 0, 50 and 100 %; in the recordings it is full.
//!
//! The meat probes TP96x and TP97x, beside the service 72fbb631-…: `probe, counted from 0 | tip u16 +
//! 30 °C | battery u16 mV | handle u16 + 30 °C`, with 6 bytes behind from some. The TP972S also sends
//! 23 bytes, in which three sensors along the needle are told finely: `probe | handle u16 | battery u16
//! mV | tip f32 | center f32 | end f32 | address (6)`, these four in °F + 54.
//!
//! Source: the room thermometers as thermopro-ble reads them (Apache-2.0). The layouts of the probes
//! are inferred from its recordings and the values it reads in them; so is that the number before the
//! handle's is a voltage, from which the maker's app reckons a charge by a curve that is not known.

use std::collections::HashSet;

use super::bytes::Bytes;
use super::quantity::{
    BATTERY, BATTERY_VOLTAGE, HUMIDITY, TEMPERATURE, TEMPERATURE_AMBIENT, TEMPERATURE_CENTER, TEMPERATURE_END,
};
use super::{Advert, Datum, Format, Frame, Known, Outcome, Quantity, Refusal, Uuid, block};

/// ThermoPro thermometers.
pub const FORMAT: Format = Format { name: "ThermoPro", needs_active_scan: false, read };

const PROBES: Uuid = Uuid(0x72fb_b631_6f6b_d1ba_db55_2ee6_fdd9_42bd);

fn read(advert: &Advert, known: &Known<'_>) -> Outcome {
    let model = model(advert.name()).or_else(|| known.model.and_then(model));
    let reader = match model {
        Some(name) if name.starts_with("TP35") || name.starts_with("TP39") => Reader::Room,
        Some(name) if name.starts_with("TP96") || name.starts_with("TP97") => Reader::Probes,
        None if advert.services.contains(&PROBES) => Reader::Probes,
        _ => return Outcome::NotMine,
    };
    let read = match reader {
        Reader::Room => block::sole(advert).and_then(|entry| entry.map(block::on_air).as_deref().map(room).transpose()),
        Reader::Probes => probes(advert),
    };
    match read {
        Ok(None) => Outcome::NotMine,
        Ok(Some(values)) => Outcome::Heard(frame(model, values)),
        Err(refusal) => Outcome::Refused(refusal),
    }
}

enum Reader {
    Room,
    Probes,
}

/// `TP357S` of the name `TP357S (2142)`: two letters, three digits, perhaps another letter.
fn model(name: &str) -> Option<&str> {
    let word = name.split(' ').next()?;
    let (digits, letter) = word.strip_prefix("TP")?.split_at_checked(3)?;
    (digits.bytes().all(|byte| byte.is_ascii_digit()) && letter.len() <= 1).then_some(word)
}

fn frame(model: Option<&str>, values: Vec<Datum>) -> Frame {
    let model = model.map(|name| name.to_owned().into());
    Frame { format: FORMAT.name, model, values, ..Frame::default() }
}

fn room(data: &[u8]) -> Result<Vec<Datum>, Refusal> {
    let mut bytes = Bytes::new(data);
    let first = bytes.u8()?;
    if !matches!(first, 0x82 | 0xc2) {
        return Err(Refusal::Unknown(format!("a ThermoPro frame beginning with {first:02x}")));
    }
    let temperature = bytes.i16_le()?;
    let humidity = bytes.u8()?;
    let battery = match bytes.u8()? & 0x03 {
        0 => BATTERY.whole(0),
        1 => BATTERY.whole(50),
        2 => BATTERY.whole(100),
        _ => BATTERY.missing(),
    };
    Ok(match (temperature, humidity) {
        (-1, 0xff) => vec![TEMPERATURE.missing(), HUMIDITY.missing(), battery],
        _ => vec![TEMPERATURE.of(f64::from(temperature) / 10.0), HUMIDITY.whole(humidity), battery],
    })
}

/// The most probes there are in one case.
const MOST_PROBES: u8 = 4;

/// Each probe has a reading of its own, and several may have been heard together. Of two of the same
/// probe nobody can tell which is the newer one.
fn probes(advert: &Advert) -> Result<Option<Vec<Datum>>, Refusal> {
    let readings: Vec<Vec<u8>> = advert.manufacturer_data.iter().map(|(id, data)| block::on_air((*id, data))).collect();
    let numbers: HashSet<u8> = readings.iter().filter_map(|reading| reading.first().copied()).collect();
    if numbers.len() < readings.len() {
        return Err(block::two_at_once());
    }
    let values = readings.iter().map(|reading| probe(reading)).collect::<Result<Vec<_>, _>>()?.concat();
    Ok(if values.is_empty() { None } else { Some(values) })
}

fn probe(data: &[u8]) -> Result<Vec<Datum>, Refusal> {
    let mut bytes = Bytes::new(data);
    let probe = bytes.u8()?;
    let first = bytes.u16_le()?;
    let battery = BATTERY_VOLTAGE.of(f64::from(bytes.u16_le()?) / 1000.0);
    let values = match data.len() {
        7 | 13 => {
            let handle = bytes.u16_le()?;
            let celsius = |quantity: Quantity, raw: u16| quantity.whole(i64::from(raw) - 30);
            vec![celsius(TEMPERATURE, first), celsius(TEMPERATURE_AMBIENT, handle), battery]
        }
        23 => {
            let mut fine = |quantity: Quantity| bytes.f32_le().map(|raw| fahrenheit(quantity, raw.into()));
            let (tip, center, end) = (fine(TEMPERATURE)?, fine(TEMPERATURE_CENTER)?, fine(TEMPERATURE_END)?);
            vec![tip, center, end, fahrenheit(TEMPERATURE_AMBIENT, first.into()), battery]
        }
        0..7 => return Err(Refusal::Truncated { have: data.len(), need: 7 }),
        length => return Err(Refusal::Unknown(format!("a ThermoPro probe's frame of {length} bytes"))),
    };
    if probe >= MOST_PROBES {
        return Err(Refusal::Implausible(format!("probe {}", u16::from(probe) + 1)));
    }
    Ok(values.into_iter().map(|datum| datum.nth(usize::from(probe) + 1)).collect())
}

/// From °F + 54 to tenths of a °C, which is as fine as the probes are.
fn fahrenheit(quantity: Quantity, raw: f64) -> Datum {
    quantity.of(((raw - 86.0) / 0.18).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advert::testing::{advert, heard, refused, values};

    fn sent(name: &str, id: u16, data: &str) -> Outcome {
        read(&advert("aa:bb:cc:dd:ee:ff").with_name(name).with_company(id, data), &Known::default())
    }

    fn told(name: &str, id: u16, data: &str) -> String {
        values(&heard(sent(name, id, data)))
    }

    #[test]
    fn a_room_is_warm_and_dry() {
        let frame = heard(sent("TP357 (2142)", 0xf1c2, "001d022c"));
        assert_eq!(values(&frame), "temperature 24.1 °C, humidity 29 %, battery 100 %");
        assert_eq!(frame.model.as_deref(), Some("TP357"));
        assert_eq!(told("TP357S (2142)", 0xeec2, "0029220b01"), "temperature 23.8 °C, humidity 41 %, battery 100 %");
        assert_eq!(told("TP393 (9376)", 0xf2c2, "ff35012c"), "temperature -1.4 °C, humidity 53 %, battery 50 %");
    }

    #[test]
    fn all_ones_are_no_value() {
        let told = told("TP357S (3C62)", 0xffc2, "ffff220b01");
        assert_eq!(told, "temperature (the sensor has no value), humidity (the sensor has no value), battery 100 %");
    }

    #[test]
    fn each_probe_has_points_of_its_own() {
        assert_eq!(
            told("TP962R (0000)", 0x3701, "003b0b3700"),
            "temperature_2 25 °C, temperature_ambient_2 25 °C, battery_voltage_2 2.875 V"
        );
        assert_eq!(
            told("TP972S", 0x3300, "00480a3300ffeeddccbbaa"),
            "temperature 21 °C, temperature_ambient 21 °C, battery_voltage 2.632 V"
        );
        assert_eq!(
            told("TP960R", 0x0a00, "003b0b0000"),
            "temperature -20 °C, temperature_ambient -30 °C, battery_voltage 2.875 V"
        );
    }

    #[test]
    fn a_needle_with_three_sensors_is_read_in_celsius() {
        assert_eq!(
            told("TP972S", 0x7200, "006a0a33d3b8420040ae426606ae426c54737744f8"),
            "temperature 3.6 °C, temperature_center 0.6 °C, temperature_end 0.6 °C, temperature_ambient 15.6 °C, \
             battery_voltage 2.666 V"
        );
    }

    #[test]
    fn probes_heard_together_are_read_together_unless_they_are_the_same() {
        let two = |second, data| {
            advert("aa:bb:cc:dd:ee:ff")
                .with_name("TP962R")
                .with_company(0x3800, "0022083800")
                .with_company(second, data)
        };
        let told = values(&heard(read(&two(0x3701, "003b0b3700"), &Known::default())));
        assert!(told.starts_with("temperature_2 25 °C") && told.contains("temperature 26 °C"), "{told}");
        let same = read(&two(0x3900, "0022083900"), &Known::default());
        assert_eq!(refused(same), block::two_at_once());
    }

    #[test]
    fn names_that_only_begin_alike_are_not_mine() {
        assert_eq!(model("TP357S (2142)"), Some("TP357S"));
        for name in ["", "TP", "TP9000NOTHING", "TP35é (1)", "tp357", "XTP357"] {
            assert_eq!(sent(name, 0xf1c2, "001d022c"), Outcome::NotMine, "{name}");
        }
    }

    #[test]
    fn a_known_model_is_read_without_its_name() {
        let bare = advert("aa:bb:cc:dd:ee:ff").with_company(0xf1c2, "001d022c");
        assert_eq!(read(&bare, &Known::default()), Outcome::NotMine);
        heard(read(&bare, &Known { model: Some("TP357"), ..Known::default() }));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(matches!(refused(sent("TP357 (2142)", 0xf1c3, "001d022c")), Refusal::Unknown(_)));
        assert_eq!(
            refused(sent("TP972S", 0xc7c2, "018d00e10a3313fa4200c0fa429af9fa426c54737744f8")).to_string(),
            "a ThermoPro probe's frame of 25 bytes"
        );
        assert_eq!(refused(sent("TP960R", 0x3a07, "0030083800")).to_string(), "implausible: probe 8");
        let two = advert("aa:bb:cc:dd:ee:ff").with_company(0xf1c2, "001d022c").with_company(0xf2c2, "001d022c");
        assert!(matches!(refused(read(&two.with_name("TP357"), &Known::default())), Refusal::Unknown(_)));
    }

    #[test]
    fn cut_off_anywhere_they_are_refused() {
        for (name, id, whole, needed) in [("TP357", 0xf1c2, "001d022c", 3), ("TP960R", 0x3a00, "0030083800", 5)] {
            for length in 0..needed {
                let cut = sent(name, id, whole.get(..length * 2).unwrap());
                assert!(matches!(refused(cut), Refusal::Truncated { .. }), "{name} {length}");
            }
        }
    }
}
