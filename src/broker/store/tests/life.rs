//! What is noted is there after a restart, and no more is written than that takes.

use std::time::Instant;

use super::super::super::publication::Properties;
use super::*;

#[test]
fn everything_comes_back_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (saved, store) = open(dir.path(), on_request());
    assert_eq!(saved, Saved::default());
    let mut journal = store.journal();
    assert!(!journal.wants_everything());
    let properties = Properties {
        is_text: Some(true),
        content_type: Some("text/plain".into()),
        response_topic: Some("answers".into()),
        correlation: Some(Bytes::from_static(b"\0\x01")),
        user: vec![("a".into(), "1".into()), ("a".into(), String::new())],
    };
    let kept = Arc::new(Publication {
        retain: true,
        qos: Qos::ExactlyOnce,
        from: Origin::Will { client: "plug".into(), user: Some("kitchen".into()) },
        properties: Some(Box::new(properties)),
        ..Publication::new("tele/plug/LWT", "Offline")
    });
    let own = Arc::new(Publication { retain: true, ..Publication::new("gw1-sys/state", "online") });
    journal.note(Change::Retained(&kept));
    journal.note(Change::Retained(&own));
    let away_since = Some(crate::clock::time(NOW - 5000));
    journal.note(Change::Session(SessionFacts { user: Some("hall"), expiry: 77, away_since, ..facts("panel") }));
    let everything = Wanted {
        filter: "$share/a/tele/#".into(),
        qos: Qos::ExactlyOnce,
        no_local: true,
        retain_as_published: true,
        retained: RetainedWanted::IfNew,
    };
    let subscriptions = [(wanted("#"), None), (everything, Some(268_435_455))];
    for (wanted, identifier) in &subscriptions {
        journal.note(Change::Subscribed { client: "panel", wanted, identifier: *identifier });
    }
    let mut waits = [waiting(5, &kept), waiting(6, &publication("a", "1")), waiting(9, &publication("a", ""))];
    waits[0] =
        Waiting { stage: Stage::Released(65_535), retain: true, subscriptions: vec![7, 300], ..waits[0].clone() };
    waits[1].stage = Stage::Sent(1);
    for waiting in &waits {
        journal.note(Change::Queued { client: "panel", waiting });
    }
    for id in [9, 300] {
        journal.note(Change::Incoming { client: "panel", id, taken: true });
    }
    store.close().unwrap();
    let expected = Saved {
        retained: vec![own, kept],
        sessions: vec![SavedSession {
            client: "panel".into(),
            user: Some("hall".into()),
            expiry: 77,
            away_since,
            subscriptions: vec![subscriptions[0].clone(), subscriptions[1].clone()],
            waiting: waits.to_vec(),
            incoming: vec![9, 300],
        }],
    };
    let mut saved = found(dir.path());
    saved.sessions[0].subscriptions.sort_by_key(|(wanted, _)| wanted.filter.len());
    assert_eq!(saved, expected);
}

#[test]
fn what_comes_and_goes_between_two_commits_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let (_, store) = open(dir.path(), on_request());
    let mut journal = store.journal();
    queue(&mut *journal, "panel", 0, &[]);
    assert!(store.settle(PATIENCE));
    let before = store.counters();
    for number in 0..1000 {
        let client = "panel";
        journal.note(Change::Queued { client, waiting: &waiting(number, &publication("a", "secret")) });
        journal.note(Change::Stage { client, number, stage: Stage::Sent(number as u16 + 1) });
        journal.note(Change::Done { client, number });
        journal.note(Change::Incoming { client, id: 7, taken: true });
        journal.note(Change::Incoming { client, id: 7, taken: false });
    }
    journal.note(Change::Retained(&publication("b", "secret")));
    journal.note(Change::Cleared("b"));
    journal.note(Change::Subscribed { client: "panel", wanted: &wanted("x"), identifier: None });
    journal.note(Change::Unsubscribed { client: "panel", filter: "x" });
    queue(&mut *journal, "guest", 0, &[&publication("a", "secret")]);
    journal.note(Change::Ended("guest"));
    assert!(store.settle(PATIENCE));
    let after = store.counters();
    assert_eq!((after.written_bytes, after.commits), (before.written_bytes, before.commits));
    assert_eq!(after.pending_bytes, 0);
    store.close().unwrap();
    assert!(!contains(&newest(dir.path()).1, "secret"));
}

#[test]
fn what_changes_often_is_written_once() {
    let dir = tempfile::tempdir().unwrap();
    let (_, store) = open(dir.path(), on_request());
    let mut journal = store.journal();
    queue(&mut *journal, "panel", 0, &[&publication("a", "x")]);
    assert!(store.settle(PATIENCE));
    let before = end_of(newest(dir.path()).0, &newest(dir.path()).1);
    for n in 0..1000 {
        journal.note(Change::Retained(&publication("meter", &format!("value {n}"))));
        journal.note(Change::Stage { client: "panel", number: 0, stage: Stage::Sent(n) });
    }
    assert!(store.settle(PATIENCE));
    let after = end_of(newest(dir.path()).0, &newest(dir.path()).1);
    assert_eq!(after.1 - before.1, 3, "the value, the stage, and the end of the commit");
    store.close().unwrap();
    let saved = found(dir.path());
    assert_eq!(saved.retained[0].payload, "value 999");
    assert_eq!(saved.sessions[0].waiting[0].stage, Stage::Sent(999));
}

#[test]
fn a_message_for_many_is_written_once_and_shared_again() {
    let dir = tempfile::tempdir().unwrap();
    let (_, store) = open(dir.path(), on_request());
    let mut journal = store.journal();
    let large = publication("photo", &"x".repeat(100_000));
    let clients: Vec<String> = (0..20).map(|n| format!("client-{n}")).collect();
    clients.iter().for_each(|client| queue(&mut *journal, client, 3, &[&large]));
    journal.note(Change::Retained(&large));
    assert!(store.settle(PATIENCE));
    assert!(store.counters().written_bytes < 110_000, "{:?}", store.counters());
    store.close().unwrap();
    let saved = found(dir.path());
    assert_eq!(saved.sessions.len(), 20);
    for session in &saved.sessions {
        assert!(Arc::ptr_eq(&session.waiting[0].publication, &saved.retained[0]));
    }
}

#[test]
fn what_the_gateway_retains_can_wait_and_what_clients_retain_cannot() {
    let dir = tempfile::tempdir().unwrap();
    let (_, store) = open(dir.path(), Settings { commit: Duration::from_millis(5), ..on_request() });
    let mut journal = store.journal();
    journal.note(Change::Retained(&publication("first", "of all")));
    assert!(store.settle(PATIENCE));
    let own = |payload: &str| Arc::new(Publication::new("gw1-sys/link", payload.to_owned()));
    let before = store.counters().commits;
    journal.note(Change::Retained(&own("own before")));
    journal.note(Change::Retained(&publication("plug", "theirs")));
    let deadline = Instant::now() + PATIENCE;
    while store.counters().commits == before {
        assert!(Instant::now() < deadline, "nothing is written");
        std::thread::sleep(Duration::from_millis(1));
    }
    let (_, path) = newest(dir.path());
    assert!(contains(&path, "theirs") && !contains(&path, "own before"));
    journal.note(Change::Retained(&own("own after")));
    store.close().unwrap();
    assert!(contains(&path, "own after") && !contains(&path, "own before"));
    assert_eq!(found(dir.path()).retained.len(), 3);
}

#[test]
fn a_topic_goes_from_the_gateway_to_a_client_and_back_and_the_last_word_counts() {
    let dir = tempfile::tempdir().unwrap();
    let own = |payload: &str| Arc::new(Publication::new("topic", payload.to_owned()));
    let steps = [Some(own("1")), Some(publication("topic", "2")), Some(own("3")), None, Some(own("4")), None];
    let (_, store) = open(dir.path(), on_request());
    let mut journal = store.journal();
    journal.note(Change::Retained(&publication("other", "")));
    for (at, one) in steps.iter().enumerate() {
        for two in &steps[at..] {
            for step in [one, two] {
                match step {
                    Some(publication) => journal.note(Change::Retained(publication)),
                    None => journal.note(Change::Cleared("topic")),
                }
            }
            assert!(store.settle(PATIENCE));
            let image = &store.shared.lock().image.saved(store.shared.clock.stamp());
            let copy = copy_of(dir.path());
            assert_eq!(&found(copy.path()), image);
            assert_eq!(image.retained.iter().find(|kept| &*kept.topic == "topic"), two.as_ref());
        }
    }
}

#[test]
fn a_session_that_ends_and_begins_anew_has_nothing_of_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let (_, store) = open(dir.path(), on_request());
    let mut journal = store.journal();
    let message = publication("a", "old");
    queue(&mut *journal, "panel", 0, &[&message, &message]);
    journal.note(Change::Subscribed { client: "panel", wanted: &wanted("old"), identifier: None });
    assert!(store.settle(PATIENCE));
    journal.note(Change::Ended("panel"));
    queue(&mut *journal, "panel", 1, &[&publication("a", "new")]);
    store.close().unwrap();
    let saved = found(dir.path());
    assert_eq!((payloads(&saved.sessions[0]), saved.sessions[0].subscriptions.len()), (vec![&b"new"[..]], 0));
}

#[test]
fn a_file_that_has_grown_is_followed_by_a_new_one_and_the_old_one_goes() {
    let dir = tempfile::tempdir().unwrap();
    let (_, store) = open(dir.path(), Settings { file_size: 64 * 1024, ..on_request() });
    let mut journal = store.journal();
    let mut messages = std::collections::VecDeque::new();
    journal.note(Change::Session(facts("panel")));
    for number in 0..600 {
        let message = publication("a", &format!("{number} {}", "x".repeat(1000)));
        journal.note(Change::Queued { client: "panel", waiting: &waiting(number, &message) });
        messages.push_back(number);
        if messages.len() > 20 {
            journal.note(Change::Done { client: "panel", number: messages.pop_front().unwrap() });
        }
        assert!(store.settle(PATIENCE));
    }
    store.close().unwrap();
    let counters = store.counters();
    assert!(counters.files >= 8, "{counters:?}");
    assert!(counters.disk_bytes <= 1 << 20, "{counters:?}");
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "the log and the lock: {names:?}");
    let saved = found(dir.path());
    let numbers: Vec<u64> = saved.sessions[0].waiting.iter().map(|waiting| waiting.number).collect();
    assert_eq!(messages, numbers);
}

#[test]
fn what_the_hub_did_not_take_over_is_gone_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let (_, store) = open(dir.path(), on_request());
    let mut journal = store.journal();
    let message = publication("a", "1");
    for client in ["kept", "gone"] {
        queue(&mut *journal, client, 0, &[&message, &message]);
        journal.note(Change::Subscribed { client, wanted: &wanted("a"), identifier: None });
        journal.note(Change::Subscribed { client, wanted: &wanted("b"), identifier: None });
        journal.note(Change::Incoming { client, id: 1, taken: true });
    }
    journal.note(Change::Retained(&message));
    journal.note(Change::Retained(&publication("b", "2")));
    store.close().unwrap();

    let (mut saved, store) = open(dir.path(), on_request());
    let mut journal = store.journal();
    assert!(journal.wants_everything());
    journal.start_over(saved.clone());
    assert!(!journal.wants_everything());
    assert!(store.settle(PATIENCE));
    assert_eq!(store.counters().written_bytes, 0, "nothing has changed");
    saved.retained.remove(0);
    saved.sessions.remove(0);
    let session = &mut saved.sessions[0];
    session.expiry = 5;
    session.subscriptions.remove(0);
    session.waiting.remove(0);
    session.incoming = vec![2];
    journal.start_over(saved.clone());
    store.close().unwrap();
    assert_eq!(found(dir.path()), saved);
}

#[test]
fn a_store_in_use_is_not_opened_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (_, store) = open(dir.path(), on_request());
    let error = Store::open(dir.path(), LATER).err().unwrap();
    assert!(error.to_string().ends_with("is in use by another process"), "{error}");
    store.close().unwrap();
    found(dir.path());
}

#[test]
fn nothing_is_written_as_long_as_there_is_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (_, store) = open(dir.path(), on_request());
    let mut journal = store.journal();
    journal.note(Change::Cleared("a"));
    journal.note(Change::Done { client: "nobody", number: 1 });
    assert!(store.settle(PATIENCE));
    store.close().unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "the lock");
}

/// A copy of the log, to be opened while the log itself is in use.
fn copy_of(dir: &Path) -> tempfile::TempDir {
    let (copy, (_, path)) = (tempfile::tempdir().unwrap(), newest(dir));
    fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    copy
}
