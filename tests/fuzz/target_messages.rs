//! The libFuzzer side of [`messages`].

#![no_main]

mod messages;

libfuzzer_sys::fuzz_target!(|input: &[u8]| messages::run(input));
