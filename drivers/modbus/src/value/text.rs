//! Text in registers: two bytes in each, padded at the end.

use super::layout::Order;

/// The text, without the NULs and blanks it is padded with.
pub(crate) fn decode(registers: &[u16], order: Order) -> Result<String, String> {
    let bytes: Vec<u8> = registers.iter().flat_map(|register| order.register(*register).to_be_bytes()).collect();
    let end = bytes.iter().rposition(|byte| !matches!(byte, 0 | b' ')).map_or(0, |last| last + 1);
    match std::str::from_utf8(&bytes[..end]) {
        Ok(text) if text.contains('\0') => Err("the text has a NUL in its middle".into()),
        Ok(text) => Ok(text.to_owned()),
        Err(error) => Err(format!("byte {} of the text is neither ASCII nor UTF-8", error.valid_up_to() + 1)),
    }
}

/// The text in so many registers, padded with NULs; or why it does not fit.
pub(crate) fn encode(text: &str, registers: u16, order: Order) -> Result<Vec<u16>, String> {
    let room = usize::from(registers) * 2;
    if text.len() > room {
        return Err(format!("the text has {} bytes where {room} fit", text.len()));
    }
    if text.contains('\0') {
        return Err("the text has a NUL in it".into());
    }
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(room, 0);
    let (pairs, _) = bytes.as_chunks::<2>();
    Ok(pairs.iter().map(|pair| order.register(u16::from_be_bytes(*pair))).collect())
}
