//! The hub as its clients see it, on a clock of the tests' own.

mod bell;
mod bounds;
mod delivery;
mod model;
mod nonsense;
mod publishers;
mod rights;
mod saving;
mod sessions;
mod shared;
mod subscriptions;
mod wills;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::broker::packet::{
    ConnAck, Connect, Delivery, Publish, Reply, Request, RetainedWanted, Version, Wanted, Will, reason,
};
use crate::broker::publication::{Origin, Properties, Publication, Qos};
use crate::broker::rights::Allowed;
use crate::broker::saved::{Change, Forgetful, Journal, Saved};

use super::*;

pub const QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

/// A hub and a clock.
pub struct Site {
    pub hub: Hub,
    pub now: Instant,
    pub figures: Arc<Figures>,
}

/// A client's connection, as the client sees it.
#[derive(Clone)]
pub struct Client {
    pub name: ConnectionId,
    pub bell: Arc<Bell>,
    pub answer: ConnAck,
}

impl Site {
    pub fn new() -> Self {
        Self::with(Limits::default())
    }

    pub fn with(limits: Limits) -> Self {
        Self::noting(limits, Box::new(Forgetful))
    }

    pub fn noting(limits: Limits, journal: Box<dyn Journal>) -> Self {
        let figures = Arc::new(Figures::default());
        Self { hub: Hub::new(limits, Arc::clone(&figures), journal), now: Instant::now(), figures }
    }

    pub fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    pub fn try_connect(&mut self, connect: &Connect) -> Result<Client, u8> {
        let bell = Arc::new(Bell::default());
        let allowed = Arc::new(Allowed::everything());
        let user = connect.user.as_deref().map(Into::into);
        let attached = self.hub.attach(connect, user, allowed, Arc::clone(&bell), self.now)?;
        Ok(Client { name: attached.connection, bell, answer: attached.answer })
    }

    pub fn connect(&mut self, connect: &Connect) -> Client {
        self.try_connect(connect).expect("it is let in")
    }

    /// A client of MQTT 5 whose session ends with its connection.
    pub fn visitor(&mut self, client: &str) -> Client {
        self.connect(&connect(client))
    }

    /// A client of MQTT 5 whose session outlives its connection by an hour.
    pub fn resident(&mut self, client: &str) -> Client {
        self.connect(&Connect { session_expiry: 3600, clean_start: false, ..connect(client) })
    }

    pub fn try_say(&mut self, client: &Client, request: Request) -> Result<Vec<Reply>, Violation> {
        let mut replies = Vec::new();
        self.hub.request(client.name, request, self.now, &mut replies)?;
        Ok(replies)
    }

    pub fn say(&mut self, client: &Client, request: Request) -> Vec<Reply> {
        self.try_say(client, request).expect("it is no violation")
    }

    pub fn subscribe(&mut self, client: &Client, filter: &str, qos: Qos) -> u8 {
        self.subscribe_to(client, wanted(filter, qos), None)
    }

    pub fn subscribe_to(&mut self, client: &Client, wanted: Wanted, identifier: Option<u32>) -> u8 {
        let replies = self.say(client, Request::Subscribe { id: 9, filters: vec![wanted], identifier });
        let [Reply::SubAck { id: 9, reasons }] = &replies[..] else { panic!("{replies:?}") };
        reasons[0]
    }

    pub fn publish(&mut self, client: &Client, topic: &str, payload: &str, qos: Qos) -> Vec<Reply> {
        self.say(client, Request::Publish(publish(topic, payload, qos)))
    }

    pub fn retain(&mut self, topic: &str, payload: &str, qos: Qos) {
        let publication = Publication { retain: true, qos, ..Publication::new(topic.to_owned(), payload.to_owned()) };
        self.hub.publish(publication, self.now);
    }

    /// What the gateway itself says, with QoS 1.
    pub fn show(&mut self, topic: &str, payload: &str) -> usize {
        self.hub.publish(Publication::new(topic.to_owned(), payload.to_owned()), self.now)
    }

    pub fn replies(&mut self, client: &Client) -> Vec<Reply> {
        let mut replies = Vec::new();
        while self.hub.deliver(client.name, 1 << 16, self.now, &mut replies) {}
        replies
    }

    /// What a client gets now, and does not acknowledge.
    pub fn take(&mut self, client: &Client) -> Vec<Delivery> {
        let replies = self.replies(client);
        replies
            .into_iter()
            .map(|reply| match reply {
                Reply::Publish(delivery) => delivery,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    /// What a client gets now, all of it acknowledged; as `payload`, in order.
    pub fn read(&mut self, client: &Client) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let replies = self.replies(client);
            if replies.is_empty() {
                return all;
            }
            for reply in replies {
                if let Reply::Publish(delivery) = &reply {
                    all.push(text(delivery));
                }
                self.acknowledge(client, &reply);
            }
        }
    }

    fn acknowledge(&mut self, client: &Client, reply: &Reply) {
        let request = match reply {
            Reply::Publish(Delivery { qos: Qos::AtLeastOnce, id, .. }) => Request::PubAck { id: *id, reason: 0 },
            Reply::Publish(Delivery { qos: Qos::ExactlyOnce, id, .. }) => Request::PubRec { id: *id, reason: 0 },
            Reply::PubRel { id, .. } => Request::PubComp { id: *id },
            _ => return,
        };
        for reply in self.say(client, request) {
            self.acknowledge(client, &reply);
        }
    }

    /// The connection breaks.
    pub fn break_off(&mut self, client: &Client) {
        self.hub.detach(client.name, Ending::Broken, self.now);
    }

    /// The client takes its leave.
    pub fn leave(&mut self, client: &Client) {
        self.say(client, Request::Disconnect { reason: 0, session_expiry: None });
        self.hub.detach(client.name, Ending::Left, self.now);
    }

    /// What is due is done; the wills among it are published. When there is more.
    pub fn tick(&mut self) -> Option<Instant> {
        let (wills, next) = self.hub.due(self.now);
        for will in wills {
            self.hub.publish(will, self.now);
        }
        next
    }
}

pub fn connect(client: &str) -> Connect {
    Connect {
        version: Version::V5,
        client: client.into(),
        clean_start: true,
        keep_alive: 60,
        session_expiry: 0,
        receive_maximum: 65_535,
        maximum_packet: None,
        topic_aliases: 0,
        wants_reasons: true,
        user: None,
        password: None,
        will: None,
        authentication_method: None,
    }
}

pub fn will(topic: &str, payload: &'static str) -> Will {
    Will {
        topic: topic.into(),
        payload: payload.into(),
        qos: Qos::AtLeastOnce,
        retain: false,
        delay: Duration::ZERO,
        expiry: None,
        properties: None,
    }
}

pub fn wanted(filter: &str, qos: Qos) -> Wanted {
    Wanted { filter: filter.into(), qos, no_local: false, retain_as_published: false, retained: RetainedWanted::All }
}

pub fn publish(topic: &str, payload: &str, qos: Qos) -> Publish {
    Publish {
        topic: topic.into(),
        alias: None,
        payload: payload.to_owned().into(),
        qos,
        retain: false,
        duplicate: false,
        id: if qos == Qos::AtMostOnce { 0 } else { 7 },
        expiry: None,
        properties: None,
    }
}

pub fn text(delivery: &Delivery) -> String {
    String::from_utf8_lossy(&delivery.publication.payload).into_owned()
}

pub fn figure(figure: &AtomicU64) -> u64 {
    figure.load(Ordering::Relaxed)
}

/// Remembers what was noted, in words.
#[derive(Clone, Default)]
pub struct Notes {
    lines: Arc<Mutex<Vec<String>>>,
    lost: Arc<Mutex<Option<Saved>>>,
    has_lost_track: Arc<AtomicBool>,
}

impl Notes {
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.lines.lock().unwrap())
    }
}

impl Journal for Notes {
    fn note(&mut self, change: Change<'_>) {
        let line = match change {
            Change::Retained(publication) => format!("retained {}", publication.topic),
            Change::Cleared(topic) => format!("cleared {topic}"),
            Change::Session(facts) => {
                let place = if facts.away_since.is_some() { "away" } else { "here" };
                format!("session {} {} {place}", facts.client, facts.expiry)
            }
            Change::Ended(client) => format!("ended {client}"),
            Change::Subscribed { client, wanted, .. } => format!("subscribed {client} {}", wanted.filter),
            Change::Unsubscribed { client, filter } => format!("unsubscribed {client} {filter}"),
            Change::Queued { client, waiting } => format!("queued {client} {}", waiting.number),
            Change::Stage { client, number, stage } => format!("stage {client} {number} {stage:?}"),
            Change::Done { client, number } => format!("done {client} {number}"),
            Change::Incoming { client, id, taken } => format!("incoming {client} {id} {taken}"),
        };
        self.lines.lock().unwrap().push(line);
    }

    fn wants_everything(&self) -> bool {
        self.has_lost_track.load(Ordering::Relaxed)
    }

    fn start_over(&mut self, everything: Saved) {
        self.has_lost_track.store(false, Ordering::Relaxed);
        *self.lost.lock().unwrap() = Some(everything);
    }
}

/// Whom a publication is from that a client sent.
pub fn from(client: &str) -> Origin {
    Origin::Client { client: client.into(), user: None }
}
