//! Xiaomi's bathroom scales.
//!
//! Mi Smart Scale, service data of 0x181D, 10 bytes, low byte first: `flags | mass u16 | year u16 |
//! month | day | hour | minute | second`. Flags: bit 0 pounds, bit 4 catty, bit 5 settled, bit 7
//! nobody stands on it any more.
//!
//! Mi Body Composition Scale, 0x181B, 13 bytes: `flags u16 | year u16 | month | day | hour | minute |
//! second | impedance u16 Ω | mass u16`. Flags: bit 0 pounds, bit 14 catty, bit 9 impedance,
//! bit 13 settled, bit 15 nobody stands on it any more.
//!
//! A mass is kilograms ×200, pounds ×100 or catties ×100, a catty being half a kilogram. It is told in
//! kilograms whichever unit the display shows, so that a switch on the scale's back does not make
//! another point of it. Only what has settled with somebody standing on it is a mass; what the display
//! runs through before is `mass_unsettled`.
//!
//! Source: the layouts as xiaomi-ble reads them (Apache-2.0), checked against its recordings, which
//! are in kilograms; the bits of the other units are those that xiaomi-ble, ble_monitor and openScale
//! agree on. Where both units are said they do not agree, and nothing is told. The scales repeat the
//! last weighing.

use super::bytes::Bytes;
use super::quantity::{IMPEDANCE, MASS, MASS_UNSETTLED};
use super::{Advert, Datum, Format, Frame, Known, Outcome, Refusal};

/// Xiaomi's scales.
pub const FORMAT: Format = Format { name: "Mi scale", needs_active_scan: false, read };

const SCALE: u16 = 0x181d;
const BODY_SCALE: u16 = 0x181b;

fn read(advert: &Advert, _: &Known<'_>) -> Outcome {
    if let Some(data) = advert.service(SCALE) {
        return scale(data).into();
    }
    match advert.service(BODY_SCALE) {
        Some(data) => body_scale(data).into(),
        None => Outcome::NotMine,
    }
}

fn scale(data: &[u8]) -> Result<Frame, Refusal> {
    let mut bytes = Bytes::new(data);
    let flags = bytes.u8()?;
    let raw = bytes.u16_le()?;
    bytes.skip(7)?; // the scale's clock, in its own time zone
    let unit = Unit::of(flags & 0x01 != 0, flags & 0x10 != 0)?;
    let values = vec![mass(unit, raw, flags & 0x20 != 0 && flags & 0x80 == 0)];
    Ok(frame("Mi Smart Scale", values))
}

fn body_scale(data: &[u8]) -> Result<Frame, Refusal> {
    let mut bytes = Bytes::new(data);
    let flags = bytes.u16_le()?;
    bytes.skip(7)?;
    let impedance = bytes.u16_le()?;
    let raw = bytes.u16_le()?;
    let unit = Unit::of(flags & 0x0001 != 0, flags & 0x4000 != 0)?;
    let settled = flags & 0x2000 != 0 && flags & 0x8000 == 0;
    let mut values = vec![mass(unit, raw, settled)];
    if settled && flags & 0x0200 != 0 && impedance > 0 {
        values.push(IMPEDANCE.whole(impedance));
    }
    Ok(frame("Mi Body Composition Scale", values))
}

fn frame(model: &'static str, values: Vec<Datum>) -> Frame {
    Frame { format: FORMAT.name, model: Some(model.into()), values, on_event_only: true, ..Frame::default() }
}

#[derive(Clone, Copy)]
enum Unit {
    Kilogram,
    Pound,
    Catty,
}

impl Unit {
    fn of(pounds: bool, catties: bool) -> Result<Self, Refusal> {
        match (pounds, catties) {
            (false, false) => Ok(Self::Kilogram),
            (true, false) => Ok(Self::Pound),
            (false, true) => Ok(Self::Catty),
            (true, true) => Err(Refusal::Implausible("pounds and catties at once".into())),
        }
    }
}

fn mass(unit: Unit, raw: u16, settled: bool) -> Datum {
    let kilograms = match unit {
        // Half a kilogram ×100 is a kilogram ×200.
        Unit::Kilogram | Unit::Catty => f64::from(raw) / 200.0,
        // A pound is 0.45359237 kg exactly.
        Unit::Pound => f64::from(raw) * 45_359_237.0 / 1e10,
    };
    if settled { MASS.of(kilograms) } else { MASS_UNSETTLED.of(kilograms) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advert::testing::{advert, heard, refused, values};

    fn read_data(service: u16, data: &str) -> Outcome {
        read(&advert("50:FB:19:1B:B5:DC").with_service(service, data), &Known::default())
    }

    fn weighed(service: u16, data: &str) -> String {
        values(&heard(read_data(service, data)))
    }

    #[test]
    fn a_settled_mass_is_told() {
        assert_eq!(weighed(SCALE, "229e43e507040b101301"), "mass 86.55 kg");
        assert_eq!(weighed(BODY_SCALE, "0226b20705040f0201ac018642"), "mass 85.15 kg, impedance 428 Ω");
    }

    #[test]
    fn what_has_not_settled_or_was_left_is_no_mass() {
        assert_eq!(weighed(SCALE, "821400e507040b101708"), "mass_unsettled 0.1 kg");
        assert_eq!(weighed(SCALE, "a22044b20701010a1a15"), "mass_unsettled 87.2 kg");
        assert_eq!(weighed(BODY_SCALE, "0204b207010112101a0000a852"), "mass_unsettled 105.8 kg");
        assert_eq!(weighed(BODY_SCALE, "02a6b20705040f0201ac018642"), "mass_unsettled 85.15 kg");
    }

    #[test]
    fn pounds_and_catties_become_kilograms() {
        assert_eq!(weighed(SCALE, "231027e507040b101301"), "mass 45.359237 kg");
        assert_eq!(weighed(SCALE, "301027e507040b101301"), "mass 50 kg");
        assert_eq!(weighed(BODY_SCALE, "0324b20705040f0201ac011027"), "mass 45.359237 kg");
        assert_eq!(weighed(BODY_SCALE, "0262b20705040f0201ac011027"), "mass 50 kg, impedance 428 Ω");
        assert_eq!(weighed(BODY_SCALE, "1224b20705040f0201ac011027"), "mass 50 kg", "bit 4 is none of them");
        assert!(matches!(refused(read_data(SCALE, "331027e507040b101301")), Refusal::Implausible(_)));
    }

    #[test]
    fn cut_off_anywhere_it_is_refused() {
        for (service, whole) in [(SCALE, "229e43e507040b101301"), (BODY_SCALE, "0226b20705040f0201ac018642")] {
            for length in 0..whole.len() / 2 {
                let cut = whole.get(..length * 2).unwrap();
                assert!(matches!(refused(read_data(service, cut)), Refusal::Truncated { .. }), "{length}");
            }
        }
    }
}
