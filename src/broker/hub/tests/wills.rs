//! What is published for clients that break off.

use super::*;

fn watched(site: &mut Site) -> Client {
    let watcher = site.visitor("watcher");
    site.subscribe(&watcher, "gone/#", Qos::AtLeastOnce);
    watcher
}

fn mortal(expiry: u32, delay: u64) -> Connect {
    let will = Will { delay: Duration::from_secs(delay), ..will("gone/m", "farewell") };
    Connect { will: Some(will), session_expiry: expiry, clean_start: false, ..connect("m") }
}

#[test]
fn who_breaks_off_has_its_will_published_and_who_leaves_has_not() {
    for (broken, expected) in [(true, 1), (false, 0)] {
        for expiry in [0, 60] {
            let mut site = Site::new();
            let watcher = watched(&mut site);
            let client = site.connect(&mortal(expiry, 0));
            if broken {
                site.break_off(&client)
            } else {
                site.leave(&client)
            }
            site.tick();
            let got = site.take(&watcher);
            assert_eq!(got.len(), expected);
            if let [will] = &got[..] {
                assert_eq!(text(will), "farewell");
                assert_eq!(will.publication.from, Origin::Will { client: "m".into(), user: None });
            }
        }
    }
}

#[test]
fn who_has_taken_its_leave_has_no_will_any_more() {
    let mut site = Site::new();
    let watcher = watched(&mut site);
    let client = site.connect(&mortal(60, 0));
    site.say(&client, Request::Disconnect { reason: reason::SUCCESS, session_expiry: None });
    site.break_off(&client);
    site.tick();
    assert!(site.read(&watcher).is_empty());
}

#[test]
fn a_connection_that_ended_well_leaves_no_will_whatever_was_said_over_it() {
    let mut site = Site::new();
    let watcher = watched(&mut site);
    let client = site.connect(&mortal(60, 0));
    site.hub.detach(client.name, Ending::Left, site.now);
    site.tick();
    assert!(site.read(&watcher).is_empty());
}

#[test]
fn who_leaves_with_its_will_has_it_published() {
    let mut site = Site::new();
    let watcher = watched(&mut site);
    let client = site.connect(&mortal(0, 0));
    site.say(&client, Request::Disconnect { reason: reason::DISCONNECT_WITH_WILL, session_expiry: None });
    site.hub.detach(client.name, Ending::Broken, site.now);
    site.tick();
    assert_eq!(site.read(&watcher), ["farewell"]);
}

#[test]
fn a_will_waits_for_its_delay_and_goes_when_its_client_is_back() {
    let mut site = Site::new();
    let watcher = watched(&mut site);
    let client = site.connect(&mortal(60, 10));
    site.break_off(&client);
    assert_eq!(site.tick(), Some(site.now + Duration::from_secs(10)));
    site.pass(9);
    let client = site.connect(&mortal(60, 10));
    site.pass(60);
    site.tick();
    assert!(site.read(&watcher).is_empty());
    site.break_off(&client);
    site.pass(10);
    site.tick();
    assert_eq!(site.read(&watcher), ["farewell"]);
    site.pass(60);
    site.tick();
    assert!(site.read(&watcher).is_empty());
}

#[test]
fn a_will_waits_no_longer_than_the_session_lasts() {
    for (expiry, after) in [(5, 5), (0, 0)] {
        let mut site = Site::new();
        let watcher = watched(&mut site);
        let client = site.connect(&mortal(expiry, 10));
        site.break_off(&client);
        site.pass(after);
        site.tick();
        assert_eq!(site.read(&watcher), ["farewell"]);
    }
}

#[test]
fn a_will_goes_out_when_a_clean_start_ends_the_session() {
    let mut site = Site::new();
    let watcher = watched(&mut site);
    let client = site.connect(&mortal(60, 10));
    site.break_off(&client);
    site.connect(&Connect { clean_start: true, ..connect("m") });
    site.tick();
    assert_eq!(site.read(&watcher), ["farewell"]);
}

#[test]
fn a_connection_that_is_taken_over_has_broken_off() {
    for (delay, expected) in [(0, vec!["farewell"]), (10, vec![])] {
        let mut site = Site::new();
        let watcher = watched(&mut site);
        site.connect(&mortal(60, delay));
        site.connect(&mortal(60, delay));
        site.tick();
        assert_eq!(site.read(&watcher), expected);
    }
}

#[test]
fn a_will_is_retained_and_expires_as_any_message() {
    let mut site = Site::new();
    let mut connect = mortal(0, 0);
    connect.will = connect.will.map(|will| Will { retain: true, expiry: Some(Duration::from_secs(5)), ..will });
    let client = site.connect(&connect);
    site.break_off(&client);
    site.tick();
    let watcher = watched(&mut site);
    let got = site.take(&watcher);
    assert_eq!((got.len(), got[0].retain, got[0].expiry), (1, true, Some(5)));
}

#[test]
fn a_will_that_may_not_be_published_keeps_its_client_out() {
    let mut site = Site::with(Limits { largest_retained: 50, ..Limits::default() });
    let with = |topic: &str, payload: &str| {
        let will = Will { payload: payload.to_owned().into(), ..will(topic, "") };
        Connect { will: Some(will), ..connect("m") }
    };
    assert_eq!(site.try_connect(&with("a/#", "")).err(), Some(reason::TOPIC_NAME_INVALID));
    assert_eq!(site.try_connect(&with("$SYS/a", "")).err(), Some(reason::NOT_AUTHORIZED));
    assert_eq!(site.try_connect(&with("a", &"x".repeat(60))).err(), Some(reason::PACKET_TOO_LARGE));
    let nobody = Arc::new(Allowed::default());
    let refused = site.hub.attach(&with("a", "1"), None, nobody, Arc::default(), site.now);
    assert_eq!(refused.err(), Some(reason::NOT_AUTHORIZED));
    assert_eq!(figure(&site.figures.sessions), 0);
}

#[tokio::test]
async fn the_clock_rings_when_something_is_due_earlier() {
    let mut site = Site::new();
    let clock = site.hub.clock();
    for connect in [mortal(0, 0), Connect { will: None, ..mortal(60, 0) }] {
        let client = site.connect(&connect);
        site.break_off(&client);
        tokio::time::timeout(Duration::from_secs(30), clock.heard()).await.expect("something is due");
    }
}
