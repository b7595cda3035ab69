//! The fuzz target for lines of text, over seeded inputs, so that it is tried with every `cargo test`. Inputs
//! that once found something are kept in `tests/fuzz/found-lines`.

#[path = "../../../tests/fuzz/lines.rs"]
mod lines;

use wharf_test_support::seeded::{Dice, try_found, try_seeds};

/// What lines are made of. Dice alone would hardly make one.
const PIECES: &[&str] = &[
    "\n",
    "\r\n",
    ",",
    ";",
    " ",
    "  ",
    "=",
    ":",
    "{a}",
    "{b:number}",
    "{a:2}",
    "{}",
    "21.5",
    "-1e9",
    "+  7",
    ".",
    "0x1F",
    "kg",
    "$GPRMC,1,A,4807.038,N,01131.000,E,,,1,,",
    "$GPGGA,1,4807.038,S,01131.000,W,1,08,0.9,545.4,M",
    "*47",
    "\"",
    "\"\"",
    "{\"main\":{\"temp\":21.5},\"list\":[{\"v\":1}]}",
    "[1,2]",
    "T",
    "a",
    "b",
    "true",
    "°",
    "\u{2}",
    "\u{3}",
    "99999999999999999999",
];

#[test]
fn no_line_makes_anything_panic_or_is_taken_for_what_it_is_not() {
    try_seeds(20_000, lines::run, |seed| {
        let mut dice = Dice::new(seed);
        let head = [dice.byte(), dice.byte(), dice.byte(), dice.byte() % 32];
        dice.line_of(head, PIECES)
    });
}

#[test]
fn what_once_was_found_stays_mended() {
    try_found("found-lines", lines::run);
}
