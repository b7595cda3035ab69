//! MiBeacon, the format of Xiaomi's sensors and of many that are sold under its roof: service data
//! of 0xFE95.
//!
//! `frame control u16 | product u16 | counter u8`, then, as the bits of the frame control say, the
//! address (6, reversed), a capability byte (with another behind it if it has bit 5), and objects of
//! `kind u16 | length u8 | value`; everything little-endian. Of the frame control bit 3 says that the
//! objects are encrypted, bits 4, 5 and 6 that there are address, capability and objects, bit 7 that
//! it is a mesh device, bits 12 to 15 are the version. The counter counts events; a device repeats a
//! frame many times.
//!
//! Versions 4 and 5 encrypt with AES-128-CCM: `ciphertext | counter (3) | tag (4)`, the associated data
//! 0x11, the nonce `address reversed | product | counter | counter (3)`. Versions 2 and 3 have no tag:
//! `ciphertext | counter (3) | one byte`, the nonce `the frame's first 5 bytes | counter (3) | the first
//! 5 bytes of the address reversed`, and keys of 12 bytes that 8D 3D 3C 97 after the sixth makes 16.
//! A wrong key shows there only by objects whose lengths do not add up. Where the counters begin after
//! a change of the battery is documented nowhere, so one that goes back is not taken for a replay.
//!
//! Source: Xiaomi's definition of MiBeacon and of its objects (iot.mi.com), and recorded frames.

mod buttons;
mod locks;
mod models;
mod objects;

use super::bytes::Bytes;
use super::{Advert, Format, Frame, Key, Known, Outcome, Refusal, Sequence, crypto};

/// Xiaomi's own.
pub const FORMAT: Format = Format { name: "MiBeacon", needs_active_scan: false, read };

const SERVICE: u16 = 0xfe95;

const ENCRYPTED: u16 = 1 << 3;
const HAS_ADDRESS: u16 = 1 << 4;
const HAS_CAPABILITY: u16 = 1 << 5;
const HAS_OBJECTS: u16 = 1 << 6;
const MESH: u16 = 1 << 7;

/// Of the capability: that there is a byte about inputs and outputs behind it.
const HAS_IO: u8 = 1 << 5;

fn read(advert: &Advert, known: &Known<'_>) -> Outcome {
    match advert.service(SERVICE) {
        Some(data) => frame(advert, known, data).into(),
        None => Outcome::NotMine,
    }
}

fn frame(advert: &Advert, known: &Known<'_>, data: &[u8]) -> Result<Frame, Refusal> {
    let mut bytes = Bytes::new(data);
    let control = bytes.u16_le()?;
    let product = bytes.u16_le()?;
    let counter = bytes.u8()?;
    let version = control >> 12;
    if control & MESH != 0 {
        return Err(Refusal::Unknown("a mesh device: its frames carry no readings".to_owned()));
    }
    if version < 2 {
        return Err(Refusal::Unknown(format!("MiBeacon version {version}")));
    }
    if control & HAS_ADDRESS != 0 {
        let address = bytes.address_reversed()?;
        if address != advert.address {
            return Err(Refusal::Implausible(format!("a frame of {address}, sent by {}", advert.address)));
        }
    }
    if control & HAS_CAPABILITY != 0 && bytes.u8()? & HAS_IO != 0 {
        bytes.skip(1)?;
    }
    let (model, on_event_only) = models::model(product).unzip();
    let mut frame = Frame {
        format: FORMAT.name,
        model: model.map(Into::into),
        on_event_only: on_event_only.unwrap_or(false),
        sequence: Some(Sequence::Frame { number: counter.into(), bits: 8 }),
        ..Frame::default()
    };
    // Without objects it says only that the device is there.
    if control & HAS_OBJECTS == 0 {
        return Ok(frame);
    }
    let model = model.unwrap_or_default();
    if control & ENCRYPTED == 0 {
        if known.key.is_some() {
            return Err(Refusal::NotEncrypted);
        }
        let rest = objects(bytes, model, &mut frame)?;
        if !rest {
            frame.unread.push("an object that is cut off".to_owned());
        }
        return Ok(frame);
    }
    frame.encrypted = true;
    if version < 4 {
        let plain = open_untagged(advert, known, data, bytes)?;
        // The key may be wrong without anything else showing it.
        return if objects(Bytes::new(&plain), model, &mut frame)? { Ok(frame) } else { Err(Refusal::WrongKey) };
    }
    let (plain, number) = open(advert, known, data, bytes, counter)?;
    frame.sequence = Some(Sequence::Frame { number, bits: 32 });
    if !objects(Bytes::new(&plain), model, &mut frame)? {
        frame.unread.push("an object that is cut off".to_owned());
    }
    Ok(frame)
}

/// Opens `ciphertext | counter | tag`; gives the whole counter with what was inside.
fn open(
    advert: &Advert,
    known: &Known<'_>,
    data: &[u8],
    mut sealed: Bytes<'_>,
    counter: u8,
) -> Result<(Vec<u8>, u32), Refusal> {
    let tag = sealed.take_last(4)?;
    let high = sealed.take_last(3)?;
    let key = known.key.ok_or(Refusal::NoKey)?.aes().ok_or(Refusal::WrongKey)?;
    // Product and counter, as they stand in the head.
    let head = data.get(2..5).unwrap_or_default();
    let nonce = [&advert.address.reversed()[..], head, high].concat();
    let sealed = [sealed.rest(), tag].concat();
    let plain = crypto::open(key, &nonce, &sealed, &[0x11]).ok_or(Refusal::WrongKey)?;
    let high = Bytes::new(high).u24_le()?;
    Ok((plain, high << 8 | u32::from(counter)))
}

/// Opens `ciphertext | counter | one byte`.
fn open_untagged(advert: &Advert, known: &Known<'_>, data: &[u8], mut sealed: Bytes<'_>) -> Result<Vec<u8>, Refusal> {
    sealed.take_last(1)?;
    let counter = sealed.take_last(3)?;
    let key = widened(known.key.ok_or(Refusal::NoKey)?).ok_or(Refusal::WrongKey)?;
    let head = data.get(..5).unwrap_or_default();
    let [address @ .., _] = advert.address.reversed();
    let nonce = [head, counter, &address].concat();
    let nonce: &[u8; 13] = nonce.first_chunk().ok_or(Refusal::WrongKey)?;
    Ok(crypto::open_untagged(&key, nonce, sealed.rest()))
}

/// A key of 16 bytes, made of 12 if it is one of the oldest.
fn widened(key: &Key) -> Option<[u8; 16]> {
    if let Some(key) = key.aes() {
        return Some(*key);
    }
    let (front, back) = key.bytes().split_at_checked(6)?;
    [front, &[0x8d, 0x3d, 0x3c, 0x97], back].concat().try_into().ok()
}

/// Reads objects to the end. False if the last is cut off.
fn objects(mut bytes: Bytes<'_>, model: &str, frame: &mut Frame) -> Result<bool, Refusal> {
    if bytes.len() < 3 {
        bytes.skip(3)?;
    }
    while !bytes.is_empty() {
        let (Ok(kind), Ok(length)) = (bytes.u16_le(), bytes.u8()) else { return Ok(false) };
        let Ok(value) = bytes.take(length.into()) else { return Ok(false) };
        match objects::read(kind, model, &mut Bytes::new(value), &mut frame.values) {
            Ok(true) => {}
            Ok(false) => frame.unread.push(format!("object {kind:#06x}")),
            // Its length is told, so that the next can be found all the same.
            Err(_) => frame.unread.push(format!("object {kind:#06x}, which is cut off")),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advert::Datum;
    use crate::advert::testing::{advert, heard, hex, key, refused, values};

    /// What one object says, by the reader of its kind.
    pub(super) fn object_said(
        read: impl Fn(u16, &str, &mut Bytes<'_>, &mut Vec<Datum>) -> Result<bool, Refusal>,
        model: &str,
        kind: u16,
        data: &[u8],
    ) -> String {
        let mut frame = Frame::default();
        match read(kind, model, &mut Bytes::new(data), &mut frame.values) {
            Ok(true) => values(&frame),
            other => format!("{other:?}"),
        }
    }

    fn said(address: &str, data: &str, bindkey: Option<&str>) -> Outcome {
        let key = bindkey.map(key);
        read(&advert(address).with_service(SERVICE, data), &Known { key: key.as_ref(), ..Known::default() })
    }

    const SEALED: (&str, &str, Option<&str>) = (
        "A4:C1:38:02:83:F4",
        "58585b0550f4830238c1a495ef58763c26000097e2abb5",
        Some("e9ea895fac7cca6d30532432a516f3a8"),
    );
    const DIMMER: (&str, &str, Option<&str>) =
        ("F8:24:41:C5:98:8B", "5830b603d28b98c54124f8c3491476757e00000099", Some("b853075158487ca39a5b5ea9"));

    #[test]
    fn plain_objects_are_read() {
        for (address, data, expected) in [
            ("58:2D:34:35:93:21", "5020aa01da219335342d580d1004fe004802", "temperature 25.4 °C, humidity 58.4 %"),
            (
                "58:2D:34:3B:2E:BF",
                "5020aa01a3bf2e3b342d580d1004b40095020a10013b",
                "temperature 18 °C, humidity 66.1 %, battery 59 %",
            ),
            ("C4:7C:8D:6B:4F:F3", "7120980012f34f6b8d7cc40d041002c400", "temperature 19.6 °C"),
            ("C4:7C:8D:6B:4F:F3", "7120980012f34f6b8d7cc40d041002d8ff", "temperature -4 °C"),
        ] {
            assert_eq!(values(&heard(said(address, data, None))), expected);
        }
    }

    #[test]
    fn what_a_key_has_closed_is_opened() {
        let frame = heard(said(SEALED.0, SEALED.1, SEALED.2));
        assert_eq!(values(&frame), "humidity 46.7 %");
        assert_eq!((frame.model.as_deref(), frame.encrypted), (Some("LYWSD03MMC"), true));
        assert_eq!(frame.sequence, Some(Sequence::Frame { number: 0x26_50, bits: 32 }));
        let frame = heard(said(
            "2C:11:65:25:70:04",
            "48590312a41b776e7c96add7000000f2bf545b",
            Some("b2cf9a553d53571b5657defd582d676e"),
        ));
        assert_eq!(values(&frame), "humidity 45 %");
    }

    #[test]
    fn the_oldest_encryption_is_opened_with_the_key_of_twelve_bytes() {
        let frame = heard(said(DIMMER.0, DIMMER.1, DIMMER.2));
        assert_eq!(values(&frame), "button press");
        assert!(frame.on_event_only);
    }

    #[test]
    fn a_key_too_many_one_too_few_and_a_wrong_one_are_told_apart() {
        let wrong = Some("814aac74c4f17b6c1581e1ab87816b99");
        assert_eq!(refused(said(SEALED.0, SEALED.1, None)), Refusal::NoKey);
        assert_eq!(refused(said(SEALED.0, SEALED.1, wrong)), Refusal::WrongKey);
        assert_eq!(refused(said(DIMMER.0, DIMMER.1, None)), Refusal::NoKey);
        assert_eq!(refused(said(DIMMER.0, DIMMER.1, wrong)), Refusal::WrongKey);
        let plain = said("58:2D:34:35:93:21", "5020aa01da219335342d580d1004fe004802", wrong);
        assert_eq!(refused(plain), Refusal::NotEncrypted);
    }

    #[test]
    fn a_frame_without_objects_says_that_the_device_is_there() {
        let frame = heard(said("A4:C1:38:02:F8:F4", "1059db780df4f80238c1a4", None));
        assert_eq!((values(&frame).as_str(), frame.model.as_deref()), ("", Some("ESM787")));
    }

    #[test]
    fn what_is_not_of_this_device_or_of_another_kind_is_refused() {
        let other = said("58:2D:34:35:93:22", "5020aa01da219335342d580d1004fe004802", None);
        assert!(matches!(refused(other), Refusal::Implausible(_)));
        let mesh = said("58:2D:34:35:93:21", "d020aa01da219335342d580d1004fe004802", None);
        assert!(matches!(refused(mesh), Refusal::Unknown(_)));
        let old = said("58:2D:34:35:93:21", "5010aa01da219335342d580d1004fe004802", None);
        assert_eq!(refused(old), Refusal::Unknown("MiBeacon version 1".into()));
    }

    #[test]
    fn what_is_cut_off_is_refused_at_every_length() {
        for (address, whole, bindkey) in [SEALED, DIMMER] {
            for length in 0..hex(whole).len() {
                let refusal = refused(said(address, &whole[..length * 2], bindkey));
                assert!(matches!(refusal, Refusal::Truncated { .. } | Refusal::WrongKey), "{length}: {refusal}");
            }
        }
        let whole = "5020aa01da219335342d580d1004fe004802";
        for length in 0..14 {
            refused(said("58:2D:34:35:93:21", &whole[..length * 2], None));
        }
        for length in 14..hex(whole).len() {
            let frame = heard(said("58:2D:34:35:93:21", &whole[..length * 2], None));
            assert!(frame.values.is_empty() && frame.unread == ["an object that is cut off"]);
        }
    }

    #[test]
    fn an_unknown_object_is_passed_over() {
        let frame = heard(said("58:2D:34:3B:2E:BF", "5020aa01a3bf2e3b342d58777702b4000a10013b", None));
        assert_eq!(values(&frame), "battery 59 %");
        assert_eq!(frame.unread, ["object 0x7777"]);
    }
}
