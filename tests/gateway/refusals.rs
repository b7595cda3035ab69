//! Messages that a broker does not take: it refuses them, or closes the connection at them. What is
//! behind them goes on, what can be delivered is, and what cannot is counted and reported.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::Duration;

use wharf::uplink::UplinkState;

use crate::lab::scripted::{Acks, Close, Connect, Publish, Script, Scripted};
use crate::lab::uplink::{Bare, How, TOPIC, heard, json, raw, reading, value};
use crate::lab::{PATIENCE, wait_for};

const DENIED: &str = "gw1-out/denied/level";
const LOSS: &str = "gw1-sys/loss";

/// So many readings, with a message on the denied topic before every so many of them.
fn mixed(readings: usize, every: usize) -> impl Iterator<Item = wharf::message::Message> {
    (0..readings).flat_map(move |n| {
        let denied = n.is_multiple_of(every).then(|| raw(DENIED, &n.to_string()));
        denied.into_iter().chain([reading(n)])
    })
}

/// Waits until so many are reported as refused, and no more.
fn reported(broker: &Scripted, expected: u64) {
    wait_for("the reports", PATIENCE, || {
        let reports = heard(broker, LOSS).into_iter().filter(|report| report.acked);
        let count: u64 = reports
            .map(|report| {
                assert_eq!(json(&report)["reason"], "refused");
                json(&report)["count"].as_u64().unwrap()
            })
            .sum();
        assert!(count <= expected, "{count} reported of {expected}");
        (count == expected).then_some(())
    });
}

/// Everything came, and what came again is no more than what was under way when connections broke.
fn all_came(broker: &Scripted, readings: usize, window: usize) {
    let (mut came, mut again) = (BTreeSet::new(), 0);
    for (number, connect) in broker.connects().iter().enumerate() {
        let here: Vec<usize> = connect.publishes.iter().filter(|publish| publish.topic == TOPIC).map(value).collect();
        again += here.iter().filter(|n| came.contains(*n)).count();
        assert!(again <= window * number, "connection {number}: {again} came again");
        assert_eq!(here.iter().collect::<BTreeSet<_>>().len(), here.len(), "connection {number}: a reading came twice");
        came.extend(here);
    }
    assert_eq!(came, (0..readings).collect());
}

fn in_parallel<T: Sync>(cases: &[T], test: impl Fn(&T) + Sync) {
    std::thread::scope(|scope| {
        for case in cases {
            let test = &test;
            scope.spawn(move || test(case));
        }
    });
}

#[test]
fn each_refusal_gets_the_tries_it_deserves_and_blocks_nothing_behind_it() {
    // Unspecified, implementation specific, not authorized, topic invalid, id in use, format invalid.
    let cases = [(0x80, 4), (0x83, 4), (0x87, 4), (0x90, 1), (0x91, 6), (0x99, 1)];
    in_parallel(&cases, |&(reason, tries)| {
        let script = Script { refuse_topic: Some((DENIED, reason, usize::MAX)), ..Script::default() };
        let broker = Scripted::start(&[]).for_ever(script);
        let mut bare = Bare::new();
        bare.start(broker.port, How::default());
        bare.wait_state(UplinkState::Up);
        bare.capture_all(mixed(2000, 500));
        bare.wait_empty();
        let counters = bare.counters();
        assert_eq!((counters.acknowledged, counters.dropped.refused), (2000, 4), "{reason:#x}");
        reported(&broker, 4);
        assert_eq!(heard(&broker, DENIED).len(), 4 * tries, "{reason:#x}");
        let came: Vec<usize> = heard(&broker, TOPIC).iter().map(value).collect();
        assert!(came.iter().copied().eq(0..2000), "{reason:#x}: in order, each once");
        assert_eq!(broker.connects().len(), 1);
    });
}

#[test]
fn what_a_broker_refuses_for_want_of_quota_is_delivered_when_there_is_some_again() {
    for (reason, refusals) in [(0x97, 6), (0x91, 5), (0x87, 3)] {
        let script = Script { refuse_topic: Some((DENIED, reason, refusals)), ..Script::default() };
        let broker = Scripted::start(&[]).for_ever(script);
        let mut bare = Bare::new();
        bare.start(broker.port, How::default());
        bare.capture_all(mixed(900, 300));
        bare.wait_empty();
        assert_eq!(bare.counters().acknowledged, 903, "{reason:#x}");
        assert_eq!(heard(&broker, LOSS).len(), 0);
        all_came(&broker, 900, 0);
    }
}

#[test]
fn what_comes_late_because_it_was_refused_is_told_from_what_is_fresh() {
    let script = Script { refuse_topic: Some((DENIED, 0x87, 1)), ..Script::default() };
    let broker = Scripted::start(&[]).for_ever(script);
    let mut bare = Bare::new();
    bare.start(broker.port, How::default());
    bare.wait_state(UplinkState::Up);
    bare.capture_all(["old", "new"].map(|text| raw(DENIED, text).retained()));
    bare.wait_empty();
    let is_replayed = |publish: &Publish| publish.properties.iter().any(|(name, _)| name == "replay");
    let came = heard(&broker, DENIED);
    let came: Vec<_> = came.iter().map(|p| (p.payload.as_str(), p.retain, is_replayed(p))).collect();
    assert_eq!(came, [("old", true, false), ("new", true, false), ("old", false, true)]);
}

#[test]
fn a_broker_that_refuses_everything_for_a_while_costs_nothing() {
    let broker = Scripted::start(&[Script { refuse_every: Some((1, 0x97)), ..Script::default() }]);
    let mut bare = Bare::new();
    bare.capture_all((0..4000).map(reading));
    bare.start(broker.port, How { window: 100, ..How::default() });
    wait_for("a thousand refusals", PATIENCE, || (heard(&broker, TOPIC).len() >= 1000).then_some(()));
    sleep(Duration::from_millis(1500));
    let tried: BTreeSet<usize> = heard(&broker, TOPIC).iter().map(value).collect();
    assert!(tried.len() < 1500, "{} were run through their patience", tried.len());
    assert_eq!(bare.counters().dropped.total(), 0);
    broker.cut();
    bare.wait_empty_for(PATIENCE * 3);
    let counters = bare.counters();
    assert_eq!((counters.acknowledged, counters.dropped.total()), (4000, 0));
}

#[test]
fn a_message_at_which_the_broker_closes_the_connection_does_not_hold_the_others_up() {
    in_parallel(&[How::default(), How::v311()], |how| {
        let script = Script { close: Close::AtTopic(DENIED), ..Script::default() };
        let broker = Scripted::start(&[]).for_ever(script);
        let mut bare = Bare::new();
        bare.capture_all(mixed(2000, 2000));
        bare.start(broker.port, how.clone());
        bare.wait_empty();
        let counters = bare.counters();
        assert_eq!((counters.acknowledged, counters.dropped.refused), (2000, 1), "{:?}", how.protocol);
        reported(&broker, 1);
        all_came(&broker, 2000, 10);
        let carried = |connect: &&Connect| !connect.publishes.is_empty();
        let connections = broker.connects().iter().filter(carried).count();
        assert!(connections <= 10, "{connections} connections");
    });
}

#[test]
fn a_topic_at_which_the_broker_closes_the_connection_ends_in_a_ban() {
    in_parallel(&[How::default(), How::v311()], |how| {
        let script = Script { close: Close::AtTopic(DENIED), ..Script::default() };
        let broker = Scripted::start(&[]).for_ever(script);
        let mut bare = Bare::new();
        bare.capture_all(mixed(1000, 10));
        bare.reopen();
        bare.start(broker.port, how.clone());
        bare.capture_all((1000..3000).map(reading));
        bare.wait_empty_for(PATIENCE * 2);
        let counters = bare.counters();
        assert_eq!((counters.acknowledged, counters.dropped.refused), (3000, 100), "{:?}", how.protocol);
        reported(&broker, 100);
        all_came(&broker, 3000, 10);
        assert!(heard(&broker, DENIED).len() <= 15, "{} tries", heard(&broker, DENIED).len());
    });
}

#[test]
fn a_line_that_breaks_200_times_costs_no_message() {
    in_parallel(&[How::default(), How::v311()], |how| {
        let mut dice = fastrand::Rng::with_seed(200);
        let scripts: Vec<Script> = (0..200)
            .map(|n| {
                let after = dice.usize(1..40);
                let close = if n % 2 == 0 { Close::After(after) } else { Close::Inside(after) };
                Script { close, ..Script::default() }
            })
            .collect();
        let broker = Scripted::start(&scripts);
        let mut bare = Bare::new();
        bare.capture_all((0..4000).map(reading));
        bare.start(broker.port, how.clone());
        bare.wait_empty_for(PATIENCE * 3);
        let counters = bare.counters();
        assert_eq!((counters.acknowledged, counters.dropped.total()), (4000, 0), "{:?}", how.protocol);
        all_came(&broker, 4000, 10);
        let broken = broker.connects().iter().filter(|connect| connect.publishes.len() > 1 && connect.ended).count();
        assert!(broken >= 100, "{broken} connections broke amid messages");
    });
}

#[test]
fn suspects_that_are_dropped_from_the_queue_leave_the_window_as_wide_as_it_was() {
    let breaks = Script { acks: Acks::First(1), close: Close::After(11), ..Script::default() };
    let broker = Scripted::start(&[breaks; 3]).for_ever(Script { refuse: Some(0x88), ..Script::default() });
    let mut bare = Bare::new();
    bare.capture_all((0..10).map(reading));
    bare.start(broker.port, How::default());
    wait_for("a broker that is busy", PATIENCE, || (broker.connects().len() > 3).then_some(()));
    assert_eq!(bare.queue().purge(), 10);
    let broker = broker.for_ever(Script { acks: Acks::Held, ..Script::default() });
    bare.capture_all((10..50).map(reading));
    broker.release_some(1);
    wait_for("a full window", PATIENCE, || {
        broker.connects().last().is_some_and(|connect| connect.most_in_flight == 10).then_some(())
    });
    broker.release();
    bare.wait_empty();
    assert_eq!(bare.counters().acknowledged, 40);
}

#[test]
fn a_poisonous_topic_with_more_messages_than_can_be_held_ends_in_a_ban_as_well() {
    let script = Script { close: Close::AtTopic(DENIED), ..Script::default() };
    let broker = Scripted::start(&[]).for_ever(script);
    let mut bare = Bare::new();
    let denied = |n: usize| (0..40).map(move |m| raw(DENIED, &format!("{n} {m}")));
    bare.capture_all((0..200).flat_map(|n| denied(n).chain([reading(n)])));
    bare.reopen();
    bare.start(broker.port, How::default());
    bare.capture_all((200..300).flat_map(|n| denied(n).chain([reading(n)])));
    bare.wait_empty_for(PATIENCE * 2);
    let counters = bare.counters();
    assert_eq!((counters.acknowledged, counters.dropped.refused), (300, 12_000));
    all_came(&broker, 300, 10);
    assert!(heard(&broker, DENIED).len() <= 15, "{} tries", heard(&broker, DENIED).len());
}

#[test]
fn a_topic_that_was_held_in_vain_is_delivered_however_much_of_it_there_is() {
    // The broker changes its mind when it has closed the connection at the topic four times.
    let script = Script { close: Close::AtTopic(DENIED), ..Script::default() };
    let broker = Scripted::start(&[script; 4]);
    let mut bare = Bare::new();
    let denied = |n: usize| (0..40).map(move |m| raw(DENIED, &format!("{n} {m}")));
    bare.capture_all((0..100).flat_map(|n| denied(n).chain([reading(n)])));
    bare.reopen();
    bare.start(broker.port, How::default());
    bare.wait_empty_for(PATIENCE * 2);
    let counters = bare.counters();
    assert_eq!((counters.acknowledged, counters.dropped.total()), (4100, 0));
    all_came(&broker, 100, 10);
    let texts: BTreeSet<String> = heard(&broker, DENIED).into_iter().filter(|p| p.acked).map(|p| p.payload).collect();
    assert_eq!(texts.len(), 4000);
    let acked = heard(&broker, DENIED).iter().filter(|publish| publish.acked).count();
    assert_eq!(acked, 4000, "each once");
}

#[test]
fn a_broker_whose_rules_refuse_everything_costs_nothing_and_is_said_to() {
    let broker = Scripted::start(&[Script { refuse_every: Some((1, 0x87)), ..Script::default() }]);
    let mut bare = Bare::new();
    bare.capture_all((0..4000).map(reading));
    bare.start(broker.port, How { window: 100, ..How::default() });
    // Three tries take seven seconds.
    sleep(Duration::from_secs(12));
    assert_eq!(bare.counters().dropped.total(), 0);
    let said = bare.last_error().expect("something is wrong");
    assert!(said.contains("refuses everything"), "{said}");
    broker.cut();
    bare.wait_empty_for(PATIENCE * 3);
    let counters = bare.counters();
    assert_eq!((counters.acknowledged, counters.dropped.total()), (4000, 0));
}

#[test]
fn a_record_that_is_no_message_is_counted_as_damaged_and_holds_nothing_up() {
    let broker = Scripted::start(&[Script { close: Close::AtTopic(DENIED), ..Script::default() }; 5]);
    let mut bare = Bare::new();
    bare.capture_all((0..50).flat_map(|n| (n == 20).then(|| raw(DENIED, "x")).into_iter().chain([reading(n)])));
    bare.capture_body(b"no message at all");
    bare.capture_all((50..100).map(reading));
    bare.start(broker.port, How::default());
    bare.wait_empty();
    let counters = bare.counters();
    let refused = counters.dropped.refused;
    assert_eq!(
        (counters.acknowledged + refused, counters.dropped.damaged, counters.dropped.total()),
        (101, 1, refused + 1)
    );
    all_came(&broker, 100, 10);
}
