//! ITH-11-B, ITH-13-B, ITH-21-B and IBS-P02B.
//!
//! 18 bytes, the place of the company id included: `address (6) | temperature s16 ×0.1 °C | humidity
//! u16 ×0.1 %, 0 for none | battery u8 % | …`, low byte first. The address begins with 49:24 in every
//! recording, which makes 0x2449 of the company id.

use super::super::bytes::Bytes;
use super::super::quantity::{BATTERY, HUMIDITY, TEMPERATURE};
use super::super::{Advert, Frame, Refusal};
use super::SERVICE;

const COMPANY: u16 = 0x2449;
const LENGTH: usize = 16;

pub(super) fn is_one(model: &str) -> bool {
    model.starts_with("ITH-") || model == "IBS-P02B"
}

/// Nothing if it is none of these.
pub(super) fn read(advert: &Advert, model: Option<&str>, (id, data): (u16, &[u8])) -> Option<Result<Frame, Refusal>> {
    let name = model.filter(|name| is_one(name));
    let unnamed = id == COMPANY && data.len() == LENGTH && advert.has_service(SERVICE);
    (name.is_some() || unnamed).then(|| frame(name, data))
}

fn frame(model: Option<&str>, data: &[u8]) -> Result<Frame, Refusal> {
    if data.len() < LENGTH {
        return Err(Refusal::Truncated { have: data.len(), need: LENGTH });
    }
    let mut bytes = Bytes::new(data);
    bytes.skip(4)?;
    let temperature = bytes.i16_le()?;
    let humidity = bytes.u16_le()?;
    let battery = bytes.u8()?;
    super::plausible(f64::from(humidity) / 10.0, battery)?;
    let mut values = vec![TEMPERATURE.of(f64::from(temperature) / 10.0)];
    if humidity > 0 {
        values.push(HUMIDITY.of(f64::from(humidity) / 10.0));
    }
    values.push(BATTERY.whole(battery));
    Ok(super::frame(model, values))
}

#[cfg(test)]
mod tests {
    use super::super::read as read_any;
    use super::*;
    use crate::advert::testing::{advert, heard, refused, values};
    use crate::advert::{Known, Outcome, Uuid};

    const ROOM: &str = "07110098d80013026401900400000000";

    fn sent(name: &str, data: &str) -> Outcome {
        let mut advert = advert("49:24:07:11:00:98").with_name(name).with_company(COMPANY, data);
        advert.services.push(Uuid::short(SERVICE));
        read_any(&advert, &Known::default())
    }

    #[test]
    fn climate_is_read_with_or_without_a_name() {
        let frame = heard(sent("ITH-21-B", ROOM));
        assert_eq!(values(&frame), "temperature 21.6 °C, humidity 53.1 %, battery 100 %");
        assert_eq!(frame.model.as_deref(), Some("ITH-21-B"));
        assert_eq!(heard(sent("", ROOM)).model, None);
    }

    #[test]
    fn frost_is_read_and_a_pool_has_no_humidity() {
        let told = |data| values(&heard(sent("", data)));
        assert_eq!(told("0812005efeff48036400640800000000"), "temperature -0.2 °C, humidity 84 %, battery 100 %");
        assert_eq!(told("11180065d00000005a00800000000000"), "temperature 20.8 °C, battery 90 %");
    }

    #[test]
    fn what_cannot_be_makes_the_rest_doubtful_too() {
        let told = |data| refused(sent("ITH-11-B", data)).to_string();
        assert_eq!(told("0812005e0000ffff6400640800000000"), "implausible: a humidity of 6553.5 %");
        assert_eq!(told("0812005e00009001ff00640800000000"), "implausible: a battery of 255 %");
    }

    #[test]
    fn cut_off_anywhere_it_is_refused() {
        for length in 0..LENGTH {
            let cut = ROOM.get(..length * 2).unwrap();
            assert!(matches!(refused(sent("ITH-21-B", cut)), Refusal::Truncated { .. }), "{length}");
            assert_eq!(sent("", cut), Outcome::NotMine);
        }
    }
}
