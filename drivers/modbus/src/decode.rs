//! From what a device sent to a value. Pure: bits and registers in, a value or a reason out.

use wharf_contract::Value;

use crate::link::{ByteOrder, Form, Layout, Scaling, WordOrder};

/// What a device sent for one point or one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Raw {
    Bits(Vec<bool>),
    Registers(Vec<u16>),
}

impl Raw {
    /// How many bits or registers there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Bits(bits) => bits.len(),
            Self::Registers(registers) => registers.len(),
        }
    }

    /// The `count` items from `at` on, if there are that many.
    pub(crate) fn part(&self, at: u16, count: u16) -> Option<Self> {
        let range = usize::from(at)..usize::from(at) + usize::from(count);
        match self {
            Self::Bits(bits) => bits.get(range).map(|bits| Self::Bits(bits.to_vec())),
            Self::Registers(registers) => registers.get(range).map(|part| Self::Registers(part.to_vec())),
        }
    }
}

/// The value that stands in exactly these bits or registers, or why there is none.
pub(crate) fn decode(raw: &Raw, layout: &Layout) -> Result<Value, String> {
    match raw {
        Raw::Bits(bits) => match bits[..] {
            [bit] if layout.form == Form::Bool => Ok(Value::Bool(bit)),
            _ => Err(format!("{} bits do not make one value", bits.len())),
        },
        Raw::Registers(registers) => decode_registers(registers, layout),
    }
}

fn decode_registers(registers: &[u16], layout: &Layout) -> Result<Value, String> {
    if registers.len() != usize::from(layout.width()) {
        return Err(format!("{} registers came where {} were asked for", registers.len(), layout.width()));
    }
    if let Form::Text { .. } = layout.form {
        return decode_text(registers, layout.byte_order);
    }
    let bits = join(registers, layout);
    // The casts keep the low bits on purpose: the width was checked, and signed forms are the same
    // bits read as two's complement.
    #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
    match layout.form {
        Form::Bool => Ok(Value::Bool(bits != 0)),
        Form::U16 | Form::U32 | Form::U64 => whole(i128::from(bits), layout.scaling),
        Form::I16 => whole(i128::from(bits as u16 as i16), layout.scaling),
        Form::I32 => whole(i128::from(bits as u32 as i32), layout.scaling),
        Form::I64 => whole(i128::from(bits as i64), layout.scaling),
        Form::F32 => float(shortest(f32::from_bits(bits as u32)), layout.scaling),
        Form::F64 => float(f64::from_bits(bits), layout.scaling),
        Form::Text { .. } => Err("text has no number".into()),
    }
}

/// The registers as one number, the most significant part first.
fn join(registers: &[u16], layout: &Layout) -> u64 {
    let append = |bits: u64, register: &u16| bits << 16 | u64::from(in_order(*register, layout.byte_order));
    match layout.word_order {
        WordOrder::HighFirst => registers.iter().fold(0, append),
        WordOrder::LowFirst => registers.iter().rev().fold(0, append),
    }
}

/// A register with its more significant byte first. The same step turns it back.
pub(crate) fn in_order(register: u16, order: ByteOrder) -> u16 {
    match order {
        ByteOrder::Big => register,
        ByteOrder::Little => register.swap_bytes(),
    }
}

fn whole(raw: i128, scaling: Option<Scaling>) -> Result<Value, String> {
    #[allow(clippy::cast_precision_loss)] // exactness is checked where it is promised
    let rounded = raw as f64;
    match scaling {
        Some(scaling) => scaled(rounded, scaling),
        None => match i64::try_from(raw) {
            Ok(number) => Ok(Value::Int(number)),
            #[allow(clippy::cast_possible_truncation)] // below 2^64, so it fits i128
            Err(_) if rounded as i128 == raw => Ok(Value::Float(rounded)),
            Err(_) => Err(format!("{raw} is too large to be carried without loss")),
        },
    }
}

fn float(raw: f64, scaling: Option<Scaling>) -> Result<Value, String> {
    if !raw.is_finite() {
        return Err(format!("the device sent {raw}, which is not a number to work with"));
    }
    match scaling {
        Some(scaling) => scaled(raw, scaling),
        None => Ok(Value::Float(raw)),
    }
}

/// The number people mean by this `f32`: 0.1, and not 0.10000000149011612. Narrowed again it is
/// the same `f32`.
fn shortest(raw: f32) -> f64 {
    raw.to_string().parse().unwrap_or(f64::from(raw))
}

fn scaled(raw: f64, Scaling { scale, offset }: Scaling) -> Result<Value, String> {
    let value = raw * scale + offset;
    if !value.is_finite() {
        return Err(format!("{raw} scaled by {scale} is too large"));
    }
    // A product has as many decimals as its factors together. All that is there beyond them is
    // binary noise, such as 21.500000000000004.
    let places = (decimals(raw) + decimals(scale)).max(decimals(offset));
    let value: f64 = format!("{value:.places$}").parse().unwrap_or(value);
    // Adding zero turns -0 into 0.
    Ok(Value::Float(value + 0.0))
}

/// How many decimals the number has as people write it.
fn decimals(number: f64) -> usize {
    let text = number.to_string();
    text.split_once('.').map_or(0, |(_, fraction)| fraction.len())
}

fn decode_text(registers: &[u16], order: ByteOrder) -> Result<Value, String> {
    let bytes: Vec<u8> = registers.iter().flat_map(|register| in_order(*register, order).to_be_bytes()).collect();
    let end = bytes.iter().rposition(|byte| !matches!(byte, 0 | b' ')).map_or(0, |last| last + 1);
    match std::str::from_utf8(&bytes[..end]) {
        Ok(text) if text.contains('\0') => Err("the text has a NUL in its middle".into()),
        Ok(text) => Ok(Value::Text(text.to_owned())),
        Err(error) => Err(format!("byte {} of the text is neither ASCII nor UTF-8", error.valid_up_to() + 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(form: Form) -> Layout {
        Layout { form, word_order: WordOrder::HighFirst, byte_order: ByteOrder::Big, scaling: None }
    }

    fn scaled_by(form: Form, scale: f64, offset: f64) -> Layout {
        Layout { scaling: Some(Scaling { scale, offset }), ..layout(form) }
    }

    fn check(registers: &[u16], layout: Layout, expected: Value) {
        assert_eq!(
            decode(&Raw::Registers(registers.to_vec()), &layout),
            Ok(expected),
            "{registers:04x?} as {layout:?}"
        );
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
        let low_first = |form| Layout { word_order: WordOrder::LowFirst, ..layout(form) };
        check(&[0x0000, 0x4366], low_first(Form::F32), Value::Float(230.0));
        check(&[0x86A0, 0x0001], low_first(Form::U32), Value::Int(100_000));
        check(&[0x0002, 0x0000, 0x0001, 0x0000], low_first(Form::U64), Value::Int(0x1_0000_0002));
        check(&[0x0000, 0x0000, 0x0000, 0x3FF8], low_first(Form::F64), Value::Float(1.5));
    }

    #[test]
    fn swapped_bytes_are_put_back_in_either_word_order() {
        let little = |form, word_order| Layout { byte_order: ByteOrder::Little, word_order, ..layout(form) };
        check(&[0x3412], little(Form::U16, WordOrder::HighFirst), Value::Int(0x1234));
        check(&[0x6643, 0x0000], little(Form::F32, WordOrder::HighFirst), Value::Float(230.0));
        check(&[0x0000, 0x6643], little(Form::F32, WordOrder::LowFirst), Value::Float(230.0));
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
        let text = layout(Form::Text { registers: 3 });
        check(&[0x4142, 0x4300, 0x0000], text, Value::Text("ABC".into()));
        check(&[0x2041, 0x2020, 0x0020], text, Value::Text(" A".into()));
        check(&[0xC2B0, 0x4300, 0x0000], text, Value::Text("°C".into()));
        check(&[0, 0, 0], text, Value::Text(String::new()));
        let swapped = Layout { byte_order: ByteOrder::Little, ..text };
        check(&[0x4241, 0x0043, 0x0000], swapped, Value::Text("ABC".into()));
        assert!(refused(&[0x41FF, 0x4200, 0], text).contains("byte 2"));
        assert!(refused(&[0x4100, 0x4200, 0], text).contains("NUL"));
    }

    #[test]
    fn a_register_is_true_when_it_is_not_zero() {
        check(&[0], layout(Form::Bool), Value::Bool(false));
        check(&[0x0100], layout(Form::Bool), Value::Bool(true));
        assert_eq!(decode(&Raw::Bits(vec![true]), &layout(Form::Bool)), Ok(Value::Bool(true)));
    }

    #[test]
    fn a_wrong_number_of_registers_is_never_a_value() {
        assert!(refused(&[1], layout(Form::U32)).contains("1 registers"));
        assert!(refused(&[1, 2, 3], layout(Form::U32)).contains("3 registers"));
        assert!(decode(&Raw::Bits(vec![]), &layout(Form::Bool)).is_err());
    }
}
