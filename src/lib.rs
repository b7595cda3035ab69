//! wharf: an edge gateway. Modbus, Bluetooth, MySensors, MQTT devices and lines of text in, MQTT out, nothing lost.
//!
//! # The life of a reading
//!
//! 1. [`config`] reads the site file and checks it as a whole, before anything starts.
//! 2. [`drivers`] builds one driver per link; [`supervisor`] keeps each of them running.
//! 3. A driver turns bytes into a [`Reading`](wharf_contract::Reading) and emits it through its
//!    [`Port`](wharf_contract::Port). The channel behind it is bounded, so memory does not grow; a
//!    burst waits a moment for room, and when the gateway takes nothing for longer, the port drops
//!    readings and counts them, and the field keeps its rhythm.
//! 4. [`mapping`] applies the site's rules and makes a [`Message`](message::Message).
//! 5. [`north`] appends it to the [`queue`] of each uplink that takes it, and shows it to local
//!    clients through the embedded [`broker`]. From the next commit on it survives a power cut.
//! 6. [`uplink`] publishes what has just been captured, and beside it what waited, a window at a
//!    time. When the broker acknowledges a message, and only then, it leaves the queue.
//!
//! What local clients publish among themselves goes upstream through the same queues where the site's [`bridge`] rules
//! say so, and comes down by them.
//!
//! [`classic`] shows devices as MySensors nodes, and lets MySensors controllers in.
//!
//! A command comes in through [`uplink`] or [`broker`], is taken apart by [`topics`], checked by
//! [`downlink`] and put on the port of the driver that owns the device. Its answer goes north like
//! a reading.
//!
//! [`app`] makes every channel, starts every task, and stops them from south to north. [`control`]
//! tells those who ask on the same machine how everything is.
//!
//! [`import`] and [`sunspec`] help whoever writes the site file: with points from a maker's register
//! map, and with the models of a device.

pub mod app;
pub mod backoff;
pub mod bridge;
pub mod broker;
pub mod classic;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod demo;
pub mod downlink;
pub mod drivers;
pub mod health;
pub mod import;
pub mod mapping;
pub mod message;
pub mod north;
pub mod queue;
mod seldom;
pub mod sunspec;
pub mod supervisor;
pub mod topics;
pub mod uplink;
