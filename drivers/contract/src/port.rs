//! A driver's whole world: events out, commands in, health, and the request to stop.

mod counts;
mod devices;
mod handover;
mod traffic;

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{Command, CommandError, DeviceId, LinkId, Reading};
pub use counts::Counts;
pub use devices::{Device, Devices, Presence, Sight};
use handover::Handover;
pub use handover::{DEVICES_KEPT, LateNews, Overrun, Overruns, PATIENCE};
pub use traffic::{Outcome, Traffic};

/// How many commands may wait for one driver; one more is answered as refused.
pub const COMMANDS_WAITING: usize = 64;

/// What a driver has to say.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A point's value at a moment.
    Reading(Reading),
    /// A device was heard, or has stopped answering, or there is something else to know of it. Sent
    /// when it changes.
    Device {
        /// Which device.
        device: DeviceId,
        /// Whether it answers.
        alive: bool,
        /// Why not, or what there is to know of one that does, in words.
        reason: Option<String>,
    },
    /// A device is called by another name from now on: what is known under the old one is of no device any
    /// more. How it is under the new one is told right after.
    Renamed {
        /// Its name until now.
        from: DeviceId,
        /// Its name from now on.
        to: DeviceId,
    },
}

/// How a link is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// On the way to the first exchange.
    Connecting,
    /// The link works.
    Online,
    /// The link works, with something to know about it.
    Degraded(String),
    /// Lost, and being tried again.
    Offline(String),
    /// Given up: someone has to change something.
    Failed(String),
}

impl Health {
    /// Whether commands can be sent.
    pub fn is_up(&self) -> bool {
        matches!(self, Self::Online | Self::Degraded(_))
    }

    /// As it stands in payloads: `online`, `offline`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Online => "online",
            Self::Degraded(_) => "degraded",
            Self::Offline(_) => "offline",
            Self::Failed(_) => "failed",
        }
    }

    /// The words that go with it.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Connecting | Self::Online => None,
            Self::Degraded(reason) | Self::Offline(reason) | Self::Failed(reason) => Some(reason),
        }
    }
}

/// An event with the link it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkEvent {
    /// The link.
    pub link: LinkId,
    /// What its driver said.
    pub event: Event,
}

/// The driver's end.
#[derive(Debug)]
pub struct Port {
    handover: Handover,
    commands: mpsc::Receiver<Command>,
    health: watch::Sender<Health>,
    traffic: Traffic,
    counts: Counts,
    devices: Devices,
    upstream: watch::Receiver<bool>,
    stop: CancellationToken,
}

/// The gateway's end.
#[derive(Clone, Debug)]
pub struct PortEnd {
    /// Commands to the driver.
    pub commands: mpsc::Sender<Command>,
    /// How the link is.
    pub health: watch::Receiver<Health>,
    /// The readings that were dropped because the gateway was behind.
    pub overruns: Overruns,
    /// What the driver asks on its link, and what comes of it.
    pub traffic: Traffic,
    /// What else the driver counts.
    pub counts: Counts,
    /// What the driver has said of each of its devices.
    pub devices: Devices,
    /// Whether anybody is upstream to whom what the driver says is passed on.
    pub upstream: watch::Sender<bool>,
}

impl Port {
    /// The pair for one link. All links share the channel of events; its senders are served in
    /// the order they came, so a talkative link cannot shut out a quiet one.
    pub fn new(link: LinkId, events: mpsc::Sender<LinkEvent>, stop: CancellationToken) -> (Self, PortEnd) {
        let (command_sender, commands) = mpsc::channel(COMMANDS_WAITING);
        let (health, health_seen) = watch::channel(Health::Connecting);
        let (upstream, upstream_seen) = watch::channel(true);
        let handover = Handover::new(link, events);
        let (traffic, counts, devices) = (Traffic::default(), Counts::default(), Devices::default());
        let end = PortEnd {
            commands: command_sender,
            health: health_seen,
            overruns: handover.overruns(),
            traffic: traffic.clone(),
            counts: counts.clone(),
            devices: devices.clone(),
            upstream,
        };
        (Self { handover, commands, health, traffic, counts, devices, upstream: upstream_seen, stop }, end)
    }

    /// The link this port belongs to.
    pub fn link(&self) -> &LinkId {
        self.handover.link()
    }

    /// Hands an event over. Never waits long, whatever becomes of the gateway.
    ///
    /// A reading that finds no room waits for it, up to [`PATIENCE`]. When there was none by then
    /// it is dropped and counted in [`PortEnd::overruns`], and so is, at once, every further one
    /// that finds no room; only when half of the room is free again may one wait again. Device
    /// events never wait: the newest of each device is kept until there is room.
    pub async fn emit(&self, event: Event) {
        self.devices.note(&event);
        self.handover.emit(event).await;
    }

    /// Brings device events that had to be kept to the gateway. Whoever runs the driver runs this
    /// beside it.
    pub fn late_news(&self) -> LateNews {
        self.handover.late_news()
    }

    /// The next command that is still in time. One whose deadline has passed is answered here
    /// and never seen by the driver. Pending for ever when the gateway has no commands left to
    /// give. Safe to drop in a `select!`: no command is lost.
    pub async fn next_command(&mut self) -> Command {
        loop {
            match self.commands.recv().await {
                Some(command) if command.deadline <= Instant::now() => command.answer(Err(CommandError::Expired)),
                Some(command) => return command,
                None => std::future::pending().await,
            }
        }
    }

    /// A command that waits already and is still in time. One whose deadline has passed is
    /// answered here.
    pub fn waiting_command(&mut self) -> Option<Command> {
        loop {
            let command = self.commands.try_recv().ok()?;
            if command.deadline > Instant::now() {
                return Some(command);
            }
            command.answer(Err(CommandError::Expired));
        }
    }

    /// Whether a command waits that has not been handed out, be it in time or not.
    pub fn is_command_waiting(&self) -> bool {
        !self.commands.is_empty()
    }

    /// Answers everything that is waiting, because the link is down.
    pub fn refuse_waiting(&mut self, reason: &str) {
        while let Ok(command) = self.commands.try_recv() {
            command.answer(Err(CommandError::Offline(reason.to_owned())));
        }
    }

    /// Says how the link is. Saying the same twice is free.
    pub fn report(&self, health: Health) {
        self.health.send_if_modified(|current| {
            let changed = *current != health;
            *current = health;
            changed
        });
    }

    /// How the link is, by what was said of it last.
    pub fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    /// Where the driver counts what it asks. It outlives the session.
    pub fn traffic(&self) -> Traffic {
        self.traffic.clone()
    }

    /// A device that is going to be asked, and where the driver counts what it asks it. It outlives
    /// the session.
    pub fn expect(&self, device: &DeviceId) -> Traffic {
        self.devices.expect(device)
    }

    /// Where the driver counts what else there is to count. It outlives the session.
    pub fn counts(&self) -> Counts {
        self.counts.clone()
    }

    /// Something of a device came and was not used: for a reason that has a name, and in words where
    /// there is more to say.
    pub fn refused(&self, device: &DeviceId, reason: &'static str, words: Option<&str>) {
        self.devices.refused(device, reason, words);
    }

    /// Whether anybody is upstream: a broker that is connected, or a controller that is attached. True
    /// until somebody says otherwise.
    pub fn upstream(&self) -> watch::Receiver<bool> {
        self.upstream.clone()
    }

    /// The request to stop: `port.stop().cancelled().await`.
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Sleeps, but not past a requested stop. Returns whether the gateway goes on.
    pub async fn pause(&self, time: Duration) -> bool {
        tokio::select! {
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep(time) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, PointId, Value};

    fn command(deadline: Instant) -> (Command, crate::command::PendingAnswer) {
        let write = Action::Write { value: Value::Int(1), verify: false };
        Command::new(DeviceId::from("tank"), PointId::from("valve"), write, deadline)
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_past_its_deadline_is_answered_and_never_handed_out() {
        let (events, _events) = mpsc::channel(1);
        let (mut port, end) = Port::new("bus".into(), events, CancellationToken::new());
        let (late, late_answer) = command(Instant::now() + Duration::from_millis(5));
        let (fresh, _fresh_answer) = command(Instant::now() + Duration::from_secs(60));
        end.commands.send(late).await.unwrap();
        end.commands.send(fresh).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;

        let handed_out = port.next_command().await;

        assert!(handed_out.deadline > Instant::now());
        assert_eq!(late_answer.wait().await, Err(CommandError::Expired));
    }

    #[tokio::test]
    async fn a_dropped_command_reaches_the_asker_as_abandoned() {
        let (dropped, answer) = command(Instant::now() + Duration::from_secs(1));
        drop(dropped);
        assert_eq!(answer.wait().await, Err(CommandError::Abandoned));
    }

    #[tokio::test]
    async fn a_link_that_is_down_answers_what_is_waiting_at_once() {
        let (events, _events) = mpsc::channel(1);
        let (mut port, end) = Port::new("bus".into(), events, CancellationToken::new());
        let (waiting, answer) = command(Instant::now() + Duration::from_secs(60));
        end.commands.send(waiting).await.unwrap();

        port.refuse_waiting("cable unplugged");

        assert_eq!(answer.wait().await, Err(CommandError::Offline("cable unplugged".into())));
    }
}
