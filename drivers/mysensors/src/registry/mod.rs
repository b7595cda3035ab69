//! What is known of every node of a network: what it is, what it has, what it said last.
//!
//! Pure: messages and times come in, [`store`] keeps the whole in a small file. Everything in it came
//! over the radio, so all of it is bounded; what does not fit is counted and not remembered.

pub mod file;
mod merge;
pub mod names;
mod stated;
pub mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use crate::message::{Command, GATEWAY, Message, SELF};
use crate::types;
use names::NameSource;

/// The highest number a node can have; 255 is everybody.
const HIGHEST_NODE: u8 = 254;
/// How many children all nodes of a network may have together.
const MOST_CHILDREN: usize = 4096;
/// How many values all children may have together.
const MOST_VALUES: usize = 8192;
/// The longest text that is remembered, in characters. The radio carries 25 bytes at a time.
const LONGEST_TEXT: usize = 100;
/// How long a number that was given and never used stays reserved when there is no other left.
const RESERVED: Duration = Duration::from_secs(86_400);

/// How soon what has changed should be on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// With the next that is written: it changes all the time.
    Whenever,
    /// Within seconds: it is said once.
    Soon,
}

/// A version of the MySensors library: the first two numbers decide what a node understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u16,
    /// The second.
    pub minor: u16,
}

impl Version {
    /// Reads `2.3.2`, `2.3.2-beta` or `2.0`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.trim().split('.').map(|part| {
            let digits: &str = part.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
            digits.parse().ok()
        });
        Some(Self { major: numbers.next()??, minor: numbers.next()?? })
    }
}

/// What is known of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeRecord {
    /// The version of its library, as it presented itself; `None` if it never did.
    pub library: Option<String>,
    /// Whether it passes messages of other nodes on.
    pub repeater: bool,
    /// The name of its sketch.
    pub sketch: Option<String>,
    /// The version of its sketch.
    pub sketch_version: Option<String>,
    /// Its battery, in percent.
    pub battery: Option<u8>,
    /// The node it sends through.
    pub parent: Option<u8>,
    /// When it was heard last; `None` if never.
    pub last_seen: Option<SystemTime>,
    /// Whether it was seen to sleep between its messages.
    pub sleeps: bool,
    /// When its number was given to it here.
    pub given: Option<SystemTime>,
    /// The name it was given in topics. It stays, whatever the node says later.
    pub name: Option<String>,
    /// What the site file called its number when that was looked at last.
    pub stated: Option<String>,
    /// Its children by number.
    pub children: BTreeMap<u8, ChildRecord>,
}

/// What is known of one child sensor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChildRecord {
    /// What it is, as an S_ number; `None` if it was never presented.
    pub sensor: Option<u8>,
    /// What its sketch says of it.
    pub description: Option<String>,
    /// The name it was given in topics. It stays, whatever the node says later.
    pub name: Option<String>,
    /// The last payload by value type, from the node or written to it.
    pub values: BTreeMap<u8, String>,
}

/// What is known of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    nodes: BTreeMap<u8, NodeRecord>,
    /// Numbers that are never given away, for the site file names their nodes; and the names of the points
    /// it declares there.
    reserved: BTreeMap<u8, BTreeSet<String>>,
    /// Numbers that the site file gives elsewhere, and that are not given away here either; with the device
    /// where that is shown as a node.
    elsewhere: BTreeMap<u8, Option<String>>,
    /// What the site file calls the nodes of this network.
    stated: BTreeMap<u8, String>,
    /// Which nodes sleep and which do not, by the site file.
    told: BTreeMap<u8, bool>,
    /// Names of devices that are others'.
    taken: BTreeSet<String>,
    name_source: NameSource,
    prefix: String,
    /// Whether what was known got lost. Until somebody has said that it does not matter no numbers
    /// are given away, for nodes that sleep may have them.
    incomplete: bool,
    /// Whether what was known is still on a disk that has not given it. It is merged with what is heard
    /// meanwhile; until then no numbers and no names are given away.
    unread: bool,
    /// What was not remembered because there was no room.
    unremembered: u64,
    /// How often something changed.
    revision: u64,
}

impl Registry {
    /// A network of which nothing is known.
    pub fn new(link: &str, name_source: NameSource) -> Self {
        Self { name_source, prefix: link.to_owned(), ..Self::default() }
    }

    /// The same, knowing what the site file declares: the numbers of nodes, and the names of their points.
    #[must_use]
    pub fn declaring(mut self, declared: impl IntoIterator<Item = (u8, BTreeSet<String>)>) -> Self {
        self.reserved.extend(declared);
        self
    }

    /// The same, knowing what the site file says of the sleep of nodes.
    #[must_use]
    pub fn telling(mut self, told: impl IntoIterator<Item = (u8, bool)>) -> Self {
        self.told.extend(told);
        self
    }

    /// The nodes that are known, by number.
    pub fn nodes(&self) -> impl Iterator<Item = (u8, &NodeRecord)> {
        self.nodes.iter().map(|(number, node)| (*number, node))
    }

    /// What is known of a node.
    pub fn node(&self, node: u8) -> Option<&NodeRecord> {
        self.nodes.get(&node)
    }

    /// The library version of a node, if it has told it.
    pub fn version(&self, node: u8) -> Option<Version> {
        self.node(node)?.library.as_deref().and_then(Version::parse)
    }

    /// Whether the node sleeps, so that it hears what it is told only for a moment after it spoke.
    pub fn sleeps(&self, node: u8) -> bool {
        self.told.get(&node).copied().unwrap_or_else(|| self.node(node).is_some_and(|node| node.sleeps))
    }

    /// Whether the node has said what it is.
    pub fn is_presented(&self, node: u8) -> bool {
        self.node(node).is_some_and(|node| node.library.is_some())
    }

    /// Whether the child has been presented.
    pub fn is_child_presented(&self, node: u8, child: u8) -> bool {
        self.child(node, child).is_some_and(|child| child.sensor.is_some())
    }

    /// What is known of a child.
    pub fn child(&self, node: u8, child: u8) -> Option<&ChildRecord> {
        self.node(node)?.children.get(&child)
    }

    /// The last payload of a value, from the node or written to it.
    pub fn value(&self, node: u8, child: u8, kind: u8) -> Option<&str> {
        self.child(node, child)?.values.get(&kind).map(String::as_str)
    }

    /// How often something changed so far. What is stored is stored up to one of these.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether what was known got lost, so that numbers may be in use that are not known here.
    pub fn is_incomplete(&self) -> bool {
        self.incomplete
    }

    /// What was known is on a disk, and has not been read yet.
    pub fn await_file(&mut self) {
        self.unread = true;
    }

    /// Whether what was known has not been read yet.
    pub fn is_unread(&self) -> bool {
        self.unread
    }

    /// Somebody who can see the nodes says that the registry may go on as it is.
    pub fn accept(&mut self) {
        if std::mem::take(&mut self.incomplete) {
            self.revision += 1;
        }
    }

    /// How much was not remembered because there was no room.
    pub fn unremembered(&self) -> u64 {
        self.unremembered
    }

    /// Takes note of a message that a node sent of its own accord. `at`: when it was heard.
    pub fn hear(&mut self, message: &Message, at: SystemTime) -> Change {
        if message.node == SELF {
            return Change::Whenever;
        }
        self.revision += 1;
        let is_new = !self.nodes.contains_key(&message.node);
        let node = self.nodes.entry(message.node).or_default();
        node.last_seen = Some(at);
        let change = match message.command {
            Command::Presentation if message.child == SELF => {
                node.repeater = message.kind == types::S_REPEATER;
                replace(&mut node.library, &message.payload)
            }
            Command::Presentation => self.child_presented(message),
            Command::Set => self.keep_value(message.node, message.child, message.kind, &message.payload),
            Command::Internal => self.internal(message),
            Command::Req | Command::Stream => Change::Whenever,
        };
        if is_new { Change::Soon } else { change }
    }

    /// Takes note of a node that sleeps and has not said so itself: one that wakes with a heartbeat, as
    /// before version 2.2.
    pub fn found_asleep(&mut self, node: u8) -> Change {
        let Some(node) = self.nodes.get_mut(&node).filter(|node| !node.sleeps) else { return Change::Whenever };
        self.revision += 1;
        sleeps(node)
    }

    /// Takes note of a value that was written to a node: it is what the node is told when it asks. A value
    /// for everybody makes no node of everybody.
    pub fn wrote(&mut self, node: u8, child: u8, kind: u8, payload: &str) -> Change {
        if node != SELF {
            self.revision += 1;
            self.keep_value(node, child, kind, payload);
        }
        Change::Whenever
    }

    /// Takes note of a number that another controller has given away: nobody else gets it.
    pub fn given_by_another(&mut self, number: u8, at: SystemTime) -> Change {
        if matches!(number, GATEWAY | SELF) || self.nodes.contains_key(&number) {
            return Change::Whenever;
        }
        self.revision += 1;
        self.nodes.insert(number, NodeRecord { given: Some(at), ..NodeRecord::default() });
        Change::Soon
    }

    /// The lowest number that nobody has, from now on the one of a node that asked for one; `None` if
    /// all 254 are in use, or if it is not known yet which are. When none is left, the one goes that was given first, a day ago or earlier,
    /// to a node that was never heard.
    pub fn give_number(&mut self, at: SystemTime) -> Option<u8> {
        if self.unread {
            return None;
        }
        let is_free = |number: &u8| !self.nodes.contains_key(number) && !self.is_stated(*number);
        let number = (1..=HIGHEST_NODE).find(is_free).or_else(|| self.longest_unused(at))?;
        self.revision += 1;
        self.nodes.insert(number, NodeRecord { given: Some(at), ..NodeRecord::default() });
        Some(number)
    }

    fn longest_unused(&self, at: SystemTime) -> Option<u8> {
        let unused = self.nodes.iter().filter(|(number, node)| node.last_seen.is_none() && !self.is_stated(**number));
        let given = unused.filter_map(|(number, node)| Some((node.given?, *number)));
        let old = given.filter(|(given, _)| at.duration_since(*given).is_ok_and(|passed| passed >= RESERVED));
        old.min().map(|(_, number)| number)
    }

    fn internal(&mut self, message: &Message) -> Change {
        let Some(node) = self.nodes.get_mut(&message.node) else { return Change::Whenever };
        let payload = message.payload.trim();
        match message.kind {
            types::BATTERY => {
                node.battery = payload.parse().ok().filter(|percent| *percent <= 100).or(node.battery);
                Change::Whenever
            }
            types::SKETCH_NAME => {
                let change = replace(&mut node.sketch, payload);
                self.name_node(message.node);
                change
            }
            types::SKETCH_VERSION => replace(&mut node.sketch_version, payload),
            // The gateway's answer to the question for its version.
            types::VERSION if message.node == GATEWAY => replace(&mut node.library, payload),
            types::DISCOVER_RESPONSE => {
                let parent = payload.parse().ok();
                let changed = parent.is_some() && parent != node.parent;
                node.parent = parent.or(node.parent);
                if changed { Change::Soon } else { Change::Whenever }
            }
            types::PRE_SLEEP | types::POST_SLEEP => sleeps(node),
            _ => Change::Whenever,
        }
    }

    fn child_presented(&mut self, message: &Message) -> Change {
        if !self.has_room_for(message.node, message.child) {
            return Change::Whenever;
        }
        let Some(node) = self.nodes.get_mut(&message.node) else { return Change::Whenever };
        let child = node.children.entry(message.child).or_default();
        let changed = child.sensor != Some(message.kind);
        child.sensor = Some(message.kind);
        let change = replace(&mut child.description, message.payload.trim());
        self.name_child(message.node, message.child);
        if changed { Change::Soon } else { change }
    }

    fn keep_value(&mut self, node: u8, child: u8, kind: u8, payload: &str) -> Change {
        if self.value(node, child, kind).is_none() && !self.has_room_for_value(node, child) {
            return Change::Whenever;
        }
        let child = self.nodes.entry(node).or_default().children.entry(child).or_default();
        child.values.insert(kind, clipped(payload));
        Change::Whenever
    }

    fn has_room_for_value(&mut self, node: u8, child: u8) -> bool {
        let children = self.nodes.values().flat_map(|node| node.children.values());
        if children.map(|child| child.values.len()).sum::<usize>() < MOST_VALUES {
            return self.has_room_for(node, child);
        }
        self.unremembered += 1;
        false
    }

    fn has_room_for(&mut self, node: u8, child: u8) -> bool {
        let has_room = self.child(node, child).is_some()
            || self.nodes.values().map(|node| node.children.len()).sum::<usize>() < MOST_CHILDREN;
        self.unremembered += u64::from(!has_room);
        has_room
    }
}

fn sleeps(node: &mut NodeRecord) -> Change {
    if std::mem::replace(&mut node.sleeps, true) { Change::Whenever } else { Change::Soon }
}

/// Notes a text; tells whether it is another one.
fn replace(place: &mut Option<String>, text: &str) -> Change {
    let text = clipped(text);
    if place.as_ref() == Some(&text) {
        return Change::Whenever;
    }
    *place = Some(text);
    Change::Soon
}

fn clipped(text: &str) -> String {
    text.chars().take(LONGEST_TEXT).collect()
}

#[cfg(test)]
mod tests;
