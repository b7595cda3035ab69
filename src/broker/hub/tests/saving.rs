//! What is noted, what is saved, and what comes of it.

use std::time::SystemTime;

use crate::broker::saved::{SavedSession, Stage, Waiting};

use super::*;

fn noted() -> (Site, Notes) {
    let notes = Notes::default();
    (Site::noting(Limits::default(), Box::new(notes.clone())), notes)
}

fn waiting(number: u64, payload: &str, stage: Stage) -> Waiting {
    let publication = Arc::new(Publication { qos: Qos::ExactlyOnce, ..Publication::new("a", payload.to_owned()) });
    Waiting { number, publication, qos: Qos::ExactlyOnce, retain: false, subscriptions: vec![3], stage }
}

fn saved(client: &str, away_since: Option<SystemTime>) -> SavedSession {
    SavedSession {
        client: client.into(),
        user: None,
        expiry: 3600,
        away_since,
        subscriptions: vec![(wanted("a/+", Qos::AtLeastOnce), Some(3)), (wanted("$share/g/s", Qos::AtLeastOnce), None)],
        waiting: vec![
            waiting(1, "released", Stage::Released(65_535)),
            waiting(2, "sent", Stage::Sent(1)),
            waiting(3, "waiting", Stage::Waiting),
        ],
        incoming: vec![4, 9],
    }
}

#[test]
fn the_life_of_a_session_is_noted_in_order() {
    let (mut site, notes) = noted();
    let (sender, receiver) = (site.resident("s"), site.resident("r"));
    assert_eq!(notes.take(), ["session s 3600 here", "session r 3600 here"]);
    site.subscribe(&receiver, "a", Qos::ExactlyOnce);
    site.publish(&sender, "a", "1", Qos::ExactlyOnce);
    site.say(&sender, Request::PubRel { id: 7 });
    assert_eq!(notes.take(), ["subscribed r a", "incoming s 7 true", "queued r 1", "incoming s 7 false"]);
    site.read(&receiver);
    assert_eq!(notes.take(), ["stage r 1 Sent(1)", "stage r 1 Released(1)", "done r 1"]);
    site.publish(&sender, "a", "1", Qos::AtMostOnce);
    site.say(&receiver, Request::Unsubscribe { id: 1, filters: vec!["a".into()] });
    site.leave(&receiver);
    assert_eq!(notes.take(), ["unsubscribed r a", "session r 3600 away"]);
    site.pass(3600);
    site.tick();
    assert_eq!(notes.take(), ["ended r"]);
}

#[test]
fn nothing_is_noted_of_a_session_that_ends_with_its_connection() {
    let (mut site, notes) = noted();
    let (sender, receiver) = (site.visitor("s"), site.visitor("r"));
    site.subscribe(&receiver, "a", Qos::ExactlyOnce);
    site.publish(&sender, "a", "1", Qos::ExactlyOnce);
    site.read(&receiver);
    site.break_off(&receiver);
    assert_eq!(notes.take(), [] as [&str; 0]);
}

#[test]
fn a_session_that_is_not_to_last_any_more_is_noted_as_ended() {
    let (mut site, notes) = noted();
    site.resident("r");
    site.connect(&Connect { clean_start: false, ..connect("r") });
    assert_eq!(notes.take(), ["session r 3600 here", "session r 3600 away", "ended r"]);
}

#[test]
fn what_is_dropped_is_noted_as_done() {
    let notes = Notes::default();
    let mut site = Site::noting(Limits { queued: 1, ..Limits::default() }, Box::new(notes.clone()));
    let receiver = site.resident("r");
    site.subscribe(&receiver, "a", Qos::AtLeastOnce);
    notes.take();
    site.show("a", "1");
    let expires = Some(site.now);
    site.hub.publish(Publication { expires, ..Publication::new("a", "2") }, site.now);
    site.take(&receiver);
    assert_eq!(notes.take(), ["queued r 1", "done r 1", "queued r 2", "done r 2"].map(String::from));
}

#[test]
fn what_is_retained_is_noted_but_not_what_the_broker_says_of_itself() {
    let (mut site, notes) = noted();
    site.retain("a", "1", Qos::AtMostOnce);
    site.retain("a", "", Qos::AtMostOnce);
    site.retain("a", "", Qos::AtMostOnce);
    site.retain("$SYS/a", "1", Qos::AtMostOnce);
    site.retain("$SYS/a", "", Qos::AtMostOnce);
    assert_eq!(notes.take(), ["retained a", "cleared a"]);
}

#[test]
fn what_is_retained_for_a_while_is_noted_when_it_goes() {
    let (mut site, notes) = noted();
    for topic in ["a", "$SYS/a"] {
        let expires = Some(site.now + Duration::from_secs(1));
        site.hub.publish(Publication { retain: true, expires, ..Publication::new(topic, "1") }, site.now);
    }
    site.pass(1);
    site.tick();
    assert_eq!(notes.take(), ["retained a", "cleared a"]);
}

#[test]
fn what_is_restored_is_saved_again_as_it_was() {
    let mut site = Site::new();
    let retained = vec![Arc::new(Publication { retain: true, ..Publication::new("a", "1") })];
    let given = Saved { retained, sessions: vec![saved("r", Some(SystemTime::now()))] };
    site.hub.restore(given.clone(), site.now);
    let mut again = site.hub.save(site.now);
    assert_eq!(again.retained, given.retained);
    let session = &mut again.sessions[0];
    session.subscriptions.sort_by(|(a, _), (b, _)| b.filter.cmp(&a.filter));
    let since = session.away_since.unwrap().duration_since(given.sessions[0].away_since.unwrap()).unwrap();
    assert!(since < Duration::from_secs(60));
    session.away_since = given.sessions[0].away_since;
    assert_eq!(again.sessions, given.sessions);
}

#[test]
fn a_restored_session_goes_on_where_it_was() {
    let mut site = Site::new();
    // It has had what was retained when it subscribed.
    let retained = vec![Arc::new(Publication { retain: true, ..Publication::new("a/old", "old") })];
    site.hub.restore(Saved { retained, sessions: vec![saved("r", None)] }, site.now);
    site.show("a/b", "new");
    let receiver = site.resident("r");
    assert!(receiver.answer.session_present);
    assert!(site.hub.is_repeated(receiver.name, 9));
    let replies = site.replies(&receiver);
    let [Reply::PubRel { id: 65_535, .. }, Reply::Publish(sent), Reply::Publish(waited), Reply::Publish(new)] =
        &replies[..]
    else {
        panic!("{replies:?}")
    };
    assert_eq!((text(sent), sent.id, sent.duplicate), ("sent".into(), 1, true));
    assert_eq!((text(waited), waited.id, waited.duplicate), ("waiting".into(), 2, false));
    assert_eq!((text(new), new.qos, &new.subscriptions[..]), ("new".into(), Qos::AtLeastOnce, &[3][..]));
}

#[test]
fn what_a_restored_member_of_a_group_does_not_take_goes_to_another_unless_it_is_its_own_too() {
    let mut site = Site::new();
    // Of `a/b` its client is told by itself, and as a member nobody could tell apart any more.
    let mut session = saved("r", None);
    session.subscriptions[1].0.filter = "$share/g/+/s".into();
    session.waiting = ["x/s", "a/s", "a/b"]
        .into_iter()
        .zip(1..)
        .map(|(topic, number)| {
            let publication = Arc::new(Publication::new(topic, topic));
            Waiting { publication, ..waiting(number, "", Stage::Waiting) }
        })
        .collect();
    site.hub.restore(Saved { retained: Vec::new(), sessions: vec![session] }, site.now);
    let other = site.resident("other");
    site.subscribe(&other, "$share/g/+/s", Qos::AtLeastOnce);
    site.pass(3600);
    site.tick();
    assert_eq!(site.read(&other), ["x/s"]);
}

#[test]
fn a_session_whose_time_was_over_while_the_broker_was_down_is_gone_whatever_the_clock_shows() {
    let hour = Duration::from_secs(3600);
    let now = SystemTime::now();
    let cases = [(now - hour, 0), (now - hour / 2, 1), (now + hour * 1000, 1), (SystemTime::UNIX_EPOCH, 0)];
    for (away_since, expected) in cases {
        let mut site = Site::new();
        site.hub.restore(Saved { retained: Vec::new(), sessions: vec![saved("r", Some(away_since))] }, site.now);
        assert_eq!(figure(&site.figures.sessions), expected);
        site.pass(3600);
        site.tick();
        assert_eq!(figure(&site.figures.sessions), 0);
    }
}

#[test]
fn more_than_fits_is_not_restored() {
    let mut site = Site::with(Limits { queued: 1, sessions: 1, subscriptions: 1, retained: 1, ..Limits::default() });
    let retained = ["a", "b"].map(|topic| Arc::new(Publication { retain: true, ..Publication::new(topic, "1") }));
    let mut session = saved("r", None);
    session.waiting.push(waiting(4, "newest", Stage::Waiting));
    site.hub.restore(Saved { retained: retained.into(), sessions: vec![session, saved("other", None)] }, site.now);
    assert_eq!((figure(&site.figures.retained), figure(&site.figures.sessions)), (1, 1));
    assert_eq!((figure(&site.figures.subscriptions), figure(&site.figures.dropped_full)), (1, 1));
    let receiver = site.resident("r");
    assert_eq!(site.read(&receiver), ["sent", "newest"]);
}

#[test]
fn what_is_not_restored_is_noted_as_gone() {
    let notes = Notes::default();
    let mut site = Site::noting(Limits { retained: 1, sessions: 1, ..Limits::default() }, Box::new(notes.clone()));
    let retained = ["a", "b"].map(|topic| Arc::new(Publication { retain: true, ..Publication::new(topic, "1") }));
    let over = saved("over", Some(SystemTime::UNIX_EPOCH));
    let sessions = vec![over, saved("here", None), saved("one too many", None)];
    site.hub.restore(Saved { retained: retained.into(), sessions }, site.now);
    assert_eq!(notes.take(), ["cleared b", "ended over", "session here 3600 away", "ended one too many"]);
}

#[test]
fn what_cannot_have_been_sent_with_one_packet_id_is_sent_with_two() {
    let mut site = Site::new();
    let mut session = saved("r", None);
    session.waiting = vec![waiting(1, "one", Stage::Sent(5)), waiting(2, "two", Stage::Sent(5))];
    site.hub.restore(Saved { retained: Vec::new(), sessions: vec![session] }, site.now);
    let receiver = site.resident("r");
    let got: Vec<_> = site.take(&receiver).iter().map(|sent| (text(sent), sent.id, sent.duplicate)).collect();
    assert_eq!(got, [("one".into(), 5, true), ("two".into(), 6, false)]);
}

#[test]
fn a_journal_that_has_lost_track_gets_everything() {
    let (mut site, notes) = noted();
    site.retain("a", "1", Qos::AtMostOnce);
    site.resident("r");
    notes.has_lost_track.store(true, Ordering::Relaxed);
    site.tick();
    let everything = notes.lost.lock().unwrap().take().expect("it wanted it");
    assert_eq!((everything.retained.len(), everything.sessions.len()), (1, 1));
    site.tick();
    assert!(notes.lost.lock().unwrap().is_none());
}
