//! What a command's payload says: the value, an id, and how long it is worth something. Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde_json::Value as Json;
use wharf_contract::Value;
use wharf_contract::settings::{parse_duration, suggest};

/// The largest payload of a command, in bytes.
const LARGEST: usize = 4096;
/// The longest text or number that is repeated as an id.
const LONGEST_ID: usize = 128;

/// The longest that a command may take: an hour, or a week if its device sleeps.
const LONGEST: Duration = Duration::from_secs(3600);
const LONGEST_HELD: Duration = Duration::from_secs(7 * 86_400);

/// What others say of how long a command is worth something.
#[derive(Clone, Copy, Debug)]
pub struct Worth {
    /// What counts when nobody says anything.
    pub usually: Duration,
    /// What MQTT says of it.
    pub broker: Option<Duration>,
    /// What counts in place of `usually` for a device that sleeps.
    pub hold: Option<Duration>,
}

/// A command's payload, understood.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Order {
    /// What to write; `None` for a read.
    pub value: Option<Value>,
    /// The asker's id, repeated in the answer.
    pub id: Option<Json>,
    expires: Option<Expires>,
}

#[derive(Clone, Debug, PartialEq)]
enum Expires {
    /// This long after it was sent: from `sent` if the asker says when, else from its arrival.
    After { time: Duration, sent: Option<SystemTime> },
    /// At this moment.
    At(SystemTime),
}

/// A command for several points of a device.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ManyOrder {
    /// What to write, by point, in the order sent.
    pub values: Vec<(String, Value)>,
    /// Its id, and how long it is worth something.
    pub order: Order,
}

impl ManyOrder {
    /// Values by point, or an object with `values` and perhaps `id`, `expires`, `ts`.
    ///
    /// # Errors
    /// Why the payload is no such command.
    pub fn parse(payload: &Bytes) -> Result<Self, OrderError> {
        let text = text(payload)?;
        if text.is_empty() {
            return Err(OrderError::Empty);
        }
        let object = match serde_json::from_str(text) {
            Ok(Json::Object(object)) => object,
            Err(error) if text.starts_with('{') => return Err(OrderError::NotJson(error.to_string())),
            _ => return Err(OrderError::NotMany),
        };
        // No point holds an object, so a point that is called `values` is told from this.
        let (values, order) = match object.get("values") {
            Some(Json::Object(values)) => (values, Order::about(&object)?),
            _ => (&object, Order::default()),
        };
        if values.is_empty() {
            return Err(OrderError::Empty);
        }
        let values = values.iter().map(|(point, value)| {
            let value = value_of(value)?;
            Ok((point.clone(), value))
        });
        Ok(Self { values: values.collect::<Result<_, OrderError>>()?, order })
    }
}

/// Why a payload is no command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// Too long.
    #[error("the payload has {0} bytes, a command has at most {LARGEST}")]
    TooLarge(usize),
    /// Not text.
    #[error("the payload is not UTF-8 text")]
    NotText,
    /// No payload.
    #[error("the payload is empty: send the value, or {{\"value\": …}}")]
    Empty,
    /// Something that begins like an object.
    #[error("the payload begins like JSON but is none: {0}; such a text is sent as {{\"value\": \"…\"}}")]
    NotJson(String),
    /// Several values that are not in an object.
    #[error("several points are written with an object: {{\"setpoint\": 21, \"mode\": 2}}")]
    NotMany,
    /// A JSON object without a value.
    #[error("the payload has no `value`")]
    NoValue,
    /// A value that no point can hold.
    #[error("a value is a number, true, false, text, or a list of these")]
    NoSuchValue,
    /// A whole number that would lose its last digits.
    #[error("{0} cannot be carried to its last digit: whole numbers go from {min} to {max}", min = i64::MIN, max = i64::MAX)]
    NotExact(String),
    /// An expiry that cannot be read.
    #[error("`expires` is a time such as \"30s\", or milliseconds since 1970")]
    Expires,
    /// A key that was probably meant to limit the time.
    #[error("`{0}` is not known: did you mean `expires`?")]
    MeantExpires(String),
    /// A time of sending that cannot be read.
    #[error("`ts` is milliseconds since 1970")]
    Sent,
    /// An id that cannot be repeated.
    #[error("`id` is a number or a short text")]
    Id,
}

impl Order {
    /// A write: the bare value, or an object with `value` and perhaps `id`, `expires`, `ts`.
    pub fn write(payload: &Bytes) -> Result<Self, OrderError> {
        let text = text(payload)?;
        if text.is_empty() {
            return Err(OrderError::Empty);
        }
        match serde_json::from_str(text) {
            Ok(Json::Object(object)) => {
                let value = object.get("value").ok_or(OrderError::NoValue)?;
                let value = Some(value_of(value)?);
                Ok(Self { value, ..Self::about(&object)? })
            }
            Ok(json) => {
                let value = Some(value_of(&json)?);
                Ok(Self { value, ..Self::default() })
            }
            // A slip of the pen in JSON must not end as text on a display.
            Err(error) if text.starts_with('{') => Err(OrderError::NotJson(error.to_string())),
            // Not JSON, so it is text as it stands: `on`, `open`, `55.7,13.0,18`.
            Err(_) => Ok(Self { value: Some(Value::Text(text.to_owned())), ..Self::default() }),
        }
    }

    /// A read: any payload; of an object, `id` and `expires` count.
    pub fn read(payload: &Bytes) -> Self {
        match text(payload).map(serde_json::from_str) {
            Ok(Ok(Json::Object(object))) => Self::about(&object).unwrap_or_default(),
            _ => Self::default(),
        }
    }

    /// How long the command may take from `now` on; `None` if its time has passed.
    pub fn time_left(&self, now: SystemTime, worth: Worth) -> Option<Duration> {
        let own = match &self.expires {
            None => worth.hold.unwrap_or(worth.usually),
            Some(Expires::After { time, sent: None }) => *time,
            Some(Expires::After { time, sent: Some(sent) }) => left(sent.checked_add(*time)?, now),
            Some(Expires::At(at)) => left(*at, now),
        };
        let left = worth.broker.map_or(own, |broker| own.min(broker));
        // A clock that is far behind must not keep a command alive for days. What needs no clock may
        // wait for days if the device sleeps.
        let by_clock = matches!(self.expires, Some(Expires::At(_) | Expires::After { sent: Some(_), .. }));
        let longest = match worth.hold {
            Some(hold) if by_clock => hold.max(LONGEST),
            Some(_) => LONGEST_HELD,
            None => LONGEST,
        };
        let left = left.min(longest);
        (!left.is_zero()).then_some(left)
    }

    /// The id in a payload that is no command otherwise, so that its refusal can be told apart.
    pub fn id_in(payload: &Bytes) -> Option<Json> {
        match serde_json::from_str(text(payload).ok()?) {
            Ok(Json::Object(object)) => id_of(&object).ok()?,
            _ => None,
        }
    }

    fn about(object: &serde_json::Map<String, Json>) -> Result<Self, OrderError> {
        let id = id_of(object)?;
        // Other unknown keys do no harm. A limit that does not count would.
        let misspelt = |key: &&String| *key != "expires" && suggest(key, ["expires"]).is_some();
        if let Some(key) = object.keys().find(misspelt) {
            return Err(OrderError::MeantExpires(key.clone()));
        }
        let sent = match object.get("ts") {
            None | Some(Json::Null) => None,
            Some(ts) => Some(moment(ts).ok_or(OrderError::Sent)?),
        };
        let expires = match object.get("expires") {
            None | Some(Json::Null) => None,
            Some(Json::String(text)) => {
                let time = parse_duration(text).ok_or(OrderError::Expires)?;
                Some(Expires::After { time, sent })
            }
            Some(at) => Some(Expires::At(moment(at).ok_or(OrderError::Expires)?)),
        };
        Ok(Self { value: None, id, expires })
    }
}

fn id_of(object: &serde_json::Map<String, Json>) -> Result<Option<Json>, OrderError> {
    match object.get("id") {
        None | Some(Json::Null) => Ok(None),
        Some(id @ Json::Number(_)) => Ok(Some(id.clone())),
        Some(Json::String(text)) if text.len() <= LONGEST_ID => Ok(Some(Json::from(text.as_str()))),
        Some(_) => Err(OrderError::Id),
    }
}

fn text(payload: &Bytes) -> Result<&str, OrderError> {
    if payload.len() > LARGEST {
        return Err(OrderError::TooLarge(payload.len()));
    }
    Ok(std::str::from_utf8(payload).map_err(|_| OrderError::NotText)?.trim())
}

fn value_of(json: &Json) -> Result<Value, OrderError> {
    match json {
        Json::Bool(value) => Ok(Value::Bool(*value)),
        Json::Number(number) => Value::of_number(number).ok_or_else(|| OrderError::NotExact(number.to_string())),
        Json::String(text) => Ok(Value::Text(text.clone())),
        // A list in a list is no value. Whether the point holds a list is the driver's to say.
        Json::Array(values) if values.iter().all(|value| !value.is_array()) => {
            values.iter().map(value_of).collect::<Result<_, _>>().map(Value::List)
        }
        Json::Null | Json::Array(_) | Json::Object(_) => Err(OrderError::NoSuchValue),
    }
}

fn moment(json: &Json) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_millis(json.as_u64()?))
}

fn left(until: SystemTime, now: SystemTime) -> Duration {
    until.duration_since(now).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Duration = Duration::from_secs(10);

    fn write(payload: &str) -> Result<Order, OrderError> {
        Order::write(&Bytes::copy_from_slice(payload.as_bytes()))
    }

    #[test]
    fn a_slip_in_json_is_no_text_for_a_display() {
        let check = |payload: &str| {
            let error = write(payload).unwrap_err();
            assert!(matches!(error, OrderError::NotJson(_)), "{error}");
            assert_eq!(ManyOrder::parse(&Bytes::copy_from_slice(payload.as_bytes())).unwrap_err(), error);
        };
        check("{\"value\": 21, \"id\": \"a\",}");
        check("{value: 21}");
        assert_eq!(write("{\"value\": \"{x\"}").unwrap().value, Some(Value::Text("{x".into())));
    }

    #[test]
    fn a_limit_that_would_not_count_is_refused() {
        for key in ["expire", "expiry", "Expires", "expires_in"] {
            let payload = format!("{{\"value\": 21, \"{key}\": \"30s\"}}");
            assert_eq!(write(&payload), Err(OrderError::MeantExpires(key.into())), "{key}");
        }
        assert!(write("{\"value\": 21, \"source\": \"panel\"}").is_ok());
    }

    #[test]
    fn an_id_is_found_in_what_is_no_command_otherwise() {
        let id = |payload: &str| Order::id_in(&Bytes::copy_from_slice(payload.as_bytes()));
        assert_eq!(id("{\"val\": 21, \"id\": \"a4\"}"), Some(Json::from("a4")));
        assert_eq!(id("{\"value\": 1, \"expires\": \"30\", \"id\": 6}"), Some(Json::from(6)));
        assert_eq!(id("{\"id\": [1]}"), None);
        assert_eq!(id("21"), None);
    }

    #[test]
    fn a_bare_payload_is_the_value() {
        let check = |payload: &str, value: Value| {
            assert_eq!(write(payload).unwrap().value, Some(value), "{payload}");
        };
        check("60", Value::Int(60));
        check(" 60\n", Value::Int(60));
        check("21.5", Value::Float(21.5));
        check("true", Value::Bool(true));
        check("on", Value::Text("on".into()));
        check("\"on\"", Value::Text("on".into()));
        check("55.7,13.0,18", Value::Text("55.7,13.0,18".into()));
        check("[1, true]", Value::List(vec![Value::Int(1), Value::Bool(true)]));
        check(r#"{"value":[]}"#, Value::List(vec![]));
    }

    #[test]
    fn a_number_is_taken_to_its_last_bit() {
        assert_eq!(write("123456789.12345679").unwrap().value, Some(Value::Float(123_456_789.123_456_79)));
        assert_eq!(write("[1e-45]").unwrap().value, Some(Value::List(vec![Value::Float(1e-45)])));
    }

    #[test]
    fn a_whole_number_that_would_lose_its_last_digits_is_refused() {
        let refused = |payload: &str, number: &str| {
            assert_eq!(write(payload), Err(OrderError::NotExact(number.into())), "{payload}");
        };
        refused("9223372036854775809", "9223372036854775809");
        refused(r#"{"value":[1,18446744073709551615]}"#, "18446744073709551615");
        let many = ManyOrder::parse(&Bytes::from_static(br#"{"total":9223372036854775809}"#));
        assert_eq!(many, Err(OrderError::NotExact("9223372036854775809".into())));
        assert_eq!(write("9223372036854775807").unwrap().value, Some(Value::Int(i64::MAX)));
    }

    #[test]
    fn an_object_carries_value_and_id() {
        let order = write(r#"{"value":60,"id":"a1"}"#).unwrap();
        assert_eq!((order.value, order.id), (Some(Value::Int(60)), Some("a1".into())));
        assert_eq!(Order::read(&Bytes::from_static(br#"{"id":7}"#)).id, Some(7.into()));
        assert_eq!(Order::read(&Bytes::new()), Order::default());
    }

    #[test]
    fn an_object_carries_values_of_several_points_and_perhaps_an_id() {
        let parse = |payload: &'static str| ManyOrder::parse(&Bytes::from_static(payload.as_bytes()));
        let both = vec![("setpoint".to_owned(), Value::Float(21.5)), ("mode".to_owned(), Value::Int(2))];
        assert_eq!(parse(r#"{"setpoint":21.5,"mode":2}"#).unwrap().values, both);
        let long = parse(r#"{"values":{"setpoint":21.5,"mode":2},"id":7}"#).unwrap();
        assert_eq!((long.values, long.order.id), (both, Some(7.into())));
        assert_eq!(parse(r#"{"values":1}"#).unwrap().values, [("values".to_owned(), Value::Int(1))]);
        assert_eq!(parse("21"), Err(OrderError::NotMany));
        assert_eq!(parse("on"), Err(OrderError::NotMany));
        assert_eq!(parse("{}"), Err(OrderError::Empty));
        assert_eq!(parse(r#"{"mode":null}"#), Err(OrderError::NoSuchValue));
        assert_eq!(parse(r#"{"values":{"mode":1},"id":[]}"#), Err(OrderError::Id));
    }

    #[test]
    fn what_is_no_command_is_refused_with_its_reason() {
        let check = |payload: &str, error: OrderError| assert_eq!(write(payload), Err(error), "{payload}");
        check("", OrderError::Empty);
        check(r#"{"valve":1}"#, OrderError::NoValue);
        check(r#"{"value":null}"#, OrderError::NoSuchValue);
        check("[1, null]", OrderError::NoSuchValue);
        check("[[1]]", OrderError::NoSuchValue);
        check(r#"{"value":[{}]}"#, OrderError::NoSuchValue);
        check("null", OrderError::NoSuchValue);
        check(r#"{"value":1,"expires":"soon"}"#, OrderError::Expires);
        check(r#"{"value":1,"expires":-1}"#, OrderError::Expires);
        check(r#"{"value":1,"ts":"now"}"#, OrderError::Sent);
        check(r#"{"value":1,"id":{}}"#, OrderError::Id);
        check(&"x".repeat(LARGEST + 1), OrderError::TooLarge(LARGEST + 1));
        assert_eq!(Order::write(&Bytes::from_static(&[0xff])), Err(OrderError::NotText));
    }

    #[test]
    fn the_time_left_counts_from_when_the_command_was_sent() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let check = |payload: &str, broker: Option<u64>, expected: Option<u64>| {
            let worth = Worth { usually: DEFAULT, broker: broker.map(Duration::from_secs), hold: None };
            let left = write(payload).unwrap().time_left(now, worth);
            assert_eq!(left, expected.map(Duration::from_secs), "{payload}");
        };
        check("1", None, Some(10));
        check("1", Some(3), Some(3));
        check("1", Some(0), None);
        check(r#"{"value":1,"expires":"30s"}"#, None, Some(30));
        check(r#"{"value":1,"expires":"30s"}"#, Some(5), Some(5));
        check(r#"{"value":1,"expires":"30s","ts":999990000}"#, None, Some(20));
        check(r#"{"value":1,"expires":"30s","ts":999900000}"#, None, None);
        check(r#"{"value":1,"expires":1000005000}"#, None, Some(5));
        check(r#"{"value":1,"expires":999999999}"#, None, None);
        check(r#"{"value":1,"expires":"14d"}"#, None, Some(3600));
    }

    #[test]
    fn a_command_for_a_device_that_sleeps_is_worth_something_for_longer() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let check = |payload: &str, broker: Option<u64>, expected: u64| {
            let hold = Some(Duration::from_secs(7200));
            let worth = Worth { usually: DEFAULT, broker: broker.map(Duration::from_secs), hold };
            assert_eq!(write(payload).unwrap().time_left(now, worth), Some(Duration::from_secs(expected)), "{payload}");
        };
        check("1", None, 7200);
        check("1", Some(60), 60);
        check(r#"{"value":1,"expires":"30s"}"#, None, 30);
        check(r#"{"value":1,"expires":"6h"}"#, None, 6 * 3600);
        check(r#"{"value":1,"expires":"14d"}"#, None, 7 * 86_400);
        // What depends on the clock is not believed for longer than the device is known to need.
        check(r#"{"value":1,"expires":9000000000}"#, None, 7200);
    }
}
