//! The fuzz target for the gateway, over seeded inputs, so that it is tried with every `cargo test`. Inputs
//! that once found something are kept in `tests/fuzz/found-datagrams`.

#![allow(clippy::unwrap_used)] // in a test, an unwrap is the assertion

#[path = "../../../tests/fuzz/datagrams.rs"]
mod datagrams;

/// What clients say, without the lengths. Dice alone would hardly make one.
const MESSAGES: &[&[u8]] = &[
    b"\x04\x04\x01\x00\x3cs1",
    b"\x04\x00\x01\x00\x0as2",
    b"\x04\x0c\x01\x00\x00s3",
    b"\x07\x20will",
    b"\x07",
    b"\x09gone",
    b"\x0a\x00\x00\x00\x05a/b",
    b"\x0b\x00\x01\x00\x01\x00",
    b"\x0b\x00\x01\x00\x02\x01",
    b"\x0c\x22ab\x00\x05on",
    b"\x0c\x42ab\x00\x06on",
    b"\x0c\x20\x00\x01\x00\x07on",
    b"\x0c\x61\x00\x01\x00\x00on",
    b"\x0d\x00\x01\x00\x01\x00",
    b"\x0d\x00\x01\x00\x01\x02",
    b"\x0d\x00\x01\x00\x02\x00",
    b"\x0f\x00\x01",
    b"\x0e\x00\x01",
    b"\x10\x00\x06",
    b"\x12\x40\x00\x08a/#",
    b"\x12\x21\x00\x09\x00\x01",
    b"\x14\x00\x00\x0aa/#",
    b"\x16",
    b"\x16s1",
    b"\x18",
    b"\x18\x00\x64",
    b"\x1a\x00other",
    b"\x1cother",
    b"\x01\x00",
    b"\xfe\x00\x01\x02\x16",
];

#[test]
fn no_datagram_makes_anything_panic_and_every_bound_holds() {
    for seed in 0..20_000 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut input = Vec::new();
        for _ in 0..dice.usize(1..60) {
            let message = MESSAGES[dice.usize(..MESSAGES.len())];
            match dice.u8(..8) {
                0 => input.extend((0..dice.usize(0..20)).map(|_| dice.u8(..)).collect::<Vec<_>>()),
                1 => input.extend([7, dice.u8(..) % 31 * 8 + 1]),
                2..=4 => {
                    // Clients are let in before anything else is said to them.
                    let what = if dice.bool() { 5 } else { 5 + 8 * dice.u8(..6) };
                    input.extend([what, dice.u8(..3) * 32 + 2, dice.u8(..), dice.u8(..)]);
                }
                _ => {
                    let length = u8::try_from(message.len()).unwrap();
                    input.extend([1, dice.u8(1..4) * 32 + length]);
                    input.extend_from_slice(message);
                }
            }
        }
        try_it(&format!("seed {seed}"), &input);
    }
}

#[test]
fn what_once_was_found_stays_mended() {
    let found = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/found-datagrams");
    for entry in std::fs::read_dir(found).into_iter().flatten().flatten() {
        try_it(&entry.path().display().to_string(), &std::fs::read(entry.path()).unwrap());
    }
}

/// Names the input if it fails.
fn try_it(name: &str, input: &[u8]) {
    if let Err(panic) = std::panic::catch_unwind(|| datagrams::run(input)) {
        eprintln!("with {name}: {input:02x?}");
        std::panic::resume_unwind(panic);
    }
}
