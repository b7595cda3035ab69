//! One point of a device: what the site file does to its values, and which of them are news.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use wharf_contract::settings::Ranged;
use wharf_contract::{PointId, Unit, Value};

use crate::advert::{Absent, Datum, Kind};
use crate::config::PointSettings;

/// Decimals that are kept where the site file has no `precision`: sums of decimals have long tails.
const DECIMALS: u8 = 6;

/// What is to be done to the values of one point.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it is called.
    pub name: PointId,
    unit: Option<Unit>,
    scale: f64,
    offset: f64,
    precision: Option<u8>,
    every: Option<Duration>,
    drop: bool,
}

impl Plan {
    /// Nothing is done to it, but that it may have to take its time.
    pub fn plain(name: &str, every: Option<Duration>) -> Self {
        Self { name: name.into(), unit: None, scale: 1.0, offset: 0.0, precision: None, every, drop: false }
    }

    /// As the site file says.
    pub fn new(name: &str, settings: &PointSettings, every: Option<Duration>) -> Self {
        let told = settings.name.as_ref().map_or(name, |name| name.as_str());
        Self {
            unit: settings.unit.as_deref().map(Unit::from),
            scale: settings.scale.unwrap_or(1.0),
            offset: settings.offset.unwrap_or(0.0),
            precision: settings.precision.map(Ranged::get),
            drop: settings.drop,
            ..Self::plain(told, settings.every.map(Into::into).or(every))
        }
    }

    /// Whether its values are not told at all.
    pub fn is_dropped(&self) -> bool {
        self.drop
    }

    /// The unit its values have.
    pub fn unit(&self, own: &str) -> Option<Unit> {
        self.unit.clone().or_else(|| Some(own).filter(|own| !own.is_empty()).map(Unit::from))
    }

    /// A value as it is told.
    fn apply(&self, value: Value) -> Value {
        // These are compared as they were written; nothing was reckoned yet.
        let untouched = self.scale == 1.0 && self.offset == 0.0 && self.precision.is_none();
        match value {
            Value::Int(_) | Value::Float(_) if !untouched => {
                let number = value.as_f64().unwrap_or_default() * self.scale + self.offset;
                let number = rounded(number, self.precision.unwrap_or(DECIMALS));
                if number.is_finite() { Value::Float(number) } else { value }
            }
            value => value,
        }
    }
}

fn rounded(number: f64, decimals: u8) -> f64 {
    // By way of the text, because that is exact where a multiplication and a division are not.
    format!("{number:.0$}", usize::from(decimals)).parse().unwrap_or(number)
}

/// One point, and what was told of it.
#[derive(Clone, Debug)]
pub struct Point {
    /// What is done to its values.
    pub plan: Plan,
    told: Option<(Result<Value, Absent>, Instant)>,
    held: Option<News>,
}

/// A value to be told.
#[derive(Clone, Debug, PartialEq)]
pub struct News {
    /// The value, or why there is none.
    pub value: Result<Value, Absent>,
    /// Its unit.
    pub unit: Option<Unit>,
    /// What kind of point it is.
    pub kind: Kind,
    /// When it was heard, by the gateway's clock.
    pub at: SystemTime,
}

impl Point {
    /// A point of which nothing was told yet.
    pub fn new(plan: Plan) -> Self {
        Self { plan, told: None, held: None }
    }

    /// The device spoke of it, and not for a second time in the same breath. Returns what is to be told
    /// now. `numbered`: the device counts its measurements, so this is another one though it may be the
    /// same value. `heartbeat`: how long an unchanged value of any other is not told again.
    pub fn hear(
        &mut self,
        datum: Datum,
        numbered: bool,
        heartbeat: Duration,
        at: SystemTime,
        now: Instant,
    ) -> Option<News> {
        if self.plan.drop {
            return None;
        }
        let news = News {
            unit: self.plan.unit(&datum.unit),
            value: datum.value.map(|value| self.plan.apply(value)),
            kind: datum.kind,
            at,
        };
        let is_another = match news.kind {
            Kind::Measurement => numbered && news.value.is_ok(),
            Kind::Diagnostic => false,
            Kind::Event if news.value.is_err() => return None,
            Kind::Event => true,
        };
        if !(is_another || self.differs(&news.value, heartbeat, now)) {
            return None;
        }
        if news.kind != Kind::Event && self.must_wait(&news.value, now) {
            self.held = Some(news);
            return None;
        }
        Some(self.tell(news, now))
    }

    /// What was held back and may be told now.
    pub fn due(&mut self, now: Instant) -> Option<News> {
        let waits = self.held.as_ref().is_none_or(|held| self.must_wait(&held.value, now));
        if waits {
            return None;
        }
        let held = self.held.take()?;
        Some(self.tell(held, now))
    }

    /// The last good value that was told.
    pub fn last(&self) -> Option<&Value> {
        self.told.as_ref()?.0.as_ref().ok()
    }

    fn tell(&mut self, news: News, now: Instant) -> News {
        self.told = Some((news.value.clone(), now));
        self.held = None;
        news
    }

    /// Whether this is another value than the last one, or it is time to tell it again.
    fn differs(&self, value: &Result<Value, Absent>, heartbeat: Duration, now: Instant) -> bool {
        let last = self.held.as_ref().map(|held| &held.value).or(self.told.as_ref().map(|(value, _)| value));
        let is_time = self.told.as_ref().is_none_or(|(_, at)| now >= *at + heartbeat);
        last != Some(value) || is_time
    }

    /// Whether a number has to wait because another was told just before.
    fn must_wait(&self, value: &Result<Value, Absent>, now: Instant) -> bool {
        let (Some(every), Some((Ok(told), at))) = (self.plan.every, &self.told) else { return false };
        let is_number = |value: &Value| matches!(value, Value::Int(_) | Value::Float(_));
        value.as_ref().is_ok_and(is_number) && is_number(told) && now < *at + every
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advert::quantity::{BATTERY, BUTTON, DOOR, TEMPERATURE};

    /// Whether the device counts its measurements.
    const NEW: bool = true;
    const UNNUMBERED: bool = false;
    const HEARTBEAT: Duration = Duration::from_secs(600);

    struct Bench {
        point: Point,
        start: Instant,
    }

    impl Bench {
        fn new(plan: Plan) -> Self {
            Self { point: Point::new(plan), start: Instant::now() }
        }

        fn plain() -> Self {
            Self::new(Plan::plain("x", None))
        }

        fn with(settings: PointSettings) -> Self {
            Self::new(Plan::new("temperature", &settings, None))
        }

        /// What is told when this is heard after so many seconds.
        fn hear(&mut self, secs: u64, datum: Datum, numbered: bool) -> Option<Result<Value, Absent>> {
            let now = self.start + Duration::from_secs(secs);
            Some(self.point.hear(datum, numbered, HEARTBEAT, SystemTime::UNIX_EPOCH, now)?.value)
        }

        fn due(&mut self, secs: u64) -> Option<Value> {
            self.point.due(self.start + Duration::from_secs(secs))?.value.ok()
        }
    }

    #[test]
    fn a_value_without_a_number_is_told_when_it_changes_and_at_every_heartbeat() {
        let mut bench = Bench::plain();
        let told: Vec<u64> = (0..=1_300)
            .filter(|secs| bench.hear(*secs, TEMPERATURE.of(if *secs < 100 { 4.0 } else { 4.1 }), UNNUMBERED).is_some())
            .collect();
        assert_eq!(told, [0, 100, 700, 1_300]);
    }

    #[test]
    fn a_measurement_that_is_counted_is_told_though_it_is_the_same() {
        let mut bench = Bench::plain();
        assert!(bench.hear(0, TEMPERATURE.of(4.0), NEW).is_some());
        assert!(bench.hear(2, TEMPERATURE.of(4.0), NEW).is_some());
        assert!(bench.hear(3, BATTERY.whole(4), NEW).is_some());
        assert!(bench.hear(4, BATTERY.whole(4), NEW).is_none(), "how the sensor is goes by its value");
    }

    #[test]
    fn an_event_is_told_each_time_it_happens() {
        let mut bench = Bench::new(Plan::plain("x", Some(Duration::from_secs(10))));
        for secs in 0..5 {
            assert!(bench.hear(secs, BUTTON.whole(3), UNNUMBERED).is_some());
        }
    }

    #[test]
    fn of_numbers_that_come_too_fast_the_last_is_told_when_it_is_time() {
        let mut bench = Bench::new(Plan::plain("x", Some(Duration::from_secs(10))));
        assert!(bench.hear(0, TEMPERATURE.of(1.0), UNNUMBERED).is_some());
        assert!(bench.hear(3, TEMPERATURE.of(2.0), UNNUMBERED).is_none());
        assert!(bench.hear(6, TEMPERATURE.of(3.0), UNNUMBERED).is_none());
        assert_eq!(bench.due(9), None);
        assert_eq!(bench.due(10), Some(Value::Float(3.0)));
        assert_eq!(bench.due(30), None);
        assert!(bench.hear(31, TEMPERATURE.of(3.0), UNNUMBERED).is_none(), "it was told");
    }

    #[test]
    fn a_door_never_has_to_wait() {
        let mut bench = Bench::new(Plan::plain("x", Some(Duration::from_secs(10))));
        for open in [true, false, true] {
            assert!(bench.hear(0, DOOR.is(open), UNNUMBERED).is_some());
        }
    }

    #[test]
    fn a_missing_value_is_told_once_and_so_is_its_return() {
        let mut bench = Bench::plain();
        let four = || TEMPERATURE.of(4.0);
        assert!(bench.hear(0, four(), UNNUMBERED).is_some());
        assert_eq!(bench.hear(1, TEMPERATURE.missing(), NEW), Some(Err(Absent::NoValue)));
        assert_eq!(bench.hear(2, TEMPERATURE.missing(), NEW), None);
        assert_eq!(bench.hear(3, four(), UNNUMBERED), Some(Ok(Value::Float(4.0))));
    }

    #[test]
    fn an_offset_leaves_no_long_tail_and_precision_rounds() {
        let settings = |offset, precision: Option<u8>| PointSettings {
            offset: Some(offset),
            precision: precision.map(Ranged::new),
            ..PointSettings::default()
        };
        let mut off = Bench::with(settings(-0.2, None));
        assert_eq!(off.hear(0, TEMPERATURE.of(21.3), NEW), Some(Ok(Value::Float(21.1))));
        let mut whole = Bench::with(settings(0.0, Some(0)));
        assert_eq!(whole.hear(0, TEMPERATURE.of(-3.6), UNNUMBERED), Some(Ok(Value::Float(-4.0))));
        assert_eq!(whole.hear(1, TEMPERATURE.of(-3.9), UNNUMBERED), None, "rounded it is the same");
    }

    #[test]
    fn what_is_dropped_is_never_told() {
        let mut bench = Bench::with(PointSettings { drop: true, ..PointSettings::default() });
        assert_eq!(bench.hear(0, TEMPERATURE.of(1.0), NEW), None);
    }
}
