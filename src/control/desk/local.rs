//! The local broker and the bridge, as a status tells of them.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value as Json, json};
use tokio::time::Instant;

use super::{Uplink, wall};
use crate::bridge::Up;
use crate::broker::Sight;
use crate::broker::store::Store;
use crate::north::North;

/// What is counted of the broker, what of that is bounded, and where it listens.
pub fn broker_json(broker: &Sight, north: &North, now: Instant) -> Map<String, Json> {
    let Sight { listeners, limits, figures, store } = broker;
    let mut told = figures.to_json();
    // What came too fast even for the broker itself.
    told.insert("missed".to_owned(), north.local_dropped().into());
    told.insert("listeners".to_owned(), listeners.iter().map(|listener| Json::from(&**listener)).collect());
    told.insert(
        "limits".to_owned(),
        json!({
            "clients": limits.clients,
            "sessions": limits.sessions,
            "retained": limits.retained,
            "retained_bytes": limits.retained_bytes,
            "queued_bytes": limits.queued_bytes_together,
        }),
    );
    told.insert("store".to_owned(), store.as_ref().map(|store| store_json(store, now)).into());
    told
}

fn store_json(store: &Store, now: Instant) -> Json {
    let counters = store.counters();
    let error = store.last_error().map(|(at, error)| json!({ "at": wall(at.into(), now), "error": error }));
    json!({
        "disk_bytes": counters.disk_bytes,
        "written_bytes": counters.written_bytes,
        "device_bytes": counters.device_bytes,
        "commits": counters.commits,
        "longest_commit_ms": counters.longest_commit.as_millis() as u64,
        "pending_bytes": counters.pending_bytes,
        "pending_ms": counters.pending_for.as_millis() as u64,
        "failures": counters.failures,
        "last_error": error,
        "fallen_behind": counters.fallen_behind,
        "is_behind": counters.is_behind,
        "damaged": counters.damaged,
        "set_aside": counters.set_aside,
        "too_large": counters.too_large,
    })
}

/// What passed by the bridge, for each uplink that a rule leads to or from, since the start. What waits waits in the
/// queue of its uplink, with everything else that does.
pub fn bridge_json(up: &Up, uplinks: &[Uplink]) -> Json {
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (rules, counters) = (up.bridge(), up.counters());
    let uplinks = || uplinks.iter().enumerate();
    let going_up = uplinks().zip(&counters.uplinks).filter(|((place, _), _)| {
        // Without any such rule nothing goes there.
        rules.up.iter().any(|rule| rule.uplinks.takes(*place))
    });
    let going_up = going_up.map(|((_, uplink), counted)| {
        json!({
            "uplink": &*uplink.end.name,
            "passed": read(&counted.passed),
            "in_queue": uplink.queue.counters().queued,
            "dropped": { "no_room": read(&counted.no_room), "too_large": read(&counted.too_large) },
        })
    });
    let coming_down = uplinks().filter(|(place, _)| rules.down.iter().any(|rule| rule.uplinks.takes(*place)));
    let coming_down = coming_down.map(|(_, uplink)| {
        let counted = &uplink.end.counters;
        json!({
            "uplink": &*uplink.end.name,
            "passed": read(&counted.bridged),
            "dropped": { "no_room": read(&counted.bridged_dropped) },
            "unanswerable": read(&counted.bridged_unanswerable),
        })
    });
    json!({
        "up": going_up.collect::<Vec<_>>(),
        "down": coming_down.collect::<Vec<_>>(),
        "unanswerable": read(&counters.unanswerable),
    })
}
