//! The gateway as its clients have it: real datagrams, a real Mosquitto behind it, its own clients beside it.
//! Nothing leaves loopback.

#![allow(clippy::unwrap_used, clippy::expect_used)] // in a test, an unwrap is the assertion

mod bounds;
mod features;
mod lab;
mod loss;
mod public;
mod serial;
mod sleepers;
