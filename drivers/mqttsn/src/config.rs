//! The part of the site file that describes one MQTT-SN gateway.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use wharf_contract::settings::Network;
use wharf_contract::settings::{
    Context, HostPort, Node, NodeKind, Period, Ranged, Schema, Secret, SerialPath, Setting, Spanned, Typed,
};
use wharf_contract::{setting_enum, settings};
use wharf_stream::SerialPort;

use crate::client::Rules;
use crate::client::topics::{Predefined, is_topic};
use crate::gateway::{Access, LONGEST_ID};

/// What most boards are set to.
const USUAL_BAUD: u32 = 115_200;

settings! {
    /// An MQTT-SN gateway: sensors too small for TCP speak it over UDP, or over a serial line. What they
    /// publish goes to a broker as messages of MQTT clients of their names.
    pub struct LinkSettings {
        /// The address it listens on: 127.0.0.1:1884. One that can be reached from outside needs `allow`.
        udp: Option<UdpAddress> = None,
        /// The serial port, best by its lasting name under `/dev/serial/by-id`.
        serial: Option<SerialPath> = None,
        /// The speed of the serial port, 115200 when left out.
        baud: Option<Ranged<u32, 50, 4_000_000>> = None,
        /// How messages are told apart on the serial line: plain or hdlc.
        framing: Option<Framing> = None,
        /// The multicast group in which clients look for a gateway, such as 239.255.18.84:1885.
        group: Option<Group> = None,
        /// The broker, if it is not the gateway's own: host:port.
        broker: Option<HostPort<1883>> = None,
        /// The user as whom clients are at the broker. At the gateway's own: one of `broker.users`, whose rules
        /// then say what they may do; needed there once it has users.
        username: Option<Spanned<String>> = None,
        /// The password to log in with: ${file:name}, ${env:NAME}, or the password itself. The gateway's own
        /// broker asks for none.
        password: Option<Secret> = None,
        /// Whether all clients share one connection to the broker. Otherwise each has its own, and the
        /// broker keeps its session.
        aggregate: bool = false,
        /// The number by which clients tell gateways apart.
        gateway_id: Ranged<u8, 1, 255> = Ranged::new(1),
        /// How often the gateway says that it is there. Never when left out. Over UDP it needs a group.
        advertise: Option<Period<60_000, 65_535_000>> = None,
        /// Topics that all clients know by a number: {1: garden/soil, 2: garden/rain}.
        predefined: PredefinedTopics = PredefinedTopics::default(),
        /// Who may connect: addresses and networks, ids of clients, or both. A client has to fit one of
        /// each kind that is listed. Left out: everybody who reaches the gateway.
        allow: Vec<Allowed> = Vec::new(),
        /// Whether something may be published without connecting, to predefined and short topics (QoS −1).
        qos_minus_one: bool = false,
        /// How many clients there may be at once.
        clients: Ranged<u16, 1, 1_000> = Ranged::new(100),
        /// How many topics of one client may have a number.
        topics: Ranged<u16, 1, 1_000> = Ranged::new(100),
        /// How many messages may wait for one client here. Of more, the oldest goes.
        buffer: Ranged<u16, 1, 10_000> = Ranged::new(100),
        /// How many datagrams a peer may send in a second. What is more is thrown away.
        rate: Ranged<u32, 1, 100_000> = Ranged::new(100),
        /// How long a client may take to answer before a message is sent to it again.
        retry: Period<100, 600_000> = Period::secs(10),
        /// How often a message is sent again before its client counts as lost.
        tries: Ranged<u8, 1, 20> = Ranged::new(4),
    }
    exactly_one_of: [udp, serial];
    at_most_one_of: [udp, baud];
    at_most_one_of: [udp, framing];
    at_most_one_of: [serial, group];
    check: check;
}

setting_enum! {
    /// How messages are told apart on a serial line.
    pub enum Framing {
        /// By the length that each begins with. A pause of 100 ms ends what is not complete.
        Plain = "plain",
        /// In frames as HDLC has them (RFC 1662): between bytes 0x7E, with 0x7D before those that are
        /// special, and a checksum of 16 bits.
        Hdlc = "hdlc",
    }
}

fn check(this: &LinkSettings, node: &Node, cx: &mut Context<'_>) {
    let any_network = this.allow.iter().any(|allowed| matches!(allowed, Allowed::Network(_)));
    if let Some(UdpAddress(address)) = this.udp
        && !address.ip().is_loopback()
        && this.allow.is_empty()
    {
        cx.field_problem(node, "udp", format!("{address} can be reached from outside, and MQTT-SN knows no passwords"))
            .help("say who may connect: allow: [192.168.1.0/24]");
    }
    if this.serial.is_some() && any_network {
        cx.field_problem(node, "allow", "there are no addresses on a serial line").help("list ids of clients");
    }
    if this.advertise.is_some() && this.udp.is_some() && this.group.is_none() {
        cx.field_problem(node, "advertise", "over UDP, `advertise` needs a group in which it is said")
            .help("group: 239.255.18.84:1885");
    }
    if this.group.is_some() && this.udp.is_some_and(|udp| udp.0.is_ipv6()) {
        cx.field_problem(node, "group", "a group needs an IPv4 address under `udp`");
    }
    if this.group.is_some() && !any_network {
        cx.field_problem(node, "group", "a group can be reached from outside")
            .help("say who may connect: allow: [192.168.1.0/24]");
    }
    let lists_ids = this.allow.iter().any(|allowed| matches!(allowed, Allowed::Id(_)));
    if this.qos_minus_one && lists_ids {
        cx.field_problem(node, "qos_minus_one", "who publishes without connecting says no id, and `allow` lists ids")
            .help("list networks only, or leave `qos_minus_one` out");
    }
    if this.password.is_some() && this.username.is_none() {
        cx.field_problem(node, "password", "MQTT 3.1.1 knows no password without a username");
    }
}

/// What the link of that name is called at the broker.
pub fn own_id(link: &str) -> String {
    format!("mqttsn-{link}")
}

impl LinkSettings {
    /// Whether what clients say goes over the link's own connection to the broker.
    pub fn speaks_for_clients(&self) -> bool {
        self.aggregate || self.qos_minus_one
    }

    /// The serial port, if it is one.
    pub(crate) fn port(&self) -> Option<SerialPort> {
        let baud = self.baud.map_or(USUAL_BAUD, |baud| baud.get());
        self.serial.as_ref().map(|path| SerialPort::new(path.as_str(), baud))
    }

    pub(crate) fn access(&self, own_id: &str) -> Access {
        let (mut networks, mut ids) = (Vec::new(), Vec::new());
        for allowed in &self.allow {
            match allowed {
                Allowed::Network(network) => networks.push(*network),
                Allowed::Id(id) => ids.push(id.clone()),
            }
        }
        Access {
            gateway: self.gateway_id.get(),
            own_id: own_id.to_owned(),
            networks,
            ids,
            clients: usize::from(self.clients.get()),
            qos_minus_one: self.qos_minus_one,
            rate: self.rate.get(),
            advertise: self.advertise.map(|every| every.get()),
        }
    }

    pub(crate) fn rules(&self) -> Arc<Rules> {
        Arc::new(Rules {
            retry: self.retry.get(),
            tries: self.tries.get(),
            // T_WAIT, as chapter 7.2 of the specification advises.
            wait: Duration::from_secs(300),
            topics: usize::from(self.topics.get()),
            buffer: usize::from(self.buffer.get()),
            predefined: self.predefined.0.clone(),
        })
    }
}

/// An address that is listened on, and its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpAddress(pub SocketAddr);

impl Setting for UdpAddress {
    fn schema() -> Schema {
        json!({ "type": "string", "pattern": "^([0-9]{1,3}(\\.[0-9]{1,3}){3}|\\[[0-9a-fA-F:.]+\\]):[0-9]{1,5}$" })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        match socket_address(node) {
            Some(address) => Some(Self(address)),
            None => cx.unexpected(node, "an address of this machine and a port, such as 127.0.0.1:1884"),
        }
    }
}

/// A multicast group, and its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group(pub SocketAddrV4);

impl Group {
    /// The interface on which it is joined: the one that has the address listened on.
    pub(crate) fn interface(listen: SocketAddr) -> Ipv4Addr {
        match listen.ip() {
            IpAddr::V4(address) => address,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        }
    }
}

impl Setting for Group {
    fn schema() -> Schema {
        json!({ "type": "string", "pattern": "^2(2[4-9]|3[0-9])(\\.[0-9]{1,3}){3}:[0-9]{1,5}$" })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        match socket_address(node) {
            Some(SocketAddr::V4(address)) if address.ip().is_multicast() => Some(Self(address)),
            _ => cx.unexpected(node, "a multicast group and a port, such as 239.255.18.84:1885"),
        }
    }
}

fn socket_address(node: &Node) -> Option<SocketAddr> {
    match node.typed() {
        Some(Typed::Text(text)) => text.parse().ok().filter(|address: &SocketAddr| address.port() != 0),
        _ => None,
    }
}

/// One of those who may connect.
#[derive(Clone, Debug, PartialEq)]
pub enum Allowed {
    /// From there.
    Network(Network),
    /// Of that name.
    Id(String),
}

impl Setting for Allowed {
    fn schema() -> Schema {
        json!({ "type": ["string", "integer"], "pattern": "^[^\\u0000-\\u001f]{1,64}$" })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let text = match node.typed() {
            Some(Typed::Text(_) | Typed::Int(_)) => node.text()?,
            _ => return cx.unexpected(node, "a network such as 192.168.1.0/24, or the id of a client"),
        };
        match Network::parse(text) {
            Ok(network) => Some(Self::Network(network)),
            Err(why) if text.contains('/') => {
                cx.problem(node.span, why);
                None
            }
            Err(_) if text.is_empty() || text.len() > LONGEST_ID || text.chars().any(char::is_control) => {
                cx.problem(
                    node.span,
                    format!("the id of a client has 1–{LONGEST_ID} bytes, and no control characters"),
                );
                None
            }
            Err(_) => Some(Self::Id(text.to_owned())),
        }
    }
}

/// The most topics that may be predefined.
const MOST_PREDEFINED: usize = 1_000;

/// Topics that everybody knows by a number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PredefinedTopics(pub Predefined);

impl Setting for PredefinedTopics {
    fn schema() -> Schema {
        json!({
            "type": ["object", "null"],
            "propertyNames": { "pattern": "^[0-9]{1,5}$" },
            "additionalProperties": { "type": ["string", "number"], "pattern": "^[^+#]+$" },
        })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        if node.is_null() {
            return Some(Self::default());
        }
        if !matches!(node.kind, NodeKind::Mapping(_)) {
            cx.unexpected::<()>(node, "numbers with topics");
            cx.help_last("write {1: garden/soil, 2: garden/rain}");
            return None;
        }
        if node.entries().len() > MOST_PREDEFINED {
            cx.problem(node.span, format!("there may be {MOST_PREDEFINED} predefined topics at most"));
            return None;
        }
        let mut topics: Vec<(u16, String)> = Vec::new();
        let mut whole = true;
        for entry in node.entries() {
            let decoded = cx.within_entry(entry, |cx, value| {
                let digits = entry.key.bytes().all(|byte| byte.is_ascii_digit());
                let number = entry.key.parse().ok().filter(|number| digits && (1..u16::MAX).contains(number));
                if number.is_none() {
                    cx.problem(entry.key_span, format!("`{}` is not a number from 1 to 65534", entry.key));
                }
                let topic = String::decode(value, cx)?;
                if !is_topic(&topic) {
                    cx.problem(value.span, "a topic has 1–512 bytes, and no + and # in it");
                    return None;
                }
                let number = number?;
                if topics.iter().any(|(other, _)| *other == number) {
                    cx.problem(entry.key_span, format!("{number} is a topic already"));
                    return None;
                }
                Some((number, topic))
            });
            whole &= decoded.is_some();
            topics.extend(decoded);
        }
        whole.then_some(Self(Predefined(topics)))
    }
}

#[cfg(test)]
mod tests;
