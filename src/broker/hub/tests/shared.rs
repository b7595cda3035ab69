//! Shared subscriptions.

use super::*;

fn member(site: &mut Site, name: &str, filter: &str) -> Client {
    let client = site.resident(name);
    site.subscribe(&client, filter, Qos::ExactlyOnce);
    client
}

fn show(site: &mut Site, topic: &str, numbers: std::ops::Range<u32>) {
    for number in numbers {
        site.show(topic, &number.to_string());
    }
}

#[test]
fn members_of_a_group_take_turns_and_others_get_everything() {
    let mut site = Site::new();
    let members = ["x", "y", "z"].map(|name| member(&mut site, name, "$share/g/a/+"));
    let alone = member(&mut site, "alone", "$share/h/a/b");
    let plain = member(&mut site, "plain", "a/#");
    show(&mut site, "a/b", 0..6);
    assert_eq!(members.map(|member| site.read(&member)), [["0", "3"], ["1", "4"], ["2", "5"]]);
    assert_eq!(site.read(&alone).len(), 6);
    assert_eq!(site.read(&plain).len(), 6);
}

#[test]
fn a_member_that_cannot_keep_up_is_passed_over() {
    let mut site = Site::with(Limits { queued: 2, ..Limits::default() });
    let (x, y) = (member(&mut site, "x", "$share/g/a"), member(&mut site, "y", "$share/g/a"));
    show(&mut site, "a", 0..4);
    assert_eq!(site.read(&y), ["1", "3"]);
    for number in 4..6 {
        site.show("a", &number.to_string());
        assert_eq!(site.read(&y), [number.to_string()]);
    }
    assert_eq!(site.read(&x), ["0", "2"]);
    assert_eq!(figure(&site.figures.dropped_full), 0);
}

#[test]
fn what_a_client_shares_and_what_it_does_not_come_separately() {
    let mut site = Site::new();
    let client = member(&mut site, "x", "$share/g/a");
    site.subscribe(&client, "a", Qos::AtLeastOnce);
    site.show("a", "1");
    assert_eq!(site.read(&client), ["1", "1"]);
}

#[test]
fn nothing_retained_comes_of_a_shared_subscription() {
    let mut site = Site::new();
    site.retain("a", "1", Qos::AtLeastOnce);
    let client = member(&mut site, "x", "$share/g/a");
    assert!(site.read(&client).is_empty());
}

#[test]
fn a_group_does_not_leave_out_a_members_own_messages() {
    let mut site = Site::new();
    let client = site.visitor("x");
    let filters = vec![Wanted { no_local: true, ..wanted("$share/g/a", Qos::AtLeastOnce) }];
    let request = Request::Subscribe { id: 1, filters, identifier: None };
    assert_eq!(site.try_say(&client, request).unwrap_err().reason, reason::PROTOCOL_ERROR);
}

#[test]
fn a_member_that_is_there_comes_before_one_that_is_away() {
    let mut site = Site::new();
    let (x, y) = (member(&mut site, "x", "$share/g/a"), member(&mut site, "y", "$share/g/a"));
    site.break_off(&x);
    show(&mut site, "a", 0..3);
    assert_eq!(site.read(&y), ["0", "1", "2"]);
    site.break_off(&y);
    show(&mut site, "a", 3..5);
    assert_eq!(figure(&site.figures.queued), 2);
    let (x, y) = (site.resident("x"), site.resident("y"));
    let mut both = site.read(&x);
    both.extend(site.read(&y));
    both.sort();
    assert_eq!(both, ["3", "4"]);
}

#[test]
fn what_a_member_that_goes_has_not_acknowledged_goes_to_another() {
    let mut site = Site::new();
    let (x, y) = (member(&mut site, "x", "$share/g/a"), member(&mut site, "y", "$share/g/a"));
    show(&mut site, "a", 0..4);
    assert_eq!(site.take(&x).len(), 2);
    assert_eq!(site.read(&y), ["1", "3"]);
    site.break_off(&x);
    assert_eq!(site.read(&y), ["0", "2"]);
    let x = site.resident("x");
    assert!(site.read(&x).is_empty());
    assert_eq!(figure(&site.figures.queued), 0);
}

#[test]
fn what_a_member_that_goes_has_not_even_got_goes_to_another_in_order_and_is_noted() {
    let notes = Notes::default();
    let mut site = Site::noting(Limits::default(), Box::new(notes.clone()));
    let (x, y) = (member(&mut site, "x", "$share/g/a"), member(&mut site, "y", "$share/g/a"));
    show(&mut site, "a", 0..2);
    assert_eq!(site.take(&x).len(), 1);
    show(&mut site, "a", 2..6);
    site.read(&y);
    notes.take();
    site.break_off(&x);
    let expected =
        ["session x 3600 away", "done x 1", "done x 2", "done x 3", "queued y 4", "queued y 5", "queued y 6"];
    assert_eq!(notes.take(), expected);
    assert_eq!(site.read(&y), ["0", "2", "4"]);
}

#[test]
fn what_is_to_be_taken_once_and_may_have_been_waits_for_its_member() {
    let mut site = Site::new();
    let (x, y) = (member(&mut site, "x", "$share/g/a"), member(&mut site, "y", "$share/g/a"));
    for number in 0..4 {
        site.hub.publish(Publication { qos: Qos::ExactlyOnce, ..Publication::new("a", number.to_string()) }, site.now);
    }
    let got = site.take(&x);
    assert_eq!(got.iter().map(text).collect::<Vec<_>>(), ["0", "2"]);
    site.say(&x, Request::PubRec { id: got[1].id, reason: 0 });
    site.break_off(&x);
    assert_eq!(site.read(&y), ["1", "3"]);
    let x = site.resident("x");
    assert_eq!(site.read(&x), ["0"]);
}

#[test]
fn what_waits_for_a_member_whose_session_is_over_goes_to_another() {
    let mut site = Site::new();
    let y = member(&mut site, "y", "$share/g/a");
    let x = site.connect(&Connect { session_expiry: 10, clean_start: false, ..connect("x") });
    site.subscribe(&x, "$share/g/a", Qos::AtLeastOnce);
    site.break_off(&y);
    show(&mut site, "a", 0..2);
    assert_eq!(site.take(&x).len(), 2);
    site.break_off(&x);
    site.pass(11);
    site.tick();
    let y = site.resident("y");
    assert_eq!(site.read(&y), ["0", "1"]);
}

#[test]
fn a_group_without_members_is_no_more() {
    let mut site = Site::new();
    let (x, y) = (member(&mut site, "x", "$share/g/a/#"), member(&mut site, "y", "$share/g/a/#"));
    site.say(&x, Request::Unsubscribe { id: 1, filters: vec!["$share/g/a/#".into()] });
    show(&mut site, "a", 0..2);
    assert_eq!(site.read(&y), ["0", "1"]);
    site.hub.detach(y.name, Ending::Left, site.now);
    site.visitor("y");
    assert_eq!(site.show("a", "2"), 0);
    assert_eq!(site.hub.tree.size(), 1);
}
