//! The fuzz target for answers, over seeded inputs, so that it is tried with every `cargo test`. Inputs
//! that once found something are kept in `tests/fuzz/found-answers`.

#[path = "../../../tests/fuzz/answers.rs"]
mod answers;

#[test]
fn no_answer_makes_a_decoder_panic_or_is_taken_for_another() {
    for seed in 0..20_000_u64 {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut byte = move || {
            // xorshift: what matters is that a seed gives the same bytes everywhere.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_be_bytes()[1]
        };
        let length = usize::from(byte()) % 80 + usize::from(byte() % 8 == 0) * 200;
        let mut input: Vec<u8> = (0..length).map(|_| byte()).collect();
        // Small numbers make lengths that fit, and headers that are one.
        for part in &mut input {
            if byte() % 2 == 0 {
                *part %= 16;
            }
        }
        try_it(&format!("seed {seed}"), &input);
    }
}

#[test]
fn what_once_was_found_stays_mended() {
    let found = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/found-answers");
    for entry in std::fs::read_dir(found).into_iter().flatten().flatten() {
        try_it(&entry.path().display().to_string(), &std::fs::read(entry.path()).unwrap());
    }
}

/// Names the input if it fails.
fn try_it(name: &str, input: &[u8]) {
    if let Err(panic) = std::panic::catch_unwind(|| answers::run(input)) {
        eprintln!("with {name}: {input:02x?}");
        std::panic::resume_unwind(panic);
    }
}
