//! The libFuzzer side of [`lines`].

#![no_main]

mod lines;

libfuzzer_sys::fuzz_target!(|input: &[u8]| lines::run(input));
