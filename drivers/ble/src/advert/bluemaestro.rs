//! Blue Maestro Tempo Disc.
//!
//! Manufacturer data of the company 0x0133: `kind | battery u8 % | interval u16 s | count u16 |
//! temperature s16 ×0.1 °C | humidity u16 ×0.1 % | dew point s16 ×0.1 °C | …`, high byte first. What
//! follows are extremes of the day and settings.
//!
//! Source: the layout as bluemaestro-ble reads it (MIT), checked against its recordings. Of the kinds
//! only 0x17, temperature with humidity and dew point, is known; the others have other layouts.

use super::bytes::Bytes;
use super::quantity::{BATTERY, DEW_POINT, HUMIDITY, TEMPERATURE};
use super::{Advert, Format, Frame, Known, Outcome, Refusal};

/// Blue Maestro Tempo Disc.
pub const FORMAT: Format = Format { name: "Blue Maestro", needs_active_scan: false, read };

const COMPANY: u16 = 0x0133;

/// The kind that measures temperature and humidity.
const TEMPERATURE_AND_HUMIDITY: u8 = 0x17;

fn read(advert: &Advert, _: &Known<'_>) -> Outcome {
    match advert.company(COMPANY) {
        Some(data) => frame(data).into(),
        None => Outcome::NotMine,
    }
}

fn frame(data: &[u8]) -> Result<Frame, Refusal> {
    let mut bytes = Bytes::new(data);
    let kind = bytes.u8()?;
    if kind != TEMPERATURE_AND_HUMIDITY {
        return Err(Refusal::Unknown(format!("a Blue Maestro of kind {kind:#04x}")));
    }
    let battery = bytes.u8()?;
    bytes.skip(4)?; // how often it logs, and how often it has
    let temperature = bytes.i16_be()?;
    let humidity = bytes.u16_be()?;
    let dew_point = bytes.i16_be()?;
    Ok(Frame {
        format: FORMAT.name,
        model: Some("Tempo Disc THD".into()),
        values: vec![
            TEMPERATURE.of(f64::from(temperature) / 10.0),
            HUMIDITY.of(f64::from(humidity) / 10.0),
            DEW_POINT.of(f64::from(dew_point) / 10.0),
            BATTERY.whole(battery),
        ],
        ..Frame::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advert::testing::{advert, heard, refused, values};

    const FROST: &str = "17550e10061eff2f02a6ff030100";

    fn read_data(data: &str) -> Outcome {
        read(&advert("aa:bb:cc:dd:ee:ff").with_company(COMPANY, data), &Known::default())
    }

    #[test]
    fn a_disc_in_the_frost_is_read() {
        let frame = heard(read_data(FROST));
        assert_eq!(values(&frame), "temperature -20.9 °C, humidity 67.8 %, dew_point -25.3 °C, battery 85 %");
        assert_eq!(frame.model.as_deref(), Some("Tempo Disc THD"));
    }

    #[test]
    fn another_kind_is_not_guessed_at() {
        assert_eq!(refused(read_data("1b550e10061eff2f02a6ff030100")).to_string(), "a Blue Maestro of kind 0x1b");
    }

    #[test]
    fn cut_off_anywhere_it_is_refused() {
        for length in 0..12 {
            let cut = FROST.get(..length * 2).unwrap();
            assert!(matches!(refused(read_data(cut)), Refusal::Truncated { have, .. } if have == length), "{length}");
        }
    }

    #[test]
    fn another_company_is_not_mine() {
        let other = advert("aa:bb:cc:dd:ee:ff").with_company(0x0499, FROST);
        assert_eq!(read(&other, &Known::default()), Outcome::NotMine);
    }
}
