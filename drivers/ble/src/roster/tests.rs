//! Who becomes a device, and who stays one.

use super::*;
use crate::advert::Uuid;
use crate::config::tests::device;
use crate::config::{BindKey, DeviceSettings, NameTemplate, Scan};
use wharf_contract::settings::{Period, Ranged};

/// 25.06 °C and 50.55 %, in BTHome v2.
const WARM: &str = "4002ca0903bf13";

fn advert(address: &str, payload: &str, rssi: i16) -> Advert {
    let bytes = (0..payload.len()).step_by(2).map(|at| u8::from_str_radix(&payload[at..at + 2], 16).unwrap());
    let mut advert = Advert::new(address.parse().unwrap());
    advert.rssi = Some(rssi);
    advert.service_data.insert(Uuid::short(0xfcd2), bytes.collect());
    advert
}

fn nth(n: u8) -> String {
    format!("A4:C1:38:00:00:{n:02X}")
}

fn adopting(model: &str, rssi: Option<i16>, name: &str, most: u16) -> LinkSettings {
    let rule = AdoptSettings {
        model: model.into(),
        rssi: rssi.map(Ranged::new),
        name: NameTemplate::parse(name).unwrap(),
        most: Ranged::new(most),
        heartbeat: Period::secs(600),
        every: None,
        quiet_after: None,
    };
    LinkSettings { adopt: vec![rule], ..LinkSettings::default() }
}

fn listed(address: &str, key: Option<&str>) -> DeviceSettings {
    DeviceSettings { key: key.map(|key| BindKey(key.parse().unwrap())), ..device(address) }
}

/// The name of the device that hears this, if any does.
fn hear(roster: &mut Roster, advert: &Advert) -> Option<String> {
    let mut events = Vec::new();
    let Hearing { device, .. } = roster.hear(advert, None, SystemTime::UNIX_EPOCH, Instant::now(), &mut events);
    device.map(|device| device.to_string())
}

#[test]
fn a_stranger_is_never_a_device_by_itself() {
    let settings = LinkSettings { scan: Scan::Passive, ..LinkSettings::default() };
    let mut roster = Roster::new(&settings);
    assert_eq!(hear(&mut roster, &advert(&nth(1), WARM, -40)), None);
    assert!(roster.is_empty());
}

#[test]
fn a_sensor_that_fits_is_adopted_under_the_same_name_everywhere() {
    for pattern in ["bthome*", "*v2", "BTHome v2", "*"] {
        let mut roster = Roster::new(&adopting(pattern, Some(-80), "th-{address}", 20));
        assert_eq!(hear(&mut roster, &advert(&nth(1), WARM, -81)), None, "too weak");
        assert_eq!(hear(&mut roster, &advert(&nth(1), WARM, -80)).as_deref(), Some("th-a4c138000001"), "{pattern}");
        assert_eq!(
            hear(&mut roster, &advert(&nth(1), WARM, -99)).as_deref(),
            Some("th-a4c138000001"),
            "once and for all"
        );
    }
    let mut roster = Roster::new(&adopting("ruuvi*", None, "th-{address}", 20));
    assert_eq!(hear(&mut roster, &advert(&nth(1), WARM, -40)), None);
}

#[test]
fn no_more_are_adopted_than_may_be() {
    let mut roster = Roster::new(&adopting("*", None, "th-{address}", 3));
    for n in 0..=255 {
        hear(&mut roster, &advert(&nth(n), WARM, -40));
    }
    assert_eq!(roster.len(), 3);
    assert_eq!(hear(&mut roster, &advert(&nth(2), WARM, -40)).as_deref(), Some("th-a4c138000002"));
}

#[test]
fn the_adopted_are_known_again_after_a_restart_and_those_of_another_rule_are_not() {
    let settings = adopting("*", None, "{model}-{short}", 3);
    let mut before = Roster::new(&settings);
    hear(&mut before, &advert(&nth(7), WARM, -40));
    let kept = before.take_news().unwrap();
    assert_eq!(before.take_news(), None, "nothing new since");

    let mut after = Roster::new(&settings);
    after.recall(kept.clone());
    assert_eq!(after.take_news(), None, "that is kept already");
    assert_eq!(after.catalogue()[0].device.as_str(), "bthome-v2-000007");
    let mut other = Roster::new(&adopting("*", None, "th-{address}", 3));
    other.recall(kept);
    assert!(other.is_empty());
}

#[test]
fn nothing_is_adopted_by_the_name_of_another_device() {
    let mut settings = adopting("*", None, "th-{short}", 20);
    let mut roster = Roster::new(&settings);
    assert_eq!(hear(&mut roster, &advert("A4:C1:38:00:00:01", WARM, -40)).as_deref(), Some("th-000001"));
    assert_eq!(hear(&mut roster, &advert("A4:C1:39:00:00:01", WARM, -40)), None);
    settings.adopt.clear();
    assert!(Roster::new(&settings).is_empty());
}

/// A device of the site file, and its key.
const FRIDGE: &str = "54:48:E6:8F:80:A5";
const KEY: &str = "231d39c1d7cc1ab1aee224cd096db932";

fn with_fridge() -> Roster {
    let mut roster = Roster::new(&LinkSettings::default());
    let settings = listed(FRIDGE, Some(KEY));
    let device = Device::listed("fridge".into(), &settings);
    let key = settings.key.map(|key| key.0);
    let past = known::Memory::default();
    let fridge =
        Member { device, key, medium: None, unlimited: false, listed_model: None, model: None, rule: None, past };
    roster.devices.insert(FRIDGE.parse().unwrap(), fridge);
    roster
}

/// 25.06 °C, sealed under a counter. `on_event_only`: with the flag of those that sleep.
fn sealed(counter: u32, on_event_only: bool) -> Advert {
    use ccm::KeyInit as _;
    use ccm::aead::generic_array::typenum::{U4, U13};
    let (info, counter) = (if on_event_only { 0x45 } else { 0x41 }, counter.to_le_bytes());
    let address: Address = FRIDGE.parse().unwrap();
    let nonce = [&address.0[..], &[0xd2, 0xfc, info], &counter].concat();
    let cipher = ccm::Ccm::<aes::Aes128, U4, U13>::new_from_slice(KEY.parse::<Key>().unwrap().bytes()).unwrap();
    let plain = [0x02, 0xca, 0x09].as_slice();
    let closed = ccm::aead::Aead::encrypt(&cipher, nonce.as_slice().into(), plain).unwrap();
    let (inside, tag) = closed.split_at(plain.len());
    let mut advert = Advert::new(address);
    advert.service_data.insert(Uuid::short(0xfcd2), [&[info], inside, &counter, tag].concat());
    advert
}

/// What is told when this is heard and then looked after.
fn told(roster: &mut Roster, advert: &Advert, now: Instant) -> String {
    let mut events = Vec::new();
    roster.hear(advert, None, SystemTime::UNIX_EPOCH, now, &mut events);
    roster.tick(now, &mut events);
    let words = events.iter().map(|event| match event {
        Event::Reading(reading) => reading.point.to_string(),
        Event::Device { alive, reason, .. } => format!("{alive} {}", reason.clone().unwrap_or_default()),
        Event::Renamed { .. } => format!("{event:?}"),
    });
    words.collect::<Vec<_>>().join(", ")
}

#[test]
fn a_sensor_that_begins_at_a_random_counter_after_its_battery_was_changed_is_believed_once_it_was_missed() {
    let (mut roster, start) = (with_fridge(), Instant::now());
    let at = |secs| start + std::time::Duration::from_secs(secs);
    for n in 0..10 {
        told(&mut roster, &sealed(5_000 + n, false), at(u64::from(n) * 10));
    }
    for n in 0..5 {
        assert_eq!(told(&mut roster, &sealed(700 + n, false), at(100 + u64::from(n) * 10)), "", "it may be a replay");
    }
    assert_eq!(told(&mut roster, &sealed(705, false), at(149)), "");
    assert_eq!(told(&mut roster, &sealed(706, false), at(160)), "temperature", "nothing else was heard for a minute");
    assert_eq!(told(&mut roster, &sealed(700, false), at(170)), "", "and from there on it is a replay again");
}

#[test]
fn the_silence_of_one_that_speaks_only_when_something_happens_opens_no_door_to_replays() {
    let (mut roster, start) = (with_fridge(), Instant::now());
    let at = |secs| start + std::time::Duration::from_secs(secs);
    for n in 0..10 {
        told(&mut roster, &sealed(5_000 + n, true), at(u64::from(n) * 10));
    }
    for n in 0..5 {
        assert_eq!(told(&mut roster, &sealed(700, true), at(100_000 + n)), "");
    }
}

#[test]
fn a_device_of_the_site_file_is_read_with_its_key() {
    let (mut events, mut roster) = (Vec::new(), with_fridge());
    let sealed = advert(FRIDGE, "41a47266c95f730011223378237214", -40);
    roster.hear(&sealed, None, SystemTime::UNIX_EPOCH, Instant::now(), &mut events);
    let value = roster.last(&"fridge".into(), "temperature");
    assert_eq!(value, Some(&Value::Float(25.06)), "{events:?}");
}

#[test]
fn two_adapters_that_hear_one_sensor_adopt_it_once_and_never_by_the_name_of_another_device() {
    let names: Names = ["th-a4c138000002"].into_iter().collect();
    let settings = adopting("*", None, "th-{address}", 20);
    let [mut hall, mut attic] = [0, 1].map(|_| Roster::beside(&settings, names.clone()));
    assert_eq!(hear(&mut hall, &advert(&nth(1), WARM, -60)).as_deref(), Some("th-a4c138000001"));
    assert_eq!(hear(&mut attic, &advert(&nth(1), WARM, -50)), None, "the hall has it");
    assert_eq!(hear(&mut attic, &advert(&nth(2), WARM, -50)), None, "a meter is called so");
    assert_eq!(hear(&mut hall, &advert(&nth(1), WARM, -60)).as_deref(), Some("th-a4c138000001"));
}

#[test]
fn stars_stand_for_any_run_of_characters() {
    for (pattern, text, expected) in [
        ("ATC*", "atc_1234", true),
        ("ATC*", "LATC", false),
        ("*", "", true),
        ("a*b*c", "a-b-b-c", true),
        ("a*b*c", "a-c-b", false),
        ("abc", "abcd", false),
        ("a*a", "a", false),
        ("é*", "É1", true),
    ] {
        assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
    }
}
