//! The site file's `controllers`: where MySensors controllers attach, and who may.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::json;
use wharf_contract::settings;
use wharf_contract::settings::{Context, FilePath, Network, Node, Schema, Setting, Typed};

settings! {
    /// Where MySensors controllers attach, as they would to an Ethernet or a serial gateway. Each sees every
    /// message of every MySensors network and of every device that is shown as a node.
    pub struct Controllers {
        /// Addresses and ports for controllers that attach over TCP; the port is 5003 if left out. An empty
        /// list: none.
        listen: Vec<DoorAddress> = vec![DoorAddress::DEFAULT],
        /// Who may attach from another machine: addresses, or networks such as 192.168.1.0/24. The
        /// protocol has no passwords.
        allow: Vec<Network> = Vec::new(),
        /// A serial port that the gateway makes at this path, for a controller on the same machine.
        pty: Option<FilePath> = None,
    }
    check: |this, node, cx| {
        for (index, address) in this.listen.iter().enumerate() {
            if this.listen[..index].contains(address) {
                cx.field_problem(node, "listen", format!("{} is here twice", address.0));
            }
        }
        let outside = this.listen.iter().find(|address| !address.0.ip().is_loopback());
        match outside {
            Some(address) if this.allow.is_empty() => {
                let message = format!("{} can be reached from outside, and the protocol has no passwords", address.0);
                cx.field_problem(node, "listen", message).help("say who may attach: allow: [192.168.1.20]");
            }
            None if !this.allow.is_empty() => {
                cx.field_problem(node, "allow", "`allow` has no effect: nobody from another machine can reach these addresses")
                    .help("listen: [0.0.0.0:5003]");
            }
            _ => {}
        }
        if this.listen.is_empty() && this.pty.is_none() {
            cx.field_problem(node, "listen", "no controller can attach").help("leave `controllers` out, or say where: listen: [127.0.0.1:5003]");
        }
    };
}

/// An address where controllers attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoorAddress(pub SocketAddr);

impl DoorAddress {
    const PORT: u16 = 5003;
    /// Where controllers attach if nothing is said of it.
    pub const DEFAULT: Self = Self(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), Self::PORT));

    /// An IP address, with or without a port.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok().or_else(|| format!("{text}:{}", Self::PORT).parse().ok()).map(Self)
    }
}

impl Setting for DoorAddress {
    fn schema() -> Schema {
        json!({ "type": "string", "pattern": "^([0-9]{1,3}(\\.[0-9]{1,3}){3}|\\[[0-9a-fA-F:.]+\\])(:[0-9]{1,5})?$" })
    }

    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        let parsed = match node.typed() {
            Some(Typed::Text(text)) => Self::parse(text),
            _ => None,
        };
        match parsed.filter(|address| address.0.port() != 0) {
            Some(address) => Some(address),
            None => cx.unexpected(node, "an address and port such as 127.0.0.1:5003"),
        }
    }
}
