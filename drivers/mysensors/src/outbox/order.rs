//! One message on its way to a node, and whoever waits to hear what becomes of it.

use tokio::time::Instant;
use wharf_contract::{Action, Command, CommandError, Done, Value};

use crate::message::{self, Message};
use crate::nodes::Address;
use crate::types;

/// What is answered for a sleeping node's sake.
const WHEN_AWAKE: &str = "the node was asleep; it was sent when it woke";
/// What is answered to a question that was asked a moment ago.
const ASKED_ALREADY: &str =
    "it was asked a moment ago; it is asked once more, with all who want to know, in some seconds";

/// A message on its way to a node.
#[derive(Debug)]
pub struct Order {
    /// The message itself; it asks for an echo if one is awaited.
    pub message: Message,
    /// What is waited for after it was sent.
    pub awaited: Awaited,
    /// Whether it had to wait until its node woke.
    pub held: bool,
    /// How often it was sent.
    pub sent: u32,
    /// Whether another value for the same place was sent after it, so that repeating it would undo that.
    pub outdated: bool,
    command: Command,
}

/// What is waited for after an order was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// Nothing: it is done when it was sent.
    Nothing,
    /// The node repeats it.
    Echo,
    /// The node sends a value.
    Reading,
}

impl Order {
    /// An order for the message, on behalf of the command.
    pub fn new(command: Command, mut message: Message, awaited: Awaited) -> Self {
        message.ack = awaited == Awaited::Echo;
        Self { message, awaited, held: false, sent: 0, outdated: false, command }
    }

    /// An order of our own, on nobody's behalf.
    pub fn unasked(message: Message, deadline: Instant) -> Self {
        let (command, _) = Command::new("".into(), "".into(), Action::Raw(Vec::new()), deadline);
        Self::new(command, message, Awaited::Nothing)
    }

    /// Past this it is not sent any more.
    pub fn deadline(&self) -> Instant {
        self.command.deadline
    }

    /// Where it goes, if it is a value to be set: of several on their way there, the latest counts.
    pub fn sets(&self) -> Option<Address> {
        (self.message.command == message::Command::Set).then(|| Address::of(&self.message))
    }

    /// Whether it does no harm to say it twice: values only, and of those no scenes and no infrared codes,
    /// which are things that happen.
    pub fn may_be_repeated(&self) -> bool {
        self.sets().is_some_and(|address| !types::HAPPENS.contains(&address.kind)) && !self.outdated
    }

    /// It is done: its node said this, or was asked to say nothing.
    pub fn done(self, observed: Option<Value>) {
        let says = self.sets().is_some() || !self.message.payload.is_empty();
        let written = says.then(|| value_of(&self.message));
        let note = self.held.then_some(WHEN_AWAKE);
        self.command.answer(Ok(Done { written, observed, note }));
    }

    /// It is put together with one that was sent a moment ago.
    pub fn asked_already(self) {
        self.command.answer(Ok(Done { written: None, observed: None, note: Some(ASKED_ALREADY) }));
    }

    /// Its node holds something else.
    pub fn not_held(self, observed: Value) {
        let written = value_of(&self.message);
        self.command.answer(Err(CommandError::NotHeld { written, observed }));
    }

    /// It will not be sent, or not again, and this is why.
    pub fn give_up(self, why: &str) {
        let error = match self.sent {
            0 => CommandError::NotSent(why.to_owned()),
            _ => CommandError::NoAnswer(format!("{why}, after it was sent {}", times(self.sent))),
        };
        self.command.answer(Err(error));
    }

    /// A later value for the same place is there.
    pub fn superseded(self) {
        match self.sent {
            0 => self.command.answer(Err(CommandError::Superseded)),
            _ => self.give_up("a later value took its place"),
        }
    }

    /// Its deadline has passed while it waited.
    pub fn expired(self) {
        if self.sent == 0 && !self.held {
            self.command.answer(Err(CommandError::Expired));
        } else {
            self.give_up("the node did not wake before the deadline");
        }
    }

    /// It was sent as often as may be, and the node did not answer.
    pub fn unanswered(self) {
        let why = match (self.awaited, self.sent) {
            (Awaited::Reading, _) => "it sent no value in time".to_owned(),
            (_, ..=1) => "the write was not echoed in time".to_owned(),
            (_, sent) => format!("the write was sent {} and not echoed in time", times(sent)),
        };
        self.command.answer(Err(CommandError::NoAnswer(why)));
    }

    /// The value its node sent makes no sense.
    pub fn bad_reading(self, reason: &str) {
        self.command.answer(Err(CommandError::NoAnswer(format!("it sent a bad value, {reason}"))));
    }

    /// There is no room for it.
    pub fn refuse(self, why: String) {
        self.command.answer(Err(CommandError::Refused(why)));
    }
}

fn times(count: u32) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        count => format!("{count} times"),
    }
}

/// What a message says, as a value where it is one.
pub fn value_of(message: &Message) -> Value {
    match message.command {
        message::Command::Set => crate::reading::value(message).ok(),
        _ => None,
    }
    .unwrap_or_else(|| Value::Text(message.payload.clone()))
}
