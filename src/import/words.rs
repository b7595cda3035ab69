//! What stands in the cells of a register map.

use std::collections::HashSet;

use wharf_contract::settings::Name;

/// The longest name of a point.
const LONGEST_NAME: usize = 64;

/// One of the four address spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Table {
    /// Bits that can be written
    Coil,
    /// Bits that can only be read
    Discrete,
    /// Registers that can be written
    Holding,
    /// Registers that can only be read
    Input,
}

impl Table {
    /// As the site file spells it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Coil => "coil",
            Self::Discrete => "discrete",
            Self::Holding => "holding",
            Self::Input => "input",
        }
    }

    /// Whether it holds bits.
    pub fn is_bits(self) -> bool {
        matches!(self, Self::Coil | Self::Discrete)
    }

    /// The table that manuals mean by the first digit of an address.
    fn of_digit(digit: u32) -> Option<Self> {
        [Some(Self::Coil), Some(Self::Discrete), None, Some(Self::Input), Some(Self::Holding)]
            .get(usize::try_from(digit).ok()?)
            .copied()
            .flatten()
    }
}

/// Where something stands, as it goes over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) table: Table,
    pub(super) address: u16,
}

/// What stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bit,
    /// By the site file's word.
    Number(&'static str),
    Text {
        registers: u16,
    },
}

/// An address: `30001` and `400101` with the table in front, `0x1000`, `1000h` or a plain number.
pub(super) fn place(text: &str, table: Option<Table>, one_based: bool) -> Result<Place, String> {
    let unreadable = || format!("`{text}` is no address");
    // `40001-40002`, `40001...40002`, `40001/2`: the first is meant.
    let first = text.split(['-', '–', '/', ',', ';', ' ']).next().unwrap_or_default();
    let first = first.split("..").next().unwrap_or_default().trim_start_matches(['%', '#']);
    let lower = first.to_ascii_lowercase();
    let hexadecimal = lower.strip_prefix("0x").or_else(|| lower.strip_suffix('h'));
    if let Some(digits) = hexadecimal {
        let address = u16::from_str_radix(digits, 16).map_err(|_| unreadable())?;
        return in_table(address, table);
    }
    let number: u32 = first.parse().map_err(|_| unreadable())?;
    let (digit, rest) = match first.len() {
        5 => (number / 10_000, number % 10_000),
        6 => (number / 100_000, number % 100_000),
        _ => (u32::MAX, 0),
    };
    let counted = Table::of_digit(digit).filter(|meant| rest > 0 && table.is_none_or(|table| table == *meant));
    if let Some(table) = counted {
        let address = u16::try_from(rest - 1).map_err(|_| format!("`{text}` is beyond the last address, 65535"))?;
        return Ok(Place { table, address });
    }
    let address = if one_based { number.checked_sub(1).ok_or_else(unreadable)? } else { number };
    in_table(u16::try_from(address).map_err(|_| format!("`{text}` is beyond the last address, 65535"))?, table)
}

fn in_table(address: u16, table: Option<Table>) -> Result<Place, String> {
    let table = table.ok_or("nothing says whether it is a coil, discrete, holding or input: use --table")?;
    Ok(Place { table, address })
}

/// The table, from its name or the function that reads it.
pub(super) fn table(text: &str) -> Result<Table, String> {
    let word = bare(text);
    let function: Option<u32> = word.trim_start_matches(|c: char| c.is_ascii_alphabetic()).parse().ok();
    match word.as_str() {
        word if word.contains("coil") => Ok(Table::Coil),
        word if word.contains("discrete") || word.contains("inputstatus") || word.contains("contact") => {
            Ok(Table::Discrete)
        }
        word if word.contains("holding") => Ok(Table::Holding),
        word if word.contains("input") => Ok(Table::Input),
        // `3xxxx`, `4x`
        "0x" | "0xxxx" | "0xxxxx" => Ok(Table::Coil),
        "1x" | "1xxxx" | "1xxxxx" => Ok(Table::Discrete),
        "3x" | "3xxxx" | "3xxxxx" | "ir" => Ok(Table::Input),
        "4x" | "4xxxx" | "4xxxxx" | "hr" => Ok(Table::Holding),
        // Where writing functions are named beside it, as in `03/06/16`, the first is the reading one.
        _ => match function.or_else(|| text.split(|c: char| !c.is_ascii_digit()).find_map(|n| n.parse().ok())) {
            Some(1 | 5 | 15) => Ok(Table::Coil),
            Some(2) => Ok(Table::Discrete),
            Some(3 | 6 | 16) => Ok(Table::Holding),
            Some(4) => Ok(Table::Input),
            _ => Err(format!("`{text}` is no table: coil, discrete, holding, input, or a function from 1 to 4")),
        },
    }
}

/// A type, with the number of registers where that is needed to know it.
pub(super) fn kind(text: &str, length: Option<&str>) -> Result<Kind, String> {
    let word = bare(text);
    let registers = length.and_then(|length| length.split_whitespace().next()?.parse::<u16>().ok());
    let bits: Option<u32> = word
        .trim_start_matches(|c: char| c.is_ascii_alphabetic())
        .trim_end_matches(|c: char| c.is_ascii_alphabetic())
        .parse()
        .ok();
    let letters: String = word.chars().filter(char::is_ascii_alphabetic).collect();
    // In `32-bit float` the bits are counted, not the type.
    let letters = match letters.strip_prefix("bit") {
        Some(rest) if !matches!(rest, "" | "field" | "map") => rest.trim_start_matches('s').to_owned(),
        _ => letters,
    };
    let bits = bits.or(registers.map(|registers| u32::from(registers) * 16));
    let unknown = || Err(format!("`{text}` is no type"));
    let signed = match letters.as_str() {
        "bool" | "boolean" | "bit" | "coil" | "binary" => return Ok(Kind::Bit),
        "string" | "str" | "ascii" | "char" | "utf" | "text" => {
            let characters = text.split(|c: char| !c.is_ascii_digit()).find_map(|digits| digits.parse::<u16>().ok());
            // `UTF8` has a number that is none.
            let characters = characters.filter(|_| !matches!(letters.as_str(), "utf")).map(|count| count.div_ceil(2));
            let registers = registers.or(characters);
            return registers.map(|registers| Kind::Text { registers }).ok_or_else(|| "a text needs its length".into());
        }
        "float" | "single" | "real" | "f" | "ieee" | "floatingpoint" | "fp" => {
            return match (bits, registers) {
                (Some(16), _) if registers.is_none() => Ok(Kind::Number("f16")),
                (Some(64), _) | (None, Some(4)) => Ok(Kind::Number("f64")),
                _ => Ok(Kind::Number("f32")),
            };
        }
        "double" | "lreal" => return Ok(Kind::Number("f64")),
        "bcd" => {
            return match bits {
                Some(32) => Ok(Kind::Number("bcd32")),
                Some(64) => Ok(Kind::Number("bcd64")),
                _ => Ok(Kind::Number("bcd16")),
            };
        }
        "word" | "ushort" | "unsignedshort" | "enum" | "bitfield" | "bitmap" => {
            return Ok(Kind::Number(unsigned(bits.unwrap_or(16))));
        }
        "dword" | "ulong" | "udint" | "doubleword" | "acc" => return Ok(Kind::Number(unsigned(bits.unwrap_or(32)))),
        "qword" | "ulonglong" | "ulint" => return Ok(Kind::Number("u64")),
        "short" | "signedshort" => return Ok(Kind::Number("i16")),
        "long" | "dint" => return Ok(Kind::Number(if bits == Some(64) { "i64" } else { "i32" })),
        "lint" | "longlong" => return Ok(Kind::Number("i64")),
        "uint" | "u" | "unsigned" | "unsignedint" | "unsignedinteger" | "uinteger" => false,
        "int" | "s" | "i" | "sint" | "signed" | "integer" | "signedint" | "signedinteger" | "sunssf" => true,
        _ => return unknown(),
    };
    let words = if signed { ["i16", "i32", "i64"] } else { ["u16", "u32", "u64"] };
    match bits.unwrap_or(16) {
        16 => Ok(Kind::Number(words[0])),
        32 => Ok(Kind::Number(words[1])),
        64 => Ok(Kind::Number(words[2])),
        _ => unknown(),
    }
}

fn unsigned(bits: u32) -> &'static str {
    match bits {
        64 => "u64",
        32 => "u32",
        _ => "u16",
    }
}

/// An order of bytes, by its letters or by what it is called.
pub(super) fn order(text: &str) -> Result<&'static str, String> {
    match bare(text).as_str() {
        "abcd" | "ab" | "be" | "big" | "bigendian" | "msb" | "msw" | "mswfirst" | "highfirst" | "highwordfirst" => {
            Ok("ABCD")
        }
        "cdab" | "lsw" | "lswfirst" | "lowfirst" | "lowwordfirst" | "wordswap" | "wordswapped" | "swapped" | "swap" => {
            Ok("CDAB")
        }
        "badc" | "ba" | "byteswap" | "byteswapped" => Ok("BADC"),
        "dcba" | "le" | "little" | "littleendian" => Ok("DCBA"),
        _ => Err(format!("`{text}` is no order of bytes: ABCD, CDAB, BADC or DCBA")),
    }
}

/// A factor: `0.1`, `x0.1`, `1/10`, `/10`, `10^-1`, `0,1`.
pub(super) fn factor(text: &str) -> Result<f64, String> {
    let bare: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let bare = bare.trim_start_matches(['x', 'X', '*', '×']);
    let found = if let Some(divisor) = bare.strip_prefix(['/', '÷', ':']) {
        number(divisor).map(|divisor| 1.0 / divisor)
    } else if let Some((numerator, divisor)) = bare.split_once('/') {
        number(numerator).and_then(|numerator| Ok(numerator / number(divisor)?))
    } else if let Some(exponent) = bare.strip_prefix("10^") {
        // Written out, so that the result is the number people mean by it.
        format!("1e{exponent}").parse().map_err(|_| String::new())
    } else {
        number(bare)
    };
    let found = found.ok().filter(|factor| factor.is_finite() && *factor != 0.0);
    found.ok_or_else(|| format!("`{text}` is no factor"))
}

/// A number, its decimals after a point or a comma.
pub(super) fn number(text: &str) -> Result<f64, String> {
    let number = text.trim().replace(',', ".").parse::<f64>().ok().filter(|number| number.is_finite());
    number.ok_or_else(|| format!("`{text}` is no number"))
}

/// A unit as the site file takes it; `None` for words that say there is none.
pub(super) fn unit(text: &str) -> Option<String> {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '°' | '/' | '²' | '³' | '·' | '.');
    match text {
        "none" | "None" | "1" | "/" => None,
        text if text.chars().all(plain) => Some(text.to_owned()),
        text => Some(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))),
    }
}

/// Whether nothing can be read there.
pub(super) fn is_write_only(text: &str) -> bool {
    matches!(bare(text).as_str(), "w" | "wo" | "write" | "writeonly")
}

/// A name for a topic: small letters, digits and underlines, and none twice.
pub(super) fn name(text: &str, taken: &mut HashSet<String>) -> Result<String, String> {
    let mut name = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        if c.is_alphanumeric() || c == '-' {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('_') {
            name.push('_');
        }
    }
    let name: String = name.trim_end_matches('_').chars().take(LONGEST_NAME - 6).collect();
    Name::new(&name).map_err(|_| format!("`{text}` makes no name"))?;
    let numbered = (2..).map(|number| format!("{name}_{number}"));
    let free = std::iter::once(name.clone()).chain(numbered).find(|candidate| !taken.contains(candidate));
    let free = free.unwrap_or(name);
    taken.insert(free.clone());
    Ok(free)
}

/// A word without what is written differently every time.
fn bare(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}
