//! How often a device speaks, learnt from hearing it, and when its silence means something.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Of how many silences the length is remembered.
const REMEMBERED: usize = 16;

/// From how many on they say something.
const ENOUGH: usize = 4;

/// What is heard closer together than this is one word said several times: a sensor that wakes up
/// sends the same thing over and over for a moment.
const ONE_WORD: Duration = Duration::from_secs(1);

/// Who goes on for longer than this without a pause says more than one word: it is heard all the time.
const LONGEST_WORD: Duration = Duration::from_secs(10);

/// The least and the most that a device is waited for. The least is long enough for a person who
/// stands in between; the most ends the waiting for one that speaks once a day.
const LEAST: Duration = Duration::from_secs(60);
const MOST: Duration = Duration::from_secs(3 * 86_400);

/// How long one is waited for whose rhythm is not known yet: some speak every ten minutes.
const UNKNOWN: Duration = Duration::from_secs(3600);

/// The rhythm of one device.
#[derive(Clone, Debug)]
pub struct Pulse {
    fixed: Option<Duration>,
    last: Option<Instant>,
    /// When the word that is being said began.
    word: Option<Instant>,
    gaps: VecDeque<Duration>,
}

impl Pulse {
    /// A rhythm to be learnt; with `fixed`, silence means something after that time in any case.
    pub fn new(fixed: Option<Duration>) -> Self {
        Self { fixed, last: None, word: None, gaps: VecDeque::with_capacity(REMEMBERED) }
    }

    /// The device was heard.
    pub fn heard(&mut self, now: Instant) {
        let gap = self.last.map(|last| now.saturating_duration_since(last));
        self.last = Some(now);
        let word = *self.word.get_or_insert(now);
        let is_long = now.saturating_duration_since(word) >= LONGEST_WORD;
        let gap = gap.map(|gap| if is_long { gap.max(ONE_WORD) } else { gap });
        let Some(gap) = gap.filter(|gap| *gap >= ONE_WORD) else { return };
        self.word = Some(now);
        if self.gaps.len() == REMEMBERED {
            self.gaps.pop_front();
        }
        self.gaps.push_back(gap);
    }

    /// Nothing could be heard until now: what was silence so far is none of the device's.
    pub fn excuse(&mut self, now: Instant) {
        if self.last.is_some() {
            self.last = Some(now);
        }
    }

    /// When it was last heard, or could next have been.
    pub fn last(&self) -> Option<Instant> {
        self.last
    }

    /// How often it usually speaks: the median of the last silences.
    pub fn interval(&self) -> Option<Duration> {
        if self.gaps.len() < ENOUGH {
            return None;
        }
        let mut sorted: Vec<Duration> = self.gaps.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }

    /// How long it may be silent: five times as long as it usually is, and not less than twice the
    /// longest silence it came back from.
    pub fn patience(&self) -> Duration {
        if let Some(fixed) = self.fixed {
            return fixed;
        }
        let Some(usual) = self.interval() else { return UNKNOWN };
        let longest = self.gaps.iter().max().copied().unwrap_or_default();
        (usual * 5).max(longest * 2).clamp(LEAST, MOST)
    }

    /// Whether it has been silent for too long.
    pub fn is_quiet(&self, now: Instant) -> bool {
        self.last.is_some_and(|last| now.saturating_duration_since(last) >= self.patience())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    /// A pulse that was heard after each of these silences, and the moment it was last.
    fn after(gaps: &[Duration]) -> (Pulse, Instant) {
        let (mut pulse, mut now) = (Pulse::new(None), Instant::now());
        pulse.heard(now);
        for gap in gaps {
            now += *gap;
            pulse.heard(now);
        }
        (pulse, now)
    }

    #[test]
    fn a_device_is_quiet_after_several_of_its_own_intervals() {
        let (pulse, now) = after(&[secs(60); 10]);
        assert_eq!(pulse.interval(), Some(secs(60)));
        assert!(!pulse.is_quiet(now + secs(299)));
        assert!(pulse.is_quiet(now + secs(300)));
    }

    #[test]
    fn one_that_speaks_all_the_time_is_given_a_minute() {
        let (pulse, now) = after(&[secs(2); 40]);
        assert!(!pulse.is_quiet(now + secs(59)));
        assert!(pulse.is_quiet(now + secs(60)));
    }

    #[test]
    fn a_word_said_five_times_is_one_word() {
        let burst = [Duration::from_millis(100); 5];
        let gaps: Vec<Duration> = (0..6).flat_map(|_| burst.into_iter().chain([secs(600)])).collect();
        let (pulse, now) = after(&gaps);
        assert_eq!(pulse.interval(), Some(secs(600)));
        assert!(!pulse.is_quiet(now + secs(2_999)));
    }

    #[test]
    fn one_that_was_wrongly_taken_for_gone_is_waited_for_longer_the_next_time() {
        let (pulse, now) = after(&[secs(10), secs(10), secs(10), secs(10), secs(100)]);
        assert!(!pulse.is_quiet(now + secs(199)));
        assert!(pulse.is_quiet(now + secs(200)));
    }

    #[test]
    fn before_its_rhythm_is_known_it_has_an_hour_and_a_fixed_time_goes_before_all() {
        let (pulse, now) = after(&[secs(5)]);
        assert_eq!(pulse.interval(), None);
        assert!(!pulse.is_quiet(now + secs(3_599)) && pulse.is_quiet(now + secs(3_600)));
        let mut fixed = Pulse::new(Some(secs(30)));
        assert!(!fixed.is_quiet(now), "what was never heard is not quiet");
        fixed.heard(now);
        assert!(fixed.is_quiet(now + secs(30)));
    }

    #[test]
    fn silence_while_nothing_could_be_heard_does_not_count() {
        let (mut pulse, now) = after(&[secs(60); 10]);
        pulse.excuse(now + secs(4_000));
        assert!(!pulse.is_quiet(now + secs(4_001)));
        pulse.heard(now + secs(4_060));
        assert_eq!(pulse.patience(), secs(300));
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_does_no_harm() {
        let (mut pulse, now) = after(&[secs(60); 3]);
        pulse.heard(now);
        pulse.heard(now - secs(1));
        assert!(!pulse.is_quiet(now - secs(100)));
    }

    #[test]
    fn one_that_never_pauses_is_missed_within_a_minute() {
        let (pulse, now) = after(&[Duration::from_millis(100); 1_000]);
        assert_eq!(pulse.interval(), Some(secs(1)));
        assert!(!pulse.is_quiet(now + secs(59)));
        assert!(pulse.is_quiet(now + secs(60)));
    }
}
