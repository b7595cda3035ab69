//! Buttons, dimmers and remote controls. Which button a number means, the model tells.

use std::borrow::Cow;

use wharf_contract::Value;

use crate::advert::bytes::Bytes;
use crate::advert::{Datum, Refusal, quantity::*};

/// Reads one object about buttons. False if this model has none such.
pub(super) fn read(kind: u16, model: &str, bytes: &mut Bytes<'_>, values: &mut Vec<Datum>) -> Result<bool, Refusal> {
    let how = match kind & 0xff {
        0x0c => "press",
        0x0d => "double_press",
        _ => "long_press",
    };
    match (kind, model) {
        (0x1001, _) => {
            let (button, value, how) = (bytes.u8()?, bytes.u8()?, bytes.u8()?);
            return Ok(pressed(model, button, value, how, values));
        }
        (0x4a13, _) => match bytes.u8()? {
            1 => values.push(BUTTON.says("press")),
            _ => return Ok(false),
        },
        (0x4a0c..=0x4a0e, "XMWS01XS") => match bytes.u8()? {
            0 => values.push(named("left", how)),
            1 => values.push(named("right", how)),
            _ => return Ok(false),
        },
        (0x4a0c..=0x4a0e, _) | (0x4e0c..=0x4e0e, "XMWXKG01LM") | (0x560c..=0x560e, "KS2BB" | "AFWXKG220000") => {
            values.push(BUTTON.says(how));
        }
        (0x4e0c..=0x4e0e, "XMWXKG01YL") => {
            let which = bytes.u8()?;
            let sides = [(1, "left"), (2, "right")].into_iter().filter(|(bit, _)| which & bit != 0);
            values.extend(sides.map(|(_, side)| named(side, how)));
        }
        (0x4e0c, "K9BB-1BTN") => match bytes.u8()? {
            1 => values.push(BUTTON.says("press")),
            8 => values.push(BUTTON.says("long_press")),
            15 => values.push(BUTTON.says("double_press")),
            _ => return Ok(false),
        },
        (0x560c..=0x560e, "KS1" | "KS1BP") => match bytes.u8()? {
            1 => values.push(named("left", how)),
            2 => values.push(named("mid_left", how)),
            3 => values.push(named("mid_right", how)),
            4 => values.push(named("right", how)),
            _ => return Ok(false),
        },
        _ => return Ok(false),
    }
    Ok(true)
}

/// Object 0x1001: which button or how far, a value, and how it was pressed.
fn pressed(model: &str, button: u8, value: u8, how: u8, values: &mut Vec<Datum>) -> bool {
    let press = match how {
        0 | 5 => "press",
        1 => "double_press",
        2 | 6 => "long_press",
        _ => "",
    };
    match model {
        "YLKG07YL/YLKG08YL" => return turned(button, value, how, values),
        // A cube that is turned.
        "XMMF01JQD" => match button {
            0 => values.push(DIMMER.whole(1)),
            1 => values.push(DIMMER.whole(-1)),
            _ => return false,
        },
        "K9B-1BTN" | "K9B-2BTN" | "K9B-3BTN" => return on_the_wall(model, button, how, values),
        _ if press.is_empty() => return false,
        _ => match remote(model) {
            [] => values.push(BUTTON.says(press)),
            names => match names.get(usize::from(button)) {
                Some(name) => values.push(named(name, press)),
                None => return false,
            },
        },
    }
    true
}

/// A dimmer: presses are counted in the value, turns in the value or, while it is pressed, in the
/// place of the button.
fn turned(button: u8, value: u8, how: u8, values: &mut Vec<Datum>) -> bool {
    let presses = |n: u8| match n {
        2 => "double_press",
        3 => "triple_press",
        _ => "press",
    };
    values.push(match (how, button) {
        (3, 0) => BUTTON.says(presses(value)),
        (3, 1) => BUTTON.says("long_press"),
        (4, 0) => DIMMER.whole(value.cast_signed()),
        (4, _) => DIMMER_PRESSED.whole(button.cast_signed()),
        _ => return false,
    });
    true
}

/// A switch on the wall tells several of its buttons at once, and has its own order of presses.
fn on_the_wall(model: &str, button: u8, how: u8, values: &mut Vec<Datum>) -> bool {
    let press = match how {
        0 => "press",
        1 => "long_press",
        2 => "double_press",
        _ => return false,
    };
    let names: &[&str] = match (model, button) {
        ("K9B-1BTN", 0) => {
            values.push(BUTTON.says(press));
            return true;
        }
        ("K9B-2BTN" | "K9B-3BTN", 0) => &["left"],
        ("K9B-2BTN", 1) => &["right"],
        ("K9B-2BTN", 2) => &["left", "right"],
        ("K9B-3BTN", 1) => &["middle"],
        ("K9B-3BTN", 2) => &["right"],
        ("K9B-3BTN", 3) => &["left", "middle"],
        ("K9B-3BTN", 4) => &["middle", "right"],
        ("K9B-3BTN", 5) => &["left", "right"],
        ("K9B-3BTN", 6) => &["left", "middle", "right"],
        _ => return false,
    };
    values.extend(names.iter().map(|name| named(name, press)));
    true
}

/// What is printed on a remote control, in the order of the buttons' numbers.
fn remote(model: &str) -> &'static [&'static str] {
    match model {
        "YLYK01YL" => &["on", "off", "brightness", "plus", "m", "min"],
        "YLYK01YL-FANCL" => &["fan", "light", "wind_speed", "color_temperature", "wind_mode", "brightness"],
        "YLYK01YL-VENFAN" => {
            &["swing", "power", "timer_60_minutes", "increase_wind_speed", "timer_30_minutes", "decrease_wind_speed"]
        }
        "YLYB01YL-BHFRC" => {
            &["stop", "air_exchange", "fan", "increase_speed", "decrease_speed", "dry", "light", "swing", "heat"]
        }
        _ => &[],
    }
}

/// A press of the button that bears a name.
fn named(name: &str, press: &str) -> Datum {
    let point = Cow::Owned(format!("{}_{name}", BUTTON.name));
    Datum { point, ..BUTTON.with(Ok(Value::Text(press.to_owned()))) }
}

#[cfg(test)]
mod tests {
    use super::super::tests::object_said;
    use super::*;

    fn said(model: &str, kind: u16, data: &[u8]) -> String {
        object_said(read, model, kind, data)
    }

    #[test]
    fn a_dimmer_is_turned_both_ways_and_pressed() {
        let dimmer = |data| said("YLKG07YL/YLKG08YL", 0x1001, data);
        assert_eq!(dimmer(&[0, 3, 4]), "dimmer 3");
        assert_eq!(dimmer(&[0, 0xff, 4]), "dimmer -1");
        assert_eq!(dimmer(&[0xfe, 0, 4]), "dimmer_pressed -2");
        assert_eq!(dimmer(&[0, 2, 3]), "button double_press");
        assert_eq!(dimmer(&[1, 2, 3]), "button long_press");
        assert_eq!(dimmer(&[1, 2, 9]), "Ok(false)");
    }

    #[test]
    fn a_switch_on_the_wall_tells_several_buttons_at_once() {
        assert_eq!(said("K9B-2BTN", 0x1001, &[2, 0, 1]), "button_left long_press, button_right long_press");
        assert_eq!(said("K9B-1BTN", 0x1001, &[0, 0, 2]), "button double_press");
        assert_eq!(said("XMWXKG01YL", 0x4e0d, &[3]), "button_left double_press, button_right double_press");
    }

    #[test]
    fn remote_controls_name_their_buttons() {
        assert_eq!(said("YLYK01YL", 0x1001, &[4, 0, 2]), "button_m long_press");
        assert_eq!(said("YLYB01YL-BHFRC", 0x1001, &[9, 0, 0]), "Ok(false)");
        assert_eq!(said("KS1", 0x560e, &[3]), "button_mid_right long_press");
    }

    #[test]
    fn a_press_on_what_has_no_buttons_is_not_told() {
        assert_eq!(said("LYWSDCGQ", 0x560c, &[1]), "Ok(false)");
        assert!(said("YLYK01YL", 0x1001, &[1, 0]).starts_with("Err(Truncated"));
    }
}
