//! The address of a broker upstream.

use std::fmt;

use serde_json::json;
use wharf_contract::settings::{Context, HostPort, Node, Schema, Setting, Typed};

/// `mqtt://host:1883` or `mqtts://host:8883`; the port may be left out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BrokerUrl {
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// The host name or address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl BrokerUrl {
    /// Reads a URL; the error says what is wrong, and what could be done about it.
    pub fn parse(text: &str) -> Result<Self, (String, Option<String>)> {
        let example = || Some("write mqtt://host:1883, or mqtts://host:8883 for an encrypted connection".to_owned());
        let (scheme, rest) =
            text.split_once("://").ok_or_else(|| ("a URL begins with mqtt://".to_owned(), example()))?;
        let tls = match scheme {
            "mqtt" => false,
            "mqtts" => true,
            "ws" | "wss" => return Err((format!("{scheme}:// is not supported yet"), example())),
            _ => return Err((format!("`{scheme}` is not a protocol that reaches an MQTT broker"), example())),
        };
        // The text is not repeated: there may be a password in it.
        if rest.contains('@') {
            let help = "use username: and password:, the latter as ${file:name} or ${env:NAME}";
            return Err(("a user or password cannot stand in the URL".into(), Some(help.into())));
        }
        let address = rest.strip_suffix('/').unwrap_or(rest);
        if address.contains(['/', '?', '#']) {
            return Err(("the URL of a broker ends with its port".into(), example()));
        }
        let (host, port) = if tls {
            HostPort::<8883>::parse(address).map(|address| (address.host().to_owned(), address.port()))
        } else {
            HostPort::<1883>::parse(address).map(|address| (address.host().to_owned(), address.port()))
        }
        .map_err(|why| (why, None))?;
        Ok(Self { tls, host, port })
    }
}

/// The URL in full, with its port.
impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

impl Setting for BrokerUrl {
    fn schema() -> Schema {
        json!({ "type": "string", "pattern": "^mqtts?://(\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9._-]{1,253})(:[0-9]{1,5})?/?$" })
    }

    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        let Some(Typed::Text(text)) = node.typed() else {
            return cx.unexpected(node, "one URL such as mqtts://broker.example.com:8883");
        };
        match Self::parse(text) {
            Ok(url) => Some(url),
            Err((message, help)) => {
                cx.problem(node.span, message).help = help;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_follows_from_the_protocol() {
        let check = |text: &str, expected: &str| assert_eq!(BrokerUrl::parse(text).unwrap().to_string(), expected);
        check("mqtt://a.example", "mqtt://a.example:1883");
        check("mqtts://a.example/", "mqtts://a.example:8883");
        check("mqtts://[::1]:1", "mqtts://[::1]:1");
    }

    #[test]
    fn what_is_not_an_address_is_refused_without_repeating_a_password() {
        for text in ["a.example", "http://a", "wss://a", "mqtt://", "mqtt://a/b", "mqtt://a:0", "mqtt://u:hunter2@a"] {
            let (message, help) = BrokerUrl::parse(text).unwrap_err();
            assert!(!format!("{message}{help:?}").contains("hunter2"), "{text}");
        }
    }
}
