//! The least time between two readings of one number.
//!
//! A scale says ten times a second what it weighs. Of what comes in between the last is kept, and
//! told when its time has come, so that the value a device ends with is never the one that is lost.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;
use wharf_contract::{DeviceId, PointId, Reading, Value};

/// What was told, and what is kept back. It has an entry for each point of each device that is
/// thinned, so it is no larger than the site file allows.
#[derive(Debug, Default)]
pub struct Thin {
    points: HashMap<(DeviceId, PointId), Told>,
}

#[derive(Debug)]
struct Told {
    value: Option<Value>,
    every: Duration,
    next: Instant,
    held: Option<Reading>,
}

impl Thin {
    /// A reading has come: it is given back if it is to be told now.
    pub fn offer(&mut self, reading: Reading, every: Duration, now: Instant) -> Option<Reading> {
        let key = (reading.device.clone(), reading.point.clone());
        let Some(told) = self.points.get_mut(&key) else {
            self.points.insert(key, Told { value: reading.value.clone(), every, next: now + every, held: None });
            return Some(reading);
        };
        let both_numbers = told.value.as_ref().is_some_and(is_number) && reading.value.as_ref().is_some_and(is_number);
        let is_news = !both_numbers && told.value != reading.value;
        if now < told.next && !is_news {
            told.held = Some(reading);
            return None;
        }
        *told = Told { value: reading.value.clone(), every, next: now + every, held: None };
        Some(reading)
    }

    /// When the next reading that is kept back has its time.
    pub fn until(&self) -> Option<Instant> {
        self.points.values().filter(|told| told.held.is_some()).map(|told| told.next).min()
    }

    /// The readings whose time has come.
    pub fn due(&mut self, now: Instant) -> Vec<Reading> {
        let due = self.points.values_mut().filter(|told| told.next <= now);
        due.filter_map(|told| {
            let reading = told.held.take()?;
            told.value.clone_from(&reading.value);
            told.next = now + told.every;
            Some(reading)
        })
        .collect()
    }

    /// All that is kept back, because nothing more will come.
    pub fn held(&mut self) -> Vec<Reading> {
        self.points.values_mut().filter_map(|told| told.held.take()).collect()
    }
}

fn is_number(value: &Value) -> bool {
    matches!(value, Value::Int(_) | Value::Float(_))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    const EVERY: Duration = Duration::from_secs(10);

    fn reading(value: Value) -> Reading {
        Reading::good("scale".into(), "weight".into(), value, SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn of_what_comes_in_between_the_last_is_told_when_its_time_has_come() {
        let (mut thin, start) = (Thin::default(), Instant::now());
        let at = |tenth: u64| start + Duration::from_millis(tenth * 100);
        assert!(thin.offer(reading(Value::Float(0.0)), EVERY, at(0)).is_some());
        assert_eq!(thin.until(), None);
        for tenth in 1..=30 {
            let value = Value::Float(tenth as f64);
            assert_eq!(thin.offer(reading(value), EVERY, at(tenth)), None);
        }
        assert_eq!(thin.until(), Some(at(100)));
        assert!(thin.due(at(99)).is_empty());
        assert_eq!(thin.due(at(100)), [reading(Value::Float(30.0))]);
        assert!(thin.due(at(300)).is_empty(), "nothing is told twice");
        assert!(thin.offer(reading(Value::Float(5.0)), EVERY, at(301)).is_some());
    }

    #[test]
    fn on_and_off_texts_and_bad_values_are_told_at_once_when_they_change() {
        let (mut thin, now) = (Thin::default(), Instant::now());
        assert!(thin.offer(reading(Value::Text("ST".into())), EVERY, now).is_some());
        assert!(thin.offer(reading(Value::Text("ST".into())), EVERY, now).is_none());
        assert!(thin.offer(reading(Value::Text("US".into())), EVERY, now).is_some());
        let bad = Reading::bad("scale".into(), "weight".into(), "no", SystemTime::UNIX_EPOCH);
        assert!(thin.offer(bad.clone(), EVERY, now).is_some());
        assert!(thin.offer(bad, EVERY, now).is_none());
        assert!(thin.offer(reading(Value::Float(1.0)), EVERY, now).is_some());
        assert_eq!(thin.until(), None, "what was told at once is not kept");
    }
}
