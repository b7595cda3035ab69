//! What SwitchBot makes: kinds, names and where the battery is told.

use super::climate::{air, climate_panel, evaporative, hub_mini, hub2, hub3, meter, thermostat};
use super::things::{
    battery_and_charging, blind, bot, contact, curtain, humidifier, lamp, leak, lock, lock_pro, motion, nothing,
    on_off, presence, relay, relay_with_power, relay2, roller, vacuum,
};
use super::{Data, Datum, Refusal};

pub(super) struct Model {
    pub(super) id: Id,
    /// What it is sold as.
    pub(super) name: &'static str,
    /// What it calls itself.
    pub(super) local_name: &'static str,
    pub(super) battery: Battery,
    pub(super) read: fn(Data<'_>) -> Result<Vec<Datum>, Refusal>,
}

/// How service data tells it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Id {
    Kind(u8),
    /// The last three of four bytes; the first one varies.
    Code(u32),
}

/// Where its charge is told, in the lower seven bits of a byte.
#[derive(Clone, Copy)]
pub(super) enum Battery {
    None,
    /// In the third byte of the service data.
    Service,
    /// At this place of the manufacturer data.
    Maker(usize),
    /// At this place of the manufacturer data, or, where it is too short, in the service data.
    Either(usize),
}
use Battery::{Either, Maker, Service};

/// The model that service data tells.
pub(super) fn of_service(service: &[u8]) -> Option<&'static Model> {
    let id = match *service {
        [0, _, _, _, _, _, a, b, c, d] | [0, _, _, a, b, c, d, ..] => {
            Id::Code(u32::from_be_bytes([a, b, c, d]) & 0xff_ffff)
        }
        [0, ..] | [] => return None,
        [first, ..] => Id::Kind(first & 0x7f),
    };
    MODELS.iter().find(|model| model.id == id)
}

macro_rules! models {
    ($($id:ident($value:expr), $name:literal, $local:literal, $battery:expr, $read:expr;)*) => {
        pub(super) const MODELS: &[Model] = &[$(Model {
            id: Id::$id($value), name: $name, local_name: $local, battery: $battery, read: $read,
        }),*];
    };
}

// Of two with the same local name, which have the same layout, the first is taken.
models! {
    // Thermometers and hubs.
    Kind(b'i'), "Meter Plus", "WoSensorTH", Service, meter;
    Kind(b'T'), "Meter", "WoSensorTH", Service, meter;
    Kind(b'w'), "Indoor/Outdoor Meter", "WoIOSensorTH", Service, meter;
    Kind(b'4'), "Meter Pro", "WoTHP", Service, meter;
    Kind(0x14), "Meter Pro", "WoTHP", Service, meter;
    Kind(b'5'), "Meter Pro CO2", "WoTHPc", Service, air;
    Code(0x1053b0), "Weather Station", "Weather Station", Either(7), meter;
    Kind(b'v'), "Hub 2", "WoHub2", Battery::None, hub2;
    Code(0x10b940), "Hub3", "Hub3", Battery::None, hub3;
    Kind(b'%'), "HubMini Matter", "HubMini Matter", Battery::None, hub_mini;
    Code(0x10f3d8), "Climate Panel", "Climate Panel", Maker(7), climate_panel;
    Code(0x113640), "Smart Thermostat Radiator", "Smart Thermostat Radiator", Maker(7), thermostat;
    Kind(b'#'), "Evaporative Humidifier", "Evaporative Humidifier", Battery::None, evaporative;
    Kind(b'e'), "Humidifier", "WoHumi", Battery::None, humidifier;
    // Sensors.
    Kind(b'd'), "Contact Sensor", "WoContact", Service, contact;
    Kind(b's'), "Motion Sensor", "WoPresence", Service, motion;
    Code(0x10ccc8), "Presence Sensor", "Presence Sensor", Service, presence;
    Kind(b'&'), "Leak Detector", "Leak Detector", Maker(7), leak;
    // Hands, curtains, blinds.
    Kind(b'H'), "Bot", "WoHand", Service, bot;
    Kind(b'{'), "Curtain 3", "WoCurtain", Either(12), curtain;
    Kind(b'c'), "Curtain", "WoCurtain", Service, curtain;
    Kind(b','), "Roller Shade", "Roller Shade", Service, roller;
    Kind(b'x'), "Blind Tilt", "WoBlindTilt", Service, blind;
    // Locks and keypads.
    Kind(b'o'), "Lock", "WoLock", Service, lock;
    Kind(b'-'), "Lock Lite", "Lock Lite", Service, lock;
    Kind(b'$'), "Lock Pro", "WoLockPro", Maker(9), lock_pro;
    Code(0x10ff90), "Lock Pro Wifi", "Lock Pro Wifi", Maker(9), lock_pro;
    Code(0x10a5b8), "Lock Ultra", "Lock Ultra", Maker(9), lock_pro;
    Code(0x116909), "Lock Vision Pro", "Lock Vision Pro", Maker(9), lock_pro;
    Code(0x116908), "Lock Vision", "Lock Vision", Service, nothing;
    Kind(b'y'), "Keypad", "WoKeypad", Service, nothing;
    Code(0x110378), "Keypad Vision", "Keypad Vision", Maker(7), battery_and_charging;
    Code(0x115198), "Keypad Vision Pro", "Keypad Vision Pro", Maker(7), battery_and_charging;
    Kind(b'b'), "Remote", "WoRemote", Service, nothing;
    // Switches.
    Kind(b';'), "Relay Switch 1", "Relay Switch 1", Battery::None, relay;
    Kind(b'<'), "Relay Switch 1PM", "Relay Switch 1PM", Battery::None, relay_with_power;
    Kind(b'='), "Relay Switch 2PM", "Relay Switch 2PM", Battery::None, relay2;
    Kind(b'?'), "Plug Mini (EU)", "Plug Mini (EU)", Battery::None, relay_with_power;
    Kind(b'>'), "Garage Door Opener", "Garage Door Opener", Battery::None, relay;
    // Lamps.
    Kind(b'u'), "Color Bulb", "WoBulb", Battery::None, lamp;
    Kind(b'r'), "Light Strip", "WoStrip", Battery::None, lamp;
    Kind(b'q'), "Ceiling Light", "WoCeiling", Battery::None, lamp;
    Code(0x10d0b0), "Floor Lamp", "Floor Lamp", Battery::None, lamp;
    Code(0x10d0b1), "Strip Light 3", "Strip Light 3", Battery::None, lamp;
    Code(0x10d0b3), "RGBICWW Strip Light", "RGBICWW Strip Light", Battery::None, lamp;
    Code(0x10d0b4), "RGBICWW Floor Lamp", "RGBICWW Floor Lamp", Battery::None, lamp;
    Code(0x10d0b5), "RGBIC Neon Wire Rope Light", "RGBIC Neon Wire Rope Light", Battery::None, lamp;
    Code(0x10d0b6), "RGBIC Neon Rope Light", "RGBIC Neon Rope Light", Battery::None, lamp;
    Code(0x10d0b7), "Permanent Outdoor Light", "Permanent Outdoor Light", Battery::None, lamp;
    Code(0x11bb10), "RGBICWW Ceiling Light", "RGBICWW Ceiling Light", Battery::None, lamp;
    Code(0x1122b8), "Candle Warmer Lamp", "Candle Warmer Lamp", Battery::None, lamp;
    // Machines.
    Kind(b'~'), "Circulator Fan", "Circulator Fan", Maker(8), on_off;
    Code(0x110760), "Standing Fan", "Standing Fan", Maker(8), on_off;
    Kind(b'*'), "Air Purifier US", "Air Purifier US", Battery::None, on_off;
    Kind(b'+'), "Air Purifier JP", "Air Purifier JP", Battery::None, on_off;
    Kind(b'7'), "Air Purifier Table US", "Air Purifier Table US", Battery::None, on_off;
    Kind(b'8'), "Air Purifier Table JP", "Air Purifier Table JP", Battery::None, on_off;
    Kind(b'.'), "K20 Vacuum", "K20 Vacuum", Maker(12), vacuum;
    Kind(b'z'), "S10 Vacuum", "S10 Vacuum", Maker(12), vacuum;
    Kind(b'3'), "K10+ Pro Combo Vacuum", "K10+ Pro Combo Vacuum", Maker(12), vacuum;
    Code(0x10fba8), "K11+ Vacuum", "K11+ Vacuum", Maker(12), vacuum;
    Code(0x10e050), "S20 Vacuum", "S20 Vacuum", Maker(12), vacuum;
    Kind(b'('), "K10+ Pro Vacuum", "K10+ Pro Vacuum", Maker(8), nothing;
    Kind(b'}'), "K10+ Vacuum", "K10+ Vacuum", Maker(8), nothing;
    Code(0x113e10), "Art Frame", "Art Frame", Maker(7), battery_and_charging;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_and_code_is_there_once() {
        for (place, model) in MODELS.iter().enumerate() {
            assert!(MODELS.iter().skip(place + 1).all(|other| other.id != model.id), "{}", model.name);
        }
    }

    #[test]
    fn codes_are_found_wherever_they_stand() {
        let name = |service: &[u8]| of_service(service).map(|model| model.name);
        assert_eq!(name(&[0, 0, 0x64, 0x00, 0x10, 0xb9, 0x40]), Some("Hub3"));
        assert_eq!(name(&[0, 0, 0x37, 0x01, 0x11, 0x3e, 0x10]), Some("Art Frame"));
        assert_eq!(name(&[0, 0x20, 0x5f, 0x00, 0x10, 0xf3, 0xd8, 0x40]), Some("Climate Panel"));
        assert_eq!(name(&[0, 0, 0x50, 6, 0x9a, 0x23, 0x00, 0x10, 0x53, 0xb0]), Some("Weather Station"));
        assert_eq!(name(&[0, 0x01]), None);
        assert_eq!(name(b"T"), Some("Meter"));
    }
}
