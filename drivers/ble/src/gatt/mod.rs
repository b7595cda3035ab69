//! Devices that are connected to: characteristics read, told of, and written.
//!
//! - [`target`]: the devices and their points, as the site file says.
//! - [`standard`]: characteristics that the Bluetooth SIG has laid down.
//! - [`value`]: from bytes to values and back. Pure.
//! - [`plan`]: who connects when. [`timetable`]: which point is read when. [`load`]: what that takes. All pure.
//! - [`crew`]: the task that makes and shares out connections; the session's end of it.
//! - [`bond`]: pairing, where the site file asks for it.
//! - [`visit`]: one connection. [`wire`]: the edge to btleplug.
//!
//! A connection that is lost is noticed by the adapter's events: the stream of a device's values just
//! falls silent. Connections are kept rather than made again, and a device has one such stream for as
//! long as the connection to the daemon lasts: each that is dropped may leave a rule behind on the bus.

pub(crate) mod bond;
pub(crate) mod crew;
pub(crate) mod load;
pub(crate) mod plan;
pub(crate) mod standard;
pub(crate) mod target;
pub(crate) mod timetable;
pub(crate) mod value;
pub(crate) mod visit;
pub(crate) mod wire;

use std::time::Duration;

pub use plan::Sharing;
pub use wire::Waits;

/// How connections are made and shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Who gets one, and when.
    pub sharing: Sharing,
    /// How long calls may take.
    pub waits: Waits,
    /// How long a device may not be there before that is said.
    pub grace: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sharing: Sharing {
                most: 3,
                turn: Duration::from_secs(10),
                back_off: Duration::from_secs(5),
                back_off_most: Duration::from_secs(300),
                look_again: Duration::from_secs(2),
            },
            waits: Waits {
                pair: Duration::from_secs(30),
                connect: Duration::from_secs(25),
                exchange: Duration::from_secs(10),
                disconnect: Duration::from_secs(4),
            },
            grace: Duration::from_secs(30),
        }
    }
}
