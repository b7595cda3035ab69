//! What the bytes of a characteristic mean, and back. Pure.
//!
//! Numbers go by the same rules as those in described advertisements, which read them; what is here
//! besides is the way back, and the two decimal floats that only characteristics have.

use wharf_contract::Value;

use crate::advert::described::exact::{Decimal, Linear};
use crate::advert::described::field::{Field, Form, Meaning, Part};
use crate::advert::{Absent, Address};

/// The longest value there is (Bluetooth Core 5.4, Vol 3, Part F, 3.2.9).
pub(crate) const LONGEST: usize = 512;

/// How the bytes of a characteristic become a value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Codec {
    /// The byte it begins at.
    pub(crate) at: usize,
    pub(crate) coding: Coding,
}

/// What stands there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Coding {
    /// A number, on or off, or names of these.
    Field(Box<Field>),
    /// Text up to the end, or so many bytes of it.
    Text(Option<usize>),
    /// A decimal float of ISO/IEEE 11073-20601: of four bytes if it is wide, else of two.
    Medical { wide: bool, linear: Linear, precision: Option<u8> },
    /// Temperature Measurement of the Health Thermometer Service 1.0, 3.1: a byte of flags, of which
    /// the first says that it is in Fahrenheit, and a wide decimal float.
    Thermometer,
}

/// A number that is left as it is.
pub(crate) const AS_IT_IS: Linear = Linear { scale: Decimal::ONE, divide: Decimal::ONE, offset: Decimal::ZERO };

impl Codec {
    pub(crate) fn new(coding: Coding) -> Self {
        Self { at: 0, coding }
    }

    /// Whether a value can be put there: it has to be all that stands there.
    pub(crate) fn is_writable(&self) -> bool {
        self.at == 0
            && match &self.coding {
                Coding::Field(field) => field.part == Part::All,
                Coding::Text(_) => true,
                Coding::Medical { .. } | Coding::Thermometer => false,
            }
    }

    /// The value that stands in these bytes, or why there is none.
    pub(crate) fn decode(&self, bytes: &[u8]) -> Result<Value, String> {
        let rest = bytes.get(self.at..).unwrap_or_default();
        let first = |width: usize| {
            let need = self.at.saturating_add(width);
            rest.get(..width).ok_or_else(|| format!("{} bytes came where {need} are needed", bytes.len()))
        };
        match &self.coding {
            Coding::Field(field) => {
                let part = first(field.form.width().into())?;
                field.read(part, bytes, Address([0; 6])).map_err(in_words)
            }
            Coding::Text(length) => {
                let text = rest.get(..length.unwrap_or(LONGEST)).unwrap_or(rest);
                Field::plain(Form::Text(0)).read(text, bytes, Address([0; 6])).map_err(in_words)
            }
            Coding::Medical { wide, linear, precision } => {
                let number = medical(first(if *wide { 4 } else { 2 })?)?;
                let value = linear.apply(number, *precision);
                value.map(Value::Float).ok_or_else(|| "the device sent no number to work with".to_owned())
            }
            Coding::Thermometer => thermometer(first(5)?),
        }
    }

    /// The bytes that hold a value, and the value as they hold it: rounded to what they can.
    pub(crate) fn encode(&self, value: &Value) -> Result<(Vec<u8>, Value), String> {
        let bytes = match &self.coding {
            Coding::Field(field) => number_bytes(value, field)?,
            Coding::Text(length) => text_bytes(value, length.unwrap_or(LONGEST))?,
            Coding::Medical { .. } | Coding::Thermometer => return Err("this is read only".to_owned()),
        };
        let written = self.decode(&bytes).map_err(|why| format!("{value} cannot be written: {why}"))?;
        Ok((bytes, written))
    }
}

fn in_words(absent: Absent) -> String {
    match absent {
        Absent::NoValue => "the device says that there is no value".to_owned(),
        other => other.to_string(),
    }
}

/// The bytes of a number, of on or off, or of a name for either.
fn number_bytes(value: &Value, field: &Field) -> Result<Vec<u8>, String> {
    let width = usize::from(field.form.width());
    let bits = match (&field.meaning, field.form) {
        (Meaning::Names(names), form) => whole_bits(number_named(value, names)?, form)?,
        (Meaning::Flags(flags), _) => flag_bits(value, flags, width)?,
        (_, Form::Bool) => u64::from(truth(value)? != field.inverted),
        (meaning, Form::F32) => {
            // Rounding to what the device holds is meant.
            let narrow = unscaled(value, meaning)? as f32;
            finite(narrow.is_finite(), value)?;
            u64::from(narrow.to_bits())
        }
        (meaning, Form::F64) => unscaled(value, meaning)?.to_bits(),
        (meaning, form) => whole_bits(whole(value, meaning)?, form)?,
    };
    if field.invalid.contains(&bits) {
        return Err(format!("the device takes {value} for no value"));
    }
    let mut bytes = bits.to_le_bytes().get(..width).ok_or("this is too wide to be written")?.to_vec();
    if field.big {
        bytes.reverse();
    }
    Ok(bytes)
}

fn finite(is_finite: bool, value: &Value) -> Result<(), String> {
    if is_finite { Ok(()) } else { Err(format!("{value} is too large")) }
}

/// The number before scaling that comes nearest.
fn unscaled(value: &Value, meaning: &Meaning) -> Result<f64, String> {
    let number = value.as_f64().filter(|number| number.is_finite());
    let number = number.ok_or_else(|| format!("{value} is not a number"))?;
    let raw = match meaning {
        Meaning::Scaled(linear) => linear.undo(number),
        _ => Some(number),
    };
    raw.filter(|raw| raw.is_finite()).ok_or_else(|| format!("{value} is too large"))
}

fn whole(value: &Value, meaning: &Meaning) -> Result<i128, String> {
    // What is not scaled stays as exact as it is.
    if let (Value::Int(number), Meaning::Itself) = (value, meaning) {
        return Ok(i128::from(*number));
    }
    let raw = unscaled(value, meaning)?.round();
    // Far below 2^127, so nothing is cut off.
    if raw.abs() < 1e20 { Ok(raw as i128) } else { Err(format!("{value} is too large")) }
}

/// Two's complement or decimal digits, if the number fits.
fn whole_bits(number: i128, form: Form) -> Result<u64, String> {
    let bits = u32::from(form.width()).saturating_mul(8).min(64);
    let (least, most) = match form {
        Form::Signed(_) => (-(1_i128 << (bits - 1)), (1_i128 << (bits - 1)) - 1),
        Form::Bcd(_) => (0, 10_i128.pow(bits / 4) - 1),
        Form::Bool => (0, 1),
        _ => (0, (1_i128 << bits) - 1),
    };
    if number < least || number > most {
        return Err(format!("{number} does not fit {least} to {most}"));
    }
    // It is in range, and two's complement is meant.
    let plain = number as u64;
    Ok(match form {
        Form::Bcd(_) => {
            (0..16).fold((0, plain), |(bits, rest), place| (bits | (rest % 10) << (4 * place), rest / 10)).0
        }
        _ => plain,
    })
}

fn number_named(value: &Value, names: &[(i64, String)]) -> Result<i128, String> {
    let found = match value {
        Value::Text(text) => names.iter().find(|(_, name)| name == text),
        Value::Int(number) => names.iter().find(|(key, _)| key == number),
        _ => None,
    };
    let listed = || names.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(", ");
    found.map(|(number, _)| i128::from(*number)).ok_or_else(|| format!("{value} is none of {}", listed()))
}

fn flag_bits(value: &Value, flags: &[(u8, String)], width: usize) -> Result<u64, String> {
    let Value::List(set) = value else { return Err(format!("{value} is no list of flags")) };
    set.iter().try_fold(0, |bits, flag| {
        let name = flag.to_string();
        let known = flags.iter().find(|(_, known)| *known == name).map(|(bit, _)| *bit);
        let unnamed = || name.strip_prefix("bit").and_then(|bit| bit.parse().ok());
        match known.or_else(unnamed).filter(|bit| usize::from(*bit) < width.saturating_mul(8).min(64)) {
            Some(bit) => Ok(bits | 1_u64 << bit),
            None => Err(format!("{name} is none of the flags")),
        }
    })
}

/// `true`, `1`, `on` and their opposites.
fn truth(value: &Value) -> Result<bool, String> {
    match value {
        Value::Bool(on) => return Ok(*on),
        Value::Int(number @ (0 | 1)) => return Ok(*number == 1),
        Value::Text(word) if matches!(word.to_ascii_lowercase().as_str(), "on" | "true") => return Ok(true),
        Value::Text(word) if matches!(word.to_ascii_lowercase().as_str(), "off" | "false") => return Ok(false),
        _ => {}
    }
    Err(format!("{value} is neither on nor off"))
}

fn text_bytes(value: &Value, room: usize) -> Result<Vec<u8>, String> {
    let text = value.to_string();
    if text.len() > room {
        return Err(format!("the text has {} bytes where {room} fit", text.len()));
    }
    Ok(text.into_bytes())
}

/// A decimal float: an exponent of ten above a mantissa, both signed (ISO/IEEE 11073-20601, F.7 and
/// F.8). Five mantissas of each are no numbers.
fn medical(bytes: &[u8]) -> Result<Decimal, String> {
    let (mantissa, exponent, span) = match *bytes {
        [low, middle, high, exponent] => {
            (i32::from_le_bytes([low, middle, high, 0]), i32::from(exponent.cast_signed()), 1 << 24)
        }
        [low, high] => {
            let bits = u16::from_le_bytes([low, high]);
            (i32::from(bits & 0xfff), i32::from(bits.cast_signed() >> 12), 1 << 12)
        }
        _ => return Err("this is no decimal float".to_owned()),
    };
    let half = span / 2;
    if (half - 2..=half + 2).contains(&mantissa) {
        return Err("the device says that there is no value".to_owned());
    }
    let mantissa = if mantissa > half { mantissa - span } else { mantissa };
    let number: f64 = format!("{mantissa}e{exponent}").parse().unwrap_or(f64::NAN);
    Decimal::of(number).ok_or_else(|| format!("{mantissa}e{exponent} is no number to work with"))
}

fn thermometer(bytes: &[u8]) -> Result<Value, String> {
    let (flags, number) = bytes.split_first().ok_or("nothing came")?;
    // 5/9 has no end; more decimals than a thermometer has are noise.
    let celsius = Linear { scale: Decimal::whole(5), divide: Decimal::whole(9), offset: Decimal::ZERO };
    let number = medical(number)?;
    let value = match flags & 1 {
        0 => AS_IT_IS.apply(number, None),
        _ => AS_IT_IS
            .apply(number, None)
            .and_then(|fahrenheit| Decimal::of(fahrenheit - 32.0))
            .and_then(|above| celsius.apply(above, Some(2))),
    };
    value.map(Value::Float).ok_or_else(|| "the device sent no number to work with".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn codec(field: Field) -> Codec {
        Codec::new(Coding::Field(Box::new(field)))
    }

    fn hundredths(form: Form) -> Codec {
        let scale = Decimal::of(0.01).unwrap();
        codec(Field { meaning: Meaning::Scaled(Linear { scale, ..AS_IT_IS }), ..Field::plain(form) })
    }

    #[test]
    fn a_temperature_below_zero_is_read_and_written() {
        let codec = hundredths(Form::Signed(2));
        assert_eq!(codec.decode(&[0x2e, 0xfb]), Ok(Value::Float(-12.34)));
        assert_eq!(codec.encode(&Value::Float(-12.34)), Ok((vec![0x2e, 0xfb], Value::Float(-12.34))));
        assert_eq!(codec.encode(&Value::Float(21.006)), Ok((vec![0x35, 0x08], Value::Float(21.01))), "rounded");
    }

    #[test]
    fn what_does_not_fit_is_refused_in_words() {
        let codec = hundredths(Form::Signed(2));
        let refused = |value| codec.encode(&value).unwrap_err();
        assert_eq!(refused(Value::Float(400.0)), "40000 does not fit -32768 to 32767");
        assert_eq!(refused(Value::Text("warm".into())), "warm is not a number");
        assert!(refused(Value::Float(f64::INFINITY)).contains("not a number"));
        assert!(codec.decode(&[1]).unwrap_err().contains("1 bytes came where 2 are needed"));
    }

    #[test]
    fn the_bits_for_no_value_are_neither_read_nor_written() {
        let Coding::Field(field) = hundredths(Form::Unsigned(2)).coding else { panic!() };
        let codec = codec(Field { invalid: vec![0xffff], ..*field });
        assert_eq!(codec.decode(&[0xff, 0xff]).unwrap_err(), "the device says that there is no value");
        assert!(codec.encode(&Value::Float(655.35)).unwrap_err().contains("no value"));
    }

    #[test]
    fn names_and_flags_are_written_by_their_names() {
        let names = Meaning::Names(vec![(0, "off".into()), (2, "eco".into())]);
        let names = codec(Field { meaning: names, ..Field::plain(Form::Unsigned(1)) });
        assert_eq!(names.encode(&Value::Text("eco".into())), Ok((vec![2], Value::Text("eco".into()))));
        assert_eq!(names.encode(&Value::Text("hot".into())).unwrap_err(), "hot is none of off, eco");
        let flags = Meaning::Flags(vec![(0, "fan".into()), (9, "door".into())]);
        let flags = codec(Field { meaning: flags, ..Field::plain(Form::Unsigned(2)) });
        let set = Value::List(vec![Value::Text("fan".into()), Value::Text("door".into())]);
        assert_eq!(flags.encode(&set), Ok((vec![1, 2], set)));
        assert!(flags.encode(&Value::List(vec![Value::Text("bit16".into())])).is_err());
    }

    #[test]
    fn the_most_significant_byte_leads_where_that_is_said() {
        let codec = codec(Field { big: true, ..Field::plain(Form::Unsigned(3)) });
        assert_eq!(codec.decode(&[1, 2, 3]), Ok(Value::Int(0x01_0203)));
        assert_eq!(codec.encode(&Value::Int(0x01_0203)).unwrap().0, [1, 2, 3]);
    }

    #[test]
    fn text_is_as_long_as_it_is() {
        let text = Codec::new(Coding::Text(None));
        assert_eq!(text.decode(b"Acme\0"), Ok(Value::Text("Acme".into())));
        assert_eq!(text.encode(&Value::Text("on".into())), Ok((b"on".to_vec(), Value::Text("on".into()))));
        let short = Codec::new(Coding::Text(Some(2)));
        assert!(short.encode(&Value::Text("long".into())).unwrap_err().contains("4 bytes where 2 fit"));
        assert!(text.decode(&[0xff]).is_err());
    }

    #[test]
    fn decimal_floats_are_read() {
        let medical = |wide| Codec::new(Coding::Medical { wide, linear: AS_IT_IS, precision: None });
        assert_eq!(medical(true).decode(&[0x6a, 0x01, 0x00, 0xff]), Ok(Value::Float(36.2)));
        assert_eq!(medical(true).decode(&[0x96, 0xfe, 0xff, 0xff]), Ok(Value::Float(-36.2)));
        assert_eq!(medical(false).decode(&[0x6a, 0xf1]), Ok(Value::Float(36.2)));
        assert_eq!(medical(false).decode(&[0x96, 0xfe]), Ok(Value::Float(-36.2)), "eleven bits and a sign");
        for none in [0x07ff_u16, 0x0800, 0x07fe, 0x0802, 0x0801] {
            assert!(medical(false).decode(&none.to_le_bytes()).is_err(), "{none:#x}");
        }
        assert!(medical(true).decode(&[0xff, 0xff, 0x7f, 0x00]).is_err());
        assert!(medical(true).decode(&[0x01, 0x00, 0x00, 0x7f]).is_err(), "1e127");
    }

    #[test]
    fn a_thermometer_says_in_which_unit_it_speaks() {
        let codec = Codec::new(Coding::Thermometer);
        assert_eq!(codec.decode(&[0x00, 0x6a, 0x01, 0x00, 0xff]), Ok(Value::Float(36.2)));
        assert_eq!(codec.decode(&[0x01, 0xe0, 0x03, 0x00, 0xff]), Ok(Value::Float(37.33)), "99.2 °F");
        assert_eq!(codec.decode(&[0x05, 0x00, 0x00, 0x00, 0x00, 1, 2, 3]), Ok(Value::Float(-17.78)), "0 °F");
        for length in 0..5 {
            assert!(codec.decode(&[0; 5][..length]).is_err());
        }
    }

    proptest! {
        #[test]
        fn what_was_read_can_be_written_back_unchanged(bytes in any::<[u8; 4]>(), big: bool, scaled: bool) {
            for form in [Form::Signed(3), Form::Unsigned(2), Form::Signed(1), Form::Unsigned(4), Form::F32, Form::Bcd(2)] {
                let scale = Decimal::of(0.1).unwrap();
                let meaning = if scaled { Meaning::Scaled(Linear { scale, ..AS_IT_IS }) } else { Meaning::Itself };
                let codec = codec(Field { meaning, big, ..Field::plain(form) });
                // A float that is scaled may lose its last bit.
                if form == Form::F32 && scaled { continue }
                let bytes = &bytes[..usize::from(form.width())];
                if let Ok(value) = codec.decode(bytes) {
                    // Zero has two signs, of which one is written.
                    let (again, held) = codec.encode(&value).unwrap();
                    prop_assert!(again == bytes || value.as_f64() == Some(0.0));
                    prop_assert_eq!(held, value);
                }
            }
        }

        #[test]
        fn no_bytes_are_too_much(bytes in proptest::collection::vec(any::<u8>(), 0..40), at in 0_usize..600) {
            let codings = [
                Coding::Text(None), Coding::Thermometer,
                Coding::Medical { wide: true, linear: AS_IT_IS, precision: None },
                Coding::Medical { wide: false, linear: AS_IT_IS, precision: Some(2) },
                Coding::Field(Box::new(Field::plain(Form::F64))),
            ];
            for coding in codings {
                let _ = Codec { at, coding }.decode(&bytes);
            }
        }
    }
}
