//! The rules that the keys of a description keep together.

use wharf_contract::settings::{Context, NamedEntry, Node, OneOrMany};

use super::words::{At, Company, Length};
use super::{CounterSettings, DescriptionSettings, ReadingSettings, known};
use crate::advert::described::exact::Decimal;
use crate::advert::described::field::Form;

/// Far more than any sensor has.
const MOST_POINTS: usize = 64;
const MOST_READINGS: usize = 32;
const MOST_STEPS: usize = 8;

/// The rules over several keys of a value.
pub(super) fn reading(this: &ReadingSettings, node: &Node, cx: &mut Context<'_>) {
    let (kind, form) = (this.kind_of_number(), this.form());
    if kind.form(1).is_none() {
        cx.field_problem(node, "type", format!("a {kind} is read over connections alone"))
            .help("no sensor is known to broadcast one; `steps` and `scale` make a number of what it sends");
        return;
    }
    let is_text = matches!(form, Form::Text(_));
    if is_text && this.length.is_none() {
        cx.field_problem(node, "length", "a string needs its length").help("write length: 8 for 8 bytes");
    }
    if !is_text && this.length.is_some() {
        cx.field_problem(node, "length", format!("the type {kind} has its own length")).help("remove it");
    }
    check_part(this, node, cx);
    let none: &[&str] = if this.is_truth() {
        &["steps", "scale", "divide", "offset", "precision", "flags", "negative", "unit"]
    } else if is_text {
        &["order", "steps", "scale", "divide", "offset", "precision", "names", "flags", "negative", "invalid"]
    } else if this.names.is_some() || this.flags.is_some() {
        &["scale", "divide", "offset", "precision", "unit"]
    } else if !form.is_whole() {
        &["steps", "names", "flags"]
    } else {
        &[]
    };
    let what = if this.bit.is_some() { "one bit".to_owned() } else { format!("the type {kind}") };
    let what = if this.names.is_some() || this.flags.is_some() { "what has names".to_owned() } else { what };
    for key in none.iter().filter(|key| node.get(key).is_some()) {
        cx.field_problem(node, key, format!("{what} has no {key}")).help("remove it");
    }
    if this.invert && !this.is_truth() {
        cx.field_problem(node, "invert", "only what is on or off can be inverted").help("remove it");
    }
    if this.steps.len() > MOST_STEPS {
        cx.field_problem(node, "steps", format!("there are {MOST_STEPS} steps at most"));
    }
    check_scaling(this, node, cx);
    check_numbers(this, node, cx);
}

/// Bits that the number has, or has not.
fn check_part(this: &ReadingSettings, node: &Node, cx: &mut Context<'_>) {
    let (kind, form) = (this.kind_of_number(), this.form());
    let width = u32::from(form.width()).saturating_mul(8);
    let (key, last) = match (this.bit, this.bits) {
        (Some(bit), _) => ("bit", bit.get()),
        (None, Some(bits)) => ("bits", bits.high),
        (None, None) => return,
    };
    let fits = matches!(form, Form::Unsigned(_)) || key == "bits" && matches!(form, Form::Signed(_));
    if !fits {
        cx.field_problem(node, key, format!("the type {kind} is not read bit by bit"))
            .help("write the unsigned type that they are of: u8, u16, …");
    } else if u32::from(last) >= width {
        cx.field_problem(node, key, format!("{kind} has no bit {last}, they are counted from 0 to {}", width - 1))
            .help("say of which number they are: type: u16");
    }
}

fn check_scaling(this: &ReadingSettings, node: &Node, cx: &mut Context<'_>) {
    for (key, number, why) in [
        ("scale", this.scale, "a scale of 0 makes every value the same"),
        ("divide", this.divide, "nothing can be divided by 0"),
    ] {
        if number == Some(0.0) {
            cx.field_problem(node, key, why);
            return;
        }
    }
    for (key, number) in [("scale", this.scale), ("divide", this.divide), ("offset", this.offset)] {
        if number.is_some_and(|number| Decimal::of(number).is_none()) {
            cx.field_problem(node, key, "this is no number to scale with");
            return;
        }
    }
    let endless = this.divide.and_then(Decimal::of).is_some_and(|divide| !divide.divides_evenly());
    if endless && this.precision.is_none() {
        cx.field_problem(node, "precision", "such a division has no end, so it needs a precision")
            .help("write precision: 2 for two decimals");
    }
    let is_scaled = this.scale.is_some() || this.divide.is_some() || this.offset.is_some();
    if this.precision.is_some() && this.form().is_whole() && !is_scaled {
        cx.field_problem(node, "precision", "a whole number without a scale has no decimals to round")
            .help("remove it");
    }
}

/// What `invalid`, `names` and `flags` say of a number has to fit it.
fn check_numbers(this: &ReadingSettings, node: &Node, cx: &mut Context<'_>) {
    let field = this.field(super::Order::Little);
    for number in this.invalid.iter().flat_map(|invalid| invalid.iter()) {
        if let Err(message) = this.invalid_bits(*number) {
            cx.field_problem(node, "invalid", message);
        }
    }
    let count = i64::from(field.bit_count());
    let odd_flag = this.flags.as_ref().and_then(|flags| flags.iter().find(|(bit, _)| *bit >= count));
    if let Some((bit, _)) = odd_flag.filter(|_| this.steps.is_empty()) {
        cx.field_problem(node, "flags", format!("there is no bit {bit}, they are counted from 0 to {}", count - 1));
    }
    let is_odd = |number: i64| match field.form {
        _ if this.is_truth() => !(0..=1).contains(&number),
        Form::Unsigned(_) => number < 0 || count < 63 && number >> count != 0,
        _ => false,
    };
    let odd_name = this.names.as_ref().and_then(|names| names.iter().find(|(number, _)| is_odd(*number)));
    if let Some((number, _)) = odd_name.filter(|_| this.steps.is_empty()) {
        cx.field_problem(node, "names", format!("{number} cannot stand there"));
    }
}

pub(super) fn counter(this: &CounterSettings, node: &Node, cx: &mut Context<'_>) {
    if !this.is_counter() {
        cx.field_problem(node, "type", format!("the type {} is no counter", this.r#type))
            .help("write u8, u16, u24 or u32");
    } else if let Some(bits) = this.bits.filter(|bits| bits.high >= this.field(super::Order::Little).form.width() * 8) {
        cx.field_problem(node, "bits", format!("{} has no bit {}", this.r#type, bits.high));
    }
}

/// The rules over several keys of a description.
pub(super) fn description(this: &DescriptionSettings, node: &Node, cx: &mut Context<'_>) {
    let points = this.points.entries();
    if points.is_empty() {
        cx.field_problem(node, "points", "there is nothing to read").help("write what it measures: temperature: { … }");
    }
    if points.len() > MOST_POINTS {
        cx.field_problem(node, "points", format!("a sensor has {MOST_POINTS} values at most"));
    }
    let vague = this.local_name.is_none() && this.r#match.is_none() && this.advertises.is_none();
    if this.company == Some(Company::Any) && vague && !this.only_named {
        cx.field_problem(node, "company", "with any company this would fit every sensor there is")
            .help("say what it is known by: local_name, advertises or match; or write only_named: true");
    }
    let most = this.length.as_ref().and_then(|any| any.iter().map(|length: &Length| length.most).max());
    let mut has_place = false;
    for entry in points {
        check_point(entry, cx);
        for reading in entry.value.iter() {
            let own = reading.service.is_some() || reading.company.is_some();
            let at = reading.at.unwrap_or(At::Next);
            if at == At::Last && !has_place && !own {
                wrong(entry, cx, "there is no value before it to stand beside");
            }
            has_place |= at == At::Next && !own;
            if let (At::Byte(offset), Some(most), false) = (at, most, own) {
                check_end(entry, offset.0.0, reading.form().width(), most, cx);
            }
        }
    }
}

/// Whether a value at that byte ends within the data.
fn check_end(entry: &Entry, at: i16, width: u8, most: u8, cx: &mut Context<'_>) {
    let (at, width, most) = (i32::from(at), i32::from(width), i32::from(most));
    let fits = if at < 0 { -at <= most && -at >= width } else { at + width <= most };
    if !fits {
        wrong(entry, cx, &format!("it has {width} bytes from byte {at} on, and the data have {most} at most"));
    }
}

type Entry = NamedEntry<OneOrMany<ReadingSettings>>;

fn wrong<'c>(entry: &Entry, cx: &'c mut Context<'_>, message: &str) -> &'c mut wharf_contract::settings::Problem {
    let problem = cx.problem(entry.name.span, format!("{}: {message}", entry.name.as_str()));
    problem.path.clone_from(&entry.name.path);
    problem
}

/// Names that stand for a quantity have its unit.
fn check_point(entry: &Entry, cx: &mut Context<'_>) {
    if entry.value.len() > MOST_READINGS {
        wrong(entry, cx, &format!("there are {MOST_READINGS} ways to a value at most"));
    }
    let units = || entry.value.iter().filter_map(|reading| reading.unit.as_deref());
    if let Some(known) = known(entry.name.as_str()) {
        if units().any(|unit| unit != known.unit) {
            let in_words = if known.unit.is_empty() { "without a unit" } else { known.unit };
            wrong(entry, cx, &format!("it is told in {in_words} by every sensor"))
                .help("scale it to that and leave the unit out, or call the value something else");
        }
        if entry.value.iter().any(|reading| reading.kind.is_some()) {
            wrong(entry, cx, "its kind is known by its name").help("remove `kind`");
        }
    } else if units().any(|unit| Some(unit) != units().next()) {
        wrong(entry, cx, "a value has one unit, however it comes");
    }
}
