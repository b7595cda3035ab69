//! What has been said already about a device and its points, so that a lasting failure is told
//! when it begins and once a minute from then on. Owns no clock.

use std::time::Duration;

use tokio::time::Instant;

/// How often a lasting failure is told again.
const AGAIN: Duration = Duration::from_secs(60);

/// The state of one device as it was last told.
#[derive(Debug)]
pub(crate) struct Told {
    /// `None` before the first answer and the first silence.
    alive: Option<bool>,
    /// When each point was last told to be bad; `None` while it is good.
    bad: Vec<Option<Instant>>,
}

impl Told {
    /// Nothing told yet.
    pub(crate) fn new(points: usize) -> Self {
        Self { alive: None, bad: vec![None; points] }
    }

    /// Whether this is news.
    pub(crate) fn alive(&mut self, alive: bool) -> bool {
        self.alive.replace(alive) != Some(alive)
    }

    /// Whether it was last told to answer.
    pub(crate) fn is_alive(&self) -> bool {
        self.alive == Some(true)
    }

    /// Whether it was last told to be silent.
    pub(crate) fn is_silent(&self) -> bool {
        self.alive == Some(false)
    }

    /// Whether it was told to be alive or silent at all.
    pub(crate) fn was_told(&self) -> bool {
        self.alive.is_some()
    }

    /// A good reading was told.
    pub(crate) fn good(&mut self, point: usize) {
        if let Some(bad) = self.bad.get_mut(point) {
            *bad = None;
        }
    }

    /// Whether a bad reading is to be told now.
    pub(crate) fn bad(&mut self, point: usize, now: Instant) -> bool {
        let Some(bad) = self.bad.get_mut(point) else { return false };
        let due = bad.is_none_or(|told| now.saturating_duration_since(told) >= AGAIN);
        if due {
            *bad = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lasting_failure_is_told_at_once_and_then_once_a_minute() {
        let start = Instant::now();
        let mut told = Told::new(1);
        let seconds = (0..=125).filter(|&s| told.bad(0, start + Duration::from_secs(s)));
        assert_eq!(seconds.collect::<Vec<_>>(), [0, 60, 120]);
        told.good(0);
        assert!(told.bad(0, start + Duration::from_secs(126)));
    }

    #[test]
    fn a_device_is_told_alive_or_silent_only_when_that_changes() {
        let mut told = Told::new(0);
        let news = [true, true, false, false, true].map(|alive| told.alive(alive));
        assert_eq!(news, [true, false, true, false, true]);
    }
}
