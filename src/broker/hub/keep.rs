//! What survives: the hub as it was saved, and as it is to be saved.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::broker::figures::{count, set};
use crate::broker::publication::Qos;
use crate::broker::rights::Allowed;
use crate::broker::saved::{Change, Saved, SavedSession, SessionFacts, Stage, Waiting};

use super::Hub;
use super::filter::{is_system, matches, parse};
use super::outbox::Item;
use super::retained::Outcome;
use super::session::Session;

impl Hub {
    /// With what was saved by an earlier run. Rights are not saved: until [`Hub::judge_again`] is called, or the client is
    /// back, its messages wait for it as if it might hear of everything, and what it may not hear of goes then.
    pub fn restore(&mut self, saved: Saved, now: Instant) {
        for publication in saved.retained {
            if publication.has_expired(now) {
                continue;
            }
            self.serial += 1;
            if let Outcome::NoRoom { .. } = self.retained.keep(&publication, self.serial, &self.limits) {
                count(&self.figures.not_retained);
                self.journal.note(Change::Cleared(&publication.topic));
            }
        }
        for session in saved.sessions {
            self.restore_session(session, now);
        }
        set(&self.figures.retained, self.retained.len());
        set(&self.figures.retained_bytes, self.retained.bytes());
        set(&self.figures.sessions, self.sessions.len());
        self.show_queued();
    }

    /// Everything that is worth saving, as it is now.
    pub fn save(&self, now: Instant) -> Saved {
        let retained = self.retained.iter().filter(|publication| !is_system(&publication.topic));
        let sessions = self.sessions.iter().map(|(_, session)| session).filter(|session| session.is_lasting());
        Saved { retained: retained.cloned().collect(), sessions: sessions.map(|session| saved(session, now)).collect() }
    }

    fn restore_session(&mut self, saved: SavedSession, now: Instant) {
        let expiry = saved.expiry.min(self.longest_expiry());
        // A clock that was set back makes it live as long as it may from now on, and no longer.
        let away_for = saved.away_since.and_then(|since| wall(Duration::ZERO).duration_since(since).ok());
        let left = Duration::from_secs(expiry.into()).saturating_sub(away_for.unwrap_or_default());
        if self.clients.contains_key(&saved.client) {
            return;
        }
        if left.is_zero() || self.sessions.len() >= self.limits.sessions {
            count(&self.figures.sessions_ended);
            self.journal.note(Change::Ended(&saved.client));
            return;
        }
        if saved.away_since.is_none() {
            // Now it is known since when: or else it would begin to be away with each start anew.
            let (client, user, away_since) = (&*saved.client, saved.user.as_deref(), Some(wall(Duration::ZERO)));
            self.journal.note(Change::Session(SessionFacts { client, user, expiry, away_since }));
        }
        let allowed = Arc::new(Allowed::everything());
        let mut session = Session::new(Arc::clone(&saved.client), saved.user, allowed);
        session.expiry = expiry;
        session.over_at = now.checked_add(left);
        session.last_number = saved.waiting.iter().map(|waiting| waiting.number).max().unwrap_or(0);
        for id in saved.incoming {
            session.incoming.insert(id);
        }

        let slot = self.sessions.insert(session);
        self.clients.insert(saved.client, slot);
        for (wanted, identifier) in saved.subscriptions {
            if self.subscribe_quietly(slot, wanted, identifier).is_err() {
                count(&self.figures.refused_subscriptions);
            }
        }
        let Self { sessions, tally, limits, .. } = self;
        let Some(session) = sessions.get_mut(slot) else { return };
        let items = saved.waiting.into_iter().filter(|waiting| waiting.qos > Qos::AtMostOnce);
        let items = items.map(|waiting| {
            let group = group_of(session, &waiting.publication.topic, limits.levels);
            Item { waiting, group }
        });
        let (sent, mut unsent): (Vec<_>, Vec<_>) =
            items.collect::<Vec<_>>().into_iter().partition(|item| item.waiting.stage != Stage::Waiting);
        unsent.extend(session.window.restore(sent, tally));
        unsent.sort_by_key(|item| item.waiting.number);
        for mut item in unsent {
            item.waiting.stage = Stage::Waiting;
            if self.make_room(slot, &item.waiting.publication, item.waiting.subscriptions.len(), item.waiting.qos, now)
                && let Some(session) = self.sessions.get_mut(slot)
            {
                session.outbox.push(item, &mut self.tally);
            }
        }
        self.arm(slot);
    }
}

fn saved(session: &Session, now: Instant) -> SavedSession {
    let subscriptions =
        session.subscriptions.values().map(|subscription| (subscription.wanted.clone(), subscription.identifier));
    let waiting = session.window.iter().chain(session.outbox.iter()).map(|item| &item.waiting);
    SavedSession {
        client: Arc::clone(&session.client),
        user: session.user.clone(),
        expiry: session.expiry,
        away_since: session.link.is_none().then(|| wall(session.away_for(now))),
        subscriptions: subscriptions.collect(),
        waiting: waiting.filter(|waiting: &&Waiting| waiting.qos > Qos::AtMostOnce).cloned().collect(),
        incoming: session.incoming.iter().collect(),
    }
}

/// As whose member a client has got something that waits for it, as far as its subscriptions tell: a group that is
/// the only one of them to want it. 0 if it is for the client alone, or nobody can tell.
fn group_of(session: &Session, topic: &str, levels: usize) -> u32 {
    let wanting = session.subscriptions.iter().filter(|(filter, _)| {
        let filter = parse(filter, levels).map(|parsed| parsed.filter);
        filter.is_some_and(|filter| matches(filter, topic))
    });
    let mut groups = wanting.map(|(_, subscription)| subscription.group);
    groups.next().filter(|_| groups.next().is_none()).unwrap_or(0)
}

/// What the wall clock showed that long ago.
pub(super) fn wall(ago: Duration) -> SystemTime {
    let now = SystemTime::now();
    now.checked_sub(ago).unwrap_or(now)
}
