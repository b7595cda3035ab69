//! The mark: what a kill between two commits makes forgotten, and what a power cut may do to it.

use std::sync::atomic::Ordering;

use super::*;

/// A queue of 256 committed records. Commits come when as many wait again, and else hardly ever.
async fn quiet(dir: &Path) -> Queue {
    let queue = Queue::open(settings(dir)).unwrap();
    append(&queue, 0..256).await;
    queue.close().await.unwrap();
    // The first commit is due an interval after the opening.
    Queue::open(Settings { commit_interval: Duration::from_secs(3600), ..settings(dir) }).unwrap()
}

/// Acknowledges, and has it marked.
async fn mark(queue: &Queue, seqs: std::ops::Range<u64>) {
    seqs.for_each(|seq| queue.acknowledge(Seq(seq)));
    while queue.unsaved() > 0 {
        tokio::time::timeout(PATIENCE, queue.mark()).await.expect("a mark");
    }
}

/// The queue as a kill would leave it.
fn killed(dir: &Path) -> (Queue, TempDir) {
    let copy = quick_dir();
    copy_files(dir, copy.path());
    (Queue::open(settings(copy.path())).unwrap(), copy)
}

#[tokio::test]
async fn a_kill_forgets_no_acknowledgement_that_is_not_called_unsaved() {
    let dir = quick_dir();
    let queue = quiet(dir.path()).await;
    for n in 0..20 {
        mark(&queue, 5 * n..5 * n + 3).await;
        (5 * n + 3..5 * n + 5).for_each(|seq| queue.acknowledge(Seq(seq)));
        assert_eq!(queue.unsaved(), 2);
        let (after, _copy) = killed(dir.path());
        assert_eq!(after.oldest_unacknowledged(), Seq(5 * n + 3));
        assert_balanced(&after.counters());
    }
    assert_eq!((queue.counters().marks, queue.counters().commits), (20, 0));
}

#[tokio::test]
async fn with_an_idle_disk_the_mark_is_written_at_once() {
    let dir = quick_dir();
    let queue = quiet(dir.path()).await;
    (0..10).for_each(|seq| queue.acknowledge(Seq(seq)));
    let written = queue.inner.marker.as_ref().unwrap().write_at_once();
    assert_eq!((written, queue.unsaved()), (true, 0));
    queue.close().await.unwrap();
    assert!(!queue.inner.marker.as_ref().unwrap().write_at_once(), "the files may be somebody else's by now");
}

#[tokio::test]
async fn what_was_dropped_among_the_acknowledged_keeps_its_reason() {
    let dir = quick_dir();
    let queue = quiet(dir.path()).await;
    for seq in (0..120).rev() {
        if seq % 3 == 0 {
            queue.discard(Seq(seq), SystemTime::now(), LossReason::Refused);
        } else {
            queue.acknowledge(Seq(seq));
        }
    }
    mark(&queue, 0..0).await;
    let (after, _copy) = killed(dir.path());
    assert_eq!(lasting(&after.counters()), lasting(&queue.counters()));
    assert_eq!(after.counters().dropped, Dropped { refused: 40, ..Dropped::default() });
    assert_eq!(numbers(&drain(&after).await), (120..256).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_mark_waits_for_no_sync_of_the_log() {
    let dir = quick_dir();
    let queue = quiet(dir.path()).await;
    let stuck = &queue.inner.shared.stuck_sync;
    stuck.store(true, Ordering::Relaxed);
    append(&queue, 256..600).await;
    until(|| queue.inner.shared.lock().in_hand.is_some()).await;
    assert!(!queue.inner.marker.as_ref().unwrap().write_at_once(), "its thread may wait, we may not");
    mark(&queue, 0..10).await;
    let (after, _copy) = killed(dir.path());
    assert_eq!(after.counters().acknowledged, 10);
    stuck.store(false, Ordering::Relaxed);
    queue.close().await.unwrap();
}

#[tokio::test]
async fn a_mark_that_knows_of_more_than_is_stored_throws_nothing_stored_away() {
    let dir = quick_dir();
    let queue = quiet(dir.path()).await;
    append(&queue, 256..300).await;
    // As a power cut may leave it: the mark has reached the disk, and what only memory held has not.
    mark(&queue, 0..10).await;
    let (after, copy) = killed(dir.path());
    let counters = after.counters();
    assert_eq!((counters.captured, counters.acknowledged), (300, 10));
    assert_eq!(counters.dropped, Dropped { crash: 44, ..Dropped::default() });
    assert_eq!(numbers(&drain(&after).await), (10..256).collect::<Vec<_>>());
    reopen(after, settings(copy.path())).await;
}

#[tokio::test]
async fn without_its_mark_a_queue_goes_by_the_last_commit() {
    let dir = quick_dir();
    let queue = quiet(dir.path()).await;
    mark(&queue, 0..100).await;
    fs::write(dir.path().join("mark"), vec![0xa5; 3 * cursor::SLOT]).unwrap();
    let (after, _copy) = killed(dir.path());
    assert_eq!(numbers(&drain(&after).await), (0..256).collect::<Vec<_>>());
    assert_eq!(after.counters().dropped, Dropped::default());
}

#[tokio::test]
async fn a_mark_that_is_older_than_the_log_says_nothing() {
    let dir = quick_dir();
    let queue = quiet(dir.path()).await;
    mark(&queue, 0..10).await;
    (10..15).for_each(|seq| queue.acknowledge(Seq(seq)));
    append(&queue, 256..512).await;
    committed(&queue, 512).await;
    let (after, _copy) = killed(dir.path());
    assert_eq!(numbers(&drain(&after).await), (15..512).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_mark_that_cannot_be_written_holds_nobody_up() {
    let dir = quick_dir();
    std::os::unix::fs::symlink("/dev/full", dir.path().join("mark")).unwrap();
    let queue = quiet(dir.path()).await;
    mark(&queue, 0..100).await;
    assert_eq!(queue.counters().marks, 0);
    queue.close().await.unwrap();
    assert_eq!(Queue::open(settings(dir.path())).unwrap().counters().acknowledged, 100);
}

#[tokio::test]
async fn a_look_from_outside_knows_what_was_marked() {
    let dir = quick_dir();
    let queue = quiet(dir.path()).await;
    mark(&queue, 0..10).await;
    let audit = super::super::inspect::audit(dir.path()).unwrap();
    assert!(audit.holds(), "{audit:?}");
    assert_eq!((audit.overview.acknowledged, audit.overview.waiting, audit.found), (10, 246, 246));
}

#[tokio::test]
async fn without_a_file_to_mark_in_nobody_waits_for_marks() {
    let dir = quick_dir();
    fs::create_dir(dir.path().join("mark")).unwrap();
    let queue = quiet(dir.path()).await;
    (0..10).for_each(|seq| queue.acknowledge(Seq(seq)));
    assert_eq!(queue.unsaved(), 0);
    queue.close().await.unwrap();
    assert_eq!(Queue::open(settings(dir.path())).unwrap().counters().acknowledged, 10);
}
