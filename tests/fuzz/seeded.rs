//! The fuzz target for recovery, over seeded inputs, so that it is tried with every `cargo test`.
//! Inputs that once found something are kept in `found/`.

use wharf::queue;
use wharf_test_support::seeded::{try_found, try_seeds};

mod recovery;

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
fn what_once_was_found_stays_mended() {
    try_found("found", recovery::run);
}
