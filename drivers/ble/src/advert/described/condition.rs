//! What has to stand in an advertisement's data.

use super::super::Address;

/// A test of the data.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Condition {
    pub(crate) at: Position,
    pub(crate) test: Test,
}

/// A byte of the data: counted from its beginning if it is not negative, else from its end, −1 being
/// the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position(pub(crate) i16);

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Test {
    /// One of these stands there.
    Is(Vec<Vec<u8>>),
    /// None of these stands there, and something does.
    IsNot(Vec<Vec<u8>>),
    /// Bit of the byte there, 0 being the least significant.
    Set(u8),
    Clear(u8),
    /// The sender's address, its last byte first if it is reversed.
    Address {
        reversed: bool,
    },
}

impl Position {
    /// As an index into data of that length; it may be past its end.
    pub(crate) fn index(self, length: usize) -> Option<usize> {
        match usize::try_from(self.0) {
            Ok(from_the_beginning) => Some(from_the_beginning),
            Err(_) => length.checked_sub(usize::from(self.0.unsigned_abs())),
        }
    }
}

impl Condition {
    /// Whether it holds. What is past the end holds nothing.
    pub(crate) fn holds(&self, data: &[u8], address: Address) -> bool {
        let Some(there) = self.at.index(data.len()).and_then(|at| data.get(at..)) else { return false };
        let begins = |with: &Vec<u8>| there.starts_with(with);
        let bit = |bit: u8| there.first().map(|byte| byte >> (bit & 7) & 1 == 1);
        match &self.test {
            Test::Is(any) => any.iter().any(begins),
            Test::IsNot(none) => none.iter().all(|other| there.len() >= other.len() && !begins(other)),
            Test::Set(n) => bit(*n) == Some(true),
            Test::Clear(n) => bit(*n) == Some(false),
            Test::Address { reversed: false } => there.starts_with(&address.0),
            Test::Address { reversed: true } => there.starts_with(&address.reversed()),
        }
    }
}

/// Whether all of them hold.
pub(crate) fn all_hold(conditions: &[Condition], data: &[u8], address: Address) -> bool {
    conditions.iter().all(|condition| condition.holds(data, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Address = Address([0xa4, 0xc1, 0x38, 1, 2, 3]);

    fn holds(at: i16, test: Test, data: &[u8]) -> bool {
        Condition { at: Position(at), test }.holds(data, ADDRESS)
    }

    #[test]
    fn bytes_are_counted_from_either_end() {
        let is = |bytes: &[u8]| Test::Is(vec![vec![0xff], bytes.to_vec()]);
        assert!(holds(0, is(&[1, 2]), &[1, 2, 3]));
        assert!(holds(-1, is(&[3]), &[1, 2, 3]));
        assert!(holds(-3, is(&[1]), &[1, 2, 3]));
        assert!(!holds(-4, is(&[1]), &[1, 2, 3]));
        assert!(!holds(1, is(&[1]), &[1, 2, 3]));
    }

    #[test]
    fn past_the_end_nothing_holds() {
        for test in [Test::Is(vec![vec![0]]), Test::IsNot(vec![vec![0]]), Test::Set(0), Test::Clear(0)] {
            for at in [3, 300, -4, i16::MIN] {
                assert!(!holds(at, test.clone(), &[0, 0, 0]), "{test:?} at {at}");
            }
        }
        assert!(!holds(2, Test::IsNot(vec![vec![9, 9]]), &[0, 0, 0]), "half of it is no answer");
    }

    #[test]
    fn bits_and_addresses_are_found() {
        assert!(holds(0, Test::Set(7), &[0x80]) && !holds(0, Test::Set(6), &[0x80]));
        assert!(holds(0, Test::Clear(6), &[0x80]) && !holds(0, Test::Clear(7), &[0x80]));
        assert!(holds(1, Test::Address { reversed: false }, &[0, 0xa4, 0xc1, 0x38, 1, 2, 3]));
        assert!(holds(0, Test::Address { reversed: true }, &[3, 2, 1, 0x38, 0xc1, 0xa4]));
        assert!(!holds(0, Test::Address { reversed: true }, &[3, 2, 1, 0x38, 0xc1]));
    }
}
