//! The fuzz target for lines of the MySensors protocol, over seeded inputs, so that it is tried with every `cargo test`. Inputs
//! that once found something are kept in `tests/fuzz/found-messages`.

#[path = "../../../tests/fuzz/messages.rs"]
mod messages;

use wharf_test_support::seeded::{Dice, try_found, try_seeds};

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
    try_seeds(20_000, messages::run, |seed| {
        let mut dice = Dice::new(seed);
        let head = [dice.byte(), dice.byte(), dice.byte(), dice.byte() % 32];
        dice.line_of(head, PIECES)
    });
}

#[test]
fn what_once_was_found_stays_mended() {
    try_found("found-messages", messages::run);
}
