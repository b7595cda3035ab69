//! Commands under way: writes that the broker has to acknowledge and the device to confirm, and values
//! that somebody wants to know. The clock is an argument.

use tokio::time::Instant;
use wharf_contract::{Command, CommandError, Done, Quality, Reading, Value};

use crate::value::same;

/// How many commands may be under way.
pub const MOST_WAITING: usize = 64;

/// What is said of a write that nothing confirms.
pub const UNCONFIRMED: &str = "the broker has it: whether the device acted is not known";

/// Commands under way: at most [`MOST_WAITING`].
#[derive(Debug, Default)]
pub struct Waiting {
    commands: Vec<Underway>,
    next: u64,
}

#[derive(Debug)]
struct Underway {
    number: u64,
    command: Command,
    until: Instant,
    what: What,
}

#[derive(Debug)]
enum What {
    Read,
    Write { written: Value, verify: bool, acknowledged: bool, other: Option<Value> },
}

impl Waiting {
    /// Whether there is room for one more.
    pub fn has_room(&self) -> bool {
        self.commands.len() < MOST_WAITING
    }

    /// A command that waits for the next value of its point.
    pub fn read(&mut self, command: Command) {
        let until = command.deadline;
        self.add(command, until, What::Read);
    }

    /// A write that was published. Returns its number, by which it is [acknowledged](Self::acknowledged).
    pub fn write(&mut self, command: Command, written: Value, verify: bool, until: Instant) -> u64 {
        self.add(command, until, What::Write { written, verify, acknowledged: false, other: None })
    }

    fn add(&mut self, command: Command, until: Instant, what: What) -> u64 {
        self.next += 1;
        self.commands.push(Underway { number: self.next, command, until, what });
        self.next
    }

    /// The broker has a write, or it was lost on the way there.
    pub fn acknowledged(&mut self, number: u64, result: Result<(), String>) {
        let Some(at) = self.commands.iter().position(|underway| underway.number == number) else { return };
        let is_done = match (&result, &mut self.commands[at].what) {
            (Ok(()), What::Write { verify: true, acknowledged, .. }) => {
                *acknowledged = true;
                false
            }
            _ => true,
        };
        if !is_done {
            return;
        }
        let Underway { command, what, .. } = self.commands.remove(at);
        command.answer(match (result, what) {
            (Ok(()), What::Write { written, .. }) => {
                Ok(Done { written: Some(written), observed: None, note: Some(UNCONFIRMED) })
            }
            (Ok(()), What::Read) => Err(CommandError::Abandoned),
            (Err(why), _) => Err(CommandError::NoAnswer(format!("it may not have reached the broker: {why}"))),
        });
    }

    /// A device has told a value of its own accord: the answer to those that wait for it.
    pub fn reading(&mut self, reading: &Reading) {
        let mut at = 0;
        while at < self.commands.len() {
            let Underway { command, what, .. } = &mut self.commands[at];
            let is_meant = command.device == reading.device && command.point == reading.point;
            let answer = if is_meant { answer(what, reading) } else { None };
            match answer {
                Some(answer) => self.commands.remove(at).command.answer(answer),
                None => at += 1,
            }
        }
    }

    /// When the next one has waited long enough.
    pub fn until(&self) -> Option<Instant> {
        self.commands.iter().map(|underway| underway.until).min()
    }

    /// Answers those that have waited long enough.
    pub fn expire(&mut self, now: Instant) {
        for Underway { command, what, .. } in self.commands.extract_if(.., |underway| underway.until <= now) {
            command.answer(Err(match what {
                What::Read => CommandError::NoAnswer("it said nothing of this point in time".into()),
                What::Write { acknowledged: false, .. } => {
                    CommandError::NoAnswer("the broker did not acknowledge it in time".into())
                }
                What::Write { written, other: Some(observed), .. } => CommandError::NotHeld { written, observed },
                What::Write { .. } => CommandError::NoAnswer("it did not tell the value in time".into()),
            }));
        }
    }

    /// The connection is gone: nothing more will come.
    pub fn give_up(&mut self, why: &str) {
        for Underway { command, .. } in self.commands.drain(..) {
            command.answer(Err(CommandError::NoAnswer(why.to_owned())));
        }
    }
}

/// What a reading of the point means for a command, if it decides it.
fn answer(what: &mut What, reading: &Reading) -> Option<wharf_contract::Answer> {
    let good = reading.value.as_ref().filter(|_| reading.quality == Quality::Good);
    match (what, good) {
        (What::Read, Some(value)) => Some(Ok(Done { written: None, observed: Some(value.clone()), note: None })),
        (What::Read, None) => {
            let reason = reading.reason.as_deref().unwrap_or_default();
            Some(Err(CommandError::NoAnswer(format!("it sent a bad value, {reason}"))))
        }
        (What::Write { written, verify: true, .. }, Some(value)) if same(written, value) => {
            Some(Ok(Done { written: Some(written.clone()), observed: Some(value.clone()), note: None }))
        }
        // What it was before may still be on its way, so another value decides nothing yet.
        (What::Write { verify: true, other, .. }, Some(value)) => {
            *other = Some(value.clone());
            None
        }
        (What::Write { .. }, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use wharf_contract::command::PendingAnswer;
    use wharf_contract::{Action, Answer};

    use super::*;

    fn command() -> (Command, PendingAnswer) {
        let write = Action::Write { value: Value::Bool(true), verify: true };
        Command::new("plug".into(), "switch".into(), write, Instant::now() + Duration::from_secs(10))
    }

    fn told(value: Value) -> Reading {
        Reading::good("plug".into(), "switch".into(), value, SystemTime::UNIX_EPOCH)
    }

    async fn write(verify: bool, then: impl FnOnce(&mut Waiting, u64, Instant)) -> Answer {
        let (mut waiting, (command, answer)) = (Waiting::default(), command());
        let until = Instant::now() + Duration::from_secs(5);
        let number = waiting.write(command, Value::Bool(true), verify, until);
        then(&mut waiting, number, until);
        assert_eq!(waiting.until(), None, "it is answered");
        answer.wait().await
    }

    #[tokio::test]
    async fn a_write_that_need_not_be_confirmed_is_done_when_the_broker_has_it() {
        let done = write(false, |waiting, number, _| waiting.acknowledged(number, Ok(()))).await.unwrap();
        assert_eq!((done.written, done.observed, done.note), (Some(Value::Bool(true)), None, Some(UNCONFIRMED)));
        let lost = write(false, |waiting, number, _| waiting.acknowledged(number, Err("gone".into()))).await;
        assert!(matches!(lost, Err(CommandError::NoAnswer(_))), "{lost:?}");
    }

    #[tokio::test]
    async fn a_write_that_has_to_be_confirmed_is_done_when_the_device_tells_the_value() {
        let done = write(true, |waiting, number, _| {
            waiting.acknowledged(number, Ok(()));
            // What it was before may still be on its way.
            waiting.reading(&told(Value::Bool(false)));
            waiting.reading(&told(Value::Bool(true)));
        });
        assert_eq!(done.await.unwrap().observed, Some(Value::Bool(true)));
    }

    #[tokio::test]
    async fn a_device_that_tells_another_value_or_none_has_not_obeyed() {
        let other = write(true, |waiting, number, until| {
            waiting.acknowledged(number, Ok(()));
            waiting.reading(&told(Value::Bool(false)));
            waiting.expire(until);
        });
        let not_held = CommandError::NotHeld { written: Value::Bool(true), observed: Value::Bool(false) };
        assert_eq!(other.await, Err(not_held));
        let silent = write(true, |waiting, number, until| {
            waiting.acknowledged(number, Ok(()));
            waiting.expire(until);
        });
        assert_eq!(silent.await, Err(CommandError::NoAnswer("it did not tell the value in time".into())));
        let stuck = write(false, |waiting, _, until| waiting.expire(until)).await;
        assert_eq!(stuck, Err(CommandError::NoAnswer("the broker did not acknowledge it in time".into())));
    }

    #[tokio::test]
    async fn a_read_is_answered_by_the_next_value_of_its_point() {
        let (mut waiting, (command, answer)) = (Waiting::default(), command());
        waiting.read(command);
        waiting.reading(&Reading::good("plug".into(), "power".into(), Value::Int(1), SystemTime::UNIX_EPOCH));
        waiting.reading(&told(Value::Bool(false)));
        assert_eq!(answer.wait().await.unwrap().observed, Some(Value::Bool(false)));
    }
}
