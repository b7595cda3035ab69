//! How a value is stored, in the words that the site file has for it.

use wharf_contract::setting_enum;

use crate::advert::described::field::Form;

setting_enum! {
    /// How a value stands in a characteristic, or in the data of a described sensor.
    pub enum ValueType {
        /// On or off: a byte that is zero or not.
        Bool = "bool",
        /// One byte, 0 to 255.
        U8 = "u8",
        /// One byte, signed.
        I8 = "i8",
        /// Two bytes.
        U16 = "u16",
        /// Two bytes, signed.
        I16 = "i16",
        /// Three bytes.
        U24 = "u24",
        /// Three bytes, signed.
        I24 = "i24",
        /// Four bytes.
        U32 = "u32",
        /// Four bytes, signed.
        I32 = "i32",
        /// Six bytes.
        U48 = "u48",
        /// Six bytes, signed.
        I48 = "i48",
        /// Eight bytes.
        U64 = "u64",
        /// Eight bytes, signed.
        I64 = "i64",
        /// A number with a fraction, four bytes.
        F32 = "f32",
        /// A number with a fraction, eight bytes.
        F64 = "f64",
        /// Two decimal digits, one byte.
        Bcd8 = "bcd8",
        /// Four decimal digits, two bytes.
        Bcd16 = "bcd16",
        /// Eight decimal digits, four bytes.
        Bcd32 = "bcd32",
        /// Sixteen decimal digits, eight bytes.
        Bcd64 = "bcd64",
        /// A decimal fraction as medical devices send it, two bytes (SFLOAT).
        Medfloat16 = "medfloat16",
        /// A decimal fraction as medical devices send it, four bytes (FLOAT).
        Medfloat32 = "medfloat32",
        /// Text, to the end or for the given length.
        Text = "string",
    }
}

impl ValueType {
    /// How its bits are read; nothing of a medfloat, which is read in a way of its own. A text is `length`
    /// bytes long.
    pub(crate) fn form(self, length: u8) -> Option<Form> {
        Some(match self {
            Self::Bool => Form::Bool,
            Self::U8 => Form::Unsigned(1),
            Self::I8 => Form::Signed(1),
            Self::U16 => Form::Unsigned(2),
            Self::I16 => Form::Signed(2),
            Self::U24 => Form::Unsigned(3),
            Self::I24 => Form::Signed(3),
            Self::U32 => Form::Unsigned(4),
            Self::I32 => Form::Signed(4),
            Self::U48 => Form::Unsigned(6),
            Self::I48 => Form::Signed(6),
            Self::U64 => Form::Unsigned(8),
            Self::I64 => Form::Signed(8),
            Self::F32 => Form::F32,
            Self::F64 => Form::F64,
            Self::Bcd8 => Form::Bcd(1),
            Self::Bcd16 => Form::Bcd(2),
            Self::Bcd32 => Form::Bcd(4),
            Self::Bcd64 => Form::Bcd(8),
            Self::Text => Form::Text(length),
            Self::Medfloat16 | Self::Medfloat32 => return None,
        })
    }
}
