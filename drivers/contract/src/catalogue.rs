//! Which points a driver knows before it has heard any of them, and which of them may be written.

use crate::{DeviceId, Labels, PointId, Unit, Value};

/// One point as the site file declares it.
#[derive(Clone, Debug, PartialEq)]
pub struct PointInfo {
    /// The device it is on.
    pub device: DeviceId,
    /// Its name there.
    pub point: PointId,
    /// Its unit.
    pub unit: Option<Unit>,
    /// The labels its readings carry. A command in a driver's own topic form is matched to its
    /// point by these.
    pub labels: Labels,
    /// What may be written to it; `None` means nothing.
    pub write: Option<WriteRule>,
}

/// What may be written to a point.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WriteRule {
    /// The smallest value allowed, in the point's unit.
    pub min: Option<f64>,
    /// The largest value allowed, in the point's unit.
    pub max: Option<f64>,
    /// Whether the device has to confirm each write.
    pub verify: bool,
}

impl WriteRule {
    /// Says in words why the value is outside the limits, if it is.
    pub fn refuse(&self, value: &Value) -> Option<String> {
        if self.min.is_none() && self.max.is_none() {
            return None;
        }
        let Some(number) = value.as_f64() else {
            return Some(format!("{value:?} is not a number, and this point has limits"));
        };
        match (self.min, self.max) {
            // A NaN is below no minimum and above no maximum, so it is asked for by name.
            _ if number.is_nan() => Some("NaN is not a value".into()),
            (Some(min), _) if number < min => Some(format!("{number} is below the minimum {min}")),
            (_, Some(max)) if number > max => Some(format!("{number} is above the maximum {max}")),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_inclusive_and_named_in_the_refusal() {
        let rule = WriteRule { min: Some(5.0), max: Some(80.0), verify: false };
        for allowed in [Value::Int(5), Value::Float(80.0), Value::Int(40)] {
            assert_eq!(rule.refuse(&allowed), None);
        }
        assert_eq!(rule.refuse(&Value::Float(4.9)).as_deref(), Some("4.9 is below the minimum 5"));
        assert_eq!(rule.refuse(&Value::Int(81)).as_deref(), Some("81 is above the maximum 80"));
        assert!(rule.refuse(&Value::Text("warm".into())).is_some());
        assert!(rule.refuse(&Value::Float(f64::NAN)).is_some());
    }
}
