//! Xiaomi and Qingping thermometers with the firmware of atc1441 or of pvvx, in service data 0x181A.
//!
//! The two are told apart by their length:
//!
//! | bytes | format | layout |
//! | --- | --- | --- |
//! | 13 | ATC1441 | address, temperature s16 big-endian in 0.1 °C, humidity u8 %, battery u8 %, battery u16 big-endian mV, counter u8 |
//! | 14, 15 | pvvx | address reversed, temperature s16 in 0.01 °C, humidity u16 in 0.01 %, battery u16 mV, battery u8 %, counter u8, flags u8 (not in 14), all little-endian |
//! | 8 | ATC1441, encrypted | counter u8, ciphertext (3), tag (4): temperature u8 / 2 − 40 °C, humidity u8 / 2 %, battery in the low 7 bits |
//! | 11 | pvvx, encrypted | counter u8, ciphertext (6), tag (4): temperature s16 in 0.01 °C, humidity u16 in 0.01 %, battery u8 %, flags u8 |
//!
//! Encrypted with AES-128-CCM, the associated data 0x11, and as nonce the address reversed, then the
//! head of the structure as it is on the air (its length, 0x16, 1A 18), then the counter. That counter
//! counts measurements in eight bits, so it tells repetitions and proves nothing about replays.
//!
//! Of the flags only the trigger's output is used, and only where bit 2 says that it is controlled:
//! the input of the reed contact (bit 0) reads the same where nothing is soldered to it.
//!
//! Source: `custom_beacon.h` and the README of pvvx/ATC_MiThermometer. 0x181A is also the standard
//! Environmental Sensing service: data of other lengths or of another address are not these formats.

use super::bytes::Bytes;
use super::{Address, Advert, Format, Frame, Known, Outcome, Refusal, Sequence, crypto, quantity::*};

/// The format of atc1441's firmware.
pub const FORMAT: Format = Format { name: "ATC1441", needs_active_scan: false, read: read_atc };

/// The "custom" format of pvvx' firmware, ten times as fine.
pub const FORMAT_PVVX: Format = Format { name: "pvvx", needs_active_scan: false, read: read_pvvx };

const SERVICE: u16 = 0x181a;

/// Flags of pvvx: the state of the trigger's output, and whether a threshold controls it.
const OUTPUT: u8 = 0x02;
const CONTROLLED: u8 = 0x04;

fn read_atc(advert: &Advert, known: &Known<'_>) -> Outcome {
    match advert.service(SERVICE) {
        Some(data) if data.len() == 13 => plain(advert, known, data, atc),
        Some(data) if data.len() == 8 => sealed(advert, known, data, FORMAT.name, atc_sealed).into(),
        _ => Outcome::NotMine,
    }
}

fn read_pvvx(advert: &Advert, known: &Known<'_>) -> Outcome {
    match advert.service(SERVICE) {
        Some(data) if matches!(data.len(), 14 | 15) => plain(advert, known, data, pvvx),
        Some(data) if data.len() == 11 => sealed(advert, known, data, FORMAT_PVVX.name, pvvx_sealed).into(),
        _ => Outcome::NotMine,
    }
}

/// Reads a plain frame, with the address that stands in it.
fn plain(
    advert: &Advert,
    known: &Known<'_>,
    data: &[u8],
    read: fn(&mut Bytes<'_>) -> Result<(Address, Frame), Refusal>,
) -> Outcome {
    match read(&mut Bytes::new(data)) {
        Ok((address, _)) if address != advert.address => Outcome::NotMine,
        Ok(_) if known.key.is_some() => Outcome::Refused(Refusal::NotEncrypted),
        read => read.map(|(_, frame)| frame).into(),
    }
}

fn atc(bytes: &mut Bytes<'_>) -> Result<(Address, Frame), Refusal> {
    let address = bytes.address()?;
    let mut frame = Frame { format: FORMAT.name, ..Frame::default() };
    frame.values = vec![
        TEMPERATURE.of(f64::from(bytes.i16_be()?) / 10.0),
        HUMIDITY.of(f64::from(bytes.u8()?)),
        BATTERY.whole(bytes.u8()?),
        BATTERY_VOLTAGE.of(f64::from(bytes.u16_be()?) / 1000.0),
    ];
    frame.sequence = Some(counter(bytes.u8()?));
    Ok((address, frame))
}

fn pvvx(bytes: &mut Bytes<'_>) -> Result<(Address, Frame), Refusal> {
    let address = bytes.address_reversed()?;
    let mut frame = Frame { format: FORMAT_PVVX.name, ..Frame::default() };
    frame.values = vec![
        TEMPERATURE.of(f64::from(bytes.i16_le()?) / 100.0),
        HUMIDITY.of(f64::from(bytes.u16_le()?) / 100.0),
        BATTERY_VOLTAGE.of(f64::from(bytes.u16_le()?) / 1000.0),
        BATTERY.whole(bytes.u8()?),
    ];
    frame.sequence = Some(counter(bytes.u8()?));
    if !bytes.is_empty() {
        flags(bytes.u8()?, &mut frame);
    }
    Ok((address, frame))
}

/// Opens an encrypted frame and reads what was in it.
fn sealed(
    advert: &Advert,
    known: &Known<'_>,
    data: &[u8],
    format: &'static str,
    read: fn(&mut Bytes<'_>, &mut Frame) -> Result<(), Refusal>,
) -> Result<Frame, Refusal> {
    let mut bytes = Bytes::new(data);
    let number = bytes.u8()?;
    let key = known.key.ok_or(Refusal::NoKey)?.aes().ok_or(Refusal::WrongKey)?;
    // The structure's length byte counts its type and the service's id too.
    let length = u8::try_from(data.len().saturating_add(3)).unwrap_or(u8::MAX);
    let [low, high] = SERVICE.to_le_bytes();
    let nonce = [&advert.address.reversed()[..], &[length, 0x16, low, high, number]].concat();
    let plain = crypto::open(key, &nonce, bytes.rest(), &[0x11]).ok_or(Refusal::WrongKey)?;
    let mut frame = Frame { format, encrypted: true, sequence: Some(counter(number)), ..Frame::default() };
    read(&mut Bytes::new(&plain), &mut frame)?;
    Ok(frame)
}

fn atc_sealed(bytes: &mut Bytes<'_>, frame: &mut Frame) -> Result<(), Refusal> {
    frame.values = vec![
        TEMPERATURE.of(f64::from(bytes.u8()?) / 2.0 - 40.0),
        HUMIDITY.of(f64::from(bytes.u8()?) / 2.0),
        BATTERY.whole(bytes.u8()? & 0x7f),
    ];
    Ok(())
}

fn pvvx_sealed(bytes: &mut Bytes<'_>, frame: &mut Frame) -> Result<(), Refusal> {
    frame.values = vec![
        TEMPERATURE.of(f64::from(bytes.i16_le()?) / 100.0),
        HUMIDITY.of(f64::from(bytes.u16_le()?) / 100.0),
        BATTERY.whole(bytes.u8()?),
    ];
    flags(bytes.u8()?, frame);
    Ok(())
}

fn flags(flags: u8, frame: &mut Frame) {
    if flags & CONTROLLED != 0 {
        frame.values.push(SWITCH.is(flags & OUTPUT != 0));
    }
}

fn counter(number: u8) -> Sequence {
    Sequence::Frame { number: number.into(), bits: 8 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advert::testing::{advert, heard, hex, key, refused, values};
    use crate::advert::{Uuid, read};

    const KEY: &str = "b9ea895fac7eea6d30532432a516f3a3";

    fn said(address: &str, data: &str) -> Advert {
        advert(address).with_service(SERVICE, data)
    }

    /// Closes a frame as the firmware does, for the layouts nobody has recorded.
    fn seal(address: &str, counter: u8, plain: &[u8]) -> Advert {
        use ccm::aead::{Aead, Payload, generic_array::GenericArray};
        use ccm::{Ccm, KeyInit, consts::U4, consts::U11};
        let mut advert = advert(address);
        let length = u8::try_from(plain.len() + 8).unwrap();
        let nonce = [&advert.address.reversed()[..], &[length, 0x16, 0x1a, 0x18, counter]].concat();
        let cipher = Ccm::<aes::Aes128, U4, U11>::new(GenericArray::from_slice(&hex(KEY)));
        let payload = Payload { msg: plain, aad: &[0x11] };
        let sealed = cipher.encrypt(GenericArray::from_slice(&nonce), payload).unwrap();
        advert.service_data.insert(Uuid::short(SERVICE), [&[counter][..], &sealed].concat());
        advert
    }

    #[test]
    fn the_two_plain_formats_are_told_apart_by_their_length() {
        let frame = heard(read(&said("A4:C1:38:02:83:F4", "a4c1380283f400a22f5f0bf819"), &Known::default()));
        assert_eq!(values(&frame), "temperature 16.2 °C, humidity 47 %, battery 95 %, battery_voltage 3.064 V");
        assert_eq!((frame.format, frame.sequence), ("ATC1441", Some(counter(25))));
        let frame = heard(read(&said("A4:C1:38:02:83:F4", "f4830238c1a4a9066911b60b58f70d"), &Known::default()));
        assert_eq!(
            values(&frame),
            "temperature 17.05 °C, humidity 44.57 %, battery_voltage 2.998 V, battery 88 %, switch false"
        );
        assert_eq!((frame.format, frame.sequence), ("pvvx", Some(counter(247))));
    }

    #[test]
    fn builds_without_a_trigger_send_no_flags() {
        let frame = heard(read(&said("A4:C1:38:8D:18:B2", "b2188d38c1a42b089011f70a4320"), &Known::default()));
        assert_eq!(values(&frame), "temperature 20.91 °C, humidity 44.96 %, battery_voltage 2.807 V, battery 67 %");
    }

    #[test]
    fn frost_is_below_zero() {
        let frame = heard(read(&said("A4:C1:38:02:83:F4", "a4c1380283f4ffeb2f5f0bf819"), &Known::default()));
        assert!(values(&frame).starts_with("temperature -2.1 °C"));
        let frame = heard(read(&said("A4:C1:38:02:83:F4", "f4830238c1a418fc6911b60b58f700"), &Known::default()));
        assert!(values(&frame).starts_with("temperature -10 °C"));
    }

    #[test]
    fn what_a_key_has_closed_is_opened() {
        let key = key(KEY);
        let known = Known { key: Some(&key), ..Known::default() };
        let frame = heard(read(&said("A4:C1:38:8D:18:B2", "11d603fbfa7b6dfb1e26fd"), &known));
        assert!(values(&frame).starts_with("temperature 23.45 °C, humidity 41.73 %, battery 61 %"));
        assert!(frame.encrypted);
        let frame = heard(read(&seal("A4:C1:38:8D:18:B2", 7, &[30, 101, 0x80 | 55]), &known));
        assert_eq!(values(&frame), "temperature -25 °C, humidity 50.5 %, battery 55 %");
    }

    #[test]
    fn a_key_too_many_one_too_few_and_a_wrong_one_are_told_apart() {
        let (right, wrong) = (key(KEY), key("00000000000000000000000000000000"));
        let sealed = said("A4:C1:38:8D:18:B2", "11d603fbfa7b6dfb1e26fd");
        assert_eq!(refused(read(&sealed, &Known::default())), Refusal::NoKey);
        assert_eq!(refused(read(&sealed, &Known { key: Some(&wrong), ..Known::default() })), Refusal::WrongKey);
        let plain = said("A4:C1:38:02:83:F4", "a4c1380283f400a22f5f0bf819");
        assert_eq!(refused(read(&plain, &Known { key: Some(&right), ..Known::default() })), Refusal::NotEncrypted);
    }

    #[test]
    fn other_lengths_and_other_addresses_are_somebody_elses() {
        let whole = hex("f4830238c1a4a9066911b60b58f70d");
        for length in (0..whole.len()).filter(|length| ![8, 11, 14].contains(length)) {
            let mut advert = advert("A4:C1:38:02:83:F4");
            advert.service_data.insert(Uuid::short(SERVICE), whole[..length].to_vec());
            assert_eq!(read(&advert, &Known::default()), Outcome::NotMine, "{length}");
        }
        let other = said("A4:C1:38:02:83:F5", "a4c1380283f400a22f5f0bf819");
        assert_eq!(read(&other, &Known::default()), Outcome::NotMine);
    }
}
