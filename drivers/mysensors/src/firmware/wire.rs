//! The four messages of a firmware update, as bytes in hexadecimal: 16-bit words, low byte first.

use super::image::Name;

/// How many bytes a block has where the node does not say otherwise.
pub const USUAL_BLOCK: u8 = 16;

/// What a node says of itself when it starts: which firmware it runs, and how it takes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// What it runs.
    pub runs: Config,
    /// How many bytes it takes in one answer.
    pub block_size: u8,
    /// Whether it speaks version 3.1 of the protocol, and so knows repeated blocks.
    pub is_extended: bool,
}

/// What identifies a firmware down to its last byte: as a node reports it, and as it is offered one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Type and version.
    pub name: Name,
    /// How many blocks there are, in the block size of the node.
    pub blocks: u16,
    /// The CRC over all of them.
    pub crc: u16,
}

/// The piece that a node asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRequest {
    /// Of which firmware.
    pub name: Name,
    /// Which piece, counted from 0.
    pub block: u16,
}

impl Report {
    /// Reads a configuration request: type, version, blocks, CRC, version of the bootloader; from 3.1
    /// on the block size and more. `None` if it is shorter.
    pub fn parse(payload: &str) -> Option<Self> {
        let bytes = unhex(payload)?;
        let (words, rest) = bytes.split_at_checked(10)?;
        let word = |at: usize| u16::from_le_bytes([words[2 * at], words[2 * at + 1]]);
        let runs = Config { name: Name { kind: word(0), version: word(1) }, blocks: word(2), crc: word(3) };
        let block_size = rest.first().copied();
        Some(Self { runs, block_size: block_size.unwrap_or(USUAL_BLOCK), is_extended: block_size.is_some() })
    }
}

impl Config {
    /// The answer to a configuration request.
    pub fn payload(&self) -> String {
        hex_of_words(&[self.name.kind, self.name.version, self.blocks, self.crc])
    }
}

impl BlockRequest {
    /// Reads a request. `None` if it is too short.
    pub fn parse(payload: &str) -> Option<Self> {
        let bytes = unhex(payload)?;
        let &[a, b, c, d, e, f, ..] = bytes.as_slice() else { return None };
        let [kind, version, block] = [[a, b], [c, d], [e, f]].map(u16::from_le_bytes);
        Some(Self { name: Name { kind, version }, block })
    }

    /// The answer with what is in that block.
    pub fn payload(&self, data: &[u8]) -> String {
        self.head() + &hex(data)
    }

    /// The answer where this block and those before it, `count` of them, are all made of one byte.
    pub fn repeated(&self, count: u16, byte: u8) -> String {
        self.head() + &hex_of_words(&[count]) + &hex(&[byte])
    }

    fn head(&self) -> String {
        hex_of_words(&[self.name.kind, self.name.version, self.block])
    }
}

fn hex_of_words(words: &[u16]) -> String {
    words.iter().map(|word| hex(&word.to_le_bytes())).collect()
}

/// Bytes as pairs of digits in lower case.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// The bytes that pairs of digits stand for, in either case.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|&[high, low]| Some((digit(high)? << 4) | digit(low)?)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_node_says_what_it_runs_and_from_3_1_on_how_large_its_blocks_are() {
        let runs = Config { name: Name { kind: 1, version: 2 }, blocks: 0x06B0, crc: 0xE826 };
        let plain = Report { runs, block_size: 16, is_extended: false };
        assert_eq!(Report::parse("01000200B00626E80300"), Some(plain));
        let extended = Report { runs, block_size: 8, is_extended: true };
        assert_eq!(Report::parse("01000200B00626E80301080100000a000000"), Some(extended));
        for broken in ["", "01000200B00626E803", "01000200B00626E8030", "01000200B00626E8030x"] {
            assert_eq!(Report::parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn answers_are_spelt_as_pymysensors_spells_them() {
        let name = Name { kind: 1, version: 1 };
        assert_eq!(Config { name, blocks: 8, crc: 0x016A }.payload(), "0100010008006a01");
        let request = BlockRequest::parse("010001000500").unwrap();
        assert_eq!(request, BlockRequest { name, block: 5 });
        assert_eq!(request.payload(&[0x0C, 0x94]), "0100010005000c94");
        assert_eq!(request.repeated(3, 0xFF), "0100010005000300ff");
        assert_eq!(BlockRequest::parse("0100010005"), None);
    }

    proptest! {
        #[test]
        fn bytes_are_read_back_and_no_text_upsets_it(bytes in proptest::collection::vec(any::<u8>(), 0..40), text in "\\PC{0,40}") {
            prop_assert_eq!(unhex(&hex(&bytes)), Some(bytes.clone()));
            prop_assert_eq!(unhex(&hex(&bytes).to_uppercase()), Some(bytes));
            let _ = (Report::parse(&text), BlockRequest::parse(&text));
        }
    }
}
