//! The libFuzzer side of [`adverts`]. The readers are compiled in from their sources.

#![no_main]
#![allow(dead_code, unused_imports, reason = "the gateway uses the rest")]

#[path = "../../drivers/ble/src/advert/mod.rs"]
mod advert;
mod adverts;

libfuzzer_sys::fuzz_target!(|input: &[u8]| adverts::run(input));
