//! Who hears of what, and what is retained.

use super::*;

fn taken(site: &mut Site, client: &Client) -> Vec<(String, bool)> {
    site.take(client).iter().map(|delivery| (text(delivery), delivery.retain)).collect()
}

#[test]
fn subscriptions_that_overlap_bring_a_message_once_with_all_their_numbers_and_the_highest_qos() {
    let mut site = Site::new();
    let receiver = site.visitor("r");
    for (filter, qos, number) in [("a/#", 0, Some(1)), ("a/+", 2, Some(2)), ("a/b", 1, None), ("b/#", 2, Some(3))] {
        site.subscribe_to(&receiver, wanted(filter, QOS[qos]), number);
    }
    site.hub.publish(Publication { qos: Qos::ExactlyOnce, ..Publication::new("a/b", "1") }, site.now);
    let mut got = site.take(&receiver);
    assert_eq!(got.len(), 1);
    got[0].subscriptions.sort_unstable();
    assert_eq!((got[0].qos, &got[0].subscriptions[..]), (Qos::ExactlyOnce, &[1, 2][..]));
}

#[test]
fn a_subscription_takes_the_place_of_the_one_to_the_same_filter() {
    let mut site = Site::new();
    let receiver = site.visitor("r");
    site.subscribe_to(&receiver, wanted("a", Qos::ExactlyOnce), Some(1));
    site.subscribe_to(&receiver, wanted("a", Qos::AtMostOnce), Some(2));
    site.show("a", "1");
    let got = site.take(&receiver);
    assert_eq!((got.len(), got[0].qos, &got[0].subscriptions[..]), (1, Qos::AtMostOnce, &[2][..]));
    assert_eq!(figure(&site.figures.subscriptions), 1);
}

#[test]
fn who_unsubscribes_hears_no_more_and_is_told_what_it_had() {
    let mut site = Site::new();
    let receiver = site.visitor("r");
    site.subscribe(&receiver, "a/#", Qos::AtMostOnce);
    let filters = vec!["a/#".to_owned(), "a/#".to_owned(), "a/#/b".to_owned()];
    let reasons = vec![0, reason::NO_SUBSCRIPTION_EXISTED, reason::TOPIC_FILTER_INVALID];
    assert_eq!(site.say(&receiver, Request::Unsubscribe { id: 3, filters }), [Reply::UnsubAck { id: 3, reasons }]);
    assert_eq!(site.show("a", "1"), 0);
    assert_eq!(figure(&site.figures.subscriptions), 0);
}

#[test]
fn each_filter_is_answered_for_itself() {
    let mut site = Site::with(Limits { subscriptions: 5, levels: 3, ..Limits::default() });
    let receiver = site.visitor("r");
    let filters = ["a", "b/#/c", "b/b", "a/b/c/d", "c", "a"].map(|filter| wanted(filter, Qos::AtLeastOnce));
    let replies = site.say(&receiver, Request::Subscribe { id: 5, filters: filters.into(), identifier: None });
    let invalid = reason::TOPIC_FILTER_INVALID;
    let reasons = vec![1, invalid, 1, invalid, 1, reason::QUOTA_EXCEEDED];
    assert_eq!(replies, [Reply::SubAck { id: 5, reasons }]);
    for (filter, reason) in [("d", 1), ("e", 1), ("f", reason::QUOTA_EXCEEDED), ("a", 1)] {
        assert_eq!(site.subscribe(&receiver, filter, Qos::AtLeastOnce), reason);
    }
    assert_eq!(figure(&site.figures.refused_subscriptions), 4);
}

#[test]
fn who_does_not_want_to_hear_itself_does_not() {
    let mut site = Site::new();
    let (deaf, other) = (site.visitor("deaf"), site.visitor("other"));
    site.subscribe_to(&deaf, Wanted { no_local: true, ..wanted("a", Qos::AtLeastOnce) }, None);
    site.publish(&deaf, "a", "mine", Qos::AtLeastOnce);
    site.publish(&other, "a", "other", Qos::AtLeastOnce);
    site.show("a", "gateway");
    assert_eq!(site.read(&deaf), ["other", "gateway"]);
}

#[test]
fn the_retain_flag_stays_only_for_those_that_want_it() {
    let mut site = Site::new();
    let (plain, keen) = (site.visitor("plain"), site.visitor("keen"));
    site.subscribe(&plain, "a", Qos::AtMostOnce);
    site.subscribe_to(&keen, Wanted { retain_as_published: true, ..wanted("a", Qos::AtMostOnce) }, None);
    site.retain("a", "1", Qos::AtMostOnce);
    site.show("a", "2");
    assert_eq!(taken(&mut site, &plain), [("1".into(), false), ("2".into(), false)]);
    assert_eq!(taken(&mut site, &keen), [("1".into(), true), ("2".into(), false)]);
}

#[test]
fn a_new_subscriber_gets_what_is_retained_after_it_was_answered() {
    let mut site = Site::new();
    for (topic, payload) in [("a/b", "1"), ("a/b", "2"), ("a", "3"), ("b", "4"), ("a/c", "5"), ("a/c", "")] {
        site.retain(topic, payload, Qos::ExactlyOnce);
    }
    let receiver = site.visitor("r");
    site.subscribe_to(&receiver, wanted("a/#", Qos::AtLeastOnce), Some(4));
    let got = site.take(&receiver);
    let texts: Vec<_> = got.iter().map(text).collect();
    assert_eq!(texts, ["3", "2"]);
    assert!(got.iter().all(|delivery| delivery.retain && delivery.qos == Qos::AtLeastOnce));
    assert!(got.iter().all(|delivery| delivery.subscriptions == [4]));
    assert_eq!(figure(&site.figures.retained), 3);
}

#[test]
fn which_retained_messages_come_is_for_the_subscriber_to_say() {
    let cases = [(RetainedWanted::All, [1, 1]), (RetainedWanted::IfNew, [1, 0]), (RetainedWanted::None, [0, 0])];
    for (retained, expected) in cases {
        let mut site = Site::new();
        site.retain("a", "1", Qos::AtMostOnce);
        let receiver = site.visitor("r");
        for expected in expected {
            site.subscribe_to(&receiver, Wanted { retained, ..wanted("a", Qos::AtMostOnce) }, None);
            assert_eq!(site.take(&receiver).len(), expected, "{retained:?}");
        }
    }
}

#[test]
fn a_retained_message_that_has_expired_does_not_come() {
    let mut site = Site::new();
    let until = site.now + Duration::from_secs(5);
    for (topic, expires) in [("a", Some(until)), ("b", None)] {
        let publication = Publication { retain: true, expires, ..Publication::new(topic, topic) };
        site.hub.publish(publication, site.now);
    }
    let early = site.visitor("early");
    site.subscribe(&early, "#", Qos::AtMostOnce);
    site.pass(2);
    let got = site.take(&early);
    assert_eq!(got.iter().map(|delivery| delivery.expiry).collect::<Vec<_>>(), [Some(3), None]);
    assert_eq!(site.tick(), Some(until));
    site.pass(3);
    let late = site.visitor("late");
    site.subscribe(&late, "#", Qos::AtMostOnce);
    assert_eq!(site.read(&late), ["b"]);
    assert_eq!(site.tick(), None);
    assert_eq!((figure(&site.figures.retained), figure(&site.figures.expired)), (1, 1));
}

#[test]
fn retained_messages_that_change_while_they_are_brought_come_neither_twice_nor_late() {
    let mut site = Site::new();
    for topic in ["a", "b", "c"] {
        site.retain(topic, "old", Qos::AtMostOnce);
    }
    let receiver = site.visitor("r");
    site.subscribe(&receiver, "#", Qos::AtMostOnce);
    let mut replies = Vec::new();
    assert!(site.hub.deliver(receiver.name, 1, site.now, &mut replies));
    assert_eq!(replies.len(), 1);
    site.retain("b", "new", Qos::AtMostOnce);
    site.retain("c", "", Qos::AtMostOnce);
    assert_eq!(taken(&mut site, &receiver), [("new".into(), false), (String::new(), false)]);
}

#[test]
fn thousands_of_retained_messages_come_to_a_client_that_takes_few_at_once() {
    let limits = Limits { queued: 10, ..Limits::default() };
    let mut site = Site::with(limits);
    for number in 0..5_000 {
        site.retain(&format!("a/{number:04}"), &number.to_string(), Qos::AtLeastOnce);
    }
    let receiver = site.connect(&Connect { receive_maximum: 7, ..connect("r") });
    site.subscribe(&receiver, "a/+", Qos::AtLeastOnce);
    let expected: Vec<_> = (0..5_000).map(|number| number.to_string()).collect();
    assert_eq!(site.read(&receiver), expected);
}

#[test]
fn what_the_broker_says_of_itself_is_not_meant_by_wildcards_at_the_beginning() {
    let mut site = Site::new();
    site.retain("$SYS/uptime", "1", Qos::AtMostOnce);
    let (all, some) = (site.visitor("all"), site.visitor("some"));
    site.subscribe(&all, "#", Qos::AtMostOnce);
    site.subscribe(&all, "+/uptime", Qos::AtMostOnce);
    site.subscribe(&some, "$SYS/#", Qos::AtMostOnce);
    site.retain("$SYS/uptime", "2", Qos::AtMostOnce);
    assert!(site.read(&all).is_empty());
    assert_eq!(site.read(&some), ["2"]);
}

#[test]
fn who_unsubscribes_gets_no_more_of_what_is_retained() {
    let mut site = Site::new();
    site.retain("a", "1", Qos::AtMostOnce);
    let receiver = site.visitor("r");
    site.subscribe(&receiver, "#", Qos::AtMostOnce);
    site.say(&receiver, Request::Unsubscribe { id: 3, filters: vec!["#".into()] });
    assert!(site.read(&receiver).is_empty());
}

#[test]
fn who_subscribes_again_before_it_reads_gets_what_is_retained_once() {
    let mut site = Site::new();
    site.retain("a", "1", Qos::AtMostOnce);
    let receiver = site.visitor("r");
    for _ in 0..3 {
        site.subscribe(&receiver, "#", Qos::AtMostOnce);
    }
    assert_eq!(site.read(&receiver), ["1"]);
    site.subscribe(&receiver, "#", Qos::AtMostOnce);
    site.subscribe_to(&receiver, Wanted { retained: RetainedWanted::None, ..wanted("#", Qos::AtMostOnce) }, None);
    assert!(site.read(&receiver).is_empty());
}

#[test]
fn what_a_client_retains_is_from_it() {
    let mut site = Site::new();
    let sender = site.visitor("s");
    site.say(&sender, Request::Publish(Publish { retain: true, ..publish("a", "1", Qos::AtLeastOnce) }));
    let receiver = site.visitor("r");
    site.subscribe(&receiver, "a", Qos::AtMostOnce);
    assert_eq!(site.take(&receiver)[0].publication.from, from("s"));
}
