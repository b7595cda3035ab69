//! From what a device sent to a value: bits and registers in, a value or a reason out.

use wharf_contract::Value;

use super::layout::{Form, Layout, Meaning, Scaling};
use super::number::{Number, from_bits, join};
use super::{text, time};

pub(crate) use super::Raw;

/// The value that stands in exactly these bits or registers, or why there is none.
pub(crate) fn decode(raw: &Raw, layout: &Layout) -> Result<Value, String> {
    decode_with(raw, layout, &mut Ok)
}

/// Like [`decode`], with what a whole number without names goes through before it is scaled: the place
/// where a counter gets back what it has lost.
pub(crate) fn decode_with(
    raw: &Raw,
    layout: &Layout,
    amend: &mut dyn FnMut(i128) -> Result<i128, String>,
) -> Result<Value, String> {
    let (came, due) = (raw.len(), usize::from(layout.width()));
    if came != due || due == 0 {
        return Err(format!("{came} items came where {due} were asked for"));
    }
    if let Some(beside) = &layout.beside {
        return beside.decode(raw, layout, amend);
    }
    match raw {
        Raw::Bits(bits) if layout.form == Form::Bool => {
            in_list(bits.iter().map(|bit| truth(*bit, &layout.meaning)), layout)
        }
        Raw::Bits(_) => Err("a single bit is on or off and nothing else".into()),
        Raw::Registers(registers) => {
            let elements = registers.chunks_exact(usize::from(layout.form.width()));
            in_list(elements.map(|registers| element(registers, layout, amend)), layout)
        }
    }
}

/// One value by itself or several in a list. A list that is not whole is none.
fn in_list(values: impl Iterator<Item = Result<Value, String>>, layout: &Layout) -> Result<Value, String> {
    let mut values = values;
    if layout.count.is_none() {
        return values.next().unwrap_or_else(|| Err("nothing came".into()));
    }
    let numbered = values.enumerate();
    let named = numbered.map(|(index, value)| value.map_err(|reason| format!("value {index} of the list: {reason}")));
    named.collect::<Result<_, _>>().map(Value::List)
}

fn element(
    registers: &[u16],
    layout: &Layout,
    amend: &mut dyn FnMut(i128) -> Result<i128, String>,
) -> Result<Value, String> {
    match layout.form {
        Form::Text { .. } => return text::decode(registers, layout.order).map(Value::Text),
        Form::Time(form) => return time::decode(registers, form, layout.order).map(Value::Text),
        _ => {}
    }
    let bits = join(registers, layout.form, layout.order);
    if layout.invalid.contains(&bits) {
        return Err(format!("the device says that there is no value ({bits:#X})"));
    }
    if matches!(layout.form, Form::Bool | Form::Bit(_)) {
        return truth(bits != 0, &layout.meaning);
    }
    let number = from_bits(bits, layout.form)?;
    match (number, &layout.meaning) {
        (_, Meaning::Flags(flags)) => Ok(names_of_bits(bits, flags)),
        (Number::Whole(number), Meaning::Names(names)) => name_of(number, names),
        (Number::Whole(number), Meaning::Itself) => whole(amend(number)?, layout),
        (Number::Real(number), _) => real(number, layout),
    }
}

fn truth(on: bool, meaning: &Meaning) -> Result<Value, String> {
    match meaning {
        Meaning::Names(names) => name_of(i128::from(on), names),
        Meaning::Itself | Meaning::Flags(_) => Ok(Value::Bool(on)),
    }
}

fn name_of(number: i128, names: &[(i64, String)]) -> Result<Value, String> {
    let found = names.iter().find(|(key, _)| i128::from(*key) == number);
    found.map(|(_, name)| Value::Text(name.clone())).ok_or_else(|| format!("{number} has none of the point's names"))
}

/// A set bit without a name is `bit5`: it is not passed over.
fn names_of_bits(bits: u64, flags: &[(u8, String)]) -> Value {
    let set = (0..64_u8).filter(|bit| bits >> bit & 1 == 1);
    let name = |bit: u8| flags.iter().find(|(key, _)| *key == bit).map_or_else(|| unnamed(bit), |(_, n)| n.clone());
    Value::List(set.map(|bit| Value::Text(name(bit))).collect())
}

/// What a bit without a name is called.
pub(super) fn unnamed(bit: u8) -> String {
    format!("bit{bit}")
}

fn whole(raw: i128, layout: &Layout) -> Result<Value, String> {
    // Exactness is checked where it is promised.
    let rounded = raw as f64;
    match layout.scaling {
        Some(scaling) => scaled(rounded, scaling, layout.precision),
        None => match i64::try_from(raw) {
            Ok(number) => Ok(Value::Int(number)),
            // At most a few times 2^64, so it fits i128.
            Err(_) if rounded as i128 == raw => Ok(Value::Float(rounded)),
            Err(_) => Err(format!("{raw} is too large to be carried without loss")),
        },
    }
}

fn real(raw: f64, layout: &Layout) -> Result<Value, String> {
    match (layout.scaling, layout.precision) {
        (Some(scaling), precision) => scaled(raw, scaling, precision),
        (None, Some(precision)) => Ok(Value::Float(rounded(raw, precision.into()))),
        (None, None) => Ok(Value::Float(raw)),
    }
}

fn scaled(raw: f64, Scaling { scale, offset }: Scaling, precision: Option<u8>) -> Result<Value, String> {
    let value = raw * scale + offset;
    if !value.is_finite() {
        return Err(format!("{raw} scaled by {scale} is too large"));
    }
    // A product has as many decimals as its factors together. All that is there beyond them is
    // binary noise, such as 21.500000000000004.
    let places = (decimals(raw) + decimals(scale)).max(decimals(offset));
    let value = rounded(value, precision.map_or(places, |precision| places.min(precision.into())));
    Ok(Value::Float(value))
}

/// The number with so many decimals.
fn rounded(number: f64, places: usize) -> f64 {
    let rounded: f64 = format!("{number:.places$}").parse().unwrap_or(number);
    // Adding zero turns -0 into 0.
    rounded + 0.0
}

/// How many decimals the number has as people write it.
fn decimals(number: f64) -> usize {
    let text = number.to_string();
    text.split_once('.').map_or(0, |(_, fraction)| fraction.len())
}

#[cfg(test)]
mod tests {
    use super::super::layout::{Half, Order};
    use super::*;

    fn layout(form: Form) -> Layout {
        Layout::new(form)
    }

    fn scaled_by(form: Form, scale: f64, offset: f64) -> Layout {
        Layout { scaling: Some(Scaling { scale, offset }), ..layout(form) }
    }

    fn check(registers: &[u16], layout: Layout, expected: Value) {
        let read = decode(&Raw::Registers(registers.to_vec()), &layout);
        assert_eq!(read, Ok(expected), "{registers:04x?} as {layout:?}");
    }

    fn texts(texts: &[&str]) -> Value {
        Value::List(texts.iter().map(|text| Value::Text((*text).into())).collect())
    }

    fn refused(registers: &[u16], layout: Layout) -> String {
        decode(&Raw::Registers(registers.to_vec()), &layout).unwrap_err()
    }

    #[test]
    fn whole_numbers_of_every_width_and_sign_are_read() {
        check(&[0xFFFF], layout(Form::U16), Value::Int(65_535));
        check(&[0xFFFF], layout(Form::I16), Value::Int(-1));
        check(&[0x8000], layout(Form::I16), Value::Int(-32_768));
        check(&[0x0001, 0x86A0], layout(Form::U32), Value::Int(100_000));
        check(&[0xFFFF, 0xFFFE], layout(Form::I32), Value::Int(-2));
        check(&[0xFFFF, 0xFFFE], layout(Form::U32), Value::Int(4_294_967_294));
        check(&[0x0000, 0x0001, 0x0000, 0x0002], layout(Form::U64), Value::Int(0x1_0000_0002));
        check(&[0xFFFF, 0xFFFF, 0xFFFF, 0xFFFD], layout(Form::I64), Value::Int(-3));
    }

    #[test]
    fn a_meter_that_sends_the_low_word_first_is_read_right() {
        let low_first = |form| Layout { order: Order::Cdab, ..layout(form) };
        check(&[0x0000, 0x4366], low_first(Form::F32), Value::Float(230.0));
        check(&[0x86A0, 0x0001], low_first(Form::U32), Value::Int(100_000));
        check(&[0x0002, 0x0000, 0x0001, 0x0000], low_first(Form::U64), Value::Int(0x1_0000_0002));
        check(&[0x0000, 0x0000, 0x0000, 0x3FF8], low_first(Form::F64), Value::Float(1.5));
    }

    #[test]
    fn swapped_bytes_are_put_back_in_either_word_order() {
        let little = |form, order| Layout { order, ..layout(form) };
        check(&[0x3412], little(Form::U16, Order::Badc), Value::Int(0x1234));
        check(&[0x6643, 0x0000], little(Form::F32, Order::Badc), Value::Float(230.0));
        check(&[0x0000, 0x6643], little(Form::F32, Order::Dcba), Value::Float(230.0));
    }

    #[test]
    fn floats_read_as_people_write_them() {
        check(&[0x3DCC, 0xCCCD], layout(Form::F32), Value::Float(0.1));
        check(&[0x41AC, 0x0000], layout(Form::F32), Value::Float(21.5));
        check(&[0x3FB9, 0x9999, 0x9999, 0x999A], layout(Form::F64), Value::Float(0.1));
    }

    #[test]
    fn nan_and_infinity_are_no_values() {
        assert!(refused(&[0x7FC0, 0x0000], layout(Form::F32)).contains("NaN"));
        assert!(refused(&[0xFF80, 0x0000], layout(Form::F32)).contains("inf"));
        assert!(refused(&[0x7FF0, 0, 0, 0], layout(Form::F64)).contains("inf"));
        assert!(refused(&[0x7FE0, 0, 0, 0], scaled_by(Form::F64, 1e10, 0.0)).contains("too large"));
    }

    #[test]
    fn scaled_values_are_free_of_binary_noise() {
        check(&[215], scaled_by(Form::I16, 0.1, 0.0), Value::Float(21.5));
        check(&[3], scaled_by(Form::U16, 0.1, 0.0), Value::Float(0.3));
        check(&[1_234], scaled_by(Form::U16, 0.01, -40.0), Value::Float(-27.66));
        check(&[7], scaled_by(Form::U16, 10.0, 0.0), Value::Float(70.0));
        check(&[1], scaled_by(Form::U16, 0.1, 0.25), Value::Float(0.35));
        check(&[0], scaled_by(Form::U16, -0.1, 0.0), Value::Float(0.0));
        check(&[0x3F9D, 0x70A4], scaled_by(Form::F32, 0.1, 0.0), Value::Float(0.123));
    }

    #[test]
    fn an_unsigned_number_beyond_i64_is_carried_only_when_it_is_exact() {
        check(&[0x8000, 0, 0, 0], layout(Form::U64), Value::Float(9_223_372_036_854_775_808.0));
        assert!(refused(&[0x8000, 0, 0, 1], layout(Form::U64)).contains("9223372036854775809"));
        assert!(refused(&[0xFFFF; 4], layout(Form::U64)).contains("18446744073709551615"));
    }

    #[test]
    fn text_loses_its_padding_and_nothing_else() {
        let text = Form::Text { registers: 3 };
        let swapped = Layout { order: Order::Badc, ..layout(text) };
        let text = || layout(text);
        check(&[0x4142, 0x4300, 0x0000], text(), Value::Text("ABC".into()));
        check(&[0x2041, 0x2020, 0x0020], text(), Value::Text(" A".into()));
        check(&[0xC2B0, 0x4300, 0x0000], text(), Value::Text("°C".into()));
        check(&[0, 0, 0], text(), Value::Text(String::new()));
        check(&[0x4241, 0x0043, 0x0000], swapped, Value::Text("ABC".into()));
        assert!(refused(&[0x41FF, 0x4200, 0], text()).contains("byte 2"));
        assert!(refused(&[0x4100, 0x4200, 0], text()).contains("NUL"));
    }

    #[test]
    fn a_register_is_true_when_it_is_not_zero() {
        check(&[0], layout(Form::Bool), Value::Bool(false));
        check(&[0x0100], layout(Form::Bool), Value::Bool(true));
        assert_eq!(decode(&Raw::Bits(vec![true]), &layout(Form::Bool)), Ok(Value::Bool(true)));
    }

    #[test]
    fn a_wrong_number_of_registers_is_never_a_value() {
        assert!(refused(&[1], layout(Form::U32)).contains("1 items"));
        assert!(refused(&[1, 2, 3], layout(Form::U32)).contains("3 items"));
        assert!(decode(&Raw::Bits(vec![]), &layout(Form::Bool)).is_err());
    }

    #[test]
    fn a_part_of_a_register_is_read_by_itself() {
        check(&[0x12FE], layout(Form::U8(Half::High)), Value::Int(0x12));
        check(&[0x12FE], layout(Form::I8(Half::Low)), Value::Int(-2));
        check(&[0b1000], layout(Form::Bit(3)), Value::Bool(true));
        check(&[!0b1000], layout(Form::Bit(3)), Value::Bool(false));
        check(&[0x0080], Layout { order: Order::Badc, ..layout(Form::Bit(15)) }, Value::Bool(true));
    }

    #[test]
    fn halves_and_bcd_are_read() {
        check(&[0x4D00], layout(Form::F16), Value::Float(20.0));
        check(&[0x2E66], layout(Form::F16), Value::Float(0.1));
        check(&[0x1234, 0x5678], layout(Form::Bcd(8)), Value::Int(12_345_678));
        check(&[0x5678, 0x1234], Layout { order: Order::Cdab, ..layout(Form::Bcd(8)) }, Value::Int(12_345_678));
        assert!(refused(&[0x00FF], layout(Form::Bcd(4))).contains("not BCD"));
    }

    #[test]
    fn what_stands_for_no_value_is_none() {
        let invalid = |form, invalid: &[u64]| Layout { invalid: invalid.into(), ..layout(form) };
        assert!(refused(&[0x8000], invalid(Form::I16, &[0x8000])).contains("no value (0x8000)"));
        check(&[0x8001], invalid(Form::I16, &[0x8000]), Value::Int(-32_767));
        assert!(refused(&[0x7FC0, 0], invalid(Form::F32, &[0, 0x7FC0_0000])).contains("no value"));
        let swapped = Layout { order: Order::Cdab, ..invalid(Form::U32, &[0x8000_0000]) };
        assert!(refused(&[0, 0x8000], swapped).contains("no value"));
    }

    #[test]
    fn numbers_become_names_and_one_without_a_name_is_no_value() {
        let names = || Meaning::Names([(-1, "fault".into()), (0, "off".into()), (2, "heating".into())].into());
        let mode = || Layout { meaning: names(), ..layout(Form::I16) };
        check(&[2], mode(), Value::Text("heating".into()));
        check(&[0xFFFF], mode(), Value::Text("fault".into()));
        assert_eq!(refused(&[1], mode()), "1 has none of the point's names");
        let door = Meaning::Names([(0, "closed".into()), (1, "open".into())].into());
        let door = Layout { meaning: door, ..layout(Form::Bool) };
        assert_eq!(decode(&Raw::Bits(vec![true]), &door), Ok(Value::Text("open".into())));
    }

    #[test]
    fn a_bit_field_becomes_the_names_of_its_set_bits_and_none_is_passed_over() {
        let flags = |form| Layout {
            meaning: Meaning::Flags([(0, "overload".into()), (3, "door".into())].into()),
            ..layout(form)
        };
        check(&[0b1001], flags(Form::U16), texts(&["overload", "door"]));
        check(&[0], flags(Form::U16), texts(&[]));
        check(&[0b1_0000_0001], flags(Form::U16), texts(&["overload", "bit8"]));
        check(&[0x8000, 0], flags(Form::U32), texts(&["bit31"]));
    }

    #[test]
    fn a_list_is_whole_or_it_is_no_value() {
        let list = |form, count| Layout { count: Some(count), ..layout(form) };
        check(&[0, 1, 0, 2], list(Form::U32, 2), Value::List(vec![Value::Int(1), Value::Int(2)]));
        check(&[7], list(Form::U16, 1), Value::List(vec![Value::Int(7)]));
        let bits = decode(&Raw::Bits(vec![true, false]), &list(Form::Bool, 2));
        assert_eq!(bits, Ok(Value::List(vec![Value::Bool(true), Value::Bool(false)])));
        assert!(refused(&[0x4100, 0, 0x7FC0, 0], list(Form::F32, 2)).contains("value 1 of the list"));
        assert!(refused(&[1, 2, 3], list(Form::U32, 2)).contains("3 items"));
        assert!(decode(&Raw::Bits(vec![true; 3]), &list(Form::Bool, 2)).is_err());
    }

    #[test]
    fn precision_rounds_and_invents_no_decimals() {
        let to = |form, precision| Layout { precision: Some(precision), ..layout(form) };
        check(&[0x4366, 0xB6E3], to(Form::F32, 2), Value::Float(230.71));
        check(&[0x4366, 0xB6E3], to(Form::F32, 0), Value::Float(231.0));
        check(&[2_155], Layout { precision: Some(1), ..scaled_by(Form::I16, 0.01, 0.0) }, Value::Float(21.6));
        check(&[215], Layout { precision: Some(5), ..scaled_by(Form::I16, 0.1, 0.0) }, Value::Float(21.5));
        check(&[0xBC23, 0xD70A], to(Form::F32, 1), Value::Float(0.0));
    }

    #[test]
    fn a_counter_is_amended_before_it_is_scaled() {
        let layout = scaled_by(Form::U16, 0.1, 0.0);
        let amended = decode_with(&Raw::Registers(vec![5]), &layout, &mut |count| Ok(count + 65_536));
        assert_eq!(amended, Ok(Value::Float(6_554.1)));
    }
}
