//! What is bounded, and what is counted when a bound is met.

use super::*;

fn show_qos(site: &mut Site, topic: &str, payload: &str, qos: Qos) {
    site.hub.publish(Publication { qos, ..Publication::new(topic.to_owned(), payload.to_owned()) }, site.now);
}

#[test]
fn of_what_waits_for_a_client_that_is_away_the_oldest_goes() {
    let mut site = Site::with(Limits { queued: 3, ..Limits::default() });
    let receiver = site.resident("r");
    site.subscribe(&receiver, "a", Qos::AtLeastOnce);
    site.break_off(&receiver);
    for number in 0..5 {
        site.show("a", &number.to_string());
    }
    assert_eq!((figure(&site.figures.dropped_full), figure(&site.figures.queued)), (2, 3));
    let receiver = site.resident("r");
    assert_eq!(site.read(&receiver), ["2", "3", "4"]);
}

#[test]
fn what_goes_because_there_are_too_many_and_had_expired_is_counted_as_such() {
    let mut site = Site::with(Limits { queued: 1, ..Limits::default() });
    let receiver = site.resident("r");
    site.subscribe(&receiver, "a", Qos::AtLeastOnce);
    site.break_off(&receiver);
    let expires = Some(site.now + Duration::from_secs(1));
    site.hub.publish(Publication { expires, ..Publication::new("a", "1") }, site.now);
    site.pass(1);
    site.show("a", "2");
    assert_eq!((figure(&site.figures.expired), figure(&site.figures.dropped_full)), (1, 0));
}

#[test]
fn a_client_that_reads_too_slowly_misses_what_is_sent_once() {
    let mut site = Site::with(Limits { queued: 3, ..Limits::default() });
    let receiver = site.visitor("r");
    site.subscribe(&receiver, "a", Qos::AtLeastOnce);
    for number in 0..5 {
        show_qos(&mut site, "a", &number.to_string(), Qos::AtMostOnce);
    }
    show_qos(&mut site, "a", "important", Qos::AtLeastOnce);
    assert_eq!(site.read(&receiver), ["1", "2", "important"]);
    assert_eq!((figure(&site.figures.dropped_slow), figure(&site.figures.dropped_full)), (3, 0));
}

#[test]
fn what_waits_for_one_client_is_bounded_in_bytes() {
    let weight = Publication::new("a", "x".repeat(100)).weight();
    let mut site = Site::with(Limits { queued_bytes: 2 * weight, ..Limits::default() });
    let receiver = site.resident("r");
    site.subscribe(&receiver, "a", Qos::AtLeastOnce);
    site.break_off(&receiver);
    for letter in ["x", "y", "z"] {
        site.show("a", &letter.repeat(100));
    }
    assert_eq!(figure(&site.figures.queued_bytes), 2 * (weight as u64 + 64));
    // One that can never fit drives nothing out.
    site.show("a", &"w".repeat(1_000));
    assert_eq!((figure(&site.figures.queued), figure(&site.figures.dropped_full)), (2, 2));
}

#[test]
fn a_client_for_which_much_waits_does_not_keep_others_from_theirs() {
    let weight = Publication::new("hog", "x".repeat(100)).weight();
    let limits = Limits { queued_bytes_together: 5 * (weight + 64), ..Limits::default() };
    let mut site = Site::with(limits);
    let (hog, reader) = (site.resident("hog"), site.visitor("reader"));
    site.subscribe(&hog, "hog", Qos::AtLeastOnce);
    site.subscribe(&reader, "a", Qos::AtLeastOnce);
    site.break_off(&hog);
    for _ in 0..10 {
        site.show("hog", &"x".repeat(100));
    }
    assert_eq!(figure(&site.figures.queued), 5);
    for qos in [Qos::AtLeastOnce, Qos::AtMostOnce] {
        show_qos(&mut site, "a", "1", qos);
        assert_eq!(site.read(&reader), ["1"]);
    }
    assert_eq!(figure(&site.figures.dropped_full), 6);
    assert!(figure(&site.figures.queued_bytes) <= 5 * (weight as u64 + 64));
}

#[test]
fn many_that_read_share_what_waits_for_all_of_them() {
    let mut site = Site::with(Limits { queued_bytes_together: 20_000, ..Limits::default() });
    let readers: Vec<_> = (0..50).map(|number| site.visitor(&number.to_string())).collect();
    for reader in &readers {
        site.subscribe(reader, "#", Qos::AtLeastOnce);
    }
    for _ in 0..2 {
        assert_eq!(site.show("a", &"x".repeat(5_000)), 50);
    }
    for reader in &readers {
        assert_eq!(site.read(reader).len(), 2);
    }
    assert_eq!((figure(&site.figures.dropped_full), figure(&site.figures.queued_bytes)), (0, 0));
}

#[test]
fn a_window_is_bounded_in_bytes_but_one_message_always_fits() {
    let mut site = Site::with(Limits { in_flight_bytes: 1_000, ..Limits::default() });
    let receiver = site.visitor("r");
    site.subscribe(&receiver, "a", Qos::AtLeastOnce);
    for _ in 0..3 {
        site.show("a", &"x".repeat(2_000));
    }
    assert_eq!(site.take(&receiver).len(), 1);
    assert_eq!(site.take(&receiver).len(), 0);
    assert_eq!(site.hub.tally.messages(), 3);
}

#[test]
fn no_more_is_under_way_to_a_client_than_the_broker_has_whatever_it_takes() {
    let mut site = Site::with(Limits { in_flight: 2, ..Limits::default() });
    let receiver = site.visitor("r");
    site.subscribe(&receiver, "a", Qos::AtLeastOnce);
    for _ in 0..5 {
        site.show("a", "1");
    }
    assert_eq!(site.take(&receiver).len(), 2);
    assert_eq!(site.hub.tally.messages(), 5);
}

#[test]
fn too_many_clients_are_refused_and_one_that_comes_back_is_not() {
    let mut site = Site::with(Limits { clients: 2, ..Limits::default() });
    site.resident("a");
    let b = site.resident("b");
    assert_eq!(site.try_connect(&connect("c")).err(), Some(reason::QUOTA_EXCEEDED));
    assert_eq!(figure(&site.figures.refused_full), 1);
    site.visitor("a");
    site.break_off(&b);
    site.visitor("c");
    assert_eq!(site.try_connect(&connect("b")).err(), Some(reason::QUOTA_EXCEEDED));
    assert_eq!((figure(&site.figures.clients), figure(&site.figures.clients_most)), (2, 2));
}

#[test]
fn of_too_many_sessions_the_one_that_is_away_longest_goes() {
    let mut site = Site::with(Limits { sessions: 2, ..Limits::default() });
    for name in ["long", "short"] {
        let client = site.resident(name);
        site.break_off(&client);
        site.pass(1);
    }
    site.visitor("new");
    assert_eq!((figure(&site.figures.sessions), figure(&site.figures.sessions_ended)), (2, 1));
    assert!(site.resident("short").answer.session_present);
    assert_eq!(site.try_connect(&connect("long")).err(), Some(reason::QUOTA_EXCEEDED));
}

#[test]
fn what_is_retained_is_bounded() {
    let mut site = Site::with(Limits { retained: 2, largest_retained: 100, ..Limits::default() });
    let receiver = site.visitor("r");
    site.subscribe(&receiver, "#", Qos::AtMostOnce);
    for topic in ["a", "b", "c"] {
        site.retain(topic, topic, Qos::AtMostOnce);
    }
    site.retain("a", &"x".repeat(100), Qos::AtMostOnce);
    assert_eq!((figure(&site.figures.retained), figure(&site.figures.not_retained)), (1, 2));
    // It was published nevertheless.
    assert_eq!(site.read(&receiver).len(), 4);
}

#[test]
fn filters_are_bounded_in_bytes() {
    let mut site = Site::with(Limits { filter_bytes: 1_000, filter_bytes_together: 1_400, ..Limits::default() });
    let (greedy, modest) = (site.visitor("greedy"), site.visitor("modest"));
    assert_eq!(site.subscribe(&greedy, &"x".repeat(800), Qos::AtMostOnce), 0);
    assert_eq!(site.subscribe(&greedy, "a", Qos::AtMostOnce), reason::QUOTA_EXCEEDED);
    assert_eq!(site.subscribe(&modest, "a/+/#", Qos::AtMostOnce), 0);
    assert_eq!(site.subscribe(&modest, "a", Qos::AtMostOnce), reason::QUOTA_EXCEEDED);
    site.break_off(&greedy);
    assert_eq!(site.subscribe(&modest, "a", Qos::AtMostOnce), 0);
    site.break_off(&modest);
    assert_eq!((site.hub.filter_bytes, site.hub.subscriptions), (0, 0));
}
