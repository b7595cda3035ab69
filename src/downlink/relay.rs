//! Messages in MySensors classic form that no declared point is for: which links they go to, and as
//! what line.
//!
//! A controller upstream that runs a MySensors network speaks to all of it, so a link that relays for
//! one takes any message. Its driver says so, for each node at each message.

use bytes::Bytes;
use wharf_contract::{Driver, LinkId, Relay};

use super::Downlink;
use super::refusal::Refusal;
use crate::topics::{Classic, ClassicCommand};

/// The number of all nodes together.
pub const EVERYBODY: u8 = 255;
/// The longest payload, in bytes: what a gateway takes in one line, and more than any node does.
const LONGEST: usize = 100;
/// The types whose values are text, which may be empty: `V_VAR1` to `V_VAR5`, `V_IR_SEND`, `V_TEXT`, `V_CUSTOM`.
const TEXTS: [u8; 8] = [24, 25, 26, 27, 28, 32, 47, 48];

impl Downlink {
    /// The links that a message goes to: the one whose node it is, else the only one that takes it. One
    /// for everybody goes to each that takes any.
    ///
    /// # Errors
    /// Nobody takes it, or it is not clear who should.
    pub(super) fn relays_of(&self, message: &Classic) -> Result<Vec<LinkId>, Refusal> {
        let asked: Vec<_> = self.drivers.iter().map(|driver| (driver.name(), driver.relays(message.node))).collect();
        let who = |wanted: fn(Relay) -> bool| -> Vec<LinkId> {
            asked.iter().filter(|(_, relay)| wanted(*relay)).map(|(link, _)| (*link).clone()).collect()
        };
        if message.node == EVERYBODY {
            let all = who(|relay| relay != Relay::Not);
            return if all.is_empty() { Err(nobody(message)) } else { Ok(all) };
        }
        let owners = who(|relay| relay == Relay::Owns);
        let links = if owners.is_empty() { who(|relay| relay == Relay::Takes) } else { owners };
        match links.len() {
            0 => Err(nobody(message)),
            1 => Ok(links),
            _ => Err(Refusal::ManyLinks { node: message.node, links }),
        }
    }

    pub(super) fn driver(&self, link: &LinkId) -> Option<&dyn Driver> {
        self.drivers.iter().find(|driver| driver.name() == link).map(AsRef::as_ref)
    }
}

/// The line for a message, without its ending. Its payload goes down as it came.
///
/// # Errors
/// The payload would not fit a line, or would be more than one. Or there is none where there has to be a value:
/// that is how a retained message is taken back, and a node would take it for 0.
pub fn line(message: &Classic, payload: &Bytes) -> Result<String, Refusal> {
    if payload.is_empty() && message.command == ClassicCommand::Set && !TEXTS.contains(&message.kind) {
        return Err(Refusal::NoValue);
    }
    if payload.len() > LONGEST {
        return Err(Refusal::LongLine(payload.len()));
    }
    let text = std::str::from_utf8(payload).map_err(|_| Refusal::NotALine)?;
    if text.chars().any(|c| c.is_control() && c != '\t') {
        return Err(Refusal::NotALine);
    }
    let Classic { node, child, command, echo, kind } = *message;
    Ok(format!("{node};{child};{};{};{kind};{text}", command as u8, u8::from(echo)))
}

fn nobody(message: &Classic) -> Refusal {
    let Classic { node, child, command, kind, .. } = *message;
    match command {
        ClassicCommand::Set | ClassicCommand::Req => Refusal::NoClassic { node, child, kind },
        _ => Refusal::NoRelay(node),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REBOOT: Classic = Classic { node: 2, child: 255, command: ClassicCommand::Internal, echo: false, kind: 13 };

    #[test]
    fn a_message_goes_down_as_it_came_and_never_as_two() {
        let set = Classic { child: 1, command: ClassicCommand::Set, echo: true, kind: 47, ..REBOOT };
        let line = |message: &Classic, payload: &'static [u8]| line(message, &Bytes::from_static(payload));
        assert_eq!(line(&REBOOT, b"").unwrap(), "2;255;3;0;13;");
        assert_eq!(line(&set, b" 007;x").unwrap(), "2;1;1;1;47; 007;x");
        assert_eq!(line(&set, b"").unwrap(), "2;1;1;1;47;");
        let switch = Classic { kind: 2, ..set };
        assert_eq!(line(&switch, b""), Err(Refusal::NoValue));
        assert_eq!(line(&set, b"a\n2;255;3;0;13;"), Err(Refusal::NotALine));
        assert_eq!(line(&set, b"a\r"), Err(Refusal::NotALine));
        assert_eq!(line(&set, b"\xff"), Err(Refusal::NotALine));
        assert_eq!(line(&set, &[b'x'; LONGEST + 1]), Err(Refusal::LongLine(LONGEST + 1)));
    }
}
