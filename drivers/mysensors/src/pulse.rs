//! Whether the gateway is still there, judged by how long nothing was heard.
//!
//! Opening a serial port resets most gateways, so the first seconds are theirs. Later, silence is
//! answered with a question; a network of sleeping nodes may well say nothing for hours. The clock
//! is an argument here.

use std::time::Duration;

use tokio::time::Instant;

/// How long a gateway may take to start after its port was opened.
pub const START: Duration = Duration::from_secs(3);
/// How long nothing is heard before the gateway is asked for its version.
pub const QUIET: Duration = Duration::from_secs(30);
/// How long it has to answer.
pub const ANSWER: Duration = Duration::from_secs(20);

/// What silence has come to mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// The gateway has had its time to start and has said nothing. It is asked once more.
    SinceOpening,
    /// Quiet for long enough to ask.
    Long,
    /// It was asked, and did not answer.
    Unbroken,
}

/// Keeps the time since something was heard.
#[derive(Debug)]
pub struct Pulse {
    state: State,
    until: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Starting,
    Listening,
    Asked,
}

impl Pulse {
    /// The port was opened just now.
    pub fn new(now: Instant) -> Self {
        Self { state: State::Starting, until: now + START }
    }

    /// Something was heard that made sense.
    pub fn heard(&mut self, now: Instant) {
        (self.state, self.until) = (State::Listening, now + QUIET);
    }

    /// Whether the gateway still has its time to start, and has said nothing yet.
    pub fn is_starting(&self) -> bool {
        self.state == State::Starting
    }

    /// When to look again.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// What the silence means now, if it has come to mean something new.
    pub fn silence(&mut self, now: Instant) -> Option<Silence> {
        if now < self.until {
            return None;
        }
        let (silence, state, wait) = match self.state {
            State::Starting => (Silence::SinceOpening, State::Asked, ANSWER),
            State::Listening => (Silence::Long, State::Asked, ANSWER),
            State::Asked => (Silence::Unbroken, State::Listening, QUIET),
        };
        (self.state, self.until) = (state, now + wait);
        Some(silence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_gateway_is_asked_after_its_start_and_then_again_and_again() {
        let opened = Instant::now();
        let mut pulse = Pulse::new(opened);
        assert!(pulse.is_starting());
        let mut heard = Vec::new();
        for second in 0..=103 {
            if let Some(silence) = pulse.silence(opened + Duration::from_secs(second)) {
                heard.push((second, silence));
            }
        }
        let expected = [
            (3, Silence::SinceOpening),
            (23, Silence::Unbroken),
            (53, Silence::Long),
            (73, Silence::Unbroken),
            (103, Silence::Long),
        ];
        assert_eq!(heard, expected);
    }

    #[test]
    fn every_line_puts_the_question_off() {
        let opened = Instant::now();
        let mut pulse = Pulse::new(opened);
        let later = opened + QUIET;
        pulse.heard(later);
        assert!(!pulse.is_starting());
        assert_eq!(pulse.silence(later + QUIET - Duration::from_millis(1)), None);
        assert_eq!(pulse.silence(later + QUIET), Some(Silence::Long));
        pulse.heard(later + QUIET + ANSWER);
        assert_eq!(pulse.silence(later + QUIET + ANSWER), None);
    }
}
