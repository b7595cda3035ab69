//! The settings every driver shares: what may be written to a point.

use serde_json::json;

use super::{Context, Node, Period, Schema, Setting, Typed};
use crate::rule::{FailSafe, SPANS, WriteRate};
use crate::settings;
use crate::{Value, WriteRule};

settings! {
    /// Opens a point for commands. `write: {}` allows every value the point can hold.
    pub struct WriteSettings {
        /// The smallest value allowed, in the point's unit.
        min: Option<f64> = None,
        /// The largest value allowed, in the point's unit.
        max: Option<f64> = None,
        /// Values go in steps of this, counted from min, or from 0.
        step: Option<f64> = None,
        /// The only values allowed, such as [0, 50, 100].
        allowed: Vec<Value> = Vec::new(),
        /// How often it may be written at most, such as 6/min. One more is refused.
        rate: Option<WriteRate> = None,
        /// Whether the device has to confirm each write.
        verify: bool = false,
        /// What is written when every uplink has been away for a while.
        fail_safe: Option<FailSafeSettings> = None,
    }
    check: check_write;
}

settings! {
    /// What the gateway writes by itself when every uplink has been away for that long, once.
    pub struct FailSafeSettings {
        /// How long every uplink has to be away: 1s–7d.
        after: Period<1_000, 604_800_000>,
        /// What is written then.
        write: Value,
    }
}

/// The rules over several keys, for drivers that have keys of their own beside these.
pub fn check_write(this: &WriteSettings, node: &Node, cx: &mut Context<'_>) {
    if let (Some(min), Some(max)) = (this.min, this.max)
        && min > max
    {
        cx.field_problem(node, "max", format!("the maximum {max} is below the minimum {min}"));
        return;
    }
    if this.step.is_some_and(|step| step <= 0.0) {
        cx.field_problem(node, "step", "a step is larger than 0");
        return;
    }
    let rule = WriteRule::from(this);
    let limits = WriteRule { allowed: Vec::new(), ..rule.clone() };
    for (index, value) in this.allowed.iter().enumerate() {
        if let Some(why) = limits.refuse(value) {
            cx.field_problem(node, "allowed", why);
        }
        if this.allowed[..index].contains(value) {
            cx.field_problem(node, "allowed", format!("{value} is here twice"));
        }
    }
    if let Some(fail_safe) = &rule.fail_safe
        && let Some(why) = rule.refuse(&fail_safe.write)
        && let Some(entry) = node.get("fail_safe")
    {
        cx.within_entry(entry, |cx, node| {
            cx.field_problem(node, "write", why);
        });
    }
}

impl From<&WriteSettings> for WriteRule {
    fn from(settings: &WriteSettings) -> Self {
        Self {
            min: settings.min,
            max: settings.max,
            step: settings.step,
            allowed: settings.allowed.clone(),
            rate: settings.rate,
            verify: settings.verify,
            fail_safe: settings
                .fail_safe
                .as_ref()
                .map(|fail_safe| FailSafe { after: fail_safe.after.get(), write: fail_safe.write.clone() }),
        }
    }
}

/// A value that can be written: a number, true, false, or text such as `on`.
impl Setting for Value {
    fn schema() -> Schema {
        json!({ "type": ["boolean", "number", "string"] })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        match node.typed() {
            Some(Typed::Bool(on)) => Some(Self::Bool(on)),
            Some(Typed::Int(number)) if i64::try_from(number).is_ok() => i64::try_from(number).ok().map(Self::Int),
            Some(Typed::Float(number)) if number.is_finite() => Some(Self::Float(number)),
            Some(Typed::Text(text)) => Some(Self::Text(text.to_owned())),
            _ => cx.unexpected(node, "a value: a number, true, false, or text"),
        }
    }
}

impl Setting for WriteRate {
    fn schema() -> Schema {
        let units: Vec<_> = SPANS.iter().map(|(unit, _)| *unit).collect();
        json!({ "type": "string", "pattern": format!("^([1-9][0-9]{{0,2}}|1000)/({})$", units.join("|")) })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        if let (Some(Typed::Int(_) | Typed::Float(_)), Some(text)) = (node.typed(), node.text()) {
            cx.problem(node.span, format!("{text} does not say in which time"))
                .help(format!("write {text}/min; units are s, min, h, d"));
            return None;
        }
        let rate = match node.typed() {
            Some(Typed::Text(text)) => rate(text),
            _ => None,
        };
        let Some((count, per)) = rate else {
            return cx.unexpected(node, "a rate such as 6/min, 1/s or 100/d");
        };
        if !(1..=1000).contains(&count) {
            cx.problem(node.span, format!("{} is out of range (1–1000 in a time)", node.text()?));
            return None;
        }
        u16::try_from(count).ok().map(|count| Self { count, per })
    }
}

fn rate(text: &str) -> Option<(u32, std::time::Duration)> {
    let (count, unit) = text.split_once('/')?;
    let well_formed = count.bytes().all(|b| b.is_ascii_digit()) && (count == "0" || !count.starts_with('0'));
    let (_, per) = SPANS.iter().find(|(name, _)| *name == unit)?;
    well_formed.then(|| count.parse().ok())?.map(|count| (count, *per))
}
