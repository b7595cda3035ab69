//! The times of a serial line: how long one character takes, and the silences between frames. Pure.
//!
//! Source: "MODBUS over Serial Line, Specification and Implementation Guide V1.02", 2.5.1.1.

use std::time::Duration;

/// Above this speed the silences no longer shrink, in baud.
const FIXED_ABOVE: u32 = 19_200;

/// How fast characters follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// What one character takes: a start bit, eight of data, parity and stop bits.
    pub(crate) character: Duration,
    /// The silence before a frame: 3.5 characters, or 1.75 ms above 19200 baud.
    pub(crate) between_frames: Duration,
    /// The silence that no frame has inside: 1.5 characters, or 750 µs above 19200 baud.
    pub(crate) inside_frame: Duration,
}

impl Pace {
    /// The pace at a speed in baud, with so many bits to a character: 10 for 8N1, 11 for 8E1 or 8N2.
    pub(crate) fn new(baud: u32, bits: u32) -> Self {
        let nanos = u64::from(bits) * 1_000_000_000 / u64::from(baud.max(1));
        let character = Duration::from_nanos(nanos);
        if baud > FIXED_ABOVE {
            let (between_frames, inside_frame) = (Duration::from_micros(1750), Duration::from_micros(750));
            return Self { character, between_frames, inside_frame };
        }
        Self { character, between_frames: character * 7 / 2, inside_frame: character * 3 / 2 }
    }

    /// What a number of characters takes.
    pub(crate) fn characters(self, count: usize) -> Duration {
        self.character * u32::try_from(count).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_silences_are_those_of_the_specification() {
        let check = |baud, bits, character: u64, between: u64, inside: u64| {
            let pace = Pace::new(baud, bits);
            let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap();
            let got = (micros(pace.character), micros(pace.between_frames), micros(pace.inside_frame));
            assert_eq!(got, (character, between, inside), "{baud} baud");
        };
        check(1200, 11, 9166, 32_083, 13_749);
        check(9600, 10, 1041, 3645, 1562);
        check(19_200, 11, 572, 2005, 859);
        check(115_200, 10, 86, 1750, 750);
    }
}
