//! How the characters stand on a serial line, and which of its other wires are used.

use std::fmt;

use serde_json::json;
use tokio_serial::{DataBits, FlowControl, SerialPort as _, SerialPortBuilderExt, SerialStream, StopBits};
use wharf_contract::setting_enum;
use wharf_contract::settings::{Context, Node, Schema, Setting};

/// The parity bit behind the data bits of each character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parity {
    /// There is none.
    None,
    /// It makes the number of ones even.
    Even,
    /// It makes the number of ones odd.
    Odd,
}

/// What a character looks like on the line, such as 8N1 or 7E1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Whether it has seven data bits, not eight.
    pub seven_bits: bool,
    /// Its parity bit.
    pub parity: Parity,
    /// Whether it ends with two stop bits, not one.
    pub two_stop_bits: bool,
}

/// Eight data bits, no parity, one stop bit: what nearly every device is set to.
impl Default for Frame {
    fn default() -> Self {
        Self { seven_bits: false, parity: Parity::None, two_stop_bits: false }
    }
}

impl Frame {
    /// Reads `8N1`, `7E1`, `8O2` and what else people write: `8-n-1`, `7,E,1`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let bare = text.chars().filter(|sign| !matches!(sign, ' ' | '-' | ',' | '/' | '.'));
        let signs: Vec<char> = bare.map(|sign| sign.to_ascii_uppercase()).collect();
        let [data, parity, stop] = signs[..] else {
            return Err("a frame is written as data bits, parity and stop bits, such as 8N1 or 7E1");
        };
        let parity = match parity {
            'N' => Parity::None,
            'E' => Parity::Even,
            'O' => Parity::Odd,
            _ => return Err("the parity is N for none, E for even or O for odd"),
        };
        match (data, stop) {
            ('7' | '8', '1' | '2') => Ok(Self { seven_bits: data == '7', parity, two_stop_bits: stop == '2' }),
            ('7' | '8', _) => Err("there are 1 or 2 stop bits"),
            _ => Err("there are 7 or 8 data bits"),
        }
    }

    /// How many bits a character takes on the line, with its start bit: 9–12.
    pub fn bits(self) -> u32 {
        let parity = u32::from(self.parity != Parity::None);
        9 - u32::from(self.seven_bits) + parity + 1 + u32::from(self.two_stop_bits)
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parity = match self.parity {
            Parity::None => 'N',
            Parity::Even => 'E',
            Parity::Odd => 'O',
        };
        let (data, stop) = (if self.seven_bits { 7 } else { 8 }, if self.two_stop_bits { 2 } else { 1 });
        write!(f, "{data}{parity}{stop}")
    }
}

impl Setting for Frame {
    fn schema() -> Schema {
        json!({ "type": "string", "pattern": "^[ ,./-]*[78][ ,./-]*[NnEeOo][ ,./-]*[12][ ,./-]*$" })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let text = String::decode(node, cx)?;
        Self::parse(&text).map_err(|why| cx.problem(node.span, why).help = None).ok()
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_as_people_write_it() {
        let check = |text: &str, expected: Result<&str, &str>| {
            assert_eq!(Frame::parse(text).map(|frame| frame.to_string()), expected.map(str::to_owned), "{text}");
        };
        for (text, frame) in [("8N1", "8N1"), ("7e1", "7E1"), ("8-O-1", "8O1"), ("7,n,2", "7N2")] {
            check(text, Ok(frame));
        }
        check("6N1", Err("there are 7 or 8 data bits"));
        check("8X1", Err("the parity is N for none, E for even or O for odd"));
        check("8N3", Err("there are 1 or 2 stop bits"));
        check("8N", Err("a frame is written as data bits, parity and stop bits, such as 8N1 or 7E1"));
    }

    #[test]
    fn a_character_takes_its_start_stop_and_parity_bits_too() {
        let bits = |text: &str| Frame::parse(text).unwrap().bits();
        assert_eq!(["8N1", "7N1", "7E1", "8E2"].map(bits), [10, 9, 10, 12]);
    }
}
