//! What to do about silence.
//!
//! A scan can end without anybody being told: the daemon or the kernel loses it, a controller hangs.
//! All that can be noticed is that nothing is heard, and that may also be because nothing is there. So
//! with every further stretch of silence a stronger remedy is tried: scan again, switch the adapter
//! off and on, connect anew. After that it begins from the start, with twice the patience, up to a
//! limit: an adapter in an empty house is not switched off and on every minute for ever.

use std::fmt;
use std::time::{Duration, Instant};

/// How much longer than at first the patience may become.
const PATIENCE: u32 = 16;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Stop the scan and start it again.
    ScanAgain,
    /// Switch the adapter off and on, and scan again.
    PowerCycle,
    /// Give the connection up and make a new one.
    Reconnect,
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ScanAgain => "scanning again",
            Self::PowerCycle => "switching the adapter off and on",
            Self::Reconnect => "connecting anew",
        })
    }
}

/// Watches for silence.
#[derive(Debug)]
pub(super) struct Watchdog {
    silence: Duration,
    patience: u32,
    heard: Instant,
    due: Instant,
    next: Remedy,
}

impl Watchdog {
    /// Begins to listen, and is alarmed after so long a silence.
    pub(super) fn new(silence: Duration, now: Instant) -> Self {
        Self { silence, patience: 1, heard: now, due: now + silence, next: Remedy::ScanAgain }
    }

    /// Something was heard: all is well.
    pub(super) fn heard(&mut self, now: Instant) {
        *self = Self::new(self.silence, now);
    }

    /// A scan was started, or could not be: what follows is counted from now, and the remedies go on
    /// where they were.
    pub(super) fn restarted(&mut self, now: Instant) {
        self.due = now + self.silence * self.patience;
    }

    /// Since when there has been silence, if it is long enough to be worth telling.
    pub(super) fn quiet_since(&self, now: Instant) -> Option<Instant> {
        (now.saturating_duration_since(self.heard) >= self.silence).then_some(self.heard)
    }

    /// When to ask again.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// What to do now, if anything. Links to devices outlive neither a power cycle nor a new
    /// connection, and a sensor that is linked need not advertise: while there are any, it is left at
    /// scanning again.
    pub(super) fn remedy(&mut self, now: Instant, linked: bool) -> Option<Remedy> {
        if now < self.due {
            return None;
        }
        let remedy = if linked { Remedy::ScanAgain } else { self.next };
        self.next = match self.next {
            Remedy::ScanAgain => Remedy::PowerCycle,
            Remedy::PowerCycle => Remedy::Reconnect,
            Remedy::Reconnect => {
                self.patience = (self.patience * 2).min(PATIENCE);
                Remedy::ScanAgain
            }
        };
        self.due = now + self.silence * self.patience;
        Some(remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Duration = Duration::from_secs(30);

    /// What is done second by second while nothing is heard.
    fn remedies(seconds: u64, linked: bool) -> Vec<(u64, Remedy)> {
        let begin = Instant::now();
        let mut watchdog = Watchdog::new(SILENCE, begin);
        (0..seconds)
            .filter_map(|second| {
                watchdog.remedy(begin + Duration::from_secs(second), linked).map(|remedy| (second, remedy))
            })
            .collect()
    }

    #[test]
    fn the_longer_the_silence_the_stronger_the_remedy() {
        use Remedy::*;
        let expected = [
            (30, ScanAgain),
            (60, PowerCycle),
            (90, Reconnect),
            (150, ScanAgain),
            (210, PowerCycle),
            (270, Reconnect),
            (390, ScanAgain),
        ];
        assert_eq!(remedies(400, false), expected);
    }

    #[test]
    fn links_to_devices_are_not_cut_because_of_silence() {
        let all = remedies(4000, true);
        assert!(all.len() > 5 && all.iter().all(|(_, remedy)| *remedy == Remedy::ScanAgain));
    }

    #[test]
    fn an_empty_house_is_left_alone_for_longer_and_longer_but_not_for_ever() {
        let all = remedies(20_000, false);
        let gaps: Vec<u64> = all.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        assert_eq!(gaps.iter().max(), Some(&480));
        assert!(all.len() > 40);
    }

    #[test]
    fn a_word_heard_ends_the_alarm() {
        let begin = Instant::now();
        let at = |second| begin + Duration::from_secs(second);
        let mut watchdog = Watchdog::new(SILENCE, begin);
        assert_eq!(watchdog.quiet_since(at(29)), None);
        assert_eq!(watchdog.remedy(at(30), false), Some(Remedy::ScanAgain));
        assert_eq!(watchdog.quiet_since(at(41)), Some(begin));
        watchdog.heard(at(50));
        assert_eq!((watchdog.quiet_since(at(51)), watchdog.due()), (None, at(80)));
        assert_eq!(watchdog.remedy(at(80), false), Some(Remedy::ScanAgain), "from the start");
    }
}
