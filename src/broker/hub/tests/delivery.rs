//! Quality of service, both ways.

use super::*;

#[test]
fn a_message_reaches_a_subscriber_as_hard_as_both_want_it() {
    for published in QOS {
        for subscribed in QOS {
            let mut site = Site::new();
            let (sender, receiver) = (site.visitor("s"), site.visitor("r"));
            assert_eq!(site.subscribe(&receiver, "a/+", subscribed), subscribed as u8);
            site.publish(&sender, "a/b", "1", published);
            let got = site.take(&receiver);
            assert_eq!(got.len(), 1);
            assert_eq!(got[0].qos, published.min(subscribed));
            assert_eq!(got[0].id != 0, got[0].qos != Qos::AtMostOnce);
            assert!(!got[0].retain && !got[0].duplicate);
        }
    }
}

#[test]
fn each_kind_of_message_is_answered_in_its_own_way() {
    let mut site = Site::new();
    let (sender, receiver) = (site.visitor("s"), site.visitor("r"));
    assert_eq!(site.publish(&sender, "a", "1", Qos::AtMostOnce), []);
    let nobody = reason::NO_MATCHING_SUBSCRIBERS;
    assert_eq!(site.publish(&sender, "a", "1", Qos::AtLeastOnce), [Reply::PubAck { id: 7, reason: nobody }]);
    site.subscribe(&receiver, "a", Qos::AtMostOnce);
    assert_eq!(site.publish(&sender, "a", "1", Qos::AtLeastOnce), [Reply::PubAck { id: 7, reason: 0 }]);
    assert_eq!(site.publish(&sender, "a", "1", Qos::ExactlyOnce), [Reply::PubRec { id: 7, reason: 0 }]);
    assert_eq!(site.say(&sender, Request::PubRel { id: 7 }), [Reply::PubComp { id: 7, reason: 0 }]);
    assert_eq!(site.say(&sender, Request::PubRel { id: 7 }), [Reply::PubComp { id: 7, reason: 0x92 }]);
    assert_eq!(site.say(&sender, Request::Ping), [Reply::Pong]);
}

#[test]
fn a_message_that_comes_twice_with_qos_2_is_taken_once_until_it_is_released() {
    let mut site = Site::new();
    let (sender, receiver) = (site.resident("s"), site.visitor("r"));
    site.subscribe(&receiver, "a", Qos::AtMostOnce);
    site.publish(&sender, "a", "1", Qos::ExactlyOnce);
    assert!(site.hub.is_repeated(sender.name, 7));
    assert_eq!(site.publish(&sender, "a", "1", Qos::ExactlyOnce), [Reply::PubRec { id: 7, reason: 0 }]);
    site.break_off(&sender);
    let sender = site.resident("s");
    assert!(sender.answer.session_present && site.hub.is_repeated(sender.name, 7));
    site.publish(&sender, "a", "1", Qos::ExactlyOnce);
    assert_eq!(site.read(&receiver), ["1"]);
    site.say(&sender, Request::PubRel { id: 7 });
    assert!(!site.hub.is_repeated(sender.name, 7));
    site.publish(&sender, "a", "2", Qos::ExactlyOnce);
    assert_eq!(site.read(&receiver), ["2"]);
}

#[test]
fn a_message_goes_out_with_qos_2_in_three_steps() {
    let mut site = Site::new();
    let receiver = site.visitor("r");
    site.subscribe(&receiver, "a", Qos::ExactlyOnce);
    site.hub.publish(Publication { qos: Qos::ExactlyOnce, ..Publication::new("a", "1") }, site.now);
    let id = site.take(&receiver)[0].id;
    let released = [Reply::PubRel { id, reason: 0 }];
    assert_eq!(site.say(&receiver, Request::PubRec { id, reason: 0 }), released);
    assert_eq!(site.say(&receiver, Request::PubRec { id, reason: 0 }), released);
    assert_eq!(figure(&site.figures.queued), 1);
    assert_eq!(site.say(&receiver, Request::PubComp { id }), []);
    assert_eq!(figure(&site.figures.queued), 0);
    assert_eq!(site.say(&receiver, Request::PubRec { id, reason: 0 }), [Reply::PubRel { id, reason: 0x92 }]);
}

#[test]
fn a_message_that_is_refused_is_done_with() {
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let mut site = Site::new();
        let receiver = site.visitor("r");
        site.subscribe(&receiver, "a", qos);
        site.hub.publish(Publication { qos, ..Publication::new("a", "1") }, site.now);
        let id = site.take(&receiver)[0].id;
        let refusal = match qos {
            Qos::AtLeastOnce => Request::PubAck { id, reason: 0x83 },
            _ => Request::PubRec { id, reason: 0x83 },
        };
        assert_eq!(site.say(&receiver, refusal), []);
        assert_eq!(figure(&site.figures.queued), 0);
    }
}

#[test]
fn an_acknowledgement_of_another_kind_ends_the_connection() {
    let mut site = Site::new();
    let receiver = site.visitor("r");
    site.subscribe(&receiver, "a", Qos::AtLeastOnce);
    site.show("a", "1");
    let id = site.take(&receiver)[0].id;
    let violation = site.try_say(&receiver, Request::PubRec { id, reason: 0 }).unwrap_err();
    assert_eq!(violation.reason, reason::PROTOCOL_ERROR);
    // One that nobody waits for does no harm.
    assert_eq!(site.say(&receiver, Request::PubAck { id: 999, reason: 0 }), []);
    assert_eq!(site.say(&receiver, Request::PubComp { id: 0 }), []);
}

#[test]
fn a_client_gets_no_more_at_once_than_it_takes() {
    let mut site = Site::new();
    let receiver = site.connect(&Connect { receive_maximum: 2, ..connect("r") });
    site.subscribe(&receiver, "a", Qos::ExactlyOnce);
    for number in 0..3 {
        site.hub.publish(Publication { qos: Qos::ExactlyOnce, ..Publication::new("a", number.to_string()) }, site.now);
    }
    let first = site.take(&receiver);
    assert_eq!(first.iter().map(text).collect::<Vec<_>>(), ["0", "1"]);
    // Received is not done with.
    site.say(&receiver, Request::PubRec { id: first[0].id, reason: 0 });
    assert!(site.take(&receiver).is_empty());
    site.say(&receiver, Request::PubComp { id: first[0].id });
    assert_eq!(site.read(&receiver), ["2"]);
}

#[test]
fn a_client_may_have_no_more_under_way_than_the_broker_takes() {
    let mut site = Site::with(Limits { receive_maximum: 2, ..Limits::default() });
    let sender = site.visitor("s");
    assert_eq!(sender.answer.receive_maximum, 2);
    for id in 1..=2 {
        site.say(&sender, Request::Publish(Publish { id, ..publish("a", "1", Qos::ExactlyOnce) }));
    }
    // What is said again, or answered at once, takes no place.
    site.say(&sender, Request::Publish(Publish { id: 2, ..publish("a", "1", Qos::ExactlyOnce) }));
    site.say(&sender, Request::Publish(Publish { id: 3, ..publish("a", "1", Qos::AtLeastOnce) }));
    let third = Request::Publish(Publish { id: 3, ..publish("a", "1", Qos::ExactlyOnce) });
    assert_eq!(site.try_say(&sender, third.clone()).unwrap_err().reason, reason::RECEIVE_MAXIMUM_EXCEEDED);
    site.say(&sender, Request::PubRel { id: 1 });
    site.say(&sender, third);
}

#[test]
fn what_was_not_acknowledged_comes_again_in_order_and_marked() {
    let mut site = Site::new();
    let receiver = site.resident("r");
    site.subscribe(&receiver, "a", Qos::ExactlyOnce);
    for (number, qos) in
        [Qos::AtLeastOnce, Qos::ExactlyOnce, Qos::ExactlyOnce, Qos::AtLeastOnce].into_iter().enumerate()
    {
        site.hub.publish(Publication { qos, ..Publication::new("a", number.to_string()) }, site.now);
    }
    let before = site.take(&receiver);
    site.say(&receiver, Request::PubRec { id: before[1].id, reason: 0 });
    site.break_off(&receiver);
    site.show("a", "4");

    let receiver = site.resident("r");
    assert!(receiver.answer.session_present);
    let again = site.replies(&receiver);
    let [
        Reply::Publish(first),
        Reply::PubRel { id, reason: 0 },
        Reply::Publish(third),
        Reply::Publish(fourth),
        Reply::Publish(new),
    ] = &again[..]
    else {
        panic!("{again:?}")
    };
    assert_eq!((text(first), first.id, first.duplicate), ("0".into(), before[0].id, true));
    assert_eq!(*id, before[1].id);
    assert_eq!((text(third), third.id, third.duplicate), ("2".into(), before[2].id, true));
    assert_eq!((text(fourth), fourth.id, fourth.duplicate), ("3".into(), before[3].id, true));
    assert_eq!((text(new), new.duplicate), ("4".into(), false));
}

#[test]
fn what_comes_again_is_no_more_than_the_client_takes_now() {
    let mut site = Site::new();
    let receiver = site.resident("r");
    site.subscribe(&receiver, "a", Qos::AtLeastOnce);
    for number in 0..3 {
        site.show("a", &number.to_string());
    }
    assert_eq!(site.take(&receiver).len(), 3);
    let narrow = Connect { receive_maximum: 1, session_expiry: 60, clean_start: false, ..connect("r") };
    let receiver = site.connect(&narrow);
    for number in 0..3 {
        let got = site.take(&receiver);
        assert_eq!(got.iter().map(text).collect::<Vec<_>>(), [number.to_string()]);
        assert!(got[0].duplicate);
        site.say(&receiver, Request::PubAck { id: got[0].id, reason: 0 });
    }
}

#[test]
fn a_message_is_delivered_while_it_is_worth_it_and_says_for_how_long() {
    let mut site = Site::new();
    let (sender, receiver) = (site.visitor("s"), site.resident("r"));
    site.subscribe(&receiver, "#", Qos::AtLeastOnce);
    site.break_off(&receiver);
    for (topic, expiry) in [("short", Some(2)), ("long", Some(10)), ("ever", None)] {
        let expiry = expiry.map(Duration::from_secs);
        site.say(&sender, Request::Publish(Publish { expiry, ..publish(topic, topic, Qos::AtLeastOnce) }));
    }
    // Seconds count when they are over.
    site.pass(3);
    site.now += Duration::from_millis(500);
    let receiver = site.resident("r");
    let got = site.take(&receiver);
    let got: Vec<_> = got.iter().map(|delivery| (&*delivery.publication.topic, delivery.expiry)).collect();
    assert_eq!(got, [("long", Some(7)), ("ever", None)]);
    assert_eq!(figure(&site.figures.expired), 1);
}

#[test]
fn a_message_too_large_for_its_client_is_dropped_and_takes_no_place() {
    let mut site = Site::new();
    let receiver = site.connect(&Connect { maximum_packet: Some(20), receive_maximum: 1, ..connect("r") });
    site.subscribe(&receiver, "a", Qos::AtLeastOnce);
    // 2 for the header, 3 for the topic, 2 for the packet id, 1 for the properties.
    site.show("a", "0123456789abc");
    site.show("a", "0123456789ab");
    let got = site.take(&receiver);
    assert_eq!(got.iter().map(text).collect::<Vec<_>>(), ["0123456789ab"]);
    assert_eq!(figure(&site.figures.dropped_large), 1);
    assert_eq!(figure(&site.figures.queued), 1);
}

#[test]
fn a_message_too_large_for_the_next_connection_does_not_come_again() {
    let mut site = Site::new();
    let receiver = site.resident("r");
    site.subscribe(&receiver, "a", Qos::AtLeastOnce);
    site.show("a", "0123456789abc");
    site.show("a", "1");
    assert_eq!(site.take(&receiver).len(), 2);
    let narrow = Connect { maximum_packet: Some(20), session_expiry: 60, clean_start: false, ..connect("r") };
    let receiver = site.connect(&narrow);
    assert_eq!(site.read(&receiver), ["1"]);
    assert_eq!((figure(&site.figures.dropped_large), figure(&site.figures.queued)), (1, 0));
}

#[test]
fn topics_that_are_none_or_the_brokers_own_are_refused() {
    let mut site = Site::with(Limits { levels: 3, ..Limits::default() });
    let (sender, receiver) = (site.visitor("s"), site.visitor("r"));
    site.subscribe(&receiver, "#", Qos::AtMostOnce);
    site.subscribe(&receiver, "$SYS/#", Qos::AtMostOnce);
    for (topic, reason) in [
        ("a/+", reason::TOPIC_NAME_INVALID),
        ("a/b/c/d", reason::TOPIC_NAME_INVALID),
        ("$SYS/uptime", reason::NOT_AUTHORIZED),
    ] {
        assert_eq!(site.publish(&sender, topic, "1", Qos::AtMostOnce), []);
        assert_eq!(site.publish(&sender, topic, "1", Qos::AtLeastOnce), [Reply::PubAck { id: 7, reason }]);
        assert_eq!(site.publish(&sender, topic, "1", Qos::ExactlyOnce), [Reply::PubRec { id: 7, reason }]);
        assert!(!site.hub.is_repeated(sender.name, 7));
    }
    assert!(site.read(&receiver).is_empty());
    assert_eq!(figure(&site.figures.refused_publications), 9);
}

#[test]
fn a_packet_without_its_packet_id_and_a_talk_about_authentication_are_violations() {
    let mut site = Site::new();
    let sender = site.visitor("s");
    let bare = Request::Publish(Publish { id: 0, ..publish("a", "1", Qos::AtLeastOnce) });
    assert_eq!(site.try_say(&sender, bare).unwrap_err().reason, reason::PROTOCOL_ERROR);
    assert_eq!(site.try_say(&sender, Request::Auth).unwrap_err().reason, reason::PROTOCOL_ERROR);
    let nameless = Request::Publish(publish("", "1", Qos::AtMostOnce));
    assert_eq!(site.try_say(&sender, nameless).unwrap_err().reason, reason::TOPIC_ALIAS_INVALID);
}

#[test]
fn the_order_of_one_publisher_is_kept_and_the_bell_rings_once_until_it_is_heard() {
    let mut site = Site::new();
    let receiver = site.visitor("r");
    site.subscribe(&receiver, "#", Qos::ExactlyOnce);
    assert!(site.take(&receiver).is_empty());
    let expected: Vec<_> = (0..300).map(|number| number.to_string()).collect();
    for (number, payload) in expected.iter().enumerate() {
        let publication = Publication::new("a", payload.clone());
        site.hub.publish(Publication { qos: QOS[number % 3], ..publication }, site.now);
    }
    assert_eq!(site.read(&receiver), expected);
}

#[test]
fn a_budget_is_kept_and_what_is_left_comes_next() {
    let mut site = Site::new();
    let receiver = site.visitor("r");
    site.subscribe(&receiver, "a", Qos::AtMostOnce);
    for _ in 0..10 {
        site.show("a", &"x".repeat(1_000));
    }
    let mut replies = Vec::new();
    assert!(site.hub.deliver(receiver.name, 3_000, site.now, &mut replies));
    assert_eq!(replies.len(), 3);
    assert_eq!(site.take(&receiver).len(), 7);
}
