//! The part of the site file that describes one MySensors network.
//!
//! All mistakes are found here, with their places, so that nothing is left to fail when the link is
//! built.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::json;
use wharf_contract::settings::{
    Context, HostPort, Named, NamedEntry, Node, Period, Ranged, Schema, SerialPath, Setting, Spanned, Typed,
    WriteSettings, suggest,
};
use wharf_contract::{DeviceId, LinkId, PointId, WriteRule, settings};
use wharf_stream::SerialPort;

use crate::controller::{Numbers, Role, Rules, Units};
use crate::firmware;
use crate::firmware::settings::FirmwareSettings;
use crate::message::{Command, GATEWAY, SELF};
use crate::mqtt::{Broker, MqttSettings};
use crate::nodes::{Address, Declared, INCLUSION, Nodes, by_number, is_own_name, own_name};
use crate::outbox::{self, Outbox};
use crate::registry::Registry;
use crate::registry::names::NameSource;
use crate::transport::Transport;
use crate::types::{self, Kind, Type};
use crate::values::encode;
use crate::zone::TimeSetting;

/// The baud rate of the library's own gateways.
pub const USUAL_BAUD: u32 = 115_200;

settings! {
    /// One MySensors network, behind a gateway on a serial port, on Ethernet or at an MQTT broker: exactly one of
    /// `serial`, `tcp` and `mqtt`.
    pub struct LinkSettings {
        /// The serial port of the gateway, best by its lasting name under `/dev/serial/by-id`.
        serial: Option<SerialPath> = None,
        /// The address of an Ethernet gateway, `host:port`. The port is 5003 when left out.
        tcp: Option<HostPort<5003>> = None,
        /// A gateway, or a WiFi node that is one, which speaks MQTT itself.
        mqtt: Option<MqttSettings> = None,
        /// The speed of the serial port, 115200 when left out.
        baud: Option<Ranged<u32, 300, 4_000_000>> = None,
        /// How long a verified write waits for the echo of its node.
        echo_timeout: Period<100, 60_000> = Period::secs(2),
        /// How often a verified write is sent again whose echo stays away, `echo_timeout` apart.
        retries: Ranged<u8, 0, 10> = Ranged::new(2),
        /// How long a command that does not say so itself waits for a node that sleeps.
        hold: Period<0, 604_800_000> = Period::secs(3600),
        /// Who answers the nodes' questions: for a number, for the time, for units and values.
        controller: Role = Role::None,
        /// Which units a local controller tells nodes to use.
        units: Units = Units::Metric,
        /// The time a local controller tells nodes: local, as a clock on the wall shows it; utc; or an offset
        /// such as "+01:00".
        time: TimeSetting = TimeSetting::Local,
        /// When a local controller gives a new node a number.
        ids: Numbers = Numbers::Always,
        /// How long the network stays open for new nodes.
        inclusion: Period<1_000, 86_400_000> = Period::secs(60),
        /// How long a node that does not sleep may be silent until a local controller asks it for a sign of
        /// life. Without it: it is never asked.
        heartbeat: Option<Period<10_000, 604_800_000>> = None,
        /// With `controller: upstream`: how long everything upstream has to be away, and every controller that
        /// is attached to this gateway, until this gateway answers in its place. Without it: never.
        take_over: Option<Period<1_000, 2_592_000_000>> = None,
        /// Where the names of nodes and children come from that are not listed under `devices`.
        names: NameSource = NameSource::Numbers,
        /// Names for nodes, and which of their values may be written. Nodes that are not listed are
        /// read all the same.
        devices: Named<DeviceSettings> = Named::none(),
        /// Firmware for nodes, sent over the air to those that report another version.
        firmware: Named<FirmwareSettings> = Named::none(),
    }
    exactly_one_of: [serial, tcp, mqtt];
    at_most_one_of: [tcp, baud];
    at_most_one_of: [mqtt, baud];
    check: |this, node, cx| {
        no_node_twice(this, cx);
        nothing_for_nobody(this, node, cx);
        firmware::settings::check(this, cx);
    };
}

settings! {
    /// One node.
    pub struct DeviceSettings {
        /// Its number in the network; 0 is the gateway.
        node: Ranged<u8, 0, 254>,
        /// Whether it sleeps between its messages. Without it: as it says itself.
        sleeps: Option<bool> = None,
        /// How long a command that does not say so itself waits for it to wake. Without it: as for the link.
        hold: Option<Period<0, 604_800_000>> = None,
        /// Names for its values.
        points: Named<PointSettings> = Named::none(),
        /// The firmware it gets, by its name in `firmware` of the link.
        firmware: Option<Spanned<String>> = None,
    }
    check: |this, node, cx| {
        if this.sleeps == Some(false) && this.hold.is_some() {
            cx.field_problem(node, "hold", "`hold` has no effect: the node does not sleep");
        }
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
#[derive(Clone, Copy, Debug, PartialEq)]
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
    /// The way to the gateway. The decoder has seen to it that there is one.
    pub(crate) fn transport(&self) -> Transport {
        match (&self.mqtt, &self.tcp, &self.serial) {
            (Some(mqtt), ..) => Transport::Mqtt(Box::new(Broker::new(mqtt.clone()))),
            (None, Some(address), _) => Transport::Direct(wharf_stream::Transport::tcp(address)),
            // An empty path cannot come out of the decoder, and would be no such port.
            (None, None, serial) => Transport::Direct(wharf_stream::Transport::Serial(SerialPort::new(
                serial.as_ref().map_or("", |path| path.as_str()),
                self.baud.map_or(USUAL_BAUD, |baud| baud.get()),
            ))),
        }
    }

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
        let gateway = devices.get(&GATEWAY).cloned().unwrap_or_else(|| by_number(&link, GATEWAY).into());
        let inclusion = (!self.is_idle()).then(|| Declared {
            device: gateway,
            point: PointId::from(own_name(Command::Internal, SELF, types::INCLUSION)),
            address: INCLUSION,
            value_type: types::INCLUSION_TYPE,
            write: Some(WriteRule::default()),
        });
        let nodes = Nodes::new(link, devices, points.chain(inclusion).collect());
        if self.units == Units::Imperial { nodes.imperial() } else { nodes }
    }

    /// Whether this gateway never answers a node.
    fn is_idle(&self) -> bool {
        match self.controller {
            Role::None => true,
            Role::Local => false,
            Role::Upstream => self.take_over.is_none(),
        }
    }

    /// What the controller of the link goes by.
    pub(crate) fn rules(&self) -> Rules {
        Rules {
            role: self.controller,
            units: self.units,
            numbers: self.ids,
            inclusion: self.inclusion.get(),
            take_over: self.take_over.map(Period::get),
            heartbeat: self.heartbeat.map(Period::get),
        }
    }

    /// What is on its way to the nodes: nothing yet.
    pub(crate) fn outbox(&self) -> Outbox {
        let sending = outbox::Rules { echo_timeout: self.echo_timeout.get(), retries: self.retries.get().into() };
        let mut outbox = Outbox::new(sending);
        self.sleepers().for_each(|(node, sleeps)| outbox.tell(node, sleeps));
        outbox
    }

    /// The nodes of which the site file says whether they sleep.
    fn sleepers(&self) -> impl Iterator<Item = (u8, bool)> {
        self.devices.iter().filter_map(|(_, device)| Some((device.node.get(), device.sleeps?)))
    }

    /// How long commands wait for sleeping nodes: all, and those of which the site file says so.
    pub(crate) fn holds(&self) -> (Duration, HashMap<u8, Duration>) {
        let own = self.devices.iter().filter_map(|(_, device)| Some((device.node.get(), device.hold?.get())));
        (self.hold.get(), own.collect())
    }

    /// A registry that knows what the site file declares, and nothing else yet.
    pub(crate) fn registry(&self, link: &LinkId) -> Registry {
        let declared = self.devices.iter().map(|(_, device)| {
            let names = device.points.iter().map(|(name, _)| name.as_str().to_owned());
            (device.node.get(), names.collect())
        });
        let stated = self.devices.iter().map(|(name, device)| (device.node.get(), name.as_str().to_owned()));
        Registry::new(link.as_str(), self.names).declaring(declared).stating(stated).telling(self.sleepers())
    }
}

/// What is set for a controller that is not there.
fn nothing_for_nobody(link: &LinkSettings, node: &Node, cx: &mut Context<'_>) {
    if link.controller != Role::Upstream && link.take_over.is_some() {
        let message = "`take_over` has no effect: there is no controller upstream to take over from";
        cx.field_problem(node, "take_over", message).help("write `controller: upstream`, or leave it out");
    }
    let idle = ["units", "time", "ids", "inclusion", "heartbeat"].into_iter().filter(|_| link.is_idle());
    for key in idle.filter(|key| node.get(key).is_some()) {
        let message = format!("`{key}` has no effect: this gateway answers no node");
        cx.field_problem(node, key, message).help("write `controller: local`, or leave it out");
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
    if limited && !matches!(value_type.kind, Kind::Number | Kind::Within(..) | Kind::Percent) {
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
