//! One virtual node: what it says of itself and its children, and what it answers.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use wharf_contract::{DeviceId, PointId, Reading, Unit, Value};
use wharf_mysensors::message::{Command, GATEWAY, Message, SELF};
use wharf_mysensors::paced::Paced;
use wharf_mysensors::types;

use super::super::kinds::{self, Kind};
use super::{LIBRARY, Reply, Rules};

/// `S_ARDUINO_NODE`.
const ARDUINO_NODE: u8 = 17;

/// A device as a node.
#[derive(Debug)]
pub(super) struct Node {
    pub device: DeviceId,
    /// Whether the device is known not to answer. Then its node gives no sign of life.
    pub is_away: bool,
    pub battery: Option<(u8, SystemTime)>,
    pub children: BTreeMap<u8, Child>,
    pub by_point: HashMap<PointId, u8>,
    /// When its values are said once more.
    pub values_due: Option<Instant>,
    /// What it says of itself when it is asked.
    pub presentation: Paced,
}

/// A point as a child.
#[derive(Debug)]
pub(super) struct Child {
    pub point: PointId,
    pub kind: Kind,
    pub unit: Option<Unit>,
    /// Its value, if that is known to be true.
    pub last: Option<Last>,
}

/// What a child said last.
#[derive(Debug)]
pub(super) struct Last {
    pub payload: String,
    pub value: Value,
    pub taken_at: SystemTime,
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

impl Node {
    /// A node without children.
    pub fn new(device: DeviceId) -> Self {
        let (children, by_point) = (BTreeMap::new(), HashMap::new());
        let presentation = Paced::default();
        Self { device, is_away: false, battery: None, children, by_point, values_due: None, presentation }
    }

    /// Its values are not known any more, and are not said again.
    pub fn forget(&mut self) {
        self.battery = None;
        self.children.values_mut().for_each(|child| child.last = None);
    }

    /// Takes in a child.
    pub fn add(&mut self, number: u8, child: Child) {
        self.by_point.insert(child.point.clone(), number);
        self.children.insert(number, child);
    }

    /// That there is a node, and what it is called.
    pub fn introduce(&self, number: u8) -> Vec<Said> {
        let presentation = Message {
            node: number,
            child: SELF,
            command: Command::Presentation,
            ack: false,
            kind: ARDUINO_NODE,
            payload: LIBRARY.into(),
        };
        vec![
            self.said(presentation, "presentation"),
            self.internal(number, types::SKETCH_NAME, kinds::plain(self.device.as_str())),
            self.internal(number, types::SKETCH_VERSION, env!("CARGO_PKG_VERSION").into()),
        ]
    }

    /// That there is a child, what it is called, and in what unit its values are.
    pub fn introduce_child(&self, number: u8, child: u8) -> Vec<Said> {
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
    pub fn say_all(&self, number: u8) -> Vec<Said> {
        let units = self.children.keys().flat_map(|child| self.introduce_child(number, *child).into_iter().skip(1));
        let values = self.children.keys().flat_map(|child| self.say_value(number, *child));
        units.chain(values).chain(self.say_battery(number)).collect()
    }

    /// A child's value, behind what has to go with it.
    pub fn say_value(&self, number: u8, child: u8) -> Vec<Said> {
        let Some((known, last)) = self.children.get(&child).and_then(|known| Some((known, known.last.as_ref()?)))
        else {
            return Vec::new();
        };
        let said = |kind, payload: &str, point: PointId, value| Said {
            message: Message { node: number, child, command: Command::Set, ack: false, kind, payload: payload.into() },
            device: self.device.clone(),
            point,
            value,
            unit: known.unit.clone(),
            taken_at: Some(last.taken_at),
        };
        let beside = known.kind.beside(&last.payload).map(|(kind, payload)| {
            let name = types::value_type(kind).map(|row| row.name.replace('_', "-")).unwrap_or_default();
            let point = PointId::from(format!("{}-{name}", known.point));
            Said { unit: None, ..said(kind, payload, point, Value::Text(payload.into())) }
        });
        let value = said(known.kind.value, &last.payload, known.point.clone(), last.value.clone());
        beside.into_iter().chain([value]).collect()
    }

    /// The level of its battery.
    pub fn say_battery(&self, number: u8) -> Option<Said> {
        let (level, taken_at) = self.battery?;
        let said = self.internal(number, types::BATTERY, level.to_string());
        Some(Said { value: Value::Int(level.into()), unit: Some("%".into()), taken_at: Some(taken_at), ..said })
    }

    /// What is answered to an internal message.
    pub fn internal_answer(&self, number: u8, kind: u8, up: Duration) -> Result<Said, String> {
        match kind {
            types::VERSION => Ok(self.internal(number, types::VERSION, LIBRARY.into())),
            // Signs of life, which a device that does not answer has none of.
            types::HEARTBEAT_REQUEST | types::DISCOVER if self.is_away => Err(format!("{} is offline", self.device)),
            types::HEARTBEAT_REQUEST => {
                Ok(self.internal(number, types::HEARTBEAT_RESPONSE, up.as_millis().to_string()))
            }
            types::DISCOVER => Ok(self.internal(number, types::DISCOVER_RESPONSE, GATEWAY.to_string())),
            _ => Err("a virtual node has no answer to that".into()),
        }
    }

    /// What is answered to a request for a value.
    pub fn requested(&self, message: &Message) -> Reply {
        if !self.children.get(&message.child).is_some_and(|child| child.kind.has(message.kind)) {
            return Reply::Refuse(self.no_such_value(message));
        }
        let mut said = self.say_value(message.node, message.child);
        said.retain(|said| said.message.kind == message.kind);
        if said.is_empty() { Reply::Refuse("its value is not known".into()) } else { Reply::Say(said) }
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

    /// What a value for a child comes to.
    pub fn set(&self, message: &Message, rules: &Rules) -> Reply {
        let Some(child) = self.children.get(&message.child).filter(|child| child.kind.has(message.kind)) else {
            return Reply::Refuse(self.no_such_value(message));
        };
        let value = if message.kind == child.kind.value {
            child.kind.value(&message.payload)
        } else {
            let rule = rules.get(&(self.device.clone(), child.point.clone()));
            let most = rule.and_then(|rule| rule.max).map_or(Value::Int(100), Value::Float);
            child.kind.value_beside(&message.payload, child.last.as_ref().map(|last| &last.value), most)
        };
        match value {
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
pub(super) fn battery(reading: &Reading, value: &Value) -> Option<u8> {
    let level = value
        .as_f64()
        .filter(|_| is_battery(reading) && reading.unit.as_ref().is_some_and(|unit| unit.as_str() == "%"))?;
    // It is from 0 to 100.
    (0.0..=100.0).contains(&level).then_some(level.round() as u8)
}

/// Whether a point is a battery, by its name.
pub(super) fn is_battery(reading: &Reading) -> bool {
    matches!(reading.point.as_str(), "battery" | "battery_level")
}
