//! How many advertisements a second are taken apart: all recorded ones, over and over, on one core.
//!
//! `cargo bench -p wharf-ble --bench adverts [-- SECONDS]`: each family for a second, if nothing else is
//! said.

#![expect(clippy::unwrap_used, reason = "what cannot be read ends it")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use wharf_ble::advert::{self, Advert, Key, Known, Outcome};

#[path = "../../drivers/ble/tests/vectors/rows.rs"]
mod rows;

fn main() {
    let seconds = std::env::args().filter_map(|argument| argument.parse::<f64>().ok()).next_back();
    let lasting = Duration::from_secs_f64(seconds.unwrap_or(1.0));
    let mut everything = Vec::new();
    for (family, rows) in rows::families() {
        let mut gathered = BTreeMap::new();
        let adverts = rows.iter().map(|row| {
            let key = row["bindkey"].as_str().map(|text| text.parse().unwrap());
            (rows::advert_of(row, &mut gathered), key)
        });
        let adverts: Vec<(Advert, Option<Key>)> = adverts.collect();
        measure(&family, &adverts, lasting);
        everything.extend(adverts);
    }
    measure("all of them", &everything, lasting);
}

fn measure(name: &str, adverts: &[(Advert, Option<Key>)], lasting: Duration) {
    let (begin, mut count, mut values) = (Instant::now(), 0_u64, 0_u64);
    while begin.elapsed() < lasting {
        for (advert, key) in adverts {
            let known = Known { key: key.as_ref(), ..Known::default() };
            if let Outcome::Heard(frame) = black_box(advert::read(black_box(advert), &known)) {
                values += frame.values.len() as u64;
            }
        }
        count += adverts.len() as u64;
    }
    let each = begin.elapsed().as_secs_f64() / count as f64;
    println!(
        "{name}: {:.0} advertisements/s, {:.2} µs and {:.1} values each",
        1.0 / each,
        each * 1e6,
        values as f64 / count as f64
    );
}
