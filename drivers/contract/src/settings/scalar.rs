//! Numbers and booleans.

use serde_json::json;

use super::{Context, Node, Schema, Setting, Typed};

/// A whole number within bounds: `Ranged<u16, 1, 1000>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ranged<T, const MIN: i64, const MAX: i64>(T);

impl<T: Copy, const MIN: i64, const MAX: i64> Ranged<T, MIN, MAX> {
    /// Wraps a number that is within the bounds, for defaults.
    pub const fn new(number: T) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> T {
        self.0
    }
}

impl<T: TryFrom<i128>, const MIN: i64, const MAX: i64> Setting for Ranged<T, MIN, MAX> {
    fn schema() -> Schema {
        json!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }

    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        whole(node, cx, i128::from(MIN), i128::from(MAX)).map(Self)
    }
}

macro_rules! whole_numbers {
    ($($type:ty),*) => {$(
        impl Setting for $type {
            fn schema() -> Schema {
                json!({ "type": "integer", "minimum": <$type>::MIN, "maximum": <$type>::MAX })
            }

            fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
                whole(node, cx, i128::from(<$type>::MIN), i128::from(<$type>::MAX))
            }
        }
    )*};
}

whole_numbers!(u8, u16, u32, u64, i8, i16, i32, i64);

/// Decodes a whole number within inclusive bounds.
pub fn whole<T: TryFrom<i128>>(node: &Node, cx: &mut Context, min: i128, max: i128) -> Option<T> {
    let number = match node.typed() {
        Some(Typed::Int(number)) => number,
        // JSON Schema counts 3.0 and 1e3 as whole, so they are whole here too.
        // It has no fraction and is far inside i128.
        Some(Typed::Float(number)) if number.fract() == 0.0 && number.abs() < 1e18 => number as i128,
        _ => return not_a_number(node, cx, "a whole number"),
    };
    let fitting = (min..=max).contains(&number).then(|| T::try_from(number).ok()).flatten();
    if fitting.is_none() {
        out_of_range(node, cx, min, max);
    }
    fitting
}

impl Setting for f64 {
    fn schema() -> Schema {
        json!({ "type": "number" })
    }

    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        match node.typed() {
            // It is written by hand, so short enough to be exact.
            Some(Typed::Int(number)) => Some(number as f64),
            Some(Typed::Float(number)) if number.is_finite() => Some(number),
            _ => not_a_number(node, cx, "a number"),
        }
    }
}

impl Setting for bool {
    fn schema() -> Schema {
        json!({ "type": "boolean" })
    }

    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        if let Some(Typed::Bool(value)) = node.typed() {
            return Some(value);
        }
        cx.unexpected::<()>(node, "true or false");
        let meant = match node.text().unwrap_or_default().to_lowercase().as_str() {
            "yes" | "on" | "y" | "1" | "true" => "true",
            "no" | "off" | "n" | "0" | "false" => "false",
            _ => return None,
        };
        cx.help_last(format!("write {meant}, without quotes"));
        None
    }
}

fn out_of_range(node: &Node, cx: &mut Context, min: i128, max: i128) {
    cx.problem(node.span, format!("{} is out of range ({min}–{max})", node.describe()));
}

fn not_a_number<T>(node: &Node, cx: &mut Context, expected: &str) -> Option<T> {
    cx.unexpected::<()>(node, expected);
    if matches!(node.typed(), Some(Typed::Text(text)) if text.parse::<f64>().is_ok_and(f64::is_finite)) {
        cx.help_last("write it without quotes");
    } else if let Some(Typed::Text(text)) = node.typed()
        && text.matches(',').count() == 1
        && text.replace(',', ".").parse::<f64>().is_ok_and(f64::is_finite)
    {
        cx.help_last(format!("decimals stand behind a point: {}", text.replace(',', ".")));
    }
    None
}
