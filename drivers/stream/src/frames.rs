//! A stream of bytes, cut into frames of bounded length: lines, mostly.
//!
//! It holds at most one frame. What is longer than any frame can be is thrown away and counted, and
//! so is what stands between frames; whether a frame makes sense is for its driver to say.

/// How a stream is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// At a delimiter. A carriage return before a line feed belongs to the ending, and empty frames
    /// are left out.
    End {
        /// The delimiter, at least one byte.
        end: Vec<u8>,
        /// The longest frame that is kept, in bytes without its ending.
        longest: usize,
    },
    /// Every so many bytes. Where the first frame begins is told by a pause: see [`Frames::pause`].
    Length(usize),
    /// At a start mark that is followed, a fixed number of bytes from its own beginning, by the
    /// frame's length.
    Counted(Counted),
}

/// Frames that say how long they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// What a frame begins with, at least one byte.
    pub start: Vec<u8>,
    /// Where the length stands, in bytes from the frame's first; behind the start mark.
    pub at: usize,
    /// Whether the length has two bytes, not one.
    pub two_bytes: bool,
    /// Whether its low byte comes first.
    pub little: bool,
    /// How many bytes a frame has more than its length says; fewer if negative.
    pub plus: i32,
    /// What a frame ends with; perhaps nothing.
    pub end: Vec<u8>,
    /// The longest frame that is kept, in bytes, whole.
    pub longest: usize,
}

/// What was thrown away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Frames that were longer than any can be.
    pub too_long: u64,
    /// Frames that were broken off, or did not end as they have to.
    pub broken: u64,
    /// Bytes between frames.
    pub stray: u64,
}

/// Collects bytes until they are a frame.
#[derive(Debug)]
pub struct Frames {
    cut: Cut,
    begun: Vec<u8>,
    /// Whether what comes up to the next ending belongs to a frame that is too long.
    skipping: bool,
    tally: Tally,
}

impl Frames {
    /// Cuts a stream so.
    pub fn new(cut: Cut) -> Self {
        Self { cut, begun: Vec::new(), skipping: false, tally: Tally::default() }
    }

    /// Cuts a stream into lines of at most so many bytes without their ending.
    pub fn lines(longest: usize) -> Self {
        Self::new(Cut::End { end: b"\n".to_vec(), longest })
    }

    /// Takes in what was received and returns the frames that are now complete: lines without their
    /// endings, counted ones without start mark, length and ending.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let Self { cut, begun, skipping, tally } = self;
        let mut complete = Vec::new();
        match cut {
            Cut::End { end, longest } => {
                // A frame can be complete only where the last byte of the delimiter stands.
                let last = end.last().copied();
                for piece in bytes.split_inclusive(|byte| Some(*byte) == last) {
                    begun.extend_from_slice(piece);
                    if begun.ends_with(end) {
                        let mut frame = std::mem::take(begun);
                        frame.truncate(frame.len() - end.len());
                        let is_whole = !std::mem::take(skipping);
                        if is_whole && frame.len() > *longest {
                            tally.too_long += 1;
                        } else if is_whole {
                            complete.extend(line(frame, end));
                        }
                    } else if begun.len() >= *longest + end.len() {
                        tally.too_long += u64::from(!std::mem::replace(skipping, true));
                        // What may be the first part of the delimiter is still needed.
                        begun.drain(..=begun.len() - end.len());
                    }
                }
            }
            Cut::Length(length) => {
                begun.extend_from_slice(bytes);
                let whole = begun.len() - begun.len() % (*length).max(1);
                complete.extend(begun.chunks_exact((*length).max(1)).map(<[u8]>::to_vec));
                begun.drain(..whole);
            }
            Cut::Counted(counted) => {
                begun.extend_from_slice(bytes);
                let used = counted.take(begun, &mut complete, tally);
                begun.drain(..used.min(begun.len()));
            }
        }
        complete
    }

    /// Nothing came for a while. Where frames are not told apart by an ending, what has begun will not
    /// be completed any more: it is thrown away, so that the next byte begins a frame.
    pub fn pause(&mut self) {
        if !matches!(self.cut, Cut::End { .. }) && !self.begun.is_empty() {
            self.begun.clear();
            self.tally.broken += 1;
        }
    }

    /// What was thrown away so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// How many bytes are held because their frame is not complete.
    pub fn held(&self) -> usize {
        self.begun.len()
    }
}

/// A frame that has come to its delimiter, as a line: nothing if it is empty.
fn line(mut frame: Vec<u8>, end: &[u8]) -> Option<Vec<u8>> {
    if end == b"\n" && frame.last() == Some(&b'\r') {
        frame.pop();
    }
    (!frame.is_empty()).then_some(frame)
}

impl Counted {
    /// How many bytes there are before what a frame carries.
    pub fn header(&self) -> usize {
        self.at.saturating_add(if self.two_bytes { 2 } else { 1 })
    }

    /// Takes the frames out of what is held, and says how much of it is done with.
    fn take(&self, held: &[u8], complete: &mut Vec<Vec<u8>>, tally: &mut Tally) -> usize {
        let mut from = 0;
        loop {
            let rest = held.get(from..).unwrap_or_default();
            let mark = self.start.len().max(1);
            let Some(at) = rest.windows(mark).position(|window| window == self.start) else {
                // What may be the first part of a start mark is kept.
                let stray = rest.len().saturating_sub(mark - 1);
                tally.stray += stray as u64;
                return from + stray;
            };
            tally.stray += at as u64;
            from += at;
            let rest = rest.get(at..).unwrap_or_default();
            let Some(length) = self.length(rest) else { return from };
            let Some(length) = length else {
                // The mark was none, or its length is damaged: another may stand right behind it.
                tally.too_long += 1;
                from += 1;
                continue;
            };
            let Some(frame) = rest.get(..length) else { return from };
            match frame.strip_suffix(self.end.as_slice()).and_then(|frame| frame.get(self.header()..)) {
                Some(carried) => {
                    complete.push(carried.to_vec());
                    from += length;
                }
                None => {
                    tally.broken += 1;
                    from += 1;
                }
            }
        }
    }

    /// How long the frame is that begins here, whole: `None` if that is not known yet, `Some(None)` if no
    /// frame can be so long, or so short.
    fn length(&self, frame: &[u8]) -> Option<Option<usize>> {
        let field = frame.get(self.at..self.header())?;
        let number = match *field {
            [one] => i64::from(one),
            [first, second] if self.little => i64::from(u16::from_le_bytes([first, second])),
            [first, second] => i64::from(u16::from_be_bytes([first, second])),
            _ => return Some(None),
        };
        let length = usize::try_from(number + i64::from(self.plus)).ok();
        let possible = self.header() + self.end.len()..=self.longest;
        Some(length.filter(|length| possible.contains(length)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LONGEST: usize = 256;

    fn lines() -> Frames {
        Frames::lines(LONGEST)
    }

    fn until(end: &str, longest: usize) -> Cut {
        Cut::End { end: end.into(), longest }
    }

    /// STX, then how many bytes follow before the ETX, then the ETX.
    fn counted() -> Cut {
        let (start, end) = (vec![2], vec![3]);
        Cut::Counted(Counted { start, at: 1, two_bytes: false, little: false, plus: 3, end, longest: 40 })
    }

    fn check(mut frames: Frames, pieces: &[&str], expected: &[&str]) -> Tally {
        let complete: Vec<_> = pieces.iter().flat_map(|piece| frames.push(piece.as_bytes())).collect();
        assert_eq!(complete, expected.iter().map(|frame| frame.as_bytes().to_vec()).collect::<Vec<_>>());
        frames.tally()
    }

    #[test]
    fn halves_are_put_together_and_several_lines_in_one_piece_told_apart() {
        check(lines(), &["2;1;1;0;0", ";21.5\n2;255", ";3;0;0;87\n"], &["2;1;1;0;0;21.5", "2;255;3;0;0;87"]);
        check(lines(), &["one\r", "\ntwo\r\n\r\n\nthr", "ee"], &["one", "two"]);
    }

    #[test]
    fn a_line_that_is_too_long_is_dropped_to_its_end_and_the_next_one_is_whole() {
        let mut lines = lines();
        assert!(lines.push(&[b'x'; LONGEST]).is_empty());
        assert!(lines.push(&[b'x'; LONGEST]).is_empty());
        assert!(lines.push(&[b'x'; 10_000]).is_empty());
        assert_eq!(lines.push(b"tail\n2;1;1;0;0;21.5\n"), [b"2;1;1;0;0;21.5"]);
        assert_eq!(lines.tally().too_long, 1);

        let longest = [b'y'; LONGEST];
        lines.push(&longest);
        assert_eq!(lines.push(b"\n"), [longest], "the longest line itself is kept");
        assert_eq!(lines.tally().too_long, 1);
    }

    #[test]
    fn a_delimiter_of_several_signs_may_come_in_two_pieces() {
        check(Frames::new(until("\r\n>", 8)), &["12345678\r", "\n", ">\r\n", ">ab>c\r\n>"], &["12345678", "ab>c"]);
        let tally = check(Frames::new(until("\r\n>", 8)), &["123456789\r\n>", "1234567890ab\r", "\n>ok\r\n>"], &["ok"]);
        assert_eq!(tally.too_long, 2);
    }

    #[test]
    fn frames_of_one_length_need_no_delimiter_and_a_pause_says_where_they_begin() {
        check(Frames::new(Cut::Length(4)), &["ab", "cdef", "gh12345"], &["abcd", "efgh", "1234"]);
        let mut frames = Frames::new(Cut::Length(4));
        assert!(frames.push(b"cd").is_empty());
        frames.pause();
        frames.pause();
        assert_eq!(frames.push(b"abcd"), [b"abcd"]);
        assert_eq!(frames.tally().broken, 1);
    }

    #[test]
    fn frames_that_say_how_long_they_are_are_found_among_noise() {
        let tally = check(
            Frames::new(counted()),
            &["noise\u{2}\u{5}hel", "lo\u{3}\u{2}\u{2}ok\u{3}", "\u{2}"],
            &["hello", "ok"],
        );
        assert_eq!(tally, Tally { stray: 5, ..Tally::default() });
        let tally = check(Frames::new(counted()), &["\u{2}\u{3}badX\u{2}\u{1}a\u{3}\u{2}\u{7f}"], &["a"]);
        assert_eq!((tally.broken, tally.too_long), (1, 1));
    }

    #[test]
    fn a_length_of_two_bytes_has_an_order() {
        let cut = |little| Counted {
            start: b"$".to_vec(),
            at: 1,
            two_bytes: true,
            little,
            plus: 3,
            end: Vec::new(),
            longest: 100,
        };
        check(Frames::new(Cut::Counted(cut(false))), &["$\0\u{2}hi"], &["hi"]);
        check(Frames::new(Cut::Counted(cut(true))), &["$\u{2}\0hi"], &["hi"]);
    }

    fn cuts() -> impl Strategy<Value = Cut> {
        prop_oneof![
            Just(until("\n", LONGEST)),
            Just(until("\r\n", 20)),
            Just(until("aba", 5)),
            (1_usize..40).prop_map(Cut::Length),
            Just(counted()),
        ]
    }

    proptest! {
        #[test]
        fn how_the_bytes_were_cut_makes_no_difference(
            cut in cuts(),
            bytes in proptest::collection::vec(
                prop_oneof![Just(b'\n'), Just(b'\r'), Just(2), Just(3), Just(b'a'), Just(b'b'), any::<u8>()], 0..600),
            piece in 1_usize..400,
        ) {
            let (mut whole, mut pieces) = (Frames::new(cut.clone()), Frames::new(cut));
            let at_once = whole.push(&bytes);
            let in_pieces: Vec<_> = bytes.chunks(piece).flat_map(|piece| pieces.push(piece)).collect();
            prop_assert_eq!(at_once, in_pieces);
            prop_assert_eq!(whole.tally(), pieces.tally());
            prop_assert!(pieces.held() <= LONGEST);
        }
    }
}
