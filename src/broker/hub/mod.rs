//! Where publishers and subscribers meet: every session, every subscription, every retained message.
//!
//! It does no input or output and owns no clock. Connections hold it locked for as long as one call takes, never longer, and
//! everything that is slow (reading, writing, passwords, the disk) happens outside of it.
//!
//! A publication is `route`d by the `tree` of subscriptions to the `outbox` of each `session` it is for, and shared by
//! all of them. From there the connection takes it by [`Hub::deliver`]; above QoS 0 it then stands in the session's `window`
//! until the client has acknowledged it. `retained` messages reach new subscribers by a cursor, bit by bit. What is
//! worth saving is noted in the [`Journal`] as it happens.

mod aliases;
mod answer;
mod attend;
mod clock;
mod deliver;
mod filter;
mod ids;
mod keep;
mod outbox;
mod retained;
mod route;
mod session;
mod shared;
mod subscribe;
#[cfg(test)]
mod tests;
mod tree;
mod will;
mod window;

use std::collections::{BTreeSet, HashMap};
use std::hash::RandomState;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Instant;

use tokio::sync::Notify;

pub use aliases::Aliases;
pub use filter::parse as parse_filter;

use super::figures::{Figures, set};
use super::limits::Limits;
use super::packet::ConnAck;
use super::publication::Publication;
use super::saved::Journal;

/// A connection's name in the hub; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// How the hub gets a connection's attention.
#[derive(Debug, Default)]
pub struct Bell {
    notify: Notify,
    closing: AtomicU8,
    rung: AtomicBool,
}

impl Bell {
    /// There is something to [deliver](Hub::deliver), or the connection is to close.
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.notify.notify_one();
        }
    }

    /// The connection is to close, for that reason code.
    pub fn close(&self, reason: u8) {
        self.closing.store(reason, Ordering::Release);
        self.notify.notify_one();
    }

    /// Waits until it rings. Whoever waits looks at [`Bell::closing`] and delivers.
    pub async fn heard(&self) {
        self.notify.notified().await;
        self.rung.store(false, Ordering::Release);
    }

    /// The reason for which the connection is to close, if it is.
    pub fn closing(&self) -> Option<u8> {
        Some(self.closing.load(Ordering::Acquire)).filter(|reason| *reason != 0)
    }
}

/// A client that was let in.
#[derive(Debug)]
pub struct Attached {
    /// The connection.
    pub connection: ConnectionId,
    /// Its client id, as it gave it or as it was given.
    pub client: Arc<str>,
    /// What it is told.
    pub answer: ConnAck,
}

/// Why a connection is closed by the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The reason code of MQTT 5.
    pub reason: u8,
    /// What was wrong, for the log and for a client that wants to know.
    pub words: &'static str,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client took its leave: no will.
    Left,
    /// The client took its leave and has its will published, or it broke off, or was thrown out: its will is due.
    Broken,
}

/// What a client publishes, past its rights and whatever else looks at it first.
#[derive(Debug)]
pub struct Accepted {
    /// The publication. Its payload may be kept for long, so it had better not be a piece of a larger buffer.
    pub publication: Publication,
    /// Its packet id; 0 with QoS 0.
    pub id: u16,
}

/// The hub.
///
/// A connection [attaches](Hub::attach), and then, whenever it has read something or its [`Bell`] rang, gives what it read
/// to [`Hub::accept`] and [`Hub::request`] and calls [`Hub::deliver`]; acknowledgements make room for more, and no bell
/// rings for that. In the end it [detaches](Hub::detach). Calls for a connection whose session another one has taken over do nothing.
///
/// Somebody calls [`Hub::due`] when it said to, when [`Hub::clock`] rings, and at least once a second.
pub struct Hub {
    limits: Limits,
    figures: Arc<Figures>,
    journal: Box<dyn Journal>,
    sessions: session::Sessions,
    /// The places of the sessions, by client id.
    clients: HashMap<Arc<str>, usize>,
    /// How many of them are connected.
    connected: usize,
    tree: tree::Tree,
    groups: shared::Groups,
    /// How many subscriptions there are, and what their filters count for, in bytes.
    subscriptions: usize,
    filter_bytes: usize,
    retained: retained::Retained,
    tally: outbox::Tally,
    /// Which session had most waiting when it was looked last, and how many bytes that were.
    hog: (usize, usize),
    /// When to look at which session that is away.
    deadlines: BTreeSet<(Instant, usize)>,
    /// Wills that are due.
    wills: Vec<Publication>,
    clock: Arc<Bell>,
    /// How many publications there were.
    serial: u64,
    /// How many connections there were.
    last_connection: u64,
    /// Ids for clients without one come from here.
    random: RandomState,
    /// The receivers of the publication that is being routed. Empty in between; kept for its room.
    hits: Vec<route::Hit>,
    /// The last message that could not be retained, for the log: its topic and its size in bytes.
    not_retained: Option<(Arc<str>, usize)>,
}

impl Hub {
    /// An empty one.
    pub fn new(limits: Limits, figures: Arc<Figures>, journal: Box<dyn Journal>) -> Self {
        Self {
            limits,
            figures,
            journal,
            sessions: session::Sessions::default(),
            clients: HashMap::new(),
            connected: 0,
            tree: tree::Tree::default(),
            groups: shared::Groups::default(),
            subscriptions: 0,
            filter_bytes: 0,
            retained: retained::Retained::default(),
            tally: outbox::Tally::default(),
            hog: (0, 0),
            deadlines: BTreeSet::new(),
            wills: Vec::new(),
            clock: Arc::default(),
            serial: 0,
            last_connection: 0,
            random: RandomState::new(),
            hits: Vec::new(),
            not_retained: None,
        }
    }

    /// Tells every connection to close, with that reason code.
    pub fn close_all(&mut self, reason: u8) {
        for (_, session) in self.sessions.iter() {
            if let Some(link) = &session.link {
                link.bell.close(reason);
            }
        }
    }

    /// The place of a connection's session, unless that is another connection's now.
    fn slot(&self, connection: ConnectionId) -> Option<usize> {
        // The name says where to look: the place is in its lower half.
        let slot = (connection.0 & u64::from(u32::MAX)) as usize;
        let link = self.sessions.get(slot)?.link.as_ref()?;
        (link.id == connection).then_some(slot)
    }

    fn name_connection(&mut self, slot: usize) -> ConnectionId {
        self.last_connection += 1;
        ConnectionId(self.last_connection << 32 | slot as u64 & u64::from(u32::MAX))
    }

    fn show_queued(&self) {
        set(&self.figures.queued, self.tally.messages());
        set(&self.figures.queued_bytes, self.tally.bytes());
    }
}
