//! What happens because time passes: wills, the ends of sessions, and of what is retained for a while.

use std::sync::Arc;
use std::time::Instant;

use crate::broker::figures::{add, count, set};
use crate::broker::publication::Publication;
use crate::broker::saved::Change;

use super::filter::is_system;
use super::{Bell, Hub};

impl Hub {
    /// Rings when [`Hub::due`] is to be called earlier than it said.
    pub fn clock(&self) -> Arc<Bell> {
        Arc::clone(&self.clock)
    }

    /// Wills that are due, sessions that are over; and when to look again. Wills are published by [`Hub::publish`], past
    /// whatever else looks at them first. A journal that has lost track gets everything here.
    pub fn due(&mut self, now: Instant) -> (Vec<Publication>, Option<Instant>) {
        while let Some((at, slot)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(at, slot));
            if let Some(session) = self.sessions.get_mut(slot) {
                session.deadline = None;
            }
            self.look_after(slot, now);
        }
        let expired = self.retained.sweep(now);
        for topic in expired.iter().filter(|topic| !is_system(topic)) {
            self.journal.note(Change::Cleared(topic));
        }
        if !expired.is_empty() {
            add(&self.figures.expired, expired.len());
            set(&self.figures.retained, self.retained.len());
            set(&self.figures.retained_bytes, self.retained.bytes());
        }
        if self.journal.wants_everything() {
            let everything = self.save(now);
            self.journal.start_over(everything);
        }
        let next = [self.deadlines.first().map(|(at, _)| *at), self.retained.due()].into_iter().flatten().min();
        (std::mem::take(&mut self.wills), next)
    }

    /// Does what is due for a client that is away, and remembers when there is more to do.
    pub(super) fn look_after(&mut self, slot: usize, now: Instant) {
        let Some(session) = self.sessions.get_mut(slot).filter(|session| session.link.is_none()) else { return };
        if session.over_at.is_some_and(|over_at| over_at <= now) {
            count(&self.figures.sessions_ended);
            self.end(slot, Some(now));
            return;
        }
        if session.will_due.is_some_and(|due| due <= now) {
            session.will_due = None;
            let will = session.will.take();
            let (client, user, allowed) =
                (Arc::clone(&session.client), session.user.clone(), Arc::clone(&session.allowed));
            self.publish_will(will, &client, user.as_ref(), &allowed, now);
        }
        self.arm(slot);
    }

    /// Remembers when a client that is away is to be looked after.
    pub(super) fn arm(&mut self, slot: usize) {
        let Self { sessions, deadlines, clock, .. } = self;
        let Some(session) = sessions.get_mut(slot) else { return };
        if let Some(deadline) = session.deadline.take() {
            deadlines.remove(&(deadline, slot));
        }
        let Some(deadline) = [session.over_at, session.will_due].into_iter().flatten().min() else { return };
        session.deadline = Some(deadline);
        deadlines.insert((deadline, slot));
        if deadlines.first() == Some(&(deadline, slot)) {
            clock.ring();
        }
    }
}
