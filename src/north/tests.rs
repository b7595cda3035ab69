use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::queue::{Settings, WhenFull};

/// Generous: what has to happen at once happens within this on any machine.
const SOON: Duration = Duration::from_secs(20);

/// The way to one uplink's queue that blocks and has no more room, and who takes what there.
async fn blocked(dir: &std::path::Path) -> (North, Queue, Route) {
    let rules = Settings { max_size: 256 << 10, min_free: 0, when_full: WhenFull::Block, ..Settings::new(dir) };
    let queue = Queue::open(rules).unwrap();
    let outlet = Outlet { name: "plant".into(), queue: queue.clone(), filter: Matcher::default() };
    let north = North::new(vec![outlet], None, None);
    let facts = LinkFacts { link: "bus".into(), driver: "test", labels: &[] };
    let route = north.routes(facts).link();
    let full = async { while timeout(Duration::from_secs(1), north.carry(large(), route, || None)).await.is_ok() {} };
    timeout(SOON, full).await.expect("the queue is full at some time");
    (north, queue, route)
}

fn large() -> Message {
    Message::new("gw1-out/tank/level", vec![b'x'; 16 << 10])
}

#[tokio::test]
async fn what_is_no_reading_waits_a_moment_only_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (north, queue, _) = blocked(dir.path()).await;
    let before = queue.counters().dropped.full;
    let answer = north.publish(Message::new("gw1-sys/answer/tank/valve", "{}"), &To::Everyone);
    timeout(SOON, answer).await.expect("an answer does not hang on a queue that takes nothing");
    assert_eq!(queue.counters().dropped.full, before + 1);
}

#[tokio::test]
async fn a_reading_waits_until_the_gateway_stops_and_then_says_who_did_not_get_it() {
    let dir = tempfile::tempdir().unwrap();
    let (north, queue, route) = blocked(dir.path()).await;
    let captured = queue.counters().captured;
    let waiting = tokio::spawn({
        let north = north.clone();
        async move { north.carry(large(), route, || None).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished(), "there was no room, and yet it did not wait");

    north.stop_waiting();
    assert_eq!(timeout(SOON, waiting).await.unwrap().unwrap(), route);
    assert_eq!(timeout(SOON, north.carry(large(), route, || None)).await.unwrap(), route);
    assert_eq!(queue.counters().captured, captured, "whoever carries counts");
    let taken_at = SystemTime::now();
    north.count_lost(route, 2, taken_at, taken_at);
    assert_eq!(queue.counters().dropped.blocked, 2);
}

#[tokio::test]
async fn what_somebody_waits_to_hear_of_is_left_to_them_while_the_gateway_stops() {
    let dir = tempfile::tempdir().unwrap();
    let (north, queue, route) = blocked(dir.path()).await;
    let before = queue.counters();
    north.stop_waiting();
    let to = To::Some(route);
    let passed = north.pass_on(large(), &to, Duration::from_secs(60), |_, _| {});
    assert!(timeout(SOON, passed).await.unwrap().is_err());
    let after = queue.counters();
    assert_eq!((after.captured, after.dropped.full), (before.captured, before.dropped.full), "it is not ours");
    timeout(SOON, north.publish(large(), &To::Everyone)).await.unwrap();
    assert_eq!(queue.counters().dropped.full, before.dropped.full + 1, "what the gateway says itself is");
}

#[tokio::test]
async fn a_message_for_some_is_not_offered_to_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let outlet = |name: &str, link: &str| Outlet {
        name: name.into(),
        queue: Queue::open(Settings::new(dir.path().join(name))).unwrap(),
        filter: Matcher { link: Some(crate::mapping::Glob::new(link)), ..Matcher::default() },
    };
    let (plant, cloud) = (outlet("plant", "bus"), outlet("cloud", "garden"));
    let captured = [&plant, &cloud].map(|outlet| outlet.queue.clone());
    let captured = || captured.each_ref().map(|queue| queue.counters().captured);
    let north = North::new(vec![plant, cloud], None, None);
    let facts = LinkFacts { link: "garden".into(), driver: "test", labels: &[] };
    let route = north.routes(facts).link();

    assert_eq!(north.carry(large(), route, || None).await, Route::default());
    assert_eq!(captured(), [0, 1]);
    north.publish(large(), &To::Some(route)).await;
    assert_eq!(captured(), [0, 2]);
    north.publish(large(), &To::Everyone).await;
    assert_eq!(captured(), [1, 3]);
    north.count_lost(route, 5, SystemTime::now(), SystemTime::now());
    assert_eq!(captured(), [1, 8]);
}
