//! What the gateway asks of a driver, and the one answer each command gets.

use std::fmt;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::{DeviceId, PointId, Value};

/// What is to be done with a point.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Read it now; the reading goes its usual way, the answer carries the value.
    Read,
    /// Write it. The gateway has checked the point's write rule already.
    Write {
        /// The value, in the point's own unit: scale and offset are the driver's to undo.
        value: Value,
        /// Whether the device has to confirm: a Modbus point is read back, a MySensors node is
        /// asked for its echo.
        verify: bool,
    },
    /// Put a request to the link as it is, in the protocol's own bytes; the answer's bytes come back
    /// as hexadecimal text in [`Done::observed`]. For a person who looks at a device that the site file
    /// does not know yet, and for controllers upstream ([`Driver::relays`](crate::Driver::relays)); device
    /// and point mean nothing here. For Modbus: the unit id, then the PDU. For MySensors: a line without
    /// its ending. A driver whose protocol knows no such thing refuses.
    Raw(Vec<u8>),
}

/// For people: `read`, `write 21.5`, `write on and verify`.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read => f.write_str("read"),
            Self::Write { value, verify: false } => write!(f, "write {}", in_one_line(value)),
            Self::Write { value, verify: true } => write!(f, "write {} and verify", in_one_line(value)),
            Self::Raw(request) => {
                f.write_str("raw ")?;
                request.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

/// A value as it was given, but no longer than a line, and with nothing that would end the line or steer
/// a terminal.
fn in_one_line(value: &Value) -> String {
    const MOST: usize = 120;
    let text = value.to_string();
    let mut line = String::new();
    for c in text.chars().take(MOST) {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    if text.chars().nth(MOST).is_some() {
        line.push('…');
    }
    line
}

/// A command on its way to the driver that owns the device.
#[derive(Debug)]
pub struct Command {
    /// The device to address.
    pub device: DeviceId,
    /// The point on it.
    pub point: PointId,
    /// What to do.
    pub action: Action,
    /// Past this moment the command must not reach the device any more.
    pub deadline: Instant,
    /// Whether another command of the same request stands right behind this one, for the same
    /// device. A driver that can write several points at once waits a moment for it.
    pub more_follow: bool,
    reply: oneshot::Sender<Answer>,
}

/// How a command ended.
pub type Answer = Result<Done, CommandError>;

/// What a command that reached its device did there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Done {
    /// What was put on the wire, as a value of the point: after rounding to what the device holds.
    pub written: Option<Value>,
    /// What the device was seen to hold: read back, echoed, or read.
    pub observed: Option<Value>,
    /// What the asker should know about it, in words: that nobody confirms a broadcast.
    pub note: Option<&'static str>,
}

/// Why a command was not carried out, or may not have been.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CommandError {
    /// The link is down: nothing was sent.
    #[error("the link is offline: {0}")]
    Offline(String),
    /// The device has not answered for a while and was not asked now: nothing was sent.
    #[error("not sent: {0}")]
    NotSent(String),
    /// A later value for the same point took its place while it waited for the device to wake: nothing
    /// was sent.
    #[error("not sent: a later value took its place before the device woke")]
    Superseded,
    /// The deadline passed before the command could be sent: it will not be.
    #[error("the deadline passed before the command could be sent")]
    Expired,
    /// It was sent and the device did not answer: it may or may not have acted.
    #[error("the device did not answer: {0}")]
    NoAnswer(String),
    /// The device, or the driver on its behalf, said no.
    #[error("refused: {0}")]
    Refused(String),
    /// The device holds something other than what was written.
    #[error("written, but the device holds {observed}")]
    NotHeld {
        /// What was put on the wire.
        written: Value,
        /// What the device holds; as text where it is no value of the point.
        observed: Value,
    },
    /// The driver dropped the command unanswered, as when its session ended under it.
    #[error("the session ended before the command was answered")]
    Abandoned,
}

impl CommandError {
    /// Whether nothing of the command can have reached the device.
    pub fn is_unsent(&self) -> bool {
        matches!(self, Self::Offline(_) | Self::NotSent(_) | Self::Superseded | Self::Expired)
    }
}

impl Command {
    /// A command and the place where its answer will be.
    pub fn new(device: DeviceId, point: PointId, action: Action, deadline: Instant) -> (Self, PendingAnswer) {
        let (reply, answer) = oneshot::channel();
        (Self { device, point, action, deadline, more_follow: false, reply }, PendingAnswer(answer))
    }

    /// Takes `self`, so a command is answered once. Dropped without an answer,
    /// it reaches the asker as [`CommandError::Abandoned`].
    pub fn answer(self, answer: Answer) {
        // An asker that has gone away is no concern of the driver's.
        let _ = self.reply.send(answer);
    }
}

/// The asker's end of a [`Command`].
#[derive(Debug)]
pub struct PendingAnswer(oneshot::Receiver<Answer>);

impl PendingAnswer {
    /// Waits for the answer. The driver bounds this wait: it answers within one exchange of
    /// the deadline, or drops the command.
    pub async fn wait(self) -> Answer {
        self.0.await.unwrap_or(Err(CommandError::Abandoned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_shown_in_the_words_it_was_given_in() {
        let write = |value, verify| Action::Write { value, verify }.to_string();
        assert_eq!(write(Value::Text("on".into()), false), "write on");
        assert_eq!(write(Value::Float(3.0), true), "write 3 and verify");
        assert_eq!(write(Value::Text("a\nb\x1b[2J °".into()), false), "write a\\nb\\u{1b}[2J °");
        assert_eq!(write(Value::Text("x".repeat(500)), false).chars().count(), "write ".len() + 121);
        assert_eq!((Action::Read.to_string(), Action::Raw(vec![7, 3]).to_string()), ("read".into(), "raw 0703".into()));
    }
}
