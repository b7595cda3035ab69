//! One value in an advertisement's data: where it stands, how its bits are read, what they mean.

use wharf_contract::Value;

use super::super::{Absent, Address, Refusal};
use super::condition::{Condition, Position, all_hold};
use super::exact::{Decimal, Linear};

/// How far a number may get by steps: as far as the largest that could stand in the data.
const LARGEST: u128 = 1 << 64;

/// Where a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Here.
    At(Position),
    /// Right behind the one before it that is there and has no place of its own.
    Next,
    /// At the same place as that one.
    Last,
}

/// How the bytes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A byte that is zero or not.
    Bool,
    /// So many bytes, at most eight.
    Unsigned(u8),
    Signed(u8),
    /// IEEE 754.
    F32,
    F64,
    /// Two decimal digits in each of so many bytes.
    Bcd(u8),
    /// So many bytes of UTF-8.
    Text(u8),
}

/// Which of the number's bits are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    All,
    /// One, as a boolean.
    Bit(u8),
    /// From one to the other, both among them; they are the number.
    Bits(u8, u8),
}

/// A step with a whole number, before it is scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Add(i64),
    Multiply(i64),
    /// Whole, toward zero; never by zero.
    Divide(i64),
    /// What is left of that.
    Remainder(i64),
    And(i64),
    Xor(i64),
    ShiftRight(u8),
}

/// What the number means.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Meaning {
    /// Itself: what is whole stays whole.
    Itself,
    Scaled(Linear),
    Names(Vec<(i64, String)>),
    /// By their bits.
    Flags(Vec<(u8, String)>),
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Field {
    pub(crate) place: Place,
    pub(crate) form: Form,
    /// Whether the most significant byte leads.
    pub(crate) big: bool,
    pub(crate) part: Part,
    /// The bits that stand for no value.
    pub(crate) invalid: Vec<u64>,
    pub(crate) steps: Vec<Step>,
    pub(crate) meaning: Meaning,
    pub(crate) precision: Option<u8>,
    /// If these all hold, and there are any: the number is below zero, though its bits do not say so.
    pub(crate) negative: Vec<Condition>,
    /// If these all hold, and there are any: there is no value.
    pub(crate) missing: Vec<Condition>,
    /// Whether on is off.
    pub(crate) inverted: bool,
}

impl Form {
    /// How many bytes it has.
    pub(crate) fn width(self) -> u8 {
        match self {
            Self::Bool => 1,
            Self::Unsigned(width) | Self::Signed(width) | Self::Bcd(width) | Self::Text(width) => width,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// Whether it is a whole number.
    pub(crate) fn is_whole(self) -> bool {
        matches!(self, Self::Unsigned(_) | Self::Signed(_) | Self::Bcd(_))
    }
}

impl Step {
    fn apply(self, number: i128) -> Option<i128> {
        match self {
            Self::Add(by) => number.checked_add(by.into()),
            Self::Multiply(by) => number.checked_mul(by.into()),
            Self::Divide(by) => number.checked_div(by.into()),
            Self::Remainder(by) => number.checked_rem(by.into()),
            Self::And(mask) => Some(number & i128::from(mask)),
            Self::Xor(mask) => Some(number ^ i128::from(mask)),
            Self::ShiftRight(by) => number.checked_shr(by.into()),
        }
    }
}

impl Field {
    /// What follows, read as it stands.
    pub(crate) fn plain(form: Form) -> Self {
        Self {
            place: Place::Next,
            form,
            big: false,
            part: Part::All,
            invalid: Vec::new(),
            steps: Vec::new(),
            meaning: Meaning::Itself,
            precision: None,
            negative: Vec::new(),
            missing: Vec::new(),
            inverted: false,
        }
    }

    /// Its bytes from `start` on.
    pub(crate) fn bytes<'d>(&self, data: &'d [u8], start: usize) -> Result<&'d [u8], Refusal> {
        let end = start.saturating_add(self.form.width().into());
        data.get(start..end).ok_or(Refusal::Truncated { have: data.len(), need: end })
    }

    /// The value of these bytes, which stand somewhere in `data`.
    pub(crate) fn read(&self, bytes: &[u8], data: &[u8], address: Address) -> Result<Value, Absent> {
        let is = |conditions: &[Condition]| !conditions.is_empty() && all_hold(conditions, data, address);
        if is(&self.missing) {
            return Err(Absent::NoValue);
        }
        if let Form::Text(_) = self.form {
            return text(bytes);
        }
        let bits = self.bits(bytes);
        if self.invalid.contains(&bits) {
            return Err(Absent::NoValue);
        }
        if self.form == Form::Bool || matches!(self.part, Part::Bit(_)) {
            return self.truth((bits != 0) != self.inverted);
        }
        let number = self.number(bits)?;
        let number = if is(&self.negative) { number.negated() } else { number };
        self.mean(number)
    }

    /// The bits that are meant, the least significant last.
    pub(crate) fn bits(&self, bytes: &[u8]) -> u64 {
        let append = |bits: u64, byte: &u8| bits << 8 | u64::from(*byte);
        let all = if self.big { bytes.iter().fold(0, append) } else { bytes.iter().rev().fold(0, append) };
        match self.part {
            Part::All => all,
            Part::Bit(bit) => all.checked_shr(bit.into()).unwrap_or(0) & 1,
            Part::Bits(low, _) => all.checked_shr(low.into()).unwrap_or(0) & ones(self.bit_count()),
        }
    }

    /// How many bits are meant.
    pub(crate) fn bit_count(&self) -> u32 {
        match self.part {
            Part::All => u32::from(self.form.width()).saturating_mul(8).min(64),
            Part::Bit(_) => 1,
            Part::Bits(low, high) => u32::from(high.saturating_sub(low)).saturating_add(1).min(64),
        }
    }

    fn number(&self, bits: u64) -> Result<Number, Absent> {
        // The lower half is all there is of an f32.
        let whole = match self.form {
            Form::F32 => return Number::real(shortest(f32::from_bits(bits as u32))),
            Form::F64 => return Number::real(f64::from_bits(bits)),
            Form::Signed(_) => signed(bits, self.bit_count()),
            Form::Bcd(width) => bcd(bits, width)?,
            _ => i128::from(bits),
        };
        let stepped = self.steps.iter().try_fold(whole, |number, step| step.apply(number));
        let stepped = stepped.filter(|number| number.unsigned_abs() <= LARGEST);
        stepped.map(Number::Whole).ok_or_else(|| Absent::Implausible(format!("{whole} leads too far")))
    }

    fn truth(&self, on: bool) -> Result<Value, Absent> {
        match &self.meaning {
            Meaning::Names(names) => named(i128::from(on), names),
            _ => Ok(Value::Bool(on)),
        }
    }

    fn mean(&self, number: Number) -> Result<Value, Absent> {
        match (&self.meaning, number) {
            (Meaning::Names(names), Number::Whole(number)) => named(number, names),
            (Meaning::Flags(flags), Number::Whole(number)) => Ok(flagged(number, flags)),
            (Meaning::Scaled(linear), number) => {
                let value = number.decimal().and_then(|raw| linear.apply(raw, self.precision));
                value.map(Value::Float).ok_or_else(|| number.too_large())
            }
            (_, Number::Whole(whole)) => i64::try_from(whole).map(Value::Int).map_err(|_| number.too_large()),
            (_, Number::Real(real)) => {
                let plain = Linear { scale: Decimal::ONE, divide: Decimal::ONE, offset: Decimal::ZERO };
                let value = match self.precision {
                    Some(_) => number.decimal().and_then(|raw| plain.apply(raw, self.precision)),
                    None => Some(real),
                };
                value.map(Value::Float).ok_or_else(|| number.too_large())
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Number {
    Whole(i128),
    /// Finite.
    Real(f64),
}

impl Number {
    fn real(number: f64) -> Result<Self, Absent> {
        // A sensor that has no value often sends what is no number.
        if number.is_finite() { Ok(Self::Real(number)) } else { Err(Absent::NoValue) }
    }

    fn negated(self) -> Self {
        match self {
            Self::Whole(number) => Self::Whole(number.saturating_neg()),
            Self::Real(number) => Self::Real(-number),
        }
    }

    fn decimal(self) -> Option<Decimal> {
        match self {
            Self::Whole(number) => Some(Decimal::whole(number)),
            Self::Real(number) => Decimal::of(number),
        }
    }

    fn too_large(self) -> Absent {
        Absent::Implausible(match self {
            Self::Whole(number) => format!("{number} is no number to work with"),
            Self::Real(number) => format!("{number:e} is no number to work with"),
        })
    }
}

/// The number people mean by this `f32`: 0.1, and not 0.10000000149011612.
fn shortest(raw: f32) -> f64 {
    raw.to_string().parse().unwrap_or(f64::from(raw))
}

fn ones(count: u32) -> u64 {
    u64::MAX.checked_shr(64_u32.saturating_sub(count)).unwrap_or(0)
}

/// Two's complement of so many bits.
fn signed(bits: u64, count: u32) -> i128 {
    let is_negative = count > 0 && bits.checked_shr(count.saturating_sub(1)).unwrap_or(0) & 1 == 1;
    let number = i128::from(bits);
    if is_negative { number.saturating_sub(1_i128 << count.min(64)) } else { number }
}

fn bcd(bits: u64, width: u8) -> Result<i128, Absent> {
    let digits = u32::from(width).saturating_mul(2).min(16);
    (0..digits).rev().try_fold(0_i128, |number, place| {
        let digit = bits >> (4 * place) & 0xF;
        if digit > 9 {
            return Err(Absent::Implausible(format!("{bits:#x} is not made of decimal digits")));
        }
        Ok(number.saturating_mul(10).saturating_add(digit.into()))
    })
}

fn named(number: i128, names: &[(i64, String)]) -> Result<Value, Absent> {
    let found = names.iter().find(|(key, _)| i128::from(*key) == number);
    let found = found.map(|(_, name)| Value::Text(name.clone()));
    found.ok_or_else(|| Absent::Implausible(format!("{number} has none of the point's names")))
}

/// A set bit without a name is `bit5`: it is not passed over.
fn flagged(number: i128, flags: &[(u8, String)]) -> Value {
    let name = |bit: u8| {
        let found = flags.iter().find(|(key, _)| *key == bit);
        Value::Text(found.map_or_else(|| format!("bit{bit}"), |(_, name)| name.clone()))
    };
    Value::List((0..64).filter(|bit| number >> bit & 1 == 1).map(name).collect())
}

/// Text without its padding. Control characters have no place in a reading.
fn text(bytes: &[u8]) -> Result<Value, Absent> {
    let text = std::str::from_utf8(bytes).map_err(|_| Absent::Implausible("it is no text".into()))?;
    let text = text.trim_end_matches(['\0', ' ']);
    match text.chars().find(|c| c.is_control()) {
        Some(_) => Err(Absent::Implausible("there are control characters in it".into())),
        None => Ok(Value::Text(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(form: Form) -> Field {
        Field { place: Place::At(Position(0)), ..Field::plain(form) }
    }

    fn read(field: &Field, bytes: &[u8]) -> Result<Value, Absent> {
        field.read(bytes, bytes, Address([0; 6]))
    }

    #[test]
    fn numbers_of_every_width_order_and_sign_are_read() {
        let cases = [
            (Form::Unsigned(1), false, &[0xff][..], 255),
            (Form::Signed(1), false, &[0xff], -1),
            (Form::Unsigned(2), false, &[0x34, 0x12], 0x1234),
            (Form::Unsigned(2), true, &[0x12, 0x34], 0x1234),
            (Form::Signed(2), true, &[0xff, 0x80], -128),
            (Form::Unsigned(3), true, &[0x01, 0x34, 0xa4], 79_012),
            (Form::Signed(3), false, &[0xfe, 0xff, 0xff], -2),
            (Form::Signed(4), true, &[0x80, 0, 0, 0], i64::from(i32::MIN)),
            (Form::Unsigned(6), false, &[1, 0, 0, 0, 0, 1], 0x0100_0000_0001),
            (Form::Signed(8), false, &[0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], -3),
            (Form::Bcd(2), true, &[0x12, 0x34], 1234),
        ];
        for (form, big, bytes, expected) in cases {
            assert_eq!(read(&Field { big, ..field(form) }, bytes), Ok(Value::Int(expected)), "{form:?} of {bytes:x?}");
        }
        assert_eq!(read(&field(Form::F32), &[0xcd, 0xcc, 0xcc, 0x3d]), Ok(Value::Float(0.1)));
        assert!(read(&field(Form::Bcd(1)), &[0x1a]).unwrap_err().to_string().contains("decimal digits"));
        assert_eq!(read(&field(Form::F32), &[0, 0, 0xc0, 0x7f]), Err(Absent::NoValue));
        assert!(read(&field(Form::Unsigned(8)), &[0xff; 8]).is_err(), "more than a reading can carry");
    }

    #[test]
    fn a_part_of_a_number_has_its_own_sign() {
        let part = |form, low, high| Field { part: Part::Bits(low, high), ..field(form) };
        assert_eq!(read(&part(Form::Unsigned(1), 0, 6), &[0xd4]), Ok(Value::Int(0x54)));
        assert_eq!(read(&part(Form::Unsigned(2), 4, 15), &[0x34, 0x12]), Ok(Value::Int(0x123)));
        assert_eq!(read(&part(Form::Signed(2), 0, 11), &[0xff, 0x0f]), Ok(Value::Int(-1)));
        assert_eq!(read(&part(Form::Signed(2), 0, 11), &[0xff, 0x07]), Ok(Value::Int(2047)));
        let bit = Field { part: Part::Bit(15), ..field(Form::Unsigned(2)) };
        assert_eq!(read(&bit, &[0x00, 0x80]), Ok(Value::Bool(true)));
        assert_eq!(read(&Field { inverted: true, ..bit }, &[0x00, 0x80]), Ok(Value::Bool(false)));
    }

    #[test]
    fn steps_come_before_the_scale() {
        // Two values in one number, as some makers pack them: 216 tenths of a degree, 498 of a percent.
        let tenth = Linear { scale: Decimal::of(0.1).unwrap(), divide: Decimal::ONE, offset: Decimal::ZERO };
        let packed = |steps: &[Step]| Field {
            steps: steps.to_vec(),
            meaning: Meaning::Scaled(tenth),
            big: true,
            negative: vec![Condition { at: Position(0), test: super::super::condition::Test::Set(7) }],
            ..field(Form::Unsigned(3))
        };
        let temperature = packed(&[Step::And(0x7f_ffff), Step::Divide(1000)]);
        assert_eq!(read(&temperature, &[0x03, 0x4d, 0xb2]), Ok(Value::Float(21.6)));
        assert_eq!(read(&temperature, &[0x83, 0x4d, 0xb2]), Ok(Value::Float(-21.6)));
        let humidity = packed(&[Step::And(0x7f_ffff), Step::Remainder(1000)]);
        assert_eq!(read(&humidity, &[0x03, 0x4d, 0xb2]), Ok(Value::Float(49.8)));
        let far = Field { steps: vec![Step::Multiply(i64::MAX); 3], ..field(Form::Unsigned(8)) };
        assert!(read(&far, &[0xff; 8]).unwrap_err().to_string().contains("leads too far"));
    }

    #[test]
    fn what_the_sensor_calls_missing_is_no_value() {
        let invalid = Field { invalid: vec![0x8000], ..field(Form::Signed(2)) };
        assert_eq!(read(&invalid, &[0x00, 0x80]), Err(Absent::NoValue));
        assert_eq!(read(&invalid, &[0x01, 0x80]), Ok(Value::Int(-32_767)));
        let missing = vec![Condition { at: Position(1), test: super::super::condition::Test::Set(6) }];
        assert_eq!(read(&Field { missing, ..field(Form::Unsigned(2)) }, &[0x00, 0x40]), Err(Absent::NoValue));
    }

    #[test]
    fn names_and_flags_say_what_numbers_mean() {
        let names = Meaning::Names(vec![(0, "open".into()), (1, "closed".into())]);
        let named = Field { meaning: names, ..field(Form::Unsigned(1)) };
        assert_eq!(read(&named, &[1]), Ok(Value::Text("closed".into())));
        assert!(read(&named, &[2]).unwrap_err().to_string().contains("2 has none of the point's names"));
        let flags = Field { meaning: Meaning::Flags(vec![(1, "tilt".into())]), ..field(Form::Unsigned(1)) };
        assert_eq!(
            read(&flags, &[0b110]),
            Ok(Value::List(vec![Value::Text("tilt".into()), Value::Text("bit2".into())]))
        );
    }

    #[test]
    fn text_loses_its_padding_and_must_be_text() {
        assert_eq!(read(&field(Form::Text(5)), b"ab \0\0"), Ok(Value::Text("ab".into())));
        assert!(read(&field(Form::Text(1)), &[0xff]).is_err());
        assert!(read(&field(Form::Text(3)), b"a\nb").is_err());
    }
}
