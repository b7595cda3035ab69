//! The queue alone: append, read and acknowledge many small messages, beside a yardstick: the
//! same bytes written one after the other to a preallocated file, with as many syncs.
//!
//! `cargo bench --bench queue [-- MESSAGES [DIRECTORY]]`: 300000 messages in the system's
//! temporary directory, if nothing else is said. Choose a directory on the disk that counts; a
//! tmpfs measures the processor alone.

mod measure;

use std::path::Path;

use bytes::Bytes;
use measure::{Outcome, Start, peak_memory, print, yardstick};
use wharf::queue::{Counters, Queue, Seq, Settings};

const MESSAGE: usize = 150;
const READ_RECORDS: usize = 256;
const READ_BYTES: usize = 64 * 1024;

fn main() -> Outcome<()> {
    measure::run("queue", measure)
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
    for _ in 0..messages {
        queue.append(body.clone()).await?;
    }
    Ok(())
}

async fn drain(queue: &Queue, messages: u64) -> Outcome<()> {
    let (mut from, mut seen) = (Seq::FIRST, 0);
    while seen < messages {
        for record in queue.read(from, Seq::END, READ_RECORDS, READ_BYTES).await? {
            assert_eq!(record.body.len(), MESSAGE);
            queue.acknowledge(record.seq);
            from = record.seq.next();
            seen += 1;
        }
    }
    Ok(())
}
