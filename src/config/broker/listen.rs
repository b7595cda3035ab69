//! Where the local broker listens: an address, or an address with how.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Deref;

use serde_json::json;
use wharf_contract::settings::{Context, FilePath, Node, NodeKind, Schema, Setting, Spanned, Typed};
use wharf_contract::{setting_enum, settings};

use crate::broker;

settings! {
    /// A place where clients attach.
    pub struct Listener {
        /// The address and port. 0.0.0.0 and [::]: all of this machine's.
        address: ListenAddress,
        /// How connections are encrypted. Without it they are not.
        tls: Option<ListenerTls> = None,
        /// Whether MQTT is spoken through a web socket, as browsers do.
        web_socket: bool = false,
    }
}

settings! {
    /// How connections of local clients are encrypted. Certificates are PEM files; renewed ones are used without
    /// a restart.
    pub struct ListenerTls {
        /// The gateway's certificate, with those between it and its CA.
        cert: Spanned<FilePath>,
        /// The key to it.
        key: Spanned<FilePath>,
        /// Who signs the certificates of clients.
        client_ca: Option<Spanned<FilePath>> = None,
        /// Whether clients have to show a certificate: none, optional or required. Without it: required with a
        /// `client_ca`, else none.
        client_certificates: Option<Spanned<ClientCertificates>> = None,
    }
    check: |this, node, cx| {
        let asked = this.client_certificates.as_ref().map(|asked| asked.value);
        match asked {
            Some(ClientCertificates::Optional | ClientCertificates::Required) if this.client_ca.is_none() => {
                cx.field_problem(node, "client_certificates", "nobody is named who signs the certificates of clients")
                    .help("client_ca: clients.pem");
            }
            Some(ClientCertificates::None) if this.client_ca.is_some() => {
                cx.field_problem(node, "client_ca", "`client_ca` has no effect: clients are not asked for certificates")
                    .help("leave one of the two out, or write client_certificates: optional");
            }
            _ => {}
        }
    };
}

setting_enum! {
    /// Whether clients have to show a certificate.
    pub enum ClientCertificates {
        /// They are not asked for one.
        None = "none",
        /// They may. What they show has to be good.
        Optional = "optional",
        /// They have to.
        Required = "required",
    }
}

impl ListenerTls {
    /// Whether clients have to show a certificate.
    pub fn client_certificates(&self) -> ClientCertificates {
        match (&self.client_certificates, &self.client_ca) {
            (Some(asked), _) => asked.value,
            (None, Some(_)) => ClientCertificates::Required,
            (None, None) => ClientCertificates::None,
        }
    }
}

/// A listener, written as its address alone where there is no more to say.
#[derive(Clone, Debug, PartialEq)]
pub struct Listen(pub Listener);

impl Default for Listen {
    /// The usual port of MQTT, for clients on this machine.
    fn default() -> Self {
        Self::plain(ListenAddress(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1883)))
    }
}

impl Listen {
    fn plain(address: ListenAddress) -> Self {
        Self(Listener { address, tls: None, web_socket: false })
    }

    /// As the broker takes it.
    pub fn listener(&self) -> broker::Listener {
        let tls = self.tls.as_ref().map(|tls| broker::TlsFiles {
            cert: tls.cert.value.as_path().to_owned(),
            key: tls.key.value.as_path().to_owned(),
            client_ca: tls.client_ca.as_ref().map(|ca| ca.value.as_path().to_owned()),
            client_certificates: match tls.client_certificates() {
                ClientCertificates::None => broker::ClientCertificates::None,
                ClientCertificates::Optional => broker::ClientCertificates::Optional,
                ClientCertificates::Required => broker::ClientCertificates::Required,
            },
        });
        broker::Listener { address: self.address.0, tls, web_socket: self.web_socket }
    }

    /// Whether every client has to show a certificate.
    pub fn requires_certificates(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.client_certificates() == ClientCertificates::Required)
    }
}

impl Deref for Listen {
    type Target = Listener;

    fn deref(&self) -> &Listener {
        &self.0
    }
}

impl Setting for Listen {
    fn schema() -> Schema {
        // What says something of texts is not asked of mappings, and the other way round.
        let mut schema = Listener::schema();
        schema["type"] = json!(["string", "object"]);
        schema["pattern"] = ListenAddress::schema()["pattern"].take();
        schema
    }

    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        match node.kind {
            NodeKind::Mapping(_) => Listener::decode(node, cx).map(Self),
            _ => ListenAddress::decode(node, cx).map(Self::plain),
        }
    }
}

/// An address the local broker listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenAddress(pub SocketAddr);

impl Setting for ListenAddress {
    fn schema() -> Schema {
        json!({ "type": "string", "pattern": "^([0-9]{1,3}(\\.[0-9]{1,3}){3}|\\[[0-9a-fA-F:.]+\\]):[0-9]{1,5}$" })
    }

    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        let parsed = match node.typed() {
            Some(Typed::Text(text)) => text.parse::<SocketAddr>().ok(),
            _ => None,
        };
        match parsed.filter(|address| address.port() != 0) {
            Some(address) => Some(Self(address)),
            None => {
                let known = cx.unexpected(node, "an address and port such as 127.0.0.1:1883");
                if let Some(help) = node.text().and_then(instead) {
                    cx.help_last(help);
                }
                known
            }
        }
    }
}

/// What was meant, most likely, by something that is no address with a port.
fn instead(text: &str) -> Option<String> {
    let bare = ["mqtt://", "mqtts://", "ws://", "wss://", "tcp://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    if bare.is_some() {
        return Some("without mqtt:// or the like; encryption is `tls:`, web sockets are `web_socket: true`".into());
    }
    if text.parse::<IpAddr>().is_ok() {
        return Some(format!("with its port: {text}:1883"));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let port = port.parse::<u16>().ok()?;
    match host {
        "localhost" => Some(format!("as a number: 127.0.0.1:{port}")),
        "" | "*" => Some(format!("127.0.0.1:{port} for this machine alone, 0.0.0.0:{port} for others too")),
        _ => Some(format!(
            "names are not looked up here: write the number, or 0.0.0.0:{port} for all of this machine's addresses"
        )),
    }
}
