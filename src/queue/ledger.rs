//! The ledger: what became of every number that was given. The one truth about it.
//!
//! Each message is given a number when it is captured, whether it is stored or not. A number is
//! finished when its message was acknowledged or dropped; the ledger holds the set of finished
//! numbers, and how many of them were dropped, by reason. All counts follow from that:
//!
//! - captured: the next number, less those passed over;
//! - acknowledged: those finished, less those dropped and those passed over;
//! - queued: those not finished.
//!
//! Numbers are *passed over* after a crash: those that were given to messages in memory, of which
//! nothing is on disk, and those that may have been given by a segment that cannot be read.
//! Nothing is known of such messages, and none of their numbers is given again.

use std::ops::Range;

use super::counters::Dropped;
use super::done::{Done, HIGHEST};
use super::eras::Eras;
use super::losses::{LossReason, Losses, MAX_UNTOLD};

/// The longest a ledger gets on disk, in bytes.
pub const MAX_ENCODED: usize = FIXED + MAX_UNTOLD * 49 + super::eras::MAX_ERAS * 33 + super::done::MAX_RANGES * 16;

/// Stands in the generation of a ledger that counts what has [expired](LossReason::Expired), too. Those of earlier
/// versions do not; as long as nothing has expired, they can read ours.
const COUNTS_EXPIRED: u64 = 1 << 63;

/// Bytes of what is always there: fourteen numbers, the head of the losses, the head of the eras,
/// the cursor of the set.
const FIXED: usize = 14 * 8 + 11 + 2 + 8;

/// What became of every number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// Counts the times it was saved: of several on disk, the highest is the newest.
    pub generation: u64,
    /// The number the next captured message gets.
    pub next: u64,
    /// When it was saved, everything below this number was on disk or finished. Only recovery
    /// looks at it.
    pub settled: u64,
    /// How many of the finished numbers were passed over.
    pub passed_over: u64,
    /// How many of the finished numbers were dropped.
    pub dropped: Dropped,
    /// Losses not yet told upstream.
    pub untold: Losses,
    /// Under which clock the records were stamped.
    pub eras: Eras,
    /// The finished numbers.
    pub done: Done,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            generation: 0,
            next: 0,
            settled: 0,
            passed_over: 0,
            dropped: Dropped::default(),
            untold: Losses::new(MAX_UNTOLD),
            eras: Eras::default(),
            done: Done::default(),
        }
    }
}

impl Ledger {
    /// Messages that were captured.
    pub fn captured(&self) -> u64 {
        self.next.saturating_sub(self.passed_over)
    }

    /// Messages that were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.done.len().saturating_sub(self.dropped.total()).saturating_sub(self.passed_over)
    }

    /// Messages that are neither acknowledged nor dropped.
    pub fn queued(&self) -> u64 {
        self.next.saturating_sub(self.done.len())
    }

    /// Drops those of `seqs` that are not finished, and returns how many there were. The times are
    /// those of the first and the last of them, in milliseconds since 1970.
    pub fn lose(&mut self, seqs: Range<u64>, reason: LossReason, times: (u64, u64)) -> Option<Lost> {
        let first = self.done.first_open(seqs.start);
        let last = seqs.end.saturating_sub(1);
        let count = self.done.insert(seqs);
        if count == 0 {
            return None;
        }
        *self.dropped.of_mut(reason) += count;
        self.untold.note(reason, (first, last), count, times);
        Some(Lost { first, last, count })
    }

    /// Passes over those of `seqs` that are not finished.
    pub fn pass_over(&mut self, seqs: Range<u64>) {
        self.passed_over += self.done.insert(seqs);
    }

    /// Appends the ledger, as the next generation of it. Everything below `settled` is on disk
    /// or finished.
    pub fn encode(&mut self, settled: u64, out: &mut Vec<u8>) {
        self.generation += 1;
        self.settled = settled;
        let has_expired = self.dropped.expired > 0;
        let generation = self.generation | if has_expired { COUNTS_EXPIRED } else { 0 };
        for number in [generation, self.next, self.settled, self.passed_over] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for reason in counted(has_expired) {
            out.extend_from_slice(&self.dropped.of(reason).to_le_bytes());
        }
        self.untold.encode(out);
        self.eras.encode(out);
        self.done.encode(out);
    }

    /// Reads what [`Ledger::encode`] wrote. `None` if it makes no sense.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let mut number = || {
            let (number, tail) = rest.split_first_chunk::<8>()?;
            rest = tail;
            Some(u64::from_le_bytes(*number))
        };
        let (generation, next, settled, passed_over) = (number()?, number()?, number()?, number()?);
        let (has_expired, generation) = (generation & COUNTS_EXPIRED != 0, generation & !COUNTS_EXPIRED);
        let mut dropped = Dropped::default();
        for reason in counted(has_expired) {
            *dropped.of_mut(reason) = number()?;
        }
        let (untold, rest) = Losses::decode(rest, MAX_UNTOLD)?;
        let (eras, rest) = Eras::decode(rest)?;
        let done = Done::decode(rest)?;
        let counted = dropped.total().checked_add(passed_over)?;
        let sound = next <= HIGHEST
            && eras.begin_of_last() <= next
            && generation <= HIGHEST
            && done.end() <= next
            && settled <= next
            && counted <= done.len();
        sound.then_some(Self { generation, next, settled, passed_over, dropped, untold, eras, done })
    }
}

/// The reasons by which a ledger counts, in order.
fn counted(has_expired: bool) -> impl Iterator<Item = LossReason> {
    LossReason::ALL.into_iter().filter(move |reason| has_expired || *reason != LossReason::Expired)
}

/// What was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The first number.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// How many in between, with both ends, were dropped now.
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::super::done::MAX_RANGES;
    use super::super::eras::MAX_ERAS;
    use super::*;
    use crate::clock::{BootId, Stamp};

    /// As large as a ledger gets.
    fn largest() -> Ledger {
        let mut ledger = Ledger { next: 10_000_000, passed_over: 0, ..Ledger::default() };
        for n in 1..=MAX_RANGES as u64 {
            ledger.done.insert(3 * n..3 * n + 1);
        }
        for n in 0..MAX_ERAS as u64 {
            ledger.eras.observe(100 * n, 0, BootId([n as u8; 16]), Stamp { wall: n, boot: 0 }, || true);
        }
        for n in 0..MAX_UNTOLD as u64 {
            ledger.lose(100 * n..100 * n + 1, LossReason::ALL[(n % 10) as usize], (n, n));
        }
        ledger
    }

    #[test]
    fn the_largest_ledger_comes_back_as_it_was() {
        let mut ledger = largest();
        let mut bytes = Vec::new();
        ledger.encode(9_000_000, &mut bytes);
        assert!(bytes.len() <= MAX_ENCODED, "{}", bytes.len());
        let read = Ledger::decode(&bytes).unwrap();
        assert_eq!(read.done, ledger.done);
        assert_eq!(read.untold, ledger.untold);
        assert_eq!(
            (read.next, read.settled, read.generation, read.dropped),
            (10_000_000, 9_000_000, 1, ledger.dropped)
        );
        assert_eq!(read.captured(), read.acknowledged() + read.queued() + read.dropped.total());
    }

    #[test]
    fn a_ledger_without_anything_expired_is_as_it_was_before_that_was_counted() {
        let mut ledger = Ledger { next: 10, ..Ledger::default() };
        ledger.lose(0..2, LossReason::Crash, (1, 2));
        let mut before = Vec::new();
        ledger.encode(5, &mut before);
        // Four numbers, nine reasons, the head of the losses.
        assert_eq!(before.len(), 13 * 8 + 11 + 49 + 2 + 8, "as earlier versions wrote it");
        assert_eq!(before[..8], 1_u64.to_le_bytes());
        ledger.lose(2..5, LossReason::Expired, (3, 4));
        let mut after = Vec::new();
        ledger.encode(5, &mut after);
        for (bytes, expired) in [(&before, 0), (&after, 3)] {
            let read = Ledger::decode(bytes).unwrap();
            assert_eq!((read.dropped.crash, read.dropped.expired), (2, expired));
        }
        assert_eq!(Ledger::decode(&after), Some(ledger));
    }

    #[test]
    fn a_ledger_that_contradicts_itself_is_none() {
        let bytes = |change: fn(&mut Ledger)| {
            let mut ledger = largest();
            change(&mut ledger);
            let mut bytes = Vec::new();
            ledger.encode(0, &mut bytes);
            bytes
        };
        assert!(Ledger::decode(&bytes(|_| ())).is_some());
        assert!(Ledger::decode(&bytes(|ledger| ledger.next = 7)).is_none());
        assert!(Ledger::decode(&bytes(|ledger| ledger.next = u64::MAX)).is_none());
        assert!(Ledger::decode(&bytes(|ledger| ledger.dropped.age = 1 << 40)).is_none());
        assert!(Ledger::decode(&bytes(|ledger| ledger.passed_over = u64::MAX)).is_none());
        let whole = bytes(|_| ());
        for len in (0..400).chain((400..whole.len()).step_by(9973)) {
            assert!(Ledger::decode(&whole[..len]).is_none_or(|read| read.done != largest().done));
        }
    }
}
