use std::path::Path;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;
use wharf_contract::Value;

use super::*;
use crate::clock::pretend::Pretend;
use crate::clock::{Correction, time};
use crate::mapping::{Matcher, Payload, Publish, Rule, TOPIC_WORDS, Template};
use crate::message::{Message, Qos};
use crate::north::Outlet;
use crate::queue::{Queue, Settings, WhenFull};

/// Generous: what has to happen at once happens within this on any machine.
const SOON: Duration = Duration::from_secs(20);
const NOW: u64 = 1_795_000_000_000;
const DAY: u64 = 86_400_000;

/// A mapping in front of one queue that blocks.
struct Bench {
    queue: Queue,
    north: North,
    mapper: JoinHandle<()>,
    events: mpsc::Sender<LinkEvent>,
}

impl Bench {
    /// The queue takes nothing any more.
    async fn full(dir: &Path, clock: Clock) -> Self {
        Self::full_with(dir, clock, Vec::new()).await
    }

    /// The same, with a mapping by these rules.
    async fn full_with(dir: &Path, clock: Clock, of_site: Vec<Rule>) -> Self {
        let rules = Settings {
            max_size: 256 << 10,
            min_free: 0,
            when_full: WhenFull::Block,
            clock: clock.clone(),
            ..Settings::new(dir)
        };
        let queue = Queue::open(rules).unwrap();
        let outlet = Outlet { name: "plant".into(), queue: queue.clone(), filter: Matcher::default() };
        let north = North::new(vec![outlet], None, None);
        let links = vec![LinkFacts { link: "bus".into(), driver: "test", labels: &[] }];
        let (events, received) = mpsc::channel(64);
        let mapping = Mapping::new("gw1", of_site, &links);
        let feed = Feed::new(None, false, false);
        let mapper = Mapper::new(mapping, links.clone(), north.clone(), Topics::new("gw1"), clock, feed, received);
        let route = north.routes(links[0].clone()).link();
        let large = || Message::new("gw1-out/tank/level", vec![b'x'; 16 << 10]);
        let fill =
            async { while timeout(Duration::from_secs(1), north.carry(large(), route, || None)).await.is_ok() {} };
        timeout(SOON, fill).await.expect("the queue is full at some time");
        Self { queue, north, mapper: tokio::spawn(mapper.run()), events }
    }

    async fn emit(&self, taken_at: SystemTime) {
        let reading = Reading::good("tank".into(), "level".into(), Value::Int(1), taken_at);
        self.events.send(LinkEvent { link: "bus".into(), event: Event::Reading(reading) }).await.unwrap();
    }
}

#[tokio::test]
async fn a_reading_that_waited_for_room_while_the_clock_was_set_has_its_true_time() {
    for hands in [Pretend::guessing(1, NOW - 3 * DAY), Pretend::guessing(1, 30_000)] {
        let dir = tempfile::tempdir().unwrap();
        let clock = hands.clock();
        let bench = Bench::full(dir.path(), clock.clone()).await;
        // One waits within the mapping, the other in the channel.
        for _ in 0..2 {
            bench.emit(clock.now()).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(bench.events.capacity(), bench.events.max_capacity(), "the mapping has taken both");
        hands.pass(10_000);
        hands.set(NOW);
        clock.now();
        let from = bench.queue.end();
        bench.queue.purge();
        for _ in 0..2 {
            let read = bench.queue.read(from.next(), crate::queue::Seq::END, 1, 1 << 20);
            let record = timeout(SOON, read).await.unwrap().unwrap().remove(0);
            let said = Message::decode(record.body).unwrap();
            assert_eq!(record.correction, Correction::None, "it was captured by a clock that was set");
            let expected = format!("\"ts\":{},", NOW - 10_000);
            let said = String::from_utf8_lossy(&said.payload).into_owned();
            assert!(said.contains(&expected), "{said}");
            bench.queue.acknowledge(record.seq);
        }
        bench.mapper.abort();
    }
}

#[tokio::test]
async fn a_mapping_that_has_to_be_ended_counts_what_it_had_not_passed_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::full(dir.path(), Clock::system()).await;
    for second in 0..10 {
        bench.emit(time(NOW + second * 1000)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    for second in 10..20 {
        bench.emit(time(NOW + second * 1000)).await;
    }
    let captured = bench.queue.counters().captured;
    bench.mapper.abort();
    assert!(timeout(SOON, &mut bench.mapper).await.unwrap().is_err(), "it was ended");
    let counters = bench.queue.counters();
    assert_eq!((counters.dropped.blocked, counters.captured), (20, captured + 20));
    let loss = timeout(SOON, bench.queue.next_losses()).await.unwrap().remove(0);
    assert_eq!((loss.from, loss.to), (time(NOW), time(NOW + 19_000)));
}

#[tokio::test]
async fn what_was_lost_while_the_gateway_stopped_is_counted_when_the_mapping_ends_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::full(dir.path(), Clock::system()).await;
    for _ in 0..10 {
        bench.emit(time(NOW)).await;
    }
    bench.north.stop_waiting();
    drop(bench.events);
    timeout(SOON, bench.mapper).await.unwrap().unwrap();
    assert_eq!(bench.queue.counters().dropped.blocked, 10);
}

/// Publishes each reading so many times.
fn to_topics(count: usize) -> Vec<Rule> {
    let way = |number: usize| Publish {
        topic: Template::topic(&format!("{{gateway}}-out/{number}/{{point}}"), TOPIC_WORDS).unwrap(),
        payload: Payload::Raw,
        qos: Qos::AtLeastOnce,
        retain: false,
    };
    vec![Rule { matcher: Matcher::default(), publish: (0..count).map(way).collect(), is_presented: false }]
}

#[tokio::test]
async fn of_a_reading_for_two_topics_both_messages_are_captured_or_both_counted_as_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::full_with(dir.path(), Clock::system(), to_topics(2)).await;
    for _ in 0..10 {
        bench.emit(time(NOW)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = bench.queue.counters();
    bench.mapper.abort();
    assert!(timeout(SOON, &mut bench.mapper).await.unwrap().is_err(), "it was ended");
    let after = bench.queue.counters();
    assert_eq!((after.dropped.blocked, after.captured), (20, before.captured + 20));
}

#[tokio::test]
async fn a_reading_for_two_topics_goes_to_both_and_one_that_is_dropped_to_none() {
    for (topics, rules) in [(2, to_topics(2)), (0, to_topics(0))] {
        let dir = tempfile::tempdir().unwrap();
        let bench = Bench::full_with(dir.path(), Clock::system(), rules).await;
        let before = bench.queue.counters().captured;
        bench.queue.purge();
        for _ in 0..10 {
            bench.emit(time(NOW)).await;
        }
        drop(bench.events);
        timeout(SOON, bench.mapper).await.unwrap().unwrap();
        let after = bench.queue.counters();
        assert_eq!((after.captured - before, after.dropped.blocked), (10 * topics, 0));
    }
}
