//! The settings of a serial line.

use wharf_contract::settings;
use wharf_contract::settings::{Context, Frame, NoFrame, Node, Period, Ranged, Schema, SerialPath, Setting};

use super::LinkSettings;
use crate::wire::{Echo, Setup, rs485};

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

/// What a character looks like on a serial line of Modbus RTU, such as 8N1 or 8E1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RtuFrame(Frame);

impl RtuFrame {
    /// Reads `8N1`, `8E1`, `8O1`, `8N2` and what else people write: `8-n-1`, `8,N,1`, `8/E/1`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        match Frame::parse(text) {
            Ok(frame) if !frame.seven_bits => Ok(Self(frame)),
            Ok(_) | Err(NoFrame::DataBits) => Err("Modbus RTU has eight data bits"),
            Err(NoFrame::Signs) => Err("a frame is written as data bits, parity and stop bits, such as 8N1 or 8E1"),
            Err(why) => Err(why.as_str()),
        }
    }

    /// The same, as any serial line may have it.
    pub fn get(self) -> Frame {
        self.0
    }
}

impl Setting for RtuFrame {
    fn schema() -> Schema {
        Frame::schema_with("8")
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
        frame: link.frame.unwrap_or_default().get(),
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
            assert_eq!(
                RtuFrame::parse(text).map(|frame| frame.get().to_string()),
                expected.map(str::to_owned),
                "{text}"
            );
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
