//! What was read, for people and for scripts.

use std::io::IsTerminal;

use serde_json::{Map, Value as Json, json};
use wharf_contract::Value;
use wharf_modbus::commission::{Content, Seen, Spot, Trouble};

use crate::cli::words::{harmless, table};

/// Whether what is printed is for people: a table on a terminal, else a JSON object a line.
pub fn is_for_people(json: bool) -> bool {
    !json && std::io::stdout().is_terminal()
}

/// One value as it was read, or why it was not.
pub struct Row {
    /// The device, if a site file gave it a name.
    pub device: Option<String>,
    /// The point, if it has a name.
    pub point: Option<String>,
    pub spot: Option<Spot>,
    pub outcome: Outcome,
}

/// What came of it.
pub enum Outcome {
    /// Registers or bits, and what they come to.
    Seen(Seen),
    /// A value without registers, from a gateway.
    Value(Json),
    /// Nothing, at this address.
    Nothing(Option<u16>, String),
}

impl Row {
    /// A row of what the tester read.
    pub fn read(device: Option<&str>, spot: &Spot, outcome: Result<Seen, (u16, Trouble)>) -> Self {
        let outcome = match outcome {
            Ok(seen) => Outcome::Seen(seen),
            Err((address, trouble)) => Outcome::Nothing(Some(address), trouble.to_string()),
        };
        let point = Some(spot.name().to_owned()).filter(|name| !name.is_empty());
        Self { device: device.map(str::to_owned), point, spot: Some(spot.clone()), outcome }
    }

    /// Whether there is a value.
    pub fn is_good(&self) -> bool {
        match &self.outcome {
            Outcome::Seen(seen) => seen.value.is_ok(),
            Outcome::Value(_) => true,
            Outcome::Nothing(..) => false,
        }
    }

    /// The row as a script reads it.
    pub fn to_json(&self) -> Json {
        let mut json = Map::new();
        let mut put = |key: &str, value: Json| json.insert(key.to_owned(), value);
        if let Some(device) = &self.device {
            put("device", json!(device));
        }
        if let Some(point) = &self.point {
            put("point", json!(point));
        }
        if let Some(spot) = &self.spot {
            put("unit_id", json!(spot.unit_id()));
            put("table", json!(spot.table()));
        }
        match &self.outcome {
            Outcome::Seen(seen) => {
                put("address", json!(seen.address));
                match &seen.content {
                    Content::Bits(bits) => put("bits", json!(bits)),
                    Content::Registers(registers) => put("registers", json!(registers)),
                };
                match &seen.value {
                    Ok(value) => put("value", value.to_json()),
                    Err(error) => put("error", json!(error)),
                };
            }
            Outcome::Value(value) => {
                put("value", value.clone());
            }
            Outcome::Nothing(address, error) => {
                if let Some(address) = address {
                    put("address", json!(address));
                }
                put("error", json!(error));
            }
        }
        if let Some(unit) = self.spot.as_ref().and_then(Spot::unit) {
            put("unit", json!(unit));
        }
        Json::Object(json)
    }

    fn cells(&self) -> Vec<String> {
        let place = |address: u16| self.spot.as_ref().map(|spot| format!("{} {address}", spot.table()));
        let (address, content, value) = match &self.outcome {
            Outcome::Seen(seen) => {
                let value = match &seen.value {
                    Ok(value) => with_unit(&brief(value), self.spot.as_ref().and_then(Spot::unit)),
                    Err(error) => format!("({})", harmless(error)),
                };
                (place(seen.address), seen.content.to_string(), value)
            }
            Outcome::Value(value) => (None, String::new(), bare(value)),
            Outcome::Nothing(address, error) => {
                (address.and_then(place), String::new(), format!("({})", harmless(error)))
            }
        };
        vec![self.point.clone().unwrap_or_default(), address.unwrap_or_default(), content, value]
    }
}

/// The rows as a table. Columns that nobody needs are left out.
pub fn human(rows: &[Row]) -> String {
    let cells: Vec<Vec<String>> = rows.iter().map(Row::cells).collect();
    let header = ["POINT", "ADDRESS", "REGISTERS", "VALUE"];
    let needed = |column: usize| column == 3 || cells.iter().any(|row| !row[column].is_empty());
    let columns: Vec<usize> = (0..header.len()).filter(|column| needed(*column)).collect();
    let pick = |row: &Vec<String>| columns.iter().map(|column| row[*column].clone()).collect::<Vec<_>>();
    let cells: Vec<Vec<String>> = cells.iter().map(pick).collect();
    let header: Vec<&str> = columns.iter().map(|column| header[*column]).collect();
    table(&header, header.len(), header.len(), &cells)
}

/// `230.5 V`, harmless to a terminal.
pub fn with_unit(value: &str, unit: Option<&str>) -> String {
    let unit = unit.map(|unit| format!(" {unit}")).unwrap_or_default();
    harmless(&format!("{value}{unit}"))
}

/// A value in few characters: what is far from everyday comes with an exponent.
pub fn brief(value: &Value) -> String {
    const EVERYDAY: std::ops::Range<f64> = 1e-4..1e15;
    match value {
        Value::Float(number) if *number != 0.0 && !EVERYDAY.contains(&number.abs()) => format!("{number:.3e}"),
        other => harmless(&other.to_string()),
    }
}

/// A value from JSON, as people read it.
pub fn bare(value: &Json) -> String {
    harmless(&value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_far_from_everyday_are_short() {
        let cases = [(0.0, "0"), (230.5, "230.5"), (-0.001, "-0.001"), (6.8e-41, "6.800e-41"), (2.5e300, "2.500e300")];
        for (number, said) in cases {
            assert_eq!(brief(&Value::Float(number)), said);
        }
    }

    #[test]
    fn columns_that_nobody_needs_are_left_out() {
        let row = |outcome| Row { device: None, point: Some("valve".into()), spot: None, outcome };
        let rows = [row(Outcome::Value(json!("on"))), row(Outcome::Nothing(None, "no answer".into()))];
        assert_eq!(human(&rows), "POINT  VALUE\nvalve  on\nvalve  (no answer)");
    }
}
