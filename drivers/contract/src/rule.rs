//! What may be written to a point: limits, steps, allowed values, how often, and what is written
//! when nobody can command any more.

use std::fmt;
use std::time::Duration;

use crate::Value;

/// How far a number may be off a step or an allowed value, relative to its size: what a 32-bit
/// float loses (2⁻²⁴), and a little more.
const ROUNDING: f64 = 2e-7;

/// What may be written to a point.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WriteRule {
    /// The smallest value allowed, in the point's unit.
    pub min: Option<f64>,
    /// The largest value allowed, in the point's unit.
    pub max: Option<f64>,
    /// Values go in steps of this, in the point's unit: counted from `min`, or from 0. Above 0.
    pub step: Option<f64>,
    /// The only values allowed. Empty: all of them.
    pub allowed: Vec<Value>,
    /// How often it may be written.
    pub rate: Option<WriteRate>,
    /// Whether the device has to confirm each write.
    pub verify: bool,
    /// What is written when nobody upstream can command any more.
    pub fail_safe: Option<FailSafe>,
}

/// So many writes in any stretch of that length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteRate {
    /// 1–1000.
    pub count: u16,
    /// A second, a minute, an hour or a day.
    pub per: Duration,
}

/// A value for the time when no uplink is there.
#[derive(Clone, Debug, PartialEq)]
pub struct FailSafe {
    /// How long every uplink has to be away.
    pub after: Duration,
    /// What is written then.
    pub write: Value,
}

impl WriteRule {
    /// Says in words why the value must not be written, if it must not. How often it is written is
    /// not looked at here.
    pub fn refuse(&self, value: &Value) -> Option<String> {
        // Each value of a list keeps the rule, unless the list itself is allowed.
        if let Value::List(values) = value
            && !self.allowed.iter().any(|allowed| allowed == value)
        {
            return values.iter().find_map(|value| self.refuse(value));
        }
        if !self.allowed.is_empty() && !self.allowed.iter().any(|allowed| same(allowed, value)) {
            let allowed: Vec<_> = self.allowed.iter().map(Value::to_string).collect();
            return Some(format!("{value} is not one of the values allowed here: {}", allowed.join(", ")));
        }
        if self.min.is_none() && self.max.is_none() && self.step.is_none() {
            return None;
        }
        let Some(number) = value.as_f64() else {
            return Some(format!("{:?} is not a number, and this point has limits", value.to_string()));
        };
        match (self.min, self.max) {
            // A NaN is below no minimum and above no maximum, so it is asked for by name.
            _ if !number.is_finite() => Some(format!("{number} is not a value")),
            (Some(min), _) if number < min => Some(format!("{number} is below the minimum {min}")),
            (_, Some(max)) if number > max => Some(format!("{number} is above the maximum {max}")),
            _ => self.between_steps(number),
        }
    }

    /// What to send for a value, and the value as the device will understand it: `spell` says what is sent, `read` what
    /// the device makes of that.
    ///
    /// # Errors
    /// The value must not be written, or cannot be: in words.
    pub fn prepare<S: fmt::Display>(
        &self,
        value: &Value,
        spell: impl FnOnce(&Value) -> Result<S, String>,
        read: impl FnOnce(&S) -> Result<Value, String>,
    ) -> Result<(S, Value), String> {
        if let Some(reason) = self.refuse(value) {
            return Err(reason);
        }
        let spelt = spell(value)?;
        let understood = read(&spelt).unwrap_or_else(|_| value.clone());
        // What is sent may be rounded. It is still within the limits, or not sent at all.
        if let Some(reason) = self.refuse(&understood) {
            return Err(format!("sent as {spelt}, {reason}"));
        }
        Ok((spelt, understood))
    }

    fn between_steps(&self, number: f64) -> Option<String> {
        let step = self.step.filter(|step| *step > 0.0)?;
        let base = self.min.unwrap_or_default();
        let near = base + ((number - base) / step).round() * step;
        // However large the number, what is nearly half a step off is off.
        let slack = (ROUNDING * number.abs().max(step)).min(step / 4.0);
        let off = (number - near).abs() > slack;
        off.then(|| format!("{number} is between two steps: they are {step} apart, counted from {base}"))
    }
}

fn same(allowed: &Value, value: &Value) -> bool {
    match (allowed, value) {
        (Value::Bool(_), _) | (_, Value::Bool(_)) => allowed == value,
        _ => match (allowed.as_f64(), value.as_f64()) {
            (Some(allowed), Some(value)) => (allowed - value).abs() <= ROUNDING * allowed.abs(),
            _ => allowed == value,
        },
    }
}

/// The lengths of time a rate may be about, as they are written.
pub(crate) const SPANS: [(&str, Duration); 4] = [
    ("s", Duration::from_secs(1)),
    ("min", Duration::from_secs(60)),
    ("h", Duration::from_secs(3600)),
    ("d", Duration::from_secs(86_400)),
];

/// As it is written: `6/min`.
impl fmt::Display for WriteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = SPANS.iter().find(|(_, length)| *length == self.per);
        write!(f, "{}/{}", self.count, span.map_or("?", |(unit, _)| unit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(rule: &WriteRule, value: Value) -> Option<String> {
        rule.refuse(&value)
    }

    #[test]
    fn limits_are_inclusive_and_named_in_the_refusal() {
        let rule = WriteRule { min: Some(5.0), max: Some(80.0), ..WriteRule::default() };
        for allowed in [Value::Int(5), Value::Float(80.0), Value::Int(40)] {
            assert_eq!(rule.refuse(&allowed), None);
        }
        assert_eq!(refusal(&rule, Value::Float(4.9)).as_deref(), Some("4.9 is below the minimum 5"));
        assert_eq!(refusal(&rule, Value::Int(81)).as_deref(), Some("81 is above the maximum 80"));
        assert!(rule.refuse(&Value::Text("warm".into())).is_some());
        assert!(rule.refuse(&Value::Float(f64::NAN)).is_some());
    }

    #[test]
    fn steps_count_from_the_minimum_and_forgive_what_rounding_does() {
        let rule = WriteRule { min: Some(5.0), step: Some(0.1), ..WriteRule::default() };
        for on_step in [5.0, 5.3, 5.1 + 0.2, f64::from(80.1_f32), 123_456.7] {
            assert_eq!(refusal(&rule, Value::Float(on_step)), None, "{on_step}");
        }
        assert_eq!(
            refusal(&rule, Value::Float(5.25)).as_deref(),
            Some("5.25 is between two steps: they are 0.1 apart, counted from 5")
        );
        let odd = WriteRule { min: Some(1.0), step: Some(2.0), ..WriteRule::default() };
        assert_eq!(refusal(&odd, Value::Int(7)), None);
        assert!(refusal(&odd, Value::Int(8)).is_some());
        let whole = WriteRule { step: Some(1.0), ..WriteRule::default() };
        assert_eq!(refusal(&whole, Value::Int(-3)), None);
        assert!(refusal(&whole, Value::Float(1e12 + 0.5)).is_some());
        assert!(refusal(&whole, Value::Float(f64::INFINITY)).is_some());
    }

    #[test]
    fn only_the_values_that_are_listed_are_allowed() {
        let numbers =
            WriteRule { allowed: vec![Value::Int(0), Value::Int(50), Value::Float(99.9)], ..WriteRule::default() };
        for allowed in [Value::Int(0), Value::Float(50.0), Value::Float(f64::from(99.9_f32))] {
            assert_eq!(numbers.refuse(&allowed), None, "{allowed}");
        }
        assert_eq!(
            refusal(&numbers, Value::Int(51)).as_deref(),
            Some("51 is not one of the values allowed here: 0, 50, 99.9")
        );
        assert!(refusal(&numbers, Value::Bool(false)).is_some());
        let words = WriteRule { allowed: vec![Value::Text("eco".into()), Value::Bool(true)], ..WriteRule::default() };
        assert_eq!(refusal(&words, Value::Text("eco".into())), None);
        assert_eq!(refusal(&words, Value::Bool(true)), None);
        assert!(refusal(&words, Value::Int(1)).is_some());
    }

    #[test]
    fn what_rounding_would_bring_beyond_the_limits_is_not_sent() {
        let rule = WriteRule { max: Some(2.4), ..WriteRule::default() };
        // A device that counts in halves.
        let prepare = |value: f64| {
            let spell = |value: &Value| Ok(format!("{:.0}", value.as_f64().unwrap_or_default() * 2.0));
            let read =
                |text: &String| text.parse().map(|number: f64| Value::Float(number / 2.0)).map_err(|_| "?".into());
            rule.prepare(&Value::Float(value), spell, read)
        };
        assert_eq!(prepare(1.9), Ok(("4".into(), Value::Float(2.0))));
        assert_eq!(prepare(2.4), Err("sent as 5, 2.5 is above the maximum 2.4".into()));
        assert_eq!(prepare(2.5), Err("2.5 is above the maximum 2.4".into()));
    }
}
