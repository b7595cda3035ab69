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
fn clients_that_acknowledge_nothing_do_not_keep_others_from_theirs() {
    let weight = Publication::new("hog0", "x".repeat(100)).weight();
    let mut site = Site::with(Limits { queued_bytes_together: 6 * (weight + 64), ..Limits::default() });
    let (hogs, reader) = ([site.resident("hog0"), site.resident("hog1")], site.visitor("reader"));
    site.subscribe(&reader, "a", Qos::AtLeastOnce);
    for (hog, topic) in hogs.iter().zip(["hog0", "hog1"]) {
        site.subscribe(hog, topic, Qos::AtLeastOnce);
        for _ in 0..3 {
            site.show(topic, &"x".repeat(100));
        }
        assert_eq!(site.take(hog).len(), 3);
    }
    // One of them is there, the other is not.
    site.break_off(&hogs[1]);
    for _ in 0..3 {
        for qos in [Qos::AtLeastOnce, Qos::AtMostOnce] {
            show_qos(&mut site, "a", &"y".repeat(100), qos);
            assert_eq!(site.read(&reader).len(), 1);
        }
    }
    let dropped = figure(&site.figures.dropped_full);
    assert_eq!((dropped, figure(&site.figures.dropped_slow)), (1, 0));
    // What is left of theirs comes again.
    let left: usize = ["hog0", "hog1"].map(|name| site.resident(name)).iter().map(|hog| site.read(hog).len()).sum();
    assert_eq!(left, 5);
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
fn a_user_with_many_sessions_ends_its_own_and_nobody_elses() {
    let mut site = Site::with(Limits { sessions: 4, ..Limits::default() });
    let of = |user: &str, client: &str| Connect {
        user: Some(user.into()),
        session_expiry: 3600,
        clean_start: false,
        ..connect(client)
    };
    let mut visit = |user: &str, client: &str| {
        let client = site.connect(&of(user, client));
        site.break_off(&client);
        site.pass(1);
        client.answer.session_present
    };
    visit("panel", "panel");
    for number in 0..10 {
        assert!(!visit("greedy", &format!("greedy{number}")));
    }
    assert!(visit("panel", "panel"));
    assert!(visit("greedy", "greedy9") && !visit("greedy", "greedy6"));
}

#[test]
fn what_is_retained_is_bounded() {
    let mut site = Site::with(Limits { retained: 2, largest_retained: 100, ..Limits::default() });
    let receiver = site.visitor("r");
    site.subscribe(&receiver, "#", Qos::AtMostOnce);
    for topic in ["a", "b", "c"] {
        site.retain(topic, topic, Qos::AtMostOnce);
    }
    site.retain("a", &"x".repeat(99), Qos::AtMostOnce);
    assert_eq!(
        (figure(&site.figures.retained), figure(&site.figures.not_retained)),
        (2, 1),
        "just as large as it may be"
    );
    site.retain("a", &"x".repeat(100), Qos::AtMostOnce);
    assert_eq!((figure(&site.figures.retained), figure(&site.figures.not_retained)), (1, 2));
    assert_eq!(site.hub.take_not_retained().map(|(topic, _)| topic.to_string()), Some("a".into()));
    assert_eq!(site.hub.take_not_retained(), None, "each is told once");
    // It was published nevertheless.
    assert_eq!(site.read(&receiver).len(), 5);
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

#[test]
fn the_numbers_of_subscriptions_that_bring_a_message_count_with_it() {
    let mut site = Site::with(Limits { queued_bytes: 20_000, ..Limits::default() });
    let receiver = site.resident("r");
    for number in 0..10 {
        site.subscribe_to(&receiver, wanted(&format!("{}#", "+/".repeat(number)), Qos::AtLeastOnce), Some(1 << 27));
    }
    site.break_off(&receiver);
    let (topic, numbers) = ("a/a/a/a/a/a/a/a/a/a", 10);
    let weight = Publication::new(topic, "1").weight() + 8 * numbers;
    site.show(topic, "1");
    assert_eq!(figure(&site.figures.queued_bytes), weight as u64 + 64);
    for _ in 0..200 {
        site.show(topic, "1");
    }
    assert_eq!(figure(&site.figures.queued), 20_000 / weight as u64);
    let receiver = site.resident("r");
    assert_eq!(site.take(&receiver)[0].subscriptions.len(), numbers);
    site.hub.end(0, None);
    assert_eq!((site.hub.tally.bytes(), site.hub.tally.messages()), (0, 0));
}

#[test]
fn what_is_sent_at_once_counts_the_numbers_of_subscriptions() {
    let mut site = Site::new();
    let receiver = site.visitor("r");
    for number in 0..10 {
        site.subscribe_to(&receiver, wanted(&format!("{}#", "+/".repeat(number)), Qos::AtMostOnce), Some(1 << 27));
    }
    for _ in 0..100 {
        site.show("a/a/a/a/a/a/a/a/a/a", "1");
    }
    let mut replies = Vec::new();
    assert!(site.hub.deliver(receiver.name, 1_000, site.now, &mut replies));
    assert!(replies.len() <= 12, "{}", replies.len());
}

#[test]
fn a_will_full_of_empty_pairs_is_too_large() {
    let mut site = Site::new();
    let with_pairs = |count: usize| {
        let properties = Properties { user: vec![Default::default(); count], ..Properties::default() };
        let will = Will { properties: Some(Box::new(properties)), ..will("a", "gone") };
        Connect { will: Some(will), ..connect("c") }
    };
    assert!(site.try_connect(&with_pairs(100)).is_ok());
    assert_eq!(site.try_connect(&with_pairs(50_000)).err(), Some(reason::PACKET_TOO_LARGE));
}

#[test]
fn a_client_that_has_forgotten_what_it_had_under_way_may_publish_again() {
    let mut site = Site::with(Limits { receive_maximum: 2, ..Limits::default() });
    let publish = |id: u16| Request::Publish(Publish { id, ..publish("a", "1", Qos::ExactlyOnce) });
    for first in [1, 11, 21] {
        let sender = site.resident("s");
        for id in [first, first + 1] {
            assert!(site.try_say(&sender, publish(id)).is_ok(), "{id}");
        }
        let violation = site.try_say(&sender, publish(first + 2)).unwrap_err();
        assert_eq!(violation.reason, reason::RECEIVE_MAXIMUM_EXCEEDED);
        site.break_off(&sender);
    }
}
