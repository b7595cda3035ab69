//! Which answer is due, and which are overdue. Pure.
//!
//! A transaction id makes a late answer harmless: it is known, and thrown away. But there are devices
//! that send a late answer with the id of the newest request. So a unit that owes an answer is not
//! asked again over the same connection, where that answer could still come, while its neighbours
//! go on using it. After half a minute it does not come any more.

use std::time::Duration;

use tokio::time::Instant;

use super::mbap::Frame;

/// After so many silences in a row, without a single byte in between, the connection counts as dead:
/// the other side may have vanished without a word.
const SILENCES: u8 = 2;

/// An answer that is later than this does not come: no device and no queue of a gateway keeps a request
/// for so long.
const LATEST: Duration = Duration::from_secs(30);

/// A connection's transactions.
#[derive(Debug)]
pub(super) struct Ledger {
    id: u16,
    /// The answers that did not come in time; one for each unit at most.
    owed: Vec<Debt>,
    silences: u8,
}

/// An answer that did not come in time.
#[derive(Clone, Copy, Debug)]
struct Debt {
    id: u16,
    unit: u8,
    since: Instant,
}

impl Ledger {
    /// Begins after this id: two connections to one device use different ones.
    pub(super) fn new(last: u16) -> Self {
        Self { id: last, owed: Vec::new(), silences: 0 }
    }

    /// The id of the next request.
    pub(super) fn next(&mut self) -> u16 {
        self.id = self.id.wrapping_add(1);
        self.id
    }

    /// The id of the last request.
    pub(super) fn last(&self) -> u16 {
        self.id
    }

    /// Whether the unit still owes an answer over this connection.
    pub(super) fn owes(&self, unit: u8, now: Instant) -> bool {
        self.owed.iter().any(|debt| debt.unit == unit && now.duration_since(debt.since) < LATEST)
    }

    /// Something was heard, so the connection is alive.
    pub(super) fn heard(&mut self) {
        self.silences = 0;
    }

    /// Whether the frame answers the request under way, which went to `unit`. Else what it is, in words.
    pub(super) fn judge(&mut self, frame: &Frame<'_>, unit: u8) -> Result<(), String> {
        self.owed.retain(|debt| debt.id != frame.id);
        if frame.id != self.id {
            return Err(format!("an answer with the transaction id {} where {} was due", frame.id, self.id));
        }
        if frame.unit != unit {
            return Err(format!("an answer from unit {} where unit {unit} was asked", frame.unit));
        }
        Ok(())
    }

    /// The request under way was not answered in time. True if the connection should be given up.
    pub(super) fn not_answered(&mut self, unit: u8, now: Instant) -> bool {
        self.owed.retain(|debt| debt.unit != unit);
        self.owed.push(Debt { id: self.id, unit, since: now });
        self.silences = self.silences.saturating_add(1);
        self.silences >= SILENCES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(id: u16, unit: u8) -> Frame<'static> {
        Frame { id, unit, pdu: &[3] }
    }

    #[test]
    fn only_the_answer_with_the_newest_id_and_the_right_unit_counts() {
        let mut ledger = Ledger::new(u16::MAX);
        assert_eq!((ledger.next(), ledger.next()), (0, 1));
        assert_eq!(ledger.judge(&frame(1, 7), 7), Ok(()));
        assert!(ledger.judge(&frame(0, 7), 7).is_err_and(|words| words.contains("transaction id 0 where 1")));
        assert!(ledger.judge(&frame(1, 8), 7).is_err_and(|words| words.contains("unit 8 where unit 7")));
    }

    #[test]
    fn a_unit_owes_its_answer_until_it_comes_or_cannot_come_any_more() {
        let (mut ledger, now) = (Ledger::new(0), Instant::now());
        ledger.next();
        ledger.heard();
        assert!(!ledger.not_answered(7, now));
        ledger.next();
        assert!(ledger.owes(7, now) && !ledger.owes(8, now));
        assert!(ledger.judge(&frame(1, 7), 8).is_err());
        assert!(!ledger.owes(7, now));
        // The answer to the newest request pays as well, when it comes too late.
        ledger.heard();
        assert!(!ledger.not_answered(8, now));
        assert!(ledger.judge(&frame(2, 8), 8).is_ok());
        assert!(!ledger.owes(8, now));

        ledger.heard();
        assert!(!ledger.not_answered(9, now));
        assert!(ledger.owes(9, now + LATEST / 2) && !ledger.owes(9, now + LATEST));
    }

    #[test]
    fn two_silences_in_a_row_give_the_connection_up() {
        let (mut ledger, now) = (Ledger::new(0), Instant::now());
        assert!(!ledger.not_answered(1, now));
        ledger.heard();
        assert!(!ledger.not_answered(2, now));
        assert!(ledger.not_answered(3, now));
    }
}
