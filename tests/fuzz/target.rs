//! The libFuzzer side of [`recovery`]. The queue is compiled in from its sources, so that building
//! this takes seconds and not the whole gateway.

#![no_main]
#![allow(dead_code, unused_imports, reason = "the gateway uses the rest")]

#[path = "../../src/clock.rs"]
mod clock;
#[path = "../../src/queue/mod.rs"]
mod queue;
mod recovery;
#[path = "../../src/seldom.rs"]
mod seldom;

libfuzzer_sys::fuzz_target!(|input: &[u8]| recovery::run(input));
