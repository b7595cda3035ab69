//! The fuzz target for lines of the MySensors protocol, over seeded inputs, so that it is tried with every `cargo test`. Inputs
//! that once found something are kept in `tests/fuzz/found-messages`.

#![allow(clippy::unwrap_used)] // in a test, an unwrap is the assertion

#[path = "../../../tests/fuzz/messages.rs"]
mod messages;

/// What lines are made of. Dice alone would hardly make one.
const PIECES: &[&str] = &[
    "\n",
    "\r\n",
    ";",
    "2;1;1;0;",
    "0;255;3;0;",
    "255;255;0;1;",
    "49;55.7;13.0;18",
    "0;21.5",
    "1",
    "0",
    "255",
    "256",
    "-1",
    "+5",
    "1e300",
    "nan",
    "40;ff00aa",
    "47;hello; world",
    "°",
    ".",
    "22;123465",
    "3;100",
    "2;1",
    " ",
    "4;0;",
];

#[test]
fn no_line_makes_anything_panic_or_is_taken_for_what_it_is_not() {
    for seed in 0..20_000_u64 {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut byte = move || {
            // xorshift: what matters is that a seed gives the same bytes everywhere.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_be_bytes()[1]
        };
        let mut input = vec![byte(), byte(), byte(), byte() % 32];
        for _ in 0..byte() % 40 {
            if byte() % 4 == 0 {
                input.push(byte());
            } else {
                let piece = PIECES[usize::from(byte()) % PIECES.len()];
                input.extend_from_slice(piece.as_bytes());
            }
        }
        try_it(&format!("seed {seed}"), &input);
    }
}

#[test]
fn what_once_was_found_stays_mended() {
    let found = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/found-messages");
    for entry in std::fs::read_dir(found).into_iter().flatten().flatten() {
        try_it(&entry.path().display().to_string(), &std::fs::read(entry.path()).unwrap());
    }
}

/// Names the input if it fails.
fn try_it(name: &str, input: &[u8]) {
    if let Err(panic) = std::panic::catch_unwind(|| messages::run(input)) {
        eprintln!("with {name}: {input:02x?}");
        std::panic::resume_unwind(panic);
    }
}
