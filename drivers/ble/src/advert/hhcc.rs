//! The plant sensor HHCCJCY10 (the pink one): service data of 0xFD50, nine bytes, big-endian:
//! `moisture u8 % | temperature s16 in 0.1 °C | illuminance u24 lx | battery u8 % | conductivity u16 µS/cm`.
//!
//! Source: recorded frames; that the temperature has a sign is taken from its brothers. The service
//! is Tuya's, whose other devices send other lengths.

use super::bytes::Bytes;
use super::{Advert, Format, Frame, Known, Outcome, Refusal, quantity::*};

/// HHCCJCY10.
pub const FORMAT: Format = Format { name: "HHCCJCY10", needs_active_scan: false, read };

const SERVICE: u16 = 0xfd50;

fn read(advert: &Advert, _: &Known<'_>) -> Outcome {
    match advert.service(SERVICE) {
        Some(data) if data.len() == 9 => frame(&mut Bytes::new(data)).into(),
        _ => Outcome::NotMine,
    }
}

fn frame(bytes: &mut Bytes<'_>) -> Result<Frame, Refusal> {
    let values = vec![
        MOISTURE.of(bytes.u8()?.into()),
        TEMPERATURE.of(f64::from(bytes.i16_be()?) / 10.0),
        ILLUMINANCE.of(bytes.u24_be()?.into()),
        BATTERY.whole(bytes.u8()?),
        CONDUCTIVITY.of(bytes.u16_be()?.into()),
    ];
    Ok(Frame { format: FORMAT.name, model: Some(FORMAT.name.into()), values, ..Frame::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advert::testing::{advert, heard, values};

    fn said(data: &str) -> Outcome {
        read(&advert("DC:23:4D:E5:5B:FC").with_service(SERVICE, data), &Known::default())
    }

    #[test]
    fn a_plant_is_read_in_warmth_and_frost() {
        assert_eq!(
            values(&heard(said("0e006e0134a428005b"))),
            "moisture 14 %, temperature 11 °C, illuminance 79012 lx, battery 40 %, conductivity 91 µS/cm"
        );
        assert!(values(&heard(said("0effdd0134a428005b"))).contains("temperature -3.5 °C"));
    }

    #[test]
    fn other_lengths_are_somebody_elses() {
        let whole = "0e006e0134a428005b00";
        for length in (0..=10).filter(|length| *length != 9) {
            assert_eq!(said(&whole[..length * 2]), Outcome::NotMine);
        }
    }
}
