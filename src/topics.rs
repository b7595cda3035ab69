//! Every topic shape, built and parsed in one place.
//!
//! `gw1-out/…` carries readings and is built by the site's [mapping](crate::mapping); everything
//! else is here.

use wharf_contract::{DeviceId, Health, LinkId, PointInfo};

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
    /// `gw1-in/<node>/<child>/<command>/<ack>/<type>`, MySensors classic form.
    Classic(Classic),
}

/// Which point a command is for, by the names of the site file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The device's name.
    pub device: String,
    /// The point's name.
    pub point: String,
}

/// The five levels of a topic in classic form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classic {
    /// The radio device, 0–254; 255 is all of them.
    pub node: u8,
    /// The child sensor on it; 255 is the node itself.
    pub child: u8,
    /// What the message is for.
    pub command: ClassicCommand,
    /// Whether the node is asked to echo the message.
    pub echo: bool,
    /// The type within the command: `V_…`, `S_…`, `I_…` or `ST_…`.
    pub kind: u8,
}

/// What a message in classic form is for. The numbers are those of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassicCommand {
    /// What a node or one of its children is.
    Presentation = 0,
    /// A value.
    Set = 1,
    /// A request for a value.
    Req = 2,
    /// What controller, gateway and nodes say among themselves.
    Internal = 3,
    /// Firmware and other large things, in pieces.
    Stream = 4,
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

    /// Where the outcome of a command for a declared point is told.
    pub fn answer_of(&self, point: &PointInfo) -> String {
        self.answer(point.device.as_str(), point.point.as_str())
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

    /// Where the echo of a message in classic form is told.
    pub fn classic_echo(&self, message: &Classic) -> String {
        let Classic { node, child, command, kind, .. } = message;
        format!("{}-out/{node}/{child}/{}/1/{kind}", self.gateway, *command as u8)
    }

    /// What to subscribe to for commands.
    pub fn commands(&self) -> String {
        format!("{}-in/#", self.gateway)
    }

    /// Whether a topic is below `gw1-in/`.
    pub fn is_command(&self, topic: &str) -> bool {
        self.below_in(topic).is_some()
    }

    /// Whether a topic below `gw1-in/` is a value or a request for one in MySensors classic form: what a
    /// controller may publish to be kept. What else there is, restarts and firmware among it, may be not.
    pub fn is_classic_value(&self, topic: &str) -> bool {
        let Some(Request::Classic(message)) = self.parse_command(topic) else { return false };
        matches!(message.command, ClassicCommand::Set | ClassicCommand::Req)
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
            [node, child, command, ack, kind] => classic(node, child, command, ack, kind).map(Request::Classic),
            _ => None,
        }
    }

    fn below_in<'t>(&self, topic: &'t str) -> Option<&'t str> {
        topic.strip_prefix(&self.gateway)?.strip_prefix("-in/")
    }
}

/// Whether this is how a controller says that it has started: Home Assistant's birth message.
pub fn is_birth_of_a_controller(topic: &str, payload: &[u8]) -> bool {
    topic == "homeassistant/status" && payload == b"online"
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
    Address { device: device.to_owned(), point: point.to_owned() }
}

fn classic(node: &str, child: &str, command: &str, ack: &str, kind: &str) -> Option<Classic> {
    // `parse` alone would also take a plus sign.
    let number = |level: &str| if level.starts_with('+') { None } else { level.parse::<u8>().ok() };
    let command = match number(command)? {
        0 => ClassicCommand::Presentation,
        1 => ClassicCommand::Set,
        2 => ClassicCommand::Req,
        3 => ClassicCommand::Internal,
        4 => ClassicCommand::Stream,
        _ => return None,
    };
    let echo = match ack {
        "0" => false,
        "1" => true,
        _ => return None,
    };
    Some(Classic { node: number(node)?, child: number(child)?, command, echo, kind: number(kind)? })
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
        let classic =
            |node, child, command, echo, kind| Some(Request::Classic(Classic { node, child, command, echo, kind }));
        check("gw1-in/2/1/1/1/49", classic(2, 1, ClassicCommand::Set, true, 49));
        check("gw1-in/2/1/2/0/0", classic(2, 1, ClassicCommand::Req, false, 0));
        check("gw1-in/2/255/3/0/13", classic(2, 255, ClassicCommand::Internal, false, 13));
        check("gw1-in/255/255/4/0/3", classic(255, 255, ClassicCommand::Stream, false, 3));
        check("gw1-in/2/255/5/0/13", None);
        check("gw1-in/2/255/3/2/13", None);
        check("gw1-in/+2/1/1/0/0", None);
        check("gw1-in/300/1/1/0/0", None);
        check("gw1-in/tank", Some(Request::WriteMany("tank".into())));
        check("gw1-in/", None);
        check("gw1-in/tank/", None);
        check("gw2-in/tank/valve", None);
        check("gw1-out/tank/valve", None);
        check("gw1-input/tank/valve", None);
    }

    #[test]
    fn an_echo_has_the_topic_of_its_message_with_the_ack_set() {
        let topics = Topics::new("gw1");
        let Some(Request::Classic(message)) = topics.parse_command("gw1-in/2/3/1/1/2") else {
            panic!("a topic in classic form");
        };
        assert_eq!(topics.classic_echo(&message), "gw1-out/2/3/1/1/2");
    }

    #[test]
    fn an_answer_to_any_request_has_a_topic_that_may_be_sent() {
        let topics = Topics::new("gw1");
        assert_eq!(topics.answer_to_unknown("gw1-in/2/255/3/0/13"), "gw1-sys/answer/2/255/3/0/13");
        assert_eq!(topics.answer_to_unknown("gw1-in/a+b//#"), "gw1-sys/answer/a_b/_/_");
        assert_eq!(topics.answer("a\0b", ""), "gw1-sys/answer/a_b/_");
    }
}
