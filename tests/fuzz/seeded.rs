//! The fuzz targets for recovery of the queue and of what the local broker keeps, over seeded inputs, so that they are
//! tried with every `cargo test`. Inputs that once found something are kept in `found/` and `found-saved/`.

use wharf::{broker, queue};
use wharf_test_support::seeded::{try_found, try_seeds};

mod recovery;
mod saved;

#[test]
fn a_queue_starts_from_whatever_lies_in_its_directory() {
    try_seeds(400, recovery::run, |seed| {
        let mut random = fastrand::Rng::with_seed(seed);
        let length = random.usize(1..1500);
        let mut input: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
        // Long runs of records make more of a queue than dice do.
        for _ in 0..random.usize(0..8) {
            let at = random.usize(0..length);
            let end = (at + random.usize(1..120)).min(length);
            input[at..end].fill([1, 2, 3, 11][random.usize(0..4)]);
        }
        input
    });
}

#[test]
fn what_a_broker_keeps_starts_from_whatever_lies_in_its_directory() {
    try_seeds(400, saved::run, |seed| {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut input = Vec::new();
        for _ in 0..random.usize(1..60) {
            match random.u8(0..12) {
                0..7 => {
                    // A frame that means something as often as not: client "c", topic "t", and small numbers.
                    let tag = random.u8(2..12);
                    let mut body = vec![tag, 1, b'c' + random.u8(0..2)];
                    body.extend((0..random.usize(0..30)).map(|_| [0, 1, 2, b't', random.u8(..)][random.usize(0..5)]));
                    input.extend([0, body.len() as u8]);
                    input.extend(body);
                }
                7..9 => input.push(9),
                _ => input.extend((0..random.usize(1..6)).map(|_| random.u8(..))),
            }
        }
        input
    });
}

#[test]
fn what_once_was_found_stays_mended() {
    try_found("found", recovery::run);
    try_found("found-saved", saved::run);
}
