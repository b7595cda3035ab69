//! A queue of numbered messages: what is in it can be told from the outside.
//!
//! All calls of the queue's that take or give messages are here.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::timeout;
use wharf::queue::{Closed, Queue, Record, Seq, Settings};

use crate::PATIENCE;

const BATCH_RECORDS: usize = 2000;
const BATCH_BYTES: usize = 1 << 20;

/// Settings that make the queue roll, free and commit often; nothing of the disk is left free.
pub fn small(dir: &Path) -> Settings {
    Settings {
        max_size: 512 << 20,
        min_free: 0,
        segment_size: 256 * 1024,
        commit_interval: Duration::from_millis(5),
        ..Settings::new(dir)
    }
}

/// Appends message `number`.
pub async fn append(queue: &Queue, number: u64) -> Result<(), Closed> {
    queue.append(body(number)).await
}

/// The next messages at or above a place; waits until there is one.
pub async fn read(queue: &Queue, from: Seq) -> Result<Vec<Record>, Closed> {
    queue.read(from, Seq::END, BATCH_RECORDS, BATCH_BYTES).await
}

/// The number of a message, if the body is what was appended under that number.
pub fn number(record: &Record) -> Option<u64> {
    let number = u64::from_le_bytes(record.body.get(..8)?.try_into().ok()?);
    (record.body == body(number)).then_some(number)
}

/// The numbers of all messages that wait, in the order in which they would be sent.
///
/// # Panics
/// When one of them is not what was appended, or when reading does not come to its end.
pub async fn waiting(queue: &Queue) -> Vec<u64> {
    let (mut numbers, mut from, deadline) = (Vec::new(), Seq::FIRST, Instant::now() + PATIENCE);
    while (numbers.len() as u64) < queue.counters().queued {
        assert!(Instant::now() < deadline, "{} messages could be read: {:?}", numbers.len(), queue.counters());
        // What turns out to be damaged is not queued any more, and then nothing may be left to wait for.
        let Ok(records) = timeout(Duration::from_millis(500), read(queue, from)).await else { continue };
        let records = records.unwrap();
        numbers.extend(records.iter().map(|record| number(record).expect("a message is not what was appended")));
        from = records.last().unwrap().seq.next();
    }
    numbers
}

/// Reads and acknowledges the oldest messages, and returns their numbers.
pub async fn take(queue: &Queue, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    let mut from = Seq::FIRST;
    while numbers.len() < count {
        let mut records = timeout(PATIENCE, read(queue, from)).await.expect("reading hangs").unwrap();
        records.truncate(count - numbers.len());
        for record in records {
            numbers.push(number(&record).expect("a message is not what was appended"));
            queue.acknowledge(record.seq);
            from = record.seq.next();
        }
    }
    numbers
}

/// Checks that every message captured is accounted for.
pub fn assert_balanced(queue: &Queue) {
    let counters = queue.counters();
    let accounted = counters.acknowledged + counters.queued + counters.dropped.total();
    assert_eq!(counters.captured, accounted, "captured = acknowledged + queued + dropped: {counters:?}");
}

/// 8 to 300 bytes that nobody else would write.
fn body(number: u64) -> Bytes {
    let mut random = fastrand::Rng::with_seed(number);
    let mut body = vec![0; random.usize(8..=300)];
    random.fill(&mut body);
    body[..8].copy_from_slice(&number.to_le_bytes());
    body.into()
}
