//! The wiring: makes every channel, starts every task, stops them in order.
//!
//! Stopping goes from south to north. The drivers are told to stop; when the last of them has
//! let go of its end of the event channel, the mapping drains what is left and ends; a queue that
//! blocks gets a moment to take it, and then it is counted as lost, like everything that still
//! comes. Then the ports are asked a last time what they had to drop, and then the uplinks stop.
//! The downlink outlives them: a command that still comes in finds its link down and is
//! answered, at the latest after the next start. Queues and local broker close last. Every wait is
//! bounded, and what is left at its end is already on disk.

mod local;
mod map;
mod overruns;
pub mod reload;
#[cfg(test)]
mod tests;
mod uplinks;
mod upstream;

pub use uplinks::queue_settings;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use wharf_contract::{Driver, Port};

use crate::bridge::Up;
use crate::broker::{Inside, LocalBroker};
use crate::classic;
use crate::classic::doors::Doors;
use crate::clock::Clock;
use crate::config::{self, Site};
use crate::control::{self, Desk, Field, LinkEnd, Reloads, Socket};
use crate::downlink::{self, Catalogue, Downlink, Journal, fail_safe};
use crate::mapping::Mapping;
use crate::message::Message;
use crate::north::{self, North, To};
use crate::queue::Queue;
use crate::topics::Topics;
use crate::uplink::{self, Down, UplinkEnd, UplinkState};
use crate::{drivers, health, supervisor};
use map::Mapper;
use overruns::OverrunWatch;

/// How many events may wait for the mapping.
const EVENTS_WAITING: usize = 4096;
/// How long each part may take to stop. Link health and commands take a `PART_STOPS` each at most,
/// the mapping two, what the ports dropped one, the local broker two, its last
/// delivery and its last commit:
/// together with the rest under 5 s, whatever hangs.
const DRIVERS_STOP: Duration = Duration::from_millis(1500);
const PART_STOPS: Duration = Duration::from_millis(160);
const UPLINKS_STOP: Duration = Duration::from_millis(1500);
const QUEUE_CLOSES: Duration = Duration::from_millis(600);
const CONTROL_STOPS: Duration = Duration::from_millis(50);
const LOSSES_TOLD: Duration = Duration::from_millis(50);

/// What is not in the site file.
pub struct Options {
    /// Where queues live.
    pub state_dir: PathBuf,
    /// Where a copy of every message goes, for something that shows them. What does not fit is
    /// not shown.
    pub tap: Option<mpsc::Sender<Message>>,
}

/// A running gateway.
pub struct Running {
    topics: Topics,
    broker: Option<LocalBroker>,
    uplinks: Vec<UplinkEnd>,
    queues: Vec<(Arc<str>, Queue)>,
    north: North,
    drivers: Stage,
    mapping: JoinHandle<()>,
    overruns: Stage,
    controllers: Stage,
    downlink: Stage,
    uplink_tasks: Stage,
    link_watchers: JoinSet<()>,
    loss_watchers: Stage,
    control: Stage,
    reloads: Reloads,
}

/// Tasks that stop together.
struct Stage {
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Stage {
    fn new() -> Self {
        Self { stop: CancellationToken::new(), tasks: JoinSet::new() }
    }

    /// Asks the tasks to stop and waits; those that do not are ended.
    async fn stop(mut self, what: &str, patience: Duration) {
        self.stop.cancel();
        if timeout(patience, async { while self.tasks.join_next().await.is_some() {} }).await.is_err() {
            warn!(what, running = self.tasks.len(), "did not stop in time; ended");
            self.tasks.shutdown().await;
        }
    }
}

/// Reads each password and certificate a site file names, to see whether they can be used.
///
/// # Errors
///
/// A file that cannot be read or does not hold what it should.
pub fn preflight(site: &Site) -> anyhow::Result<()> {
    uplinks::preflight(site)?;
    local::preflight(site)
}

/// Starts everything a site file describes.
///
/// # Errors
///
/// What would keep the gateway from doing its work for good: a state directory that cannot be
/// used, an address that is taken, certificates that cannot be read. A broker or a device that is
/// away is no error.
pub async fn start(site: Site, options: Options) -> anyhow::Result<Running> {
    let inside = Inside::default();
    let drivers = drivers::build_beside(&site, Some(&options.state_dir), &inside);
    wire(site, drivers, inside, options).await
}

/// Like [`start`], with drivers of the caller's choice in place of the site's own.
///
/// # Errors
///
/// As [`start`].
pub async fn start_with(site: Site, drivers: Vec<Arc<dyn Driver>>, options: Options) -> anyhow::Result<Running> {
    wire(site, drivers, Inside::default(), options).await
}

/// Makes everything and starts it. `inside` leads the drivers to the local broker.
async fn wire(
    mut site: Site,
    mut drivers: Vec<Arc<dyn Driver>>,
    inside: Inside,
    options: Options,
) -> anyhow::Result<Running> {
    let topics = Topics::new(site.gateway.as_str());
    info!(gateway = topics.gateway(), version = env!("CARGO_PKG_VERSION"), "wharf starts: {}", site.summary());

    let started = Instant::now();
    // First of all: what follows belongs to one gateway alone.
    let socket = Socket::claim(&options.state_dir)?;
    let clock = Clock::system();
    let queues = uplinks::open_queues(&site, &options.state_dir, &clock)?;
    let journal = match site.commands.remember.get() {
        Duration::ZERO => None,
        keep => Some(Journal::open(&options.state_dir, keep).context("opening the journal of commands")?),
    };
    let (asks, asks_received) = mpsc::channel(downlink::ASKS_WAITING);
    let way = classic::Way::new(topics.clone(), asks.clone());
    let presented = classic::presented(&site, &drivers, &options.state_dir, way.clone());
    drivers.extend(presented.as_ref().map(|(nodes, _)| nodes.clone() as Arc<dyn Driver>));
    let feed = classic::feed(&site, presented);
    let links = drivers::links(&drivers);
    let bridge = Arc::new(config::bridge::bridge(&site));
    let (local, shown) = mpsc::channel(north::LOCAL_WAITING);
    let mut uplinks = Vec::new();
    for (place, (name, queue)) in queues.iter().enumerate() {
        let down = Down { bridge: bridge.clone(), topics: topics.clone(), uplink: place, local: local.clone() };
        let down = Some(down).filter(|down| !down.wanted().is_empty());
        uplinks.push(uplinks::make(&site, name, queue, &topics, &asks, down, &clock)?);
    }
    let has_broker = site.has_own_broker();
    // With many points they are most of what is in memory by now. Whether there are networks for controllers was
    // looked at before.
    site.forget_links();
    let doors = match &site.controllers {
        Some(settings) => Some(Doors::open(settings, feed.clone(), way).await?),
        None => None,
    };
    let tally = doors.as_ref().map(Doors::tally);
    let local = Some(local).filter(|_| has_broker);
    let north = North::new(uplinks::outlets(&site, &queues), local, options.tap);
    let up = Up::new(bridge, topics.clone(), north.upstream());
    let bridged = up.clone();
    // The last thing that can fail: from here on there are tasks to be stopped in order.
    let broker = match has_broker {
        true => Some(local::start(&site, &options.state_dir, &topics, shown, &asks, feed.clone(), up).await?),
        false => None,
    };
    if let Some(broker) = &broker {
        inside.open(broker.dialer());
    }
    // The local broker lives and dies with the gateway, so for its clients birth is now.
    north.publish(Message::new(topics.state(), "online").retained(), &To::Local).await;

    let mut uplink_tasks = Stage::new();
    let mut uplink_ends = Vec::new();
    for (uplink, keyring) in uplinks {
        let (end, task) = uplink.start(keyring, uplink_tasks.stop.clone());
        uplink_ends.push(end);
        uplink_tasks.tasks.spawn(task);
    }

    let mut loss_watchers = Stage::new();
    for (name, queue) in &queues {
        let (name, queue, north, topics) = (name.clone(), queue.clone(), north.clone(), topics.clone());
        let stop = loss_watchers.stop.clone();
        loss_watchers.tasks.spawn(async move { health::watch_losses(&name, queue, north, topics, stop).await });
    }

    let (events, events_received) = mpsc::channel(EVENTS_WAITING);
    let mut southbound = Stage::new();
    let mut catalogue = Catalogue::default();
    let mut ends = HashMap::new();
    let mut link_ends = Vec::new();
    let mut link_watchers = JoinSet::new();
    let mut overrun_watch = OverrunWatch::new(north.clone());
    let listening = drivers.clone();
    for (driver, facts) in drivers.into_iter().zip(&links) {
        let link = driver.name().clone();
        let route = north.routes(facts.clone()).link();
        catalogue.add(&link, driver.catalogue());
        let (port, end) = Port::new(link.clone(), events.clone(), southbound.stop.clone());
        let (health, to) = (end.health.clone(), To::Some(route));
        link_watchers.spawn(health::watch_link(link.clone(), health, to, north.clone(), topics.clone()));
        overrun_watch.add(link.clone(), route, end.overruns.clone());
        link_ends.push(LinkEnd::new(link.clone(), &end));
        ends.insert(link, end);
        southbound.tasks.spawn(supervisor::supervise(driver, port));
    }
    drop(events);

    let mapping = Mapping::new(topics.gateway(), config::rules(&site, &links), &links);
    let mapper = Mapper::new(mapping, links, north.clone(), topics.clone(), clock, feed.clone(), events_received);
    let mapping = tokio::spawn(mapper.run());
    let mut controllers = Stage::new();
    controllers.tasks.extend(doors.map(|doors| doors.run(controllers.stop.clone())));
    let mut overruns = Stage::new();
    overruns.tasks.spawn(overrun_watch.run(overruns.stop.clone()));

    let commands = ends.iter().map(|(link, end)| (link.clone(), end.commands.clone())).collect();
    let mut downlink = Stage::new();
    let deadline = site.commands.deadline.get();
    let work = Downlink {
        topics: topics.clone(),
        catalogue,
        links: ends,
        drivers: listening.clone(),
        north: north.clone(),
        deadline,
        retained_sets: site.commands.retained_sets,
        journal,
    };
    let states = || uplink_ends.iter().map(|uplink| uplink.state.clone()).collect();
    let told = work.links.values().map(|end| end.upstream.clone()).collect();
    let attached = tally.as_ref().map(|tally| tally.attached());
    downlink.tasks.spawn(upstream::tell(states(), attached, told, downlink.stop.clone()));
    if let Some(guard) = fail_safe::Guard::new(&work, states(), &options.state_dir) {
        downlink.tasks.spawn(guard.run(downlink.stop.clone()));
    }
    downlink.tasks.spawn(work.run(asks_received, downlink.stop.clone()));

    let mut control = Stage::new();
    let reloads = Reloads::default();
    if let Some(socket) = socket {
        let queues = queues.iter().map(|(_, queue)| queue.clone());
        let uplinks = uplink_ends.iter().cloned().zip(queues).collect();
        let field = Field::new(topics.clone(), asks, commands).listening(listening);
        let counted = broker.as_ref().map(LocalBroker::sight);
        let desk = Desk::new(topics.gateway(), &options.state_dir, started, link_ends, uplinks, field)
            .with_controllers(tally, feed)
            .with_local_clients(counted, north.clone())
            .with_bridge(bridged)
            .with_reloads(reloads.clone());
        control.tasks.spawn(control::serve(socket, desk, control.stop.clone()));
    }

    Ok(Running {
        topics,
        broker,
        uplinks: uplink_ends,
        queues,
        north,
        drivers: southbound,
        mapping,
        overruns,
        controllers,
        downlink,
        uplink_tasks,
        link_watchers,
        loss_watchers,
        control,
        reloads,
    })
}

impl Running {
    /// Where the local broker listens.
    pub fn broker_addresses(&self) -> &[SocketAddr] {
        self.broker.as_ref().map(LocalBroker::addresses).unwrap_or_default()
    }

    /// The uplinks.
    pub fn uplinks(&self) -> &[UplinkEnd] {
        &self.uplinks
    }

    /// Each uplink's queue.
    pub fn queues(&self) -> &[(Arc<str>, Queue)] {
        &self.queues
    }

    /// Waits until every uplink is connected.
    ///
    /// # Errors
    ///
    /// The gateway stopped meanwhile.
    pub async fn connected(&self) -> anyhow::Result<()> {
        for uplink in &self.uplinks {
            uplink.state.clone().wait_for(|state| *state == UplinkState::Up).await.context("the uplink has ended")?;
        }
        Ok(())
    }

    /// Waits until a part ends that should not, and names it. None does unless it has a defect;
    /// but a gateway that goes on without one of its parts would only look like one. (The control
    /// socket is none of them: nothing that is read or delivered depends on it.)
    pub async fn ended_early(&mut self) -> &'static str {
        let broker = async {
            match &mut self.broker {
                Some(broker) => broker.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // Without any link there is nothing to map, and it has ended already.
            _ = &mut self.mapping, if !self.drivers.tasks.is_empty() => "the mapping",
            Some(_) = self.overruns.tasks.join_next() => "the count of dropped readings",
            Some(_) = self.downlink.tasks.join_next() => "the handling of commands",
            Some(_) = self.uplink_tasks.tasks.join_next() => "an uplink",
            () = broker => "the local broker",
        }
    }

    /// Stops everything, south to north, within 5 s.
    ///
    /// # Errors
    ///
    /// A queue whose last commit failed: what was captured since the one before is lost.
    pub async fn stop(self) -> anyhow::Result<()> {
        let Self {
            topics,
            broker,
            uplinks: _,
            queues,
            north,
            drivers,
            mut mapping,
            overruns,
            controllers,
            downlink,
            uplink_tasks,
            mut link_watchers,
            loss_watchers,
            control,
            reloads: _,
        } = self;
        drivers.stop("drivers", DRIVERS_STOP).await;
        let mapped = mapping.is_finished() || timeout(PART_STOPS, &mut mapping).await.is_ok();
        // A queue that blocks will not have room in time. What still comes is counted there.
        north.stop_waiting();
        if !mapped {
            warn!("readings were still waiting for room in a queue; what finds none is counted as lost");
            if timeout(PART_STOPS / 2, &mut mapping).await.is_err() {
                warn!("the mapping did not stop in time; ended, and what it had not mapped is counted as lost");
                mapping.abort();
            }
        }
        controllers.stop("controllers", CONTROL_STOPS).await;
        overruns.stop("the count of dropped readings", PART_STOPS).await;
        // They end when they have told the last of each link.
        let told = async { while link_watchers.join_next().await.is_some() {} };
        if timeout(PART_STOPS, told).await.is_err() {
            warn!("the last health of the links was not told");
        }
        // A mapping that was ended counts what it had not mapped as soon as a disk that hangs lets go of it, and
        // the queues have to be open for that.
        let counted = async { mapping.is_finished() || timeout(UPLINKS_STOP, &mut mapping).await.is_ok() };
        tokio::join!(uplink_tasks.stop("uplinks", UPLINKS_STOP), counted);
        downlink.stop("commands", PART_STOPS).await;
        control.stop("the control socket", CONTROL_STOPS).await;
        let closed = join_all(queues.iter().map(|(name, queue)| close(name, queue))).await;
        // What found no room at the very end is told as well.
        loss_watchers.stop("the watch over losses", LOSSES_TOLD).await;
        if let Some(broker) = broker {
            north.publish(uplink::will(&topics), &To::Local).await;
            drop(north);
            broker.stop(PART_STOPS).await;
        }
        info!("wharf stopped");
        closed.into_iter().collect()
    }
}

/// Commits what an uplink's queue still holds in memory.
async fn close(name: &str, queue: &Queue) -> anyhow::Result<()> {
    let closed = match timeout(QUEUE_CLOSES, queue.close()).await {
        Ok(closed) => closed.with_context(|| format!("closing the queue of uplink {name}")),
        Err(_) => Err(anyhow!("the disk did not take the last messages of uplink {name} in time")),
    };
    info!(uplink = %name, waiting = queue.counters().queued, "queue closed");
    closed
}
