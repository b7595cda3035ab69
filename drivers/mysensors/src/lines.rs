//! A stream of bytes, cut into lines of bounded length.
//!
//! It holds at most one line. What is longer than any message can be is thrown away up to the next
//! line ending and counted; whether a line makes sense is for [`crate::message`] to say.

/// The longest line that is kept, in bytes without its ending. The MySensors library itself stops
/// at 120, so only noise is longer.
pub const LONGEST: usize = 256;

/// Collects bytes until they are a line.
#[derive(Debug, Default)]
pub struct Lines {
    begun: Vec<u8>,
    skipping: bool,
    too_long: u64,
}

impl Lines {
    /// Takes in what was received and returns the lines that are now complete, without their
    /// endings. Empty lines are left out.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut complete = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            self.begin(text);
            if ended && let Some(line) = self.end() {
                complete.push(line);
            }
        }
        complete
    }

    /// How many lines were thrown away because they were too long.
    pub fn too_long(&self) -> u64 {
        self.too_long
    }

    fn begin(&mut self, text: &[u8]) {
        if self.skipping {
            return;
        }
        if self.begun.len() + text.len() > LONGEST {
            self.begun.clear();
            self.skipping = true;
            self.too_long += 1;
        } else {
            self.begun.extend_from_slice(text);
        }
    }

    fn end(&mut self) -> Option<Vec<u8>> {
        self.skipping = false;
        let mut line = std::mem::take(&mut self.begun);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        (!line.is_empty()).then_some(line)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(pieces: &[&str], expected: &[&str]) {
        let mut lines = Lines::default();
        let got: Vec<_> = pieces.iter().flat_map(|piece| lines.push(piece.as_bytes())).collect();
        assert_eq!(got, expected.iter().map(|line| line.as_bytes().to_vec()).collect::<Vec<_>>());
    }

    #[test]
    fn halves_are_put_together_and_several_lines_in_one_piece_told_apart() {
        check(&["2;1;1;0;0", ";21.5\n2;255", ";3;0;0;87\n"], &["2;1;1;0;0;21.5", "2;255;3;0;0;87"]);
        check(&["one\r", "\ntwo\r\n\r\n\nthr", "ee"], &["one", "two"]);
    }

    #[test]
    fn a_line_that_is_too_long_is_dropped_to_its_end_and_the_next_one_is_whole() {
        let mut lines = Lines::default();
        assert!(lines.push(&[b'x'; LONGEST]).is_empty());
        assert!(lines.push(&[b'x'; LONGEST]).is_empty());
        assert!(lines.push(&[b'x'; 10_000]).is_empty());
        assert_eq!(lines.push(b"tail\n2;1;1;0;0;21.5\n"), [b"2;1;1;0;0;21.5"]);
        assert_eq!(lines.too_long(), 1);

        let longest = [b'y'; LONGEST];
        lines.push(&longest);
        assert_eq!(lines.push(b"\n"), [longest], "the longest line itself is kept");
        assert_eq!(lines.too_long(), 1);
    }

    proptest! {
        #[test]
        fn how_the_bytes_were_cut_makes_no_difference(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..2000),
            cut in 1_usize..400,
        ) {
            let (mut whole, mut pieces) = (Lines::default(), Lines::default());
            let at_once = whole.push(&bytes);
            let in_pieces: Vec<_> = bytes.chunks(cut).flat_map(|piece| pieces.push(piece)).collect();
            prop_assert_eq!(at_once, in_pieces);
            prop_assert_eq!(whole.too_long(), pieces.too_long());
            prop_assert!(pieces.begun.len() <= LONGEST);
        }
    }
}
