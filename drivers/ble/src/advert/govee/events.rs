//! Govee's buttons, motion, window, vibration and pressure sensors.
//!
//! 24 bytes, under the company id 0xEF88 in all recordings: `2 bytes of the address | time u32 |
//! enciphered (16) | checksum u16`, high byte first. The checksum is a CRC-16 of the enciphered bytes,
//! polynomial 0x1021, beginning with 0x1D0F. The cipher is AES-128 of a single block, where key, block
//! and what comes out are written backwards; the key is the time followed by twelve zeros, so that
//! anybody can read it. Deciphered: `01 | ?? | model | ?? | battery % | state | zeros`.
//!
//! The time grows from event to event, which repetitions of one event are known by.

use super::super::bytes::Bytes;
use super::super::quantity::{BATTERY, BUTTON, MOTION_DETECTED, PRESENCE, VIBRATION_DETECTED, WINDOW};
use super::super::{Advert, Datum, Frame, Refusal, Sequence, block, crypto};
use super::frame;

const COMPANY: u16 = 0xef88;
const LENGTH: usize = 24;

const MODELS: &[(u8, u16)] = &[(2, 5123), (3, 5121), (8, 5122), (9, 5124), (10, 5125), (11, 5126), (13, 5130)];

/// More buttons than any of them has.
const MOST_BUTTONS: u8 = 6;

/// Nothing if it is none of these.
pub(super) fn read(advert: &Advert) -> Option<Result<Frame, Refusal>> {
    if let Some(data) = advert.company(COMPANY) {
        return Some(open(block::without_beacon(data)));
    }
    // Under another id only what opens is one of these.
    advert.manufacturer_data.values().map(|data| open(block::without_beacon(data))).find(Result::is_ok)
}

/// The model that the frame beside the events tells.
pub(super) fn model(data: &[u8]) -> Option<u16> {
    let code = data.get(1)?;
    MODELS.iter().find(|(known, _)| known == code).map(|(_, model)| *model)
}

struct Sealed {
    time: [u8; 4],
    block: [u8; 16],
}

fn sealed(data: &[u8]) -> Result<Sealed, Refusal> {
    let mut bytes = Bytes::new(data);
    bytes.skip(2)?;
    let time = bytes.array()?;
    let block = bytes.array::<16>()?;
    let checksum = bytes.u16_be()?;
    if data.len() > LENGTH {
        return Err(Refusal::Unknown(format!("a Govee event of {} bytes", data.len())));
    }
    if crc16(&block) != checksum {
        return Err(Refusal::Checksum);
    }
    Ok(Sealed { time, block })
}

fn open(data: &[u8]) -> Result<Frame, Refusal> {
    let Sealed { time, mut block } = sealed(data)?;
    let mut key = [0; 16];
    key.iter_mut().zip(time).for_each(|(key, time)| *key = time);
    key.reverse();
    block.reverse();
    let mut plain = crypto::decipher(&key, block);
    plain.reverse();
    let [_, _, code, _, battery, state, ..] = plain;
    let (_, model) = *MODELS
        .iter()
        .find(|(known, _)| *known == code)
        .ok_or_else(|| Refusal::Unknown(format!("a Govee event of the model {code}")))?;
    let event = event(model, state).ok_or_else(|| Refusal::Unknown(format!("state {state} of an H{model}")))?;
    Ok(Frame {
        sequence: Some(Sequence::Frame { number: u32::from_be_bytes(time), bits: 32 }),
        on_event_only: true,
        ..frame(Some(model), vec![event, BATTERY.whole(battery)])
    })
}

fn event(model: u16, state: u8) -> Option<Datum> {
    Some(match (model, state) {
        // They never say that it is over.
        (5121, 1) => MOTION_DETECTED.is(true),
        (5124, 1) => VIBRATION_DETECTED.is(true),
        (5123, 1 | 2) => WINDOW.is(state == 2),
        (5122 | 5125 | 5126, button @ 0..MOST_BUTTONS) => BUTTON.says("press").nth(usize::from(button) + 1),
        (5130, 0 | 1) => PRESENCE.is(state == 1),
        (5130, 0x10) => BUTTON.says("press"),
        _ => return None,
    })
}

/// CRC-16, polynomial 0x1021, beginning with 0x1D0F.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0x1d0f, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| if crc >> 15 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 })
    })
}

#[cfg(test)]
mod tests {
    use super::super::read as read_any;
    use super::*;
    use crate::advert::testing::{advert, heard, refused, values};
    use crate::advert::{Known, Outcome};

    const SECOND_BUTTON: &str = "2eaf0000fb0ec968d7056caf2af31be877f1e1e8e3a7f8c6";

    fn sent(id: u16, data: &str) -> Outcome {
        read_any(&advert("C1:37:37:32:0F:45").with_company(id, data), &Known::default())
    }

    #[test]
    fn a_press_is_read_and_known_by_its_time() {
        let frame = heard(sent(COMPANY, SECOND_BUTTON));
        assert_eq!(values(&frame), "button_2 press, battery 100 %");
        assert_eq!(frame.model.as_deref(), Some("H5125"));
        assert_eq!(frame.sequence, Some(Sequence::Frame { number: 0xfb0e, bits: 32 }));
        assert!(frame.on_event_only);
        assert_eq!(heard(sent(0x1234, SECOND_BUTTON)).values, frame.values);
    }

    #[test]
    fn each_kind_of_event_is_read() {
        let told = |data| values(&heard(sent(COMPANY, data)));
        assert_eq!(told("59940000f0b91937ae50b6372c866ac2f3d061e717c02cef"), "motion_detected true, battery 100 %");
        assert_eq!(told("3dec0000de4377d55e55f991496e36bdc67f8b2c27067497"), "window true, battery 100 %");
        assert_eq!(told("3dec000159db6bd9bed7aff72a26aa4bd72dfa94573e5be9"), "window false, battery 100 %");
        assert_eq!(told("08a2000125c25957fd7a750ef234a218bb15467c5b737b04"), "vibration_detected true, battery 100 %");
        assert_eq!(told("477500ae6750fa3447445146492085c27610ea02b3a0063f"), "presence true, battery 100 %");
        assert_eq!(told("477500d6a6a51019ce84013004eed9b6b9ebe156e8b4d0c1"), "button press, battery 100 %");
    }

    #[test]
    fn states_that_are_not_known_are_not_guessed_at() {
        assert_eq!(event(5123, 3), None);
        assert_eq!(event(5125, MOST_BUTTONS), None);
        assert_eq!(event(5121, 0), None);
    }

    #[test]
    fn a_damaged_event_is_refused_and_another_makers_is_not_mine() {
        let damaged = SECOND_BUTTON.replace("c968", "c969");
        assert_eq!(refused(sent(COMPANY, &damaged)), Refusal::Checksum);
        assert_eq!(sent(0x1234, &damaged), Outcome::NotMine);
    }

    #[test]
    fn what_is_beside_the_events_says_who_is_there() {
        let frame = heard(sent(0xec88, "010a2eafd930383553670101"));
        assert_eq!((frame.model.as_deref(), frame.values.len()), (Some("H5125"), 0));
    }

    #[test]
    fn cut_off_anywhere_it_is_refused() {
        for length in 0..LENGTH {
            let cut = sent(COMPANY, SECOND_BUTTON.get(..length * 2).unwrap());
            assert!(matches!(refused(cut), Refusal::Truncated { .. }), "{length}");
        }
    }
}
