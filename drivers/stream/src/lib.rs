//! The way to a device that speaks in lines, shared by the drivers whose devices do.
//!
//! - [`transport`]: a serial port or a TCP connection, opened, and in words what went wrong with it.
//! - [`serial`]: a serial port and how it is used.
//! - [`frames`]: a stream of bytes, cut into frames of bounded length.
//! - [`count`]: counters, and complaints that are made once a minute.

pub mod count;
pub mod frames;
pub mod serial;
pub mod transport;

pub use count::Complaints;
pub use frames::{Cut, Frames, Tally};
pub use serial::{Flow, SerialPort};
pub use transport::{Stream, Transport, TransportError};
