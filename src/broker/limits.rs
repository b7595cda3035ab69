//! The bounds of the broker. Each has a counter in [`Figures`](super::figures::Figures) that says how often it was met.

use std::time::Duration;

/// How much of everything there may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once.
    pub clients: usize,
    /// Sessions, those of clients that are away included.
    pub sessions: usize,
    /// The largest packet that is taken, in bytes.
    pub packet: usize,
    /// How many messages above QoS 0 a client may have under way to the broker.
    pub receive_maximum: u16,
    /// How many the broker has under way to a client, at most; a client may ask for fewer.
    pub in_flight: u16,
    /// What that may come to, in bytes; one message may always be under way, whatever its size.
    pub in_flight_bytes: usize,
    /// How many topic aliases a client may use.
    pub topic_aliases: u16,
    /// What may wait for a client that is away or reads too slowly, in messages; the oldest goes first.
    pub queued: usize,
    /// The same, in bytes.
    pub queued_bytes: usize,
    /// What may wait for all clients together, in bytes. A message that waits for several counts once, and 64 for each;
    /// each number of a subscription that brings it counts 8. What is under way and not acknowledged counts too.
    pub queued_bytes_together: usize,
    /// Retained messages.
    pub retained: usize,
    /// The largest retained message, in bytes of topic, payload and properties.
    pub largest_retained: usize,
    /// What retained messages may take together, in bytes.
    pub retained_bytes: usize,
    /// Subscriptions of one client.
    pub subscriptions: usize,
    /// What the filters of one client may take, in bytes: their text, and 128 for each level.
    pub filter_bytes: usize,
    /// What the filters of all clients may take together.
    pub filter_bytes_together: usize,
    /// Levels of a topic or a filter.
    pub levels: usize,
    /// The longest a session may outlive its connection.
    pub session_expiry: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            clients: 1_000,
            sessions: 2_000,
            packet: 1 << 20,
            receive_maximum: 100,
            in_flight: 100,
            in_flight_bytes: 256 << 10,
            topic_aliases: 64,
            queued: 10_000,
            queued_bytes: 8 << 20,
            queued_bytes_together: 32 << 20,
            retained: 10_000,
            largest_retained: 1 << 20,
            retained_bytes: 32 << 20,
            subscriptions: 200,
            filter_bytes: 256 << 10,
            filter_bytes_together: 32 << 20,
            levels: 64,
            session_expiry: Duration::from_secs(7 * 86_400),
        }
    }
}
