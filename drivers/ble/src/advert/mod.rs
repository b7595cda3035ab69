//! What sensors broadcast, and what it says.
//!
//! An [`Advert`] is what a radio has heard; a *format* is what the makers of a sensor have agreed on.
//! Each format has a file of its own with one function that looks at an advertisement and gives an
//! [`Outcome`]. These are pure: they know no clock and remember nothing. What has to be remembered
//! from one advertisement to the next (which model an address is, which counters were seen) comes in
//! by [`Known`] and is kept by those who call.
//!
//! A format never guesses. What it cannot read it refuses with a [`Refusal`], which is told to
//! people in words; a value that the sensor itself calls missing is [`Absent`], and so is one that
//! cannot be.

mod address;
mod atc;
mod block;
mod bluemaestro;
mod bthome;
mod bytes;
mod crypto;
mod datum;
pub mod described;
mod eddystone;
mod govee;
mod hhcc;
mod ibeacon;
mod inkbird;
mod mibeacon;
mod miscale;
mod mopeka;
mod plausible;
mod qingping;
pub(crate) mod ruuvi;
mod sensorpush;
mod switchbot;
#[cfg(test)]
mod testing;
mod thermobeacon;
mod thermopro;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::iter;

pub use address::{Address, NoAddress, NoUuid, Uuid};
pub use crypto::{Key, NoKey};
pub use datum::{Absent, Datum, Kind, Quantity, quantity};
pub use described::{Description, Descriptions};
pub use mopeka::Medium;

/// One advertisement, with its scan response if there was one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advert {
    /// Who sent it.
    pub address: Address,
    /// The local name, where it was heard. It may be cut off, garbled or from an earlier time.
    pub name: Option<String>,
    /// How strong it was heard, in dBm.
    pub rssi: Option<i16>,
    /// The services it claims to have.
    pub services: Vec<Uuid>,
    /// Data by service.
    pub service_data: BTreeMap<Uuid, Vec<u8>>,
    /// Data by company, without the company's id. Only what this advertisement carried: what a daemon
    /// has gathered from earlier ones has been taken out.
    pub manufacturer_data: BTreeMap<u16, Vec<u8>>,
}

impl Advert {
    /// An advertisement that carries nothing.
    pub fn new(address: Address) -> Self {
        Self {
            address,
            name: None,
            rssi: None,
            services: Vec::new(),
            service_data: BTreeMap::new(),
            manufacturer_data: BTreeMap::new(),
        }
    }

    /// The data of a service with a short UUID.
    pub fn service(&self, short: u16) -> Option<&[u8]> {
        self.service_data.get(&Uuid::short(short)).map(Vec::as_slice)
    }

    /// The data of a company.
    pub fn company(&self, id: u16) -> Option<&[u8]> {
        self.manufacturer_data.get(&id).map(Vec::as_slice)
    }

    /// The manufacturer data as it was on the air, company id first, if there is exactly one: for the
    /// sensors that put readings where the id belongs.
    pub fn only_manufacturer_block(&self) -> Option<Vec<u8>> {
        let mut entries = self.manufacturer_data.iter();
        let (id, data) = entries.next()?;
        entries.next().is_none().then(|| [&id.to_le_bytes()[..], data].concat())
    }

    /// Whether it claims to have a service with a short UUID.
    pub fn has_service(&self, short: u16) -> bool {
        self.services.contains(&Uuid::short(short))
    }

    /// The local name, or an empty one.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }
}

/// What is known of a device beside this advertisement.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// Its key, if the site file has one.
    pub key: Option<&'a Key>,
    /// Its model, if it was told before or stands in the site file.
    pub model: Option<&'a str>,
    /// What is in its tank, if it stands in the site file.
    pub medium: Option<Medium>,
    /// Whether its values are let through although no sensor can have measured them.
    pub unlimited: bool,
}

/// What a format makes of an advertisement.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Of another format.
    NotMine,
    /// Of this format, and not to be used.
    Refused(Refusal),
    /// Read.
    Heard(Frame),
}

/// What an advertisement says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Frame {
    /// The format's name, as people write it: `BTHome v2`.
    pub format: &'static str,
    /// The model, if the advertisement tells it.
    pub model: Option<Cow<'static, str>>,
    /// The firmware's version, if it tells that.
    pub firmware: Option<String>,
    /// The values. None in a frame that says only that the device is there.
    pub values: Vec<Datum>,
    /// What repetitions are known by.
    pub sequence: Option<Sequence>,
    /// Whether the device speaks only when something happens, so that silence means nothing.
    pub on_event_only: bool,
    /// Whether a key has opened it.
    pub encrypted: bool,
    /// What was there and could not be read: kinds of values the format does not know yet.
    pub unread: Vec<String>,
}

/// What tells one frame from a repetition of the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequence {
    /// Counts frames or measurements and begins again at 0 after as many bits.
    Frame {
        /// The number.
        number: u32,
        /// How many bits it has.
        bits: u8,
    },
    /// The counter an encryption is fresh by: one that goes back is a replay, unless the device has
    /// begun anew.
    Encryption(u32),
}

/// The name of the reason that something cannot be, be it a whole advertisement or one of its values.
pub(crate) const IMPLAUSIBLE: &str = "implausible";

/// Why an advertisement of a known format is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Shorter than the format says.
    #[error("cut off: {have} bytes, and {need} are needed")]
    Truncated {
        /// Bytes there are.
        have: usize,
        /// Bytes there would have to be, at least.
        need: usize,
    },
    /// Encrypted, and the site file has no key.
    #[error("encrypted, and there is no key for it in the site file")]
    NoKey,
    /// The key does not open it.
    #[error("the key does not open it: wrong key, or damaged on the way")]
    WrongKey,
    /// Plain although the site file has a key: anybody could have sent it.
    #[error("not encrypted although there is a key for it in the site file; remove the key if that is meant")]
    NotEncrypted,
    /// A counter that had been seen before: sent again by somebody else, or by a device that began anew.
    #[error("replayed: its counter {counter} is behind {last}")]
    Replayed {
        /// The counter of this one.
        counter: u32,
        /// The highest that was seen.
        last: u32,
    },
    /// Its checksum is wrong.
    #[error("damaged: the checksum does not fit")]
    Checksum,
    /// A version or kind that this format's reader does not know, in words.
    #[error("{0}")]
    Unknown(String),
    /// What stands in it contradicts itself or cannot be, in words.
    #[error("implausible: {0}")]
    Implausible(String),
}

impl Refusal {
    /// The reason's name, for what a machine reads.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Truncated { .. } => "truncated",
            Self::NoKey => "no_key",
            Self::WrongKey => "wrong_key",
            Self::NotEncrypted => "not_encrypted",
            Self::Replayed { .. } => "replayed",
            Self::Checksum => "checksum",
            Self::Unknown(_) => "unknown",
            Self::Implausible(_) => IMPLAUSIBLE,
        }
    }
}

impl Outcome {
    /// Refused because there are fewer bytes than needed.
    pub fn truncated(have: usize, need: usize) -> Self {
        Self::Refused(Refusal::Truncated { have, need })
    }
}

/// A reader of one format.
#[derive(Clone, Copy)]
pub struct Format {
    /// Its name, as people write it.
    pub name: &'static str,
    /// Whether its values are heard only while the adapter asks for scan responses.
    pub needs_active_scan: bool,
    /// Looks at an advertisement.
    pub read: fn(&Advert, &Known<'_>) -> Outcome,
}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// All formats, in the order they are asked: those that are told apart by an id of their own first,
/// those that go by lengths and names last.
pub const FORMATS: &[Format] = &[
    // Open formats; a thermometer with a firmware of its own may send several of them.
    bthome::FORMAT,
    bthome::FORMAT_V1,
    atc::FORMAT_PVVX,
    atc::FORMAT,
    ruuvi::FORMAT,
    mibeacon::FORMAT,
    hhcc::FORMAT,
    // Makers with a company or service of their own.
    bluemaestro::FORMAT,
    govee::FORMAT,
    miscale::FORMAT,
    mopeka::FORMAT,
    qingping::FORMAT,
    switchbot::FORMAT,
    // Told apart by services, names, lengths and checksums.
    inkbird::FORMAT,
    sensorpush::FORMAT,
    thermobeacon::FORMAT,
    thermopro::FORMAT,
    // Beacons come last: many sensors send one beside their readings.
    eddystone::FORMAT,
    ibeacon::FORMAT,
    ibeacon::FORMAT_ALT,
];

/// Formats that many sensors send beside their readings. Sensors that are described by data come before
/// them.
const BEACONS: [&str; 3] = [eddystone::FORMAT.name, ibeacon::FORMAT.name, ibeacon::FORMAT_ALT.name];

/// Whether sensors of this model, or all of this format, are heard in full only while the adapter asks for
/// scan responses.
pub fn needs_active_scan(model: &str) -> bool {
    let is_format = FORMATS.iter().any(|format| format.needs_active_scan && format.name == model);
    is_format || govee::is_model(model) || switchbot::is_model(model)
}

/// What the first format that knows the advertisement makes of it.
pub fn read(advert: &Advert, known: &Known<'_>) -> Outcome {
    read_with(advert, known, &Descriptions::default())
}

/// The same, with further sensors that are described by data. The built-in formats of sensors go
/// before them, unless the device is known to be of a described model.
pub fn read_with(advert: &Advert, known: &Known<'_>, described: &Descriptions) -> Outcome {
    let ask = |beacons| {
        let formats = FORMATS.iter().filter(move |format| BEACONS.contains(&format.name) == beacons);
        formats.map(|format| (format.read)(advert, known))
    };
    let named = iter::once_with(|| described.read_named(advert, known));
    let others = iter::once_with(|| described.read(advert, known));
    let mut refused = Outcome::NotMine;
    for outcome in named.chain(ask(false)).chain(others).chain(ask(true)) {
        match outcome {
            Outcome::NotMine => {}
            // Readings that were refused are what somebody should know of, not the beacon beside them.
            Outcome::Heard(frame) if refused != Outcome::NotMine && BEACONS.contains(&frame.format) => {}
            // Another format may read what this one refuses: firmwares send several side by side.
            Outcome::Refused(_) if refused == Outcome::NotMine => refused = outcome,
            Outcome::Refused(_) => {}
            Outcome::Heard(mut frame) => {
                if !known.unlimited {
                    frame.values.iter_mut().for_each(plausible::check);
                }
                return Outcome::Heard(frame);
            }
        }
    }
    refused
}
