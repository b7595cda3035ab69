//! After an outage: live first, the backlog with its share, and each message as what it is.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use wharf::clock::{BootId, Clock, Source};
use wharf::message::{Message, Qos};
use wharf::uplink::{Delivery, UplinkState};

use crate::lab::scripted::{Acks, Close, Publish, Script, Scripted};
use crate::lab::uplink::{Bare, How, TOPIC, heard, is_replayed, json, raw, reading, value};
use crate::lab::{PATIENCE, wait_for};

const LOSS: &str = "gw1-sys/loss";
/// Long enough for a record that is on disk to be read, and for something unwanted to show itself.
const A_WHILE: Duration = Duration::from_millis(500);

/// Waits until so many readings have come, and gives the latest.
fn nth(broker: &Scripted, count: usize) -> Publish {
    wait_for("the next reading", PATIENCE, || heard(broker, TOPIC).get(count - 1).cloned())
}

/// An uplink that has waited with these, and a broker that has acknowledged the first of them and holds the
/// next nine.
fn after_an_outage(waited: Range<usize>) -> (Scripted, Bare) {
    let broker = Scripted::start(&[]).for_ever(Script { acks: Acks::Held, ..Script::default() });
    let mut bare = Bare::new();
    bare.capture_all(waited.map(reading));
    bare.reopen();
    bare.start(broker.port, How::default());
    broker.release_some(1);
    nth(&broker, 10);
    (broker, bare)
}

#[test]
fn after_an_outage_live_goes_first_and_the_backlog_has_its_share_and_comes_to_its_end() {
    let (broker, bare) = after_an_outage(0..1000);

    // A single live message takes the next place that is free, before 990 that wait.
    bare.capture(&reading(1000));
    sleep(A_WHILE);
    broker.release_some(1);
    let next = nth(&broker, 11);
    assert_eq!((value(&next), is_replayed(&next)), (1000, false));

    // With both lanes full each has its share of the places.
    bare.capture_all((1001..1300).map(reading));
    sleep(A_WHILE);
    for count in 1..=300 {
        broker.release_some(1);
        nth(&broker, 11 + count);
    }
    let contested = &heard(&broker, TOPIC)[11..311];
    let replayed = contested.iter().filter(|publish| is_replayed(publish)).count();
    assert!((85..=95).contains(&replayed), "{replayed} of 300 from the backlog");
    for window in contested.windows(20) {
        let replayed = window.iter().filter(|publish| is_replayed(publish)).count();
        assert!((4..=8).contains(&replayed), "{replayed} of 20 from the backlog");
    }

    broker.release();
    bare.wait_empty();
    let all = heard(&broker, TOPIC);
    assert_eq!(all.len(), 1300, "each came once");
    let (backlog, live): (Vec<&Publish>, Vec<&Publish>) = all.iter().partition(|publish| is_replayed(publish));
    assert!(backlog.iter().map(|publish| value(publish)).eq(0..1000), "the backlog in order");
    assert!(live.iter().map(|publish| value(publish)).eq(1000..1300), "and live in order");
    assert_eq!(bare.counters().acknowledged, 1300);
}

#[test]
fn after_a_short_blink_and_at_the_start_nothing_is_called_replayed() {
    let broker = Scripted::start(&[Script { close: Close::After(20), acks: Acks::First(10), ..Script::default() }]);
    let mut bare = Bare::new();
    bare.start(broker.port, How::default());
    bare.capture_all((0..200).map(reading));
    bare.wait_empty();
    let all = heard(&broker, TOPIC);
    assert!(all.len() >= 200 && !all.iter().any(is_replayed), "{all:?}");
}

#[test]
fn what_is_replayed_says_so_in_json_and_in_mqtt_5_and_keeps_its_time() {
    for how in [How::default(), How::v311()] {
        let broker = Scripted::start(&[]);
        let v5 = how.protocol == wharf::uplink::Protocol::V5;
        let mut bare = Bare::new();
        bare.capture_all([reading(1), raw("gw1-out/2/1/1/0/24", "21.5")]);
        bare.reopen();
        bare.start(broker.port, how);
        bare.wait_empty();
        bare.capture_all([reading(2), raw("gw1-out/2/1/1/0/24", "22.5")]);
        bare.wait_empty();

        let readings = heard(&broker, TOPIC);
        assert_eq!(readings[0].payload, r#"{"value":1,"ts":1795219869123,"quality":"good","replay":true}"#);
        assert_eq!(readings[1].payload, r#"{"value":2,"ts":1795219869123,"quality":"good"}"#);
        let lines = heard(&broker, "gw1-out/2/1/1/0/24");
        assert_eq!((&*lines[0].payload, &*lines[1].payload), ("21.5", "22.5"), "a bare value stays bare");
        let replay = ("replay".to_owned(), "true".to_owned());
        assert_eq!(readings[0].properties, if v5 { vec![replay.clone()] } else { vec![] });
        if v5 {
            let [said, (ts, taken)] = &lines[0].properties[..] else { panic!("{:?}", lines[0]) };
            assert_eq!((said, ts.as_str()), (&replay, "ts"));
            assert!(taken.parse::<u64>().unwrap() > 1_700_000_000_000);
        }
        assert!(readings[1].properties.is_empty() && lines[1].properties.is_empty());
    }
}

#[test]
fn a_retained_message_from_the_backlog_does_not_overwrite_a_newer_one() {
    let broker = Scripted::start(&[]).for_ever(Script { acks: Acks::Held, ..Script::default() });
    let mut bare = Bare::new();
    let state = |device: &str, n: usize| raw(&format!("gw1-sys/device/{device}"), &n.to_string()).retained();
    bare.capture_all((0..20).map(reading));
    bare.capture_all([state("a", 1), state("b", 1), state("b", 2)]);
    bare.reopen();
    bare.start(broker.port, How::default());
    broker.release_some(1);
    nth(&broker, 10);
    bare.capture(&state("a", 2));
    sleep(A_WHILE);
    broker.release();
    bare.wait_empty();
    let kept = |device: &str| {
        let heard = heard(&broker, &format!("gw1-sys/device/{device}"));
        heard.into_iter().map(|publish| (publish.payload, publish.retain)).collect::<Vec<_>>()
    };
    assert_eq!(kept("a"), [("2".to_owned(), true), ("1".to_owned(), false)]);
    assert_eq!(kept("b"), [("1".to_owned(), true), ("2".to_owned(), true)]);
}

#[test]
fn what_an_earlier_run_overtook_is_not_retained_by_this_one() {
    // The last ten are acknowledged, the first is not; then the gateway is started anew.
    let broker = Scripted::start(&[Script { acks: Acks::AllBut(2), ..Script::default() }]);
    let mut bare = Bare::new();
    bare.start(broker.port, How::default());
    bare.wait_state(UplinkState::Up);
    bare.capture_all((0..10).map(|n| raw("gw1-sys/device/a", &n.to_string()).retained()));
    wait_for("all but one", PATIENCE, || (bare.counters().queued == 1).then_some(()));
    bare.reopen();
    bare.start(broker.port, How::default());
    bare.wait_empty();
    let last = heard(&broker, "gw1-sys/device/a").pop().unwrap();
    assert_eq!((last.payload.as_str(), last.retain), ("0", false));
}

#[test]
fn a_broker_without_retained_messages_or_qos_1_is_served_as_it_can_be() {
    let script = Script { no_retain: true, maximum_qos: Some(0), ..Script::default() };
    let broker = Scripted::start(&[]).for_ever(script);
    let mut bare = Bare::new();
    bare.start(broker.port, How::default());
    bare.capture_all((0..100).map(|n| reading(n).retained()));
    bare.wait_empty();
    let all = heard(&broker, TOPIC);
    assert_eq!(all.len(), 100);
    assert!(all.iter().all(|publish| publish.qos == 0 && !publish.retain));
    assert_eq!(broker.connects().len(), 1);
    assert_eq!(heard(&broker, "gw1-sys/state").len(), 1);
}

#[test]
fn a_broker_that_refuses_the_will_for_its_retain_flag_or_its_qos_gets_another() {
    // Retain not supported; QoS not supported.
    let scripts = [0x9a, 0x9b].map(|code| Script { refuse: Some(code), ..Script::default() });
    let broker = Scripted::start(&scripts);
    let mut bare = Bare::new();
    bare.start(broker.port, How::default());
    bare.wait_state(UplinkState::Up);
    let wills: Vec<(u8, bool)> = broker.connects().iter().map(|connect| connect.will).collect();
    assert_eq!(wills, [(1, true), (1, false), (0, false)]);
}

#[test]
fn times_taken_before_the_clock_was_set_are_marked_and_corrected_once_it_is() {
    const NOW: u64 = 1_795_219_869_000;
    let clock = Unset::default();
    let broker = Scripted::start(&[]);
    let mut bare = Bare::with_clock(Clock::with(clock.clone()));
    let taken = |n: usize, ts: u64| raw(TOPIC, &format!(r#"{{"value":{n},"ts":{ts}}}"#)).json();
    let template = |ts: u64| Message { times: vec![0], ..raw("gw1-out/text", &format!("{ts};1")) };
    // The box wakes up in 1970 and captures before anybody knows better.
    bare.capture_all([taken(0, 40_000), template(40_000)]);
    bare.start(broker.port, How::default());
    bare.wait_empty();
    bare.stop();
    bare.capture_all([taken(1, 41_000), template(41_000)]);
    clock.set(NOW - 41_000);
    bare.capture_all([taken(2, NOW), template(NOW)]);
    bare.start(broker.port, How::default());
    bare.wait_empty();

    let unset = |publish: &Publish| publish.properties.contains(&("clock".into(), "unset".into()));
    let corrected = |publish: &Publish| publish.properties.contains(&("clock".into(), "corrected".into()));
    let readings = heard(&broker, TOPIC);
    let said: Vec<_> = readings.iter().map(|r| (json(r)["ts"].as_u64().unwrap(), json(r)["clock"].clone())).collect();
    let word = |word: &str| serde_json::Value::from(word);
    assert_eq!(said, [(40_000, word("unset")), (NOW, word("corrected")), (NOW, serde_json::Value::Null)]);
    assert!(unset(&readings[0]) && corrected(&readings[1]));
    assert!(!unset(&readings[2]) && !corrected(&readings[2]));
    let texts = heard(&broker, "gw1-out/text");
    let said: Vec<&str> = texts.iter().map(|text| text.payload.as_str()).collect();
    assert_eq!(said, ["40000;1".to_owned(), format!("{NOW};1"), format!("{NOW};1")]);
    assert!(unset(&texts[0]) && corrected(&texts[1]));
}

/// A clock that runs from 1970 until it is set.
#[derive(Clone, Default)]
struct Unset(Arc<AtomicU64>);

impl Unset {
    /// Sets the wall clock ahead by so many milliseconds.
    fn set(&self, ahead: u64) {
        self.0.store(ahead, Ordering::SeqCst);
    }
}

impl Source for Unset {
    fn wall(&self) -> u64 {
        41_000 + self.0.load(Ordering::SeqCst)
    }

    fn boot(&self) -> u64 {
        41_000
    }

    fn boot_id(&self) -> BootId {
        BootId([1; 16])
    }

    fn is_kept(&self) -> bool {
        false
    }
}

#[test]
fn qos_0_is_sent_as_such_and_leaves_the_queue() {
    let broker = Scripted::start(&[]);
    let mut bare = Bare::new();
    bare.capture_all((0..500).map(|n| Message { qos: Qos::AtMostOnce, ..reading(n) }));
    bare.start(broker.port, How::default());
    bare.wait_empty();
    let all = wait_for("all of them", PATIENCE, || Some(heard(&broker, TOPIC)).filter(|all| all.len() == 500));
    assert!(all.iter().all(|publish| publish.qos == 0));
}

#[test]
fn a_message_expires_at_the_broker_when_it_would_have_expired_in_the_queue() {
    let broker = Scripted::start(&[]);
    let mut bare = Bare::new();
    let how = |max_age| How { delivery: Delivery { max_age, ..Delivery::default() }, ..How::default() };
    bare.start(broker.port, how(Some(Duration::from_secs(100))));
    bare.capture(&reading(0));
    bare.wait_empty();
    bare.stop();
    bare.start(broker.port, how(None));
    bare.capture(&reading(1));
    bare.wait_empty();
    let left: Vec<Option<u32>> = heard(&broker, TOPIC).iter().map(|publish| publish.expires_in).collect();
    assert!(left[0].is_some_and(|seconds| (1..=100).contains(&seconds)), "{left:?}");
    assert_eq!(left[1], None);
}

#[test]
fn the_backlog_keeps_to_its_rate_and_live_does_not_wait_for_it() {
    let broker = Scripted::start(&[]);
    let mut bare = Bare::new();
    bare.capture_all((0..300).map(reading));
    bare.reopen();
    let began = Instant::now();
    let delivery = Delivery { rate: Some(100), ..How::default().delivery };
    bare.start(broker.port, How { delivery, ..How::default() });
    bare.capture_all((300..500).map(reading));
    loop {
        let all = heard(&broker, TOPIC);
        let replayed = all.iter().filter(|publish| is_replayed(publish)).count();
        let allowed = began.elapsed().as_secs_f64() * 100.0 + 11.0;
        assert!(replayed as f64 <= allowed, "{replayed} replayed, {allowed} allowed");
        if all.len() == 500 {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{} came", all.len());
        sleep(Duration::from_millis(20));
    }
    let last_live = heard(&broker, TOPIC).iter().rposition(|publish| !is_replayed(publish)).unwrap();
    assert!(last_live < 499, "live was there before the backlog had come to its end");
}

#[test]
fn when_live_falls_behind_all_that_waits_becomes_backlog_and_nothing_comes_twice() {
    let (broker, bare) = after_an_outage(1000..1020);
    bare.capture_all((0..400).map(reading));
    sleep(A_WHILE);
    broker.release_some(8);
    nth(&broker, 18);
    let under_way = heard(&broker, TOPIC).iter().skip(8).filter(|publish| !is_replayed(publish)).count();
    assert!(under_way > 0, "live ones are under way while they become backlog");
    sleep(Duration::from_secs(12));
    bare.capture(&reading(400));
    sleep(A_WHILE);
    broker.release();
    bare.wait_empty();
    let all = heard(&broker, TOPIC);
    let newest = all.iter().position(|publish| value(publish) == 400).unwrap();
    assert!(newest < 40, "the newest came after {newest} others");
    assert!(all[18..].iter().all(|publish| is_replayed(publish) != (value(publish) == 400)));
    let mut came: Vec<usize> = all.iter().map(value).collect();
    came.sort_unstable();
    assert!(came.into_iter().eq((0..=400).chain(1000..1020)), "each came, and once");
}

#[test]
fn a_broker_that_stops_acknowledging_or_reading_is_left() {
    for how in [How::default(), How::v311()] {
        let silent = Script { acks: Acks::First(5), ..Script::default() };
        let deaf = Script { close: Close::Deaf(5), ..Script::default() };
        for script in [silent, deaf] {
            let broker = Scripted::start(&[script]);
            let mut bare = Bare::new();
            let delivery = Delivery { stall: Duration::from_millis(700), ..how.delivery.clone() };
            // More than the sockets between them hold.
            let text = "x".repeat(100_000);
            bare.capture_all((0..200).map(|_| raw("gw1-out/a/text", &text)));
            bare.start(broker.port, How { delivery, window: 100, ..how.clone() });
            if script == deaf {
                // It takes no other connection before the test has it close this one.
                bare.wait_state(UplinkState::Up);
                bare.wait_state(UplinkState::Down);
                broker.cut();
            }
            bare.wait_empty();
            assert_eq!(bare.counters().acknowledged, 200);
            let carried = broker.connects().iter().filter(|connect| !connect.publishes.is_empty()).count();
            assert_eq!(carried, 2);
        }
    }
}

#[test]
fn a_loss_is_reported_once_and_again_only_if_the_broker_may_not_have_it() {
    let first = Script { close: Close::AtTopic(LOSS), maximum_packet_size: Some(300), ..Script::default() };
    let broker = Scripted::start(&[first]).for_ever(Script { maximum_packet_size: Some(300), ..Script::default() });
    let mut bare = Bare::new();
    let large = "x".repeat(500);
    bare.capture_all([raw(TOPIC, &large), reading(1), raw(TOPIC, &large), reading(2)]);
    bare.start(broker.port, How::default());
    let told = wait_for("both losses", PATIENCE, || {
        let told: Vec<Publish> = heard(&broker, LOSS).into_iter().filter(|publish| publish.acked).collect();
        let count: u64 = told.iter().map(|publish| json(publish)["count"].as_u64().unwrap()).sum();
        (count == 2).then_some(told)
    });
    for loss in &told {
        assert_eq!((&json(loss)["uplink"], &json(loss)["reason"]), (&"central".into(), &"too_large".into()));
        assert_eq!(loss.qos, 1);
    }
    bare.wait_empty();
    sleep(A_WHILE);
    assert_eq!(heard(&broker, LOSS).iter().filter(|publish| publish.acked).count(), told.len());
    let counters = bare.counters();
    assert_eq!((counters.captured, counters.dropped.too_large), (4, 2), "a report is not in the queue");
}

#[test]
fn a_broker_that_wants_no_report_of_losses_gets_its_messages_all_the_same() {
    for script in [
        Script { close: Close::AtTopic(LOSS), ..Script::default() },
        Script { refuse_topic: Some((LOSS, 0x87, usize::MAX)), ..Script::default() },
        Script { close: Close::AtTopic("gw1-sys/state"), ..Script::default() },
        Script { refuse_topic: Some(("gw1-sys/state", 0x87, usize::MAX)), ..Script::default() },
    ] {
        let script = Script { maximum_packet_size: Some(300), ..script };
        let broker = Scripted::start(&[]).for_ever(script);
        let mut bare = Bare::new();
        bare.capture_all([raw(TOPIC, &"x".repeat(500))]);
        bare.capture_all((0..50).map(reading));
        bare.start(broker.port, How::default());
        bare.wait_empty_for(PATIENCE * 2);
        assert_eq!(bare.counters().acknowledged, 50, "{script:?}");
        bare.wait_state(UplinkState::Up);
        // The loss is reported when it is on disk. Breaks that go on follow each other faster than this.
        let mut before = 0;
        wait_for("peace", PATIENCE, || {
            sleep(2 * A_WHILE);
            let connects = broker.connects();
            let calm = connects.len() == before && connects.last().is_some_and(|connect| !connect.ended);
            before = connects.len();
            (calm && !heard(&broker, LOSS).is_empty()).then_some(())
        });
        assert!(before <= 20, "{before} connections: {script:?}");
    }
}

#[test]
fn losses_without_end_cost_a_broker_that_closes_at_their_reports_no_more_than_one() {
    let script = Script { close: Close::AtTopic(LOSS), maximum_packet_size: Some(300), ..Script::default() };
    let broker = Scripted::start(&[]).for_ever(script);
    let mut bare = Bare::new();
    bare.start(broker.port, How::default());
    bare.wait_state(UplinkState::Up);
    for round in 0..5 {
        bare.capture_all([raw(TOPIC, &"x".repeat(500))]);
        bare.capture_all((0..50).map(reading));
        bare.wait_empty_for(PATIENCE * 2);
        let mut before = 0;
        wait_for("peace", PATIENCE, || {
            sleep(2 * A_WHILE);
            let connects = broker.connects();
            let calm = connects.len() == before && connects.last().is_some_and(|connect| !connect.ended);
            before = connects.len();
            calm.then_some(())
        });
        assert!(before <= 12, "{before} connections after {} losses", round + 1);
    }
    assert!(bare.counters().losses_untold > 0, "what was not told is not forgotten");
}

#[test]
fn a_state_that_was_left_out_is_told_once_the_broker_takes_it() {
    let state = "gw1-sys/state";
    let broker = Scripted::start(&[Script { close: Close::AtTopic(state), ..Script::default() }; 5]);
    let mut bare = Bare::new();
    bare.start(broker.port, How::default());
    bare.wait_state(UplinkState::Up);
    bare.capture_all((0..50).map(reading));
    bare.wait_empty();
    let told = || heard(&broker, state).iter().filter(|publish| publish.acked).count();
    assert_eq!((broker.connects().len(), told()), (6, 0));
    broker.cut();
    wait_for("our state", PATIENCE, || (told() == 1).then_some(()));
}

#[test]
fn a_state_that_was_left_out_of_a_connection_that_lasts_is_told_on_it_after_a_while() {
    let state = "gw1-sys/state";
    let broker = Scripted::start(&[Script { close: Close::AtTopic(state), ..Script::default() }; 5]);
    let mut bare = Bare::new();
    let delivery = Delivery { rest: Duration::from_secs(2), ..How::default().delivery };
    bare.start(broker.port, How { delivery, ..How::default() });
    bare.wait_state(UplinkState::Up);
    let told = || heard(&broker, state).iter().filter(|publish| publish.acked).count();
    let mut captured = 0..;
    wait_for("our state", PATIENCE, || {
        bare.capture_all(captured.next().map(reading));
        (told() > 0).then_some(())
    });
    bare.wait_empty();
    assert_eq!((broker.connects().len(), told()), (6, 1), "on the connection there was, and once");
}

#[test]
fn a_broker_that_says_goodbye_for_a_reason_of_its_own_is_told_our_state_each_time() {
    let state = "gw1-sys/state";
    // It shuts down, is busy, or was told by somebody to end the connection.
    let goodbyes = [0x8b, 0x89, 0x98].repeat(3);
    let script = |reason| Script { close: Close::AtTopic(state), goodbye: Some(reason), ..Script::default() };
    let broker = Scripted::start(&goodbyes.into_iter().map(script).collect::<Vec<_>>());
    let mut bare = Bare::new();
    bare.start(broker.port, How::default());
    wait_for("our state", PATIENCE, || heard(&broker, state).iter().any(|publish| publish.acked).then_some(()));
    let first: Vec<_> = broker.connects().iter().filter_map(|c| c.publishes.first().map(|p| p.topic.clone())).collect();
    assert_eq!(first, vec![state; 10], "it was never left out");
}
