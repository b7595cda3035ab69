//! One point in the site file: where it stands and what stands there. `check` has the rules that its
//! keys keep together.

use wharf_contract::settings::{Names, OneOrMany, Ranged, RawNumber, WriteSettings};
use wharf_contract::{setting_enum, settings};

use super::check::{check_point, end_of};
use super::{Address, Half, Interval, Order, Requires};
use crate::link::Table;
use crate::value::beside::Beside;
use crate::value::layout::{Form, Layout, Meaning, Scaling};
use crate::value::number::{float_to_bits, whole_to_bits};
use crate::value::time::TimeForm;

settings! {
    /// One value of a device: where it stands, how it is read, whether it may be written.
    pub struct PointSettings {
        /// The coil, by its address on the wire: counted from 0, without the 0xxxx of manuals.
        coil: Option<Address<0>> = None,
        /// The discrete input, by its address on the wire: counted from 0, without the 1xxxx.
        discrete: Option<Address<1>> = None,
        /// The first holding register, by its address on the wire: counted from 0, without the 4xxxx.
        holding: Option<Address<4>> = None,
        /// The first input register, by its address on the wire: counted from 0, without the 3xxxx.
        input: Option<Address<3>> = None,
        /// What stands there. A coil or discrete input is a `bool`, a register `u16` unless said.
        r#type: Option<PointType> = None,
        /// Of a `u8` or `i8`: which half of the register it is.
        byte: Option<Half> = None,
        /// One bit of a register, as a `bool`; 0 is the least significant.
        bit: Option<Ranged<u8, 0, 15>> = None,
        /// The order of the bytes of a number. The link or the device may say it for all points.
        order: Option<Order> = None,
        /// The length of a `string`, in registers of two bytes.
        length: Option<Ranged<u16, 1, 125>> = None,
        /// How many values stand one after the other. They become a list.
        count: Option<Ranged<u16, 1, 2000>> = None,
        /// What the number on the device is multiplied by.
        scale: Option<f64> = None,
        /// The register that holds the power of ten it is multiplied by as well, signed, as in SunSpec.
        scale_from: Option<u16> = None,
        /// What is added after scaling.
        offset: Option<f64> = None,
        /// How many decimals the value is rounded to.
        precision: Option<Ranged<u8, 0, 15>> = None,
        /// The unit of the value, such as `°C`.
        unit: Option<String> = None,
        /// What stands there when there is no value: the number before scaling, or in hexadecimal
        /// the bits.
        invalid: Option<OneOrMany<RawNumber>> = None,
        /// What the numbers mean, such as {0: off, 1: on}. The value becomes the name.
        names: Option<Names<{ i64::MIN }, { i64::MAX }>> = None,
        /// What the bits mean, such as {0: overload, 3: door}. The value becomes the list of the names
        /// of those that are set.
        flags: Option<Names<0, 63>> = None,
        /// Whether it counts up to the end of its type and begins anew. What it loses by that is added.
        counter: bool = false,
        /// Of a counter: where it begins anew, if not at the end of its type: one more than its
        /// largest value.
        wraps_at: Option<Ranged<u64, 2, { i64::MAX }>> = None,
        /// Registers that have to hold these numbers, such as {40070: 103}; else what stands there is
        /// something else and no value. They are read with it.
        requires: Option<Requires> = None,
        /// How often it is read.
        every: Option<Interval> = None,
        /// Opens it for commands. Without this it is never written.
        write: Option<Box<WriteSettings>> = None,
    }
    exactly_one_of: [coil, discrete, holding, input];
    at_most_one_of: [names, flags];
    check: check_point;
}

setting_enum! {
    /// How a value is stored.
    pub enum PointType {
        /// On or off: one bit, or a register that is zero or not.
        Bool = "bool",
        /// 0 to 255, half of a register.
        U8 = "u8",
        /// -128 to 127, half of a register.
        I8 = "i8",
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
        /// A number with a fraction, one register.
        F16 = "f16",
        /// A number with a fraction, two registers.
        F32 = "f32",
        /// A number with a fraction, four registers.
        F64 = "f64",
        /// Four decimal digits, one register.
        Bcd16 = "bcd16",
        /// Eight decimal digits, two registers.
        Bcd32 = "bcd32",
        /// Sixteen decimal digits, four registers.
        Bcd64 = "bcd64",
        /// Text, two bytes in each register.
        Text = "string",
        /// Seconds since 1970, two registers.
        TimeUnix32 = "time_unix32",
        /// Seconds since 1970, four registers.
        TimeUnix64 = "time_unix64",
        /// Milliseconds since 1970, four registers.
        TimeUnixMs = "time_unix_ms",
        /// Seconds since 2000, two registers.
        Time2000 = "time_2000",
        /// A clock after IEC 60870-5-4, four registers.
        TimeIec870 = "time_iec870",
        /// Year, month, day, hour, minute, second in BCD, three registers.
        TimeBcd = "time_bcd",
        /// Year, month, day, hour, minute, second in bytes, three registers.
        TimeBytes = "time_bytes",
        /// Year, month, day, hour, minute, second in one register each.
        TimeWords = "time_words",
    }
}

/// The bits that a number is in a form; or why it cannot be.
pub(super) fn bits_of(number: RawNumber, form: Form) -> Result<u64, String> {
    let fits = |bits: i128| u64::try_from(bits).ok().filter(|bits| form.bits() >= 64 || bits >> form.bits() == 0);
    // The nearest number is what a float form holds.
    match number {
        RawNumber::Bits(bits) => fits(bits).ok_or_else(|| format!("{bits:#X} has more than {} bits", form.bits())),
        RawNumber::Whole(number) if form.is_float() => bits_of(RawNumber::Real(number as f64), form),
        RawNumber::Whole(number) => whole_to_bits(number, form),
        RawNumber::Real(number) if form.is_float() => {
            float_to_bits(number, form).ok_or_else(|| format!("{number} is too large"))
        }
        RawNumber::Real(number) => Err(format!("{number} is not a whole number")),
    }
}

impl PointSettings {
    /// The table and the address in it. Exactly one of the four is there once it is decoded.
    pub(crate) fn place(&self) -> (Table, u16) {
        let bits = self.coil.map(|at| (Table::Coil, at.get())).or(self.discrete.map(|at| (Table::Discrete, at.get())));
        let inputs = self.input.map(|at| (Table::Input, at.get()));
        bits.or(inputs).unwrap_or((Table::Holding, self.holding.map_or(0, Address::get)))
    }

    /// The type it has if none is said.
    pub(super) fn kind(&self) -> PointType {
        let one_bit = self.place().0.is_bits() || self.bit.is_some();
        self.r#type.unwrap_or(if one_bit { PointType::Bool } else { PointType::U16 })
    }

    fn form(&self) -> Form {
        let half = self.byte.unwrap_or(Half::Low);
        match self.kind() {
            PointType::Bool => self.bit.map_or(Form::Bool, |bit| Form::Bit(bit.get())),
            PointType::U8 => Form::U8(half),
            PointType::I8 => Form::I8(half),
            PointType::U16 => Form::U16,
            PointType::I16 => Form::I16,
            PointType::U32 => Form::U32,
            PointType::I32 => Form::I32,
            PointType::U64 => Form::U64,
            PointType::I64 => Form::I64,
            PointType::F16 => Form::F16,
            PointType::F32 => Form::F32,
            PointType::F64 => Form::F64,
            PointType::Bcd16 => Form::Bcd(4),
            PointType::Bcd32 => Form::Bcd(8),
            PointType::Bcd64 => Form::Bcd(16),
            PointType::Text => Form::Text { registers: self.length.map_or(1, Ranged::get) },
            PointType::TimeUnix32 => Form::Time(TimeForm::Unix32),
            PointType::TimeUnix64 => Form::Time(TimeForm::Unix64),
            PointType::TimeUnixMs => Form::Time(TimeForm::UnixMs),
            PointType::Time2000 => Form::Time(TimeForm::Since2000),
            PointType::TimeIec870 => Form::Time(TimeForm::Iec870),
            PointType::TimeBcd => Form::Time(TimeForm::Bcd),
            PointType::TimeBytes => Form::Time(TimeForm::Bytes),
            PointType::TimeWords => Form::Time(TimeForm::Words),
        }
    }

    /// How its bits become a value. `order` holds where the point says none.
    pub(crate) fn layout(&self, order: Order) -> Layout {
        let form = self.form();
        let scaled = self.scale.is_some() || self.offset.is_some();
        let invalid = self.invalid.iter().flat_map(|invalid| invalid.iter());
        let meaning = match (&self.names, &self.flags) {
            (Some(names), _) => Meaning::Names(names.iter().map(|(number, name)| (number, name.to_owned())).collect()),
            (None, Some(flags)) => {
                let bit = |(bit, name): (i64, &str)| Some((u8::try_from(bit).ok()?, name.to_owned()));
                Meaning::Flags(flags.iter().filter_map(bit).collect())
            }
            (None, None) => Meaning::Itself,
        };
        let width = form.width().saturating_mul(self.count.map_or(1, Ranged::get));
        let requires = self.requires.as_ref().map_or(&[][..], Requires::registers);
        Layout {
            form,
            beside: Beside::new(self.place().1, width, self.scale_from, requires).map(Box::new),
            order: self.order.unwrap_or(order),
            count: self.count.map(Ranged::get),
            scaling: scaled.then(|| Scaling { scale: self.scale.unwrap_or(1.0), offset: self.offset.unwrap_or(0.0) }),
            precision: self.precision.map(Ranged::get),
            invalid: invalid.filter_map(|number| bits_of(*number, form).ok()).collect(),
            meaning,
            wraps_at: self.wraps_at.map(|end| u128::from(end.get())).or(self.counter.then(|| end_of(form)).flatten()),
        }
    }
}
