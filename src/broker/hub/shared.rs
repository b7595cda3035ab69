//! Groups that share a subscription: each message goes to one member.

use std::collections::HashMap;

use crate::broker::publication::{Publication, Qos};

use super::session::{Session, Sessions};
use super::tree::Subscriber;

/// All groups.
#[derive(Debug, Default)]
pub struct Groups {
    by_filter: HashMap<Box<str>, u32>,
    by_number: HashMap<u32, Group>,
    last: u32,
}

#[derive(Debug, Default)]
struct Group {
    /// Members that are there, and those that are away: of a large group most may be.
    here: Members,
    away: Members,
}

#[derive(Debug, Default)]
struct Members {
    all: Vec<Subscriber>,
    /// Whose turn it is.
    next: usize,
}

impl Members {
    fn of(&mut self, slot: usize) -> Option<&mut Subscriber> {
        self.all.iter_mut().find(|member| member.slot == slot)
    }

    fn take(&mut self, slot: usize) -> Option<Subscriber> {
        let at = self.all.iter().position(|member| member.slot == slot)?;
        self.next -= usize::from(at < self.next);
        Some(self.all.remove(at))
    }

    /// The next one that is good. It had its turn then.
    fn choose(&mut self, is_good: impl Fn(&Subscriber) -> bool) -> Option<Subscriber> {
        let count = self.all.len();
        let at =
            (0..count).map(|turn| (self.next + turn) % count).find(|at| self.all.get(*at).is_some_and(&is_good))?;
        self.next = at + 1;
        self.all.get(at).copied()
    }
}

impl Groups {
    /// A client joins, or wants something else from now on. The group's number, and whether the group is new.
    pub fn join(&mut self, shared_filter: &str, subscriber: Subscriber, is_there: bool) -> (u32, bool) {
        let known = self.by_filter.get(shared_filter).copied();
        let number = known.unwrap_or_else(|| {
            // Numbers come again after four thousand million groups; one that is still taken is passed over.
            loop {
                self.last = self.last.wrapping_add(1).max(1);
                if !self.by_number.contains_key(&self.last) {
                    break self.last;
                }
            }
        });
        if known.is_none() {
            self.by_filter.insert(shared_filter.into(), number);
        }
        let group = self.by_number.entry(number).or_default();
        let members = if is_there { &mut group.here } else { &mut group.away };
        match members.of(subscriber.slot) {
            Some(member) => *member = subscriber,
            None => members.all.push(subscriber),
        }
        (number, known.is_none())
    }

    /// A client of the group comes.
    pub fn arrive(&mut self, number: u32, slot: usize) {
        let Some(group) = self.by_number.get_mut(&number) else { return };
        let member = group.away.take(slot);
        group.here.all.extend(member);
    }

    /// A client of the group goes, and may be back.
    pub fn depart(&mut self, number: u32, slot: usize) {
        let Some(group) = self.by_number.get_mut(&number) else { return };
        let member = group.here.take(slot);
        group.away.all.extend(member);
    }

    /// A client leaves. Whether the group is no more.
    pub fn leave(&mut self, shared_filter: &str, number: u32, slot: usize) -> bool {
        let Some(group) = self.by_number.get_mut(&number) else { return false };
        let _ = group.here.take(slot).or_else(|| group.away.take(slot));
        if !group.here.all.is_empty() || !group.away.all.is_empty() {
            return false;
        }
        self.by_number.remove(&number);
        self.by_filter.remove(shared_filter);
        true
    }

    /// Each member is where its session is.
    #[cfg(test)]
    pub fn check(&self, sessions: &Sessions) {
        let mut members = 0;
        for (number, group) in &self.by_number {
            for (all, is_there) in [(&group.here.all, true), (&group.away.all, false)] {
                for session in all.iter().map(|member| sessions.get(member.slot).unwrap()) {
                    assert_eq!(session.link.is_some(), is_there);
                    assert!(session.groups().any(|group| group == *number));
                }
            }
            members += group.here.all.len() + group.away.all.len();
        }
        assert_eq!(members, sessions.iter().flat_map(|(_, session)| session.groups()).count());
    }

    /// Whether a member of a group is there.
    pub fn is_served(&self, number: u32) -> bool {
        self.by_number.get(&number).is_some_and(|group| !group.here.all.is_empty())
    }

    /// Who gets a message, of those that may hear of it: the next member that is there and can keep up, then any that is
    /// there. While none is, a message above QoS 0 waits for one that will be back.
    pub fn choose(
        &mut self,
        number: u32,
        sessions: &Sessions,
        publication: &Publication,
        queued: usize,
    ) -> Option<Subscriber> {
        let group = self.by_number.get_mut(&number)?;
        let is_good = |member: &Subscriber, is_good: &dyn Fn(&Session) -> bool| {
            let Some(session) = sessions.get(member.slot) else { return false };
            is_good(session) && (!member.is_checked || session.allowed.may_hear(&publication.topic))
        };
        let waits = |member: &Subscriber| member.qos.min(publication.qos) > Qos::AtMostOnce;
        let Group { here, away } = group;
        here.choose(|member| is_good(member, &|session| session.outbox.len() < queued))
            .or_else(|| here.choose(|member| is_good(member, &|_| true)))
            .or_else(|| away.choose(|member| waits(member) && is_good(member, &Session::is_lasting)))
    }
}
