//! From a publication to everybody it is for.

use std::sync::Arc;
use std::time::Instant;

use crate::broker::figures::{count, set};
use crate::broker::publication::{Publication, Qos};
use crate::broker::saved::{Change, Stage, Waiting};

use super::Hub;
use super::filter::is_system;
use super::outbox::{Item, weight};
use super::retained::Outcome;
use super::session::Session;
use super::tree::Subscriber;

/// A client that a publication is for, by one or more of its subscriptions.
#[derive(Debug)]
pub struct Hit {
    slot: usize,
    qos: Qos,
    as_published: bool,
    is_checked: bool,
    group: u32,
    subscriptions: Vec<u32>,
}

impl Hit {
    fn new(subscriber: &Subscriber, group: u32) -> Self {
        let mut hit = Self {
            slot: subscriber.slot,
            qos: Qos::AtMostOnce,
            as_published: false,
            is_checked: true,
            group,
            subscriptions: Vec::new(),
        };
        hit.join(subscriber);
        hit
    }

    fn join(&mut self, subscriber: &Subscriber) {
        self.qos = self.qos.max(subscriber.qos);
        self.as_published |= subscriber.as_published;
        self.is_checked &= subscriber.is_checked;
        if subscriber.identifier != 0 {
            self.subscriptions.push(subscriber.identifier);
        }
    }
}

impl Hub {
    /// Routes a publication of the gateway's own, or a will past its rights. To how many it goes.
    pub fn publish(&mut self, publication: Publication, now: Instant) -> usize {
        let publication = Arc::new(publication);
        self.serial += 1;
        if publication.retain {
            self.retain(&publication);
        }
        let reached = self.route(&publication, now);
        self.show_queued();
        reached
    }

    /// The last message that could not be retained since this was asked: its topic and its size in bytes.
    pub fn take_not_retained(&mut self) -> Option<(Arc<str>, usize)> {
        self.not_retained.take()
    }

    fn retain(&mut self, publication: &Arc<Publication>) {
        // What the broker says of itself is said again after a restart.
        let is_lasting = !is_system(&publication.topic);
        match self.retained.keep(publication, self.serial, &self.limits) {
            Outcome::Kept if is_lasting => self.journal.note(Change::Retained(publication)),
            Outcome::Cleared if is_lasting => self.journal.note(Change::Cleared(&publication.topic)),
            Outcome::NoRoom { cleared } => {
                count(&self.figures.not_retained);
                self.not_retained = Some((Arc::clone(&publication.topic), publication.size()));
                if cleared && is_lasting {
                    self.journal.note(Change::Cleared(&publication.topic));
                }
            }
            Outcome::Kept | Outcome::Cleared | Outcome::Nothing => {}
        }
        set(&self.figures.retained, self.retained.len());
        set(&self.figures.retained_bytes, self.retained.bytes());
    }

    fn route(&mut self, publication: &Arc<Publication>, now: Instant) -> usize {
        let mut hits = std::mem::take(&mut self.hits);
        let Self { tree, sessions, groups, serial, limits, .. } = self;
        tree.visit(&publication.topic, &mut |found| {
            for subscriber in &found.each {
                let Some(session) = sessions.get_mut(subscriber.slot) else { continue };
                if subscriber.no_local && is_its_own(session, publication) {
                    continue;
                }
                // Subscriptions that overlap bring a message once.
                match hits.get_mut(session.mark.1).filter(|_| session.mark.0 == *serial) {
                    Some(hit) => hit.join(subscriber),
                    None => {
                        session.mark = (*serial, hits.len());
                        hits.push(Hit::new(subscriber, 0));
                    }
                }
            }
            for group in &found.groups {
                let chosen = groups.choose(*group, sessions, publication, limits.queued);
                hits.extend(chosen.map(|subscriber| Hit::new(&subscriber, *group)));
            }
        });
        let mut reached = 0;
        for hit in hits.drain(..) {
            reached += usize::from(self.enqueue(hit, publication, now));
        }
        self.hits = hits;
        reached
    }

    /// Puts a publication into a client's outbox. Whether it is for that client at all.
    fn enqueue(&mut self, hit: Hit, publication: &Arc<Publication>, now: Instant) -> bool {
        let qos = hit.qos.min(publication.qos);
        let Some(session) = self.sessions.get_mut(hit.slot) else { return false };
        if session.link.is_none() && (qos == Qos::AtMostOnce || !session.is_lasting()) {
            return false;
        }
        if hit.is_checked && !session.allowed.may_hear(&publication.topic) {
            count(&self.figures.withheld);
            return false;
        }
        if !self.make_room(hit.slot, publication, hit.subscriptions.len(), qos, now) {
            return true;
        }
        let Self { sessions, tally, journal, .. } = self;
        let Some(session) = sessions.get_mut(hit.slot) else { return false };
        let waiting = Waiting {
            number: session.next_number(),
            publication: Arc::clone(publication),
            qos,
            retain: hit.as_published && publication.retain,
            subscriptions: hit.subscriptions,
            stage: Stage::Waiting,
        };
        if qos > Qos::AtMostOnce && session.is_lasting() {
            journal.note(Change::Queued { client: &session.client, waiting: &waiting });
        }
        session.outbox.push(Item { waiting, group: hit.group }, tally);
        if let Some(link) = &mut session.link {
            link.ring();
        }
        true
    }

    /// Makes room for one more message for a client, if need be at the expense of its oldest, or of those of the client for
    /// which most waits. Whether there is room now; if not, it was counted.
    pub(super) fn make_room(
        &mut self,
        slot: usize,
        publication: &Arc<Publication>,
        subscriptions: usize,
        qos: Qos,
        now: Instant,
    ) -> bool {
        let weight = weight(publication, subscriptions);
        if weight > self.limits.queued_bytes.min(self.limits.queued_bytes_together) {
            count(&self.figures.dropped_full);
            return false;
        }
        let is_full = |hub: &Self| {
            hub.sessions.get(slot).is_none_or(|session| {
                session.outbox.len() >= hub.limits.queued || session.outbox.bytes() + weight > hub.limits.queued_bytes
            })
        };
        while is_full(self) {
            // What is sent once does not drive out what waits.
            if qos == Qos::AtMostOnce {
                count(&self.figures.dropped_slow);
                return false;
            }
            if !self.drop_oldest(slot, now) {
                count(&self.figures.dropped_full);
                return false;
            }
        }
        while self.tally.bytes() + self.tally.cost(publication, subscriptions) > self.limits.queued_bytes_together {
            let hog = self.find_hog();
            if hog == slot && qos == Qos::AtMostOnce {
                count(&self.figures.dropped_slow);
                return false;
            }
            if !self.drop_oldest(hog, now) {
                count(&self.figures.dropped_full);
                return false;
            }
        }
        true
    }

    /// The client for which most waits, or not much less than when it was looked last.
    fn find_hog(&mut self) -> usize {
        let (hog, then) = self.hog;
        let is_still_one =
            self.sessions.get(hog).is_some_and(|session| session.waiting() > 0 && session.waiting() >= then / 2);
        if !is_still_one {
            let most = self.sessions.iter().max_by_key(|(_, session)| session.waiting());
            self.hog = most.map_or((0, 0), |(slot, session)| (slot, session.waiting()));
        }
        self.hog.0
    }

    fn drop_oldest(&mut self, slot: usize, now: Instant) -> bool {
        let Self { sessions, tally, journal, figures, .. } = self;
        let Some(session) = sessions.get_mut(slot) else { return false };
        let Session { outbox, window, link, .. } = session;
        // What was sent and is not acknowledged may have arrived, so it goes last; but it does go, or those who
        // never acknowledge anything would keep everybody from theirs.
        let item = outbox.pop(tally).or_else(|| window.drop_oldest(link.is_some(), tally));
        let Some(item) = item else { return false };
        let Waiting { qos, number, publication, .. } = item.waiting;
        count(match qos {
            _ if publication.has_expired(now) => &figures.expired,
            Qos::AtMostOnce => &figures.dropped_slow,
            _ => &figures.dropped_full,
        });
        if qos > Qos::AtMostOnce && session.is_lasting() {
            journal.note(Change::Done { client: &session.client, number });
        }
        true
    }

    /// Gives what a member of a group has not taken to another member, if there is one.
    pub(super) fn hand_over(&mut self, items: Vec<Item>, now: Instant) {
        for item in items {
            let publication = &item.waiting.publication;
            let chosen = self.groups.choose(item.group, &self.sessions, publication, self.limits.queued);
            if let Some(subscriber) = chosen {
                self.enqueue(Hit::new(&subscriber, item.group), publication, now);
            }
        }
    }
}

fn is_its_own(session: &Session, publication: &Publication) -> bool {
    publication.from.client().is_some_and(|client| Arc::ptr_eq(client, &session.client) || *client == session.client)
}
