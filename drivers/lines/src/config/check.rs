//! The rules over several settings.

use wharf_contract::settings::{Context, Node, WriteSettings, write::check_write};
use wharf_contract::{Value, WriteRule};

use super::{CsvSettings, DeviceSettings, LineWrite, PairSettings, PointSettings, RecordSettings};
use crate::form::csv::MOST_COLUMNS;
use crate::value::ValueType;

pub(super) fn records(this: &RecordSettings, node: &Node, cx: &mut Context<'_>) {
    let counted = ["length_bytes", "order", "plus"];
    if this.start.is_none() {
        for key in counted.into_iter().filter(|key| node.get(key).is_some()) {
            cx.field_problem(node, key, format!("`{key}` is about records that say how long they are"))
                .help("they have `start` and `length_at`");
        }
        return;
    }
    let (start, at) = (this.start.as_ref().map_or(0, |start| start.0.len()), this.length_at.map_or(0, |at| at.get()));
    if usize::from(at) < start {
        cx.field_problem(
            node,
            "length_at",
            format!("the start has {start} bytes, so its length stands at {start} or later"),
        );
    }
    if this.length_bytes.get() == 1 && node.get("order").is_some() {
        cx.field_problem(node, "order", "one byte has no order").help("remove it, or write length_bytes: 2");
    }
    if usize::from(at) + 2 + this.end.as_ref().map_or(0, |end| end.0.len()) > usize::from(this.longest.get()) {
        cx.field_problem(node, "longest", "no record would be short enough");
    }
}

pub(super) fn csv(this: &CsvSettings, node: &Node, cx: &mut Context<'_>) {
    if this.columns.len() > MOST_COLUMNS {
        cx.field_problem(node, "columns", format!("a line has {MOST_COLUMNS} columns at most"));
    }
    for (index, name) in this.columns.iter().enumerate() {
        if !name.is_empty() && this.columns.iter().take(index).any(|before| before == name) {
            cx.field_problem(node, "columns", format!("`{name}` is here twice"));
        }
    }
}

pub(super) fn pairs(this: &PairSettings, node: &Node, cx: &mut Context<'_>) {
    for (key, text) in [("equals", &this.equals), ("separator", &this.separator)] {
        if text.as_ref().is_some_and(String::is_empty) {
            cx.field_problem(node, key, "this cannot be empty").help("leave it out for the usual signs");
        }
    }
}

pub(super) fn device(this: &DeviceSettings, node: &Node, cx: &mut Context<'_>) {
    let Some(form) = this.form() else {
        for key in ["match", "device", "ask", "decimal_comma"].into_iter().filter(|key| node.get(key).is_some()) {
            cx.field_problem(node, key, "no line is this device's, because it does not say how they are taken apart")
                .help("write one of pattern, csv, json, nmea, pairs");
        }
        if this.points.iter().any(|(_, point)| point.write.is_none()) || this.points.is_empty() {
            cx.problem(cx.here(node), "how its lines are taken apart is missing")
                .help("write one of pattern, csv, json, nmea, pairs");
        }
        return;
    };
    // A point that is there to be written alone need not be in any line.
    let read = this.points.entries().iter().filter(|entry| entry.value.write.is_none() || entry.value.field.is_some());
    for entry in read {
        let field = entry.value.field.as_deref().unwrap_or(entry.name.as_str());
        if let Err(why) = form.check_field(field) {
            let problem = cx.problem(entry.name.span, why);
            problem.path.clone_from(&entry.name.path);
            if entry.value.field.is_none() {
                problem.help("say in which `field` it stands");
            }
        }
    }
    for entry in this.r#match.entries() {
        if let Err(why) = form.check_field(entry.name.as_str()) {
            cx.problem(entry.name.span, why).path.clone_from(&entry.name.path);
        }
    }
    if let Some(template) = &this.device {
        for field in template.fields() {
            if let Err(why) = form.check_field(field) {
                cx.field_problem(node, "device", why);
            }
        }
        if let Some(entry) = this.points.entries().iter().find(|entry| entry.value.write.is_some()) {
            let message = "a point of devices that are named by their lines cannot be written";
            cx.problem(entry.name.span, message).help("list the device by itself").path.clone_from(&entry.name.path);
        }
        if this.ask.is_some() {
            cx.field_problem(node, "ask", "devices that are named by their lines are not known before, and not asked");
        }
    } else if this.most.is_some() {
        cx.field_problem(node, "most", "`most` is about devices that are named by their lines")
            .help("they have `device`");
    }
    if this.timeout.is_some() && this.ask.is_none() {
        cx.field_problem(node, "timeout", "it is not asked, so there is no answer to wait for")
            .help("remove it, or write `ask`");
    }
}

pub(super) fn point(this: &PointSettings, node: &Node, cx: &mut Context<'_>) {
    if this.scale == Some(0.0) {
        cx.field_problem(node, "scale", "with a scale of 0 every value would be the same");
    }
    if let (Some(min), Some(max)) = (this.min, this.max)
        && min > max
    {
        cx.field_problem(node, "max", format!("the maximum {max} is below the minimum {min}"));
    }
    let is_number = matches!(this.r#type, ValueType::Number | ValueType::Whole | ValueType::Hex);
    if !is_number || this.names.is_some() {
        for key in ["scale", "offset", "precision", "min", "max"].into_iter().filter(|key| node.get(key).is_some()) {
            cx.field_problem(node, key, format!("this is not a number, so `{key}` means nothing"));
        }
    }
    let Some(write) = &this.write else { return };
    let meaning = this.meaning(false);
    let values = write.allowed.iter().map(|value| ("allowed", value));
    let fail_safe = write.fail_safe.iter().map(|fail_safe| ("fail_safe", &fail_safe.write));
    let Some(entry) = node.get("write") else { return };
    for (key, value) in values.chain(fail_safe) {
        if write.send.has_value()
            && let Err(why) = spelt(&meaning, write, value)
        {
            cx.within_entry(entry, |cx, node| {
                cx.field_problem(node, key, why);
            });
        }
    }
}

fn spelt(meaning: &crate::value::Meaning, write: &LineWrite, value: &Value) -> Result<(), String> {
    let text = meaning.spell(value, write.send.spelling())?;
    write.send.render(&text).map(|_| ())
}

pub(super) fn write(this: &LineWrite, node: &Node, cx: &mut Context<'_>) {
    if this.expect.is_none() {
        for key in ["refused", "timeout"].into_iter().filter(|key| node.get(key).is_some()) {
            cx.field_problem(node, key, format!("without `expect` no answer is waited for, so `{key}` means nothing"));
        }
    }
    if !this.send.has_value() && this.allowed.is_empty() {
        cx.field_problem(node, "send", "what is sent is the same whatever the value: {value} is not in it")
            .help("if that is meant, say for which value: `allowed: [1]`");
    }
    check_write(&this.rules(), node, cx);
}

impl LineWrite {
    /// The rules, as other drivers have them.
    fn rules(&self) -> WriteSettings {
        WriteSettings {
            min: self.min,
            max: self.max,
            step: self.step,
            allowed: self.allowed.clone(),
            rate: self.rate,
            verify: self.expect.is_some(),
            fail_safe: self.fail_safe.clone(),
        }
    }

    /// What may be written.
    pub(super) fn rule(&self) -> WriteRule {
        WriteRule::from(&self.rules())
    }
}
