//! How much of what the daemon has told still waits to be looked at.
//!
//! btleplug asks the daemon two questions for each advertisement, one after the other, and keeps what comes
//! meanwhile without a bound. Where more is on the air than a small processor can ask about, that would grow
//! until there is no memory left, and be told later and later. So what is told is counted on our own
//! connection as it comes, and what was taken is counted here; a connection with too much in between is
//! given up, and everything that waits with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dbus::Path;
use dbus::arg::PropMap;
use dbus::message::MatchRule;
use dbus::nonblock::MsgMatch;
use tokio::time::timeout;

use super::bus::{BLUEZ, Bus, Fault, path};

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const DEVICE: &str = "org.bluez.Device1";

/// The properties that btleplug makes an event of each, and that advertisements come with.
const COUNTED: [&str; 3] = ["RSSI", "ManufacturerData", "ServiceData"];

/// How many events may wait. An advertisement is two or three, and takes half a kilobyte.
pub(super) const MOST: u64 = 20_000;

/// Counts the events of one adapter's devices.
pub(super) struct Backlog {
    told: Arc<AtomicU64>,
    taken: u64,
    /// As long as it is kept, it counts.
    _match: MsgMatch,
}

impl Backlog {
    /// Counts from now on.
    pub(super) async fn watch(bus: &Bus, adapter: &str) -> Result<Self, Fault> {
        let devices = Path::new(path(adapter)).map_err(Fault::Other)?;
        let rule = MatchRule::new_signal(PROPERTIES, "PropertiesChanged").with_sender(BLUEZ);
        let rule = rule.with_namespaced_path(devices);
        let matched = timeout(bus.call, bus.connection.add_match(rule)).await.map_err(|_| Fault::Timeout)??;
        let told = Arc::new(AtomicU64::new(0));
        let tally = Arc::clone(&told);
        let matched = matched.cb(move |_, (face, changed, _): (String, PropMap, Vec<String>)| {
            if face == DEVICE {
                let events = COUNTED.iter().filter(|name| changed.contains_key(**name)).count();
                tally.fetch_add(events as u64, Ordering::Relaxed);
            }
            true
        });
        Ok(Self { told, taken: 0, _match: matched })
    }

    /// One of these events was taken.
    pub(super) fn take(&mut self) {
        self.taken += 1;
    }

    /// Whether too many wait.
    pub(super) fn is_too_long(&self) -> bool {
        self.told.load(Ordering::Relaxed).saturating_sub(self.taken) > MOST
    }
}
