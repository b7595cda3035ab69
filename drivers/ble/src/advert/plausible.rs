//! What no sensor can have measured.
//!
//! The limits are wide on purpose: a freezer at −41 °C and a barbecue probe at 290 °C are real. They
//! catch bits that fell over and sensors that have come apart, not weather. A format whose makers
//! state narrower ones applies those itself.

use std::ops::RangeInclusive;

use wharf_contract::Value;

use super::{Absent, Datum, Quantity, quantity};

const LIMITS: &[(Quantity, RangeInclusive<f64>)] = &[
    // A thermocouple in a kiln.
    (quantity::TEMPERATURE, -200.0..=1800.0),
    (quantity::DEW_POINT, -200.0..=200.0),
    (quantity::HUMIDITY, 0.0..=100.0),
    (quantity::MOISTURE, 0.0..=100.0),
    (quantity::BATTERY, 0.0..=100.0),
    // Mount Everest has 300 hPa; a sensor in a pressurised room has a little over 1100.
    (quantity::PRESSURE, 100.0..=1200.0),
    (quantity::CO2, 0.0..=40_000.0),
];

/// Takes the value away if it cannot be, and says why.
pub(super) fn check(datum: &mut Datum) {
    let number = match datum.value {
        Ok(Value::Float(number)) => number,
        // Far above every limit where it loses any.
        Ok(Value::Int(number)) => number as f64,
        _ => return,
    };
    let Some((_, range)) = LIMITS.iter().find(|(quantity, _)| is_one(&datum.point, quantity.name)) else {
        return;
    };
    if !range.contains(&number) {
        let (unit, low, high) = (&datum.unit, range.start(), range.end());
        let reason = format!("{number} {unit} is not within {low} to {high} {unit}");
        datum.value = Err(Absent::Implausible(reason));
    }
}

/// Whether `point` is the quantity `name`, or one of several of it, such as `temperature_2`.
fn is_one(point: &str, name: &str) -> bool {
    match point.strip_prefix(name).map(|rest| rest.strip_prefix('_').ok_or(rest)) {
        Some(Err(rest)) => rest.is_empty(),
        Some(Ok(number)) => !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_one(mut datum: Datum) -> Result<Value, Absent> {
        check(&mut datum);
        datum.value
    }

    #[test]
    fn weather_freezers_and_ovens_pass() {
        for number in [-41.0, 0.0, 290.0] {
            assert_eq!(check_one(quantity::TEMPERATURE.of(number)), Ok(Value::Float(number)));
        }
        assert_eq!(check_one(quantity::HUMIDITY.of(100.0)), Ok(Value::Float(100.0)));
        assert_eq!(check_one(quantity::COUNT.whole(100_000)), Ok(Value::Int(100_000)));
    }

    #[test]
    fn what_cannot_be_is_told_in_words() {
        let told = check_one(quantity::HUMIDITY.of(127.5)).unwrap_err();
        assert_eq!(told.to_string(), "implausible: 127.5 % is not within 0 to 100 %");
        assert!(check_one(quantity::BATTERY.whole(101)).is_err());
        assert!(check_one(quantity::PRESSURE.of(1201.0)).is_err());
    }

    #[test]
    fn the_second_of_several_has_the_same_limits() {
        assert!(check_one(quantity::HUMIDITY.of(101.0).nth(2)).is_err());
        assert!(
            is_one("battery", "battery") && !is_one("battery_voltage", "battery") && !is_one("battery_", "battery")
        );
    }

    #[test]
    fn what_is_missing_stays_missing() {
        assert_eq!(check_one(quantity::HUMIDITY.missing()), Err(Absent::NoValue));
    }
}
