//! What the gateway asks for: one point read now, or one point written. A write is sent once or
//! not at all, and is answered either way.

use std::time::SystemTime;

use tokio::time::Instant;
use wharf_contract::{Action, Answer, Command, CommandError, Done, Port, Value};

use crate::decode::decode;
use crate::encode::encode;
use crate::line::Fault;
use crate::session::Session;

impl Session<'_> {
    /// Carries the command out and answers it.
    pub(crate) async fn obey(&mut self, command: Command, port: &Port) {
        let answer = self.carry_out(&command, port).await;
        command.answer(answer);
    }

    async fn carry_out(&mut self, command: &Command, port: &Port) -> Answer {
        let unknown = || CommandError::Refused(format!("{}/{} is not known here", command.device, command.point));
        let devices = &self.link.devices;
        let device = devices.iter().position(|device| device.name == command.device).ok_or_else(unknown)?;
        let points = &devices[device].points;
        let point = points.iter().position(|point| point.name == command.point).ok_or_else(unknown)?;
        match &command.action {
            Action::Read => {
                let observed = self.observe(device, point, port).await?;
                Ok(Done { written: None, observed: Some(observed) })
            }
            Action::Write { value, verify } => {
                let written = self.write(device, point, value, command.deadline, port).await?;
                if !verify {
                    return Ok(Done { written: Some(written), observed: None });
                }
                let observed = self.observe(device, point, port).await.map_err(|error| {
                    // The write itself was confirmed, so whatever went wrong now is a missing answer.
                    CommandError::NoAnswer(format!("written, but it could not be read back: {error}"))
                })?;
                if observed != written {
                    return Err(CommandError::NotHeld(observed.to_string()));
                }
                Ok(Done { written: Some(written), observed: Some(observed) })
            }
        }
    }

    /// Reads one point now. The reading goes its usual way too.
    async fn observe(&mut self, device: usize, point: usize, port: &Port) -> Result<Value, CommandError> {
        let spec = &self.link.devices[device].points[point];
        let begin = Instant::now();
        let outcome = self.exchange(device, spec.table, spec.address, spec.layout.width()).await;
        let taken_at = SystemTime::now();
        self.learn(device, outcome.as_ref().err(), begin, port).await;
        let raw = outcome.map_err(|fault| in_answer(&fault))?;
        self.tell_reading(device, point, &raw, taken_at, port).await;
        decode(&raw, &spec.layout).map_err(CommandError::Refused)
    }

    /// Writes one point. Returns the value after rounding to what the device can hold.
    async fn write(
        &mut self,
        device: usize,
        point: usize,
        value: &Value,
        deadline: Instant,
        port: &Port,
    ) -> Result<Value, CommandError> {
        let spec = &self.link.devices[device].points[point];
        let Some(rule) = &spec.write else {
            let name = &self.link.devices[device].name;
            return Err(CommandError::Refused(format!("{name}/{} is not open for writing", spec.name)));
        };
        let raw = encode(value, spec.table, &spec.layout).map_err(CommandError::Refused)?;
        let written = decode(&raw, &spec.layout).map_err(CommandError::Refused)?;
        // Rounding may have moved the value past a limit that what was asked for kept.
        if let Some(reason) = rule.refuse(&written) {
            return Err(CommandError::Refused(reason));
        }
        // A write is never asked twice, so a connection that may have died of idleness is not
        // trusted with it.
        if self.line.may_be_stale() {
            self.reconnect().await.map_err(|error| CommandError::Offline(error.to_string()))?;
        }
        let begin = Instant::now();
        if begin >= deadline {
            return Err(CommandError::Expired);
        }
        let outcome = self.line.write(self.link.devices[device].unit_id, spec.address, &raw).await;
        self.learn(device, outcome.as_ref().err(), begin, port).await;
        let confirmed = outcome.map_err(|fault| in_answer(&fault))?;
        if confirmed != raw {
            let held = decode(&confirmed, &spec.layout);
            return Err(CommandError::NotHeld(held.map_or_else(|reason| reason, |value| value.to_string())));
        }
        Ok(written)
    }
}

fn in_answer(fault: &Fault) -> CommandError {
    let reason = fault.reason().to_owned();
    match fault {
        Fault::Refused { .. } => CommandError::Refused(reason),
        Fault::Absent(_) | Fault::Silent(_) | Fault::Broken(_) => CommandError::NoAnswer(reason),
    }
}
