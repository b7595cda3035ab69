//! What is counted at the doors: who is there, and what passes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value as Json, json};
use tokio::sync::watch;

/// The counts of every door together, since the start.
#[derive(Debug)]
pub struct Tally {
    attached: watch::Sender<usize>,
    lines_in: AtomicU64,
    lines_out: AtomicU64,
    not_taken: AtomicU64,
    dropped: AtomicU64,
    refused: AtomicU64,
}

/// A controller that is there, until this is dropped.
#[derive(Debug)]
pub struct Attached(Arc<Tally>);

impl Tally {
    /// Nobody has come yet.
    pub fn new() -> Arc<Self> {
        let [lines_in, lines_out, not_taken, dropped, refused] = Default::default();
        Arc::new(Self { attached: watch::Sender::new(0), lines_in, lines_out, not_taken, dropped, refused })
    }

    /// A controller has come.
    pub fn attach(self: &Arc<Self>) -> Attached {
        self.attached.send_modify(|count| *count += 1);
        Attached(self.clone())
    }

    /// How many are there, now and from now on.
    pub fn attached(&self) -> watch::Receiver<usize> {
        self.attached.subscribe()
    }

    /// Lines came from a controller.
    pub fn heard(&self, lines: usize) {
        self.lines_in.fetch_add(lines as u64, Ordering::Relaxed);
    }

    /// Lines went to a controller.
    pub fn said(&self, lines: usize) {
        self.lines_out.fetch_add(lines as u64, Ordering::Relaxed);
    }

    /// A line of a controller was not taken: it made no sense, or too many of its messages were under way.
    pub fn not_taken(&self) {
        self.not_taken.fetch_add(1, Ordering::Relaxed);
    }

    /// A controller was dropped that did not read.
    pub fn dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// A controller was sent away.
    pub fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// All of it, by name.
    pub fn to_json(&self) -> Json {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        json!({
            "attached": *self.attached.borrow(),
            "lines_in": read(&self.lines_in),
            "lines_out": read(&self.lines_out),
            "not_taken": read(&self.not_taken),
            "dropped": read(&self.dropped),
            "refused": read(&self.refused),
        })
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.0.attached.send_modify(|count| *count = count.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_gone_is_not_there_any_more_however_that_came() {
        let tally = Tally::new();
        let seen = tally.attached();
        let (one, other) = (tally.attach(), tally.attach());
        assert_eq!(*seen.borrow(), 2);
        drop(one);
        tally.dropped();
        assert_eq!((*seen.borrow(), &tally.to_json()["dropped"]), (1, &Json::from(1)));
        drop(other);
        assert_eq!(*seen.borrow(), 0);
    }
}
