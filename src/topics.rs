//! Every topic shape, built and parsed in one place.
//!
//! `gw1-out/…` carries readings and is built by the site's [mapping](crate::mapping); everything
//! else is here.

use wharf_contract::{DeviceId, Health, LinkId};

/// The longest level of a request's topic that is repeated in an answer's.
const LONGEST_LEVEL: usize = 128;

/// The topics of one gateway.
#[derive(Clone, Debug)]
pub struct Topics {
    gateway: String,
}

/// What a command's topic asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `gw1-in/<device>/<point>`
    Write(Address),
    /// `gw1-in/<device>/<point>/get`
    Read(Address),
    /// `gw1-in/<device>`: several points of it.
    WriteMany(String),
}

/// Which point a command is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// By the names of the site file.
    Named {
        /// The device's name.
        device: String,
        /// The point's name.
        point: String,
    },
    /// MySensors classic form, `<node>/<child>/<command>/<ack>/<type>`.
    Classic {
        /// The radio device, 0–255.
        node: u8,
        /// The child sensor on it.
        child: u8,
        /// Whether the node is asked to echo the message.
        echo: bool,
        /// The value type (`V_…`).
        kind: u8,
    },
}

impl Topics {
    /// The topics of the gateway of that name.
    pub fn new(gateway: &str) -> Self {
        Self { gateway: gateway.to_owned() }
    }

    /// The gateway's name.
    pub fn gateway(&self) -> &str {
        &self.gateway
    }

    /// Retained `online` / `offline`: birth and will.
    pub fn state(&self) -> String {
        format!("{}-sys/state", self.gateway)
    }

    /// A link's health, retained.
    pub fn link(&self, link: &LinkId) -> String {
        format!("{}-sys/link/{link}", self.gateway)
    }

    /// A device's health, retained.
    pub fn device(&self, device: &DeviceId) -> String {
        format!("{}-sys/device/{device}", self.gateway)
    }

    /// What was dropped.
    pub fn loss(&self) -> String {
        format!("{}-sys/loss", self.gateway)
    }

    /// Where the outcome of a command is told.
    pub fn answer(&self, device: &str, point: &str) -> String {
        format!("{}-sys/answer/{}/{}", self.gateway, level(device), level(point))
    }

    /// Where the outcome of a command for several points of a device is told.
    pub fn answer_to_many(&self, device: &str) -> String {
        format!("{}-sys/answer/{}", self.gateway, level(device))
    }

    /// Where the outcome of a command is told whose topic names no point: the request's own
    /// levels, made safe.
    pub fn answer_to_unknown(&self, request: &str) -> String {
        let rest = self.below_in(request).unwrap_or(request);
        let levels: Vec<String> = rest.split('/').take(8).map(level).collect();
        format!("{}-sys/answer/{}", self.gateway, levels.join("/"))
    }

    /// What to subscribe to for commands.
    pub fn commands(&self) -> String {
        format!("{}-in/#", self.gateway)
    }

    /// Whether a topic is below `gw1-in/`.
    pub fn is_command(&self, topic: &str) -> bool {
        self.below_in(topic).is_some()
    }

    /// Takes a command's topic apart; `None` if it is none that wharf knows.
    pub fn parse_command(&self, topic: &str) -> Option<Request> {
        let levels: Vec<&str> = self.below_in(topic)?.split('/').collect();
        match *levels.as_slice() {
            [device] if !device.is_empty() => Some(Request::WriteMany(device.to_owned())),
            [device, point] if !device.is_empty() && !point.is_empty() => Some(Request::Write(named(device, point))),
            [device, point, "get"] if !device.is_empty() && !point.is_empty() => {
                Some(Request::Read(named(device, point)))
            }
            [node, child, command, ack, kind] => classic(node, child, command, ack, kind),
            _ => None,
        }
    }

    fn below_in<'t>(&self, topic: &'t str) -> Option<&'t str> {
        topic.strip_prefix(&self.gateway)?.strip_prefix("-in/")
    }
}

/// The word for a link's health in JSON, with when and why.
pub fn health_payload(health: &Health, since_ms: u64) -> String {
    state_payload(health.as_str(), since_ms, health.reason())
}

/// `{"state":…,"since":…,"reason":…}`
pub fn state_payload(state: &str, since_ms: u64, reason: Option<&str>) -> String {
    let mut json = serde_json::json!({ "state": state, "since": since_ms });
    if let Some(reason) = reason {
        json["reason"] = reason.into();
    }
    json.to_string()
}

fn named(device: &str, point: &str) -> Address {
    Address::Named { device: device.to_owned(), point: point.to_owned() }
}

fn classic(node: &str, child: &str, command: &str, ack: &str, kind: &str) -> Option<Request> {
    const SET: u8 = 1;
    const REQ: u8 = 2;
    let echo = match ack {
        "0" => false,
        "1" => true,
        _ => return None,
    };
    let address =
        Address::Classic { node: node.parse().ok()?, child: child.parse().ok()?, echo, kind: kind.parse().ok()? };
    match command.parse().ok()? {
        SET => Some(Request::Write(address)),
        REQ => Some(Request::Read(address)),
        _ => None,
    }
}

/// A text as one topic level: never empty, without separators, wildcards or control characters,
/// and bounded. The escape is one-way; it exists to be safe, not to be undone.
pub fn level(text: &str) -> String {
    if text.is_empty() {
        return "_".to_owned();
    }
    text.chars()
        .take(LONGEST_LEVEL)
        .map(|c| if matches!(c, '/' | '+' | '#') || c.is_control() { '_' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(topic: &str, expected: Option<Request>) {
        assert_eq!(Topics::new("gw1").parse_command(topic), expected, "{topic}");
    }

    #[test]
    fn a_command_is_known_by_the_shape_of_its_topic() {
        check("gw1-in/tank/valve", Some(Request::Write(named("tank", "valve"))));
        check("gw1-in/tank/valve/get", Some(Request::Read(named("tank", "valve"))));
        let set = Address::Classic { node: 2, child: 1, echo: true, kind: 49 };
        check("gw1-in/2/1/1/1/49", Some(Request::Write(set)));
        let req = Address::Classic { node: 2, child: 1, echo: false, kind: 0 };
        check("gw1-in/2/1/2/0/0", Some(Request::Read(req)));
        check("gw1-in/2/255/3/0/13", None);
        check("gw1-in/300/1/1/0/0", None);
        check("gw1-in/tank", Some(Request::WriteMany("tank".into())));
        check("gw1-in/", None);
        check("gw1-in/tank/", None);
        check("gw2-in/tank/valve", None);
        check("gw1-out/tank/valve", None);
        check("gw1-input/tank/valve", None);
    }

    #[test]
    fn an_answer_to_any_request_has_a_topic_that_may_be_sent() {
        let topics = Topics::new("gw1");
        assert_eq!(topics.answer_to_unknown("gw1-in/2/255/3/0/13"), "gw1-sys/answer/2/255/3/0/13");
        assert_eq!(topics.answer_to_unknown("gw1-in/a+b//#"), "gw1-sys/answer/a_b/_/_");
        assert_eq!(topics.answer("a\0b", ""), "gw1-sys/answer/a_b/_");
    }
}
