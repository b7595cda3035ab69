//! From one state to another that was reached by changes nobody noted.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::super::publication::Publication;
use super::super::super::saved::{Saved, SavedSession, SessionFacts, Waiting};
use super::{Image, Item};
use crate::clock::Stamp;

impl Image {
    /// Follows to a state that was reached by changes nobody noted.
    pub fn go_over_to(&mut self, everything: &Saved, now: Stamp) {
        let topics: BTreeSet<&Arc<str>> = everything.retained.iter().map(|publication| &publication.topic).collect();
        let gone = |(topic, _): (&Arc<str>, _)| (!topics.contains(topic)).then(|| topic.clone());
        let cleared: Vec<Arc<str>> = self.retained.iter().filter_map(gone).collect();
        cleared.iter().for_each(|topic| self.clear(topic));
        for publication in &everything.retained {
            if self.retained.get(&publication.topic).is_none_or(|before| !is_same(before, publication)) {
                self.retain(publication.clone());
            }
        }
        let clients: BTreeSet<&str> = everything.sessions.iter().map(|session| &*session.client).collect();
        let gone = |client: &&Arc<str>| !clients.contains(&***client);
        let ended: Vec<Arc<str>> = self.sessions.keys().filter(gone).cloned().collect();
        ended.iter().for_each(|client| self.end(client));
        everything.sessions.iter().for_each(|session| self.go_over_to_session(session, now));
    }

    fn go_over_to_session(&mut self, saved: &SavedSession, now: Stamp) {
        let client = &*saved.client;
        let (user, expiry, away_since) = (saved.user.as_deref(), saved.expiry, saved.away_since);
        self.session(&SessionFacts { client, user, expiry, away_since }, now);
        let filters: BTreeSet<&str> = saved.subscriptions.iter().map(|(wanted, _)| &*wanted.filter).collect();
        let numbers: BTreeSet<u64> = saved.waiting.iter().map(|waiting| waiting.number).collect();
        let ids: BTreeSet<u16> = saved.incoming.iter().copied().collect();
        self.change_known(client, |session, at| {
            let gone: Vec<_> = session.subscriptions.iter().map(|(filter, _)| filter.clone()).collect();
            let gone = gone.iter().filter(|filter| !filters.contains(&***filter));
            gone.for_each(|filter| session.subscriptions.remove(filter, at));
            let gone: Vec<_> = session.waiting.iter().map(|(number, _)| *number).collect();
            let gone = gone.iter().filter(|number| !numbers.contains(number));
            gone.for_each(|number| session.waiting.remove(number, at));
            let gone: Vec<_> = session.incoming.iter().map(|(id, ())| *id).collect();
            gone.iter().filter(|id| !ids.contains(id)).for_each(|id| session.incoming.remove(id, at));
        });
        saved.subscriptions.iter().for_each(|(wanted, number)| self.subscribe(client, wanted, *number));
        for waiting in &saved.waiting {
            self.go_over_to_waiting(client, waiting);
        }
        saved.incoming.iter().for_each(|id| self.incoming(client, *id, true));
    }

    fn go_over_to_waiting(&mut self, client: &str, waiting: &Waiting) {
        let before = self.sessions.get(client).and_then(|session| session.waiting.get(&waiting.number));
        let same = |item: &Item| {
            let was = &item.waiting;
            let delivery = |w: &Waiting| (w.qos, w.retain, w.stage);
            is_same(&was.publication, &waiting.publication)
                && delivery(was) == delivery(waiting)
                && was.subscriptions == waiting.subscriptions
        };
        if !before.is_some_and(same) {
            self.queue(client, waiting.clone());
        }
    }
}

/// Whether two publications are one, or say the same. To compare large ones that were merely read twice would
/// take long, and nothing depends on it.
fn is_same(one: &Arc<Publication>, other: &Arc<Publication>) -> bool {
    Arc::ptr_eq(one, other)
}
