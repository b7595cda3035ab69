//! From a value to what is put on the wire: the way of `decode`, backwards. Whatever would not
//! arrive as it was meant is refused here, in words for the one who asked.

use wharf_contract::Value;

use crate::decode::{Raw, in_order};
use crate::link::{Form, Layout, Table, WordOrder};

/// The bits or registers that hold the value, rounded to what they can hold.
pub(crate) fn encode(value: &Value, table: Table, layout: &Layout) -> Result<Raw, String> {
    if table.is_bits() {
        return Ok(Raw::Bits(vec![truth(value)?]));
    }
    let registers = match layout.form {
        Form::Bool => vec![in_order(u16::from(truth(value)?), layout.byte_order)],
        Form::Text { registers } => encode_text(&value.to_string(), registers, layout)?,
        form => split(number_bits(value, form, layout)?, layout),
    };
    Ok(Raw::Registers(registers))
}

/// `true`, `1`, `on` and their opposites.
fn truth(value: &Value) -> Result<bool, String> {
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

fn number_bits(value: &Value, form: Form, layout: &Layout) -> Result<u64, String> {
    match form {
        Form::F32 => {
            let number = unscaled(value, layout)?;
            #[allow(clippy::cast_possible_truncation)] // rounding to what the device holds is meant
            let narrow = number as f32;
            if narrow.is_finite() { Ok(u64::from(narrow.to_bits())) } else { Err(format!("{value} does not fit f32")) }
        }
        Form::F64 => Ok(unscaled(value, layout)?.to_bits()),
        _ => whole_bits(value, form, layout),
    }
}

/// Two's complement in the low bits; those above the form's width are cut off by [`split`].
fn whole_bits(value: &Value, form: Form, layout: &Layout) -> Result<u64, String> {
    let number = match (value, layout.scaling) {
        (Value::Int(number), None) => i128::from(*number),
        // Saturates far outside of every form, where the range check refuses it.
        #[allow(clippy::cast_possible_truncation)]
        _ => unscaled(value, layout)?.round() as i128,
    };
    let (min, max) = range(form);
    if number < min || number > max {
        let raw = layout.scaling.map(|_| format!(", which is {number} unscaled,")).unwrap_or_default();
        return Err(format!("{value}{raw} does not fit {min} to {max}"));
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // in range, see above
    Ok(number as u64)
}

fn range(form: Form) -> (i128, i128) {
    match form {
        Form::U16 => (0, i128::from(u16::MAX)),
        Form::I16 => (i128::from(i16::MIN), i128::from(i16::MAX)),
        Form::U32 => (0, i128::from(u32::MAX)),
        Form::I32 => (i128::from(i32::MIN), i128::from(i32::MAX)),
        Form::I64 => (i128::from(i64::MIN), i128::from(i64::MAX)),
        Form::U64 | Form::Bool | Form::F32 | Form::F64 | Form::Text { .. } => (0, i128::from(u64::MAX)),
    }
}

/// The number as it stands on the device, finite.
fn unscaled(value: &Value, layout: &Layout) -> Result<f64, String> {
    let number = match value {
        Value::Int(_) | Value::Float(_) => value.as_f64(),
        Value::Bool(_) | Value::Text(_) => None,
    };
    let number = number.ok_or_else(|| format!("{:?} is not a number", value.to_string()))?;
    let raw = layout.scaling.map_or(number, |scaling| (number - scaling.offset) / scaling.scale);
    if raw.is_finite() { Ok(raw) } else { Err(format!("{value} is not a number to work with")) }
}

/// The low bits as registers, in the order the device expects.
fn split(bits: u64, layout: &Layout) -> Vec<u16> {
    #[allow(clippy::cast_possible_truncation)] // one register at a time
    let low_first = (0..layout.width()).map(|n| in_order((bits >> (16 * n)) as u16, layout.byte_order));
    match layout.word_order {
        WordOrder::LowFirst => low_first.collect(),
        WordOrder::HighFirst => low_first.rev().collect(),
    }
}

fn encode_text(text: &str, registers: u16, layout: &Layout) -> Result<Vec<u16>, String> {
    let room = usize::from(registers) * 2;
    if text.len() > room {
        return Err(format!("the text has {} bytes where {room} fit", text.len()));
    }
    if text.contains('\0') {
        return Err("the text has a NUL in it".into());
    }
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(room, 0);
    let pairs = bytes.chunks_exact(2);
    Ok(pairs.map(|pair| in_order(u16::from_be_bytes([pair[0], pair[1]]), layout.byte_order)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decode::decode;
    use crate::link::{ByteOrder, Scaling};

    fn layout(form: Form) -> Layout {
        Layout { form, word_order: WordOrder::HighFirst, byte_order: ByteOrder::Big, scaling: None }
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
        let with = |word_order, byte_order| Layout { word_order, byte_order, ..layout(Form::U32) };
        let value = Value::Int(0x1122_3344);
        check(value.clone(), with(WordOrder::HighFirst, ByteOrder::Big), &[0x1122, 0x3344]);
        check(value.clone(), with(WordOrder::LowFirst, ByteOrder::Big), &[0x3344, 0x1122]);
        check(value.clone(), with(WordOrder::HighFirst, ByteOrder::Little), &[0x2211, 0x4433]);
        check(value, with(WordOrder::LowFirst, ByteOrder::Little), &[0x4433, 0x2211]);
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
        assert!(refused(Value::Float(3_276.8), tenths(Form::I16)).contains("which is 32768 unscaled"));
        assert!(refused(Value::Float(1e300), layout(Form::I64)).contains("does not fit"));
        assert!(refused(Value::Float(1e300), layout(Form::F32)).contains("does not fit f32"));
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
        let text = layout(Form::Text { registers: 2 });
        check(Value::Text("ABC".into()), text, &[0x4142, 0x4300]);
        check(Value::Int(42), text, &[0x3432, 0]);
        assert!(refused(Value::Text("ABCDE".into()), text).contains("5 bytes where 4 fit"));
        assert!(refused(Value::Text("A\0B".into()), text).contains("NUL"));
    }

    fn number_layouts() -> impl Strategy<Value = Layout> {
        use Form::{F32, F64, I16, I32, I64, U16, U32, U64};
        let form = prop::sample::select(vec![U16, I16, U32, I32, U64, I64, F32, F64]);
        let word = prop::sample::select(vec![WordOrder::HighFirst, WordOrder::LowFirst]);
        let byte = prop::sample::select(vec![ByteOrder::Big, ByteOrder::Little]);
        // Scaled 64-bit numbers lose their last digits in a float, by nature.
        let scaling = prop::option::of(
            (prop::sample::select(vec![0.001, 0.1, 0.5, 2.0, 10.0, -0.1]), -1000_i32..1000)
                .prop_map(|(scale, offset)| Scaling { scale, offset: f64::from(offset) / 10.0 }),
        );
        (form, word, byte, scaling).prop_map(|(form, word_order, byte_order, scaling)| {
            let scaling = scaling.filter(|_| matches!(form, U16 | I16 | U32 | I32));
            Layout { form, word_order, byte_order, scaling }
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
            let byte_order = if swapped { ByteOrder::Little } else { ByteOrder::Big };
            let layout = Layout { byte_order, ..layout(Form::Text { registers: 16 }) };
            let value = Value::Text(text);
            let raw = encode(&value, Table::Holding, &layout).unwrap();
            prop_assert_eq!(decode(&raw, &layout), Ok(value));
        }
    }
}
