//! A process that does nothing but write a queue, and says how far it is: something to be killed.
//!
//! It is this test program itself, started again for one test that is ignored otherwise.

use std::cell::Cell;
use std::collections::VecDeque;
use std::env;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use wharf::queue::{Closed, Queue, Seq};

use crate::{PATIENCE, numbered};

const DIR: &str = "WHARF_TEST_QUEUE";
const START: &str = "WHARF_TEST_START";

/// The most messages that wait at a time: some megabytes.
const BACKLOG: usize = 20_000;

/// What the writer has said about its queue. "Below" always means: all lower numbers.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// Messages below are stored: they could be read.
    pub stored: u64,
    /// Messages below are acknowledged, or are just about to be.
    pub touched: u64,
    /// Messages below are acknowledged.
    pub acknowledged: u64,
    /// Messages below are acknowledged, and a message that was captured later has been stored.
    pub settled: u64,
    /// Of each line about acknowledgements that is not settled yet: below what, and which number
    /// was to be captured next.
    pending: VecDeque<(u64, u64)>,
}

impl Said {
    fn note(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse().ok());
        match (words.first(), number(1), number(2)) {
            (Some(&"stored"), Some(below), None) => {
                self.stored = below;
                let later = self.pending.partition_point(|(_, next)| *next < below);
                self.settled = self.pending.drain(..later).next_back().map_or(self.settled, |(below, _)| below);
            }
            (Some(&"acknowledging"), Some(below), None) => self.touched = below,
            (Some(&"acknowledged"), Some(below), Some(next)) => {
                self.acknowledged = below;
                self.pending.push_back((below, next));
            }
            // The test runner's own lines.
            _ => {}
        }
    }
}

/// The process; killed when dropped.
pub struct Writer {
    child: Child,
    said: Arc<Mutex<Said>>,
    reader: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts one that appends messages from `start` on, and goes on with what is in the queue.
    pub fn start(dir: &Path, start: u64) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "writer::write_until_killed", "--ignored", "--nocapture"])
            .env(DIR, dir)
            .env(START, start.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let said: Arc<Mutex<Said>> = Arc::default();
        let reader = std::thread::spawn({
            let said = said.clone();
            move || lines.lines().map_while(Result::ok).for_each(|line| said.lock().unwrap().note(&line))
        });
        Self { child, said, reader: Some(reader) }
    }

    /// What it has said so far.
    pub fn said(&self) -> Said {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it has stored message `number`.
    pub fn wait_stored(&mut self, number: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.said().stored <= number {
            assert!(Instant::now() < deadline, "message {number} is not stored: {:?}", self.said());
            assert_eq!(self.child.try_wait().unwrap(), None, "the writer ended by itself");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills it, and returns all it has ever said.
    pub fn kill(mut self) -> Said {
        self.end();
        self.said()
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end();
    }
}

#[test]
#[ignore = "not a test: the process that other tests start and kill"]
fn write_until_killed() {
    let (Ok(dir), Ok(start)) = (env::var(DIR), env::var(START)) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let queue = Queue::open(numbered::small(Path::new(&dir))).unwrap();
        // The test runner's own words stand at the beginning of the line.
        println!();
        let next = Cell::new(start.parse().unwrap());
        let ended = tokio::join!(append(&queue, &next), finish(&queue, &next));
        panic!("the queue closed by itself: {ended:?}");
    });
}

/// Appends in bursts. Both halves share one thread: `next` is right whenever the other half looks.
async fn append(queue: &Queue, next: &Cell<u64>) -> Result<(), Closed> {
    loop {
        for _ in 0..fastrand::usize(1..400) {
            numbered::append(queue, next.get()).await?;
            next.set(next.get() + 1);
        }
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..8))).await;
    }
}

/// Reads and acknowledges, newest of a batch first, so that what is acknowledged has holes; some
/// thousand messages or none are left waiting.
async fn finish(queue: &Queue, next: &Cell<u64>) -> Result<(), Closed> {
    let mut waiting: VecDeque<(Seq, u64)> = VecDeque::new();
    let mut from = Seq::FIRST;
    let mut backlog = 0;
    loop {
        for record in numbered::read(queue, from).await? {
            from = record.seq.next();
            waiting.push_back((record.seq, numbered::number(&record).expect("a message is not what was appended")));
        }
        let newest = waiting.back().map_or(0, |(_, number)| number + 1);
        println!("stored {newest}");
        if fastrand::u8(..) < 8 {
            backlog = fastrand::usize(0..BACKLOG);
        }
        let ready: Vec<(Seq, u64)> = waiting.drain(..waiting.len().saturating_sub(backlog)).collect();
        let Some((_, last)) = ready.last() else { continue };
        println!("acknowledging {}", last + 1);
        for (seq, _) in ready.iter().rev() {
            queue.acknowledge(*seq);
        }
        println!("acknowledged {} {}", last + 1, next.get());
        if fastrand::bool() {
            queue.mark().await;
        }
    }
}
