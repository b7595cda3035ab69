//! A register map as makers hand it out, a table in CSV, → points for the site file.
//!
//! [`import`] is pure. [`csv`] takes the text apart, [`columns`] finds out what each column means
//! from its heading, [`words`] reads what stands in the cells. Whatever comes out has been through
//! the same decoder as the site file, so what is printed can be pasted.

mod columns;
mod csv;
mod words;

use std::collections::HashSet;

use wharf_contract::settings::{Context, Setting};

use crate::config::tree;
use columns::{Columns, Field};
pub use words::Table;
use words::{Kind, Place};

/// The most rows of one map.
const MOST_ROWS: usize = 100_000;

/// What a map does not say of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Assumptions {
    /// The table of addresses that do not say it.
    pub table: Option<Table>,
    /// Plain addresses are counted from 1, as most manuals do.
    pub one_based: bool,
}

/// What came of a map.
#[derive(Debug, Default, PartialEq)]
pub struct Import {
    /// Points as lines of YAML, `name: { holding: 0x0010, type: f32 }`, in the order of the map.
    pub points: Vec<String>,
    /// Lines of the map that were not understood, by number from 1, and why.
    pub unread: Vec<(usize, String)>,
}

/// Reads a map. `Err` when there is no telling which column is which.
pub fn import(text: &str, assumptions: Assumptions) -> Result<Import, String> {
    let rows = csv::rows(text)?;
    if rows.len() > MOST_ROWS {
        return Err(format!("more than {MOST_ROWS} rows"));
    }
    let (columns, heading) = Columns::find(&rows)?;
    let mut import = Import::default();
    let mut names = HashSet::new();
    for row in rows.iter().skip(heading + 1).filter(|row| !row.is_empty()) {
        let line = point(&columns, row, assumptions, &mut names).and_then(|line| proven(&line).map(|()| line));
        match line {
            Ok(line) => import.points.push(line),
            Err(why) => import.unread.push((row.line, why)),
        }
    }
    Ok(import)
}

/// One row as a point.
fn point(
    columns: &Columns,
    row: &csv::Row,
    assumptions: Assumptions,
    names: &mut HashSet<String>,
) -> Result<String, String> {
    let cell = |field| columns.cell(row, field);
    let address = cell(Field::Address).ok_or("it has no address")?;
    let said = cell(Field::Table).map(words::table).transpose()?;
    let kind = cell(Field::Type).map(|text| words::kind(text, cell(Field::Length))).transpose()?;
    let table = said.or(assumptions.table);
    let place = words::place(address, table, assumptions.one_based)?;
    let name = words::name(cell(Field::Name).ok_or("it has no name")?, names)?;
    if cell(Field::Access).is_some_and(words::is_write_only) {
        return Err("it can only be written".into());
    }
    let keys = [
        Some(format!("{}: 0x{:04X}", place.table.key(), place.address)),
        kind_keys(kind, &place),
        cell(Field::Order)
            .map(|text| Ok(format!("order: {}", words::order(text)?)))
            .transpose()
            .map_err(|e: String| e)?,
        scale(columns, row)?,
        cell(Field::Offset).map(words::number).transpose()?.filter(|n| *n != 0.0).map(|n| format!("offset: {n}")),
        cell(Field::Unit).and_then(words::unit).map(|unit| format!("unit: {unit}")),
    ];
    let keys: Vec<String> = keys.into_iter().flatten().collect();
    Ok(format!("{name}: {{ {} }}", keys.join(", ")))
}

/// The keys that say what stands there; none where that goes without saying.
fn kind_keys(kind: Option<Kind>, place: &Place) -> Option<String> {
    match kind? {
        Kind::Bit if place.table.is_bits() => None,
        Kind::Bit => Some("type: bool".into()),
        Kind::Number(word) => Some(format!("type: {word}")),
        Kind::Text { registers } => Some(format!("type: string, length: {registers}")),
    }
}

/// The factor, from a column of factors or of divisors.
fn scale(columns: &Columns, row: &csv::Row) -> Result<Option<String>, String> {
    let factor = columns.cell(row, Field::Scale).map(words::factor).transpose()?;
    let divisor = columns.cell(row, Field::Divisor).map(words::number).transpose()?;
    let scale = match (factor, divisor) {
        (Some(factor), _) => factor,
        (None, Some(0.0)) => return Err("it is divided by 0".into()),
        (None, Some(divisor)) => 1.0 / divisor,
        (None, None) => 1.0,
    };
    Ok((scale != 1.0).then(|| format!("scale: {scale}")))
}

/// Whether the decoder takes a point; if not, what it says.
fn proven(line: &str) -> Result<(), String> {
    let parsed = tree::parse(&format!("unit: 1\npoints:\n  {line}\n"));
    let mut problems = parsed.problems;
    if let Some(root) = &parsed.root {
        let mut cx = Context::new("", &|_| Err("a map has no secrets".into()));
        wharf_modbus::DeviceSettings::decode(root, &mut cx);
        problems.extend(cx.finish().0.into_iter().filter(|problem| !problem.is_warning()));
    }
    problems.first().map_or(Ok(()), |problem| Err(problem.message.clone()))
}

#[cfg(test)]
mod tests;
