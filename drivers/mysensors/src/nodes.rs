//! The names of devices and points, and which points the site file declares.
//!
//! A MySensors network shows itself: nodes and children that nobody declared are read under names
//! made from their numbers. Declaring one gives it a better name, and is the only way to open it
//! for writing.

use std::collections::HashMap;
use std::sync::Arc;

use wharf_contract::{DeviceId, Labels, LinkId, PointId, PointInfo, Unit, WriteRule};

use crate::message::{Command, Message};
use crate::types::{self, Type};

/// Where a value lives in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// The node.
    pub node: u8,
    /// The child sensor on it.
    pub child: u8,
    /// The number of its value type.
    pub kind: u8,
}

impl Address {
    /// Where the value in this message lives.
    pub fn of(message: &Message) -> Self {
        Self { node: message.node, child: message.child, kind: message.kind }
    }
}

/// One point of the site file.
#[derive(Clone, Debug)]
pub struct Declared {
    /// The name of its device.
    pub device: DeviceId,
    /// Its own name.
    pub point: PointId,
    /// Where it lives.
    pub address: Address,
    /// Its value type.
    pub value_type: &'static Type,
    /// What may be written to it.
    pub write: Option<WriteRule>,
}

/// All names of one link.
#[derive(Debug)]
pub struct Nodes {
    link: LinkId,
    devices: HashMap<u8, DeviceId>,
    points: Vec<Declared>,
    by_address: HashMap<Address, usize>,
}

impl Nodes {
    /// The names of a link, from what its site file declares.
    pub fn new(link: LinkId, devices: HashMap<u8, DeviceId>, points: Vec<Declared>) -> Self {
        let by_address = points.iter().enumerate().map(|(place, point)| (point.address, place)).collect();
        Self { link, devices, points, by_address }
    }

    /// The devices that the site file names, by the number of their node.
    pub fn named(&self) -> Vec<&DeviceId> {
        let mut named: Vec<_> = self.devices.iter().collect();
        named.sort_unstable_by_key(|(node, _)| **node);
        named.into_iter().map(|(_, device)| device).collect()
    }

    /// The device a node is: its declared name, else `garden-2` on the link `garden`.
    pub fn device(&self, node: u8) -> DeviceId {
        match self.devices.get(&node) {
            Some(device) => device.clone(),
            None => DeviceId::from(format!("{}-{node}", self.link)),
        }
    }

    /// The point a message is about: its declared name, else one made from what it is.
    pub fn point(&self, message: &Message) -> PointId {
        if message.command == Command::Set
            && let Some(place) = self.by_address.get(&Address::of(message))
        {
            return self.points[*place].point.clone();
        }
        PointId::from(own_name(message.command, message.child, message.kind))
    }

    /// The declared point of that name.
    pub fn declared(&self, device: &DeviceId, point: &PointId) -> Option<&Declared> {
        self.points.iter().find(|declared| declared.device == *device && declared.point == *point)
    }

    /// Everything declared, as the gateway wants to know it.
    pub fn catalogue(&self) -> Vec<PointInfo> {
        self.points.iter().map(info).collect()
    }
}

/// The name a point has by itself: `1-temp`, `battery`, `internal-sketch-name`, `1-presentation`.
pub fn own_name(command: Command, child: u8, kind: u8) -> String {
    let value_name = || in_topic(types::value_type(kind).map(|row| row.name), kind);
    match command {
        Command::Set => format!("{child}-{}", value_name()),
        Command::Req => format!("{child}-{}-req", value_name()),
        Command::Presentation if child == crate::message::SELF => "presentation".into(),
        Command::Presentation => format!("{child}-presentation"),
        Command::Internal if kind == types::BATTERY => "battery".into(),
        Command::Internal => format!("internal-{}", in_topic(types::internal_type(kind).map(|row| row.name), kind)),
        Command::Stream => format!("stream-{}", in_topic(types::stream_name(kind), kind)),
    }
}

/// Whether a name has the shape of those that points have by themselves. A declared point may not
/// take one, or two values would share a topic.
pub fn is_own_name(name: &str) -> bool {
    if matches!(name, "battery" | "presentation") || name.starts_with("internal-") || name.starts_with("stream-") {
        return true;
    }
    name.split_once('-').is_some_and(|(child, _)| child.parse::<u8>().is_ok())
}

fn info(point: &Declared) -> PointInfo {
    let Address { node, child, kind } = point.address;
    let labels = [("node", node), ("child", child), ("type", kind)];
    PointInfo {
        device: point.device.clone(),
        point: point.point.clone(),
        unit: point.value_type.unit.map(Unit::from),
        labels: Labels::new(labels.map(|(name, number)| (name, number.to_string()))),
        write: point.write.clone().map(Arc::new),
    }
}

fn in_topic(name: Option<&str>, number: u8) -> String {
    match name {
        Some(name) => name.replace('_', "-"),
        None => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soil() -> Nodes {
        let level = Declared {
            device: "soil".into(),
            point: "moisture".into(),
            address: Address { node: 2, child: 1, kind: 37 },
            value_type: types::value_type_named("level").unwrap(),
            write: None,
        };
        Nodes::new("garden".into(), HashMap::from([(2, "soil".into())]), vec![level])
    }

    fn check(line: &str, device: &str, point: &str) {
        let message = Message::parse(line.as_bytes()).unwrap();
        let nodes = soil();
        assert_eq!((nodes.device(message.node).as_str(), nodes.point(&message).as_str()), (device, point), "{line}");
    }

    #[test]
    fn declared_names_win_and_the_rest_is_named_by_what_it_is() {
        check("2;1;1;0;37;80", "soil", "moisture");
        check("2;1;1;0;0;21.5", "soil", "1-temp");
        check("3;1;1;0;37;80", "garden-3", "1-level");
        check("3;1;1;0;49;1,2,3", "garden-3", "1-position");
        check("3;7;1;0;23;80", "garden-3", "7-light-level");
        check("2;1;2;0;37;", "soil", "1-level-req");
        check("2;255;3;0;0;87", "soil", "battery");
        check("2;255;3;0;11;Soil", "soil", "internal-sketch-name");
        check("2;255;0;0;17;2.3.2", "soil", "presentation");
        check("2;1;0;0;35;Bed", "soil", "1-presentation");
        check("2;255;4;0;2;0100", "soil", "stream-firmware-request");
    }

    #[test]
    fn unknown_types_are_named_by_their_number() {
        check("2;1;1;0;99;x", "soil", "1-99");
        check("2;1;2;0;99;x", "soil", "1-99-req");
        check("2;255;3;0;99;x", "soil", "internal-99");
        check("2;255;4;0;99;x", "soil", "stream-99");
    }

    #[test]
    fn every_name_a_point_has_by_itself_is_known_as_one() {
        for command in 0..=4 {
            for kind in 0..=255 {
                let name = own_name(Command::from_number(command).unwrap(), 1, kind);
                assert!(is_own_name(&name), "{name}");
            }
        }
        assert!(is_own_name("presentation"));
        for name in ["moisture", "valve-1", "room-temp", "internally", "1st-floor"] {
            assert!(!is_own_name(name), "{name}");
        }
    }

    #[test]
    fn the_catalogue_lists_what_a_classic_topic_is_matched_by() {
        let catalogue = soil().catalogue();
        let labels: Vec<_> = catalogue[0].labels.iter().collect();
        assert_eq!(labels, [("node", "2"), ("child", "1"), ("type", "37")]);
    }
}
