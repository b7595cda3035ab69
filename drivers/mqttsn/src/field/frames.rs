//! How messages are told apart on a serial line. MQTT-SN leaves that open.

use crate::config::Framing;
use crate::message::{LONGEST, Message};

const FLAG: u8 = 0x7E;
const ESCAPE: u8 = 0x7D;
const TURN: u8 = 0x20;

/// What was thrown away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Frames that were too long, too short, or broken off.
    pub broken: u64,
    /// Frames whose checksum did not fit.
    pub checksum: u64,
}

/// Collects bytes until they are a message.
#[derive(Debug)]
pub struct Frames {
    framing: Framing,
    begun: Vec<u8>,
    /// Whether what comes is thrown away until a frame begins.
    skipping: bool,
    escaped: bool,
    tally: Tally,
}

impl Frames {
    /// For a line that is cut so.
    pub fn new(framing: Framing) -> Self {
        // Perhaps the second half of a frame comes first; without a mark only a pause tells.
        Self { framing, begun: Vec::new(), skipping: false, escaped: false, tally: Tally::default() }
    }

    /// Takes in what was received, and returns the messages that are now complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        match self.framing {
            Framing::Plain => self.push_plain(bytes),
            Framing::Hdlc => bytes.iter().filter_map(|byte| self.push_byte(*byte)).collect(),
        }
    }

    /// Nothing came for a while: what has begun will not be completed, and what comes next begins anew.
    pub fn pause(&mut self) {
        if self.framing == Framing::Plain {
            self.tally.broken += u64::from(!self.begun.is_empty());
            self.begun.clear();
            self.skipping = false;
        }
    }

    /// Whether a pause would mean something.
    pub fn minds_pauses(&self) -> bool {
        self.framing == Framing::Plain && (self.skipping || !self.begun.is_empty())
    }

    /// What was thrown away so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// How many bytes are held because their frame is not complete.
    pub fn held(&self) -> usize {
        self.begun.len()
    }

    fn push_plain(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut complete = Vec::new();
        if self.skipping {
            return complete;
        }
        self.begun.extend_from_slice(bytes);
        let mut from = 0;
        loop {
            let rest = self.begun.get(from..).unwrap_or_default();
            match whole(rest) {
                Ok(Some(length)) => {
                    complete.extend(rest.get(..length).map(<[u8]>::to_vec));
                    from += length;
                }
                Ok(None) => break,
                Err(()) => {
                    self.tally.broken += 1;
                    self.skipping = true;
                    from = self.begun.len();
                    break;
                }
            }
        }
        self.begun.drain(..from.min(self.begun.len()));
        complete
    }

    fn push_byte(&mut self, byte: u8) -> Option<Vec<u8>> {
        match byte {
            FLAG => {
                let (frame, escaped) = (std::mem::take(&mut self.begun), std::mem::take(&mut self.escaped));
                let was_skipping = std::mem::take(&mut self.skipping);
                // One flag may end a frame and begin the next, so there may be nothing in between.
                if was_skipping || (frame.is_empty() && !escaped) {
                    return None;
                }
                self.checked(frame, escaped)
            }
            ESCAPE => {
                self.escaped = true;
                None
            }
            byte => {
                let turned = if std::mem::take(&mut self.escaped) { byte ^ TURN } else { byte };
                if self.begun.len() >= LONGEST * 2 {
                    self.tally.broken += u64::from(!std::mem::replace(&mut self.skipping, true));
                } else if !self.skipping {
                    self.begun.push(turned);
                }
                None
            }
        }
    }

    fn checked(&mut self, mut frame: Vec<u8>, broken_off: bool) -> Option<Vec<u8>> {
        if broken_off || frame.len() < 4 {
            self.tally.broken += 1;
            return None;
        }
        let sum = frame.split_off(frame.len() - 2);
        if sum != checksum(&frame).to_le_bytes() {
            self.tally.checksum += 1;
            return None;
        }
        Some(frame)
    }
}

/// How long the message is that begins here, with what a forwarder passes on. `None`: more is needed.
fn whole(bytes: &[u8]) -> Result<Option<usize>, ()> {
    let Some(length) = Message::length(bytes).map_err(|_| ())? else { return Ok(None) };
    let header = if bytes.first() == Some(&1) { 3 } else { 1 };
    let total = match bytes.get(header) {
        None => return Ok(None),
        Some(0xFE) => {
            let Some(inner) = bytes.get(length..) else { return Ok(None) };
            match Message::length(inner).map_err(|_| ())? {
                Some(inner) => length + inner,
                None => return Ok(None),
            }
        }
        Some(_) => length,
    };
    Ok((bytes.len() >= total).then_some(total))
}

/// A message as it goes on the line.
pub fn framed(framing: Framing, message: &[u8]) -> Vec<u8> {
    if framing == Framing::Plain {
        return message.to_vec();
    }
    let mut line = vec![FLAG];
    for byte in message.iter().copied().chain(checksum(message).to_le_bytes()) {
        match byte {
            FLAG | ESCAPE => line.extend([ESCAPE, byte ^ TURN]),
            byte => line.push(byte),
        }
    }
    line.push(FLAG);
    line
}

/// The checksum of RFC 1662, appendix C: CRC-16 of the polynomial 0x8408, from 0xFFFF, inverted.
fn checksum(bytes: &[u8]) -> u16 {
    let step = |sum: u16, _| if sum & 1 == 1 { sum >> 1 ^ 0x8408 } else { sum >> 1 };
    !bytes.iter().fold(0xFFFF, |sum, byte| (0..8).fold(sum ^ u16::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PING: &[u8] = &[2, 0x16];
    const CONNACK: &[u8] = &[3, 0x05, 0];

    #[test]
    fn the_checksum_is_that_of_rfc_1662() {
        assert_eq!(checksum(b"123456789"), 0x906E);
    }

    #[test]
    fn plain_messages_are_told_apart_by_their_lengths_and_a_pause_ends_what_is_broken() {
        let mut frames = Frames::new(Framing::Plain);
        assert_eq!(frames.push(&[2, 0x16, 3, 0x05]), [PING]);
        assert!(frames.minds_pauses());
        assert_eq!(frames.push(&[0]), [CONNACK]);
        assert!(!frames.minds_pauses());
        assert!(frames.push(&[9, 0x05, 0]).is_empty());
        frames.pause();
        assert!(frames.push(&[0, 2, 0x16]).is_empty(), "no message begins with 0");
        assert!(frames.push(PING).is_empty());
        frames.pause();
        assert_eq!(frames.push(PING), [PING]);
        assert_eq!(frames.tally(), Tally { broken: 2, checksum: 0 });
    }

    #[test]
    fn what_a_forwarder_passes_on_is_one_with_its_header() {
        let mut frames = Frames::new(Framing::Plain);
        assert!(frames.push(&[4, 0xFE, 0, 7]).is_empty());
        assert_eq!(frames.push(&[2, 0x16, 2, 0x17]), [&[4, 0xFE, 0, 7, 2, 0x16][..], &[2, 0x17]]);
    }

    #[test]
    fn a_damaged_hdlc_frame_is_counted_and_the_next_one_is_whole() {
        let mut frames = Frames::new(Framing::Hdlc);
        let mut damaged = framed(Framing::Hdlc, CONNACK);
        damaged[2] ^= 1;
        damaged.extend(framed(Framing::Hdlc, PING));
        assert_eq!(frames.push(&damaged), [PING]);
        assert_eq!(frames.push(&[2, FLAG]), Vec::<Vec<u8>>::new());
        assert_eq!(frames.tally(), Tally { broken: 1, checksum: 1 });
    }

    proptest! {
        #[test]
        fn what_goes_on_the_line_comes_off_it_however_it_was_cut(
            data in proptest::collection::vec(prop_oneof![Just(FLAG), Just(ESCAPE), any::<u8>()], 0..300),
            piece in 1_usize..50, hdlc in any::<bool>(),
        ) {
            let framing = if hdlc { Framing::Hdlc } else { Framing::Plain };
            let message = Message::WillMsg(data.into()).write().unwrap();
            let mut line = framed(framing, &message);
            line.extend(framed(framing, PING));
            let mut frames = Frames::new(framing);
            let got: Vec<_> = line.chunks(piece).flat_map(|piece| frames.push(piece)).collect();
            prop_assert_eq!(got, vec![message.to_vec(), PING.to_vec()]);
            prop_assert_eq!(frames.held(), 0);
        }

        #[test]
        fn arbitrary_bytes_hold_no_more_than_a_frame(bytes in proptest::collection::vec(any::<u8>(), 0..20_000)) {
            for framing in [Framing::Plain, Framing::Hdlc] {
                let mut frames = Frames::new(framing);
                for piece in bytes.chunks(700) {
                    frames.push(piece);
                    prop_assert!(frames.held() <= LONGEST * 2 + 700);
                }
            }
        }
    }
}
