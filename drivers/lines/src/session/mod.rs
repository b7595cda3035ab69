//! One stretch of being connected: lines in, readings out; questions and commands in turn.
//!
//! The session alone owns the stream. One thing at a time is waited for, and never longer than its
//! timeout; what comes in the meantime is read all the same. Every write to the stream is bounded in
//! time, so a stuck line ends the session instead of holding it.

mod turn;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, warn};
use wharf_contract::plan::spell;
use wharf_contract::port::{Outcome, Traffic};
use wharf_contract::settings::node::clip;
use wharf_contract::{
    Action, Command, CommandError, DeviceId, Done, DriverError, Event, Health, PointInfo, Port, Presence,
};
use wharf_stream::{Complaints, Cut, Frames, Stream, Tally, Transport};

use crate::asks::Asks;
use crate::config::LinkSettings;
use crate::device::{Claim, Device, Identity, Roster, Spoken};
use crate::form;
use crate::thin::Thin;
use turn::{Turn, Waiting, Writing};

/// How long the line may take to accept what is sent.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// How long it is listened before anything is said: what comes in that time may be the second half of
/// a line, and an answer would be taken for one.
const LISTEN_FIRST: Duration = Duration::from_millis(100);

/// How long nothing comes before a record that has begun is given up.
const PAUSE: Duration = Duration::from_millis(100);

/// What is said of a write that no line confirms.
const UNCONFIRMED: &str = "the device confirms nothing: whether it acted is not known";

/// How long nothing but nonsense may be heard before it is said of the link.
const NONSENSE: Duration = Duration::from_secs(60);

/// What outlives a session.
#[derive(Debug)]
pub struct Link {
    /// Where the devices are.
    pub transport: Transport,
    /// How the stream is cut.
    pub cut: Cut,
    /// Whether a first line that comes at once is thrown away.
    skip_first: bool,
    devices: Arc<[Device]>,
    /// Which devices there are, with the names their lines have given.
    roster: Mutex<Roster>,
}

impl Link {
    /// The link that the settings describe.
    pub fn new(settings: &LinkSettings) -> Self {
        let (transport, devices) = (settings.transport(), Arc::from(settings.devices()));
        Self {
            skip_first: settings.skip_first.unwrap_or(matches!(transport, Transport::Serial(_))),
            transport,
            cut: settings.records.cut(),
            roster: Mutex::new(Roster::new(Arc::clone(&devices))),
            devices,
        }
    }

    /// The devices of the site file.
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// The points that are known from the site file alone.
    pub fn catalogue(&self) -> Vec<PointInfo> {
        self.roster().catalogue()
    }

    fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn device(&self, index: usize) -> Option<&Device> {
        self.devices.get(index)
    }
}

/// Talks to whatever is at the other end of `stream` until the link is lost or the port asks to stop.
///
/// # Errors
/// `Lost`, with what happened to the link.
pub async fn run(link: &Link, stream: Box<dyn Stream>, port: &mut Port) -> Result<(), DriverError> {
    let (mut reader, writer) = split(stream);
    let mut session = Session::new(link, writer, port);
    let ended = session.converse(&mut reader, port).await;
    let gone: Vec<DeviceId> = session.presence.alive().cloned().collect();
    session.tell_held(port).await;
    // The stream is closed and waiting commands are given up first: whoever asked learns at once.
    drop((session, reader));
    let lost = ended.as_ref().err();
    let reason = lost.map_or_else(|| "the gateway is stopping".into(), |error| format!("the link is down: {error}"));
    for device in gone {
        port.emit(Event::Device { device, alive: false, reason: Some(reason.clone()) }).await;
    }
    debug!(link = %port.link(), counted = ?port.counts().read(), "session ended");
    ended
}

struct Session<'a> {
    link: &'a Link,
    writer: WriteHalf<Box<dyn Stream>>,
    frames: Frames,
    thrown_away: Tally,
    opened: Instant,
    last_byte: Option<Instant>,
    /// Whether the next frame may be the second half of one.
    skip_next: bool,
    asks: Asks,
    turn: Option<Turn>,
    /// Whether the last turn was a command's, so that a question comes first now.
    command_was_last: bool,
    waiting: Waiting,
    presence: Presence,
    thin: Thin,
    complaints: Complaints,
    /// Since when nothing but nonsense was heard.
    nonsense: Option<Instant>,
    traffic: Traffic,
    /// By place in the site file; devices that are named by their lines are not asked.
    device_traffic: Vec<Traffic>,
}

impl<'a> Session<'a> {
    fn new(link: &'a Link, writer: WriteHalf<Box<dyn Stream>>, port: &Port) -> Self {
        let now = Instant::now();
        let mut presence = Presence::default();
        let mut device_traffic = Vec::new();
        for device in link.devices() {
            device_traffic.push(match &device.identity {
                Identity::Named(name) => {
                    if device.form.is_some() {
                        presence.expect(name.clone(), Some(device.quiet_after), now);
                    }
                    port.expect(name)
                }
                Identity::InLine { .. } => Traffic::default(),
            });
        }
        let every = link.devices().iter().map(|device| device.ask.as_ref().map(|ask| ask.every));
        Self {
            link,
            writer,
            frames: Frames::new(link.cut.clone()),
            thrown_away: Tally::default(),
            opened: now,
            last_byte: None,
            skip_next: false,
            asks: Asks::new(every, now + LISTEN_FIRST),
            turn: None,
            command_was_last: false,
            waiting: Waiting::default(),
            presence,
            thin: Thin::default(),
            complaints: Complaints::default(),
            nonsense: None,
            traffic: port.traffic(),
            device_traffic,
        }
    }

    async fn converse(&mut self, reader: &mut ReadHalf<Box<dyn Stream>>, port: &mut Port) -> Result<(), DriverError> {
        let stop = port.stop();
        let mut chunk = [0; 1024];
        port.report(Health::Online);
        loop {
            self.take_turn(port).await?;
            let wake = self.wake();
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                received = reader.read(&mut chunk) => match received {
                    // The port would go on saying so for ever.
                    Ok(0) => return Err(self.link.transport.ended()),
                    Ok(count) => self.take(chunk.get(..count).unwrap_or_default(), port).await,
                    Err(error) => return Err(self.link.transport.failed(error)),
                },
                command = port.next_command(), if self.is_free() => self.obey(command).await?,
                () = sleep_until(wake) => self.mind(Instant::now(), port).await,
            }
        }
    }

    /// Whether something may be sent now.
    fn is_free(&self) -> bool {
        self.turn.is_none() && Instant::now() >= self.opened + LISTEN_FIRST
    }

    /// When there is something to do if nothing comes.
    fn wake(&self) -> Instant {
        let now = Instant::now();
        let start = Some(self.opened + LISTEN_FIRST).filter(|start| *start > now);
        let turn = match &self.turn {
            Some(turn) => Some(turn.until),
            None => self.asks.until().map(|at| at.max(self.opened + LISTEN_FIRST)),
        };
        let pause = self.last_byte.filter(|_| self.frames.held() > 0).map(|last| last + PAUSE).filter(|at| *at > now);
        let nonsense = self.nonsense.map(|since| since + NONSENSE).filter(|at| *at > now);
        let others = [self.waiting.until(), self.presence.until(), self.thin.until()];
        let all = [start, turn, pause, nonsense].into_iter().chain(others).flatten();
        all.min().unwrap_or(now + Duration::from_secs(3600))
    }

    /// Lets whoever is next speak: a command that waits, or the device whose question is due. They take
    /// turns, so that neither shuts out the other.
    async fn take_turn(&mut self, port: &mut Port) -> Result<(), DriverError> {
        while self.is_free() {
            let now = Instant::now();
            let is_due = self.asks.until().is_some_and(|at| at <= now);
            if !(is_due && self.command_was_last)
                && let Some(command) = port.waiting_command()
            {
                self.obey(command).await?;
                self.command_was_last = true;
                continue;
            }
            self.command_was_last = false;
            let Some(index) = self.asks.take(now) else { return Ok(()) };
            let Some(ask) = self.link.device(index).and_then(|device| device.ask.as_ref()) else { return Ok(()) };
            self.send(&ask.bytes).await?;
            self.turn = Some(Turn::ask(index, Instant::now() + ask.timeout));
        }
        Ok(())
    }

    /// Takes in what was received.
    async fn take(&mut self, bytes: &[u8], port: &Port) {
        let (taken_at, now) = (SystemTime::now(), Instant::now());
        if self.last_byte.replace(now).is_none() {
            self.skip_next = self.link.skip_first && now < self.opened + LISTEN_FIRST;
        }
        let frames = self.frames.push(bytes);
        self.note_thrown_away(port);
        for frame in frames {
            if std::mem::take(&mut self.skip_next) {
                port.counts().add("halves", 1);
                continue;
            }
            port.counts().add("lines", 1);
            self.hear(&frame, taken_at, port).await;
        }
    }

    /// One line.
    async fn hear(&mut self, frame: &[u8], taken_at: SystemTime, port: &Port) {
        let Some(line) = form::text(frame) else {
            port.counts().add("binary", 1);
            self.complain("received something that is no text", &frame.escape_ascii().to_string(), port);
            return;
        };
        let answered = self.settle(&line);
        let asked = self.turn.as_ref().and_then(Turn::asked);
        let claim = self.link.roster().claim(&line, asked, taken_at);
        match claim {
            Claim::Of(spoken) => self.pass_on(spoken, port).await,
            Claim::Heading => {}
            _ if answered => {}
            Claim::Nobody => {
                port.counts().add("unclaimed", 1);
                self.complain("a line fits no device", &line, port);
            }
            Claim::Damaged => {
                port.counts().add("damaged", 1);
                self.complain("the checksum of a line does not fit", &line, port);
            }
            Claim::Nameless(why) => {
                port.counts().add("nameless", 1);
                self.complain(&format!("a line names no device: {why}"), &line, port);
            }
        }
    }

    async fn pass_on(&mut self, spoken: Spoken, port: &Port) {
        let now = Instant::now();
        let Spoken { index, device, readings } = spoken;
        self.nonsense = None;
        port.report(Health::Online);
        if self.turn.as_ref().and_then(Turn::asked) == Some(index) {
            self.turn = None;
            self.count(index, Outcome::Answered);
        }
        let Some(settings) = self.link.device(index) else { return };
        if self.presence.tell(&device, true, Some(settings.quiet_after), now) {
            port.emit(Event::Device { device: device.clone(), alive: true, reason: None }).await;
        }
        for reading in readings {
            self.waiting.reading(&reading);
            let told = match settings.thin {
                Some(every) => self.thin.offer(reading, every, now),
                None => Some(reading),
            };
            if let Some(reading) = told {
                port.emit(Event::Reading(reading)).await;
            }
        }
    }

    /// Something is due.
    async fn mind(&mut self, now: Instant, port: &Port) {
        if self.last_byte.is_some_and(|last| last + PAUSE <= now) {
            self.frames.pause();
            self.note_thrown_away(port);
        }
        if let Some(turn) = self.turn.take_if(|turn| turn.until <= now) {
            self.count(turn.index, Outcome::Silent);
            if let Some(index) = turn.asked() {
                let device = self.link.device(index).map(|device| &device.identity);
                if let Some(Identity::Named(name)) = device {
                    self.waiting.unanswered(name);
                    if self.presence.is_gone(name) {
                        self.asks.put_off(index, now);
                    }
                }
            }
            turn.expire();
        }
        self.waiting.expire(now);
        for (device, silence) in self.presence.quiet(now) {
            let reason = Some(format!("nothing was heard of it for {}", spell(silence)));
            port.emit(Event::Device { device, alive: false, reason }).await;
        }
        for reading in self.thin.due(now) {
            port.emit(Event::Reading(reading)).await;
        }
        if self.nonsense.is_some_and(|since| since + NONSENSE <= now) {
            let reason =
                "nothing that is heard fits a device: are speed, frame and the way lines are taken apart right?";
            port.report(Health::Degraded(reason.into()));
        }
    }

    /// What was kept back is told before the session ends: nothing more will come.
    async fn tell_held(&mut self, port: &Port) {
        for reading in self.thin.held() {
            port.emit(Event::Reading(reading)).await;
        }
    }

    /// Takes a command in.
    async fn obey(&mut self, command: Command) -> Result<(), DriverError> {
        let link = self.link;
        let refuse = |command: Command, reason: String| command.answer(Err(CommandError::Refused(reason)));
        let found = {
            let roster = link.roster();
            roster.point(&command.device, &command.point).map(|(index, point)| (index, point.clone()))
        };
        let (device, point) = (command.device.clone(), command.point.clone());
        let Some((index, found)) = found else {
            refuse(command, format!("{device}/{point} is not declared in the site file"));
            return Ok(());
        };
        match command.action.clone() {
            Action::Raw(_) => refuse(command, "devices that speak in lines know no raw requests".into()),
            Action::Read => {
                if link.device(index).is_none_or(|device| device.form.is_none()) {
                    refuse(command, format!("{device} tells nothing"));
                } else if let Some(command) = self.waiting.add(command) {
                    refuse(command, "too many commands wait for an answer on this link".into());
                } else {
                    self.asks.hurry(index, Instant::now());
                }
            }
            Action::Write { value, .. } => {
                let Some(write) = &found.write else {
                    refuse(command, format!("{device}/{point} is not open for writing"));
                    return Ok(());
                };
                match write.prepare(&found.meaning, &value) {
                    Err(reason) => refuse(command, reason),
                    Ok((bytes, written)) => {
                        let (write, meaning) = (write.clone(), found.meaning.clone());
                        return self.write(index, Writing { command, write, meaning, written }, &bytes).await;
                    }
                }
            }
        }
        Ok(())
    }

    /// Sends what writes a point. Where no line confirms it, that is all.
    async fn write(&mut self, index: usize, writing: Writing, bytes: &[u8]) -> Result<(), DriverError> {
        self.send(bytes).await?;
        let now = Instant::now();
        if writing.write.expect.is_some() {
            let until = now + writing.write.timeout;
            self.turn = Some(Turn::write(index, writing, until));
            return Ok(());
        }
        self.count(index, Outcome::Untold);
        let done = Done { written: Some(writing.written), observed: None, note: Some(UNCONFIRMED) };
        writing.command.answer(Ok(done));
        // What was written is soon to be seen.
        self.asks.hurry(index, now);
        Ok(())
    }

    /// Answers the write that waits, if this line is its answer.
    fn settle(&mut self, line: &str) -> bool {
        let Some(turn) = self.turn.take() else { return false };
        let index = turn.index;
        match turn.settle(line) {
            Ok(()) => {
                self.count(index, Outcome::Answered);
                self.asks.hurry(index, Instant::now());
                true
            }
            Err(turn) => {
                self.turn = Some(turn);
                false
            }
        }
    }

    fn count(&self, index: usize, outcome: Outcome) {
        self.traffic.count(outcome);
        if let Some(traffic) = self.device_traffic.get(index) {
            traffic.count(outcome);
        }
    }

    fn note_thrown_away(&mut self, port: &Port) {
        let tally = self.frames.tally();
        let before = std::mem::replace(&mut self.thrown_away, tally);
        let counts = [
            ("too_long", tally.too_long.saturating_sub(before.too_long)),
            ("broken", tally.broken.saturating_sub(before.broken)),
            ("stray_bytes", tally.stray.saturating_sub(before.stray)),
        ];
        let more = counts.iter().filter(|(_, more)| *more > 0);
        more.clone().for_each(|(what, more)| port.counts().add(what, *more));
        if more.count() > 0 {
            self.complain("received what cannot be cut into lines", "", port);
        }
    }

    fn complain(&mut self, error: &str, line: &str, port: &Port) {
        self.nonsense.get_or_insert_with(Instant::now);
        if let Some(count) = self.complaints.one_more(Instant::now()) {
            warn!(link = %port.link(), line = clip(line), count, "{error}");
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), DriverError> {
        // Never flushed: on a serial port that waits until the last bit has left.
        match timeout(SEND_TIMEOUT, self.writer.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.link.transport.failed(error)),
            Err(_) => Err(self.link.transport.stuck()),
        }
    }
}

#[cfg(test)]
mod tests;
