//! Full queues, full disks, old records, large records.

use std::process::Command;

use super::*;
use crate::clock::pretend::Pretend;

#[tokio::test]
async fn the_oldest_give_way_and_the_loss_says_which() {
    let dir = tempfile::tempdir().unwrap();
    let bounded = Settings { max_size: 6 * MIN_SEGMENT, ..settings(dir.path()) };
    let queue = Queue::open(bounded).unwrap();
    append(&queue, 0..5000).await;
    committed(&queue, 5000).await;
    let counters = queue.counters();
    assert_balanced(&counters);
    assert!(counters.dropped.full > 0 && counters.disk_bytes <= 6 * MIN_SEGMENT, "{counters:?}");
    let losses = queue.next_losses().await;
    assert_eq!(losses.len(), 1);
    assert_eq!((losses[0].first, losses[0].count), (Seq(0), counters.dropped.full));
    assert_eq!(losses[0].last, Seq(counters.dropped.full - 1));
    assert!(losses[0].from <= losses[0].to && losses[0].to <= SystemTime::now());
    assert_eq!(numbers(&drain(&queue).await), (counters.dropped.full..5000).collect::<Vec<_>>());
    queue.close().await.unwrap();
    let on_disk: u64 = segments(dir.path()).iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(on_disk <= 6 * MIN_SEGMENT);
    let queue = Queue::open(settings(dir.path())).unwrap();
    assert_eq!(queue.counters().dropped, counters.dropped, "what was dropped stays counted, once");
    assert_eq!(queue.counters().queued, 5000 - counters.dropped.full);
}

#[tokio::test]
async fn the_newest_give_way_if_the_site_says_so_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let bounded = Settings { max_size: 4 * MIN_SEGMENT, when_full: WhenFull::DropNewest, ..settings(dir.path()) };
    let queue = Queue::open(bounded).unwrap();
    append(&queue, 0..5000).await;
    committed(&queue, 5000).await;
    let dropped = queue.counters().dropped.full;
    assert!(dropped > 0);
    let losses = queue.next_losses().await;
    assert_eq!(losses.iter().map(|loss| loss.count).sum::<u64>(), dropped);
    let kept = drain(&queue).await;
    assert!(numbers(&kept).is_sorted());
    assert_eq!(numbers(&kept)[0], 0);

    kept.iter().for_each(|record| queue.acknowledge(record.seq));
    until(|| segments(dir.path()).len() <= 1).await;
    append(&queue, 6000..6100).await;
    committed(&queue, 5100).await;
    assert_eq!(numbers(&drain(&queue).await), (6000..6100).collect::<Vec<_>>());
    assert_balanced(&queue.counters());
}

#[tokio::test]
async fn what_is_too_old_is_dropped_to_the_record() {
    let dir = tempfile::tempdir().unwrap();
    let hands = Pretend::booted(1, 1_795_000_000_000);
    let aging = Settings { max_age: Some(Duration::from_secs(3600)), clock: hands.clock(), ..settings(dir.path()) };
    let queue = Queue::open(aging).unwrap();
    append(&queue, 0..1000).await;
    hands.pass(7_140_000);
    append(&queue, 1000..1500).await;
    committed(&queue, 1500).await;
    hands.pass(60_000);
    until(|| queue.counters().dropped.age == 1000).await;
    assert_eq!(queue.oldest_unacknowledged(), Seq(1000));
    assert_eq!(numbers(&drain(&queue).await), (1000..1500).collect::<Vec<_>>());
    let counters = queue.counters();
    assert_balanced(&counters);
    assert_eq!(millis(counters.oldest_captured_at.unwrap()), hands.wall() - 60_000);
    let losses = queue.next_losses().await;
    assert_eq!(losses.iter().map(|loss| loss.count).sum::<u64>(), 1000);
    assert!(losses.iter().all(|loss| loss.reason == LossReason::Age));
}

#[tokio::test]
async fn a_body_above_the_limit_is_dropped_and_one_at_the_limit_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let roomy = Settings { segment_size: 4 << 20, ..settings(dir.path()) };
    let queue = Queue::open(roomy).unwrap();
    queue.append(vec![1; MAX_BODY + 1].into()).await.unwrap();
    queue.append(vec![2; MAX_BODY].into()).await.unwrap();
    queue.append(Bytes::new()).await.unwrap();
    committed(&queue, 3).await;
    let records = queue.read(Seq::FIRST, Seq::END, 10, 4 << 20).await.unwrap();
    assert_eq!(records.iter().map(|record| record.body.len()).collect::<Vec<_>>(), [MAX_BODY, 0]);
    assert_eq!(queue.counters().dropped.too_large, 1);
    assert_eq!(queue.next_losses().await[0].reason, LossReason::TooLarge);
    assert_balanced(&queue.counters());
}

#[tokio::test]
async fn what_cannot_be_delivered_is_dropped_counted_told_and_not_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(settings(dir.path())).unwrap();
    append(&queue, 0..3).await;
    committed(&queue, 3).await;
    let captured_at = SystemTime::now();
    for _ in 0..2 {
        queue.discard(Seq(1), captured_at, LossReason::Refused);
    }
    assert_eq!(numbers(&drain(&queue).await), [0, 2]);
    assert_eq!(queue.counters().dropped.refused, 1);
    assert_balanced(&queue.counters());
    let losses = queue.next_losses().await;
    let told: Vec<_> = losses.iter().map(|loss| (loss.first, loss.last, loss.count, loss.reason)).collect();
    assert_eq!(told, [(Seq(1), Seq(1), 1, LossReason::Refused)]);
    queue.close().await.unwrap();
    let again = Queue::open(settings(dir.path())).unwrap();
    assert_eq!(numbers(&drain(&again).await), [0, 2]);
}

#[tokio::test]
async fn a_small_queue_takes_every_body_its_segments_can_hold() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(Settings { max_size: 1, ..settings(dir.path()) }).unwrap();
    let largest = reader::largest_body(MIN_SEGMENT);
    for len in [largest, largest + 1, largest - 1, largest] {
        queue.append(vec![7; len].into()).await.unwrap();
    }
    committed(&queue, 4).await;
    assert_eq!(queue.counters().dropped.too_large, 1);
    assert_eq!(drain(&queue).await.len(), 3);
}

/// A small file system of its own, gone when this is dropped.
struct Tmpfs(TempDir);

impl Tmpfs {
    /// `None`, with the reason printed, where nothing can be mounted.
    fn mount(bytes: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(dir.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(dir)),
            other => {
                eprintln!("not tested: no tmpfs can be mounted here, which needs root: {other:?}");
                None
            }
        }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).output();
    }
}

#[tokio::test]
async fn on_a_full_disk_the_oldest_give_way_and_acknowledging_works() {
    let Some(disk) = Tmpfs::mount(20 * MIN_SEGMENT) else { return };
    fs::write(disk.0.path().join("ballast"), vec![0; 4 * MIN_SEGMENT as usize]).unwrap();
    let dir = disk.0.path().join("queue");
    let queue = Queue::open(settings(&dir)).unwrap();
    append(&queue, 0..8000).await;
    committed(&queue, 8000).await;
    let counters = queue.counters();
    assert!(counters.dropped.full > 0, "{counters:?}");
    assert_balanced(&counters);
    let records = drain(&queue).await;
    assert_eq!(numbers(&records), (counters.dropped.full..8000).collect::<Vec<_>>());
    let (done, kept) = records.split_at(records.len() / 2);
    done.iter().for_each(|record| queue.acknowledge(record.seq));
    queue.close().await.unwrap();

    let queue = Queue::open(settings(&dir)).unwrap();
    assert_eq!(queue.oldest_unacknowledged(), kept[0].seq);
    append(&queue, 8000..8100).await;
    committed(&queue, 8100).await;
    let found = numbers(&drain(&queue).await);
    assert_eq!(found, numbers(kept).into_iter().chain(8000..8100).collect::<Vec<_>>());
    queue.close().await.unwrap();
}

#[tokio::test]
async fn on_a_full_disk_the_newest_give_way_and_room_is_used_when_it_comes() {
    let Some(disk) = Tmpfs::mount(20 * MIN_SEGMENT) else { return };
    let dir = disk.0.path().join("queue");
    let newest = Settings { when_full: WhenFull::DropNewest, ..settings(&dir) };
    let queue = Queue::open(newest).unwrap();
    append(&queue, 0..8000).await;
    committed(&queue, 8000).await;
    assert!(queue.counters().dropped.full > 0);
    let kept = drain(&queue).await;
    kept.iter().for_each(|record| queue.acknowledge(record.seq));
    until(|| segments(&dir).len() <= 1).await;
    append(&queue, 9000..9100).await;
    committed(&queue, 8100).await;
    assert_eq!(numbers(&drain(&queue).await), (9000..9100).collect::<Vec<_>>());
    assert_balanced(&queue.counters());
    queue.close().await.unwrap();
}

#[tokio::test]
async fn a_queue_opens_on_a_disk_without_a_single_free_byte() {
    let Some(disk) = Tmpfs::mount(2 << 20) else { return };
    let dir = disk.0.path().join("queue");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("lock"), "").unwrap();
    let ballast = disk.0.path().join("ballast");
    // The write fails when the disk is full, and that is the point.
    let _ = fs::write(&ballast, vec![0; 4 << 20]);
    let queue = Queue::open(settings(&dir)).unwrap();
    append(&queue, 0..10).await;
    until(|| queue.counters().dropped.full == 10).await;
    fs::remove_file(&ballast).unwrap();
    append(&queue, 10..20).await;
    committed(&queue, 20).await;
    assert_eq!(numbers(&drain(&queue).await), (10..20).collect::<Vec<_>>());
    assert_balanced(&queue.counters());
    queue.close().await.unwrap();
}

#[tokio::test]
async fn disk_space_to_be_left_free_is_left_free() {
    let Some(disk) = Tmpfs::mount(24 * MIN_SEGMENT) else { return };
    let dir = disk.0.path().join("queue");
    let queue = Queue::open(Settings { min_free: 8 * MIN_SEGMENT, ..settings(&dir) }).unwrap();
    append(&queue, 0..8000).await;
    committed(&queue, 8000).await;
    let free = rustix::fs::statvfs(&dir).unwrap();
    assert!(free.f_bavail * free.f_frsize >= 8 * MIN_SEGMENT);
    assert!(queue.counters().dropped.full > 0);
    queue.close().await.unwrap();
}
