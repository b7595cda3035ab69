//! The rules that the keys of a point keep together.

use wharf_contract::settings::{Context, Node};
use wharf_contract::{Value, WriteRule};

use super::Order;
use super::point::{PointSettings, PointType, bits_of};
use crate::link::Table;
use crate::value::encode::{encode, mask, number_fits};
use crate::value::layout::{Form, Layout, Meaning};
use crate::value::time::TimeForm;

/// The most registers that one request can read, and write; the most bits.
const READABLE_REGISTERS: u16 = 125;
const WRITABLE_REGISTERS: u16 = 123;
const READABLE_BITS: u16 = 2000;
const WRITABLE_BITS: u16 = 1968;

/// The rules over several keys of a point.
pub(super) fn check_point(this: &PointSettings, node: &Node, cx: &mut Context<'_>) {
    let (table, address) = this.place();
    let layout = this.layout(Order::Abcd);
    if table.is_bits() {
        check_bit(this, table, node, cx);
    } else {
        check_registers(this, &layout, node, cx);
    }
    if layout.beside.is_some() {
        check_beside(this, table, &layout, node, cx);
    }
    check_extent(table, address, &layout, node, cx);
    check_meaning(this, &layout, node, cx);
    if let Some(write) = &this.write {
        check_write(&WriteRule::from(&**write), table, &layout, node, cx);
    }
}

fn check_bit(this: &PointSettings, table: Table, node: &Node, cx: &mut Context<'_>) {
    if let Some(other) = this.r#type.filter(|kind| *kind != PointType::Bool) {
        cx.field_problem(node, "type", format!("a {table} is one bit, so it cannot be {other}"))
            .help("remove it, or read a holding or input register");
    }
    for key in ["byte", "bit", "order", "length", "scale", "offset", "precision", "invalid", "flags"] {
        if node.get(key).is_some() {
            cx.field_problem(node, key, format!("a {table} is one bit and has no {key}")).help("remove it");
        }
    }
}

/// What each type of register value has and has not.
fn check_registers(this: &PointSettings, layout: &Layout, node: &Node, cx: &mut Context<'_>) {
    let kind = this.kind();
    let is_text = kind == PointType::Text;
    if is_text && this.length.is_none() {
        cx.field_problem(node, "length", "a string needs its length").help("write length: 8 for 8 registers, 16 bytes");
    }
    if !is_text && this.length.is_some() {
        cx.field_problem(node, "length", format!("the type {kind} has its own length")).help("remove it");
    }
    let is_half = matches!(kind, PointType::U8 | PointType::I8);
    if is_half && this.byte.is_none() {
        cx.field_problem(node, "byte", format!("the type {kind} is half of a register, and has to say which"))
            .help("write byte: high or byte: low");
    }
    if !is_half && this.byte.is_some() {
        cx.field_problem(node, "byte", format!("the type {kind} is not half of a register"))
            .help("write type: u8 or i8");
    }
    if this.bit.is_some() && kind != PointType::Bool {
        cx.field_problem(node, "type", format!("one bit of a register is a bool, so it cannot be {kind}"))
            .help("remove it");
    }
    let is_counted = matches!(layout.form, Form::Time(form) if form.is_counted());
    let has_words = layout.form.width() > 1 && (layout.form.is_number() || is_counted);
    if this.order.is_some_and(Order::low_word_first) && !has_words {
        cx.field_problem(node, "order", format!("the type {kind} has no word order"))
            .help("write BADC if the bytes of each register are swapped, else remove it");
    }
    if this.count.is_some() && (is_text || layout.form.is_partial()) {
        let what = if this.bit.is_some() { "a bit" } else { kind.as_str() };
        cx.field_problem(node, "count", format!("{what} is read one at a time, not as a list")).help("remove it");
    }
    for key in ["scale", "offset", "precision", "invalid"] {
        if node.get(key).is_some() && !layout.form.is_number() {
            cx.field_problem(node, key, format!("the type {kind} is not a number and has no {key}")).help("remove it");
        }
    }
    if this.scale == Some(0.0) {
        cx.field_problem(node, "scale", "a scale of 0 makes every value the same")
            .help("decimals stand behind a point: 0.1");
    }
    if this.precision.is_some() && layout.form.is_whole() && layout.scaling.is_none() {
        cx.field_problem(node, "precision", "a whole number without a scale has no decimals to round")
            .help("remove it");
    }
    let invalid = this.invalid.iter().flat_map(|invalid| invalid.iter());
    if layout.form.is_number() {
        for message in invalid.filter_map(|number| bits_of(*number, layout.form).err()) {
            cx.field_problem(node, "invalid", message);
        }
    }
}

/// What may have registers beside it, and how far they may be.
fn check_beside(this: &PointSettings, table: Table, layout: &Layout, node: &Node, cx: &mut Context<'_>) {
    let key = if this.scale_from.is_some() { "scale_from" } else { "requires" };
    if table.is_bits() {
        cx.field_problem(node, key, format!("a {table} has no {key}")).help("remove it");
    } else if this.scale_from.is_some() && !(layout.form.is_number() && layout.meaning == Meaning::Itself) {
        cx.field_problem(node, key, "only numbers are scaled").help("remove it");
    } else if layout.width() > READABLE_REGISTERS {
        let message = format!("it is read with the value, and that would take {} registers", layout.width());
        cx.field_problem(node, key, message).help(format!("one request reads {READABLE_REGISTERS} at most"));
    }
    for other in ["write", "counter", "wraps_at"].into_iter().filter(|other| node.get(other).is_some()) {
        cx.field_problem(node, other, format!("a point with {key} has no {other}")).help("remove it");
    }
}

/// Whether it ends within the address space, and within what one request can read.
fn check_extent(table: Table, address: u16, layout: &Layout, node: &Node, cx: &mut Context<'_>) {
    let own = layout.form.width().saturating_mul(layout.count.unwrap_or(1));
    let (width, most, items) = match table.is_bits() {
        true => (own, READABLE_BITS, "bits"),
        false => (own, READABLE_REGISTERS, "registers"),
    };
    if width > most {
        let each = layout.form.width();
        cx.field_problem(node, "count", format!("one request reads at most {most} {items}, not {width}"))
            .help(format!("at most {} values fit", most / each.max(1)));
    }
    if u32::from(address) + u32::from(width) - 1 > u32::from(u16::MAX) {
        let key = table.key();
        cx.field_problem(node, key, format!("{width} {items} from {address} on end beyond the last one, 65535"));
    }
}

/// Names, flags and counters: what goes with them and what does not.
fn check_meaning(this: &PointSettings, layout: &Layout, node: &Node, cx: &mut Context<'_>) {
    let (kind, form) = (this.kind(), layout.form);
    let key = match layout.meaning {
        Meaning::Names(_) => "names",
        Meaning::Flags(_) => "flags",
        Meaning::Itself => "counter",
    };
    let is_counter = this.counter || this.wraps_at.is_some();
    if layout.meaning != Meaning::Itself || is_counter {
        let none = ["scale", "offset", "precision", "unit", "counter", "wraps_at"];
        let none: &[&str] = if key == "counter" { &["count", "write"] } else { &none };
        for other in none.iter().filter(|other| node.get(other).is_some()) {
            cx.field_problem(node, other, format!("a point with {key} has no {other}")).help("remove it");
        }
    }
    if let Some(names) = &this.names {
        let (min, max) =
            if matches!(form, Form::Bool | Form::Bit(_)) { (0, 1) } else { form.range().unwrap_or((1, 0)) };
        if max < min {
            cx.field_problem(node, "names", format!("the type {kind} is no whole number and has no names"));
        } else if let Some((number, _)) = names.iter().find(|(number, _)| !(min..=max).contains(&i128::from(*number))) {
            cx.field_problem(node, "names", format!("{number} is not a value of {kind}, which holds {min} to {max}"));
        }
    }
    let unsigned = end_of(form);
    if let Some(flags) = &this.flags {
        if unsigned.is_none() || this.count.is_some() {
            cx.field_problem(node, "flags", "only one unsigned number, such as a u16, has flags");
        } else if let Some((bit, _)) = flags.iter().find(|(bit, _)| *bit >= i64::from(form.bits())) {
            cx.field_problem(node, "flags", format!("{kind} has no bit {bit}, they are counted from 0"));
        }
    }
    let counter = if this.wraps_at.is_some() { "wraps_at" } else { "counter" };
    match (is_counter, unsigned, layout.wraps_at) {
        (true, None, _) => {
            cx.field_problem(node, counter, format!("the type {kind} is no counter: it has to be unsigned or BCD"));
        }
        (true, Some(end), Some(wraps_at)) if wraps_at > end => {
            cx.field_problem(node, counter, format!("the type {kind} begins anew at {end} already"));
        }
        _ => {}
    }
}

fn check_write(rule: &WriteRule, table: Table, layout: &Layout, node: &Node, cx: &mut Context<'_>) {
    if !table.is_writable() {
        cx.field_problem(node, "write", format!("{}s cannot be written", table))
            .help("only coils and holding registers can");
    }
    let (most, items) = if table.is_bits() { (WRITABLE_BITS, "coils") } else { (WRITABLE_REGISTERS, "registers") };
    if layout.width() > most {
        let key = if layout.count.is_some() { "count" } else { "length" };
        cx.field_problem(node, key, format!("one request writes at most {most} {items}, not {}", layout.width()));
    }
    if layout.form == Form::Time(TimeForm::Words) {
        cx.field_problem(node, "write", "time_words is not written: whether its year has a century is not known");
    }
    let is_number = layout.form.is_number() && layout.meaning == Meaning::Itself;
    let held = |value: &Value| {
        if layout.form.is_partial() { mask(value, layout).map(drop) } else { encode(value, table, layout).map(drop) }
    };
    let mut wrong = Vec::new();
    for (key, limit) in [("min", rule.min), ("max", rule.max), ("step", rule.step)] {
        let Some(limit) = limit else { continue };
        let message = match number_fits(limit, layout) {
            _ if !is_number => Some("only numbers have limits".into()),
            // A step is a distance, so it need not be a value itself.
            _ if key == "step" => None,
            fits => fits.err(),
        };
        wrong.extend(message.map(|message| (key, message)));
    }
    for value in &rule.allowed {
        wrong.extend(held(value).err().map(|message| ("allowed", message)));
    }
    if let Some(fail_safe) = &rule.fail_safe {
        wrong.extend(held(&fail_safe.write).err().map(|message| ("fail_safe", message)));
    }
    for (key, message) in wrong {
        if let Some(write) = node.get("write") {
            cx.within_entry(write, |cx, node| {
                cx.field_problem(node, key, message);
            });
        }
    }
}

/// One more than the largest number of a form that only knows whole numbers from 0 on.
pub(super) fn end_of(form: Form) -> Option<u128> {
    let (min, max) = form.range()?;
    (min == 0).then(|| max.unsigned_abs() + 1)
}
