//! What was dropped, how many, from when to when, and why: kept until somebody asks.

use std::collections::VecDeque;
use std::time::SystemTime;

use super::Seq;
use super::clock::time;

/// How many losses wait to be asked for. More are merged: the counts stay right, the ranges of
/// those that were merged become wider.
const MAX_WAITING: usize = 256;

/// Why records were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LossReason {
    /// The queue or the disk was full.
    Full,
    /// Older than the queue's `max_age`.
    Age,
    /// What was read back is not what was written, or a file was missing.
    Damaged,
    /// The body was above the limit, and never stored; or it is more than the broker takes.
    TooLarge,
    /// The broker refused it.
    Refused,
    /// The disk refused to store it, and not for want of space.
    Unwritable,
}

impl LossReason {
    /// As it stands in payloads: `full`, `too_large`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Age => "age",
            Self::Damaged => "damaged",
            Self::TooLarge => "too_large",
            Self::Refused => "refused",
            Self::Unwritable => "unwritable",
        }
    }
}

/// Records that were dropped for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The first of them. For records that were never stored: the place they would have had,
    /// which the next stored record takes.
    pub first: Seq,
    /// The last of them; in between there may be others that were not dropped.
    pub last: Seq,
    /// How many.
    pub count: u64,
    /// Why.
    pub reason: LossReason,
    /// When the earliest was captured, as far as that is known.
    pub from: SystemTime,
    /// When the latest was captured, as far as that is known.
    pub to: SystemTime,
}

/// Losses waiting to be asked for, oldest first.
#[derive(Debug, Default)]
pub struct Losses {
    waiting: VecDeque<Loss>,
}

impl Losses {
    /// Notes a loss. Times are milliseconds since 1970.
    pub fn note(&mut self, reason: LossReason, seqs: (u64, u64), count: u64, times: (u64, u64)) {
        let loss = Loss {
            first: Seq(seqs.0),
            last: Seq(seqs.1),
            count,
            reason,
            from: time(times.0.min(times.1)),
            to: time(times.0.max(times.1)),
        };
        let full = self.waiting.len() >= MAX_WAITING;
        let same = self.waiting.iter_mut().rev().find(|known| known.reason == reason);
        match same {
            Some(known) if full || touches(known, &loss) => join(known, &loss),
            _ => self.waiting.push_back(loss),
        }
    }

    /// Takes everything that waits.
    pub fn take(&mut self) -> Vec<Loss> {
        self.waiting.drain(..).collect()
    }
}

fn touches(known: &Loss, new: &Loss) -> bool {
    new.first.0 <= known.last.0.saturating_add(1) && new.last.0 >= known.first.0
}

fn join(known: &mut Loss, new: &Loss) {
    known.first = known.first.min(new.first);
    known.last = known.last.max(new.last);
    known.count += new.count;
    known.from = known.from.min(new.from);
    known.to = known.to.max(new.to);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_with_one_reason_become_one_loss() {
        let mut losses = Losses::default();
        losses.note(LossReason::Full, (0, 9), 10, (100, 200));
        losses.note(LossReason::Full, (10, 19), 10, (200, 300));
        losses.note(LossReason::Age, (20, 20), 1, (300, 300));
        losses.note(LossReason::Full, (30, 30), 1, (400, 400));
        let counts: Vec<_> = losses.take().iter().map(|l| (l.first.0, l.last.0, l.count, l.from, l.to)).collect();
        assert_eq!(
            counts,
            [(0, 19, 20, time(100), time(300)), (20, 20, 1, time(300), time(300)), (30, 30, 1, time(400), time(400))]
        );
        assert!(losses.take().is_empty());
    }

    #[test]
    fn records_that_were_never_stored_share_a_place_and_are_counted() {
        let mut losses = Losses::default();
        for _ in 0..5 {
            losses.note(LossReason::TooLarge, (7, 7), 1, (1, 1));
        }
        assert_eq!(losses.take().iter().map(|loss| loss.count).collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn the_list_is_bounded_and_no_count_is_forgotten() {
        let mut losses = Losses::default();
        for n in 0..10_000 {
            losses.note(LossReason::Damaged, (10 * n, 10 * n), 1, (n, n));
        }
        let taken = losses.take();
        assert_eq!(taken.len(), MAX_WAITING);
        assert_eq!(taken.iter().map(|loss| loss.count).sum::<u64>(), 10_000);
    }
}
