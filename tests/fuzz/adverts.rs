//! The fuzz target for everything that takes an advertisement apart. Arbitrary bytes come in as data of
//! services and companies, names, models and keys; nothing may panic, and no value may be what a
//! reading cannot hold.
//!
//! The readers are those of the crate this is compiled into.

use crate::advert::{self, Address, Advert, Key, Known, Outcome, Uuid};
use wharf_contract::Value;

/// What the formats go by.
const SERVICES: &[u16] = &[
    0xfcd2, 0x181c, 0x181e, 0x181a, 0xfe95, 0xfeaa, 0xfd3d, 0x0d00, 0xfdcd, 0x181b, 0x181d, 0xfe50, 0xfff0, 0x5550,
    0xfee5, 0xef90,
];
const COMPANIES: &[u16] = &[
    0x0499, 0x004c, 0x0118, 0xec88, 0x0001, 0x8801, 0xef88, 0x0969, 0x2449, 0x0059, 0x0333, 0x0010, 0x0011, 0x001b,
    0x07fc, 0xf1c2, 0xe904, 0x8900,
];
const NAMES: &[&str] = &["", "sps", "tps", "GVH5106", "GVH5178", "GV5179", "iBBQ", "TP357 (A1B2)", "xBBQ", "B5178", "Ruuvi"];

/// Tries one input: the first bytes choose what carries the rest.
pub fn run(input: &[u8]) {
    let Some((&[kind, id, name, key, cut], rest)) = input.split_first_chunk() else { return };
    let pick = |from: &[u16], at: u8| from[usize::from(at) % from.len()];
    let mut advert = Advert::new(Address([0xa4, 0xc1, 0x38, key, name, id]));
    advert.name = Some(NAMES[usize::from(name) % NAMES.len()].to_owned());
    advert.services = vec![Uuid::short(pick(SERVICES, name))];
    let (front, back) = rest.split_at(usize::from(cut).min(rest.len()));
    if kind & 1 != 0 {
        advert.service_data.insert(Uuid::short(pick(SERVICES, id)), front.to_vec());
    }
    if kind & 2 != 0 {
        // Some put readings where the company's id belongs.
        let free = u16::from_le_bytes([id, name]);
        let company = if kind & 4 != 0 { free } else { pick(COMPANIES, id) };
        advert.manufacturer_data.insert(company, if kind & 1 != 0 { back } else { front }.to_vec());
    }
    let keys = [None, "231d39c1d7cc1ab1aee224cd096db932".parse().ok(), "b853075158487ca39a5b5ea9".parse().ok()];
    let key: Option<&Key> = keys[usize::from(key) % keys.len()].as_ref();
    let model = (kind & 8 != 0).then(|| NAMES[usize::from(id) % NAMES.len()]);
    if let Outcome::Heard(frame) = advert::read(&advert, &Known { key, model, ..Known::default() }) {
        for datum in frame.values {
            assert!(!datum.point.is_empty());
            if let Ok(Value::Float(number)) = datum.value {
                assert!(number.is_finite(), "{}", datum.point);
            }
        }
    }
}
