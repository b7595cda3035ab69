//! The names of devices and points, and which points the site file declares.
//!
//! A MySensors network shows itself: nodes and children that nobody declared are read under names
//! made from their numbers. Declaring one gives it a better name, and is the only way to open it
//! for writing.

use std::collections::HashMap;
use std::sync::Arc;

use wharf_contract::{DeviceId, Labels, LinkId, PointId, PointInfo, Unit, WriteRule};

use crate::message::{Command, GATEWAY, Message, SELF};
use crate::registry::Registry;
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

/// Where it is written that the network is open for new nodes: no value of a child, but the gateway's own.
pub const INCLUSION: Address = Address { node: GATEWAY, child: SELF, kind: types::INCLUSION };

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
    imperial: bool,
}

impl Nodes {
    /// The names of a link, from what its site file declares.
    pub fn new(link: LinkId, devices: HashMap<u8, DeviceId>, points: Vec<Declared>) -> Self {
        let by_address = points.iter().enumerate().map(|(place, point)| (point.address, place)).collect();
        Self { link, devices, points, by_address, imperial: false }
    }

    /// The same, for nodes that are told to use °F.
    #[must_use]
    pub fn imperial(self) -> Self {
        Self { imperial: true, ..self }
    }

    /// The unit of a value of this type.
    pub fn unit(&self, value_type: &Type) -> Option<Unit> {
        match value_type.unit {
            Some("°C") if self.imperial => Some("°F".into()),
            unit => unit.map(Unit::from),
        }
    }

    /// The devices that the site file names, by the number of their node.
    pub fn named(&self) -> Vec<&DeviceId> {
        let mut named: Vec<_> = self.devices.iter().collect();
        named.sort_unstable_by_key(|(node, _)| **node);
        named.into_iter().map(|(_, device)| device).collect()
    }

    /// The device a node is: its declared name, else the one from its presentation, else `garden-2` on
    /// the link `garden`.
    pub fn device(&self, node: u8, registry: &Registry) -> DeviceId {
        match (self.devices.get(&node), registry.device_name(node)) {
            (Some(device), _) => device.clone(),
            (None, Some(name)) => DeviceId::from(name),
            (None, None) => DeviceId::from(by_number(&self.link, node)),
        }
    }

    /// Whether the site file has a name for the node of that number.
    pub fn names(&self, node: u8) -> bool {
        self.devices.contains_key(&node)
    }

    /// The number of the node that the site file gives this name.
    pub fn number(&self, device: &DeviceId) -> Option<u8> {
        self.devices.iter().find(|(_, named)| *named == device).map(|(node, _)| *node)
    }

    /// The point a message is about: its declared name, else the one from the presentation of its child,
    /// else one made from what it is.
    pub fn point(&self, message: &Message, registry: &Registry) -> PointId {
        if message.command == Command::Set
            && let Some(place) = self.by_address.get(&Address::of(message))
        {
            return self.points[*place].point.clone();
        }
        let presented = registry.point_name(message);
        PointId::from(presented.unwrap_or_else(|| own_name(message.command, message.child, message.kind)))
    }

    /// The declared point of that name.
    pub fn declared(&self, device: &DeviceId, point: &PointId) -> Option<&Declared> {
        self.points.iter().find(|declared| declared.device == *device && declared.point == *point)
    }

    /// Everything declared, as the gateway wants to know it.
    pub fn catalogue(&self) -> Vec<PointInfo> {
        self.points.iter().map(|point| info(point, self.unit(point.value_type))).collect()
    }
}

/// The name of a node without one: `garden-2`.
pub fn by_number(link: &LinkId, node: u8) -> String {
    format!("{link}-{node}")
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
        Command::Internal if kind == types::INCLUSION => "inclusion".into(),
        Command::Internal => format!("internal-{}", in_topic(types::internal_type(kind).map(|row| row.name), kind)),
        Command::Stream => format!("stream-{}", in_topic(types::stream_name(kind), kind)),
    }
}

/// Whether a name has the shape of those that points have by themselves. A declared point may not
/// take one, or two values would share a topic.
pub fn is_own_name(name: &str) -> bool {
    if matches!(name, "battery" | "firmware" | "firmware-progress" | "inclusion" | "presentation")
        || name.starts_with("internal-")
        || name.starts_with("stream-")
    {
        return true;
    }
    name.split_once('-').is_some_and(|(child, _)| child.parse::<u8>().is_ok())
}

fn info(point: &Declared, unit: Option<Unit>) -> PointInfo {
    let Address { node, child, kind } = point.address;
    let labels = [("node", node), ("child", child), ("type", kind)];
    let labels = labels.map(|(name, number)| (name, number.to_string()));
    PointInfo {
        device: point.device.clone(),
        point: point.point.clone(),
        unit,
        // A command in classic form means a value of a child, and never the node itself.
        labels: if child == SELF { Labels::NONE } else { Labels::new(labels) },
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
        let (nodes, registry) = (soil(), Registry::default());
        let (named, point_named) = (nodes.device(message.node, &registry), nodes.point(&message, &registry));
        assert_eq!((named.as_str(), point_named.as_str()), (device, point), "{line}");
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
