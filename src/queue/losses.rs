//! What was dropped, how many, from when to when, and why: kept until somebody asks.
//!
//! There are two lists. One is for the log and for local clients; it lives in memory and is taken
//! as a whole. The other is for the broker upstream; it lives in the ledger, and a loss leaves it
//! when its report has been acknowledged.

use std::collections::VecDeque;
use std::time::SystemTime;

use super::Seq;
use super::eras::Eras;
use crate::clock::{CLOCK_WAS_SET, Correction, millis, time};

/// How many losses wait to be asked for. More are merged: the counts stay right, the ranges of
/// those that were merged become wider.
pub const MAX_FRESH: usize = 256;

/// How many losses wait to be told upstream; beyond that they are merged as well. More than
/// twice as many as there are reasons, so two of a kind can always be found.
pub const MAX_UNTOLD: usize = 64;

/// Bytes of a loss on disk.
const ENCODED: usize = 49;

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
    /// It could not be handed in, because the queue blocks when it is full.
    Blocked,
    /// Somebody emptied the queue.
    Purged,
    /// It was captured, and in memory alone when the process was killed or the power failed.
    Crash,
    /// It was not worth delivering any more, as whoever published it had said.
    Expired,
}

impl LossReason {
    /// All of them, in the order in which the ledger counts them.
    pub const ALL: [Self; 10] = [
        Self::Full,
        Self::Age,
        Self::Damaged,
        Self::TooLarge,
        Self::Refused,
        Self::Unwritable,
        Self::Blocked,
        Self::Purged,
        Self::Crash,
        Self::Expired,
    ];

    /// As it stands in payloads: `full`, `too_large`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Age => "age",
            Self::Damaged => "damaged",
            Self::TooLarge => "too_large",
            Self::Refused => "refused",
            Self::Unwritable => "unwritable",
            Self::Blocked => "blocked",
            Self::Purged => "purged",
            Self::Crash => "crash",
            Self::Expired => "expired",
        }
    }
}

/// Which loss; never given twice by one queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LossId(u64);

impl LossId {
    /// As a number.
    pub fn get(self) -> u64 {
        self.0
    }
}

/// Records that were dropped for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Which.
    pub id: LossId,
    /// The first of them.
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

impl Loss {
    /// Corrects times that a clock showed before it was set.
    pub(super) fn put_right(&mut self, eras: &Eras) {
        for (seq, at) in [(self.first, &mut self.from), (self.last, &mut self.to)] {
            let shown = millis(*at);
            if shown < CLOCK_WAS_SET
                && let Correction::By(by) = eras.correction(seq.0, shown)
            {
                *at = time(shown.saturating_add_signed(by));
            }
        }
    }
}

/// Losses waiting to be asked for, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Losses {
    waiting: VecDeque<Loss>,
    most: usize,
    /// The oldest is being told, so it must not change any more.
    frozen: bool,
    next_id: u64,
}

impl Losses {
    /// An empty list of at most `most` losses.
    pub fn new(most: usize) -> Self {
        Self { waiting: VecDeque::new(), most, frozen: false, next_id: 1 }
    }

    /// Notes a loss: the first and the last number, how many, and when the first and the last were
    /// captured, in milliseconds since 1970.
    pub fn note(&mut self, reason: LossReason, seqs: (u64, u64), count: u64, times: (u64, u64)) {
        let loss = Loss {
            id: LossId(self.next_id),
            first: Seq(seqs.0),
            last: Seq(seqs.1),
            count,
            reason,
            from: time(times.0.min(times.1)),
            to: time(times.0.max(times.1)),
        };
        let full = self.waiting.len() >= self.most;
        let frozen = usize::from(self.frozen);
        let same = self.waiting.iter_mut().skip(frozen).filter(|known| known.reason == reason);
        match same.min_by_key(|known| distance(known, &loss)) {
            Some(known) if full || distance(known, &loss) <= 1 => join(known, &loss),
            _ => {
                if full {
                    self.join_neighbours();
                }
                self.next_id += 1;
                self.waiting.push_back(loss);
            }
        }
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What waits, oldest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Loss> {
        self.waiting.iter()
    }

    /// Takes everything that waits.
    pub fn take(&mut self) -> Vec<Loss> {
        self.waiting.drain(..).collect()
    }

    /// The oldest, which does not change from now on, and whether it might have until now. Before
    /// that, its times are put right as far as they can be.
    pub fn freeze_oldest(&mut self, eras: &Eras) -> Option<(Loss, bool)> {
        let oldest = self.waiting.front_mut()?;
        let is_news = !std::mem::replace(&mut self.frozen, true);
        if is_news {
            oldest.put_right(eras);
        }
        Some((oldest.clone(), is_news))
    }

    /// Forgets that one. Returns whether it was known.
    pub fn told(&mut self, id: LossId) -> bool {
        let Some(at) = self.waiting.iter().position(|loss| loss.id == id) else { return false };
        self.waiting.remove(at);
        if at == 0 {
            self.frozen = false;
        }
        true
    }

    /// Makes one loss of the two of one reason that lie closest together.
    fn join_neighbours(&mut self) {
        let free = usize::from(self.frozen)..self.waiting.len();
        let pairs = free.clone().flat_map(|a| (a + 1..free.end).map(move |b| (a, b)));
        let closest = pairs
            .filter(|(a, b)| self.waiting[*a].reason == self.waiting[*b].reason)
            .min_by_key(|(a, b)| distance(&self.waiting[*a], &self.waiting[*b]));
        if let Some((a, b)) = closest
            && let Some(loss) = self.waiting.remove(b)
        {
            join(&mut self.waiting[a], &loss);
        }
    }

    /// Appends the list: the next id (u64), whether the oldest is being told (u8), how many losses
    /// (u16), then 49 bytes each.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.next_id.to_le_bytes());
        out.push(u8::from(self.frozen));
        out.extend_from_slice(&(self.waiting.len() as u16).to_le_bytes());
        for loss in &self.waiting {
            let (from, to) = (millis(loss.from), millis(loss.to));
            for number in [loss.id.0, loss.first.0, loss.last.0, loss.count, from, to] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            out.push(loss.reason as u8);
        }
    }

    /// Reads what [`Losses::encode`] wrote, and says what follows. `None` if it makes no sense.
    pub fn decode(bytes: &[u8], most: usize) -> Option<(Self, &[u8])> {
        let (next_id, rest) = bytes.split_first_chunk::<8>()?;
        let ([frozen], rest) = rest.split_first_chunk::<1>()?;
        let (count, rest) = rest.split_first_chunk::<2>()?;
        let count = usize::from(u16::from_le_bytes(*count));
        let (losses, rest) = rest.split_at_checked(count * ENCODED)?;
        let waiting: VecDeque<Loss> = losses.as_chunks::<ENCODED>().0.iter().map(decode_one).collect::<Option<_>>()?;
        let next_id = u64::from_le_bytes(*next_id);
        let known = next_id <= u64::MAX / 2 && waiting.len() <= most && waiting.iter().all(|loss| loss.id.0 < next_id);
        let frozen = *frozen == 1 && !waiting.is_empty();
        known.then_some((Self { waiting, most, frozen, next_id }, rest))
    }
}

fn decode_one(bytes: &[u8; ENCODED]) -> Option<Loss> {
    let number = |at: usize| bytes[8 * at..].first_chunk::<8>().map_or(0, |number| u64::from_le_bytes(*number));
    Some(Loss {
        id: LossId(number(0)),
        first: Seq(number(1)),
        last: Seq(number(2)),
        count: number(3),
        reason: *LossReason::ALL.get(usize::from(bytes[48]))?,
        from: time(number(4)),
        to: time(number(5)),
    })
}

/// How far apart the numbers of two losses are: 0 if they overlap, 1 if they touch.
fn distance(a: &Loss, b: &Loss) -> u64 {
    b.first.0.saturating_sub(a.last.0).max(a.first.0.saturating_sub(b.last.0))
}

fn join(known: &mut Loss, new: &Loss) {
    known.first = known.first.min(new.first);
    known.last = known.last.max(new.last);
    known.count = known.count.saturating_add(new.count);
    known.from = known.from.min(new.from);
    known.to = known.to.max(new.to);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(losses: &Losses) -> Vec<u64> {
        losses.waiting.iter().map(|loss| loss.count).collect()
    }

    #[test]
    fn neighbours_with_one_reason_become_one_loss() {
        let mut losses = Losses::new(MAX_FRESH);
        losses.note(LossReason::Full, (0, 9), 10, (100, 200));
        losses.note(LossReason::Full, (10, 19), 10, (200, 300));
        losses.note(LossReason::Age, (20, 20), 1, (300, 300));
        losses.note(LossReason::Full, (30, 30), 1, (400, 400));
        let told: Vec<_> = losses.take().iter().map(|l| (l.first.0, l.last.0, l.count, l.from, l.to)).collect();
        assert_eq!(
            told,
            [(0, 19, 20, time(100), time(300)), (20, 20, 1, time(300), time(300)), (30, 30, 1, time(400), time(400))]
        );
        assert!(losses.take().is_empty());
    }

    #[test]
    fn the_list_is_bounded_and_no_count_is_forgotten() {
        for most in [MAX_FRESH, MAX_UNTOLD] {
            let mut losses = Losses::new(most);
            losses.note(LossReason::Purged, (0, 0), 1, (0, 0));
            losses.freeze_oldest(&Eras::default());
            for n in 1..4000 {
                let reason = LossReason::ALL[(n % 7) as usize];
                losses.note(reason, (10 * n, 10 * n), 1, (n, n));
            }
            losses.note(LossReason::Purged, (90_000, 90_000), 1, (0, 0));
            assert_eq!(losses.waiting.len(), most);
            assert_eq!(counts(&losses).iter().sum::<u64>(), 4001);
            assert_eq!(losses.freeze_oldest(&Eras::default()).unwrap().0.count, 1, "the frozen one is as it was");
        }
    }

    #[test]
    fn a_loss_that_is_being_told_does_not_change_and_goes_when_it_was_told() {
        let mut losses = Losses::new(MAX_UNTOLD);
        losses.note(LossReason::Full, (0, 9), 10, (1, 2));
        let (told, is_news) = losses.freeze_oldest(&Eras::default()).unwrap();
        assert!(is_news);
        losses.note(LossReason::Full, (10, 19), 10, (1, 2));
        assert_eq!(counts(&losses), [10, 10]);
        let mut bytes = Vec::new();
        losses.encode(&mut bytes);
        let (mut after, rest) = Losses::decode(&bytes, MAX_UNTOLD).unwrap();
        assert!(rest.is_empty());
        after.note(LossReason::Full, (20, 20), 1, (1, 2));
        assert_eq!(after.freeze_oldest(&Eras::default()), Some((told.clone(), false)));
        assert!(after.told(told.id));
        assert!(!after.told(told.id));
        let (next, is_news) = after.freeze_oldest(&Eras::default()).unwrap();
        assert!(is_news);
        assert_eq!((next.count, next.id.get() > told.id.get()), (11, true));
    }

    #[test]
    fn no_bytes_make_decoding_panic() {
        for len in 0..200 {
            let _ = Losses::decode(&vec![0; len], MAX_UNTOLD);
            let _ = Losses::decode(&vec![1; len], MAX_UNTOLD);
            let _ = Losses::decode(&vec![0xff; len], MAX_UNTOLD);
        }
    }
}
