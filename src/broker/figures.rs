//! What the broker counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters and gauges, from the broker's start on. Shared by all who count and all who look.
#[derive(Debug, Default)]
pub struct Figures {
    /// Connections now.
    pub clients: AtomicU64,
    /// The most there were at once.
    pub clients_most: AtomicU64,
    /// Sessions now, those of clients that are away included.
    pub sessions: AtomicU64,
    /// Subscriptions now.
    pub subscriptions: AtomicU64,
    /// Retained messages now.
    pub retained: AtomicU64,
    /// What retained messages take, in bytes.
    pub retained_bytes: AtomicU64,
    /// Messages that wait for clients now.
    pub queued: AtomicU64,
    /// What they take, in bytes.
    pub queued_bytes: AtomicU64,
    /// Publications clients have sent.
    pub received: AtomicU64,
    /// Publications clients were sent.
    pub sent: AtomicU64,
    /// Bytes clients have sent.
    pub bytes_received: AtomicU64,
    /// Bytes clients were sent.
    pub bytes_sent: AtomicU64,
    /// Connections that were accepted.
    pub connections: AtomicU64,
    /// Connections that were refused because there were too many.
    pub refused_full: AtomicU64,
    /// Logins that were refused.
    pub refused_logins: AtomicU64,
    /// Of these, those that were refused unheard because too many had failed before.
    pub throttled_logins: AtomicU64,
    /// Publications that were refused for lack of rights.
    pub refused_publications: AtomicU64,
    /// Commands that came a second time because their client had not seen the acknowledgement, and were not obeyed
    /// again.
    pub repeated_commands: AtomicU64,
    /// Subscriptions that were refused, for lack of rights or because there were too many.
    pub refused_subscriptions: AtomicU64,
    /// Messages that were not delivered for lack of rights.
    pub withheld: AtomicU64,
    /// Messages of QoS 0 that a client missed because it reads too slowly.
    pub dropped_slow: AtomicU64,
    /// Messages that went because too many waited for their client.
    pub dropped_full: AtomicU64,
    /// Messages that were too large for their client.
    pub dropped_large: AtomicU64,
    /// Messages that were not worth delivering any more.
    pub expired: AtomicU64,
    /// Messages that were not retained because there were too many, or too large ones.
    pub not_retained: AtomicU64,
    /// Sessions that went because there were too many, or because their time was over.
    pub sessions_ended: AtomicU64,
    /// Connections that were closed because what came over them was no MQTT, or against its rules.
    pub violations: AtomicU64,
    /// Connections that were closed because nothing came over them.
    pub silent: AtomicU64,
    /// Connections that were closed because their client took nothing of what was written to it.
    pub stalled: AtomicU64,
    /// Packets of any kind that clients have sent.
    pub packets_received: AtomicU64,
    /// Packets of any kind that clients were sent.
    pub packets_sent: AtomicU64,
}

impl Figures {
    /// All of them by name.
    pub fn to_json(&self) -> serde_json::Map<String, serde_json::Value> {
        let all = [
            ("clients", &self.clients),
            ("clients_most", &self.clients_most),
            ("sessions", &self.sessions),
            ("subscriptions", &self.subscriptions),
            ("retained", &self.retained),
            ("retained_bytes", &self.retained_bytes),
            ("queued", &self.queued),
            ("queued_bytes", &self.queued_bytes),
            ("received", &self.received),
            ("sent", &self.sent),
            ("packets_received", &self.packets_received),
            ("packets_sent", &self.packets_sent),
            ("bytes_received", &self.bytes_received),
            ("bytes_sent", &self.bytes_sent),
            ("connections", &self.connections),
            ("refused_full", &self.refused_full),
            ("refused_logins", &self.refused_logins),
            ("throttled_logins", &self.throttled_logins),
            ("refused_publications", &self.refused_publications),
            ("repeated_commands", &self.repeated_commands),
            ("refused_subscriptions", &self.refused_subscriptions),
            ("withheld", &self.withheld),
            ("dropped_slow", &self.dropped_slow),
            ("dropped_full", &self.dropped_full),
            ("dropped_large", &self.dropped_large),
            ("expired", &self.expired),
            ("not_retained", &self.not_retained),
            ("sessions_ended", &self.sessions_ended),
            ("violations", &self.violations),
            ("silent", &self.silent),
            ("stalled", &self.stalled),
        ];
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed).into();
        all.into_iter().map(|(name, counter)| (name.to_owned(), read(counter))).collect()
    }
}

/// Counts one more.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Counts several.
pub fn add(counter: &AtomicU64, more: usize) {
    counter.fetch_add(more as u64, Ordering::Relaxed);
}

/// Sets a gauge.
pub fn set(gauge: &AtomicU64, value: usize) {
    gauge.store(value as u64, Ordering::Relaxed);
}
