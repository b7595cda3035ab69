//! What survives of the local broker: its process is killed, the power goes, the disk is full.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::PATIENCE;
use crate::keeper::{BACKLOG, Keeper, open, small, step, steps};
use wharf::broker::store::Store;
use wharf_test_support::volume::{Volume, skipped};

const KILLS: usize = 15;
const POWER_CUTS: usize = 20;

#[test]
fn fifteen_kills_cost_the_broker_nothing_that_was_safe() {
    let dir = tempfile::tempdir().unwrap();
    let mut before = 0;
    for round in 0..KILLS {
        let mut keeper = Keeper::start(dir.path());
        keeper.wait();
        std::thread::sleep(Duration::from_millis(fastrand::u64(0..200)));
        let safe = keeper.safe();
        keeper.kill();
        let found = found(dir.path());
        assert!(found >= safe.max(before), "round {round}: {found} steps are there, {safe} were safe");
        before = found;
    }
}

#[test]
fn twenty_power_cuts_cost_the_broker_nothing_that_was_safe() {
    let volume = match Volume::ext4(64) {
        Ok(volume) => volume,
        Err(why) => return skipped("power cuts of the broker", &why),
    };
    let dir = volume.path().join("broker");
    let mut before = 0;
    for round in 0..POWER_CUTS {
        let mut keeper = Keeper::start(&dir);
        keeper.wait();
        std::thread::sleep(Duration::from_millis(fastrand::u64(0..500)));
        let switch = volume.switch();
        // What it says from here on may come from a file system that is gone already.
        let safe = keeper.safe();
        switch.cut();
        keeper.kill();
        volume.remount();
        let found = found(&dir);
        assert!(found >= safe.max(before), "round {round}: {found} steps are there, {safe} were safe");
        before = found;
    }
    println!("{before} steps");
}

/// How many steps the next start finds, all of them saved at one moment.
fn found(dir: &Path) -> u64 {
    let (saved, store) = open(dir);
    store.close().unwrap();
    steps(&saved)
}

#[test]
fn on_a_full_disk_the_broker_goes_on_and_is_safe_again_when_there_is_room() {
    let volume = match Volume::tmpfs(12) {
        Ok(volume) => volume,
        Err(why) => return skipped("the broker on a full disk", &why),
    };
    volume.ballast("ballast", 6 << 20);
    let dir = volume.path().join("broker");
    let (_, store) = open(&dir);
    let mut journal = store.journal();
    (0..1000).for_each(|n| step(&mut *journal, n));
    assert!(store.settle(PATIENCE));
    volume.fill("somebody else's");
    let mut n = 1000;
    let deadline = Instant::now() + PATIENCE;
    while !store.counters().is_behind {
        assert!(Instant::now() < deadline, "the disk never became full: {:?}", store.counters());
        (n..n + 100).for_each(|n| step(&mut *journal, n));
        n += 100;
        store.settle(Duration::from_millis(5));
    }
    // Not one byte is free, and what was safe stays so.
    (n..n + 100_000).for_each(|n| step(&mut *journal, n));
    n += 100_000;
    assert!(!store.settle(Duration::from_millis(100)));
    assert!(store.counters().pending_bytes <= small().pending as u64);
    let safe = found_in_a_copy(&dir);
    assert!((1000..n).contains(&safe), "{safe}");

    volume.make_room("ballast");
    assert!(store.settle(PATIENCE), "{:?}", store.counters());
    assert!(!store.counters().is_behind);
    store.close().unwrap();
    assert_eq!(found(&dir), n);
}

/// The same, from a copy of the files while they are in use.
fn found_in_a_copy(dir: &Path) -> u64 {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    found(copy.path())
}

#[test]
fn opened_on_a_disk_that_is_full_already_the_broker_starts_and_is_safe_as_soon_as_there_is_room() {
    let volume = match Volume::tmpfs(4) {
        Ok(volume) => volume,
        Err(why) => return skipped("the broker on a full disk", &why),
    };
    let dir = volume.path().join("broker");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("lock"), []).unwrap();
    volume.ballast("ballast", 2 << 20);
    volume.fill("somebody else's");
    let (_, store) = Store::open_with(&dir, small()).unwrap();
    let mut journal = store.journal();
    (0..BACKLOG).for_each(|n| step(&mut *journal, n));
    assert!(!store.settle(Duration::from_millis(200)));
    assert!(store.counters().is_behind);
    volume.make_room("ballast");
    assert!(store.settle(PATIENCE));
    store.close().unwrap();
    assert_eq!(found(&dir), BACKLOG);
}
