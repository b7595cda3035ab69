//! The whole path: readings in a driver's port, through mapping, queue and uplink, until Mosquitto
//! has acknowledged them.
//!
//! First as fast as it goes, with windows of 10, 100 and 1000. Beside it two yardsticks in the
//! same run: `mosquitto_pub -l -q 1` with the same topic and payload to the same broker, and plain
//! writes of the same bytes with as many syncs. Then paced: 10000 readings a second, each topic
//! once a second, for processor time and latency.
//!
//! `cargo bench --bench gateway [-- MESSAGES [DIRECTORY]]`: 300000 messages, the queue in the
//! system's temporary directory, if nothing else is said. Needs Mosquitto and its clients.

mod broker;
mod measure;
mod paced;
mod source;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, free_port, mosquitto_pub};
use measure::{Cost, Outcome, Start, peak_memory, print, yardstick};
use source::{Job, Pace, Source};
use wharf::app::Running;
use wharf::queue::Queue;
use wharf::{app, config};

/// A message as the default mapping makes it of this benchmark's readings, for the yardstick.
const TYPICAL: &str = r#"{"value":21.5,"unit":"°C","ts":1795219869123,"quality":"good"}"#;

fn main() -> Outcome<()> {
    measure::run("gateway", measure)
}

fn measure(dir: &Path, messages: u64) -> Outcome<()> {
    let broker = Broker::start(dir)?;
    let payload = messages * TYPICAL.len() as u64;
    println!("{messages} readings through the whole path, queue in {}", dir.display());
    for (window, local) in [(1000, false), (100, false), (10, false), (1000, true)] {
        let gateway = Gateway { broker: &broker, window, local, commit: "100ms" };
        let (cost, syncs, marks) = runtime()?.block_on(whole_path(dir, &gateway, messages))?;
        let local = if local { ", with the local broker" } else { "" };
        print(&format!("gateway, port to PUBACK, window {window}{local}"), messages, payload, &cost);
        println!(
            "  {syncs} syncs, {marks} marks; peak memory of the process so far: {} KiB",
            peak_memory().unwrap_or_default()
        );
        if window == 1000 {
            let cost = yardstick(dir, payload, syncs)?;
            print("yardstick, plain writes of the payloads with as many syncs", messages, payload, &cost);
        }
        let rate = messages as f64 / mosquitto_pub(&broker, TYPICAL, messages)?.as_secs_f64();
        println!("yardstick, mosquitto_pub -l -q 1, same topic and payload:\n  {rate:.0} messages/s");
    }
    for commit in ["10ms", "100ms"] {
        for local in [false, true] {
            paced::measure(dir, &Gateway { broker: &broker, window: 1000, local, commit })?;
        }
    }
    Ok(())
}

fn runtime() -> Outcome<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

/// Runs a gateway with a driver that emits as fast as it is let, until all is acknowledged.
async fn whole_path(dir: &Path, gateway: &Gateway<'_>, messages: u64) -> Outcome<(Cost, u64, u64)> {
    let (running, source) = gateway.start(dir).await?;
    let queue = running.queues()[0].1.clone();
    let start = Start::now(dir);
    let before = queue.counters();
    // The uplink is connected, so what is measured is the steady flow.
    source.begin(Job { messages, devices: 1, points: 10, pace: Pace::AsFastAsItGoes(queue.clone()), taken: None });
    acknowledged(&queue, before.acknowledged + messages).await?;
    let (cost, after) = (start.cost(dir), queue.counters());
    running.stop().await?;
    Ok((cost, after.syncs - before.syncs, after.marks - before.marks))
}

/// Waits until so many messages are acknowledged.
async fn acknowledged(queue: &Queue, wanted: u64) -> Outcome<()> {
    loop {
        let counters = queue.counters();
        if counters.dropped.total() > 0 {
            return Err(format!("messages were dropped: {:?}", counters.dropped).into());
        }
        if counters.acknowledged >= wanted {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A gateway as it is to be measured.
struct Gateway<'b> {
    broker: &'b Broker,
    window: u16,
    local: bool,
    commit: &'static str,
}

impl Gateway<'_> {
    /// Starts it, with an empty queue and one link to a [`Source`], and waits for its uplink.
    async fn start(&self, dir: &Path) -> Outcome<(Running, Arc<Source>)> {
        let listen = if self.local { format!("127.0.0.1:{}", free_port()) } else { String::new() };
        let text = format!(
            "gateway: gw1
uplinks:
  central:
    url: mqtt://127.0.0.1:{}
    in_flight: {}
    queue: {{ min_free: 1MiB, commit: {} }}
broker: {{ listen: [{listen}] }}
",
            self.broker.port, self.window, self.commit
        );
        let no_secrets = |name: &str| Err(format!("no secret {name} here"));
        let site = config::read(&text, &dir.join("site.yaml"), &no_secrets).map_err(|errors| errors.to_string())?;
        let state_dir = dir.join("state");
        if state_dir.exists() {
            std::fs::remove_dir_all(&state_dir)?;
        }
        let source = Arc::new(Source::new());
        let running = app::start_with(site, vec![source.clone()], app::Options { state_dir, tap: None }).await?;
        running.connected().await?;
        Ok((running, source))
    }
}
