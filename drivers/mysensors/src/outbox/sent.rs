//! Orders that were sent and wait for their node: for an echo, or for a value.
//!
//! A bounded list. An order that was sent several times may be echoed as often, so the echoes that are
//! still out are remembered for a while: they must not be taken for those of a later order.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::order::{Awaited, Order, value_of};
use crate::message::{Command, Message};
use crate::nodes::Address;

/// How many echoes that may still come are remembered.
const MOST_STRAY: usize = 64;
/// For how long.
const STRAY_FOR: Duration = Duration::from_secs(60);

/// The orders that wait.
#[derive(Debug, Default)]
pub struct Sent {
    waiting: Vec<Waiting>,
    stray: VecDeque<Stray>,
}

#[derive(Debug)]
struct Waiting {
    order: Order,
    until: Instant,
    /// How many echoes of it came; one is enough.
    echoes: u32,
}

#[derive(Debug)]
struct Stray {
    message: Message,
    left: u32,
    until: Instant,
}

/// What an echo has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// It repeats an order, which is done.
    Confirmed,
    /// It belongs to an order, and says something else.
    Differs,
    /// Nobody waits for it.
    Unasked,
}

impl Sent {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// An order was sent, and its node has until then.
    pub fn add(&mut self, order: Order, until: Instant) {
        self.waiting.push(Waiting { order, until, echoes: 0 });
    }

    /// Another value is being sent to that place: what was sent there before is not repeated.
    pub fn outdate(&mut self, address: Address) {
        for waiting in self.waiting.iter_mut().filter(|waiting| waiting.order.sets() == Some(address)) {
            waiting.order.outdated = true;
        }
    }

    /// An echo came. It belongs to the order it repeats, or to the oldest one for the same place, whose
    /// node then holds something else.
    pub fn echo(&mut self, echo: &Message, now: Instant) -> Echo {
        let awaits =
            |waiting: &Waiting| waiting.order.awaited == Awaited::Echo && same_place(&waiting.order.message, echo);
        let repeats = |waiting: &Waiting| awaits(waiting) && waiting.order.message.payload == echo.payload;
        if let Some(place) = self.waiting.iter().position(repeats) {
            let mut confirmed = self.waiting.remove(place);
            confirmed.echoes += 1;
            self.expect_stray(&confirmed, now);
            confirmed.order.done(Some(value_of(echo)));
            return Echo::Confirmed;
        }
        if self.was_stray(echo, now) {
            return Echo::Unasked;
        }
        let Some(place) = self.waiting.iter().position(awaits) else {
            return Echo::Unasked;
        };
        self.waiting.remove(place).order.not_held(value_of(echo));
        Echo::Differs
    }

    /// A value came that a node sent of its own accord: the answer to every request for it.
    pub fn reading(&mut self, message: &Message) {
        let asked = |waiting: &mut Waiting| answers(&waiting.order, message);
        for Waiting { order, .. } in self.waiting.extract_if(.., asked) {
            match crate::reading::value(message) {
                Ok(value) => order.done(Some(value)),
                Err(reason) => order.bad_reading(&reason),
            }
        }
    }

    /// When the next one has waited long enough.
    pub fn until(&self) -> Option<Instant> {
        self.waiting.iter().map(|waiting| waiting.until).min()
    }

    /// Takes out those that have waited long enough, oldest first.
    pub fn overdue(&mut self, now: Instant) -> Vec<Order> {
        let late: Vec<_> = self.waiting.extract_if(.., |waiting| waiting.until <= now).collect();
        late.into_iter()
            .map(|waiting| {
                self.expect_stray(&waiting, now);
                waiting.order
            })
            .collect()
    }

    /// Takes out all of them.
    pub fn drain(&mut self) -> Vec<Order> {
        self.stray.clear();
        self.waiting.drain(..).map(|waiting| waiting.order).collect()
    }

    /// Further echoes of what is not waited for any more may still come.
    fn expect_stray(&mut self, over: &Waiting, now: Instant) {
        let left = over.order.sent.saturating_sub(over.echoes);
        if over.order.awaited != Awaited::Echo || left == 0 {
            return;
        }
        if self.stray.len() >= MOST_STRAY {
            self.stray.pop_front();
        }
        let message = over.order.message.clone();
        self.stray.push_back(Stray { message, left, until: now + STRAY_FOR });
    }

    fn was_stray(&mut self, echo: &Message, now: Instant) -> bool {
        self.stray.retain(|stray| now < stray.until && stray.left > 0);
        let known = |stray: &&mut Stray| same_place(&stray.message, echo) && stray.message.payload == echo.payload;
        match self.stray.iter_mut().find(known) {
            Some(stray) => {
                stray.left -= 1;
                true
            }
            None => false,
        }
    }
}

/// Whether an order asks for what a node has just sent.
pub fn answers(order: &Order, message: &Message) -> bool {
    order.awaited == Awaited::Reading
        && message.command == Command::Set
        && Address::of(&order.message) == Address::of(message)
}

fn same_place(one: &Message, other: &Message) -> bool {
    one.command == other.command && Address::of(one) == Address::of(other)
}
