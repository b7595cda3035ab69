//! The wiring as a whole, with a driver of the tests' own and an uplink that never comes up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use wharf_contract::settings::{Context, Setting};
use wharf_contract::{Driver, DriverError, Event, Health, LinkId, PointInfo, Port, Reading, Value, async_trait};

use super::{Options, Running, start_with};
use crate::config::{self, Site, tree};
use crate::queue::Counters;

/// Generous: what is waited for happens within a second or two on a machine that is not busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Large, so that a queue of 16 MiB is soon full.
const VALUE: usize = 8 * 1024;

/// A driver that takes readings as fast as timers go, a few at a time.
struct Source {
    name: LinkId,
    emitted: AtomicU64,
}

#[async_trait]
impl Driver for Source {
    fn name(&self) -> &LinkId {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "test"
    }

    fn catalogue(&self) -> Vec<PointInfo> {
        Vec::new()
    }

    async fn run(&self, port: &mut Port) -> Result<(), DriverError> {
        port.report(Health::Online);
        port.emit(Event::Device { device: "tank".into(), alive: true, reason: None }).await;
        while port.pause(Duration::from_millis(1)).await {
            for _ in 0..4 {
                let value = Value::Text("x".repeat(VALUE));
                let reading = Reading::good("tank".into(), "level".into(), value, SystemTime::now());
                port.emit(Event::Reading(reading)).await;
                self.emitted.fetch_add(1, Ordering::SeqCst);
            }
        }
        Ok(())
    }
}

impl Source {
    fn emitted(&self) -> u64 {
        self.emitted.load(Ordering::SeqCst)
    }
}

/// A gateway whose one uplink is never there, and its driver.
async fn gateway(dir: &std::path::Path, when_full: &str) -> (Running, Arc<Source>) {
    let text = format!(
        "gateway: gw1\nuplinks: {{ away: {{ url: \"mqtt://127.0.0.1:1\", queue: {{ max_size: 16MiB, min_free: 0B, when_full: {when_full} }} }} }}\nbroker: {{ listen: [] }}\n",
    );
    let site = config::read(&text, &dir.join("site.yaml"), &|_| Err("no secrets here".into())).unwrap();
    let source = Arc::new(Source { name: "bus".into(), emitted: AtomicU64::new(0) });
    let options = Options { state_dir: dir.to_owned(), tap: None };
    (start_with(site, vec![source.clone()], options).await.unwrap(), source)
}

async fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let happens = async {
        while !happened() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(timeout(PATIENCE, happens).await.is_ok(), "waited in vain: {what}");
}

/// Nothing is missing from the count: every reading, and the few words about link and device.
fn all_accounted_for(counters: &Counters, emitted: u64) {
    assert_eq!(counters.captured, counters.acknowledged + counters.queued + counters.dropped.total(), "{counters:?}");
    let others = counters.captured.checked_sub(emitted).unwrap_or_else(|| panic!("{emitted} emitted: {counters:?}"));
    assert!(others <= 10, "{emitted} emitted, and yet {counters:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_queue_blocks_the_driver_goes_on_and_every_reading_is_counted_to_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let (running, source) = gateway(dir.path(), "block").await;
    let queue = running.queues()[0].1.clone();
    until("readings dropped at the port", || queue.counters().dropped.blocked > 0).await;
    let stored = queue.counters().queued;
    let before = source.emitted();
    until("the driver to go on", || source.emitted() > before + 500).await;
    assert!(queue.counters().queued >= stored, "what is stored stays");

    let began = Instant::now();
    running.stop().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "stopping took {:?}", began.elapsed());
    all_accounted_for(&queue.counters(), source.emitted());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_at_its_bound_that_drops_the_oldest_costs_no_reading_at_the_port() {
    let dir = tempfile::tempdir().unwrap();
    let (running, source) = gateway(dir.path(), "drop_oldest").await;
    let queue = running.queues()[0].1.clone();
    until("the queue to go round", || queue.counters().dropped.full > 0).await;
    running.stop().await.unwrap();
    assert_eq!(queue.counters().dropped.blocked, 0);
    all_accounted_for(&queue.counters(), source.emitted());
}

/// A driver with nothing to say but how its link is.
struct Quiet(LinkId);

#[async_trait]
impl Driver for Quiet {
    fn name(&self) -> &LinkId {
        &self.0
    }

    fn kind(&self) -> &'static str {
        "test"
    }

    fn catalogue(&self) -> Vec<PointInfo> {
        Vec::new()
    }

    async fn run(&self, port: &mut Port) -> Result<(), DriverError> {
        port.report(Health::Online);
        port.stop().cancelled().await;
        Ok(())
    }
}

/// A driver with three devices: one that answers, one that does not, and one that no longer does.
struct Three(LinkId);

#[async_trait]
impl Driver for Three {
    fn name(&self) -> &LinkId {
        &self.0
    }

    fn kind(&self) -> &'static str {
        "test"
    }

    fn catalogue(&self) -> Vec<PointInfo> {
        Vec::new()
    }

    async fn run(&self, port: &mut Port) -> Result<(), DriverError> {
        for (device, alive) in [("gone", true), ("gone", false), ("silent", false), ("tank", true)] {
            port.emit(Event::Device { device: device.into(), alive, reason: None }).await;
        }
        port.stop().cancelled().await;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_answered_is_told_offline_when_the_gateway_stops() {
    let dir = tempfile::tempdir().unwrap();
    let text = "gateway: gw1\nbroker: { listen: [] }\n";
    let site = Site::decode(&tree::parse(text).root.unwrap(), &mut Context::new(dir.path(), &|_| Err("none".into())));
    let drivers: Vec<Arc<dyn Driver>> = vec![Arc::new(Three("bus".into()))];
    let (tap, mut shown) = mpsc::channel(64);
    let options = Options { state_dir: dir.path().to_owned(), tap: Some(tap) };
    let running = start_with(site.expect("a site"), drivers, options).await.unwrap();
    let state = |message: &crate::message::Message| {
        let payload: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
        let device = message.topic.strip_prefix("gw1-sys/device/")?.to_owned();
        Some((device, payload["state"].as_str()?.to_owned(), payload["reason"].as_str().map(str::to_owned)))
    };
    let mut told = Vec::new();
    until("what the driver says of its devices", || {
        told.extend(shown.try_recv().ok().as_ref().and_then(state));
        told.len() == 4
    })
    .await;
    running.stop().await.unwrap();
    let mut rest = Vec::new();
    while let Ok(message) = shown.try_recv() {
        rest.extend(state(&message));
    }
    assert_eq!(rest, [("tank".into(), "offline".into(), Some("the gateway is stopping".into()))]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_health_of_each_link_is_counted_although_no_queue_has_room_for_it() {
    const QUEUES: usize = 4;
    let dir = tempfile::tempdir().unwrap();
    let uplink = |n: usize| {
        format!(
            "  u{n}: {{ url: \"mqtt://127.0.0.1:1\", queue: {{ max_size: 16MiB, min_free: 0B, when_full: block }} }}\n"
        )
    };
    let uplinks: String = (0..QUEUES).map(uplink).collect();
    let text = format!("gateway: gw1\nuplinks:\n{uplinks}broker: {{ listen: [] }}\n");
    // Not checked as a whole: several queues that block stand for several disks that hang.
    let site = Site::decode(&tree::parse(&text).root.unwrap(), &mut Context::new(dir.path(), &|_| Err("none".into())));
    let site = site.expect("a site");
    let drivers: Vec<Arc<dyn Driver>> = vec![Arc::new(Quiet("bus".into())), Arc::new(Quiet("line".into()))];
    let (tap, mut shown) = mpsc::channel(64);
    let running =
        start_with(site, drivers, Options { state_dir: dir.path().to_owned(), tap: Some(tap) }).await.unwrap();
    let mut online = 0;
    until("both links to be online", || {
        let told = shown.try_recv().is_ok_and(|message| message.payload.windows(8).any(|text| text == b"\"online\""));
        online += u32::from(told);
        online == 2
    })
    .await;
    let queues: Vec<_> = running.queues().iter().map(|(_, queue)| queue.clone()).collect();
    for queue in &queues {
        let body = bytes::Bytes::from(vec![b'x'; 256 << 10]);
        let fill = async { while timeout(Duration::from_secs(1), queue.append(body.clone())).await.is_ok() {} };
        timeout(PATIENCE, fill).await.expect("the queue is full at some time");
    }
    let before: Vec<u64> = queues.iter().map(|queue| queue.counters().captured).collect();
    running.stop().await.unwrap();
    for (queue, before) in queues.iter().zip(before) {
        let counters = queue.counters();
        assert_eq!(counters.captured, before + 2, "each link has said that it ends: {counters:?}");
    }
}
