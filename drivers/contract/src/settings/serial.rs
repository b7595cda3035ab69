//! Where a serial port is, and how the characters stand on its line.

use std::fmt;

use serde_json::json;

use super::{Context, Node, Schema, Setting};

/// The full path of a serial port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SerialPath(String);

impl SerialPath {
    /// Wraps a path that begins at the root.
    pub fn new(path: impl Into<String>) -> Self {
        Self(path.into())
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for SerialPath {
    fn schema() -> Schema {
        json!({ "type": "string", "pattern": "^/", "not": { "pattern": "\\$\\{" } })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let path = String::decode(node, cx)?;
        if !path.starts_with('/') {
            cx.problem(node.span, format!("{} is not the full path of a serial port", node.describe()))
                .help("write it from the root, such as /dev/serial/by-id/usb-FTDI…");
            return None;
        }
        Some(Self(path))
    }
}

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

/// Why a text is no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoFrame {
    /// It does not have three signs.
    Signs,
    /// The first is not 7 or 8.
    DataBits,
    /// The second is not N, E or O.
    Parity,
    /// The third is not 1 or 2.
    StopBits,
}

impl NoFrame {
    /// The same in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Signs => "a frame is written as data bits, parity and stop bits, such as 8N1 or 7E1",
            Self::DataBits => "there are 7 or 8 data bits",
            Self::Parity => "the parity is N for none, E for even or O for odd",
            Self::StopBits => "there are 1 or 2 stop bits",
        }
    }
}

impl Frame {
    /// Reads `8N1`, `7E1`, `8O2` and what else people write: `8-n-1`, `7,E,1`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, NoFrame> {
        let bare = text.chars().filter(|sign| !matches!(sign, ' ' | '-' | ',' | '/' | '.'));
        let signs: Vec<char> = bare.map(|sign| sign.to_ascii_uppercase()).collect();
        let [data, parity, stop] = signs[..] else { return Err(NoFrame::Signs) };
        let seven_bits = match data {
            '7' => true,
            '8' => false,
            _ => return Err(NoFrame::DataBits),
        };
        let parity = match parity {
            'N' => Parity::None,
            'E' => Parity::Even,
            'O' => Parity::Odd,
            _ => return Err(NoFrame::Parity),
        };
        match stop {
            '1' | '2' => Ok(Self { seven_bits, parity, two_stop_bits: stop == '2' }),
            _ => Err(NoFrame::StopBits),
        }
    }

    /// The schema of such a text, with a class of signs that the data bits may be.
    pub fn schema_with(data_bits: &str) -> Schema {
        json!({ "type": "string", "pattern": format!("^[ ,./-]*{data_bits}[ ,./-]*[NnEeOo][ ,./-]*[12][ ,./-]*$") })
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
        Self::schema_with("[78]")
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let text = String::decode(node, cx)?;
        Self::parse(&text).map_err(|why| cx.problem(node.span, why.as_str()).help = None).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_as_people_write_it() {
        let check = |text: &str, expected: Result<&str, &str>| {
            assert_eq!(
                Frame::parse(text).map(|frame| frame.to_string()).map_err(NoFrame::as_str),
                expected.map(str::to_owned),
                "{text}"
            );
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
