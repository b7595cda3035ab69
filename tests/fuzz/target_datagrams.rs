//! The libFuzzer side of [`datagrams`].

#![no_main]
#![allow(missing_docs)]

mod datagrams;

libfuzzer_sys::fuzz_target!(|input: &[u8]| datagrams::run(input));
