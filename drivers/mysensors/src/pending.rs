//! Commands that were sent and wait for their node: writes for an echo, reads for a value.
//!
//! A bounded list without a clock of its own. What is dropped from it unanswered reaches the asker
//! as abandoned.

use tokio::time::Instant;
use wharf_contract::{Command, CommandError, Done, Value};

use crate::nodes::Address;

/// How many commands may wait at once.
pub const MOST_WAITING: usize = 64;

/// The commands that wait.
#[derive(Debug, Default)]
pub struct Pending {
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    command: Command,
    address: Address,
    until: Instant,
    awaited: Awaited,
}

#[derive(Debug)]
enum Awaited {
    Echo { payload: String, written: Value },
    Reading,
}

impl Pending {
    /// Whether no more can wait.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= MOST_WAITING
    }

    /// A write was sent, and its node is to echo the payload.
    pub fn expect_echo(&mut self, command: Command, address: Address, until: Instant, sent: (String, Value)) {
        let (payload, written) = sent;
        self.waiting.push(Waiting { command, address, until, awaited: Awaited::Echo { payload, written } });
    }

    /// A value was asked for; it may come until the command's deadline.
    pub fn expect_reading(&mut self, command: Command, address: Address) {
        let until = command.deadline;
        self.waiting.push(Waiting { command, address, until, awaited: Awaited::Reading });
    }

    /// An echo arrived: what it carries, as sent and as a value. It belongs to the write it repeats,
    /// or to the oldest one at its address: the node then holds something else.
    pub fn echo(&mut self, address: Address, payload: &str, value: Result<Value, String>) {
        let echoes = |waiting: &Waiting| matches!(waiting.awaited, Awaited::Echo { .. }) && waiting.address == address;
        let repeats =
            |waiting: &Waiting| matches!(&waiting.awaited, Awaited::Echo { payload: sent, .. } if sent == payload);
        let exact = self.waiting.iter().position(|waiting| echoes(waiting) && repeats(waiting));
        let Some(place) = exact.or_else(|| self.waiting.iter().position(echoes)) else {
            return;
        };
        let Waiting { command, awaited, .. } = self.waiting.remove(place);
        let Awaited::Echo { written, .. } = awaited else {
            return; // only writes were looked for
        };
        command.answer(match exact {
            Some(_) => Ok(Done { written: Some(written), observed: value.ok(), note: None }),
            None => {
                let observed = value.unwrap_or_else(|_| Value::Text(payload.to_owned()));
                Err(CommandError::NotHeld { written, observed })
            }
        });
    }

    /// A value arrived that a node sent of its own accord: the answer to every read of it.
    pub fn reading(&mut self, address: Address, value: &Result<Value, String>) {
        let answered =
            |waiting: &mut Waiting| matches!(waiting.awaited, Awaited::Reading) && waiting.address == address;
        for Waiting { command, .. } in self.waiting.extract_if(.., answered) {
            command.answer(match value {
                Ok(value) => Ok(Done { written: None, observed: Some(value.clone()), note: None }),
                Err(reason) => Err(CommandError::NoAnswer(format!("it sent a bad value, {reason}"))),
            });
        }
    }

    /// When the next one has waited long enough.
    pub fn until(&self) -> Option<Instant> {
        self.waiting.iter().map(|waiting| waiting.until).min()
    }

    /// Answers those that have waited long enough.
    pub fn expire(&mut self, now: Instant) {
        for Waiting { command, awaited, .. } in self.waiting.extract_if(.., |waiting| waiting.until <= now) {
            command.answer(Err(CommandError::NoAnswer(match awaited {
                Awaited::Echo { .. } => "the write was not echoed in time".into(),
                Awaited::Reading => "it sent no value in time".into(),
            })));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use wharf_contract::Action;
    use wharf_contract::command::PendingAnswer;

    use super::*;

    const VALVE: Address = Address { node: 2, child: 3, kind: 2 };
    const PUMP: Address = Address { node: 2, child: 4, kind: 2 };

    fn command(action: Action) -> (Command, PendingAnswer) {
        let deadline = Instant::now() + Duration::from_secs(60);
        Command::new("soil".into(), "valve".into(), action, deadline)
    }

    fn write(pending: &mut Pending, address: Address, on: bool) -> PendingAnswer {
        let (command, answer) = command(Action::Write { value: Value::Bool(on), verify: true });
        let until = Instant::now() + Duration::from_secs(2);
        let payload = if on { "1" } else { "0" };
        pending.expect_echo(command, address, until, (payload.into(), Value::Bool(on)));
        answer
    }

    fn held(on: bool) -> wharf_contract::Answer {
        Ok(Done { written: Some(Value::Bool(on)), observed: Some(Value::Bool(on)), note: None })
    }

    #[tokio::test]
    async fn echoes_find_their_writes_in_any_order() {
        let mut pending = Pending::default();
        let (opened, closed) = (write(&mut pending, VALVE, true), write(&mut pending, VALVE, false));
        let pumping = write(&mut pending, PUMP, true);
        pending.echo(PUMP, "1", Ok(Value::Bool(true)));
        pending.echo(VALVE, "0", Ok(Value::Bool(false)));
        pending.echo(VALVE, "1", Ok(Value::Bool(true)));
        assert_eq!((opened.wait().await, closed.wait().await), (held(true), held(false)));
        assert_eq!(pumping.wait().await, held(true));
        assert_eq!(pending.until(), None);
    }

    #[tokio::test]
    async fn another_payload_in_the_echo_means_the_write_is_not_held() {
        let mut pending = Pending::default();
        let answer = write(&mut pending, VALVE, true);
        pending.echo(PUMP, "1", Ok(Value::Bool(true)));
        pending.echo(VALVE, "0", Ok(Value::Bool(false)));
        drop(pending);
        assert_eq!(
            answer.wait().await,
            Err(CommandError::NotHeld { written: Value::Bool(true), observed: Value::Bool(false) })
        );
    }

    #[tokio::test]
    async fn without_an_echo_the_answer_comes_when_the_time_is_over_and_not_before() {
        let mut pending = Pending::default();
        let answer = write(&mut pending, VALVE, true);
        let until = pending.until().unwrap();
        pending.expire(until - Duration::from_millis(1));
        assert_eq!(pending.until(), Some(until));
        pending.expire(until);
        drop(pending);
        assert!(matches!(answer.wait().await, Err(CommandError::NoAnswer(_))));
    }

    #[tokio::test]
    async fn a_value_answers_every_read_of_it_and_no_write() {
        let mut pending = Pending::default();
        let writing = write(&mut pending, VALVE, true);
        let mut answers = Vec::new();
        for _ in 0..2 {
            let (command, answer) = command(Action::Read);
            pending.expect_reading(command, VALVE);
            answers.push(answer);
        }
        pending.reading(VALVE, &Ok(Value::Bool(true)));
        for answer in answers {
            assert_eq!(answer.wait().await, Ok(Done { written: None, observed: Some(Value::Bool(true)), note: None }));
        }
        assert!(pending.until().is_some(), "the write still waits");
        drop(pending);
        assert_eq!(writing.wait().await, Err(CommandError::Abandoned));
    }
}
