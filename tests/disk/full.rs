//! A disk of 32 MB, filled to the last byte: nothing crashes, what is stored goes on being
//! delivered, recording resumes by itself, and the counts stay right.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};
use wharf::queue::{Counters, LossReason, Queue, Settings, WhenFull};
use wharf_test_support::volume::{Volume, skipped};

use crate::PATIENCE;
use crate::numbered::{append, assert_balanced, small, take, waiting};

const MEGABYTES: u64 = 32;
/// What somebody else keeps on the disk, and removes in the end, in bytes.
const BALLAST: usize = 2 << 20;
/// More messages than ever fit the disk.
const TOO_MANY: u64 = 1_000_000;

#[test]
fn on_a_full_disk_the_oldest_go_and_recording_never_stops() {
    on_a_full_disk(WhenFull::DropOldest, async |disk| {
        let queue = disk.open();
        let mut next = append_until(&queue, 0, |counters| counters.dropped.full > 20_000).await;
        disk.volume.fill("somebody else's");
        // Not one byte is free now, and it goes on with what it has.
        next = append_some(&queue, next, 50_000).await;
        settled(&queue).await;
        assert_balanced(&queue);
        let waits = waiting(&queue).await;
        assert_eq!(waits.first().copied(), Some(next - waits.len() as u64), "the oldest go first");
        assert_eq!(waits.last().copied(), Some(next - 1), "the newest is stored");
        assert_all_losses_told(&queue).await;

        let half = waits.len() / 2;
        assert_eq!(take(&queue, half).await, waits[..half], "the backlog is delivered while the disk is full");
        assert_balanced(&queue);
        queue.close().await.unwrap();
        let queue = disk.open();
        assert_eq!(waiting(&queue).await, waits[half..], "what was acknowledged on a full disk stays acknowledged");
        assert_eq!(take(&queue, waits.len() - half).await, waits[half..]);

        let freed = queue.counters().dropped.full;
        next = append_some(&queue, next, 5_000).await;
        settled(&queue).await;
        assert_eq!(waiting(&queue).await, (next - 5_000..next).collect::<Vec<_>>());
        assert_eq!(queue.counters().dropped.full, freed, "room that was made is used before anything is dropped");
        assert_balanced(&queue);
        queue.close().await.unwrap();
    });
}

#[test]
fn on_a_full_disk_the_newest_go_until_there_is_room_again() {
    on_a_full_disk(WhenFull::DropNewest, async |disk| {
        let queue = disk.open();
        let next = append_until(&queue, 0, |counters| counters.dropped.full > 0).await;
        disk.volume.fill("somebody else's");
        settled(&queue).await;
        let waits = waiting(&queue).await;
        // The disk became full with the last thousand, or with what waited for a commit then.
        let first = (0..next - 2_500).collect::<Vec<_>>();
        assert!(waits.starts_with(&first) && waits.is_sorted(), "what was stored first stays");
        assert_balanced(&queue);
        assert_all_losses_told(&queue).await;

        // Half of it is delivered, and that room serves for what comes then.
        let half = waits.len() / 2;
        assert_eq!(take(&queue, half).await, waits[..half]);
        let stored = resumes(&queue, next).await;
        let dropped = queue.counters().dropped.full;
        let refilled = append_until(&queue, stored + 1, |counters| counters.dropped.full > dropped).await;
        settled(&queue).await;
        assert_balanced(&queue);
        queue.close().await.unwrap();

        // Opened on the full disk, it has the rest, and drops until there is room.
        let queue = disk.open();
        let kept = waiting(&queue).await;
        assert!(kept.starts_with(&waits[half..]) && kept.contains(&stored), "the rest is there, and what came then");
        let dropped = queue.counters().dropped.full;
        let refilled = append_until(&queue, refilled, |counters| counters.dropped.full > dropped).await;
        settled(&queue).await;
        disk.volume.make_room("ballast");
        resumes(&queue, refilled).await;
        assert_balanced(&queue);
        assert_eq!(take(&queue, kept.len()).await, kept);
        assert_balanced(&queue);
        queue.close().await.unwrap();
    });
}

#[test]
fn on_a_full_disk_a_queue_that_blocks_drops_nothing_and_goes_on_when_there_is_room() {
    on_a_full_disk(WhenFull::Block, async |disk| {
        let queue = disk.open();
        let next = append_until_it_waits(&queue, 0).await;
        disk.volume.fill("somebody else's");
        // The one that did not fit waits as long as it has to, and everything else goes on.
        let one_more = append(&queue, next);
        let mut one_more = std::pin::pin!(one_more);
        assert!(timeout(Duration::from_secs(1), &mut one_more).await.is_err(), "there is no room");
        assert_balanced(&queue);
        let half = 50_000;
        assert_eq!(take(&queue, half).await, (0..half as u64).collect::<Vec<_>>());
        timeout(PATIENCE, one_more).await.expect("room was made, and it still waits").unwrap();
        let next = append_until_it_waits(&queue, next + 1).await;
        assert_balanced(&queue);

        disk.volume.make_room("ballast");
        let next = append_some(&queue, next, 1_000).await;
        settled(&queue).await;
        assert_eq!(waiting(&queue).await, (half as u64..next).collect::<Vec<_>>(), "nothing was dropped");
        assert_eq!(queue.counters().dropped.total(), 0);
        assert_balanced(&queue);

        // Closed while it is full again: what waits in memory is dropped, and counted.
        let next = append_until_it_waits(&queue, next).await;
        timeout(PATIENCE, queue.close()).await.expect("closing hangs").unwrap();
        assert_balanced(&queue);
        let dropped = queue.counters().dropped;
        assert_eq!(dropped.total(), dropped.full);
        let queue = disk.open();
        let waits = waiting(&queue).await;
        let stored = (half as u64..next - 2_500).collect::<Vec<_>>();
        assert!(waits.starts_with(&stored) && waits.is_sorted(), "what was stored stays");
        assert_eq!(waits.len() as u64, next - half as u64 - dropped.full, "and the rest was dropped");
        assert_eq!(queue.counters().dropped, dropped, "the counts survive");
        assert_balanced(&queue);
        queue.close().await.unwrap();
    });
}

#[test]
fn opened_on_a_disk_that_is_full_already_it_starts_and_records_as_soon_as_there_is_room() {
    for policy in [WhenFull::DropOldest, WhenFull::DropNewest] {
        on_a_full_disk(policy, async |disk| {
            disk.volume.fill("somebody else's");
            let queue = disk.open();
            let next = append_some(&queue, 0, 1_000).await;
            settled(&queue).await;
            assert_eq!(queue.counters().dropped.full, 1_000);
            assert_all_losses_told(&queue).await;
            disk.volume.make_room("ballast");
            let stored = resumes(&queue, next).await;
            let last = append_some(&queue, stored + 1, 100).await;
            settled(&queue).await;
            assert_eq!(waiting(&queue).await, (stored..last).collect::<Vec<_>>());
            assert_balanced(&queue);
            queue.close().await.unwrap();
            let queue = disk.open();
            assert_eq!(waiting(&queue).await, (stored..last).collect::<Vec<_>>());
            queue.close().await.unwrap();
        });
    }
}

/// A full disk and how the queue on it is kept.
struct Disk {
    volume: Volume,
    policy: WhenFull,
}

impl Disk {
    fn dir(&self) -> PathBuf {
        self.volume.path().join("queue")
    }

    fn open(&self) -> Queue {
        Queue::open(Settings { when_full: self.policy, ..small(&self.dir()) }).unwrap()
    }
}

fn on_a_full_disk(policy: WhenFull, test: impl AsyncFnOnce(Disk)) {
    let volume = match Volume::tmpfs(MEGABYTES) {
        Ok(volume) => volume,
        Err(why) => return skipped("a full disk", &why),
    };
    volume.ballast("ballast", BALLAST);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(test(Disk { volume, policy }));
}

/// Appends `count` messages from `next` on, and returns the number of the one after them.
async fn append_some(queue: &Queue, next: u64, count: u64) -> u64 {
    let end = next + count;
    let all = async {
        for number in next..end {
            append(queue, number).await.unwrap();
        }
    };
    timeout(PATIENCE, all).await.expect("the queue takes no messages");
    end
}

/// Appends from `next` on until the counts are as wanted, and returns the next number.
async fn append_until(queue: &Queue, mut next: u64, wanted: impl Fn(&Counters) -> bool) -> u64 {
    while !wanted(&queue.counters()) {
        assert!(next < TOO_MANY, "the disk never became full: {:?}", queue.counters());
        next = append_some(queue, next, 1_000).await;
    }
    next
}

/// Appends from `next` on until the queue takes no more, and returns the number it did not take.
async fn append_until_it_waits(queue: &Queue, mut next: u64) -> u64 {
    while timeout(Duration::from_secs(1), append(queue, next)).await.is_ok() {
        next += 1;
        assert!(next < TOO_MANY, "the disk never became full: {:?}", queue.counters());
    }
    next
}

/// Appends single messages from `next` on until one is stored, and returns its number.
async fn resumes(queue: &Queue, mut next: u64) -> u64 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let dropped = queue.counters().dropped.total();
        append(queue, next).await.unwrap();
        settled(queue).await;
        if queue.counters().dropped.total() == dropped {
            return next;
        }
        assert!(Instant::now() < deadline, "recording does not resume: {:?}", queue.counters());
        next += 1;
    }
}

/// Waits until what was appended is stored or dropped: until the counts stand still for as long as
/// eighty commits take. On a tmpfs none of them waits for a disk.
async fn settled(queue: &Queue) {
    let mut before = queue.counters();
    loop {
        sleep(Duration::from_millis(400)).await;
        let now = queue.counters();
        if (now.committed_bytes, now.dropped.total()) == (before.committed_bytes, before.dropped.total()) {
            return;
        }
        before = now;
    }
}

/// Checks that each dropped message is told as a loss, and for the right reason.
async fn assert_all_losses_told(queue: &Queue) {
    let mut told = 0;
    while let Ok(losses) = timeout(Duration::from_millis(100), queue.next_losses()).await {
        assert!(losses.iter().all(|loss| loss.reason == LossReason::Full), "{losses:?}");
        told += losses.iter().map(|loss| loss.count).sum::<u64>();
    }
    assert_eq!(told, queue.counters().dropped.total());
}
