//! Under which clock each record was stamped: see [`crate::clock`] for what an era is.
//!
//! A record belongs to the last era that began at or below its number. Eras are kept as long as
//! one of their boot still has records that wait, and are bounded.

use std::time::Duration;

use crate::clock::{BootId, CLOCK_WAS_SET, Correction, STEP, Stamp};

/// How many eras are kept. More are joined, oldest first, with what they had in common.
pub const MAX_ERAS: usize = 16;

/// How far the wall clock moves between two looks at the time since boot, in milliseconds. A step
/// worth knowing moves it farther, or back.
const LOOK_EVERY: u64 = 100;

/// Bytes of an era on disk.
const ENCODED: usize = 33;

/// A stretch in which the wall clock kept its distance from the time since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Era {
    /// The first number that may have been given in it.
    pub first: u64,
    /// The boot it belongs to.
    pub boot: BootId,
    /// What the wall clock showed beyond the time since boot, in milliseconds.
    pub offset: i64,
    /// What its stamps are worth.
    pub trust: Trust,
}

/// What the wall clock's word is worth in an era.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trust {
    /// It has not been set.
    Unset,
    /// It shows something likely, but has only carried on from where the machine was switched off:
    /// no clock in the machine runs meanwhile. The first step is its setting.
    Guessed,
    /// It has been set, as far as anybody can tell.
    Set,
}

/// The eras of the records that wait, and the one that is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Eras {
    list: Vec<Era>,
    /// What the wall clock showed when both clocks were last compared.
    looked_at: Option<u64>,
}

impl Eras {
    /// Whether the clocks should be compared, now that the wall clock shows `wall`.
    pub fn is_due(&self, wall: u64) -> bool {
        self.looked_at.is_none_or(|last| wall < last || wall - last >= LOOK_EVERY)
    }

    /// Compares the clocks, before the number `next` is given; everything below `cursor` is
    /// finished. `is_kept` says whether something has told the machine the time, and is asked only
    /// if that matters. Returns whether a new era begins.
    pub fn observe(
        &mut self,
        next: u64,
        cursor: u64,
        boot: BootId,
        now: Stamp,
        is_kept: impl FnOnce() -> bool,
    ) -> bool {
        self.looked_at = Some(now.wall);
        let last = self.list.last().filter(|last| last.boot == boot);
        let goes_on =
            |last: &Era| (last.trust != Trust::Unset) == now.is_set() && last.offset.abs_diff(now.offset()) <= STEP;
        if last.is_some_and(goes_on) {
            return false;
        }
        let trust = match last {
            _ if !now.is_set() => Trust::Unset,
            None if !is_kept() => Trust::Guessed,
            _ => Trust::Set,
        };
        self.list.push(Era { first: next, boot, offset: now.offset(), trust });
        self.forget(cursor, boot);
        true
    }

    /// What has to be said of a record's time.
    pub fn correction(&self, seq: u64, captured_at: u64) -> Correction {
        let Some(at) = self.index(seq) else {
            return if captured_at < CLOCK_WAS_SET { Correction::Unknown } else { Correction::None };
        };
        let era = self.list[at];
        let helps = |other: &&Era| other.trust == Trust::Set && other.boot == era.boot && era.boot != BootId::UNKNOWN;
        let later = self.list[at..].iter().find(helps);
        let known = match era.trust {
            Trust::Set => return Correction::None,
            Trust::Guessed => later,
            Trust::Unset => later.or_else(|| self.list[..at].iter().rev().find(helps)),
        };
        match known {
            Some(known) => Correction::By(known.offset.saturating_sub(era.offset)),
            None if era.trust == Trust::Guessed => Correction::None,
            None => Correction::Unknown,
        }
    }

    /// The eras of a boot whose word on the time counts: the set ones, else the guessed one.
    fn opinions(&self, boot: BootId) -> impl Iterator<Item = &Era> {
        let of_boot = move |era: &&Era| era.boot == boot && boot != BootId::UNKNOWN;
        let best = self.list.iter().filter(of_boot).map(|era| era.trust).max().unwrap_or(Trust::Unset);
        self.list.iter().filter(of_boot).filter(move |era| era.trust == best && best != Trust::Unset)
    }

    /// The first number of the era that is now.
    pub fn begin_of_last(&self) -> u64 {
        self.list.last().map_or(0, |era| era.first)
    }

    /// Whether no record at or above `seq` needs a correction.
    pub fn all_trusted_from(&self, seq: u64) -> bool {
        let alone = self.list.len() == 1;
        let fine = |era: &Era| era.trust == Trust::Set || (alone && era.trust == Trust::Guessed);
        self.list.first().is_some_and(|era| era.first <= seq) && self.list.iter().all(fine)
    }

    /// Whether a record is older than `max_age` for certain. Within one boot the time since boot
    /// decides. From boot to boot the wall clock does, if it was set both times; of several
    /// opinions the one that makes the record youngest counts.
    pub fn expired(&self, seq: u64, captured_at: u64, boot: BootId, now: Stamp, max_age: Duration) -> bool {
        let age = match self.index(seq).map(|at| self.list[at]) {
            Some(era) if era.boot == boot && boot != BootId::UNKNOWN => {
                let captured = captured_at.saturating_add_signed(era.offset.saturating_neg());
                now.boot.saturating_sub(captured)
            }
            era => {
                let latest = self.latest_capture(era, captured_at);
                let (Some(captured), Some(now)) = (latest, self.earliest_now(boot, now)) else { return false };
                now.saturating_sub(captured)
            }
        };
        u128::from(age) > max_age.as_millis()
    }

    /// The first number at or above `seq` whose record has an age that can be known, as far as its
    /// era is concerned.
    pub fn first_datable(&self, seq: u64, boot: BootId) -> u64 {
        let Some(from) = self.index(seq) else { return seq };
        let of_known_time = |era: &Era| era.boot == boot || self.opinions(era.boot).next().is_some();
        match self.list[from..].iter().find(|era| era.boot != BootId::UNKNOWN && of_known_time(era)) {
            Some(era) => seq.max(era.first),
            None => u64::MAX,
        }
    }

    /// The latest wall time at which a record of another boot may have been captured.
    fn latest_capture(&self, era: Option<Era>, captured_at: u64) -> Option<u64> {
        let Some(era) = era.filter(|era| era.boot != BootId::UNKNOWN) else {
            return (captured_at >= CLOCK_WAS_SET).then_some(captured_at);
        };
        let latest = self.opinions(era.boot).map(|other| other.offset).max()?;
        Some(captured_at.saturating_add_signed(latest.saturating_sub(era.offset)))
    }

    /// The earliest wall time it may be now.
    fn earliest_now(&self, boot: BootId, now: Stamp) -> Option<u64> {
        let earliest = self.opinions(boot).map(|era| now.boot.saturating_add_signed(era.offset)).min();
        let shown = now.is_set().then_some(now.wall);
        earliest.into_iter().chain(shown).min()
    }

    /// Where the era of a number is.
    fn index(&self, seq: u64) -> Option<usize> {
        self.list.partition_point(|era| era.first <= seq).checked_sub(1)
    }

    /// Lets go of boots whose records are all finished, and keeps the list within its bound.
    fn forget(&mut self, cursor: u64, boot: BootId) {
        let ends: Vec<u64> = self.list.iter().skip(1).map(|era| era.first).chain([u64::MAX]).collect();
        let open = |at: usize| ends[at] > cursor.max(self.list[at].first);
        let waiting: Vec<BootId> = (0..self.list.len()).filter(|at| open(*at)).map(|at| self.list[at].boot).collect();
        self.list.retain(|era| era.boot == boot || waiting.contains(&era.boot));
        while self.list.len() > MAX_ERAS {
            self.join_oldest();
        }
    }

    /// Makes one era of the two oldest. What they do not agree on is not known any more.
    fn join_oldest(&mut self) {
        let second = self.list.remove(1);
        let first = &mut self.list[0];
        let agree = first.boot == second.boot && first.trust == Trust::Set && second.trust == Trust::Set;
        *first = Era {
            first: first.first,
            boot: if agree { first.boot } else { BootId::UNKNOWN },
            // The smaller distance makes records younger, so none expires too early.
            offset: first.offset.min(second.offset),
            trust: first.trust.min(second.trust),
        };
    }

    /// Appends the eras: how many (u16), then 33 bytes each.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.list.len() as u16).to_le_bytes());
        for era in &self.list {
            out.extend_from_slice(&era.first.to_le_bytes());
            out.extend_from_slice(&era.boot.0);
            out.extend_from_slice(&era.offset.to_le_bytes());
            out.push(era.trust as u8);
        }
    }

    /// Reads what [`Eras::encode`] wrote, and says what follows. `None` if it makes no sense.
    pub fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (count, rest) = bytes.split_first_chunk::<2>()?;
        let count = usize::from(u16::from_le_bytes(*count));
        let (eras, rest) = rest.split_at_checked(count * ENCODED)?;
        let list: Vec<Era> = eras.as_chunks::<ENCODED>().0.iter().map(decode_one).collect::<Option<_>>()?;
        let ordered = list.len() <= MAX_ERAS && list.is_sorted_by_key(|era| era.first);
        ordered.then_some((Self { list, looked_at: None }, rest))
    }
}

fn decode_one(bytes: &[u8; ENCODED]) -> Option<Era> {
    let (first, rest) = bytes.split_first_chunk::<8>()?;
    let (boot, rest) = rest.split_first_chunk::<16>()?;
    let (offset, trust) = rest.split_first_chunk::<8>()?;
    let trust = match trust.first()? {
        0 => Trust::Unset,
        1 => Trust::Guessed,
        2 => Trust::Set,
        _ => return None,
    };
    Some(Era { first: u64::from_le_bytes(*first), boot: BootId(*boot), offset: i64::from_le_bytes(*offset), trust })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_000_000_000;
    const HOUR: u64 = 3_600_000;
    const YEAR: u64 = 365 * 24 * HOUR;
    const A: BootId = BootId([1; 16]);
    const B: BootId = BootId([2; 16]);

    fn at(wall: u64, boot: u64) -> Stamp {
        Stamp { wall, boot }
    }

    /// Eras made by looking at the clock before these numbers.
    fn eras(looks: &[(u64, BootId, Stamp)]) -> Eras {
        let mut eras = Eras::default();
        for (next, boot, stamp) in looks {
            eras.observe(*next, 0, *boot, *stamp, || true);
        }
        eras
    }

    fn hours(n: u64) -> Duration {
        Duration::from_millis(n * HOUR)
    }

    #[test]
    fn what_was_stamped_before_the_clock_was_set_is_corrected_afterwards() {
        let mut eras = eras(&[(0, A, at(9000, 9000))]);
        assert_eq!(eras.correction(3, 12_000), Correction::Unknown);
        eras.observe(10, 0, A, at(NOW, 20_000), || true);
        assert_eq!(eras.correction(3, 12_000), Correction::By((NOW - 20_000) as i64));
        assert_eq!(eras.correction(10, NOW), Correction::None);
    }

    #[test]
    fn a_clock_that_only_carried_on_is_believed_until_its_first_step_says_better() {
        let day = 24 * HOUR;
        let mut eras = Eras::default();
        eras.observe(0, 0, A, at(NOW - 3 * day, 9000), || false);
        assert_eq!(eras.correction(3, NOW - 3 * day), Correction::None);
        assert!(eras.all_trusted_from(3));
        eras.observe(10, 0, A, at(NOW, 20_000), || false);
        let by = (3 * day - 11_000) as i64;
        assert_eq!(eras.correction(3, NOW - 3 * day), Correction::By(by));
        assert!(!eras.all_trusted_from(3));
        // It has been set now, so a second step is somebody's business and no setting.
        eras.observe(20, 0, A, at(NOW + YEAR, 30_000), || false);
        assert_eq!(eras.correction(12, NOW), Correction::None);
        assert_eq!(eras.correction(3, NOW - 3 * day), Correction::By(by));
    }

    #[test]
    fn after_a_reboot_the_time_before_the_first_setting_is_never_known() {
        let eras = eras(&[(0, A, at(9000, 9000)), (10, B, at(NOW, 20_000))]);
        assert_eq!(eras.correction(3, 12_000), Correction::Unknown);
        assert!(!eras.expired(3, 12_000, B, at(NOW + YEAR, 20_000 + YEAR), hours(1)));
    }

    #[test]
    fn a_step_of_a_set_clock_changes_no_stamp_and_no_age() {
        for (before, after) in [(NOW, NOW - 2 * HOUR), (NOW, NOW + YEAR)] {
            let eras = eras(&[(0, A, at(before, 10_000)), (5, A, at(after, 11_000))]);
            assert_eq!(eras.correction(2, before), Correction::None);
            assert_eq!(eras.correction(7, after), Correction::None);
            let later = at(after + HOUR, 11_000 + HOUR);
            assert!(!eras.expired(2, before, A, later, hours(2)));
            assert!(eras.expired(2, before, A, at(after + 3 * HOUR, 3 * HOUR), hours(2)));
        }
    }

    #[test]
    fn from_boot_to_boot_the_opinion_that_makes_it_youngest_counts() {
        let known = eras(&[(0, A, at(NOW, 10_000)), (5, B, at(NOW + HOUR, 10_000))]);
        assert!(known.expired(2, NOW, B, at(NOW + 3 * HOUR, 2 * HOUR + 10_000), hours(2)));
        assert!(!known.expired(2, NOW, B, at(NOW + HOUR, 10_000), hours(2)));
        // A step a year ahead, and whoever saw the right time before knows better.
        let stepped = eras(&[(0, A, at(NOW, 10_000)), (5, B, at(NOW + HOUR, 9000)), (6, B, at(NOW + YEAR, 10_000))]);
        assert!(!stepped.expired(2, NOW, B, at(NOW + YEAR, 10_000), hours(2)));
        // Stamped in a boot whose clock was set only later.
        let late = eras(&[(0, A, at(9000, 9000)), (4, A, at(NOW, 10_000)), (5, B, at(NOW + HOUR, 9000))]);
        assert!(!late.expired(2, 9500, B, at(NOW + HOUR, 9000), hours(2)));
        assert!(late.expired(2, 9500, B, at(NOW + 3 * HOUR, 2 * HOUR + 9000), hours(2)));
    }

    #[test]
    fn a_restart_within_one_boot_goes_on_with_the_same_era() {
        let before = eras(&[(0, A, at(9000, 9000))]);
        let mut bytes = Vec::new();
        before.encode(&mut bytes);
        let (mut after, rest) = Eras::decode(&bytes).unwrap();
        assert!(rest.is_empty());
        assert!(!after.observe(7, 0, A, at(15_200, 15_000), || true));
        assert!(after.observe(8, 0, A, at(NOW, 16_000), || true));
        assert!(matches!(after.correction(3, 9500), Correction::By(_)));
    }

    #[test]
    fn eras_without_waiting_records_are_forgotten_unless_a_record_needs_them() {
        let mut eras = eras(&[(0, A, at(9000, 9000)), (4, A, at(NOW, 10_000))]);
        // All of the second era is finished, but not the first, which it explains.
        eras.observe(9, 2, B, at(NOW + HOUR, 9000), || true);
        assert!(matches!(eras.correction(3, 9500), Correction::By(_)));
        eras.observe(9, 9, BootId([3; 16]), at(NOW + HOUR, 9000), || true);
        assert_eq!(eras.list.len(), 1);
    }

    #[test]
    fn a_restless_clock_stays_within_the_bound_and_expires_nothing_early() {
        let mut eras = Eras::default();
        for n in 0..200 {
            eras.observe(10 * n, 0, A, at(NOW + (n % 2) * YEAR, 10_000 + n), || true);
        }
        assert_eq!(eras.list.len(), MAX_ERAS);
        for seq in 0..2000 {
            assert_eq!(eras.correction(seq, NOW), Correction::None);
            assert!(!eras.expired(seq, NOW + (seq / 10 % 2) * YEAR, A, at(NOW, 10_300), hours(1)));
        }
    }

    #[test]
    fn no_bytes_make_decoding_panic() {
        for len in 0..100 {
            let _ = Eras::decode(&vec![1; len]);
            let _ = Eras::decode(&vec![0xff; len]);
        }
    }
}
