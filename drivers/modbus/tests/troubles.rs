//! What is around the driver fails: a disk that hangs, a session that panics, a link that stays away,
//! an answer that does not come before its command's deadline.

#![expect(clippy::unwrap_used, reason = "everything here is a test")]

mod common;

use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Command as Process;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::scripted::{Reply, Scripted, device, now};
use common::{PATIENCE, driver, run, run_again, start, write};
use rustix::fs::OFlags;
use serde_json::json;
use tokio::time::{Instant, timeout};
use wharf_contract::{Action, Command, CommandError, Event, Quality};

/// A pipe in the place of a file. Whoever opens it for writing waits for a reader.
struct HangingDisk(PathBuf);

impl HangingDisk {
    fn at(path: PathBuf) -> Self {
        assert!(Process::new("mkfifo").arg(&path).status().unwrap().success());
        Self(path)
    }
}

/// Lets go whoever waits: a runtime does not end before its threads.
impl Drop for HangingDisk {
    fn drop(&mut self) {
        let at_once = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
        let _ = std::fs::OpenOptions::new().read(true).custom_flags(at_once).open(&self.0);
    }
}

#[tokio::test]
async fn a_disk_that_hangs_stops_neither_the_polling_nor_the_end_of_a_session() {
    // Register 3 is refused, and that is to be remembered.
    let slave = Scripted::start(|request| {
        let start = u16::from_be_bytes([request.pdu[1], request.pdu[2]]);
        let is_in = (start..start + u16::from(request.pdu[4])).contains(&3);
        now(if is_in { request.frame(&[0x83, 2]) } else { request.answer() })
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let holes = folder.path().join("bus.holes");
    let disk = HangingDisk::at(folder.path().join("bus.holes.new"));
    let points = json!({ "a": { "holding": 0 }, "wrong": { "holding": 3 }, "b": { "holding": 5 } });
    let link = slave.link("20ms", json!({ "tank": { "unit": 1, "points": points } }));
    let mut driver = run(driver(&link).remembering(holes));
    while driver.reading("tank", "wrong").await.quality != Quality::Bad {}
    // By now the hole is known, and is being kept.
    for _ in 0..10 {
        driver.value("tank", "a").await;
        driver.value("tank", "b").await;
    }
    driver.stop().await;
    let pipe = disk.0.clone();
    let reader = tokio::task::spawn_blocking(move || std::fs::read(pipe));
    let text = timeout(PATIENCE, reader).await.expect("the write was under way").unwrap().unwrap();
    assert!(String::from_utf8(text).unwrap().contains("tank "));
}

/// The timeout of the device in the tests of deadlines.
const TIMEOUT: Duration = Duration::from_secs(1);
/// What a busy machine may add. Asking as often as the device may be asked takes longer than all of it.
const SLACK: Duration = Duration::from_millis(2500);

/// Sends commands for several points at once to a device that obeys every write and never says what it
/// holds. Each is answered no later than one timeout after its deadline, and this is how.
async fn answers_of_a_device_that_is_not_read(
    actions: &[(&str, Action)],
    deadline: Duration,
    is_known: bool,
) -> Vec<CommandError> {
    let slave = Scripted::start(|request| match request.pdu[0] {
        3 => Reply::Silence,
        _ => now(request.answer()),
    })
    .await;
    let point = |address: u16| json!({ "holding": address, "every": "1h", "write": {} });
    let points = json!({ "a": point(0), "b": point(1), "c": point(2) });
    let mut link = slave.link("1h", json!({ "tank": { "unit": 1, "points": points } }));
    link["timeout"] = json!("1s");
    link["retries"] = json!(5);
    let mut driver = start(&link);
    if is_known {
        // The first read of the points was in vain, as often as it was tried.
        driver.device("tank").await;
    }
    let deadline = Instant::now() + deadline;
    let answers: Vec<_> = actions
        .iter()
        .enumerate()
        .map(|(index, (point, action))| {
            let (mut command, answer) = Command::new("tank".into(), (*point).into(), action.clone(), deadline);
            command.more_follow = index + 1 < actions.len();
            driver.end.commands.try_send(command).expect("room for one more");
            answer
        })
        .collect();
    let mut outcomes = Vec::new();
    for answer in answers {
        outcomes.push(timeout(PATIENCE, answer.wait()).await.expect("an answer").expect_err("no value is known"));
        assert!(Instant::now() < deadline + TIMEOUT + SLACK, "{:?} after the deadline", deadline.elapsed());
    }
    driver.stop().await;
    outcomes
}

#[tokio::test]
async fn a_command_during_a_read_that_nobody_answers_is_answered_within_one_timeout_of_its_deadline() {
    let read = [("a", Action::Read)];
    let outcomes = answers_of_a_device_that_is_not_read(&read, Duration::from_millis(1500), false).await;
    assert!(matches!(&outcomes[..], [CommandError::NoAnswer(_)]), "{outcomes:?}");
}

#[tokio::test]
async fn writes_that_cannot_be_read_back_are_answered_within_one_timeout_of_their_deadline() {
    let writes = ["a", "b", "c"].map(|point| (point, write(7, true)));
    let outcomes = answers_of_a_device_that_is_not_read(&writes, Duration::from_millis(1500), true).await;
    for outcome in outcomes {
        assert!(outcome.to_string().contains("written, but"), "{outcome}");
    }
}

#[tokio::test]
async fn after_a_session_that_died_and_a_link_that_does_not_come_back_no_device_stays_online() {
    let slave = Scripted::start(|request| now(request.answer())).await;
    let broadcast = json!({ "unit": 0, "broadcast": true, "points": { "limit": { "holding": 5, "write": {} } } });
    let devices = json!({ "tank": device(1), "well": device(2), "all": broadcast });
    let driver = Arc::new(driver(&slave.link("20ms", devices)));
    let mut first = run_again(Arc::clone(&driver));
    first.value("tank", "level").await;
    first.value("well", "level").await;
    // As by a panic: nothing more is said.
    first.task.abort();
    assert!((&mut first.task).await.unwrap_err().is_cancelled());
    slave.listening.abort();
    let _ = slave.listening.await;

    let mut second = run_again(Arc::clone(&driver));
    let mut told = std::collections::HashMap::new();
    let end = timeout(PATIENCE, async {
        while let Some(told_of) = second.events.recv().await {
            match told_of.event {
                Event::Device { device, alive, .. } => drop(told.insert(device.to_string(), alive)),
                Event::Reading(reading) => assert_eq!(reading.quality, Quality::Bad, "{reading:?}"),
                other => panic!("{other:?}"),
            }
        }
    });
    end.await.expect("the session ends");
    assert_eq!(told, [("tank", false), ("well", false)].map(|(name, alive)| (name.to_owned(), alive)).into());
}

#[tokio::test]
async fn while_a_link_is_down_each_point_is_told_bad_once_however_often_it_is_tried() {
    let (slave, gone) = Scripted::start_with_switch().await;
    let driver = Arc::new(driver(&slave.link("20ms", json!({ "tank": device(1) }))));
    let mut session = run_again(Arc::clone(&driver));
    session.value("tank", "level").await;
    slave.listening.abort();
    gone.store(true, Ordering::SeqCst);
    let mut bad = 0;
    for _ in 0..4 {
        let rest = async {
            while let Some(told) = session.events.recv().await {
                bad += usize::from(matches!(told.event, Event::Reading(reading) if reading.quality == Quality::Bad));
            }
        };
        timeout(PATIENCE, rest).await.expect("the session ends");
        session = run_again(Arc::clone(&driver));
    }
    assert_eq!(bad, 1);
}
