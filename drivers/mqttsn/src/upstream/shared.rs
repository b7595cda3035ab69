//! Many clients behind one connection to the broker, without any I/O.
//!
//! What the broker does for each client that has a connection of its own is done here instead: who has
//! subscribed to what, whose will it is, and what waits for a client that is away and wants to come back.
//! What is delivered counts as delivered to the broker when it is here.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;
use wharf_contract::topic;

use super::{Delivery, News, Request, Will};
use crate::message::Qos;

/// How many filters a client may have.
const MOST_FILTERS: usize = 100;

/// How long after its subscription a client is sent what the broker has kept. Whoever else has subscribed
/// to the same has it already.
const FRESH: Duration = Duration::from_secs(10);

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<K> {
    /// Ask that of the broker.
    Ask(Request),
    /// Say this to a client's session.
    Tell(K, u32, News),
    /// One more of these.
    Count(&'static str),
}

#[derive(Debug)]
struct Wanted {
    filter: String,
    qos: Qos,
    since: Instant,
}

#[derive(Debug)]
struct Session<K> {
    client: String,
    /// Who it is now, and which of its sessions; `None` while it is away.
    now: Option<(K, u32)>,
    clean: bool,
    will: Option<Will>,
    wanted: Vec<Wanted>,
    waiting: VecDeque<Delivery>,
}

/// A question that the broker was asked for a client.
#[derive(Debug)]
enum Asked {
    Publish,
    Subscribe(String, Qos),
    Unsubscribe,
}

/// The clients behind one connection.
#[derive(Debug)]
pub struct Shared<K> {
    /// The one that has been away longest first.
    sessions: Vec<Session<K>>,
    asked: HashMap<u16, (K, u32, u16, Asked)>,
    last_tag: u16,
    most_sessions: usize,
    buffer: usize,
}

impl<K: Copy + PartialEq> Shared<K> {
    /// Nobody yet; so many sessions at most, and so many messages for each that is away.
    pub fn new(most_sessions: usize, buffer: usize) -> Self {
        Self { sessions: Vec::new(), asked: HashMap::new(), last_tag: 0, most_sessions, buffer }
    }

    /// The connection is there again: everybody is away, and what they have subscribed to is asked for.
    pub fn begin(&mut self) -> Vec<Request> {
        self.asked.clear();
        self.sessions.retain_mut(|session| {
            session.now = None;
            !session.clean
        });
        let mut filters: Vec<(String, Qos)> = Vec::new();
        for wanted in self.sessions.iter().flat_map(|session| &session.wanted) {
            match filters.iter_mut().find(|(filter, _)| *filter == wanted.filter) {
                Some((_, qos)) => *qos = wanted.qos.max(*qos),
                None => filters.push((wanted.filter.clone(), wanted.qos)),
            }
        }
        filters.into_iter().map(|(filter, qos)| Request::Subscribe { filter, qos, tag: 0 }).collect()
    }

    /// A client asks.
    pub fn ask(&mut self, key: K, request: Request, now: Instant, out: &mut Vec<Step<K>>) {
        if let Request::Connect { session, client, clean, will } = request {
            return self.connect(key, session, client, clean, will, out);
        }
        let found = self.sessions.iter().position(|session| session.now.is_some_and(|(of, _)| of == key));
        let Some(at) = found else { return };
        let number = self.sessions.get(at).and_then(|session| session.now).map_or(0, |(_, number)| number);
        match request {
            Request::Publish { topic, payload, qos, retain, tag, repeated } => {
                // What the client repeats after another CONNECT may be under way still: it hears of that.
                if repeated && let Some(session) = self.under_way(key, tag) {
                    *session = number;
                    return;
                }
                // With a tag of the connection's own it says nothing to the broker that the client repeats it.
                let (tag, repeated) = (tag.map(|tag| self.tag(key, number, tag, Asked::Publish)), false);
                out.push(Step::Ask(Request::Publish { topic, payload, qos, retain, tag, repeated }));
            }
            Request::Subscribe { filter, qos, tag } => {
                let Some(session) = self.sessions.get_mut(at) else { return };
                session.wanted.retain(|wanted| wanted.filter != filter);
                if session.wanted.len() >= MOST_FILTERS {
                    out.push(Step::Count("filters_full"));
                    return out.push(Step::Tell(key, number, News::Subscribed(tag, None)));
                }
                session.wanted.push(Wanted { filter: filter.clone(), qos, since: now });
                let all = self.sessions.iter().flat_map(|session| &session.wanted);
                let highest = all.filter(|wanted| wanted.filter == filter).map(|wanted| wanted.qos).max();
                let tag = self.tag(key, number, tag, Asked::Subscribe(filter.clone(), qos));
                out.push(Step::Ask(Request::Subscribe { filter, qos: highest.unwrap_or(qos), tag }));
            }
            Request::Unsubscribe { filter, tag } => {
                let Some(session) = self.sessions.get_mut(at) else { return };
                session.wanted.retain(|wanted| wanted.filter != filter);
                if self.is_wanted(&filter) {
                    out.push(Step::Tell(key, number, News::Unsubscribed(tag)));
                } else {
                    let tag = self.tag(key, number, tag, Asked::Unsubscribe);
                    out.push(Step::Ask(Request::Unsubscribe { filter, tag }));
                }
            }
            // What the broker has sent was passed on at once.
            Request::Fence => out.push(Step::Tell(key, number, News::Fenced)),
            Request::Leave => self.part(at, out),
            Request::Lose => {
                let will = self.sessions.get_mut(at).and_then(|session| session.will.take());
                out.extend(will.map(|will| Step::Ask(will.publish())));
                self.part(at, out);
            }
            Request::Connect { .. } | Request::Done(_) => {}
        }
    }

    /// The broker says something.
    pub fn news(&mut self, news: News, now: Instant, out: &mut Vec<Step<K>>) {
        match news {
            News::Published(tag) => {
                if let Some((key, session, tag, _)) = self.asked.remove(&tag) {
                    out.push(Step::Tell(key, session, News::Published(tag)));
                }
            }
            News::Subscribed(tag, granted) => {
                let Some((key, session, tag, Asked::Subscribe(filter, qos))) = self.asked.remove(&tag) else { return };
                if granted.is_none()
                    && let Some(of) = self.sessions.iter_mut().find(|of| of.now == Some((key, session)))
                {
                    of.wanted.retain(|wanted| wanted.filter != filter);
                }
                let granted = granted.map(|granted| granted.min(qos));
                out.push(Step::Tell(key, session, News::Subscribed(tag, granted)));
            }
            News::Unsubscribed(tag) => {
                if let Some((key, session, tag, _)) = self.asked.remove(&tag) {
                    out.push(Step::Tell(key, session, News::Unsubscribed(tag)));
                }
            }
            News::Delivery(delivery) => self.deliver(delivery, now, out),
            News::Connected | News::Refused(_) | News::Fenced | News::Lost(_) => {}
        }
    }

    fn connect(
        &mut self,
        key: K,
        number: u32,
        client: String,
        clean: bool,
        will: Option<Will>,
        out: &mut Vec<Step<K>>,
    ) {
        let at = self.sessions.iter().position(|session| session.client == client);
        let earlier = at.map(|at| self.sessions.remove(at));
        let kept = earlier.filter(|_| !clean).map(|session| (session.wanted, session.waiting));
        let (wanted, waiting) = kept.unwrap_or_default();
        if self.sessions.len() >= self.most_sessions
            && let Some(away) = self.sessions.iter().position(|session| session.now.is_none())
        {
            out.push(Step::Count("sessions_dropped"));
            let dropped = self.sessions.remove(away);
            self.forget(dropped.wanted, out);
        }
        out.push(Step::Tell(key, number, News::Connected));
        out.extend(waiting.into_iter().map(|delivery| Step::Tell(key, number, News::Delivery(delivery))));
        let now = Some((key, number));
        self.sessions.push(Session { client, now, clean, will, wanted, waiting: VecDeque::new() });
    }

    /// A client goes. What it has subscribed to stays if it wants to come back.
    fn part(&mut self, at: usize, out: &mut Vec<Step<K>>) {
        let mut session = self.sessions.remove(at);
        if session.clean {
            self.forget(session.wanted, out);
        } else {
            (session.now, session.will) = (None, None);
            self.sessions.push(session);
        }
    }

    /// These filters are wanted by one less.
    fn forget(&mut self, wanted: Vec<Wanted>, out: &mut Vec<Step<K>>) {
        for Wanted { filter, .. } in wanted {
            if !self.is_wanted(&filter) {
                out.push(Step::Ask(Request::Unsubscribe { filter, tag: 0 }));
            }
        }
    }

    fn is_wanted(&self, filter: &str) -> bool {
        self.sessions.iter().flat_map(|session| &session.wanted).any(|wanted| wanted.filter == filter)
    }

    fn deliver(&mut self, delivery: Delivery, now: Instant, out: &mut Vec<Step<K>>) {
        for session in &mut self.sessions {
            let is_fresh = |wanted: &&Wanted| !delivery.retain || now.saturating_duration_since(wanted.since) < FRESH;
            let fitting = session.wanted.iter().filter(|wanted| topic::matches(&wanted.filter, &delivery.topic));
            let Some(wanted) = fitting.filter(is_fresh).map(|wanted| wanted.qos).max() else { continue };
            let copy = Delivery { qos: delivery.qos.min(wanted), receipt: None, ..delivery.clone() };
            match session.now {
                Some((key, number)) => out.push(Step::Tell(key, number, News::Delivery(copy))),
                None if copy.qos == Qos::AtMostOnce => {}
                None => {
                    session.waiting.push_back(copy);
                    if session.waiting.len() > self.buffer {
                        session.waiting.pop_front();
                        out.push(Step::Count("dropped_buffer_full"));
                    }
                }
            }
        }
        out.extend(delivery.receipt.map(|receipt| Step::Ask(Request::Done(receipt))));
    }

    /// The session of a client that is told when the broker has what was published with that tag, if it has not yet.
    fn under_way(&mut self, key: K, tag: Option<u16>) -> Option<&mut u32> {
        self.asked.values_mut().find_map(|(of, session, its, asked)| {
            (*of == key && Some(*its) == tag && matches!(asked, Asked::Publish)).then_some(session)
        })
    }

    /// A tag of the connection's, for one of a client's. 0 is nobody's.
    fn tag(&mut self, key: K, session: u32, tag: u16, asked: Asked) -> u16 {
        // Each client has a bounded number of questions under way, so one is free.
        for _ in 0..=u16::MAX {
            self.last_tag = self.last_tag.checked_add(1).unwrap_or(1);
            if !self.asked.contains_key(&self.last_tag) {
                break;
            }
        }
        self.asked.insert(self.last_tag, (key, session, tag, asked));
        self.last_tag
    }
}

#[cfg(test)]
mod tests;
