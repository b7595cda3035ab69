//! SwitchBot's sensors, switches, lamps, curtains, locks and machines.
//!
//! Places are those of manufacturer data, which begins with the address, unless service data is named.

use super::super::quantity::{
    BRIGHTNESS, CHARGING, DOOR, LEFT_OPEN, LIGHT, LIGHT_LEVEL, LOCK, MOTION, MOVING, OPENING, POSITION, POWER, STATE,
    SWITCH, TAMPER, TILT, WATER_LEAK,
};
use super::super::{Absent, Datum, Refusal};
use super::{Data, at, of_maker};

type Values = Result<Vec<Datum>, Refusal>;

/// Of which only the battery is known.
pub(super) fn nothing(_: Data<'_>) -> Values {
    Ok(Vec::new())
}

/// Service data: bit 6 of byte 1 motion; byte 3 bit 0 light, bit 1 open, bit 2 left open.
pub(super) fn contact(data: Data<'_>) -> Values {
    let Some(service) = data.service else { return Ok(Vec::new()) };
    let (first, state) = (at(service, 1)?, at(service, 3)?);
    Ok(vec![
        OPENING.is(state & 0x06 != 0),
        LEFT_OPEN.is(state & 0x04 != 0),
        MOTION.is(first & 0x40 != 0),
        LIGHT.is(state & 0x01 != 0),
    ])
}

/// Byte 7: bit 6 motion, bit 5 light. Service data: bit 6 of byte 1 motion; the lower two bits of byte 5
/// are 2 in the light.
pub(super) fn motion(data: Data<'_>) -> Values {
    let (moved, light) = match data {
        Data { maker: Some(maker), .. } => {
            let state = at(maker, 7)?;
            (state & 0x40 != 0, state & 0x20 != 0)
        }
        Data { service: Some(service), .. } => (at(service, 1)? & 0x40 != 0, at(service, 5)? & 0x03 == 2),
        _ => return Ok(Vec::new()),
    };
    Ok(vec![MOTION.is(moved), LIGHT.is(light)])
}

/// Bit 6 of byte 7.
pub(super) fn presence(data: Data<'_>) -> Values {
    of_maker(data, |maker| Ok(vec![MOTION.is(at(maker, 7)? & 0x40 != 0)]))
}

/// Byte 8: bit 0 water, bit 1 tampered with.
pub(super) fn leak(data: Data<'_>) -> Values {
    of_maker(data, |maker| {
        let state = at(maker, 8)?;
        Ok(vec![WATER_LEAK.is(state & 0x01 != 0), TAMPER.is(state & 0x02 != 0)])
    })
}

/// Service data: byte 1 bit 7 whether it holds a switch or presses a button, bit 6 off. One that presses
/// has no state, whatever bit 6 is. (SwitchBot's BLE API, `devicetypes/bot.md`; pySwitchbot reads it so.)
pub(super) fn bot(data: Data<'_>) -> Values {
    let Some(service) = data.service else { return Ok(Vec::new()) };
    let state = at(service, 1)?;
    Ok(if state & 0x80 == 0 { Vec::new() } else { vec![SWITCH.is(state & 0x40 == 0)] })
}

/// Three bytes from byte 8 on, or of service data from byte 3 on: bit 7 moving, bits 0 to 6 how far it
/// is closed; the upper half is the level of light.
pub(super) fn curtain(data: Data<'_>) -> Values {
    let (bytes, place) = match data {
        Data { maker: Some(maker), .. } => (maker, 8),
        Data { service: Some(service), .. } => (service, 3),
        _ => return Ok(Vec::new()),
    };
    let (position, light) = (at(bytes, place)?, at(bytes, place + 1)?);
    Ok(vec![open(position), MOVING.is(position & 0x80 != 0), LIGHT_LEVEL.whole(light >> 4)])
}

/// As a curtain, but bit 7 is none for moving.
pub(super) fn roller(data: Data<'_>) -> Values {
    of_maker(data, |maker| Ok(vec![open(at(maker, 8)?), LIGHT_LEVEL.whole(at(maker, 9)? >> 4)]))
}

/// How far it is open, in percent.
fn open(closed: u8) -> Datum {
    POSITION.whole(100_i64 - i64::from((closed & 0x7f).min(100)))
}

/// Byte 8: bit 7 moving, bits 0 to 6 how far it is tilted, which 50 is open in the middle of; the upper
/// half of byte 9 is the level of light.
pub(super) fn blind(data: Data<'_>) -> Values {
    of_maker(data, |maker| {
        let (tilt, light) = (at(maker, 8)?, at(maker, 9)?);
        Ok(vec![TILT.whole((tilt & 0x7f).min(100)), MOVING.is(tilt & 0x80 != 0), LIGHT_LEVEL.whole(light >> 4)])
    })
}

/// Byte 7: bit 7 calibrated, bits 4 to 6 state, bit 2 an open door. Of the states 0 is locked; 1 unlocked,
/// 2 locking, 3 unlocking, 4 and 5 stuck at that, 6 not fully locked: all these are not locked. Without
/// calibration the state means nothing. (SwitchBot's BLE API, `devicetypes/lock.md`.)
pub(super) fn lock(data: Data<'_>) -> Values {
    of_maker(data, |maker| {
        let state = at(maker, 7)?;
        Ok(vec![bolt(state, state >> 4 & 0x07), DOOR.is(state & 0x04 != 0)])
    })
}

/// Byte 7: bit 7 calibrated, bits 3 to 6 state, numbered as a lock's and with 7 for half locked. Byte 8:
/// bits 4 and 5 an open door, one as this lock sees it and one as the other lock of the door does. (As
/// pySwitchbot 2.x reads it.)
pub(super) fn lock_pro(data: Data<'_>) -> Values {
    of_maker(data, |maker| {
        let state = at(maker, 7)?;
        Ok(vec![bolt(state, state >> 3 & 0x0f), DOOR.is(at(maker, 8)? & 0x30 != 0)])
    })
}

/// Whether it is not locked: a lock that does not know where its bolt is must not be taken for locked.
fn bolt(flags: u8, state: u8) -> Datum {
    if flags & 0x80 == 0 {
        return LOCK.with(Err(Absent::Fault("the lock is not calibrated".into())));
    }
    LOCK.is(state != 0)
}

/// Bit 7 of byte 7.
pub(super) fn battery_and_charging(data: Data<'_>) -> Values {
    of_maker(data, |maker| Ok(vec![CHARGING.is(at(maker, 7)? & 0x80 != 0)]))
}

/// Bit 7 of byte 7.
pub(super) fn on_off(data: Data<'_>) -> Values {
    of_maker(data, |maker| Ok(vec![SWITCH.is(at(maker, 7)? & 0x80 != 0)]))
}

/// As what is on or off. Whether a garage door is open is told too, but not known for certain where.
pub(super) fn relay(data: Data<'_>) -> Values {
    on_off(data)
}

/// From byte 10 on the power in W, high byte first.
pub(super) fn relay_with_power(data: Data<'_>) -> Values {
    of_maker(data, |maker| {
        let power = watts(maker, 10)?;
        Ok(vec![SWITCH.is(at(maker, 7)? & 0x80 != 0), power])
    })
}

/// Byte 7: bits 7 and 6 for two switches; their powers from byte 10 on.
pub(super) fn relay2(data: Data<'_>) -> Values {
    of_maker(data, |maker| {
        let state = at(maker, 7)?;
        Ok(vec![
            SWITCH.is(state & 0x80 != 0),
            watts(maker, 10)?,
            SWITCH.is(state & 0x40 != 0).nth(2),
            watts(maker, 12)?.nth(2),
        ])
    })
}

fn watts(maker: &[u8], place: usize) -> Result<Datum, Refusal> {
    Ok(POWER.whole(u16::from_be_bytes([at(maker, place)?, at(maker, place + 1)?])))
}

/// Byte 7: bit 7 on, bits 0 to 6 brightness in percent.
pub(super) fn lamp(data: Data<'_>) -> Values {
    of_maker(data, |maker| {
        let state = at(maker, 7)?;
        Ok(vec![SWITCH.is(state & 0x80 != 0), BRIGHTNESS.whole(state & 0x7f)])
    })
}

/// Service data: bit 7 of byte 1.
pub(super) fn humidifier(data: Data<'_>) -> Values {
    let Some(service) = data.service else { return Ok(Vec::new()) };
    Ok(vec![SWITCH.is(at(service, 1)? & 0x80 != 0)])
}

/// Byte 13 says by a number what it is doing.
pub(super) fn vacuum(data: Data<'_>) -> Values {
    of_maker(data, |maker| Ok(vec![STATE.whole(at(maker, 13)?)]))
}

#[cfg(test)]
mod tests {
    use super::super::{COMPANY, SERVICE, read};
    use crate::advert::testing::{advert, heard, values};
    use crate::advert::{Known, Outcome, Refusal};

    fn sent(service: &str, maker: &str) -> Outcome {
        let mut advert = advert("aa:bb:cc:dd:ee:ff").with_service(SERVICE, service);
        if !maker.is_empty() {
            advert = advert.with_company(COMPANY, maker);
        }
        read(&advert, &Known::default())
    }

    fn told(service: &str, maker: &str) -> String {
        values(&heard(sent(service, maker)))
    }

    #[test]
    fn a_contact_is_closed_open_or_left_open() {
        assert_eq!(
            told("6440da00002b001984", ""),
            "opening false, left_open false, motion true, light false, battery 90 %"
        );
        assert_eq!(
            told("6440da020017005144", ""),
            "opening true, left_open false, motion true, light false, battery 90 %"
        );
        assert_eq!(
            told("6400da050046018fc4", ""),
            "opening true, left_open true, motion false, light true, battery 90 %"
        );
    }

    #[test]
    fn motion_presence_and_leaks_are_read() {
        assert_eq!(told("7340e2002c02", "c0219ae8bc49766c002c"), "motion true, light true, battery 98 %");
        assert_eq!(told("7300e2046702", ""), "motion false, light true, battery 98 %");
        assert_eq!(told("0020640010ccc8", "b0e9fe6c66aa06cc0456008c"), "motion true, battery 100 %");
        assert_eq!(
            told("260064", "c43430374c7a4764f96761c4083c0500000000"),
            "water_leak true, tamper false, battery 100 %"
        );
    }

    #[test]
    fn a_bot_has_a_state_where_it_holds_a_switch() {
        assert_eq!(told("4810e1", ""), "battery 97 %");
        assert_eq!(told("4890e1", ""), "switch true, battery 97 %");
        assert_eq!(told("48d0e1", ""), "switch false, battery 97 %");
    }

    #[test]
    fn curtains_shades_and_blinds_are_read() {
        assert_eq!(told("63c058001104", ""), "position 100 %, moving false, light_level 1, battery 88 %");
        assert_eq!(
            told("7bc049001104", "aabbccddeefff70764110400c9"),
            "position 0 %, moving false, light_level 1, battery 73 %"
        );
        assert_eq!(told("2c00279f1104", "b0e9fe54901b2c089f11042700"), "position 69 %, light_level 1, battery 39 %");
        assert_eq!(told("780048", "fc285c366c7f0b2700a184"), "tilt 0 %, moving false, light_level 10, battery 72 %");
    }

    #[test]
    fn a_lock_is_locked_or_is_not() {
        assert_eq!(told("6f8064", "eef5e6098fe811970820"), "lock true, door true, battery 100 %");
        assert_eq!(told("6f8064", "eef5e6098fe811830820"), "lock false, door false, battery 100 %");
        assert_eq!(told("248064", "f7610748e6e83a8a00640000"), "lock true, door false, battery 100 %");
        assert_eq!(told("0080340010a5b8", "b0e9feb66a3d258230340004"), "lock false, door true, battery 52 %");
        // On the way, stuck and not fully locked are none of them locked.
        for state in 1..=6_u8 {
            let maker = format!("eef5e6098fe811{:02x}0820", 0x80 | state << 4);
            assert!(told("6f8064", &maker).starts_with("lock true"), "{state}");
        }
        assert!(told("248064", "f7610748e6e83ac000640000").starts_with("lock true"), "the fourth bit of a Pro's state");
    }

    #[test]
    fn a_lock_that_is_not_calibrated_is_not_said_to_be_locked() {
        for (service, maker) in [("6f8064", "eef5e6098fe811030820"), ("00803d0010ff90", "b0e9feb05efe0e02003d0008")] {
            let told = told(service, maker);
            assert!(told.starts_with("lock (the sensor reports: the lock is not calibrated)"), "{told}");
        }
    }

    #[test]
    fn switches_and_lamps_are_read() {
        assert_eq!(told("3f000000", "94a99054855e3fa1000004e600000000"), "switch true, power 1254 W");
        assert_eq!(
            told("3d000000", "c04e30ddb9f28a410000000000460000"),
            "switch false, power 0 W, switch_2 true, power_2 70 W"
        );
        assert_eq!(told("720064", "7c2c67c815266a52226c000000000000"), "switch false, brightness 82 %");
    }

    #[test]
    fn machines_tell_what_they_do_and_their_charge() {
        assert_eq!(told("2e0064", "b0e9fe01f38f270111530010640f"), "state 15, battery 100 %");
        assert_eq!(told("7e0052", "b0e9fe5859a87e4c5239"), "switch false, battery 82 %");
        assert_eq!(told("00005f01110378", "b0e9fee5041eacdf000000000002"), "charging true, battery 95 %");
    }

    #[test]
    fn cut_off_anywhere_they_are_refused() {
        for (service, maker, needed) in [
            ("6f8064", "eef5e6098fe811970820", 8),
            ("248064", "f7610748e6e83a8a00640000", 10),
            ("3f000000", "94a99054855e3fa1000004e600000000", 12),
            ("2e0064", "b0e9fe01f38f270111530010640f", 14),
        ] {
            for length in 1..needed {
                let cut = sent(service, maker.get(..length * 2).unwrap());
                assert!(matches!(cut, Outcome::Refused(Refusal::Truncated { .. })), "{service} {length}: {cut:?}");
            }
        }
        for length in 2..4 {
            let cut = sent("6440da00002b001984".get(..length * 2).unwrap(), "");
            assert!(matches!(cut, Outcome::Refused(Refusal::Truncated { .. })), "{length}: {cut:?}");
        }
    }
}
