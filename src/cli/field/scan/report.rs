//! What a scan has found, for people, for scripts, and for the site file. Pure.

use std::fmt;

use serde_json::{Map, Value as Json, json};
use wharf_modbus::commission::scan::{Found, Told, is_one_device};

use crate::cli::words::{harmless, table};

/// Where something was found.
pub enum Place {
    /// A link of the site file.
    Link(String),
    /// What the link's keys are.
    Keys(Vec<(String, String)>),
}

/// `192.168.1.40:502`, `/dev/ttyUSB0 (9600, 8N1)`, `the link boiler-room`
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(name) => write!(f, "the link {name}"),
            Self::Keys(keys) => {
                let mut words = keys.iter().map(|(_, value)| value.as_str());
                f.write_str(words.next().unwrap_or_default())?;
                let rest: Vec<&str> = words.collect();
                if rest.is_empty() { Ok(()) } else { write!(f, " ({})", rest.join(", ")) }
            }
        }
    }
}

/// Everything that was found, as tables, and as text for the site file.
pub fn human(reports: &[(Place, Vec<Found>)], asked: usize) -> String {
    let heard = reports.iter().filter(|(_, found)| !found.is_empty());
    let parts = heard.map(|(place, found)| {
        let one = is_one_device(found, asked);
        let shown = if one { &found[..1] } else { found };
        let remark = if one {
            format!("\nall {asked} unit ids answer alike: this is one device, and it does not look at the unit id\n")
        } else {
            String::new()
        };
        let yaml = yaml(place, shown);
        format!("{place}\n\n{}\n{remark}\n{yaml}", rows(shown))
    });
    parts.collect::<Vec<_>>().join("\n\n")
}

fn rows(found: &[Found]) -> String {
    let cells: Vec<Vec<String>> = found
        .iter()
        .map(|found| {
            let told = |table: &str| {
                let told = found.tables.iter().find(|(name, _)| *name == table).map(|(_, told)| told);
                told.map(brief).unwrap_or_default()
            };
            vec![
                found.unit.to_string(),
                format!("{} ms", found.took.as_millis()),
                told("holding"),
                told("input"),
                told("coil"),
                told("discrete"),
                is(found),
            ]
        })
        .collect();
    let header = ["UNIT", "ANSWERS IN", "HOLDING 0", "INPUT 0", "COIL 0", "DISCRETE 0", "IDENTIFICATION"];
    table(&header, 0, 6, &cells)
}

/// An answer in a cell: the value, `exc. 2`, `-`.
fn brief(told: &Told) -> String {
    match told {
        Told::Value(value) => value.to_string(),
        Told::Refusal(reason) => {
            let code = reason.split_once("(exception ").and_then(|(_, rest)| rest.split_once(')'));
            code.map_or_else(|| "no".into(), |(code, _)| format!("exc. {code}"))
        }
        Told::Nothing => "-".into(),
        Told::Garbled(_) => "garbled".into(),
    }
}

/// What a unit says it is, in one line; or why nothing can be told.
fn is(found: &Found) -> String {
    if !found.is_clear() {
        return "(only garbled answers: wrong speed or frame, or two devices with this unit id)".into();
    }
    let parts: Vec<&str> = found.identification.iter().map(|(_, text)| text.as_str()).collect();
    harmless(&parts.join(", "))
}

/// The devices as they can stand in the site file.
fn yaml(place: &Place, found: &[Found]) -> String {
    let mut text = String::from("modbus:\n");
    match place {
        Place::Link(name) => text += &format!("  {name}:                # add to its devices\n"),
        Place::Keys(keys) => {
            text += "  found:\n";
            for (key, value) in keys {
                text += &format!("    {key}: {}\n", quoted(value));
            }
        }
    }
    text += "    devices:\n";
    for found in found.iter().filter(|found| found.is_clear()) {
        let remark = is(found);
        let remark = if remark.is_empty() { remark } else { format!("  # {remark}") };
        text += &format!("      unit-{0}: {{ unit: {0}, points: {{}} }}{remark}\n", found.unit);
    }
    text.truncate(text.trim_end().len());
    text
}

/// A value as it can stand in YAML: in quotes unless it is made of harmless letters.
fn quoted(value: &str) -> String {
    let plain = value.chars().all(|c| c.is_ascii_alphanumeric() || "./:_-".contains(c)) && !value.ends_with(':');
    if plain { value.to_owned() } else { Json::from(value).to_string() }
}

/// One unit as a script reads it.
pub fn json(place: &Place, found: &Found) -> Json {
    let mut json = Map::new();
    match place {
        Place::Link(name) => {
            json.insert("link".into(), json!(name));
        }
        Place::Keys(keys) => json.extend(keys.iter().map(|(key, value)| (key.clone(), json!(value)))),
    }
    json.insert("unit_id".into(), json!(found.unit));
    json.insert("clear".into(), json!(found.is_clear()));
    json.insert("took_ms".into(), json!(u64::try_from(found.took.as_millis()).unwrap_or(u64::MAX)));
    let tables = found.tables.iter().map(|(table, told)| {
        let told = match told {
            Told::Value(value) => json!({ "value": value }),
            Told::Refusal(reason) => json!({ "refused": reason }),
            Told::Nothing => Json::Null,
            Told::Garbled(reason) => json!({ "garbled": reason }),
        };
        ((*table).to_owned(), told)
    });
    json.insert("tables".into(), tables.collect::<Map<_, _>>().into());
    let identification = found.identification.iter().map(|(name, text)| (name.clone(), json!(text)));
    json.insert("identification".into(), identification.collect::<Map<_, _>>().into());
    Json::Object(json)
}

/// That nobody answered, and what to look at. `noise`: bytes came that make no frame.
pub fn nobody(reports: &[(Place, Vec<Found>)], noise: bool) -> String {
    let garbled = reports.iter().any(|(_, found)| !found.is_empty());
    let serial = reports.iter().any(|(place, _)| match place {
        Place::Keys(keys) => keys.iter().any(|(key, _)| key == "serial"),
        Place::Link(_) => false,
    });
    match (garbled, serial) {
        (false, _) if noise => {
            "nobody answered, but bytes arrive that make no frame: try other speeds and frames (--baud 9600,19200,38400 \
             --frame 8N1,8E1)"
        }
        (true, _) => "only garbled answers came: try other speeds and frames (--baud 9600,19200,38400 --frame 8N1,8E1)",
        (false, true) => {
            "nobody answered: are A and B swapped, is the device powered, is there another speed or frame (--baud \
             9600,19200,38400 --frame 8N1,8E1)?"
        }
        (false, false) => "nobody answered: is there another unit id, or does a gateway need longer (--timeout 3s)?",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::config;

    fn keys() -> Place {
        let keys = [("serial", "/dev/serial/by-id/usb-FTDI_1"), ("baud", "19200"), ("frame", "8E1")];
        Place::Keys(keys.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec())
    }

    fn found(unit: u8, told: Told, identification: &[(&str, &str)]) -> Found {
        let tables =
            vec![("holding", told), ("input", Told::Value(7)), ("coil", Told::Nothing), ("discrete", Told::Nothing)];
        let identification = identification.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Found { unit, tables, identification: identification.collect(), took: Duration::from_millis(12) }
    }

    #[test]
    fn what_was_found_is_a_table_and_the_beginning_of_a_site_file() {
        let refused = Told::Refusal("illegal data address (exception 2): the device has no such register".into());
        let garbled = |table: &'static str| (table, Told::Garbled("a wrong checksum".into()));
        let units = vec![
            found(3, Told::Value(2305), &[("vendor", "Eastron"), ("product code", "SDM\x1b[2J: #120")]),
            found(12, refused, &[]),
            Found { tables: vec![garbled("holding"), garbled("input")], ..found(13, Told::Nothing, &[]) },
        ];
        let said = human(&[(keys(), units)], 247);
        insta::assert_snapshot!(said);
        let yaml = &said[said.find("modbus:").unwrap()..];
        let site = config::read(&format!("gateway: gw1\n{yaml}\n"), Path::new("site.yaml"), &|_| Err("none".into()));
        let site = site.unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(site.modbus.get("found").unwrap().devices.len(), 2);
    }

    #[test]
    fn a_device_that_answers_to_everything_is_shown_once() {
        let place = Place::Keys(vec![("tcp".into(), "meter".into())]);
        let all = (1..=247).map(|unit| found(unit, Told::Value(1), &[])).collect();
        insta::assert_snapshot!(human(&[(place, all)], 247));
    }

    #[test]
    fn what_is_no_plain_word_is_put_in_quotes() {
        assert_eq!(quoted("192.168.1.40:502"), "192.168.1.40:502");
        assert_eq!(quoted("[fe80::1]:502"), "\"[fe80::1]:502\"");
        assert_eq!(quoted("a #b"), "\"a #b\"");
    }
}
