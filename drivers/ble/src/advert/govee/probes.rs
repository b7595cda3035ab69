//! Govee's meat thermometers.
//!
//! The service says which model it is, and bytes of the address stand in the place of the company id.
//! The H5055 sends `?? ?? | battery % | flags | two probes`, low byte first, a probe being `?? |
//! temperature s16 °C | low alarm s16 °C | alarm s16 °C`. Bits 6 and 7 of the flags say which two of six
//! probes these are, and bit n whether probe n + 1 is plugged in.
//!
//! The others have eight bytes before the probes, of which the seventh says which two they are if
//! there are more than two, then high byte first and in hundredths of a °C:
//!
//! | model | service | length | probes |
//! | --- | --- | --- | --- |
//! | H5181, H5183 | 8151, 8351 | 14 | temperature, alarm |
//! | H5182 | 8251 | 17 | temperature, alarm, a byte, temperature, alarm |
//! | H5184 | 8451 | 17 | the same; 01 for probes 1 and 2, 02 for 3 and 4 |
//! | H5185 | 8551 | 20 | twice: temperature, alarm, two bytes |
//! | H5191 | 9151 | 20 | temperature, alarm, two bytes, ambient |
//! | H5198 | 9851 | 20 | twice: temperature, alarm, low alarm; C1 for probes 1 and 2, C2 for 3 and 4 |
//!
//! Below zero a number stands for none: not plugged in, or no alarm set. Which alarm of the H5198 is
//! the low one is inferred; no recording has one set. The sixth byte looks like a battery, which is
//! not certain, and is left alone.

use super::super::bytes::Bytes;
use super::super::quantity::{BATTERY, TEMPERATURE, TEMPERATURE_ALARM, TEMPERATURE_ALARM_LOW, TEMPERATURE_AMBIENT};
use super::super::{Advert, Datum, Frame, Quantity, Refusal, block};
use super::frame;

const SERVICES: &[(u16, u16)] = &[
    (0x5550, 5055),
    (0x8151, 5181),
    (0x8251, 5182),
    (0x8351, 5183),
    (0x8451, 5184),
    (0x8551, 5185),
    (0x9151, 5191),
    (0x9851, 5198),
];

/// Nothing if it is none of these.
pub(super) fn read(advert: &Advert, model: Option<u16>) -> Option<Result<Frame, Refusal>> {
    let of_service = SERVICES.iter().find(|(service, _)| advert.has_service(*service)).map(|(_, model)| *model);
    let of_name = || model.filter(|model| SERVICES.iter().any(|(_, known)| known == model));
    let model = of_service.or_else(of_name)?;
    match block::sole(advert) {
        Ok(entry) => {
            let data = block::without_beacon(entry?.1);
            let values = if model == 5055 { six(data) } else { probes(model, data) };
            Some(values.map(|values| frame(Some(model), values)))
        }
        Err(refusal) => Some(Err(refusal)),
    }
}

fn six(data: &[u8]) -> Result<Vec<Datum>, Refusal> {
    let mut bytes = Bytes::new(data);
    bytes.skip(2)?;
    let battery = bytes.u8()?;
    let flags = bytes.u8()?;
    let first = match flags >> 6 {
        page @ 0..=2 => 2 * page,
        page => return Err(Refusal::Unknown(format!("page {page} of an H5055"))),
    };
    let mut values = Vec::new();
    for probe in [first, first + 1] {
        bytes.skip(1)?;
        let temperature = bytes.i16_le()?;
        let low = bytes.i16_le()?;
        let alarm = bytes.i16_le()?;
        let plugged_in = flags >> probe & 1 == 1;
        let whole = |quantity: Quantity, raw: i16, there: bool| {
            let datum = if there { quantity.whole(raw) } else { quantity.missing() };
            datum.nth(usize::from(probe) + 1)
        };
        values.push(whole(TEMPERATURE, temperature, plugged_in));
        values.push(whole(TEMPERATURE_ALARM, alarm, alarm >= 0));
        values.push(whole(TEMPERATURE_ALARM_LOW, low, low >= 0));
    }
    values.push(BATTERY.whole(battery));
    Ok(values)
}

fn probes(model: u16, data: &[u8]) -> Result<Vec<Datum>, Refusal> {
    let mut bytes = Bytes::new(data);
    bytes.skip(6)?;
    let which = bytes.u8()?;
    bytes.skip(1)?;
    let first = match (model, which) {
        (5184, 0x02) | (5198, 0xc2) => 3,
        (5184, 0x01) | (5198, 0xc1) => 1,
        (5184 | 5198, _) => return Err(Refusal::Unknown(format!("probes {which:#04x} of an H{model}"))),
        _ => 1,
    };
    let mut next = |quantity: Quantity, probe: usize| hundredths(&mut bytes, quantity).map(|datum| datum.nth(probe));
    let mut values = vec![next(TEMPERATURE, first)?, next(TEMPERATURE_ALARM, first)?];
    match model {
        5182 | 5184 => bytes.skip(1)?,
        5185 | 5191 => bytes.skip(2)?,
        5198 => values.push(next(TEMPERATURE_ALARM_LOW, first)?),
        _ => return Ok(values),
    }
    if model == 5191 {
        values.push(hundredths(&mut bytes, TEMPERATURE_AMBIENT)?);
        return Ok(values);
    }
    let mut next = |quantity: Quantity| hundredths(&mut bytes, quantity).map(|datum| datum.nth(first + 1));
    values.extend([next(TEMPERATURE)?, next(TEMPERATURE_ALARM)?]);
    if model == 5198 {
        values.push(next(TEMPERATURE_ALARM_LOW)?);
    }
    Ok(values)
}

fn hundredths(bytes: &mut Bytes<'_>, quantity: Quantity) -> Result<Datum, Refusal> {
    let raw = bytes.i16_be()?;
    Ok(if raw < 0 { quantity.missing() } else { quantity.of(f64::from(raw) / 100.0) })
}

#[cfg(test)]
mod tests {
    use super::super::read as read_any;
    use super::*;
    use crate::advert::testing::{advert, heard, refused, values};
    use crate::advert::{Known, Outcome, Uuid};

    fn sent(service: u16, data: &str) -> Outcome {
        let beacon = "0215494e54454c4c495f524f434b535f48575075f2ff0c";
        let mut advert = advert("A4:C1:38:2F:AF:55").with_company(0xaf2f, data).with_company(0x004c, beacon);
        advert.services.push(Uuid::short(service));
        read_any(&advert, &Known::default())
    }

    /// The values there are, without those that are missing.
    fn told(service: u16, data: &str) -> String {
        let mut frame = heard(sent(service, data));
        frame.values.retain(|datum| datum.value.is_ok());
        values(&frame)
    }

    #[test]
    fn each_model_is_read() {
        assert_eq!(told(0x8151, "c101000101e4018608981aae0000"), "temperature 22 °C, temperature_alarm 68.3 °C");
        assert_eq!(
            told(0x8251, "6301000101e40101ffff120301ffff0000"),
            "temperature_alarm 46.11 °C, temperature_alarm_2 0 °C"
        );
        assert_eq!(told(0x8351, "cb01000101e4008f0834ffff0000"), "temperature 21 °C");
        assert_eq!(told(0x8451, "2001000101e402860bb8ffff860b54ffff"), "temperature_3 30 °C, temperature_4 29 °C");
        assert_eq!(told(0x8551, "5401000101e4c16609c4ffffffff09c4ffffffff"), "temperature 25 °C, temperature_2 25 °C");
        assert_eq!(
            told(0x9151, "83010001014c5d040fa01324ffff0af0ffffffff"),
            "temperature 40 °C, temperature_alarm 49 °C, temperature_ambient 28 °C"
        );
        assert_eq!(
            told(0x9851, "6c01000101a4c20f0e10ffffffff08fcffffffff"),
            "temperature_3 36 °C, temperature_4 23 °C"
        );
    }

    #[test]
    fn six_probes_come_two_by_two() {
        assert_eq!(told(0x5550, "55006401201a00ffffffff201900ffffffff0000"), "temperature 26 °C, battery 100 %");
        assert_eq!(
            told(0x5550, "5500644c201a00ffffffff2019001400b1000000"),
            "temperature_3 26 °C, temperature_4 25 °C, temperature_alarm_4 177 °C, temperature_alarm_low_4 20 °C, \
             battery 100 %"
        );
        assert_eq!(refused(sent(0x5550, "550064fb201a00ffffb100201900ffffffff0000")).to_string(), "page 3 of an H5055");
    }

    #[test]
    fn the_beacon_beside_a_refused_reading_does_not_hide_it() {
        let advert = advert("A4:C1:38:2F:AF:55")
            .with_name("GVH5055_AF55")
            .with_company(0xaf2f, "550064fb201a00ffffb100201900ffffffff0000")
            .with_company(0x004c, "0215494e54454c4c495f524f434b535f48575075f2ff0c");
        assert_eq!(refused(crate::advert::read(&advert, &Known::default())).to_string(), "page 3 of an H5055");
    }

    #[test]
    fn below_zero_an_h5055_that_is_plugged_in_is_read() {
        assert!(
            told(0x5550, "55006401 20f6ffffffffff201900ffffffff0000".replace(' ', "").as_str())
                .starts_with("temperature -10 °C")
        );
    }

    #[test]
    fn a_probe_that_is_not_plugged_in_has_no_value() {
        let told = values(&heard(sent(0x8151, "ba01000101640006ffff1ce80000")));
        assert_eq!(told, "temperature (the sensor has no value), temperature_alarm 74 °C");
    }

    #[test]
    fn probes_that_are_not_known_are_not_guessed_at() {
        let told = |service, data| refused(sent(service, data)).to_string();
        assert_eq!(told(0x8451, "2001000101e4ff860c1cffff860af0ffff"), "probes 0xff of an H5184");
        assert_eq!(told(0x9851, "6c01000101a3d40f0bb8ffffffff0960ffffffff"), "probes 0xd4 of an H5198");
    }

    #[test]
    fn cut_off_anywhere_they_are_refused() {
        for (service, whole, needed) in [
            (0x8151, "c101000101e4018608981aae0000", 12),
            (0x8451, "2001000101e402860bb8ffff860b54ffff", 17),
            (0x9851, "6c01000101a4c20f0e10ffffffff08fcffffffff", 20),
            (0x5550, "5500644c201a00ffffffff2019001400b1000000", 18),
        ] {
            for length in 0..needed {
                let cut = sent(service, whole.get(..length * 2).unwrap());
                assert!(matches!(refused(cut), Refusal::Truncated { .. }), "{service:04x} {length}");
            }
        }
    }
}
