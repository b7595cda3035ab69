//! BTHome version 1, which newer devices no longer send.
//!
//! Service data of 0x181C: objects of `head | id | value`; the head's low five bits count id and
//! value, the high three say how the value is written (0 unsigned, 1 signed, 2 float, 3 text). In
//! the service data of 0x181E the objects are encrypted as in version 2, with the associated data
//! 0x11 and the nonce `address | 1E 18 | counter`.

use super::gather::{Gather, Next, integer};
use super::objects::{Object, object};
use crate::advert::bytes::Bytes;
use crate::advert::{Advert, Format, Frame, Known, Outcome, Refusal};

/// BTHome version 1.
pub const FORMAT: Format = Format { name: "BTHome v1", needs_active_scan: false, read };

const PLAIN: u16 = 0x181c;
const SEALED: u16 = 0x181e;

const FLOAT: u8 = 2;

fn read(advert: &Advert, known: &Known<'_>) -> Outcome {
    if let Some(data) = advert.service(SEALED) {
        return sealed(advert, known, data).into();
    }
    match advert.service(PLAIN) {
        Some(_) if known.key.is_some() => Outcome::Refused(Refusal::NotEncrypted),
        Some([]) => Outcome::truncated(0, 1),
        Some(data) => Gather::new(empty()).all(Bytes::new(data), one).into(),
        None => Outcome::NotMine,
    }
}

fn empty() -> Frame {
    Frame { format: FORMAT.name, ..Frame::default() }
}

fn sealed(advert: &Advert, known: &Known<'_>, data: &[u8]) -> Result<Frame, Refusal> {
    let mut frame = empty();
    let nonce_start = [&advert.address.0[..], &SEALED.to_le_bytes()].concat();
    let plain = super::open(known, &nonce_start, Bytes::new(data), &[0x11], &mut frame)?;
    Gather::new(frame).all(Bytes::new(&plain), one)
}

fn one(gather: &mut Gather, bytes: &mut Bytes<'_>) -> Result<Next, Refusal> {
    let head = bytes.u8()?;
    // Its length is told, so that one nobody knows can be passed over.
    let mut bytes = Bytes::new(bytes.take(usize::from(head & 0x1f))?);
    let id = bytes.u8()?;
    let (form, value) = (head >> 5, bytes.rest());
    match object(id) {
        Some(Object::Number(number)) if form == FLOAT => match float(value) {
            Some(raw) => gather.add(number.quantity, number.quantity.of(number.scaled(raw))),
            None => gather.unread(format!("a float of {} bytes", value.len())),
        },
        Some(Object::Number(_)) if value.is_empty() || value.len() > 4 => {
            gather.unread(format!("a number of {} bytes", value.len()));
        }
        Some(Object::Number(number)) => gather.number(&number, integer(value, form == 1)),
        Some(Object::Text) => gather.text(value),
        Some(Object::PacketId | Object::Binary(_) | Object::Button | Object::Dimmer) => {
            gather.object(object(id).unwrap_or(Object::Settings), &mut bytes)?;
        }
        _ => gather.unread(format!("object {id:#04x}")),
    }
    Ok(Next::More)
}

/// A float of two, four or eight bytes (IEEE 754), the lowest first.
fn float(bytes: &[u8]) -> Option<f64> {
    match bytes.len() {
        2 => bytes.first_chunk().map(|bytes| half(u16::from_le_bytes(*bytes))),
        4 => bytes.first_chunk().map(|bytes| f32::from_le_bytes(*bytes).into()),
        8 => bytes.first_chunk().map(|bytes| f64::from_le_bytes(*bytes)),
        _ => None,
    }
}

/// A float of half precision: a sign, five bits of exponent, ten of fraction.
fn half(bits: u16) -> f64 {
    let fraction = f64::from(bits & 0x3ff);
    let number = match (bits >> 10) & 0x1f {
        0 => fraction / f64::from(1 << 24),
        31 => f64::NAN,
        exponent => (1024.0 + fraction) * f64::from(1 << exponent) / f64::from(1 << 25),
    };
    if bits & 0x8000 == 0 { number } else { -number }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advert::testing::{advert, heard, key, refused, values};

    fn said(data: &str) -> Advert {
        advert("54:48:E6:8F:80:A5").with_service(PLAIN, data)
    }

    #[test]
    fn objects_tell_their_length_and_how_they_are_written() {
        for (data, expected) in [
            ("23025d090303b71802015d", "temperature 23.97 °C, humidity 63.27 %, battery 93 %"),
            ("2302d4fe", "temperature -3 °C"),
            ("4306fe70", "mass 102.24 kg"),
            ("021001", "powered true"),
            ("023a04", "button long_press"),
            ("033c0103", "dimmer -3"),
            ("a5505d396164", "timestamp 1684093277 s"),
        ] {
            assert_eq!(values(&heard(read(&said(data), &Known::default()))), expected, "{data}");
        }
    }

    #[test]
    fn an_unknown_object_is_passed_over() {
        let frame = heard(read(&said("03fe010202015d"), &Known::default()));
        assert_eq!(values(&frame), "battery 93 %");
        assert_eq!(frame.unread, ["object 0xfe"]);
    }

    #[test]
    fn what_a_key_has_closed_is_opened() {
        let key = key("231d39c1d7cc1ab1aee224cd096db932");
        let known = Known { key: Some(&key), ..Known::default() };
        let sealed = advert("54:48:E6:8F:80:A5").with_service(SEALED, "fba435e4d3c312fb0011223357d90a99");
        assert_eq!(values(&heard(read(&sealed, &known))), "temperature 25.06 °C, humidity 50.55 %");
        assert_eq!(refused(read(&sealed, &Known::default())), Refusal::NoKey);
        assert_eq!(refused(read(&said("02015d"), &known)), Refusal::NotEncrypted);
        let short = advert("54:48:E6:8F:80:A5").with_service(SEALED, "57d90a99");
        assert_eq!(refused(read(&short, &known)), Refusal::Truncated { have: 4, need: 8 });
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        for data in ["", "23", "2302", "2302ca", "02"] {
            assert!(matches!(refused(read(&said(data), &Known::default())), Refusal::Truncated { .. }), "{data}");
        }
    }

    #[test]
    fn halves_are_read() {
        let cases = [(0x3c00, 1.0), (0xc000, -2.0), (0x7bff, 65504.0), (0x0001, 1.0 / 16_777_216.0), (0, 0.0)];
        for (bits, number) in cases {
            assert!((half(bits) - number).abs() < f64::EPSILON, "{bits:#x}");
        }
        assert!(half(0x7c00).is_nan());
    }
}
