//! The frames of Modbus RTU: unit, function, data and a checksum, told apart by length. Pure: where
//! the bytes come from, and when, is known to others.
//!
//! Source of the figures: "MODBUS over Serial Line, Specification and Implementation Guide V1.02",
//! 2.5.1 and 6.2.2, and for the lengths "MODBUS Application Protocol Specification V1.1b3", 6.

/// The longest frame, in bytes: unit, a PDU of 253 and the checksum.
pub(crate) const LONGEST: usize = 256;

/// The shortest frame, in bytes: unit, function and checksum.
const SHORTEST: usize = 4;

/// How long the frame is that begins with what has come so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// Too little has come to tell.
    Unknown,
    /// So many bytes, the checksum included.
    Exactly(usize),
    /// The function is none we know, so only the silence after it tells.
    BySilence,
}

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// No frame is this short.
    Short,
    /// No frame is this long.
    Long,
    /// The checksum does not fit.
    Checksum,
}

impl Damage {
    /// In words, as a predicate of "the answer".
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Short => "is too short",
            Self::Long => "is too long",
            Self::Checksum => "was damaged on the way (CRC)",
        }
    }
}

/// The frame that carries a PDU to or from a unit.
pub(crate) fn frame(unit: u8, pdu: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(pdu.len() + 3);
    frame.push(unit);
    frame.extend_from_slice(pdu);
    let sum = crc(&frame);
    frame.extend_from_slice(&sum.to_le_bytes());
    frame
}

/// The unit and the PDU of a whole frame, if its checksum fits.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn open(frame: &[u8]) -> Result<(u8, &[u8]), Damage> {
    if frame.len() < SHORTEST {
        return Err(Damage::Short);
    }
    if frame.len() > LONGEST {
        return Err(Damage::Long);
    }
    let (body, sum) = frame.split_last_chunk::<2>().ok_or(Damage::Short)?;
    let (unit, pdu) = body.split_first().ok_or(Damage::Short)?;
    if crc(body) == u16::from_le_bytes(*sum) { Ok((*unit, pdu)) } else { Err(Damage::Checksum) }
}

/// How long the answer is that begins with these bytes. What it says is not believed: a length above
/// [`LONGEST`] can come out, and means that no answer begins here.
pub(crate) fn answer_length(bytes: &[u8]) -> Length {
    let Some(&function) = bytes.get(1) else { return Length::Unknown };
    match function {
        0x80.. => Length::Exactly(5),
        // A count of bytes stands first: reads, the event log, the server's id, files, read-and-write.
        1..=4 | 12 | 17 | 20 | 21 | 23 => match bytes.get(2) {
            Some(&count) => Length::Exactly(5 + usize::from(count)),
            None => Length::Unknown,
        },
        7 => Length::Exactly(5),
        5 | 6 | 11 | 15 | 16 => Length::Exactly(8),
        22 => Length::Exactly(10),
        // The queue's count of bytes has two of its own.
        24 => match (bytes.get(2), bytes.get(3)) {
            (Some(&high), Some(&low)) => Length::Exactly(6 + usize::from(u16::from_be_bytes([high, low]))),
            _ => Length::Unknown,
        },
        43 => match bytes.get(2) {
            Some(14) => identification_length(bytes),
            Some(_) => Length::BySilence,
            None => Length::Unknown,
        },
        _ => Length::BySilence,
    }
}

/// The objects of an identification follow one another, each with its own length.
fn identification_length(bytes: &[u8]) -> Length {
    // Unit, function, type, level, conformity, more follows, next object: then the number of objects.
    let Some(&objects) = bytes.get(7) else { return Length::Unknown };
    let mut at = 8;
    for _ in 0..objects {
        let Some(&length) = bytes.get(at + 1) else { return Length::Unknown };
        at += 2 + usize::from(length);
        // However it goes on, no frame holds it.
        if at + 2 > LONGEST {
            return Length::Exactly(LONGEST + 1);
        }
    }
    Length::Exactly(at + 2)
}

/// CRC-16/MODBUS: reflected 0x8005, from 0xFFFF. It goes onto the wire low byte first.
pub(crate) fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, byte| {
        let [low, _] = (crc ^ u16::from(*byte)).to_le_bytes();
        crc >> 8 ^ TABLE[usize::from(low)]
    })
}

const TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        // It is below 256.
        let mut crc = byte as u16;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xA001 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_the_standard() {
        // The check value of CRC-16/MODBUS, and the example of the specification's appendix.
        assert_eq!(crc(b"123456789"), 0x4B37);
        assert_eq!(crc(&[0x02, 0x07]), 0x1241);
        assert_eq!(frame(1, &[3, 0, 0, 0, 10]), [1, 3, 0, 0, 0, 10, 0xC5, 0xCD]);
    }

    #[test]
    fn a_frame_with_any_one_bit_flipped_is_refused() {
        let good = frame(17, &[3, 4, 0x43, 0x66, 0, 0]);
        assert_eq!(open(&good), Ok((17, &[3, 4, 0x43, 0x66, 0, 0][..])));
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&bad), Err(Damage::Checksum), "bit {bit}");
        }
    }

    #[test]
    fn what_is_too_short_or_too_long_is_no_frame() {
        assert_eq!(open(&[]), Err(Damage::Short));
        assert_eq!(open(&frame(1, &[])), Err(Damage::Short));
        assert_eq!(open(&frame(1, &[0; 253])).map(|(unit, pdu)| (unit, pdu.len())), Ok((1, 253)));
        assert_eq!(open(&frame(1, &[0; 254])), Err(Damage::Long));
    }

    #[test]
    fn the_length_of_every_answer_is_known_as_soon_as_it_can_be() {
        let check = |pdu: &[u8], known_after: usize| {
            let whole = frame(9, pdu);
            for end in 0..=whole.len() {
                let expected = if end < known_after { Length::Unknown } else { Length::Exactly(whole.len()) };
                assert_eq!(answer_length(&whole[..end]), expected, "{end} bytes of {whole:02x?}");
            }
        };
        check(&[1, 1, 0xFF], 3);
        check(&[3, 4, 1, 2, 3, 4], 3);
        check(&[5, 0, 1, 0xFF, 0], 2);
        check(&[6, 0, 1, 0, 2], 2);
        check(&[16, 0, 1, 0, 2], 2);
        check(&[22, 0, 4, 0, 0xF2, 0, 0x25], 2);
        check(&[23, 2, 0, 1], 3);
        check(&[24, 0, 4, 0, 1, 0, 7], 4);
        check(&[0x83, 2], 2);
        check(&[43, 14, 1, 1, 0, 0, 2, 0, 1, b'A', 1, 2, b'B', b'C'], 13);
        check(&[43, 14, 1, 1, 0, 0, 0], 8);
        assert_eq!(answer_length(&[9, 65, 1]), Length::BySilence);
        assert_eq!(answer_length(&[9, 43, 13]), Length::BySilence);
    }

    proptest! {
        #[test]
        fn a_frame_opens_to_what_was_put_in(unit: u8, pdu in prop::collection::vec(any::<u8>(), 1..=253)) {
            let frame = frame(unit, &pdu);
            prop_assert_eq!(open(&frame), Ok((unit, &pdu[..])));
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = (open(&bytes), answer_length(&bytes));
        }
    }
}
