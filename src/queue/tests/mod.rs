//! The queue as a whole, against a model, against damage, and against a full disk.

mod block;
mod bounds;
mod damage;
mod eras;
mod inspect;
mod ledger;
mod life;
mod mark;
mod model;
mod order;
mod thousand;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tempfile::TempDir;

use super::settings::MIN_SEGMENT;
use super::*;

/// Long enough for any disk, so that a test that hangs fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Small segments and quick commits.
fn settings(dir: impl Into<PathBuf>) -> Settings {
    Settings {
        max_size: 64 << 20,
        min_free: 0,
        commit_interval: Duration::from_millis(1),
        segment_size: MIN_SEGMENT,
        ..Settings::new(dir)
    }
}

fn body(n: u64) -> Bytes {
    format!("message {n:06} {}", "x".repeat(135)).into()
}

/// The number a body was made of, if it is intact.
fn number(record: &Record) -> Option<u64> {
    let n = std::str::from_utf8(&record.body).ok()?.get(8..14)?.parse().ok()?;
    (record.body == body(n)).then_some(n)
}

async fn append(queue: &Queue, numbers: std::ops::Range<u64>) {
    for n in numbers {
        queue.append(body(n)).await.unwrap();
    }
}

/// Waits until nothing waits for a commit, by the queue's own counts.
async fn committed(queue: &Queue, records: u64) {
    until(|| queue.end().get() >= records).await;
}

async fn until(mut condition: impl FnMut() -> bool) {
    tokio::time::timeout(PATIENCE, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await
    .expect("it did not happen in time");
}

/// Like [`until`], for conditions that are a moment away and asked for thousands of times.
async fn quickly(mut condition: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "it did not happen in time");
        std::thread::sleep(Duration::from_micros(20));
    }
}

/// A directory in memory where there is one: for tests that are about contents and not the disk.
fn quick_dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Copies all files but the lock.
fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().flatten().filter(|entry| entry.file_name() != "lock") {
        // A file may be gone before its turn comes.
        let _ = fs::copy(entry.path(), to.join(entry.file_name()));
    }
}

/// Everything that waits, as far as the queue's end.
async fn drain(queue: &Queue) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    let mut from = queue.oldest_unacknowledged();
    while queue.counters().queued > 0 && from < queue.end() {
        let read = tokio::time::timeout(Duration::from_secs(5), queue.read(from, Seq::END, 100, 1 << 20)).await;
        // What was counted as queued may turn out to be damaged, to the last record.
        let Ok(read) = read else { break };
        let read = read.unwrap();
        from = read.last().unwrap().seq.next();
        records.extend(read);
        if queue.counters().queued == records.len() as u64 {
            break;
        }
    }
    records
}

fn numbers(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| number(record).expect("an intact body")).collect()
}

fn assert_balanced(counters: &Counters) {
    assert_eq!(
        counters.captured,
        counters.acknowledged + counters.queued + counters.dropped.total(),
        "the counts do not add up: {counters:?}"
    );
}

impl Queue {
    /// Whether the log or the cursor file holds the ledger as it is.
    fn is_saved(&self) -> bool {
        let state = self.inner.shared.lock();
        state.changed_since.is_none() && state.saved == state.encoded.generation
    }

    /// Losses nobody has asked for yet.
    fn fresh(&self) -> Vec<Loss> {
        self.inner.shared.lock().fresh.take()
    }
}

/// What must be the same after a restart.
fn lasting(counters: &Counters) -> (u64, u64, u64, Dropped) {
    (counters.captured, counters.acknowledged, counters.queued, counters.dropped)
}

/// Closes the queue and opens it again: the ledger must say the same.
async fn reopen(queue: Queue, settings: Settings) -> Queue {
    queue.close().await.unwrap();
    let before = queue.counters();
    assert_balanced(&before);
    drop(queue);
    let queue = Queue::open(settings).unwrap();
    assert_eq!(lasting(&queue.counters()), lasting(&before));
    queue
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect();
    paths.sort();
    paths
}

/// A directory with `count` committed records, closed again.
async fn filled(count: u64) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(settings(dir.path())).unwrap();
    append(&queue, 0..count).await;
    queue.close().await.unwrap();
    dir
}
