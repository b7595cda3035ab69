//! Everything that goes north goes through here: onto the disk for each uplink, and to the local
//! broker at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::message::Message;
use crate::queue::Queue;
use crate::seldom::Seldom;

/// How many messages may wait for the local broker. What does not fit is counted: local clients
/// see the present, the queues on disk keep the past.
pub const LOCAL_WAITING: usize = 4096;

/// Where a message is meant to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// Every uplink and the local broker.
    Everyone,
    /// The local broker alone.
    Local,
    /// One uplink alone.
    Uplink(Arc<str>),
}

/// The way north. Cheap to clone.
#[derive(Clone)]
pub struct North {
    uplinks: Arc<[(Arc<str>, Queue)]>,
    local: Option<mpsc::Sender<Message>>,
    local_dropped: Arc<AtomicU64>,
    slow_clients: Arc<Mutex<Seldom>>,
    tap: Option<mpsc::Sender<Message>>,
}

impl North {
    /// The way to these uplinks' queues and, if there is one, to the local broker. `tap` sees a
    /// copy of what everyone sees, as far as it keeps up.
    pub fn new(
        uplinks: Vec<(Arc<str>, Queue)>,
        local: Option<mpsc::Sender<Message>>,
        tap: Option<mpsc::Sender<Message>>,
    ) -> Self {
        Self { uplinks: uplinks.into(), local, local_dropped: Arc::default(), slow_clients: Arc::default(), tap }
    }

    /// Sends a message. Waits for nothing but room in front of the disk.
    pub async fn publish(&self, message: Message, to: &To) {
        if let (Some(tap), To::Everyone) = (&self.tap, to) {
            // Whoever only watches may miss something.
            let _ = tap.try_send(message.clone());
        }
        let body = message.encode();
        for (name, queue) in &*self.uplinks {
            let wanted = match to {
                To::Everyone => true,
                To::Local => false,
                To::Uplink(only) => only == name,
            };
            if wanted && queue.append(body.clone()).await.is_err() {
                debug!(uplink = %name, topic = message.topic, "message came after the queue was closed");
            }
        }
        if !matches!(to, To::Uplink(_)) {
            self.show(message);
        }
    }

    /// How many messages local clients did not get to see because they came too fast.
    pub fn local_dropped(&self) -> u64 {
        self.local_dropped.load(Ordering::Relaxed)
    }

    fn show(&self, message: Message) {
        let Some(local) = &self.local else { return };
        if let Err(mpsc::error::TrySendError::Full(_)) = local.try_send(message) {
            self.local_dropped.fetch_add(1, Ordering::Relaxed);
            if let Some(held_back) = self.slow_clients.lock().unwrap_or_else(PoisonError::into_inner).due() {
                warn!(
                    missed = held_back + 1,
                    "local clients read too slowly and miss messages; nothing is lost upstream"
                );
            }
        }
    }
}
