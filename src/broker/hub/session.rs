//! What the hub knows of one client, whether it is there or away.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::broker::packet::{Connect, Version, Wanted, Will};
use crate::broker::rights::Allowed;

use super::ids::Ids;
use super::outbox::Outbox;
use super::retained::Cursor;
use super::window::Window;
use super::{Bell, ConnectionId};

/// A session.
pub struct Session {
    /// The client id.
    pub client: Arc<str>,
    /// The user it logged in as.
    pub user: Option<Arc<str>>,
    /// What it may do.
    pub allowed: Arc<Allowed>,
    /// How long it outlives its connection, in seconds.
    pub expiry: u32,
    /// Its connection, if it is there.
    pub link: Option<Link>,
    /// When it is over, if it is away and that is ever.
    pub over_at: Option<Instant>,
    /// What it wants to hear of, by filter.
    pub subscriptions: HashMap<Arc<str>, Subscription>,
    /// What its filters count for, in bytes.
    pub filter_bytes: usize,
    /// Its way through retained messages, one for each filter at most.
    pub cursors: VecDeque<Cursor>,
    /// What waits for it.
    pub outbox: Outbox,
    /// What it was sent and is not done with.
    pub window: Window,
    /// Its own QoS 2 messages that it has not released.
    pub incoming: Ids,
    /// What is published when it breaks off.
    pub will: Option<Will>,
    /// When that is due, once it has broken off.
    pub will_due: Option<Instant>,
    /// When it is to be looked at again, while it is away.
    pub deadline: Option<Instant>,
    /// The number of the last message for it.
    pub last_number: u64,
    /// The last publication that was for it, and its place among that one's receivers.
    pub mark: (u64, usize),
}

/// What a client wants to hear of.
#[derive(Debug)]
pub struct Subscription {
    /// What it said.
    pub wanted: Wanted,
    /// The number of the subscription.
    pub identifier: Option<u32>,
    /// The group it shares it with; 0 for none.
    pub group: u32,
}

/// A session's connection.
pub struct Link {
    /// Its name.
    pub id: ConnectionId,
    /// How to get its attention.
    pub bell: Arc<Bell>,
    /// Whether it has been rung for, and has not delivered since.
    pub is_rung: bool,
    /// How many messages above QoS 0 it takes at once.
    pub quota: usize,
    /// The largest packet it takes, in bytes.
    pub maximum_packet: Option<usize>,
    /// How many QoS 2 messages it may have under way itself.
    pub incoming_quota: usize,
}

impl Link {
    /// The connection of a client that was let in.
    pub fn new(id: ConnectionId, bell: Arc<Bell>, connect: &Connect, in_flight: u16, receive_maximum: u16) -> Self {
        let incoming_quota = match connect.version {
            // Nothing tells it of a bound. Its packet ids are one, and the set of them is small.
            Version::V3 => usize::from(u16::MAX),
            Version::V5 => usize::from(receive_maximum),
        };
        Self {
            id,
            bell,
            is_rung: false,
            quota: usize::from(connect.receive_maximum.min(in_flight).max(1)),
            maximum_packet: connect.maximum_packet.map(|bytes| bytes as usize),
            incoming_quota,
        }
    }

    /// Rings, unless it has been rung for.
    pub fn ring(&mut self) {
        if !self.is_rung {
            self.is_rung = true;
            self.bell.ring();
        }
    }
}

impl Session {
    /// A new one, of a client that is away.
    pub fn new(client: Arc<str>, user: Option<Arc<str>>, allowed: Arc<Allowed>) -> Self {
        Self {
            client,
            user,
            allowed,
            expiry: 0,
            link: None,
            over_at: None,
            subscriptions: HashMap::new(),
            filter_bytes: 0,
            cursors: VecDeque::new(),
            outbox: Outbox::default(),
            window: Window::default(),
            incoming: Ids::default(),
            will: None,
            will_due: None,
            deadline: None,
            last_number: 0,
            mark: (0, 0),
        }
    }

    /// Whether it outlives its connection, and is worth noting.
    pub fn is_lasting(&self) -> bool {
        self.expiry > 0
    }

    /// For how long the client has been away.
    pub fn away_for(&self, now: Instant) -> Duration {
        let left = self.over_at.map(|over_at| over_at.saturating_duration_since(now));
        left.map_or(Duration::ZERO, |left| Duration::from_secs(self.expiry.into()).saturating_sub(left))
    }

    /// The groups it is in, by their numbers.
    pub fn groups(&self) -> impl Iterator<Item = u32> {
        self.subscriptions.values().map(|subscription| subscription.group).filter(|group| *group != 0)
    }

    /// What waits for it or is under way to it, in bytes.
    pub fn waiting(&self) -> usize {
        self.outbox.bytes() + self.window.bytes()
    }

    /// The number of one more message for it.
    pub fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}

/// The sessions, each in a place of its own for as long as it lives.
#[derive(Default)]
pub struct Sessions {
    slots: Vec<Option<Box<Session>>>,
    free: Vec<usize>,
    count: usize,
}

impl Sessions {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// The one at a place.
    pub fn get(&self, slot: usize) -> Option<&Session> {
        self.slots.get(slot)?.as_deref()
    }

    /// The one at a place.
    pub fn get_mut(&mut self, slot: usize) -> Option<&mut Session> {
        self.slots.get_mut(slot)?.as_deref_mut()
    }

    /// Puts one in. Its place.
    pub fn insert(&mut self, session: Session) -> usize {
        self.count += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(Box::new(session));
        }
        slot
    }

    /// Takes one out.
    pub fn remove(&mut self, slot: usize) -> Option<Box<Session>> {
        let session = self.slots.get_mut(slot)?.take()?;
        self.count -= 1;
        self.free.push(slot);
        Some(session)
    }

    /// All of them, with their places.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Session)> {
        self.slots.iter().enumerate().filter_map(|(slot, session)| Some((slot, session.as_deref()?)))
    }
}
