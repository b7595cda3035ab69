//! Sessions: clean or not, taken over, at their end.

use super::*;

#[test]
fn what_is_published_while_a_client_is_away_waits_for_it_in_order() {
    for version in [Version::V3, Version::V5] {
        let mut site = Site::new();
        let lasting = Connect { version, clean_start: false, session_expiry: u32::MAX, ..connect("r") };
        let receiver = site.connect(&lasting);
        assert!(!receiver.answer.session_present);
        site.subscribe(&receiver, "a/#", Qos::ExactlyOnce);
        site.leave(&receiver);
        for (number, qos) in QOS.into_iter().enumerate() {
            site.hub.publish(Publication { qos, ..Publication::new("a/b", number.to_string()) }, site.now);
        }
        assert_eq!(figure(&site.figures.queued), 2);
        let receiver = site.connect(&lasting);
        assert!(receiver.answer.session_present);
        // What is sent once is not kept for those that are away.
        assert_eq!(site.read(&receiver), ["1", "2"]);
        assert_eq!((figure(&site.figures.queued), figure(&site.figures.queued_bytes)), (0, 0));
    }
}

#[test]
fn a_clean_start_leaves_nothing_of_the_session_before() {
    let mut site = Site::new();
    let receiver = site.resident("r");
    site.subscribe(&receiver, "a", Qos::AtLeastOnce);
    site.leave(&receiver);
    site.show("a", "1");
    let receiver = site.visitor("r");
    assert!(!receiver.answer.session_present);
    assert!(site.read(&receiver).is_empty());
    assert_eq!(site.show("a", "2"), 0);
    assert_eq!((figure(&site.figures.subscriptions), figure(&site.figures.queued)), (0, 0));
}

#[test]
fn a_session_that_ends_with_its_connection_does() {
    let mut site = Site::new();
    let receiver = site.connect(&Connect { clean_start: false, ..connect("r") });
    site.subscribe(&receiver, "a", Qos::AtLeastOnce);
    site.show("a", "1");
    site.break_off(&receiver);
    assert_eq!((figure(&site.figures.sessions), figure(&site.figures.queued)), (0, 0));
    let receiver = site.connect(&Connect { clean_start: false, ..connect("r") });
    assert!(!receiver.answer.session_present);
}

#[test]
fn a_session_is_over_when_its_client_stays_away_too_long() {
    let mut site = Site::new();
    let receiver = site.resident("r");
    site.subscribe(&receiver, "a", Qos::AtLeastOnce);
    site.leave(&receiver);
    let over = site.now + Duration::from_secs(3600);
    assert_eq!(site.tick(), Some(over));
    site.pass(3599);
    site.tick();
    assert_eq!(figure(&site.figures.sessions), 1);
    site.pass(1);
    assert_eq!(site.tick(), None);
    assert_eq!((figure(&site.figures.sessions), figure(&site.figures.sessions_ended)), (0, 1));
    assert!(!site.resident("r").answer.session_present);
}

#[test]
fn a_session_is_not_over_while_its_client_is_there() {
    let mut site = Site::new();
    let receiver = site.resident("r");
    site.break_off(&receiver);
    let receiver = site.resident("r");
    assert_eq!(site.tick(), None);
    site.pass(10_000);
    site.tick();
    assert_eq!(site.say(&receiver, Request::Ping), [Reply::Pong]);
}

#[test]
fn a_session_lasts_no_longer_than_the_broker_lets_it_and_the_client_is_told() {
    let mut site = Site::with(Limits { session_expiry: Duration::from_secs(100), ..Limits::default() });
    for (asked, told) in [(0, None), (100, None), (101, Some(100)), (u32::MAX, Some(100))] {
        let client = site.connect(&Connect { session_expiry: asked, ..connect("r") });
        assert_eq!(client.answer.session_expiry, told, "{asked}");
    }
}

#[test]
fn a_client_may_change_its_mind_about_its_session_when_it_leaves_but_not_make_it_last() {
    let mut site = Site::with(Limits { session_expiry: Duration::from_secs(5000), ..Limits::default() });
    let disconnect = |expiry| Request::Disconnect { reason: 0, session_expiry: Some(expiry) };
    let receiver = site.resident("r");
    site.say(&receiver, disconnect(0));
    site.hub.detach(receiver.name, Ending::Left, site.now);
    assert_eq!(figure(&site.figures.sessions), 0);
    for (said, lasts) in [(10, 10), (u32::MAX, 5000)] {
        let receiver = site.resident("r");
        site.say(&receiver, disconnect(said));
        site.hub.detach(receiver.name, Ending::Left, site.now);
        assert_eq!(site.tick(), Some(site.now + Duration::from_secs(lasts)));
    }
    let visitor = site.visitor("v");
    assert_eq!(site.try_say(&visitor, disconnect(10)).unwrap_err().reason, reason::PROTOCOL_ERROR);
}

#[test]
fn a_client_that_comes_twice_is_there_once() {
    let mut site = Site::new();
    let first = site.resident("r");
    site.subscribe(&first, "a", Qos::AtLeastOnce);
    site.show("a", "1");
    assert_eq!(site.take(&first).len(), 1);
    let second = site.resident("r");
    assert_eq!(first.bell.closing(), Some(reason::SESSION_TAKEN_OVER));
    assert_eq!(second.bell.closing(), None);
    assert!(second.answer.session_present);
    // What the first still says is nobody's any more; neither is its end.
    assert_eq!(site.say(&first, Request::Ping), []);
    assert!(site.take(&first).is_empty());
    site.break_off(&first);
    assert_eq!(site.read(&second), ["1"]);
    assert_eq!((figure(&site.figures.clients), figure(&site.figures.sessions)), (1, 1));
}

#[test]
fn a_client_without_an_id_is_given_one_nobody_guesses() {
    let mut site = Site::new();
    let (first, second) = (site.visitor(""), site.visitor(""));
    let (first, second) = (first.answer.client.unwrap(), second.answer.client.unwrap());
    assert!(first.starts_with("auto-") && first.len() == 37 && first != second);
    assert_eq!(site.visitor("given").answer.client, None);
    let nameless = Connect { version: Version::V3, ..connect("") };
    assert!(site.try_connect(&nameless).is_ok());
    let lasting = Connect { clean_start: false, session_expiry: u32::MAX, ..nameless };
    assert_eq!(site.try_connect(&lasting).err(), Some(reason::CLIENT_IDENTIFIER_NOT_VALID));
    assert_eq!(site.try_connect(&connect(&"x".repeat(2_000))).err(), Some(reason::CLIENT_IDENTIFIER_NOT_VALID));
}

#[test]
fn another_users_session_is_not_gone_on_with() {
    let mut site = Site::new();
    let of = |user: &str| Connect { user: Some(user.into()), session_expiry: 60, clean_start: false, ..connect("r") };
    let anna = site.connect(&of("anna"));
    site.subscribe(&anna, "a", Qos::AtLeastOnce);
    site.break_off(&anna);
    site.show("a", "1");
    let bert = site.connect(&of("bert"));
    assert!(!bert.answer.session_present);
    assert!(site.read(&bert).is_empty());
    assert_eq!(figure(&site.figures.subscriptions), 0);
}

#[test]
fn the_answer_says_what_the_broker_takes() {
    let mut site = Site::new();
    let answer = site.visitor("r").answer;
    assert_eq!((answer.reason, answer.keep_alive, answer.words), (0, None, None));
    assert_eq!((answer.receive_maximum, answer.maximum_packet, answer.topic_aliases), (100, 1_048_576, 64));
}

#[test]
fn all_connections_are_told_to_close() {
    let mut site = Site::new();
    let (here, away) = (site.visitor("here"), site.resident("away"));
    site.break_off(&away);
    site.hub.close_all(reason::SERVER_SHUTTING_DOWN);
    assert_eq!(here.bell.closing(), Some(reason::SERVER_SHUTTING_DOWN));
    assert_eq!(away.bell.closing(), None);
}
