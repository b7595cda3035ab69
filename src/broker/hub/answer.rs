//! What clients say, and what they are answered.

use std::sync::Arc;
use std::time::Instant;

use crate::broker::figures::count;
use crate::broker::packet::{Publish, Reply, Request, reason};
use crate::broker::publication::{Origin, Publication, Qos};
use crate::broker::saved::{Change, SessionFacts, Stage};

use super::filter::{is_system, is_topic};
use super::window::{Outcome, Said};
use super::{Accepted, ConnectionId, Hub, Violation};

impl Hub {
    /// Whether a QoS 2 message came before and is not to be looked at again; it is answered then.
    pub fn is_repeated(&self, connection: ConnectionId, id: u16) -> bool {
        self.slot(connection)
            .and_then(|slot| self.sessions.get(slot))
            .is_some_and(|session| session.incoming.contains(id))
    }

    /// Takes what a client publishes: routes it, retains it, answers it.
    ///
    /// # Errors
    /// The connection is to close: too many messages under way, or a packet id of 0.
    pub fn accept(
        &mut self,
        connection: ConnectionId,
        accepted: Accepted,
        now: Instant,
        replies: &mut Vec<Reply>,
    ) -> Result<(), Violation> {
        let Some(slot) = self.slot(connection) else { return Ok(()) };
        count(&self.figures.received);
        let Accepted { publication, id } = accepted;
        let qos = publication.qos;
        if qos > Qos::AtMostOnce && id == 0 {
            return Err(violation(reason::PROTOCOL_ERROR, "a message above QoS 0 has no packet id"));
        }
        if qos == Qos::ExactlyOnce && self.is_repeated(connection, id) {
            replies.push(Reply::PubRec { id, reason: reason::SUCCESS });
            return Ok(());
        }
        if let Some(reason) = self.refusal(&publication.topic) {
            count(&self.figures.refused_publications);
            match qos {
                Qos::AtMostOnce => {}
                Qos::AtLeastOnce => replies.push(Reply::PubAck { id, reason }),
                Qos::ExactlyOnce => replies.push(Reply::PubRec { id, reason }),
            }
            return Ok(());
        }
        if qos == Qos::ExactlyOnce {
            self.take_in(slot, id)?;
        }
        let reached = self.publish(publication, now);
        let reason = if reached > 0 { reason::SUCCESS } else { reason::NO_MATCHING_SUBSCRIBERS };
        match qos {
            Qos::AtMostOnce => {}
            Qos::AtLeastOnce => replies.push(Reply::PubAck { id, reason }),
            Qos::ExactlyOnce => replies.push(Reply::PubRec { id, reason }),
        }
        Ok(())
    }

    /// Takes everything else a client says. What it publishes comes by [`Hub::accept`] as a rule; here nobody but its own rights look at it.
    ///
    /// # Errors
    /// The connection is to close.
    pub fn request(
        &mut self,
        connection: ConnectionId,
        request: Request,
        now: Instant,
        replies: &mut Vec<Reply>,
    ) -> Result<(), Violation> {
        let Some(slot) = self.slot(connection) else { return Ok(()) };
        match request {
            Request::Publish(publish) => return self.take_as_it_is(connection, slot, publish, now, replies),
            Request::PubAck { id, .. } => self.hear(slot, id, Said::Taken, replies)?,
            Request::PubRec { id, reason } if reason >= 0x80 => self.hear(slot, id, Said::Refused, replies)?,
            Request::PubRec { id, .. } => self.hear(slot, id, Said::Received, replies)?,
            Request::PubRel { id } => self.release(slot, id, replies),
            Request::PubComp { id } => self.hear(slot, id, Said::Complete, replies)?,
            Request::Subscribe { id, filters, identifier } => {
                let reasons = self.subscribe(slot, filters, identifier)?;
                replies.push(Reply::SubAck { id, reasons });
            }
            Request::Unsubscribe { id, filters } => {
                let reasons = self.unsubscribe(slot, &filters);
                replies.push(Reply::UnsubAck { id, reasons });
            }
            Request::Ping => replies.push(Reply::Pong),
            Request::Disconnect { reason, session_expiry } => self.take_leave(slot, reason, session_expiry)?,
            Request::Auth => {
                return Err(violation(reason::PROTOCOL_ERROR, "no authentication in several steps was agreed on"));
            }
        }
        Ok(())
    }

    fn refusal(&self, topic: &str) -> Option<u8> {
        if !is_topic(topic, self.limits.levels) {
            return Some(reason::TOPIC_NAME_INVALID);
        }
        // What begins with `$` is the broker's own to say.
        is_system(topic).then_some(reason::NOT_AUTHORIZED)
    }

    fn take_in(&mut self, slot: usize, id: u16) -> Result<(), Violation> {
        let Self { sessions, journal, .. } = self;
        let Some(session) = sessions.get_mut(slot) else { return Ok(()) };
        let quota = session.link.as_ref().map_or(0, |link| link.incoming_quota);
        if session.incoming.len() >= quota {
            return Err(violation(
                reason::RECEIVE_MAXIMUM_EXCEEDED,
                "more messages are under way than the broker takes",
            ));
        }
        session.incoming.insert(id);
        if session.is_lasting() {
            journal.note(Change::Incoming { client: &session.client, id, taken: true });
        }
        Ok(())
    }

    fn release(&mut self, slot: usize, id: u16, replies: &mut Vec<Reply>) {
        let Self { sessions, journal, .. } = self;
        let Some(session) = sessions.get_mut(slot) else { return };
        let was_taken = session.incoming.remove(id);
        if was_taken && session.is_lasting() {
            journal.note(Change::Incoming { client: &session.client, id, taken: false });
        }
        let reason = if was_taken { reason::SUCCESS } else { reason::PACKET_IDENTIFIER_NOT_FOUND };
        replies.push(Reply::PubComp { id, reason });
    }

    fn hear(&mut self, slot: usize, id: u16, said: Said, replies: &mut Vec<Reply>) -> Result<(), Violation> {
        let Self { sessions, journal, tally, .. } = self;
        let Some(session) = sessions.get_mut(slot) else { return Ok(()) };
        match session.window.hear(id, said, tally) {
            Outcome::Wrong => return Err(violation(reason::PROTOCOL_ERROR, "an acknowledgement is of another kind")),
            Outcome::Unknown if said == Said::Received => {
                replies.push(Reply::PubRel { id, reason: reason::PACKET_IDENTIFIER_NOT_FOUND });
            }
            Outcome::Unknown => {}
            Outcome::Released(number) => {
                if session.is_lasting() {
                    let stage = Stage::Released(id);
                    journal.note(Change::Stage { client: &session.client, number, stage });
                }
                replies.push(Reply::PubRel { id, reason: reason::SUCCESS });
            }
            Outcome::ReleasedAgain => replies.push(Reply::PubRel { id, reason: reason::SUCCESS }),
            Outcome::Done(item) => {
                if session.is_lasting() {
                    journal.note(Change::Done { client: &session.client, number: item.waiting.number });
                }
            }
        }
        self.show_queued();
        Ok(())
    }

    fn take_as_it_is(
        &mut self,
        connection: ConnectionId,
        slot: usize,
        publish: Publish,
        now: Instant,
        replies: &mut Vec<Reply>,
    ) -> Result<(), Violation> {
        let Some(session) = self.sessions.get(slot) else { return Ok(()) };
        if publish.topic.is_empty() {
            return Err(violation(reason::TOPIC_ALIAS_INVALID, "a publication has no topic"));
        }
        if !session.allowed.may_publish(&publish.topic) {
            count(&self.figures.refused_publications);
            let (id, reason) = (publish.id, reason::NOT_AUTHORIZED);
            match publish.qos {
                Qos::AtMostOnce => {}
                Qos::AtLeastOnce => replies.push(Reply::PubAck { id, reason }),
                Qos::ExactlyOnce => replies.push(Reply::PubRec { id, reason }),
            }
            return Ok(());
        }
        let publication = Publication {
            topic: publish.topic,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            from: Origin::Client { client: Arc::clone(&session.client), user: session.user.clone() },
            properties: publish.properties,
            expires: publish.expiry.and_then(|expiry| now.checked_add(expiry)),
        };
        self.accept(connection, Accepted { publication, id: publish.id }, now, replies)
    }

    fn take_leave(&mut self, slot: usize, reason: u8, session_expiry: Option<u32>) -> Result<(), Violation> {
        let longest = self.longest_expiry();
        let Self { sessions, journal, .. } = self;
        let Some(session) = sessions.get_mut(slot) else { return Ok(()) };
        match session_expiry {
            Some(expiry) if expiry > 0 && !session.is_lasting() => {
                return Err(violation(
                    reason::PROTOCOL_ERROR,
                    "a session that was to end with its connection cannot outlive it",
                ));
            }
            Some(0) if session.is_lasting() => {
                session.expiry = 0;
                journal.note(Change::Ended(&session.client));
            }
            Some(expiry) if expiry != session.expiry => {
                session.expiry = expiry.min(longest);
                let user = session.user.as_deref();
                let facts = SessionFacts { client: &session.client, user, expiry: session.expiry, away_since: None };
                journal.note(Change::Session(facts));
            }
            _ => {}
        }
        if reason == reason::SUCCESS {
            session.will = None;
        }
        Ok(())
    }
}

pub(super) fn violation(reason: u8, words: &'static str) -> Violation {
    Violation { reason, words }
}
