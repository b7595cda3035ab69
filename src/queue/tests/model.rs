//! The queue against a `VecDeque`: the same operations, the same records, the same counts.
//!
//! The model keeps every number that waits. What the queue tells as lost is taken out of it, and
//! has to be there; what it does not tell has to stay. After each step the counts must agree, and
//! after each restart all that waits is read and compared.

use std::collections::VecDeque;

use super::damage::flip;
use super::*;

/// Cases of each kind of bound, and steps of each case: tens of thousands of steps in all.
const CASES: u64 = 60;
const STEPS: usize = 90;

struct Pair {
    dir: TempDir,
    settings: Settings,
    queue: Queue,
    /// Every number that waits, and the number its body was made of, if it has one.
    waiting: VecDeque<(u64, Option<u64>)>,
    captured: u64,
    acknowledged: u64,
    dropped: Dropped,
    random: fastrand::Rng,
}

impl Pair {
    fn new(when_full: WhenFull, max_size: u64, seed: u64) -> Self {
        let dir = quick_dir();
        let settings = Settings { when_full, max_size, commit_interval: Duration::ZERO, ..settings(dir.path()) };
        Self {
            queue: Queue::open(settings.clone()).unwrap(),
            dir,
            settings,
            waiting: VecDeque::new(),
            captured: 0,
            acknowledged: 0,
            dropped: Dropped::default(),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// One step. Everything is given time to reach the disk, and then compared.
    async fn step(&mut self) {
        let now = SystemTime::now();
        match self.random.u32(0..100) {
            0..40 => self.append().await,
            40..50 => self.acknowledge_the_oldest().await,
            50..65 => self.acknowledge_some().await,
            65..72 => self.read_somewhere().await,
            72..77 => {
                if let Some((seq, _)) = self.any() {
                    self.queue.discard(Seq(seq), now, LossReason::Refused);
                }
            }
            77..80 => self.never_stored(1, None).await,
            80..84 => {
                let count = 1 + self.random.u64(0..40);
                self.never_stored(count, Some(LossReason::Blocked)).await;
            }
            84 => assert_eq!(self.queue.purge(), self.waiting.len() as u64),
            85..94 => self.reopen().await,
            94..97 => self.crash().await,
            _ => self.damage().await,
        }
        self.compare();
    }

    fn any(&mut self) -> Option<(u64, Option<u64>)> {
        (!self.waiting.is_empty()).then(|| self.waiting[self.random.usize(0..self.waiting.len())])
    }

    /// Appends some. A queue that blocks is given up on at once.
    async fn append(&mut self) {
        for _ in 0..1 + self.random.u64(0..120) {
            let n = self.captured;
            self.queue.offer(body(n), std::future::ready(())).await.unwrap();
            self.waiting.push_back((n, Some(n)));
            self.captured += 1;
        }
        self.settle().await;
    }

    async fn never_stored(&mut self, count: u64, reason: Option<LossReason>) {
        match reason {
            Some(reason) => self.queue.count_lost(count, reason, SystemTime::now(), SystemTime::now()),
            None => self.queue.append(vec![0; 1 + MIN_SEGMENT as usize].into()).await.unwrap(),
        }
        for _ in 0..count {
            self.waiting.push_back((self.captured, None));
            self.captured += 1;
        }
    }

    async fn acknowledge_the_oldest(&mut self) {
        let most = 1 + self.random.usize(0..150);
        let end = self.queue.end();
        for record in self.queue.read(Seq::FIRST, end, most, 1 << 20).await.unwrap() {
            self.queue.acknowledge(record.seq);
        }
        let end = self.queue.oldest_unacknowledged().get();
        while self.waiting.front().is_some_and(|(seq, _)| *seq < end) {
            self.waiting.pop_front();
            self.acknowledged += 1;
        }
    }

    async fn acknowledge_some(&mut self) {
        if self.random.bool() {
            self.queue.mark().await;
        }
        for _ in 0..self.random.usize(0..60) {
            let Some((seq, _)) = self.any() else { return };
            let run = self.random.u64(1..20);
            for seq in seq..seq + run {
                if seq >= self.queue.end().get() {
                    break;
                }
                self.queue.acknowledge(Seq(seq));
                self.queue.acknowledge(Seq(seq));
                let before = self.waiting.len();
                self.waiting.retain(|(waiting, _)| *waiting != seq);
                self.acknowledged += (before - self.waiting.len()) as u64;
            }
        }
    }

    async fn read_somewhere(&mut self) {
        let (from, until) = (self.random.u64(0..self.captured + 1), self.random.u64(0..self.captured + 1));
        let until = until.min(self.queue.end().get());
        let records = self.queue.read(Seq(from), Seq(until), 50, 1 << 20).await.unwrap();
        let expected = self.waiting.iter().filter(|(seq, _)| (from..until).contains(seq));
        let expected: Vec<u64> = expected.take(records.len().max(1)).map(|(seq, _)| *seq).collect();
        assert_eq!(records.iter().map(|record| record.seq.get()).collect::<Vec<_>>(), expected);
    }

    /// Waits until all is on disk that can be, and takes what was lost out of the model.
    async fn settle(&mut self) {
        quickly(|| {
            let state = self.queue.inner.shared.lock();
            let blocked = self.settings.when_full == WhenFull::Block && state.in_hand.is_some();
            state.settled() == state.ledger.next || blocked
        })
        .await;
        self.take_losses();
    }

    fn take_losses(&mut self) {
        for loss in self.queue.fresh() {
            let before = self.waiting.len();
            let span = loss.first.get()..=loss.last.get();
            self.waiting.retain(|(seq, _)| !span.contains(seq));
            assert_eq!((before - self.waiting.len()) as u64, loss.count, "{loss:?}");
            *self.dropped.of_mut(loss.reason) += loss.count;
        }
    }

    fn compare(&mut self) {
        self.take_losses();
        let counters = self.queue.counters();
        assert_balanced(&counters);
        let expected = (self.captured, self.acknowledged, self.waiting.len() as u64, self.dropped);
        assert_eq!(lasting(&counters), expected);
    }

    /// A clean stop and a start. What a blocked queue could not store is lost with it.
    async fn reopen(&mut self) {
        self.queue.close().await.unwrap();
        self.compare();
        let before = self.queue.counters();
        self.queue = Queue::open(self.settings.clone()).unwrap();
        assert_eq!(lasting(&self.queue.counters()), lasting(&before));
        self.read_all().await;
    }

    /// Goes on with a copy of the files as they are, as if the process had been killed.
    async fn crash(&mut self) {
        self.settle().await;
        if self.queue.end().get() < self.captured {
            return;
        }
        quickly(|| self.queue.is_saved()).await;
        // A commit that was just made may still be freeing files; closing changes nothing else.
        let copy = quick_dir();
        copy_files(self.dir.path(), copy.path());
        let settings = Settings { dir: copy.path().into(), ..self.settings.clone() };
        self.queue.close().await.unwrap();
        self.compare();
        self.queue = Queue::open(settings.clone()).unwrap();
        (self.dir, self.settings) = (copy, settings);
        self.compare();
        self.read_all().await;
    }

    /// Flips one bit of one segment while the queue is closed: that costs one record at most.
    async fn damage(&mut self) {
        self.queue.close().await.unwrap();
        self.compare();
        let files = segments(self.dir.path());
        if let Some(path) = files.get(self.random.usize(0..files.len().max(1))) {
            flip(path, self.random.u64(segment::HEADER..MIN_SEGMENT), self.random.u8(0..8));
        }
        let damaged = self.dropped.damaged;
        self.queue = Queue::open(self.settings.clone()).unwrap();
        self.take_losses();
        self.read_all().await;
        assert!(self.dropped.damaged <= damaged + 1);
    }

    /// Everything that waits on disk is what the model says.
    async fn read_all(&mut self) {
        let end = self.queue.end();
        let (mut from, mut found) = (Seq::FIRST, Vec::new());
        loop {
            let records = self.queue.read(from, end, 300, 1 << 20).await.unwrap();
            let Some(last) = records.last() else { break };
            from = last.seq.next();
            found.extend(records.iter().map(|record| (record.seq.get(), number(record))));
        }
        self.take_losses();
        assert_eq!(self.waiting, found);
    }
}

async fn run(when_full: WhenFull, max_size: u64) {
    for case in 0..CASES {
        let mut pair = Pair::new(when_full, max_size, case);
        for _ in 0..STEPS {
            pair.step().await;
        }
        pair.reopen().await;
    }
}

#[tokio::test]
async fn it_behaves_like_a_plain_deque() {
    run(WhenFull::DropOldest, 64 << 20).await;
}

#[tokio::test]
async fn it_behaves_like_a_deque_that_drops_the_oldest() {
    run(WhenFull::DropOldest, 5 * MIN_SEGMENT).await;
}

#[tokio::test]
async fn it_behaves_like_a_deque_that_drops_the_newest() {
    run(WhenFull::DropNewest, 5 * MIN_SEGMENT).await;
}

#[tokio::test]
async fn it_behaves_like_a_deque_that_blocks() {
    run(WhenFull::Block, 5 * MIN_SEGMENT).await;
}
