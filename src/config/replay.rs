//! How what waited is sent when the broker is back: its share of the window, and its rate.

use serde_json::json;
use wharf_contract::settings;
use wharf_contract::settings::{Context, Node, Schema, Setting, Typed};

settings! {
    /// How messages that waited are sent when the broker is back. What has just been captured
    /// goes before them.
    pub struct Replay {
        /// How much of the connection they get at least, while there are new ones as well: 1%–90%.
        share: Share = Share::percent(30),
        /// How many of them are sent at most, such as 500/s. Without it: as many as the broker takes.
        rate: Option<Rate> = None,
    }
}

/// A share, written `30%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(u8);

/// How many in a second, written `500/s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(u32);

impl Share {
    /// So many percent, for defaults.
    pub const fn percent(percent: u8) -> Self {
        Self(percent)
    }

    /// In percent, 1–90.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Rate {
    /// How many in a second, 1–999,999.
    pub const fn per_second(self) -> u32 {
        self.0
    }
}

impl Setting for Share {
    fn schema() -> Schema {
        json!({ "type": "string", "pattern": "^([1-9]|[1-8][0-9]|90)%$" })
    }

    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        let share = number(node, cx, "%", "a share such as 30%")?;
        if !(1..=90).contains(&share) {
            cx.problem(node.span, format!("{} is out of range (1%–90%)", node.text()?));
            return None;
        }
        u8::try_from(share).ok().map(Self)
    }
}

impl Setting for Rate {
    fn schema() -> Schema {
        json!({ "type": "string", "pattern": "^[1-9][0-9]{0,5}/s$" })
    }

    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        let rate = number(node, cx, "/s", "a rate such as 500/s")?;
        if !(1..=999_999).contains(&rate) {
            cx.problem(node.span, format!("{} is out of range (1/s–999999/s)", node.text()?));
            return None;
        }
        Some(Self(rate))
    }
}

/// The whole number in front of a unit.
fn number(node: &Node, cx: &mut Context, unit: &str, expected: &str) -> Option<u32> {
    if let (Some(Typed::Int(_) | Typed::Float(_)), Some(text)) = (node.typed(), node.text()) {
        // Whoever writes `0.3` for 30% is not helped by `0.3%`, which is refused as well.
        let whole = text.bytes().all(|b| b.is_ascii_digit());
        let help = if whole { format!("write {text}{unit}") } else { format!("write {expected}") };
        cx.problem(node.span, format!("{text} has no unit")).help(help);
        return None;
    }
    let digits = match node.typed() {
        Some(Typed::Text(text)) => text.strip_suffix(unit),
        _ => None,
    };
    // Leading zeros and signs are no way to write these.
    let well_formed =
        |digits: &&str| digits.bytes().all(|b| b.is_ascii_digit()) && (*digits == "0" || !digits.starts_with('0'));
    match digits.filter(|digits| !digits.is_empty()).filter(well_formed) {
        // What is too large for a number is too large for any of these.
        Some(digits) => Some(digits.parse().unwrap_or(u32::MAX)),
        None => cx.unexpected(node, expected),
    }
}
