//! As much of the local broker as is compiled in for fuzzing.

#[path = "../../src/broker/packet/mod.rs"]
pub mod packet;
#[path = "../../src/broker/publication.rs"]
pub mod publication;
#[path = "../../src/broker/saved.rs"]
pub mod saved;
#[path = "../../src/broker/store/mod.rs"]
pub mod store;
