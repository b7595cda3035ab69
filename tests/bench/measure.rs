//! What the benchmarks measure with: time, processor, device bytes, memory, and the yardstick of
//! plain writes.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

use std::error::Error;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// Runs a benchmark: `[MESSAGES [DIRECTORY]]` from the command line, a folder of its own in that
/// directory or the system's temporary one.
pub fn run(name: &str, measure: fn(&Path, u64) -> Outcome<()>) -> Outcome<()> {
    // `cargo bench` adds an option of its own.
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    let messages: u64 = words.next().map_or(Ok(300_000), |word| word.parse())?;
    let parent = words.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = parent.join(format!("wharf-{name}-bench-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let measured = measure(&dir, messages);
    fs::remove_dir_all(&dir)?;
    measured
}

/// What a run took.
#[derive(Clone, Copy)]
pub struct Cost {
    pub wall: Duration,
    pub cpu: Duration,
    pub device_bytes: Option<u64>,
}

impl Cost {
    /// Processor time per message, in microseconds.
    pub fn cpu_each(&self, messages: u64) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / messages as f64
    }

    /// Bytes written to the device per byte of payload; not a number where that is not known.
    pub fn device_each(&self, payload: u64) -> f64 {
        self.device_bytes.map_or(f64::NAN, |bytes| bytes as f64 / payload as f64)
    }
}

/// Plain sequential writes of as many bytes to a preallocated file, with as many syncs.
pub fn yardstick(dir: &Path, bytes: u64, syncs: u64) -> Outcome<Cost> {
    let path = dir.join("yardstick");
    let file = File::create(&path)?;
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
    let cost = start.cost(dir);
    fs::remove_file(path)?;
    Ok(cost)
}

pub fn print(what: &str, messages: u64, payload: u64, cost: &Cost) {
    let rate = messages as f64 / cost.wall.as_secs_f64();
    println!("{what}:");
    println!("  {rate:.0} messages/s");
    println!("  {:.2} µs of processor time per message", cost.cpu_each(messages));
    match cost.device_bytes {
        Some(_) => println!("  {:.2} device bytes per payload byte", cost.device_each(payload)),
        None => println!("  device bytes unknown: no block device of its own under this directory"),
    }
}

pub struct Start {
    pub wall: Instant,
    cpu: Duration,
    device: Option<u64>,
}

impl Start {
    pub fn now(dir: &Path) -> Self {
        Self { device: device_bytes(dir), cpu: cpu_time(), wall: Instant::now() }
    }

    pub fn cost(&self, dir: &Path) -> Cost {
        let (wall, cpu) = (self.wall.elapsed(), cpu_time().saturating_sub(self.cpu));
        let device_bytes = device_bytes(dir).zip(self.device).map(|(now, before)| now.saturating_sub(before));
        Cost { wall, cpu, device_bytes }
    }
}

/// User and system time of all threads so far, ended ones included.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or_default(), time.tv_nsec.try_into().unwrap_or_default())
}

/// The most memory the process has had, in KiB.
pub fn peak_memory() -> Option<u64> {
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
