//! IBS-TH, IBS-TH2 and P01B.
//!
//! 9 bytes, the place of the company id included, low byte first: `temperature s16 ×0.01 °C |
//! humidity u16 ×0.01 % | probe: 0 built in, 1 outside | checksum u16 | battery u8 % | kind`. The
//! checksum is Modbus's CRC-16 of the five bytes before it; that this is so is inferred from the
//! recordings, all of which it fits. It also tells a thermometer whose name was garbled.
//!
//! A humidity of 0 or of all ones means that there is no sensor for it.

use super::super::bytes::Bytes;
use super::super::quantity::{BATTERY, HUMIDITY, TEMPERATURE};
use super::super::{Advert, Frame, Refusal};
use super::SERVICE;

/// The one whose name is `sps`.
pub(super) const WITH_HUMIDITY: &str = "IBS-TH";
/// The one whose name is `tps`.
pub(super) const SECOND: &str = "IBS-TH2/P01B";

const LENGTH: usize = 9;

pub(super) fn is_one(model: &str) -> bool {
    model == WITH_HUMIDITY || model == SECOND
}

/// Nothing if it is none of these.
pub(super) fn read(advert: &Advert, model: Option<&str>, block: &[u8]) -> Option<Result<Frame, Refusal>> {
    let name = model.filter(|name| is_one(name));
    if name.is_some() {
        return Some(frame(name, block));
    }
    let unnamed = model.is_none() && advert.has_service(SERVICE) && block.len() == LENGTH;
    // A checksum that does not fit says here that it is another maker's.
    unnamed.then(|| frame(Some(WITH_HUMIDITY), block)).filter(Result::is_ok)
}

fn frame(model: Option<&str>, block: &[u8]) -> Result<Frame, Refusal> {
    let mut bytes = Bytes::new(block);
    let checked = bytes.array::<5>()?;
    let checksum = bytes.u16_le()?;
    let battery = bytes.u8()?;
    bytes.skip(1)?;
    if crc16(&checked) != checksum {
        return Err(Refusal::Checksum);
    }
    let mut checked = Bytes::new(&checked);
    let temperature = checked.i16_le()?;
    let humidity = checked.u16_le()?;
    let mut values = vec![TEMPERATURE.of(f64::from(temperature) / 100.0)];
    if !matches!(humidity, 0 | 0xffff) {
        values.push(HUMIDITY.of(f64::from(humidity) / 100.0));
    }
    values.push(BATTERY.whole(battery));
    Ok(super::frame(model, values))
}

/// CRC-16/MODBUS.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xffff, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0xa001 })
    })
}

#[cfg(test)]
mod tests {
    use super::super::read as read_any;
    use super::*;
    use crate::advert::testing::{advert, heard, refused, values};
    use crate::advert::{Known, Outcome, Uuid};

    fn sent(name: &str, id: u16, data: &str) -> Outcome {
        let mut advert = advert("49:22:03:25:01:46").with_name(name).with_company(id, data);
        advert.services.push(Uuid::short(SERVICE));
        read_any(&advert, &Known::default())
    }

    #[test]
    fn a_thermometer_is_read() {
        let frame = heard(sent("sps", 0x07fc, "c71200c83d5606"));
        assert_eq!(values(&frame), "temperature 20.44 °C, humidity 48.07 %, battery 86 %");
        assert_eq!(frame.model.as_deref(), Some(WITH_HUMIDITY));
    }

    #[test]
    fn one_without_a_sensor_for_humidity_tells_none() {
        assert_eq!(values(&heard(sent("tps", 0xf89e, "000000bcbc6406"))), "temperature -18.9 °C, battery 100 %");
    }

    #[test]
    fn the_checksum_tells_one_whose_name_is_garbled() {
        let told = values(&heard(sent("N0BYD", 0xf9ab, "1b1e0048e33708")));
        assert_eq!(told, "temperature -16.21 °C, humidity 77.07 %, battery 55 %");
        assert_eq!(sent("N0BYD", 0xf9ab, "1b1e0048e43708"), Outcome::NotMine);
    }

    #[test]
    fn a_damaged_reading_is_refused() {
        assert_eq!(refused(sent("sps", 0x07fd, "c71200c83d5606")), Refusal::Checksum);
    }

    #[test]
    fn cut_off_anywhere_it_is_refused() {
        for length in 0..7 {
            let cut = sent("sps", 0x07fc, "c71200c83d5606".get(..length * 2).unwrap());
            assert!(matches!(refused(cut), Refusal::Truncated { .. }), "{length}");
        }
    }
}
