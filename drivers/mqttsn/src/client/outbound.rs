//! What is delivered to a client: one message at a time, for it has little room.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::topics::without_number;
use super::{Action, Client, State};
use crate::message::{LONGEST, Message, Publish, Qos, Return, Topic};
use crate::upstream::{Delivery, Request};

/// What a PUBLISH has beside its data, in bytes, with a length of three.
const OVERHEAD: usize = 9;

/// What a REGISTER has beside the topic, likewise.
const REGISTER_OVERHEAD: usize = 8;

/// Where the message is that the client was sent and has not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Its topic is being given a number.
    Register,
    /// It was sent.
    Publish,
    /// It has come, and is released (QoS 2).
    Release,
}

#[derive(Debug)]
struct Current {
    delivery: Delivery,
    topic: Topic,
    step: Step,
    id: u16,
    /// When it is sent again, and how often it was sent.
    due: Instant,
    tries: u8,
    /// Whether it was sent as a message before.
    dup: bool,
    /// Whether the client did not know the number and was told it again.
    told_again: bool,
}

/// What waits for one client.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    waiting: VecDeque<Delivery>,
    current: Option<Current>,
    last_id: u16,
    /// Whether the broker was asked if there is more.
    fencing: bool,
}

impl Outbound {
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + usize::from(self.current.is_some())
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.current.as_ref().map(|current| current.due)
    }

    fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }
}

impl Client {
    /// Something has come for it.
    pub(super) fn deliver(&mut self, delivery: Delivery, now: Instant, out: &mut Vec<Action>) {
        self.outbound.waiting.push_back(delivery);
        if self.outbound.waiting.len() > self.rules.buffer
            && let Some(oldest) = self.outbound.waiting.pop_front()
        {
            out.push(Action::Count("dropped_buffer_full"));
            done(&oldest, out);
        }
        self.go_on(now, out);
    }

    /// It listens again: what was not acknowledged before is sent again.
    pub(super) fn wake(&mut self, now: Instant, out: &mut Vec<Action>) {
        if let Some(current) = &mut self.outbound.current {
            current.tries = 0;
        }
        self.send_current(now, out);
        self.go_on(now, out);
    }

    /// Sends what it is time to send again, or gives up.
    pub(super) fn try_again(&mut self, now: Instant, out: &mut Vec<Action>) {
        let Some(current) = self.outbound.current.as_ref().filter(|current| current.due <= now) else { return };
        if current.tries <= self.rules.tries {
            out.push(Action::Count("sent_again"));
            self.send_current(now, out);
        } else if self.state == State::Awake {
            // It has fallen asleep over it. What waits goes on waiting.
            self.state = State::Asleep;
            self.outbound.fencing = false;
        } else {
            out.push(Action::Count("lost"));
            self.lose(out);
        }
    }

    pub(super) fn registered(&mut self, topic: u16, id: u16, code: Return, now: Instant, out: &mut Vec<Action>) {
        let current = self.outbound.current.as_mut();
        let Some(current) = current.filter(|current| current.step == Step::Register && current.id == id) else {
            return;
        };
        match code {
            Return::Accepted if current.topic == Topic::Registered(topic) => {
                (current.step, current.tries) = (Step::Publish, 0);
                self.topics.know(topic, true);
                self.send_current(now, out);
                self.go_on(now, out);
            }
            Return::Congestion => self.rest(now, out),
            _ => self.give_up(now, out),
        }
    }

    pub(super) fn acknowledged(&mut self, topic: u16, id: u16, code: Return, now: Instant, out: &mut Vec<Action>) {
        let current = self.outbound.current.as_mut();
        let Some(current) = current.filter(|current| current.step == Step::Publish && current.id == id && id != 0)
        else {
            // A message of QoS 0 whose topic the client does not know: it is told with the next one.
            if code == Return::InvalidTopic {
                out.push(Action::Count("refused_by_client"));
                self.topics.know(topic, false);
            }
            return;
        };
        match code {
            Return::Accepted if current.delivery.qos == Qos::AtLeastOnce => self.finish(now, out),
            // QoS 2 is acknowledged otherwise.
            Return::Accepted => {}
            Return::Congestion => self.rest(now, out),
            Return::InvalidTopic if !current.told_again && matches!(current.topic, Topic::Registered(_)) => {
                (current.step, current.tries, current.told_again) = (Step::Register, 0, true);
                if let Topic::Registered(number) = current.topic {
                    self.topics.know(number, false);
                }
                self.send_current(now, out);
            }
            _ => self.give_up(now, out),
        }
    }

    pub(super) fn received(&mut self, id: u16, now: Instant, out: &mut Vec<Action>) {
        match &mut self.outbound.current {
            Some(current) if current.id == id && current.delivery.qos == Qos::ExactlyOnce => {
                (current.step, current.tries) = (Step::Release, 0);
                self.send_current(now, out);
            }
            // A client that waits for this has missed it.
            _ => out.push(Action::Send(Message::PubRel { id })),
        }
    }

    pub(super) fn completed(&mut self, id: u16, now: Instant, out: &mut Vec<Action>) {
        if self.outbound.current.as_ref().is_some_and(|current| current.id == id && current.step == Step::Release) {
            self.finish(now, out);
        }
    }

    /// The broker has nothing more for it.
    pub(super) fn fenced(&mut self, out: &mut Vec<Action>) {
        if std::mem::take(&mut self.outbound.fencing) && self.state == State::Awake && self.outbound.len() == 0 {
            self.state = State::Asleep;
            out.push(Action::Send(Message::PingResp));
        }
    }

    /// Sends what waits, up to the first message that has to be acknowledged.
    fn go_on(&mut self, now: Instant, out: &mut Vec<Action>) {
        while matches!(self.state, State::Active | State::Awake) && self.outbound.current.is_none() {
            let Some(delivery) = self.outbound.waiting.pop_front() else { break };
            self.begin_with(delivery, now, out);
        }
        if self.state == State::Awake && self.outbound.len() == 0 && !self.outbound.fencing {
            // More may be on its way, since what was acknowledged makes room for it at the broker.
            self.outbound.fencing = true;
            out.push(Action::Ask(Request::Fence));
        }
    }

    fn begin_with(&mut self, delivery: Delivery, now: Instant, out: &mut Vec<Action>) {
        let fits = delivery.payload.len() + OVERHEAD <= LONGEST && delivery.topic.len() + REGISTER_OVERHEAD <= LONGEST;
        if !fits {
            out.push(Action::Count("dropped_too_long"));
            return done(&delivery, out);
        }
        // Who has asked for a number expects it, however short the topic.
        let asked = self.topics.asked(&delivery.topic).map(Topic::Registered);
        let (topic, known) = match asked.or_else(|| without_number(&delivery.topic, &self.rules.predefined)) {
            Some(topic) => (topic, true),
            None => match self.topics.tell(&delivery.topic, self.rules.topics) {
                Some((number, known)) => (Topic::Registered(number), known),
                None => {
                    out.push(Action::Count("topics_full"));
                    return done(&delivery, out);
                }
            },
        };
        let step = if known { Step::Publish } else { Step::Register };
        let id = if known && delivery.qos == Qos::AtMostOnce { 0 } else { self.outbound.next_id() };
        let (tries, dup, told_again) = (0, false, false);
        self.outbound.current = Some(Current { delivery, topic, step, id, due: now, tries, dup, told_again });
        self.send_current(now, out);
    }

    /// Sends the message as it stands. One of QoS 0 is done with that.
    fn send_current(&mut self, now: Instant, out: &mut Vec<Action>) {
        // A late answer may come from a client that sleeps already.
        if !matches!(self.state, State::Active | State::Awake) {
            return;
        }
        let Some(current) = &mut self.outbound.current else { return };
        current.tries = current.tries.saturating_add(1);
        current.due = now + self.rules.retry;
        let id = current.id;
        let message = match (current.step, current.topic) {
            (Step::Register, Topic::Registered(topic)) => {
                Message::Register { topic, id, name: current.delivery.topic.clone() }
            }
            (Step::Release, _) => Message::PubRel { id },
            (Step::Register | Step::Publish, topic) => {
                let Delivery { qos, retain, payload, .. } = &current.delivery;
                let is_last = *qos == Qos::AtMostOnce;
                let dup = std::mem::replace(&mut current.dup, true);
                let id = if is_last { 0 } else { id };
                let publish = Publish { dup, qos: *qos, retain: *retain, topic, id, data: payload.clone() };
                if is_last {
                    self.outbound.current = None;
                    out.push(Action::Count("delivered"));
                }
                Message::Publish(publish)
            }
        };
        out.push(Action::Send(message));
    }

    /// It has come.
    fn finish(&mut self, now: Instant, out: &mut Vec<Action>) {
        if let Some(current) = self.outbound.current.take() {
            out.push(Action::Count("delivered"));
            done(&current.delivery, out);
        }
        self.go_on(now, out);
    }

    /// The client does not want it.
    fn give_up(&mut self, now: Instant, out: &mut Vec<Action>) {
        if let Some(current) = self.outbound.current.take() {
            out.push(Action::Count("refused_by_client"));
            done(&current.delivery, out);
        }
        self.go_on(now, out);
    }

    /// The client has no room now.
    fn rest(&mut self, now: Instant, out: &mut Vec<Action>) {
        out.push(Action::Count("client_congested"));
        if let Some(current) = &mut self.outbound.current {
            (current.tries, current.due) = (0, now + self.rules.wait);
        }
    }
}

/// The broker need not keep it any more.
fn done(delivery: &Delivery, out: &mut Vec<Action>) {
    out.extend(delivery.receipt.map(|receipt| Action::Ask(Request::Done(receipt))));
}
