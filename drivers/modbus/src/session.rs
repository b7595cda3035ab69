//! One session on one link: connect, read what is due, obey commands, notice who is silent. All
//! requests go through here one after the other, so devices on a shared line take turns.

use std::io;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use wharf_contract::{DriverError, Port};

use crate::decode::Raw;
use crate::line::{Fault, Line};
use crate::link::{Device, Link, Table};
use crate::patience::Patience;
use crate::plan::{Block, plan};
use crate::schedule::Schedule;
use crate::told::Told;

/// How often an overloaded link is logged.
const OVERLOAD_LOG: Duration = Duration::from_secs(60);

/// Runs until the connection cannot be made any more, or the gateway stops.
pub(crate) async fn run(link: &Link, port: &mut Port) -> Result<(), DriverError> {
    let stop = port.stop();
    let mut session = Session::new(link, stop.clone());
    session.connect(port).await?;
    session.report(port);
    let mut obeyed_last = false;
    loop {
        let next = session.next_block();
        // A command goes first, but after each of them one block that is due has its turn. So a
        // flood of commands leaves polling every other turn, and a command waits for one block only.
        let block_first = obeyed_last && next.is_some_and(|(_, at)| at <= Instant::now());
        // Arms only choose what to do next. The exchange itself runs after the choice, so a stop
        // or a command never cuts a request off from its answer.
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            // A command that has to wait stays in the port, which looks at its deadline when it
            // hands it out.
            command = port.next_command(), if !block_first => {
                session.obey(command, port).await;
                obeyed_last = true;
            }
            index = due(next) => {
                session.poll(index, port).await;
                obeyed_last = false;
            }
        }
        if !session.line.is_connected() {
            session.connect(port).await?;
        }
    }
}

/// Waits until the block's time has come; for ever, if there is none.
async fn due(next: Option<(usize, Instant)>) -> usize {
    let Some((index, at)) = next else { return std::future::pending().await };
    sleep_until(at).await;
    index
}

/// What a session knows beyond its settings. It ends with the session, so there is nothing to reset.
pub(crate) struct Session<'a> {
    pub(crate) link: &'a Link,
    pub(crate) line: Line,
    stop: CancellationToken,
    blocks: Vec<Block>,
    /// Blocks that the device leaves unanswered while it answers others, by their index.
    deaf: Vec<Deaf>,
    schedule: Schedule,
    pub(crate) states: Vec<State>,
    overload: Overload,
}

/// What is known of one device.
pub(crate) struct State {
    patience: Patience,
    pub(crate) told: Told,
    /// Why it does not answer; empty while it does.
    pub(crate) reason: String,
}

/// What is known of one block that was not answered.
#[derive(Clone, Default)]
struct Deaf {
    /// Whether its last read was in vain.
    unanswered: bool,
    patience: Patience,
}

/// Turns that were missed because the link is slower than its schedule.
#[derive(Default)]
struct Overload {
    missed: u64,
    logged: Option<Instant>,
}

impl<'a> Session<'a> {
    fn new(link: &'a Link, stop: CancellationToken) -> Self {
        let blocks = plan(&link.devices);
        let intervals: Vec<_> = blocks.iter().map(|block| block.every).collect();
        let state = |device: &Device| State {
            patience: Patience::default(),
            told: Told::new(device.points.len()),
            reason: String::new(),
        };
        Self {
            link,
            line: Line::new(link),
            stop,
            schedule: Schedule::new(&intervals, Instant::now()),
            states: link.devices.iter().map(state).collect(),
            deaf: vec![Deaf::default(); blocks.len()],
            blocks,
            overload: Overload::default(),
        }
    }

    /// Connects. When that fails, nobody on the link can be read any more, and the session ends.
    async fn connect(&mut self, port: &Port) -> Result<(), DriverError> {
        if let Err(error) = self.reconnect().await {
            if self.stop.is_cancelled() {
                return Ok(());
            }
            for device in 0..self.states.len() {
                // A device that was never heard has nothing to lose: the link's own health tells.
                if self.states[device].told.was_told() {
                    self.tell_silence(device, &error.to_string(), port).await;
                }
            }
            return Err(DriverError::lost(error));
        }
        Ok(())
    }

    /// A fresh connection, unless the gateway stops before it has come about.
    pub(crate) async fn reconnect(&mut self) -> io::Result<()> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(io::Error::other("the gateway is stopping")),
            connected = self.line.connect() => connected,
        }
    }

    /// The block to read next, and when. What is silent is left alone for its time.
    fn next_block(&self) -> Option<(usize, Instant)> {
        let device = |index: usize| self.states[self.blocks[index].device].patience.until();
        self.schedule.next(Instant::now(), |index| device(index).max(self.deaf[index].patience.until()))
    }

    /// Reads one block and hands its readings over.
    async fn poll(&mut self, index: usize, port: &Port) {
        let block = self.blocks[index].clone();
        let missed = self.schedule.taken(index, Instant::now());
        if !self.states[block.device].told.is_silent() {
            self.overload.count(missed, self.link);
        }
        let begin = Instant::now();
        let outcome = self.exchange(block.device, block.table, block.start, block.count).await;
        let taken_at = SystemTime::now();
        if self.is_deaf(index, outcome.as_ref().err()) {
            let silent = self.silent() + 1;
            self.deaf[index].patience.not_heard(begin.elapsed(), silent, Instant::now());
            self.tell_block_bad(&block, &format!("no answer to a read of {} from {}", block.count, block.start), port)
                .await;
            return;
        }
        self.learn(block.device, outcome.as_ref().err(), begin, port).await;
        match outcome {
            Ok(raw) => {
                for slot in &block.slots {
                    let value = raw.part(slot.at, slot.count).unwrap_or(Raw::Registers(Vec::new()));
                    self.tell_reading(block.device, slot.point, &value, taken_at, port).await;
                }
            }
            Err(Fault::Refused { about_request: true, reason }) if block.slots.len() > 1 => {
                debug!(link = %self.link.name, start = block.start, count = block.count, reason, "block split");
                self.split(index);
            }
            Err(Fault::Refused { reason, .. }) => self.tell_block_bad(&block, &reason, port).await,
            // The device's silence was told when it was noticed.
            Err(Fault::Absent(_) | Fault::Silent(_) | Fault::Broken(_)) => {}
        }
    }

    /// Whether a device that speaks leaves this block unanswered time and again, as some do with
    /// an address they do not have. Then the block is at fault and not the device.
    fn is_deaf(&mut self, index: usize, fault: Option<&Fault>) -> bool {
        let deaf = &mut self.deaf[index];
        if !matches!(fault, Some(Fault::Silent(_))) {
            *deaf = Deaf::default();
            return false;
        }
        let again = std::mem::replace(&mut deaf.unanswered, true);
        again && self.states[self.blocks[index].device].told.is_alive()
    }

    /// One read. A connection that turns out to be broken is replaced and the read asked again,
    /// once: many devices close connections that were idle.
    pub(crate) async fn exchange(&mut self, device: usize, table: Table, start: u16, count: u16) -> Result<Raw, Fault> {
        let unit_id = self.link.devices[device].unit_id;
        let outcome = self.line.read(unit_id, table, start, count).await;
        let Err(Fault::Broken(reason)) = &outcome else { return outcome };
        debug!(link = %self.link.name, reason, "asking again over a new connection");
        match self.reconnect().await {
            Ok(()) => self.line.read(unit_id, table, start, count).await,
            Err(error) => Err(Fault::Broken(error.to_string())),
        }
    }

    /// Notes what an exchange says about the device: it spoke, or it did not.
    pub(crate) async fn learn(&mut self, device: usize, fault: Option<&Fault>, begin: Instant, port: &Port) {
        match fault {
            None | Some(Fault::Refused { .. }) => {
                self.states[device].patience.heard();
                self.tell_alive(device, port).await;
            }
            // A stop kept the broken exchange from being asked again, so nothing is known.
            Some(Fault::Broken(_)) if self.stop.is_cancelled() => {}
            Some(Fault::Absent(reason) | Fault::Silent(reason) | Fault::Broken(reason)) => {
                self.tell_silence(device, reason, port).await;
                let (silent, now) = (self.silent(), Instant::now());
                self.states[device].patience.not_heard(now - begin, silent, now);
            }
        }
        self.report(port);
    }

    /// How many devices and blocks cost the link time in vain.
    fn silent(&self) -> usize {
        let devices = self.states.iter().filter(|state| state.told.is_silent()).count();
        devices + self.deaf.iter().filter(|deaf| deaf.patience.until().is_some()).count()
    }

    /// Reads a refused block in halves from now on, so that one wrong address, or a gap the device
    /// does not let anyone read over, costs no other point its readings.
    fn split(&mut self, index: usize) {
        let Some((left, right)) = self.blocks[index].halves() else { return };
        let now = Instant::now();
        self.schedule.hasten(index, now);
        self.schedule.add(right.every, now);
        self.blocks[index] = left;
        self.blocks.push(right);
        self.deaf.push(Deaf::default());
    }
}

impl Overload {
    fn count(&mut self, missed: u64, link: &Link) {
        self.missed += missed;
        let quiet = self.logged.is_none_or(|logged| logged.elapsed() >= OVERLOAD_LOG);
        if missed > 0 && quiet {
            self.logged = Some(Instant::now());
            warn!(link = %link.name, missed = self.missed, "the link is slower than its schedule, turns were missed");
        }
    }
}
