//! What has been said already about a device and its points, so that a lasting failure is told
//! when it begins and once a minute from then on. Owns no clock.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use wharf_contract::Value;

/// How often a lasting failure is told again.
const AGAIN: Duration = Duration::from_secs(60);

/// The state of one device as it was last told.
#[derive(Debug)]
pub(crate) struct Told {
    /// `None` before the first answer and the first silence.
    alive: Option<bool>,
    points: Vec<Point>,
}

/// One point as it was last told.
#[derive(Clone, Debug, Default)]
struct Point {
    /// The last good value and when it was taken.
    last: Option<(Value, SystemTime)>,
    /// What it is since then; `None` while it is good.
    trouble: Option<Trouble>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Stale,
    /// Told to be bad, last at this moment; `None` if it is to be told again, whatever the time.
    Bad(Option<Instant>),
}

impl Told {
    /// Nothing told yet.
    pub(crate) fn new(points: usize) -> Self {
        Self { alive: None, points: vec![Point::default(); points] }
    }

    /// Whether this is news. What was told of the points of a silent device was told of its
    /// silence: if they are bad now that it speaks, that is news, too.
    pub(crate) fn alive(&mut self, alive: bool) -> bool {
        let news = self.alive.replace(alive) != Some(alive);
        if news && alive {
            for trouble in self.points.iter_mut().filter_map(|point| point.trouble.as_mut()) {
                if let Trouble::Bad(told) = trouble {
                    *told = None;
                }
            }
        }
        news
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
    pub(crate) fn good(&mut self, point: usize, value: &Value, taken_at: SystemTime) {
        if let Some(point) = self.points.get_mut(point) {
            *point = Point { last: Some((value.clone(), taken_at)), trouble: None };
        }
    }

    /// Whether the last word about the point was a good value.
    pub(crate) fn is_good(&self, point: usize) -> bool {
        self.points.get(point).is_some_and(|point| point.last.is_some() && point.trouble.is_none())
    }

    /// The last value, if it is to be told now that it is stale.
    pub(crate) fn stale(&mut self, point: usize) -> Option<(Value, SystemTime)> {
        let point = self.points.get_mut(point).filter(|point| point.trouble.is_none())?;
        let last = point.last.clone()?;
        point.trouble = Some(Trouble::Stale);
        Some(last)
    }

    /// Whether a bad reading is to be told now.
    pub(crate) fn bad(&mut self, point: usize, now: Instant) -> bool {
        let Some(point) = self.points.get_mut(point) else { return false };
        let due = match point.trouble {
            Some(Trouble::Bad(Some(told))) => now.saturating_duration_since(told) >= AGAIN,
            Some(Trouble::Stale | Trouble::Bad(None)) | None => true,
        };
        if due {
            point.trouble = Some(Trouble::Bad(Some(now)));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: Value = Value::Int(7);

    #[test]
    fn a_lasting_failure_is_told_at_once_and_then_once_a_minute() {
        let start = Instant::now();
        let mut told = Told::new(1);
        let seconds = (0..=125).filter(|&s| told.bad(0, start + Duration::from_secs(s)));
        assert_eq!(seconds.collect::<Vec<_>>(), [0, 60, 120]);
        told.good(0, &VALUE, SystemTime::UNIX_EPOCH);
        assert!(told.bad(0, start + Duration::from_secs(126)));
    }

    #[test]
    fn a_value_goes_stale_once_and_then_bad() {
        let mut told = Told::new(1);
        assert_eq!(told.stale(0), None, "there is no value yet");
        told.good(0, &VALUE, SystemTime::UNIX_EPOCH);
        assert!(told.is_good(0));
        assert_eq!(told.stale(0), Some((VALUE, SystemTime::UNIX_EPOCH)));
        assert_eq!(told.stale(0), None);
        let now = Instant::now();
        assert!(!told.is_good(0) && told.bad(0, now) && !told.bad(0, now));
        assert_eq!(told.stale(0), None, "what is bad does not become stale");
    }

    #[test]
    fn a_point_that_is_bad_for_another_reason_than_the_silence_of_its_device_is_told_again() {
        let mut told = Told::new(1);
        let now = Instant::now();
        told.alive(false);
        assert!(told.bad(0, now) && !told.bad(0, now));
        told.alive(true);
        assert!(told.bad(0, now) && !told.bad(0, now));
    }

    #[test]
    fn a_device_is_told_alive_or_silent_only_when_that_changes() {
        let mut told = Told::new(0);
        let news = [true, true, false, false, true].map(|alive| told.alive(alive));
        assert_eq!(news, [true, false, true, false, true]);
    }
}
