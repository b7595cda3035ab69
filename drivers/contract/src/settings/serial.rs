//! Where a serial port is.

use serde_json::json;

use super::{Context, Node, Schema, Setting};

/// The full path of a serial port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SerialPath(String);

impl SerialPath {
    /// Wraps a path that begins at the root.
    pub fn new(path: impl Into<String>) -> Self {
        Self(path.into())
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for SerialPath {
    fn schema() -> Schema {
        json!({ "type": "string", "pattern": "^/", "not": { "pattern": "\\$\\{" } })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let path = String::decode(node, cx)?;
        if !path.starts_with('/') {
            cx.problem(node.span, format!("{} is not the full path of a serial port", node.describe()))
                .help("write it from the root, such as /dev/serial/by-id/usb-FTDI…");
            return None;
        }
        Some(Self(path))
    }
}
