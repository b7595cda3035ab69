//! What the log says of losses, read as whoever opens it the next morning does.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use tokio::time::advance;
use tracing_subscriber::fmt::MakeWriter;

use super::*;
use crate::queue::Settings;

/// Log lines, kept.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Log {
    /// Keeps what this thread logs while the guard lives.
    fn keep(&self) -> tracing::subscriber::DefaultGuard {
        let subscriber = tracing_subscriber::fmt().with_writer(self.clone()).with_ansi(false).without_time();
        tracing::subscriber::set_default(subscriber.with_target(false).finish())
    }

    fn lines(&self) -> Vec<String> {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap().lines().map(|line| line.trim().to_owned()).collect()
    }
}

/// The number behind `key=` in a line.
fn number(line: &str, key: &str) -> u64 {
    let (_, rest) = line.split_once(&format!(" {key}=")).unwrap_or_else(|| panic!("no {key} in {line}"));
    rest.split(' ').next().unwrap().parse().unwrap()
}

fn lose(queue: &Queue, count: u64, reason: LossReason) {
    queue.count_lost(count, reason, SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH);
}

/// A queue, and its losses being told from now on until the token is used.
fn watched(dir: &std::path::Path) -> (Queue, CancellationToken, tokio::task::JoinHandle<()>) {
    let queue = Queue::open(Settings::new(dir)).unwrap();
    let (north, topics, stop) = (North::new(Vec::new(), None, None), Topics::new("gw1"), CancellationToken::new());
    let (losing, until) = (queue.clone(), stop.clone());
    let task = tokio::spawn(async move { watch_losses("central", losing, north, topics, until).await });
    (queue, stop, task)
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_thirteen_hours_is_a_page_of_log_in_which_nothing_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::default();
    let _kept = log.keep();
    let (queue, stop, task) = watched(dir.path());
    let (mut full, mut old) = (0, 0);
    for second in 0..13 * 3600 {
        if second % 5 == 0 {
            (full, old) = (full + 700, old + 11);
            lose(&queue, 700, LossReason::Full);
            lose(&queue, 11, LossReason::Age);
        }
        sleep(Duration::from_secs(1)).await;
    }
    sleep(Duration::from_secs(3600)).await;
    stop.cancel();
    task.await.unwrap();

    let lines = log.lines();
    assert!(lines.len() <= 2 * 17, "{} lines:\n{}", lines.len(), lines.join("\n"));
    for (reason, lost) in [("full", full), ("age", old)] {
        let of_this: Vec<_> = lines.iter().filter(|line| line.contains(&format!("reason=\"{reason}\""))).collect();
        let told: u64 = of_this.iter().filter(|line| line.contains("count=")).map(|line| number(line, "count")).sum();
        assert_eq!(told, lost, "{of_this:#?}");
        let first = of_this[0];
        assert!(first.starts_with("ERROR messages lost: ") && first.contains("first="), "{first}");
        assert_eq!(number(of_this[of_this.len() - 1], "total"), lost, "{of_this:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn many_losses_of_one_reason_found_at_once_are_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::default();
    let _kept = log.keep();
    let (queue, stop, task) = watched(dir.path());
    for _ in 0..50 {
        lose(&queue, 2, LossReason::Damaged);
        lose(&queue, 1, LossReason::Crash);
    }
    sleep(Duration::from_secs(1)).await;
    stop.cancel();
    task.await.unwrap();
    let lines = log.lines();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(number(&lines[0], "count") == 100 && number(&lines[0], "last") == 148, "{lines:#?}");
    assert!(lines[1].starts_with("ERROR messages lost: they were captured, and not yet on disk"), "{lines:#?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_lost_at_the_very_end_is_told_before_the_last_line_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::default();
    let _kept = log.keep();
    let (queue, stop, task) = watched(dir.path());
    lose(&queue, 1, LossReason::Blocked);
    sleep(Duration::from_secs(1)).await;
    lose(&queue, 41, LossReason::Blocked);
    stop.cancel();
    task.await.unwrap();
    let lines = log.lines();
    assert_eq!(lines.iter().map(|line| number(line, "count")).sum::<u64>(), 42, "{lines:#?}");
    assert!(lines[1].starts_with("ERROR messages lost until now: "), "{lines:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_purge_that_somebody_asked_for_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::default();
    let _kept = log.keep();
    let (queue, stop, task) = watched(dir.path());
    lose(&queue, 5, LossReason::Purged);
    advance(INTERVAL).await;
    stop.cancel();
    task.await.unwrap();
    assert_eq!(log.lines(), [""; 0]);
}
