//! IAM-T1 and IAM-T2.
//!
//! The letters `T2` in the place of the company id, then `00 | address (6) | flags: bit 1 Fahrenheit |
//! temperature s16 ×0.1 | humidity u16 ×0.1 % | CO2 u16 ppm | …`, high byte first. The T1 has `T1` and
//! its serial number there.

use super::super::bytes::Bytes;
use super::super::quantity::{CO2, HUMIDITY, TEMPERATURE};
use super::super::{Advert, Frame, Refusal};

const T1: u16 = u16::from_le_bytes(*b"T1");
const T2: u16 = u16::from_le_bytes(*b"T2");

const LENGTH: usize = 15;

/// Nothing if it is none of these. Others may have the same two bytes there, at a temperature of 129 °C.
pub(super) fn read(advert: &Advert) -> Option<Result<Frame, Refusal>> {
    if advert.company(T1).is_some_and(|data| data.starts_with(b"AC-")) {
        return Some(Ok(super::frame(Some("IAM-T1"), Vec::new())));
    }
    let data = advert.company(T2)?;
    let named = super::named(advert.name()).is_some_and(|name| name == "IAM-T2");
    (named || (data.len() == LENGTH && data.first() == Some(&0))).then(|| frame(data))
}

fn frame(data: &[u8]) -> Result<Frame, Refusal> {
    let mut bytes = Bytes::new(data);
    bytes.skip(7)?;
    let flags = bytes.u8()?;
    let temperature = f64::from(bytes.i16_be()?);
    let humidity = f64::from(bytes.u16_be()?) / 10.0;
    let co2 = bytes.u16_be()?;
    super::plausible(humidity, 0)?;
    let celsius = match flags & 0x02 {
        0 => temperature / 10.0,
        _ => (temperature - 320.0) / 18.0,
    };
    Ok(super::frame(Some("IAM-T2"), vec![TEMPERATURE.of(celsius), HUMIDITY.of(humidity), CO2.whole(co2)]))
}

#[cfg(test)]
mod tests {
    use super::super::read as read_any;
    use super::*;
    use crate::advert::testing::{advert, heard, refused, values};
    use crate::advert::{Known, Outcome};

    const ROOM: &str = "006200a13e29bed4011a0227026791";

    fn sent(name: &str, data: &str) -> Outcome {
        read_any(&advert("62:00:A1:3E:29:BE").with_name(name).with_company(T2, data), &Known::default())
    }

    #[test]
    fn air_is_read() {
        let told = |data| values(&heard(sent("", data)));
        assert_eq!(told(ROOM), "temperature 28.2 °C, humidity 55.1 %, co2 615 ppm");
        assert_eq!(told("006200a13e29bed4ffce01ee025391"), "temperature -5 °C, humidity 49.4 %, co2 595 ppm");
    }

    #[test]
    fn fahrenheit_becomes_celsius() {
        let told = values(&heard(sent("Ink@IAM-T2", "006200a13e29bed6ffd801ee025391")));
        assert_eq!(told, "temperature -20 °C, humidity 49.4 %, co2 595 ppm");
    }

    #[test]
    fn the_first_model_says_only_that_it_is_there() {
        let first = advert("62:00:A1:3C:AE:7B").with_company(T1, "41432d363230306131336361650000");
        let frame = heard(read_any(&first, &Known::default()));
        assert_eq!((frame.model.as_deref(), frame.values.len()), (Some("IAM-T1"), 0));
    }

    #[test]
    fn what_cannot_be_or_is_cut_off_is_refused() {
        assert!(matches!(refused(sent("", "006200a13e29bed4ffceffff025391")), Refusal::Implausible(_)));
        for length in 0..14 {
            let cut = ROOM.get(..length * 2).unwrap();
            assert!(matches!(refused(sent("Ink@IAM-T2", cut)), Refusal::Truncated { .. }), "{length}");
        }
    }
}
