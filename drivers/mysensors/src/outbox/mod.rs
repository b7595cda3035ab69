//! Everything on its way to the nodes: what waits until its node wakes, what is to be sent now, and what
//! was sent and waits for an echo or a value.
//!
//! Pure: the clock is an argument, and it sends nothing itself. The session shows it every message it
//! hears ([`Outbox::hear`]), gives it what is to be done ([`Outbox::take`]), and then sends what it is
//! given by [`Outbox::next`], saying each time that it did ([`Outbox::left`]). It outlives the session:
//! what waits for a node to wake is not lost with the link.
//!
//! - [`sleep`]: who sleeps, and when they listen. [`order`]: one message and its asker. [`sent`]: echoes.
//!   [`questions`]: what is not asked again and again.

mod counts;
pub mod order;
mod questions;
mod sent;
mod sleep;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::message::{self, GATEWAY, Message, SELF};
use crate::nodes::Address;
use crate::registry::Version;
use crate::types;
pub use counts::Counts;
use order::{Awaited, Order};
use questions::{Questions, is_question};
use sent::{Echo, Sent};
use sleep::Sleep;

/// How many orders may wait for their node's answer at once.
pub const MOST_AWAITED: usize = 64;
/// How many may wait for one node to wake.
pub const MOST_PER_NODE: usize = 32;
/// How many may wait for all nodes of a link to wake.
pub const MOST_HELD: usize = 1024;
/// The pause between two messages to a node in its window: the gateway has to send the first by radio
/// before it takes the second, and small ones have 64 bytes of memory for what waits meanwhile.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a node that sleeps may take to send a value it was asked for.
const READING_SOON: Duration = Duration::from_secs(10);
/// How long after its request a node may be answered: it waits awake for that.
const REQUEST_OPEN: Duration = Duration::from_secs(2);
/// How many requests of nodes are remembered for that.
const MOST_REQUESTS: usize = 64;

/// What the site file says of sending.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How long an echo may take.
    pub echo_timeout: Duration,
    /// How often a message is sent again whose echo stays away.
    pub retries: u32,
}

/// Everything on its way to the nodes of a link.
#[derive(Debug)]
pub struct Outbox {
    rules: Rules,
    sleep: Sleep,
    /// What waits for its node to wake; no queue is empty.
    held: BTreeMap<u8, VecDeque<Order>>,
    held_count: usize,
    /// No deadline in `held` is before this.
    held_until: Option<Instant>,
    ready: VecDeque<Order>,
    /// What is being sent right now.
    leaving: Option<Order>,
    sent: Sent,
    requests: VecDeque<(Address, Instant)>,
    questions: Questions,
    /// Why nothing is taken any more.
    closed: Option<String>,
    /// The nodes whose queues have changed since somebody looked.
    changed: BTreeSet<u8>,
    counts: Counts,
}

impl Outbox {
    /// An empty one.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            sleep: Sleep::default(),
            held: BTreeMap::new(),
            held_count: 0,
            held_until: None,
            ready: VecDeque::new(),
            leaving: None,
            sent: Sent::default(),
            requests: VecDeque::new(),
            questions: Questions::default(),
            closed: None,
            changed: BTreeSet::new(),
            counts: Counts::default(),
        }
    }

    /// What the site file says of a node's sleep.
    pub fn tell(&mut self, node: u8, sleeps: bool) {
        self.sleep.tell(node, sleeps);
    }

    /// What was known of a node before this start.
    pub fn recall(&mut self, node: u8, version: Option<Version>, sleeps: bool) {
        self.sleep.recall(node, version, sleeps);
    }

    /// Whether a node sleeps, as far as is known.
    pub fn sleeps(&self, node: u8) -> bool {
        self.sleep.sleeps(node)
    }

    /// How many orders wait for each node to wake.
    pub fn depths(&self) -> impl Iterator<Item = (u8, usize)> {
        self.held.iter().map(|(node, queue)| (*node, queue.len()))
    }

    /// How many orders wait for this node to wake.
    pub fn depth(&self, node: u8) -> usize {
        self.held.get(&node).map_or(0, VecDeque::len)
    }

    /// The nodes whose number of waiting orders has changed since this was asked.
    pub fn changed(&mut self) -> BTreeSet<u8> {
        std::mem::take(&mut self.changed)
    }

    /// What was counted since this was asked.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// Takes an order. It is sent with the next, kept until its node wakes, or refused at once. A question
    /// that was asked a moment ago is asked once more when that is over.
    pub fn take(&mut self, order: Order, now: Instant) {
        if let Some(reason) = &self.closed {
            return order.give_up(reason);
        }
        if is_question(&order.message)
            && (self.is_held(&order.message) || !self.questions.may_ask(&order.message, order.deadline(), now))
        {
            self.counts.coalesced += 1;
            return order.asked_already();
        }
        self.line_up(order, now);
    }

    /// Whether the same question waits for its node to wake.
    fn is_held(&self, question: &Message) -> bool {
        let same = |order: &Order| is_question(&order.message) && order.message.kind == question.kind;
        self.held.get(&question.node).is_some_and(|queue| queue.iter().any(same))
    }

    fn line_up(&mut self, mut order: Order, now: Instant) {
        let node = order.message.node;
        self.say(&order.message, now);
        if let Some(address) = order.sets() {
            self.supersede(address);
        }
        if !self.must_wait(&order.message, now) {
            if order.awaited != Awaited::Nothing && self.is_full() {
                self.counts.refused += 1;
                order.refuse("too many commands wait for an answer on this link".into());
            } else {
                self.ready.push_back(order);
            }
        } else if self.depth(node) >= MOST_PER_NODE || self.held_count >= MOST_HELD {
            self.counts.refused += 1;
            order.refuse(format!("{} commands wait already until the node wakes", self.depth(node)));
        } else {
            self.counts.held += 1;
            order.held = true;
            self.hold(order);
        }
    }

    /// Takes note of a message that is sent past it, or is about to be sent: a node that is asked for a
    /// heartbeat does not wake when it sends one, and what it was asked is not asked again at once.
    pub fn say(&mut self, message: &Message, now: Instant) {
        if message.command == message::Command::Internal && message.kind == types::HEARTBEAT_REQUEST {
            self.sleep.heartbeat_asked(message.node, now);
        }
        if is_question(message) {
            self.questions.asked(message, now);
        }
    }

    /// Takes in what was heard from the network.
    pub fn hear(&mut self, message: &Message, now: Instant) {
        if message.ack {
            match self.sent.echo(message, now) {
                Echo::Confirmed => self.counts.confirmed += 1,
                Echo::Differs => self.counts.differed += 1,
                Echo::Unasked => self.counts.unasked += 1,
            }
            return;
        }
        self.sleep.hear(message, now);
        match message.command {
            message::Command::Set => self.answer_requests(message),
            message::Command::Req => {
                if self.requests.len() >= MOST_REQUESTS {
                    self.requests.pop_front();
                }
                self.requests.push_back((Address::of(message), now + REQUEST_OPEN));
                self.bring(message);
            }
            _ => {}
        }
    }

    /// Whether a node was seen to sleep, whatever the site file says of it.
    pub fn was_seen_asleep(&self, node: u8) -> bool {
        self.sleep.was_seen_asleep(node)
    }

    /// Whether a value for the place of this one is to be sent right now.
    pub fn is_about_to_set(&self, message: &Message) -> bool {
        self.ready.iter().any(|order| order.sets() == Some(Address::of(message)))
    }

    /// What is to be sent at `now`, if anything is. [`left`](Self::left) says that it was sent.
    pub fn next(&mut self, now: Instant) -> Option<Message> {
        self.expire(now);
        for (question, deadline) in self.questions.due(now) {
            self.line_up(Order::unasked(question, deadline), now);
        }
        let order = self.next_ready(now).or_else(|| self.next_held(now))?;
        let message = order.message.clone();
        self.leaving = Some(order);
        Some(message)
    }

    /// What was last given has been sent.
    pub fn left(&mut self, now: Instant) {
        let Some(mut order) = self.leaving.take() else { return };
        self.counts.sent += 1;
        order.sent += 1;
        if is_question(&order.message) {
            self.questions.asked(&order.message, now);
        }
        match order.awaited {
            Awaited::Nothing => order.done(None),
            Awaited::Echo => self.sent.add(order, now + self.rules.echo_timeout),
            Awaited::Reading => {
                // A node that sleeps answers before it does so again, or not at all.
                let until = if order.held { now + READING_SOON } else { order.deadline() };
                self.sent.add(order, until);
            }
        }
    }

    /// When there is something to do although nothing comes in.
    pub fn until(&self) -> Option<Instant> {
        let in_window = self.sleep.next(|node| self.held.contains_key(&node)).filter(|_| !self.is_full());
        let soonest = self.ready.iter().map(Order::deadline).min();
        [self.sent.until(), self.held_until, in_window, soonest, self.questions.until()].into_iter().flatten().min()
    }

    /// The link is lost. What waits for a node to wake goes on waiting, and so does what may be said to
    /// such a node again; the rest is given up, for nobody knows whether it has arrived.
    pub fn lost(&mut self, now: Instant) {
        self.sleep.close();
        self.requests.clear();
        self.questions.forget();
        let mut again: Vec<_> = self.sent.drain().into_iter().chain(self.leaving.take()).collect();
        again.retain(|order| self.sleep.sleeps(order.message.node) && self.may_repeat(order, now));
        self.hold_first(again);
        for order in self.ready.drain(..) {
            order.give_up("the link was lost before it could be sent");
        }
    }

    /// Nothing is sent any more, for this reason: everything that waits is answered, and nothing is taken.
    pub fn close(&mut self, reason: &str) {
        self.closed = Some(reason.to_owned());
        self.held_count = 0;
        self.held_until = None;
        self.questions.forget();
        let held = std::mem::take(&mut self.held).into_values().flatten();
        for order in held.chain(self.ready.drain(..)).chain(self.leaving.take()).chain(self.sent.drain()) {
            order.give_up(reason);
        }
    }

    /// Whether a message must wait until its node wakes. What a node has just asked for is not kept: it
    /// waits awake for that, and for nothing else.
    fn must_wait(&mut self, message: &Message, now: Instant) -> bool {
        if matches!(message.node, GATEWAY | SELF) || !self.sleep.sleeps(message.node) {
            return false;
        }
        match message.command {
            message::Command::Set => {
                self.requests.retain(|(_, until)| now < *until);
                let asked = self.requests.iter().position(|(address, _)| *address == Address::of(message));
                asked.and_then(|place| self.requests.remove(place)).is_none()
            }
            message::Command::Internal => !ANSWERS.contains(&message.kind),
            message::Command::Stream => !STREAM_ANSWERS.contains(&message.kind),
            message::Command::Presentation | message::Command::Req => true,
        }
    }

    /// Whether no more can wait for their node's answer.
    fn is_full(&self) -> bool {
        self.sent.len() + self.ready.len() >= MOST_AWAITED
    }

    /// A later value for the same place is there: what is on its way there is not sent, or not again.
    fn supersede(&mut self, address: Address) {
        self.sent.outdate(address);
        let Some(queue) = self.held.get_mut(&address.node) else { return };
        let sets = |order: &Order| order.sets() == Some(address);
        let Some(place) = queue.iter().position(sets) else { return };
        // There is never more than one.
        let Some(older) = queue.remove(place) else { return };
        self.counts.superseded += 1;
        older.superseded();
        self.let_go(address.node, 1);
    }

    /// A node asks for a value: if a new one waits for it to wake, that is the answer.
    fn bring(&mut self, request: &Message) {
        let (address, has_room) = (Some(Address::of(request)), !self.is_full());
        let goes = |order: &Order| order.sets() == address && (has_room || order.awaited == Awaited::Nothing);
        let Some(queue) = self.held.get_mut(&request.node) else { return };
        let Some(order) = queue.iter().position(goes).and_then(|place| queue.remove(place)) else { return };
        self.let_go(request.node, 1);
        self.ready.push_back(order);
    }

    fn answer_requests(&mut self, message: &Message) {
        self.sent.reading(message);
        let Some(queue) = self.held.get_mut(&message.node) else { return };
        let asked = |order: &Order| sent::answers(order, message);
        let mut answered = Vec::new();
        while let Some(order) = queue.iter().position(asked).and_then(|place| queue.remove(place)) {
            answered.push(order);
        }
        self.let_go(message.node, answered.len());
        for order in answered {
            match crate::reading::value(message) {
                Ok(value) => order.done(Some(value)),
                Err(reason) => order.bad_reading(&reason),
            }
        }
    }

    fn next_ready(&mut self, now: Instant) -> Option<Order> {
        while let Some(order) = self.ready.pop_front() {
            if now < order.deadline() {
                return Some(order);
            }
            self.counts.expired += 1;
            order.expired();
        }
        None
    }

    fn next_held(&mut self, now: Instant) -> Option<Order> {
        if self.held.is_empty() || self.is_full() {
            return None;
        }
        let held = &self.held;
        let node = self.sleep.listening(now).find(|node| held.contains_key(node))?;
        let order = self.held.get_mut(&node)?.pop_front()?;
        self.sleep.pace(node, now, PAUSE);
        self.let_go(node, 1);
        Some(order)
    }

    /// Sees to everything whose time is over: what may be repeated is, and the rest is answered.
    pub fn expire(&mut self, now: Instant) {
        let mut again = Vec::new();
        for order in self.sent.overdue(now) {
            if !self.may_repeat(&order, now) {
                self.counts.given_up += 1;
                order.unanswered();
                continue;
            }
            self.counts.repeated += 1;
            if self.sleep.sleeps(order.message.node) {
                again.push(order);
            } else {
                self.ready.push_back(order);
            }
        }
        self.hold_first(again);
        if self.held_until.is_none_or(|until| now < until) {
            return;
        }
        let late: Vec<_> = self
            .held
            .iter_mut()
            .flat_map(|(node, queue)| {
                let late = |order: &mut Order| order.deadline() <= now;
                extract(queue, late).into_iter().map(|order| (*node, order)).collect::<Vec<_>>()
            })
            .collect();
        for (node, order) in late {
            self.counts.expired += 1;
            order.expired();
            self.let_go(node, 1);
        }
        self.held_until = self.held.values().flatten().map(Order::deadline).min();
    }

    /// Whether an order that was sent may be sent again. A later value for its place forbids it, for the
    /// earlier one would be in force then.
    fn may_repeat(&self, order: &Order, now: Instant) -> bool {
        let later = |other: &Order| other.sets().is_some() && other.sets() == order.sets();
        order.awaited == Awaited::Echo
            && order.may_be_repeated()
            && order.sent <= self.rules.retries
            && now < order.deadline()
            && !self.held.get(&order.message.node).is_some_and(|queue| queue.iter().any(later))
    }

    fn hold(&mut self, order: Order) {
        self.note_held(&order);
        self.held.entry(order.message.node).or_default().push_back(order);
    }

    /// These wait again, in their order and before what waits already.
    fn hold_first(&mut self, again: Vec<Order>) {
        for order in again.into_iter().rev() {
            self.note_held(&order);
            self.held.entry(order.message.node).or_default().push_front(order);
        }
    }

    fn note_held(&mut self, order: &Order) {
        self.held_count += 1;
        self.changed.insert(order.message.node);
        self.held_until = Some(self.held_until.map_or(order.deadline(), |until| until.min(order.deadline())));
    }

    /// So many orders have left the queue of a node.
    fn let_go(&mut self, node: u8, count: usize) {
        if count > 0 {
            self.held_count = self.held_count.saturating_sub(count);
            self.changed.insert(node);
        }
        if self.depth(node) == 0 {
            self.held.remove(&node);
        }
        if self.held.is_empty() {
            self.held_until = None;
        }
    }
}

/// Internal messages that answer a question a node has just asked.
const ANSWERS: &[u8] = &[
    types::TIME,
    types::ID_RESPONSE,
    types::CONFIG,
    types::FIND_PARENT_RESPONSE,
    types::NONCE_RESPONSE,
    types::PONG,
    types::REGISTRATION_RESPONSE,
];

/// Stream messages that do: firmware, as its bootloader asks for it piece by piece.
const STREAM_ANSWERS: &[u8] = &[1, 3, 7];

/// Takes out of a queue what is wanted of it, in its order.
fn extract(queue: &mut VecDeque<Order>, wanted: impl Fn(&mut Order) -> bool) -> Vec<Order> {
    let mut taken = Vec::new();
    for _ in 0..queue.len() {
        let Some(mut order) = queue.pop_front() else { break };
        if wanted(&mut order) { taken.push(order) } else { queue.push_back(order) }
    }
    taken
}
