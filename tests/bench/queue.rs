//! The queue alone: append, read and acknowledge many small messages, beside a yardstick: the
//! same bytes written one after the other to a preallocated file, with as many syncs.
//!
//! `cargo bench --bench queue [-- MESSAGES [DIRECTORY]]`: 300000 messages in the system's
//! temporary directory, if nothing else is said. As root, in an ext4 of its own there, so that
//! what its device counts is this benchmark's alone; else choose a directory on the disk that
//! counts: a tmpfs measures the processor alone.

mod measure;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use measure::{Cost, Outcome, Start, peak_memory, print, yardstick};
use wharf::queue::{Counters, Queue, Seq, Settings};
use wharf_test_support::volume::Volume;

const MESSAGE: usize = 150;
const READ_RECORDS: usize = 256;
const READ_BYTES: usize = 64 * 1024;
/// How many commits are made of each size, and how often that is repeated.
const COMMITS: u64 = 1000;
const REPEATS: usize = 3;

fn main() -> Outcome<()> {
    measure::run("queue", |dir, messages| match Volume::ext4(4096) {
        Ok(volume) => {
            println!("in an ext4 of its own");
            measure(&volume.path(), messages)
        }
        Err(why) => {
            println!("in {}, whose device counts what others write as well ({why})", dir.display());
            measure(dir, messages)
        }
    })
}

fn measure(dir: &Path, messages: u64) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    for size in [1, 10, 100, 256] {
        commits_of(size, dir, &runtime)?;
    }

    let payload = messages * MESSAGE as u64;
    println!("{messages} messages of {MESSAGE} bytes, as fast as they go");
    let start = Start::now(dir);
    let counters = runtime.block_on(side_by_side(&dir.join("live"), messages))?;
    print("queue, append + read + acknowledge", messages, payload, &start.cost(dir));
    let log_bytes = counters.written_bytes as f64 / payload as f64;
    println!("  {} syncs, {log_bytes:.2} log bytes per payload byte", counters.syncs);

    let start = Start::now(dir);
    runtime.block_on(fill(&dir.join("outage"), messages))?;
    print("queue, append through an outage", messages, payload, &start.cost(dir));
    let start = Start::now(dir);
    let queue = open(&dir.join("outage"), 256)?;
    let opened = start.wall.elapsed().as_secs_f64() * 1e3;
    println!("queue, opened again with {} waiting: {opened:.1} ms", queue.counters().queued);
    let start = Start::now(dir);
    runtime.block_on(drain(&queue, messages))?;
    print("queue, read + acknowledge the backlog", messages, payload, &start.cost(dir));
    println!("peak memory of the process: {}", peak_memory().map_or("unknown".into(), |kib| format!("{kib} KiB")));

    let cost = yardstick(dir, payload, counters.syncs)?;
    print("yardstick, plain writes of the same bytes with as many syncs", messages, payload, &cost);
    Ok(())
}

/// Measures commits of so many messages each, and the yardstick in turn with them. Prints what
/// lies in the middle.
fn commits_of(size: u64, dir: &Path, runtime: &tokio::runtime::Runtime) -> Outcome<()> {
    let (mut queue, mut plain) = (Vec::new(), Vec::new());
    let messages = size * COMMITS;
    let payload = messages * MESSAGE as u64;
    let mut syncs = 0;
    for repeat in 0..REPEATS {
        let place = dir.join(format!("commits-of-{size}-{repeat}"));
        let (cost, counters) = runtime.block_on(in_step(&place, size))?;
        syncs = counters.syncs;
        std::fs::remove_dir_all(place)?;
        queue.push(cost);
        plain.push(yardstick(dir, payload, COMMITS)?);
    }
    let row = |what: &str, of: &dyn Fn(&Cost) -> f64| {
        let (queue, plain) = (middle(&queue, of), middle(&plain, of));
        println!("  {what}: queue {queue:.2}, plain writes {plain:.2}, ratio {:.2}", queue / plain);
    };
    println!("{size} messages of {MESSAGE} bytes per commit, {COMMITS} commits ({syncs} syncs of the queue)");
    row("µs of processor time per message", &|cost| cost.cpu_each(messages));
    row("device bytes per payload byte", &|cost| cost.device_each(payload));
    row("ms per commit", &|cost| cost.wall.as_secs_f64() * 1e3 / COMMITS as f64);
    Ok(())
}

fn middle(costs: &[Cost], of: &dyn Fn(&Cost) -> f64) -> f64 {
    let mut values: Vec<f64> = costs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Appends as many messages as make one commit, waits for it, reads and acknowledges them.
async fn in_step(dir: &Path, size: u64) -> Outcome<(Cost, Counters)> {
    let queue = open(dir, size as usize)?;
    let body = Bytes::from(vec![b'x'; MESSAGE]);
    let mut from = Seq::FIRST;
    let before = queue.counters();
    let start = Start::now(dir);
    for _ in 0..COMMITS {
        for _ in 0..size {
            queue.append(body.clone()).await?;
        }
        let mut seen = 0;
        while seen < size {
            for record in queue.read(from, Seq::END, READ_RECORDS, READ_BYTES).await? {
                queue.acknowledge(record.seq);
                from = record.seq.next();
                seen += 1;
            }
        }
    }
    let cost = start.cost(dir);
    let mut counters = queue.counters();
    let commits = counters.commits - before.commits;
    // A batch that the end of a segment divides is committed in two parts.
    if !(COMMITS..COMMITS + COMMITS / 50).contains(&commits) {
        return Err(format!("{commits} commits of {size} messages instead of {COMMITS}").into());
    }
    counters.syncs -= before.syncs;
    queue.close().await?;
    Ok((cost, counters))
}

/// A queue that commits when so many messages wait, and for no other reason.
fn open(dir: &Path, commit_records: usize) -> Outcome<Queue> {
    let commit_interval = Duration::from_secs(1);
    Ok(Queue::open(Settings { min_free: 0, max_size: 8 << 30, commit_records, commit_interval, ..Settings::new(dir) })?)
}

/// A producer and a consumer that work at the same time.
async fn side_by_side(dir: &Path, messages: u64) -> Outcome<Counters> {
    let queue = open(dir, 256)?;
    let producer = append(&queue, messages);
    let (appended, drained) = tokio::join!(producer, drain(&queue, messages));
    appended?;
    drained?;
    queue.close().await?;
    Ok(queue.counters())
}

async fn fill(dir: &Path, messages: u64) -> Outcome<()> {
    let queue = open(dir, 256)?;
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
