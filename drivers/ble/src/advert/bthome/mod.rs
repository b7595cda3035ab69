//! BTHome, the open format of many do-it-yourself and some bought sensors.
//!
//! Version 2, in the service data of 0xFCD2: `info | address (6, reversed) if info bit 1 | objects`.
//! The info byte has bit 0 for encryption, bit 2 for devices that speak only when something happens,
//! and the version in bits 5 to 7. An object is an id and a value whose length the id tells, low byte
//! first. Encrypted, there stands `ciphertext | counter (4) | tag (4)` in the place of the objects:
//! AES-128-CCM without associated data, the nonce `address | D2 FC | info | counter`.
//!
//! Source: <https://bthome.io/format/> and <https://bthome.io/encryption/>. Version 1 is in [`v1`].

mod gather;
mod objects;
mod v1;

use gather::{Gather, Next};

use super::bytes::Bytes;
use super::{Advert, Format, Frame, Known, Outcome, Refusal, Sequence, crypto};

/// BTHome version 2.
pub const FORMAT: Format = Format { name: "BTHome v2", needs_active_scan: false, read };

pub use v1::FORMAT as FORMAT_V1;

const SERVICE: u16 = 0xfcd2;

const ENCRYPTED: u8 = 0x01;
const HAS_ADDRESS: u8 = 0x02;
const ON_EVENT_ONLY: u8 = 0x04;

fn read(advert: &Advert, known: &Known<'_>) -> Outcome {
    match advert.service(SERVICE) {
        Some(data) => frame(advert, known, data).into(),
        None => Outcome::NotMine,
    }
}

fn frame(advert: &Advert, known: &Known<'_>, data: &[u8]) -> Result<Frame, Refusal> {
    let mut bytes = Bytes::new(data);
    let info = bytes.u8()?;
    let version = info >> 5;
    if version != 2 {
        return Err(Refusal::Unknown(format!("BTHome version {version}")));
    }
    let address = if info & HAS_ADDRESS == 0 { advert.address } else { bytes.address_reversed()? };
    let mut frame = Frame { format: FORMAT.name, on_event_only: info & ON_EVENT_ONLY != 0, ..Frame::default() };
    if info & ENCRYPTED == 0 {
        if known.key.is_some() {
            return Err(Refusal::NotEncrypted);
        }
        return Gather::new(frame).all(bytes, one);
    }
    let nonce_start = [&address.0[..], &SERVICE.to_le_bytes(), &[info]].concat();
    let plain = open(known, &nonce_start, bytes, &[], &mut frame)?;
    Gather::new(frame).all(Bytes::new(&plain), one)
}

fn one(gather: &mut Gather, bytes: &mut Bytes<'_>) -> Result<Next, Refusal> {
    let id = bytes.u8()?;
    match objects::object(id) {
        Some(object) => gather.object(object, bytes).map(|()| Next::More),
        None => Ok(Next::Unknown(id)),
    }
}

/// Opens `ciphertext | counter | tag` and writes down the counter.
fn open(
    known: &Known<'_>,
    nonce_start: &[u8],
    mut sealed: Bytes<'_>,
    aad: &[u8],
    frame: &mut Frame,
) -> Result<Vec<u8>, Refusal> {
    let tag = sealed.take_last(4)?;
    let counter = sealed.take_last(4)?;
    let key = known.key.ok_or(Refusal::NoKey)?.aes().ok_or(Refusal::WrongKey)?;
    let nonce = [nonce_start, counter].concat();
    let sealed = [sealed.rest(), tag].concat();
    let plain = crypto::open(key, &nonce, &sealed, aad).ok_or(Refusal::WrongKey)?;
    frame.encrypted = true;
    frame.sequence = Some(Sequence::Encryption(Bytes::new(counter).u32_le()?));
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advert::testing::{advert, hex, key, refused, values};
    use crate::advert::{Uuid, quantity};

    const KEY: &str = "231d39c1d7cc1ab1aee224cd096db932";

    fn said(data: &str) -> Advert {
        advert("54:48:E6:8F:80:A5").with_service(SERVICE, data)
    }

    fn heard(data: &str) -> Frame {
        match read(&said(data), &Known::default()) {
            Outcome::Heard(frame) => frame,
            other => panic!("{data}: {other:?}"),
        }
    }

    #[test]
    fn a_thermometer_is_read() {
        assert_eq!(values(&heard("4002ca0903bf13")), "temperature 25.06 °C, humidity 50.55 %");
        assert_eq!(values(&heard("40023af8")), "temperature -19.9 °C");
    }

    #[test]
    fn what_a_key_has_closed_is_opened() {
        let key = key(KEY);
        for (data, expected) in [
            ("41a47266c95f730011223378237214", "temperature 25.06 °C, humidity 50.55 %"),
            ("4187b90011223372b0231f", "motion true"),
            ("43a5808fe64854f196c06ffb4900112233f08ecbde", "temperature 25.06 °C, humidity 50.55 %"),
        ] {
            let Outcome::Heard(frame) = read(&said(data), &Known { key: Some(&key), ..Known::default() }) else {
                panic!("{data}")
            };
            assert_eq!(values(&frame), expected);
            assert!(frame.encrypted);
            assert_eq!(frame.sequence, Some(Sequence::Encryption(0x3322_1100)));
        }
    }

    #[test]
    fn a_key_too_many_one_too_few_and_a_wrong_one_are_told_apart() {
        let (right, wrong) = (key(KEY), key("814aac74c4f17b6c1581e1ab87816b99"));
        let sealed = said("41a47266c95f730011223378237214");
        assert_eq!(refused(read(&sealed, &Known::default())), Refusal::NoKey);
        assert_eq!(refused(read(&sealed, &Known { key: Some(&wrong), ..Known::default() })), Refusal::WrongKey);
        let plain = said("4002ca0903bf13");
        assert_eq!(refused(read(&plain, &Known { key: Some(&right), ..Known::default() })), Refusal::NotEncrypted);
    }

    #[test]
    fn objects_that_repeat_are_numbered() {
        assert_eq!(
            values(&heard("4002ca0902cf0902cf0803b71803b717015d")),
            "temperature 25.06 °C, temperature_2 25.11 °C, temperature_3 22.55 °C, \
             humidity 63.27 %, humidity_2 60.71 %, battery 93 %"
        );
    }

    #[test]
    fn a_button_that_says_nothing_keeps_its_place() {
        assert_eq!(values(&heard("403a003a013a03")), "button_2 press, button_3 triple_press");
        assert_eq!(values(&heard("403c0103")), "dimmer -3");
    }

    #[test]
    fn commands_are_told_with_their_arguments() {
        assert_eq!(values(&heard("403b0002")), "command toggle");
        assert_eq!(values(&heard("403b01030a015d")), "command step_up 0a, battery 93 %");
        assert_eq!(heard("403b0009").unread, ["command 0x09"]);
    }

    #[test]
    fn text_and_bytes_have_their_own_length() {
        assert_eq!(values(&heard("44530c48656c6c6f20576f726c6421")), "text Hello World!");
        assert_eq!(values(&heard("4054020aff")), "raw 0aff");
        assert!(heard("44530c48656c6c6f20576f726c6421").on_event_only);
        assert_eq!(values(&heard("44530187")), "text (implausible: text that is no UTF-8)");
    }

    #[test]
    fn the_packet_id_is_no_value_and_neither_is_what_the_device_is() {
        let frame = heard("4000a7f00100f100010204f2000106650abf");
        assert_eq!(frame.sequence, Some(Sequence::Frame { number: 0xa7, bits: 8 }));
        assert_eq!(frame.model.as_deref(), Some("BTHome device type 1"));
        assert_eq!(frame.firmware.as_deref(), Some("6.1.0"));
        assert_eq!(heard("40f100010204").firmware.as_deref(), Some("4.2.1.0"));
        assert_eq!(values(&frame), "");
        assert_eq!(frame.unread, ["object 0xbf"]);
    }

    #[test]
    fn numbers_have_the_unit_of_their_quantity() {
        for (data, expected) in [
            ("40414e00", "distance 7800 mm"),
            ("40400c00", "distance 12 mm"),
            ("4058ea", "temperature -7.7 °C"),
            ("4048dc87", "volume 34.78 L"),
            ("40624099dfff", "speed -2.123456 m/s"),
            ("405bea0234ea", "count -365690134"),
            ("44505d396164", "timestamp 1684093277 s"),
        ] {
            assert_eq!(values(&heard(data)), expected);
        }
    }

    #[test]
    fn what_stands_before_an_unknown_object_stays() {
        let frame = heard("40015dfe5d0903b718");
        assert_eq!(values(&frame), "battery 93 %");
        assert_eq!(frame.unread, ["object 0xfe"]);
        assert_eq!(values(&heard("4002ca0903bf")), "temperature 25.06 °C");
    }

    #[test]
    fn what_is_cut_off_at_its_first_object_is_refused() {
        let truncated = |data| refused(read(&said(data), &Known::default()));
        assert_eq!(truncated("4002ca"), Refusal::Truncated { have: 3, need: 4 });
        assert_eq!(truncated(""), Refusal::Truncated { have: 0, need: 1 });
        assert_eq!(truncated("42aabb"), Refusal::Truncated { have: 3, need: 7 });
        assert_eq!(truncated("00"), Refusal::Unknown("BTHome version 0".into()));
        assert_eq!(read(&advert("54:48:E6:8F:80:A5"), &Known::default()), Outcome::NotMine);
    }

    #[test]
    fn a_sealed_frame_is_refused_at_every_shorter_length() {
        let key = key(KEY);
        let whole = hex("43a5808fe64854f196c06ffb4900112233f08ecbde");
        for length in 0..whole.len() {
            let mut advert = advert("54:48:E6:8F:80:A5");
            advert.service_data.insert(Uuid::short(SERVICE), whole[..length].to_vec());
            refused(read(&advert, &Known { key: Some(&key), ..Known::default() }));
        }
    }

    #[test]
    fn every_object_ends_where_its_neighbour_begins() {
        for id in 0..=u8::MAX {
            let Some(objects::Object::Number(number)) = objects::object(id) else { continue };
            let data = [&[0x40, id][..], &vec![1; number.bytes], &[0x01, 93]].concat();
            let mut advert = advert("54:48:E6:8F:80:A5");
            advert.service_data.insert(Uuid::short(SERVICE), data);
            let Outcome::Heard(frame) = read(&advert, &Known::default()) else { panic!("{id:#x}") };
            assert_eq!(frame.values.len(), 2, "{id:#x}");
            assert!(frame.values[1].point.starts_with(quantity::BATTERY.name));
        }
    }
}
