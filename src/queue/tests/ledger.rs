//! Counts, losses and the equation, over restarts and without the cursor file.

use super::segment::file_name;
use super::*;

#[tokio::test]
async fn every_count_is_kept_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let mut queue = Queue::open(settings(dir.path())).unwrap();
    let now = SystemTime::now();
    for round in 0..4 {
        let start = queue.end().get();
        append(&queue, start..start + 300).await;
        queue.append(vec![0; 2 * MIN_SEGMENT as usize].into()).await.unwrap();
        queue.count_lost(7, LossReason::Blocked, now, now);
        append(&queue, start..start + 5).await;
        committed(&queue, start + 313).await;
        for seq in start..start + 250 {
            queue.acknowledge(Seq(seq));
        }
        queue.discard(Seq(start + 260), now, LossReason::Refused);
        queue.discard(Seq(start + 260), now, LossReason::Refused);
        queue = reopen(queue, settings(dir.path())).await;
        let counters = queue.counters();
        assert_eq!(counters.captured, 313 * (round + 1));
        assert_eq!(counters.acknowledged, 250 * (round + 1));
        let dropped =
            Dropped { too_large: round + 1, refused: round + 1, blocked: 7 * (round + 1), ..Dropped::default() };
        assert_eq!(counters.dropped, dropped);
        assert_eq!(drain(&queue).await.len() as u64, counters.queued);
    }
}

#[tokio::test]
async fn what_never_was_stored_has_a_number_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(settings(dir.path())).unwrap();
    let (from, to) = (SystemTime::now() - Duration::from_secs(9), SystemTime::now());
    append(&queue, 0..2).await;
    queue.count_lost(1000, LossReason::Blocked, from, to);
    append(&queue, 2..3).await;
    committed(&queue, 1003).await;
    let records = drain(&queue).await;
    assert_eq!(records.iter().map(|record| record.seq.get()).collect::<Vec<_>>(), [0, 1, 1002]);
    let loss = queue.next_loss().await.unwrap();
    assert_eq!((loss.first.get(), loss.last.get(), loss.count, loss.reason), (2, 1001, 1000, LossReason::Blocked));
    assert_eq!((millis(loss.from), millis(loss.to)), (millis(from), millis(to)));
    reopen(queue, settings(dir.path())).await;
}

#[tokio::test]
async fn numbers_may_run_far_ahead_of_what_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let mut queue = Queue::open(settings(dir.path())).unwrap();
    let now = SystemTime::now();
    for n in 0..6 {
        append(&queue, n..n + 1).await;
        queue.count_lost(3 << 30, LossReason::Blocked, now, now);
        if n % 2 == 0 {
            queue = reopen(queue, settings(dir.path())).await;
        }
    }
    append(&queue, 6..7).await;
    committed(&queue, 6 * (3 << 30) + 7).await;
    assert_eq!(numbers(&drain(&queue).await), (0..7).collect::<Vec<_>>());
    assert!(segments(dir.path()).len() > 1, "no segment spans that many numbers");
    let queue = reopen(queue, settings(dir.path())).await;
    assert_eq!(numbers(&drain(&queue).await), (0..7).collect::<Vec<_>>());
    assert_eq!(queue.counters().dropped.blocked, 6 * (3 << 30));
}

#[tokio::test]
async fn a_loss_waits_to_be_told_over_restarts_and_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(settings(dir.path())).unwrap();
    let now = SystemTime::now();
    queue.count_lost(5, LossReason::Blocked, now, now);
    let told = queue.next_loss().await.unwrap();
    queue.count_lost(6, LossReason::Blocked, now, now);
    assert_eq!(queue.next_loss().await.unwrap(), told, "it is the same until it was told");
    let queue = reopen(queue, settings(dir.path())).await;
    let again = queue.next_loss().await.unwrap();
    assert_eq!((again.id, again.first, again.count, again.reason), (told.id, told.first, 5, told.reason));
    queue.loss_told(told.id);
    queue.loss_told(told.id);
    let queue = reopen(queue, settings(dir.path())).await;
    let second = queue.next_loss().await.unwrap();
    assert_eq!((second.count, second.first), (6, Seq(5)));
    queue.loss_told(second.id);
    let queue = reopen(queue, settings(dir.path())).await;
    assert!(tokio::time::timeout(Duration::from_millis(50), queue.next_loss()).await.is_err());
    queue.close().await.unwrap();
    assert_eq!(queue.next_loss().await, None);
}

#[tokio::test]
async fn a_loss_is_the_same_after_a_kill_in_the_middle_of_telling_it() {
    let dir = quick_dir();
    let slow = Settings { commit_interval: Duration::from_millis(30), ..settings(dir.path()) };
    let queue = Queue::open(slow).unwrap();
    let now = SystemTime::now();
    for round in 0..20 {
        queue.count_lost(1 + round, LossReason::Blocked, now, now);
        let told = queue.next_loss().await.unwrap();
        queue.count_lost(1, LossReason::Blocked, now, now);
        let copy = quick_dir();
        copy_files(dir.path(), copy.path());
        let killed = Queue::open(settings(copy.path())).unwrap();
        let again = killed.next_loss().await.unwrap();
        assert_eq!((again.id, again.first, again.last, again.count), (told.id, told.first, told.last, told.count));
        queue.loss_told(told.id);
    }
}

#[tokio::test]
async fn a_loss_is_told_even_if_the_disk_takes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(settings(dir.path())).unwrap();
    queue.inner.shared.failing_cursor.store(true, std::sync::atomic::Ordering::Relaxed);
    queue.count_lost(3, LossReason::Blocked, SystemTime::now(), SystemTime::now());
    let loss = tokio::time::timeout(PATIENCE, queue.next_loss()).await.unwrap().unwrap();
    assert_eq!(loss.count, 3);
    assert!(queue.close().await.is_err());
    assert_balanced(&queue.counters());
}

#[tokio::test]
async fn a_purge_drops_what_waits_and_nothing_that_comes() {
    let dir = filled(1000).await;
    let queue = Queue::open(settings(dir.path())).unwrap();
    queue.acknowledge(Seq(0));
    append(&queue, 1000..1100).await;
    assert_eq!(queue.purge(), 1099);
    assert_eq!(queue.purge(), 0);
    append(&queue, 1100..1110).await;
    committed(&queue, 1110).await;
    assert_eq!(numbers(&drain(&queue).await), (1100..1110).collect::<Vec<_>>());
    let counters = queue.counters();
    assert_eq!((counters.dropped.purged, counters.acknowledged, counters.queued), (1099, 1, 10));
    let loss = queue.next_loss().await.unwrap();
    assert_eq!((loss.reason, loss.first, loss.last), (LossReason::Purged, Seq(1), Seq(1099)));
    until(|| segments(dir.path()).len() == 1).await;
    reopen(queue, settings(dir.path())).await;
}

#[tokio::test]
async fn a_purge_tells_when_what_it_drops_was_captured_and_not_when_it_was_dropped() {
    let dir = filled(10).await;
    let captured_until = SystemTime::now();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let queue = Queue::open(settings(dir.path())).unwrap();
    assert_eq!(queue.purge(), 10);
    let loss = queue.next_loss().await.unwrap();
    assert!(loss.from <= loss.to && loss.to <= captured_until, "{loss:?} is later than {captured_until:?}");
}

#[tokio::test]
async fn a_reader_with_an_end_is_told_when_nothing_is_left_before_it() {
    let dir = filled(500).await;
    let queue = Queue::open(settings(dir.path())).unwrap();
    let until = queue.end();
    append(&queue, 500..600).await;
    committed(&queue, 600).await;
    let mut seen = Vec::new();
    let mut from = Seq::FIRST;
    loop {
        let records = queue.read(from, until, 64, 1 << 20).await.unwrap();
        let Some(last) = records.last() else { break };
        from = last.seq.next();
        seen.extend(numbers(&records));
    }
    assert_eq!(seen, (0..500).collect::<Vec<_>>());
    // What it waits for may also be dropped before it comes.
    let end = Seq(queue.end().get() + 1);
    let waiting = tokio::spawn({
        let (queue, from) = (queue.clone(), queue.end());
        async move { queue.read(from, end, 10, 1000).await }
    });
    tokio::task::yield_now().await;
    queue.count_lost(1, LossReason::Blocked, SystemTime::now(), SystemTime::now());
    assert_eq!(tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap(), Ok(Vec::new()));
}

/// A queue some of whose segments were freed, first at the front, then in the middle.
async fn with_freed_segments() -> (TempDir, Counters) {
    let dir = filled(3000).await;
    let queue = Queue::open(settings(dir.path())).unwrap();
    let before = segments(dir.path()).len();
    (0..1000).chain(1400..2300).for_each(|seq| queue.acknowledge(Seq(seq)));
    until(|| segments(dir.path()).len() + 3 <= before).await;
    queue.close().await.unwrap();
    let counters = queue.counters();
    (dir, counters)
}

#[tokio::test]
async fn a_damaged_slot_of_the_cursor_file_makes_no_freed_segment_a_loss() {
    use std::os::unix::fs::FileExt;
    for slot in 0..2 {
        let (dir, before) = with_freed_segments().await;
        let file = fs::OpenOptions::new().write(true).open(dir.path().join("cursor")).unwrap();
        file.write_all_at(&[0xee; 64], slot * cursor::SLOT as u64 + 20).unwrap();
        let queue = Queue::open(settings(dir.path())).unwrap();
        assert_eq!(lasting(&queue.counters()), lasting(&before));
        assert_eq!(drain(&queue).await.len() as u64, before.queued);
        assert!(queue.fresh().is_empty());
    }
}

#[tokio::test]
async fn a_lost_cursor_file_costs_repetitions_and_makes_no_freed_segment_a_loss() {
    let (dir, before) = with_freed_segments().await;
    fs::remove_file(dir.path().join("cursor")).unwrap();
    let queue = Queue::open(settings(dir.path())).unwrap();
    let found = numbers(&drain(&queue).await);
    let counters = queue.counters();
    assert_balanced(&counters);
    assert_eq!((counters.captured, counters.dropped), (3000, Dropped::default()));
    assert!(counters.queued >= before.queued);
    assert_eq!(counters.queued, found.len() as u64);
    for n in (1000..1400).chain(2300..3000) {
        assert!(found.binary_search(&n).is_ok(), "{n} is gone");
    }
    reopen(queue, settings(dir.path())).await;
}

#[tokio::test]
async fn a_ledger_too_large_for_the_log_goes_to_the_cursor_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut queue = Queue::open(settings(dir.path())).unwrap();
    let count = 3 * done::MAX_ACKNOWLEDGED as u64;
    for n in 0..count {
        queue.append(n.to_le_bytes().to_vec().into()).await.unwrap();
    }
    committed(&queue, count).await;
    (0..count).filter(|n| n % 2 == 1).for_each(|n| queue.acknowledge(Seq(n)));
    let counters = queue.counters();
    assert_eq!(counters.acknowledged, done::MAX_ACKNOWLEDGED as u64);
    assert_eq!(counters.acknowledged + counters.refused_acknowledgements, count / 2);
    queue = reopen(queue, settings(dir.path())).await;
    append(&queue, 0..300).await;
    committed(&queue, count + 300).await;
    let queue = reopen(queue, settings(dir.path())).await;
    assert_eq!(drain(&queue).await.len() as u64, queue.counters().queued);
}

#[tokio::test]
async fn more_gaps_than_the_ledger_holds_cost_the_shortest_stretches_and_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(settings(dir.path())).unwrap();
    let now = SystemTime::now();
    let rounds = done::MAX_RANGES as u64 + 50;
    for _ in 0..rounds {
        queue.append(Bytes::from_static(b"x")).await.unwrap();
        queue.count_lost(1, LossReason::Blocked, now, now);
    }
    committed(&queue, 2 * rounds).await;
    let queue = reopen(queue, settings(dir.path())).await;
    let counters = queue.counters();
    assert_eq!((counters.dropped.blocked, counters.dropped.full), (rounds, 50));
    assert_eq!(drain(&queue).await.len() as u64, counters.queued);
}

#[tokio::test]
async fn the_work_of_the_disk_is_counted_in_bytes_and_in_pages() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(settings(dir.path())).unwrap();
    append(&queue, 0..1).await;
    committed(&queue, 1).await;
    append(&queue, 1..2).await;
    committed(&queue, 2).await;
    let counters = queue.counters();
    assert_eq!(counters.commits, 2);
    assert!(counters.written_bytes > 300 && counters.written_bytes < 4096, "{counters:?}");
    assert_eq!(counters.device_bytes % 4096, 0);
    assert!(counters.device_bytes >= 2 * 4096 && counters.syncs >= counters.commits, "{counters:?}");
}

#[tokio::test]
async fn a_last_segment_that_cannot_be_read_counts_what_is_known_of_it() {
    let dir = filled(2000).await;
    let tail = segments(dir.path()).pop().unwrap();
    let first = segment::parse_name(tail.file_name().unwrap().to_str().unwrap()).unwrap();
    assert_eq!(file_name(first), tail.file_name().unwrap().to_str().unwrap());
    fs::write(&tail, vec![0x5a; MIN_SEGMENT as usize]).unwrap();
    let queue = Queue::open(settings(dir.path())).unwrap();
    let counters = queue.counters();
    assert_balanced(&counters);
    // The queue had been closed, so the ledger in the cursor file knows to the record.
    assert_eq!((counters.captured, counters.dropped.damaged, counters.queued), (2000, 2000 - first, first));
    assert!(queue.end() > Seq(2000));
    append(&queue, 1..2).await;
    let queue = reopen(queue, settings(dir.path())).await;
    assert_eq!(queue.counters().captured, 2001);
}
