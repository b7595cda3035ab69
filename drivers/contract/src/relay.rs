//! Messages in MySensors classic form that no declared point is for, and devices that sleep.

use crate::DeviceId;

/// Whether a driver takes such a message for a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Relay {
    /// It does not: no controller upstream runs its network, or it has none.
    #[default]
    Not,
    /// It would pass the message on, without knowing whether its network has such a node.
    Takes,
    /// The node is one of its own.
    Owns,
}

/// Whom a command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipient<'a> {
    /// A device, by its name.
    Device(&'a DeviceId),
    /// A MySensors node, by its number.
    Node(u8),
}
