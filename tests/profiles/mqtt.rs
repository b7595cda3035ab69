//! Every built-in profile of a device that speaks MQTT: messages in, readings out; values in, messages out.
//!
//! A file in `mqtt/` holds payloads as the makers' documents show them, and what has to come of each.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wharf::config::{profiles::builtin, read_with_warnings, tree};
use wharf_contract::settings::{Node, NodeKind, Setting, Typed};
use wharf_contract::{Driver, Quality, Value};
use wharf_mqtt::roster::{Message, Roster};
use wharf_mqtt::{LinkSettings, Mqtt};

use crate::case::{Expected, expected};
use crate::{names, repository};

/// The clock of the tests: 2026-11-21 18:45:00 UTC, later than all that is in the cases.
const NOW: Duration = Duration::from_secs(1_795_286_700);

fn file(name: &str) -> Node {
    let text = std::fs::read_to_string(repository("tests/profiles/mqtt").join(format!("{name}.yaml"))).unwrap();
    let parsed = tree::parse(&tree::normalise(&text));
    assert!(parsed.problems.is_empty(), "{name}: {:?}", parsed.problems);
    parsed.root.unwrap()
}

fn items<'n>(node: &'n Node, key: &str) -> &'n [Node] {
    match node.get(key).map(|entry| &entry.value.kind) {
        Some(NodeKind::Sequence(items)) => items,
        None => &[],
        other => panic!("{other:?}"),
    }
}

fn text<'n>(node: &'n Node, key: &str) -> &'n str {
    node.get(key).and_then(|entry| entry.value.text()).unwrap_or_else(|| panic!("no {key}: {node:?}"))
}

/// The link of one device `d` that has nothing but the profile and what it needs.
fn link(name: &str, points: &str) -> LinkSettings {
    let file = file(name);
    let words = file.get("with").unwrap().value.entries().iter();
    let words: Vec<_> = words.map(|entry| format!("{}: \"{}\"", entry.key, entry.value.text().unwrap())).collect();
    let words = words.join(", ");
    let site = format!(
        "gateway: g\nmqtt: {{l: {{devices: {{d: {{profile: {name}, with: {{{words}}}, points: {{{points}}}}}}}}}}}"
    );
    let (site, warnings) = read_with_warnings(&site, Path::new("site.yaml"), &|_| Err("no secrets".into()))
        .unwrap_or_else(|errors| panic!("{name}: {errors}"));
    assert!(warnings.is_empty(), "{warnings}");
    site.mqtt.get("l").unwrap().clone()
}

#[test]
fn every_profile_of_an_mqtt_device_is_built_in_and_has_a_case() {
    let files = names("config/profiles/mqtt");
    let built_in: Vec<_> = builtin::mqtt::names().map(str::to_owned).collect();
    assert_eq!(
        built_in,
        files.iter().cloned().collect::<Vec<_>>(),
        "the list in src/config/profiles/builtin.rs, in order"
    );
    assert_eq!(names("tests/profiles/mqtt"), files);
    assert!(built_in.len() >= 10, "only {} profiles", built_in.len());
}

#[test]
fn every_profile_of_an_mqtt_device_reads_what_its_cases_say() {
    for name in builtin::mqtt::names() {
        let link = link(name, "");
        let mut seen = BTreeSet::new();
        for case in items(&file(name), "cases") {
            seen.extend(check(name, &link, case));
        }
        let points: BTreeSet<_> = link.devices.get("d").unwrap().points.iter().map(|(n, _)| n.to_string()).collect();
        assert_eq!(seen, points, "{name}: the cases speak of all its points");
    }
}

/// Puts one message in and compares what comes of it. Returns the points it speaks of.
fn check(name: &str, link: &LinkSettings, case: &Node) -> BTreeSet<String> {
    let what = format!("{name} ({})", text(case, "what"));
    let mut roster = Roster::of(link);
    let message = Message { topic: text(case, "topic"), payload: text(case, "payload").as_bytes(), retained: false };
    let taken = roster.take(message, UNIX_EPOCH + NOW);
    assert!(taken.refused.is_empty(), "{what}: {:?}", taken.refused);
    let heard = taken.heard.into_iter().next().unwrap_or_else(|| panic!("{what}: nobody's"));
    if let Some(alive) = case.get("alive") {
        assert_eq!(heard.alive.map(Value::Bool), value(&alive.value), "{what}");
    }
    let good = case.get("readings").map_or(&[][..], |entry| entry.value.entries());
    let mut expected: BTreeMap<String, Option<Expected>> =
        good.iter().map(|entry| (entry.key.clone(), Some(expected(&entry.value)))).collect();
    expected.extend(items(case, "bad").iter().map(|point| (point.text().unwrap().to_owned(), None)));
    let points: BTreeSet<_> = heard.readings.iter().map(|reading| reading.point.to_string()).collect();
    assert_eq!(points, expected.keys().cloned().collect(), "{what}");
    let taken_at: SystemTime = match case.get("taken").map(|entry| entry.value.typed()) {
        Some(Some(Typed::Int(ms))) => UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap()),
        _ => UNIX_EPOCH + NOW,
    };
    for reading in heard.readings {
        assert_eq!(reading.taken_at, taken_at, "{what}");
        match &expected[reading.point.as_str()] {
            Some(expected) => {
                assert_eq!(reading.quality, Quality::Good, "{what}: {}", reading.point);
                assert!(
                    expected.is(&reading.value),
                    "{what}: {} is {:?}, not {expected:?}",
                    reading.point,
                    reading.value
                );
            }
            None => assert_eq!(reading.quality, Quality::Bad, "{what}: {}", reading.point),
        }
    }
    points
}

fn value(node: &Node) -> Option<Value> {
    let mut cx = wharf_contract::settings::Context::new("", &|_| Err("no secrets".into()));
    Value::decode(node, &mut cx)
}

#[test]
fn no_profile_of_an_mqtt_device_opens_a_point_for_writing() {
    for name in builtin::mqtt::names() {
        let driver = Mqtt::new("l".into(), &link(name, ""));
        assert!(driver.catalogue().iter().all(|point| point.write.is_none()), "{name}");
    }
}

/// The site file opens a point, and the profile knows how it is written.
#[test]
fn every_profile_of_an_mqtt_device_writes_what_its_cases_say() {
    let mut writes = 0;
    for name in builtin::mqtt::names() {
        for case in items(&file(name), "writes") {
            let point = text(case, "point");
            let link = link(name, &format!("{point}: {{write: {{}}}}"));
            let value = value(&case.get("value").unwrap().value).unwrap();
            let (topic, payload) = link.publication("d", point, &value).unwrap();
            assert_eq!(
                (topic.as_str(), String::from_utf8(payload).unwrap().as_str()),
                (text(case, "topic"), text(case, "payload")),
                "{name}"
            );
            writes += 1;
        }
        let writable = builtin::mqtt::get(name).unwrap().matches("write:").count();
        assert_eq!(writable, items(&file(name), "writes").len(), "{name}: the cases write all that can be written");
    }
    assert!(writes >= 5, "only {writes} writes");
}
