//! The virtual nodes: which device is which node, which point which child, what each of them last said,
//! and what they answer. Pure: readings and messages in, messages out, time as an argument.
//!
//! A node or a child keeps its number for good: it is in [`Nodes::to_text`], which is kept on disk before the
//! number is used. Nodes are numbered from 200 down: the nodes of a radio network get theirs from the bottom,
//! or, from Home Assistant, above the highest that it knows. Children are numbered from 1.
//!
//! What takes many messages to answer is answered once in a while, see [`Paced`].

mod kept;
mod node;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use tokio::time::Instant;
use wharf_contract::{DeviceId, PointId, Quality, Reading, Unit, Value, WriteRule};
use wharf_mysensors::message::{Command, Message, SELF};
use wharf_mysensors::paced::Paced;
use wharf_mysensors::types;

use super::kinds::{self, Kind};
pub use node::Said;
use node::{Child, Last, Node, battery};

/// The version of the MySensors library whose words are spoken here.
pub const LIBRARY: &str = "2.3.2";
/// The most virtual nodes, and the most children of each: as many as there are numbers.
pub const MOST_NODES: usize = 254;
/// The most children of a node.
pub const MOST_CHILDREN: usize = 254;

/// The first number that is given, and those below it before those above: a controller that gives a new
/// node the number above the highest it knows has to have some left.
const FIRST: u8 = 200;

/// A controller that hears of a child asks its broker for that child's values only then. So they are said
/// once more, this long after a presentation.
const VALUES_FOLLOW: Duration = Duration::from_secs(2);

/// What may be written to the points of the site.
pub type Rules = HashMap<(DeviceId, PointId), Arc<WriteRule>>;

/// Every virtual node.
#[derive(Debug, Default)]
pub struct Nodes {
    nodes: BTreeMap<u8, Node>,
    numbers: HashMap<DeviceId, u8>,
    /// The numbers that the site file gives, by device.
    stated: HashMap<DeviceId, u8>,
    rules: Rules,
    /// Answers of all nodes to who is there, and who is alive.
    discover: Paced,
    heartbeat: Paced,
    /// Asks that were put together with one of a moment ago, not told yet.
    coalesced: u64,
    /// Whether a number was given that is not on disk yet.
    is_news: bool,
    /// What found no number, not told yet.
    left_out: Vec<String>,
    without: Without,
}

/// What found no number, so that it is told once.
#[derive(Debug, Default)]
struct Without {
    devices: HashSet<DeviceId>,
    full: HashSet<u8>,
}

/// What a message to virtual nodes comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// This is said.
    Say(Vec<Said>),
    /// A point of a device is written.
    Write {
        /// The device.
        device: DeviceId,
        /// The point.
        point: PointId,
        /// The value.
        value: Value,
    },
    /// It cannot be done, and this is why.
    Refuse(String),
}

impl Nodes {
    /// The nodes as they were numbered before (what [`Nodes::to_text`] gave), with the numbers that the
    /// site file gives, which come before those. A text that makes no sense is no text.
    pub fn new(text: &str, stated: HashMap<DeviceId, u8>, rules: Rules) -> Self {
        let mut nodes = Self { stated, rules, ..Self::default() };
        let known: Json = serde_json::from_str(text).unwrap_or_default();
        for node in known["nodes"].as_array().into_iter().flatten() {
            nodes.recall(node);
        }
        nodes
    }

    /// Whether there is something new to be kept; asked once.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.is_news)
    }

    /// How many asks were put together with one of a moment ago, since this was asked.
    pub fn take_coalesced(&mut self) -> u64 {
        std::mem::take(&mut self.coalesced)
    }

    /// What found no number since this was asked, in words.
    pub fn take_left_out(&mut self) -> Vec<String> {
        std::mem::take(&mut self.left_out)
    }

    /// Forgets the nodes of devices that are not shown any more. Their numbers are free again.
    pub fn retain(&mut self, is_shown: impl Fn(&DeviceId) -> bool) {
        let before = self.nodes.len();
        self.nodes.retain(|_, node| is_shown(&node.device));
        self.numbers.retain(|device, _| is_shown(device));
        self.is_news |= before != self.nodes.len();
    }

    /// The numbers that are given.
    pub fn numbers(&self) -> impl Iterator<Item = u8> {
        self.nodes.keys().copied()
    }

    /// Whether there is a node of that number.
    pub fn has(&self, number: u8) -> bool {
        self.nodes.contains_key(&number)
    }

    /// Takes in a reading of a device that is shown, and gives what its node says of it. Only a good value
    /// is said: a message of a sensor cannot say that there is none.
    pub fn hear(&mut self, reading: &Reading, now: Instant) -> Vec<Said> {
        let Some(value) = reading.value.as_ref().filter(|_| reading.quality == Quality::Good) else {
            self.forget(reading);
            return Vec::new();
        };
        let Some((number, is_new)) = self.number(&reading.device) else { return Vec::new() };
        let Some(node) = self.nodes.get_mut(&number) else { return Vec::new() };
        node.is_away = false;
        let mut said = if is_new { node.introduce(number) } else { Vec::new() };
        if let Some(level) = battery(reading, value) {
            node.battery = Some((level, reading.taken_at));
            said.extend(node.say_battery(number));
            return said;
        }
        let Some((child, is_new)) = self.child(number, reading, value) else { return said };
        let Some(node) = self.nodes.get_mut(&number) else { return said };
        if is_new {
            said.extend(node.introduce_child(number, child));
            node.values_due = Some(now + VALUES_FOLLOW);
        }
        if let Some(known) = node.children.get_mut(&child)
            && let Some(payload) = known.kind.payload(value)
        {
            known.last = Some(Last { payload, value: value.clone(), taken_at: reading.taken_at });
            said.extend(node.say_value(number, child));
        }
        said
    }

    /// A device answers or does not. Of one that does not nothing is known, so nothing is said again as if it were.
    pub fn device(&mut self, device: &DeviceId, is_alive: bool) {
        if let Some(node) = self.numbers.get(device).and_then(|number| self.nodes.get_mut(number)) {
            node.is_away = !is_alive;
            if !is_alive {
                node.forget();
            }
        }
    }

    /// What was said of a point is not known to be true any more.
    fn forget(&mut self, reading: &Reading) {
        let Some(node) = self.numbers.get(&reading.device).and_then(|number| self.nodes.get_mut(number)) else {
            return;
        };
        match node.by_point.get(&reading.point).and_then(|child| node.children.get_mut(child)) {
            Some(child) => child.last = None,
            None if node::is_battery(reading) => node.battery = None,
            None => {}
        }
    }

    /// Everything that a controller has to know, of every node.
    pub fn present_all(&mut self, now: Instant) -> Vec<Said> {
        let numbers: Vec<u8> = self.numbers().collect();
        numbers.into_iter().flat_map(|number| self.present(number, now)).collect()
    }

    /// The same for a controller that wants to know, or has just started: of each node at once, or when it
    /// has been a while since it was asked last.
    pub fn all_asked_to_present(&mut self, now: Instant) -> Vec<Said> {
        let numbers: Vec<u8> = self.numbers().collect();
        numbers.into_iter().flat_map(|number| self.asked_to_present(number, now)).collect()
    }

    fn asked_to_present(&mut self, number: u8, now: Instant) -> Vec<Said> {
        if self.nodes.get_mut(&number).is_some_and(|node| node.presentation.ask(now)) {
            return self.present(number, now);
        }
        self.coalesced += 1;
        Vec::new()
    }

    /// That every node is there whose device is. A controller that does not know one asks for its presentation.
    pub fn discover_all(&self) -> Vec<Said> {
        self.answer_all(types::DISCOVER, Duration::ZERO)
    }

    /// When something is to be said that nobody asked for.
    pub fn until(&self) -> Option<Instant> {
        let of_nodes = self.nodes.values().flat_map(|node| [node.values_due, node.presentation.until()]);
        of_nodes.chain([self.discover.until(), self.heartbeat.until()]).flatten().min()
    }

    /// What is to be said by now. `up`: how long the gateway has been running.
    pub fn due(&mut self, up: Duration, now: Instant) -> Vec<Said> {
        let mut said = Vec::new();
        if self.discover.due(now) {
            said.extend(self.answer_all(types::DISCOVER, up));
        }
        if self.heartbeat.due(now) {
            said.extend(self.answer_all(types::HEARTBEAT_REQUEST, up));
        }
        let numbers: Vec<u8> = self.numbers().collect();
        for number in numbers {
            if self.nodes.get_mut(&number).is_some_and(|node| node.presentation.due(now)) {
                said.extend(self.present(number, now));
            }
        }
        for (number, node) in &mut self.nodes {
            if node.values_due.is_some_and(|due| due <= now) {
                node.values_due = None;
                said.extend(node.say_all(*number));
            }
        }
        said
    }

    /// What a message from a controller comes to. `up`: how long the gateway has been running.
    pub fn asked(&mut self, message: &Message, up: Duration, now: Instant) -> Reply {
        if message.node == SELF {
            return self.all_asked(message, up, now);
        }
        let number = message.node;
        let Some(node) = self.nodes.get(&number) else {
            return Reply::Refuse(format!("there is no virtual node {number}"));
        };
        match message.command {
            Command::Set => node.set(message, &self.rules),
            Command::Req => node.requested(message),
            // A node that starts anew presents itself.
            Command::Internal if matches!(message.kind, types::PRESENT | types::REBOOT) => {
                Reply::Say(self.asked_to_present(number, now))
            }
            Command::Internal => match node.internal_answer(number, message.kind, up) {
                Ok(said) => Reply::Say(vec![said]),
                Err(why) => Reply::Refuse(why),
            },
            Command::Presentation | Command::Stream => Reply::Refuse("a virtual node has no answer to that".into()),
        }
    }

    fn all_asked(&mut self, message: &Message, up: Duration, now: Instant) -> Reply {
        let paced = match (message.command, message.kind) {
            (Command::Internal, types::PRESENT) => return Reply::Say(self.all_asked_to_present(now)),
            (Command::Internal, types::DISCOVER) => &mut self.discover,
            (Command::Internal, types::HEARTBEAT_REQUEST) => &mut self.heartbeat,
            // What else is said to everyone is not for nodes that are none.
            _ => return Reply::Say(Vec::new()),
        };
        if paced.ask(now) {
            return Reply::Say(self.answer_all(message.kind, up));
        }
        self.coalesced += 1;
        Reply::Say(Vec::new())
    }

    fn answer_all(&self, kind: u8, up: Duration) -> Vec<Said> {
        let answer = |(number, node): (&u8, &Node)| node.internal_answer(*number, kind, up).ok();
        self.nodes.iter().filter_map(answer).collect()
    }

    /// All that one node says of itself, and its values.
    fn present(&mut self, number: u8, now: Instant) -> Vec<Said> {
        let Some(node) = self.nodes.get_mut(&number) else { return Vec::new() };
        let mut said = node.introduce(number);
        let children: Vec<u8> = node.children.keys().copied().collect();
        said.extend(children.into_iter().flat_map(|child| node.introduce_child(number, child)));
        said.extend(node.say_all(number));
        node.values_due = Some(now + VALUES_FOLLOW);
        said
    }

    /// The number of a device's node, and whether it was given just now; `None` if there is none left.
    fn number(&mut self, device: &DeviceId) -> Option<(u8, bool)> {
        if let Some(number) = self.numbers.get(device) {
            return Some((*number, false));
        }
        let stated = |number: &u8| self.stated.values().any(|taken| taken == number);
        let free = |number: &u8| !self.nodes.contains_key(number) && !stated(number);
        let number = self.stated.get(device).copied().or_else(|| (1..=FIRST).rev().chain(FIRST + 1..=254).find(free));
        let Some(number) = number.filter(|number| !self.nodes.contains_key(number)) else {
            if self.without.devices.len() < MOST_NODES && self.without.devices.insert(device.clone()) {
                self.left_out.push(format!("{device}: all {MOST_NODES} node numbers are taken"));
            }
            return None;
        };
        self.add(number, device.clone());
        self.is_news = true;
        Some((number, true))
    }

    fn add(&mut self, number: u8, device: DeviceId) {
        self.numbers.insert(device.clone(), number);
        self.nodes.insert(number, Node::new(device));
    }

    /// The child that a point is, and whether it is new or has become something else.
    fn child(&mut self, number: u8, reading: &Reading, value: &Value) -> Option<(u8, bool)> {
        let node = self.nodes.get_mut(&number)?;
        let unit = reading.unit.as_ref().map(Unit::as_str);
        let rule = self.rules.get(&(reading.device.clone(), reading.point.clone()));
        let kind = Kind::of(reading.point.as_str(), unit, value, rule.map(Arc::as_ref));
        if let Some(&child) = node.by_point.get(&reading.point) {
            let known = node.children.get_mut(&child)?;
            // What was a text once may be one again, and a text says any value.
            let kind = if known.kind == kinds::INFO && known.unit == reading.unit { kinds::INFO } else { kind };
            let is_other = (known.kind, &known.unit) != (kind, &reading.unit);
            if is_other {
                (known.kind, known.unit, known.last) = (kind, reading.unit.clone(), None);
                self.is_news = true;
            }
            return Some((child, is_other));
        }
        let Some(child) = (1..=254).find(|child| !node.children.contains_key(child)) else {
            if self.without.full.insert(number) {
                self.left_out
                    .push(format!("{}/{}: all {MOST_CHILDREN} children are taken", node.device, reading.point));
            }
            return None;
        };
        node.add(child, Child { point: reading.point.clone(), kind, unit: reading.unit.clone(), last: None });
        self.is_news = true;
        Some((child, true))
    }
}

#[cfg(test)]
mod tests;
