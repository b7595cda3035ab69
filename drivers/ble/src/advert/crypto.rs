//! Keys, and what they open: AES-128 in CCM mode, as every encrypted sensor here uses it.

use std::fmt;
use std::str::FromStr;

use aes::Aes128;
use aes::cipher::{BlockDecrypt, BlockEncrypt};
use ccm::aead::generic_array::typenum::{U4, U11, U12, U13};
use ccm::aead::generic_array::{ArrayLength, GenericArray};
use ccm::aead::{Aead, Payload};
use ccm::{Ccm, KeyInit, NonceSize};

/// A sensor's key: 16 bytes, or 12 for the oldest of Xiaomi's. It shows itself to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Vec<u8>);

impl Key {
    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The 16 bytes of it, if it has as many.
    pub fn aes(&self) -> Option<&[u8; 16]> {
        self.0.as_slice().try_into().ok()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// Why a text is no key. It does not say what the text was: it may be one after all, mistyped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key is 32 hexadecimal digits, or 24 for the oldest Xiaomi sensors")]
pub struct NoKey;

impl FromStr for Key {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<Self, NoKey> {
        let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hex || !matches!(text.len(), 24 | 32) {
            return Err(NoKey);
        }
        let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| NoKey);
        (0..text.len()).step_by(2).map(byte).collect::<Result<_, _>>().map(Self)
    }
}

/// Opens `sealed`, whose last four bytes are the tag, with a nonce of 11, 12 or 13 bytes. `None` if
/// key, nonce, `aad` and bytes do not belong together, or if there are fewer bytes than the tag has.
pub fn open(key: &[u8; 16], nonce: &[u8], sealed: &[u8], aad: &[u8]) -> Option<Vec<u8>> {
    match nonce.len() {
        11 => open_with::<U11>(key, nonce, sealed, aad),
        12 => open_with::<U12>(key, nonce, sealed, aad),
        13 => open_with::<U13>(key, nonce, sealed, aad),
        _ => None,
    }
}

/// Deciphers a single block.
pub fn decipher(key: &[u8; 16], block: [u8; 16]) -> [u8; 16] {
    let mut block = GenericArray::from(block);
    Aes128::new(key.into()).decrypt_block(&mut block);
    block.into()
}

/// Opens what was closed in CCM mode and carries no tag: nobody can tell whether the key was right.
pub fn open_untagged(key: &[u8; 16], nonce: &[u8; 13], sealed: &[u8]) -> Vec<u8> {
    let cipher = Aes128::new(key.into());
    let mut plain = sealed.to_vec();
    // Two bytes of every block count; block 0 would close the tag (RFC 3610, 2.3).
    for (number, chunk) in (1..=u16::MAX).zip(plain.chunks_mut(16)) {
        let mut block = [0; 16];
        let [flags, rest @ ..] = &mut block;
        *flags = 1;
        for (place, byte) in rest.iter_mut().zip(nonce.iter().chain(&number.to_be_bytes())) {
            *place = *byte;
        }
        let mut block = block.into();
        cipher.encrypt_block(&mut block);
        for (byte, mask) in chunk.iter_mut().zip(block) {
            *byte ^= mask;
        }
    }
    plain
}

fn open_with<N>(key: &[u8; 16], nonce: &[u8], sealed: &[u8], aad: &[u8]) -> Option<Vec<u8>>
where
    N: NonceSize + ArrayLength<u8>,
{
    let cipher = Ccm::<Aes128, U4, N>::new(key.into());
    cipher.decrypt(GenericArray::from_slice(nonce), Payload { msg: sealed, aad }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    // FIPS 197, appendix C.1.
    #[test]
    fn a_block_is_deciphered_as_the_standard_says() {
        let key = std::array::from_fn(|at| u8::try_from(at).unwrap());
        let block = 0x69c4_e0d8_6a7b_0430_d8cd_b780_70b4_c55a_u128.to_be_bytes();
        assert_eq!(decipher(&key, block), 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff_u128.to_be_bytes());
    }

    #[test]
    fn a_key_is_read_and_never_shown() {
        let key: Key = "231d39c1d7cc1ab1aee224cd096db932".parse().unwrap();
        assert_eq!(key.bytes()[..2], [0x23, 0x1d]);
        assert_eq!(format!("{key:?}"), "Key(…)");
        assert!("b853075158487ca39a5b5ea9".parse::<Key>().unwrap().aes().is_none());
        for text in [
            "",
            "231d39c1d7cc1ab1aee224cd096db93",
            "é31d39c1d7cc1ab1aee224cd096db93",
            "+31d39c1d7cc1ab1aee224cd096db932",
        ] {
            assert_eq!(text.parse::<Key>(), Err(NoKey));
        }
    }
}
