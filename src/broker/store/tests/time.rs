//! Clocks that stop, step and lie, between writing and reading.

use std::time::Instant;

use super::*;

const HOUR: u64 = 3_600_000;

/// What is left after a restart of a message worth delivering for an hour and of an absence of an hour, both
/// in minutes. `between` is what happens to the clock.
fn after(hands: &Pretend, between: impl FnOnce() -> Pretend) -> (Option<u64>, u64) {
    let dir = tempfile::tempdir().unwrap();
    let (_, store) = open(dir.path(), Settings { clock: hands.clock(), ..on_request() });
    let expires = Some(Instant::now() + Duration::from_millis(HOUR));
    let message = Arc::new(Publication { expires, ..(*publication("a", "1")).clone() });
    let mut journal = store.journal();
    journal.note(Change::Retained(&message));
    let since = crate::clock::time(hands.wall().saturating_sub(HOUR));
    journal.note(Change::Session(SessionFacts { away_since: Some(since), ..facts("panel") }));
    journal.note(Change::Queued { client: "panel", waiting: &waiting(0, &message) });
    store.close().unwrap();
    drop(store);
    let hands = between();
    let (saved, store) = open(dir.path(), Settings { clock: hands.clock(), ..on_request() });
    let left = saved.retained.first().map(|kept| kept.remaining(Instant::now()).unwrap().as_secs().div_ceil(60));
    assert_eq!(saved.sessions[0].waiting.len(), usize::from(left.is_some()));
    let away = hands.wall() - crate::clock::millis(saved.sessions[0].away_since.unwrap());
    store.close().unwrap();
    (left, away / 60_000)
}

#[test]
fn what_has_lain_on_disk_has_grown_older_by_as_much() {
    for minutes in [0, 20, 59] {
        let hands = Pretend::booted(1, NOW);
        let later = |hands: &Pretend| {
            hands.pass(minutes * 60_000);
            hands.clone()
        };
        assert_eq!(after(&hands, || later(&hands)), (Some(60 - minutes), 60 + minutes));
        let hands = Pretend::booted(1, NOW);
        assert_eq!(after(&hands, || Pretend::booted(2, NOW + minutes * 60_000)), (Some(60 - minutes), 60 + minutes));
    }
    let hands = Pretend::booted(1, NOW);
    assert_eq!(after(&hands, || Pretend::booted(2, NOW + HOUR)), (None, 120));
}

#[test]
fn within_one_boot_a_step_of_the_clock_means_nothing() {
    for wall in [NOW - 100 * HOUR, NOW + 100 * HOUR] {
        let hands = Pretend::booted(1, NOW);
        let stepped = || {
            hands.pass(600_000);
            hands.set(wall);
            hands.clone()
        };
        assert_eq!(after(&hands, stepped), (Some(50), 70));
    }
}

#[test]
fn a_clock_that_went_back_or_is_not_set_kills_nothing_and_keeps_nothing_for_longer_than_it_had() {
    for wall in [NOW - 100 * HOUR, 9000] {
        let hands = Pretend::booted(1, NOW);
        // An absence of an hour cannot be told by a clock that shows the first seconds of 1970.
        let away = if wall == 9000 { 0 } else { 60 };
        assert_eq!(after(&hands, || Pretend::booted(2, wall)), (Some(60), away));
    }
    // Written before the clock was set, and read after it.
    let hands = Pretend::booted(1, HOUR + 30_000);
    assert_eq!(after(&hands, || Pretend::booted(2, NOW)), (Some(60), 60));
}

#[test]
fn a_clock_that_is_set_while_it_runs_makes_nobody_away_for_fifty_years() {
    let dir = tempfile::tempdir().unwrap();
    let hands = Pretend::booted(1, 20_000);
    let (_, store) = open(dir.path(), Settings { clock: hands.clock(), ..on_request() });
    let mut journal = store.journal();
    journal.note(Change::Session(SessionFacts { away_since: Some(crate::clock::time(15_000)), ..facts("panel") }));
    hands.pass(1000);
    hands.set(NOW);
    store.close().unwrap();
    let (saved, store) = open(dir.path(), Settings { clock: hands.clock(), ..on_request() });
    assert_eq!(saved.sessions[0].away_since, Some(crate::clock::time(NOW - 6000)));
    store.close().unwrap();
}

#[test]
fn what_has_expired_is_removed_from_the_disk_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let (_, store) = open(dir.path(), on_request());
    let expires = Some(Instant::now());
    let message = Arc::new(Publication { expires, ..(*publication("a", "1")).clone() });
    let mut journal = store.journal();
    journal.note(Change::Retained(&message));
    queue(&mut *journal, "panel", 0, &[&message, &message]);
    // It is under way, so the client may still answer for it.
    journal.note(Change::Stage { client: "panel", number: 1, stage: Stage::Sent(4) });
    store.close().unwrap();
    let (saved, store) = open(dir.path(), on_request());
    assert_eq!((saved.retained.len(), saved.sessions[0].waiting.len()), (0, 1));
    let before = store.counters();
    assert!(before.pending_bytes > 0);
    store.close().unwrap();
    assert_eq!((store.counters().commits, store.counters().pending_bytes), (1, 0));
    let (_, store) = open(dir.path(), on_request());
    assert_eq!(store.counters().pending_bytes, 0);
    store.close().unwrap();
}
