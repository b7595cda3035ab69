//! What a client says, on its way to the hub: its publications pass rights and gate, and what it may not do is noted.

use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::{Connection, End, Step};
use crate::broker::figures::count;
use crate::broker::hub::{Accepted, parse_filter};
use crate::broker::packet::{Publish, Reply, Request, Wanted, reason};
use crate::broker::publication::{Origin, Publication, Qos};
use crate::broker::rights::Act;
use crate::queue::Closed;

impl Connection {
    /// Has the hub told of a request, in its turn.
    pub(super) async fn take(&mut self, request: Request) -> Result<(), End> {
        match request {
            Request::Publish(publish) => self.publish(publish).await?,
            Request::Auth => return Err(End::Wrong(reason::PROTOCOL_ERROR, "there is nothing to authenticate")),
            Request::Disconnect { reason: why, .. } => {
                self.steps.push(Step::Request(request));
                return Err(if why == reason::SUCCESS { End::Left } else { End::LeftWithWill });
            }
            Request::Subscribe { ref filters, .. } => {
                if self.keep_up_with_rights().is_some() {
                    self.note_what_it_may_not_hear(filters);
                }
                self.steps.push(Step::Request(request));
            }
            request => self.steps.push(Step::Request(request)),
        }
        Ok(())
    }

    /// Lets a publication pass rights and gate.
    async fn publish(&mut self, publish: Publish) -> Result<(), End> {
        let Publish { topic, alias, payload, qos, retain, duplicate, id, expiry, properties } = publish;
        let topic = self.aliases.resolve(topic, alias).map_err(End::of)?;
        if let Some(reason) = self.refuses(&topic) {
            self.refuse(&topic, qos, id, reason);
            return Ok(());
        }
        let now = Instant::now().into_std();
        let publication = Publication {
            topic,
            payload,
            qos,
            retain,
            from: Origin::Client { client: self.client.clone(), user: self.login.user.clone() },
            properties,
            expires: expiry.and_then(|expiry| now.checked_add(expiry)),
        };
        let common = self.common().clone();
        let publication = match common.gate.concerns(&publication) && !self.has_seen(qos, id) {
            false => Ok(publication),
            true => {
                let mut passing = std::pin::pin!(common.gate.pass(publication, id, duplicate));
                tokio::select! {
                    biased;
                    passed = passing.as_mut() => passed,
                    // It has to wait, and what came before it need not.
                    () = std::future::ready(()) => {
                        self.tell_hub().await?;
                        passing.await
                    }
                }
            }
        };
        // It is not taken, so that its client sends it again to the gateway that comes after this one.
        let publication = publication.map_err(|Closed| End::Told(reason::SERVER_SHUTTING_DOWN))?;
        self.steps.push(Step::Accept(Accepted { publication, id }));
        Ok(())
    }

    /// Why the client may not publish there, if it may not. Where else nobody may, the hub knows.
    fn refuses(&mut self, topic: &str) -> Option<u8> {
        self.keep_up_with_rights()?;
        (!self.login.allowed.may_publish(topic)).then_some(reason::NOT_AUTHORIZED)
    }

    /// `None`: the client may not be here any more. It hears of that by the bell.
    fn keep_up_with_rights(&mut self) -> Option<()> {
        let judged = self.common().judged.load(Ordering::Acquire);
        if judged != self.judged {
            self.judged = judged;
            let allowed = self.common().hub().allowed(self.attachment.id);
            self.login.allowed = allowed?;
        }
        Some(())
    }

    /// Answers as if it had been taken, as far as the version of MQTT has no words for the truth.
    fn refuse(&mut self, topic: &str, qos: Qos, id: u16, reason: u8) {
        count(&self.common().figures.refused_publications);
        self.note_refusal(Act::Publish, topic);
        match qos {
            Qos::AtMostOnce => {}
            Qos::AtLeastOnce => self.steps.push(Step::Answer(Reply::PubAck { id, reason })),
            Qos::ExactlyOnce => self.steps.push(Step::Answer(Reply::PubRec { id, reason })),
        }
    }

    /// The hub refuses it; here it is told.
    fn note_what_it_may_not_hear(&self, filters: &[Wanted]) {
        let levels = self.common().limits.levels;
        for parsed in filters.iter().filter_map(|wanted| parse_filter(&wanted.filter, levels)) {
            if !self.login.allowed.may_subscribe(parsed.filter) {
                self.note_refusal(Act::Subscribe, parsed.filter);
            }
        }
    }

    fn note_refusal(&self, act: Act, topic: &str) {
        self.common().door.audit.not_allowed(act, &self.client, self.login.user.as_deref(), topic);
    }

    /// Whether a QoS 2 message is one that came before.
    fn has_seen(&self, qos: Qos, id: u16) -> bool {
        if qos != Qos::ExactlyOnce {
            return false;
        }
        let is_same = |step: &Step| matches!(step, Step::Accept(accepted) if accepted.id == id && accepted.publication.qos == qos);
        self.steps.iter().any(is_same) || self.common().hub().is_repeated(self.attachment.id, id)
    }
}
