//! Rights, as they are granted, taken away and granted again.

use super::*;

fn nothing() -> Arc<Allowed> {
    Arc::new(Allowed::default())
}

fn everything() -> Arc<Allowed> {
    Arc::new(Allowed::everything())
}

#[test]
fn a_subscription_that_would_bring_nothing_is_refused() {
    let mut site = Site::new();
    let bell = Arc::default();
    let attached = site.hub.attach(&connect("r"), None, nothing(), Arc::clone(&bell), site.now).unwrap();
    let client = Client { name: attached.connection, bell, answer: attached.answer };
    assert_eq!(site.subscribe(&client, "a", Qos::AtLeastOnce), reason::NOT_AUTHORIZED);
    assert_eq!(site.publish(&client, "a", "1", Qos::AtLeastOnce), [Reply::PubAck { id: 7, reason: 0x87 }]);
    assert_eq!(figure(&site.figures.refused_subscriptions), 1);
    assert_eq!(figure(&site.figures.refused_publications), 1);
}

#[test]
fn who_may_not_hear_of_something_any_more_does_not_hear_of_it() {
    let mut site = Site::new();
    site.retain("a/1", "retained", Qos::AtLeastOnce);
    let receiver = site.resident("r");
    site.subscribe(&receiver, "a/#", Qos::AtLeastOnce);
    site.show("a/2", "waiting");
    site.hub.judge_again(&|_, _| Some(nothing()));
    site.show("a/3", "new");
    assert!(site.read(&receiver).is_empty());
    assert_eq!(figure(&site.figures.withheld), 3);
    assert_eq!(receiver.bell.closing(), None);
    site.hub.judge_again(&|_, _| Some(everything()));
    site.show("a/4", "again");
    assert_eq!(site.read(&receiver), ["again"]);
}

#[test]
fn who_comes_back_with_fewer_rights_does_not_get_what_waited() {
    let mut site = Site::new();
    let receiver = site.resident("r");
    site.subscribe(&receiver, "a", Qos::AtLeastOnce);
    site.show("a", "sent");
    site.take(&receiver);
    site.break_off(&receiver);
    site.show("a", "waiting");
    let again = Connect { session_expiry: 60, clean_start: false, ..connect("r") };
    let attached = site.hub.attach(&again, None, nothing(), Arc::default(), site.now).unwrap();
    let mut replies = Vec::new();
    site.hub.deliver(attached.connection, 1 << 20, site.now, &mut replies);
    assert_eq!(replies, []);
    assert_eq!((figure(&site.figures.withheld), figure(&site.figures.queued)), (2, 0));
}

#[test]
fn an_id_that_is_anothers_is_not_had_by_who_has_shown_nothing_nor_that_of_the_gateway_by_anybody() {
    let mut site = Site::new();
    let mut come = |id: &str, user: &str, expiry| {
        let connect = Connect { session_expiry: expiry, ..connect(id) };
        let attached = site.hub.attach(&connect, Some(user.into()), everything(), Arc::default(), site.now).unwrap();
        attached.connection
    };
    let away = come("away", "panel", 60);
    come("here", "panel", 0);
    come("link", "$mqttsn/meadow", 0);
    come("sensor", "$nobody/meadow", 0);
    site.hub.detach(away, Ending::Left, site.now);
    let hub = &site.hub;
    for id in ["away", "here"] {
        assert!(hub.is_anothers(id, Some("$nobody/meadow"), false) && hub.is_anothers(id, Some("field"), false));
        assert!(!hub.is_anothers(id, Some("panel"), false) && !hub.is_anothers(id, Some("other"), true));
    }
    for id in ["link", "sensor"] {
        assert!(hub.is_anothers(id, Some("panel"), true) && hub.is_anothers(id, None, true));
    }
    assert!(!hub.is_anothers("sensor", Some("$nobody/meadow"), false) && !hub.is_anothers("new", None, false));
}

#[test]
fn a_group_gives_a_message_to_a_member_that_may_hear_of_it() {
    let mut site = Site::new();
    let members = ["x", "y"].map(|name| site.visitor(name));
    for member in &members {
        site.subscribe(member, "$share/g/a", Qos::AtLeastOnce);
    }
    site.hub.judge_again(&|client, _| Some(if client == "x" { nothing() } else { everything() }));
    site.show("a", "1");
    site.show("a", "2");
    assert_eq!(members.map(|member| site.read(&member)), [vec![], vec!["1".to_owned(), "2".to_owned()]]);
    assert_eq!(figure(&site.figures.withheld), 0);
}

#[test]
fn whose_rights_are_gone_is_thrown_out_without_a_will() {
    let mut site = Site::new();
    let stays = site.visitor("stays");
    site.subscribe(&stays, "#", Qos::AtLeastOnce);
    let goes = site.connect(&Connect { will: Some(will("a", "1")), session_expiry: 60, ..connect("goes") });
    let away = site.resident("away");
    site.break_off(&away);
    site.hub.judge_again(&|client, _| (client == "stays").then(everything));
    assert_eq!((goes.bell.closing(), stays.bell.closing()), (Some(reason::ADMINISTRATIVE_ACTION), None));
    site.break_off(&goes);
    site.tick();
    assert!(site.read(&stays).is_empty());
    assert_eq!((figure(&site.figures.clients), figure(&site.figures.sessions)), (1, 1));
}

#[test]
fn a_will_is_not_published_when_its_client_may_not_any_more() {
    let mut site = Site::new();
    let watcher = site.visitor("watcher");
    site.subscribe(&watcher, "#", Qos::AtLeastOnce);
    let client = site.connect(&Connect { will: Some(will("a", "1")), ..connect("m") });
    site.hub.judge_again(&|client, _| Some(if client == "m" { nothing() } else { everything() }));
    site.break_off(&client);
    site.tick();
    assert!(site.read(&watcher).is_empty());
    assert_eq!(figure(&site.figures.refused_publications), 1);
}
