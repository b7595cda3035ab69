//! Fuzz targets tried with every `cargo test`: over seeded inputs, which are the same everywhere, and over
//! those that once found something.

use std::fs;
use std::panic::{catch_unwind, resume_unwind};
use std::path::Path;

/// What runs one input, and panics if it finds something.
pub type Target = fn(&[u8]);

/// Bytes from a seed. What matters is that a seed gives the same ones everywhere, so this is xorshift.
#[derive(Clone, Debug)]
pub struct Dice {
    state: u64,
}

impl Dice {
    /// Dice that fall as this seed says.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1 }
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state.to_be_bytes()[1]
    }

    /// Up to forty pieces in a row, or stray bytes between them, behind `head`. Dice alone would hardly make a
    /// line that means something.
    #[must_use]
    pub fn line_of(&mut self, head: [u8; 4], pieces: &[&str]) -> Vec<u8> {
        let mut input = head.to_vec();
        for _ in 0..self.byte() % 40 {
            if self.byte().is_multiple_of(4) {
                input.push(self.byte());
            } else {
                input.extend_from_slice(pieces[usize::from(self.byte()) % pieces.len()].as_bytes());
            }
        }
        input
    }
}

/// Tries the input that `make` makes of each seed below `seeds`.
///
/// # Panics
/// With what the target finds, after naming the input.
pub fn try_seeds(seeds: u64, target: Target, make: impl Fn(u64) -> Vec<u8>) {
    for seed in 0..seeds {
        try_it(&format!("seed {seed}"), target, &make(seed));
    }
}

/// Tries the inputs that once found something: the files of `tests/fuzz/FOLDER`, which need not exist.
///
/// # Panics
/// With what the target finds, after naming the input.
pub fn try_found(folder: &str, target: Target) {
    let found = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(folder);
    for entry in fs::read_dir(found).into_iter().flatten().flatten() {
        try_it(&entry.path().display().to_string(), target, &fs::read(entry.path()).unwrap());
    }
}

fn try_it(name: &str, target: Target, input: &[u8]) {
    if let Err(panic) = catch_unwind(|| target(input)) {
        eprintln!("with {name}: {input:02x?}");
        resume_unwind(panic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_bytes_everywhere() {
        let mut dice = Dice::new(7);
        assert_eq!([0; 8].map(|_| dice.byte()), [63, 206, 89, 90, 154, 172, 230, 170]);
    }

    #[test]
    fn what_a_target_finds_ends_the_test() {
        let small = |input: &[u8]| assert!(input[0] < 5, "found");
        try_seeds(5, small, |seed| vec![seed.to_le_bytes()[0]]);
        assert!(catch_unwind(|| try_seeds(6, small, |seed| vec![seed.to_le_bytes()[0]])).is_err());
        assert!(catch_unwind(|| try_found("found-answers", |_| panic!("found"))).is_err());
        try_found("found-nothing", |_| panic!("there is no such folder"));
    }
}
