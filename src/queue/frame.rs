//! One frame of the log: encoding and checking, over bytes alone.
//!
//! The layout is in the [module's front page](super). A frame vouches for itself: its checksum
//! covers everything else in it, and its sequence number says whether it belongs where it was
//! found. That is what lets a scan pick up the thread behind damage.

use std::ops::Range;

use bytes::Bytes;

/// Bytes before the body.
pub const HEADER: usize = 25;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A message.
    Record,
    /// The ledger, as it was when what follows was written.
    Ledger,
}

/// The fixed part in front of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Length of the body in bytes.
    pub length: usize,
    /// Checksum over the rest of the header and the body.
    pub crc: u32,
    /// The record's sequence number; for a ledger, that of the record behind it.
    pub seq: u64,
    /// Milliseconds since 1970; 0 in a ledger.
    pub captured_at: u64,
    /// What the body is.
    pub kind: Kind,
}

/// A whole frame that passed its checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The record's sequence number; for a ledger, that of the record behind it.
    pub seq: u64,
    /// Milliseconds since 1970; 0 in a ledger.
    pub captured_at: u64,
    /// What the body is.
    pub kind: Kind,
    /// The body, sharing memory with the bytes it was decoded from.
    pub body: Bytes,
}

/// Appends one frame to `out`.
pub fn encode(out: &mut Vec<u8>, kind: Kind, seq: u64, captured_at: u64, body: &[u8]) {
    let start = out.len();
    // A body is bounded long before 32 bits; see `MAX_BODY`.
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&seq.to_le_bytes());
    out.extend_from_slice(&captured_at.to_le_bytes());
    out.push(match kind {
        Kind::Record => 0,
        Kind::Ledger => 1,
    });
    out.extend_from_slice(body);
    let crc = checksum(&out[start..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

impl Header {
    /// Reads the header at the start of `bytes`. `None` if there are too few of them, or if what
    /// they say cannot be: a body above `max_body`, an unknown kind, a foreign sequence number.
    pub fn parse(bytes: &[u8], seqs: &Range<u64>, max_body: usize) -> Option<Self> {
        let bytes: &[u8; HEADER] = bytes.first_chunk()?;
        // The sequence number first: nearly all garbage fails it.
        let seq = u64_at(bytes, 8);
        let length = u32_at(bytes, 0) as usize;
        if !seqs.contains(&seq) || length > max_body {
            return None;
        }
        let kind = match bytes[24] {
            0 => Kind::Record,
            1 => Kind::Ledger,
            _ => return None,
        };
        Some(Self { length, crc: u32_at(bytes, 4), seq, captured_at: u64_at(bytes, 16), kind })
    }

    /// Length of the whole frame in bytes.
    pub fn frame_len(&self) -> usize {
        HEADER + self.length
    }

    /// Whether `frame`, header included, is what was written.
    pub fn vouches_for(&self, frame: &[u8]) -> bool {
        frame.len() == self.frame_len() && checksum(frame) == self.crc
    }
}

/// CRC-32C of a frame, leaving out the four bytes that hold it.
fn checksum(frame: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&frame[..4]), &frame[8..])
}

fn u32_at(bytes: &[u8; HEADER], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8; HEADER], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 1 << 20;

    fn decode(bytes: &[u8]) -> Option<Frame> {
        let header = Header::parse(bytes, &(0..u64::MAX), LIMIT)?;
        let frame = bytes.get(..header.frame_len())?;
        header.vouches_for(frame).then(|| Frame {
            seq: header.seq,
            captured_at: header.captured_at,
            kind: header.kind,
            body: Bytes::copy_from_slice(&frame[HEADER..]),
        })
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let mut out = Vec::new();
        encode(&mut out, Kind::Ledger, 0x0102, 0x0304, b"ab");
        assert_eq!(out[..4], [2, 0, 0, 0]);
        assert_eq!(out[8..24], [2, 1, 0, 0, 0, 0, 0, 0, 4, 3, 0, 0, 0, 0, 0, 0]);
        assert_eq!(out[24..], [1, b'a', b'b']);
        let without_crc: Vec<u8> = out[..4].iter().chain(&out[8..]).copied().collect();
        assert_eq!(out[4..8], crc32c::crc32c(&without_crc).to_le_bytes());
    }

    #[test]
    fn a_run_of_zeros_is_not_a_frame() {
        assert_eq!(decode(&[0; 64]), None);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            seq in 0..u64::MAX, captured_at: u64, ack: bool, body: Vec<u8>, rest: Vec<u8>,
        ) {
            let kind = if ack { Kind::Ledger } else { Kind::Record };
            let mut out = Vec::new();
            encode(&mut out, kind, seq, captured_at, &body);
            out.extend(rest);
            prop_assert_eq!(decode(&out), Some(Frame { seq, captured_at, kind, body: body.into() }));
        }

        #[test]
        fn one_flipped_bit_is_always_noticed(seq in 0..u64::MAX, body: Vec<u8>, place: prop::sample::Index) {
            let mut out = Vec::new();
            encode(&mut out, Kind::Record, seq, 7, &body);
            let bit = place.index(out.len() * 8);
            out[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(decode(&out), None);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }
}
