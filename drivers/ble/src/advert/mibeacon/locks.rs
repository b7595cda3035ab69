//! Locks and doors of Xiaomi.
//!
//! Of what can be opened or unlocked, true is open or unlocked. The names of actions, methods and alarms
//! are those of xiaomi-ble (Apache-2.0), so that they are known to whoever comes from there.

use crate::advert::bytes::Bytes;
use crate::advert::{Datum, Quantity, Refusal, quantity::*};

/// Reads one object about locks and doors. False if nobody knows what it says.
pub(super) fn read(kind: u16, model: &str, bytes: &mut Bytes<'_>, values: &mut Vec<Datum>) -> Result<bool, Refusal> {
    match (kind, model) {
        (0x0006, _) => {
            let (key, result) = (bytes.u32_le()?, bytes.u8()?);
            let Some(result) = FINGERPRINT_RESULTS.get(usize::from(result)) else { return Ok(false) };
            values.extend([KEY_ID.says(key_name(key)), FINGERPRINT.says(*result)]);
        }
        (0x0007, _) => return Ok(door(bytes.u8()?, values)),
        (0x0008, _) => {
            let armed = bytes.u8()? == 0;
            values.push(ARMED.is(armed));
            // This one is armed by lifting its handle from outside, which locks it.
            if armed && model == "DSL-C08" {
                values.extend([LOCK.is(false), LOCK_ACTION.says("lock_outside_the_door"), LOCK_METHOD.says("manual")]);
            }
        }
        (0x000b, _) => {
            let (what, key) = (bytes.u8()?, bytes.u32_le()?);
            bytes.skip(4)?; // when it was
            return Ok(locked(model, what, key, values));
        }
        (0x100e, "DSL-C08") => {
            let bits = bytes.u8()?;
            values.extend([LOCK.is(bits & 0x01 == 0), CHILD_LOCK.is(bits & 0x08 == 0)]);
        }
        (0x100f, "loock.safe.v1") => values.push(DOOR.is(bytes.u8()? == 1)),
        _ => return Ok(false),
    }
    Ok(true)
}

fn door(state: u8, values: &mut Vec<Datum>) -> bool {
    values.extend(match state {
        0 => [DOOR.is(true), STUCK.is(false)].to_vec(),
        1 => [DOOR.is(false), LEFT_OPEN.is(false), TAMPER.is(false)].to_vec(),
        2 => [DOOR.is(true), LEFT_OPEN.is(true)].to_vec(),
        3 => [DOOR.is(false), KNOCK.is(true)].to_vec(),
        // Pried open.
        4 => [DOOR.is(true), TAMPER.is(true)].to_vec(),
        5 => [DOOR.is(false), STUCK.is(true)].to_vec(),
        _ => return false,
    });
    true
}

/// The low four bits say what happened, the high four by which means.
fn locked(model: &str, what: u8, key: u32, values: &mut Vec<Datum>) -> bool {
    let (of, unlocked, action): (Quantity, bool, &str) = match what & 0x0f {
        0x0 => (LOCK, true, "unlock_outside_the_door"),
        0x1 => (LOCK, false, "locked"),
        0x2 => (ARMED, false, "turn_on_antilock"),
        0x3 => (ARMED, true, "release_the_antilock"),
        0x4 => (LOCK, true, "unlock_inside_the_door"),
        0x5 => (LOCK, false, "lock_inside_the_door"),
        0x6 => (CHILD_LOCK, false, "turn_on_child_lock"),
        0x7 => (CHILD_LOCK, true, "turn_off_child_lock"),
        0x8 => (LOCK, false, "lock_outside_the_door"),
        0xf => (LOCK, true, "abnormal"),
        _ => return false,
    };
    let Some(method) = METHODS.get(usize::from(what >> 4)).copied().filter(|method| !method.is_empty()) else {
        return false;
    };
    // Only one model tells the bolts apart.
    let of = if model == "ZNMS17LM" { of } else { LOCK };
    let state = if of == ARMED { ARMED.is(!unlocked) } else { of.is(unlocked) };
    values.extend([state, LOCK_ACTION.says(action), LOCK_METHOD.says(method)]);
    match alarm(key) {
        Some(alarm) => values.push(LOCK_ALARM.says(alarm)),
        None => values.push(KEY_ID.says(key_name(key))),
    }
    true
}

const METHODS: [&str; 16] = [
    "bluetooth",
    "password",
    "biometrics",
    "key",
    "turntable",
    "nfc",
    "one_time_password",
    "two_step_verification",
    "coercion",
    "homekit",
    "manual",
    "automatic",
    "",
    "",
    "",
    "abnormal",
];

const FINGERPRINT_RESULTS: [&str; 7] = [
    "match_successful",
    "match_failed",
    "timeout",
    "low_quality_too_light_fuzzy",
    "insufficient_area",
    "skin_is_too_dry",
    "skin_is_too_wet",
];

/// Whose key it was; the third and fourth byte of the large numbers tell its kind.
fn key_name(key: u32) -> String {
    let short = key & 0xffff;
    let kind = match key >> 16 {
        _ if key == 0 => return "administrator".to_owned(),
        _ if key == 0xffff_ffff => return "unknown operator".to_owned(),
        _ if key == 0xdead_beef => return "invalid operator".to_owned(),
        0..=0x7fff => return format!("bluetooth {key}"),
        0x8000 | 0x8001 => "fingerprint",
        0x8002 => "password",
        0x8003 => "key",
        0x8004 => "nfc",
        0x8005 => "two-step verification",
        0x8006 => "face",
        0x8007 => "finger veins",
        0x8008 => "palm print",
        _ => "other",
    };
    format!("{kind} {short}")
}

/// Some numbers of keys are alarms.
fn alarm(key: u32) -> Option<&'static str> {
    Some(match key {
        0xc0de_0000 => "wrong password too often",
        0xc0de_0001 => "wrong fingerprint too often",
        0xc0de_0002 => "password took too long",
        0xc0de_0003 => "lock is being picked",
        0xc0de_0004 => "reset button pressed",
        0xc0de_0005 => "wrong key too often",
        0xc0de_0006 => "something is in the keyhole",
        0xc0de_0007 => "key left in the lock",
        0xc0de_0008 => "wrong nfc too often",
        0xc0de_0009 => "not locked in time",
        0xc0de_000a => "wrong in several ways too often",
        0xc0de_000b => "wrong face too often",
        0xc0de_000c => "wrong veins too often",
        0xc0de_000d => "hijacking",
        0xc0de_000e => "unlocked inside although armed",
        0xc0de_000f => "wrong palm too often",
        0xc0de_0010 => "the safe was moved",
        0xc0de_1000 => "battery below 10 %",
        0xc0de_1001 => "battery below 5 %",
        0xc0de_1002 => "fingerprint sensor is faulty",
        0xc0de_1003 => "battery of the accessory is low",
        0xc0de_1004 => "mechanical failure",
        0xc0de_1005 => "lock sensor is faulty",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::object_said;
    use super::*;

    fn said(model: &str, kind: u16, data: &[u8]) -> String {
        object_said(read, model, kind, data)
    }

    #[test]
    fn a_lock_tells_what_happened_by_what_and_by_whom() {
        assert_eq!(
            said("ZNMS16LM", 0x000b, &[0x20, 2, 0, 1, 0x80, 0, 0, 0, 0]),
            "lock true, lock_action unlock_outside_the_door, lock_method biometrics, key_id fingerprint 2"
        );
        assert_eq!(
            said("ZNMS17LM", 0x000b, &[0xa2, 0, 0, 0, 0, 0, 0, 0, 0]),
            "armed true, lock_action turn_on_antilock, lock_method manual, key_id administrator"
        );
        assert_eq!(
            said("ZNMS16LM", 0x000b, &[0xff, 3, 0, 0xde, 0xc0, 0, 0, 0, 0]),
            "lock true, lock_action abnormal, lock_method abnormal, lock_alarm lock is being picked"
        );
        assert_eq!(said("ZNMS16LM", 0x000b, &[0xc0, 0, 0, 0, 0, 0, 0, 0, 0]), "Ok(false)");
        assert!(said("ZNMS16LM", 0x000b, &[0x20, 2, 0, 1]).starts_with("Err(Truncated"));
    }

    #[test]
    fn what_locks_from_outside_is_locked_and_what_is_disarmed_may_be_either() {
        assert_eq!(
            said("DSL-C08", 0x0008, &[0]),
            "armed true, lock false, lock_action lock_outside_the_door, lock_method manual"
        );
        assert_eq!(said("DSL-C08", 0x0008, &[1]), "armed false");
        assert_eq!(said("M1S-T500", 0x0008, &[0]), "armed true");
        assert_eq!(said("DSL-C08", 0x100e, &[0x09]), "lock false, child_lock false");
        assert_eq!(said("DSL-C08", 0x100e, &[0x00]), "lock true, child_lock true");
    }

    #[test]
    fn a_door_is_open_left_open_or_pried() {
        assert_eq!(said("", 0x0007, &[0]), "door true, stuck false");
        assert_eq!(said("", 0x0007, &[1]), "door false, left_open false, tamper false");
        assert_eq!(said("", 0x0007, &[4]), "door true, tamper true");
        assert_eq!(said("", 0x0007, &[9]), "Ok(false)");
    }
}
