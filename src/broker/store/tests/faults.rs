//! A disk that hangs, fails, or is too slow: the hub goes on, and everything is safe in the end.

use std::time::Instant;

use super::*;

#[test]
fn a_hanging_disk_holds_up_nobody_and_what_is_remembered_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let (_, store) = open(dir.path(), Settings { pending: 1 << 20, ..on_request() });
    let mut journal = store.journal();
    queue(&mut *journal, "panel", 0, &[&publication("a", "first")]);
    assert!(store.settle(PATIENCE));
    let shared = store.shared.clone();
    let hang = shared.faults.hang.lock().unwrap();
    assert!(!store.settle(Duration::ZERO) || store.counters().pending_bytes == 0);
    let message = publication("a", "more");
    let mut most = 0;
    for number in 1..100_000 {
        journal.note(Change::Queued { client: "panel", waiting: &waiting(number, &message) });
        if number == 1 {
            // The writer meets the disk with this one in hand.
            assert!(!store.settle(Duration::from_millis(100)));
        }
        if number >= 10 {
            journal.note(Change::Done { client: "panel", number: number - 10 });
        }
        if number % 1000 == 0 {
            most = store.counters().pending_bytes.max(most);
        }
    }
    // Topics that go leave traces, until there are too many.
    for n in 0..20_000 {
        journal.note(Change::Retained(&publication(&format!("topic/{n}"), "")));
        most = store.counters().pending_bytes.max(most);
    }
    assert!(most > 1 << 19 && most <= 1 << 20, "{most}");
    let counters = store.counters();
    assert_eq!((counters.fallen_behind, counters.is_behind, counters.pending_bytes), (1, true, 0), "{counters:?}");
    assert!(!store.settle(Duration::ZERO));
    drop(hang);
    assert!(store.settle(PATIENCE));
    assert!(!store.counters().is_behind);
    let expected = store.shared.lock().image.saved(store.shared.clock.stamp());
    assert_eq!((expected.sessions[0].waiting.len(), expected.retained.len()), (10, 20_000));
    store.close().unwrap();
    assert_eq!(found(dir.path()), expected);
}

#[test]
fn after_a_failed_sync_everything_is_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (_, store) = open(dir.path(), on_request());
    let mut journal = store.journal();
    let message = publication("a", "1");
    queue(&mut *journal, "panel", 0, &[&message]);
    assert!(store.settle(PATIENCE));
    let first = newest(dir.path());
    for number in 1..6 {
        store.shared.faults.failures.store(3, Ordering::Relaxed);
        journal.note(Change::Queued { client: "panel", waiting: &waiting(number, &message) });
        let deadline = Instant::now() + PATIENCE;
        while !store.settle(Duration::from_millis(5)) {
            assert!(Instant::now() < deadline, "it does not recover: {:?}", store.counters());
        }
    }
    let counters = store.counters();
    assert_eq!((counters.failures, counters.fallen_behind, counters.is_behind), (15, 5, false));
    assert!(newest(dir.path()).0 > first.0 && !first.1.exists());
    store.close().unwrap();
    assert_eq!(found(dir.path()).sessions[0].waiting.len(), 6);
}

#[test]
fn what_cannot_be_saved_in_the_end_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (_, store) = open(dir.path(), on_request());
    let mut journal = store.journal();
    queue(&mut *journal, "panel", 0, &[&publication("a", "kept")]);
    assert!(store.settle(PATIENCE));
    queue(&mut *journal, "panel", 1, &[&publication("a", "lost")]);
    store.shared.faults.failures.store(2, Ordering::Relaxed);
    store.close().unwrap_err();
    assert_eq!(payloads(&found(dir.path()).sessions[0]), [b"kept"]);
}

#[test]
fn closing_does_not_wait_for_a_hanging_disk_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let (_, store) = open(dir.path(), Settings { patience: Duration::from_millis(50), ..on_request() });
    queue(&mut *store.journal(), "panel", 0, &[]);
    let shared = store.shared.clone();
    let hang = shared.faults.hang.lock().unwrap();
    assert_eq!(store.close().unwrap_err().kind(), io::ErrorKind::TimedOut);
    drop(hang);
    store.close().unwrap();
    assert_eq!(found(dir.path()).sessions.len(), 1);
}

#[test]
fn the_largest_message_that_may_be_retained_fits_into_a_frame() {
    // As `broker.limits.retained_message` has it, from a client and a user with the longest names.
    let (largest, name) = (3 << 20, "x".repeat(0xffff));
    let user = Some(name.as_str().into());
    let content_type = Some("y".repeat(0xffff));
    let large = Publication {
        from: Origin::Client { client: name.as_str().into(), user },
        properties: Some(Box::new(Properties { content_type, ..Properties::default() })),
        retain: true,
        ..Publication::new(name.as_str(), "z".repeat(largest - 2 * 0xffff))
    };
    assert_eq!(large.size(), largest);
    let dir = tempfile::tempdir().unwrap();
    let (_, store) = open(dir.path(), on_request());
    store.journal().note(Change::Retained(&Arc::new(large.clone())));
    store.close().unwrap();
    assert_eq!((store.counters().too_large, found(dir.path()).retained), (0, vec![Arc::new(large)]));
}

#[test]
fn what_is_too_large_is_counted_and_the_rest_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (_, store) = open(dir.path(), on_request());
    let mut journal = store.journal();
    let large = publication("a", &"x".repeat(MAX_BODY));
    queue(&mut *journal, "one", 0, &[&large, &publication("a", "small")]);
    queue(&mut *journal, "two", 0, &[&large]);
    store.close().unwrap();
    assert_eq!(store.counters().too_large, 2);
    let saved = found(dir.path());
    assert_eq!((payloads(&saved.sessions[0]), saved.sessions[1].waiting.len()), (vec![&b"small"[..]], 0));
}
