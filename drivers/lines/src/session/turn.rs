//! What is waited for: the answer to a question or a write, and values somebody wants to know.

use tokio::time::Instant;
use wharf_contract::{Command, CommandError, DeviceId, Done, Quality, Reading, Value};

use crate::device::Write;
use crate::value::Meaning;

/// How many commands may wait for a value.
pub const MOST_WAITING: usize = 64;

/// The one thing that the wire is kept for.
#[derive(Debug)]
pub struct Turn {
    /// The device's place in the site file.
    pub index: usize,
    /// How long the answer may take.
    pub until: Instant,
    what: What,
}

#[derive(Debug)]
enum What {
    Ask,
    Write(Box<Writing>),
}

/// A write that is under way.
#[derive(Debug)]
pub struct Writing {
    /// The command to answer.
    pub command: Command,
    /// How the point is written.
    pub write: Write,
    /// What the text of its field means.
    pub meaning: Meaning,
    /// The value, as the device will understand it.
    pub written: Value,
}

impl Turn {
    /// A device was asked.
    pub fn ask(index: usize, until: Instant) -> Self {
        Self { index, until, what: What::Ask }
    }

    /// A point was written, and a line has to confirm it.
    pub fn write(index: usize, writing: Writing, until: Instant) -> Self {
        Self { index, until, what: What::Write(Box::new(writing)) }
    }

    /// The device that was asked, if one was.
    pub fn asked(&self) -> Option<usize> {
        matches!(self.what, What::Ask).then_some(self.index)
    }

    /// Ends a write whose answer this line is.
    ///
    /// # Errors
    /// It is not, so it goes on.
    pub fn settle(self, line: &str) -> Result<(), Self> {
        let What::Write(writing) = &self.what else { return Err(self) };
        let fits = |pattern: &Option<crate::form::pattern::Pattern>| {
            let fields = pattern.as_ref()?.fit(line)?;
            let owned = fields.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned()));
            Some(owned.collect::<Vec<_>>())
        };
        let (refused, expected) = (fits(&writing.write.refused), fits(&writing.write.expect));
        let What::Write(writing) = self.what else { return Err(self) };
        match (refused, expected) {
            (Some(_), _) => {
                let line = wharf_contract::settings::node::clip(line);
                writing.command.answer(Err(CommandError::Refused(format!("the device says `{line}`"))));
                Ok(())
            }
            (None, Some(fields)) => {
                writing.done(&fields);
                Ok(())
            }
            (None, None) => Err(Self { what: What::Write(writing), ..self }),
        }
    }

    /// No answer came in time.
    pub fn expire(self) {
        if let What::Write(writing) = self.what {
            let expected = writing.write.expect.map(|pattern| format!("no `{pattern}` came in time"));
            writing.command.answer(Err(CommandError::NoAnswer(expected.unwrap_or_default())));
        }
    }
}

impl Writing {
    fn done(self, fields: &[(String, String)]) {
        let Self { command, meaning, written, .. } = self;
        let Some((_, text)) = fields.iter().find(|(name, _)| name == "value") else {
            command.answer(Ok(Done { written: Some(written), observed: None, note: None }));
            return;
        };
        let observed = meaning.read(text).unwrap_or_else(|_| Value::Text(text.clone()));
        let holds = match (written.as_f64(), observed.as_f64()) {
            // Both went through the same spelling, so only what rounding does may differ.
            (Some(written), Some(observed)) => (written - observed).abs() <= 1e-9 * written.abs().max(1.0),
            _ => written == observed,
        };
        command.answer(if holds {
            Ok(Done { written: Some(written), observed: Some(observed), note: None })
        } else {
            Err(CommandError::NotHeld { written, observed })
        });
    }
}

/// Commands that wait for the next value of a point: at most [`MOST_WAITING`].
#[derive(Debug, Default)]
pub struct Waiting(Vec<Command>);

impl Waiting {
    /// One more; it is given back if there is no room.
    pub fn add(&mut self, command: Command) -> Option<Command> {
        if self.0.len() >= MOST_WAITING {
            return Some(command);
        }
        self.0.push(command);
        None
    }

    /// A value has come: the answer to every command that waits for it.
    pub fn reading(&mut self, reading: &Reading) {
        let wanted = |command: &mut Command| command.device == reading.device && command.point == reading.point;
        for command in self.0.extract_if(.., wanted) {
            command.answer(match (&reading.value, reading.quality) {
                (Some(value), Quality::Good) => Ok(Done { written: None, observed: Some(value.clone()), note: None }),
                _ => {
                    let reason = reading.reason.as_deref().unwrap_or_default();
                    Err(CommandError::NoAnswer(format!("it sent a bad value, {reason}")))
                }
            });
        }
    }

    /// A device that was asked did not answer.
    pub fn unanswered(&mut self, device: &DeviceId) {
        for command in self.0.extract_if(.., |command| command.device == *device) {
            command.answer(Err(CommandError::NoAnswer("it was asked, and no line came in time".into())));
        }
    }

    /// When the next one has waited long enough.
    pub fn until(&self) -> Option<Instant> {
        self.0.iter().map(|command| command.deadline).min()
    }

    /// Answers those that have waited long enough.
    pub fn expire(&mut self, now: Instant) {
        for command in self.0.extract_if(.., |command| command.deadline <= now) {
            command.answer(Err(CommandError::NoAnswer("it said nothing of this point in time".into())));
        }
    }
}
