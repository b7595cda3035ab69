//! A queue that makes those who append wait when it is full.

use super::*;

const ROOM: u64 = 4 * MIN_SEGMENT;

fn blocking(dir: &Path) -> Settings {
    Settings { max_size: ROOM, when_full: WhenFull::Block, ..settings(dir) }
}

/// A producer of numbered messages, and what it has handed in.
fn producer(queue: &Queue, count: u64) -> tokio::task::JoinHandle<()> {
    let queue = queue.clone();
    tokio::spawn(async move { append(&queue, 0..count).await })
}

/// Waits until the queue takes no more.
async fn full(queue: &Queue) {
    until(|| queue.counters().is_blocking && !queue.inner.shared.lock().has_room()).await;
}

#[tokio::test]
async fn when_it_blocks_nothing_is_lost_and_it_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(blocking(dir.path())).unwrap();
    let producer = producer(&queue, 6000);
    full(&queue).await;
    assert!(!producer.is_finished());
    let counters = queue.counters();
    assert_balanced(&counters);
    assert!(counters.queued < 6000 && counters.disk_bytes <= ROOM, "{counters:?}");

    let mut from = Seq::FIRST;
    while from < Seq(6000) {
        let records = tokio::time::timeout(PATIENCE, queue.read(from, Seq::END, 100, 1 << 20)).await.unwrap().unwrap();
        assert_eq!(numbers(&records), (from.get()..from.get() + records.len() as u64).collect::<Vec<_>>());
        records.iter().for_each(|record| queue.acknowledge(record.seq));
        from = records.last().unwrap().seq.next();
        assert_balanced(&queue.counters());
    }
    producer.await.unwrap();
    let queue = reopen(queue, blocking(dir.path())).await;
    let counters = queue.counters();
    assert_eq!((counters.captured, counters.acknowledged, counters.queued), (6000, 6000, 0));
    assert!(queue.fresh().is_empty());
}

#[tokio::test]
async fn an_offer_gives_up_when_its_patience_ends_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(blocking(dir.path())).unwrap();
    let producer = producer(&queue, 6000);
    full(&queue).await;
    producer.abort();
    let _ = producer.await;
    let before = queue.counters();
    for _ in 0..3 {
        queue.offer(body(1), tokio::time::sleep(Duration::from_millis(10))).await.unwrap();
    }
    let after = queue.counters();
    assert_eq!((after.captured, after.queued, after.dropped.full), (before.captured + 3, before.queued, 3));
    let loss = queue.next_loss().await.unwrap();
    assert_eq!((loss.reason, loss.first.get(), loss.count), (LossReason::Full, before.captured, 3));

    // One that waits is taken as soon as there is room, and not dropped.
    let waiting = tokio::spawn({
        let queue = queue.clone();
        async move { queue.offer(body(2), tokio::time::sleep(PATIENCE)).await }
    });
    tokio::task::yield_now().await;
    queue.purge();
    waiting.await.unwrap().unwrap();
    assert_eq!(queue.counters().dropped.full, 3);
}

#[tokio::test]
async fn a_queue_closed_while_it_blocks_counts_what_it_could_not_store() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(blocking(dir.path())).unwrap();
    let producer = producer(&queue, 6000);
    full(&queue).await;
    let stored = queue.end().get();
    tokio::time::timeout(PATIENCE, queue.close()).await.expect("closing hangs").unwrap();
    assert!(producer.await.is_err(), "who waits to append is told that the queue is closed");
    let counters = queue.counters();
    assert_balanced(&counters);
    assert_eq!(counters.queued, stored);
    assert_eq!(counters.dropped.full, counters.captured - stored);
    drop(queue);
    let queue = Queue::open(blocking(dir.path())).unwrap();
    assert_eq!(lasting(&queue.counters()), lasting(&counters));
    assert_eq!(numbers(&drain(&queue).await), (0..stored).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_blocked_queue_that_is_purged_goes_on_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(blocking(dir.path())).unwrap();
    let producer = producer(&queue, 4000);
    full(&queue).await;
    let purged = queue.purge();
    tokio::time::timeout(PATIENCE, producer).await.expect("it still blocks").unwrap();
    committed(&queue, 4000).await;
    let counters = queue.counters();
    assert_eq!((counters.captured, counters.dropped.purged), (4000, purged));
    assert_eq!(numbers(&drain(&queue).await), (purged..4000).collect::<Vec<_>>());
    reopen(queue, blocking(dir.path())).await;
}

#[tokio::test]
async fn what_a_blocked_queue_holds_in_memory_is_counted_when_a_crash_takes_it() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(blocking(dir.path())).unwrap();
    let producer = producer(&queue, 6000);
    full(&queue).await;
    let stored = queue.end().get();
    // Counting something saves the ledger, as it is all the time while readings are dropped.
    let now = SystemTime::now();
    queue.count_lost(7, LossReason::Blocked, now, now);
    let captured = queue.counters().captured;
    let crashed = tempfile::tempdir().unwrap();
    let after_crash = async || loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        copy_files(dir.path(), crashed.path());
        let copy = Queue::open(blocking(crashed.path())).unwrap();
        let counters = copy.counters();
        if counters.dropped.blocked == 7 {
            return (copy, counters);
        }
        copy.close().await.unwrap();
    };
    let (copy, counters) = tokio::time::timeout(PATIENCE, after_crash()).await.expect("the ledger is never saved");
    assert_balanced(&counters);
    assert_eq!((counters.captured, counters.queued), (captured, stored));
    assert_eq!(counters.dropped.crash, captured - stored - 7);
    let mut reasons = Vec::new();
    while reasons.len() < 2 {
        let loss = tokio::time::timeout(PATIENCE, copy.next_loss()).await.unwrap().unwrap();
        reasons.push((loss.reason, loss.count));
        copy.loss_told(loss.id);
    }
    assert!(reasons.contains(&(LossReason::Crash, counters.dropped.crash)), "{reasons:?}");
    producer.abort();
}
