//! All connections of one adapter: made, shared out and ended by one task.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, warn};
use wharf_contract::port::Counts;
use wharf_contract::{Command, CommandError, DeviceId, Event, PointId, Port};

use crate::radio::Finder;

use super::Settings;
use super::plan::{End, Plan, Step};
use super::target::Target;
use super::timetable::Timetable;
use super::visit::{Means, Member, Presence, Visited, WAITING, visit};
use super::wire::Ledger;

/// How many events may wait for the session, and how many commands for the connections.
const EVENTS: usize = 256;
const COMMANDS: usize = 64;

/// So many failures in a row, and a device counts as gone. One is not much: somebody may have stood in
/// between.
const TOLERATED: u32 = 2;

/// What is counted: connections made, and those that could not be or that broke.
const CONNECTIONS: [&str; 2] = ["connections", "connections_broken"];

/// The session's end of the connections.
#[derive(Debug)]
pub(crate) struct Gatt {
    commands: mpsc::Sender<Command>,
    events: mpsc::Receiver<Event>,
    points: HashSet<(DeviceId, PointId)>,
    stop: CancellationToken,
    /// Dropped without being stopped, the connections end by themselves, and nobody waits for that.
    _end: DropGuard,
    task: JoinHandle<()>,
    stopping: Duration,
}

impl Gatt {
    /// Starts connecting. `None` if there is nothing to connect to.
    pub(crate) fn start(targets: &[Arc<Target>], finder: Finder, settings: Settings, port: &Port) -> Option<Self> {
        if targets.is_empty() {
            return None;
        }
        let (sender, commands) = mpsc::channel(COMMANDS);
        let (events, told) = mpsc::channel(EVENTS);
        let names = |target: &Arc<Target>| {
            let device = target.device.clone();
            let name = move |point: &super::target::Point| (device.clone(), point.name.clone());
            target.points.iter().map(name).collect::<Vec<_>>()
        };
        let points = targets.iter().flat_map(names).collect();
        // A visit that is asked to end does so after an exchange, and then takes leave.
        let waits = settings.waits;
        let stopping = waits.exchange + waits.disconnect + Duration::from_secs(2);
        let crew = Crew::new(targets, finder, settings, events, port);
        let stop = crew.stop.clone();
        let (end, task) = (stop.clone().drop_guard(), tokio::spawn(crew.run(commands)));
        Some(Self { commands: sender, events: told, points, stop, _end: end, task, stopping })
    }

    /// Whether a command is for a point that is read over a connection.
    pub(crate) fn owns(&self, command: &Command) -> bool {
        self.points.contains(&(command.device.clone(), command.point.clone()))
    }

    /// Carries a command out, or answers it.
    pub(crate) fn obey(&self, command: Command) {
        if let Err(error) = self.commands.try_send(command) {
            let words = "too many commands wait for devices that are connected to".to_owned();
            error.into_inner().answer(Err(CommandError::NotSent(words)));
        }
    }

    /// What there is to tell; `None` if it has ended. Safe to drop in a `select!`.
    pub(crate) async fn told(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Ends all connections, within a bound.
    pub(crate) async fn stop(mut self, port: &Port) {
        self.stop.cancel();
        let deadline = Instant::now() + self.stopping;
        loop {
            match tokio::time::timeout_at(deadline, self.events.recv()).await {
                Ok(Some(event)) => port.emit(event).await,
                Ok(None) => break,
                Err(_) => {
                    warn!("a Bluetooth connection could not be ended in time and was left behind");
                    self.task.abort();
                    break;
                }
            }
        }
        if let Err(error) = self.task.await
            && error.is_panic()
        {
            warn!("the task that keeps Bluetooth connections ended in a panic");
        }
    }
}

/// The task.
struct Crew {
    finder: Finder,
    settings: Settings,
    plan: Plan,
    slots: Vec<Slot>,
    visits: JoinSet<Visited>,
    events: mpsc::Sender<Event>,
    connected: (mpsc::Sender<usize>, mpsc::Receiver<usize>),
    stop: CancellationToken,
    counts: Counts,
}

/// A device's place.
struct Slot {
    target: Arc<Target>,
    /// What is known of it; not here while it is visited.
    member: Option<Member>,
    /// Where the visit takes commands.
    commands: Option<mpsc::Sender<Command>>,
    give_way: CancellationToken,
    /// Why it could not be reached last.
    reason: Option<String>,
    /// Since when nobody is there.
    missed: Option<Instant>,
}

impl Crew {
    fn new(
        targets: &[Arc<Target>],
        finder: Finder,
        settings: Settings,
        events: mpsc::Sender<Event>,
        port: &Port,
    ) -> Self {
        let now = Instant::now();
        let plan = Plan::new(settings.sharing, targets.iter().map(|target| target.keep), now);
        let slot = |target: &Arc<Target>| Slot {
            target: Arc::clone(target),
            member: Some(Member {
                target: Arc::clone(target),
                times: Timetable::new(target.points.iter().map(|point| point.every), now),
                wire: None,
                waiting: std::collections::VecDeque::new(),
                presence: Presence::Unsaid,
                ledger: Ledger { traffic: [port.traffic(), port.expect(&target.device)], counts: port.counts() },
            }),
            commands: None,
            give_way: CancellationToken::new(),
            reason: None,
            missed: None,
        };
        let slots = targets.iter().map(slot).collect();
        let connected = mpsc::channel(targets.len().max(1));
        let (stop, counts) = (CancellationToken::new(), port.counts());
        CONNECTIONS.into_iter().for_each(|what| counts.add(what, 0));
        Self { finder, settings, plan, slots, visits: JoinSet::new(), events, connected, stop, counts }
    }

    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let stop = self.stop.clone();
        while !stop.is_cancelled() {
            while let Some(step) = self.plan.step(Instant::now()) {
                self.take_step(step);
            }
            self.look_for_missing().await;
            let wake = self.wake();
            tokio::select! {
                () = stop.cancelled() => {}
                Some(command) = commands.recv() => self.pass_on(command),
                Some(index) = self.connected.1.recv() => self.is_connected(index),
                Some(visited) = self.visits.join_next() => match visited {
                    Ok(visited) => self.ended(visited).await,
                    Err(error) => {
                        // What was known of the device is lost with it; a new session begins afresh.
                        warn!(%error, "a Bluetooth connection ended in a panic");
                        return;
                    }
                },
                () = tokio::time::sleep_until(wake) => {}
            }
        }
        self.end().await;
    }

    fn take_step(&mut self, step: Step) {
        let (Step::Connect(index) | Step::GiveWay(index)) = step;
        let Some(slot) = self.slots.get_mut(index) else { return };
        if let Step::GiveWay(_) = step {
            debug!(device = %slot.target.device, "gives way to others");
            slot.give_way.cancel();
            return;
        }
        let Some(member) = slot.member.take() else { return };
        let (sender, commands) = mpsc::channel(WAITING);
        slot.commands = Some(sender);
        slot.give_way = self.stop.child_token();
        let means = Means {
            finder: self.finder.clone(),
            waits: self.settings.waits,
            events: self.events.clone(),
            commands,
            connected: self.connected.0.clone(),
            index,
            give_way: slot.give_way.clone(),
            stop: self.stop.clone(),
        };
        self.visits.spawn(visit(member, means));
    }

    /// When something is to be done, if nothing happens. Commands that are late are answered.
    fn wake(&mut self) -> Instant {
        let now = Instant::now();
        let mut next = self.plan.wake(now);
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let Some(member) = &mut slot.member else { continue };
            let expires = member.expire(now);
            if expires.is_none() {
                self.plan.let_be(index);
            }
            let missing = slot.missed.filter(|_| member.presence != Presence::Gone).map(|at| at + self.settings.grace);
            next = [next, expires, missing].into_iter().flatten().min();
        }
        next.unwrap_or(now + Duration::from_secs(60))
    }

    /// Says who has not been there for too long.
    async fn look_for_missing(&mut self) {
        let now = Instant::now();
        for slot in &mut self.slots {
            let is_over = slot.missed.is_some_and(|missed| now >= missed + self.settings.grace);
            if let (Some(member), Some(reason), true) = (&mut slot.member, &slot.reason, is_over) {
                member.is_gone(reason, &self.events).await;
            }
        }
    }

    fn is_connected(&mut self, index: usize) {
        let [made, _] = CONNECTIONS;
        self.counts.add(made, 1);
        self.plan.connected(index, Instant::now());
        if let Some(slot) = self.slots.get_mut(index) {
            (slot.reason, slot.missed) = (None, None);
        }
    }

    /// A command goes to the visit, or waits for the next one. While its device cannot be reached it
    /// is answered at once.
    fn pass_on(&mut self, command: Command) {
        let found = self.slots.iter_mut().enumerate().find(|(_, slot)| slot.target.device == command.device);
        let Some((index, slot)) = found else {
            let words = format!("{} is not known here", command.device);
            return command.answer(Err(CommandError::Refused(words)));
        };
        if let Some(member) = &mut slot.member {
            match (self.plan.left_alone(index, Instant::now()), &slot.reason) {
                (Some(left), Some(reason)) => {
                    let words = format!("{reason}; the next try is in {} s", left.as_secs() + 1);
                    command.answer(Err(CommandError::NotSent(words)));
                }
                _ => {
                    member.take(command);
                    self.plan.ask(index);
                }
            }
            return;
        }
        let Some(commands) = &slot.commands else { return };
        if let Err(error) = commands.try_send(command) {
            let words = "the connection is just being ended, or too many commands wait".to_owned();
            error.into_inner().answer(Err(CommandError::NotSent(words)));
        }
    }

    async fn ended(&mut self, visited: Visited) {
        let Visited { index, mut member, end, reason } = visited;
        let now = Instant::now();
        // It may have connected and ended before anybody looked.
        while let Ok(connected) = self.connected.1.try_recv() {
            self.is_connected(connected);
        }
        self.plan.ended(index, end, member.times.next(), now);
        let failures = self.plan.failures(index);
        let Some(slot) = self.slots.get_mut(index) else { return };
        slot.commands = None;
        let Some(reason) = reason else {
            (slot.reason, slot.missed) = (None, None);
            if !member.waiting.is_empty() {
                self.plan.ask(index);
            }
            slot.member = Some(member);
            return;
        };
        debug!(device = %slot.target.device, reason, "a connection ended");
        let [_, broken] = CONNECTIONS;
        self.counts.add(broken, u64::from(end != End::NotThere));
        for command in member.waiting.drain(..) {
            command.answer(Err(CommandError::NotSent(reason.clone())));
        }
        slot.missed.get_or_insert(now);
        if end == End::Badly && failures >= TOLERATED {
            member.is_gone(&reason, &self.events).await;
        }
        slot.reason = Some(reason);
        slot.member = Some(member);
    }

    /// Every connection ends, and whoever was there is taken leave of.
    async fn end(mut self) {
        while let Some(visited) = self.visits.join_next().await {
            let Ok(Visited { index, member, .. }) = visited else { continue };
            if let Some(slot) = self.slots.get_mut(index) {
                slot.member = Some(member);
            }
        }
        for member in self.slots.iter_mut().filter_map(|slot| slot.member.as_mut()) {
            for command in member.waiting.drain(..) {
                command.answer(Err(CommandError::Offline("the gateway is stopping".to_owned())));
            }
            if member.presence == Presence::There {
                member.is_gone("the gateway is stopping", &self.events).await;
            }
        }
    }
}
