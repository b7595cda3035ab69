//! The part of the site file that describes one MySensors network.
//!
//! All mistakes are found here, with their places, so that nothing is left to fail when the link is
//! built.

use std::collections::{HashMap, HashSet};

use serde_json::json;
use wharf_contract::settings::{
    Context, HostPort, Named, NamedEntry, Node, Period, Ranged, Schema, SerialPath, Setting, Typed, WriteSettings,
    suggest,
};
use wharf_contract::{DeviceId, LinkId, PointId, WriteRule, settings};

use crate::message::Command;
use crate::nodes::{Address, Declared, Nodes, is_own_name, own_name};
use crate::types::{self, Kind, Type};
use crate::values::encode;

/// The baud rate of the library's own gateways.
pub const USUAL_BAUD: u32 = 115_200;

settings! {
    /// One MySensors network, behind a gateway on a serial port or on Ethernet.
    pub struct LinkSettings {
        /// The serial port of the gateway, best by its lasting name under `/dev/serial/by-id`.
        serial: Option<SerialPath> = None,
        /// The address of an Ethernet gateway, `host:port`. The port is 5003 when left out.
        tcp: Option<HostPort<5003>> = None,
        /// The speed of the serial port, 115200 when left out.
        baud: Option<Ranged<u32, 300, 4_000_000>> = None,
        /// How long a verified write waits for the echo of its node.
        echo_timeout: Period<100, 60_000> = Period::secs(2),
        /// Names for nodes, and which of their values may be written. Nodes that are not listed are
        /// read all the same.
        devices: Named<DeviceSettings> = Named::none(),
    }
    exactly_one_of: [serial, tcp];
    at_most_one_of: [tcp, baud];
    check: |this, _node, cx| no_node_twice(this, cx);
}

settings! {
    /// One node.
    pub struct DeviceSettings {
        /// Its number in the network; 0 is the gateway.
        node: Ranged<u8, 0, 254>,
        /// Names for its values.
        points: Named<PointSettings> = Named::none(),
    }
    check: |this, _node, cx| {
        no_value_twice(this, cx);
        no_name_of_another(this, cx);
    };
}

settings! {
    /// One value of a node.
    pub struct PointSettings {
        /// The number of the child sensor.
        child: Ranged<u8, 0, 254>,
        /// The type of the value: `temp`, or `V_TEMP` as the MySensors library spells it.
        r#type: ValueType,
        /// Opens the point for commands.
        write: Option<WriteSettings> = None,
    }
    check: check_write;
}

/// A value type, by its name in the MySensors library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueType(pub &'static Type);

impl Setting for ValueType {
    fn schema() -> Schema {
        let usual = types::VALUES.iter().map(|row| row.name.to_owned());
        let library = types::VALUES.iter().map(types::protocol_name);
        json!({ "type": "string", "enum": usual.chain(library).collect::<Vec<_>>() })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let Some(Typed::Text(text)) = node.typed() else {
            return cx.unexpected(node, "a value type such as temp, hum or status");
        };
        if let Some(found) = types::value_type_named(text) {
            return Some(Self(found));
        }
        let bare = text.strip_prefix("V_").unwrap_or(text);
        let help = match suggest(bare, types::VALUES.iter().map(|row| row.name)) {
            Some(name) => format!("did you mean `{name}`?"),
            None => "it is the V_ name of the MySensors library in lower case, such as temp, hum or status".into(),
        };
        cx.problem(node.span, format!("{} is not a value type", node.describe())).help(help);
        None
    }
}

impl LinkSettings {
    /// The names of the link, as its session uses them.
    pub(crate) fn nodes(&self, link: LinkId) -> Nodes {
        let devices: HashMap<_, _> =
            self.devices.iter().map(|(name, device)| (device.node.get(), DeviceId::from(name))).collect();
        let points = self.devices.iter().flat_map(|(name, device)| {
            device.points.iter().map(move |(point_name, point)| Declared {
                device: DeviceId::from(name),
                point: PointId::from(point_name),
                address: address(device, point),
                value_type: point.r#type.0,
                write: point.write.as_ref().map(WriteRule::from),
            })
        });
        Nodes::new(link, devices, points.collect())
    }
}

fn address(device: &DeviceSettings, point: &PointSettings) -> Address {
    Address { node: device.node.get(), child: point.child.get(), kind: point.r#type.0.number }
}

fn no_node_twice(link: &LinkSettings, cx: &mut Context<'_>) {
    let mut seen: HashMap<u8, &NamedEntry<DeviceSettings>> = HashMap::new();
    for entry in link.devices.entries() {
        let node = entry.value.node.get();
        if let Some(first) = seen.get(&node) {
            let message = format!("node {node} is `{}` already", *first.name);
            cx.problem(entry.name.span, message).path.clone_from(&entry.name.path);
        } else {
            seen.insert(node, entry);
        }
    }
}

fn no_value_twice(device: &DeviceSettings, cx: &mut Context<'_>) {
    let mut seen = HashSet::new();
    for entry in device.points.entries() {
        let (child, value_type) = (entry.value.child.get(), entry.value.r#type.0);
        if !seen.insert((child, value_type.number)) {
            let message = format!("child {child} has another point of type {}", value_type.name);
            cx.problem(entry.name.span, message).path.clone_from(&entry.name.path);
        }
    }
}

fn no_name_of_another(device: &DeviceSettings, cx: &mut Context<'_>) {
    for entry in device.points.entries() {
        let own = own_name(Command::Set, entry.value.child.get(), entry.value.r#type.0.number);
        if is_own_name(entry.name.as_str()) && entry.name.as_str() != own {
            let message = format!("`{}` is a name that values without a declaration have by themselves", *entry.name);
            let problem = cx.problem(entry.name.span, message).help("choose another name");
            problem.path.clone_from(&entry.name.path);
        }
    }
}

fn check_write(point: &PointSettings, node: &Node, cx: &mut Context<'_>) {
    let Some(rule) = point.write.as_ref().map(WriteRule::from) else { return };
    let value_type = point.r#type.0;
    let limited = rule.min.is_some() || rule.max.is_some() || rule.step.is_some();
    if limited && !matches!(value_type.kind, Kind::Number | Kind::Percent) {
        let message = format!("a value of type {} is not a number, so it has no limits", value_type.name);
        cx.field_problem(node, "write", message).help("remove min, max and step");
    }
    let allowed = rule.allowed.iter().map(|value| ("allowed", value));
    let fail_safe = rule.fail_safe.iter().map(|fail_safe| ("fail_safe", &fail_safe.write));
    for (key, value) in allowed.chain(fail_safe) {
        if let (Err(message), Some(write)) = (encode(value_type.kind, value), node.get("write")) {
            cx.within_entry(write, |cx, node| {
                cx.field_problem(node, key, message);
            });
        }
    }
}

#[cfg(test)]
mod tests;
