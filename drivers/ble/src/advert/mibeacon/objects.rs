//! The objects of a frame. Many mean one thing on one model and another on the next.

use super::{buttons, locks};
use crate::advert::bytes::Bytes;
use crate::advert::{Datum, Quantity, Refusal, quantity::*};

/// Reads one object. False if nobody knows what it is, or not on this model.
pub(super) fn read(kind: u16, model: &str, bytes: &mut Bytes<'_>, values: &mut Vec<Datum>) -> Result<bool, Refusal> {
    let mut add = |datum: Datum| values.push(datum);
    match kind {
        0x0003 => add(MOTION_DETECTED.is(true)),
        0x0006 | 0x0007 | 0x0008 | 0x000b | 0x100e | 0x100f => return locks::read(kind, model, bytes, values),
        0x000a => add(TEMPERATURE.of(f64::from(bytes.i16_le()?) / 100.0)),
        0x000f => {
            let brightness = bytes.u24_le()?;
            values.push(MOTION.is(true));
            values.extend(match model {
                // 0 or 1 in the dark, 100 or 256 in light.
                "MJYD02YL" | "RTCGQ02LM" => Some(LIGHT.is(brightness >= 100)),
                "CGPR1" => Some(ILLUMINANCE.of(brightness.into())),
                _ => None,
            });
        }
        0x0010 => {
            let stopped = bytes.u8()? != 0;
            values.push(RUNNING.is(!stopped));
            let what = if stopped { SCORE } else { COUNT };
            values.extend(bytes.u8().ok().map(|number| what.whole(number)));
        }
        0x1001 | 0x4a0c..=0x4a0e | 0x4a13 | 0x4e0c..=0x4e0e | 0x560c..=0x560e => {
            return buttons::read(kind, model, bytes, values);
        }
        0x1004 => add(TEMPERATURE.of(f64::from(bytes.i16_le()?) / 10.0)),
        0x1005 => values.extend([POWERED.is(bytes.u8()? != 0), TEMPERATURE.of(bytes.u8()?.into())]),
        0x1006 => add(HUMIDITY.of(f64::from(bytes.u16_le()?) / 10.0)),
        0x1007 => {
            let brightness = bytes.u24_le()?;
            add(match model {
                "MJYD02YL" | "MCCGQ02HL" => LIGHT.is(brightness == 100),
                _ => ILLUMINANCE.of(brightness.into()),
            });
        }
        0x1008 => add(MOISTURE.of(bytes.u8()?.into())),
        0x1009 => add(CONDUCTIVITY.of(bytes.u16_le()?.into())),
        0x100a | 0x4803 | 0x4c03 | 0x5003 => add(BATTERY.whole(bytes.u8()?)),
        0x100d => {
            add(TEMPERATURE.of(f64::from(bytes.i16_le()?) / 10.0));
            values.push(HUMIDITY.of(f64::from(bytes.u16_le()?) / 10.0));
        }
        0x1010 => add(FORMALDEHYDE.of(f64::from(bytes.u16_le()?) / 100.0)),
        0x1012 => add(POWERED.is(bytes.u8()? != 0)),
        0x1013 => add(CONSUMABLE.whole(bytes.u8()?)),
        0x1014 => add(WATER_LEAK.is(bytes.u8()? != 0)),
        0x1015 => add(SMOKE.is(bytes.u8()? != 0)),
        0x1017 => add(motion_since(bytes.u32_le()?)),
        0x4818 => add(motion_since(bytes.u16_le()?.into())),
        0x1018 => add(LIGHT.is(bytes.u8()? != 0)),
        // Told when nothing has moved for a time.
        0x101b => add(MOTION.is(false)),
        0x1019 | 0x4804 | 0x480c | 0x4a0f | 0x4a12 | 0x4a1a => return opening(kind, bytes.u8()?, values),
        0x2000 => values.extend(body(bytes.i16_le()?, bytes.i16_le()?, bytes.u8()?)),
        0x3003 => {
            let state = bytes.u8()?;
            bytes.skip(4)?; // when it was
            if state > 1 {
                return Ok(false);
            }
            values.push(RUNNING.is(state == 0));
            values.extend(bytes.u8().ok().map(|score| SCORE.whole(score)));
        }
        0x4801 | 0x4c01 => add(float(TEMPERATURE, bytes)?),
        0x4802 | 0x4c02 => add(HUMIDITY.of(bytes.u8()?.into())),
        0x4805 => add(float(ILLUMINANCE, bytes)?),
        0x4806 => add(WATER_LEAK.is(bytes.u8()? != 0)),
        0x4808 | 0x4c08 => add(float(HUMIDITY, bytes)?),
        0x483c => add(OCCUPANCY.is(bytes.u8()? != 0)),
        0x483d => add(OCCUPIED_FOR.whole(bytes.u32_le()?)),
        0x483e => add(VACANT_FOR.whole(bytes.u32_le()?)),
        0x484e => {
            let who = bytes.u8()?;
            // This one says 2 where it sees nobody; others may say 2 of somebody.
            add(OCCUPANCY.is(if model == "XMOSB01XS" { who == 1 } else { who != 0 }));
        }
        0x4851 => add(OCCUPIED_FOR.whole(i64::from(bytes.u8()?) * 60)),
        0x4852 => add(VACANT_FOR.whole(i64::from(bytes.u8()?) * 60)),
        0x487b if model == "SJWS02LM" => add(SPLASH.is(bytes.u8()? != 0)),
        0x4a01 | 0x4e01 => add(BATTERY_LOW.is(bytes.u8()? != 0)),
        0x4a08 => {
            values.push(MOTION.is(true));
            values.push(float(ILLUMINANCE, bytes)?);
        }
        0x4a68 if model == "SJWS02LM" => match bytes.u8()? {
            change @ (0 | 1) => add(WATER_LEAK.is(change == 0)),
            change @ (2 | 3) => add(SPLASH.is(change == 2)),
            _ => return Ok(false),
        },
        // What the device is set to, and that it was reset.
        0x4c14 | 0x4e1c | 0x5414 => {}
        0x4e16 => scale(bytes.u8()?, bytes.u32_le()?, values),
        0x5413 if model == "ES5BB" => add(OCCUPANCY_NEAR.is(bytes.u8()? != 0)),
        // 1 is that it is not charging, 2 that it is full.
        0x5422 => add(CHARGING.is(bytes.u8()? == 0)),
        0x5810 => add(ASLEEP.is(bytes.u8()? == 0)),
        0x6461 => add(WORN.is(bytes.u8()? == 0)),
        0x6e16 => body_scale(bytes.u8()?, bytes.u32_le()?, values),
        _ => return Ok(false),
    }
    Ok(true)
}

/// A number of single precision becomes the shortest decimal it stands for: 22.6, not 22.600000381.
fn float(quantity: Quantity, bytes: &mut Bytes<'_>) -> Result<Datum, Refusal> {
    let number = bytes.f32_le()?;
    Ok(quantity.of(number.to_string().parse().unwrap_or(f64::NAN)))
}

/// The vendor's own app shows motion for 30 seconds.
fn motion_since(seconds: u32) -> Datum {
    MOTION.is(seconds <= 30)
}

/// Of a door or a window.
fn opening(kind: u16, state: u8, values: &mut Vec<Datum>) -> Result<bool, Refusal> {
    let closed = [OPENING.is(false), LEFT_OPEN.is(false)];
    match (kind, state) {
        (0x1019 | 0x480c, 0) | (0x4804 | 0x4a12, 1) => values.push(OPENING.is(true)),
        (0x1019, 1) => values.extend(closed),
        (0x480c, 1) => values.push(OPENING.is(false)),
        (0x4804 | 0x4a12, 2) => {
            values.extend(closed);
            values.push(TAMPER.is(false));
        }
        (0x1019, 2) | (0x4a1a, 1) => values.extend([OPENING.is(true), LEFT_OPEN.is(true)]),
        (0x4a0f, 1) => values.extend([OPENING.is(true), TAMPER.is(true)]),
        _ => return Ok(false),
    }
    Ok(true)
}

/// A thermometer that is worn: it tells two temperatures in hundredths, from which that of the body
/// is estimated. The formula was fitted to what the vendor's app shows from 36.5 to 37.8 °C.
#[expect(clippy::approx_constant, reason = "it is fitted, not derived: no logarithm of 2 is meant")]
fn body(first: i16, second: i16, battery: u8) -> [Datum; 2] {
    let outer = 3.71934e-11 * (0.69314 * f64::from(first) / 100.0).exp();
    let inner = 1.02801e-8 * (0.53871 * f64::from(second) / 100.0).exp();
    [TEMPERATURE.of(outer - inner + 36.413), BATTERY.whole(battery)]
}

/// Told once the mass has settled, and with 0 when somebody has stepped off.
fn scale(profile: u8, mass: u32, values: &mut Vec<Datum>) {
    if mass != 0 {
        values.extend([MASS.of(f64::from(mass) / 100.0), PROFILE.whole(profile), STABILIZED.is(true)]);
    }
}

/// Mass in 11 bits of 0.1 kg, heart rate above 50 in 7, impedance in 14 of 0.1 Ω. It comes in two
/// frames: mass and the impedance at 50 kHz, then that at 250 kHz; without bare feet in one.
fn body_scale(profile: u8, data: u32, values: &mut Vec<Datum>) {
    let (mass, heart_rate, impedance) = (data & 0x7ff, data >> 11 & 0x7f, data >> 18);
    // All bits of the mass set are none.
    let mass = if mass == 0x7ff { 0 } else { mass };
    values.push(PROFILE.whole(profile));
    if mass != 0 {
        values.push(MASS.of(f64::from(mass) / 10.0));
    }
    if (1..127).contains(&heart_rate) {
        values.push(HEART_RATE.whole(heart_rate + 50));
    }
    let ohms = f64::from(impedance) / 10.0;
    let is_second = mass == 0 && heart_rate == 0;
    if impedance != 0 {
        values.push(if is_second { IMPEDANCE_HIGH.of(ohms) } else { IMPEDANCE.of(ohms) });
    }
    values.push(STABILIZED.is(is_second == (impedance != 0)));
}

#[cfg(test)]
mod tests {
    use super::super::tests::object_said;
    use super::*;
    use crate::advert::Frame;
    use crate::advert::testing::{hex, values};

    fn said(model: &str, kind: u16, data: &str) -> String {
        object_said(read, model, kind, &hex(data))
    }

    #[test]
    fn floats_are_told_as_the_decimals_they_stand_for() {
        assert_eq!(said("CGDK2", 0x4c01, "cdccb441"), "temperature 22.6 °C");
        assert_eq!(said("CGDK2", 0x4c01, "cdccb4c1"), "temperature -22.6 °C");
        assert_eq!(said("CGDK2", 0x4c01, "0000c07f"), "temperature (the sensor has no value)");
    }

    #[test]
    fn light_is_yes_or_no_on_some_models_and_a_measure_on_others() {
        assert_eq!(said("MJYD02YL", 0x000f, "640000"), "motion true, light true");
        assert_eq!(said("CGPR1", 0x000f, "640000"), "motion true, illuminance 100 lx");
        assert_eq!(said("HHCCJCY01", 0x1007, "640000"), "illuminance 100 lx");
    }

    #[test]
    fn a_window_is_open_closed_or_left_open() {
        assert_eq!(said("", 0x1019, "02"), "opening true, left_open true");
        assert_eq!(said("", 0x4804, "02"), "opening false, left_open false, tamper false");
        assert_eq!(said("", 0x1019, "03"), "Ok(false)");
    }

    #[test]
    fn a_scale_tells_mass_heart_and_impedance_in_turn() {
        let frame = |mass: u32, heart: u32, impedance: u32| {
            let mut frame = Frame::default();
            body_scale(1, mass | heart << 11 | impedance << 18, &mut frame.values);
            values(&frame)
        };
        let first = "profile 1, mass 69.9 kg, heart_rate 92 1/min, impedance 543.2 Ω, stabilized false";
        assert_eq!(frame(699, 42, 5432), first);
        assert_eq!(frame(0x7ff, 0, 4976), "profile 1, impedance_high 497.6 Ω, stabilized true");
        assert_eq!(frame(747, 0, 0), "profile 1, mass 74.7 kg, stabilized true");
        assert_eq!(frame(0, 0, 0), "profile 1, stabilized false");
    }

    #[test]
    fn an_object_that_is_too_short_is_refused() {
        for kind in [0x000a, 0x000f, 0x1004, 0x1009, 0x100d, 0x1017, 0x2000, 0x4801, 0x4a08, 0x4e16, 0x6e16] {
            assert!(said("", kind, "01").starts_with("Err(Truncated"), "{kind:#x}");
        }
    }
}
