//! 10000 readings a second: a hundred devices with a hundred points each, every point once a
//! second, the points of a device at the same moment.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::measure::{Outcome, Start};
use super::source::{Job, Pace, idle_work};
use super::{Gateway, acknowledged, runtime};

const DEVICES: usize = 100;
const POINTS: usize = 100;
const PER_SECOND: u64 = (DEVICES * POINTS) as u64;
/// How long the flow runs before it is measured, and how long then.
const WARM_UP: u64 = 2;
const MEASURED: u64 = 10;
/// How often it is looked how far the acknowledgements are: the resolution of latencies.
const LOOK: Duration = Duration::from_millis(1);

pub fn measure(dir: &Path, gateway: &Gateway) -> Outcome<()> {
    let local = if gateway.local { ", with the local broker" } else { "" };
    println!("gateway at {PER_SECOND} readings/s, as many topics, a commit each {}{local}:", gateway.commit);
    let cpu = runtime()?.block_on(cpu(dir, gateway))?;
    let own = runtime()?.block_on(own_cpu(dir));
    println!("  {cpu:.2} µs of processor time per reading; the benchmark's driver has {own:.2} of it");
    let mut latencies = runtime()?.block_on(latencies(dir, gateway))?;
    latencies.sort_unstable();
    let at = |share: usize| latencies[(latencies.len() - 1) * share / 1000].as_secs_f64() * 1e3;
    println!("  capture to PUBACK: p50 {:.0} ms, p99 {:.0} ms, longest {:.0} ms", at(500), at(990), at(1000));
    Ok(())
}

fn job(seconds: u64) -> Job {
    let pace = Pace::DeviceEach(Duration::from_secs(1) / DEVICES as u32);
    Job { messages: seconds * PER_SECOND, devices: DEVICES, points: POINTS, pace, taken: None }
}

/// Processor time of the whole process per reading, in microseconds.
async fn cpu(dir: &Path, gateway: &Gateway<'_>) -> Outcome<f64> {
    let (running, source) = gateway.start(dir).await?;
    let queue = running.queues()[0].1.clone();
    let before = queue.counters().acknowledged;
    source.begin(job(WARM_UP + MEASURED));
    acknowledged(&queue, before + WARM_UP * PER_SECOND).await?;
    let (start, warm) = (Start::now(dir), queue.counters().acknowledged);
    acknowledged(&queue, before + (WARM_UP + MEASURED) * PER_SECOND).await?;
    let cost = start.cost(dir).cpu_each(queue.counters().acknowledged - warm);
    running.stop().await?;
    Ok(cost)
}

/// What making and pacing readings takes of that.
async fn own_cpu(dir: &Path) -> f64 {
    let start = Start::now(dir);
    idle_work(&job(MEASURED)).await;
    start.cost(dir).cpu_each(MEASURED * PER_SECOND)
}

/// How long each reading took from its capture to its acknowledgement.
async fn latencies(dir: &Path, gateway: &Gateway<'_>) -> Outcome<Vec<Duration>> {
    let (running, source) = gateway.start(dir).await?;
    let queue = running.queues()[0].1.clone();
    let messages = (WARM_UP + MEASURED) * PER_SECOND;
    // Health is told in the first moments; after that, readings are all there is.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let first = queue.counters().captured;
    let taken: Arc<Mutex<Vec<Instant>>> = Arc::default();
    source.begin(Job { taken: Some(taken.clone()), ..job(WARM_UP + MEASURED) });
    let mut acknowledged_at = Vec::with_capacity(messages as usize);
    while (acknowledged_at.len() as u64) < messages {
        tokio::time::sleep(LOOK).await;
        // The broker acknowledges in order, so this is how many are acknowledged.
        let done = queue.oldest_unacknowledged().get().saturating_sub(first);
        acknowledged_at.resize(done as usize, Instant::now());
    }
    if queue.counters().captured != first + messages {
        return Err("the queue took more than readings: their places are not known".into());
    }
    running.stop().await?;
    let taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
    let times = taken.iter().zip(acknowledged_at).skip((WARM_UP * PER_SECOND) as usize);
    Ok(times.map(|(taken, acknowledged)| acknowledged.duration_since(*taken)).collect())
}
