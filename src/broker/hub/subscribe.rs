//! Subscriptions: who begins to hear of what, and who ends.

use std::sync::Arc;

use crate::broker::figures::{count, set};
use crate::broker::packet::{RetainedWanted, Wanted, reason};
use crate::broker::saved::Change;

use super::answer::violation;
use super::filter::{has_wildcards, is_shared, parse};
use super::retained::Cursor;
use super::session::{Session, Subscription};
use super::tree::{Subscriber, Who};
use super::{Hub, Violation};

/// What a level of a filter with wildcards counts for beside its text, in bytes.
const LEVEL: usize = 128;

impl Hub {
    pub(super) fn subscribe(
        &mut self,
        slot: usize,
        filters: Vec<Wanted>,
        identifier: Option<u32>,
    ) -> Result<Vec<u8>, Violation> {
        let shares_without_itself = |wanted: &Wanted| wanted.no_local && is_shared(&wanted.filter);
        if filters.iter().any(shares_without_itself) {
            return Err(violation(
                reason::PROTOCOL_ERROR,
                "a shared subscription leaves out its subscriber's own messages",
            ));
        }
        let identifier = identifier.filter(|number| *number != 0);
        let mut reasons = Vec::with_capacity(filters.len());
        for (before, wanted) in filters.into_iter().enumerate() {
            let granted = wanted.qos as u8;
            let put = match before < self.limits.subscriptions {
                true => self.put_subscription(slot, wanted, identifier, false),
                // More than a client may have is more than it may ask for at once, too.
                false => Err(reason::QUOTA_EXCEEDED),
            };
            match put {
                Ok(()) => reasons.push(granted),
                Err(reason) => {
                    count(&self.figures.refused_subscriptions);
                    reasons.push(reason);
                }
            }
        }
        Ok(reasons)
    }

    /// A subscription that was saved, whose client is not back yet: nothing retained comes of it, and nobody is told.
    pub(super) fn subscribe_quietly(&mut self, slot: usize, wanted: Wanted, identifier: Option<u32>) -> Result<(), u8> {
        self.put_subscription(slot, wanted, identifier, true)
    }

    fn put_subscription(
        &mut self,
        slot: usize,
        wanted: Wanted,
        identifier: Option<u32>,
        is_restored: bool,
    ) -> Result<(), u8> {
        let parsed = parse(&wanted.filter, self.limits.levels).ok_or(reason::TOPIC_FILTER_INVALID)?;
        let session = self.sessions.get_mut(slot).ok_or(reason::UNSPECIFIED_ERROR)?;
        if !session.allowed.may_subscribe(parsed.filter) {
            return Err(reason::NOT_AUTHORIZED);
        }
        let known = session.subscriptions.get_key_value(wanted.filter.as_str()).map(|(filter, _)| Arc::clone(filter));
        let cost = cost(&wanted.filter);
        if known.is_none()
            && (session.subscriptions.len() >= self.limits.subscriptions
                || session.filter_bytes + cost > self.limits.filter_bytes
                || self.filter_bytes + cost > self.limits.filter_bytes_together)
        {
            return Err(reason::QUOTA_EXCEEDED);
        }
        let is_new = known.is_none();
        let filter: Arc<str> = known.unwrap_or_else(|| wanted.filter.as_str().into());
        let subscriber = Subscriber {
            slot,
            identifier: identifier.unwrap_or(0),
            qos: wanted.qos,
            no_local: wanted.no_local,
            as_published: wanted.retain_as_published,
            is_checked: !session.allowed.covers(parsed.filter),
        };
        let mut number = 0;
        if parsed.group.is_some() {
            let (group, is_new_group) = self.groups.join(&wanted.filter, subscriber, session.link.is_some());
            if is_new_group {
                self.tree.insert_group(parsed.filter, group);
            }
            number = group;
        } else {
            self.tree.insert(parsed.filter, subscriber);
            // What is retained comes from the beginning with each subscription that wants it so, and once.
            if !is_new {
                session.cursors.retain(|cursor| cursor.filter != filter);
            }
            let wants_retained =
                wanted.retained == RetainedWanted::All || wanted.retained == RetainedWanted::IfNew && is_new;
            if wants_retained && !is_restored {
                let Subscriber { identifier, is_checked, qos, .. } = subscriber;
                session.cursors.push_back(Cursor::new(Arc::clone(&filter), qos, identifier, is_checked, self.serial));
            }
        }
        if session.is_lasting() && !is_restored {
            self.journal.note(Change::Subscribed { client: &session.client, wanted: &wanted, identifier });
        }
        if is_new {
            session.filter_bytes += cost;
            self.filter_bytes += cost;
            self.subscriptions += 1;
        }
        session.subscriptions.insert(filter, Subscription { wanted, identifier, group: number });
        set(&self.figures.subscriptions, self.subscriptions);
        Ok(())
    }

    pub(super) fn unsubscribe(&mut self, slot: usize, filters: &[String]) -> Vec<u8> {
        let mut reasons = Vec::with_capacity(filters.len());
        for filter in filters {
            let Some(session) = self.sessions.get_mut(slot) else { continue };
            let Some(subscription) = session.subscriptions.remove(filter.as_str()) else {
                let is_filter = parse(filter, self.limits.levels).is_some();
                reasons.push(if is_filter { reason::NO_SUBSCRIPTION_EXISTED } else { reason::TOPIC_FILTER_INVALID });
                continue;
            };
            session.filter_bytes = session.filter_bytes.saturating_sub(cost(filter));
            if session.is_lasting() {
                self.journal.note(Change::Unsubscribed { client: &session.client, filter });
            }
            self.forget_subscription(slot, &subscription);
            reasons.push(reason::SUCCESS);
        }
        if let Some(session) = self.sessions.get_mut(slot) {
            let Session { cursors, subscriptions, .. } = session;
            cursors.retain(|cursor| subscriptions.contains_key(&cursor.filter));
        }
        set(&self.figures.subscriptions, self.subscriptions);
        reasons
    }

    /// Takes a subscription that its session has not any more out of everything else.
    pub(super) fn forget_subscription(&mut self, slot: usize, subscription: &Subscription) {
        let text = &subscription.wanted.filter;
        let Some(parsed) = parse(text, usize::MAX) else { return };
        self.filter_bytes = self.filter_bytes.saturating_sub(cost(text));
        self.subscriptions = self.subscriptions.saturating_sub(1);
        if subscription.group == 0 {
            self.tree.remove(parsed.filter, Who::Client(slot));
        } else if self.groups.leave(text, subscription.group, slot) {
            self.tree.remove(parsed.filter, Who::Group(subscription.group));
        }
    }

    /// Looks anew at which of a client's subscriptions need a look at each message.
    pub(super) fn check_subscriptions(&mut self, slot: usize) {
        let Self { sessions, tree, groups, .. } = self;
        let Some(session) = sessions.get_mut(slot) else { return };
        for (text, Subscription { wanted, identifier, group }) in &session.subscriptions {
            let Some(parsed) = parse(text, usize::MAX) else { continue };
            let is_checked = !session.allowed.covers(parsed.filter);
            let subscriber = Subscriber {
                slot,
                identifier: identifier.unwrap_or(0),
                qos: wanted.qos,
                no_local: wanted.no_local,
                as_published: wanted.retain_as_published,
                is_checked,
            };
            if *group == 0 {
                tree.insert(parsed.filter, subscriber);
            } else {
                groups.join(text, subscriber, session.link.is_some());
            }
            if let Some(cursor) = session.cursors.iter_mut().find(|cursor| cursor.filter == *text) {
                cursor.is_checked = is_checked;
            }
        }
    }
}

/// What a filter counts for, in bytes.
fn cost(filter: &str) -> usize {
    let levels = if has_wildcards(filter) { 1 + filter.bytes().filter(|byte| *byte == b'/').count() } else { 1 };
    filter.len() + levels * LEVEL
}
