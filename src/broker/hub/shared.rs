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
    members: Vec<Subscriber>,
    /// Whose turn it is.
    next: usize,
}

impl Groups {
    /// A client joins, or wants something else from now on. The group's number, whether the group is new, and whether the
    /// member is.
    pub fn join(&mut self, shared_filter: &str, subscriber: Subscriber) -> (u32, bool, bool) {
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
        let is_new_member = match group.members.iter_mut().find(|member| member.slot == subscriber.slot) {
            Some(member) => {
                *member = subscriber;
                false
            }
            None => {
                group.members.push(subscriber);
                true
            }
        };
        (number, known.is_none(), is_new_member)
    }

    /// A client leaves. Whether the group is no more.
    pub fn leave(&mut self, shared_filter: &str, number: u32, slot: usize) -> bool {
        let Some(group) = self.by_number.get_mut(&number) else { return false };
        group.members.retain(|member| member.slot != slot);
        if !group.members.is_empty() {
            return false;
        }
        self.by_number.remove(&number);
        self.by_filter.remove(shared_filter);
        true
    }

    /// Whether a member of a group is there.
    pub fn is_served(&self, number: u32, sessions: &Sessions) -> bool {
        let is_there = |member: &Subscriber| sessions.get(member.slot).is_some_and(|session| session.link.is_some());
        self.by_number.get(&number).is_some_and(|group| group.members.iter().any(is_there))
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
        let find = |is_good: &dyn Fn(&Subscriber, &Session) -> bool| {
            let mut turns = (0..group.members.len()).map(|turn| (group.next + turn) % group.members.len());
            turns.find(|at| {
                let Some(member) = group.members.get(*at) else { return false };
                let Some(session) = sessions.get(member.slot) else { return false };
                is_good(member, session) && (!member.is_checked || session.allowed.may_hear(&publication.topic))
            })
        };
        let waits = |member: &Subscriber| member.qos.min(publication.qos) > Qos::AtMostOnce;
        let chosen = find(&|_, session| session.link.is_some() && session.outbox.len() < queued)
            .or_else(|| find(&|_, session| session.link.is_some()))
            .or_else(|| find(&|member, session| session.is_lasting() && waits(member)))?;
        group.next = chosen + 1;
        group.members.get(chosen).copied()
    }
}
