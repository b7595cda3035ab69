//! How simulated values move: pure functions of the time since the demo began.
//!
//! Demo time runs fast, so that a visitor sees a whole day come and go: [`DAY`] says how fast. What
//! looks like noise is a sum of sines, so the same moment always has the same value.

use std::f64::consts::TAU;
use std::time::Duration;

/// How long one day of the demo takes.
pub const DAY: Duration = Duration::from_secs(600);

/// The hour at which the demo begins: early, when temperature and load are about to move.
const FIRST_HOUR: f64 = 6.0;

/// How many hours of demo time pass in so much real time.
pub fn hours(elapsed: Duration) -> f64 {
    elapsed.as_secs_f64() / DAY.as_secs_f64() * 24.0
}

/// The hour of the demo's day, from 0 to below 24.
pub fn hour_of_day(elapsed: Duration) -> f64 {
    (FIRST_HOUR + hours(elapsed)) % 24.0
}

/// The temperature in a greenhouse at that hour, in °C: coldest before dawn, warmest at three.
pub fn air_temperature(hour: f64) -> f64 {
    19.0 + 7.0 * ((hour - 15.0) / 24.0 * TAU).cos()
}

/// The relative humidity that goes with that temperature, in %: warm air holds more water.
pub fn humidity(temperature: f64) -> f64 {
    (88.0 - 2.4 * (temperature - 12.0)).clamp(20.0, 99.0)
}

/// What a house draws at that hour, in W: little at night, most for breakfast and supper.
pub fn load(hour: f64) -> f64 {
    280.0 + 1_900.0 * bump(hour, 7.5, 1.2) + 800.0 * bump(hour, 12.5, 1.0) + 2_600.0 * bump(hour, 19.0, 2.0)
}

/// Irregular movement from -1 to 1 within seconds. Different seeds move differently.
pub fn wobble(elapsed: Duration, seed: f64) -> f64 {
    let seconds = elapsed.as_secs_f64();
    let wave = |period: f64, shift: f64| (seconds / period * TAU + seed * shift).sin();
    0.5 * wave(17.0, 1.0) + 0.3 * wave(5.3, 2.3) + 0.2 * wave(2.1, 4.7)
}

/// Where a value is that was let go at `from` and creeps toward `target`: after `pace` about two
/// thirds of the way are behind it.
pub fn approach(from: f64, target: f64, elapsed: Duration, pace: Duration) -> f64 {
    target + (from - target) * (-elapsed.as_secs_f64() / pace.as_secs_f64()).exp()
}

/// A bell around an hour of the day, 1 at its top. Midnight is no edge.
fn bump(hour: f64, top: f64, width: f64) -> f64 {
    let straight = (hour - top).abs();
    let distance = straight.min(24.0 - straight);
    (-(distance / width).powi(2) / 2.0).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_minute() -> impl Iterator<Item = f64> {
        (0..24 * 60).map(|minute| f64::from(minute) / 60.0)
    }

    #[test]
    fn a_day_of_the_demo_ends_where_it_began() {
        assert_eq!(hour_of_day(Duration::ZERO), FIRST_HOUR);
        assert!((hour_of_day(DAY) - FIRST_HOUR).abs() < 1e-9);
        assert!((hour_of_day(DAY / 2) - 18.0).abs() < 1e-9);
        assert!((hours(DAY * 3) - 72.0).abs() < 1e-9);
    }

    #[test]
    fn afternoons_are_warm_and_dry_and_nights_cold_and_damp() {
        assert!(air_temperature(15.0) > air_temperature(3.0) + 10.0);
        assert!(humidity(air_temperature(15.0)) < humidity(air_temperature(3.0)) - 20.0);
        for hour in every_minute() {
            assert!((0.0..=40.0).contains(&air_temperature(hour)));
            assert!((0.0..=100.0).contains(&humidity(air_temperature(hour))));
        }
    }

    #[test]
    fn a_house_draws_most_in_the_evening_and_never_gives_back() {
        assert!(load(19.0) > load(7.5) && load(7.5) > load(3.0) * 5.0);
        assert!(every_minute().all(|hour| load(hour) > 0.0));
        // No jump at midnight.
        assert!((load(23.999) - load(0.0)).abs() < 5.0);
    }

    #[test]
    fn noise_stays_within_its_bounds_moves_and_is_repeatable() {
        let at = |ms| wobble(Duration::from_millis(ms), 3.0);
        assert!((0..100_000).step_by(37).all(|ms| at(ms).abs() <= 1.0));
        assert!((at(1_000) - at(2_000)).abs() > 0.01);
        assert_eq!(at(4_321), at(4_321));
        assert_ne!(at(4_321), wobble(Duration::from_millis(4_321), 4.0));
    }

    #[test]
    fn a_value_creeps_toward_its_target_and_does_not_overshoot() {
        let pace = Duration::from_secs(20);
        let at = |seconds| approach(48.0, 60.0, Duration::from_secs(seconds), pace);
        assert_eq!(at(0), 48.0);
        assert!(at(5) > at(0) && at(20) > 55.0 && at(20) < 56.0);
        assert!(at(600) <= 60.0 && at(600) > 59.99);
        // Two short ways are one long way, so it does not matter how often a value is asked for.
        let halfway = approach(48.0, 60.0, Duration::from_secs(7), pace);
        assert!((approach(halfway, 60.0, Duration::from_secs(13), pace) - at(20)).abs() < 1e-9);
    }
}
