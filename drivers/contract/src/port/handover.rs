//! How events reach the gateway without a driver ever waiting long for it.
//!
//! Readings go through a bounded channel. While it is full for a moment, because many came at
//! once, the driver waits for room. When that takes longer than [`PATIENCE`] the gateway is
//! stalled, and from then on a reading that finds no room is dropped and counted as an
//! [`Overrun`], at once: a stall of hours costs a driver one short wait, and polling keeps its
//! rhythm.
//!
//! That a device answers or does not is a state and no sample: what counts is the newest word, and
//! it must not get lost. So it never waits and is never dropped for want of room; the newest of
//! each device is kept aside and handed over as soon as there is room.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use super::{Event, LinkEvent};
use crate::{DeviceId, LinkId};

/// How long a driver waits for room, once per stall.
pub const PATIENCE: Duration = Duration::from_millis(50);

/// Of how many devices the newest word is kept aside. No protocol here has as many on one link;
/// what does not fit is counted as an overrun.
pub const DEVICES_KEPT: usize = 1024;

/// Readings a link had and the gateway did not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overrun {
    /// How many.
    pub count: u64,
    /// When the earliest of them was taken.
    pub from: SystemTime,
    /// When the latest of them was taken.
    pub to: SystemTime,
}

impl Overrun {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let (from, to) = (self.from.min(other.from), self.to.max(other.to));
        Self { count: self.count.saturating_add(other.count), from, to }
    }
}

/// The driver's side.
#[derive(Debug)]
pub(super) struct Handover {
    link: LinkId,
    events: mpsc::Sender<LinkEvent>,
    shared: Arc<Shared>,
}

/// What a link's port had to drop, as the gateway sees it.
#[derive(Clone, Debug)]
pub struct Overruns(Arc<Shared>);

/// Brings what was kept aside to the gateway when there is room again, whether or not the driver
/// has anything new to say.
#[derive(Debug)]
pub struct LateNews {
    events: mpsc::Sender<LinkEvent>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Rung when something is kept aside.
    kept: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// A reading has waited for room in vain, and the channel has not been half empty since. With
    /// a gateway that takes one event now and then, each of them would cost a wait otherwise.
    stalled: bool,
    /// The newest word on each device that found no room, in the order they are to be told.
    aside: VecDeque<(DeviceId, LinkEvent)>,
    /// What was dropped since somebody last asked.
    untold: Option<Overrun>,
    dropped: u64,
}

impl Handover {
    pub(super) fn new(link: LinkId, events: mpsc::Sender<LinkEvent>) -> Self {
        Self { link, events, shared: Arc::default() }
    }

    pub(super) fn link(&self) -> &LinkId {
        &self.link
    }

    pub(super) fn overruns(&self) -> Overruns {
        Overruns(self.shared.clone())
    }

    pub(super) fn late_news(&self) -> LateNews {
        LateNews { events: self.events.clone(), shared: self.shared.clone() }
    }

    pub(super) async fn emit(&self, event: Event) {
        let taken_at = match &event {
            Event::Reading(reading) => reading.taken_at,
            Event::Device { device, .. } | Event::Renamed { from: device, .. } => {
                return self.tell(device.clone(), self.with_link(event));
            }
        };
        self.shared.hand_over_aside(&self.events);
        match self.room().await {
            Some(room) => room.send(self.with_link(event)),
            None => self.shared.lock().drop_one(taken_at),
        }
    }

    /// Room for one reading, if there is any soon enough.
    async fn room(&self) -> Option<mpsc::Permit<'_, LinkEvent>> {
        let half_empty = self.events.capacity() * 2 >= self.events.max_capacity();
        let may_wait = {
            let mut state = self.shared.lock();
            state.stalled &= !half_empty;
            !state.stalled
        };
        match self.events.try_reserve() {
            Ok(room) => return Some(room),
            Err(mpsc::error::TrySendError::Full(())) if may_wait => {}
            // Full for longer, or no one takes anything any more: the gateway is stopping.
            Err(_) => return None,
        }
        match timeout(PATIENCE, self.events.reserve()).await {
            Ok(room) => room.ok(),
            Err(_) => {
                self.shared.lock().stalled = true;
                None
            }
        }
    }

    /// Says how a device is, now or as soon as there is room.
    fn tell(&self, device: DeviceId, event: LinkEvent) {
        let mut state = self.shared.lock();
        let event = match state.aside.is_empty() {
            true => match self.events.try_send(event) {
                Err(mpsc::error::TrySendError::Full(event)) => event,
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => return,
            },
            // What was said before is told before.
            false => event,
        };
        state.keep(device, event);
        drop(state);
        self.shared.kept.notify_one();
    }

    fn with_link(&self, event: Event) -> LinkEvent {
        LinkEvent { link: self.link.clone(), event }
    }
}

impl Overruns {
    /// What was dropped since this was last asked.
    pub fn take(&self) -> Option<Overrun> {
        self.0.lock().untold.take()
    }

    /// How many were dropped since the start.
    pub fn total(&self) -> u64 {
        self.0.lock().dropped
    }
}

impl LateNews {
    /// Runs for as long as it is let. Safe to drop: nothing is taken that is not handed over.
    pub async fn deliver(&self) -> Infallible {
        loop {
            self.shared.kept.notified().await;
            while !self.shared.lock().aside.is_empty() {
                let Ok(room) = self.events.reserve().await else { return std::future::pending().await };
                // Sent under the lock, so that no newer word on the same device overtakes it.
                let mut state = self.shared.lock();
                if let Some((_, event)) = state.aside.pop_front() {
                    room.send(event);
                }
            }
        }
    }

    /// Hands over what there is room for, and does not wait.
    pub fn hand_over(&self) {
        self.shared.hand_over_aside(&self.events);
    }
}

impl Shared {
    /// A panic under the lock is a defect; going on with what is there beats stopping.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand_over_aside(&self, events: &mpsc::Sender<LinkEvent>) {
        let mut state = self.lock();
        while !state.aside.is_empty()
            && let Ok(room) = events.try_reserve()
            && let Some((_, event)) = state.aside.pop_front()
        {
            room.send(event);
        }
    }
}

impl State {
    fn keep(&mut self, device: DeviceId, event: LinkEvent) {
        if let Some((_, older)) = self.aside.iter_mut().find(|(known, _)| *known == device) {
            *older = event;
        } else if self.aside.len() < DEVICES_KEPT {
            self.aside.push_back((device, event));
        } else {
            self.drop_one(SystemTime::now());
        }
    }

    fn drop_one(&mut self, taken_at: SystemTime) {
        let one = Overrun { count: 1, from: taken_at, to: taken_at };
        self.untold = Some(self.untold.map_or(one, |untold| untold.and(one)));
        self.dropped = self.dropped.saturating_add(1);
    }
}

#[cfg(test)]
mod tests;
