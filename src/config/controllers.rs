//! The site file's `controllers`: where MySensors controllers attach, and who may.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::json;
use wharf_contract::settings;
use wharf_contract::settings::{Context, FilePath, Node, Schema, Setting, Typed};

settings! {
    /// Where MySensors controllers attach, as they would to an Ethernet or a serial gateway. Each sees every
    /// message of every MySensors network and of every device that is shown as a node.
    pub struct Controllers {
        /// Addresses and ports for controllers that attach over TCP; the port is 5003 if left out. An empty
        /// list: none.
        listen: Vec<DoorAddress> = vec![DoorAddress::DEFAULT],
        /// Who may attach from another machine: addresses, or networks such as 192.168.1.0/24. The
        /// protocol has no passwords.
        allow: Vec<Peer> = Vec::new(),
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
    const DEFAULT: Self = Self(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), Self::PORT));
}

impl Setting for DoorAddress {
    fn schema() -> Schema {
        json!({ "type": "string", "pattern": "^([0-9]{1,3}(\\.[0-9]{1,3}){3}|\\[[0-9a-fA-F:.]+\\])(:[0-9]{1,5})?$" })
    }

    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        let parsed = match node.typed() {
            Some(Typed::Text(text)) => text.parse().ok().or_else(|| format!("{text}:{}", Self::PORT).parse().ok()),
            _ => None,
        };
        match parsed.filter(|address: &SocketAddr| address.port() != 0) {
            Some(address) => Some(Self(address)),
            None => cx.unexpected(node, "an address and port such as 127.0.0.1:5003"),
        }
    }
}

/// Who may attach: an address, or a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    network: IpAddr,
    /// How many bits of it count.
    bits: u8,
}

impl Peer {
    /// Whether this address is it, or in it.
    pub fn has(&self, ip: IpAddr) -> bool {
        let same = |own: u128, other: u128, width: u32| {
            let rest = width.saturating_sub(u32::from(self.bits));
            own.checked_shr(rest).unwrap_or(0) == other.checked_shr(rest).unwrap_or(0)
        };
        match (self.network, ip) {
            (IpAddr::V4(own), IpAddr::V4(other)) => same(own.to_bits().into(), other.to_bits().into(), 32),
            (IpAddr::V6(own), IpAddr::V6(other)) => same(own.to_bits(), other.to_bits(), 128),
            _ => false,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (network, bits) = text.split_once('/').map_or((text, None), |(network, bits)| (network, Some(bits)));
        let network: IpAddr = network.parse().ok()?;
        let width = if network.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => width,
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= width)?,
        };
        Some(Self { network, bits })
    }
}

impl Setting for Peer {
    fn schema() -> Schema {
        json!({ "type": "string", "pattern": "^([0-9]{1,3}(\\.[0-9]{1,3}){3}|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*)(/[0-9]{1,3})?$" })
    }

    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        let peer = match node.typed() {
            Some(Typed::Text(text)) => Self::parse(text),
            _ => None,
        };
        match peer {
            Some(peer) => Some(peer),
            None => cx.unexpected(node, "an address such as 192.168.1.20, or a network such as 192.168.1.0/24"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_its_own_addresses_and_no_others() {
        let check = |peer: &str, ip: &str, expected: bool| {
            assert_eq!(Peer::parse(peer).unwrap().has(ip.parse().unwrap()), expected, "{ip} in {peer}");
        };
        check("192.168.1.20", "192.168.1.20", true);
        check("192.168.1.20", "192.168.1.21", false);
        check("192.168.1.0/24", "192.168.1.255", true);
        check("192.168.1.0/24", "192.168.2.1", false);
        check("10.1.2.3/8", "10.200.0.1", true);
        check("0.0.0.0/0", "8.8.8.8", true);
        check("0.0.0.0/0", "::1", false);
        check("fd00::/8", "fd12::1", true);
        check("fd00::/8", "fe80::1", false);
        check("::/0", "2001:db8::1", true);
        for text in ["laptop", "10.0.0.0/33", "10.0.0.0/", "fd00::/129", "10.0.0/8", "/8", "10.0.0.0/-1"] {
            assert_eq!(Peer::parse(text), None, "{text}");
        }
    }
}
