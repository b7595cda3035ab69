//! What registers come to in every type and order, and which of them an expected value speaks for.
//! Pure.

use wharf_contract::Value;

use crate::config::{Order, PointType};
use crate::value::Raw;
use crate::value::decode::decode;
use crate::value::layout::{Form, Layout, Scaling};
use crate::value::time::TimeForm;

/// The most registers that are of use: what the widest type takes up.
pub const WIDEST: u16 = 6;

/// The types that are tried, and how uncommon each is in the registers of devices: what is unusual
/// has to fit better than what is usual.
const TYPES: [(PointType, Form, u32); 19] = [
    (PointType::U16, Form::U16, 0),
    (PointType::I16, Form::I16, 1),
    (PointType::U32, Form::U32, 1),
    (PointType::I32, Form::I32, 2),
    (PointType::U64, Form::U64, 3),
    (PointType::I64, Form::I64, 4),
    (PointType::F32, Form::F32, 0),
    (PointType::F64, Form::F64, 3),
    (PointType::F16, Form::F16, 6),
    (PointType::Bcd16, Form::Bcd(4), 4),
    (PointType::Bcd32, Form::Bcd(8), 4),
    (PointType::Bcd64, Form::Bcd(16), 5),
    (PointType::TimeUnix32, Form::Time(TimeForm::Unix32), 0),
    (PointType::TimeUnix64, Form::Time(TimeForm::Unix64), 0),
    (PointType::TimeUnixMs, Form::Time(TimeForm::UnixMs), 0),
    (PointType::TimeIec870, Form::Time(TimeForm::Iec870), 0),
    (PointType::TimeBcd, Form::Time(TimeForm::Bcd), 0),
    (PointType::TimeBytes, Form::Time(TimeForm::Bytes), 0),
    (PointType::TimeWords, Form::Time(TimeForm::Words), 0),
];

/// The orders, and how uncommon each is.
const ORDERS: [(Order, u32); 4] = [(Order::Abcd, 0), (Order::Cdab, 2), (Order::Badc, 5), (Order::Dcba, 4)];

/// The scales that devices use, and how uncommon each is.
const SCALES: [(f64, u32); 7] = [(1.0, 0), (0.1, 1), (0.01, 2), (0.001, 3), (10.0, 4), (100.0, 5), (1000.0, 5)];

/// A number with a fraction of its own is hardly ever scaled.
const SCALED_FLOAT: u32 = 4;

/// How far a value may be off the expected one, relative to it, and how uncommon it may be then:
/// people read a display that is rounded, and a moment later; but so many unusual readings are tried
/// that some of them come near anything.
const CLOSE: [(f64, u32); 3] = [(0.005, u32::MAX), (0.02, 6), (0.1, 3)];

/// One way to read the registers.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// As the site file spells it.
    pub kind: &'static str,
    /// As the site file spells it.
    pub order: &'static str,
    /// What the registers come to so.
    pub value: Value,
    form: Form,
    in_order: Order,
    uncommon: u32,
}

/// A way to read the registers that an expected value speaks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    /// The way.
    pub candidate: Candidate,
    /// What the number is multiplied by; 1 for nothing.
    pub scale: f64,
    /// The value with that scale.
    pub value: Value,
    /// How far it is off the expected one, relative to it.
    pub off: f64,
    /// How well it fits; smaller is better.
    rank: (usize, u32),
}

impl Match {
    /// Whether it is as near as a display can tell.
    pub fn is_close(&self) -> bool {
        self.rank.0 <= 1
    }

    /// How near it is, for comparing with what was found elsewhere: 0 is nearest.
    pub fn nearness(&self) -> usize {
        self.rank.0
    }
}

/// Everything that these registers could mean, the first of them first. Orders that change nothing
/// are left out, and so is what is no value.
pub fn candidates(registers: &[u16]) -> Vec<Candidate> {
    let mut all = Vec::new();
    for (kind, form, type_uncommon) in TYPES {
        let width = usize::from(form.width());
        let Some(registers) = registers.get(..width) else { continue };
        for (order, order_uncommon) in ORDERS {
            let has_words = width > 1 && !is_in_fields(form);
            if order.low_word_first() && !has_words {
                continue;
            }
            let layout = Layout { order, ..Layout::new(form) };
            let Ok(value) = decode(&Raw::Registers(registers.to_vec()), &layout) else { continue };
            let uncommon = type_uncommon + order_uncommon;
            let (kind, order_name) = (kind.as_str(), order.as_str());
            all.push(Candidate { kind, order: order_name, value, form, in_order: order, uncommon });
        }
    }
    all
}

/// Whether its registers are parts of a clock, not of one number.
fn is_in_fields(form: Form) -> bool {
    matches!(form, Form::Time(TimeForm::Iec870 | TimeForm::Bcd | TimeForm::Bytes | TimeForm::Words))
}

/// The text in the registers, and its order, if it is one that people write.
pub fn texts(registers: &[u16]) -> Vec<(&'static str, String)> {
    let Ok(count) = u16::try_from(registers.len()) else { return Vec::new() };
    let read = |order: Order| {
        let layout = Layout { order, ..Layout::new(Form::Text { registers: count }) };
        match decode(&Raw::Registers(registers.to_vec()), &layout) {
            Ok(Value::Text(text)) if text.chars().count() > 1 && !text.chars().any(char::is_control) => {
                Some((order.as_str(), text))
            }
            _ => None,
        }
    };
    [Order::Abcd, Order::Badc].into_iter().filter_map(read).collect()
}

/// The candidates that come near an expected value, the most probable first: the usual before the
/// unusual among those that are near.
pub fn rank(registers: &[u16], candidates: &[Candidate], expected: f64) -> Vec<Match> {
    let mut found: Vec<Match> = Vec::new();
    for candidate in candidates {
        for (scale, scale_uncommon) in SCALES {
            let Some(value) = scaled(registers, candidate, scale) else { continue };
            let Some(number) = value.as_f64() else { continue };
            let off = off(number, expected);
            let odd_scale = if scale != 1.0 && candidate.form.is_float() { SCALED_FLOAT } else { 0 };
            let uncommon = candidate.uncommon + scale_uncommon + odd_scale;
            let fits = |(close, most): &(f64, u32)| off <= *close && uncommon <= *most;
            let Some(near) = CLOSE.iter().position(fits) else { continue };
            found.push(Match { candidate: candidate.clone(), scale, value, off, rank: (near, uncommon) });
        }
    }
    found.sort_by(|a, b| a.rank.cmp(&b.rank).then(a.off.total_cmp(&b.off)));
    found
}

fn scaled(registers: &[u16], candidate: &Candidate, scale: f64) -> Option<Value> {
    if matches!(candidate.form, Form::Time(_)) {
        return None;
    }
    if scale == 1.0 {
        return Some(candidate.value.clone());
    }
    let scaling = Some(Scaling { scale, offset: 0.0 });
    let layout = Layout { order: candidate.in_order, scaling, ..Layout::new(candidate.form) };
    let registers = registers.get(..usize::from(candidate.form.width()))?;
    decode(&Raw::Registers(registers.to_vec()), &layout).ok()
}

/// How far a number is off the expected one, relative to that. Nothing is expected to be 0 and
/// found by its size, so then only 0 itself is near.
fn off(number: f64, expected: f64) -> f64 {
    if number == expected {
        return 0.0;
    }
    if expected == 0.0 { f64::INFINITY } else { ((number - expected) / expected).abs() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The best reading of the registers: type, order, scale.
    fn best(registers: &[u16], expected: f64) -> (&'static str, &'static str, f64) {
        let found = rank(registers, &candidates(registers), expected);
        let first = found.first().expect("a match");
        (first.candidate.kind, first.candidate.order, first.scale)
    }

    #[test]
    fn what_meters_send_is_recognised_by_the_value_on_their_display() {
        // 230.5 as a float, in each order.
        assert_eq!(best(&[0x4366, 0x8000, 0, 0], 230.0), ("f32", "ABCD", 1.0));
        assert_eq!(best(&[0x8000, 0x4366, 0, 0], 230.0), ("f32", "CDAB", 1.0));
        assert_eq!(best(&[0x6643, 0x0080, 0, 0], 230.0), ("f32", "BADC", 1.0));
        assert_eq!(best(&[0x0080, 0x6643, 0, 0], 230.0), ("f32", "DCBA", 1.0));
        // 2304 tenths in one register, and 123456 hundredths in two.
        assert_eq!(best(&[2304, 0, 0, 0], 230.4), ("u16", "ABCD", 0.1));
        assert_eq!(best(&[0x0001, 0xE240], 1234.6), ("u32", "ABCD", 0.01));
        assert_eq!(best(&[0xE240, 0x0001], 1234.6), ("u32", "CDAB", 0.01));
        // Below zero.
        assert_eq!(best(&[0xFF9C], -10.0), ("i16", "ABCD", 0.1));
        // 1234 in BCD.
        assert_eq!(best(&[0x1234], 1234.0), ("bcd16", "ABCD", 1.0));
        assert_eq!(best(&[0x406C, 0xD000, 0, 0], 230.5), ("f64", "ABCD", 1.0));
    }

    #[test]
    fn nothing_is_near_what_is_not_there() {
        let registers = [0, 0, 0, 0];
        assert_eq!(rank(&registers, &candidates(&registers), 230.0), []);
        assert!(!rank(&registers, &candidates(&registers), 0.0).is_empty());
    }

    #[test]
    fn every_type_that_fits_is_shown_once_in_every_order_that_matters() {
        let kinds = |registers: &[u16]| -> Vec<(&str, &str)> {
            candidates(registers).into_iter().map(|found| (found.kind, found.order)).collect()
        };
        let one = kinds(&[0x1234]);
        assert!(one.contains(&("u16", "ABCD")) && one.contains(&("u16", "BADC")), "{one:?}");
        assert!(!one.iter().any(|(kind, order)| *kind == "u32" || *order == "CDAB"), "{one:?}");
        let four = kinds(&[1, 2, 3, 4]);
        assert_eq!(four.iter().filter(|(kind, _)| *kind == "u64").count(), 4);
    }

    #[test]
    fn text_is_shown_when_it_is_one() {
        assert_eq!(texts(&[0x534E, 0x2D34, 0x3200]), [("ABCD", "SN-42".to_owned())]);
        assert_eq!(texts(&[0x4E53, 0x342D, 0x0032]), [("BADC", "SN-42".to_owned())]);
        assert_eq!(texts(&[1, 2, 3]), []);
    }
}
