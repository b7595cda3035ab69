//! One stretch of listening: advertisements in, readings out.
//!
//! The radio mends itself, so a session lasts as long as the gateway, unless the radio itself ends. What
//! a session tells the devices by is the [`Roster`], which outlives it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, warn};
use wharf_contract::{Action, Command, CommandError, Done, DriverError, Event, Health, Port};

use crate::device::Unused;
use crate::gatt::crew::Gatt;
use crate::heard;
use crate::memory::Memory;
use crate::radio::{Counters, Heard, RadioState, Tally};
use crate::roster::{Hearing, Roster};

/// How often devices are looked after.
const TICK: Duration = Duration::from_secs(1);

/// How long the radio may be down before the devices are said to be gone: most of what befalls it is
/// mended sooner.
const GRACE: Duration = Duration::from_secs(30);

/// How often what was learnt is kept at most.
const KEEP_EVERY: Duration = Duration::from_secs(60);

/// How long after a trouble of the link was logged the same is not logged again.
const LOG_AGAIN: Duration = Duration::from_secs(600);

/// What is said to those who ask a sensor that cannot be asked.
const AS_LAST_HEARD: &str = "as it was last heard: a sensor that broadcasts cannot be asked";

/// What the radio hears, and how it is.
#[derive(Debug)]
pub(crate) struct Ear {
    pub(crate) heard: mpsc::Receiver<Heard>,
    pub(crate) state: watch::Receiver<RadioState>,
    pub(crate) tally: Arc<Tally>,
    /// The devices that are connected to, if there are any.
    pub(crate) gatt: Option<Gatt>,
}

/// What a session has to do with.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    pub(crate) roster: &'a mut Roster,
    pub(crate) table: &'a Arc<Mutex<heard::Heard>>,
    pub(crate) memory: &'a Memory,
    pub(crate) ear: Ear,
    /// Since when nothing can be heard.
    deaf: Option<Instant>,
    /// Whether that was told of the devices.
    deaf_told: bool,
    kept: Instant,
    /// What the radio had counted when that was passed on last.
    counted: Counters,
    /// Which trouble of the link was logged last, and when.
    logged: Option<(String, Instant)>,
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        roster: &'a mut Roster,
        table: &'a Arc<Mutex<heard::Heard>>,
        memory: &'a Memory,
        ear: Ear,
    ) -> Self {
        let now = Instant::now();
        let (deaf, counted) = (Some(now), Counters::default());
        Self { roster, table, memory, ear, deaf, deaf_told: false, kept: now, counted, logged: None }
    }

    /// Listens until the port asks to stop or the radio ends.
    pub(crate) async fn run(mut self, port: &mut Port) -> Result<(), DriverError> {
        let ended = self.listen(port).await;
        let reason = match &ended {
            Ok(()) => "the gateway is stopping".to_owned(),
            Err(error) => format!("the link is down: {error}"),
        };
        let mut events = Vec::new();
        self.roster.deaf(&reason, &mut events);
        emit(events, port).await;
        // Before connections are ended: that may take longer than a stopping gateway waits.
        self.keep();
        self.count(port);
        if let Some(gatt) = self.ear.gatt.take() {
            gatt.stop(port).await;
        }
        ended
    }

    async fn listen(&mut self, port: &mut Port) -> Result<(), DriverError> {
        let stop = port.stop();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.roster.names().for_each(|device| drop(port.expect(device)));
        self.state_is_news(port).await;
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                heard = self.ear.heard.recv() => match heard {
                    Some(heard) => self.hear(heard, port).await,
                    None => return Err(DriverError::lost("the radio has stopped")),
                },
                changed = self.ear.state.changed() => match changed {
                    Ok(()) => self.state_is_news(port).await,
                    Err(_) => return Err(DriverError::lost("the radio has stopped")),
                },
                told = told(&mut self.ear.gatt) => match told {
                    Some(event) => emit(vec![event], port).await,
                    None => return Err(DriverError::lost("the connections to devices have ended")),
                },
                command = port.next_command() => self.obey(command),
                _ = ticks.tick() => self.tick(port).await,
            }
        }
    }

    async fn hear(&mut self, Heard { advert, at }: Heard, port: &Port) {
        let (now, mut events) = (Instant::now(), Vec::new());
        let Hearing { device, unused, .. } = {
            let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
            let told = table.model(advert.address);
            let hearing = self.roster.hear(&advert, told, at, now, &mut events);
            table.note(&advert, &hearing.outcome, hearing.device.as_ref(), at, now);
            hearing
        };
        if let (Some(device), Some(Unused { reason, words })) = (device, unused) {
            port.refused(&device, reason, words.as_deref());
        }
        emit(events, port).await;
    }

    async fn tick(&mut self, port: &Port) {
        self.count(port);
        let (now, mut events) = (Instant::now(), Vec::new());
        match self.deaf {
            None => self.roster.tick(now, &mut events),
            Some(since) if !self.deaf_told && now >= since + GRACE => {
                self.deaf_told = true;
                let reason = format!("the link is down: {}", *self.ear.state.borrow());
                self.roster.deaf(&reason, &mut events);
            }
            Some(_) => {}
        }
        emit(events, port).await;
        if now >= self.kept + KEEP_EVERY {
            self.keep();
        }
    }

    async fn state_is_news(&mut self, port: &Port) {
        let state = self.ear.state.borrow_and_update().clone();
        let health = health(&state);
        if let Health::Offline(reason) = &health {
            self.log_trouble(reason, port);
        }
        port.report(health);
        if !state.is_listening() {
            self.deaf.get_or_insert_with(Instant::now);
            return;
        }
        if self.deaf.take().is_some() {
            self.deaf_told = false;
            let mut events = Vec::new();
            self.roster.excuse(Instant::now(), &mut events);
            emit(events, port).await;
        }
    }

    /// The radio mends itself, and a session lasts: so it is here that a log hears of its troubles.
    fn log_trouble(&mut self, reason: &str, port: &Port) {
        let (now, link) = (Instant::now(), port.link());
        if self.logged.as_ref().is_some_and(|(before, at)| before == reason && now < *at + LOG_AGAIN) {
            return debug!(%link, reason, "link down");
        }
        warn!(%link, reason, "link down");
        self.logged = Some((reason.to_owned(), now));
    }

    fn obey(&self, command: Command) {
        if let Some(gatt) = self.ear.gatt.as_ref().filter(|gatt| gatt.owns(&command)) {
            return gatt.obey(command);
        }
        let answer = match &command.action {
            Action::Read => match self.roster.last(&command.device, command.point.as_str()) {
                Some(value) => Ok(Done { written: None, observed: Some(value.clone()), note: Some(AS_LAST_HEARD) }),
                None => Err(CommandError::NoAnswer("nothing was heard of it of late".into())),
            },
            Action::Write { .. } => Err(CommandError::Refused(format!(
                "{}/{} is not open for writing: the sensor broadcasts and listens to nobody",
                command.device, command.point
            ))),
            Action::Raw(_) => Err(CommandError::Refused("Bluetooth knows no raw requests".into())),
        };
        command.answer(answer);
    }

    /// Passes on what the radio has counted since the last time. Its own counts begin with each session.
    fn count(&mut self, port: &Port) {
        let (counts, now) = (port.counts(), self.ear.tally.read());
        for ((what, now), (_, before)) in now.named().into_iter().zip(self.counted.named()) {
            counts.add(what, now.saturating_sub(before));
        }
        self.counted = now;
    }

    /// Has what was learnt kept. The disk is waited for elsewhere.
    fn keep(&mut self) {
        self.kept = Instant::now();
        if let Some(kept) = self.roster.take_news() {
            self.memory.note(&kept);
        }
    }
}

/// The link's health, by the state of its radio.
fn health(state: &RadioState) -> Health {
    match state {
        RadioState::Starting => Health::Connecting,
        RadioState::Scanning => Health::Online,
        RadioState::Quiet { .. } => Health::Degraded("listening, and nothing at all is heard".into()),
        down => Health::Offline(down.to_string()),
    }
}

/// What a connected device has to tell. Pending for ever where there is none.
async fn told(gatt: &mut Option<Gatt>) -> Option<Event> {
    match gatt {
        Some(gatt) => gatt.told().await,
        None => std::future::pending().await,
    }
}

async fn emit(events: Vec<Event>, port: &Port) {
    for event in events {
        port.emit(event).await;
    }
}

#[cfg(test)]
mod tests;
