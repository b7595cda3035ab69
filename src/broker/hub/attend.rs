//! Clients come and go; their sessions may outlive that.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::broker::figures::{count, set};
use crate::broker::packet::{ConnAck, Connect, Version, reason};
use crate::broker::publication::Qos;
use crate::broker::rights::{Allowed, is_inside};
use crate::broker::saved::{Change, SessionFacts, Stage};

use super::keep::wall;
use super::outbox::Item;
use super::session::{Link, Session};
use super::{Attached, Bell, ConnectionId, Ending, Hub};

/// Says what the client of an id may do that logged in as a user, or as nobody; `None`: it is not to be let in any more.
pub type Judge<'a> = dyn Fn(&str, Option<&str>) -> Option<Arc<Allowed>> + 'a;

/// The longest client id that is taken, in bytes.
const LONGEST_ID: usize = 1_024;

impl Hub {
    /// Lets a client in, past its login. A connection that has its id now is closed; what was left of its session
    /// goes on, unless it wants a clean one or it was another user's. Its messages come by [`Hub::deliver`], once the
    /// answer is sent.
    ///
    /// # Errors
    /// The reason code to refuse it with.
    pub fn attach(
        &mut self,
        connect: &Connect,
        user: Option<Arc<str>>,
        allowed: Arc<Allowed>,
        bell: Arc<Bell>,
        now: Instant,
    ) -> Result<Attached, u8> {
        self.check_will(connect, &allowed)?;
        let client = self.identify(connect)?;
        self.take_over(&client, connect.clean_start, user.as_deref(), now)?;

        let known = self.clients.get(&client).copied();
        let slot = match known {
            Some(slot) => slot,
            None => {
                self.make_room_for_a_session(now)?;
                let session = Session::new(Arc::clone(&client), user.clone(), Arc::clone(&allowed));
                let slot = self.sessions.insert(session);
                self.clients.insert(Arc::clone(&client), slot);
                slot
            }
        };
        let id = self.name_connection(slot);
        let expiry = connect.session_expiry.min(self.longest_expiry());
        let Self { sessions, groups, journal, limits, deadlines, .. } = self;
        let session = sessions.get_mut(slot).ok_or(reason::UNSPECIFIED_ERROR)?;
        if let Some(deadline) = session.deadline.take() {
            deadlines.remove(&(deadline, slot));
        }
        let has_other_rights = session.allowed != allowed;
        let was_lasting = session.is_lasting();
        session.over_at = None;
        session.will = connect.will.clone();
        session.will_due = None;
        session.expiry = expiry;
        session.user = user;
        session.allowed = allowed;
        let mut link = Link::new(id, bell, connect, limits.in_flight, limits.receive_maximum);
        // A client begins anew to count what it has under way (MQTT 5, chapter 4.9). One that has forgotten what it had
        // never releases it.
        link.incoming_quota = link.incoming_quota.saturating_add(session.incoming.len());
        session.link = Some(link);
        session.groups().for_each(|group| groups.arrive(group, slot));
        session.window.resume();
        if let Some(link) = &mut session.link {
            link.ring();
        }
        if session.is_lasting() {
            let user = session.user.as_deref();
            journal.note(Change::Session(SessionFacts { client: &client, user, expiry, away_since: None }));
        } else if was_lasting {
            journal.note(Change::Ended(&client));
        }
        if has_other_rights {
            self.apply_rights(slot);
        }
        self.connected += 1;
        self.show_clients();
        self.figures.clients_most.fetch_max(self.connected as u64, Ordering::Relaxed);
        let answer = self.answer(connect, &client, expiry, known.is_some());
        Ok(Attached { connection: id, client, answer })
    }

    /// Whether a user may not attach by that id, because another has it or is expected back by it. Nobody takes the id of
    /// somebody inside the gateway; what others have, whoever `may_take_over`.
    pub fn is_anothers(&self, client: &str, user: Option<&str>, may_take_over: bool) -> bool {
        let session = self.clients.get(client).and_then(|slot| self.sessions.get(*slot));
        session
            .map(|session| session.user.as_deref())
            .is_some_and(|owner| owner != user && (!may_take_over || owner.is_some_and(is_inside)))
    }

    /// A connection is gone. Does nothing if another has taken its session over.
    pub fn detach(&mut self, connection: ConnectionId, ending: Ending, now: Instant) {
        if let Some(slot) = self.slot(connection) {
            self.part(slot, ending, now);
        }
    }

    /// Gives each client its rights anew. Whose rights are gone is thrown out, and its will is not published.
    pub fn judge_again(&mut self, judge: &Judge<'_>) {
        let slots: Vec<usize> = self.sessions.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            let Some(session) = self.sessions.get_mut(slot) else { continue };
            match judge(&session.client, session.user.as_deref()) {
                Some(allowed) if session.allowed == allowed => {}
                Some(allowed) => {
                    session.allowed = allowed;
                    self.apply_rights(slot);
                }
                None => {
                    if let Some(link) = &session.link {
                        link.bell.close(reason::ADMINISTRATIVE_ACTION);
                    }
                    count(&self.figures.sessions_ended);
                    // What waited for it goes with it, and so does its will.
                    self.end(slot, None);
                }
            }
        }
        self.show_queued();
    }

    /// Closes the connections of those users. Their sessions stay, as after any other break.
    pub fn send_away(&mut self, is_meant: &dyn Fn(Option<&str>) -> bool) {
        for (_, session) in self.sessions.iter().filter(|(_, session)| is_meant(session.user.as_deref())) {
            if let Some(link) = &session.link {
                link.bell.close(reason::ADMINISTRATIVE_ACTION);
            }
        }
    }

    /// What a connection's client may do by now; `None` if it is not there any more.
    pub fn allowed(&self, connection: ConnectionId) -> Option<Arc<Allowed>> {
        let session = self.sessions.get(self.slot(connection)?)?;
        Some(Arc::clone(&session.allowed))
    }

    pub(super) fn longest_expiry(&self) -> u32 {
        u32::try_from(self.limits.session_expiry.as_secs()).unwrap_or(u32::MAX)
    }

    /// The end of a session and of everything in it. `now`: what others may have instead goes to them.
    pub(super) fn end(&mut self, slot: usize, now: Option<Instant>) {
        let Some(mut session) = self.sessions.remove(slot) else { return };
        self.clients.remove(&session.client);
        self.connected -= usize::from(session.link.is_some()).min(self.connected);
        if let Some(deadline) = session.deadline {
            self.deadlines.remove(&(deadline, slot));
        }
        for subscription in std::mem::take(&mut session.subscriptions).into_values() {
            self.forget_subscription(slot, &subscription);
        }
        let mut left = session.window.take_unless(&mut self.tally, |_| false);
        left.extend(session.outbox.take_unless(&mut self.tally, |_| false));
        if session.is_lasting() {
            self.journal.note(Change::Ended(&session.client));
        }
        if let Some(now) = now {
            self.publish_will(session.will.take(), &session.client, session.user.as_ref(), &session.allowed, now);
            left.retain(may_go_to_another);
            self.hand_over(left, now);
        }
        set(&self.figures.subscriptions, self.subscriptions);
        self.show_clients();
        self.show_queued();
    }

    fn answer(&self, connect: &Connect, client: &Arc<str>, expiry: u32, session_present: bool) -> ConnAck {
        ConnAck {
            session_present,
            reason: reason::SUCCESS,
            client: connect.client.is_empty().then(|| client.to_string()),
            session_expiry: (expiry != connect.session_expiry).then_some(expiry),
            keep_alive: None,
            receive_maximum: self.limits.receive_maximum,
            maximum_packet: u32::try_from(self.limits.packet).unwrap_or(u32::MAX),
            topic_aliases: self.limits.topic_aliases,
            words: None,
        }
    }

    fn identify(&self, connect: &Connect) -> Result<Arc<str>, u8> {
        let client = connect.client.as_str();
        let is_good = match client {
            // Without an id there is nothing by which a client of 3.1.1 could find its session again.
            "" => connect.version == Version::V5 || connect.clean_start,
            client => client.len() <= LONGEST_ID && !client.contains('\0'),
        };
        if !is_good {
            return Err(reason::CLIENT_IDENTIFIER_NOT_VALID);
        }
        if !client.is_empty() {
            return Ok(client.into());
        }
        // Keyed with what the system's source of randomness gave, so that nobody guesses another's id.
        let random = |salt: u64| {
            let mut hasher = self.random.build_hasher();
            hasher.write_u64(self.last_connection);
            hasher.write_u64(salt);
            hasher.finish()
        };
        Ok(format!("auto-{:016x}{:016x}", random(0), random(1)).into())
    }

    /// What becomes of the session and of the connection a client of that id has now.
    fn take_over(&mut self, client: &str, is_clean: bool, user: Option<&str>, now: Instant) -> Result<(), u8> {
        let Some(slot) = self.clients.get(client).copied() else { return self.check_clients() };
        let link = self.sessions.get(slot).and_then(|session| session.link.as_ref());
        match link {
            Some(link) => {
                link.bell.close(reason::SESSION_TAKEN_OVER);
                self.part(slot, Ending::Broken, now);
            }
            None => self.check_clients()?,
        }
        // It may have ended with its connection.
        if let Some(session) = self.clients.get(client).and_then(|slot| self.sessions.get(*slot))
            && (is_clean || session.user.as_deref() != user)
        {
            self.end(slot, Some(now));
        }
        Ok(())
    }

    fn check_clients(&self) -> Result<(), u8> {
        if self.connected < self.limits.clients {
            return Ok(());
        }
        count(&self.figures.refused_full);
        Err(reason::QUOTA_EXCEEDED)
    }

    /// When there are too many sessions, one goes whose client is away: of the user that has most of those, so that nobody
    /// ends other users' by making many, the one away longest.
    fn make_room_for_a_session(&mut self, now: Instant) -> Result<(), u8> {
        if self.sessions.len() < self.limits.sessions {
            return Ok(());
        }
        let away = || self.sessions.iter().filter(|(_, session)| session.link.is_none());
        let mut have: HashMap<Option<&str>, usize> = HashMap::new();
        for (_, session) in away() {
            *have.entry(session.user.as_deref()).or_default() += 1;
        }
        let by_user = |session: &Session| have.get(&session.user.as_deref()).copied();
        let Some((slot, _)) = away().max_by_key(|(_, session)| (by_user(session), session.away_for(now))) else {
            count(&self.figures.refused_full);
            return Err(reason::QUOTA_EXCEEDED);
        };
        count(&self.figures.sessions_ended);
        self.end(slot, Some(now));
        Ok(())
    }

    /// A client is not there any more.
    fn part(&mut self, slot: usize, ending: Ending, now: Instant) {
        let Self { sessions, groups, tally, journal, .. } = self;
        let Some(session) = sessions.get_mut(slot) else { return };
        session.link = None;
        session.groups().for_each(|group| groups.depart(group, slot));
        self.connected = self.connected.saturating_sub(1);
        if ending == Ending::Left {
            session.will = None;
        }
        session.outbox.rest(tally);
        if !session.is_lasting() {
            self.end(slot, Some(now));
            return;
        }
        session.over_at = now.checked_add(Duration::from_secs(session.expiry.into()));
        session.will_due = session.will.as_ref().and_then(|will| now.checked_add(will.delay));
        let user = session.user.as_deref();
        let away_since = Some(wall(Duration::ZERO));
        let facts = SessionFacts { client: &session.client, user, expiry: session.expiry, away_since };
        journal.note(Change::Session(facts));
        self.look_after(slot, now);
        self.pass_on(slot, now);
        self.show_clients();
        self.show_queued();
    }

    /// Others in its groups get what a client that is gone has not taken, if they are there.
    fn pass_on(&mut self, slot: usize, now: Instant) {
        let Self { sessions, groups, tally, journal, .. } = self;
        let Some(session) = sessions.get(slot) else { return };
        let served: Vec<u32> = session.groups().filter(|group| groups.is_served(*group)).collect();
        let Some(session) = sessions.get_mut(slot).filter(|_| !served.is_empty()) else { return };
        let stays = |item: &Item| !served.contains(&item.group) || !may_go_to_another(item);
        let mut items = session.window.take_unless(tally, stays);
        items.extend(session.outbox.take_unless(tally, stays));
        for item in &items {
            journal.note(Change::Done { client: &session.client, number: item.waiting.number });
        }
        self.hand_over(items, now);
    }

    fn apply_rights(&mut self, slot: usize) {
        self.check_subscriptions(slot);
        self.withhold(slot);
    }

    fn show_clients(&self) {
        set(&self.figures.clients, self.connected);
        set(&self.figures.sessions, self.sessions.len());
    }
}

/// Whether a message for one of a group may go to another of it: not if it may have been taken, and is to be taken once
/// (MQTT 5, chapter 4.8.2).
fn may_go_to_another(item: &Item) -> bool {
    let is_open = match item.waiting.stage {
        Stage::Waiting => true,
        Stage::Sent(_) => item.waiting.qos == Qos::AtLeastOnce,
        Stage::Released(_) => false,
    };
    item.group != 0 && is_open
}
