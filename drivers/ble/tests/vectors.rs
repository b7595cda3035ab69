//! Recorded advertisements, and what independent libraries read in them: see `vectors/NOTICE`.
//!
//! Every value the libraries know must be in what we read, within the digits they round to; where
//! they read nothing, neither may we. Rows of one test are heard one after the other: a library's
//! answer to the third holds what the first two said, so ours are gathered too.

#![expect(clippy::unwrap_used, reason = "everything here is a test")]

#[path = "vectors/apart.rs"]
mod apart;
#[path = "vectors/names.rs"]
mod names;
#[path = "vectors/rows.rs"]
mod rows;

use std::collections::BTreeMap;
use std::iter;

use apart::{DISAGREE, REFUSED};
use names::{As, NAMES, NORM};
use serde_json::Value as Json;
use wharf_ble::advert::{self, Absent, Key, Kind, Known, Outcome};
use wharf_contract::Value;

/// Families whose format is not written yet.
const NOT_YET: &[&str] = &[];

#[derive(Default)]
struct Tally {
    rows: usize,
    compared: usize,
    impossible: usize,
    silent: usize,
    refused: usize,
    reasons: usize,
}

#[test]
fn every_recorded_advertisement_is_read_as_its_library_reads_it() {
    let mut wrong = Vec::new();
    for (family, rows) in rows::families() {
        let family = family.as_str();
        if NOT_YET.contains(&family) {
            println!("{family:16} not yet");
            continue;
        }
        let tally = check_family(family, &rows, &mut wrong);
        let Tally { rows, compared, impossible, silent, refused, reasons } = tally;
        println!(
            "{family:16} {rows:4} rows {compared:5} values compared, {impossible:2} of them impossible \
             {silent:4} rows without, {refused} refused, {reasons} for a reason that is known"
        );
    }
    assert!(wrong.is_empty(), "{} disagreements:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn no_family_is_left_out() {
    assert_eq!(NOT_YET, [""; 0]);
}

/// What was heard of one device before, within one test of a library.
#[derive(Default)]
struct Before {
    test: String,
    update: u64,
    manufacturer_data: BTreeMap<u16, Vec<u8>>,
    model: Option<String>,
    values: BTreeMap<String, Result<Value, Absent>>,
}

fn check_family(family: &str, rows: &[Json], wrong: &mut Vec<String>) -> Tally {
    let mut tally = Tally::default();
    let mut before = Before::default();
    for row in rows {
        let test = row["test"].as_str().unwrap().rsplit("::").next().unwrap().to_owned();
        let update = row["update_no"].as_u64().unwrap_or(0);
        if before.test != test || update <= before.update {
            before = Before { test: test.clone(), ..Before::default() };
        }
        before.update = update;
        tally.rows += 1;
        let outcome = hear(row, &mut before);
        let expected = expected(family, row, wrong);
        let disagreement = |theirs: &str| {
            let fits = |(of, name, value, _): &&(&str, &str, &str, &str)| {
                *of == family && test.starts_with(name) && (*value == "*" || theirs.starts_with(value))
            };
            DISAGREE.iter().any(|known| fits(&known))
        };
        if expected.is_empty() {
            tally.silent += 1;
            tally.refused += usize::from(matches!(outcome, Outcome::Refused(_)));
            let read: Vec<_> = before.values.iter().filter(|(_, value)| value.is_ok()).collect();
            if !read.is_empty() && !disagreement("*") {
                wrong.push(format!("{family} {test} {update}: they read nothing, we read {read:?}"));
            }
        }
        for (theirs, points, value) in expected {
            if disagreement(&theirs) {
                continue;
            }
            tally.compared += 1;
            let found = points.iter().find_map(|point| before.values.get(point));
            tally.impossible += usize::from(matches!(found, Some(Err(Absent::Implausible(_)))));
            if !value.fits(found) {
                wrong.push(format!(
                    "{family} {test} {update}: {theirs} is {value:?} and we read {found:?} in {outcome:?}"
                ));
            }
        }
        let fits = |(of, name, row, _): &&(&str, &str, u64, &str)| *of == family && test == *name && *row == update;
        for (.., reason) in REFUSED.iter().filter(fits) {
            tally.reasons += 1;
            let told = match &outcome {
                Outcome::Refused(refusal) => format!("{refusal:?}"),
                other => format!("{other:?}"),
            };
            if !told.starts_with(reason) {
                wrong.push(format!("{family} {test} {update}: refused as {reason} by them, by us {told}"));
            }
        }
    }
    tally
}

/// Reads a row and gathers its values.
fn hear(row: &Json, before: &mut Before) -> Outcome {
    let advert = rows::advert_of(row, &mut before.manufacturer_data);
    let key: Option<Key> = row["bindkey"].as_str().map(|text| text.parse().unwrap());
    let hint = row["model_hint"].as_str();
    let model = before.model.clone();
    let outcome =
        advert::read(&advert, &Known { key: key.as_ref(), model: model.as_deref().or(hint), ..Known::default() });
    // What happened a moment ago is no longer true; what was measured is.
    let events: Vec<_> =
        advert::quantity::ALL.iter().filter(|quantity| quantity.kind == Kind::Event).map(|event| event.name).collect();
    before.values.retain(|point, _| !events.iter().any(|event| point.starts_with(event)));
    // A beacon beside the readings is none of what the libraries look for.
    if let Outcome::Heard(frame) = &outcome
        && frame.format != "iBeacon"
    {
        before.model = frame.model.as_deref().map(str::to_owned).or(model);
        let values = frame.values.iter().map(|datum| (datum.point.to_string(), datum.value.clone()));
        before.values.extend(values);
    }
    outcome
}

/// What a library says a value is.
#[derive(Debug)]
enum Theirs {
    Number { number: f64, within: f64 },
    Bool(bool),
    Text(String),
    Nothing,
}

impl Theirs {
    /// A number is right within the digits it is written with.
    fn number(json: &Json, factor: f64) -> Self {
        let text = json.to_string();
        let decimals = text.split_once('.').map_or("", |(_, decimals)| decimals).len();
        let number: f64 = text.parse().unwrap();
        let rounding = if decimals == 0 { 0.0 } else { 0.5 * 10f64.powi(-i32::try_from(decimals).unwrap()) };
        let number = number * factor;
        Self::Number { number, within: (rounding * factor + number.abs() * 1e-9).abs() }
    }

    fn fits(&self, ours: Option<&Result<Value, Absent>>) -> bool {
        let ours = match ours {
            None | Some(Err(Absent::NoValue)) => return matches!(self, Self::Nothing),
            // What they pass on although it cannot be.
            Some(Err(Absent::Implausible(_))) => {
                return matches!(self, Self::Number { .. } | Self::Nothing | Self::Text(_));
            }
            Some(Err(Absent::Fault(_))) => return matches!(self, Self::Nothing | Self::Text(_)),
            Some(Ok(Value::Int(int))) => Value::Float(*int as f64),
            Some(Ok(value)) => value.clone(),
        };
        match (self, ours) {
            (Self::Number { number, within }, Value::Float(ours)) => (number - ours).abs() <= *within + 1e-12,
            (Self::Bool(theirs), Value::Bool(ours)) => *theirs == ours,
            (Self::Text(theirs), Value::Text(ours)) => *theirs == ours,
            _ => false,
        }
    }
}

/// What a row says there is: their name, our names for it, the value.
fn expected(family: &str, row: &Json, wrong: &mut Vec<String>) -> Vec<(String, Vec<String>, Theirs)> {
    let mut all = Vec::new();
    let objects = |json: &Json| json.as_object().cloned().unwrap_or_default();
    let expect = objects(&row["expect"]);
    for section in ["sensors", "binary", "events", "data"] {
        for (name, value) in objects(expect.get(section).unwrap_or(&Json::Null)) {
            let (unit, value) = match (section, value) {
                ("sensors", Json::Object(mut sensor)) => (
                    sensor.get("unit").and_then(Json::as_str).unwrap_or_default().to_owned(),
                    sensor.remove("value").unwrap_or_default(),
                ),
                (_, value) => (String::new(), value),
            };
            one(family, section, &name, &unit, &value, &mut all, wrong);
        }
    }
    if family == "ruuvi_official" {
        for (name, value) in &expect {
            let (number, unit) = value.as_str().unwrap().split_once(' ').unwrap_or((value.as_str().unwrap(), ""));
            // Some are filled up with zeros.
            let digits = number.trim_start_matches('0');
            let number = if digits.starts_with(|first: char| first.is_ascii_digit() || first == '-') {
                digits.to_owned()
            } else {
                format!("0{digits}")
            };
            let value = serde_json::from_str(&number).unwrap_or(Json::Null);
            one(family, "table", &name.to_lowercase(), unit, &value, &mut all, wrong);
        }
    }
    if row["update_no"].as_u64().unwrap_or(0) == 0 {
        for (name, value) in objects(&row["norm"]) {
            let Some((_, ours)) = NORM.iter().find(|(theirs, _)| *theirs == name) else {
                wrong.push(format!("{family}: no name of ours for {name}"));
                continue;
            };
            let value = if value.is_null() { Theirs::Nothing } else { Theirs::number(&value, 1.0) };
            all.push((name, ours.iter().map(ToString::to_string).collect(), value));
        }
    }
    all
}

fn one(
    family: &str,
    section: &str,
    name: &str,
    unit: &str,
    value: &Json,
    all: &mut Vec<(String, Vec<String>, Theirs)>,
    wrong: &mut Vec<String>,
) {
    let line = |name: &str| {
        NAMES.iter().find(|(of, in_section, theirs, in_unit, ..)| {
            (*of == "*" || *of == family)
                && *in_section == section
                && *theirs == name
                && (in_unit.is_empty() || *in_unit == unit)
        })
    };
    // The first of several has a number with them and none with us.
    let (base, number) = match name.rsplit_once('_') {
        Some((base, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => (base, number),
        _ => (name, "1"),
    };
    let Some((.., ours, how)) = line(name).or_else(|| line(base)) else {
        // What a table does not name is not compared in the two that hold everything there is.
        if !matches!(section, "data" | "table") {
            wrong.push(format!("{family}: no name of ours for {section} {name} in {unit:?}"));
        }
        return;
    };
    let kind = value["type"].as_str().unwrap_or_default();
    let mut point = if number == "1" || line(name).is_some() { (*ours).to_owned() } else { format!("{ours}_{number}") };
    let other = if let As::Or(other) = how { Some((*other).to_owned()) } else { None };
    let value = match how {
        As::Never(_) => return,
        _ if value.is_null() => Theirs::Nothing,
        As::ZeroIsNone if value.as_f64() == Some(0.0) => Theirs::Nothing,
        As::NotZero => Theirs::Bool(value.as_i64() != Some(0)),
        As::Same if section == "binary" => Theirs::Bool(value.as_bool().unwrap_or_else(|| value == 1)),
        As::Same | As::Or(_) | As::ZeroIsNone if value.is_number() => Theirs::number(value, 1.0),
        As::Same | As::Or(_) | As::ZeroIsNone if value.is_string() => Theirs::Text(value.as_str().unwrap().to_owned()),
        As::Same | As::Or(_) | As::ZeroIsNone => Theirs::Bool(value.as_bool().unwrap()),
        As::Times(factor) => Theirs::number(value, *factor),
        As::Happened => Theirs::Bool(true),
        As::Text => Theirs::Text(kind.to_owned()),
        As::Steps if !kind.starts_with("rotate") => {
            point = "button".to_owned();
            Theirs::Text(kind.to_owned())
        }
        As::Steps => {
            let steps = value["properties"]["steps"].as_i64().unwrap_or(1);
            Theirs::number(&Json::from(steps), if kind.contains("left") { -1.0 } else { 1.0 })
        }
    };
    all.push((name.to_owned(), iter::once(point).chain(other).collect(), value));
}
