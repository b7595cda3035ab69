//! Every built-in profile of a Bluetooth sensor: advertisements in, values out.
//!
//! A file in `ble/` holds advertisements that were recorded or stand in the source of the profile, and
//! some made from its layout with Python's `struct`, below zero above all; and what has to come of each.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use wharf::config::{profiles::builtin, read_with_warnings, tree};
use wharf_ble::LinkSettings;
use wharf_ble::advert::{self, Address, Advert, Descriptions, Known, Outcome, Sequence};
use wharf_ble::config::description::compile;
use wharf_contract::Value;
use wharf_contract::settings::{Node, NodeKind, Typed};

use crate::case::{Expected, expected};
use crate::{names, repository};

/// What a case says of an advertisement.
struct Case {
    what: String,
    advert: Advert,
    /// The model that was known before.
    known: Option<String>,
    outcome: Wanted,
}

enum Wanted {
    NotMine,
    /// Refused with these words in the reason.
    Refused(String),
    Heard {
        model: String,
        counter: Option<u32>,
        values: BTreeMap<String, Option<Expected>>,
    },
}

/// The Bluetooth link of a site that says nothing of descriptions.
fn link() -> LinkSettings {
    let (site, warnings) =
        read_with_warnings("gateway: g\nble: { hall: }", Path::new("site.yaml"), &|_| Err("no secrets".into()))
            .unwrap_or_else(|errors| panic!("{errors}"));
    assert!(warnings.is_empty(), "{warnings}");
    site.ble.get("hall").unwrap().clone()
}

fn cases(name: &str) -> Vec<Case> {
    let text = std::fs::read_to_string(repository("tests/profiles/ble").join(format!("{name}.yaml"))).unwrap();
    let parsed = tree::parse(&tree::normalise(&text));
    assert!(parsed.problems.is_empty(), "{name}: {:?}", parsed.problems);
    let root = parsed.root.unwrap();
    let NodeKind::Sequence(adverts) = &root.get("adverts").unwrap().value.kind else { panic!("{name}") };
    adverts.iter().map(case).collect()
}

fn case(node: &Node) -> Case {
    let text = |key: &str| node.get(key).map(|entry| entry.value.text().unwrap().to_owned());
    let at = |key: &str| node.get(key).map_or(&[][..], |entry| entry.value.entries());
    let mut advert = Advert::new(text("mac").unwrap_or("A4:C1:38:00:00:01".into()).parse().unwrap());
    advert.name = text("name");
    for entry in at("company") {
        let id = u16::from_str_radix(entry.key.strip_prefix("0x").unwrap(), 16).unwrap();
        advert.manufacturer_data.insert(id, bytes(entry.value.text().unwrap()));
    }
    for entry in at("service") {
        advert.service_data.insert(entry.key.parse().unwrap(), bytes(entry.value.text().unwrap()));
    }
    let missing = node.get("missing").map_or(&[][..], |entry| match &entry.value.kind {
        NodeKind::Sequence(items) => items,
        _ => panic!("{node:?}"),
    });
    let readings = at("readings").iter().map(|entry| (entry.key.clone(), Some(expected(&entry.value))));
    let missing = missing.iter().map(|point| (point.text().unwrap().to_owned(), None));
    let counter = node.get("counter").map(|entry| match entry.value.typed() {
        Some(Typed::Int(number)) => u32::try_from(number).unwrap(),
        other => panic!("{other:?}"),
    });
    let outcome = match (node.get("not_mine"), text("refused")) {
        (Some(_), _) => Wanted::NotMine,
        (None, Some(words)) => Wanted::Refused(words),
        (None, None) => {
            Wanted::Heard { model: text("model").unwrap(), counter, values: readings.chain(missing).collect() }
        }
    };
    Case { what: text("what").unwrap(), advert, known: text("known"), outcome }
}

fn bytes(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2), "{hex}");
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn check(name: &str, case: &Case, all: &Descriptions) {
    let what = format!("{name} ({})", case.what);
    let known = Known { model: case.known.as_deref(), ..Known::default() };
    let outcome = advert::read_with(&case.advert, &known, all);
    match (&case.outcome, outcome) {
        (Wanted::NotMine, Outcome::NotMine) => {}
        (Wanted::Refused(words), Outcome::Refused(refusal)) if refusal.to_string().contains(words) => {}
        (Wanted::Heard { model, counter, values }, Outcome::Heard(frame)) => {
            assert_eq!(frame.model.as_deref(), Some(model.as_str()), "{what}");
            let number = |sequence| match sequence {
                Sequence::Frame { number, .. } => number,
                other @ Sequence::Encryption(_) => panic!("{what}: {other:?}"),
            };
            assert_eq!(frame.sequence.map(number), *counter, "{what}");
            let heard: BTreeSet<_> = frame.values.iter().map(|datum| datum.point.to_string()).collect();
            assert_eq!(heard, values.keys().cloned().collect(), "{what}");
            for datum in frame.values {
                match (&values[&*datum.point], &datum.value) {
                    (Some(expected), Ok(value)) => {
                        assert!(is(expected, value), "{what}: {} is {value:?}, not {expected:?}", datum.point);
                    }
                    (None, Err(_)) => {}
                    (expected, value) => panic!("{what}: {} is {value:?}, not {expected:?}", datum.point),
                }
            }
        }
        (_, outcome) => panic!("{what}: {outcome:?}"),
    }
}

/// Exactly: what is scaled has no binary noise.
fn is(expected: &Expected, value: &Value) -> bool {
    match (expected, value) {
        (Expected::Number(expected), Value::Float(value)) => expected == value,
        _ => expected.is(&Some(value.clone())),
    }
}

#[test]
fn every_profile_of_a_bluetooth_sensor_is_built_in_and_has_a_case() {
    let files = names("config/profiles/ble");
    let built_in: Vec<_> = builtin::ble::names().map(str::to_owned).collect();
    assert_eq!(
        built_in,
        files.iter().cloned().collect::<Vec<_>>(),
        "the list in src/config/profiles/builtin.rs, in order"
    );
    assert_eq!(names("tests/profiles/ble"), files);
    assert!(built_in.len() >= 20, "only {} profiles", built_in.len());
}

#[test]
fn every_profile_of_a_bluetooth_sensor_is_known_to_a_link_that_says_nothing() {
    let link = link();
    let known: Vec<_> = link.descriptions.iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(known, builtin::ble::names().collect::<Vec<_>>());
}

/// Each with all the others beside it, so none takes what another is for.
#[test]
fn every_profile_of_a_bluetooth_sensor_reads_what_its_cases_say() {
    let link = link();
    let all = compile(&link.descriptions);
    for (name, description) in link.descriptions.iter() {
        let mut seen = BTreeSet::new();
        for case in cases(name.as_str()) {
            check(name.as_str(), &case, &all);
            if let Wanted::Heard { values, .. } = &case.outcome {
                seen.extend(values.keys().cloned());
            }
        }
        let points: BTreeSet<_> = description.points.iter().map(|(point, _)| point.to_string()).collect();
        assert_eq!(seen, points, "{name}: the cases speak of all its values");
    }
}

/// However much of it came: read, refused, or of something else.
#[test]
fn no_profile_falls_over_an_advertisement_that_is_cut_off() {
    let link = link();
    let all = compile(&link.descriptions);
    for name in builtin::ble::names() {
        for case in cases(name) {
            let known = Known { model: Some(name), ..Known::default() };
            for length in 0..=27 {
                let mut advert = case.advert.clone();
                advert.manufacturer_data.values_mut().for_each(|data| data.truncate(length));
                advert.service_data.values_mut().for_each(|data| data.truncate(length));
                let _ = advert::read_with(&advert, &known, &all);
            }
        }
    }
}

/// The recorded advertisements of the built-in formats, those that are refused above all.
#[test]
fn no_profile_takes_what_the_built_in_formats_are_for() {
    let all = compile(&link().descriptions);
    let mut rows = 0;
    for entry in std::fs::read_dir(repository("drivers/ble/tests/vectors")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let advert = recorded(&serde_json::from_str(line).unwrap());
            let known = Known::default();
            assert_eq!(advert::read_with(&advert, &known, &all), advert::read(&advert, &known), "{line}");
            rows += 1;
        }
    }
    assert!(rows > 500, "only {rows} rows");
}

fn recorded(row: &serde_json::Value) -> Advert {
    // Some were recorded where a random identity stands for the address.
    let address = row["mac"].as_str().and_then(|mac| mac.parse().ok());
    let mut advert = Advert::new(address.unwrap_or(Address([0xa4, 0xc1, 0x38, 0, 0, 1])));
    advert.name = row["local_name"].as_str().map(str::to_owned);
    let uuids = row["service_uuids"].as_array().into_iter().flatten();
    advert.services = uuids.map(|uuid| uuid.as_str().unwrap().parse().unwrap()).collect();
    for (uuid, data) in row["service_data"].as_object().into_iter().flatten() {
        advert.service_data.insert(uuid.parse().unwrap(), bytes(data.as_str().unwrap()));
    }
    for (id, data) in row["manufacturer_data"].as_object().into_iter().flatten() {
        let id = u16::from_str_radix(id.strip_prefix("0x").unwrap(), 16).unwrap();
        advert.manufacturer_data.insert(id, bytes(data.as_str().unwrap()));
    }
    advert
}

#[test]
fn advertisements_of_described_sensors_can_be_explained_with_a_profile_that_is_being_written() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("profiles/ble");
    std::fs::create_dir_all(&folder).unwrap();
    let profile = "name: barrel\nsource: its maker\nprotocol: ble\ncompany: 0xFFFF\nlength: 2\n\
                   points: { level: { type: u16, order: big, unit: mm } }\n";
    std::fs::write(folder.join("barrel.yaml"), profile).unwrap();
    let explain = |line: &str| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_wharf"))
            .args(["explain", "advert"])
            .current_dir(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(line.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        (out, err, output.status.code())
    };
    let (out, err, code) = explain("A4:C1:38:00:00:01 05ffffff0203\n");
    assert_eq!((err.as_str(), code), ("", Some(0)));
    assert!(out.contains("\"barrel\"") && out.contains("515"), "{out}");
    let elas = explain("A4:C1:38:00:00:02 08ff5707213012b80a\n").0;
    assert!(elas.contains("\"ELA Blue\"") && elas.contains("27.44"), "{elas}");
    std::fs::write(folder.join("barrel.yaml"), profile.replace("u16", "u17")).unwrap();
    let (_, err, code) = explain("");
    assert_eq!(code, Some(78));
    assert!(err.contains("profiles/ble/barrel.yaml:6:26: points.level.type"), "{err}");
}
