//! The power goes while the queue writes: what was stored is there when it comes back.

use std::path::Path;
use std::time::Duration;

use wharf::queue::Queue;
use wharf_test_support::volume::{Volume, skipped};

use crate::numbered;
use crate::writer::{Said, Writer};

const ROUNDS: usize = 30;
const MEGABYTES: u64 = 96;

#[test]
fn thirty_power_cuts_lose_nothing_stored_and_bring_back_nothing_settled() {
    let volume = match Volume::ext4(MEGABYTES) {
        Ok(volume) => volume,
        Err(why) => return skipped("power cuts", &why),
    };
    let queue = volume.path().join("queue");
    let (mut known, mut sent_again) = (Said::default(), 0);
    for round in 0..ROUNDS {
        let mut writer = Writer::start(&queue, known.stored);
        writer.wait_stored(known.stored);
        std::thread::sleep(Duration::from_millis(fastrand::u64(0..1000)));
        let switch = volume.switch();
        // What it says from here on may come from a file system that is gone already.
        let before = writer.said();
        switch.cut();
        let after = writer.kill();
        volume.remount();

        known.stored = before.stored;
        known.acknowledged = before.acknowledged.max(known.acknowledged);
        known.settled = before.settled.max(known.settled);
        known.touched = after.touched.max(known.touched);
        let (found, end) = waiting(&queue);
        check(round, &known, &found);
        assert!(end >= known.stored, "round {round}: {end} messages are accounted for; {known:?}");
        sent_again = found.iter().filter(|number| **number < known.acknowledged).count().max(sent_again);
        // The next writer goes on where this one's messages end, so that there is never a hole. It need not
        // have said so: the last of them may be acknowledged already.
        known.stored = end;
    }
    println!("{} messages stored, at most {sent_again} sent again after a power cut", known.stored);
    assert!(known.settled > 0, "nothing was settled in any round: this would prove little");
}

/// Opens what a power cut has left, and returns the numbers that wait, and the one behind the last that was
/// stored.
fn waiting(dir: &Path) -> (Vec<u64>, u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let queue = Queue::open(numbered::small(dir)).unwrap();
        let waiting = numbered::waiting(&queue).await;
        let counters = queue.counters();
        let crashed = counters.dropped.crash;
        assert_eq!((counters.dropped.total(), counters.set_aside), (crashed, 0), "{counters:?}");
        numbered::assert_balanced(&queue);
        // No message is ever skipped, and what the cuts caught in memory is appended again: so the newest
        // one that waits tells how many were captured.
        let end = counters.captured - crashed;
        let newest = waiting.last().copied();
        assert!(newest.is_none_or(|newest| newest + 1 == end), "{newest:?} {counters:?}");
        queue.close().await.unwrap();
        (waiting, end)
    })
}

fn check(round: usize, said: &Said, found: &[u64]) {
    assert!(found.is_sorted_by(|one, next| one < next), "round {round}: not in order");
    let there = |number: &u64| found.binary_search(number).is_ok();
    let missing: Vec<u64> = (said.touched..said.stored).filter(|number| !there(number)).collect();
    let (first, count) = (missing.first(), missing.len());
    assert_eq!(count, 0, "round {round}: {count} stored messages are gone, the first is {first:?}; {said:?}");
    let first = found.first().copied().unwrap_or(u64::MAX);
    assert!(first >= said.settled, "round {round}: {first} comes again although it was settled; {said:?}");
}
