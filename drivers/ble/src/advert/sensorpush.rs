//! SensorPush.
//!
//! There is no company id: what stands in its place is the beginning of the reading.
//!
//! The HT1 sends 4 bytes, low byte first: bits 0 to 11 humidity, bits 12 to 25 temperature as its
//! SHT2x counts them, bits 26 to 31 the type, which is 1. In °C `−46.85 + 175.72·raw ÷ 2¹⁴`, in %
//! `−6 + 125·raw ÷ 2¹²`; the humidity may come out a little outside 0 to 100 and is cut off there.
//!
//! The others send `page and type | number`. Bits 0 and 1 of the first byte are the page, of which
//! only 0 is a reading, the others the type. The number, low byte first, is made of mixed digits, the
//! lowest one first, each counting from the lower end of its range:
//!
//! | type | digits |
//! | --- | --- |
//! | 0 HTP.xw | temperature −40…140 by 0.0025 °C, humidity 0…100 by 0.0025 %, pressure 30 000…125 000 Pa |
//! | 1 HT.w | temperature −40…125 by 0.0025 °C, humidity 0…100 by 0.0025 % |
//! | 2 TC.x | temperature −200…1800 by 0.0625 °C |
//!
//! Source: the layouts as sensorpush-ble reads them (Apache-2.0), checked against its recordings.

use super::bytes::Bytes;
use super::quantity::{HUMIDITY, PRESSURE, TEMPERATURE};
use super::{Advert, Datum, Format, Frame, Known, Outcome, Refusal, Uuid, block};

/// SensorPush sensors.
pub const FORMAT: Format = Format { name: "SensorPush", needs_active_scan: false, read };

const SERVICE: Uuid = Uuid(0xef09_0000_11d6_42ba_93b8_9dd7_ec09_0ab0);
const SERVICE_HT1: Uuid = Uuid(0xef09_0000_11d6_42ba_93b8_9dd7_ec09_0aa9);

const HT1: &str = "HT1";
const HTP: &str = "HTP.xw";
const HT: &str = "HT.w";
const TC: &str = "TC.x";

/// Longer than any reading: something else, sent beside them.
const LONGEST: usize = 8;

fn read(advert: &Advert, known: &Known<'_>) -> Outcome {
    let has = |uuid| advert.services.contains(&uuid);
    let is_ht1 = has(SERVICE_HT1) || known.model == Some(HT1);
    let is_later = has(SERVICE)
        || advert.name().starts_with("SensorPush ")
        || known.model.is_some_and(|name| [HTP, HT, TC].contains(&name));
    if !is_ht1 && !is_later {
        return Outcome::NotMine;
    }
    match block::sole(advert) {
        Ok(None) => Outcome::NotMine,
        Ok(Some((_, data))) if data.len() > LONGEST => Outcome::NotMine,
        Ok(Some(entry)) if is_ht1 => ht1(&block::on_air(entry)).into(),
        Ok(Some(entry)) => later(&block::on_air(entry)).into(),
        Err(refusal) => Outcome::Refused(refusal),
    }
}

fn frame(model: &'static str, values: Vec<Datum>) -> Frame {
    Frame { format: FORMAT.name, model: Some(model.into()), values, ..Frame::default() }
}

fn ht1(data: &[u8]) -> Result<Frame, Refusal> {
    let number = Bytes::new(data).u32_le()?;
    let kind = number >> 26;
    if kind != 1 {
        return Err(Refusal::Unknown(format!("an HT1 of type {kind}")));
    }
    let humidity = f64::from(number & 0xfff) * 125.0 / f64::from(1 << 12) - 6.0;
    let temperature = f64::from((number >> 12) & 0x3fff) * 175.72 / f64::from(1 << 14) - 46.85;
    // The formulas give more digits than the sensor has.
    let values = vec![TEMPERATURE.of(hundredths(temperature)), HUMIDITY.of(hundredths(humidity.clamp(0.0, 100.0)))];
    Ok(frame(HT1, values))
}

fn hundredths(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

fn later(data: &[u8]) -> Result<Frame, Refusal> {
    let mut bytes = Bytes::new(data);
    let first = bytes.u8()?;
    let (page, kind) = (first & 0x03, first >> 2);
    if page != 0 {
        return Ok(Frame { format: FORMAT.name, ..Frame::default() });
    }
    match kind {
        0 => {
            let mut digits = Digits::of(bytes.array::<6>()?);
            let values = vec![digits.fine(180), digits.humidity(), digits.pressure()];
            Ok(frame(HTP, values))
        }
        1 => {
            let mut digits = Digits::of(bytes.array::<4>()?);
            let values = vec![digits.fine(165), digits.humidity()];
            Ok(frame(HT, values))
        }
        2 => {
            let mut digits = Digits::of(bytes.array::<4>()?);
            Ok(frame(TC, vec![TEMPERATURE.of((f64::from(digits.next(2000 * 16 + 1)) - 200.0 * 16.0) / 16.0)]))
        }
        _ => Err(Refusal::Unknown(format!("a SensorPush of type {kind}"))),
    }
}

/// A number made of digits that have a base each.
struct Digits(u64);

impl Digits {
    fn of<const N: usize>(bytes: [u8; N]) -> Self {
        Self(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn next(&mut self, base: u32) -> u32 {
        let digit = u32::try_from(self.0 % u64::from(base)).unwrap_or(u32::MAX);
        self.0 /= u64::from(base);
        digit
    }

    /// A temperature from −40 °C on, by 0.0025 °C.
    fn fine(&mut self, span: u32) -> Datum {
        TEMPERATURE.of((f64::from(self.next(span * 400 + 1)) - 40.0 * 400.0) / 400.0)
    }

    fn humidity(&mut self) -> Datum {
        HUMIDITY.of(f64::from(self.next(100 * 400 + 1)) / 400.0)
    }

    fn pressure(&mut self) -> Datum {
        PRESSURE.of((f64::from(self.next(95_000 + 1)) + 30_000.0) / 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advert::testing::{advert, heard, refused, values};

    fn sent(service: Uuid, id: u16, data: &str) -> Outcome {
        let mut advert = advert("aa:bb:cc:dd:ee:ff").with_company(id, data);
        advert.services.push(service);
        read(&advert, &Known::default())
    }

    fn told(service: Uuid, id: u16, data: &str) -> String {
        values(&heard(sent(service, id, data)))
    }

    #[test]
    fn each_model_is_read() {
        assert_eq!(told(SERVICE_HT1, 0x4834, "6205"), "temperature 13.94 °C, humidity 58.09 %");
        assert_eq!(told(SERVICE, 0xe904, "187d39"), "temperature 27.69 °C, humidity 36.5325 %");
        assert_eq!(told(SERVICE, 0x9a04, "c9a546"), "temperature 20.53 °C, humidity 44.895 %");
        assert_eq!(
            told(SERVICE, 0x8900, "e456bea6b4"),
            "temperature 22.6625 °C, humidity 46.0675 %, pressure 989.65 hPa"
        );
        assert_eq!(told(SERVICE, 0xf908, "0d0000"), "temperature 23.5625 °C");
    }

    #[test]
    fn the_ends_of_the_ranges_are_read() {
        assert_eq!(told(SERVICE_HT1, 0x0000, "0004"), "temperature -46.85 °C, humidity 0 %");
        assert_eq!(told(SERVICE_HT1, 0xffff, "ff07"), "temperature 128.86 °C, humidity 100 %");
        assert_eq!(told(SERVICE, 0x0008, "000000"), "temperature -200 °C");
        assert_eq!(told(SERVICE, 0x0004, "000000"), "temperature -40 °C, humidity 0 %");
    }

    #[test]
    fn another_page_says_only_that_the_sensor_is_there() {
        assert_eq!(heard(sent(SERVICE, 0x2c07, "fe0001")).values, []);
    }

    #[test]
    fn without_service_and_name_only_a_sensor_that_is_known_is_read() {
        let bare = advert("aa:bb:cc:dd:ee:ff").with_company(0x9a04, "c9a546");
        assert_eq!(read(&bare, &Known::default()), Outcome::NotMine);
        heard(read(&bare, &Known { model: Some(HT), ..Known::default() }));
        heard(read(&bare.with_name("SensorPush HT.w 0CA1"), &Known::default()));
    }

    #[test]
    fn two_readings_at_once_and_unknown_types_are_refused() {
        let mut two = advert("aa:bb:cc:dd:ee:ff").with_company(0x9a04, "c9a546").with_company(0x9b04, "c9a546");
        two.services.push(SERVICE);
        assert!(matches!(refused(read(&two, &Known::default())), Refusal::Unknown(_)));
        assert_eq!(refused(sent(SERVICE, 0x000c, "000000")).to_string(), "a SensorPush of type 3");
        assert_eq!(refused(sent(SERVICE_HT1, 0x4834, "6209")).to_string(), "an HT1 of type 2");
    }

    #[test]
    fn cut_off_anywhere_they_are_refused() {
        for (service, id, whole) in
            [(SERVICE_HT1, 0x4834, "6205"), (SERVICE, 0x9a04, "c9a546"), (SERVICE, 0x8900, "e456bea6b4")]
        {
            for length in 0..whole.len() / 2 {
                let cut = sent(service, id, whole.get(..length * 2).unwrap());
                assert!(matches!(refused(cut), Refusal::Truncated { .. }), "{length}");
            }
        }
    }
}
