//! One line of the MySensors protocol, `node;child;command;ack;type;payload`, read and written.
//!
//! This module knows the shape of a line and nothing of its meaning: what a type number stands for
//! is in [`crate::types`], and what a payload says in [`crate::values`].

use std::fmt;

/// The node id of the gateway itself.
pub const GATEWAY: u8 = 0;
/// As a node id "everybody", or "no id yet"; as a child id the node itself.
pub const SELF: u8 = 255;
/// The longest line that is read, in bytes without its ending. The MySensors library itself stops at
/// 120, so only noise is longer.
pub const LONGEST_LINE: usize = 256;

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Command {
    /// A node or a child says what it is.
    Presentation = 0,
    /// A value: measured by a node, or written to it.
    Set = 1,
    /// The other side is asked for a value.
    Req = 2,
    /// The network's own affairs: batteries, versions, identities.
    Internal = 3,
    /// Firmware and other large things, in pieces.
    Stream = 4,
}

impl Command {
    /// The command of that number; 5 to 7 are reserved.
    pub fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Presentation,
            1 => Self::Set,
            2 => Self::Req,
            3 => Self::Internal,
            4 => Self::Stream,
            _ => return None,
        })
    }

    /// The number on the wire.
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// One message, in either direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The node it comes from or goes to: 0 is the gateway, 255 everybody.
    pub node: u8,
    /// The child sensor on that node; 255 is the node itself.
    pub child: u8,
    /// What the message is for.
    pub command: Command,
    /// Toward the network: an echo is asked for. From the network: this is the echo.
    pub ack: bool,
    /// What the payload means, within the command: a V_, S_, I_ or ST_ number.
    pub kind: u8,
    /// The payload as text. It may be empty and may hold semicolons, but no control characters.
    pub payload: String,
}

/// Why a line is no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Bytes that are no text, or control characters in the middle of it: noise on the line.
    #[error("the line is not plain text")]
    NotText,
    /// The line ends before the payload begins.
    #[error("the line has {0} of 6 fields")]
    TooFewFields(usize),
    /// A field that should be a number is something else.
    #[error("the {field} `{text}` is not a number")]
    NotANumber {
        /// Which field.
        field: &'static str,
        /// What stands there, shortened.
        text: String,
    },
    /// A number beyond what its field can hold.
    #[error("the {field} {text} is out of range, it can be 0 to {max}")]
    OutOfRange {
        /// Which field.
        field: &'static str,
        /// What stands there, shortened.
        text: String,
        /// The largest number it may be.
        max: u8,
    },
}

impl Message {
    /// Reads one line, with or without its line ending.
    ///
    /// # Errors
    /// Says which field is wrong, and how.
    pub fn parse(line: &[u8]) -> Result<Self, MessageError> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = std::str::from_utf8(line).map_err(|_| MessageError::NotText)?;
        if line.chars().any(|c| c.is_control() && c != '\t') {
            return Err(MessageError::NotText);
        }
        // A payload may hold semicolons of its own, so nothing is split after the fifth.
        let fields: Vec<&str> = line.splitn(6, ';').collect();
        let &[node, child, command, ack, kind, payload] = fields.as_slice() else {
            return Err(MessageError::TooFewFields(fields.len()));
        };
        let highest = Command::Stream.number();
        Ok(Self {
            node: number("node", node, u8::MAX)?,
            child: number("child", child, u8::MAX)?,
            command: Command::from_number(number("command", command, highest)?)
                .ok_or_else(|| out_of_range("command", command, highest))?,
            ack: number("ack", ack, 1)? == 1,
            kind: number("type", kind, u8::MAX)?,
            payload: payload.to_owned(),
        })
    }

    /// The line on the wire, with its line ending. A payload is cut at its first line break, so
    /// that no payload can smuggle a second message in.
    pub fn to_line(&self) -> String {
        format!("{self}\n")
    }
}

/// The line without its ending, for logs.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let payload = self.payload.split(['\r', '\n']).next().unwrap_or_default();
        let (command, ack) = (self.command.number(), u8::from(self.ack));
        write!(f, "{};{};{command};{ack};{};{payload}", self.node, self.child, self.kind)
    }
}

fn number(field: &'static str, text: &str, max: u8) -> Result<u8, MessageError> {
    // `parse` alone would also take a plus sign.
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(MessageError::NotANumber { field, text: shortened(text) });
    }
    match text.parse() {
        Ok(number) if number <= max => Ok(number),
        _ => Err(out_of_range(field, text, max)),
    }
}

fn out_of_range(field: &'static str, text: &str, max: u8) -> MessageError {
    MessageError::OutOfRange { field, text: shortened(text), max }
}

fn shortened(text: &str) -> String {
    const LONGEST: usize = 20;
    let mut short: String = text.chars().take(LONGEST).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(node: u8, child: u8, command: Command, ack: bool, kind: u8, payload: &str) -> Message {
        Message { node, child, command, ack, kind, payload: payload.into() }
    }

    fn check(line: &str, expected: Result<Message, &str>) {
        let got = Message::parse(line.as_bytes()).map_err(|error| error.to_string());
        assert_eq!(got, expected.map_err(str::to_owned), "{line:?}");
    }

    #[test]
    fn every_command_is_read() {
        check("2;1;1;0;0;21.5\n", Ok(message(2, 1, Command::Set, false, 0, "21.5")));
        check("2;1;0;0;6;Soil", Ok(message(2, 1, Command::Presentation, false, 6, "Soil")));
        check("2;1;2;0;2;", Ok(message(2, 1, Command::Req, false, 2, "")));
        check("2;255;3;0;0;87\r\n", Ok(message(2, 255, Command::Internal, false, 0, "87")));
        check("2;255;4;1;0;0100", Ok(message(2, 255, Command::Stream, true, 0, "0100")));
    }

    #[test]
    fn a_payload_keeps_its_semicolons() {
        let position = message(2, 1, Command::Set, false, 49, "55.7;13.0;18");
        check("2;1;1;0;49;55.7;13.0;18\n", Ok(position));
        check("0;255;3;0;9;a;b;", Ok(message(0, 255, Command::Internal, false, 9, "a;b;")));
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said_by_field() {
        check("", Err("the line has 1 of 6 fields"));
        check("2;1;1;0;0", Err("the line has 5 of 6 fields"));
        check("2;1;1;0;x;21.5", Err("the type `x` is not a number"));
        check("+2;1;1;0;0;21.5", Err("the node `+2` is not a number"));
        check(";1;1;0;0;21.5", Err("the node `` is not a number"));
        check("2;256;1;0;0;21.5", Err("the child 256 is out of range, it can be 0 to 255"));
        check("2;1;5;0;0;21.5", Err("the command 5 is out of range, it can be 0 to 4"));
        check("2;1;1;2;0;21.5", Err("the ack 2 is out of range, it can be 0 to 1"));
        check("2;1;1;0;99999999999999999999999;1", {
            Err("the type 99999999999999999999… is out of range, it can be 0 to 255")
        });
        check("2;1;1;0;0;2\u{7}1.5", Err("the line is not plain text"));
        assert_eq!(Message::parse(b"2;1;1;0;47;\xb0C"), Err(MessageError::NotText));
    }

    #[test]
    fn a_payload_cannot_smuggle_a_second_message_in() {
        let message = message(2, 1, Command::Set, false, 47, "hello\n2;255;3;0;13;");
        assert_eq!(message.to_line(), "2;1;1;0;47;hello\n");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            node: u8, child: u8, command in 0_u8..=4, ack: bool, kind: u8, payload in "[^\\p{Cc}]{0,40}",
        ) {
            let command = Command::from_number(command).unwrap();
            let message = Message { node, child, command, ack, kind, payload };
            prop_assert_eq!(Message::parse(message.to_line().as_bytes()), Ok(message));
        }

        #[test]
        fn no_bytes_upset_it_and_what_is_accepted_survives_a_round_trip(line in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(message) = Message::parse(&line) {
                prop_assert_eq!(Message::parse(message.to_line().as_bytes()), Ok(message));
            }
        }

        #[test]
        fn nearly_right_lines_never_upset_it(line in "[0-9]{0,4};[0-9a]{0,4};[0-9]{0,2};[0-3]?;[0-9]{0,4};?[a-z0-9;.]{0,8}") {
            if let Ok(message) = Message::parse(line.as_bytes()) {
                prop_assert!(line.ends_with(&message.payload));
            }
        }
    }
}
