//! ThermoBeacon, sold as Brifit, Oria and under other names.
//!
//! Manufacturer data with the model in the place of the company id, beside the service 0xFFF0. 18
//! bytes of it are a measurement, low byte first: `0 | bit 7 button | address (6, reversed) | battery
//! u16 mV | temperature s16 ÷16 °C | humidity s16 ÷16 % | u32 seconds since the start`. 20 bytes are the
//! extremes since then, which are no measurement; the sensor alternates between both.
//!
//! Source: the layout as thermobeacon-ble reads it (Apache-2.0), checked against its recordings. The
//! button is in none of these, nor are the models 11, 15 and 18.

use super::bytes::Bytes;
use super::quantity::{BATTERY, BATTERY_VOLTAGE, BUTTON, HUMIDITY, TEMPERATURE};
use super::{Advert, Format, Frame, Known, Outcome, Refusal};

/// ThermoBeacon thermometers.
pub const FORMAT: Format = Format { name: "ThermoBeacon", needs_active_scan: false, read };

const SERVICE: u16 = 0xfff0;

const LANYARD: &str = "Lanyard/mini hygrometer";
const SMART: &str = "Smart hygrometer";
const MODELS: &[(u16, &str)] =
    &[(0x10, LANYARD), (0x11, SMART), (0x14, SMART), (0x15, SMART), (0x18, SMART), (0x1b, SMART), (0x30, SMART)];

const MEASUREMENT: usize = 18;
const EXTREMES: usize = 20;

/// More than any battery it runs on has when new.
const HIGHEST_MILLIVOLTS: u16 = 4000;

fn read(advert: &Advert, known: &Known<'_>) -> Outcome {
    let is_known = || known.model.is_some_and(|name| name == LANYARD || name == SMART);
    if !advert.has_service(SERVICE) && advert.name() != FORMAT.name && !is_known() {
        return Outcome::NotMine;
    }
    let found = MODELS.iter().find_map(|(id, name)| advert.company(*id).map(|data| (*name, data)));
    match found {
        // Other makers have the same service and other lengths.
        Some((name, data)) if data.len() == MEASUREMENT => frame(name, data).into(),
        Some((name, data)) if data.len() == EXTREMES => Outcome::Heard(silent(name)),
        Some((_, data)) if advert.name() == FORMAT.name => Outcome::truncated(data.len(), MEASUREMENT),
        _ => Outcome::NotMine,
    }
}

/// A frame that says only that the device is there.
fn silent(name: &'static str) -> Frame {
    Frame { format: FORMAT.name, model: Some(name.into()), ..Frame::default() }
}

fn frame(name: &'static str, data: &[u8]) -> Result<Frame, Refusal> {
    let mut bytes = Bytes::new(data);
    let [zero, button] = bytes.array()?;
    if zero != 0 || button & 0x7f != 0 {
        return Err(Refusal::Unknown(format!("a ThermoBeacon frame beginning with {zero:02x} {button:02x}")));
    }
    bytes.skip(6)?;
    let millivolts = bytes.u16_le()?;
    let temperature = bytes.i16_le()?;
    let humidity = bytes.i16_le()?;
    // There is no checksum. A battery that cannot be means that the rest is not what it seems either.
    if millivolts > HIGHEST_MILLIVOLTS {
        return Err(Refusal::Implausible(format!("a battery of {millivolts} mV")));
    }
    let mut frame = silent(name);
    frame.values = vec![
        TEMPERATURE.of(f64::from(temperature) / 16.0),
        HUMIDITY.of(f64::from(humidity) / 16.0),
        BATTERY.of(charge(millivolts)),
        BATTERY_VOLTAGE.of(f64::from(millivolts) / 1000.0),
    ];
    if button & 0x80 != 0 {
        frame.values.push(BUTTON.says("press"));
    }
    Ok(frame)
}

/// Percent of the battery, guessed from its voltage along straight lines between the points that
/// thermobeacon-ble has: 3.0 V 100 %, 2.6 V 60 %, 2.5 V 40 %, 2.45 V 20 %.
fn charge(millivolts: u16) -> f64 {
    let mv = f64::from(millivolts);
    let percent = match millivolts {
        3000.. => 100.0,
        2600.. => 60.0 + (mv - 2600.0) / 10.0,
        2500.. => 40.0 + (mv - 2500.0) / 5.0,
        2450.. => 20.0 + (mv - 2450.0) / 2.5,
        _ => 0.0,
    };
    percent.round()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advert::Uuid;
    use crate::advert::testing::{advert, heard, refused, values};

    const WARM: &str = "0000b002000047a4e20c8001b6024a000000";

    fn bare(data: &str) -> Advert {
        advert("A4:47:00:00:02:B0").with_company(0x10, data)
    }

    fn read_data(data: &str) -> Outcome {
        let mut advert = bare(data);
        advert.services.push(Uuid::short(SERVICE));
        read(&advert, &Known::default())
    }

    #[test]
    fn a_measurement_is_read() {
        let frame = heard(read_data(WARM));
        assert_eq!(values(&frame), "temperature 24 °C, humidity 43.375 %, battery 100 %, battery_voltage 3.298 V");
        assert_eq!(frame.model.as_deref(), Some(LANYARD));
    }

    #[test]
    fn frost_and_a_press_are_read() {
        let told = values(&heard(read_data("0080b002000047a4280a60ffb6024a000000")));
        assert_eq!(told, "temperature -10 °C, humidity 43.375 %, battery 60 %, battery_voltage 2.6 V, button press");
    }

    #[test]
    fn the_extremes_are_no_measurement() {
        assert_eq!(heard(read_data("000029060000456fab010a000000a20198000000")).values, []);
    }

    #[test]
    fn frames_that_cannot_be_are_refused() {
        let told = |data| refused(read_data(data)).to_string();
        assert_eq!(told("0000160000acfa2f0b26014703a7e71200c0"), "implausible: a battery of 9739 mV");
        assert_eq!(told("6100160000acfa2f0b26014703a7e71200c0"), "a ThermoBeacon frame beginning with 61 00");
    }

    #[test]
    fn without_service_and_name_only_a_sensor_that_is_known_is_read() {
        assert_eq!(read(&bare(WARM), &Known::default()), Outcome::NotMine);
        heard(read(&bare(WARM), &Known { model: Some(LANYARD), ..Known::default() }));
    }

    #[test]
    fn cut_off_anywhere_it_is_refused_if_the_name_says_whose_it_is() {
        for length in 0..MEASUREMENT {
            let cut = WARM.get(..length * 2).unwrap();
            assert_eq!(read_data(cut), Outcome::NotMine);
            let named = read(&bare(cut).with_name("ThermoBeacon"), &Known::default());
            assert_eq!(named, Outcome::truncated(length, MEASUREMENT));
        }
    }

    #[test]
    fn the_charge_follows_the_voltage() {
        assert_eq!([2449, 2450, 2500, 2550, 2600, 2999, 3000].map(charge), [0.0, 20.0, 40.0, 50.0, 60.0, 100.0, 100.0]);
    }
}
