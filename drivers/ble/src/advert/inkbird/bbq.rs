//! iBBQ and xBBQ, meat thermometers with one to six probes.
//!
//! The company id is 0 or 1, then `2 bytes | address (6) | temperature s16 ×0.1 °C for each probe`,
//! low byte first; all ones for a probe that is not plugged in.
//!
//! Under the id 2 a two-probe model sends other numbers in the same places, as its recordings show:
//! 15.4 and 1.9 while one probe is at 24.8 and the other not plugged in. They are not temperatures of
//! now and are left alone.

use super::super::bytes::Bytes;
use super::super::quantity::TEMPERATURE;
use super::super::{Advert, Frame, Refusal};

const READINGS: [u16; 2] = [0, 1];
const OTHER: u16 = 2;

const MOST_PROBES: usize = 6;

/// Nothing if it is none of these.
pub(super) fn read(advert: &Advert, model: Option<&str>) -> Option<Result<Frame, Refusal>> {
    let name = model.filter(|name| name.starts_with("iBBQ") || name.starts_with("xBBQ"))?;
    let kind = name.get(..4)?;
    match READINGS.iter().find_map(|id| advert.company(*id)) {
        Some(data) => Some(frame(kind, data)),
        None => advert.company(OTHER).map(|_| Ok(super::frame(Some(name), Vec::new()))),
    }
}

fn frame(kind: &str, data: &[u8]) -> Result<Frame, Refusal> {
    let mut bytes = Bytes::new(data);
    bytes.skip(8)?;
    let probes = bytes.len() / 2;
    if bytes.is_empty() || !bytes.len().is_multiple_of(2) {
        return Err(Refusal::Truncated { have: data.len(), need: 8 + 2 * (probes + 1) });
    }
    if probes > MOST_PROBES {
        return Err(Refusal::Unknown(format!("an {kind} with {probes} probes")));
    }
    let mut values = Vec::new();
    for probe in 1..=probes {
        let datum = match bytes.i16_le()? {
            -1 => TEMPERATURE.missing(),
            raw => TEMPERATURE.of(f64::from(raw) / 10.0),
        };
        values.push(datum.nth(probe));
    }
    Ok(super::frame(Some(&format!("{kind}-{probes}")), values))
}

#[cfg(test)]
mod tests {
    use super::super::read as read_any;
    use super::*;
    use crate::advert::testing::{advert, heard, refused, values};
    use crate::advert::{Known, Outcome};

    const FOUR: &str = "000030e2837db502cefffa000401fa00";

    fn sent(name: &str, id: u16, data: &str) -> Outcome {
        read_any(&advert("aa:bb:cc:dd:ee:ff").with_name(name).with_company(id, data), &Known::default())
    }

    #[test]
    fn each_probe_is_read() {
        let frame = heard(sent("iBBQ", 0, FOUR));
        assert_eq!(values(&frame), "temperature -5 °C, temperature_2 25 °C, temperature_3 26 °C, temperature_4 25 °C");
        assert_eq!(frame.model.as_deref(), Some("iBBQ-4"));
    }

    #[test]
    fn a_probe_that_is_not_plugged_in_has_no_value() {
        let told = values(&heard(sent("xBBQ", 1, "0000561100007f73f800ffff")));
        assert_eq!(told, "temperature 24.8 °C, temperature_2 (the sensor has no value)");
    }

    #[test]
    fn other_numbers_are_not_taken_for_temperatures() {
        assert_eq!(heard(sent("xBBQ", 2, "0000561100007f739a001300")).values, []);
    }

    #[test]
    fn without_a_name_only_one_that_is_known_is_read() {
        let bare = advert("aa:bb:cc:dd:ee:ff").with_company(0, FOUR);
        assert_eq!(read_any(&bare, &Known::default()), Outcome::NotMine);
        heard(read_any(&bare, &Known { model: Some("iBBQ-4"), ..Known::default() }));
    }

    #[test]
    fn cut_off_or_too_long_it_is_refused() {
        for length in (0..=8).chain([9, 11, 13, 15]) {
            let cut = sent("iBBQ", 0, FOUR.get(..length * 2).unwrap());
            assert!(matches!(refused(cut), Refusal::Truncated { .. }), "{length}");
        }
        assert!(matches!(refused(sent("iBBQ", 0, &format!("{FOUR}000000000000"))), Refusal::Unknown(_)));
    }
}
