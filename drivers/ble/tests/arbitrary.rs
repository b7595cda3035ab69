//! Whatever is on the air, reading it neither panics nor gives values that cannot be.
//!
//! Anybody may send anything. So the recorded advertisements are cut, stretched, flipped and filled
//! with noise, thousands of times, always in the same way.

#![expect(clippy::unwrap_used, reason = "everything here is a test")]

#[path = "vectors/rows.rs"]
mod rows;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use wharf_ble::advert::{self, Advert, Key, Known, Outcome, Uuid};
use wharf_ble::known::Memory;
use wharf_contract::Value;

const CASES: u32 = 20_000;

/// Service or company, data, key.
type More = (Option<u16>, Option<u16>, &'static str, Option<&'static str>);

/// Beside the recorded ones: formats nobody has recorded.
const MORE: &[More] = &[
    (Some(0x181a), None, "aabbccddeeff00a22f5f0bf819", None),
    (Some(0x181a), None, "ffeeddccbbaaa9066911b60b58f70d", None),
    (Some(0x181a), None, "11d603fbfa7b6dfb1e26fd", Some("b9ea895fac7eea6d30532432a516f3a3")),
    (Some(0xfeaa), None, "00ee8b0ca750095477cb3e770011223344550000", None),
    (Some(0xfeaa), None, "10ee02676f6f676c6507", None),
    (Some(0xfeaa), None, "20000bb817800000012c00000e10", None),
    (Some(0xfeaa), None, "30ee0011223344556677", None),
    (None, Some(0x004c), "0215a495bb10c5b14b44b5121370f02d74de004403f8c5", None),
    (None, Some(0x0118), "beac00112233445566778899aabbccddeeff00010002c500", None),
    (None, Some(0x0499), "c512fc5394c37cac364200cdcbb8334c884f", None),
];

/// What is done to an advertisement.
#[derive(Clone, Debug)]
enum Change {
    /// One byte becomes another.
    Flip(Index, u8),
    /// What is behind is cut off.
    Cut(Index),
    /// Something is glued behind.
    Glue(Vec<u8>),
    /// A byte is gone, and the rest moves up.
    Drop(Index),
    /// Nothing is as it was but its length.
    Noise(Vec<u8>),
    /// The name is lost.
    Nameless,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Flip(at, byte)),
        2 => any::<Index>().prop_map(Change::Cut),
        1 => prop::collection::vec(any::<u8>(), 1..30).prop_map(Change::Glue),
        1 => any::<Index>().prop_map(Change::Drop),
        1 => prop::collection::vec(any::<u8>(), 64).prop_map(Change::Noise),
        1 => Just(Change::Nameless),
    ]
}

impl Change {
    fn apply(&self, advert: &mut Advert) {
        let data = advert.service_data.values_mut().chain(advert.manufacturer_data.values_mut());
        for bytes in data.filter(|bytes| !bytes.is_empty()) {
            let length = bytes.len();
            match self {
                Self::Flip(at, byte) => bytes[at.index(length)] = *byte,
                Self::Cut(at) => bytes.truncate(at.index(length)),
                Self::Glue(more) => bytes.extend(more),
                Self::Drop(at) => drop(bytes.remove(at.index(length))),
                Self::Noise(noise) => bytes.iter_mut().zip(noise).for_each(|(byte, noise)| *byte = *noise),
                Self::Nameless => {}
            }
        }
        if let Self::Nameless = self {
            advert.name = None;
        }
    }
}

/// Recorded advertisements with their keys: a group for each family, and one for each of [`MORE`], so
/// that those with few are tried as often as those with many.
fn recorded() -> Vec<Vec<(Advert, Option<Key>)>> {
    let families = rows::families().into_iter().map(|(_, rows)| {
        let rows = rows.iter().map(|row| {
            let key = row["bindkey"].as_str().map(|text| text.parse().unwrap());
            (rows::advert_of(row, &mut BTreeMap::new()), key)
        });
        rows.collect()
    });
    let more = MORE.iter().map(|(service, company, data, key)| {
        let mut advert = Advert::new("AA:BB:CC:DD:EE:FF".parse().unwrap());
        let data = rows::hex(&(*data).into());
        match (service, company) {
            (Some(service), _) => advert.service_data.insert(Uuid::short(*service), data),
            (None, company) => advert.manufacturer_data.insert(company.unwrap(), data),
        };
        vec![(advert, key.map(|text| text.parse().unwrap()))]
    });
    families.chain(more).collect()
}

/// The same cases each time, so that what fails once fails again.
fn runner() -> TestRunner {
    let config = ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

#[test]
fn nothing_on_the_air_can_stop_the_reader() {
    let recorded = recorded();
    let one = (any::<[Index; 2]>(), prop::collection::vec(change(), 0..4), any::<bool>());
    let checked = runner().run(&one, |(which, changes, has_key)| {
        let (mut advert, key) = pick(&recorded, &which).clone();
        changes.iter().for_each(|change| change.apply(&mut advert));
        let known = Known { key: key.as_ref().filter(|_| has_key), ..Known::default() };
        let outcome = advert::read(&advert, &known);
        prop_assert_eq!(&outcome, &advert::read(&advert, &known), "it remembers something");
        if let Outcome::Heard(frame) = &outcome {
            for datum in &frame.values {
                // It becomes a level of a topic.
                let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
                prop_assert!(!datum.point.is_empty() && datum.point.bytes().all(is_name), "{:?}", datum);
                if let Ok(Value::Float(number)) = datum.value {
                    prop_assert!(number.is_finite(), "{:?}", datum);
                }
            }
        }
        Ok(())
    });
    checked.unwrap();
    // One memory hears them all, as if one device had said so.
    let (mut memory, mut now) = (Memory::default(), Instant::now());
    for (advert, key) in recorded.iter().flatten() {
        now += Duration::from_millis(700);
        let known = Known { key: key.as_ref(), ..Known::default() };
        memory.judge(advert::read(advert, &known), key.is_some(), now);
    }
}

#[test]
fn noise_behind_a_true_beginning_is_read_or_refused() {
    let recorded = recorded();
    let one = (any::<[Index; 2]>(), 0..6_usize, prop::collection::vec(any::<u8>(), 0..40));
    let checked = runner().run(&one, |(which, kept, noise)| {
        let (mut advert, _) = pick(&recorded, &which).clone();
        for bytes in advert.service_data.values_mut().chain(advert.manufacturer_data.values_mut()) {
            bytes.truncate(kept);
            bytes.extend(&noise);
        }
        let _ = advert::read(&advert, &Known::default());
        Ok(())
    });
    checked.unwrap();
}

fn pick<'a, T>(groups: &'a [Vec<T>], [group, one]: &[Index; 2]) -> &'a T {
    let group = &groups[group.index(groups.len())];
    &group[one.index(group.len())]
}
