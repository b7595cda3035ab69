//! Who may connect: an address, or a network.

use std::net::IpAddr;

use serde_json::json;

use super::{Context, Node, Schema, Setting, Typed};

/// An address such as `192.168.1.20`, or all that begin alike: a network such as `192.168.1.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    /// How many bits of it count.
    bits: u8,
}

impl Network {
    /// Reads `192.168.1.0/24`, or an address alone.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let first: IpAddr = address.parse().map_err(|_| format!("`{address}` is not an IP address"))?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= most).ok_or(format!("`{bits}` is not 0–{most}"))?,
        };
        Ok(Self { first, bits })
    }

    /// Whether an address is one of it. An IPv4 address counts as one in IPv6 clothes, too.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                (first.to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                (first.to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(self.bits)
            }
            _ => false,
        }
    }
}

impl Setting for Network {
    fn schema() -> Schema {
        json!({ "type": "string", "pattern": "^([0-9]{1,3}(\\.[0-9]{1,3}){3}|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*)(/[0-9]{1,3})?$" })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let Some(Typed::Text(text)) = node.typed() else {
            return cx.unexpected(node, "an address such as 192.168.1.20, or a network such as 192.168.1.0/24");
        };
        Self::parse(text).map_err(|why| cx.problem(node.span, why).help = None).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(network: &str, address: &str, expected: bool) {
        let network_has = Network::parse(network).unwrap().contains(address.parse().unwrap());
        assert_eq!(network_has, expected, "{address} in {network}");
    }

    #[test]
    fn a_network_is_all_addresses_that_begin_alike() {
        check("192.168.1.0/24", "192.168.1.77", true);
        check("192.168.1.0/24", "192.168.2.77", false);
        check("10.1.2.3", "10.1.2.3", true);
        check("10.1.2.3", "10.1.2.4", false);
        check("10.1.2.3/8", "10.200.0.1", true);
        check("0.0.0.0/0", "8.8.8.8", true);
        check("0.0.0.0/0", "2001:db8::1", false);
        check("10.0.0.0/8", "::ffff:10.9.9.9", true);
        check("2001:db8::/32", "2001:db8:7::1", true);
        check("2001:db8::/32", "2001:db9::1", false);
        check("::/0", "2001:db8::1", true);
    }

    #[test]
    fn what_is_no_network_says_why() {
        let why = |text: &str| Network::parse(text).unwrap_err();
        assert_eq!(why("meter.local"), "`meter.local` is not an IP address");
        assert_eq!(why("10.0.0/8"), "`10.0.0` is not an IP address");
        assert_eq!(why("10.0.0.0/33"), "`33` is not 0–32");
        assert_eq!(why("10.0.0.0/"), "`` is not 0–32");
        assert_eq!(why("10.0.0.0/-1"), "`-1` is not 0–32");
        assert_eq!(why("fd00::/129"), "`129` is not 0–128");
    }
}
