//! What survives the broker: retained messages, and sessions that outlive their connections.
//!
//! The hub notes each [`Change`] as it happens; `store` makes it safe on disk and gives it back as [`Saved`] at
//! the next start. Neither knows how the other works.

use std::sync::Arc;
use std::time::SystemTime;

use super::packet::Wanted;
use super::publication::{Publication, Qos};

/// Something that is different from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// A message is retained for its topic, in place of the one before.
    Retained(&'a Arc<Publication>),
    /// Nothing is retained for a topic any more.
    Cleared(&'a str),
    /// A session that outlives its connection has begun, or is another one's now, or lasts another time.
    Session(SessionFacts<'a>),
    /// A session is gone, and everything of it.
    Ended(&'a str),
    /// A client hears of something, in place of what it wanted by the same filter before.
    Subscribed {
        /// The client id.
        client: &'a str,
        /// What it wants.
        wanted: &'a Wanted,
        /// The number of the subscription.
        identifier: Option<u32>,
    },
    /// A client does not hear of something any more.
    Unsubscribed {
        /// The client id.
        client: &'a str,
        /// The filter.
        filter: &'a str,
    },
    /// A message above QoS 0 waits for a client.
    Queued {
        /// The client id.
        client: &'a str,
        /// What waits.
        waiting: &'a Waiting,
    },
    /// It was sent, or a step of sending it was done.
    Stage {
        /// The client id.
        client: &'a str,
        /// Its number.
        number: u64,
        /// How far it is.
        stage: Stage,
    },
    /// It was taken, or is not worth delivering any more.
    Done {
        /// The client id.
        client: &'a str,
        /// Its number.
        number: u64,
    },
    /// A packet id of a client's own QoS 2 message is taken until it is released.
    Incoming {
        /// The client id.
        client: &'a str,
        /// The packet id.
        id: u16,
        /// Whether it is taken, rather than released.
        taken: bool,
    },
}

/// What is known of a session beside what it contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionFacts<'a> {
    /// The client id.
    pub client: &'a str,
    /// The user it logged in as.
    pub user: Option<&'a str>,
    /// How long it outlives its connection, in seconds; `u32::MAX` for ever.
    pub expiry: u32,
    /// Since when the client is away; `None` while it is there. After a crash a client that was there counts as
    /// away since the next start: when it really was last there is not known, and nothing is lost that way.
    pub away_since: Option<SystemTime>,
}

/// A message that waits for a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its number, rising per session: the order of delivery.
    pub number: u64,
    /// What waits.
    pub publication: Arc<Publication>,
    /// How hard it is delivered to this client.
    pub qos: Qos,
    /// The retain flag the client sees.
    pub retain: bool,
    /// The numbers of the subscriptions it is for.
    pub subscriptions: Vec<u32>,
    /// How far it is.
    pub stage: Stage,
}

/// How far a message above QoS 0 is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Not sent yet.
    Waiting,
    /// Sent with that packet id.
    Sent(u16),
    /// The client has got it, and is to be told that the packet id is released (QoS 2).
    Released(u16),
}

/// Everything that was saved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// Retained messages.
    pub retained: Vec<Arc<Publication>>,
    /// Sessions.
    pub sessions: Vec<SavedSession>,
}

/// A session that was saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedSession {
    /// The client id.
    pub client: Arc<str>,
    /// The user it logged in as.
    pub user: Option<Arc<str>>,
    /// How long it outlives its connection, in seconds; `u32::MAX` for ever.
    pub expiry: u32,
    /// Since when the client is away; `None` while it is there.
    pub away_since: Option<SystemTime>,
    /// What it hears of, and the numbers of its subscriptions.
    pub subscriptions: Vec<(Wanted, Option<u32>)>,
    /// What waits for it, in order.
    pub waiting: Vec<Waiting>,
    /// Packet ids of its own QoS 2 messages that are not released.
    pub incoming: Vec<u16>,
}

/// Where changes are noted. Called with the hub locked: it may neither wait nor fail.
pub trait Journal: Send {
    /// Notes a change. Changes are noted in the order in which they happen.
    fn note(&mut self, change: Change<'_>);

    /// Whether it wants a whole [`Saved`], by [`Journal::start_over`]: after a start, as the hub may not have taken
    /// over all it was given.
    fn wants_everything(&self) -> bool;

    /// Everything, in place of all that was noted before.
    fn start_over(&mut self, everything: Saved);
}

/// Notes nothing: for a broker without a state directory, and for tests.
pub struct Forgetful;

impl Journal for Forgetful {
    fn note(&mut self, _: Change<'_>) {}

    fn wants_everything(&self) -> bool {
        false
    }

    fn start_over(&mut self, _: Saved) {}
}
