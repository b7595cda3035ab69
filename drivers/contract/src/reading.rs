//! Values, their quality, and the names they carry on their way north.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// Defines a name: a cheap-to-clone text with a meaning of its own.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps a text. The settings decoder has already checked names that come from a
            /// site file; a name made from what a device said must be safe as a topic level.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// A link's name in the site file: `boiler-room`.
    LinkId
);
name!(
    /// A device's name: unique in the whole site, as it stands in topics.
    DeviceId
);
name!(
    /// A point's name: unique on its device, as it stands in topics.
    PointId
);
name!(
    /// A unit as people write it: `°C`, `kWh`, `m³/h`.
    Unit
);

/// A point's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// On or off, open or closed.
    Bool(bool),
    /// A whole number. Unsigned 64-bit values beyond `i64` are carried as [`Value::Float`] only
    /// when they are exact there, else the reading is bad.
    Int(i64),
    /// A number with a fraction. Never NaN or infinite: such a value is a bad reading.
    Float(f64),
    /// Text, as the device spells it.
    Text(String),
    /// Several values in a row. Drivers put no list into a list.
    List(Vec<Value>),
}

impl Value {
    /// The number of a JSON text, to its last digit; `None` if no value carries it so. Whole numbers go
    /// from −2⁶³ to 2⁶³ − 1; beyond that, those that a float carries exactly.
    pub fn of_number(number: &serde_json::Number) -> Option<Self> {
        if let Some(whole) = number.as_i64() {
            return Some(Self::Int(whole));
        }
        if let Some(whole) = number.as_u64() {
            // Whether that is exact is looked at in the next line.
            let float = whole as f64;
            // Positive, and at most 2⁶⁴.
            return (float as u128 == u128::from(whole)).then_some(Self::Float(float));
        }
        // Of a whole number beyond 64 bits the reader of JSON has made the nearest float. No register holds
        // one, but for the lowest number of 64 bits, which could have come of a lower one.
        // A power of two, so this is exact.
        let lowest = i64::MIN as f64;
        number.as_f64().filter(|float| float.is_finite() && *float != lowest).map(Self::Float)
    }

    /// The value as a number, for limits: booleans count 0 and 1, text and lists have none.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Bool(on) => Some(f64::from(u8::from(*on))),
            // Limits are compared, not stored.
            Self::Int(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            Self::Text(_) | Self::List(_) => None,
        }
    }

    /// The value as JSON: a number as [`Display`](fmt::Display) shows it, so that a whole one has no `.0`.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Bool(value) => (*value).into(),
            Self::Int(value) => (*value).into(),
            // JSON has no NaN and no infinity. Drivers do not emit them; should one slip through,
            // null is the honest answer.
            Self::Float(value) => number(*value),
            Self::Text(value) => value.as_str().into(),
            Self::List(values) => values.iter().map(Self::to_json).collect(),
        }
    }
}

/// A number without a fraction is written without one.
fn number(value: f64) -> serde_json::Value {
    // From here on not every float is an `i64`.
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    let is_negative_zero = value == 0.0 && value.is_sign_negative();
    if value.fract() != 0.0 || value.abs() >= BEYOND || is_negative_zero {
        return value.into();
    }
    // It is whole and within the range, so nothing is cut off.
    (value as i64).into()
}

/// The bare value, as `payload: raw` publishes it: `true`, `21.5`, `open`; a list as JSON.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
            Self::Text(value) => value.fmt(f),
            Self::List(_) => self.to_json().fmt(f),
        }
    }
}

/// How far a reading can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quality {
    /// Read just now, and plausible.
    Good,
    /// The last known value, too old to be called current.
    Stale,
    /// Could not be read, or what was read makes no sense.
    Bad,
}

impl Quality {
    /// As it stands in payloads: `good`, `stale`, `bad`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Stale => "stale",
            Self::Bad => "bad",
        }
    }
}

/// What a driver knows of a reading beyond its names: the words its topic templates may use, such
/// as MySensors' `node` and `child`. Few and short, so a list is searched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Option<Arc<[(&'static str, String)]>>);

impl Labels {
    /// No labels.
    pub const NONE: Self = Self(None);

    /// The labels in the order given.
    pub fn new(labels: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        Self(Some(labels.into_iter().collect()))
    }

    /// The label of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// All labels.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().flat_map(|labels| labels.iter()).map(|(key, value)| (*key, value.as_str()))
    }
}

/// A point's value at a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The device it came from.
    pub device: DeviceId,
    /// The point on that device.
    pub point: PointId,
    /// The value; `None` with [`Quality::Bad`] when there is none to give.
    pub value: Option<Value>,
    /// The value as the device wrote it, where it speaks text. `payload: raw` publishes this, so
    /// that `21.50` does not become `21.5` on its way through.
    pub verbatim: Option<Arc<str>>,
    /// The value's unit.
    pub unit: Option<Unit>,
    /// How far it can be trusted.
    pub quality: Quality,
    /// Why the quality is not good, in words.
    pub reason: Option<Arc<str>>,
    /// When the value was taken, by the gateway's clock.
    pub taken_at: SystemTime,
    /// The driver's own words for the topic templates.
    pub labels: Labels,
}

impl Reading {
    /// A good reading with neither unit nor labels.
    pub fn good(device: DeviceId, point: PointId, value: Value, taken_at: SystemTime) -> Self {
        Self {
            device,
            point,
            value: Some(value),
            verbatim: None,
            unit: None,
            quality: Quality::Good,
            reason: None,
            taken_at,
            labels: Labels::NONE,
        }
    }

    /// A reading that says that, and why, there is no value.
    pub fn bad(device: DeviceId, point: PointId, reason: impl Into<Arc<str>>, taken_at: SystemTime) -> Self {
        Self {
            device,
            point,
            value: None,
            verbatim: None,
            unit: None,
            quality: Quality::Bad,
            reason: Some(reason.into()),
            taken_at,
            labels: Labels::NONE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_carried_to_its_last_digit_or_not_at_all() {
        let check = |text: &str, expected: Option<Value>| {
            assert_eq!(Value::of_number(&serde_json::from_str(text).unwrap()), expected, "{text}");
        };
        check("9223372036854775807", Some(Value::Int(i64::MAX)));
        check("-9223372036854775808", Some(Value::Int(i64::MIN)));
        check("9223372036854775808", Some(Value::Float(9_223_372_036_854_775_808.0)));
        check("9223372036854775809", None);
        check("18446744073709549568", Some(Value::Float(18_446_744_073_709_549_568.0)));
        check("18446744073709551615", None);
        check("-9223372036854775809", None);
        check("21.5", Some(Value::Float(21.5)));
        check("1e300", Some(Value::Float(1e300)));
    }

    #[test]
    fn a_number_is_the_same_in_json_as_by_itself() {
        for (value, shown) in [(231.0, "231"), (21.5, "21.5"), (-3.0, "-3"), (0.0, "0"), (4e15, "4000000000000000")] {
            let value = Value::Float(value);
            assert_eq!((value.to_json().to_string(), value.to_string()), (shown.to_owned(), shown.to_owned()));
        }
        assert_eq!(Value::Float(f64::NAN).to_json(), serde_json::Value::Null);
        assert_eq!(Value::Float(1e19).to_json(), serde_json::json!(1e19));
    }

    #[test]
    fn a_list_is_shown_as_json_and_has_no_number() {
        let list =
            Value::List(vec![Value::Int(1), Value::Float(0.5), Value::Text("a \"b\"".into()), Value::Bool(true)]);
        assert_eq!(list.to_string(), r#"[1,0.5,"a \"b\"",true]"#);
        assert_eq!(list.as_f64(), None);
        assert_eq!(Value::List(vec![Value::Float(f64::NAN)]).to_string(), "[null]");
    }
}
