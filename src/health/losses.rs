//! Tells what a queue had to drop: the log, and local clients. This is the one place that does, so
//! that a loss is one line and not one for each part that had a hand in it. The broker upstream is
//! told by the uplink itself.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::loss_payload;
use crate::message::Message;
use crate::north::{North, To};
use crate::queue::{Loss, LossReason, Queue};
use crate::seldom::{Line, Place, Seldom};
use crate::topics::Topics;

/// At most this often a queue's losses are looked at.
const INTERVAL: Duration = Duration::from_secs(10);

/// Logs what a queue had to drop and shows it to local clients, until `stop`; then what is left is
/// told as well. For the last words to be complete, the queue is closed before.
pub async fn watch_losses(uplink: &str, queue: Queue, north: North, topics: Topics, stop: CancellationToken) {
    let mut log = LossLog::new(uplink);
    let tell = async |losses: &[Loss]| {
        for loss in losses {
            north.publish(Message::new(topics.loss(), loss_payload(uplink, loss)).json(), &To::Local).await;
        }
    };
    loop {
        tokio::select! {
            losses = queue.next_losses() => {
                log.note(&losses);
                tell(&losses).await;
            }
            () = sleep(INTERVAL) => {}
            () = stop.cancelled() => break,
        }
        log.look();
        tokio::select! {
            () = sleep(INTERVAL) => {}
            () = stop.cancelled() => break,
        }
    }
    let left = queue.fresh_losses();
    log.note(&left);
    tell(&left).await;
    log.rest();
}

/// The log lines about one queue's losses: for each reason the first at once, summaries that become
/// rarer, and one when it is over.
struct LossLog<'u> {
    uplink: &'u str,
    reasons: [(LossReason, Seldom); LossReason::ALL.len()],
}

impl<'u> LossLog<'u> {
    fn new(uplink: &'u str) -> Self {
        Self { uplink, reasons: LossReason::ALL.map(|reason| (reason, Seldom::default())) }
    }

    /// These have come.
    fn note(&mut self, losses: &[Loss]) {
        for (reason, seldom) in &mut self.reasons {
            let of_this = || losses.iter().filter(|loss| loss.reason == *reason);
            let (Some(first), Some(last)) = (of_this().map(|l| l.first).min(), of_this().map(|l| l.last).max()) else {
                continue;
            };
            if matches!(reason, LossReason::Purged | LossReason::Expired) {
                // It is what somebody wanted: who emptied the queue was told, and it is in the log; who published
                // what has expired has said when it would.
                continue;
            }
            let count = of_this().fold(0_u64, |sum, loss| sum.saturating_add(loss.count));
            match seldom.note(count) {
                Some(line) if line.place == Place::First => error!(
                    uplink = self.uplink, count = line.count, reason = reason.as_str(), %first, %last,
                    "messages lost: {}", words(*reason)
                ),
                Some(line) => summary(self.uplink, *reason, line),
                None => {}
            }
        }
    }

    /// Time has passed.
    fn look(&mut self) {
        for (reason, seldom) in &mut self.reasons {
            seldom.look().into_iter().for_each(|line| summary(self.uplink, *reason, line));
        }
    }

    /// Nothing more will come.
    fn rest(&mut self) {
        for (reason, seldom) in &mut self.reasons {
            seldom.rest().into_iter().for_each(|line| summary(self.uplink, *reason, line));
        }
    }
}

/// A line that stands for several losses.
fn summary(uplink: &str, reason: LossReason, line: Line) {
    let (Line { place, count, total, lasting }, words) = (line, words(reason));
    let (reason, lasting_secs) = (reason.as_str(), lasting.as_secs());
    match place {
        Place::First | Place::Still => {
            error!(uplink, count, total, lasting_secs, reason, "messages go on being lost: {words}");
        }
        // All of it has been told, and there is no more to come.
        Place::Over if count == 0 => {
            info!(uplink, total, lasting_secs, reason, "no more messages are being lost: {words}");
        }
        Place::Over => error!(uplink, count, total, lasting_secs, reason, "messages lost until now: {words}"),
    }
}

/// A reason in words.
fn words(reason: LossReason) -> &'static str {
    match reason {
        LossReason::Full => "the queue or the disk is full",
        LossReason::Age => "they are older than max_age",
        LossReason::Damaged => "what is on disk is damaged or missing",
        LossReason::TooLarge => "they are too large",
        LossReason::Refused => "the broker refuses them",
        LossReason::Unwritable => "the disk does not take them",
        LossReason::Blocked => "nothing took them while the gateway was behind",
        LossReason::Purged => "somebody emptied the queue",
        LossReason::Expired => "they were not worth delivering any more, as their publisher had said",
        LossReason::Crash => "they were captured, and not yet on disk when the gateway was cut off",
    }
}

#[cfg(test)]
mod tests;
