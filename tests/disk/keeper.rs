//! A process that does nothing but note changes of a broker, and says how far it is: something to be killed.
//!
//! It is this test program itself, started again for a test that is ignored otherwise. Step `n` has message `n` wait
//! for a client, retains it under one of twenty topics, and finishes the one [`BACKLOG`] before it. So what is found
//! afterwards tells at which step it was saved, and whether all of it was saved at the same one.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use wharf::broker::store::Waiting;
use wharf::broker::store::{Change, Journal, Origin, Publication, Qos, Saved, SessionFacts, Settings, Stage, Store};

use crate::PATIENCE;

const DIR: &str = "WHARF_TEST_STORE";
const CLIENT: &str = "panel";
const TOPICS: u64 = 20;
/// How many messages wait.
pub const BACKLOG: u64 = 500;

/// Settings by which files are followed by others all the time.
pub fn small() -> Settings {
    let (commit, retry) = (Duration::from_millis(5), Duration::from_millis(20));
    Settings { commit, commit_own: commit, file_size: 64 * 1024, retry, longest_retry: retry, ..Settings::default() }
}

/// Opens a store that nothing has damaged.
pub fn open(dir: &Path) -> (Saved, Store) {
    let (saved, store) = Store::open_with(dir, small()).unwrap();
    let counters = store.counters();
    assert_eq!((counters.damaged, counters.set_aside), (0, 0), "{counters:?}");
    (saved, store)
}

/// Goes one step.
pub fn step(journal: &mut dyn Journal, n: u64) {
    let from = Origin::Client { client: "plug".into(), user: None };
    let text = format!("{n} {}", "x".repeat(n as usize % 211));
    let publication = Arc::new(Publication { from, ..Publication::new(format!("topic/{}", n % TOPICS), text) });
    if n == 0 {
        let facts = SessionFacts { client: CLIENT, user: None, expiry: u32::MAX, away_since: None };
        journal.note(Change::Session(facts));
    }
    let waiting = Waiting {
        number: n,
        publication: publication.clone(),
        qos: Qos::AtLeastOnce,
        retain: false,
        subscriptions: Vec::new(),
        stage: Stage::Waiting,
    };
    journal.note(Change::Queued { client: CLIENT, waiting: &waiting });
    journal.note(Change::Retained(&publication));
    if let Some(number) = n.checked_sub(BACKLOG) {
        journal.note(Change::Done { client: CLIENT, number });
    }
}

/// How many steps had been gone when this was saved.
///
/// # Panics
/// It was not saved as it was at any one moment.
pub fn steps(saved: &Saved) -> u64 {
    let Some(session) = saved.sessions.first() else {
        assert_eq!(saved, &Saved::default());
        return 0;
    };
    let numbers: Vec<u64> = session.waiting.iter().map(|waiting| waiting.number).collect();
    let Some(last) = numbers.last().copied() else { return 0 };
    for waiting in &session.waiting {
        let expected = format!("{} {}", waiting.number, "x".repeat(waiting.number as usize % 211));
        assert_eq!(waiting.publication.payload, expected);
    }
    let mut retained: Vec<u64> = saved.retained.iter().map(|kept| number(kept)).collect();
    retained.sort_unstable();
    // Three changes make a step, and it may have been cut off between any two of them.
    let retained_up_to = retained.last().map_or(0, |last| last + 1);
    assert!(retained_up_to == last || retained_up_to == last + 1, "{last} waits, {retained_up_to} are retained");
    assert!(retained.iter().copied().eq(retained_up_to.saturating_sub(TOPICS)..retained_up_to), "{retained:?}");
    let first = [last + 1, last].map(|end| end.saturating_sub(BACKLOG));
    assert!(first.iter().any(|first| numbers.iter().copied().eq(*first..=last)), "{numbers:?}");
    last + 1
}

fn number(publication: &Publication) -> u64 {
    let text = std::str::from_utf8(&publication.payload).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// The process; killed when dropped.
pub struct Keeper {
    child: Child,
    safe: Arc<AtomicU64>,
    began: Arc<OnceLock<u64>>,
    reader: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts one that goes on with what is in the folder.
    pub fn start(dir: &Path) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "keeper::note_until_killed", "--ignored", "--nocapture"])
            .env(DIR, dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let (safe, began): (Arc<AtomicU64>, Arc<OnceLock<u64>>) = Default::default();
        let reader = std::thread::spawn({
            let (safe, began) = (safe.clone(), began.clone());
            move || {
                for line in lines.lines().map_while(Result::ok) {
                    let steps = |word: &str| line.strip_prefix(word).and_then(|steps| steps.parse().ok());
                    if let Some(steps) = steps("began ") {
                        let _ = began.set(steps);
                    }
                    if let Some(steps) = steps("safe ") {
                        safe.store(steps, Ordering::Release);
                    }
                }
            }
        });
        Self { child, safe, began, reader: Some(reader) }
    }

    /// How many steps are safe.
    pub fn safe(&self) -> u64 {
        self.safe.load(Ordering::Acquire)
    }

    /// Waits until some of what it has done itself is safe.
    pub fn wait(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.began.get().is_none_or(|began| self.safe() <= began + BACKLOG) {
            assert!(Instant::now() < deadline, "nothing is safe");
            assert_eq!(self.child.try_wait().unwrap(), None, "it ended by itself");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills it.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.end();
    }
}

#[test]
#[ignore = "not a test: the process that other tests start and kill"]
fn note_until_killed() {
    let Ok(dir) = env::var(DIR) else { return };
    let (saved, store) = open(Path::new(&dir));
    let mut journal = store.journal();
    let mut n = steps(&saved);
    // The test runner's own words stand at the beginning of the line.
    println!("\nbegan {n}");
    // Its last step may have been cut off in the middle.
    n = n.saturating_sub(1);
    loop {
        for _ in 0..fastrand::u64(1..300) {
            step(&mut *journal, n);
            n += 1;
        }
        // Mostly it goes on while that is being written.
        if fastrand::u8(0..4) == 0 && store.settle(PATIENCE) {
            println!("safe {n}");
        }
        std::thread::sleep(Duration::from_millis(fastrand::u64(0..4)));
    }
}
