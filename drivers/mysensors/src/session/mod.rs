//! One stretch of being connected: lines in, readings out; commands in, lines out.
//!
//! The session alone owns the stream. Nothing it does waits for a node: what is on its way to one is
//! in the [outbox](crate::outbox) while reading goes on. Every write to the stream is bounded in
//! time, so a stuck line ends the session instead of holding it.
//!
//! What thinks about the network is pure and lives beside: it is shown each message in [`hear`] and
//! the time in `tick`, and adds to `say` what the network is to be told; the session alone says it.

mod deliver;
mod govern;
mod hear;
mod obey;
mod ota;

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, warn};
use wharf_contract::{DeviceId, DriverError, Event, Health, Port};
use wharf_stream::{Complaints, Frames, Stream};

use crate::controller::Controller;
use crate::firmware::{self, News};
use crate::message::{self, GATEWAY, Message};
use crate::nodes::{Address, Nodes};
use crate::outbox::Outbox;
use crate::pulse::{Pulse, Silence};
use crate::registry::store::Store;
use crate::transport::Transport;
use crate::types;
use deliver::Depths;

/// How long the line may take to accept a message. At 9600 baud the longest takes a tenth of a
/// second.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// What is said of a link on which nothing but noise is heard.
const NOISE: &str = "nothing that was heard makes sense: is the baud rate right, and is it a MySensors gateway?";

/// What is counted of what is heard: complete lines, those among them that made no sense, what was thrown
/// away as it was longer than any line, log messages of the gateway, and echoes. What is counted of what is
/// said, see [`outbox::Counts`](crate::outbox::Counts).
const COUNTED: [&str; 5] = ["lines", "bad_lines", "too_long", "logs", "echoes"];

/// What outlives a session.
#[derive(Debug)]
pub struct Link {
    /// Where the gateway is.
    pub transport: Transport,
    /// The names of what is behind it.
    pub nodes: Nodes,
    /// How long a command waits for a node that sleeps: for any, and for those with a time of their own.
    pub holds: (Duration, HashMap<u8, Duration>),
    /// Whether messages of a controller upstream are passed on, whatever they are.
    pub relays: bool,
    /// What is on its way to the nodes.
    pub outbox: Mutex<Outbox>,
    /// The firmware its nodes get.
    pub firmware: firmware::store::Store,
    /// What is known of the network, and its file.
    pub store: Store,
    /// Who answers the nodes, and what.
    pub controller: Mutex<Controller>,
}

impl Link {
    /// The controller. Held for a moment only, never over a wait, and after the registry if both are.
    pub fn controller(&self) -> MutexGuard<'_, Controller> {
        self.controller.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is on its way to the nodes. Held for a moment only, never over a wait, and after the registry
    /// if both are.
    pub fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is no session any more. What may not be said later, or not by the next, is given up.
    pub fn lost(&self) {
        self.outbox().lost(Instant::now());
        self.firmware.firmware().lost();
    }

    /// Tells what was counted of what is on its way to the nodes.
    fn tell_counts(&self, port: &Port) {
        let counts = self.outbox().take_counts();
        counts
            .by_name()
            .into_iter()
            .filter(|(_, more)| *more > 0)
            .for_each(|(what, more)| port.counts().add(what, more));
    }

    /// What is known of the network, for people and programs that ask.
    pub fn shown(&self) -> serde_json::Value {
        let now = Instant::now();
        let registry = self.store.registry();
        let waiting: HashMap<_, _> = self.outbox().depths().collect();
        let device = |node| self.nodes.device(node, &registry).to_string();
        let mut nodes = registry.shown(device, |node| waiting.get(&node).copied().unwrap_or_default());
        for News { node, state, percent, .. } in self.firmware.firmware().states() {
            if let Some(shown) = nodes.iter_mut().find(|shown| shown["node"] == node) {
                shown["firmware"] = serde_json::json!({ "state": state, "percent": percent });
            }
        }
        let controller = self.controller();
        serde_json::json!({
            "controller": controller.role().as_str(),
            "answers": controller.is_acting(now),
            "open": controller.is_open(now),
            "other_controllers": controller.rivals_seen(),
            "unremembered": registry.unremembered(),
            "nodes": nodes,
        })
    }
}

/// Talks to the gateway at the other end of `stream` until the link is lost or the port asks to
/// stop.
///
/// # Errors
/// `Lost`, with what happened to the link.
pub async fn run(link: &Link, stream: Box<dyn Stream>, port: &mut Port) -> Result<(), DriverError> {
    link.nodes.named().into_iter().for_each(|device| drop(port.expect(device)));
    COUNTED.iter().for_each(|what| port.counts().add(what, 0));
    let (mut reader, writer) = split(stream);
    let mut session = Session {
        link,
        writer,
        lines: Frames::lines(message::LONGEST_LINE),
        too_long: 0,
        pulse: Pulse::new(Instant::now()),
        complaints: Complaints::default(),
        without_number: Complaints::default(),
        only_noise: false,
        told_silent: false,
        seen: vec![None; 256],
        say: Vec::new(),
        next_block: Instant::now(),
        held: VecDeque::new(),
        depths: Depths::default(),
    };
    let ended = session.converse(&mut reader, port).await;
    let seen = std::mem::take(&mut session.seen);
    // The stream is closed and what was sent is given up first: whoever asked learns at once.
    drop((session, reader));
    link.lost();
    link.tell_counts(port);
    tell_gone(seen, ended.as_ref().err(), port).await;
    debug!(link = %port.link(), counted = ?port.counts().read(), "session ended");
    ended
}

/// Says of every node heard in the session that it is not heard any more, and why.
async fn tell_gone(seen: Vec<Option<DeviceId>>, lost: Option<&DriverError>, port: &Port) {
    let reason =
        lost.map_or_else(|| "the gateway is stopping".to_owned(), |error| format!("the link is down: {error}"));
    for device in seen.into_iter().flatten() {
        port.emit(Event::Device { device, alive: false, reason: Some(reason.clone()) }).await;
    }
}

struct Session<'a> {
    link: &'a Link,
    writer: WriteHalf<Box<dyn Stream>>,
    lines: Frames,
    too_long: u64,
    pulse: Pulse,
    complaints: Complaints,
    /// New nodes that asked for a number in vain, so that it is said now and then.
    without_number: Complaints,
    /// Whether something came since the last message, and none of it was one.
    only_noise: bool,
    /// Whether the gateway was said not to answer, and nothing of it was heard since.
    told_silent: bool,
    /// The nodes heard in this session, by number, under the names they were told by.
    seen: Vec<Option<DeviceId>>,
    /// What the network is to be told next. Empty again after each message, command and tick.
    say: Vec<Message>,
    /// When the line is free for the next piece of firmware.
    next_block: Instant,
    /// What is to be said as soon as the registry is stored as it was at this revision.
    held: VecDeque<(u64, Message)>,
    /// How many commands wait for each node to wake, as it is told.
    depths: Depths,
}

impl Session<'_> {
    async fn converse(&mut self, reader: &mut ReadHalf<Box<dyn Stream>>, port: &mut Port) -> Result<(), DriverError> {
        let stop = port.stop();
        let (mut chunk, mut upstream, store) = ([0; 1024], port.upstream(), &self.link.store);
        self.upstream(*upstream.borrow_and_update(), port);
        self.ask_version().await?;
        loop {
            let wake = self.wake();
            let held = self.held.front().map(|(revision, _)| *revision);
            self.link.tell_counts(port);
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                received = reader.read(&mut chunk) => match received {
                    // The port would go on saying so for ever.
                    Ok(0) => return Err(self.link.transport.ended()),
                    Ok(count) => self.take(&chunk[..count], port).await?,
                    Err(error) => return Err(self.link.transport.failed(error)),
                },
                // A gateway that opening has reset would not hear commands yet.
                command = port.next_command(), if !self.pulse.is_starting() => {
                    self.obey(command, port).await;
                    self.say_all().await?;
                }
                () = sleep_until(self.next_block), if self.link.firmware.firmware().has_answer() => {
                    // Firmware is patient: its node asks again. Commands go first.
                    if !port.is_command_waiting() {
                        self.say_block().await?;
                    }
                }
                () = store.stored(held.unwrap_or_default()), if held.is_some() => {
                    self.let_go();
                    self.say_all().await?;
                }
                Ok(()) = upstream.changed() => self.upstream(*upstream.borrow_and_update(), port),
                () = sleep_until(wake) => self.tick(Instant::now(), port).await?,
            }
        }
    }

    /// When there is something to do although nothing comes in.
    fn wake(&self) -> Instant {
        let due = [Some(self.pulse.until()), self.deliver_until(), self.controller_until()];
        due.into_iter().flatten().min().unwrap_or_else(Instant::now)
    }

    /// Does what is due.
    async fn tick(&mut self, now: Instant, port: &Port) -> Result<(), DriverError> {
        self.tell_depths(now, port).await;
        self.tick_controller(now, port).await;
        if let Some(silence) = self.pulse.silence(now) {
            self.mind(silence, port).await?;
        }
        self.say_all().await
    }

    /// Takes in what was received.
    async fn take(&mut self, bytes: &[u8], port: &Port) -> Result<(), DriverError> {
        let taken_at = SystemTime::now();
        let lines = self.lines.push(bytes);
        let too_long = self.lines.tally().too_long - self.too_long;
        if too_long > 0 {
            self.too_long += too_long;
            port.counts().add("too_long", too_long);
            self.complain("a line was too long", port);
        }
        for line in lines {
            port.counts().add("lines", 1);
            match Message::parse(&line) {
                Ok(message) => {
                    self.hear(&message, taken_at, port).await;
                    self.say_all().await?;
                }
                Err(error) => {
                    port.counts().add("bad_lines", 1);
                    self.complain(&error.to_string(), port);
                }
            }
        }
        Ok(())
    }

    async fn mind(&mut self, silence: Silence, port: &Port) -> Result<(), DriverError> {
        match silence {
            Silence::SinceOpening => {
                let open = self.link.transport.open_in_words();
                self.say_silent(&format!("{open}, nothing heard yet"), port);
                self.ask_version().await
            }
            Silence::Long => self.ask_version().await,
            Silence::Unbroken if self.link.transport.silence_is_loss() => Err(self.link.transport.silent()),
            Silence::Unbroken => {
                let open = self.link.transport.open_in_words();
                self.say_silent(&format!("{open}, but the gateway does not answer"), port);
                Ok(())
            }
        }
    }

    /// Says that the gateway is silent, or speaks as none does.
    fn say_silent(&mut self, silent: &str, port: &Port) {
        self.told_silent = true;
        port.report(Health::Degraded(if self.only_noise { NOISE } else { silent }.into()));
    }

    /// The one question that every gateway answers itself, whatever its nodes do.
    async fn ask_version(&mut self) -> Result<(), DriverError> {
        let question = Address { node: GATEWAY, child: message::SELF, kind: types::VERSION };
        self.send(&message_to(question, message::Command::Internal, false, String::new())).await
    }

    /// Tells the network what has gathered, and what is due of what is on its way.
    async fn say_all(&mut self) -> Result<(), DriverError> {
        for message in std::mem::take(&mut self.say) {
            self.link.outbox().say(&message, Instant::now());
            self.send(&message).await?;
        }
        self.deliver().await
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
        // Who looks why the gateway is silent learns that it is not.
        if self.told_silent {
            port.report(Health::Degraded(NOISE.into()));
        }
        if let Some(count) = self.complaints.one_more(Instant::now()) {
            warn!(link = %port.link(), error, count, "received something that is no message");
        }
    }
}

fn message_to(address: Address, command: message::Command, ack: bool, payload: String) -> Message {
    Message { node: address.node, child: address.child, command, ack, kind: address.kind, payload }
}

#[cfg(test)]
mod tests;
