//! Texts with a meaning: plain text, names, addresses, files and secrets.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Context, Node, Schema, Setting, Typed};
use crate::{DeviceId, LinkId, PointId};

/// Text as it was written: a number keeps its spelling. Secrets are not opened here.
impl Setting for String {
    fn schema() -> Schema {
        json!({ "type": ["string", "number"], "not": { "type": "string", "pattern": "\\$\\{" } })
    }

    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        match node.typed() {
            Some(Typed::Text(_) | Typed::Int(_) | Typed::Float(_)) => {}
            Some(Typed::Bool(_)) => {
                cx.unexpected::<()>(node, "text");
                cx.help_last("put it in quotes if it is meant as text");
                return None;
            }
            _ => return cx.unexpected(node, "text"),
        }
        let text = node.text()?;
        if text.contains("${") {
            cx.problem(node.span, "`${…}` is read in passwords and keys only").help("write the value itself here");
            return None;
        }
        Some(text.to_owned())
    }
}

/// A name from the site file that can stand in a topic and name a directory: 1 to 64 characters
/// and at most 200 bytes, not dots alone, without blanks, control characters and any of
/// `/ + # { } $`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// The regular expression of a name, for schemas.
    pub const PATTERN: &'static str = "^[^\\s/+#{}$\\u0000-\\u001f\\u007f-\\u009f]{1,64}$";

    /// Checks a text; the error says in words what is wrong with it.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a name cannot be empty".into());
        }
        // Names become names of directories, which end at 255 bytes.
        if text.chars().count() > 64 || text.len() > 200 {
            return Err("a name cannot be longer than 64 characters, or 200 bytes".into());
        }
        if text.chars().all(|c| c == '.') {
            return Err("a name cannot be dots alone".into());
        }
        match text.chars().find(|c| c.is_whitespace() || c.is_control() || "/+#{}$".contains(*c)) {
            Some(c) if c.is_whitespace() || c.is_control() => Err("a name cannot contain blanks".into()),
            Some(c) => Err(format!("a name cannot contain `{c}`")),
            None => Ok(Self(text.to_owned())),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! name_becomes {
    ($($id:ident),*) => {$(
        impl From<&Name> for $id {
            fn from(name: &Name) -> Self {
                Self::new(name.as_str())
            }
        }
    )*};
}

name_becomes!(LinkId, DeviceId, PointId);

impl Setting for Name {
    fn schema() -> Schema {
        json!({ "type": ["string", "integer"], "pattern": Self::PATTERN })
    }

    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        let ((Some(Typed::Text(text)), _) | (Some(Typed::Int(_)), Some(text))) = (node.typed(), node.text()) else {
            return cx.unexpected(node, "a name");
        };
        Self::new(text).map_err(|why| cx.problem(node.span, why).help = None).ok()
    }
}

/// A host and a port: `192.168.1.40:502`, `[fe80::1]:502`, `meter.local`. A `DEFAULT_PORT` of 0
/// means that the port has to be written.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HostPort<const DEFAULT_PORT: u16> {
    host: String,
    port: u16,
}

impl<const DEFAULT_PORT: u16> HostPort<DEFAULT_PORT> {
    /// Reads `host`, `host:port` or `[ipv6]:port`; the error says in words what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(format!("a host and a port stand here, without `{}://`", super::node::clip(scheme)));
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or("the bracket `[` is not closed")?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| format!("`{host}` is not an IPv6 address"))?;
                match port {
                    "" => (host, None),
                    _ => (host, Some(port.strip_prefix(':').ok_or("after `]` comes `:` and the port")?)),
                }
            }
            None if text.matches(':').count() > 1 => return Err("an IPv6 address stands in brackets: [::1]:502".into()),
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
        if host.is_empty() || host.len() > 253 || !host.chars().all(allowed) {
            return Err(format!("`{}` is not a host name or address", super::node::clip(host)));
        }
        let port = match port {
            None if DEFAULT_PORT == 0 => return Err("the port is missing".into()),
            None => DEFAULT_PORT,
            Some("") => return Err("after the colon the port is missing".into()),
            Some(port) if port.starts_with('+') => return Err(format!("`{port}` is not a port (1–65535)")),
            Some(port) => match port.parse() {
                Ok(port) if port > 0 => port,
                _ => return Err(format!("`{}` is not a port (1–65535)", super::node::clip(port))),
            },
        };
        Ok(Self { host: host.to_owned(), port })
    }

    /// The host name or address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl<const DEFAULT_PORT: u16> fmt::Display for HostPort<DEFAULT_PORT> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl<const DEFAULT_PORT: u16> fmt::Debug for HostPort<DEFAULT_PORT> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const DEFAULT_PORT: u16> Setting for HostPort<DEFAULT_PORT> {
    fn schema() -> Schema {
        let port = if DEFAULT_PORT == 0 { ":[0-9]{1,5}" } else { "(:[0-9]{1,5})?" };
        json!({ "type": "string", "pattern": format!("^(\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9._-]{{1,253}}){port}$") })
    }

    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        let Some(Typed::Text(text)) = node.typed() else {
            return cx.unexpected(node, "a host and port such as 192.168.1.40:502");
        };
        Self::parse(text).map_err(|why| cx.problem(node.span, why).help = None).ok()
    }
}

/// A file. A relative path counts from the directory of the site file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FilePath(PathBuf);

impl FilePath {
    /// Wraps a path that is complete already.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The path, complete.
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

impl Setting for FilePath {
    fn schema() -> Schema {
        json!({ "type": "string", "minLength": 1, "not": { "pattern": "\\$\\{" } })
    }

    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        match node.typed() {
            Some(Typed::Text(text)) if !text.is_empty() => {}
            _ => return cx.unexpected(node, "a file name"),
        }
        String::decode(node, cx).map(|text| Self(cx.directory().join(text)))
    }
}

/// A password or key. It cannot be printed: neither `{}` nor `{:?}` shows it.
///
/// In the site file it is a literal, `${file:name}` or `${env:NAME}`; references are opened while
/// decoding, and no message says what was in them.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    text: String,
    file: Option<PathBuf>,
}

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), file: None }
    }

    /// The secret itself, for the one place that hands it over.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The file it was read from, if it was: its content may be another one by now.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("•••")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("•••")
    }
}

impl Setting for Secret {
    fn schema() -> Schema {
        json!({
            "type": ["string", "number"],
            "anyOf": [
                { "type": "number" },
                { "pattern": "^\\$\\{(file|env):[^}]+\\}$" },
                { "minLength": 1, "not": { "pattern": "\\$\\{" } },
            ],
        })
    }

    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        const REFERENCES: &str = "write ${file:name}, ${env:NAME} or the secret itself";
        let (Some(Typed::Text(_) | Typed::Int(_) | Typed::Float(_)), Some(text)) = (node.typed(), node.text()) else {
            // What was written may be the secret in a wrong form, so it is not quoted.
            cx.hide_all(node);
            cx.problem(node.span, "expected a secret").help(REFERENCES);
            return None;
        };
        if !text.contains("${") {
            cx.hide(node.span);
            if text.is_empty() {
                cx.problem(node.span, "a secret cannot be empty").help("remove the key if there is none");
                return None;
            }
            return Some(Self::new(text));
        }
        let reference = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
        let file = match reference.filter(|name| !name.contains(['{', '}'])).and_then(|name| name.split_once(':')) {
            Some(("file", name)) if !name.is_empty() => Some(cx.directory().join(name)),
            Some(("env", name)) if !name.is_empty() => None,
            _ => {
                cx.hide(node.span);
                cx.problem(node.span, "a reference has to be the whole secret").help(REFERENCES);
                return None;
            }
        };
        match cx.resolve_secret(reference?) {
            Ok(secret) if secret.is_empty() => {
                cx.problem(node.span, format!("{text} is empty"));
                None
            }
            Ok(text) => Some(Self { text, file }),
            Err(why) => {
                cx.problem(node.span, why);
                None
            }
        }
    }
}
