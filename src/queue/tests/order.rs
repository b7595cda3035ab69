//! What reaches the disk before what: so that no moment is a bad one for a power cut.

use std::os::unix::fs::FileExt;

use super::super::ledger::Ledger;
use super::frame::Kind;
use super::segment::Segment;
use super::*;

#[tokio::test]
async fn no_record_is_on_disk_before_the_ledger_that_explains_the_gap_before_it() {
    let dir = quick_dir();
    let queue = Queue::open(settings(dir.path())).unwrap();
    let now = SystemTime::now();
    for n in 0..600 {
        append(&queue, n..n + 1).await;
        if n % 5 == 0 {
            queue.count_lost(1 + n % 3, LossReason::Blocked, now, now);
        }
        if n % 7 == 0 {
            quickly(|| queue.end().get() == queue.counters().captured).await;
        }
    }
    quickly(|| queue.end().get() == queue.counters().captured).await;
    let mut known = Ledger::default();
    let (mut expected, mut gaps) = (0, 0);
    for path in segments(dir.path()) {
        let first = segment::parse_name(path.file_name().unwrap().to_str().unwrap()).unwrap();
        let file = fs::File::open(&path).unwrap();
        let segment = Segment { size: file.metadata().unwrap().len(), file, first };
        for (place, found) in segment.frames(segment::HEADER..segment.size, scan::WINDOW).enumerate() {
            let frame = found.frame;
            assert!(place > 0 || frame.kind == Kind::Ledger, "each segment begins with a ledger");
            if frame.kind == Kind::Ledger {
                known = Ledger::decode(&frame.body).unwrap();
                continue;
            }
            for seq in expected..frame.seq {
                assert!(known.done.contains(seq), "{seq} is not explained before {}", frame.seq);
                gaps += 1;
            }
            expected = frame.seq + 1;
        }
    }
    assert!(gaps > 100 && expected > 700, "{gaps} {expected}");
}

#[tokio::test]
async fn when_a_segment_is_gone_both_slots_of_the_cursor_file_know_why() {
    let dir = quick_dir();
    let queue = Queue::open(settings(dir.path())).unwrap();
    append(&queue, 0..3000).await;
    committed(&queue, 3000).await;
    for round in 0..6 {
        let before = segments(dir.path()).len();
        let oldest = queue.oldest_unacknowledged().get();
        (oldest..oldest + 450).for_each(|seq| queue.acknowledge(Seq(seq)));
        // The moment a file is gone.
        quickly(|| segments(dir.path()).len() < before).await;
        let copy = quick_dir();
        copy_files(dir.path(), copy.path());
        let cursor = fs::OpenOptions::new().write(true).open(copy.path().join("cursor")).unwrap();
        cursor.write_all_at(&[0xee; 64], round % 2 * cursor::SLOT as u64 + 20).unwrap();
        let found = Queue::open(settings(copy.path())).unwrap();
        assert_eq!(found.counters().dropped, Dropped::default(), "round {round}");
        assert_eq!(found.counters().captured, 3000);
        // What was acknowledged last may not be on disk yet; what was not must be there.
        assert!(numbers(&drain(&found).await).ends_with(&(oldest + 450..3000).collect::<Vec<_>>()));
    }
}
