//! One link as its settings come to: every default filled in, every rule held. The rest of the
//! driver works with these types and never sees the site file.

use std::fmt;
use std::time::Duration;

use wharf_contract::{DeviceId, LinkId, PointId, Unit, WriteRule};

pub(crate) use crate::config::{ByteOrder, WordOrder};

/// One connection and the devices behind it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Link {
    pub(crate) name: LinkId,
    pub(crate) host: String,
    pub(crate) tcp_port: u16,
    /// How long one request waits for its answer.
    pub(crate) timeout: Duration,
    pub(crate) devices: Vec<Device>,
}

/// One device, found by its unit id.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Device {
    pub(crate) name: DeviceId,
    /// 0–255 over TCP.
    pub(crate) unit_id: u8,
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
    /// How often it is read; never zero.
    pub(crate) every: Duration,
    pub(crate) unit: Option<Unit>,
    /// What may be written; `None` means nothing.
    pub(crate) write: Option<WriteRule>,
}

/// The four address spaces of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

/// How a point's bits become a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Layout {
    pub(crate) form: Form,
    pub(crate) word_order: WordOrder,
    pub(crate) byte_order: ByteOrder,
    /// `None` leaves whole numbers whole.
    pub(crate) scaling: Option<Scaling>,
}

impl Layout {
    /// How many bits or registers it takes up.
    pub(crate) fn width(&self) -> u16 {
        match self.form {
            Form::Bool | Form::U16 | Form::I16 => 1,
            Form::U32 | Form::I32 | Form::F32 => 2,
            Form::U64 | Form::I64 | Form::F64 => 4,
            Form::Text { registers } => registers,
        }
    }
}

/// What stands in the registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One bit, or a register that is zero or not.
    Bool,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
    /// Two bytes in each register, 1–125 registers.
    Text {
        registers: u16,
    },
}

/// `value = raw * scale + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scaling {
    /// Finite and not zero.
    pub(crate) scale: f64,
    /// Finite.
    pub(crate) offset: f64,
}
