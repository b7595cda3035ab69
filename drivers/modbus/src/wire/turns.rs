//! Who may speak when on a serial line, and what is believed of what is heard. Pure: a pretend
//! clock will do, characters come in as bytes, and what to do next goes out as a [`Step`].
//!
//! The protocol knows no numbers: an answer that comes too late looks like the answer to the next
//! request. Three rules keep the two apart.
//!
//! 1. Nothing is sent until the line has been quiet for 3.5 characters and what came before is
//!    thrown away.
//! 2. After a request without an answer the line is left quiet for one more timeout, so that the
//!    late answer meets nobody.
//! 3. Until four timeouts have passed (never less than a second) or until the late answer has been
//!    seen, nothing is asked that it could be taken for: the same unit with the same function.
//!
//! An answer later than that is beyond telling.

use std::time::{Duration, Instant};

use super::debts::Debts;
use super::pace::Pace;
use super::question::{Heard, Kin, Question};
use super::rtu;
use super::tally::Tally;

/// How long a broadcast is given to be obeyed. The specification says 100 to 200 ms.
const TURNAROUND: Duration = Duration::from_millis(100);

/// How long a pause inside a frame may be before the frame counts as broken off. USB adapters hand
/// characters over in lumps, up to 16 ms apart, and a busy machine adds to that.
const LULL: Duration = Duration::from_millis(50);

/// The same, in characters, for slow lines.
const LULL_CHARACTERS: usize = 20;

/// How long a line that is never quiet is waited for, at least.
const BABBLE: Duration = Duration::from_secs(1);

/// How many characters are kept. Two frames fit, so noise before an answer does not push it out.
const KEPT: usize = 2 * rtu::LONGEST;

/// Whether the line gives back what is sent on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Echo {
    /// The first read that is answered will tell.
    Unknown,
    /// It does not.
    Off,
    /// It does.
    On,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Listen until then; whatever comes goes to [`Turns::heard`].
    Listen(Instant),
    /// Look once more whether something came in. If not, send this and call [`Turns::sent`].
    Send(Vec<u8>),
    /// It is over: the answer's PDU, empty after a broadcast.
    Done(Result<Vec<u8>, Failure>),
}

/// Why a request brought no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// There was none in time.
    Silent(String),
    /// It was never sent: the line was not quiet.
    Noisy(String),
    /// It was never sent: by then its time would have been over.
    Expired,
    /// What came cannot be believed.
    Damaged(String),
    /// The port is gone.
    Gone(String),
}

/// The discipline of one line.
#[derive(Debug)]
pub(crate) struct Turns {
    pace: Pace,
    echo: Echo,
    /// When the last character was heard, or the last of our own went out.
    busy: Option<Instant>,
    /// Nothing is sent before then.
    quiet_until: Option<Instant>,
    /// Characters that nothing was made of yet.
    heard: Vec<u8>,
    /// Whether they were looked at since the last of them came.
    looked: bool,
    debts: Debts,
    /// Who answered too late last, and after how long.
    late: Option<(u8, Duration)>,
    phase: Phase,
    tally: Tally,
}

#[derive(Debug)]
enum Phase {
    Idle,
    Before(Before),
    After(After),
}

/// A request that waits for its turn.
#[derive(Debug)]
struct Before {
    question: Question,
    timeout: Duration,
    /// From this moment on it is not sent any more.
    send_by: Option<Instant>,
    /// When waiting for silence is given up.
    give_up: Instant,
}

/// A request that was sent.
#[derive(Debug)]
struct After {
    question: Question,
    timeout: Duration,
    /// When its last character was on the wire.
    sent: Instant,
    /// Whether our own echo was heard and taken away.
    echoed: bool,
    /// Whether the answer has begun to come.
    begun: bool,
    /// What else was heard, for people.
    oddity: Option<String>,
}

impl Turns {
    /// A line that nothing is known of but its settings.
    pub(crate) fn new(pace: Pace, echo: Echo) -> Self {
        Self {
            pace,
            echo,
            busy: None,
            quiet_until: None,
            heard: Vec::new(),
            looked: true,
            debts: Debts::default(),
            late: None,
            phase: Phase::Idle,
            tally: Tally::default(),
        }
    }

    /// What has been counted.
    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    /// Whether the line echoes.
    pub(crate) fn echo(&self) -> Echo {
        self.echo
    }

    /// Takes a request on, which is sent before `send_by` or never. The one before it, if there is any,
    /// is given up.
    pub(crate) fn begin(&mut self, question: Question, timeout: Duration, send_by: Option<Instant>, now: Instant) {
        self.abandon();
        self.tally.requests += 1;
        // Whoever has just come to the line does not know how long it has been quiet.
        self.busy.get_or_insert(now);
        self.debts.forget(now);
        let give_up = self.ready(&question).unwrap_or(now).max(now) + timeout.max(BABBLE);
        self.phase = Phase::Before(Before { question, timeout, send_by, give_up });
    }

    /// Gives up the request under way, if there is any: the port is gone.
    pub(crate) fn abandon(&mut self) {
        if !matches!(self.phase, Phase::Idle) {
            self.tally.abandoned += 1;
            self.phase = Phase::Idle;
        }
    }

    /// Characters came in.
    pub(crate) fn heard(&mut self, characters: &[u8], now: Instant) {
        self.busy = Some(self.busy.map_or(now, |busy| busy.max(now)));
        self.looked = false;
        self.heard.extend_from_slice(characters);
        // What is left out makes no frame, so at worst an answer is refused.
        if self.heard.len() > KEPT {
            let excess = self.heard.len() - KEPT;
            self.drop_characters(excess);
        }
    }

    /// The request was handed to the port just now.
    pub(crate) fn sent(&mut self, now: Instant) {
        let Phase::Before(Before { question, timeout, .. }) = std::mem::replace(&mut self.phase, Phase::Idle) else {
            return;
        };
        self.drop_characters(self.heard.len());
        let sent = now + self.pace.characters(question.frame().len());
        self.busy = Some(sent);
        if question.is_broadcast() {
            self.quiet_until = Some(sent + TURNAROUND);
        }
        self.phase = Phase::After(After { question, timeout, sent, echoed: false, begun: false, oddity: None });
    }

    /// What to do now.
    pub(crate) fn step(&mut self, now: Instant) -> Step {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Idle => Step::Done(Err(Failure::Silent("nothing was asked".into()))),
            Phase::Before(before) => self.step_before(before, now),
            Phase::After(after) => self.step_after(after, now),
        }
    }

    fn step_before(&mut self, before: Before, now: Instant) -> Step {
        if self.is_quiet(now) && !std::mem::replace(&mut self.looked, true) {
            self.settle_stray(now);
        }
        let ready = self.ready(&before.question).filter(|ready| *ready > now);
        // What cannot be sent in time does not keep the line from others until then.
        if before.send_by.is_some_and(|send_by| send_by <= ready.unwrap_or(now)) {
            self.tally.expired += 1;
            return Step::Done(Err(Failure::Expired));
        }
        let Some(ready) = ready else {
            let frame = before.question.frame().to_vec();
            self.phase = Phase::Before(before);
            return Step::Send(frame);
        };
        if now >= before.give_up {
            self.tally.noisy += 1;
            return Step::Done(Err(Failure::Noisy("the line is never quiet, so nothing can be asked".into())));
        }
        let wake = ready.min(before.give_up).min(self.look_at().unwrap_or(ready));
        self.phase = Phase::Before(before);
        Step::Listen(wake)
    }

    /// Looks at what came while nothing was asked. A late answer ends the waiting for it.
    fn settle_stray(&mut self, now: Instant) {
        let Ok((unit, pdu)) = rtu::open(&self.heard) else { return };
        let function = pdu.first().copied().unwrap_or_default() & 0x7F;
        self.settle((unit, function), now);
    }

    /// A good frame that answers nothing that was asked just now: a late answer, or somebody else's.
    fn settle(&mut self, kin: Kin, now: Instant) {
        self.heard.clear();
        match self.debts.pay(kin, now) {
            Some(time) => {
                self.late = Some((kin.0, time));
                self.tally.late += 1;
            }
            None => self.tally.foreign += 1,
        }
    }

    /// From when on the question may be asked. `None`: at any time.
    fn ready(&self, question: &Question) -> Option<Instant> {
        let silence = self.busy.map(|busy| busy + self.pace.between_frames);
        silence.max(self.quiet_until).max(self.debts.free(question.kin()))
    }

    /// When what was heard can be looked at, if there is anything new.
    fn look_at(&self) -> Option<Instant> {
        self.busy.filter(|_| !self.looked).map(|busy| busy + self.pace.inside_frame)
    }

    fn is_quiet(&self, now: Instant) -> bool {
        self.look_at().is_none_or(|at| now >= at)
    }

    fn drop_characters(&mut self, count: usize) {
        self.tally.stray_characters += count as u64;
        self.heard.drain(..count);
    }

    fn step_after(&mut self, mut after: After, now: Instant) -> Step {
        if after.question.is_broadcast() {
            self.tally.broadcasts += 1;
            return Step::Done(Ok(Vec::new()));
        }
        if self.is_quiet(now)
            && !std::mem::replace(&mut self.looked, true)
            && let Some(outcome) = self.look(&mut after, now)
        {
            return Step::Done(outcome);
        }
        let end = self.end(&after);
        if now >= end {
            return Step::Done(Err(self.give_up(&after)));
        }
        self.phase = Phase::After(after);
        Step::Listen(self.look_at().unwrap_or(end).min(end))
    }

    /// When waiting is over. The timeout is the device's time: what the characters take is added,
    /// and an answer that comes in is heard to its end.
    fn end(&self, after: &After) -> Instant {
        let characters = self.pace.characters(after.question.answer_length());
        let end = after.sent + after.timeout + characters;
        let lull = LULL.max(self.pace.characters(LULL_CHARACTERS));
        let heard_out = match self.busy {
            Some(busy) if after.begun => busy + lull,
            _ => end.max(self.look_at().unwrap_or(end)),
        };
        heard_out.min(end + characters + lull + BABBLE)
    }

    /// Looks at what was heard, now that it is quiet.
    fn look(&mut self, after: &mut After, now: Instant) -> Option<Result<Vec<u8>, Failure>> {
        self.take_echo_away(after);
        if self.echo == Echo::On && !after.echoed {
            return None;
        }
        if self.is_unclear(after) {
            return None;
        }
        match after.question.look(&self.heard) {
            Heard::Answer { pdu, alone } => {
                // Noise before an answer could be an echo that came back damaged.
                if self.echo == Echo::Unknown && alone {
                    self.echo = Echo::Off;
                }
                self.heard.clear();
                self.tally.answers += 1;
                Some(Ok(pdu))
            }
            Heard::Damaged(why) => {
                self.tally.damaged += 1;
                self.drop_characters(self.heard.len());
                Some(Err(Failure::Damaged(format!("the answer {why}"))))
            }
            Heard::Begun => {
                after.begun = true;
                None
            }
            Heard::Foreign { unit, function } => {
                after.oddity = Some(if after.question.kin() == (unit, function) {
                    "an answer of another length came".into()
                } else {
                    format!("an answer from unit {unit} to function {function} came")
                });
                self.settle((unit, function), now);
                None
            }
            Heard::Noise => None,
        }
    }

    /// Our own characters come first, and all of them, or they were damaged on the wire.
    fn take_echo_away(&mut self, after: &mut After) {
        let frame = after.question.frame();
        if after.echoed || !self.heard.starts_with(frame) {
            return;
        }
        let rest = self.heard.get(frame.len()..).unwrap_or_default();
        let is_certain =
            !after.question.is_answered_by_a_copy() || matches!(after.question.look(rest), Heard::Answer { .. });
        if self.echo == Echo::On || is_certain {
            self.echo = Echo::On;
            after.echoed = true;
            self.heard.drain(..frame.len());
        }
    }

    /// Whether a copy of the request has come, and whether that is the answer or only the line's
    /// echo is not known yet. Noise before it makes it no clearer.
    fn is_unclear(&self, after: &After) -> bool {
        let is_copy = self.heard.ends_with(after.question.frame());
        self.echo == Echo::Unknown && is_copy && after.question.is_answered_by_a_copy()
    }

    /// Waiting is over.
    fn give_up(&mut self, after: &After) -> Failure {
        let failure = self.why(after);
        // The answer that broke off will not come any more. Where its beginning could have been
        // noise, that is not certain.
        if !after.begun || after.question.is_answered_by_a_copy() {
            let characters = self.pace.characters(after.question.answer_length());
            self.debts.owe(after.question.kin(), after.sent, after.timeout, characters);
        }
        self.drop_characters(self.heard.len());
        failure
    }

    fn why(&mut self, after: &After) -> Failure {
        // A copy that came in pieces has begun like an answer as well.
        if self.is_unclear(after) {
            self.tally.unclear += 1;
            let why = "a copy of the request came, which is its answer or the line's own echo: \
                       say `echo: true` or `echo: false`";
            return Failure::Damaged(why.into());
        }
        if after.begun {
            self.tally.damaged += 1;
            return Failure::Damaged("the answer broke off".into());
        }
        let unheard = self.echo == Echo::On && !after.echoed;
        if unheard && !self.heard.is_empty() {
            self.tally.damaged += 1;
            return Failure::Damaged("our own echo was damaged, or is not there".into());
        }
        self.tally.silent += 1;
        let mut reason = format!("no answer within {:?}", after.timeout);
        match (&after.oddity, self.late) {
            _ if unheard => reason.push_str(", and no echo of the request"),
            (Some(oddity), _) => reason = format!("{reason}; {oddity}"),
            (None, Some((unit, time))) if unit == after.question.kin().0 => {
                reason = format!("{reason}; one came after {time:.1?}: raise `timeout`");
            }
            _ if !self.heard.is_empty() => reason.push_str(match self.tally.answers {
                0 => "; bytes arrive but make no frame: another `baud` or `frame`?",
                _ => "; bytes arrive but make no frame: a disturbed line, or two devices with this unit id?",
            }),
            _ if self.tally.is_unheard() => {
                reason.push_str(
                    "; nothing was heard on this line so far: A and B swapped, another `baud`, `frame` or unit id?",
                );
            }
            _ => {}
        }
        Failure::Silent(reason)
    }
}

#[cfg(test)]
#[path = "turns_tests.rs"]
mod tests;
