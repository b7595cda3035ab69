//! A thousand damaged queues: flipped bits, zeroed pages and cut files, at random places.
//!
//! A few queues with a history are made once, closed or caught in the middle of their work, and
//! copied for each case. From the intact files it is known which records each bit belongs to, so
//! it can be said what damage may cost: no record that was not hit, and none without being counted.

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;

use super::frame::Kind;
use super::segment::{HEADER, Segment};
use super::*;

const CASES: u64 = 1000;

/// A queue on disk, and what is known about it.
struct Template {
    dir: TempDir,
    /// Whether it was closed, so that its ledger knows of every record.
    closed: bool,
    counters: Counters,
    /// What waits.
    waiting: BTreeSet<u64>,
    /// One above the highest number given.
    next: u64,
}

/// What a case has damaged.
#[derive(Default)]
struct Hit {
    records: BTreeSet<u64>,
    /// Ledgers in the log, or slots of the cursor file.
    ledgers: u32,
    slots: BTreeSet<u64>,
}

impl Template {
    async fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let dir = quick_dir();
        let queue = Queue::open(case_settings(dir.path())).unwrap();
        let mut waiting = BTreeSet::new();
        let closed = seed.is_multiple_of(2);
        for _ in 0..random.u64(3..30) {
            for _ in 0..random.u64(1..120) {
                let n = queue.counters().captured;
                queue.append(body(n)).await.unwrap();
                waiting.insert(n);
            }
            if random.u8(0..4) == 0 {
                queue.count_lost(random.u64(1..9), LossReason::Blocked, SystemTime::now(), SystemTime::now());
            }
            quickly(|| queue.end().get() == queue.counters().captured).await;
            let oldest: Vec<u64> = waiting.iter().copied().take(random.usize(0..100)).collect();
            let some: Vec<u64> = waiting.iter().copied().filter(|_| random.u8(0..10) == 0).collect();
            for seq in if random.bool() { oldest } else { some } {
                queue.acknowledge(Seq(seq));
                waiting.remove(&seq);
            }
            if random.bool() {
                queue.mark().await;
            }
        }
        quickly(|| queue.is_saved()).await;
        let copy = quick_dir();
        if !closed {
            copy_files(dir.path(), copy.path());
        }
        queue.close().await.unwrap();
        if closed {
            copy_files(dir.path(), copy.path());
        }
        let counters = queue.counters();
        Self { dir: copy, closed, next: counters.captured, counters, waiting }
    }

    /// Which records and ledgers lie in these bytes of a file.
    fn hit(&self, path: &Path, bytes: std::ops::Range<u64>, hit: &mut Hit) {
        let touches = |place: std::ops::Range<u64>| place.start < bytes.end && bytes.start < place.end;
        let Some(first) = segment::parse_name(path.file_name().unwrap().to_str().unwrap()) else {
            if path.ends_with("mark") {
                // Something newer knows all that it knows.
                return;
            }
            let slot = cursor::SLOT as u64;
            // What lies behind a ledger in its slot means nothing, but that is for the queue to know.
            hit.slots.extend((0..2).filter(|n| touches(n * slot..(n + 1) * slot)));
            return;
        };
        let file = fs::File::open(self.dir.path().join(path.file_name().unwrap())).unwrap();
        let segment = Segment { size: file.metadata().unwrap().len(), file, first };
        for found in segment.frames(HEADER..segment.size, scan::WINDOW) {
            let length = (frame::HEADER + found.frame.body.len()) as u64;
            if touches(found.offset..found.offset + length) {
                match found.frame.kind {
                    Kind::Record => drop(hit.records.insert(found.frame.seq)),
                    Kind::Ledger => hit.ledgers += 1,
                }
            }
        }
    }

    /// Damages a copy, and opens what is left of it.
    async fn case(&self, random: &mut fastrand::Rng) {
        let dir = quick_dir();
        copy_files(self.dir.path(), dir.path());
        let mut hit = Hit::default();
        for _ in 0..random.u32(1..6) {
            self.damage(dir.path(), random, &mut hit);
        }
        let queue = Queue::open(case_settings(dir.path())).unwrap();
        let found = self.read_all(&queue).await;
        self.judge(&queue, &found, &hit);

        // What is gone stays gone, and is not counted again.
        let queue = reopen(queue, case_settings(dir.path())).await;
        assert_eq!(self.read_all(&queue).await, found);
        let end = queue.end();
        assert!(end.get() >= found.last().map_or(0, |last| last + 1));
        queue.append(body(1)).await.unwrap();
        let new = tokio::time::timeout(PATIENCE, queue.read(end, Seq::END, 1, 1000)).await.unwrap().unwrap();
        assert_eq!((new[0].seq, number(&new[0])), (end, Some(1)));
        reopen(queue, case_settings(dir.path())).await;
    }

    fn damage(&self, dir: &Path, random: &mut fastrand::Rng, hit: &mut Hit) {
        let mut files = segments(dir);
        files.extend(["cursor", "mark"].map(|name| dir.join(name)));
        let path = &files[random.usize(0..files.len())];
        let size = path.metadata().unwrap().len();
        if size == 0 {
            return;
        }
        let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
        // Most of a slot is empty; the ledger is at its beginning.
        let has_slots = path.extension().is_none();
        let at = match has_slots && size > cursor::SLOT as u64 + 400 && random.u8(0..4) > 0 {
            true => random.u64(0..2) * cursor::SLOT as u64 + random.u64(0..400),
            false => random.u64(0..size),
        };
        match random.u8(0..10) {
            0 => {
                file.set_len(at).unwrap();
                self.hit(path, at..u64::MAX, hit);
            }
            1 => {
                let page = at / 4096 * 4096;
                file.write_all_at(&[0; 4096], page).unwrap();
                self.hit(path, page..page + 4096, hit);
            }
            _ => {
                let mut byte = [0];
                file.read_exact_at(&mut byte, at).unwrap();
                file.write_all_at(&[byte[0] ^ 1 << random.u8(0..8)], at).unwrap();
                self.hit(path, at..at + 1, hit);
            }
        }
    }

    /// The numbers of all that waits; every body must be whole.
    async fn read_all(&self, queue: &Queue) -> BTreeSet<u64> {
        let (mut from, mut found) = (Seq::FIRST, BTreeSet::new());
        loop {
            let records = queue.read(from, queue.end(), 300, 1 << 20).await.unwrap();
            let Some(last) = records.last() else { return found };
            from = last.seq.next();
            for record in &records {
                assert_eq!(number(record), Some(record.seq.get()).filter(|n| *n < self.next).or(Some(1)));
                found.insert(record.seq.get());
            }
        }
    }

    fn judge(&self, queue: &Queue, found: &BTreeSet<u64>, hit: &Hit) {
        let counters = queue.counters();
        assert_balanced(&counters);
        assert_eq!(counters.queued, found.len() as u64);
        let missing: BTreeSet<u64> = self.waiting.difference(found).copied().collect();
        let unharmed: Vec<_> = missing.difference(&hit.records).collect();
        assert!(unharmed.is_empty(), "records are gone that were not hit: {unharmed:?}");
        let again: Vec<_> = found.difference(&self.waiting).collect();
        // What was at the very end and went bad looks as if a crash had caught it in memory, if a
        // ledger knows its number.
        let damaged = counters.dropped.damaged + counters.dropped.crash;
        let told: u64 = queue.fresh().iter().map(|loss| loss.count).sum();
        assert_eq!(told, damaged);
        if hit.slots.len() < 2 && self.closed {
            // One good slot knows everything.
            assert_eq!(again.len(), 0);
            assert_eq!((damaged, counters.dropped.crash), (missing.len() as u64, 0));
            assert_eq!(counters.acknowledged, self.counters.acknowledged);
            assert_eq!((counters.captured, counters.dropped.blocked), (self.next, self.counters.dropped.blocked));
        } else if hit.slots.is_empty() && hit.ledgers == 0 {
            // Nothing was forgotten; but records at the very end, which no ledger and no later
            // record vouches for, cannot be told from those that were never written.
            assert_eq!(again.len(), 0);
            assert!(damaged <= missing.len() as u64);
            assert!(missing.range(..found.last().copied().unwrap_or(0)).count() as u64 <= damaged);
        } else {
            // Some of what was acknowledged or dropped may be forgotten: it is sent again, or found
            // missing where it never was stored. Never more is counted than was given.
            assert!(counters.captured <= self.next);
            assert!(damaged <= hit.records.len() as u64 + self.counters.dropped.blocked);
        }
    }
}

fn case_settings(dir: &Path) -> Settings {
    Settings { commit_interval: Duration::ZERO, ..settings(dir) }
}

#[tokio::test]
async fn a_thousand_damaged_queues_start_and_count_what_they_lost() {
    let mut templates = Vec::new();
    for seed in 0..16 {
        templates.push(Template::new(seed).await);
    }
    for seed in 0..CASES {
        let mut random = fastrand::Rng::with_seed(seed);
        let template = &templates[random.usize(0..templates.len())];
        // Named, so that a case that fails can be found again.
        let case = std::panic::AssertUnwindSafe(template.case(&mut random));
        if let Err(panic) = futures_util::FutureExt::catch_unwind(case).await {
            eprintln!("case {seed} failed");
            std::panic::resume_unwind(panic);
        }
    }
}
