//! Who is speaking, and which service is meant.

use std::fmt;
use std::str::FromStr;

/// A Bluetooth device address, in the order it is written: the first byte leads.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(pub [u8; 6]);

impl Address {
    /// The bytes in the order they have on the air: the last one leads.
    pub fn reversed(self) -> [u8; 6] {
        let mut bytes = self.0;
        bytes.reverse();
        bytes
    }
}

/// As people write it: `A4:C1:38:02:83:F4`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02X}:{b:02X}:{c:02X}:{d:02X}:{e:02X}:{g:02X}")
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no Bluetooth address: six bytes in hexadecimal, such as A4:C1:38:02:83:F4")]
pub struct NoAddress(String);

/// Six bytes in hexadecimal of either case, with `:` or `-` between them or nothing.
impl FromStr for Address {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        let no_address = || NoAddress(text.to_owned());
        let digits: String = match text.len() {
            12 => text.to_owned(),
            17 => {
                let separator = text.as_bytes().get(2).copied().filter(|byte| matches!(byte, b':' | b'-'));
                let parts: Vec<&str> = text.split(char::from(separator.ok_or_else(no_address)?)).collect();
                if parts.len() != 6 || parts.iter().any(|part| part.len() != 2) {
                    return Err(no_address());
                }
                parts.concat()
            }
            _ => return Err(no_address()),
        };
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(no_address());
        }
        let number = u64::from_str_radix(&digits, 16).map_err(|_| no_address())?;
        let [_, _, bytes @ ..] = number.to_be_bytes();
        Ok(Self(bytes))
    }
}

/// A UUID, of any length.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid(pub u128);

/// What the short ones are short for (Bluetooth Core Specification, vol. 3, part B, 2.5.1).
const BASE: u128 = 0x0000_0000_0000_1000_8000_0080_5f9b_34fb;

impl Uuid {
    /// The UUID that 16 bits stand for.
    pub const fn short(short: u16) -> Self {
        Self(((short as u128) << 96) | BASE)
    }

    /// The 16 bits, if it is one of those that have a short form.
    pub fn as_short(self) -> Option<u16> {
        let rest = self.0 & !(0xffff << 96);
        (rest == BASE).then_some(((self.0 >> 96) & 0xffff) as u16)
    }
}

/// Four digits where there is a short form, else all thirty-two.
impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(short) = self.as_short() {
            return write!(f, "{short:04x}");
        }
        let n = self.0;
        let (a, b, c) = (n >> 96, (n >> 80) & 0xffff, (n >> 64) & 0xffff);
        let (d, e) = ((n >> 48) & 0xffff, n & 0xffff_ffff_ffff);
        write!(f, "{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}")
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is no UUID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no UUID: four, eight or thirty-two hexadecimal digits, the longest with dashes or without")]
pub struct NoUuid(String);

impl FromStr for Uuid {
    type Err = NoUuid;

    fn from_str(text: &str) -> Result<Self, NoUuid> {
        let no_uuid = || NoUuid(text.to_owned());
        let digits = if text.len() == 36 { text.replace('-', "") } else { text.to_owned() };
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(no_uuid());
        }
        let number = u128::from_str_radix(&digits, 16).map_err(|_| no_uuid())?;
        match digits.len() {
            4 | 8 => Ok(Self((number << 96) | BASE)),
            32 => Ok(Self(number)),
            _ => Err(no_uuid()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let address = Address([0xa4, 0xc1, 0x38, 0x02, 0x83, 0xf4]);
        for text in ["A4:C1:38:02:83:F4", "a4-c1-38-02-83-f4", "a4c1380283f4"] {
            assert_eq!(text.parse(), Ok(address));
        }
        assert_eq!(address.to_string(), "A4:C1:38:02:83:F4");
        for text in
            ["", "A4:C1:38:02:83", "A4:C1-38:02:83:F4", "+4c1380283f4", "A4:C1:38:02:83:G4", "a4:c1:38:02:83:f4:"]
        {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn uuids_are_shown_as_short_as_they_are() {
        assert_eq!("fcd2".parse(), Ok(Uuid::short(0xfcd2)));
        assert_eq!("0000fcd2-0000-1000-8000-00805f9b34fb".parse(), Ok(Uuid::short(0xfcd2)));
        assert_eq!(Uuid::short(0x181a).to_string(), "181a");
        let long = "a495bb10-c5b1-4b44-b512-1370f02d74de";
        assert_eq!(long.parse::<Uuid>().unwrap().to_string(), long);
        assert!("fcd".parse::<Uuid>().is_err());
    }
}
