//! Clocks that are set late, step, or belong to another boot.

use super::*;
use crate::clock::pretend::Pretend;
use crate::clock::{Correction, time};

const NOW: u64 = 1_795_000_000_000;
const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

fn with(dir: &Path, hands: &Pretend) -> Settings {
    Settings { clock: hands.clock(), max_age: Some(Duration::from_millis(DAY)), ..settings(dir) }
}

async fn stamps(queue: &Queue) -> Vec<(SystemTime, Correction)> {
    drain(queue).await.iter().map(|record| (record.captured_at, record.correction)).collect()
}

/// Waits for a look at the clock and at the age of what waits.
async fn look(queue: &Queue) {
    let end = queue.end().get();
    append(queue, 0..1).await;
    committed(queue, end + 1).await;
    queue.acknowledge(Seq(end));
    tokio::time::sleep(Duration::from_millis(1100)).await;
}

#[tokio::test]
async fn what_was_captured_before_the_clock_was_set_is_corrected_once_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let hands = Pretend::booted(1, 30_000);
    let queue = Queue::open(with(dir.path(), &hands)).unwrap();
    append(&queue, 0..1).await;
    hands.pass(60_000);
    append(&queue, 1..2).await;
    committed(&queue, 2).await;
    assert_eq!(stamps(&queue).await, [(time(30_000), Correction::Unknown), (time(90_000), Correction::Unknown)]);
    hands.pass(10_000);
    hands.set(NOW);
    append(&queue, 2..3).await;
    committed(&queue, 3).await;
    let by = Correction::By((NOW - 100_000) as i64);
    let expected = [(time(NOW - 70_000), by), (time(NOW - 10_000), by), (time(NOW), Correction::None)];
    assert_eq!(stamps(&queue).await, expected);
    let queue = reopen(queue, with(dir.path(), &hands)).await;
    assert_eq!(stamps(&queue).await, expected, "and over a restart");
}

#[tokio::test]
async fn a_loss_from_before_the_clock_was_set_is_told_with_its_true_times() {
    let dir = tempfile::tempdir().unwrap();
    let hands = Pretend::booted(1, 30_000);
    let queue = Queue::open(with(dir.path(), &hands)).unwrap();
    queue.count_lost(3, LossReason::Blocked, time(25_000), time(30_000));
    let queue = reopen(queue, with(dir.path(), &hands)).await;
    hands.set(NOW);
    look(&queue).await;
    queue.count_lost(1, LossReason::Blocked, time(NOW), time(NOW));
    let loss = queue.next_loss().await.unwrap();
    assert_eq!((loss.count, loss.from, loss.to), (3, time(NOW - 5000), time(NOW)));
    assert_eq!(queue.next_losses().await[0].from, time(NOW));
}

#[tokio::test]
async fn a_restart_before_the_clock_is_set_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let hands = Pretend::booted(1, 30_000);
    let queue = Queue::open(with(dir.path(), &hands)).unwrap();
    append(&queue, 0..1).await;
    let queue = reopen(queue, with(dir.path(), &hands)).await;
    hands.pass(5000);
    hands.set(NOW);
    // Nothing is captured any more, and still it becomes known.
    until(|| queue.counters().oldest_captured_at == Some(time(NOW - 5000))).await;
    assert_eq!(stamps(&queue).await, [(time(NOW - 5000), Correction::By((NOW - 35_000) as i64))]);
}

#[tokio::test]
async fn a_reboot_before_the_clock_is_set_leaves_the_time_unknown_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let hands = Pretend::booted(1, 30_000);
    let queue = Queue::open(with(dir.path(), &hands)).unwrap();
    append(&queue, 0..1).await;
    queue.close().await.unwrap();
    drop(queue);
    let hands = Pretend::booted(2, 20_000);
    let queue = Queue::open(with(dir.path(), &hands)).unwrap();
    append(&queue, 1..2).await;
    hands.set(NOW);
    append(&queue, 2..3).await;
    committed(&queue, 3).await;
    hands.pass(20 * 365 * DAY);
    look(&queue).await;
    // Of the first nobody knows how old it is. The others are twenty years old by the time since boot.
    until(|| queue.counters().dropped.age == 2).await;
    assert_eq!(stamps(&queue).await, [(time(30_000), Correction::Unknown)]);
}

#[tokio::test]
async fn a_clock_that_steps_back_and_forth_reorders_nothing_and_expires_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let hands = Pretend::booted(1, NOW);
    let queue = Queue::open(with(dir.path(), &hands)).unwrap();
    let mut expected = Vec::new();
    for (n, wall) in [NOW, NOW - 2 * HOUR, NOW + 365 * DAY, NOW + 1000].into_iter().enumerate() {
        hands.set(wall);
        append(&queue, n as u64..n as u64 + 1).await;
        expected.push((time(wall), Correction::None));
        look(&queue).await;
        hands.pass(1000);
    }
    assert_eq!(stamps(&queue).await, expected);
    let queue = reopen(queue, with(dir.path(), &hands)).await;
    hands.set(NOW + 365 * DAY);
    look(&queue).await;
    assert_eq!(stamps(&queue).await, expected);
    hands.set(NOW);
    hands.pass(DAY);
    look(&queue).await;
    assert_eq!((stamps(&queue).await, queue.counters().dropped.age), (Vec::new(), 4), "a day has really passed");
}

#[tokio::test]
async fn from_boot_to_boot_age_is_told_by_the_wall_clock() {
    let dir = tempfile::tempdir().unwrap();
    let hands = Pretend::booted(1, NOW);
    let queue = Queue::open(with(dir.path(), &hands)).unwrap();
    append(&queue, 0..1).await;
    hands.pass(2 * HOUR);
    append(&queue, 1..2).await;
    queue.close().await.unwrap();
    drop(queue);
    // An unset clock cannot tell; a set one can.
    let hands = Pretend::booted(2, 10_000);
    let queue = Queue::open(with(dir.path(), &hands)).unwrap();
    look(&queue).await;
    assert_eq!(queue.counters().dropped.age, 0);
    hands.set(NOW + DAY + HOUR);
    look(&queue).await;
    assert_eq!(stamps(&queue).await, [(time(NOW + 2 * HOUR), Correction::None)]);
    assert_eq!(queue.counters().dropped.age, 1);
}
