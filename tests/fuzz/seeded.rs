//! The fuzz target for recovery, over seeded inputs, so that it is tried with every `cargo test`.
//! Inputs that once found something are kept in `found/`.

use wharf::queue;

mod recovery;

#[test]
fn a_queue_starts_from_whatever_lies_in_its_directory() {
    for seed in 0..400 {
        let mut random = fastrand::Rng::with_seed(seed);
        let length = random.usize(1..1500);
        let mut input: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
        // Long runs of records make more of a queue than dice do.
        for _ in 0..random.usize(0..8) {
            let at = random.usize(0..length);
            let end = (at + random.usize(1..120)).min(length);
            input[at..end].fill([1, 2, 3, 11][random.usize(0..4)]);
        }
        try_it(&format!("seed {seed}"), &input);
    }
}

#[test]
fn what_once_was_found_stays_mended() {
    let found = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/found");
    for entry in std::fs::read_dir(found).into_iter().flatten().flatten() {
        let input = std::fs::read(entry.path()).unwrap();
        try_it(&entry.path().display().to_string(), &input);
    }
}

/// Names the input if it fails.
fn try_it(name: &str, input: &[u8]) {
    if let Err(panic) = std::panic::catch_unwind(|| recovery::run(input)) {
        eprintln!("with {name}");
        std::panic::resume_unwind(panic);
    }
}
