//! Govee.
//!
//! - [`climate`]: thermometers with a hygrometer, some with dust or carbon dioxide.
//! - [`events`]: buttons, motion, windows and the like, enciphered.
//! - [`probes`]: meat thermometers.
//!
//! Lengths and company ids tell some models apart, but not all: then the local name does, or what is
//! known of the device. Some radios glue an iBeacon on behind the data; it is cut off.
//!
//! Source: the layouts as govee-ble reads them (Apache-2.0), checked against its recordings.

mod climate;
mod events;
mod probes;

use super::{Advert, Datum, Format, Frame, Known, Outcome};

/// Govee sensors.
pub const FORMAT: Format = Format { name: "Govee", needs_active_scan: true, read };

fn read(advert: &Advert, known: &Known<'_>) -> Outcome {
    let model = model_in_name(advert.name()).or_else(|| known.model.and_then(model));
    let read = events::read(advert).or_else(|| probes::read(advert, model)).or_else(|| climate::read(advert, model));
    read.map_or(Outcome::NotMine, Outcome::from)
}

/// Whether this is what one of them is called, or how one calls itself.
pub(super) fn is_model(name: &str) -> bool {
    model(name).or_else(|| model_in_name(name)).is_some()
}

/// 5075 of the names `GVH5075_2762`, `GV5179_6319`, `GV51085242`, `Govee_H5074_5FF4` and `B51782BC8`.
fn model_in_name(name: &str) -> Option<u16> {
    let name = ["Govee_H", "GVH", "GV", "B"].iter().find_map(|start| name.strip_prefix(start))?;
    number(name.get(..4)?)
}

/// 5075 of `H5075`.
fn model(name: &str) -> Option<u16> {
    number(name.strip_prefix('H')?)
}

fn number(text: &str) -> Option<u16> {
    let is_number = text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

fn frame(model: Option<u16>, values: Vec<Datum>) -> Frame {
    let model = model.map(|number| format!("H{number}").into());
    Frame { format: FORMAT.name, model, values, ..Frame::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_found_in_names() {
        for (name, model) in [
            ("GVH5075_2762", Some(5075)),
            ("GV5179_6319", Some(5179)),
            ("GV51085242", Some(5108)),
            ("GVH51275E3F", Some(5127)),
            ("Govee_H5074_5FF4", Some(5074)),
            ("B51782BC8", Some(5178)),
            ("Govee_1234", None),
            ("G", None),
            ("GV+123", None),
            ("GVH507", None),
            ("GVHé075", None),
        ] {
            assert_eq!(model_in_name(name), model, "{name}");
        }
        assert_eq!(model("H5075"), Some(5075));
        assert_eq!(model("H5072/H5075"), None);
    }
}
