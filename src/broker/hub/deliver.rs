//! From a client's outbox to its connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::broker::figures::count;
use crate::broker::packet::size::publish_packet;
use crate::broker::packet::{Delivery, Reply, reason};
use crate::broker::publication::{Publication, Qos};
use crate::broker::saved::{Change, Stage, Waiting};

use super::outbox::Item;
use super::session::{Link, Session};
use super::{ConnectionId, Hub};

/// How many retained topics are looked at in one call: a fraction of a millisecond.
const STEPS: usize = 1_000;
/// What a packet counts for beside what its publisher put into it, in bytes.
const PACKET: usize = 16;
/// What the number of a subscription takes in a packet, at most, in bytes.
const NUMBER: usize = 5;

/// What became of an attempt to send something.
enum Sent {
    /// It was sent, or was not to be: on to the next.
    Bytes(usize),
    /// There is nothing.
    Nothing,
    /// The window is full.
    NoRoom,
    /// It was looked long enough for now.
    Later,
}

impl Hub {
    /// What is to be sent to a client now, as far as its window and about `budget` bytes go. Whether there is more
    /// that could be sent at once.
    ///
    /// First what was sent over an earlier connection and not acknowledged, then what is retained for new subscriptions, then what waits.
    pub fn deliver(&mut self, connection: ConnectionId, budget: usize, now: Instant, replies: &mut Vec<Reply>) -> bool {
        let Some(slot) = self.slot(connection) else { return false };
        if let Some(link) = self.sessions.get_mut(slot).and_then(|session| session.link.as_mut()) {
            link.is_rung = false;
        }
        let (mut spent, mut steps) = (0, STEPS);
        let has_more = loop {
            if spent >= budget {
                break self.has_more(slot);
            }
            let mut sent = self.send_again(slot, now, replies);
            if let Sent::Nothing = sent {
                sent = self.send_retained(slot, &mut steps, now, replies);
            }
            if let Sent::Nothing = sent {
                sent = self.send_next(slot, now, replies);
            }
            match sent {
                Sent::Bytes(bytes) => spent += bytes,
                Sent::Later => break true,
                Sent::Nothing | Sent::NoRoom => break false,
            }
        };
        self.show_queued();
        has_more
    }

    fn has_more(&self, slot: usize) -> bool {
        self.sessions.get(slot).is_some_and(|session| {
            session.window.is_resuming() || !session.cursors.is_empty() || !session.outbox.is_empty()
        })
    }

    fn send_again(&mut self, slot: usize, now: Instant, replies: &mut Vec<Reply>) -> Sent {
        let Self { sessions, tally, journal, figures, .. } = self;
        let Some(session) = sessions.get_mut(slot) else { return Sent::Nothing };
        if !session.window.is_resuming() {
            return Sent::Nothing;
        }
        let quota = session.link.as_ref().map_or(0, |link| link.quota);
        let Some(item) = session.window.next_again(quota) else {
            return if session.window.is_resuming() { Sent::NoRoom } else { Sent::Nothing };
        };
        match item.waiting.stage {
            Stage::Released(id) => replies.push(Reply::PubRel { id, reason: reason::SUCCESS }),
            // It may take less than it did over its last connection.
            Stage::Sent(id) if is_too_large(session.link.as_ref(), &item.waiting) => {
                count(&figures.dropped_large);
                if let Some(item) = session.window.forget(id, tally)
                    && session.is_lasting()
                {
                    journal.note(Change::Done { client: &session.client, number: item.waiting.number });
                }
                return Sent::Bytes(0);
            }
            Stage::Sent(id) => {
                count(&figures.sent);
                // It may have expired; but the client may have got it as well, and its id is taken until it says so.
                replies.push(Reply::Publish(delivery(&item.waiting, id, true, now)));
            }
            Stage::Waiting => {}
        }
        Sent::Bytes(packet(&item.waiting))
    }

    fn send_retained(&mut self, slot: usize, steps: &mut usize, now: Instant, replies: &mut Vec<Reply>) -> Sent {
        let Self { sessions, retained, limits, figures, .. } = self;
        let Some(session) = sessions.get_mut(slot) else { return Sent::Nothing };
        let Some(cursor) = session.cursors.front_mut() else { return Sent::Nothing };
        let Some(publication) = retained.next(cursor, steps, now) else {
            if *steps == 0 {
                return Sent::Later;
            }
            session.cursors.pop_front();
            return Sent::Bytes(0);
        };
        let qos = cursor.qos.min(publication.qos);
        let quota = session.link.as_ref().map_or(0, |link| link.quota);
        if qos > Qos::AtMostOnce && !session.window.has_room(quota, limits.in_flight_bytes) {
            return Sent::NoRoom;
        }
        cursor.pass(&publication.topic);
        if cursor.is_checked && !session.allowed.may_hear(&publication.topic) {
            count(&figures.withheld);
            return Sent::Bytes(0);
        }
        let subscriptions = if cursor.identifier == 0 { Vec::new() } else { vec![cursor.identifier] };
        let publication = Arc::clone(publication);
        let number = if qos > Qos::AtMostOnce { session.next_number() } else { 0 };
        let waiting = Waiting { number, publication, qos, retain: true, subscriptions, stage: Stage::Waiting };
        if qos > Qos::AtMostOnce && session.is_lasting() {
            self.journal.note(Change::Queued { client: &session.client, waiting: &waiting });
        }
        self.send(slot, Item { waiting, group: 0 }, now, replies)
    }

    fn send_next(&mut self, slot: usize, now: Instant, replies: &mut Vec<Reply>) -> Sent {
        let Self { sessions, tally, limits, .. } = self;
        let Some(session) = sessions.get_mut(slot) else { return Sent::Nothing };
        let Some(item) = session.outbox.front() else { return Sent::Nothing };
        let quota = session.link.as_ref().map_or(0, |link| link.quota);
        if item.waiting.qos > Qos::AtMostOnce && !session.window.has_room(quota, limits.in_flight_bytes) {
            return Sent::NoRoom;
        }
        match session.outbox.pop(tally) {
            Some(item) => self.send(slot, item, now, replies),
            None => Sent::Nothing,
        }
    }

    /// Sends something for which there is room, unless it is not worth it, or too large.
    fn send(&mut self, slot: usize, item: Item, now: Instant, replies: &mut Vec<Reply>) -> Sent {
        let Self { sessions, tally, journal, figures, .. } = self;
        let Some(session) = sessions.get_mut(slot) else { return Sent::Nothing };
        let waiting = &item.waiting;
        let qos = waiting.qos;
        let has_expired = waiting.publication.has_expired(now);
        if has_expired || is_too_large(session.link.as_ref(), waiting) {
            count(if has_expired { &figures.expired } else { &figures.dropped_large });
            if qos > Qos::AtMostOnce && session.is_lasting() {
                journal.note(Change::Done { client: &session.client, number: waiting.number });
            }
            return Sent::Bytes(0);
        }
        count(&figures.sent);
        let bytes = packet(waiting);
        if qos == Qos::AtMostOnce {
            replies.push(Reply::Publish(last_delivery(item.waiting, now)));
            return Sent::Bytes(bytes);
        }
        let mut delivery = delivery(waiting, 0, false, now);
        let number = waiting.number;
        delivery.id = session.window.send(item, tally);
        if session.is_lasting() {
            journal.note(Change::Stage { client: &session.client, number, stage: Stage::Sent(delivery.id) });
        }
        replies.push(Reply::Publish(delivery));
        Sent::Bytes(bytes)
    }

    /// Takes out of a session what its client may not hear of any more.
    pub(super) fn withhold(&mut self, slot: usize) {
        let Self { sessions, tally, journal, figures, .. } = self;
        let Some(session) = sessions.get_mut(slot) else { return };
        let Session { outbox, window, allowed, .. } = session;
        let may_stay = |item: &Item| {
            // The client has got what is released, and needs no more than its end.
            matches!(item.waiting.stage, Stage::Released(_)) || allowed.may_hear(&item.waiting.publication.topic)
        };
        let mut gone = outbox.take_unless(tally, may_stay);
        gone.extend(window.take_unless(tally, may_stay));
        for item in gone {
            count(&figures.withheld);
            if item.waiting.qos > Qos::AtMostOnce && session.is_lasting() {
                journal.note(Change::Done { client: &session.client, number: item.waiting.number });
            }
        }
    }
}

/// About what a message takes on the wire, in bytes.
fn packet(waiting: &Waiting) -> usize {
    PACKET + NUMBER * waiting.subscriptions.len() + waiting.publication.size()
}

fn is_too_large(link: Option<&Link>, waiting: &Waiting) -> bool {
    link.and_then(|link| link.maximum_packet)
        .is_some_and(|most| publish_packet(&waiting.publication, waiting.qos, &waiting.subscriptions) > most)
}

fn delivery(waiting: &Waiting, id: u16, duplicate: bool, now: Instant) -> Delivery {
    Delivery {
        publication: Arc::clone(&waiting.publication),
        qos: waiting.qos,
        retain: waiting.retain,
        duplicate,
        id,
        subscriptions: waiting.subscriptions.clone(),
        expiry: expiry(&waiting.publication, now),
    }
}

/// The delivery of what nobody keeps.
fn last_delivery(waiting: Waiting, now: Instant) -> Delivery {
    let expiry = expiry(&waiting.publication, now);
    Delivery {
        publication: waiting.publication,
        qos: waiting.qos,
        retain: waiting.retain,
        duplicate: false,
        id: 0,
        subscriptions: waiting.subscriptions,
        expiry,
    }
}

/// How long it is still worth delivering, in seconds: whole ones have passed before one is taken off.
fn expiry(publication: &Publication, now: Instant) -> Option<u32> {
    let remaining = publication.remaining(now)?;
    let seconds = remaining.saturating_add(Duration::from_nanos(999_999_999)).as_secs();
    Some(u32::try_from(seconds).unwrap_or(u32::MAX))
}
