//! What is known of a value before it is read: how its bits stand in registers and what they mean.

use wharf_contract::setting_enum;

use super::beside::Beside;
use super::time::TimeForm;

setting_enum! {
    /// The order of the bytes ABCD of a number, as the device sends them. The letters name the bytes
    /// from the most significant on; two letters are one register. Numbers of 16 and 64 bits
    /// go by the same four names.
    pub enum Order {
        /// As the protocol says: the more significant byte and the more significant register first.
        Abcd = "ABCD" | "AB" | "ABCDEFGH",
        /// The less significant register first.
        Cdab = "CDAB" | "GHEFCDAB",
        /// The less significant byte of each register first.
        Badc = "BADC" | "BA" | "BADCFEHG",
        /// Both: everything backwards.
        Dcba = "DCBA" | "HGFEDCBA",
    }
}

impl Order {
    /// Whether the less significant register of a wide number comes first.
    pub(crate) fn low_word_first(self) -> bool {
        matches!(self, Self::Cdab | Self::Dcba)
    }

    /// Whether the bytes of each register are swapped.
    pub(crate) fn bytes_swapped(self) -> bool {
        matches!(self, Self::Badc | Self::Dcba)
    }

    /// A register with its more significant byte first. The same step turns it back.
    pub(crate) fn register(self, register: u16) -> u16 {
        if self.bytes_swapped() { register.swap_bytes() } else { register }
    }
}

/// How a point's bits become a value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Layout {
    pub(crate) form: Form,
    /// Its byte part holds for every register, its word part for numbers of two or four registers.
    pub(crate) order: Order,
    /// How many values stand one after the other; `None` for one value that is no list.
    pub(crate) count: Option<u16>,
    /// `None` leaves whole numbers whole.
    pub(crate) scaling: Option<Scaling>,
    /// The decimals the value is rounded to.
    pub(crate) precision: Option<u8>,
    /// The bits, once in order, that stand for no value, as of an unplugged sensor.
    pub(crate) invalid: Box<[u64]>,
    pub(crate) meaning: Meaning,
    /// Where a counter begins anew: one more than its largest value. 2 to 2⁶⁴.
    pub(crate) wraps_at: Option<u128>,
    /// What is read with it because it depends on it. Boxed, for few points have it.
    pub(crate) beside: Option<Box<Beside>>,
}

impl Layout {
    /// The form as the protocol says it, and nothing else.
    pub(crate) fn new(form: Form) -> Self {
        Self {
            form,
            order: Order::Abcd,
            count: None,
            scaling: None,
            precision: None,
            invalid: Box::default(),
            meaning: Meaning::Itself,
            wraps_at: None,
            beside: None,
        }
    }

    /// How many bits or registers have to be read for it.
    pub(crate) fn width(&self) -> u16 {
        let own = || self.form.width().saturating_mul(self.count.unwrap_or(1));
        self.beside.as_ref().map_or_else(own, |beside| beside.width())
    }
}

/// What stands in the registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One bit, or a register that is zero or not.
    Bool,
    /// One bit of a register, 0–15; 0 is the least significant.
    Bit(u8),
    U8(Half),
    I8(Half),
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    /// IEEE 754 half precision.
    F16,
    F32,
    F64,
    /// So many decimal digits, four bits each: 4, 8 or 16.
    Bcd(u8),
    /// Two bytes in each register, 1–125 registers.
    Text {
        registers: u16,
    },
    Time(TimeForm),
}

impl Form {
    /// How many bits or registers one value takes up.
    pub(crate) fn width(self) -> u16 {
        match self {
            Self::Bool | Self::Bit(_) | Self::U8(_) | Self::I8(_) | Self::U16 | Self::I16 | Self::F16 => 1,
            Self::U32 | Self::I32 | Self::F32 => 2,
            Self::U64 | Self::I64 | Self::F64 => 4,
            Self::Bcd(digits) => u16::from(digits / 4),
            Self::Text { registers } => registers,
            Self::Time(form) => form.width(),
        }
    }

    /// How many bits the value itself has.
    pub(crate) fn bits(self) -> u32 {
        match self {
            Self::Bit(_) => 1,
            Self::U8(_) | Self::I8(_) => 8,
            _ => u32::from(self.width()) * 16,
        }
    }

    /// Whether it fills a part of its register only.
    pub(crate) fn is_partial(self) -> bool {
        matches!(self, Self::Bit(_) | Self::U8(_) | Self::I8(_))
    }

    /// Whether it is a whole number.
    pub(crate) fn is_whole(self) -> bool {
        self.range().is_some()
    }

    /// Whether it is a number with a fraction.
    pub(crate) fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::F32 | Self::F64)
    }

    /// Whether it is a number that can be scaled.
    pub(crate) fn is_number(self) -> bool {
        self.is_whole() || self.is_float()
    }

    /// The smallest and the largest number a whole form can hold.
    pub(crate) fn range(self) -> Option<(i128, i128)> {
        let unsigned = |bits: u32| (0, (1_i128 << bits) - 1);
        let signed = |bits: u32| (-(1_i128 << (bits - 1)), (1_i128 << (bits - 1)) - 1);
        match self {
            Self::U8(_) | Self::U16 | Self::U32 | Self::U64 => Some(unsigned(self.bits())),
            Self::I8(_) | Self::I16 | Self::I32 | Self::I64 => Some(signed(self.bits())),
            Self::Bcd(digits) => Some((0, 10_i128.pow(u32::from(digits)) - 1)),
            Self::Bool | Self::Bit(_) | Self::F16 | Self::F32 | Self::F64 | Self::Text { .. } | Self::Time(_) => None,
        }
    }
}

setting_enum! {
    /// Half of a register.
    pub enum Half {
        /// The more significant byte.
        High = "high",
        /// The less significant byte.
        Low = "low",
    }
}

/// `value = raw * scale + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scaling {
    /// Finite and not zero.
    pub(crate) scale: f64,
    /// Finite.
    pub(crate) offset: f64,
}

/// What a number means.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Meaning {
    /// Itself.
    Itself,
    /// One of these names, found by the number; in rising order.
    Names(Box<[(i64, String)]>),
    /// The names of those of its bits that are set; in rising order, 0 is the least significant.
    Flags(Box<[(u8, String)]>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_knows_its_width_and_range() {
        let cases = [
            (Form::Bit(3), 1, None),
            (Form::U8(Half::High), 1, Some((0, 255))),
            (Form::I8(Half::Low), 1, Some((-128, 127))),
            (Form::I16, 1, Some((-32_768, 32_767))),
            (Form::U32, 2, Some((0, 4_294_967_295))),
            (Form::U64, 4, Some((0, 18_446_744_073_709_551_615))),
            (Form::Bcd(8), 2, Some((0, 99_999_999))),
            (Form::F16, 1, None),
            (Form::Text { registers: 5 }, 5, None),
        ];
        for (form, width, range) in cases {
            assert_eq!((form.width(), form.range()), (width, range), "{form:?}");
        }
        let list = Layout { count: Some(10), ..Layout::new(Form::F32) };
        assert_eq!(list.width(), 20);
    }
}
