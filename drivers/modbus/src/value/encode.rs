//! From a value to what is put on the wire: the way of `decode`, backwards. Whatever would not
//! arrive as it was meant is refused here, in words for the one who asked.

use wharf_contract::Value;

use super::decode::unnamed;
use super::layout::{Form, Half, Layout, Meaning};
use super::number::{float_to_bits, split, whole_to_bits};
use super::{Raw, text, time};
use crate::link::Table;

/// The bits or registers that hold the value, rounded to what they can hold. A point that fills a
/// part of a register goes through [`mask`] instead.
pub(crate) fn encode(value: &Value, table: Table, layout: &Layout) -> Result<Raw, String> {
    if layout.form.is_partial() {
        return Err("this point is a part of a register, which is not written as a whole".into());
    }
    let elements = elements(value, layout)?;
    if table.is_bits() {
        return elements.iter().map(|value| truth(value, &layout.meaning)).collect::<Result<_, _>>().map(Raw::Bits);
    }
    let mut registers = Vec::with_capacity(usize::from(layout.width()));
    for (index, element) in elements.iter().enumerate() {
        let place = |reason| if layout.count.is_some() { format!("value {index}: {reason}") } else { reason };
        registers.extend(encode_element(element, layout).map_err(place)?);
    }
    Ok(Raw::Registers(registers))
}

/// Says why the point cannot hold this number, or one of a list it holds; for limits.
pub(crate) fn number_fits(number: f64, layout: &Layout) -> Result<(), String> {
    number_bits(&Value::Float(number), layout).map(|_| ())
}

/// What changes a part of a register and leaves the rest: the register becomes
/// `held & and | or & !and`, as function 22 does it (Modbus application protocol 1.1b3, 6.16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mask {
    pub(crate) and: u16,
    pub(crate) or: u16,
}

impl Mask {
    /// The register after the change, for devices without function 22.
    pub(crate) fn apply(self, held: u16) -> u16 {
        held & self.and | self.or & !self.and
    }
}

/// How the value is put into its part of a register.
pub(crate) fn mask(value: &Value, layout: &Layout) -> Result<Mask, String> {
    // There are eight bits at most.
    let part = |bits: u64, covers: u16, shift: u32| Mask { and: !(covers << shift), or: (bits as u16) << shift };
    let mask = match layout.form {
        Form::Bit(bit) => part(u64::from(truth(value, &layout.meaning)?), 1, u32::from(bit & 15)),
        Form::U8(half) | Form::I8(half) => {
            let shift = if half == Half::High { 8 } else { 0 };
            part(number_bits(value, layout)? & 0xFF, 0xFF, shift)
        }
        _ => return Err("this point fills its registers, which are written as a whole".into()),
    };
    let Mask { and, or } = mask;
    Ok(Mask { and: layout.order.register(and), or: layout.order.register(or) })
}

/// The values one by one: as many as the point has.
fn elements<'v>(value: &'v Value, layout: &Layout) -> Result<&'v [Value], String> {
    let is_flags = matches!(layout.meaning, Meaning::Flags(_));
    match (value, layout.count) {
        (Value::List(values), Some(count)) if values.len() == usize::from(count) => Ok(values),
        (Value::List(values), Some(count)) => Err(format!("the list has {} values, not {count}", values.len())),
        (other, Some(count)) => Err(format!("{other} is no list of {count} values")),
        (Value::List(_), None) if !is_flags => Err("this point holds one value, not a list".into()),
        (one, None) => Ok(std::slice::from_ref(one)),
    }
}

fn encode_element(value: &Value, layout: &Layout) -> Result<Vec<u16>, String> {
    match layout.form {
        Form::Bool => Ok(vec![layout.order.register(u16::from(truth(value, &layout.meaning)?))]),
        Form::Text { registers } => text::encode(&value.to_string(), registers, layout.order),
        Form::Time(form) => match value {
            Value::Text(text) => time::encode(text, form, layout.order),
            other => Err(format!("{other} is no time: write {}", time::example(form))),
        },
        _ => Ok(split(number_bits(value, layout)?, layout)),
    }
}

/// `true`, `1`, `on` and their opposites, or the names of the two.
fn truth(value: &Value, meaning: &Meaning) -> Result<bool, String> {
    if let (Meaning::Names(names), Value::Text(text)) = (meaning, value) {
        return number_of(text, names).map(|number| number != 0);
    }
    match value {
        Value::Bool(on) => Ok(*on),
        Value::Int(0) => Ok(false),
        Value::Int(1) => Ok(true),
        Value::Text(word) => match word.to_ascii_lowercase().as_str() {
            "on" | "true" => Ok(true),
            "off" | "false" => Ok(false),
            _ => Err(format!("{word:?} is neither on nor off")),
        },
        other => Err(format!("{other} is neither on nor off")),
    }
}

fn number_bits(value: &Value, layout: &Layout) -> Result<u64, String> {
    match &layout.meaning {
        Meaning::Names(names) => {
            let number = match value {
                Value::Text(text) => number_of(text, names)?,
                Value::Int(number) if names.iter().any(|(key, _)| key == number) => *number,
                other => return Err(format!("{other} is none of {}", listed(names))),
            };
            whole_to_bits(i128::from(number), layout.form)
        }
        Meaning::Flags(flags) => match value {
            Value::List(set) => set.iter().try_fold(0, |bits, flag| Ok(bits | 1 << bit_of(flag, flags, layout)?)),
            other => Err(format!("{other} is no list of flags")),
        },
        Meaning::Itself if layout.form.is_float() => {
            float_to_bits(unscaled(value, layout)?, layout.form).ok_or_else(|| format!("{value} is too large"))
        }
        Meaning::Itself => whole_bits(value, layout),
    }
}

fn number_of(text: &str, names: &[(i64, String)]) -> Result<i64, String> {
    let found = names.iter().find(|(_, name)| name == text);
    found.map(|(number, _)| *number).ok_or_else(|| format!("{text:?} is none of {}", listed(names)))
}

fn listed(names: &[(i64, String)]) -> String {
    names.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(", ")
}

fn bit_of(flag: &Value, flags: &[(u8, String)], layout: &Layout) -> Result<u8, String> {
    let Value::Text(text) = flag else { return Err(format!("{flag} is no name of a flag")) };
    let named = flags.iter().find(|(_, name)| name == text).map(|(bit, _)| *bit);
    let by_number = || (0..64_u8).find(|bit| u32::from(*bit) < layout.form.bits() && unnamed(*bit) == *text);
    named.or_else(by_number).ok_or_else(|| format!("{text:?} is none of the point's flags"))
}

fn whole_bits(value: &Value, layout: &Layout) -> Result<u64, String> {
    let number = match (value, layout.scaling) {
        (Value::Int(number), None) => i128::from(*number),
        // Saturates far outside of every form, where the range check refuses it.
        _ => unscaled(value, layout)?.round() as i128,
    };
    whole_to_bits(number, layout.form).map_err(|reason| match layout.scaling {
        Some(_) => format!("{value}, unscaled: {reason}"),
        None => reason,
    })
}

/// The number as it stands on the device, finite.
fn unscaled(value: &Value, layout: &Layout) -> Result<f64, String> {
    let number = match value {
        Value::Int(_) | Value::Float(_) => value.as_f64(),
        Value::Bool(_) | Value::Text(_) | Value::List(_) => None,
    };
    let number = number.ok_or_else(|| format!("{:?} is not a number", value.to_string()))?;
    let raw = layout.scaling.map_or(number, |scaling| (number - scaling.offset) / scaling.scale);
    if raw.is_finite() { Ok(raw) } else { Err(format!("{value} is not a number to work with")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::decode::decode;
    use super::super::layout::{Order, Scaling};
    use super::super::time::TimeForm;
    use super::*;

    fn layout(form: Form) -> Layout {
        Layout::new(form)
    }

    fn texts(texts: &[&str]) -> Value {
        Value::List(texts.iter().map(|text| Value::Text((*text).into())).collect())
    }

    fn tenths(form: Form) -> Layout {
        Layout { scaling: Some(Scaling { scale: 0.1, offset: 0.0 }), ..layout(form) }
    }

    fn check(value: Value, layout: Layout, expected: &[u16]) {
        assert_eq!(encode(&value, Table::Holding, &layout), Ok(Raw::Registers(expected.to_vec())), "{value:?}");
    }

    fn refused(value: Value, layout: Layout) -> String {
        encode(&value, Table::Holding, &layout).unwrap_err()
    }

    #[test]
    fn numbers_are_written_in_all_word_and_byte_orders() {
        let with = |order| Layout { order, ..layout(Form::U32) };
        let value = Value::Int(0x1122_3344);
        check(value.clone(), with(Order::Abcd), &[0x1122, 0x3344]);
        check(value.clone(), with(Order::Cdab), &[0x3344, 0x1122]);
        check(value.clone(), with(Order::Badc), &[0x2211, 0x4433]);
        check(value, with(Order::Dcba), &[0x4433, 0x2211]);
    }

    #[test]
    fn negative_numbers_and_floats_are_written() {
        check(Value::Int(-1), layout(Form::I16), &[0xFFFF]);
        check(Value::Int(-2), layout(Form::I32), &[0xFFFF, 0xFFFE]);
        check(Value::Float(230.0), layout(Form::F32), &[0x4366, 0x0000]);
        check(Value::Int(230), layout(Form::F32), &[0x4366, 0x0000]);
        check(Value::Float(1.5), layout(Form::F64), &[0x3FF8, 0, 0, 0]);
    }

    #[test]
    fn scale_and_offset_are_undone_and_rounded() {
        check(Value::Float(21.5), tenths(Form::I16), &[215]);
        check(Value::Float(21.54), tenths(Form::I16), &[215]);
        check(Value::Int(-3), tenths(Form::I16), &[0xFFE2]);
        let kelvin = Layout { scaling: Some(Scaling { scale: 0.01, offset: -273.15 }), ..layout(Form::U16) };
        check(Value::Float(20.0), kelvin, &[29_315]);
    }

    #[test]
    fn a_number_that_does_not_fit_is_refused_with_the_range() {
        assert_eq!(refused(Value::Int(65_536), layout(Form::U16)), "65536 does not fit 0 to 65535");
        assert_eq!(refused(Value::Int(-1), layout(Form::U64)), "-1 does not fit 0 to 18446744073709551615");
        assert!(refused(Value::Float(3_276.8), tenths(Form::I16)).contains("3276.8, unscaled: 32768 does not fit"));
        assert!(refused(Value::Float(1e300), layout(Form::I64)).contains("does not fit"));
        assert!(refused(Value::Float(1e300), layout(Form::F32)).contains("too large"));
        assert!(refused(Value::Float(f64::NAN), layout(Form::U16)).contains("NaN"));
        assert!(refused(Value::Text("warm".into()), layout(Form::U16)).contains("\"warm\" is not a number"));
        assert!(refused(Value::Bool(true), layout(Form::U16)).contains("not a number"));
    }

    #[test]
    fn on_and_off_have_many_spellings_and_nothing_else_is_taken() {
        let bit = |value: Value| encode(&value, Table::Coil, &layout(Form::Bool));
        for on in [Value::Bool(true), Value::Int(1), Value::Text("on".into()), Value::Text("TRUE".into())] {
            assert_eq!(bit(on), Ok(Raw::Bits(vec![true])));
        }
        for off in [Value::Bool(false), Value::Int(0), Value::Text("off".into()), Value::Text("false".into())] {
            assert_eq!(bit(off), Ok(Raw::Bits(vec![false])));
        }
        for neither in [Value::Int(2), Value::Float(1.0), Value::Text("open".into())] {
            assert!(bit(neither).is_err());
        }
        check(Value::Bool(true), layout(Form::Bool), &[1]);
    }

    #[test]
    fn text_is_padded_and_must_fit() {
        let text = || layout(Form::Text { registers: 2 });
        check(Value::Text("ABC".into()), text(), &[0x4142, 0x4300]);
        check(Value::Int(42), text(), &[0x3432, 0]);
        assert!(refused(Value::Text("ABCDE".into()), text()).contains("5 bytes where 4 fit"));
        assert!(refused(Value::Text("A\0B".into()), text()).contains("NUL"));
    }

    #[test]
    fn a_part_of_a_register_is_written_by_a_mask_that_leaves_the_rest() {
        let write = |value: Value, layout: Layout| mask(&value, &layout).map(|mask| mask.apply(0x5A5A));
        assert_eq!(write(Value::Bool(true), layout(Form::Bit(0))), Ok(0x5A5B));
        assert_eq!(write(Value::Int(0), layout(Form::Bit(1))), Ok(0x5A58));
        assert_eq!(write(Value::Int(0x12), layout(Form::U8(Half::High))), Ok(0x125A));
        assert_eq!(write(Value::Int(-1), layout(Form::I8(Half::Low))), Ok(0x5AFF));
        let swapped = Layout { order: Order::Badc, ..layout(Form::U8(Half::High)) };
        assert_eq!(write(Value::Int(0x12), swapped), Ok(0x5A12));
        assert!(write(Value::Int(256), layout(Form::U8(Half::Low))).is_err());
        assert!(write(Value::Int(1), layout(Form::U16)).is_err());
        let whole = encode(&Value::Bool(true), Table::Holding, &layout(Form::Bit(3)));
        assert!(whole.unwrap_err().contains("part of a register"));
    }

    #[test]
    fn names_and_flags_are_written_as_their_numbers_and_nothing_else_is_taken() {
        let names = Meaning::Names([(0, "off".into()), (2, "heating".into())].into());
        let mode = || Layout { meaning: names.clone(), ..layout(Form::U16) };
        check(Value::Text("heating".into()), mode(), &[2]);
        check(Value::Int(2), mode(), &[2]);
        assert_eq!(refused(Value::Text("cooling".into()), mode()), "\"cooling\" is none of off, heating");
        assert_eq!(refused(Value::Int(1), mode()), "1 is none of off, heating");
        let flags =
            || Layout { meaning: Meaning::Flags([(0, "a".into()), (17, "b".into())].into()), ..layout(Form::U32) };
        check(texts(&["b", "a", "bit2"]), flags(), &[0x0002, 0x0005]);
        check(texts(&[]), flags(), &[0, 0]);
        assert!(refused(texts(&["c"]), flags()).contains("\"c\" is none"));
        assert!(refused(texts(&["bit32"]), flags()).contains("none"));
        assert!(refused(Value::Int(1), flags()).contains("no list of flags"));
    }

    #[test]
    fn a_list_is_written_whole_and_only_where_one_is_held() {
        let numbers = |count| Value::List((0..count).map(Value::Int).collect());
        let list = || Layout { count: Some(3), ..layout(Form::U16) };
        check(numbers(3), list(), &[0, 1, 2]);
        assert_eq!(refused(numbers(2), list()), "the list has 2 values, not 3");
        assert_eq!(refused(Value::Int(1), list()), "1 is no list of 3 values");
        assert_eq!(refused(numbers(1), layout(Form::U16)), "this point holds one value, not a list");
        assert!(refused(numbers(1), layout(Form::Text { registers: 4 })).contains("not a list"));
        let nested = Value::List(vec![Value::Int(1), numbers(1), Value::Int(1)]);
        assert!(refused(nested, list()).contains("value 1: \"[0]\" is not a number"));
        let coils = Layout { count: Some(2), ..layout(Form::Bool) };
        let on_off = Value::List(vec![Value::Text("on".into()), Value::Int(0)]);
        assert_eq!(encode(&on_off, Table::Coil, &coils), Ok(Raw::Bits(vec![true, false])));
    }

    #[test]
    fn a_clock_is_set_from_text() {
        check(Value::Text("2000-01-01T00:00:01Z".into()), layout(Form::Time(TimeForm::Since2000)), &[0, 1]);
        assert!(refused(Value::Int(5), layout(Form::Time(TimeForm::Unix32))).contains("5 is no time"));
    }

    fn number_layouts() -> impl Strategy<Value = Layout> {
        use Form::{Bcd, F16, F32, F64, I16, I32, I64, U16, U32, U64};
        let form = prop::sample::select(vec![U16, I16, U32, I32, U64, I64, F16, F32, F64, Bcd(4), Bcd(8), Bcd(16)]);
        let order = prop::sample::select(vec![Order::Abcd, Order::Cdab, Order::Badc, Order::Dcba]);
        // Scaled 64-bit numbers lose their last digits in a float, by nature.
        let scaling = prop::option::of(
            (prop::sample::select(vec![0.001, 0.1, 0.5, 2.0, 10.0, -0.1]), -1000_i32..1000)
                .prop_map(|(scale, offset)| Scaling { scale, offset: f64::from(offset) / 10.0 }),
        );
        (form, order, scaling).prop_map(|(form, order, scaling)| {
            let scaling = scaling.filter(|_| matches!(form, U16 | I16 | U32 | I32 | Bcd(4 | 8)));
            Layout { order, scaling, ..Layout::new(form) }
        })
    }

    proptest! {
        #[test]
        fn what_was_read_can_be_written_back_unchanged(layout in number_layouts(), words in any::<[u16; 4]>()) {
            let raw = Raw::Registers(words[..usize::from(layout.width())].to_vec());
            if let Ok(value) = decode(&raw, &layout) {
                prop_assert_eq!(encode(&value, Table::Holding, &layout), Ok(raw));
            }
        }

        #[test]
        fn text_that_was_written_reads_the_same(text in "[ -~°€]{0,9}[!-~]", swapped: bool) {
            let order = if swapped { Order::Badc } else { Order::Abcd };
            let layout = Layout { order, ..layout(Form::Text { registers: 16 }) };
            let value = Value::Text(text);
            let raw = encode(&value, Table::Holding, &layout).unwrap();
            prop_assert_eq!(decode(&raw, &layout), Ok(value));
        }

        #[test]
        fn lists_and_flags_that_were_read_can_be_written_back(words in prop::collection::vec(any::<u16>(), 6)) {
            let list = Layout { count: Some(3), ..layout(Form::I32) };
            let flags = Meaning::Flags([(4, "four".into())].into());
            let flags = Layout { meaning: flags, ..layout(Form::U64) };
            for (layout, width) in [(list, 6), (flags, 4)] {
                let raw = Raw::Registers(words[..width].to_vec());
                let value = decode(&raw, &layout).unwrap();
                prop_assert_eq!(encode(&value, Table::Holding, &layout), Ok(raw));
            }
        }

        #[test]
        fn a_masked_write_changes_its_part_and_nothing_else(held: u16, wanted: u8, bit in 0_u8..16, swapped: bool) {
            let order = if swapped { Order::Badc } else { Order::Abcd };
            let (one, half) = (Form::Bit(bit), Form::U8(if bit % 2 == 0 { Half::High } else { Half::Low }));
            for (form, value) in [(one, Value::Bool(wanted % 2 == 0)), (half, Value::Int(wanted.into()))] {
                let layout = Layout { order, ..layout(form) };
                let mask = mask(&value, &layout).unwrap();
                let after = mask.apply(held);
                prop_assert_eq!(decode(&Raw::Registers(vec![after]), &layout), Ok(value));
                prop_assert_eq!((after ^ held) & mask.and, 0);
            }
        }

        #[test]
        fn no_registers_whatever_are_too_much_and_no_value_comes_of_too_few(
            layout in number_layouts(),
            words in prop::collection::vec(any::<u16>(), 0..20),
            count in prop::option::of(1_u16..10),
            precision in prop::option::of(0_u8..=15),
        ) {
            let layout = Layout { count, precision, ..layout };
            let read = decode(&Raw::Registers(words.clone()), &layout);
            prop_assert!(read.is_err() || words.len() == usize::from(layout.width()));
            prop_assert!(decode(&Raw::Bits(vec![true; words.len()]), &layout).is_err());
        }
    }
}
