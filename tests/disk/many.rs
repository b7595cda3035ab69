//! Ten thousand messages that wait and five thousand that are retained: how much is written for them, and that all
//! of them are there after an end of any kind.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

use wharf::broker::store::{Change, Origin, Publication, Qos, Saved, SessionFacts, Stage, Store, Waiting};
use wharf_test_support::volume::{Volume, skipped};

use crate::PATIENCE;
use crate::keeper;

const DIR: &str = "WHARF_TEST_MANY";
const CLIENTS: u64 = 10;
const WAITING: u64 = 10_000;
const RETAINED: u64 = 5_000;
/// In how many commits they are written.
const COMMITS: u64 = 60;

#[test]
fn ten_thousand_waiting_and_five_thousand_retained_are_there_after_a_stop_and_after_a_kill() {
    for ending in [Keeping::stop, Keeping::kill] {
        let dir = tempfile::tempdir().unwrap();
        let keeping = Keeping::start(dir.path());
        ending(keeping);
        check(dir.path());
    }
}

#[test]
fn ten_thousand_waiting_and_five_thousand_retained_are_there_after_a_power_cut() {
    let volume = match Volume::ext4(64) {
        Ok(volume) => volume,
        Err(why) => return skipped("a power cut of a full broker", &why),
    };
    let dir = volume.path().join("broker");
    let keeping = Keeping::start(&dir);
    volume.switch().cut();
    keeping.kill();
    volume.remount();
    check(&dir);
}

/// Checks that everything is there, and in order.
fn check(dir: &Path) {
    let (saved, store) = keeper::open(dir);
    store.close().unwrap();
    assert_eq!(saved.retained.len() as u64, RETAINED);
    assert!(saved.retained.iter().all(|kept| kept.payload == payload(number(&kept.topic))));
    assert_eq!(saved.sessions.len() as u64, CLIENTS);
    for (client, session) in (0..).zip(&saved.sessions) {
        let found = session.waiting.iter().map(|waiting| waiting.number);
        assert!(found.eq((0..WAITING).filter(|n| n % CLIENTS == client)), "of client {client}");
        assert!(session.waiting.iter().all(|waiting| waiting.publication.payload == payload(waiting.number)));
    }
}

fn number(topic: &str) -> u64 {
    topic.rsplit('/').next().unwrap().parse().unwrap()
}

/// 100 bytes.
fn payload(n: u64) -> Vec<u8> {
    format!("{n:0>100}").into_bytes()
}

/// Notes all of it, in about as many commits as a minute has seconds.
fn fill(store: &Store) {
    let mut journal = store.journal();
    let from = Origin::Client { client: "plug-in-the-hall".into(), user: None };
    let publication =
        |topic: String, n| Arc::new(Publication { from: from.clone(), ..Publication::new(topic, payload(n)) });
    let clients: Vec<String> = (0..CLIENTS).map(|n| format!("client-{n}")).collect();
    for client in &clients {
        journal.note(Change::Session(SessionFacts { client, user: None, expiry: 3600, away_since: None }));
    }
    for n in 0..WAITING {
        let waiting = Waiting {
            number: n,
            publication: publication(format!("site/tele/{}", n % 100), n),
            qos: Qos::AtLeastOnce,
            retain: false,
            subscriptions: Vec::new(),
            stage: Stage::Waiting,
        };
        journal.note(Change::Queued { client: &clients[(n % CLIENTS) as usize], waiting: &waiting });
        if n < RETAINED {
            journal.note(Change::Retained(&publication(format!("site/state/{n}"), n)));
        }
        if (n + 1) % (WAITING / COMMITS) == 0 {
            assert!(store.settle(PATIENCE));
        }
    }
    assert!(store.settle(PATIENCE));
}

/// The process that keeps it.
struct Keeping {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Keeping {
    /// Starts it, and waits until it has everything.
    fn start(dir: &Path) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "many::keep_until_told", "--ignored", "--nocapture"])
            .env(DIR, dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("written: ") {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "it ended by itself");
        }
        print!("{line}");
        Self { child, lines }
    }

    /// Lets it close its store.
    fn stop(mut self) {
        writeln!(self.child.stdin.take().unwrap(), "stop").unwrap();
        let _ = self.lines.read_to_end(&mut Vec::new());
        assert!(self.child.wait().unwrap().success());
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
#[ignore = "not a test: the process that other tests start and end"]
fn keep_until_told() {
    let Ok(dir) = env::var(DIR) else { return };
    let (saved, store) = Store::open(Path::new(&dir), PATIENCE).unwrap();
    assert_eq!(saved, Saved::default());
    fill(&store);
    let counters = store.counters();
    println!(
        "\nwritten: {} bytes, {} in pages, {} commits, {:?} together, the longest {:?}, {} on disk, {} files",
        counters.written_bytes,
        counters.device_bytes,
        counters.commits,
        counters.commit_time,
        counters.longest_commit,
        counters.disk_bytes,
        counters.files
    );
    let _ = std::io::stdin().read_line(&mut String::new());
    store.close().unwrap();
}
