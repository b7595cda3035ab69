//! One link as its settings come to: every default filled in, every rule held. The rest of the
//! driver works with these types and never sees the site file.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use wharf_contract::{DeviceId, LinkId, PointId, Unit, Value, WriteRule};

use crate::value::Raw;
use crate::value::counter::Memory;
use crate::value::decode::{decode, decode_with};
pub(crate) use crate::value::layout::Layout;
use crate::wire::{Door, Setup, TlsFiles};

/// One connection and the devices behind it.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) name: LinkId,
    pub(crate) transport: Transport,
    /// How long a request waits that is for none of its devices, as a person's may be.
    pub(crate) timeout: Duration,
    pub(crate) devices: Vec<Device>,
}

/// How the devices are reached.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    pub(crate) way: Way,
    /// Between an answer and the next request.
    pub(crate) pause: Duration,
    pub(crate) pause_after_connect: Duration,
    /// Whether the connection is closed when nothing is due.
    pub(crate) release: bool,
}

/// The way there.
#[derive(Clone, Debug)]
pub(crate) enum Way {
    /// Modbus TCP.
    Tcp {
        /// Addresses of the same device, the preferred one first.
        places: Vec<Place>,
        tls: Option<TlsFiles>,
        /// How long a later address is used before those before it are looked for.
        return_after: Duration,
    },
    /// RTU frames over TCP.
    RtuOverTcp(Place),
    /// Modbus TCP's frames in datagrams.
    Udp(Place),
    /// The device dials in, and speaks Modbus TCP.
    Listen(Arc<Door>),
    /// RTU on a serial port.
    Serial(Setup),
}

impl Link {
    /// Whether its answers carry no number that tells one from another. Then the line is left quiet
    /// for one more timeout after a request without an answer, and the unit for longer.
    pub(crate) fn is_rtu(&self) -> bool {
        matches!(self.transport.way, Way::Serial(_) | Way::RtuOverTcp(_))
    }
}

/// Where it is, for people.
impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { places, .. } => {
                let places: Vec<String> = places.iter().map(Place::to_string).collect();
                f.write_str(&places.join(" or "))
            }
            Self::RtuOverTcp(place) => write!(f, "RTU over TCP to {place}"),
            Self::Udp(place) => write!(f, "UDP to {place}"),
            Self::Listen(door) => write!(f, "what dials in to {}", door.address()),
            Self::Serial(setup) => f.write_str(&setup.path),
        }
    }
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Place {
    pub(crate) fn new(host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// One device, found by its unit id.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Device {
    pub(crate) name: DeviceId,
    /// 0–255 over TCP.
    pub(crate) unit_id: u8,
    /// Whether it is every device on the bus at once: written, never read, never answered.
    pub(crate) broadcast: bool,
    /// How long one request waits for its answer.
    pub(crate) timeout: Duration,
    /// How often a read that was not answered is asked again before it counts as failed.
    pub(crate) retries: u8,
    /// The most registers in one request, 1–125; bits: sixteen times as many.
    pub(crate) max_registers: u16,
    pub(crate) points: Vec<Point>,
}

/// One value of a device.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) name: PointId,
    pub(crate) table: Table,
    /// The zero-based protocol address of its first bit or register.
    pub(crate) address: u16,
    pub(crate) layout: Layout,
    /// What it remembers as a counter, for as long as the driver lives.
    pub(crate) memory: Memory,
    /// How often it is read; never zero.
    pub(crate) every: Duration,
    pub(crate) unit: Option<Unit>,
    /// What may be written; `None` means nothing.
    pub(crate) write: Option<Arc<WriteRule>>,
}

/// The four address spaces of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Table {
    Coil,
    Discrete,
    Holding,
    Input,
}

impl Table {
    /// Whether it holds bits; else it holds 16-bit registers.
    pub(crate) fn is_bits(self) -> bool {
        matches!(self, Self::Coil | Self::Discrete)
    }

    /// How the site file spells it.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Coil => "coil",
            Self::Discrete => "discrete",
            Self::Holding => "holding",
            Self::Input => "input",
        }
    }

    /// Whether the protocol has a way to write it.
    pub(crate) fn is_writable(self) -> bool {
        matches!(self, Self::Coil | Self::Holding)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Coil => "coil",
            Self::Discrete => "discrete input",
            Self::Holding => "holding register",
            Self::Input => "input register",
        })
    }
}

impl Point {
    /// The value that stands in exactly these bits or registers, or why there is none. A counter gets
    /// back what it has lost by beginning anew, as far as this point remembers.
    pub(crate) fn value(&self, raw: &Raw) -> Result<Value, String> {
        match self.layout.wraps_at {
            None => decode(raw, &self.layout),
            Some(wraps_at) => decode_with(raw, &self.layout, &mut |shown| self.memory.total(shown, wraps_at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PointSettings;

    /// A site may have a hundred thousand points, and while it starts their settings are there as well.
    #[test]
    fn a_point_and_its_settings_are_small_for_what_is_rare_is_in_boxes() {
        assert!(size_of::<Point>() <= 208, "{} bytes", size_of::<Point>());
        assert!(size_of::<PointSettings>() <= 240, "{} bytes", size_of::<PointSettings>());
    }
}
