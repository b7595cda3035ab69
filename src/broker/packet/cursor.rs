//! Reads the parts a packet is made of, and never past its end.

use bytes::Bytes;

use super::{Wrong, malformed};

/// What is left of a packet.
pub struct Cursor<'p> {
    rest: &'p [u8],
}

impl<'p> Cursor<'p> {
    pub fn new(packet: &'p [u8]) -> Self {
        Self { rest: packet }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'p [u8] {
        std::mem::take(&mut self.rest)
    }

    pub fn take(&mut self, length: usize) -> Result<&'p [u8], Wrong> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(malformed("a packet ends early"))?;
        self.rest = rest;
        Ok(taken)
    }

    pub fn byte(&mut self) -> Result<u8, Wrong> {
        Ok(self.array::<1>()?[0])
    }

    pub fn two(&mut self) -> Result<u16, Wrong> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub fn four(&mut self) -> Result<u32, Wrong> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// A packet id, which is never 0.
    pub fn id(&mut self) -> Result<u16, Wrong> {
        match self.two()? {
            0 => Err(malformed("a packet id of 0")),
            id => Ok(id),
        }
    }

    /// A number of one to four bytes (chapter 1.5.5).
    pub fn variable(&mut self) -> Result<u32, Wrong> {
        let mut number = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            number |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(malformed("a number of more than four bytes"))
    }

    /// Bytes with their count before them.
    pub fn binary(&mut self) -> Result<&'p [u8], Wrong> {
        let length = self.two()?;
        self.take(usize::from(length))
    }

    /// The same, as a copy that does not keep the packet in memory.
    pub fn owned(&mut self) -> Result<Bytes, Wrong> {
        self.binary().map(Bytes::copy_from_slice)
    }

    /// A text with its length before it: UTF-8 without U+0000 (chapter 1.5.4).
    pub fn text(&mut self) -> Result<&'p str, Wrong> {
        text(self.binary()?)
    }

    /// A part with its length before it, as a packet of its own.
    pub fn part(&mut self) -> Result<Self, Wrong> {
        let length = self.variable()?;
        self.take(length as usize).map(Self::new)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Wrong> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(malformed("a packet ends early"))?;
        self.rest = rest;
        Ok(*taken)
    }
}

/// Bytes as a text: UTF-8 without U+0000.
pub fn text(bytes: &[u8]) -> Result<&str, Wrong> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !bytes.contains(&0) => Ok(text),
        _ => Err(malformed("a text that is not UTF-8, or has a U+0000 in it")),
    }
}
