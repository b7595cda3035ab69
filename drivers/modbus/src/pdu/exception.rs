//! How a device says no.

use std::fmt;

/// An exception code, as the device sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exception(pub(crate) u8);

impl Exception {
    /// Whether a gateway speaks for a device that it cannot reach, or that did not answer it.
    pub(crate) fn is_absence(self) -> bool {
        matches!(self.0, 10 | 11)
    }

    /// Whether a smaller request might be answered: devices that cannot read so many at once, or over
    /// such a gap, complain of the address or of the value.
    pub(crate) fn is_about_request(self) -> bool {
        matches!(self.0, 2 | 3)
    }

    /// The name that the protocol gives it.
    fn name(self) -> &'static str {
        match self.0 {
            1 => "illegal function",
            2 => "illegal data address",
            3 => "illegal data value",
            4 => "device failure",
            5 => "accepted, but not finished yet",
            6 => "device busy",
            7 => "negative acknowledgement",
            8 => "memory parity error",
            10 => "the gateway has no path to the device",
            11 => "the gateway got no answer from the device",
            _ => "an exception the protocol does not define",
        }
    }

    /// What it usually means.
    fn meaning(self) -> &'static str {
        match self.0 {
            1 => "the device does not have this function; other tables may be readable",
            2 => "the device has no such register, or the block reaches past one it has",
            3 => "the device does not take this value, or not so many registers at once",
            4 => "it failed while it carried the request out; some devices say so of addresses they do not have",
            5 => "it needs longer than it may take for an answer",
            6 => "it is occupied with something longer; the same request may work later",
            7 => "it cannot carry out this program function",
            8 => "its extended memory is damaged",
            10 => "it is overloaded, or none of its lines leads to this unit id",
            11 => "it is off, not wired, or has another unit id",
            _ => "only the manual of the device can tell",
        }
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (exception {}): {}", self.name(), self.0, self.meaning())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_is_named_with_its_number_and_what_it_usually_means() {
        assert_eq!(
            Exception(2).to_string(),
            "illegal data address (exception 2): the device has no such register, or the block reaches past one it has"
        );
        assert_eq!(
            Exception(0x77).to_string(),
            "an exception the protocol does not define (exception 119): only the manual of the device can tell"
        );
    }

    #[test]
    fn a_gateway_that_cannot_reach_a_device_speaks_of_its_absence() {
        let absences: Vec<u8> = (0..=255).filter(|code| Exception(*code).is_absence()).collect();
        assert_eq!(absences, [10, 11]);
    }
}
