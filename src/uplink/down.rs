//! What comes down beside commands: topics that the site's bridge rules pass on to local clients.

use std::sync::Arc;

use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::client::Incoming;
use super::{Counters, count};
use crate::bridge::Bridge;
use crate::message::Message;
use crate::topics::Topics;

/// The way from one uplink to local clients.
#[derive(Clone)]
pub struct Down {
    /// The rules.
    pub bridge: Arc<Bridge>,
    /// The gateway's topics.
    pub topics: Topics,
    /// The uplink's place in the site file.
    pub uplink: usize,
    /// Where local clients are.
    pub local: mpsc::Sender<Message>,
}

impl Down {
    /// What to subscribe to.
    pub fn wanted(&self) -> Vec<String> {
        self.bridge.wanted(self.uplink)
    }

    /// Passes something on, if a rule fits it. Nobody is waited for: what comes faster than local clients read
    /// is dropped and counted, or commands behind it would be late.
    pub fn pass(&self, incoming: &Incoming, counters: &Counters) {
        let Some(message) = self.bridge.down(&self.topics, self.uplink, incoming) else {
            debug!(topic = incoming.topic, "no bridge rule fits what came down");
            return;
        };
        if incoming.response_topic.is_some() && !message.wants_answer() {
            count(&counters.bridged_unanswerable);
            debug!(topic = incoming.topic, "no bridge rule takes an answer up to where it is wanted");
        }
        if self.local.try_send(message).is_ok() {
            count(&counters.bridged);
        } else if counters.bridged_dropped.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 {
            warn!(
                topic = incoming.topic,
                "messages from upstream come faster than local clients read, and are dropped"
            );
        }
    }
}
