//! Durations and sizes, as people write them.

use std::fmt;
use std::time::Duration;

use serde_json::json;

use super::{Context, Node, Schema, Setting, Typed};

/// A century, in milliseconds: longer than any duration that is meant.
pub const CENTURY_MS: u64 = 36_525 * 86_400_000;

/// A duration, written `250ms`, `10s`, `5m`, `1h30m` or `14d`, with bounds in milliseconds. The
/// usual lower bound is 1 ms, so no period is zero unless its type says so.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Period<const MIN_MS: u64 = 1, const MAX_MS: u64 = CENTURY_MS>(Duration);

impl<const MIN_MS: u64, const MAX_MS: u64> Period<MIN_MS, MAX_MS> {
    /// So many milliseconds, for defaults.
    pub const fn millis(count: u64) -> Self {
        Self(Duration::from_millis(count))
    }

    /// So many seconds, for defaults.
    pub const fn secs(count: u64) -> Self {
        Self(Duration::from_secs(count))
    }

    /// The duration.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl<const MIN_MS: u64, const MAX_MS: u64> From<Period<MIN_MS, MAX_MS>> for Duration {
    fn from(period: Period<MIN_MS, MAX_MS>) -> Self {
        period.0
    }
}

impl<const MIN_MS: u64, const MAX_MS: u64> fmt::Display for Period<MIN_MS, MAX_MS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&spell_duration(self.0))
    }
}

impl<const MIN_MS: u64, const MAX_MS: u64> fmt::Debug for Period<MIN_MS, MAX_MS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const MIN_MS: u64, const MAX_MS: u64> Setting for Period<MIN_MS, MAX_MS> {
    fn schema() -> Schema {
        let part = |unit| format!("([0-9]+(\\.[0-9]+)?{unit})?");
        let parts: String = DURATION_UNITS.iter().rev().map(|(unit, _)| part(unit)).collect();
        json!({ "type": "string", "minLength": 1, "pattern": format!("^{parts}$") })
    }

    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        if let (Some(Typed::Int(_) | Typed::Float(_)), Some(text)) = (node.typed(), node.text()) {
            cx.problem(node.span, format!("{text} has no unit"))
                .help(format!("write {text}s for seconds; units are ms, s, m, h, d"));
            return None;
        }
        let Some(duration) = node.typed().and_then(as_text).and_then(parse_duration) else {
            return cx.unexpected(node, "a duration such as 250ms, 10s, 5m, 1h30m or 14d");
        };
        let (least, most) = (Duration::from_millis(MIN_MS), Duration::from_millis(MAX_MS));
        if duration < least || duration > most {
            let range = format!("{}–{}", spell_duration(least), spell_duration(most));
            cx.problem(node.span, format!("{} is out of range ({range})", node.text()?));
            return None;
        }
        Some(Self(duration))
    }
}

/// A number of bytes, written `512MiB`, `64KiB` or `10MB`, with bounds in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ByteSize<const MIN: u64 = 0, const MAX: u64 = { 1 << 50 }>(u64);

impl<const MIN: u64, const MAX: u64> ByteSize<MIN, MAX> {
    /// So many bytes, for defaults.
    pub const fn bytes(count: u64) -> Self {
        Self(count)
    }

    /// So many mebibytes, for defaults.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl<const MIN: u64, const MAX: u64> fmt::Display for ByteSize<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&spell_size(self.0))
    }
}

impl<const MIN: u64, const MAX: u64> fmt::Debug for ByteSize<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const MIN: u64, const MAX: u64> Setting for ByteSize<MIN, MAX> {
    fn schema() -> Schema {
        let units: Vec<_> = SIZE_UNITS.iter().map(|(unit, _)| *unit).collect();
        json!({ "type": "string", "pattern": format!("^[0-9]+(\\.[0-9]+)? ?({})$", units.join("|")) })
    }

    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        if let (Some(Typed::Int(_) | Typed::Float(_)), Some(text)) = (node.typed(), node.text()) {
            cx.problem(node.span, format!("{text} has no unit")).help(format!("write {text}MiB, or another of {}", {
                let units: Vec<_> = SIZE_UNITS.iter().map(|(unit, _)| *unit).collect();
                units.join(", ")
            }));
            return None;
        }
        let Some(bytes) = node.typed().and_then(as_text).and_then(parse_size) else {
            return cx.unexpected(node, "a size such as 512MiB, 64KiB or 10MB");
        };
        if bytes < MIN || bytes > MAX {
            let range = format!("{}–{}", spell_size(MIN), spell_size(MAX));
            cx.problem(node.span, format!("{} is out of range ({range})", node.text()?));
            return None;
        }
        Some(Self(bytes))
    }
}

/// Units of time in milliseconds, rising.
const DURATION_UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Units of size in bytes, rising.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
    ("TB", 1_000_000_000_000),
    ("TiB", 1 << 40),
];

fn as_text(typed: Typed<'_>) -> Option<&str> {
    match typed {
        Typed::Text(text) => Some(text),
        _ => None,
    }
}

/// Reads `1h30m`: each unit at most once, the large ones first.
pub fn parse_duration(mut text: &str) -> Option<Duration> {
    let mut total_ms = 0.0;
    let mut units_left = DURATION_UNITS.len();
    if text.is_empty() {
        return None;
    }
    while !text.is_empty() {
        let (number, rest) = split_number(text)?;
        let unit_length = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let (unit, rest) = rest.split_at(unit_length);
        let index = DURATION_UNITS[..units_left].iter().position(|(name, _)| *name == unit)?;
        // Even a day has 27 bits, so this is exact.
        let unit_ms = DURATION_UNITS[index].1 as f64;
        total_ms += number * unit_ms;
        units_left = index;
        text = rest;
    }
    Duration::try_from_secs_f64(total_ms / 1_000.0).ok()
}

fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_number(text)?;
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| *name == unit)?;
    // Each factor is a power of two or far below 2^53, so it is exact.
    let bytes = number * *factor as f64;
    // 2^53: every smaller whole number is exact.
    // Checked to be in range.
    (bytes <= 9_007_199_254_740_992.0).then(|| bytes.round() as u64)
}

/// Splits `1.5MiB` into its number and the rest.
fn split_number(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let well_formed = !number.starts_with('.') && !number.ends_with('.');
    well_formed.then(|| Some((number.parse().ok()?, rest)))?
}

fn spell_duration(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut spelt = String::new();
    for (unit, length) in DURATION_UNITS.iter().rev() {
        if left >= *length {
            spelt.push_str(&format!("{}{unit}", left / length));
            left %= length;
        }
    }
    if spelt.is_empty() { "0s".into() } else { spelt }
}

fn spell_size(bytes: u64) -> String {
    let unit = SIZE_UNITS.iter().rev().find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
    unit.map_or_else(|| "0B".into(), |(name, factor)| format!("{}{name}", bytes / factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        let cases = [
            ("250ms", Some(250)),
            ("10s", Some(10_000)),
            ("0.5s", Some(500)),
            ("5m", Some(300_000)),
            ("1h30m", Some(5_400_000)),
            ("14d", Some(1_209_600_000)),
            ("1m30", None),
            ("30m1h", None),
            ("1s1s", None),
            ("10 s", None),
            ("10sec", None),
            ("-1s", None),
            (".5s", None),
            ("1..5s", None),
            ("s", None),
            ("", None),
            ("99999999999999999999999d", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_duration(text), expected.map(Duration::from_millis), "{text:?}");
        }
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        let cases = [
            ("512MiB", Some(512 << 20)),
            ("64KiB", Some(65_536)),
            ("10MB", Some(10_000_000)),
            ("10 MB", Some(10_000_000)),
            ("1.5GiB", Some(3 << 29)),
            ("7B", Some(7)),
            ("10mb", None),
            ("10", None),
            ("99999999TiB", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_size(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_spelt_reads_back_as_the_same() {
        for ms in [1, 999, 1_000, 61_500, 5_400_000, 90_061_001] {
            let duration = Duration::from_millis(ms);
            assert_eq!(parse_duration(&spell_duration(duration)), Some(duration));
        }
        for bytes in [0, 1, 999, 1_000, 1_024, 16 << 20, 10_000_000, (1 << 40) + 1] {
            assert_eq!(parse_size(&spell_size(bytes)), Some(bytes));
        }
    }
}
