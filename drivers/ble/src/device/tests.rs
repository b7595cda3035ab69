//! A device, and what is told of it.

use super::*;
use crate::advert::Frame;
use crate::advert::quantity::{BUTTON, HUMIDITY, TEMPERATURE};
use crate::config::tests::device;
use wharf_contract::Quality;

const ADDRESS: &str = "A4:C1:38:56:53:84";

struct Bench {
    device: Device,
    start: Instant,
    /// The reasons for which something was not used.
    unused: Vec<&'static str>,
}

fn frame(values: Vec<Datum>) -> Word {
    Word::Said(Verdict::New(Frame { values, ..Frame::default() }))
}

fn refused(refusal: Refusal) -> Word {
    Word::Said(Verdict::Refused(refusal))
}

impl Bench {
    fn new() -> Self {
        Self { device: Device::listed("fridge".into(), &device(ADDRESS)), start: Instant::now(), unused: Vec::new() }
    }

    /// What is told when this is heard after so many seconds, in short.
    fn hear(&mut self, secs: u64, word: &Word) -> Vec<String> {
        self.hear_with(secs, word, &Advert::new(ADDRESS.parse().unwrap()))
    }

    fn hear_with(&mut self, secs: u64, word: &Word, advert: &Advert) -> Vec<String> {
        let mut events = Vec::new();
        let now = self.start + Duration::from_secs(secs);
        let unused = self.device.hear(advert, word, SystemTime::UNIX_EPOCH, now, &mut events);
        self.unused.extend(unused.map(|unused| unused.reason));
        events.iter().map(short).collect()
    }

    fn tick(&mut self, secs: u64) -> Vec<String> {
        let mut events = Vec::new();
        self.device.tick(self.start + Duration::from_secs(secs), &mut events);
        events.iter().map(short).collect()
    }
}

fn short(event: &Event) -> String {
    match event {
        Event::Reading(Reading { point, value: Some(value), quality: Quality::Good, .. }) => format!("{point} {value}"),
        Event::Reading(reading) => format!("{} bad: {}", reading.point, reading.reason.as_deref().unwrap_or_default()),
        Event::Device { alive, reason, .. } => match reason {
            Some(reason) => format!("alive {alive}: {reason}"),
            None => format!("alive {alive}"),
        },
        Event::Renamed { .. } => format!("{event:?}"),
    }
}

#[test]
fn a_device_is_alive_before_its_first_value() {
    let mut bench = Bench::new();
    let four = frame(vec![TEMPERATURE.of(4.0), HUMIDITY.missing()]);
    assert_eq!(bench.hear(0, &four), ["alive true", "temperature 4", "humidity bad: the sensor has no value"]);
    assert_eq!(bench.hear(1, &four), [""; 0]);
}

#[test]
fn a_device_that_was_heard_every_minute_is_gone_after_five_and_back_at_its_first_word() {
    let mut bench = Bench::new();
    let four = frame(vec![TEMPERATURE.of(4.0)]);
    for minute in 0..=10 {
        bench.hear(minute * 60, &four);
    }
    assert_eq!(bench.tick(899), [""; 0]);
    assert_eq!(bench.tick(900), ["alive false: not heard for 5m; usually it is every 1m"]);
    assert_eq!(bench.tick(901), [""; 0]);
    assert_eq!(bench.hear(1_000, &four), ["alive true"]);
}

#[test]
fn one_that_speaks_only_when_something_happens_is_never_gone() {
    let mut bench = Bench::new();
    let button = Frame { values: vec![BUTTON.says("press")], on_event_only: true, ..Frame::default() };
    for minute in 0..=10 {
        bench.hear(minute * 60, &Word::Said(Verdict::New(button.clone())));
    }
    assert_eq!(bench.tick(1_000_000), [""; 0]);
}

#[test]
fn a_repetition_is_a_sign_of_life_and_nothing_else() {
    let mut bench = Bench::new();
    for word in [Verdict::Repeat, Verdict::Lesser, Verdict::Unsure, Verdict::Repeat].map(Word::Said) {
        assert!(!bench.hear(0, &word).iter().any(|told| told != "alive true"));
    }
    assert_eq!(bench.unused, ["wrong_key"]);
    for minute in 1..=10 {
        bench.hear(minute * 60, &Word::Said(Verdict::Repeat));
        assert_eq!(bench.tick(minute * 60 + 59), [""; 0]);
    }
}

#[test]
fn one_that_is_never_heard_is_said_to_be_after_five_minutes() {
    let mut bench = Bench::new();
    assert_eq!(bench.tick(0), [""; 0]);
    assert_eq!(bench.tick(299), [""; 0]);
    assert_eq!(bench.tick(300), ["alive false: not heard since the gateway began to listen"]);
    assert_eq!(bench.tick(9_000), [""; 0]);
}

#[test]
fn a_missing_key_is_told_once_and_counted() {
    let mut bench = Bench::new();
    let no_key = refused(Refusal::NoKey);
    assert_eq!(bench.hear(0, &no_key), ["alive false: encrypted, and there is no key for it in the site file"]);
    for secs in 1..100 {
        assert_eq!(bench.hear(secs, &no_key), [""; 0]);
    }
    assert_eq!(bench.unused, ["no_key"; 100]);
}

#[test]
fn one_damaged_frame_is_not_told_and_a_second_of_the_kind_is() {
    let mut bench = Bench::new();
    let cut = |have| refused(Refusal::Truncated { have, need: 9 });
    assert_eq!(bench.hear(0, &cut(3)), [""; 0]);
    assert_eq!(bench.hear(1, &refused(Refusal::Checksum)), [""; 0]);
    assert_eq!(bench.hear(2, &cut(3)), [""; 0]);
    assert_eq!(bench.hear(3, &cut(4)), ["alive false: cut off: 4 bytes, and 9 are needed"]);
    assert_eq!(bench.hear(4, &cut(5)), [""; 0]);
}

#[test]
fn a_value_that_cannot_be_is_told_as_bad_and_counted_and_the_others_are_as_good_as_ever() {
    let mut bench = Bench::new();
    let odd = HUMIDITY.with(Err(Absent::Implausible("127 % is not within 0 to 100 %".into())));
    let told = bench.hear(0, &frame(vec![TEMPERATURE.of(4.0), odd]));
    assert_eq!(told[1..], ["temperature 4", "humidity bad: implausible: 127 % is not within 0 to 100 %"]);
    assert_eq!(bench.unused, ["implausible"]);
}

#[test]
fn a_device_that_is_read_beside_what_is_refused_stays_alive() {
    let mut bench = Bench::new();
    let four = frame(vec![TEMPERATURE.of(4.0)]);
    for turn in 0..20 {
        bench.hear(turn * 20, &four);
        assert_eq!(bench.hear(turn * 20 + 1, &refused(Refusal::NoKey)), [""; 0]);
    }
}

#[test]
fn one_that_changes_over_to_what_cannot_be_read_is_gone_for_that_reason() {
    let mut bench = Bench::new();
    for turn in 0..=10 {
        bench.hear(turn * 20, &frame(vec![TEMPERATURE.of(4.0)]));
    }
    for secs in (201..300).step_by(2) {
        assert_eq!(bench.hear(secs, &refused(Refusal::WrongKey)), [""; 0]);
    }
    assert_eq!(bench.tick(300), ["alive false: the key does not open it: wrong key, or damaged on the way"]);
    assert_eq!(bench.hear(301, &refused(Refusal::WrongKey)), [""; 0]);
}

#[test]
fn what_no_format_reads_is_told_of_once_and_as_bytes_if_the_site_wants_them() {
    let mut advert = Advert::new(ADDRESS.parse().unwrap());
    advert.manufacturer_data.insert(0x0499, vec![0xaa, 0x01]);
    let mut bench = Bench::new();
    let told: Vec<_> = (0..4).flat_map(|secs| bench.hear(secs, &Word::Said(Verdict::NotMine))).collect();
    assert_eq!(told, ["alive false: it is heard, and no format reads what it sends"]);
    let told = bench.hear(9, &Word::bytes(&advert));
    assert_eq!(told, ["alive true", "company_0499 aa01"]);
}

#[test]
fn the_signal_is_a_diagnostic_point_and_the_address_a_label_without_the_gateways_name() {
    let mut advert = Advert::new(ADDRESS.parse().unwrap());
    advert.rssi = Some(-60);
    let mut events = Vec::new();
    let mut device = Device::listed("fridge".into(), &device(ADDRESS));
    device.hear(&advert, &frame(Vec::new()), SystemTime::UNIX_EPOCH, Instant::now(), &mut events);
    let Some(Event::Reading(rssi)) = events.last() else { panic!("{events:?}") };
    assert_eq!((rssi.point.as_str(), rssi.value.clone()), ("rssi", Some(Value::Int(-60))));
    let labels: Vec<_> = rssi.labels.iter().collect();
    assert_eq!(labels, [("address", "a4c138565384"), ("kind", "diagnostic")]);
    assert!(labels.iter().map(|(name, _)| *name).eq(LABELS));
}

#[test]
fn while_the_radio_is_deaf_no_silence_is_held_against_a_device() {
    let mut bench = Bench::new();
    let four = frame(vec![TEMPERATURE.of(4.0)]);
    for minute in 0..=10 {
        bench.hear(minute * 60, &four);
    }
    let mut events = Vec::new();
    bench.device.deaf("the adapter is off", &mut events);
    assert_eq!(events.iter().map(short).collect::<Vec<_>>(), ["alive false: the adapter is off"]);
    bench.device.excuse(bench.start + Duration::from_secs(5_000), &mut events);
    assert_eq!(bench.tick(5_010), [""; 0]);
    assert_eq!(bench.hear(5_020, &four), ["alive true", "temperature 4"]);
    assert_eq!(bench.tick(5_319), [""; 0]);
    assert_eq!(bench.tick(5_320), ["alive false: not heard for 5m; usually it is every 1m"]);
}

#[test]
fn one_that_does_not_come_back_after_the_radio_was_deaf_is_told_to_be_gone_again() {
    let mut bench = Bench::new();
    bench.hear(0, &frame(vec![TEMPERATURE.of(4.0)]));
    bench.device.deaf("the adapter is off", &mut Vec::new());
    bench.device.excuse(bench.start + Duration::from_secs(100), &mut Vec::new());
    let told: Vec<_> = (100..4_000).flat_map(|secs| bench.tick(secs)).collect();
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn one_whose_silence_says_nothing_is_there_again_as_soon_as_the_radio_is() {
    let mut bench = Bench::new();
    let button = Frame { values: vec![BUTTON.says("press")], on_event_only: true, ..Frame::default() };
    bench.hear(0, &Word::Said(Verdict::New(button)));
    let mut events = Vec::new();
    bench.device.deaf("the adapter is off", &mut events);
    bench.device.excuse(bench.start + Duration::from_secs(100), &mut events);
    assert_eq!(events.iter().map(short).collect::<Vec<_>>(), ["alive false: the adapter is off", "alive true"]);
}

#[test]
fn a_sender_that_makes_up_names_without_end_gets_so_many_points_and_no_more() {
    let mut bench = Bench::new();
    for n in 0..10_000 {
        let datum = Datum { point: format!("company_{n:04x}").into(), ..quantity::RAW.says("00") };
        bench.hear(0, &Word::Bytes(vec![datum]));
    }
    assert_eq!(bench.device.points.len(), MOST_POINTS);
    assert_eq!(bench.unused, vec!["too_many_points"; 10_000 - MOST_POINTS]);
}

#[test]
fn a_wrong_key_is_told_though_the_device_gives_signs_of_life() {
    let mut bench = Bench::new();
    let sign = frame(Vec::new());
    assert_eq!(bench.hear(0, &sign), ["alive true"]);
    let wrong = refused(Refusal::WrongKey);
    assert_eq!(bench.hear(1, &wrong), ["alive false: the key does not open it: wrong key, or damaged on the way"]);
    for secs in (2..4_000).step_by(2) {
        assert_eq!(bench.hear(secs, &sign), [""; 0]);
        assert_eq!(bench.hear(secs + 1, &wrong), [""; 0]);
        assert_eq!(bench.tick(secs + 1), [""; 0]);
    }
    assert_eq!(bench.hear(4_001, &frame(vec![TEMPERATURE.of(4.0)])), ["alive true", "temperature 4"]);
}

#[test]
fn a_key_that_is_changed_while_signs_of_life_go_on_is_told_too() {
    let mut bench = Bench::new();
    for turn in 0..=10 {
        bench.hear(turn * 20, &frame(vec![TEMPERATURE.of(4.0)]));
    }
    let told: Vec<_> = (201..320)
        .flat_map(|secs| {
            let word = if secs % 2 == 0 { frame(Vec::new()) } else { refused(Refusal::WrongKey) };
            let mut told = bench.hear(secs, &word);
            told.extend(bench.tick(secs));
            told
        })
        .collect();
    assert_eq!(told, ["alive false: the key does not open it: wrong key, or damaged on the way"]);
}

#[test]
fn one_that_no_format_reads_is_not_called_silent_after_the_radio_was_deaf() {
    let mut bench = Bench::new();
    for secs in 0..100 {
        bench.hear(secs, &Word::Said(Verdict::NotMine));
    }
    bench.device.deaf("the adapter is off", &mut Vec::new());
    bench.device.excuse(bench.start + Duration::from_secs(100), &mut Vec::new());
    let told: Vec<_> = (100..1_000)
        .flat_map(|secs| [bench.hear(secs, &Word::Said(Verdict::NotMine)), bench.tick(secs)].concat())
        .collect();
    assert_eq!(told, ["alive false: it is heard, and no format reads what it sends"]);
}

#[test]
fn one_that_was_heard_but_once_and_damaged_is_not_called_silent() {
    let mut bench = Bench::new();
    bench.tick(0);
    bench.hear(1, &refused(Refusal::Checksum));
    let told: Vec<_> = (1..400).flat_map(|secs| bench.tick(secs)).collect();
    assert_eq!(told, ["alive false: damaged: the checksum does not fit"]);
}

#[test]
fn one_that_is_known_to_speak_seldom_is_there_after_a_restart_without_a_word() {
    let mut bench = Bench::new();
    bench.device.speaks_on_event_only();
    let mut events = Vec::new();
    bench.device.excuse(bench.start, &mut events);
    assert_eq!(events.iter().map(short).collect::<Vec<_>>(), ["alive true"]);
    let told: Vec<_> = (0..10_000).flat_map(|secs| bench.tick(secs)).collect();
    assert_eq!(told, [""; 0]);
}
