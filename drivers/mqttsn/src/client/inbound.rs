//! What a client publishes and subscribes to.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use tokio::time::Instant;

use super::topics::{self, is_filter, is_topic};
use super::{Action, Client};
use crate::message::{Filter, Message, Publish, Qos, Return, Topic};
use crate::upstream::Request;

/// How many messages of one client may be on their way to the broker, and how many of its subscriptions.
const MOST_PENDING: usize = 16;

/// How many acknowledged messages are remembered, to know them again, and for how long: small sensors have few ids, and
/// what looks the same later is another message whose first sending was lost.
const MOST_REMEMBERED: usize = 16;
const REMEMBERED_FOR: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Pending {
    id: u16,
    topic: u16,
    qos: Qos,
    print: u64,
    /// Whether the broker has it.
    taken: bool,
}

/// A question about a topic that the broker has been asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    id: u16,
    topic: u16,
    is_subscribe: bool,
}

/// What is on its way from one client to the broker.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    pending: VecDeque<Pending>,
    /// The last messages of QoS 1 that were acknowledged: their ids, what they said, and when that was.
    acknowledged: VecDeque<(u16, u64, Instant)>,
    asked: Vec<Asked>,
}

impl Client {
    pub(super) fn register(&mut self, id: u16, name: &str, out: &mut Vec<Action>) {
        let (topic, code) = if !is_topic(name) {
            (0, Return::NotSupported)
        } else {
            match self.topics.ask(name, self.rules.topics) {
                Some(topic) => (topic, Return::Accepted),
                None => {
                    out.push(Action::Count("topics_full"));
                    (0, Return::Congestion)
                }
            }
        };
        out.push(Action::Send(Message::RegAck { topic, id, code }));
    }

    pub(super) fn publish(&mut self, publish: Publish, out: &mut Vec<Action>) {
        let id = publish.id;
        let (number, name) = match publish.topic {
            Topic::Registered(number) => (number, self.topics.name(number).map(str::to_owned)),
            Topic::Predefined(number) => (number, self.rules.predefined.name(number).map(str::to_owned)),
            Topic::Short(name) => (u16::from_be_bytes(name), topics::short(name)),
        };
        let refuse = |code| Action::Send(Message::PubAck { topic: number, id, code });
        let Some(topic) = name else {
            out.extend([Action::Count("unknown_topic"), refuse(Return::InvalidTopic)]);
            return;
        };
        let qos = if publish.qos == Qos::Unconnected { Qos::AtMostOnce } else { publish.qos };
        let tag = (qos != Qos::AtMostOnce).then_some(id);
        if tag == Some(0) {
            out.extend([Action::Count("refused_publish"), refuse(Return::NotSupported)]);
            return;
        }
        if tag.is_some() {
            let print = print(&publish, &topic);
            match self.inbound.repeated(&publish, print, self.heard) {
                Some(answer) => {
                    out.push(Action::Count("repeated"));
                    out.extend(answer.map(|message| Action::Send(message(number))));
                    return;
                }
                None if self.inbound.pending.len() >= MOST_PENDING => {
                    out.extend([Action::Count("congestion"), refuse(Return::Congestion)]);
                    return;
                }
                None => self.inbound.pending.push_back(Pending { id, topic: number, qos, print, taken: false }),
            }
        }
        out.push(Action::Count("published"));
        let (payload, retain, repeated) = (publish.data, publish.retain, publish.dup && tag.is_some());
        out.push(Action::Ask(Request::Publish { topic, payload, qos, retain, tag, repeated }));
    }

    /// The broker has what the client has published.
    pub(super) fn published(&mut self, id: u16, now: Instant, out: &mut Vec<Action>) {
        let Inbound { pending, acknowledged, .. } = &mut self.inbound;
        let Some(at) = pending.iter().position(|pending| pending.id == id && !pending.taken) else { return };
        match pending.get_mut(at) {
            Some(taken) if taken.qos == Qos::ExactlyOnce => {
                taken.taken = true;
                out.push(Action::Send(Message::PubRec { id }));
            }
            _ => {
                let Some(done) = pending.remove(at) else { return };
                // Its id has a new meaning now.
                acknowledged.retain(|(of, ..)| *of != id);
                acknowledged.truncate(MOST_REMEMBERED - 1);
                acknowledged.push_front((id, done.print, now));
                out.push(Action::Send(Message::PubAck { topic: done.topic, id, code: Return::Accepted }));
            }
        }
    }

    /// QoS 2, step 2. Also who has been answered already is answered again.
    pub(super) fn release(&mut self, id: u16, out: &mut Vec<Action>) {
        self.inbound.pending.retain(|pending| pending.id != id || !pending.taken);
        out.push(Action::Send(Message::PubComp { id }));
    }

    pub(super) fn subscribe(&mut self, qos: Qos, id: u16, filter: Filter, out: &mut Vec<Action>) {
        let answer = |topic, code| Action::Send(Message::SubAck { qos: Qos::AtMostOnce, topic, id, code });
        let (filter, topic) = match filter {
            _ if qos == Qos::Unconnected => return out.push(answer(0, Return::NotSupported)),
            Filter::Predefined(number) => match self.rules.predefined.name(number) {
                Some(name) => (name.to_owned(), number),
                None => return out.push(answer(number, Return::InvalidTopic)),
            },
            Filter::Short(name) => match topics::short(name) {
                Some(name) => (name, 0),
                None => return out.push(answer(0, Return::NotSupported)),
            },
            Filter::Name(name) if !is_filter(&name) => return out.push(answer(0, Return::NotSupported)),
            Filter::Name(name) if is_topic(&name) => match self.topics.ask(&name, self.rules.topics) {
                Some(number) => (name, number),
                None => {
                    return out.extend([Action::Count("topics_full"), answer(0, Return::Congestion)]);
                }
            },
            Filter::Name(name) => (name, 0),
        };
        match self.inbound.ask(Asked { id, topic, is_subscribe: true }) {
            Some(true) => out.push(Action::Ask(Request::Subscribe { filter, qos, tag: id })),
            // The broker will answer.
            Some(false) => {}
            None => out.extend([Action::Count("congestion"), answer(topic, Return::Congestion)]),
        }
    }

    pub(super) fn subscribed(&mut self, id: u16, granted: Option<Qos>, out: &mut Vec<Action>) {
        let Some(asked) = self.inbound.answered(id, true) else { return };
        let (qos, code) = match granted {
            Some(qos) => (qos, Return::Accepted),
            None => (Qos::AtMostOnce, Return::NotSupported),
        };
        out.push(Action::Send(Message::SubAck { qos, topic: asked.topic, id, code }));
    }

    pub(super) fn unsubscribe(&mut self, id: u16, filter: Filter, out: &mut Vec<Action>) {
        let filter = match filter {
            Filter::Name(name) => Some(name).filter(|name| is_filter(name)),
            Filter::Predefined(number) => self.rules.predefined.name(number).map(str::to_owned),
            Filter::Short(name) => topics::short(name),
        };
        // What cannot have been subscribed to is not subscribed to.
        let Some(filter) = filter else { return out.push(Action::Send(Message::UnsubAck { id })) };
        match self.inbound.ask(Asked { id, topic: 0, is_subscribe: false }) {
            Some(true) => out.push(Action::Ask(Request::Unsubscribe { filter, tag: id })),
            Some(false) => {}
            // There is no code to say so with. The client asks again.
            None => out.push(Action::Count("congestion")),
        }
    }

    pub(super) fn unsubscribed(&mut self, id: u16, out: &mut Vec<Action>) {
        if self.inbound.answered(id, false).is_some() {
            out.push(Action::Send(Message::UnsubAck { id }));
        }
    }
}

/// The answer to a repeated message, for the topic's number.
type Again = Box<dyn Fn(u16) -> Message>;

impl Inbound {
    /// Its client connects anew, and nothing is under way. What was acknowledged it may repeat all the same: it has not
    /// heard so.
    pub(super) fn begin(&mut self) {
        self.pending.clear();
        self.asked.clear();
    }

    /// Whether this message has come before; and the answer, if there is one already.
    fn repeated(&self, publish: &Publish, print: u64, now: Instant) -> Option<Option<Again>> {
        let id = publish.id;
        if let Some(pending) = self.pending.iter().find(|pending| pending.id == id) {
            // A message of QoS 2 is known by its id alone until it is released.
            return match pending.taken {
                true => Some(Some(Box::new(move |_| Message::PubRec { id }))),
                false => Some(None),
            };
        }
        // Of QoS 1, ids come again soon: the client has to say that it repeats, and the same.
        let is_same = |(of, was, at): &(u16, u64, Instant)| {
            (*of, *was) == (id, print) && now.saturating_duration_since(*at) <= REMEMBERED_FOR
        };
        let known = publish.dup && publish.qos == Qos::AtLeastOnce && self.acknowledged.iter().any(is_same);
        known.then(|| Some(Box::new(move |topic| Message::PubAck { topic, id, code: Return::Accepted }) as Again))
    }

    /// Takes a question down. Whether it is new; `None` if there is no room.
    fn ask(&mut self, asked: Asked) -> Option<bool> {
        if self.asked.contains(&asked) {
            return Some(false);
        }
        if self.asked.len() >= MOST_PENDING {
            return None;
        }
        self.asked.push(asked);
        Some(true)
    }

    fn answered(&mut self, id: u16, is_subscribe: bool) -> Option<Asked> {
        let at = self.asked.iter().position(|asked| asked.id == id && asked.is_subscribe == is_subscribe)?;
        Some(self.asked.remove(at))
    }
}

/// What tells one message from another.
fn print(publish: &Publish, topic: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (topic, publish.retain, &publish.data).hash(&mut hasher);
    hasher.finish()
}
