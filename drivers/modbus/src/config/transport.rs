//! How a link is reached: the settings of its transport, and the rules between them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde_json::json;
use wharf_contract::settings::{Context, FilePath, HostPort, Name, Node, Schema, Setting, Severity, Typed};
use wharf_contract::{setting_enum, settings};

use super::{LinkSettings, serial};
use crate::link::{Place, Transport, Way};
use crate::wire::{Door, TlsFiles};

/// The most addresses of one device.
const MOST_ADDRESSES: usize = 4;

/// The highest unit id on a serial bus.
const HIGHEST_ON_A_BUS: u8 = 247;

settings! {
    /// Modbus/TCP Security: TLS around Modbus TCP. Certificates are PEM files; renewed ones are used from
    /// the next connection on.
    pub struct TlsSettings {
        /// Whom to trust: the CA that signed the device's certificate, or that certificate itself if it
        /// is its own CA.
        ca: FilePath,
        /// The gateway's own certificate, by which the device knows who may do what.
        cert: Option<FilePath> = None,
        /// The key to it.
        key: Option<FilePath> = None,
        /// The name in the device's certificate, where it is not the host in `tcp`.
        server_name: Option<String> = None,
    }
    together: [cert, key];
}

setting_enum! {
    /// What becomes of the connection between polls.
    pub enum Connection {
        /// It stays.
        Hold = "hold",
        /// It is closed when nothing is due, for devices that serve few clients.
        Release = "release",
    }
}

/// Where a Modbus TCP device is. The port is 502 if left out, with TLS 802.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address {
    plain: HostPort<502>,
    secure: HostPort<802>,
}

impl Address {
    /// The host name or address, without brackets.
    pub fn host(&self) -> &str {
        self.plain.host()
    }

    /// The port, without TLS or with it.
    pub fn port(&self, tls: bool) -> u16 {
        if tls { self.secure.port() } else { self.plain.port() }
    }

    fn place(&self, tls: bool) -> Place {
        Place::new(self.host(), self.port(tls))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.plain.fmt(f)
    }
}

impl Setting for Address {
    fn schema() -> Schema {
        HostPort::<502>::schema()
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let plain = HostPort::decode(node, cx)?;
        // What is an address with one default port is one with the other.
        let secure = HostPort::parse(node.text()?).ok()?;
        Some(Self { plain, secure })
    }
}

/// Where devices dial in: an address of this machine and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenAddress(pub SocketAddr);

impl Setting for ListenAddress {
    fn schema() -> Schema {
        json!({ "type": "string", "pattern": "^([0-9]{1,3}(\\.[0-9]{1,3}){3}|\\[[0-9A-Fa-f:.]+\\]):[0-9]{1,5}$" })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let parsed = match node.typed() {
            Some(Typed::Text(text)) => text.parse::<SocketAddr>().ok(),
            _ => None,
        };
        match parsed.filter(|address| address.port() != 0) {
            Some(address) => Some(Self(address)),
            None => cx.unexpected(node, "an address of this machine and a port, such as 192.168.1.2:1502"),
        }
    }
}

impl LinkSettings {
    /// What the settings come to. Exactly one way is there once they are decoded.
    pub(crate) fn transport(&self) -> Transport {
        let way = if let Some(place) = &self.rtu_over_tcp {
            Way::RtuOverTcp(Place::new(place.host(), place.port()))
        } else if let Some(place) = &self.udp {
            Way::Udp(Place::new(place.host(), place.port()))
        } else if let Some(path) = &self.serial {
            Way::Serial(serial::setup(path, self))
        } else if let Some(address) = self.listen {
            Way::Listen(Arc::new(Door::new(address.0, self.allow.clone())))
        } else {
            let secure = self.tls.is_some();
            let addresses = self.tcp.iter().flat_map(|addresses| addresses.iter());
            Way::Tcp {
                places: addresses.map(|address| address.place(secure)).collect(),
                tls: self.tls.as_ref().map(TlsSettings::files),
                return_after: self.return_after.get(),
            }
        };
        Transport {
            way,
            pause: self.pause.get(),
            pause_after_connect: self.pause_after_connect.get(),
            release: self.connection == Connection::Release,
        }
    }
}

impl TlsSettings {
    fn files(&self) -> TlsFiles {
        let identity = self.cert.as_ref().zip(self.key.as_ref());
        TlsFiles {
            ca: self.ca.as_path().to_owned(),
            identity: identity.map(|(cert, key)| (cert.as_path().to_owned(), key.as_path().to_owned())),
            server_name: self.server_name.clone(),
        }
    }
}

/// The rules between the keys of a transport.
pub(super) fn check(this: &LinkSettings, node: &Node, cx: &mut Context<'_>) {
    let mut only_with = |key: &'static str, fits: bool, owner: &str| {
        if node.get(key).is_some() && !fits {
            cx.field_problem(node, key, format!("`{key}` goes with {owner}")).help("remove it");
        }
    };
    let addresses = this.tcp.as_ref().map_or(&[][..], |addresses| addresses);
    only_with("tls", this.tcp.is_some(), "`tcp`");
    only_with("return_after", addresses.len() > 1, "a list of addresses in `tcp`");
    only_with("allow", this.listen.is_some(), "`listen`");
    for key in ["baud", "frame", "rs485", "echo"] {
        only_with(key, this.serial.is_some(), "`serial`");
    }
    only_with("connection", this.tcp.is_some() || this.rtu_over_tcp.is_some(), "`tcp` or `rtu_over_tcp`");
    only_with("pause_after_connect", this.udp.is_none(), "a connection, and UDP has none");
    if addresses.len() > MOST_ADDRESSES {
        cx.field_problem(node, "tcp", format!("a device has {MOST_ADDRESSES} addresses at most"));
    }
    let places: Vec<_> = addresses.iter().map(|address| address.place(this.tls.is_some())).collect();
    if let Some((_, twice)) = places.iter().enumerate().find(|(index, place)| places[..*index].contains(place)) {
        cx.field_problem(node, "tcp", format!("{twice} is here twice"));
    }
    if let Some(tls) = &this.tls
        && let Some(name) = &tls.server_name
        && !is_server_name(name)
        && let Some(entry) = node.get("tls")
    {
        cx.within_entry(entry, |cx, node| {
            cx.field_problem(node, "server_name", format!("{name:?} is no host name or address"));
        });
    }
    if let Some(ListenAddress(address)) = this.listen
        && !address.ip().is_loopback()
        && this.allow.is_empty()
    {
        cx.field_problem(node, "listen", format!("everyone who reaches {address} could pose as the device"))
            .help("say who may dial in: allow: [192.168.1.0/24]");
    }
    if this.rtu_over_tcp.is_some() || this.serial.is_some() {
        for device in this.devices.entries() {
            let unit = device.value.unit;
            if unit > HIGHEST_ON_A_BUS {
                let message = format!("{unit} is not the unit id of a device on a serial bus (1–247)");
                cx.problem(device.name.span, message).path = format!("{}.unit", device.name.path);
            }
        }
        // Nobody answers unit 0 there: reads would be silent for ever, and writes would reach everyone.
        let zeros = this.devices.entries().iter().filter(|device| device.value.unit == 0 && !device.value.broadcast);
        for device in zeros {
            let message = "on a serial bus unit 0 is every device at once, and none of them answers";
            let problem = cx.problem(device.name.span, message);
            problem.path = format!("{}.unit", device.name.path);
            problem.help("write the device's own unit id, or broadcast: true");
        }
    }
    warn_of_twins(this, cx);
}

/// Two devices with one unit id are one device: right where somebody divides what it has, and a slip
/// of the pen elsewhere.
fn warn_of_twins(this: &LinkSettings, cx: &mut Context<'_>) {
    let mut known: HashMap<u8, &Name> = HashMap::new();
    for device in this.devices.entries().iter().filter(|device| !device.value.broadcast) {
        let unit = device.value.unit;
        match known.entry(unit) {
            Entry::Vacant(free) => drop(free.insert(&device.name.value)),
            Entry::Occupied(first) => {
                let message = format!("unit {unit} is `{}` on this link already", first.get());
                let problem = cx.problem(device.name.span, message);
                problem.severity = Severity::Warning;
                problem.path = format!("{}.unit", device.name.path);
            }
        }
    }
}

fn is_server_name(name: &str) -> bool {
    name.parse::<IpAddr>().is_ok()
        || (1..=253).contains(&name.len())
            && name.split('.').all(|label| {
                (1..=63).contains(&label.len()) && label.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
            })
}
