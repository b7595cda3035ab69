//! SwitchBot.
//!
//! Service data of 0xFD3D, or of 0x0D00 from old firmwares, says in the scan response what the device
//! is: `bit 7 enciphered, bits 0 to 6 kind | … | battery %`. Newer kinds have 0 there and a code of four
//! bytes: `00 | … | battery % | code | …`. Manufacturer data of the company 0x0969 holds `address (6) |
//! number | …`, and from most devices the values: see [`climate`] and [`things`]. Without the scan
//! response the kind has to be known from before, or from the site file.
//!
//! Source: the layouts as pySwitchbot reads them (MIT), checked against its recordings. Of most lamps,
//! locks and machines there is a single one: what is read of them is on or off, brightness, locked,
//! position and battery, each where a recording shows it. No recording shows a bot that holds a switch,
//! nor a lock that is neither locked nor unlocked: these are as the maker's own description has them
//! (OpenWonderLabs/SwitchBotAPI-BLE).

mod climate;
mod models;
mod things;

use models::{Battery, MODELS, Model};

use super::quantity::{BATTERY, TEMPERATURE};
use super::{Absent, Advert, Datum, Format, Frame, Known, Outcome, Refusal};

/// SwitchBot devices.
pub const FORMAT: Format = Format { name: "SwitchBot", needs_active_scan: true, read };

const SERVICE: u16 = 0xfd3d;
const OLD_SERVICE: u16 = 0x0d00;
const COMPANY: u16 = 0x0969;

/// Whether this is what one of them is called, or how one calls itself.
pub(super) fn is_model(name: &str) -> bool {
    named(name).is_some()
}

fn named(name: &str) -> Option<&'static Model> {
    MODELS.iter().find(|model| model.name == name || model.local_name == name)
}

/// What was heard of a device.
#[derive(Clone, Copy)]
struct Data<'a> {
    service: Option<&'a [u8]>,
    maker: Option<&'a [u8]>,
}

fn read(advert: &Advert, known: &Known<'_>) -> Outcome {
    let current = advert.service(SERVICE);
    let service = current.or_else(|| advert.service(OLD_SERVICE));
    let data = Data { service, maker: advert.company(COMPANY) };
    if data.service.is_none() && data.maker.is_none() {
        return Outcome::NotMine;
    }
    let of_service = data.service.and_then(models::of_service);
    match of_service.or_else(|| named(advert.name())).or_else(|| known.model.and_then(named)) {
        Some(model) => frame(model, data).into(),
        // The old service is nobody's in particular.
        None if current.is_none() && data.maker.is_none() => Outcome::NotMine,
        None => Outcome::Refused(unknown(current)),
    }
}

fn unknown(service: Option<&[u8]>) -> Refusal {
    Refusal::Unknown(match service {
        None => "a SwitchBot whose scan response has not been heard, and only it tells what it is".into(),
        Some([]) => return Refusal::Truncated { have: 0, need: 1 },
        Some([0, rest @ ..]) => format!("a SwitchBot of a kind that is not known: {rest:02x?}"),
        Some([first, ..]) => format!("a SwitchBot of the kind {:#04x}", first & 0x7f),
    })
}

fn frame(model: &'static Model, data: Data<'_>) -> Result<Frame, Refusal> {
    if data.service.and_then(<[u8]>::first).is_some_and(|first| first & 0x80 != 0) {
        return Err(Refusal::Unknown(format!("a SwitchBot {} that has its values enciphered", model.name)));
    }
    let mut values = (model.read)(data)?;
    if let Some(percent) = battery(model.battery, data)? {
        let asleep = values.iter().any(|datum| datum.point == TEMPERATURE.name && datum.value == Err(Absent::NoValue));
        // Before its first measurement a meter sends zeros, also for the battery.
        values.push(if percent == 0 && asleep { BATTERY.missing() } else { BATTERY.whole(percent) });
    }
    Ok(Frame { format: FORMAT.name, model: Some(model.name.into()), values, ..Frame::default() })
}

fn battery(place: Battery, data: Data<'_>) -> Result<Option<u8>, Refusal> {
    let of_service = data.service.and_then(|service| service.get(2));
    let byte = match place {
        Battery::None => None,
        Battery::Service => of_service.copied(),
        Battery::Maker(place) => data.maker.map(|maker| at(maker, place)).transpose()?,
        Battery::Either(place) => data.maker.and_then(|maker| maker.get(place)).or(of_service).copied(),
    };
    Ok(byte.map(|byte| byte & 0x7f))
}

/// The byte at a place, counted from 0.
fn at(data: &[u8], place: usize) -> Result<u8, Refusal> {
    data.get(place).copied().ok_or(Refusal::Truncated { have: data.len(), need: place + 1 })
}

/// What `read` makes of the manufacturer data; nothing if only the service data was heard.
fn of_maker(data: Data<'_>, read: impl FnOnce(&[u8]) -> Result<Vec<Datum>, Refusal>) -> Result<Vec<Datum>, Refusal> {
    data.maker.map_or(Ok(Vec::new()), read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advert::testing::{advert, heard, refused, values};

    #[test]
    fn a_kind_is_remembered_while_scan_responses_are_not_heard() {
        let passive = advert("D7:C1:7D:5D:EB:43").with_company(COMPANY, "d7c17d5deb43de03069835");
        assert!(matches!(refused(read(&passive, &Known::default())), Refusal::Unknown(_)));
        let frame = heard(read(&passive, &Known { model: Some("Meter"), ..Known::default() }));
        assert_eq!(values(&frame), "temperature 24.6 °C, humidity 53 %");
        assert_eq!(frame.model.as_deref(), Some("Meter"));
    }

    #[test]
    fn a_local_name_tells_the_kind() {
        let named = advert("CC:4F:4C:47:00:63").with_name("WoCurtain").with_company(COMPANY, "cc4f4c4700630000110000");
        let told = values(&heard(read(&named, &Known::default())));
        assert_eq!(told, "position 83 %, moving false, light_level 0");
    }

    #[test]
    fn what_is_enciphered_or_not_known_is_refused() {
        let told = |data| {
            refused(read(&advert("aa:bb:cc:dd:ee:ff").with_service(SERVICE, data), &Known::default())).to_string()
        };
        assert_eq!(told("d400e4069835"), "a SwitchBot Meter that has its values enciphered");
        assert_eq!(told("ffffffff"), "a SwitchBot of the kind 0x7f");
        assert!(told("00000000aabbcc").starts_with("a SwitchBot of a kind that is not known"));
        assert_eq!(told(""), "cut off: 0 bytes, and 1 are needed");
        let old = advert("aa:bb:cc:dd:ee:ff").with_service(OLD_SERVICE, "01020304");
        assert_eq!(read(&old, &Known::default()), Outcome::NotMine);
    }

    #[test]
    fn the_newer_service_goes_before_the_old_one() {
        let both = advert("F5:98:94:08:A0:E7")
            .with_service(OLD_SERVICE, "63d048001204")
            .with_service(SERVICE, "63c047002204")
            .with_company(COMPANY, "f5989408a0e79b0f002204");
        let told = values(&heard(read(&both, &Known::default())));
        assert_eq!(told, "position 100 %, moving false, light_level 2, battery 71 %");
    }

    #[test]
    fn any_model_is_read_where_there_is_enough_of_it() {
        let whole = "b0e9fe5432150102030405060708090a0b0c0d0e0f101112";
        for model in MODELS {
            let known = Known { model: Some(model.name), ..Known::default() };
            let sent = |data| read(&advert("B0:E9:FE:54:32:15").with_company(COMPANY, data), &known);
            assert_eq!(heard(sent(whole)).model.as_deref(), Some(model.name));
            for length in 0..whole.len() / 2 {
                let cut = sent(whole.get(..length * 2).unwrap());
                assert!(matches!(cut, Outcome::Heard(_) | Outcome::Refused(Refusal::Truncated { .. })), "{cut:?}");
            }
        }
    }
}
