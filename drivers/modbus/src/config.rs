//! This driver's part of the site file, and the rules it has to keep. Every mistake that can be
//! seen without hardware is found here.

use wharf_contract::settings::{Context, HostPort, Named, Node, Period, Ranged, WriteSettings};
use wharf_contract::{Value, WriteRule, setting_enum, settings};

use crate::encode::encode;
use crate::link::{Form, Layout, Scaling, Table};

/// A rhythm: 10 ms to a day.
pub type Interval = Period<10, 86_400_000>;

/// The most registers that one request can write.
const WRITABLE_REGISTERS: u16 = 123;

settings! {
    /// One Modbus connection and the devices behind it.
    pub struct LinkSettings {
        /// The device or gateway that speaks Modbus TCP, such as `192.168.1.40:502`.
        tcp: HostPort<502>,
        /// How often points are read, where neither they nor their device say otherwise.
        every: Interval = Interval::secs(10),
        /// How long one request waits for its answer.
        timeout: Period<10, 60_000> = Period::secs(1),
        /// The devices, by name. A name is unique in the whole site and stands in topics.
        devices: Named<DeviceSettings>,
    }
}

settings! {
    /// One Modbus device, found by its unit id.
    pub struct DeviceSettings {
        /// Its unit id: 0–255 over TCP.
        unit: u8,
        /// How often its points are read, where they do not say otherwise.
        every: Option<Interval> = None,
        /// Its points, by name.
        points: Named<PointSettings> = Named::none(),
    }
}

settings! {
    /// One value of a device: where it stands, how it is read, whether it may be written.
    pub struct PointSettings {
        /// The coil, by its address on the wire: counted from 0, without the 0xxxx of manuals.
        coil: Option<u16> = None,
        /// The discrete input, by its address on the wire: counted from 0, without the 1xxxx.
        discrete: Option<u16> = None,
        /// The first holding register, by its address on the wire: counted from 0, without the 4xxxx.
        holding: Option<u16> = None,
        /// The first input register, by its address on the wire: counted from 0, without the 3xxxx.
        input: Option<u16> = None,
        /// What stands there. A coil or discrete input is a `bool`, a register `u16` unless said.
        r#type: Option<PointType> = None,
        /// The length of a `string`, in registers of two bytes.
        length: Option<Ranged<u16, 1, 125>> = None,
        /// Which register of a wide number comes first.
        word_order: Option<WordOrder> = None,
        /// Which byte of each register comes first.
        byte_order: Option<ByteOrder> = None,
        /// What the number on the device is multiplied by.
        scale: Option<f64> = None,
        /// What is added after scaling.
        offset: Option<f64> = None,
        /// The unit of the value, such as `°C`.
        unit: Option<String> = None,
        /// How often it is read.
        every: Option<Interval> = None,
        /// Opens it for commands. Without this it is never written.
        write: Option<WriteSettings> = None,
    }
    exactly_one_of: [coil, discrete, holding, input];
    check: check_point;
}

setting_enum! {
    /// How a value is stored.
    pub enum PointType {
        /// On or off: one bit, or a register that is zero or not.
        Bool = "bool",
        /// 0 to 65535.
        U16 = "u16",
        /// -32768 to 32767.
        I16 = "i16",
        /// Unsigned, two registers.
        U32 = "u32",
        /// Signed, two registers.
        I32 = "i32",
        /// Unsigned, four registers.
        U64 = "u64",
        /// Signed, four registers.
        I64 = "i64",
        /// A number with a fraction, two registers.
        F32 = "f32",
        /// A number with a fraction, four registers.
        F64 = "f64",
        /// Text, two bytes in each register.
        Text = "string",
    }
}

setting_enum! {
    /// Which register of a wide value comes first.
    pub enum WordOrder {
        /// The more significant one.
        HighFirst = "high_first",
        /// The less significant one.
        LowFirst = "low_first",
    }
}

setting_enum! {
    /// Which byte of a register comes first.
    pub enum ByteOrder {
        /// The more significant one, as the protocol says.
        Big = "big",
        /// The less significant one.
        Little = "little",
    }
}

impl PointSettings {
    /// The table and the address in it. Exactly one of the four is there once it is decoded.
    pub(crate) fn place(&self) -> (Table, u16) {
        let tables = [(Table::Coil, self.coil), (Table::Discrete, self.discrete), (Table::Input, self.input)];
        let other = tables.into_iter().find_map(|(table, address)| Some((table, address?)));
        other.unwrap_or((Table::Holding, self.holding.unwrap_or_default()))
    }

    /// How its bits become a value.
    pub(crate) fn layout(&self) -> Layout {
        let default = if self.place().0.is_bits() { PointType::Bool } else { PointType::U16 };
        let form = match self.r#type.unwrap_or(default) {
            PointType::Bool => Form::Bool,
            PointType::U16 => Form::U16,
            PointType::I16 => Form::I16,
            PointType::U32 => Form::U32,
            PointType::I32 => Form::I32,
            PointType::U64 => Form::U64,
            PointType::I64 => Form::I64,
            PointType::F32 => Form::F32,
            PointType::F64 => Form::F64,
            PointType::Text => Form::Text { registers: self.length.map_or(1, Ranged::get) },
        };
        let scaled = self.scale.is_some() || self.offset.is_some();
        Layout {
            form,
            word_order: self.word_order.unwrap_or(WordOrder::HighFirst),
            byte_order: self.byte_order.unwrap_or(ByteOrder::Big),
            scaling: scaled.then(|| Scaling { scale: self.scale.unwrap_or(1.0), offset: self.offset.unwrap_or(0.0) }),
        }
    }
}

/// The rules over several keys of a point.
fn check_point(this: &PointSettings, node: &Node, cx: &mut Context<'_>) {
    let (table, address) = this.place();
    let layout = this.layout();
    if table.is_bits() {
        check_bit(this, table, node, cx);
    } else {
        check_registers(this, &layout, node, cx);
    }
    let last = u32::from(address) + u32::from(layout.width()) - 1;
    if last > u32::from(u16::MAX) {
        let key = if table == Table::Holding { "holding" } else { "input" };
        let message = format!("{} registers from {address} on end beyond the last one, 65535", layout.width());
        cx.field_problem(node, key, message);
    }
    if let Some(write) = &this.write {
        check_write(&WriteRule::from(write), table, &layout, node, cx);
    }
}

fn check_bit(this: &PointSettings, table: Table, node: &Node, cx: &mut Context<'_>) {
    if let Some(other) = this.r#type.filter(|kind| *kind != PointType::Bool) {
        cx.field_problem(node, "type", format!("a {table} is one bit, so it cannot be {other}"))
            .help("remove it, or read a holding or input register");
    }
    let without_meaning = [
        ("length", this.length.is_some()),
        ("word_order", this.word_order.is_some()),
        ("byte_order", this.byte_order.is_some()),
        ("scale", this.scale.is_some()),
        ("offset", this.offset.is_some()),
    ];
    for (key, _) in without_meaning.into_iter().filter(|(_, present)| *present) {
        cx.field_problem(node, key, format!("a {table} is one bit and has no {key}")).help("remove it");
    }
}

fn check_registers(this: &PointSettings, layout: &Layout, node: &Node, cx: &mut Context<'_>) {
    let kind = this.r#type.unwrap_or(PointType::U16);
    let is_text = kind == PointType::Text;
    if is_text && this.length.is_none() {
        cx.field_problem(node, "length", "a string needs its length").help("write length: 8 for 8 registers, 16 bytes");
    }
    if !is_text && this.length.is_some() {
        cx.field_problem(node, "length", format!("the type {kind} has its own length")).help("remove it");
    }
    if this.word_order.is_some() && (is_text || layout.width() == 1) {
        let message = format!("the type {kind} has no word order");
        cx.field_problem(node, "word_order", message).help("remove it; byte_order swaps the bytes of each register");
    }
    for (key, present) in [("scale", this.scale.is_some()), ("offset", this.offset.is_some())] {
        if present && matches!(kind, PointType::Bool | PointType::Text) {
            cx.field_problem(node, key, format!("the type {kind} is not a number and has no {key}")).help("remove it");
        }
    }
    if this.scale == Some(0.0) {
        cx.field_problem(node, "scale", "a scale of 0 makes every value the same");
    }
}

fn check_write(rule: &WriteRule, table: Table, layout: &Layout, node: &Node, cx: &mut Context<'_>) {
    if !table.is_writable() {
        cx.field_problem(node, "write", format!("{}s cannot be written", table))
            .help("only coils and holding registers can");
    }
    if layout.width() > WRITABLE_REGISTERS {
        let message = format!("one request writes at most {WRITABLE_REGISTERS} registers, not {}", layout.width());
        cx.field_problem(node, "length", message);
    }
    let is_number = !matches!(layout.form, Form::Bool | Form::Text { .. });
    for (key, limit) in [("min", rule.min), ("max", rule.max)] {
        let Some(limit) = limit else { continue };
        let message = if is_number {
            encode(&Value::Float(limit), table, layout).err()
        } else {
            Some("only numbers have limits".into())
        };
        if let (Some(message), Some(write)) = (message, node.get("write")) {
            cx.within_entry(write, |cx, node| {
                cx.field_problem(node, key, message);
            });
        }
    }
}
