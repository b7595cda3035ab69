//! Types and orders: what bits and registers mean as a value, and back. Pure; owns no clock.
//!
//! - [`layout`]: what is known of a value beforehand.
//! - [`decode`] and [`encode`]: one way and the other. What does not fit is an error in words, never
//!   a value that is nearly right.
//! - [`number`], [`text`], [`time`]: the three kinds of things that stand in registers.
//! - [`beside`]: registers that a value depends on besides its own.
//! - [`counter`]: what a counter has lost by beginning anew.

pub(crate) mod beside;
pub(crate) mod counter;
pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod layout;
pub(crate) mod number;
mod text;
pub(crate) mod time;

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
