//! The part of the site file that describes one Bluetooth adapter.
//!
//! Only what stands here becomes a device: by its address, or by its model where the site adopts
//! sensors. Whatever else is on the air is for `wharf scan ble` alone.

mod address;
mod check;
pub mod description;
mod gatt;
mod pair;
mod template;
mod value_type;

use std::time::Duration;

use wharf_contract::settings::{Name, Named, Names, OneOrMany, Period, Ranged, RawNumber, WriteSettings};
use wharf_contract::{setting_enum, settings};

pub use crate::advert::Medium;
pub use address::{Adapter, BindKey, Mac};
pub use description::{Described, DescriptionSettings};
pub use gatt::{AttributeId, ByteOrder, Connect, Profile};
pub use pair::{Pairing, Passkey};
pub use template::NameTemplate;
pub use value_type::ValueType;

/// How long an unchanged value is not told again, unless the site file says otherwise.
pub const USUAL_HEARTBEAT: Duration = Duration::from_secs(600);

settings! {
    /// One Bluetooth adapter, and the sensors it listens to.
    pub struct LinkSettings {
        /// The adapter: hci0, or its own address, which stays the same whatever it is plugged into.
        /// Without it: the first one there is.
        adapter: Option<Adapter> = None,
        /// How it listens. Some sensors, many of Govee's and SwitchBot's among them, are heard in full
        /// only if it is active.
        scan: Scan = Scan::Active,
        /// What becomes of what devices of the site file send and no format reads.
        unknown: Unknown = Unknown::Ignore,
        /// How many devices may be connected at once. Adapters hold seven or so, and while one is being
        /// connected to, nothing is heard.
        connections: Ranged<u8, 1, 16> = Ranged::new(3),
        /// The sensors, by the names they are to have.
        devices: Named<DeviceSettings> = Named::none(),
        /// Sensors that become devices when they are heard, without being listed.
        adopt: Vec<AdoptSettings> = Vec::new(),
        /// Further kinds of sensors: how they are recognised, and what their bytes mean. `wharf profiles`
        /// lists those that are known without it; one in a file of its own is profiles/ble/NAME.yaml
        /// beside the site file.
        descriptions: Named<Described> = Named::none(),
    }
    check: check::link;
}

setting_enum! {
    /// How an adapter listens.
    pub enum Scan {
        /// It asks every sensor for the rest of what it has to say.
        Active = "active",
        /// It says nothing itself. Where bluetoothd allows it: `wharf doctor` tells.
        Passive = "passive",
    }
}

setting_enum! {
    /// What becomes of bytes that no format reads.
    pub enum Unknown {
        /// Nothing; `wharf scan ble` shows them.
        Ignore = "ignore",
        /// They are published as text in hexadecimal, as points such as service_fcd2 and company_0499.
        Publish = "publish",
    }
}

setting_enum! {
    /// What becomes of values that no sensor can have measured.
    pub enum Implausible {
        /// They are told as bad, with what is wrong with them.
        Refuse = "refuse",
        /// They are published as they are. What a format itself takes for no value stays none.
        Publish = "publish",
    }
}

settings! {
    /// One sensor.
    pub struct DeviceSettings {
        /// Its address, as `wharf scan ble` and most labels show it: A4:C1:38:56:53:84.
        mac: Mac,
        /// The key it encrypts with (bind key): ${file:name}, ${env:NAME}, or 32 hexadecimal digits.
        /// With a key, nothing is believed that is not encrypted.
        key: Option<BindKey> = None,
        /// Its model, for sensors that do not always say it: as `wharf scan ble` shows it.
        model: Option<String> = None,
        /// How long a value that has not changed is not told again. What a sensor counts, measurement
        /// by measurement, is told each time.
        heartbeat: Period<1_000, 604_800_000> = Period::secs(600),
        /// The least time between two readings of one number; of what comes in between the last is
        /// told. On, off and events are always told at once. Without it: everything is told.
        every: Option<Period<100, 86_400_000>> = None,
        /// How long it may be silent before it counts as gone. Without it: several times as long as it
        /// usually is.
        quiet_after: Option<Period<1_000, 2_592_000_000>> = None,
        /// What is in the tank, of a Mopeka sensor, whose level rests on how fast sound runs in it. Without
        /// it: what the model is made for, which is propane or, looking down from the top, air.
        medium: Option<Medium> = None,
        /// What becomes of values that no sensor can have measured, such as a humidity of 127 %: for
        /// sensors whose maker uses them for something else.
        implausible: Implausible = Implausible::Refuse,
        /// Standard services that are read over a connection.
        gatt: Option<OneOrMany<Profile>> = None,
        /// How long it stays connected, if it is connected to at all. Without it: all the time if it tells
        /// something by itself or something is read more often than once a minute.
        connect: Option<Connect> = None,
        /// How it is paired with before it is connected to, if it has to be: with the six digits of its
        /// passkey, as 012345, ${file:name} or ${env:NAME}; or just-works, if it has none. Without this it
        /// is not paired with.
        pair: Option<Pairing> = None,
        /// What is to be done to its values, by the names they have: temperature, humidity, battery.
        /// Those that are not listed are told as they are. And what is read over a connection: points
        /// with a `characteristic`, called as you like.
        points: Named<PointSettings> = Named::none(),
    }
    check: check::device;
}

settings! {
    /// What is to be done to one value; or a value that is read over a connection.
    pub struct PointSettings {
        /// Another name for it.
        name: Option<Name> = None,
        /// The characteristic it stands in, by its UUID: 2a6e. The device is connected to.
        characteristic: Option<AttributeId> = None,
        /// Of a characteristic: the service it belongs to, where there is one in several.
        service: Option<AttributeId> = None,
        /// What stands in the characteristic. Those of the standard's that are known need none.
        r#type: Option<ValueType> = None,
        /// The byte of the characteristic it begins at, counted from 0.
        at: Option<Ranged<u16, 0, 511>> = None,
        /// One bit of it, as a `bool`; 0 is the least significant. Of a byte, if no type is said.
        bit: Option<Ranged<u8, 0, 63>> = None,
        /// The order of the bytes of a number in a characteristic: `little` unless said.
        order: Option<ByteOrder> = None,
        /// The length of a `string`, in bytes, where it does not go to the end.
        length: Option<Ranged<u16, 1, 512>> = None,
        /// What it is multiplied by.
        scale: Option<f64> = None,
        /// What is added after that, in its own unit: for a thermometer that is off by a little.
        offset: Option<f64> = None,
        /// How many decimals it is rounded to.
        precision: Option<Ranged<u8, 0, 9>> = None,
        /// Another unit, where `scale` makes it one. Of a characteristic: its unit.
        unit: Option<String> = None,
        /// What stands in a characteristic when there is no value: the number before scaling, or in
        /// hexadecimal the bits.
        invalid: Option<OneOrMany<RawNumber>> = None,
        /// What the numbers in a characteristic mean, such as {0: off, 1: on}. The value becomes the name.
        names: Option<Names<{ i64::MIN }, { i64::MAX }>> = None,
        /// What the bits in a characteristic mean, such as {0: overload, 3: door}. The value becomes the
        /// list of the names of those that are set.
        flags: Option<Names<0, 63>> = None,
        /// The least time between two readings of it. Of a characteristic: how often it is read, once a
        /// minute unless said.
        every: Option<Period<100, 86_400_000>> = None,
        /// Whether the device is asked to tell of a characteristic by itself. Then it is read only once,
        /// unless `every` is there as well.
        notify: bool = false,
        /// Opens a characteristic for commands. Without this it is never written.
        write: Option<WriteSettings> = None,
        /// It is not told at all.
        drop: bool = false,
    }
    at_most_one_of: [names, flags];
    check: check::point;
}

settings! {
    /// Which sensors become devices by themselves, and what they are called.
    pub struct AdoptSettings {
        /// Which ones: by the model, the format or the name on the air, as `wharf scan ble` shows them.
        /// `*` stands for any run of characters.
        model: String,
        /// How well they have to be heard at first, in dBm: those of the neighbours are weaker.
        rssi: Option<Ranged<i16, -127, 20>> = None,
        /// What they are called: a name with {address}, or with {short} for the last half of it, and
        /// perhaps {model}.
        name: NameTemplate = NameTemplate::usual(),
        /// How many there may be; whoever comes later is not adopted.
        most: Ranged<u16, 1, 1_000> = Ranged::new(20),
        /// As of a device.
        heartbeat: Period<1_000, 604_800_000> = Period::secs(600),
        /// As of a device.
        every: Option<Period<100, 86_400_000>> = None,
        /// As of a device.
        quiet_after: Option<Period<1_000, 2_592_000_000>> = None,
    }
    check: check::adopt;
}

#[cfg(test)]
pub(crate) mod tests;
