//! The settings of a serial line.

use std::fmt;

use serde_json::json;
use wharf_contract::settings;
use wharf_contract::settings::{Context, Node, Period, Ranged, Schema, SerialPath, Setting};

use super::LinkSettings;
use crate::wire::{Echo, Frame, Parity, Setup, rs485};

/// What most devices are set to when they leave the factory.
const USUAL_BAUD: u32 = 9600;

settings! {
    /// The line driver of an RS-485 port, switched by the kernel. Only for ports that need it:
    /// USB adapters switch by themselves.
    pub struct Rs485Settings {
        /// How long the line driver is on before the first character, in whole milliseconds.
        delay_before: Period<0, 100> = Period::millis(0),
        /// How long it stays on after the last character, in whole milliseconds.
        delay_after: Period<0, 100> = Period::millis(0),
        /// RTS is low while sending, not high.
        invert: bool = false,
        /// Switches the termination resistor on, where the port has one.
        terminate: bool = false,
    }
}

impl Default for Frame {
    fn default() -> Self {
        Self { parity: Parity::None, two_stop_bits: false }
    }
}

impl Frame {
    /// Reads `8N1`, `8E1`, `8O1`, `8N2` and what else people write: `8-n-1`, `8,N,1`, `8/E/1`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let bare = text.chars().filter(|sign| !matches!(sign, ' ' | '-' | ',' | '/' | '.'));
        let signs: Vec<char> = bare.map(|sign| sign.to_ascii_uppercase()).collect();
        let [data, parity, stop] = signs[..] else {
            return Err("a frame is written as data bits, parity and stop bits, such as 8N1 or 8E1");
        };
        if data != '8' {
            return Err("Modbus RTU has eight data bits");
        }
        let parity = match parity {
            'N' => Parity::None,
            'E' => Parity::Even,
            'O' => Parity::Odd,
            _ => return Err("the parity is N for none, E for even or O for odd"),
        };
        match stop {
            '1' | '2' => Ok(Self { parity, two_stop_bits: stop == '2' }),
            _ => Err("there are 1 or 2 stop bits"),
        }
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parity = match self.parity {
            Parity::None => 'N',
            Parity::Even => 'E',
            Parity::Odd => 'O',
        };
        write!(f, "8{parity}{}", if self.two_stop_bits { 2 } else { 1 })
    }
}

impl Setting for Frame {
    fn schema() -> Schema {
        json!({ "type": "string", "pattern": "^[ ,./-]*8[ ,./-]*[NnEeOo][ ,./-]*[12][ ,./-]*$" })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let text = String::decode(node, cx)?;
        Self::parse(&text).map_err(|why| cx.problem(node.span, why).help = None).ok()
    }
}

/// The serial line that the settings describe.
pub(super) fn setup(path: &SerialPath, link: &LinkSettings) -> Setup {
    Setup {
        path: path.as_str().to_owned(),
        baud: link.baud.map_or(USUAL_BAUD, Ranged::get),
        frame: link.frame.unwrap_or_default(),
        rs485: link.rs485.as_ref().map(|rs485| rs485::Setup {
            delay_before: rs485.delay_before.get(),
            delay_after: rs485.delay_after.get(),
            invert: rs485.invert,
            terminate: rs485.terminate,
        }),
        echo: match link.echo {
            None => Echo::Unknown,
            Some(false) => Echo::Off,
            Some(true) => Echo::On,
        },
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
        for (text, frame) in [("8N1", "8N1"), ("8e1", "8E1"), ("8-O-1", "8O1"), ("8,n,2", "8N2"), ("8 E 2", "8E2")] {
            check(text, Ok(frame));
        }
        check("7E1", Err("Modbus RTU has eight data bits"));
        check("8X1", Err("the parity is N for none, E for even or O for odd"));
        check("8N3", Err("there are 1 or 2 stop bits"));
        check("8N", Err("a frame is written as data bits, parity and stop bits, such as 8N1 or 8E1"));
    }
}
