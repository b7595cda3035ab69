//! Beacons that say who they are: iBeacon and AltBeacon; and the Tilt hydrometer, which says in an
//! iBeacon how its brew is.
//!
//! iBeacon, manufacturer data of Apple (0x004C), 23 bytes: `02 15 | UUID (16) | major u16 | minor u16 |
//! power s8`, big-endian; the power is how strong it is heard at 1 m, in dBm. Some stacks glue other
//! data behind it. AltBeacon, of any company: `BE AC | id (20) | power s8 | one byte`.
//!
//! A Tilt has the UUID A495BB*n*0-C5B1-4B44-B512-1370F02D74DE, where *n* is its colour; major is the
//! temperature in °F and minor the gravity in thousandths. The Pro gives both with one more digit: its
//! gravity, which is near 1, tells it apart.
//!
//! Source: Apple, "Proximity Beacon Specification"; AltBeacon 1.0; the maker of Tilt on its format.

use std::fmt::Write as _;

use super::bytes::Bytes;
use super::{Advert, Format, Frame, Known, Outcome, Refusal, Uuid, quantity::*};

/// iBeacon, and what is written in it.
pub const FORMAT: Format = Format { name: "iBeacon", needs_active_scan: false, read };

/// AltBeacon.
pub const FORMAT_ALT: Format = Format { name: "AltBeacon", needs_active_scan: false, read: read_alt };

const APPLE: u16 = 0x004c;
const TILT: u128 = 0xa495_bb00_c5b1_4b44_b512_1370_f02d_74de;
const TILT_COLOUR: u128 = 0xf << 100;
const COLOURS: [&str; 8] = ["red", "green", "black", "purple", "orange", "blue", "yellow", "pink"];
/// A gravity above this, in thousandths, is that of a Pro in ten-thousandths.
const PRO: u16 = 5000;

fn read(advert: &Advert, _: &Known<'_>) -> Outcome {
    match advert.company(APPLE) {
        // Apple has many other kinds of frames.
        Some([0x02, 0x15, rest @ ..]) => frame(&mut Bytes::new(rest)).into(),
        _ => Outcome::NotMine,
    }
}

fn frame(bytes: &mut Bytes<'_>) -> Result<Frame, Refusal> {
    let uuid = u128::from_be_bytes(bytes.array()?);
    let (major, minor, power) = (bytes.u16_be()?, bytes.u16_be()?, bytes.i8()?);
    let colour = usize::try_from((uuid & TILT_COLOUR) >> 100).ok().and_then(|n| n.checked_sub(1));
    if let Some(colour) = colour.and_then(|n| COLOURS.get(n))
        && uuid & !TILT_COLOUR == TILT
    {
        return Ok(tilt(colour, major, minor));
    }
    let id = format!("{}/{major}/{minor}", Uuid(uuid));
    let values = vec![BEACON.says(id), RSSI_AT_1M.whole(power)];
    Ok(Frame { format: FORMAT.name, values, ..Frame::default() })
}

fn tilt(colour: &str, major: u16, minor: u16) -> Frame {
    let (kind, digits) = if minor > PRO { ("Tilt Pro", 10.0) } else { ("Tilt", 1.0) };
    let fahrenheit = f64::from(major) / digits;
    Frame {
        format: "Tilt",
        model: Some(format!("{kind} {colour}").into()),
        values: vec![TEMPERATURE.of((fahrenheit - 32.0) * 5.0 / 9.0), GRAVITY.of(f64::from(minor) / (digits * 1000.0))],
        ..Frame::default()
    }
}

fn read_alt(advert: &Advert, _: &Known<'_>) -> Outcome {
    let mut found = advert.manufacturer_data.values().filter_map(|data| data.strip_prefix(&[0xbe, 0xac]));
    match found.next() {
        Some(rest) => alt(&mut Bytes::new(rest)).into(),
        None => Outcome::NotMine,
    }
}

fn alt(bytes: &mut Bytes<'_>) -> Result<Frame, Refusal> {
    let id = bytes.take(20)?.iter().fold(String::new(), |mut id, byte| {
        let _ = write!(id, "{byte:02x}");
        id
    });
    let power = bytes.i8()?;
    let values = vec![BEACON.says(id), RSSI_AT_1M.whole(power)];
    Ok(Frame { format: FORMAT_ALT.name, values, ..Frame::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advert::testing::{advert, heard, hex, refused, values};

    fn said(data: &str) -> Outcome {
        read(&advert("AA:BB:CC:DD:EE:FF").with_company(APPLE, data), &Known::default())
    }

    fn said_alt(data: &str) -> Outcome {
        read_alt(&advert("AA:BB:CC:DD:EE:FF").with_company(0x0118, data), &Known::default())
    }

    #[test]
    fn a_beacon_says_who_it_is() {
        let expected = "beacon e2c56db5-dffb-48d2-b060-d0f5a71096e0/100/0, rssi_at_1m -59 dBm";
        assert_eq!(values(&heard(said("0215e2c56db5dffb48d2b060d0f5a71096e000640000c5"))), expected);
        // Glued behind it may be anything.
        assert_eq!(values(&heard(said("0215e2c56db5dffb48d2b060d0f5a71096e000640000c50102"))), expected);
        let alt = "beac00112233445566778899aabbccddeeff00010002c500";
        let expected = "beacon 00112233445566778899aabbccddeeff00010002, rssi_at_1m -59 dBm";
        assert_eq!(values(&heard(said_alt(alt))), expected);
    }

    #[test]
    fn a_tilt_says_how_its_brew_is() {
        let frame = heard(said("0215a495bb10c5b14b44b5121370f02d74de004403f8c5"));
        assert_eq!(values(&frame), "temperature 20 °C, gravity 1.016");
        assert_eq!(frame.model.as_deref(), Some("Tilt red"));
        let frame = heard(said("0215a495bb80c5b14b44b5121370f02d74de02a827b0c5"));
        assert_eq!(
            (values(&frame).as_str(), frame.model.as_deref()),
            ("temperature 20 °C, gravity 1.016", Some("Tilt Pro pink"))
        );
        // Snow: 23 °F.
        assert!(
            values(&heard(said("0215a495bb30c5b14b44b5121370f02d74de001703f8c5"))).starts_with("temperature -5 °C")
        );
        assert_eq!(heard(said("0215a495bb90c5b14b44b5121370f02d74de004403f8c5")).format, "iBeacon");
    }

    #[test]
    fn what_is_cut_off_is_refused_and_what_is_another_kind_is_somebody_elses() {
        let whole = "0215e2c56db5dffb48d2b060d0f5a71096e000640000c5";
        let alt = "beac00112233445566778899aabbccddeeff00010002c5";
        for length in 2..hex(whole).len() {
            assert!(matches!(refused(said(&whole[..length * 2])), Refusal::Truncated { .. }));
            assert!(matches!(refused(said_alt(&alt[..length * 2])), Refusal::Truncated { .. }));
        }
        for data in ["", "02", "1005e2c56db5"] {
            assert_eq!(said(data), Outcome::NotMine);
            assert_eq!(said_alt(data), Outcome::NotMine);
        }
    }
}
