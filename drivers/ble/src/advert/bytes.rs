//! Reading from the front of some bytes, with every length checked.

use super::{Address, Outcome, Refusal};

/// What is left to read of some bytes. A read that asks for more than there is takes nothing and says
/// how many bytes there were and how many there would have had to be, from the beginning on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes<'a> {
    rest: &'a [u8],
    /// How many there were in the beginning.
    all: usize,
}

/// Each takes one number off the front: `u16_le` its low byte first, `u16_be` its high byte first.
macro_rules! numbers {
    ($($name:ident: $kind:ty = $from:ident($n:literal);)*) => {
        $(pub(crate) fn $name(&mut self) -> Result<$kind, Refusal> {
            self.array::<$n>().map(<$kind>::$from)
        })*
    };
}

impl<'a> Bytes<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, all: bytes.len() }
    }

    /// What has not been read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// How many have not been read yet.
    pub(crate) fn len(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `n`.
    pub(crate) fn take(&mut self, n: usize) -> Result<&'a [u8], Refusal> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or_else(|| self.too_few(n))?;
        self.rest = rest;
        Ok(taken)
    }

    /// Passes over `n`.
    pub(crate) fn skip(&mut self, n: usize) -> Result<(), Refusal> {
        self.take(n).map(drop)
    }

    /// Takes the last `n` away from the end.
    pub(crate) fn take_last(&mut self, n: usize) -> Result<&'a [u8], Refusal> {
        let middle = self.rest.len().checked_sub(n).ok_or_else(|| self.too_few(n))?;
        let (rest, taken) = self.rest.split_at(middle);
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N`.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.too_few(N))?;
        self.rest = rest;
        Ok(*taken)
    }

    numbers! {
        u8: u8 = from_le_bytes(1);
        i8: i8 = from_le_bytes(1);
        u16_le: u16 = from_le_bytes(2);
        u16_be: u16 = from_be_bytes(2);
        i16_le: i16 = from_le_bytes(2);
        i16_be: i16 = from_be_bytes(2);
        u32_le: u32 = from_le_bytes(4);
        u32_be: u32 = from_be_bytes(4);
        f32_le: f32 = from_le_bytes(4);
    }

    pub(crate) fn u24_le(&mut self) -> Result<u32, Refusal> {
        self.array().map(|[low, middle, high]| u32::from_le_bytes([low, middle, high, 0]))
    }

    pub(crate) fn u24_be(&mut self) -> Result<u32, Refusal> {
        self.array().map(|[high, middle, low]| u32::from_be_bytes([0, high, middle, low]))
    }

    /// An address in the order it is written.
    pub(crate) fn address(&mut self) -> Result<Address, Refusal> {
        self.array().map(Address)
    }

    /// An address in the order it has on the air: the last byte leads.
    pub(crate) fn address_reversed(&mut self) -> Result<Address, Refusal> {
        self.address().map(|address| Address(address.reversed()))
    }

    fn too_few(&self, n: usize) -> Refusal {
        let read = self.all.saturating_sub(self.rest.len());
        Refusal::Truncated { have: self.all, need: read.saturating_add(n) }
    }
}

/// What is written with `?` inside a format becomes what the format answers.
impl From<Result<super::Frame, Refusal>> for Outcome {
    fn from(read: Result<super::Frame, Refusal>) -> Self {
        read.map_or_else(Self::Refused, Self::Heard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_the_front_in_either_order() {
        let mut bytes = Bytes::new(&[0x01, 0x02, 0x01, 0x02, 0xff, 0x01, 0x02, 0x03, 0x01, 0x02, 0x03, 9]);
        assert_eq!(bytes.u16_le(), Ok(0x0201));
        assert_eq!(bytes.u16_be(), Ok(0x0102));
        assert_eq!(bytes.i8(), Ok(-1));
        assert_eq!(bytes.u24_le(), Ok(0x03_0201));
        assert_eq!(bytes.u24_be(), Ok(0x01_0203));
        assert_eq!(bytes.rest(), [9]);
    }

    #[test]
    fn a_read_past_the_end_takes_nothing_and_counts_from_the_beginning() {
        let mut bytes = Bytes::new(&[1, 2, 3]);
        bytes.skip(2).unwrap();
        assert_eq!(bytes.u32_le(), Err(Refusal::Truncated { have: 3, need: 6 }));
        assert_eq!(bytes.take(usize::MAX), Err(Refusal::Truncated { have: 3, need: usize::MAX }));
        assert_eq!(bytes.u8(), Ok(3));
        assert!(bytes.is_empty());
    }

    #[test]
    fn the_end_can_be_taken_first() {
        let mut bytes = Bytes::new(&[1, 2, 3]);
        assert_eq!(bytes.take_last(2), Ok(&[2, 3][..]));
        assert_eq!(bytes.rest(), [1]);
        assert!(bytes.take_last(2).is_err());
    }
}
