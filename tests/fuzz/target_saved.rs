//! The libFuzzer side of [`saved`]. The store is compiled in from its sources, so that building this takes
//! seconds and not the whole gateway.

#![no_main]
#![allow(dead_code, missing_docs)]

#[path = "../../src/backoff.rs"]
mod backoff;
mod broker;
#[path = "../../src/clock.rs"]
mod clock;
#[path = "../../src/queue/mod.rs"]
mod queue;
mod saved;
#[path = "../../src/seldom.rs"]
mod seldom;

libfuzzer_sys::fuzz_target!(|input: &[u8]| saved::run(input));
