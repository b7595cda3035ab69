//! A firmware image: the bytes, padded as bootloaders want them, with their CRC.

use std::fmt;
use std::sync::Arc;

use super::hex::{self, ERASED, HexError, LARGEST};
use super::wire::Config;

/// What an image is padded to with erased flash: the page of an `ATmega328`, which bootloaders write at
/// once.
const PAGE: usize = 128;

/// What an `ATmega328`, the usual processor of a node, holds beside its bootloader, in bytes.
pub const USUAL_ROOM: usize = 30 * 1024;

/// The type and the version of a firmware: what makes two of them different to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// What it is for: a number of the maker's own choice.
    pub kind: u16,
    /// Which of them it is.
    pub version: u16,
}

/// The type of a node that never had one: erased memory.
pub const BLANK: u16 = 0xFFFF;

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "type {} version {}", self.kind, self.version)
    }
}

/// Why a file is no image that could be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// It is broken.
    #[error(transparent)]
    Hex(#[from] HexError),
    /// Its name says Intel HEX, and it is something else.
    #[error("it is not Intel HEX, although its name says so")]
    NotHex,
    /// It begins as Intel HEX does and goes on otherwise.
    #[error("it begins as Intel HEX does, but is not text")]
    NotText,
    /// Nothing in it.
    #[error("it is empty")]
    Empty,
    /// More than the node can hold.
    #[error("it has {size} bytes, and the node holds {room}")]
    TooLarge {
        /// Its size, padded.
        size: usize,
        /// What there is room for.
        room: usize,
    },
    /// It is another one than was meant.
    #[error("its CRC is {is:#06x}, and {stated:#06x} was expected")]
    Crc {
        /// What it is.
        is: u16,
        /// What it should be.
        stated: u16,
    },
}

/// An image, ready to be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    name: Name,
    bytes: Arc<[u8]>,
    crc: u16,
}

/// What is in a file: Intel HEX if it begins with a colon, else the bytes themselves. A file with the
/// ending `.hex` has to be Intel HEX.
///
/// # Errors
/// Says what is wrong with it.
pub fn from_file(file_name: &str, content: &[u8]) -> Result<Vec<u8>, ImageError> {
    let is_called_hex = [".hex", ".ihex", ".ihx"].iter().any(|ending| file_name.to_lowercase().ends_with(ending));
    match content.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => Err(ImageError::Empty),
        Some(b':') => Ok(hex::parse(std::str::from_utf8(content).map_err(|_| ImageError::NotText)?)?),
        Some(_) if is_called_hex => Err(ImageError::NotHex),
        Some(_) => Ok(content.to_vec()),
    }
}

impl Image {
    /// An image of these bytes, which a node has `room` for, in bytes; `crc` if it is known beforehand.
    ///
    /// # Errors
    /// It is empty, too large or another one than was meant.
    pub fn new(name: Name, mut bytes: Vec<u8>, room: usize, crc: Option<u16>) -> Result<Self, ImageError> {
        if bytes.is_empty() {
            return Err(ImageError::Empty);
        }
        let (size, room) = (bytes.len().next_multiple_of(PAGE), room.min(LARGEST));
        if size > room {
            return Err(ImageError::TooLarge { size, room });
        }
        bytes.resize(size, ERASED);
        let is = crc16(&bytes);
        match crc {
            Some(stated) if stated != is => Err(ImageError::Crc { is, stated }),
            _ => Ok(Self { name, bytes: bytes.into(), crc: is }),
        }
    }

    /// Its type and version.
    pub fn name(&self) -> Name {
        self.name
    }

    /// Its bytes, padded.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The CRC over them.
    pub fn crc(&self) -> u16 {
        self.crc
    }

    /// How it is offered to a node that takes blocks of so many bytes. `None` if that is no size that
    /// divides it, or there would be more blocks than can be numbered.
    pub fn config(&self, block_size: u8) -> Option<Config> {
        let size = usize::from(block_size);
        // All that goes into a message and fills a page.
        if !matches!(size, 1 | 2 | 4 | 8 | 16) {
            return None;
        }
        let blocks = u16::try_from(self.bytes.len() / size).ok()?;
        Some(Config { name: self.name, blocks, crc: self.crc })
    }

    /// What is in a block.
    pub fn block(&self, number: u16, block_size: u8) -> Option<&[u8]> {
        let (number, size) = (usize::from(number), usize::from(block_size));
        self.bytes.get(number * size..(number + 1) * size)
    }

    /// If a block is made of one byte alone: that byte, and how many blocks are, from this one down.
    pub fn run(&self, number: u16, block_size: u8) -> Option<(u16, u8)> {
        let byte = *self.block(number, block_size)?.first()?;
        let is_of_it =
            |block: &u16| self.block(*block, block_size).is_some_and(|data| data.iter().all(|other| *other == byte));
        let count = (0..=number).rev().take_while(is_of_it).count();
        u16::try_from(count).ok().filter(|count| *count > 0).map(|count| (count, byte))
    }
}

/// Without the bytes, of which there are many.
impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Image({}, {} bytes, crc {:#06x})", self.name, self.bytes.len(), self.crc)
    }
}

/// CRC-16/MODBUS, with which bootloaders check what they received: begins with 0xFFFF, polynomial
/// 0xA001, low bit first.
pub fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xA001 } else { crc >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: Name = Name { kind: 1, version: 1 };
    const HEX: &str = ":100000000C94AC030C9491240C94B8240C94D40359\n:00000001FF\n";

    fn image(bytes: &[u8]) -> Image {
        Image::new(NAME, bytes.to_vec(), USUAL_ROOM, None).unwrap()
    }

    #[test]
    fn an_image_is_padded_to_a_page_and_its_crc_is_that_of_pymysensors() {
        let image = image(&from_file("a.hex", HEX.as_bytes()).unwrap());
        let config = Config { name: NAME, blocks: 8, crc: 0x016A };
        assert_eq!(image.config(16), Some(config));
        assert_eq!(image.config(8), Some(Config { blocks: 16, ..config }));
        assert_eq!((image.config(0), image.config(3), image.config(32)), (None, None, None));
        assert_eq!(image.block(0, 16).unwrap()[..4], [0x0C, 0x94, 0xAC, 0x03]);
        assert_eq!(image.block(7, 16), Some([ERASED; 16].as_slice()));
        assert_eq!(image.block(8, 16), None);
        assert_eq!(crc16(b"123456789"), 0x4B37, "the check value of CRC-16/MODBUS");
    }

    #[test]
    fn a_file_is_intel_hex_by_its_colon_and_else_the_image_itself() {
        assert_eq!(from_file("a.bin", HEX.as_bytes()).unwrap().len(), 16);
        assert_eq!(from_file("a.bin", &[0x0C, 0x94]), Ok(vec![0x0C, 0x94]));
        assert_eq!(from_file("A.HEX", &[0x0C, 0x94]), Err(ImageError::NotHex));
        assert_eq!(from_file("a.hex", b" \n"), Err(ImageError::Empty));
        assert_eq!(from_file("a.hex", &[b':', 0xB0]), Err(ImageError::NotText));
        assert_eq!(from_file("a.hex", b":00"), Err(ImageError::Hex(HexError::Length(1))));
    }

    #[test]
    fn what_a_node_cannot_hold_or_was_not_meant_is_refused() {
        let new = |size: usize, room, crc| Image::new(NAME, vec![0; size], room, crc).map(|image| image.crc());
        assert_eq!(new(0, 1024, None), Err(ImageError::Empty));
        assert!(new(1024, 1024, None).is_ok());
        assert_eq!(new(1025, 1024, None), Err(ImageError::TooLarge { size: 1152, room: 1024 }));
        assert_eq!(
            new(LARGEST + 1, usize::MAX, None),
            Err(ImageError::TooLarge { size: LARGEST + 128, room: LARGEST })
        );
        let crc = new(128, 1024, None).unwrap();
        assert!(new(128, 1024, Some(crc)).is_ok());
        assert_eq!(new(128, 1024, Some(!crc)), Err(ImageError::Crc { is: crc, stated: !crc }));
    }

    #[test]
    fn blocks_of_one_byte_are_counted_downwards() {
        let mut bytes = vec![7; 64];
        bytes.extend([0; 40]);
        let image = image(&bytes);
        assert_eq!(image.run(3, 16), Some((4, 7)));
        assert_eq!(image.run(0, 16), Some((1, 7)));
        assert_eq!(image.run(5, 16), Some((2, 0)));
        assert_eq!(image.run(6, 16), None, "it is half of one and half of the other");
        assert_eq!(image.run(7, 16), Some((1, ERASED)));
        assert_eq!(image.run(8, 16), None);
    }
}
