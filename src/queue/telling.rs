//! What was lost: told to whoever asks, and to the broker upstream until it says that it knows.

use std::pin::pin;
use std::time::Duration;

use tokio::time::Instant;

use super::{Loss, LossId, Queue};

/// How long a loss waits for the disk before it is told without.
const PATIENCE: Duration = Duration::from_secs(2);

impl Queue {
    /// The oldest loss that was not yet told upstream; waits for one. From now on it does not
    /// change, and it stays the oldest, over restarts as well, until [`Queue::loss_told`]: it is
    /// returned when the ledger on disk knows it as it is, or when the disk takes too long to say
    /// so. `None` once the queue is closed.
    pub async fn next_loss(&self) -> Option<Loss> {
        let shared = &self.inner.shared;
        let mut give_up = None;
        loop {
            let (mut lost, mut saved) = (pin!(shared.lost.notified()), pin!(shared.saved.notified()));
            lost.as_mut().enable();
            saved.as_mut().enable();
            {
                let mut state = shared.lock();
                if state.closing {
                    return None;
                }
                match state.loss_to_tell() {
                    Some((loss, on_disk)) => {
                        let now = Instant::now();
                        if on_disk || *give_up.get_or_insert(now + PATIENCE) <= now {
                            return Some(loss);
                        }
                        shared.wake.notify_one();
                    }
                    None => give_up = None,
                }
            }
            tokio::select! {
                () = lost => {}
                () = saved => {}
                () = at(give_up) => {}
            }
        }
    }

    /// The broker has acknowledged the report of that loss: it is told, and forgotten with the
    /// next commit.
    pub fn loss_told(&self, id: LossId) {
        let shared = &self.inner.shared;
        let mut state = shared.lock();
        if state.ledger.untold.told(id) && state.changed() {
            drop(state);
            shared.wake.notify_one();
        }
    }

    /// What was dropped since this was last asked, without waiting.
    pub fn fresh_losses(&self) -> Vec<Loss> {
        let mut state = self.inner.shared.lock();
        let mut losses = state.fresh.take();
        losses.iter_mut().for_each(|loss| loss.put_right(&state.ledger.eras));
        losses
    }

    /// What was dropped since this was last asked, for the log and for local clients; waits until
    /// something is. Losses of one reason that follow each other come as one. Not kept over
    /// restarts. Empty once the queue is closed and all is told.
    pub async fn next_losses(&self) -> Vec<Loss> {
        let shared = &self.inner.shared;
        loop {
            let mut lost = pin!(shared.lost.notified());
            lost.as_mut().enable();
            // Asked for first: what the writer loses at its very end is seen after that.
            let ended = shared.lock().ended;
            let losses = self.fresh_losses();
            if !losses.is_empty() || ended {
                return losses;
            }
            lost.await;
        }
    }
}

/// Comes at that moment, or never.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
