//! Everything that goes north goes through here: onto the disk for each uplink, and to the local
//! broker at once.
//!
//! Readings wait for room in a queue, for as long as it takes: an uplink that is told to block
//! holds the mapping up, and the drivers' ports count what then finds no room there. Everything
//! else (answers, health, what is bridged) waits a moment only, so that a queue that takes nothing
//! holds up nobody who has better things to do. When the gateway stops nothing waits any more, and
//! what finds no room is counted as lost; but what a local client has published, and waits to hear
//! was taken, is left to the client.

mod routes;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

pub use routes::{MOST_UPLINKS, Route, Routes};

use crate::mapping::{LinkFacts, Matcher};
use crate::message::Message;
use crate::queue::{Closed, LossReason, Queue};
use crate::seldom::Seldom;

/// How many messages may wait for the local broker. What does not fit is counted: local clients
/// see the present, the queues on disk keep the past.
pub const LOCAL_WAITING: usize = 4096;

/// How long what is no reading waits for room in a queue.
const PATIENCE: Duration = Duration::from_millis(100);

/// What becomes of a message that finds no room while the gateway stops.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AtStop {
    /// It is counted as lost.
    Lose,
    /// It is left to whoever has published it.
    Refuse,
}

/// Where a message is meant to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// Every uplink and the local broker.
    Everyone,
    /// These uplinks and the local broker.
    Some(Route),
    /// The local broker alone.
    Local,
    /// One uplink alone.
    Uplink(Arc<str>),
}

/// An uplink, as seen from here.
#[derive(Clone)]
pub struct Outlet {
    /// Its name in the site file.
    pub name: Arc<str>,
    /// Its queue.
    pub queue: Queue,
    /// What it takes.
    pub filter: Matcher,
}

/// The way north. Cheap to clone.
#[derive(Clone)]
pub struct North {
    uplinks: Arc<[Outlet]>,
    local: Option<mpsc::Sender<Message>>,
    local_dropped: Arc<AtomicU64>,
    slow_clients: Arc<Mutex<Seldom>>,
    tap: Option<mpsc::Sender<Message>>,
    no_waiting: CancellationToken,
}

impl North {
    /// The way to these uplinks' queues and, if there is one, to the local broker. `tap` sees a
    /// copy of what everyone sees, as far as it keeps up.
    pub fn new(uplinks: Vec<Outlet>, local: Option<mpsc::Sender<Message>>, tap: Option<mpsc::Sender<Message>>) -> Self {
        Self {
            uplinks: uplinks.into(),
            local,
            local_dropped: Arc::default(),
            slow_clients: Arc::default(),
            tap,
            no_waiting: CancellationToken::new(),
        }
    }

    /// The same way without local clients, for what they have already.
    #[must_use]
    pub fn upstream(&self) -> Self {
        Self { local: None, tap: None, ..self.clone() }
    }

    /// Which uplinks take what of a link.
    pub fn routes(&self, link: LinkFacts) -> Routes {
        Routes::new(self.uplinks.iter().map(|uplink| uplink.filter.clone()).collect(), link)
    }

    /// Sends what the gateway has to say. Waits for 100 ms per queue at most, and no longer than
    /// until [`North::stop_waiting`]; what finds no room by then is counted as lost by the queue.
    pub async fn publish(&self, message: Message, to: &To) {
        // What comes after a queue was closed has been told of.
        let _ = self.offer(message, to, PATIENCE, AtStop::Lose, |_, _| {}).await;
    }

    /// Sends what somebody has published who waits to hear that it was taken. With a patience of its own for a queue that is
    /// behind; one that is full until its uplink takes something is not worth it. `note` hears of each uplink it is for, by
    /// place, whether its queue has dropped it and why.
    ///
    /// # Errors
    /// The gateway stops, and a queue did not take it: it is closed, or has no room now. It is not counted, and whoever has
    /// published it has to keep it.
    pub async fn pass_on(
        &self,
        message: Message,
        to: &To,
        patience: Duration,
        note: impl FnMut(usize, Option<LossReason>) + Send,
    ) -> Result<(), Closed> {
        self.offer(message, to, patience, AtStop::Refuse, note).await
    }

    async fn offer(
        &self,
        message: Message,
        to: &To,
        patience: Duration,
        at_stop: AtStop,
        mut note: impl FnMut(usize, Option<LossReason>) + Send,
    ) -> Result<(), Closed> {
        self.tap(&message, to);
        let body = message.encode();
        let mut taken = Ok(());
        for (place, uplink) in self.uplinks.iter().enumerate() {
            if wanted(to, place, uplink) {
                let offered = tokio::select! {
                    biased;
                    offered = uplink.queue.offer(body.clone(), self.patience(uplink, patience, at_stop)) => offered,
                    () = self.no_waiting.cancelled(), if at_stop == AtStop::Refuse => Err(Closed),
                };
                match offered {
                    Ok(dropped) => note(place, dropped),
                    Err(closed) => {
                        came_late(uplink, &message);
                        taken = Err(closed);
                    }
                }
            }
        }
        self.show(message, to);
        taken
    }

    /// How long what is no reading waits for room.
    async fn patience(&self, uplink: &Outlet, patience: Duration, at_stop: AtStop) {
        let patience = if uplink.queue.counters().is_blocking { PATIENCE } else { patience };
        tokio::select! {
            biased;
            () = self.no_waiting.cancelled(), if at_stop == AtStop::Lose => {}
            () = tokio::time::sleep(patience) => {}
        }
    }

    /// Sends a reading. Waits for as long as a queue is told to block, which may be hours, and then
    /// has it put into words `again`, for the clock may have been set meanwhile.
    /// Returns which uplinks did not get it: none, until [`North::stop_waiting`]. The caller
    /// counts it there.
    pub async fn carry(&self, mut message: Message, route: Route, mut again: impl FnMut() -> Option<Message>) -> Route {
        let to = To::Some(route);
        self.tap(&message, &to);
        let mut body = message.encode();
        let mut without = Route::default();
        for (place, uplink) in self.uplinks.iter().enumerate().filter(|(place, _)| route.takes(*place)) {
            loop {
                // Where there is room it is taken, stopping or not.
                match uplink.queue.try_append(body.clone()) {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(Closed) => {
                        came_late(uplink, &message);
                        break;
                    }
                }
                tokio::select! {
                    biased;
                    () = self.no_waiting.cancelled() => {
                        without = without.and(place);
                        break;
                    }
                    () = uplink.queue.room() => {}
                }
                if let Some(newer) = again() {
                    body = newer.encode();
                    message = newer;
                }
            }
        }
        self.show(message, &to);
        without
    }

    /// Counts readings that were taken in that time and never became messages, at the queues of
    /// these uplinks.
    pub fn count_lost(&self, route: Route, count: u64, from: SystemTime, to: SystemTime) {
        for (place, uplink) in self.uplinks.iter().enumerate() {
            if route.takes(place) {
                uplink.queue.count_lost(count, LossReason::Blocked, from, to);
            }
        }
    }

    /// From now on nothing waits for room in a queue, because the gateway is stopping.
    pub fn stop_waiting(&self) {
        self.no_waiting.cancel();
    }

    /// How many messages local clients did not get to see because they came too fast.
    pub fn local_dropped(&self) -> u64 {
        self.local_dropped.load(Ordering::Relaxed)
    }

    /// Whoever only watches may miss something.
    fn tap(&self, message: &Message, to: &To) {
        if let (Some(tap), To::Everyone | To::Some(_)) = (&self.tap, to) {
            let _ = tap.try_send(message.clone());
        }
    }

    fn show(&self, message: Message, to: &To) {
        let Some(local) = self.local.as_ref().filter(|_| !matches!(to, To::Uplink(_))) else {
            return;
        };
        if let Err(mpsc::error::TrySendError::Full(_)) = local.try_send(message) {
            self.local_dropped.fetch_add(1, Ordering::Relaxed);
            if let Some(line) = self.slow_clients.lock().unwrap_or_else(PoisonError::into_inner).note(1) {
                warn!(missed = line.count, "local clients read too slowly and miss messages; nothing is lost upstream");
            }
        }
    }
}

fn wanted(to: &To, place: usize, uplink: &Outlet) -> bool {
    match to {
        To::Everyone => true,
        To::Some(route) => route.takes(place),
        To::Local => false,
        To::Uplink(only) => *only == uplink.name,
    }
}

fn came_late(uplink: &Outlet, message: &Message) {
    debug!(uplink = %uplink.name, topic = message.topic, "message came after the queue was closed");
}

#[cfg(test)]
mod tests;
