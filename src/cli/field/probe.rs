//! `wharf probe`: what do these registers mean?

use clap::Args;
use serde_json::{Value as Json, json};
use wharf_modbus::commission::probe::{Candidate, Match, WIDEST, candidates, rank, texts};
use wharf_modbus::commission::{Spot, Trouble};

use super::form::{Form, wrong};
use super::show::{brief, is_for_people};
use super::target::{Device, Whom};
use crate::cli::exit::{self, Exit};
use crate::cli::words::{harmless, table};

/// The orders, as the columns of the table.
const ORDERS: [&str; 4] = ["ABCD", "CDAB", "BADC", "DCBA"];

/// How many matches are shown.
const SHOWN: usize = 8;

/// Show an address in every type and order.
#[derive(Args)]
#[command(override_usage = "wharf probe <SITE> <DEVICE> <ADDRESS> [--expect <VALUE>]
       wharf probe --tcp <HOST[:PORT]> [--unit <ID>] <ADDRESS> [--expect <VALUE>]
       wharf probe --serial <PATH> [--baud <BAUD>] [--unit <ID>] <ADDRESS> [--expect <VALUE>]")]
pub struct ProbeArgs {
    /// What to look at: an address such as holding:100; before it, a site file and a device
    #[arg(value_name = "WHAT", required = true, num_args = 1..=3)]
    what: Vec<String>,
    /// The value that the device shows: what comes near it is ranked, also with a scale, and also
    /// beside the address if nothing there does
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    expect: Option<f64>,
    #[command(flatten)]
    whom: Whom,
}

/// Reads and prints. Exit code 1 if nothing could be read, or nothing comes near what is expected.
pub async fn run(args: &ProbeArgs) -> Result<(), Exit> {
    let what: Vec<&str> = args.what.iter().map(String::as_str).collect();
    let (mut device, address) = match (args.whom.is_given(), what.as_slice()) {
        (true, [address]) => (args.whom.device()?, *address),
        (false, [site, device, address]) => (args.whom.at(site)?.device(device, false)?, *address),
        _ => {
            let usage =
                "write an address such as holding:100, with --tcp or --serial, or after a site file and a device";
            return Err(wrong(usage));
        }
    };
    if args.expect.is_some_and(|expected| !expected.is_finite()) {
        return Err(wrong("--expect: a number is wanted"));
    }
    let here =
        Sight::of(&mut device, address)?.look(&mut device).await.map_err(|trouble| Exit::failure(&trouble.into()))?;
    let Some(expected) = args.expect else { return print_all(&here, args.whom.json) };
    let mut matches = here.matches(expected);
    if !matches.iter().any(|found| found.hit.is_close()) {
        for beside in here.neighbours() {
            // There may be nothing, and then it is not there that the value stands.
            if let Ok(sight) = Sight::of(&mut device, &beside)?.look(&mut device).await {
                matches.extend(sight.matches(expected));
            }
        }
        // What is as near at the address itself comes first, for sorting keeps the order.
        matches.sort_by_key(|found| found.hit.nearness());
    }
    print_matches(&here, &matches, expected, args.whom.json)
}

/// Registers that are looked at.
struct Sight {
    spot: Spot,
    registers: Vec<u16>,
}

/// A match, and where it is.
struct Located {
    table: &'static str,
    address: u16,
    hit: Match,
}

impl Sight {
    /// The place, not looked at yet.
    fn of(device: &mut Device, address: &str) -> Result<Self, Exit> {
        let point = Form::default().at(address)?;
        let spot = device.tester.spot(&device.name, &point).ok_or(Exit::USAGE)?;
        Ok(Self { spot, registers: Vec::new() })
    }

    async fn look(mut self, device: &mut Device) -> Result<Self, Trouble> {
        self.registers = device.tester.registers(&self.spot, WIDEST).await?;
        Ok(self)
    }

    fn matches(&self, expected: f64) -> Vec<Located> {
        let found = rank(&self.registers, &candidates(&self.registers), expected);
        let (table, address) = (self.spot.table(), self.spot.address());
        found.into_iter().map(|hit| Located { table, address, hit }).collect()
    }

    fn is_at(&self, found: &Located) -> bool {
        (found.table, found.address) == (self.spot.table(), self.spot.address())
    }

    /// Where the value may stand instead: manuals count from 1 and mix the tables up.
    fn neighbours(&self) -> Vec<String> {
        let (table, address) = (self.spot.table(), self.spot.address());
        let other = if table == "holding" { "input" } else { "holding" };
        let beside = [address.checked_sub(1), address.checked_add(1)];
        let beside = beside.into_iter().flatten().map(|address| format!("{table}:{address}"));
        beside.chain([format!("{other}:{address}")]).collect()
    }

    /// `holding 100 of unit 3: 4366 8000`
    fn title(&self) -> String {
        let words: Vec<String> = self.registers.iter().map(|register| format!("{register:04X}")).collect();
        let (table, address, unit) = (self.spot.table(), self.spot.address(), self.spot.unit_id());
        format!("{table} {address} of unit {unit}: {}", words.join(" "))
    }
}

/// Every type in every order.
fn print_all(sight: &Sight, json: bool) -> Result<(), Exit> {
    let found = candidates(&sight.registers);
    let texts = texts(&sight.registers);
    if is_for_people(json) {
        return crate::cli::say(&all_in_words(&sight.title(), &found, &texts));
    }
    for candidate in &found {
        let mut json = place_json(sight.spot.table(), sight.spot.address());
        json["type"] = candidate.kind.into();
        json["order"] = candidate.order.into();
        json["value"] = candidate.value.to_json();
        crate::cli::say(&json.to_string())?;
    }
    for (order, text) in texts {
        let mut json = place_json(sight.spot.table(), sight.spot.address());
        json["type"] = "string".into();
        json["order"] = order.into();
        json["value"] = text.into();
        crate::cli::say(&json.to_string())?;
    }
    Ok(())
}

fn all_in_words(title: &str, found: &[Candidate], texts: &[(&str, String)]) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut add = |kind: &str, order: &str, value: String| {
        let column = ORDERS.iter().position(|known| *known == order).map_or(1, |column| column + 1);
        if rows.last().is_none_or(|row| row[0] != kind) {
            rows.push(std::iter::once(kind.to_owned()).chain(ORDERS.map(|_| String::new())).collect());
        }
        if let Some(row) = rows.last_mut() {
            row[column] = value;
        }
    };
    for candidate in found {
        add(candidate.kind, candidate.order, brief(&candidate.value));
    }
    for (order, text) in texts {
        add("string", order, harmless(text));
    }
    let header: Vec<&str> = std::iter::once("TYPE").chain(ORDERS).collect();
    format!("{title}\n\n{}", table(&header, header.len(), header.len(), &rows))
}

/// What comes near the expected value, the best first, and that for the site file.
fn print_matches(sight: &Sight, matches: &[Located], expected: f64, json: bool) -> Result<(), Exit> {
    let Some(best) = matches.first() else {
        exit::complain(&format_args!(
            "wharf: nothing near {expected} at this address or beside it ({})",
            sight.title()
        ));
        return Err(Exit::FAILED);
    };
    if is_for_people(json) {
        return crate::cli::say(&matches_in_words(&sight.title(), sight.is_at(best), matches, expected));
    }
    for found in matches.iter().take(SHOWN) {
        let mut json = place_json(found.table, found.address);
        json["type"] = found.hit.candidate.kind.into();
        json["order"] = found.hit.candidate.order.into();
        json["scale"] = found.hit.scale.into();
        json["value"] = found.hit.value.to_json();
        json["off"] = found.hit.off.into();
        json["point"] = point_json(found);
        crate::cli::say(&json.to_string())?;
    }
    Ok(())
}

fn matches_in_words(title: &str, is_here: bool, matches: &[Located], expected: f64) -> String {
    let row = |found: &Located| {
        vec![
            format!("{} {}", found.table, found.address),
            found.hit.candidate.kind.to_owned(),
            found.hit.candidate.order.to_owned(),
            found.hit.scale.to_string(),
            brief(&found.hit.value),
            format!("{:.1} %", found.hit.off * 100.0),
        ]
    };
    let rows: Vec<Vec<String>> = matches.iter().take(SHOWN).map(row).collect();
    let table = table(&["ADDRESS", "TYPE", "ORDER", "SCALE", "VALUE", "OFF BY"], 3, 6, &rows);
    let mut said = format!("{title}, near {expected}\n\n{table}\n\n");
    if let Some(best) = matches.first() {
        if !is_here {
            said += &format!("it does not stand at the address itself, but at {} {}\n", best.table, best.address);
        }
        said += &format!("for the site file:\n          name: {}", point_yaml(best));
    }
    said
}

fn place_json(table: &str, address: u16) -> Json {
    json!({ "table": table, "address": address })
}

/// The point with what is not its default.
fn point_json(found: &Located) -> Json {
    let mut point = json!({ found.table: found.address });
    if found.hit.candidate.kind != "u16" {
        point["type"] = found.hit.candidate.kind.into();
    }
    if found.hit.candidate.order != ORDERS[0] {
        point["order"] = found.hit.candidate.order.into();
    }
    if found.hit.scale != 1.0 {
        point["scale"] = found.hit.scale.into();
    }
    point
}

/// The same as it can stand in the site file: `{ holding: 100, type: f32 }`.
fn point_yaml(found: &Located) -> String {
    let point = point_json(found);
    let word = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let keys = point.as_object().into_iter().flatten().map(|(key, value)| format!("{key}: {}", word(value)));
    format!("{{ {} }}", keys.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_and_order_is_a_cell_of_a_table() {
        let registers = [0x4366, 0x8000];
        insta::assert_snapshot!(all_in_words("holding 100 of unit 3: 4366 8000", &candidates(&registers), &[]));
    }

    #[test]
    fn the_best_match_is_ready_for_the_site_file() {
        let registers = [0x8000, 0x4366];
        let found = rank(&registers, &candidates(&registers), 230.0);
        let located = |hit: Match| Located { table: "holding", address: 99, hit };
        let matches: Vec<Located> = found.into_iter().map(located).collect();
        assert_eq!(point_yaml(&matches[0]), "{ holding: 99, type: f32, order: CDAB }");
        insta::assert_snapshot!(matches_in_words("holding 100 of unit 3: 4366 0000", false, &matches, 230.0));
    }
}
