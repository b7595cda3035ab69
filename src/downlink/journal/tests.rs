//! The journal through answers, restarts, crashes and damage.

use std::fs;
use std::sync::Arc;

use super::super::Source;
use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn open(dir: &Path) -> Journal {
    Journal::open(dir, HOUR).unwrap()
}

fn reply(id: u32) -> ReplyTo {
    ReplyTo {
        topic: "gw1-sys/answer/tank/valve".into(),
        source: Source::Uplink(Arc::from("central")),
        response_topic: None,
        correlation: None,
        id: Some(id.into()),
        requested: Some(1.into()),
        echo: None,
    }
}

/// Puts a write down, and makes that safe.
async fn begin(journal: &Journal, key: &str) {
    assert_eq!(journal.look(key, &json!(1), &reply(1)), None);
    journal.begin(key, &json!(1), Duration::ZERO);
    journal.sync().await.unwrap();
}

fn look(journal: &Journal, key: &str) -> Option<Known> {
    journal.look(key, &json!(1), &reply(2))
}

#[tokio::test]
async fn a_second_asker_waits_for_the_first_ones_answer_and_later_ones_get_it_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    begin(&journal, "tank/valve 1").await;
    assert_eq!(look(&journal, "tank/valve 1"), Some(Known::UnderWay));
    assert_eq!(journal.look("tank/valve 1", &json!(2), &reply(2)), Some(Known::Other));
    let answer = Outcome::error(&reply(1), "refused: no");
    let waiting = journal.end("tank/valve 1", Some(&answer)).await;
    assert_eq!(waiting.len(), 1);
    assert_eq!(look(&journal, "tank/valve 1"), Some(Known::Answered(answer.clone())));
    // So it is after a restart.
    drop(journal);
    assert_eq!(look(&open(dir.path()), "tank/valve 1"), Some(Known::Answered(answer)));
}

#[tokio::test]
async fn what_was_begun_before_a_crash_is_neither_executed_again_nor_answered_falsely() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    begin(&journal, "tank/valve 1").await;
    drop(journal);
    for _ in 0..2 {
        let journal = open(dir.path());
        assert_eq!(look(&journal, "tank/valve 1"), Some(Known::Unknown));
        assert_eq!(look(&journal, "tank/valve 2"), None);
    }
}

#[tokio::test]
async fn what_cannot_have_reached_its_device_may_be_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    begin(&journal, "tank/valve 1").await;
    journal.end("tank/valve 1", None).await;
    assert_eq!(look(&journal, "tank/valve 1"), None);
    drop(journal);
    assert_eq!(look(&open(dir.path()), "tank/valve 1"), None);
}

#[tokio::test]
async fn what_is_remembered_is_bounded_by_count_and_size_and_what_is_under_way_stays() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    journal.begin("slow 0", &json!(1), Duration::ZERO);
    for number in 0..MOST + 10 {
        let key = format!("tank/valve {number}");
        journal.begin(&key, &json!(1), Duration::ZERO);
        journal.note_end(&key, Some(&Outcome::error(&reply(1), "x")));
    }
    journal.sync().await.unwrap();
    assert_eq!(journal.entries().by_key.len(), MOST);
    assert_eq!(journal.entries().order.len(), MOST);
    assert_eq!(look(&journal, "slow 0"), Some(Known::UnderWay));
    assert_eq!(look(&journal, "tank/valve 0"), None);
    assert!(look(&journal, "tank/valve 2000").is_some());
    for number in 0..1000 {
        let key = format!("long {number}");
        journal.begin(&key, &json!("x".repeat(4000)), Duration::ZERO);
        journal.note_end(&key, Some(&Outcome::error(&reply(1), "x")));
    }
    assert!(journal.entries().bytes <= MOST_BYTES + 8192, "{}", journal.entries().bytes);
    // What it counts is what there is.
    let entries = journal.entries();
    let counted: usize = entries.by_key.iter().map(|(key, entry)| entry.size(key)).sum();
    assert_eq!(entries.bytes, counted);
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_days_is_remembered_until_after_and_keeps_nothing_else_from_being_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    journal.begin("soil/valve 1", &json!(1), 24 * HOUR);
    journal.begin("tank/valve 1", &json!(1), Duration::ZERO);
    journal.sync().await.unwrap();
    let answer = Outcome::error(&reply(1), "x");
    journal.end("tank/valve 1", Some(&answer)).await;
    tokio::time::advance(2 * HOUR).await;
    assert_eq!(look(&journal, "tank/valve 1"), None);
    assert_eq!(look(&journal, "soil/valve 1"), Some(Known::UnderWay));
    assert_eq!(journal.entries().by_key.len(), 1);
    journal.end("soil/valve 1", Some(&answer)).await;
    tokio::time::advance(22 * HOUR).await;
    assert_eq!(look(&journal, "soil/valve 1"), Some(Known::Answered(answer)));
    tokio::time::advance(2 * HOUR).await;
    assert_eq!(look(&journal, "soil/valve 1"), None);
}

#[tokio::test]
async fn the_file_does_not_grow_without_end() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    for number in 0..300 {
        let key = format!("tank/valve {}", number % 5);
        journal.begin(&key, &json!("x".repeat(4000)), Duration::ZERO);
        journal.end(&key, None).await;
        for other in 0..4 {
            let key = format!("other {number} {other}");
            journal.begin(&key, &json!("x".repeat(4000)), Duration::ZERO);
        }
        for other in 0..4 {
            journal.end(&format!("other {number} {other}"), None).await;
        }
    }
    let length = fs::metadata(dir.path().join("commands")).unwrap().len();
    assert!(length < 3 << 20, "{length}");
    drop(journal);
    assert_eq!(open(dir.path()).entries().by_key.len(), 0);
}

#[tokio::test]
async fn an_id_is_forgotten_when_its_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), Duration::from_millis(300)).unwrap();
    begin(&journal, "tank/valve 1").await;
    journal.end("tank/valve 1", Some(&Outcome::error(&reply(1), "x"))).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(look(&journal, "tank/valve 1"), None);
    drop(journal);
    let journal = Journal::open(dir.path(), Duration::from_millis(300)).unwrap();
    assert_eq!(look(&journal, "tank/valve 1"), None);
}

#[tokio::test]
async fn a_cut_or_damaged_line_costs_its_own_record_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("commands");
    let journal = open(dir.path());
    for id in 1..=3 {
        begin(&journal, &format!("tank/valve {id}")).await;
    }
    drop(journal);
    let whole = fs::read(&path).unwrap();
    let second = whole.iter().position(|byte| *byte == b'\n').unwrap() + 20;
    for cut in 0..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let journal = open(dir.path());
        let known = (1..=3).filter(|id| look(&journal, &format!("tank/valve {id}")).is_some()).count();
        assert_eq!(known, whole[..cut].iter().filter(|byte| **byte == b'\n').count(), "cut at {cut}");
    }
    let mut damaged = whole;
    damaged[second] ^= 1;
    fs::write(&path, &damaged).unwrap();
    let journal = open(dir.path());
    let known = [1, 2, 3].map(|id| look(&journal, &format!("tank/valve {id}")).is_some());
    assert_eq!(known, [true, false, true]);
}

#[tokio::test]
async fn what_could_not_be_written_is_made_up_for_or_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    begin(&journal, "tank/valve 1").await;
    // A folder in the way of the fresh file, and a file that takes nothing more.
    fs::create_dir(dir.path().join("commands.new")).unwrap();
    journal.log().take_nothing_more();
    journal.begin("tank/valve 2", &json!(1), Duration::ZERO);
    assert!(journal.sync().await.is_err());
    journal.take_back("tank/valve 2");
    journal.end("tank/valve 1", Some(&Outcome::error(&reply(1), "x"))).await;
    // Now there is room again.
    fs::remove_dir(dir.path().join("commands.new")).unwrap();
    begin(&journal, "tank/valve 3").await;
    drop(journal);
    let journal = open(dir.path());
    assert!(matches!(look(&journal, "tank/valve 1"), Some(Known::Answered(_))));
    assert_eq!(look(&journal, "tank/valve 2"), None);
    assert_eq!(look(&journal, "tank/valve 3"), Some(Known::Unknown));
}
