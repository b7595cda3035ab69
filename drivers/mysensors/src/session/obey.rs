//! What becomes of a command.

use tokio::time::Instant;
use wharf_contract::{Action, Command, CommandError, Done, Port, Value};

use super::Session;
use crate::message::{self, Message};
use crate::nodes::{Address, Declared, INCLUSION};
use crate::outbox::order::{Awaited, Order};
use crate::types::Kind;
use crate::values;

/// What is said to a request in bytes.
const NO_RAW: &str = "no controller upstream runs this network, so it takes no messages as they are";

impl Session<'_> {
    /// Carries out one command, or begins to.
    pub(super) async fn obey(&mut self, command: Command, port: &Port) {
        let (message, awaited) = match command.action.clone() {
            Action::Raw(line) => match self.relayed(&line) {
                Ok(message) => {
                    self.govern_relayed(&message);
                    let awaited = if message.ack { Awaited::Echo } else { Awaited::Nothing };
                    (message, awaited)
                }
                Err(reason) => return refuse(command, reason),
            },
            action => {
                let Some(declared) = self.link.nodes.declared(&command.device, &command.point) else {
                    let reason = format!("{}/{} is not declared in the site file", command.device, command.point);
                    return refuse(command, reason);
                };
                if declared.address == INCLUSION {
                    return self.include(command, port).await;
                }
                match to_send(declared, &action) {
                    Ok(what) => what,
                    Err(reason) => return refuse(command, reason),
                }
            }
        };
        self.link.outbox().take(Order::new(command, message, awaited), Instant::now());
    }

    /// A message of the controller upstream, which runs this network and may say anything.
    fn relayed(&self, line: &[u8]) -> Result<Message, String> {
        if !self.link.relays {
            return Err(NO_RAW.to_owned());
        }
        let message = Message::parse(line).map_err(|error| error.to_string())?;
        // Binary payloads of streams are two digits to a byte.
        let longest = match message.command {
            message::Command::Stream => 2 * values::LONGEST_PAYLOAD,
            _ => values::LONGEST_PAYLOAD,
        };
        match message.payload.len() {
            length if length > longest => {
                Err(format!("the payload takes {length} bytes, and a node is sent at most {longest}"))
            }
            _ => Ok(message),
        }
    }

    /// Opens the network for new nodes or closes it, or says whether it is open.
    async fn include(&mut self, command: Command, port: &Port) {
        let written = match &command.action {
            Action::Write { value, .. } => match values::encode(Kind::Switch, value) {
                Ok(payload) => Some(payload == "1"),
                Err(reason) => return command.answer(Err(CommandError::Refused(reason))),
            },
            Action::Read => None,
            Action::Raw(_) => return command.answer(Err(CommandError::Refused(NO_RAW.into()))),
        };
        if let Some(open) = written {
            self.open(open, port).await;
        }
        let is_open = self.link.controller().is_open(Instant::now());
        let written = written.map(Value::Bool);
        command.answer(Ok(Done { written, observed: Some(Value::Bool(is_open)), note: None }));
    }
}

/// What is sent for a command to a declared point, and what it waits for then. A read asks for the value;
/// no node has to answer, so the next value it sends is taken as the answer.
fn to_send(declared: &Declared, action: &Action) -> Result<(Message, Awaited), String> {
    let Address { node, child, kind } = declared.address;
    let message = |command, payload| Message { node, child, command, ack: false, kind, payload };
    match action {
        Action::Read => Ok((message(message::Command::Req, String::new()), Awaited::Reading)),
        Action::Write { value, verify } => {
            let awaited = if *verify { Awaited::Echo } else { Awaited::Nothing };
            Ok((message(message::Command::Set, payload(declared, value)?), awaited))
        }
        Action::Raw(_) => Err(NO_RAW.to_owned()),
    }
}

/// The payload of a write, or why it must not be sent.
fn payload(declared: &Declared, value: &Value) -> Result<String, String> {
    let Some(rule) = &declared.write else {
        return Err(format!("{}/{} is not open for writing", declared.device, declared.point));
    };
    match rule.refuse(value) {
        Some(reason) => Err(reason),
        None => values::encode(declared.value_type.kind, value),
    }
}

fn refuse(command: Command, reason: String) {
    command.answer(Err(CommandError::Refused(reason)));
}
