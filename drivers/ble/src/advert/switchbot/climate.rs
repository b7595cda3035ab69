//! SwitchBot's thermometers, and what else knows how warm it is.
//!
//! Three bytes hold temperature and humidity: `bits 0 to 3 tenths of a °C | bit 7 above zero, bits 0 to 6
//! °C | bit 7 shown in Fahrenheit, bits 0 to 6 %`. Zero degrees at no humidity at all mean that nothing
//! was measured yet. They stand in manufacturer data from byte 8 on, in older service data from
//! byte 3 on; hubs have them from byte 13 on.

use super::super::quantity::{CO2, HUMIDITY, LIGHT_LEVEL, MOTION, SWITCH, TEMPERATURE};
use super::super::{Absent, Datum, Refusal};
use super::{Data, at, of_maker};

/// Where the three bytes are in service data.
const IN_SERVICE: usize = 3;
/// Where the three bytes are in manufacturer data.
const IN_MAKER: usize = 8;
/// Where hubs have the three bytes.
const IN_HUB: usize = 13;

/// More carbon dioxide than the sensor measures, in ppm.
const TOO_MUCH_CO2: u16 = 10_000;

pub(super) fn meter(data: Data<'_>) -> Result<Vec<Datum>, Refusal> {
    match data {
        Data { maker: Some(maker), .. } => triple(maker, IN_MAKER),
        // Newer meters send three bytes of service data, and the climate in manufacturer data only.
        Data { service: Some(service), .. } if service.len() > IN_SERVICE => triple(service, IN_SERVICE),
        _ => Ok(Vec::new()),
    }
}

pub(super) fn air(data: Data<'_>) -> Result<Vec<Datum>, Refusal> {
    of_maker(data, |maker| {
        let mut values = triple(maker, IN_MAKER)?;
        let ppm = u16::from_be_bytes([at(maker, 13)?, at(maker, 14)?]);
        let too_much = || Absent::Implausible(format!("{ppm} ppm is more than the sensor can measure"));
        values.push(if ppm < TOO_MUCH_CO2 { CO2.whole(ppm) } else { CO2.with(Err(too_much())) });
        Ok(values)
    })
}

/// Bits 0 to 4 of byte 12 hold the level of light, 1 to 21. (As pySwitchbot reads it.)
pub(super) fn hub2(data: Data<'_>) -> Result<Vec<Datum>, Refusal> {
    of_maker(data, |maker| {
        let mut values = triple(maker, IN_HUB)?;
        values.push(LIGHT_LEVEL.whole(at(maker, 12)? & 0x1f));
        Ok(values)
    })
}

/// Of byte 12 bits 0 to 3 hold the level of light, 1 to 10, and bit 5 says that the cable with the
/// thermometer is not plugged in; bit 7 of byte 16 motion. (As pySwitchbot reads it.)
pub(super) fn hub3(data: Data<'_>) -> Result<Vec<Datum>, Refusal> {
    of_maker(data, |maker| {
        let state = at(maker, 12)?;
        let mut values = triple(maker, IN_HUB)?;
        if state & 0x20 != 0 {
            values = vec![TEMPERATURE.missing(), HUMIDITY.missing()];
        }
        values.push(LIGHT_LEVEL.whole(state & 0x0f));
        values.push(MOTION.is(at(maker, 16)? & 0x80 != 0));
        Ok(values)
    })
}

pub(super) fn hub_mini(data: Data<'_>) -> Result<Vec<Datum>, Refusal> {
    of_maker(data, |maker| triple(maker, IN_HUB))
}

/// Bit 7 of byte 7 for switched on.
pub(super) fn climate_panel(data: Data<'_>) -> Result<Vec<Datum>, Refusal> {
    of_maker(data, |maker| {
        let mut values = triple(maker, IN_MAKER)?;
        values.push(SWITCH.is(at(maker, 7)? & 0x80 != 0));
        Ok(values)
    })
}

/// Bit 7 of byte 7 for switched on, and of the three bytes only the temperature's.
pub(super) fn thermostat(data: Data<'_>) -> Result<Vec<Datum>, Refusal> {
    of_maker(data, |maker| {
        let temperature = celsius(at(maker, IN_MAKER)?, at(maker, IN_MAKER + 1)?);
        Ok(vec![TEMPERATURE.of(temperature), SWITCH.is(at(maker, 7)? & 0x80 != 0)])
    })
}

/// Bit 7 of byte 7 for switched on, byte 9 the humidity, 127 for none, then degrees and, in the upper
/// half of a byte, tenths.
pub(super) fn evaporative(data: Data<'_>) -> Result<Vec<Datum>, Refusal> {
    of_maker(data, |maker| {
        let on = SWITCH.is(at(maker, 7)? & 0x80 != 0);
        let humidity = at(maker, 9)? & 0x7f;
        let [degrees, tenths] = [at(maker, 10)?, at(maker, 11)? >> 4];
        if humidity == 0x7f {
            return Ok(vec![TEMPERATURE.missing(), HUMIDITY.missing(), on]);
        }
        Ok(vec![TEMPERATURE.of(celsius(tenths, degrees)), HUMIDITY.whole(humidity), on])
    })
}

fn triple(data: &[u8], place: usize) -> Result<Vec<Datum>, Refusal> {
    let [tenths, degrees, humidity] = [at(data, place)?, at(data, place + 1)?, at(data, place + 2)?];
    // No sensor measures no humidity at all.
    if tenths & 0x0f == 0 && degrees & 0x7f == 0 && humidity & 0x7f == 0 {
        return Ok(vec![TEMPERATURE.missing(), HUMIDITY.missing()]);
    }
    Ok(vec![TEMPERATURE.of(celsius(tenths, degrees)), HUMIDITY.whole(humidity & 0x7f)])
}

fn celsius(tenths: u8, degrees: u8) -> f64 {
    let magnitude = i32::from(degrees & 0x7f) * 10 + i32::from(tenths & 0x0f);
    f64::from(if degrees & 0x80 != 0 { magnitude } else { -magnitude }) / 10.0
}

#[cfg(test)]
mod tests {
    use super::super::{COMPANY, SERVICE, read};
    use super::*;
    use crate::advert::Known;
    use crate::advert::testing::{advert, heard, refused, values};

    fn told(service: &str, maker: &str) -> String {
        let mut advert = advert("aa:bb:cc:dd:ee:ff").with_service(SERVICE, service);
        if !maker.is_empty() {
            advert = advert.with_company(COMPANY, maker);
        }
        values(&heard(read(&advert, &Known::default())))
    }

    #[test]
    fn meters_are_read() {
        assert_eq!(told("5400e4069835", ""), "temperature 24.6 °C, humidity 53 %, battery 100 %");
        assert_eq!(told("5400e4031935", ""), "temperature -25.3 °C, humidity 53 %, battery 100 %");
        assert_eq!(told("6900640098a6", ""), "temperature 24 °C, humidity 38 %, battery 100 %");
        assert_eq!(told("340064", "b0e9fe52dd84066408972c0005"), "temperature 23.8 °C, humidity 44 %, battery 100 %");
        assert_eq!(told("340064", ""), "battery 100 %");
        assert_eq!(told("000050069a23001053b0", ""), "temperature 26.6 °C, humidity 35 %, battery 80 %");
    }

    #[test]
    fn carbon_dioxide_is_read_where_the_sensor_can_measure_it() {
        assert_eq!(
            told("350064", "b0e9fe543215b7e4079ba4003702d500"),
            "temperature 27.7 °C, humidity 36 %, co2 725 ppm, battery 100 %"
        );
        let told = told("350064", "b0e9fe543215b7e4079ba400379c4000");
        assert!(told.contains("co2 (implausible: 40000 ppm is more than the sensor can measure)"), "{told}");
    }

    #[test]
    fn hubs_are_read() {
        assert_eq!(
            told("7600", "aabbccddeeff00ff66541af182079a3200"),
            "temperature 26.7 °C, humidity 50 %, light_level 2"
        );
        assert_eq!(
            told("0000640010b940", "b0e9fe6e5e2900ff6826d6648303993480"),
            "temperature 25.3 °C, humidity 52 %, light_level 3, motion true"
        );
        assert_eq!(
            told("0000640010b940", "b0e9fe6e5e2900ff6826d664a303993480"),
            "temperature (the sensor has no value), humidity (the sensor has no value), light_level 3, motion true",
            "its cable is not plugged in"
        );
    }

    #[test]
    fn before_the_first_measurement_there_is_nothing() {
        let nothing = "temperature (the sensor has no value), humidity (the sensor has no value), battery (the sensor has no value)";
        assert_eq!(told("000000001053b0", "aabbccddeeff01000080000000000000"), nothing);
        assert_eq!(told("540000000000", ""), nothing);
    }

    #[test]
    fn a_humidifier_with_and_without_its_meter_is_read() {
        assert_eq!(
            told("230000151c00", "a0a3b32c9ce6388688b59912101b00855d"),
            "temperature 25.1 °C, humidity 53 %, switch true"
        );
        assert_eq!(
            told("230000151c00", "a0a3b32c9ce64886807ffff2101d008734"),
            "temperature (the sensor has no value), humidity (the sensor has no value), switch true"
        );
    }

    #[test]
    fn cut_off_anywhere_they_are_refused() {
        for (service, maker, needed) in [
            ("340064", "b0e9fe52dd84066408972c0005", 11),
            ("350064", "b0e9fe543215b7e4079ba4003702d500", 15),
            ("7600", "aabbccddeeff00ff66541af182079a3200", 16),
        ] {
            for length in 0..needed {
                let advert = advert("aa:bb:cc:dd:ee:ff").with_service(SERVICE, service);
                let cut = advert.with_company(COMPANY, maker.get(..length * 2).unwrap());
                assert!(matches!(refused(read(&cut, &Known::default())), Refusal::Truncated { .. }), "{length}");
            }
        }
    }
}
