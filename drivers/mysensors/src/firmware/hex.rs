//! Intel HEX: lines of text, each with an address, bytes and a checksum.
//!
//! Only what a flash memory needs: data, the end, and addresses beyond 64 KiB. Where a program starts
//! is the business of its processor, so those records are read over.

/// The most bytes from the lowest address to the highest, gaps included.
pub const LARGEST: usize = 512 * 1024;

/// What erased flash reads as, and so what a gap is filled with.
pub const ERASED: u8 = 0xFF;

/// Why a text is no Intel HEX, with the line it is seen at, from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HexError {
    /// Not a record at all.
    #[error("line {0} is not Intel HEX: a record is a colon and pairs of hexadecimal digits")]
    NotARecord(usize),
    /// A record that is longer or shorter than it says.
    #[error("line {0} is cut off, or longer than it says")]
    Length(usize),
    /// The sum of its bytes is not zero.
    #[error("line {0} is damaged: its checksum is wrong")]
    Checksum(usize),
    /// A type that no processor here uses.
    #[error("line {0} is a record of type {1}, which is not known")]
    Kind(usize, u8),
    /// Two records for one address.
    #[error("line {0} says again what is at address {1:#06x}")]
    Overlap(usize, u32),
    /// Bytes too far apart for one image.
    #[error("line {0} lies {1:#x} bytes above the lowest address: an image has at most {LARGEST:#x}")]
    TooFar(usize, u32),
    /// The file is cut off.
    #[error("the last record, which ends the file, is missing")]
    NoEnd,
    /// Nothing in it.
    #[error("there is no data in it")]
    Empty,
}

/// The bytes of a text in Intel HEX, from the lowest address to the highest. Gaps read as erased
/// flash.
///
/// # Errors
/// Says which line is wrong, and how.
pub fn parse(text: &str) -> Result<Vec<u8>, HexError> {
    let (mut pieces, mut base, mut ended) = (Vec::new(), 0_u32, false);
    for (number, line) in text.lines().map(str::trim).enumerate().map(|(at, line)| (at + 1, line)) {
        if line.is_empty() || ended {
            continue;
        }
        let record = Record::parse(number, line)?;
        match (record.kind, record.data.as_slice()) {
            (0, data) => pieces.push(Piece {
                // Beyond 4 GiB an address begins again at 0, says the format.
                address: base.wrapping_add(u32::from(record.offset)),
                line: number,
                data: data.to_vec(),
            }),
            (1, _) => ended = true,
            (2, &[high, low]) => base = u32::from(u16::from_be_bytes([high, low])) << 4,
            (4, &[high, low]) => base = u32::from(u16::from_be_bytes([high, low])) << 16,
            (2 | 4, _) => return Err(HexError::Length(number)),
            (3 | 5, _) => {}
            (kind, _) => return Err(HexError::Kind(number, kind)),
        }
    }
    if ended { joined(pieces) } else { Err(HexError::NoEnd) }
}

/// Bytes that follow each other.
struct Piece {
    address: u32,
    line: usize,
    data: Vec<u8>,
}

fn joined(mut pieces: Vec<Piece>) -> Result<Vec<u8>, HexError> {
    pieces.retain(|piece| !piece.data.is_empty());
    pieces.sort_by_key(|piece| piece.address);
    let lowest = pieces.first().ok_or(HexError::Empty)?.address;
    let mut bytes: Vec<u8> = Vec::new();
    for Piece { address, line, data } in pieces {
        let above = address - lowest;
        let far = || HexError::TooFar(line, above);
        let start = usize::try_from(above).map_err(|_| far())?;
        if start + data.len() > LARGEST {
            return Err(far());
        }
        if start < bytes.len() {
            return Err(HexError::Overlap(line, address));
        }
        bytes.resize(start, ERASED);
        bytes.extend(data);
    }
    Ok(bytes)
}

struct Record {
    kind: u8,
    offset: u16,
    data: Vec<u8>,
}

impl Record {
    fn parse(number: usize, line: &str) -> Result<Self, HexError> {
        let digits = line.strip_prefix(':').ok_or(HexError::NotARecord(number))?;
        let bytes = super::wire::unhex(digits).ok_or(HexError::NotARecord(number))?;
        let [length, high, low, kind, rest @ ..] = bytes.as_slice() else { return Err(HexError::Length(number)) };
        let Some((_sum, data)) = rest.split_last().filter(|(_, data)| data.len() == usize::from(*length)) else {
            return Err(HexError::Length(number));
        };
        if bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) != 0 {
            return Err(HexError::Checksum(number));
        }
        Ok(Self { kind: *kind, offset: u16::from_be_bytes([*high, *low]), data: data.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const END: &str = ":00000001FF";

    /// One record with a checksum that fits.
    fn record(offset: u16, kind: u8, data: &[u8]) -> String {
        let mut bytes = vec![u8::try_from(data.len()).unwrap()];
        bytes.extend(offset.to_be_bytes());
        bytes.push(kind);
        bytes.extend(data);
        let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg();
        bytes.push(sum);
        format!(":{}", bytes.iter().map(|byte| format!("{byte:02X}")).collect::<String>())
    }

    fn check(lines: &[&str], expected: Result<&[u8], HexError>) {
        assert_eq!(parse(&lines.join("\r\n")), expected.map(<[u8]>::to_vec), "{lines:?}");
    }

    #[test]
    fn records_are_put_in_order_and_gaps_read_as_erased_flash() {
        check(&[":0200000001AB52", END], Ok(&[0x01, 0xAB]));
        check(&[&record(4, 0, &[5, 6]), "", &record(0, 0, &[1, 2]), END], Ok(&[1, 2, 0xFF, 0xFF, 5, 6]));
        check(&[&record(0x2000, 0, &[1]), END, "what follows the end"], Ok(&[1]));
        check(&[&record(0, 0, &[1]), &record(0, 3, &[0, 0, 0, 0]), &record(0, 5, &[0, 0, 0, 0]), END], Ok(&[1]));
    }

    #[test]
    fn addresses_beyond_64_kib_come_in_segments_or_in_one_line() {
        let high = record(0, 4, &[0x00, 0x01]);
        let segment = record(0, 2, &[0x10, 0x00]);
        for extended in [high, segment] {
            let text = [&record(0xFFFF, 0, &[1]), &extended, &record(0, 0, &[2]), END].join("\n");
            assert_eq!(parse(&text), Ok(vec![1, 2]), "{extended}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_by_line() {
        check(&["hello"], Err(HexError::NotARecord(1)));
        check(&[":02000000xyAB52"], Err(HexError::NotARecord(1)));
        check(&[&record(0, 0, &[1]), ":0200000001AB"], Err(HexError::Length(2)));
        check(&[":0000"], Err(HexError::Length(1)));
        check(&[":0200000001AB53", END], Err(HexError::Checksum(1)));
        check(&[&record(0, 9, &[]), END], Err(HexError::Kind(1, 9)));
        check(&[&record(0, 4, &[1]), END], Err(HexError::Length(1)));
        check(&[&record(0, 0, &[1, 2]), &record(1, 0, &[3]), END], Err(HexError::Overlap(2, 1)));
        check(&[&record(0, 0, &[1]), &record(0, 4, &[0, 8]), &record(0, 0, &[3]), END], {
            Err(HexError::TooFar(3, 0x8_0000))
        });
        check(&[&record(0, 0, &[1])], Err(HexError::NoEnd));
        check(&[END], Err(HexError::Empty));
        check(&[&record(0, 0, &[]), END], Err(HexError::Empty));
    }

    proptest! {
        #[test]
        fn what_is_written_in_any_order_is_read_back(
            bytes in proptest::collection::vec(any::<u8>(), 1..3000), length in 1_usize..=255, turn: bool,
        ) {
            let mut lines: Vec<String> = bytes
                .chunks(length)
                .enumerate()
                .map(|(at, chunk)| record(u16::try_from(at * length).unwrap(), 0, chunk))
                .collect();
            if turn {
                lines.reverse();
            }
            lines.push(END.into());
            prop_assert_eq!(parse(&lines.join("\n")), Ok(bytes));
        }

        #[test]
        fn no_text_upsets_it(text in "(:[0-9A-F]{0,44}\n?|[:0-9a-f\n ]{0,20}){0,6}") {
            let _ = parse(&text);
        }
    }
}
