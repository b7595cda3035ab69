//! The libFuzzer side of [`packets`]. The packets are compiled in from their sources, so that building this takes
//! seconds and not the whole gateway.

#![no_main]
#![allow(dead_code, missing_docs)]

#[path = "../../src/broker/packet/mod.rs"]
mod packet;
mod packets;
#[path = "../../src/broker/publication.rs"]
mod publication;

libfuzzer_sys::fuzz_target!(|input: &[u8]| packets::run(input));
