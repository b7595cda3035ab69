//! Wills: what the broker publishes for a client that broke off.

use std::sync::Arc;
use std::time::Instant;

use crate::broker::figures::count;
use crate::broker::packet::{Connect, Will, reason};
use crate::broker::publication::{Origin, Publication};
use crate::broker::rights::Allowed;

use super::Hub;
use super::filter::{is_system, is_topic};

/// The largest will, in bytes: each session may have one, and there is no bound on all of them together.
const LARGEST_WILL: usize = 64 * 1024;

impl Hub {
    /// Whether a client may come with the will it has.
    ///
    /// # Errors
    /// The reason code to refuse it with.
    pub(super) fn check_will(&self, connect: &Connect, allowed: &Allowed) -> Result<(), u8> {
        let Some(will) = &connect.will else { return Ok(()) };
        if !is_topic(&will.topic, self.limits.levels) {
            return Err(reason::TOPIC_NAME_INVALID);
        }
        if is_system(&will.topic) || !allowed.may_publish(&will.topic) {
            count(&self.figures.refused_publications);
            return Err(reason::NOT_AUTHORIZED);
        }
        if size(will) > self.limits.largest_retained.min(LARGEST_WILL) { Err(reason::PACKET_TOO_LARGE) } else { Ok(()) }
    }

    /// A will that is due goes to where wills wait.
    pub(super) fn publish_will(
        &mut self,
        will: Option<Will>,
        client: &Arc<str>,
        user: Option<&Arc<str>>,
        allowed: &Allowed,
        now: Instant,
    ) {
        let Some(will) = will else { return };
        if !allowed.may_publish(&will.topic) {
            count(&self.figures.refused_publications);
            return;
        }
        if self.wills.len() >= self.limits.sessions {
            count(&self.figures.dropped_full);
            return;
        }
        self.wills.push(publication(will, client, user, now));
        self.clock.ring();
    }
}

/// A will whose time has come.
fn publication(will: Will, client: &Arc<str>, user: Option<&Arc<str>>, now: Instant) -> Publication {
    Publication {
        topic: will.topic,
        payload: will.payload,
        qos: will.qos,
        retain: will.retain,
        from: Origin::Will { client: Arc::clone(client), user: user.cloned() },
        properties: will.properties,
        expires: will.expiry.and_then(|expiry| now.checked_add(expiry)),
    }
}

/// What a will counts for, in bytes: pairs of its own with nothing in them too.
fn size(will: &Will) -> usize {
    let properties = will.properties.as_ref().map_or(0, |properties| properties.weight());
    will.topic.len() + will.payload.len() + properties
}
