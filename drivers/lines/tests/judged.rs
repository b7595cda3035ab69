//! Sentences as another reader of them understands them: see `vectors/NOTICE`.

use wharf_lines::form::Found;
use wharf_lines::form::nmea::{Checksum, Sentence};

#[test]
fn positions_are_read_as_pynmea2_reads_them() {
    let rows = include_str!("vectors/nmea.jsonl").lines();
    let rows: Vec<serde_json::Value> = rows.map(|row| serde_json::from_str(row).unwrap()).collect();
    assert!(rows.len() >= 30);
    for row in rows {
        let (line, kind) = (row["line"].as_str().unwrap(), row["kind"].as_str().unwrap());
        let sentence = Sentence::parse(line, Checksum::Required).unwrap();
        for field in ["latitude", "longitude", "altitude", "satellites", "speed", "course"] {
            let Some(expected) = row[field].as_f64() else { continue };
            let Some(Found::Text(text)) = sentence.get(&format!("{kind}.{field}")) else {
                panic!("{line}: no {field}")
            };
            let found: f64 = text.parse().unwrap();
            // Rounded to the seventh decimal on both sides.
            assert!((found - expected).abs() < 1.5e-7, "{line}: {field} is {found}, not {expected}");
        }
        // One digit of it changed on the way.
        let damaged = line.replacen(|c: char| c.is_ascii_digit(), "x", 1);
        assert!(Sentence::parse(&damaged, Checksum::Optional).is_err(), "{damaged}");
    }
}
