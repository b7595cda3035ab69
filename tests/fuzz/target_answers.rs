//! The libFuzzer side of [`answers`]. The decoders are compiled in from their sources.

#![no_main]
#![allow(dead_code, unused_imports, reason = "the gateway uses the rest")]

mod answers;
#[path = "../../drivers/modbus/src/wire/mbap.rs"]
mod mbap;
#[path = "../../drivers/modbus/src/pdu/mod.rs"]
mod pdu;
#[path = "../../drivers/modbus/src/wire/question.rs"]
mod question;
#[path = "../../drivers/modbus/src/wire/rtu.rs"]
mod rtu;

/// As the driver has them.
mod wire {
    pub(crate) use crate::{mbap, question, rtu};
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| answers::run(input));
