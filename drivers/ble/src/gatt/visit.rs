//! One connection to one device: what is due is read, what it tells is passed on; `obey` carries
//! out commands.

mod obey;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;
use wharf_contract::{Command, CommandError, Event, Reading, Value};

use crate::radio::{Cuts, Finder};

use super::bond::Bond;
use super::plan::End;
use super::target::{Point, Target};
use super::timetable::Timetable;
use super::wire::{Fault, Ledger, Spot, Waits, Wire};

/// How many commands may wait for one device.
pub(crate) const WAITING: usize = 16;

/// The daemon tells of a value that was read as if the device had told of it by itself. Within this time
/// that is taken for the same.
const ECHO: Duration = Duration::from_secs(1);

/// So many exchanges in a row that fail without a reason of the device's end the connection.
const MOST_BROKEN: u32 = 3;

/// What is known of a device from one connection to the next.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) target: Arc<Target>,
    pub(crate) times: Timetable,
    pub(crate) wire: Option<Wire>,
    /// Commands that were not carried out yet, the oldest first.
    pub(crate) waiting: VecDeque<Command>,
    pub(crate) presence: Presence,
    pub(crate) ledger: Ledger,
}

/// What was said of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    Unsaid,
    There,
    Gone,
}

/// What a visit needs beside its device.
#[derive(Debug)]
pub(crate) struct Means {
    pub(crate) finder: Finder,
    pub(crate) waits: Waits,
    pub(crate) events: mpsc::Sender<Event>,
    /// Commands that come meanwhile.
    pub(crate) commands: mpsc::Receiver<Command>,
    /// Told once the connection is there.
    pub(crate) connected: mpsc::Sender<usize>,
    pub(crate) index: usize,
    /// Asks it to end.
    pub(crate) give_way: CancellationToken,
    /// Cancelled once all of them are to end for good.
    pub(crate) stop: CancellationToken,
}

/// How a visit ended.
#[derive(Debug)]
pub(crate) struct Visited {
    pub(crate) index: usize,
    pub(crate) member: Member,
    pub(crate) end: End,
    /// Why, if not well.
    pub(crate) reason: Option<String>,
}

/// A visit under way.
struct Visit<'a> {
    member: &'a mut Member,
    means: &'a mut Means,
    cuts: watch::Receiver<Cuts>,
    /// How often its link had been cut before.
    cut_before: u64,
    wire: Wire,
    /// What was read of those that the device tells of, and when.
    echoes: HashMap<Spot, (Vec<u8>, Instant)>,
    /// Where its points are; `None` if the device has no such thing.
    spots: Vec<Option<Spot>>,
    broken: u32,
}

impl Member {
    /// Says that the device is there, if that is news.
    pub(crate) async fn is_there(&mut self, events: &mpsc::Sender<Event>) {
        if self.presence != Presence::There {
            self.presence = Presence::There;
            self.say(true, None, events).await;
        }
    }

    /// Says that it is gone.
    pub(crate) async fn is_gone(&mut self, reason: &str, events: &mpsc::Sender<Event>) {
        if self.presence != Presence::Gone {
            self.presence = Presence::Gone;
            self.say(false, Some(reason.to_owned()), events).await;
        }
    }

    async fn say(&self, alive: bool, reason: Option<String>, events: &mpsc::Sender<Event>) {
        let event = Event::Device { device: self.target.device.clone(), alive, reason };
        // Nobody is left to be told once the session has ended.
        let _ = events.send(event).await;
    }

    /// Answers commands that came too late. Returns when the next one will.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Instant> {
        let all = std::mem::take(&mut self.waiting);
        let (late, left): (VecDeque<_>, VecDeque<_>) = all.into_iter().partition(|command| command.deadline <= now);
        late.into_iter().for_each(|command| command.answer(Err(CommandError::Expired)));
        self.waiting = left;
        self.waiting.iter().map(|command| command.deadline).min()
    }

    /// Takes in a command, if there is room.
    pub(crate) fn take(&mut self, command: Command) {
        if self.waiting.len() < WAITING {
            self.waiting.push_back(command);
        } else {
            command.answer(Err(CommandError::NotSent("too many commands wait for this device".to_owned())));
        }
    }
}

/// Connects to a device, does what is to be done, and ends the connection.
pub(crate) async fn visit(mut member: Member, mut means: Means) -> Visited {
    let (end, reason) = match make(&mut member, &mut means).await {
        Ok(wire) => {
            let (wire, ended) = spend(wire, &mut member, &mut means).await;
            // A daemon takes two seconds to end a connection. Whoever stops may not wait for so long.
            if means.stop.is_cancelled() && member.presence == Presence::There {
                member.is_gone("the gateway is stopping", &means.events).await;
            }
            // Of one that is known to be cut there is nothing left to end.
            let is_cut = matches!(&ended, Err(Fault::Lost(_)));
            if !is_cut && let Err(fault) = wire.disconnect().await {
                debug!(device = %member.target.device, %fault, "a connection could not be ended");
            }
            member.wire = Some(wire).filter(Wire::is_worth_keeping);
            match ended {
                Ok(()) => (End::Well, None),
                Err(fault) => (if is_cut { End::Cut } else { End::Badly }, Some(fault.to_string())),
            }
        }
        Err((end, reason)) => (end, Some(reason)),
    };
    means.commands.close();
    while let Ok(command) = means.commands.try_recv() {
        member.take(command);
    }
    Visited { index: means.index, member, end, reason }
}

/// Makes the connection. Meanwhile commands come in, and those that are late are told.
async fn make(member: &mut Member, means: &mut Means) -> Result<(Wire, u64), (End, String)> {
    let address = member.target.address;
    let reach = means.finder.peripheral(address).await.map_err(|error| (End::NotThere, error.to_string()))?;
    let cut_before = means.finder.cuts().borrow().get(&address).copied().unwrap_or(0);
    let kept = member.wire.take().filter(Wire::is_worth_keeping);
    let mut wire = kept.unwrap_or_else(|| Wire::new(reach.clone(), means.waits, member.ledger.clone()));
    let mut is_lost = false;
    let made = {
        let (bond, limit) = (member.target.bond.clone(), means.waits.pair);
        let connecting = async {
            Bond::see_to(bond.as_ref(), &reach, limit).await?;
            wire.connect().await.map_err(|fault| {
                is_lost = matches!(fault, Fault::Lost(_));
                format!("cannot connect: {fault}")
            })
        };
        let mut connecting = std::pin::pin!(connecting);
        loop {
            let expires = member.expire(Instant::now());
            tokio::select! {
                made = &mut connecting => break made,
                Some(command) = means.commands.recv() => member.take(command),
                () = until(expires) => {}
                () = means.give_way.cancelled() => break Err("the gateway is stopping".to_owned()),
            }
        }
    };
    match made {
        Ok(()) => Ok((wire, cut_before)),
        Err(reason) => {
            // The daemon may still be at it, and the device would be taken up by nobody.
            if let Err(fault) = wire.disconnect().await {
                debug!(%address, %fault, "an attempt to connect could not be ended");
            }
            member.wire = Some(wire).filter(|wire| wire.is_worth_keeping() && !is_lost);
            Err((End::Badly, reason))
        }
    }
}

/// What is done while the connection is there.
async fn spend((wire, cut_before): (Wire, u64), member: &mut Member, means: &mut Means) -> (Wire, Result<(), Fault>) {
    // Whoever shares out the connections ends before its visits only if nobody is interested any more.
    let _ = means.connected.send(means.index).await;
    let cuts = means.finder.cuts();
    let place = |point: &Point| wire.find(point.characteristic, point.service);
    let spots = member.target.points.iter().map(place).collect();
    let mut visit = Visit { member, means, cuts, cut_before, wire, echoes: HashMap::new(), spots, broken: 0 };
    let ended = match visit.listen().await {
        Ok(()) => visit.serve().await,
        Err(fault) => Err(fault),
    };
    (visit.wire, ended)
}

/// Until a moment that may never come.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Visit<'_> {
    /// Asks the device to tell of what it is to tell of, and reads that once.
    async fn listen(&mut self) -> Result<(), Fault> {
        let target = Arc::clone(&self.member.target);
        let mut asked: Vec<Spot> = Vec::new();
        for (index, point) in target.points.iter().enumerate().filter(|(_, point)| point.notify) {
            let spot = self.spots.get(index).copied().flatten();
            let Some(spot) = spot.filter(|spot| !asked.contains(spot)) else {
                if spot.is_none() {
                    self.is_missing(point).await;
                }
                continue;
            };
            match self.wire.subscribe(spot).await {
                Err(Fault::Refused(reason) | Fault::Unpaired(reason) | Fault::Broken(reason)) => {
                    self.tell(point, Err(format!("the device does not tell of it: {reason}")), SystemTime::now()).await;
                }
                outcome => outcome?,
            }
            asked.push(spot);
            self.echoes.insert(spot, (Vec::new(), Instant::now()));
            if self.wire.is_readable(spot) {
                self.read(spot).await?;
            }
        }
        Ok(())
    }

    async fn serve(&mut self) -> Result<(), Fault> {
        loop {
            while let Some((spot, bytes)) = self.wire.told_already() {
                self.hear(spot, bytes).await;
            }
            while let Ok(command) = self.means.commands.try_recv() {
                self.member.take(command);
            }
            self.look_for_cut().await?;
            if self.means.give_way.is_cancelled() {
                return Ok(());
            }
            self.member.expire(Instant::now());
            if let Some(command) = self.member.waiting.pop_front() {
                self.obey(command).await?;
                continue;
            }
            let now = Instant::now();
            let keep = self.member.target.keep;
            if let Some(index) = self.member.times.due(now, !keep) {
                self.read_point(index, now).await?;
                continue;
            }
            // Only now: one that connects and then answers nothing is not there.
            self.member.is_there(&self.means.events).await;
            if !keep {
                return Ok(());
            }
            let due = self.member.times.next();
            tokio::select! {
                () = self.means.give_way.cancelled() => {}
                told = self.wire.told() => self.hear(told.0, told.1).await,
                Some(command) = self.means.commands.recv() => self.member.take(command),
                _ = self.cuts.changed() => {}
                () = until(due) => {}
            }
        }
    }

    /// The link may have been cut. What comes late of an earlier connection is none.
    async fn look_for_cut(&mut self) -> Result<(), Fault> {
        let cuts = self.cuts.borrow_and_update().get(&self.member.target.address).copied().unwrap_or(0);
        if cuts == self.cut_before || self.wire.is_connected().await {
            self.cut_before = cuts;
            return Ok(());
        }
        Err(Fault::Lost("the connection was cut".to_owned()))
    }

    async fn read_point(&mut self, index: usize, now: Instant) -> Result<(), Fault> {
        let target = Arc::clone(&self.member.target);
        let Some(spot) = self.spots.get(index).copied().flatten() else {
            self.member.times.done(index, now);
            if let Some(point) = target.points.get(index) {
                self.is_missing(point).await;
            }
            return Ok(());
        };
        // Whatever else stands there is read with it.
        for (other, of_other) in self.spots.iter().enumerate() {
            if *of_other == Some(spot) {
                self.member.times.done(other, now);
            }
        }
        self.read(spot).await
    }

    /// Reads a characteristic and tells all that stands in it. Fails only if the connection is of no
    /// more use.
    async fn read(&mut self, spot: Spot) -> Result<(), Fault> {
        let (read, at) = (self.wire.read(spot).await, SystemTime::now());
        match read {
            Ok(bytes) => {
                self.broken = 0;
                self.member.is_there(&self.means.events).await;
                self.tell_all(spot, &bytes, at).await;
                self.remember(spot, bytes);
                Ok(())
            }
            Err(fault) => {
                self.tell_failure(spot, &fault, at).await;
                self.weigh(fault)
            }
        }
    }

    /// Whether the connection is of no more use.
    fn weigh(&mut self, fault: Fault) -> Result<(), Fault> {
        match fault {
            Fault::Refused(_) | Fault::Unpaired(_) => Ok(()),
            Fault::Broken(_) if self.broken + 1 < MOST_BROKEN => {
                self.broken += 1;
                Ok(())
            }
            fault => Err(fault),
        }
    }

    fn remember(&mut self, spot: Spot, bytes: Vec<u8>) {
        if let Some(echo) = self.echoes.get_mut(&spot) {
            *echo = (bytes, Instant::now());
        }
    }

    /// The device told of something by itself.
    async fn hear(&mut self, spot: Spot, bytes: Vec<u8>) {
        // What is read of others is told of too, and was told already.
        let Some((echo, at)) = self.echoes.get_mut(&spot) else { return };
        if *echo == bytes && at.elapsed() < ECHO {
            echo.clear();
            return;
        }
        self.tell_all(spot, &bytes, SystemTime::now()).await;
    }

    async fn tell_all(&self, spot: Spot, bytes: &[u8], at: SystemTime) {
        for (point, _) in self.points_at(spot) {
            self.tell(point, point.codec.decode(bytes), at).await;
        }
    }

    async fn tell_failure(&self, spot: Spot, fault: &Fault, at: SystemTime) {
        for (point, _) in self.points_at(spot) {
            self.tell(point, Err(fault.to_string()), at).await;
        }
    }

    fn points_at(&self, spot: Spot) -> impl Iterator<Item = (&Point, &Option<Spot>)> {
        let all = self.member.target.points.iter().zip(&self.spots);
        all.filter(move |(_, its)| **its == Some(spot))
    }

    async fn is_missing(&self, point: &Point) {
        if !point.optional {
            let reason = format!("the device has no characteristic {}", point.characteristic);
            self.tell(point, Err(reason), SystemTime::now()).await;
        }
    }

    async fn tell(&self, point: &Point, value: Result<Value, String>, at: SystemTime) {
        let (device, name) = (self.member.target.device.clone(), point.name.clone());
        let reading = match value {
            Ok(value) => Reading::good(device, name, value, at),
            Err(reason) => Reading::bad(device, name, reason, at),
        };
        let reading = Reading { unit: point.unit.clone(), labels: point.labels.clone(), ..reading };
        let _ = self.means.events.send(Event::Reading(reading)).await;
    }
}
