//! One stretch of being connected: lines in, readings out; commands in, lines out.
//!
//! The session alone owns the stream. Nothing it does waits for a node: writes that want an echo are
//! put aside in [`crate::pending`] while reading goes on. Every write to the stream is bounded in
//! time, so a stuck line ends the session instead of holding it.

use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};
use wharf_contract::{Action, Command, CommandError, Done, DriverError, Event, Health, Port, Value};

use crate::lines::Lines;
use crate::message::{self, GATEWAY, Message};
use crate::nodes::{Address, Declared, Nodes};
use crate::pending::Pending;
use crate::pulse::{Pulse, Silence};
use crate::stats::{Complaints, Counters};
use crate::transport::{Stream, Transport};
use crate::{reading, types, values};

/// What is said to a request in bytes.
const NO_RAW: &str = "MySensors knows no raw requests";

/// How long the line may take to accept a message. At 9600 baud the longest takes a tenth of a
/// second.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// What outlives a session.
#[derive(Debug)]
pub struct Link {
    /// Where the gateway is.
    pub transport: Transport,
    /// The names of what is behind it.
    pub nodes: Nodes,
    /// How long a verified write waits for its echo.
    pub echo_timeout: Duration,
    /// What was counted.
    pub counters: Counters,
}

/// Talks to the gateway at the other end of `stream` until the link is lost or the port asks to
/// stop.
///
/// # Errors
/// `Lost`, with what happened to the link.
pub async fn run(link: &Link, stream: Box<dyn Stream>, port: &mut Port) -> Result<(), DriverError> {
    link.nodes.named().into_iter().for_each(|device| drop(port.expect(device)));
    let (mut reader, writer) = split(stream);
    let mut session = Session {
        link,
        writer,
        lines: Lines::default(),
        too_long: 0,
        pending: Pending::default(),
        pulse: Pulse::new(Instant::now()),
        complaints: Complaints::default(),
        only_noise: false,
        seen: [false; 256],
    };
    let ended = session.converse(&mut reader, port).await;
    let seen = session.seen;
    // The stream is closed and waiting commands are given up first: whoever asked learns at once.
    drop((session, reader));
    tell_gone(link, &seen, ended.as_ref().err(), port).await;
    debug!(link = %port.link(), stats = ?link.counters.snapshot(), "session ended");
    ended
}

/// Says of every node heard in the session that it is not heard any more, and why.
async fn tell_gone(link: &Link, seen: &[bool; 256], lost: Option<&DriverError>, port: &Port) {
    let reason =
        lost.map_or_else(|| "the gateway is stopping".to_owned(), |error| format!("the link is down: {error}"));
    for node in (0..=u8::MAX).filter(|node| seen[usize::from(*node)]) {
        let device = link.nodes.device(node);
        port.emit(Event::Device { device, alive: false, reason: Some(reason.clone()) }).await;
    }
}

struct Session<'a> {
    link: &'a Link,
    writer: WriteHalf<Box<dyn Stream>>,
    lines: Lines,
    too_long: u64,
    pending: Pending,
    pulse: Pulse,
    complaints: Complaints,
    /// Whether something came since the last message, and none of it was one.
    only_noise: bool,
    /// The nodes heard in this session.
    seen: [bool; 256],
}

impl Session<'_> {
    async fn converse(&mut self, reader: &mut ReadHalf<Box<dyn Stream>>, port: &mut Port) -> Result<(), DriverError> {
        let stop = port.stop();
        let mut chunk = [0; 1024];
        self.ask_version().await?;
        loop {
            let wake = self.pending.until().map_or(self.pulse.until(), |until| until.min(self.pulse.until()));
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                received = reader.read(&mut chunk) => match received {
                    // The port would go on saying so for ever.
                    Ok(0) => return Err(self.link.transport.ended()),
                    Ok(count) => self.take(&chunk[..count], port).await,
                    Err(error) => return Err(self.link.transport.failed(error)),
                },
                // A gateway that opening has reset would not hear commands yet.
                command = port.next_command(), if !self.pulse.is_starting() => self.obey(command).await?,
                () = sleep_until(wake) => {
                    let now = Instant::now();
                    self.pending.expire(now);
                    if let Some(silence) = self.pulse.silence(now) {
                        self.mind(silence, port).await?;
                    }
                }
            }
        }
    }

    /// Takes in what was received.
    async fn take(&mut self, bytes: &[u8], port: &Port) {
        let taken_at = SystemTime::now();
        let lines = self.lines.push(bytes);
        let too_long = self.lines.too_long() - self.too_long;
        if too_long > 0 {
            self.too_long += too_long;
            self.link.counters.too_long.add(too_long);
            self.complain("a line was too long", port);
        }
        for line in lines {
            self.link.counters.lines.add(1);
            match Message::parse(&line) {
                Ok(message) => self.hear(&message, taken_at, port).await,
                Err(error) => {
                    self.link.counters.bad_lines.add(1);
                    self.complain(&error.to_string(), port);
                }
            }
        }
    }

    async fn hear(&mut self, message: &Message, taken_at: SystemTime, port: &Port) {
        self.pulse.heard(Instant::now());
        self.only_noise = false;
        port.report(Health::Online);
        if message.ack {
            self.confirm(message);
            return;
        }
        if self.is_about_the_gateway(message, port) {
            return;
        }
        self.meet(message, port).await;
        if message.command == message::Command::Set {
            self.pending.reading(Address::of(message), &reading::value(message));
        }
        port.emit(Event::Reading(reading::reading(&self.link.nodes, message, taken_at))).await;
    }

    /// An echo confirms a command and is never a reading: the node only repeats what it was told.
    fn confirm(&mut self, message: &Message) {
        self.link.counters.echoes.add(1);
        if message.command == message::Command::Set {
            self.pending.echo(Address::of(message), &message.payload, reading::value(message));
        }
    }

    /// Keeps back what the gateway says for the log, and what it says about itself.
    fn is_about_the_gateway(&self, message: &Message, port: &Port) -> bool {
        if message.command != message::Command::Internal {
            return false;
        }
        let (link, payload) = (port.link(), message.payload.as_str());
        match message.kind {
            types::LOG => {
                self.link.counters.logs.add(1);
                debug!(%link, node = message.node, payload, "gateway log");
            }
            types::READY => info!(%link, payload, "gateway ready"),
            types::VERSION if message.node == GATEWAY => debug!(%link, version = payload, "gateway version"),
            _ => return false,
        }
        true
    }

    /// Says so when a node is heard for the first time in this session.
    async fn meet(&mut self, message: &Message, port: &Port) {
        let known = &mut self.seen[usize::from(message.node)];
        // 255 is a node that has no number yet.
        if !*known && message.node != message::SELF {
            *known = true;
            let device = self.link.nodes.device(message.node);
            port.emit(Event::Device { device, alive: true, reason: None }).await;
        }
        if message.command == message::Command::Presentation {
            let sensor = types::sensor_name(message.kind).unwrap_or("unknown");
            debug!(link = %port.link(), node = message.node, child = message.child, sensor, "presented");
        }
    }

    async fn obey(&mut self, command: Command) -> Result<(), DriverError> {
        let Some(declared) = self.link.nodes.declared(&command.device, &command.point) else {
            let reason = match &command.action {
                Action::Raw(_) => NO_RAW.to_owned(),
                _ => format!("{}/{} is not declared in the site file", command.device, command.point),
            };
            command.answer(Err(CommandError::Refused(reason)));
            return Ok(());
        };
        match command.action.clone() {
            Action::Read => self.request(command, declared.address).await,
            Action::Raw(_) => {
                command.answer(Err(CommandError::Refused(NO_RAW.into())));
                Ok(())
            }
            Action::Write { value, verify } => match payload(declared, &value) {
                Ok(payload) => self.write(command, declared, payload, verify).await,
                Err(reason) => {
                    command.answer(Err(CommandError::Refused(reason)));
                    Ok(())
                }
            },
        }
    }

    /// Asks for a value. No node has to answer, so the next value it sends is taken as the answer.
    async fn request(&mut self, command: Command, address: Address) -> Result<(), DriverError> {
        if self.pending.is_full() {
            command.answer(Err(too_many()));
            return Ok(());
        }
        self.send(&message_to(address, message::Command::Req, false, String::new())).await?;
        self.pending.expect_reading(command, address);
        Ok(())
    }

    async fn write(
        &mut self,
        command: Command,
        declared: &Declared,
        payload: String,
        verify: bool,
    ) -> Result<(), DriverError> {
        if verify && self.pending.is_full() {
            command.answer(Err(too_many()));
            return Ok(());
        }
        self.send(&message_to(declared.address, message::Command::Set, verify, payload.clone())).await?;
        let written = values::decode(declared.value_type.kind, &payload).unwrap_or(Value::Text(payload.clone()));
        if verify {
            let until = Instant::now() + self.link.echo_timeout;
            self.pending.expect_echo(command, declared.address, until, (payload, written));
        } else {
            command.answer(Ok(Done { written: Some(written), observed: None, note: None }));
        }
        Ok(())
    }

    async fn mind(&mut self, silence: Silence, port: &Port) -> Result<(), DriverError> {
        match silence {
            Silence::SinceOpening => {
                self.degraded("the port is open, nothing heard yet", port);
                self.ask_version().await
            }
            Silence::Long => self.ask_version().await,
            Silence::Unbroken if self.link.transport.silence_is_loss() => Err(self.link.transport.silent()),
            Silence::Unbroken => {
                self.degraded("the port is open, but the gateway does not answer", port);
                Ok(())
            }
        }
    }

    fn degraded(&self, silent: &str, port: &Port) {
        let noisy = "nothing that was heard makes sense: is the baud rate right, and is it a MySensors gateway?";
        port.report(Health::Degraded(if self.only_noise { noisy } else { silent }.into()));
    }

    /// The one question that every gateway answers itself, whatever its nodes do.
    async fn ask_version(&mut self) -> Result<(), DriverError> {
        let question = Address { node: GATEWAY, child: message::SELF, kind: types::VERSION };
        self.send(&message_to(question, message::Command::Internal, false, String::new())).await
    }

    async fn send(&mut self, message: &Message) -> Result<(), DriverError> {
        // Never flushed: on a serial port that waits until the last bit has left.
        match timeout(SEND_TIMEOUT, self.writer.write_all(message.to_line().as_bytes())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.link.transport.failed(error)),
            Err(_) => Err(self.link.transport.stuck()),
        }
    }

    fn complain(&mut self, error: &str, port: &Port) {
        self.only_noise = true;
        if let Some(count) = self.complaints.one_more(Instant::now()) {
            warn!(link = %port.link(), error, count, "received something that is no message");
        }
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

fn message_to(address: Address, command: message::Command, ack: bool, payload: String) -> Message {
    Message { node: address.node, child: address.child, command, ack, kind: address.kind, payload }
}

fn too_many() -> CommandError {
    CommandError::Refused("too many commands wait for an answer on this link".into())
}

#[cfg(test)]
mod tests;
