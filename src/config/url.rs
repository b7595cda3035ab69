//! The address of a broker upstream.

use std::fmt;

use serde_json::json;
use wharf_contract::settings::{Context, HostPort, Node, Schema, Setting, Typed};

/// Where a broker is: `mqtt://host:1883`, `mqtts://host:8883`, or through a web server
/// `ws://host:80/mqtt` and `wss://host:443/mqtt`. Port and path may be left out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BrokerUrl {
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// The host name or address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The path of a web socket, with its slash; `None` for plain MQTT.
    pub web_socket: Option<String>,
}

/// The path that brokers listen on for web sockets unless told otherwise.
const USUAL_PATH: &str = "/mqtt";

impl BrokerUrl {
    /// Reads a URL; the error says what is wrong, and what could be done about it.
    pub fn parse(text: &str) -> Result<Self, (String, Option<String>)> {
        let any = || {
            let words = "write mqtt://host:1883, or mqtts://host:8883 for an encrypted connection; \
                         through a web server ws://host:80/mqtt or wss://host:443/mqtt";
            Some(words.to_owned())
        };
        let beginning = || "a URL begins with mqtt://, mqtts://, ws:// or wss://".to_owned();
        let (scheme, rest) = text.split_once("://").ok_or_else(|| (beginning(), any()))?;
        let (tls, web_socket) = match scheme {
            "mqtt" => (false, false),
            "mqtts" => (true, false),
            "ws" => (false, true),
            "wss" => (true, true),
            _ => return Err((format!("`{scheme}` is not a protocol that reaches an MQTT broker"), any())),
        };
        let example = match (web_socket, tls) {
            (false, false) => "mqtt://host:1883",
            (false, true) => "mqtts://host:8883",
            (true, false) => "ws://host:80/mqtt",
            (true, true) => "wss://host:443/mqtt",
        };
        let example = || Some(format!("write {example}"));
        let plain_path = || ("the path of a web socket is plain, without ?, # or blanks".to_owned(), example());
        // The text is not repeated: there may be a password in it.
        if rest.contains('@') {
            let help = "use username: and password:, the latter as ${file:name} or ${env:NAME}";
            return Err(("a user or password cannot stand in the URL".into(), Some(help.into())));
        }
        let (address, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        let path = match (web_socket, path) {
            (false, "" | "/") => None,
            (true, "") => Some(USUAL_PATH.to_owned()),
            (true, path) if path.chars().all(may_stand_in_a_path) => Some(path.to_owned()),
            (true, _) => return Err(plain_path()),
            (false, _) => return Err(("the URL of a broker ends with its port".into(), example())),
        };
        if address.contains(['?', '#']) {
            let too_long = ("the URL of a broker ends with its port".to_owned(), example());
            return Err(if web_socket { plain_path() } else { too_long });
        }
        let (host, port) = match (web_socket, tls) {
            (false, false) => host_port::<1883>(address),
            (false, true) => host_port::<8883>(address),
            (true, false) => host_port::<80>(address),
            (true, true) => host_port::<443>(address),
        }?;
        Ok(Self { tls, host, port, web_socket: path })
    }

    /// Host and port, as they are dialled.
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

fn host_port<const DEFAULT: u16>(address: &str) -> Result<(String, u16), (String, Option<String>)> {
    match HostPort::<DEFAULT>::parse(address) {
        Ok(parsed) => Ok((parsed.host().to_owned(), parsed.port())),
        Err(why) => Err((why, None)),
    }
}

fn may_stand_in_a_path(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "/._~!$&'()*+,;=:%-".contains(letter)
}

/// The URL in full, with its port.
impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (self.web_socket.is_some(), self.tls) {
            (false, false) => "mqtt",
            (false, true) => "mqtts",
            (true, false) => "ws",
            (true, true) => "wss",
        };
        write!(f, "{scheme}://{}{}", self.address(), self.web_socket.as_deref().unwrap_or_default())
    }
}

impl Setting for BrokerUrl {
    fn schema() -> Schema {
        json!({ "type": "string", "pattern": "^(mqtts?://(\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9._-]{1,253})(:[0-9]{1,5})?/?|wss?://(\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9._-]{1,253})(:[0-9]{1,5})?(/[A-Za-z0-9/._~!$&'()*+,;=:%-]*)?)$" })
    }

    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        let Some(Typed::Text(text)) = node.typed() else {
            return cx.unexpected(node, "a URL such as mqtts://broker.example.com:8883");
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
        check("ws://a.example", "ws://a.example:80/mqtt");
        check("wss://a.example:8443/", "wss://a.example:8443/");
        check("wss://[::1]/broker/ws", "wss://[::1]:443/broker/ws");
    }

    #[test]
    fn what_is_not_an_address_is_refused_without_repeating_a_password() {
        for text in [
            "a.example",
            "http://a",
            "mqtt://",
            "mqtt://a/b",
            "mqtt://a:0",
            "wss://a/b?token=hunter2",
            "ws:///mqtt",
            "mqtt://u:hunter2@a",
        ] {
            let (message, help) = BrokerUrl::parse(text).unwrap_err();
            assert!(!format!("{message}{help:?}").contains("hunter2"), "{text}");
        }
    }
}
