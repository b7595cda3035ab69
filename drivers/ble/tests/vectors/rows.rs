//! The recorded rows, and the advertisements they tell of.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use wharf_ble::advert::{Address, Advert, Uuid};

/// The rows of each family, in the order they were recorded.
pub fn families() -> Vec<(String, Vec<Json>)> {
    let mut files: Vec<_> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    files.sort();
    assert_eq!(files.len(), 14);
    let family = |path: &std::path::PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        let rows = text.lines().filter(|line| !line.trim().is_empty());
        let rows = rows.map(|line| serde_json::from_str(line).unwrap()).collect();
        (path.file_stem().unwrap().to_str().unwrap().to_owned(), rows)
    };
    files.iter().map(family).collect()
}

/// The advertisement of a row. `gathered` is what BlueZ showed before: it keeps old manufacturer
/// data beside the new, so what it showed already is not part of this one.
pub fn advert_of(row: &Json, gathered: &mut BTreeMap<u16, Vec<u8>>) -> Advert {
    let address = row["mac"].as_str().and_then(|text| text.parse().ok());
    let mut advert = Advert::new(address.unwrap_or(Address([0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff])));
    advert.name = row["local_name"].as_str().filter(|name| !name.is_empty()).map(str::to_owned);
    advert.rssi = row["rssi"].as_i64().map(|rssi| i16::try_from(rssi).unwrap());
    let uuids = row["service_uuids"].as_array().into_iter().flatten();
    advert.services = uuids.map(|uuid| uuid.as_str().unwrap().parse().unwrap()).collect();
    for (uuid, data) in row["service_data"].as_object().into_iter().flatten() {
        advert.service_data.insert(uuid.parse().unwrap(), hex(data));
    }
    let shown: BTreeMap<u16, Vec<u8>> = row["manufacturer_data"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(id, data)| (u16::from_str_radix(id.trim_start_matches("0x"), 16).unwrap(), hex(data)))
        .collect();
    if let Some(raw) = row.get("adv_bytes").filter(|raw| raw.is_string()) {
        add_structures(&mut advert, &hex(raw));
    } else {
        let news = shown.iter().filter(|(id, data)| gathered.get(id) != Some(data));
        advert.manufacturer_data = news.map(|(id, data)| (*id, data.clone())).collect();
    }
    gathered.extend(shown);
    advert
}

/// The structures of an advertisement as it is on the air (Bluetooth Core Specification
/// Supplement, part A): length, type, data.
fn add_structures(advert: &mut Advert, mut raw: &[u8]) {
    while let Some((&length, rest)) = raw.split_first() {
        // Some recordings say one byte more than there is.
        let (structure, rest) = rest.split_at(usize::from(length).min(rest.len()));
        raw = rest;
        match structure {
            [0x08 | 0x09, name @ ..] => advert.name = Some(String::from_utf8_lossy(name).into_owned()),
            [0x02 | 0x03, uuids @ ..] => {
                let uuids = uuids.chunks_exact(2).map(|uuid| Uuid::short(u16::from_le_bytes([uuid[0], uuid[1]])));
                advert.services.extend(uuids);
            }
            [0x16, low, high, data @ ..] => {
                advert.service_data.insert(Uuid::short(u16::from_le_bytes([*low, *high])), data.to_vec());
            }
            [0xff, low, high, data @ ..] => {
                advert.manufacturer_data.insert(u16::from_le_bytes([*low, *high]), data.to_vec());
            }
            _ => {}
        }
    }
}

pub fn hex(text: &Json) -> Vec<u8> {
    let text = text.as_str().unwrap();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
