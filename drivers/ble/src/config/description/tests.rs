//! Descriptions as a profile holds them, written as JSON here.

use serde_json::json;
use wharf_contract::Value;
use wharf_test_support::settings::read;

use super::*;
use crate::advert::{Absent, Advert, Datum, Frame, Known, Outcome, Refusal, Sequence, Uuid};

fn decode(value: &serde_json::Value) -> (Option<DescriptionSettings>, Vec<String>) {
    let (settings, problems) = read(value);
    let problems = problems.into_iter();
    let told = |help: Option<String>| help.map_or(String::new(), |help| format!(" ({help})"));
    (settings, problems.map(|problem| format!("{}: {}{}", problem.path, problem.message, told(problem.help))).collect())
}

#[track_caller]
fn description(value: &serde_json::Value) -> Description {
    let (settings, problems) = decode(value);
    assert_eq!(problems, [""; 0]);
    settings.unwrap().compile("sensor")
}

/// The one mistake in a description whose only value is this.
#[track_caller]
fn mistake(point: serde_json::Value) -> String {
    let (_, problems) = decode(&json!({ "service": "181a", "points": { "temperature": point } }));
    let [problem] = &problems[..] else { panic!("{problems:?}") };
    problem.clone()
}

fn advert() -> Advert {
    Advert::new("A4:C1:38:02:83:F4".parse().unwrap())
}

fn with(data: &[u8]) -> Advert {
    let mut advert = advert();
    advert.manufacturer_data.insert(0x0499, data.to_vec());
    advert
}

#[track_caller]
fn frame(description: &Description, advert: &Advert) -> Frame {
    match description.read(advert, &Known::default()) {
        Outcome::Heard(frame) => frame,
        other => panic!("{other:?}"),
    }
}

fn values(frame: &Frame) -> Vec<(&str, Result<Value, Absent>)> {
    frame.values.iter().map(|Datum { point, value, .. }| (&**point, value.clone())).collect()
}

#[test]
fn a_thermometer_is_described_in_three_lines() {
    let thermometer = description(&json!({
        "company": 0x0499,
        "points": { "temperature": { "at": 1, "type": "i16", "scale": 0.01, "invalid": 0x8000 } },
    }));
    let frame = frame(&thermometer, &with(&[0, 0x30, 0xf8]));
    assert_eq!(values(&frame), [("temperature", Ok(Value::Float(-20.0)))]);
    assert_eq!((&*frame.values[0].unit, frame.values[0].kind), ("°C", Kind::Measurement));
    assert_eq!(frame.model.as_deref(), Some("sensor"));
    assert_eq!(
        thermometer.read(&with(&[0, 0x30]), &Known::default()),
        Outcome::Refused(Refusal::Truncated { have: 2, need: 3 })
    );
    assert_eq!(thermometer.read(&advert(), &Known::default()), Outcome::NotMine);
}

#[test]
fn values_without_a_place_follow_those_that_are_there() {
    let flags = |bit: u8| json!({ "at": 0, "set": bit });
    let sensor = description(&json!({
        "company": [0x0499],
        "order": "big",
        "begin": 1,
        "points": {
            "temperature": { "type": "i16", "scale": 0.1, "when": flags(0) },
            "humidity": { "when": flags(1) },
            "movements": { "type": "u16", "bits": "0-14", "when": flags(2) },
            "moving": { "at": "last", "type": "u16", "bit": 15, "when": flags(2) },
            "battery": { "at": -1 },
        },
    }));
    let all = frame(&sensor, &with(&[0b111, 0xff, 0xce, 40, 0x80, 0x05, 99]));
    let expected = [
        ("temperature", Ok(Value::Float(-5.0))),
        ("humidity", Ok(Value::Int(40))),
        ("movements", Ok(Value::Int(5))),
        ("moving", Ok(Value::Bool(true))),
        ("battery", Ok(Value::Int(99))),
    ];
    assert_eq!(values(&all), expected);
    let few = frame(&sensor, &with(&[0b100, 0x00, 0x07, 98]));
    assert_eq!(
        values(&few),
        [("movements", Ok(Value::Int(7))), ("moving", Ok(Value::Bool(false))), ("battery", Ok(Value::Int(98)))]
    );
}

#[test]
fn of_several_ways_the_first_that_is_there_is_taken() {
    let sensor = description(&json!({
        "service": ["aa20", "aa21"],
        "points": { "co2": [{ "service": "aa20", "at": 2 }, { "at": 0 }] },
    }));
    for (service, expected) in [(0xaa20, 3), (0xaa21, 1)] {
        let mut advert = advert();
        advert.service_data.insert(Uuid::short(service), vec![1, 2, 3]);
        assert_eq!(values(&frame(&sensor, &advert)), [("co2", Ok(Value::Int(expected)))]);
    }
}

#[test]
fn a_sensor_is_known_by_name_services_length_and_bytes_together() {
    let sensor = description(&json!({
        "company": "any",
        "local_name": ["P T*", "MOCREO"],
        "advertises": "fee5",
        "length": ["4-5", 9],
        "match": [{ "at": 2, "is": ["0xa1", "a2 01"] }, { "at": -1, "is_not": "00" }],
        "points": { "battery": { "at": 3 } },
    }));
    let mut good = with(&[0xa2, 0x01]);
    good.name = Some("P T 123".into());
    good.services = vec![Uuid::short(0xfee5)];
    assert_eq!(values(&frame(&sensor, &good)), [("battery", Ok(Value::Int(1)))]);
    let no = |change: fn(&mut Advert)| {
        let mut advert = good.clone();
        change(&mut advert);
        assert_eq!(sensor.read(&advert, &Known::default()), Outcome::NotMine, "{advert:?}");
        advert
    };
    no(|advert| advert.services.clear());
    no(|advert| advert.manufacturer_data = [(0x0499, vec![0xa1, 0x00])].into());
    no(|advert| advert.manufacturer_data = [(0x0499, vec![0xa2, 0x02])].into());
    no(|advert| advert.manufacturer_data = [(0x0499, vec![0xa1, 1, 1, 1])].into());
    no(|advert| _ = advert.manufacturer_data.insert(0x049a, vec![0xa1, 1]));
    no(|advert| advert.name = Some("MOCREO 2".into()));
    let nameless = no(|advert| advert.name = None);
    let known = Known { model: Some("sensor"), ..Known::default() };
    assert!(matches!(sensor.read(&nameless, &known), Outcome::Heard(_)), "who is known needs no name");
}

#[test]
fn models_counters_and_events_are_told() {
    let sensor = description(&json!({
        "company": 0x0499,
        "model_from": { "at": 0, "names": { "0x81": "ST5", "131": "ST6" } },
        "counter": { "at": 1, "type": "u16", "bits": "0-11" },
        "events_only": true,
        "points": {
            "button": { "at": 3, "names": { "1": "press", "2": "double" } },
            "knocks": { "at": 3, "kind": "diagnostic", "unit": "n" },
        },
    }));
    let heard = frame(&sensor, &with(&[0x83, 0x34, 0xf2, 2]));
    assert_eq!(heard.model.as_deref(), Some("ST6"));
    assert_eq!(heard.sequence, Some(Sequence::Frame { number: 0x234, bits: 12 }));
    assert!(heard.on_event_only);
    assert_eq!((heard.values[0].kind, heard.values[1].kind), (Kind::Event, Kind::Diagnostic));
    assert_eq!(&*heard.values[1].unit, "n");
    assert_eq!(sensor.read(&with(&[0x84, 0, 0, 2]), &Known::default()), Outcome::NotMine);
}

#[test]
fn what_cannot_be_read_is_refused_in_its_makers_words() {
    let sensor = description(&json!({
        "company": 0x0499,
        "refuse": [{ "when": { "at": 0, "set": 0 }, "says": "switch encryption off" }],
        "points": { "battery": { "at": 1 } },
    }));
    let refused = sensor.read(&with(&[1, 50]), &Known::default());
    assert_eq!(refused, Outcome::Refused(Refusal::Unknown("switch encryption off".into())));
    let key = "231d39c1d7cc1ab1aee224cd096db932".parse().unwrap();
    let known = Known { key: Some(&key), ..Known::default() };
    assert_eq!(sensor.read(&with(&[0, 50]), &known), Outcome::Refused(Refusal::NotEncrypted));
}

#[test]
fn what_is_only_for_those_that_name_it_takes_nothing_else() {
    let sensor = description(&json!({
        "company": 0x0499, "model": "Keg", "only_named": true, "points": { "battery": {} },
    }));
    for (model, heard) in [(None, false), (Some("Other"), false), (Some("Keg"), true), (Some("sensor"), true)] {
        let outcome = sensor.read(&with(&[7]), &Known { model, ..Known::default() });
        assert_eq!(matches!(outcome, Outcome::Heard(_)), heard, "{model:?}");
    }
}

#[test]
fn built_in_formats_go_first_and_beacons_last() {
    let described = |value| Descriptions::new(vec![description(&value)]);
    let format = |advert: &Advert, model, all: &Descriptions| match crate::advert::read_with(
        advert,
        &Known { model, ..Known::default() },
        all,
    ) {
        Outcome::Heard(frame) => frame.format,
        other => panic!("{other:?}"),
    };
    let mut bthome = advert();
    bthome.service_data.insert(Uuid::short(0xfcd2), vec![0x40, 0x01, 0x5d]);
    let mine = described(json!({ "service": "fcd2", "points": { "battery": { "at": 2 } } }));
    assert_eq!(format(&bthome, None, &mine), "BTHome v2");
    assert_eq!(format(&bthome, Some("sensor"), &mine), "profile");
    let mut beacon = advert();
    let payload = [&[0x02, 0x15][..], &[7; 16], &[0, 1, 0, 2, 0xc5]].concat();
    beacon.manufacturer_data.insert(0x004c, payload);
    assert_eq!(format(&beacon, None, &Descriptions::default()), "iBeacon");
    let mine = described(json!({
        "company": 0x004c, "match": { "at": 0, "is": "0215" }, "points": { "battery": { "at": 19 } },
    }));
    assert_eq!(format(&beacon, None, &mine), "profile");
}

#[test]
fn implausible_values_are_found_as_in_any_other_format() {
    let sensor = json!({ "company": 0x0499, "points": { "humidity": { "at": 0 } } });
    let all = Descriptions::new(vec![description(&sensor)]);
    let Outcome::Heard(frame) = crate::advert::read_with(&with(&[101]), &Known::default(), &all) else { panic!() };
    assert!(matches!(frame.values[0].value, Err(Absent::Implausible(_))));
}

#[test]
fn each_mistake_in_a_value_is_told_with_what_could_be_done() {
    let cases = [
        (json!({ "type": "uint16" }), "points.temperature.type: \"uint16\" is not known here (did you mean `u16`?)"),
        (json!({ "ofset": 1 }), "points.temperature.ofset: `ofset` is not known here (did you mean `offset`?)"),
        (json!({ "at": 300 }), "points.temperature.at: 300 is out of range (-255–254)"),
        (
            json!({ "at": "first" }),
            "points.temperature.at: \"first\" is no place in the data (count the bytes of the data from 0, or write next or last)",
        ),
        (
            json!({ "bits": "6-0" }),
            "points.temperature.bits: \"6-0\" is not a run of bits (write the lowest first: 0-6; one bit alone is `bit: 3`)",
        ),
        (
            json!({ "bits": "4-11" }),
            "points.temperature.bits: u8 has no bit 11, they are counted from 0 to 7 (say of which number they are: type: u16)",
        ),
        (
            json!({ "type": "f32", "bits": "0-3" }),
            "points.temperature.bits: the type f32 is not read bit by bit (write the unsigned type that they are of: u8, u16, …)",
        ),
        (json!({ "scale": 0 }), "points.temperature.scale: a scale of 0 makes every value the same"),
        (json!({ "divide": 0 }), "points.temperature.divide: nothing can be divided by 0"),
        (
            json!({ "divide": 65535 }),
            "points.temperature.precision: such a division has no end, so it needs a precision (write precision: 2 for two decimals)",
        ),
        (
            json!({ "precision": 1 }),
            "points.temperature.precision: a whole number without a scale has no decimals to round (remove it)",
        ),
        (json!({ "invalid": 0x8000 }), "points.temperature.invalid: 32768 does not fit 8 bits"),
        (
            json!({ "type": "string" }),
            "points.temperature.length: a string needs its length (write length: 8 for 8 bytes)",
        ),
        (
            json!({ "steps": ["/ 0"] }),
            "points.temperature.steps[0]: \"/ 0\" is no step (one of + - * / % & ^ >> and a whole number, in quotes: \"& 0x7FFF\"; / leaves whole numbers)",
        ),
        (json!({ "bit": 1, "scale": 2 }), "points.temperature.scale: one bit has no scale (remove it)"),
        (json!({ "names": { "256": "full" } }), "points.temperature.names: 256 cannot stand there"),
        (
            json!({ "when": { "at": 0, "is": "a" } }),
            "points.temperature.when.is: \"a\" is not 1 to 32 bytes in hexadecimal (each byte has two hexadecimal digits: 0a is ten)",
        ),
        (
            json!({ "when": { "at": 0 } }),
            "points.temperature.when: one of `is`, `is_not`, `set`, `clear`, `address` is needed",
        ),
        (
            json!({ "unit": "°F" }),
            "points.temperature: temperature: it is told in °C by every sensor (scale it to that and leave the unit out, or call the value something else)",
        ),
        (json!({ "at": "last" }), "points.temperature: temperature: there is no value before it to stand beside"),
    ];
    for (point, expected) in cases {
        assert_eq!(mistake(point.clone()), expected, "{point}");
    }
}

#[test]
fn each_mistake_in_a_description_is_told_too() {
    let cases = [
        (json!({ "points": { "battery": {} } }), ": one of `service`, `company` is needed"),
        (
            json!({ "company": 1, "points": {} }),
            "points: there is nothing to read (write what it measures: temperature: { … })",
        ),
        (
            json!({ "company": "some", "points": { "battery": {} } }),
            "company: \"some\" is no company (it is a number such as 0x0499, or any)",
        ),
        (
            json!({ "company": "any", "points": { "battery": {} } }),
            "company: with any company this would fit every sensor there is (say what it is known by: local_name, advertises or match; or write only_named: true)",
        ),
        (
            json!({ "service": "fee", "points": { "battery": {} } }),
            "service: \"fee\" is no service (it has four hexadecimal digits, such as fe95, or a UUID's thirty-two)",
        ),
        (
            json!({ "company": 1, "length": "24-18", "points": { "battery": {} } }),
            "length: \"24-18\" is no length (write how many bytes there are, 18, or at least and at most, 18-24)",
        ),
        (
            json!({ "company": 1, "length": 4, "points": { "battery": { "at": 3, "type": "u16" } } }),
            "points.battery: battery: it has 2 bytes from byte 3 on, and the data have 4 at most",
        ),
        (
            json!({ "company": 1, "counter": { "at": 0, "type": "i8" }, "points": { "battery": {} } }),
            "counter.type: the type i8 is no counter (write u8, u16, u24 or u32)",
        ),
        (
            json!({ "company": 1, "local_name": "*", "points": { "battery": {} } }),
            "local_name: \"*\" is no local name (write the whole name, or how it begins and a `*`: `P T*`)",
        ),
        (
            json!({ "company": 1, "points": { "pulse": { "type": "medfloat16" } } }),
            "points.pulse.type: a medfloat16 is read over connections alone (no sensor is known to broadcast one; \
             `steps` and `scale` make a number of what it sends)",
        ),
        (
            json!({ "company": 1, "points": { "battery": { "kind": "event" } } }),
            "points.battery: battery: its kind is known by its name (remove `kind`)",
        ),
    ];
    for (value, expected) in cases {
        assert_eq!(decode(&value).1, [expected], "{value}");
    }
}

mod any_advertisement {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn reading() -> impl Strategy<Value = serde_json::Value> {
        let kind = prop::sample::select(vec!["u8", "i8", "u16", "i24", "u32", "i64", "f32", "f64", "bcd16", "bool"]);
        let at = prop_oneof![(-255_i16..255).prop_map(|at| json!(at)), Just(json!("next")), Just(json!("last"))];
        let step =
            prop::sample::select(vec!["/ 7", "% 100", "& 0x7FFF", "* 9223372036854775807", ">> 3", "- 5", "^ 160"]);
        (kind, at, vec(step, 0..4), any::<bool>(), -255_i16..255).prop_map(|(kind, at, steps, scaled, condition)| {
            let mut reading = json!({ "type": kind, "at": at, "missing": { "at": condition, "set": 3 } });
            let whole = !matches!(kind, "f32" | "f64" | "bool");
            if whole {
                reading["steps"] = json!(steps);
                reading["negative"] = json!({ "at": condition, "clear": 1 });
            }
            if scaled && kind != "bool" {
                reading["divide"] = json!(3.7);
                reading["scale"] = json!(1e9);
                reading["precision"] = json!(9);
            }
            reading
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn is_read_or_refused_and_nothing_falls_over(
            readings in vec(reading(), 1..6),
            data in vec(any::<u8>(), 0..40),
            begin in 0_u8..=254,
        ) {
            let mut points: serde_json::Map<_, _> =
                readings.into_iter().enumerate().map(|(n, reading)| (format!("p{n}"), reading)).collect();
            points.insert("p".into(), json!({ "at": 0 }));
            let (settings, _) = decode(&json!({
                "company": "any", "match": { "at": -1, "is_not": "ff" }, "begin": begin,
                "counter": { "at": -3, "type": "u24" }, "points": points,
            }));
            let sensor = settings.unwrap().compile("sensor");
            for value in match sensor.read(&with(&data), &Known::default()) {
                Outcome::Heard(frame) => frame.values,
                _ => Vec::new(),
            } {
                if let Ok(Value::Float(number)) = value.value {
                    prop_assert!(number.is_finite());
                }
            }
        }
    }
}
