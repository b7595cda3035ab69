//! A serial port and how it is used: what its line looks like, and which of its other wires are used.

use tokio_serial::{DataBits, FlowControl, SerialPort as _, SerialPortBuilderExt, SerialStream, StopBits};
use wharf_contract::setting_enum;
use wharf_contract::settings::{Frame, Parity};

setting_enum! {
    /// Who may hold the other side up, and by what.
    pub enum Flow {
        /// Nobody: both sides take what comes.
        None = "none",
        /// The characters XON and XOFF.
        Software = "xon_xoff" | "software",
        /// The wires RTS and CTS.
        Hardware = "rts_cts" | "hardware",
    }
}

/// A serial port and how it is used.
#[derive(Clone, Debug, PartialEq)]
pub struct SerialPort {
    /// The full path of the port.
    pub path: String,
    /// Its speed, in baud.
    pub baud: u32,
    /// What a character looks like.
    pub frame: Frame,
    /// Who may hold the other side up.
    pub flow: Flow,
    /// The wire DTR: high, low, or as the system leaves it. Some adapters reset their device by it,
    /// and some devices are powered from it.
    pub dtr: Option<bool>,
    /// The wire RTS, likewise.
    pub rts: Option<bool>,
}

impl SerialPort {
    /// A port with 8N1, without flow control, whose other wires are left alone.
    pub fn new(path: impl Into<String>, baud: u32) -> Self {
        Self { path: path.into(), baud, frame: Frame::default(), flow: Flow::None, dtr: None, rts: None }
    }

    /// Opens it, exclusively.
    ///
    /// # Errors
    /// It is not there, belongs to someone else, or cannot do what the settings ask for.
    pub fn open(&self) -> tokio_serial::Result<SerialStream> {
        let parity = match self.frame.parity {
            Parity::None => tokio_serial::Parity::None,
            Parity::Even => tokio_serial::Parity::Even,
            Parity::Odd => tokio_serial::Parity::Odd,
        };
        let flow = match self.flow {
            Flow::None => FlowControl::None,
            Flow::Software => FlowControl::Software,
            Flow::Hardware => FlowControl::Hardware,
        };
        let builder = tokio_serial::new(&self.path, self.baud)
            .data_bits(if self.frame.seven_bits { DataBits::Seven } else { DataBits::Eight })
            .parity(parity)
            .stop_bits(if self.frame.two_stop_bits { StopBits::Two } else { StopBits::One })
            .flow_control(flow);
        let builder = match self.dtr {
            Some(high) => builder.dtr_on_open(high),
            None => builder,
        };
        // Opening takes milliseconds, so it needs no thread of its own.
        let mut port = builder.open_native_async()?;
        if let Some(high) = self.rts {
            port.write_request_to_send(high)?;
        }
        Ok(port)
    }
}
