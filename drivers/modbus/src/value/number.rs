//! Numbers as bits, and back.

use super::layout::{Form, Half, Layout, Order};

/// A number as it stands on the device, before scaling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    Whole(i128),
    /// Finite.
    Real(f64),
}

/// The bits of one number, the most significant first. `registers` are at most four.
pub(crate) fn join(registers: &[u16], form: Form, order: Order) -> u64 {
    let append = |bits: u64, register: &u16| bits << 16 | u64::from(order.register(*register));
    let bits =
        if order.low_word_first() { registers.iter().rev().fold(0, append) } else { registers.iter().fold(0, append) };
    match form {
        Form::Bit(bit) => bits >> (bit & 15) & 1,
        Form::U8(Half::High) | Form::I8(Half::High) => bits >> 8 & 0xFF,
        Form::U8(Half::Low) | Form::I8(Half::Low) => bits & 0xFF,
        _ => bits,
    }
}

/// The low bits as registers, in the order the device expects. For forms that fill their registers.
pub(crate) fn split(bits: u64, layout: &Layout) -> Vec<u16> {
    // One register at a time.
    let low_first = (0..layout.form.width()).map(|n| layout.order.register((bits >> (16 * n)) as u16));
    if layout.order.low_word_first() { low_first.collect() } else { low_first.rev().collect() }
}

/// The number these bits stand for, or why there is none.
pub(crate) fn from_bits(bits: u64, form: Form) -> Result<Number, String> {
    // The casts keep the low bits on purpose: signed forms are the same bits read as two's complement.
    let number = match form {
        Form::I8(_) => Number::Whole(i128::from(bits as u8 as i8)),
        Form::I16 => Number::Whole(i128::from(bits as u16 as i16)),
        Form::I32 => Number::Whole(i128::from(bits as u32 as i32)),
        Form::I64 => Number::Whole(i128::from(bits as i64)),
        Form::F16 => Number::Real(shortest_half(bits as u16)),
        Form::F32 => Number::Real(shortest(f32::from_bits(bits as u32))),
        Form::F64 => Number::Real(f64::from_bits(bits)),
        Form::Bcd(digits) => Number::Whole(from_bcd(bits, digits)?),
        _ => Number::Whole(i128::from(bits)),
    };
    match number {
        Number::Real(number) if !number.is_finite() => {
            Err(format!("the device sent {number}, which is not a number to work with"))
        }
        number => Ok(number),
    }
}

/// The bits of a whole number, or why it does not fit.
pub(crate) fn whole_to_bits(number: i128, form: Form) -> Result<u64, String> {
    let (min, max) = form.range().ok_or("this point does not hold a whole number")?;
    if number < min || number > max {
        return Err(format!("{number} does not fit {min} to {max}"));
    }
    // It is in range, and two's complement is meant.
    let bits = number as u64;
    match form {
        Form::Bcd(digits) => Ok(to_bcd(bits, digits)),
        // What is negative has ones above its own bits.
        _ => Ok(bits & (u64::MAX >> (64 - form.bits().clamp(1, 64)))),
    }
}

/// The bits of the nearest number a float form can hold; `None` if that is infinite.
pub(crate) fn float_to_bits(number: f64, form: Form) -> Option<u64> {
    // Rounding to what the device holds is meant.
    let narrow = number as f32;
    match form {
        Form::F16 => to_half(number).map(u64::from),
        Form::F32 => narrow.is_finite().then(|| u64::from(narrow.to_bits())),
        _ => number.is_finite().then(|| number.to_bits()),
    }
}

/// The number people mean by this `f32`: 0.1, and not 0.10000000149011612. Narrowed again it is
/// the same `f32`.
fn shortest(raw: f32) -> f64 {
    raw.to_string().parse().unwrap_or(f64::from(raw))
}

/// The same for halves, whose whole numbers are short enough as they are.
fn shortest_half(bits: u16) -> f64 {
    let exact = f64::from(from_half(bits));
    if !exact.is_finite() || exact.fract() == 0.0 {
        return exact;
    }
    // Five digits tell any two halves apart.
    let shorter = (0..4).filter_map(|places| format!("{exact:.places$e}").parse().ok());
    shorter.into_iter().find(|number| to_half(*number) == Some(bits)).unwrap_or(exact)
}

/// IEEE 754-2008, 3.6: one bit of sign, five of exponent (bias 15), ten of fraction.
fn from_half(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from(bits >> 10 & 0x1F);
    let fraction = f32::from(bits & 0x3FF) / 1024.0;
    match exponent {
        0 => sign * fraction * 2_f32.powi(-14),
        0x1F if fraction == 0.0 => sign * f32::INFINITY,
        0x1F => f32::NAN,
        _ => sign * (1.0 + fraction) * 2_f32.powi(exponent - 15),
    }
}

/// The nearest half, ties to even; `None` if that is infinite or the number is none.
fn to_half(number: f64) -> Option<u16> {
    let sign = if number.is_sign_negative() { 0x8000 } else { 0 };
    let size = number.abs();
    // 65520 is midway between the largest half, 65504, and the next one there is no room for.
    if !number.is_finite() || size >= 65_520.0 {
        return None;
    }
    // Halves of this size are whole multiples of `step`; 2⁻²⁴ is the smallest of all.
    let exponent = if size < 2_f64.powi(-14) { -14 } else { exponent_of(size) };
    let step = 2_f64.powi(exponent - 10);
    // From 0 to 2048.
    let steps = (size / step).round_ties_even() as u16;
    // A fraction rounded up to 1024 more carries into the exponent, as it should.
    let biased = u16::try_from(exponent + 14).ok()?;
    Some(sign | (biased * 1024 + steps))
}

/// The exponent of a normal number: `2^e <= size < 2^(e+1)`.
fn exponent_of(size: f64) -> i32 {
    // Eleven bits are left.
    let biased = (size.to_bits() >> 52 & 0x7FF) as i32;
    biased - 1023
}

fn from_bcd(bits: u64, digits: u8) -> Result<i128, String> {
    (0..digits).rev().try_fold(0_i128, |number, place| {
        let digit = bits >> (4 * u32::from(place)) & 0xF;
        if digit > 9 {
            return Err(format!("{digit:#X} is not a decimal digit: {bits:#X} is not BCD"));
        }
        Ok(number * 10 + i128::from(digit))
    })
}

fn to_bcd(mut number: u64, digits: u8) -> u64 {
    let mut bits = 0;
    for place in 0..u32::from(digits) {
        bits |= (number % 10) << (4 * place);
        number /= 10;
    }
    bits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn halves_are_read_as_the_standard_says() {
        let cases = [
            (0x0000, 0.0),
            (0x3C00, 1.0),
            (0xC000, -2.0),
            (0x7BFF, 65_504.0),
            (0x0001, 2_f32.powi(-24)),
            (0x03FF, 2_f32.powi(-14) - 2_f32.powi(-24)),
            (0x0400, 2_f32.powi(-14)),
            (0x3555, 0.333_251_95),
            (0x7C00, f32::INFINITY),
        ];
        for (bits, expected) in cases {
            assert_eq!(from_half(bits), expected, "{bits:#06x}");
        }
        assert!(from_half(0x7C01).is_nan());
    }

    #[test]
    fn every_half_that_is_a_number_is_written_back_unchanged() {
        for bits in 0..=u16::MAX {
            let number = f64::from(from_half(bits));
            assert_eq!(to_half(number), number.is_finite().then_some(bits), "{bits:#06x}");
        }
    }

    #[test]
    fn a_half_reads_as_people_write_it() {
        assert_eq!([0x2E66, 0x3555, 0x5B34, 0x7BFF, 0x0001].map(shortest_half), [0.1, 0.3333, 230.5, 65_504.0, 6e-8]);
        for bits in (0..0x7C00).chain(0x8000..0xFC00) {
            assert_eq!(to_half(shortest_half(bits)), Some(bits), "{bits:#06x}");
        }
    }

    #[test]
    fn a_number_between_two_halves_goes_to_the_nearer_and_midway_to_the_even_one() {
        assert_eq!(to_half(1.0 + 0.4 / 1024.0), Some(0x3C00));
        assert_eq!(to_half(1.0 + 0.5 / 1024.0), Some(0x3C00));
        assert_eq!(to_half(1.0 + 1.5 / 1024.0), Some(0x3C02));
        assert_eq!(to_half(1.9999), Some(0x4000));
        assert_eq!(to_half(65_519.9), Some(0x7BFF));
        assert_eq!(to_half(65_520.0), None);
        assert_eq!(to_half(1e-9), Some(0));
    }

    #[test]
    fn negative_numbers_have_no_more_bits_than_their_form() {
        assert_eq!(whole_to_bits(-32_768, Form::I16), Ok(0x8000));
        assert_eq!(whole_to_bits(-1, Form::I8(Half::Low)), Ok(0xFF));
        assert_eq!(whole_to_bits(-1, Form::I64), Ok(u64::MAX));
        assert!(whole_to_bits(-1, Form::U64).is_err());
    }

    #[test]
    fn bcd_is_decimal_digits_and_nothing_else() {
        assert_eq!(from_bcd(0x1234, 4), Ok(1234));
        assert_eq!(from_bcd(0x9999_9999_9999_9999, 16), Ok(9_999_999_999_999_999));
        assert!(from_bcd(0x12A4, 4).unwrap_err().contains("0xA is not a decimal digit"));
        assert_eq!(to_bcd(1234, 8), 0x0000_1234);
    }

    proptest! {
        #[test]
        fn bcd_that_was_written_reads_the_same(number in 0_u64..=9_999_999_999_999_999) {
            prop_assert_eq!(from_bcd(to_bcd(number, 16), 16), Ok(i128::from(number)));
        }
    }
}
