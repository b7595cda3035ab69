//! The frames of Modbus TCP: a header with a transaction id, the protocol's id, a length and the unit.
//! Pure.
//!
//! Source: "MODBUS Messaging on TCP/IP Implementation Guide V1.0b", 3.1.3.

use crate::pdu::LONGEST;

/// The header's bytes, the unit among them.
pub(crate) const HEADER: usize = 7;

/// The longest frame, in bytes.
pub(crate) const LONGEST_FRAME: usize = HEADER + LONGEST;

/// A whole frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    /// The transaction it belongs to.
    pub(crate) id: u16,
    /// Who sent it, or is meant by it.
    pub(crate) unit: u8,
    /// What is said: 1–253 bytes.
    pub(crate) pdu: &'a [u8],
}

/// What some bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next<'a> {
    /// The beginning of a frame, so far.
    More,
    /// A frame, and how many bytes it takes up.
    Frame(Frame<'a>, usize),
    /// No frame, and nobody knows where the next one begins.
    Nonsense(&'static str),
}

/// The frame that carries a PDU. Of a PDU longer than the protocol allows, one that no one takes.
pub(crate) fn frame(id: u16, unit: u8, pdu: &[u8]) -> Vec<u8> {
    let length = u16::try_from(pdu.len() + 1).unwrap_or(u16::MAX);
    let mut frame = Vec::with_capacity(HEADER + pdu.len());
    frame.extend_from_slice(&id.to_be_bytes());
    frame.extend_from_slice(&[0, 0]);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.push(unit);
    frame.extend_from_slice(pdu);
    frame
}

/// What the bytes begin with.
pub(crate) fn next(bytes: &[u8]) -> Next<'_> {
    if let [_, _, high, low, ..] = bytes
        && (*high, *low) != (0, 0)
    {
        return Next::Nonsense("it does not speak Modbus TCP");
    }
    let [id_high, id_low, _, _, high, low, rest @ ..] = bytes else { return Next::More };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if !(2..=LONGEST + 1).contains(&length) {
        return Next::Nonsense("the length of the answer is impossible");
    }
    let Some(([unit, pdu @ ..], _)) = rest.split_at_checked(length) else { return Next::More };
    Next::Frame(Frame { id: u16::from_be_bytes([*id_high, *id_low]), unit: *unit, pdu }, 6 + length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_is_as_the_standard_shows_it() {
        let bytes = frame(0x1501, 0xFF, &[3, 0, 4, 0, 1]);
        assert_eq!(bytes, [0x15, 0x01, 0, 0, 0, 6, 0xFF, 3, 0, 4, 0, 1]);
        let expected = Frame { id: 0x1501, unit: 0xFF, pdu: &[3, 0, 4, 0, 1] };
        assert_eq!(next(&bytes), Next::Frame(expected, 12));
        for end in 0..bytes.len() {
            assert_eq!(next(&bytes[..end]), Next::More, "{end} bytes");
        }
    }

    #[test]
    fn what_cannot_be_a_frame_is_known_at_once() {
        assert_eq!(next(b"HTTP/1.1"), Next::Nonsense("it does not speak Modbus TCP"));
        for length in [0_u16, 1, 255, 256, 65_535] {
            let [high, low] = length.to_be_bytes();
            let expected = Next::Nonsense("the length of the answer is impossible");
            assert_eq!(next(&[0, 1, 0, 0, high, low]), expected, "{length}");
        }
    }

    proptest! {
        #[test]
        fn frames_that_follow_one_another_are_told_apart(
            frames in prop::collection::vec((any::<u16>(), any::<u8>(), prop::collection::vec(any::<u8>(), 1..=253)), 1..5),
        ) {
            let bytes: Vec<u8> = frames.iter().flat_map(|(id, unit, pdu)| frame(*id, *unit, pdu)).collect();
            let mut rest = &bytes[..];
            for (id, unit, pdu) in &frames {
                let Next::Frame(found, length) = next(rest) else { panic!("a frame in {rest:02x?}") };
                prop_assert_eq!(found, Frame { id: *id, unit: *unit, pdu });
                rest = &rest[length..];
            }
            prop_assert!(rest.is_empty());
        }
    }
}
