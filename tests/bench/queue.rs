//! The queue alone: append, read and acknowledge many small messages, beside a yardstick: the
//! same bytes written one after the other to a preallocated file, with as many syncs.
//!
//! `cargo bench --bench queue [-- MESSAGES [DIRECTORY]]`: 300000 messages in the system's
//! temporary directory, if nothing else is said. Choose a directory on the disk that counts; a
//! tmpfs measures the processor alone.

use std::error::Error;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use wharf::queue::{Counters, Queue, Seq, Settings};

type Outcome<T> = Result<T, Box<dyn Error>>;

const MESSAGE: usize = 150;
const READ_RECORDS: usize = 256;
const READ_BYTES: usize = 64 * 1024;

/// What a run took.
struct Cost {
    wall: Duration,
    cpu: Duration,
    device_bytes: Option<u64>,
}

fn main() -> Outcome<()> {
    // `cargo bench` adds an option of its own.
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    let messages: u64 = words.next().map_or(Ok(300_000), |word| word.parse())?;
    let parent = words.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = parent.join(format!("wharf-queue-bench-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let measured = measure(&dir, messages);
    fs::remove_dir_all(&dir)?;
    measured
}

fn measure(dir: &Path, messages: u64) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let payload = messages * MESSAGE as u64;
    println!("{messages} messages of {MESSAGE} bytes in {}", dir.display());

    let (cost, counters) = {
        let start = Start::now(dir);
        let counters = runtime.block_on(side_by_side(&dir.join("live"), messages))?;
        (start.cost(dir), counters)
    };
    print("queue, append + read + acknowledge", messages, payload, &cost);
    println!(
        "  {} syncs, {:.2} log bytes per payload byte",
        counters.syncs,
        counters.written_bytes as f64 / payload as f64
    );

    let start = Start::now(dir);
    runtime.block_on(fill(&dir.join("outage"), messages))?;
    print("queue, append through an outage", messages, payload, &start.cost(dir));
    let start = Start::now(dir);
    let queue = open(&dir.join("outage"))?;
    println!(
        "queue, opened again with {} waiting: {:.1} ms",
        queue.counters().queued,
        start.wall.elapsed().as_secs_f64() * 1e3
    );
    let start = Start::now(dir);
    runtime.block_on(drain(&queue, messages))?;
    print("queue, read + acknowledge the backlog", messages, payload, &start.cost(dir));
    println!("peak memory of the process: {}", peak_memory().map_or("unknown".into(), |kib| format!("{kib} KiB")));

    let cost = yardstick(dir, payload, counters.syncs)?;
    print("yardstick, plain writes of the same bytes with as many syncs", messages, payload, &cost);
    Ok(())
}

fn open(dir: &Path) -> Outcome<Queue> {
    Ok(Queue::open(Settings { min_free: 0, max_size: 8 << 30, ..Settings::new(dir) })?)
}

/// A producer and a consumer that work at the same time.
async fn side_by_side(dir: &Path, messages: u64) -> Outcome<Counters> {
    let queue = open(dir)?;
    let producer = append(&queue, messages);
    let (appended, drained) = tokio::join!(producer, drain(&queue, messages));
    appended?;
    drained?;
    queue.close().await?;
    Ok(queue.counters())
}

async fn fill(dir: &Path, messages: u64) -> Outcome<()> {
    let queue = open(dir)?;
    append(&queue, messages).await?;
    Ok(queue.close().await?)
}

async fn append(queue: &Queue, messages: u64) -> Outcome<()> {
    let body = Bytes::from(vec![b'x'; MESSAGE]);
    let captured_at = SystemTime::now();
    for _ in 0..messages {
        queue.append(body.clone(), captured_at).await?;
    }
    Ok(())
}

async fn drain(queue: &Queue, messages: u64) -> Outcome<()> {
    let (mut from, mut seen) = (Seq::FIRST, 0);
    while seen < messages {
        for record in queue.read(from, READ_RECORDS, READ_BYTES).await? {
            assert_eq!(record.body.len(), MESSAGE);
            queue.acknowledge(record.seq);
            from = record.seq.next();
            seen += 1;
        }
    }
    Ok(())
}

fn yardstick(dir: &Path, bytes: u64, syncs: u64) -> Outcome<Cost> {
    let file = File::create(dir.join("yardstick"))?;
    if rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes).is_err() {
        file.set_len(bytes)?;
    }
    file.sync_all()?;
    let start = Start::now(dir);
    let chunk = vec![b'x'; bytes.div_ceil(syncs.max(1)) as usize];
    let mut at = 0;
    while at < bytes {
        file.write_all_at(&chunk[..chunk.len().min((bytes - at) as usize)], at)?;
        file.sync_data()?;
        at += chunk.len() as u64;
    }
    Ok(start.cost(dir))
}

fn print(what: &str, messages: u64, payload: u64, cost: &Cost) {
    let rate = messages as f64 / cost.wall.as_secs_f64();
    let cpu = cost.cpu.as_secs_f64() * 1e6 / messages as f64;
    println!("{what}:");
    println!("  {rate:.0} messages/s");
    println!("  {cpu:.2} µs of processor time per message");
    match cost.device_bytes {
        Some(bytes) => println!("  {:.2} device bytes per payload byte", bytes as f64 / payload as f64),
        None => println!("  device bytes unknown: no block device of its own under this directory"),
    }
}

struct Start {
    wall: Instant,
    cpu: Duration,
    device: Option<u64>,
}

impl Start {
    fn now(dir: &Path) -> Self {
        Self { device: device_bytes(dir), cpu: cpu_time(), wall: Instant::now() }
    }

    fn cost(&self, dir: &Path) -> Cost {
        let (wall, cpu) = (self.wall.elapsed(), cpu_time().saturating_sub(self.cpu));
        let device_bytes = device_bytes(dir).zip(self.device).map(|(now, before)| now.saturating_sub(before));
        Cost { wall, cpu, device_bytes }
    }
}

/// User and system time of all threads so far, ended ones included, in whole ticks of 10 ms.
fn cpu_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is the program's name in brackets, and may hold anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(10 * ticks)
}

fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.split_whitespace().next()?.parse().ok()
}

/// Bytes written to the block device under `dir` since it came up, by anybody.
fn device_bytes(dir: &Path) -> Option<u64> {
    let device = fs::metadata(dir).ok()?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let stat = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?;
    let sectors: u64 = stat.split_whitespace().nth(6)?.parse().ok()?;
    Some(sectors * 512)
}
