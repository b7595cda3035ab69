//! Looking at the files from outside, while the writer is at work.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::super::inspect::{self, Audit, Kept};
use super::*;

fn kept(dir: &Path, from: u64, most: u64, finished: bool) -> Vec<Kept> {
    let mut all = Vec::new();
    inspect::walk(dir, from, most, finished, |kept| {
        all.push(kept);
        true
    })
    .unwrap();
    all
}

fn assert_same_counts(audit: &Audit, counters: &Counters) {
    let overview = &audit.overview;
    assert_eq!(
        (overview.captured, overview.acknowledged, overview.waiting, overview.dropped),
        (counters.captured, counters.acknowledged, counters.queued, counters.dropped),
    );
}

#[tokio::test]
async fn the_files_say_what_the_queue_says() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(settings(dir.path())).unwrap();
    append(&queue, 0..2_000).await;
    committed(&queue, 2_000).await;
    let records = drain(&queue).await;
    for record in records.iter().filter(|record| record.seq.get() < 500 || record.seq.get().is_multiple_of(7)) {
        queue.acknowledge(record.seq);
    }
    let open = records[501].seq;
    queue.discard(open, records[501].captured_at, LossReason::Refused);
    queue.close().await.unwrap();

    let audit = inspect::audit(dir.path()).unwrap();
    assert!(audit.holds(), "{audit:?}");
    assert_same_counts(&audit, &queue.counters());
    assert_eq!(audit.found, audit.overview.waiting);
    let waiting: Vec<u64> = kept(dir.path(), 0, u64::MAX, false).iter().map(|kept| kept.record.seq.get()).collect();
    assert_eq!(waiting.len() as u64, audit.overview.waiting);
    assert!(waiting.is_sorted() && waiting.iter().all(|seq| *seq >= 500 && *seq != open.get()), "{waiting:?}");
    assert_eq!(audit.overview.oldest.unwrap().0.get(), waiting[0]);
    assert_eq!(
        kept(dir.path(), waiting[3], 2, false).iter().map(|kept| kept.record.seq.get()).collect::<Vec<_>>(),
        waiting[3..5]
    );
    assert!(kept(dir.path(), 0, u64::MAX, true).len() > waiting.len());
}

#[test]
fn a_queue_that_was_never_made_is_empty_and_stays_so() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = dir.path().join("nowhere");
    let audit = inspect::audit(&nowhere).unwrap();
    assert!(audit.holds() && audit == Audit::default(), "{audit:?}");
    assert!(kept(&nowhere, 0, 10, true).is_empty());
    assert!(!nowhere.exists());
}

#[tokio::test]
async fn what_is_destroyed_is_named_and_nothing_else() {
    let dir = filled(1_000).await;
    let file = &segments(dir.path())[1];
    let mut bytes = fs::read(file).unwrap();
    let at = bytes.windows(14).position(|window| window == &body(500)[..14]).unwrap();
    bytes[at + 3] ^= 1;
    fs::write(file, bytes).unwrap();
    let audit = inspect::audit(dir.path()).unwrap();
    assert!(!audit.holds());
    assert_eq!((audit.missing.len(), &audit.missing[0], audit.missing_count, audit.found), (1, &(500..501), 1, 999));
    let damage = &audit.damaged[0];
    assert!(damage.bytes.contains(&(at as u64)) && file.ends_with(&damage.file), "{damage:?}");

    fs::remove_file(&segments(dir.path())[0]).unwrap();
    let audit = inspect::audit(dir.path()).unwrap();
    let first = audit.missing[0].end;
    assert_eq!(audit.missing, [0..first, 500..501]);
    assert_eq!(audit.found + audit.missing_count, 1_000);
}

#[tokio::test]
async fn without_a_cursor_file_it_says_what_the_queue_would_make_of_it() {
    let dir = filled(2_000).await;
    let queue = Queue::open(settings(dir.path())).unwrap();
    // Segments at the front and in the middle are finished and go; the ledger that knows goes too.
    for record in drain(&queue).await.iter().filter(|record| record.seq.get() % 1_200 < 800) {
        queue.acknowledge(record.seq);
    }
    queue.close().await.unwrap();
    fs::remove_file(dir.path().join("cursor")).unwrap();
    let audit = inspect::audit(dir.path()).unwrap();
    assert!(audit.holds() && audit.damaged_count == 0, "{audit:?}");

    let queue = Queue::open(settings(dir.path())).unwrap();
    assert_same_counts(&audit, &queue.counters());
    queue.close().await.unwrap();
}

#[test]
fn while_segments_come_and_go_an_audit_raises_no_false_alarm() {
    const ENOUGH: u64 = 40_000;
    let dir = tempfile::tempdir().unwrap();
    let (appended, watched) = (AtomicU64::new(0), AtomicBool::new(true));
    thread::scope(|scope| {
        let auditor = scope.spawn(|| {
            // Whatever ends this thread, the other one ends with it.
            let _over = Over(&watched);
            let mut audits = 0;
            while audits < 30 || appended.load(Ordering::SeqCst) < ENOUGH {
                let audit = inspect::audit(dir.path()).unwrap();
                assert!(audit.holds() && audit.damaged_count == 0, "{audit:?}");
                let seen = audit.found + audit.finished_since + audit.overview.unstored;
                assert_eq!(seen, audit.overview.waiting, "{audit:?}");
                let mut last = None;
                for kept in kept(dir.path(), 0, 3_000, false) {
                    let seq = kept.record.seq.get();
                    assert!(last < Some(seq) && number(&kept.record).is_some());
                    last = Some(seq);
                }
                audits += 1;
            }
            audits
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let counters = runtime.block_on(async {
            // So small that full segments are evicted as well as freed.
            let queue = Queue::open(Settings { max_size: 512 << 10, ..settings(dir.path()) }).unwrap();
            while watched.load(Ordering::SeqCst) {
                append(&queue, 0..700).await;
                let rounds = appended.fetch_add(700, Ordering::SeqCst) / 700;
                // Numbers that never reach the disk, in between those that do.
                let now = SystemTime::now();
                queue.count_lost(5, LossReason::Blocked, now, now);
                queue.append(vec![0; MAX_BODY + 1].into()).await.unwrap();
                if rounds % 17 == 0 {
                    queue.purge();
                    continue;
                }
                // Most are acknowledged, out of order; at times none, until the queue is full.
                let records = queue.read(queue.oldest_unacknowledged(), Seq::END, 650, 1 << 20).await.unwrap();
                if rounds % 20 < 10 {
                    records.iter().rev().for_each(|record| queue.acknowledge(record.seq));
                }
            }
            queue.close().await.unwrap();
            queue.counters()
        });
        let audits = auditor.join().unwrap();
        assert!(counters.dropped.full > 0 && counters.acknowledged > 0, "{audits} audits of {counters:?}");
    });
    assert!(inspect::audit(dir.path()).unwrap().holds());
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}
