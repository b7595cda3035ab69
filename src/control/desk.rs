//! Knows how the gateway is, and answers what is asked.

mod local;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde_json::{Value as Json, json};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::warn;
use wharf_contract::port::{Counts, Device, Devices, Outcome, Presence, Traffic};
use wharf_contract::settings::suggestion;
use wharf_contract::{Health, LinkId, PortEnd};

use super::field::Field;
use super::rates::{Rates, Sample};
use super::reloads::Reloads;
use super::wear::Wear;
use crate::bridge::Up;
use crate::broker::Sight;
use crate::classic::doors::Tally;
use crate::classic::feed::Feed;
use crate::mapping::epoch_ms;
use crate::north::North;
use crate::queue::disk::Disk;
use crate::queue::{self, LossReason, Queue};
use crate::uplink::{UplinkEnd, UplinkState};

/// What a gateway can be asked.
const REQUESTS: [&str; 9] = ["status", "purge", "heard", "nodes", "read", "write", "raw", "firmware", "mqttsn"];

/// How many devices a status lists, of all links together: those to look at first.
const DEVICES_LISTED: usize = 1000;

/// Where questions are answered. It looks at the parts of the gateway and touches none of them,
/// unless it is asked to.
pub struct Desk {
    gateway: String,
    state_dir: PathBuf,
    started: Instant,
    parts: Mutex<Parts>,
    field: Field,
    controllers: Option<Arc<Tally>>,
    feed: Option<Feed>,
    local_clients: Option<(Sight, North)>,
    bridge: Option<Up>,
    reloads: Reloads,
}

struct Parts {
    links: Vec<LinkEnd>,
    uplinks: Vec<Uplink>,
}

/// A link, as far as it can be looked at.
pub struct LinkEnd {
    name: LinkId,
    health: Watched<Health>,
    traffic: Traffic,
    counts: Counts,
    devices: Devices,
}

struct Uplink {
    end: UplinkEnd,
    state: Watched<UplinkState>,
    queue: Queue,
    rates: Rates,
}

impl Desk {
    /// The desk of a gateway.
    pub fn new(
        gateway: &str,
        state_dir: &Path,
        started: Instant,
        links: Vec<LinkEnd>,
        uplinks: Vec<(UplinkEnd, Queue)>,
        field: Field,
    ) -> Self {
        let uplinks = uplinks.into_iter().map(|(end, queue)| Uplink {
            state: Watched::new(end.state.clone()),
            end,
            queue,
            rates: Rates::default(),
        });
        let parts = Parts { links, uplinks: uplinks.collect() };
        Self {
            gateway: gateway.to_owned(),
            state_dir: state_dir.to_owned(),
            started,
            parts: Mutex::new(parts),
            field,
            controllers: None,
            feed: None,
            local_clients: None,
            bridge: None,
            reloads: Reloads::default(),
        }
    }

    /// With what became of the last reload.
    pub fn with_reloads(self, reloads: Reloads) -> Self {
        Self { reloads, ..self }
    }

    /// With what MySensors controllers see of the site: their doors, if there are any, and what they are fed.
    pub fn with_controllers(self, doors: Option<Arc<Tally>>, feed: Feed) -> Self {
        Self { controllers: doors, feed: Some(feed), ..self }
    }

    /// With what can be told of the local broker, if there is one, and what messages for its clients come through.
    pub fn with_local_clients(self, broker: Option<Sight>, north: North) -> Self {
        Self { local_clients: broker.map(|broker| (broker, north)), ..self }
    }

    /// With the rules by which topics go up and down, if there are any, and what is counted on the way.
    pub fn with_bridge(self, bridge: Up) -> Self {
        Self { bridge: Some(bridge).filter(|bridge| !bridge.bridge().is_empty()), ..self }
    }

    /// Takes note of how things are: for the rates, and for since when. About once a second.
    pub fn sample(&self) {
        let mut parts = self.parts();
        for link in &mut parts.links {
            link.health.look();
        }
        for uplink in &mut parts.uplinks {
            uplink.state.look();
            let sample = sample(&uplink.queue.counters());
            uplink.rates.note(sample);
        }
    }

    /// Answers one request, a line of JSON. What takes an exchange in the field takes 22 s at most.
    pub async fn answer(&self, request: &[u8]) -> Json {
        let Ok(request) = serde_json::from_slice::<Json>(request) else {
            return no("a request is one line of JSON");
        };
        match request["do"].as_str() {
            Some("status") => self.status(),
            Some(what @ ("read" | "write" | "raw")) => self.field.answer(what, &request).await,
            Some("heard") => self.field.heard(&request),
            Some("firmware" | "mqttsn") => self.field.of_protocol(&request).await,
            Some("nodes") => self.field.nodes(&request),
            Some("purge") => self.purge(request["uplink"].as_str().unwrap_or_default()),
            Some(other) => no(&format!("unknown request `{other}`; {}", suggestion(other, &REQUESTS))),
            None => no("`do` is missing: what is to be done"),
        }
    }

    /// How everything is. Times are milliseconds since 1970, by the clock as it is now; what a queue
    /// has captured, acknowledged and dropped is counted since the queue was made, what was written
    /// since the gateway started. Of each link all devices are counted by state, and listed as far as
    /// there is room for, those to look at first.
    pub fn status(&self) -> Json {
        let now = Instant::now();
        let mut parts = self.parts();
        let mut room = DEVICES_LISTED;
        let links: Vec<Json> = parts.links.iter_mut().map(|link| link.look(now, &mut room)).collect();
        let uplinks: Vec<Json> = parts.uplinks.iter_mut().map(|uplink| uplink.look(now)).collect();
        let bridge = self.bridge.as_ref().map(|bridge| local::bridge_json(bridge, &parts.uplinks));
        let store = self.local_clients.as_ref().and_then(|(broker, _)| broker.store.as_ref());
        let kept = store.map(|store| store.counters().device_bytes);
        let queues: u64 = parts.uplinks.iter().map(|uplink| uplink.queue.counters().device_bytes).sum();
        let written = queues + kept.unwrap_or(0);
        drop(parts);
        let over = now - self.started;
        let disk = Disk::of(&self.state_dir).ok();
        let wear = Wear { written, over, disk: disk.map(|disk| disk.size) };
        json!({
            "ok": true,
            "gateway": self.gateway,
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "now": epoch_ms(SystemTime::now()),
            "since": wall(self.started, now),
            "uptime_s": over.as_secs(),
            "reload": self.reloads.to_json(|at| wall(at, now)),
            "state_dir": self.state_dir.to_string_lossy(),
            "links": links,
            "uplinks": uplinks,
            "controllers": self.controllers.as_ref().map(|doors| doors.to_json()),
            "broker": self.local_clients.as_ref().map(|(broker, north)| local::broker_json(broker, north, now)),
            "bridge": bridge,
            "virtual_nodes": self.feed.as_ref().and_then(Feed::to_json),
            "wear": wear.to_json(),
        })
    }

    /// Drops all that waits for one uplink.
    fn purge(&self, name: &str) -> Json {
        let parts = self.parts();
        let Some(uplink) = parts.uplinks.iter().find(|uplink| &*uplink.end.name == name) else {
            let known: Vec<&str> = parts.uplinks.iter().map(|uplink| &*uplink.end.name).collect();
            return no(&format!("there is no uplink `{name}`; {}", suggestion(name, &known)));
        };
        let purged = uplink.queue.purge();
        warn!(uplink = name, purged, "the queue was purged, as somebody asked");
        json!({ "ok": true, "purged": purged })
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Uplink {
    fn look(&mut self, now: Instant) -> Json {
        let (state, since) = self.state.look();
        let counters = self.queue.counters();
        let rate = self.rates.rate(sample(&counters));
        let counted = &self.end.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let news = &counted.news;
        let error = news.last_error().map(|(at, error)| json!({ "at": wall(at, now), "error": error }));
        json!({
            "name": &*self.end.name,
            "state": if state == UplinkState::Up { "up" } else { "down" },
            "since": wall(since, now),
            "url": self.end.url.borrow().to_string(),
            "connects": read(&counted.connects),
            "in_flight": news.in_flight(),
            "replayed": read(&counted.replayed),
            "refusals": read(&counted.refusals),
            "aside": read(&counted.aside),
            "last_error": error,
            "queue": queue_json(&counters),
            "rate": { "in": rate.into, "out": rate.out, "over_s": rate.over.as_secs() },
        })
    }
}

impl LinkEnd {
    /// A link and the gateway's end of its port.
    pub fn new(name: LinkId, end: &PortEnd) -> Self {
        let (traffic, counts, devices) = (end.traffic.clone(), end.counts.clone(), end.devices.clone());
        Self { name, health: Watched::new(end.health.clone()), traffic, counts, devices }
    }

    /// How it is, with as many of its devices as there is `room` for.
    fn look(&mut self, now: Instant, room: &mut usize) -> Json {
        let (health, since) = self.health.look();
        let sight = self.devices.look(*room);
        *room = room.saturating_sub(sight.devices.len());
        let counts = Presence::ALL.into_iter().zip(sight.counts);
        let counts = counts.map(|(presence, count)| (presence.as_str().to_owned(), Json::from(count)));
        json!({
            "name": self.name.as_str(),
            "state": health.as_str(),
            "since": wall(since, now),
            "reason": health.reason(),
            "requests": traffic_json(&self.traffic),
            "counts": counts_json(&self.counts.read()),
            "refused": counts_json(&sight.refused),
            "devices_beyond": self.devices.beyond(),
            "device_states": counts.collect::<serde_json::Map<_, _>>(),
            "devices": sight.devices.iter().map(|device| device_json(device, now)).collect::<Vec<_>>(),
        })
    }
}

fn device_json(device: &Device, now: Instant) -> Json {
    let trouble = device.trouble.as_ref();
    json!({
        "name": device.name.as_str(),
        "state": device.presence.as_str(),
        "since": wall(device.since, now),
        "reason": device.reason.as_deref(),
        "trouble": trouble.map(|(point, reason)| json!({ "point": point.as_str(), "reason": reason.as_ref() })),
        "last_good": device.last_good.map(|at| wall(at, now)),
        "requests": traffic_json(&device.traffic),
        "refused": counts_json(&device.refused),
        "last_refused": device.last_refused.as_ref().map(|(at, why)| json!({ "at": wall(*at, now), "reason": why.as_ref() })),
    })
}

/// Requests by how they ended; nothing where none were counted, as of a driver that only listens.
fn traffic_json(traffic: &Traffic) -> Option<Json> {
    let outcomes = Outcome::ALL.into_iter().map(|outcome| (outcome.as_str().to_owned(), traffic.of(outcome).into()));
    (traffic.requests() > 0).then(|| Json::Object(outcomes.collect()))
}

/// What a driver counts by names of its own; nothing where it counts nothing.
fn counts_json(counts: &[(&'static str, u64)]) -> Option<Json> {
    let all = counts.iter().map(|(what, count)| ((*what).to_owned(), Json::from(*count)));
    (!counts.is_empty()).then(|| Json::Object(all.collect()))
}

fn queue_json(counters: &queue::Counters) -> Json {
    json!({
        "captured": counters.captured,
        "acknowledged": counters.acknowledged,
        "waiting": counters.queued,
        "blocking": counters.is_blocking,
        "dropped": dropped_json(&counters.dropped),
        "losses_untold": counters.losses_untold,
        "oldest": counters.oldest_captured_at.map(epoch_ms),
        "disk_bytes": counters.disk_bytes,
        "written_bytes": counters.written_bytes,
        "device_bytes": counters.device_bytes,
        "commits": counters.commits,
        "failed_syncs": counters.failed_syncs,
        "set_aside": counters.set_aside,
    })
}

/// What was dropped, by reason.
pub fn dropped_json(dropped: &queue::Dropped) -> Json {
    LossReason::ALL.into_iter().map(|reason| (reason.as_str().to_owned(), Json::from(dropped.of(reason)))).collect()
}

fn sample(counters: &queue::Counters) -> Sample {
    Sample { at: Instant::now(), captured: counters.captured, acknowledged: counters.acknowledged }
}

pub(super) fn no(why: &str) -> Json {
    json!({ "ok": false, "error": why })
}

/// A moment of this run as milliseconds since 1970. Reckoned backwards from now, so that it is right
/// as soon as the clock is, whenever that was set.
fn wall(moment: Instant, now: Instant) -> u64 {
    epoch_ms(SystemTime::now() - now.saturating_duration_since(moment))
}

/// A value that others change, and since when it is what it is: to the second, as often as somebody
/// looks.
struct Watched<T> {
    seen: watch::Receiver<T>,
    last: T,
    since: Instant,
}

impl<T: Clone + PartialEq> Watched<T> {
    fn new(mut seen: watch::Receiver<T>) -> Self {
        let last = seen.borrow_and_update().clone();
        Self { seen, last, since: Instant::now() }
    }

    fn look(&mut self) -> (T, Instant) {
        // A part that has ended leaves its last value.
        let now = self.seen.borrow_and_update().clone();
        if now != self.last {
            (self.last, self.since) = (now, Instant::now());
        }
        (self.last.clone(), self.since)
    }
}
