//! Questions that nodes answer with many messages, or many nodes with one: what a node is, and who is there.
//! A controller that asks in a loop is not let through with each: see [`Paced`].

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::message::{self, Message};
use crate::paced::{PAUSE, Paced};
use crate::types;

/// The questions of the last while, by node and type: two for each number there is, at most.
#[derive(Debug, Default)]
pub(super) struct Questions {
    asked: BTreeMap<(u8, u8), Asked>,
}

#[derive(Debug)]
struct Asked {
    paced: Paced,
    /// What is asked when the pause is over, and until when it makes sense.
    again: Message,
    deadline: Instant,
}

/// Whether it is such a question.
pub(super) fn is_question(message: &Message) -> bool {
    message.command == message::Command::Internal && matches!(message.kind, types::PRESENT | types::DISCOVER)
}

impl Questions {
    /// Whether a question may be asked now; if not it is, once, when the pause is over.
    pub fn may_ask(&mut self, message: &Message, deadline: Instant, now: Instant) -> bool {
        let Some(asked) = self.asked.get_mut(&(message.node, message.kind)) else { return true };
        asked.deadline = deadline.max(now + PAUSE + PAUSE);
        asked.paced.ask(now)
    }

    /// One is asked now, whoever wants to know.
    pub fn asked(&mut self, message: &Message, now: Instant) {
        let again = Message { ack: false, ..message.clone() };
        let new = || Asked { paced: Paced::default(), again, deadline: now };
        self.asked.entry((message.node, message.kind)).or_insert_with(new).paced.done(now);
    }

    /// When one is to be asked again.
    pub fn until(&self) -> Option<Instant> {
        self.asked.values().filter_map(|asked| asked.paced.until()).min()
    }

    /// Those that are to be asked again by now, and until when each makes sense.
    pub fn due(&mut self, now: Instant) -> Vec<(Message, Instant)> {
        let due = self.asked.values_mut().filter(|asked| asked.paced.until().is_some_and(|until| until <= now));
        due.map(|asked| {
            asked.paced.done(now);
            (asked.again.clone(), asked.deadline)
        })
        .collect()
    }

    /// Nobody is there to be asked.
    pub fn forget(&mut self) {
        self.asked.values_mut().for_each(|asked| asked.paced.forget());
    }
}
