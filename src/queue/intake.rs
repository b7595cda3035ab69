//! What comes in: numbered, stamped, and taken in or counted as lost.

use std::pin::pin;
use std::time::SystemTime;

use bytes::Bytes;

use super::{Closed, LossReason, Queue};
use crate::clock::millis;

impl Queue {
    /// Numbers a record, stamps it and hands it over for the next commit. Waits while too many
    /// wait already; with [`WhenFull::Block`](super::WhenFull::Block), for as long as the queue is full. A body above
    /// [`MAX_BODY`](super::MAX_BODY) is dropped and counted.
    ///
    /// # Errors
    /// The queue is closed, and did not take the record.
    pub async fn append(&self, body: Bytes) -> Result<(), Closed> {
        let mut body = body;
        while let Some(back) = self.try_append(body)? {
            self.room().await;
            body = back;
        }
        Ok(())
    }

    /// Waits until there is room for a record, or the queue is closed. Others may be quicker to
    /// take it.
    pub(crate) async fn room(&self) {
        let shared = &self.inner.shared;
        loop {
            let mut room = pin!(shared.space.notified());
            room.as_mut().enable();
            {
                let state = shared.lock();
                if state.closing || state.has_room() {
                    return;
                }
            }
            room.await;
        }
    }

    /// Like [`Queue::append`], but waits no longer than until `patience` has come to its end: then
    /// the record is numbered, dropped and counted as [`LossReason::Full`]. Returns why it was dropped, if it was.
    ///
    /// # Errors
    /// The queue is closed, and did not take the record.
    pub async fn offer(&self, body: Bytes, patience: impl Future<Output = ()>) -> Result<Option<LossReason>, Closed> {
        let is_too_large = body.len() > self.inner.max_body;
        tokio::select! {
            // Looked at first, so that nothing is dropped while there is room.
            biased;
            outcome = self.append(body) => outcome.map(|()| is_too_large.then_some(LossReason::TooLarge)),
            () = patience => self.never_take_in(1, LossReason::Full, None).map(|()| Some(LossReason::Full)),
        }
    }

    /// Counts messages that were captured and could not even be handed in: they are numbered and
    /// dropped. `from` and `to` say when the first and the last of them were captured. A closed
    /// queue counts nothing.
    pub fn count_lost(&self, count: u64, reason: LossReason, from: SystemTime, to: SystemTime) {
        if count > 0 {
            let _ = self.never_take_in(count, reason, Some((millis(from), millis(to))));
        }
    }

    /// Like [`Queue::append`], but gives the body back if there is no room for it now.
    ///
    /// # Errors
    /// The queue is closed, and did not take the record.
    pub(crate) fn try_append(&self, body: Bytes) -> Result<Option<Bytes>, Closed> {
        let shared = &self.inner.shared;
        if body.len() > self.inner.max_body {
            return self.never_take_in(1, LossReason::TooLarge, None).map(|()| None);
        }
        let (mut state, captured_at) = shared.lock_now();
        if state.closing {
            return Err(Closed);
        }
        if !state.has_room() {
            return Ok(Some(body));
        }
        let wake = state.take_in(body, captured_at);
        drop(state);
        if wake {
            shared.wake.notify_one();
        }
        Ok(None)
    }

    fn never_take_in(&self, count: u64, reason: LossReason, times: Option<(u64, u64)>) -> Result<(), Closed> {
        let shared = &self.inner.shared;
        let (mut state, now) = shared.lock_now();
        if state.closing {
            return Err(Closed);
        }
        let wake = state.never_take_in(count, reason, times.unwrap_or((now, now)));
        drop(state);
        if wake {
            shared.wake.notify_one();
        }
        shared.lost.notify_waiters();
        // Somebody may be waiting for just these numbers.
        shared.committed.notify_waiters();
        Ok(())
    }
}
