//! Commands for a device while the connection to it is there: each is carried out and answered.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;
use tracing::warn;
use wharf_contract::{Action, Command, CommandError, Done, Value};

use super::super::target::Point;
use super::super::wire::{Fault, Spot};
use super::Visit;

const NO_ANSWER_TO_IT: &str = "sent; the device does not answer what is written there";

/// What became of a command: what was written, what was seen, and what to say about it.
type Outcome = Result<(Option<Value>, Option<Value>, Option<&'static str>), CommandError>;

impl Visit<'_> {
    /// Carries out a command and answers it. Fails only if the connection is of no more use.
    pub(super) async fn obey(&mut self, command: Command) -> Result<(), Fault> {
        let target = Arc::clone(&self.member.target);
        let found = target.points.iter().zip(&self.spots).find(|(point, _)| point.name == command.point);
        let Some((point, spot)) = found.map(|(point, spot)| (point, *spot)) else {
            let words = format!("{}/{} is not known here", command.device, command.point);
            command.answer(Err(CommandError::Refused(words)));
            return Ok(());
        };
        let Some(spot) = spot else {
            let words = format!("the device has no characteristic {}", point.characteristic);
            command.answer(Err(CommandError::Refused(words)));
            return Ok(());
        };
        let (answer, fault) = match &command.action {
            Action::Read => self.observe(point, spot).await,
            Action::Write { value, verify } => self.write(point, spot, value, *verify, command.deadline).await,
            Action::Raw(_) => (Err(CommandError::Refused("Bluetooth knows no raw requests".to_owned())), None),
        };
        command.answer(answer.map(|(written, observed, note)| Done { written, observed, note }));
        fault.map_or(Ok(()), |fault| self.weigh(fault))
    }

    /// Reads a point for a command; the reading goes its usual way too.
    async fn observe(&mut self, point: &Point, spot: Spot) -> (Outcome, Option<Fault>) {
        if !self.wire.is_readable(spot) {
            let words = format!("{} cannot be read: the device tells of it by itself", point.name);
            return (Err(CommandError::Refused(words)), None);
        }
        match self.wire.read(spot).await {
            Ok(bytes) => {
                self.broken = 0;
                self.tell_all(spot, &bytes, SystemTime::now()).await;
                let value = point.codec.decode(&bytes);
                self.remember(spot, bytes);
                (value.map(|value| (None, Some(value), None)).map_err(CommandError::Refused), None)
            }
            Err(fault) => (Err(in_answer(&fault)), Some(fault)),
        }
    }

    async fn write(
        &mut self,
        point: &Point,
        spot: Spot,
        value: &Value,
        verify: bool,
        deadline: Instant,
    ) -> (Outcome, Option<Fault>) {
        let refuse = |words: String| (Err(CommandError::Refused(words)), None);
        if point.write.is_none() {
            return refuse(format!("{} is not open for writing", point.name));
        }
        let (bytes, written) = match point.codec.encode(value) {
            Ok(encoded) => encoded,
            Err(reason) => return refuse(reason),
        };
        if !self.wire.is_writable(spot) {
            return refuse(format!("the device takes no writes at {}", point.characteristic));
        }
        if verify && !self.wire.is_readable(spot) {
            return refuse("not written: the device does not let it be read back".to_owned());
        }
        if deadline <= Instant::now() {
            return (Err(CommandError::Expired), None);
        }
        if let Err(fault) = self.wire.write(spot, bytes).await {
            return (Err(in_answer(&fault)), Some(fault));
        }
        self.broken = 0;
        let note = (!self.wire.answers_writes(spot)).then_some(NO_ANSWER_TO_IT);
        if !verify {
            return (Ok((Some(written), None, note)), None);
        }
        match self.observe(point, spot).await {
            (Ok((_, Some(observed), _)), _) if observed == written => (Ok((Some(written), Some(observed), note)), None),
            (Ok((_, observed, _)), _) => {
                let observed = observed.unwrap_or_else(|| Value::Text("nothing".to_owned()));
                (Err(CommandError::NotHeld { written, observed }), None)
            }
            (Err(error), fault) => {
                let words = format!("written, but it could not be read back: {error}");
                (Err(CommandError::NoAnswer(words)), fault)
            }
        }
    }
}

/// A write that failed on the way may have arrived.
fn in_answer(fault: &Fault) -> CommandError {
    match fault {
        Fault::Refused(reason) | Fault::Unpaired(reason) => CommandError::Refused(reason.clone()),
        fault => {
            warn!(%fault, "a command was not answered");
            CommandError::NoAnswer(fault.to_string())
        }
    }
}
