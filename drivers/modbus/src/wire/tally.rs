//! What is counted on a serial line.

/// Counts since the port was opened. Every request ends in exactly one of the outcomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests taken on.
    pub requests: u64,
    /// Outcome: answered, by a value or by an exception.
    pub answers: u64,
    /// Outcome: sent to all units, and so never answered.
    pub broadcasts: u64,
    /// Outcome: no answer in time.
    pub silent: u64,
    /// Outcome: an answer that was damaged or broke off.
    pub damaged: u64,
    /// Outcome: never sent, since the line was not quiet.
    pub noisy: u64,
    /// Outcome: never sent, since the line was not free before its time was over.
    pub expired: u64,
    /// Outcome: a copy of the request that may have been the line's echo or the answer.
    pub unclear: u64,
    /// Outcome: given up with the port.
    pub abandoned: u64,
    /// Answers that came after their request had been given up. None of them was believed.
    pub late: u64,
    /// Good frames that answered nothing we had asked.
    pub foreign: u64,
    /// Characters that were thrown away.
    pub stray_characters: u64,
}

impl Tally {
    /// Requests that got no valid answer.
    pub fn unanswered(&self) -> u64 {
        self.silent + self.damaged + self.noisy + self.expired + self.unclear + self.abandoned
    }

    /// Whether not a single character came from anybody else.
    pub fn is_unheard(&self) -> bool {
        self.answers + self.damaged + self.unclear + self.late + self.foreign + self.stray_characters == 0
    }

    /// Whether characters came and no frame.
    pub fn is_noise(&self) -> bool {
        self.stray_characters > 0 && self.answers + self.damaged + self.unclear + self.late + self.foreign == 0
    }

    /// Whether every request that is over has its outcome.
    #[cfg_attr(not(test), expect(dead_code, reason = "a promise that tests hold us to"))]
    pub fn adds_up(&self) -> bool {
        self.requests == self.answers + self.broadcasts + self.unanswered()
    }
}
