//! The virtual nodes: which device is which node, which point which child, what each of them last said,
//! and what they answer. Pure: readings and messages in, messages out, time as an argument.
//!
//! A node or a child keeps its number for good: it is in [`Nodes::to_text`], which is kept on disk before the
//! number is used. Nodes are numbered from the top, because the nodes of a radio network get theirs
//! from the bottom; children from 1.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value as Json, json};
use tokio::time::Instant;
use wharf_contract::{DeviceId, PointId, Quality, Reading, Unit, Value, WriteRule};
use wharf_mysensors::message::{Command, GATEWAY, Message, SELF};
use wharf_mysensors::types;

use super::kinds::{self, Kind};

/// The version of the MySensors library whose words are spoken here.
pub const LIBRARY: &str = "2.3.2";
/// The most virtual nodes, and the most children of each: as many as there are numbers.
pub const MOST_NODES: usize = 254;
/// The most children of a node.
pub const MOST_CHILDREN: usize = 254;

/// A controller that hears of a child asks its broker for that child's values only then. So they are said
/// once more, this long after a presentation.
const VALUES_FOLLOW: Duration = Duration::from_secs(2);

/// `S_ARDUINO_NODE`.
const ARDUINO_NODE: u8 = 17;
const SKETCH_NAME: u8 = 11;
const SKETCH_VERSION: u8 = 12;
const REBOOT: u8 = 13;
const HEARTBEAT: u8 = 18;
const PRESENTATION: u8 = 19;
const DISCOVER: u8 = 20;
const DISCOVERED: u8 = 21;
const HEARTBEAT_RESPONSE: u8 = 22;

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

#[derive(Debug)]
struct Node {
    device: DeviceId,
    battery: Option<(u8, SystemTime)>,
    children: BTreeMap<u8, Child>,
    by_point: HashMap<PointId, u8>,
    values_due: Option<Instant>,
}

#[derive(Debug)]
struct Child {
    point: PointId,
    kind: Kind,
    unit: Option<Unit>,
    last: Option<Last>,
}

#[derive(Debug)]
struct Last {
    payload: String,
    value: Value,
    taken_at: SystemTime,
}

/// A message of a virtual node, with what it is made from.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// The message.
    pub message: Message,
    /// The device that is shown.
    pub device: DeviceId,
    /// What this is called on it.
    pub point: PointId,
    /// What the payload says.
    pub value: Value,
    /// Its unit.
    pub unit: Option<Unit>,
    /// When it was taken; now, if it was never taken.
    pub taken_at: Option<SystemTime>,
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

    /// What is to be kept on disk.
    pub fn to_text(&self) -> String {
        let child = |(number, child): (&u8, &Child)| {
            let mut json = json!({
                "child": number,
                "point": child.point.as_str(),
                "sensor": child.kind.sensor,
                "value": child.kind.value,
            });
            if let Some(unit) = &child.unit {
                json["unit"] = unit.as_str().into();
            }
            json
        };
        let nodes = self.nodes.iter().map(|(number, node)| {
            let children: Vec<_> = node.children.iter().map(child).collect();
            json!({ "node": number, "device": node.device.as_str(), "children": children })
        });
        json!({ "nodes": nodes.collect::<Vec<_>>() }).to_string()
    }

    /// Whether there is something new to be kept; asked once.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.is_news)
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
            return Vec::new();
        };
        let Some((number, is_new)) = self.number(&reading.device) else { return Vec::new() };
        let mut said = if is_new { self.introduce(number) } else { Vec::new() };
        if let Some(level) = battery(reading, value) {
            if let Some(node) = self.nodes.get_mut(&number) {
                node.battery = Some((level, reading.taken_at));
                said.extend(node.say_battery(number));
            }
            return said;
        }
        let Some((child, is_new)) = self.child(number, reading, value) else { return said };
        let Some(node) = self.nodes.get_mut(&number) else { return said };
        if is_new {
            said.extend(node.introduce(number, child));
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

    /// Everything that a controller has to know, of every node.
    pub fn present_all(&mut self, now: Instant) -> Vec<Said> {
        let numbers: Vec<u8> = self.numbers().collect();
        numbers.into_iter().flat_map(|number| self.present(number, now)).collect()
    }

    /// That every node is there. A controller that does not know one asks for its presentation.
    pub fn discover_all(&self) -> Vec<Said> {
        self.nodes.iter().map(|(number, node)| node.internal(*number, DISCOVERED, GATEWAY.to_string())).collect()
    }

    /// When something is to be said that nobody asked for.
    pub fn until(&self) -> Option<Instant> {
        self.nodes.values().filter_map(|node| node.values_due).min()
    }

    /// What is to be said by now.
    pub fn due(&mut self, now: Instant) -> Vec<Said> {
        let mut said = Vec::new();
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
            Command::Set => node.set(message),
            Command::Req => {
                let known = node.children.get(&message.child).filter(|child| child.kind.value == message.kind);
                match known.map(|_| node.say_value(number, message.child)) {
                    Some(Some(said)) => Reply::Say(vec![said]),
                    Some(None) => Reply::Refuse("it has not said a value yet".into()),
                    None => Reply::Refuse(node.no_such_value(message)),
                }
            }
            Command::Internal => match message.kind {
                // A node that starts anew presents itself.
                PRESENTATION | REBOOT => Reply::Say(self.present(number, now)),
                kind => match node.internal_answer(number, kind, up) {
                    Some(said) => Reply::Say(vec![said]),
                    None => Reply::Refuse("a virtual node has no answer to that".into()),
                },
            },
            Command::Presentation | Command::Stream => Reply::Refuse("a virtual node has no answer to that".into()),
        }
    }

    fn all_asked(&mut self, message: &Message, up: Duration, now: Instant) -> Reply {
        match (message.command, message.kind) {
            (Command::Internal, PRESENTATION) => Reply::Say(self.present_all(now)),
            (Command::Internal, DISCOVER | HEARTBEAT) => {
                let answer = |(number, node): (&u8, &Node)| node.internal_answer(*number, message.kind, up);
                Reply::Say(self.nodes.iter().filter_map(answer).collect())
            }
            // What else is said to everyone is not for nodes that are none.
            _ => Reply::Say(Vec::new()),
        }
    }

    /// All that one node says of itself, and its values.
    fn present(&mut self, number: u8, now: Instant) -> Vec<Said> {
        let mut said = self.introduce(number);
        let Some(node) = self.nodes.get_mut(&number) else { return said };
        let children: Vec<u8> = node.children.keys().copied().collect();
        said.extend(children.into_iter().flat_map(|child| node.introduce(number, child)));
        said.extend(node.say_all(number));
        node.values_due = Some(now + VALUES_FOLLOW);
        said
    }

    /// That there is a node, and what it is called.
    fn introduce(&self, number: u8) -> Vec<Said> {
        let Some(node) = self.nodes.get(&number) else { return Vec::new() };
        let presentation = Message {
            node: number,
            child: SELF,
            command: Command::Presentation,
            ack: false,
            kind: ARDUINO_NODE,
            payload: LIBRARY.into(),
        };
        vec![
            node.said(presentation, "presentation"),
            node.internal(number, SKETCH_NAME, kinds::plain(node.device.as_str())),
            node.internal(number, SKETCH_VERSION, env!("CARGO_PKG_VERSION").into()),
        ]
    }

    /// The number of a device's node, and whether it was given just now; `None` if there is none left.
    fn number(&mut self, device: &DeviceId) -> Option<(u8, bool)> {
        if let Some(number) = self.numbers.get(device) {
            return Some((*number, false));
        }
        let stated = |number: &u8| self.stated.values().any(|taken| taken == number);
        let free = |number: &u8| !self.nodes.contains_key(number) && !stated(number);
        let number = self.stated.get(device).copied().or_else(|| (1..=254).rev().find(free));
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
        let (children, by_point) = (BTreeMap::new(), HashMap::new());
        self.nodes.insert(number, Node { device, battery: None, children, by_point, values_due: None });
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

    /// A node as it was kept.
    fn recall(&mut self, known: &Json) {
        let number = |json: &Json| json.as_u64().and_then(|n| u8::try_from(n).ok()).filter(|n| (1..=254).contains(n));
        let (Some(kept), Some(device)) = (number(&known["node"]), known["device"].as_str()) else { return };
        let device = DeviceId::from(device);
        let stated = self.stated.get(&device).copied();
        let is_anothers = stated.is_none() && self.stated.values().any(|taken| *taken == kept);
        let number_now = stated.unwrap_or(kept);
        // What the site file gives to another is that one's, and this one gets a new one when it is heard.
        if is_anothers || self.nodes.contains_key(&number_now) || self.numbers.contains_key(&device) {
            return;
        }
        self.add(number_now, device);
        let Some(node) = self.nodes.get_mut(&number_now) else { return };
        for child in known["children"].as_array().into_iter().flatten() {
            let kind = |key: &str| child[key].as_u64().and_then(|n| u8::try_from(n).ok());
            let (Some(place), Some(point)) = (number(&child["child"]), child["point"].as_str()) else { continue };
            let (Some(sensor), Some(value)) = (kind("sensor"), kind("value")) else { continue };
            if node.children.contains_key(&place) || node.by_point.contains_key(point) {
                continue;
            }
            let unit = child["unit"].as_str().map(Unit::from);
            node.add(place, Child { point: point.into(), kind: Kind { sensor, value }, unit, last: None });
        }
    }
}

impl Node {
    fn add(&mut self, number: u8, child: Child) {
        self.by_point.insert(child.point.clone(), number);
        self.children.insert(number, child);
    }

    /// That there is a child, what it is called, and in what unit its values are.
    fn introduce(&self, number: u8, child: u8) -> Vec<Said> {
        let Some(known) = self.children.get(&child) else { return Vec::new() };
        let message = |command, kind, payload: &str| Message {
            node: number,
            child,
            command,
            ack: false,
            kind,
            payload: kinds::plain(payload),
        };
        let presentation = message(Command::Presentation, known.kind.sensor, known.point.as_str());
        let mut said = vec![self.said(presentation, &format!("{}-presentation", known.point))];
        if let Some(unit) = known.unit.as_ref().filter(|unit| known.kind.needs_unit(unit.as_str())) {
            let unit = message(Command::Set, kinds::UNIT_PREFIX, unit.as_str());
            said.push(self.said(unit, &format!("{}-unit", known.point)));
        }
        said
    }

    /// The last value of each child, and the battery.
    fn say_all(&self, number: u8) -> Vec<Said> {
        let units = self.children.keys().flat_map(|child| self.introduce(number, *child).into_iter().skip(1));
        let values = self.children.keys().filter_map(|child| self.say_value(number, *child));
        units.chain(values).chain(self.say_battery(number)).collect()
    }

    fn say_value(&self, number: u8, child: u8) -> Option<Said> {
        let known = self.children.get(&child)?;
        let last = known.last.as_ref()?;
        let message = Message {
            node: number,
            child,
            command: Command::Set,
            ack: false,
            kind: known.kind.value,
            payload: last.payload.clone(),
        };
        Some(Said {
            message,
            device: self.device.clone(),
            point: known.point.clone(),
            value: last.value.clone(),
            unit: known.unit.clone(),
            taken_at: Some(last.taken_at),
        })
    }

    fn say_battery(&self, number: u8) -> Option<Said> {
        let (level, taken_at) = self.battery?;
        let said = self.internal(number, types::BATTERY, level.to_string());
        Some(Said { value: Value::Int(level.into()), unit: Some("%".into()), taken_at: Some(taken_at), ..said })
    }

    /// What is answered to an internal message, if anything is.
    fn internal_answer(&self, number: u8, kind: u8, up: Duration) -> Option<Said> {
        match kind {
            types::VERSION => Some(self.internal(number, types::VERSION, LIBRARY.into())),
            HEARTBEAT => Some(self.internal(number, HEARTBEAT_RESPONSE, up.as_millis().to_string())),
            DISCOVER => Some(self.internal(number, DISCOVERED, GATEWAY.to_string())),
            _ => None,
        }
    }

    fn internal(&self, number: u8, kind: u8, payload: String) -> Said {
        let name = match types::internal_type(kind) {
            Some(row) if kind != types::BATTERY => row.name.replace('_', "-"),
            _ => "battery".into(),
        };
        self.said(Message { node: number, child: SELF, command: Command::Internal, ack: false, kind, payload }, &name)
    }

    fn said(&self, message: Message, point: &str) -> Said {
        let value = Value::Text(message.payload.clone());
        Said { message, device: self.device.clone(), point: point.into(), value, unit: None, taken_at: None }
    }

    fn set(&self, message: &Message) -> Reply {
        let Some(child) = self.children.get(&message.child).filter(|child| child.kind.value == message.kind) else {
            return Reply::Refuse(self.no_such_value(message));
        };
        match child.kind.value(&message.payload) {
            Some(value) => Reply::Write { device: self.device.clone(), point: child.point.clone(), value },
            None => {
                let name = types::value_type(message.kind).map(types::protocol_name).unwrap_or_default();
                Reply::Refuse(format!("`{}` is no value of {name}", kinds::plain(&message.payload)))
            }
        }
    }

    fn no_such_value(&self, message: &Message) -> String {
        let name = |kind| types::value_type(kind).map_or_else(|| format!("type {kind}"), types::protocol_name);
        match self.children.get(&message.child) {
            Some(child) => {
                format!(
                    "child {} of {} has {}, not {}",
                    message.child,
                    self.device,
                    name(child.kind.value),
                    name(message.kind)
                )
            }
            None => format!("{} has no child {}", self.device, message.child),
        }
    }
}

/// The level of a device's battery, if this is what a reading says.
fn battery(reading: &Reading, value: &Value) -> Option<u8> {
    let is_battery = matches!(reading.point.as_str(), "battery" | "battery_level");
    let level =
        value.as_f64().filter(|_| is_battery && reading.unit.as_ref().is_some_and(|unit| unit.as_str() == "%"))?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // it is from 0 to 100
    (0.0..=100.0).contains(&level).then_some(level.round() as u8)
}

#[cfg(test)]
mod tests;
