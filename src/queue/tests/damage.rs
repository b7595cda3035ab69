//! Torn tails, flipped bits, missing and extra files, and copies made in mid-flight.

use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use super::frame::Kind;
use super::segment::{Segment, file_name};
use super::*;

/// Where the last record of a segment file starts, and where the log ends in it.
fn last_record_and_end(path: &Path) -> (u64, u64) {
    let file = fs::File::open(path).unwrap();
    let first = first_of(path);
    let size = file.metadata().unwrap().len();
    let segment = Segment { file, first, size };
    let mut frames = segment.frames(segment::HEADER..size, 0);
    let records = frames.by_ref().filter(|found| found.frame.kind == Kind::Record);
    let last = records.last().unwrap().offset;
    (last, frames.offset())
}

fn first_of(path: &Path) -> u64 {
    segment::parse_name(path.file_name().unwrap().to_str().unwrap()).unwrap()
}

fn write_at(path: &Path, bytes: &[u8], at: u64) {
    fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, at).unwrap();
}

pub fn flip(path: &Path, at: u64, bit: u8) {
    let mut byte = [0];
    fs::File::open(path).unwrap().read_exact_at(&mut byte, at).unwrap();
    write_at(path, &[byte[0] ^ 1 << bit], at);
}

#[tokio::test]
async fn a_torn_last_record_costs_itself_alone() {
    let dir = filled(100).await;
    let tail = segments(dir.path()).pop().unwrap();
    let (last, end) = last_record_and_end(&tail);
    write_at(&tail, &vec![0; (end - last - 30) as usize], last + 30);
    let queue = Queue::open(settings(dir.path())).unwrap();
    append(&queue, 200..203).await;
    committed(&queue, 102).await;
    let expected: Vec<u64> = (0..99).chain(200..203).collect();
    assert_eq!(numbers(&drain(&queue).await), expected);
    assert_balanced(&queue.counters());
}

#[tokio::test]
async fn flipped_bits_lose_what_they_hit_and_are_counted() {
    with_random_numbers(async |random| {
        let dir = filled(2000).await;
        let paths = segments(dir.path());
        let flips = 1 + random(5);
        for _ in 0..flips {
            let path = &paths[random(paths.len() as u64) as usize];
            flip(path, random(last_record_and_end(path).1), random(8) as u8);
        }
        let queue = Queue::open(settings(dir.path())).unwrap();
        let found = numbers(&drain(&queue).await);
        let counters = queue.counters();
        assert!(found.len() as u64 >= 2000 - flips, "{flips} flips, {} found", found.len());
        assert!(found.is_sorted_by(|a, b| a < b));
        assert_balanced(&counters);
        // The queue was closed, so its ledger knows of the last record as well.
        assert_eq!(counters.dropped.damaged, 2000 - found.len() as u64, "{counters:?}");
        if counters.dropped.damaged > 0 {
            let losses = queue.next_losses().await;
            assert_eq!(losses.iter().map(|loss| loss.count).sum::<u64>(), counters.dropped.damaged);
            assert!(losses.iter().all(|loss| loss.reason == LossReason::Damaged));
        }
        // What is gone stays gone and is not counted again.
        queue.close().await.unwrap();
        let queue = Queue::open(settings(dir.path())).unwrap();
        assert_eq!(numbers(&drain(&queue).await), found);
        assert_eq!(queue.counters().dropped, counters.dropped);
        queue.close().await.unwrap();
    })
    .await;
}

/// Runs `round` several times with a small generator of reproducible numbers below a bound.
async fn with_random_numbers(round: impl AsyncFn(&mut dyn FnMut(u64) -> u64)) {
    for seed in 1u64..=12 {
        let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut random = |below: u64| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x % below
        };
        round(&mut random).await;
    }
}

#[tokio::test]
async fn truncated_files_lose_what_was_cut_off() {
    let dir = filled(2000).await;
    let paths = segments(dir.path());
    assert!(paths.len() > 4);
    let size = |path: &Path, size: u64| fs::OpenOptions::new().write(true).open(path).unwrap().set_len(size).unwrap();
    size(&paths[1], 20_000);
    size(paths.last().unwrap(), 2_000);
    size(&paths[3], 0);
    let queue = Queue::open(settings(dir.path())).unwrap();
    let found = numbers(&drain(&queue).await);
    let counters = queue.counters();
    let per_segment = first_of(&paths[1]);
    assert!(found.starts_with(&(0..per_segment).collect::<Vec<_>>()));
    assert_eq!(counters.set_aside, 1);
    assert_eq!(counters.queued, found.len() as u64);
    assert_balanced(&counters);
    assert!(counters.dropped.damaged > per_segment, "{counters:?}");
    append(&queue, 5000..5010).await;
    queue.close().await.unwrap();
    let queue = Queue::open(settings(dir.path())).unwrap();
    let again = numbers(&drain(&queue).await);
    assert_eq!(again, found.into_iter().chain(5000..5010).collect::<Vec<_>>());
}

#[tokio::test]
async fn missing_segments_are_counted_and_the_rest_is_delivered() {
    for gone in [0, 2] {
        let dir = filled(2000).await;
        let paths = segments(dir.path());
        let first = |n: usize| first_of(&paths[n]);
        let lost = first(gone)..first(gone + 1);
        fs::remove_file(&paths[gone]).unwrap();
        let queue = Queue::open(settings(dir.path())).unwrap();
        let found = numbers(&drain(&queue).await);
        assert_eq!(found, (0..2000).filter(|n| !lost.contains(n)).collect::<Vec<_>>());
        assert_eq!(queue.counters().dropped.damaged, lost.end - lost.start);
        assert_balanced(&queue.counters());
        queue.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_missing_last_segment_never_gives_a_number_twice() {
    let dir = filled(2000).await;
    let queue = Queue::open(settings(dir.path())).unwrap();
    queue.acknowledge(Seq(1999));
    queue.close().await.unwrap();
    fs::remove_file(segments(dir.path()).pop().unwrap()).unwrap();
    let queue = Queue::open(settings(dir.path())).unwrap();
    assert_eq!(queue.end(), Seq(2000));
    append(&queue, 0..1).await;
    let all = drain(&queue).await;
    assert_eq!(all.last().unwrap().seq, Seq(2000));
    assert_balanced(&queue.counters());
}

#[tokio::test]
async fn the_queue_starts_with_whatever_lies_in_its_directory() {
    let dir = filled(500).await;
    fs::write(dir.path().join("notes.txt"), "hello").unwrap();
    fs::write(dir.path().join(file_name(3)), "not a segment").unwrap();
    fs::write(dir.path().join(file_name(77)), "").unwrap();
    fs::write(dir.path().join(file_name(u64::MAX)), "").unwrap();
    fs::write(dir.path().join(file_name(1 << 60)), vec![0; 1 << 16]).unwrap();
    fs::create_dir(dir.path().join(file_name(90_000_000))).unwrap();
    fs::write(dir.path().join("spare"), "short").unwrap();
    fs::write(dir.path().join("cursor"), vec![0xa5; 9000]).unwrap();
    let queue = Queue::open(settings(dir.path())).unwrap();
    append(&queue, 500..600).await;
    queue.close().await.unwrap();
    let queue = Queue::open(settings(dir.path())).unwrap();
    assert_eq!(numbers(&drain(&queue).await), (0..600).collect::<Vec<_>>());
    assert_balanced(&queue.counters());
}

#[tokio::test]
async fn a_last_segment_of_noise_is_set_aside_and_its_numbers_are_not_given_again() {
    let dir = filled(2000).await;
    let tail = segments(dir.path()).pop().unwrap();
    let first = first_of(&tail);
    fs::write(&tail, vec![0x5a; MIN_SEGMENT as usize]).unwrap();
    let queue = Queue::open(settings(dir.path())).unwrap();
    assert_eq!(queue.counters().set_aside, 1);
    assert!(tail.with_extension("corrupt").exists());
    assert!(queue.end() >= Seq(2000));
    append(&queue, 7..8).await;
    queue.close().await.unwrap();
    let queue = Queue::open(settings(dir.path())).unwrap();
    assert_eq!(numbers(&drain(&queue).await), (0..first).chain([7]).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_damaged_header_costs_nothing() {
    let dir = filled(2000).await;
    for path in segments(dir.path()) {
        write_at(&path, &[0xee; segment::HEADER as usize], 0);
    }
    let queue = Queue::open(settings(dir.path())).unwrap();
    assert_eq!(numbers(&drain(&queue).await), (0..2000).collect::<Vec<_>>());
}

/// A copy taken while the queue writes shows each file at another moment, which is worse than
/// what `kill -9` leaves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_committed_is_in_every_copy_taken_while_writing() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(settings(dir.path())).unwrap();
    let stop = std::sync::Arc::new(AtomicBool::new(false));
    let producer = tokio::spawn({
        let (queue, stop) = (queue.clone(), stop.clone());
        async move {
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                append(&queue, n..n + 20).await;
                n += 20;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    for round in 0..20 {
        committed(&queue, 100 * (round + 1)).await;
        let copy = tempfile::tempdir().unwrap();
        let promised = queue.end().get();
        let done = queue.oldest_unacknowledged().get();
        // An older file is never shown at an earlier moment than a newer one. The cursor and, once
        // more, the tail come last: what is freed meanwhile is finished by one of them.
        let mut names = segments(dir.path());
        names.reverse();
        names.push(dir.path().join("cursor"));
        names.push(names[0].clone());
        for path in names {
            // A segment may be freed before its turn comes.
            let _ = fs::copy(&path, copy.path().join(path.file_name().unwrap()));
        }
        let reopened = Queue::open(settings(copy.path())).unwrap();
        let found = numbers(&drain(&reopened).await);
        let missing: Vec<u64> = (done..promised).filter(|n| found.binary_search(n).is_err()).collect();
        assert!(missing.is_empty(), "round {round}: {missing:?} of {promised} are gone");
        assert_balanced(&reopened.counters());
        if reopened.counters().dropped.total() > 0 {
            // A page copied before a write and the next one copied after it: a hole in what was
            // not yet committed when the copy began, and nowhere else.
            let losses = reopened.next_losses().await;
            assert!(losses.iter().all(|loss| loss.first.get() >= promised), "{round}: {promised} {losses:?}");
        }
        reopened.close().await.unwrap();
        // Between the copies, work some of it off, so that files are freed and used again.
        for _ in 0..6 {
            let records = queue.read(Seq::FIRST, Seq::END, 50, 1 << 20).await.unwrap();
            records.iter().take(45).for_each(|record| queue.acknowledge(record.seq));
        }
    }
    stop.store(true, Ordering::Relaxed);
    producer.await.unwrap();
    queue.close().await.unwrap();
}

#[tokio::test]
async fn after_a_failed_sync_the_batch_is_written_again_to_a_new_segment() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(settings(dir.path())).unwrap();
    append(&queue, 0..100).await;
    committed(&queue, 100).await;
    for (round, failures) in [1, 2, 1].into_iter().enumerate() {
        queue.inner.shared.failing_syncs.store(failures, Ordering::Relaxed);
        let end = 100 * (round as u64 + 2);
        append(&queue, end - 100..end).await;
        committed(&queue, end).await;
    }
    assert_eq!(queue.counters().failed_syncs, 4);
    assert_eq!(segments(dir.path()).len(), 4);
    assert_eq!(numbers(&drain(&queue).await), (0..400).collect::<Vec<_>>());
    assert_balanced(&queue.counters());
    queue.close().await.unwrap();
    let queue = Queue::open(settings(dir.path())).unwrap();
    assert_eq!(numbers(&drain(&queue).await), (0..400).collect::<Vec<_>>());
    assert_eq!(queue.counters().dropped, Dropped::default());
}

#[tokio::test]
async fn a_disk_that_takes_nothing_costs_records_and_not_the_queue() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(settings(dir.path())).unwrap();
    append(&queue, 0..10).await;
    committed(&queue, 10).await;
    queue.inner.shared.failing_syncs.store(u32::MAX, Ordering::Relaxed);
    append(&queue, 10..20).await;
    until(|| queue.counters().dropped.unwritable == 10).await;
    let losses = queue.next_losses().await;
    assert_eq!((losses[0].reason, losses[0].first), (LossReason::Unwritable, Seq(10)));
    queue.inner.shared.failing_syncs.store(0, Ordering::Relaxed);
    queue.acknowledge(Seq(0));
    append(&queue, 20..30).await;
    committed(&queue, 20).await;
    let expected: Vec<u64> = (1..10).chain(20..30).collect();
    assert_eq!(numbers(&drain(&queue).await), expected);
    assert_balanced(&queue.counters());
    queue.close().await.unwrap();
    let queue = Queue::open(settings(dir.path())).unwrap();
    assert_eq!(numbers(&drain(&queue).await), expected);
}
