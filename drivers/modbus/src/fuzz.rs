//! The fuzz target for answers, over seeded inputs, so that it is tried with every `cargo test`. Inputs
//! that once found something are kept in `tests/fuzz/found-answers`.

#[path = "../../../tests/fuzz/answers.rs"]
mod answers;

use wharf_test_support::seeded::{Dice, try_found, try_seeds};

#[test]
fn no_answer_makes_a_decoder_panic_or_is_taken_for_another() {
    try_seeds(20_000, answers::run, |seed| {
        let mut dice = Dice::new(seed);
        let length = usize::from(dice.byte()) % 80 + usize::from(dice.byte().is_multiple_of(8)) * 200;
        let mut input: Vec<u8> = (0..length).map(|_| dice.byte()).collect();
        // Small numbers make lengths that fit, and headers that are one.
        for part in &mut input {
            if dice.byte().is_multiple_of(2) {
                *part %= 16;
            }
        }
        input
    });
}

#[test]
fn what_once_was_found_stays_mended() {
    try_found("found-answers", answers::run);
}
