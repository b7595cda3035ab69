//! The virtual nodes at work: a driver whose field is the site's other readings.
//!
//! It is told of readings by the [feed](super::feed), and says as messages what its
//! [nodes](super::nodes) say, through its port like any driver: so they are mapped, queued and shown like
//! those of a network. What a controller sets is passed on to the device behind the node as an ask of its
//! own, so that the limits of the site file count, and the driver of the device answers.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};
use wharf_contract::small_file::{self, Keeper};
use wharf_contract::{
    Action, Command, CommandError, DeviceId, Done, Driver, DriverError, Event, Health, Labels, LinkId, PointId,
    PointInfo, Port, Reading, Relay, Value, async_trait,
};
use wharf_mysensors::LABELS;
use wharf_mysensors::message::{Message, SELF};

use super::nodes::{Nodes, Reply, Rules, Said};
use super::{KIND, Way};
use crate::config::rules::Presents;
use crate::drivers;
use crate::mapping::LinkFacts;

/// How many readings may wait for the nodes.
const NEWS_WAITING: usize = 1024;
/// How many of them are taken at once.
const AT_ONCE: usize = 256;
/// The most writes that may be on their way to devices.
const UNDER_WAY: usize = 64;
/// How much of the file is read: 254 nodes of 254 children each are less.
const LARGEST: u64 = 16 << 20;
/// How long the disk may take for new numbers.
const KEPT_BY: Duration = Duration::from_secs(5);
/// How often it is said that the nodes are there. A controller that has come meanwhile asks for those that
/// it does not know.
const ROLL_CALL: Duration = Duration::from_secs(300);

/// What the virtual nodes are told.
#[derive(Debug)]
pub enum News {
    /// Of a device that is shown.
    Reading(Box<Reading>),
    /// A device answers, or does not.
    Device(DeviceId, bool),
    /// A controller has started and wants to know every node.
    Birth,
}

/// The driver of every virtual node.
#[derive(Debug)]
pub struct Presented {
    name: LinkId,
    nodes: Mutex<Nodes>,
    news: tokio::sync::Mutex<mpsc::Receiver<News>>,
    keeper: Keeper,
    way: Way,
    started: Instant,
}

impl Presented {
    /// The nodes of what a site shows, as they are numbered in that file; and where they are told news.
    pub fn new(shows: Presents, drivers: &[Arc<dyn Driver>], file: &Path, way: Way) -> (Arc<Self>, mpsc::Sender<News>) {
        let text = small_file::look(file, LARGEST).unwrap_or_else(|error| {
            warn!(%error, file = %file.display(), "the numbers of virtual nodes cannot be read, and are given anew");
            String::new()
        });
        let mut nodes = Nodes::new(&text, shows.stated.clone(), rules(drivers));
        // What was shown once and is not any more.
        let links: HashMap<DeviceId, LinkFacts> = drivers
            .iter()
            .zip(drivers::links(drivers))
            .flat_map(|(driver, link)| driver.catalogue().into_iter().map(move |info| (info.device, link.clone())))
            .collect();
        nodes.retain(|device| shows.could_show(links.get(device), device));
        let (sender, news) = mpsc::channel(NEWS_WAITING);
        let this = Self {
            name: LinkId::from(KIND),
            nodes: Mutex::new(nodes),
            news: tokio::sync::Mutex::new(news),
            keeper: Keeper::new(file.to_owned()),
            way,
            started: Instant::now(),
        };
        (Arc::new(this), sender)
    }

    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is a virtual node of that number.
    pub fn has(&self, node: u8) -> bool {
        self.nodes().has(node)
    }

    /// How many virtual nodes there are.
    pub fn count(&self) -> usize {
        self.nodes().numbers().count()
    }

    /// What the nodes say to this news.
    fn take(&self, batch: impl Iterator<Item = News>) -> Vec<Said> {
        let (mut nodes, now) = (self.nodes(), Instant::now());
        let said = batch.flat_map(|news| match news {
            News::Reading(reading) => nodes.hear(&reading, now),
            News::Device(device, is_alive) => {
                nodes.device(&device, is_alive);
                Vec::new()
            }
            News::Birth => nodes.all_asked_to_present(now),
        });
        said.collect()
    }

    /// Says it, when the numbers in it are safe on disk.
    async fn say(&self, said: Vec<Said>, port: &Port) {
        let (is_news, left_out, coalesced) = {
            let mut nodes = self.nodes();
            (nodes.take_news(), nodes.take_left_out(), nodes.take_coalesced())
        };
        port.counts().add("coalesced", coalesced);
        for what in left_out {
            warn!(what, "not shown as a MySensors node");
        }
        if is_news {
            match timeout(KEPT_BY, self.keeper.replace(|| self.nodes().to_text())).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => warn!(%error, "the numbers of virtual nodes are not on disk, and may change"),
                Err(_) => warn!("the numbers of virtual nodes are not on disk yet: it does not answer"),
            }
        }
        for said in said {
            port.emit(Event::Reading(reading(said))).await;
        }
    }

    /// Does what a controller wants of a node, or begins it.
    async fn obey(&self, command: Command, writes: &mut JoinSet<()>, port: &Port) {
        let Action::Raw(line) = &command.action else {
            let why = "a virtual node is spoken to in classic form".to_owned();
            return command.answer(Err(CommandError::Refused(why)));
        };
        let message = match Message::parse(line) {
            Ok(message) => message,
            Err(error) => return command.answer(Err(CommandError::Refused(error.to_string()))),
        };
        let reply = self.nodes().asked(&message, self.started.elapsed(), Instant::now());
        match reply {
            Reply::Say(said) => {
                self.say(said, port).await;
                command.answer(Ok(Done::default()));
            }
            Reply::Refuse(why) => command.answer(Err(CommandError::Refused(why))),
            Reply::Write { .. } if writes.len() >= UNDER_WAY => {
                command.answer(Err(CommandError::NotSent("too many writes to virtual nodes are under way".into())));
            }
            Reply::Write { device, point, value } => {
                let way = (self.way.clone(), Arc::from(format!("node {}", message.node)));
                writes.spawn(pass_on(command, way, (device, point), value, message.ack));
            }
        }
    }
}

#[async_trait]
impl Driver for Presented {
    fn name(&self) -> &LinkId {
        &self.name
    }

    fn kind(&self) -> &'static str {
        KIND
    }

    fn labels(&self) -> &'static [&'static str] {
        &LABELS
    }

    /// Nothing: what is written to a node is written to the device behind it.
    fn catalogue(&self) -> Vec<PointInfo> {
        Vec::new()
    }

    fn relays(&self, node: u8) -> Relay {
        match node {
            // Whoever asks who is there means these as well.
            SELF => Relay::Takes,
            node if self.has(node) => Relay::Owns,
            _ => Relay::Not,
        }
    }

    async fn run(&self, port: &mut Port) -> Result<(), DriverError> {
        // One session runs at a time, and takes up where the one before it ended.
        let mut news = self.news.lock().await;
        let stop = port.stop();
        let (mut writes, mut batch) = (JoinSet::new(), Vec::with_capacity(AT_ONCE));
        port.report(Health::Online);
        let presented = self.nodes().present_all(Instant::now());
        info!(nodes = self.nodes().numbers().count(), "virtual nodes presented");
        self.say(presented, port).await;
        let mut roll_call = Instant::now() + ROLL_CALL;
        loop {
            let wake = self.nodes().until().map_or(roll_call, |due| due.min(roll_call));
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                // Together, for what is new in them costs one wait for the disk.
                count = news.recv_many(&mut batch, AT_ONCE) => {
                    if count == 0 {
                        // Nobody tells anything any more: the gateway is stopping.
                        stop.cancelled().await;
                    }
                    let said = self.take(batch.drain(..));
                    self.say(said, port).await;
                }
                command = port.next_command() => self.obey(command, &mut writes, port).await,
                Some(_) = writes.join_next() => {}
                () = sleep_until(wake) => {
                    let now = Instant::now();
                    let mut said = self.nodes().due(self.started.elapsed(), now);
                    if roll_call <= now {
                        roll_call = now + ROLL_CALL;
                        said.extend(self.nodes().discover_all());
                    }
                    self.say(said, port).await;
                }
            }
        }
    }
}

/// Writes to the device behind a node, and answers as that was answered. What the device has confirmed is
/// the node's echo, where one is wanted.
async fn pass_on(
    command: Command,
    (way, from): (Way, Arc<str>),
    (device, point): (DeviceId, PointId),
    value: Value,
    is_echo_wanted: bool,
) {
    let left = command.deadline.saturating_duration_since(Instant::now());
    let order = json!({ "value": value.to_json(), "expires": format!("{}ms", left.as_millis()) });
    let answer = match way.ask(&from, &format!("{device}/{point}"), order.to_string()).await {
        Ok(_) => Ok(Done { observed: is_echo_wanted.then(|| value.clone()), written: Some(value), note: None }),
        Err(why) => Err(CommandError::Refused(why)),
    };
    command.answer(answer);
}

/// What may be written to the points of these drivers.
fn rules(drivers: &[Arc<dyn Driver>]) -> Rules {
    let points = drivers.iter().flat_map(|driver| driver.catalogue());
    points.filter_map(|info| Some(((info.device, info.point), info.write?))).collect()
}

/// A message of a virtual node, as a driver hands it over.
fn reading(said: Said) -> Reading {
    let Said { message, device, point, value, unit, taken_at } = said;
    let numbers = [
        message.node.to_string(),
        message.child.to_string(),
        message.command.number().to_string(),
        u8::from(message.ack).to_string(),
        message.kind.to_string(),
    ];
    Reading {
        verbatim: Some(message.payload.into()),
        unit,
        labels: Labels::new(LABELS.into_iter().zip(numbers)),
        // Named apart from the device's own readings, so that no rule takes the one for the other.
        ..Reading::good(format!("{KIND}-{device}").into(), point, value, taken_at.unwrap_or_else(SystemTime::now))
    }
}
