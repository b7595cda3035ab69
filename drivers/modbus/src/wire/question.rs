//! One request on a serial line, and what the characters that come after it are to it. Pure.
//!
//! RTU has no length, no number and no mark at either end of a frame. What tells an answer from
//! everything else is the silence after it, the unit, the function, the length that the request
//! asks for, and the checksum. Nothing less is believed: of 65,536 damaged answers one has a
//! checksum that fits, so an answer with a character too many is refused even where a part of it
//! would pass.

use super::rtu::{self, Damage};

/// Set in the function of an answer that is an exception.
const EXCEPTION: u8 = 0x80;

/// An exception, as a whole frame.
const EXCEPTION_LENGTH: usize = 5;

/// Unit and function: answers to requests that share them could be taken for one another.
pub(crate) type Kin = (u8, u8);

/// A request on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    frame: Vec<u8>,
    unit: u8,
    function: u8,
    /// How its answer begins, past the unit: the function and, as far as the request tells, more.
    begin: Vec<u8>,
    /// The length of the whole answer, unless it is an exception. `None`: only its end tells.
    length: Option<usize>,
}

/// What has been heard since a request was sent, once it is quiet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The answer's PDU. `alone`: there was nothing before it.
    Answer { pdu: Vec<u8>, alone: bool },
    /// The answer, but damaged: all of it has been heard.
    Damaged(&'static str),
    /// The answer has begun.
    Begun,
    /// A good frame that is no answer to this: from this unit, with this function.
    Foreign { unit: u8, function: u8 },
    /// Nothing that makes sense.
    Noise,
}

impl Question {
    /// A request to a unit. `None` if the PDU is empty or longer than 253 bytes.
    pub(crate) fn new(unit: u8, pdu: &[u8]) -> Option<Self> {
        let function = *pdu.first()?;
        let frame = rtu::frame(unit, pdu);
        if frame.len() > rtu::LONGEST {
            return None;
        }
        let (begin, length) = expected(pdu);
        Some(Self { frame, unit, function, begin, length })
    }

    /// The request as it goes onto the wire.
    pub(crate) fn frame(&self) -> &[u8] {
        &self.frame
    }

    /// Unit and function.
    pub(crate) fn kin(&self) -> Kin {
        (self.unit, self.function)
    }

    /// Whether every unit obeys and none answers.
    pub(crate) fn is_broadcast(&self) -> bool {
        self.unit == 0
    }

    /// How many characters its answer takes at most.
    pub(crate) fn answer_length(&self) -> usize {
        self.length.unwrap_or(rtu::LONGEST)
    }

    /// Whether its answer may be a copy of it, as of a write of one register. Then the line's own
    /// echo cannot be told from the answer.
    pub(crate) fn is_answered_by_a_copy(&self) -> bool {
        matches!(self.look(&self.frame), Heard::Answer { .. })
    }

    /// What was heard, with silence after it.
    pub(crate) fn look(&self, heard: &[u8]) -> Heard {
        match self.answer_at_the_end(heard) {
            Some(length) => {
                let (before, frame) = heard.split_at(heard.len() - length);
                let pdu = frame.get(1..length - 2).unwrap_or_default().to_vec();
                Heard::Answer { pdu, alone: before.is_empty() }
            }
            None => self.look_closer(heard),
        }
    }

    /// The length of the answer that the characters end with. Noise before it does no harm: a line
    /// driver that is switched on often makes a character or two.
    fn answer_at_the_end(&self, heard: &[u8]) -> Option<usize> {
        let exception = [self.unit, self.function | EXCEPTION];
        let mut lengths = [(self.length.unwrap_or(heard.len()), false), (EXCEPTION_LENGTH, true)].into_iter();
        let found = lengths.find(|(length, is_exception)| {
            let Some(frame) = heard.len().checked_sub(*length).and_then(|at| heard.get(at..)) else { return false };
            let begins = if *is_exception { frame.starts_with(&exception) } else { self.begins(frame) };
            begins && rtu::open(frame).is_ok()
        });
        found.map(|(length, _)| length)
    }

    fn look_closer(&self, heard: &[u8]) -> Heard {
        // A zero after a good frame leaves its checksum good: this comes before looking for others.
        if self.begins(heard) {
            return self.judge(heard.len());
        }
        if let Ok((unit, pdu)) = rtu::open(heard) {
            let function = pdu.first().copied().unwrap_or_default() & !EXCEPTION;
            return Heard::Foreign { unit, function };
        }
        // The answer's beginning may stand behind noise.
        let behind_noise = (0..heard.len()).find(|at| heard.get(*at..).is_some_and(|rest| self.begins(rest)));
        behind_noise.map_or(Heard::Noise, |at| self.judge(heard.len() - at))
    }

    /// What so many characters are that begin as the answer does and are not the answer.
    fn judge(&self, count: usize) -> Heard {
        match self.length {
            Some(length) if count > length => Heard::Damaged("came with characters too many"),
            Some(length) if count == length => Heard::Damaged(Damage::Checksum.words()),
            _ => Heard::Begun,
        }
    }

    /// Whether the characters begin as the answer does. Where the request tells little of it, that
    /// is little evidence, but it only decides how soon a damaged answer is given up.
    fn begins(&self, heard: &[u8]) -> bool {
        heard.split_first().is_some_and(|(unit, rest)| *unit == self.unit && rest.starts_with(&self.begin))
    }
}

/// How the answer to a request begins, past the unit, and how long the whole frame is.
///
/// Source: "MODBUS Application Protocol Specification V1.1b3", 6.
fn expected(pdu: &[u8]) -> (Vec<u8>, Option<usize>) {
    let begin = |length: usize| pdu.get(..length).unwrap_or(pdu).to_vec();
    let count = |high: usize| match (pdu.get(high), pdu.get(high + 1)) {
        (Some(high), Some(low)) => usize::from(u16::from_be_bytes([*high, *low])),
        _ => 0,
    };
    let counted = |function: u8, bytes: usize| match u8::try_from(bytes) {
        Ok(byte) if bytes > 0 => (vec![function, byte], Some(5 + bytes)),
        _ => (begin(1), None),
    };
    match pdu.first() {
        Some(&function @ (1 | 2)) => counted(function, count(3).div_ceil(8)),
        Some(&function @ (3 | 4 | 23)) => counted(function, count(3) * 2),
        // The address comes back, so the answer to a write elsewhere is none to this. What was
        // written may come back otherwise: some devices answer with what they hold now.
        Some(5 | 6) => (begin(3), Some(8)),
        Some(15 | 16) => (begin(5), Some(8)),
        Some(22) => (begin(3), Some(10)),
        _ => (begin(1), None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_two() -> Question {
        Question::new(7, &[3, 0, 10, 0, 2]).unwrap()
    }

    fn answer() -> Vec<u8> {
        rtu::frame(7, &[3, 4, 1, 2, 3, 4])
    }

    fn joined(parts: &[&[u8]]) -> Vec<u8> {
        parts.concat()
    }

    #[test]
    fn an_answer_is_its_unit_function_length_and_checksum() {
        let pdu = vec![3, 4, 1, 2, 3, 4];
        assert_eq!(read_two().look(&answer()), Heard::Answer { pdu, alone: true });
        let foreign = |unit, pdu: &[u8]| read_two().look(&rtu::frame(unit, pdu));
        assert_eq!(foreign(8, &[3, 4, 1, 2, 3, 4]), Heard::Foreign { unit: 8, function: 3 });
        assert_eq!(foreign(7, &[4, 4, 1, 2, 3, 4]), Heard::Foreign { unit: 7, function: 4 });
        assert_eq!(foreign(7, &[3, 2, 1, 2]), Heard::Foreign { unit: 7, function: 3 });
        assert_eq!(foreign(7, &[0x84, 2]), Heard::Foreign { unit: 7, function: 4 });
    }

    #[test]
    fn an_exception_is_an_answer() {
        let heard = rtu::frame(7, &[0x83, 2]);
        assert_eq!(read_two().look(&heard), Heard::Answer { pdu: vec![0x83, 2], alone: true });
    }

    #[test]
    fn noise_before_an_answer_does_no_harm_and_noise_in_or_after_it_spoils_it() {
        let pdu = vec![3, 4, 1, 2, 3, 4];
        let good = answer();
        assert_eq!(read_two().look(&joined(&[&[0, 0xFF], &good])), Heard::Answer { pdu, alone: false });
        assert!(matches!(read_two().look(&joined(&[&good, &[0]])), Heard::Damaged(_)));
        for at in 3..good.len() {
            for extra in 0..=255 {
                let heard = joined(&[&good[..at], &[extra], &good[at..]]);
                assert!(matches!(read_two().look(&heard), Heard::Damaged(_)), "{extra} inserted at {at}");
            }
        }
    }

    #[test]
    fn an_answer_under_way_is_waited_for_and_one_that_came_damaged_is_not() {
        let good = answer();
        for end in 3..good.len() {
            assert_eq!(read_two().look(&good[..end]), Heard::Begun);
        }
        for bit in 24..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(read_two().look(&bad), Heard::Damaged(_)), "bit {bit}");
        }
        assert_eq!(read_two().look(&[]), Heard::Noise);
        assert_eq!(read_two().look(&[9, 9, 9, 9]), Heard::Noise);
    }

    #[test]
    fn writes_of_one_place_are_answered_by_a_copy_and_nothing_else_is() {
        let copies = |pdu: &[u8]| Question::new(7, pdu).unwrap().is_answered_by_a_copy();
        assert!(copies(&[5, 0, 1, 0xFF, 0]));
        assert!(copies(&[6, 0, 1, 0, 9]));
        assert!(copies(&[22, 0, 1, 0, 9, 0, 1]));
        assert!(copies(&[65, 1, 2]));
        assert!(!copies(&[3, 0, 1, 0, 9]));
        assert!(!copies(&[16, 0, 1, 0, 1, 2, 0, 9]));
        assert!(!copies(&[15, 0, 1, 0, 1, 1, 1]));
    }

    #[test]
    fn a_request_that_is_none_is_refused() {
        assert_eq!(Question::new(7, &[]), None);
        assert_eq!(Question::new(7, &[0x41; 254]), None);
        assert!(Question::new(7, &[0x41; 253]).is_some());
    }

    proptest! {
        #[test]
        fn nothing_that_is_heard_makes_it_panic(
            pdu in prop::collection::vec(any::<u8>(), 1..20),
            heard in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            if let Some(question) = Question::new(7, &pdu) {
                let _ = question.look(&heard);
            }
        }

        #[test]
        fn the_answer_to_every_read_is_as_long_as_expected(function in 1_u8..=4, count in 1_u16..=125) {
            let [high, low] = count.to_be_bytes();
            let bytes = if function < 3 { count.div_ceil(8) } else { count * 2 };
            let answer = [&[function, u8::try_from(bytes).unwrap()][..], &vec![0; usize::from(bytes)]].concat();
            let question = Question::new(9, &[function, 0, 0, high, low]).unwrap();
            let found = question.look(&rtu::frame(9, &answer));
            prop_assert_eq!(found, Heard::Answer { pdu: answer, alone: true });
        }
    }
}
