//! The broker upstream goes away for half a minute and comes back, in three ways: nothing is
//! missing, the first value is soon there, and polling keeps its rhythm.
//!
//! Between gateway and broker there is a way that the test opens when its own subscriber is back.
//! Without it the broker could acknowledge readings that nobody has subscribed to yet, and it
//! would look like a loss. The moment the way opens is when the broker is back.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::lab::broker::Mosquitto;
use crate::lab::client::{Client, Heard};
use crate::lab::forwarder::Forwarder;
use crate::lab::gateway::{Gateway, Site};
use crate::lab::meter::{Asked, Meter};
use crate::lab::node::{Node, line};
use crate::lab::{PATIENCE, wait_for};

/// Ten points at this pace are a hundred values a second.
const EVERY: Duration = Duration::from_millis(100);
const POINTS: usize = 10;
const OUTAGE: Duration = Duration::from_secs(30);

/// How soon after the broker's return the first value has to be there.
const FIRST_VALUE: Duration = Duration::from_secs(2);

/// What a gateway that is killed may lose is what it took since its last commit. That is a tenth
/// of a second; a disk that other tests keep busy makes it more.
const UNCOMMITTED: Duration = Duration::from_secs(1);

#[test]
fn nothing_is_missing_after_the_broker_was_stopped() {
    let mut scene = Scene::start();
    let gone = Instant::now();
    scene.broker.terminate();
    scene.nobody_listens();
    scene.wait_until(gone + OUTAGE);
    scene.broker_returns();
    scene.everything_arrives(&BTreeSet::new());
    rhythm_was_kept(&scene.meter.asked(), gone, gone + OUTAGE);
}

#[test]
fn nothing_stored_is_missing_after_the_broker_was_stopped_and_the_gateway_killed_meanwhile() {
    let mut scene = Scene::start();
    let gone = Instant::now();
    scene.broker.terminate();
    scene.nobody_listens();
    scene.wait_until(gone + OUTAGE / 2);
    // What a node says while nobody listens is lost to everybody, so it keeps quiet for a moment.
    scene.node.hold();
    sleep(UNCOMMITTED);
    let killed = Instant::now();
    scene.kill_gateway();
    let not_stored = polls_within(&scene.meter.asked(), killed - UNCOMMITTED, killed + UNCOMMITTED);
    scene.start_gateway();
    let restarted = wait_for("polling after the restart", PATIENCE, || {
        scene.meter.asked().iter().map(|asked| asked.at).find(|at| *at > killed + UNCOMMITTED)
    });
    scene.wait_until(gone + OUTAGE);
    scene.broker_returns();
    scene.everything_arrives(&not_stored);
    rhythm_was_kept(&scene.meter.asked(), gone, killed);
    rhythm_was_kept(&scene.meter.asked(), restarted, gone + OUTAGE);
}

#[test]
fn nothing_is_missing_after_the_broker_hung_and_was_killed() {
    let mut scene = Scene::start();
    // Right behind a burst, when it owes its subscriber nothing that it has acknowledged.
    scene.wait_for_a_burst();
    let gone = Instant::now();
    scene.broker.suspend();
    scene.wait_until(gone + OUTAGE / 2);
    scene.broker.stop();
    scene.nobody_listens();
    scene.wait_until(gone + OUTAGE);
    let log = scene.gateway.as_ref().unwrap().log();
    assert!(!log.contains("come faster than the broker takes them"), "a frozen broker is not a slow one:\n{log}");
    scene.broker_returns();
    scene.everything_arrives(&BTreeSet::new());
    rhythm_was_kept(&scene.meter.asked(), gone, gone + OUTAGE);
}

/// A gateway with a meter and a node behind it, its broker, and somebody who listens there.
struct Scene {
    upstream: Client,
    gateway: Option<Gateway>,
    site: Site,
    node: Node,
    meter: Meter,
    way: Forwarder,
    broker: Mosquitto,
}

impl Scene {
    /// Begins, and sees that readings flow.
    fn start() -> Self {
        let broker = Mosquitto::with_memory();
        let way = Forwarder::to(broker.port);
        let meter = Meter::start();
        let node = Node::start();
        let points: String =
            (0..POINTS).map(|point| format!("c{point}: {{ holding: {}, type: u32 }}, ", point * 2)).collect();
        let site = Site::new(&format!(
            "gateway: gw1
uplinks: {{ central: {{ url: \"mqtt://127.0.0.1:{}\" }} }}
broker: {{ listen: [] }}
modbus:
  bus:
    tcp: 127.0.0.1:{}
    every: {}ms
    devices: {{ meter: {{ unit: 3, points: {{ {points} }} }} }}
mysensors:
  garden: {{ tcp: {} }}
",
            way.port,
            meter.port,
            EVERY.as_millis(),
            node.address
        ));
        let upstream = Client::subscribe(broker.port, &["gw1-out/#"]);
        let gateway = Some(site.run());
        let scene = Self { upstream, gateway, site, node, meter, way, broker };
        scene.upstream.wait("lines before the outage", |heard| line(heard).is_some_and(|line| line >= 10));
        scene.upstream.wait("polls before the outage", |heard| count(heard, 0).is_some_and(|count| count >= 10));
        scene
    }

    /// From now on whoever connects is refused.
    fn nobody_listens(&self) {
        // What the broker said last still gets through.
        sleep(Duration::from_millis(200));
        self.way.close();
    }

    fn wait_until(&self, time: Instant) {
        sleep(time.saturating_duration_since(Instant::now()));
    }

    fn wait_for_a_burst(&self) {
        let heard = self.upstream.heard().len();
        wait_for("a reading", PATIENCE, || (self.upstream.heard().len() > heard).then_some(()));
        sleep(EVERY / 4);
    }

    fn kill_gateway(&mut self) {
        self.gateway.take().unwrap().kill();
    }

    fn start_gateway(&mut self) {
        self.gateway = Some(self.site.run());
    }

    /// The broker is there again, and with it, before anything else, who listens there. The first
    /// value soon follows.
    fn broker_returns(&mut self) {
        let subscribed = self.upstream.subscribed();
        self.broker.restart();
        wait_for("the subscriber to be back", PATIENCE, || (self.upstream.subscribed() > subscribed).then_some(()));
        let heard = self.upstream.heard().len();
        self.way.open();
        let back = Instant::now();
        wait_for("the first value", PATIENCE * 2, || (self.upstream.heard().len() > heard).then_some(()));
        let first = back.elapsed();
        println!("first value {first:?} after the broker's return");
        assert!(first < FIRST_VALUE, "the first value came {first:?} after the broker's return");
    }

    /// Every line and every poll up to now is heard, save for polls that need not be; each lane in
    /// order.
    fn everything_arrives(&mut self, needless: &BTreeSet<u64>) {
        let lines = self.node.said();
        let polls = self.meter.asked().len() as u64;
        let missing = |last: u64, needless: &BTreeSet<u64>, number: &dyn Fn(&Heard) -> Option<u64>| {
            let heard: BTreeSet<u64> = self.upstream.heard().iter().filter_map(number).collect();
            (1..=last).filter(|n| !heard.contains(n) && !needless.contains(n)).collect::<Vec<_>>()
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let lines = missing(lines, &BTreeSet::new(), &line);
            let counts: Vec<_> =
                (0..POINTS).map(|point| missing(polls, needless, &|heard| count(heard, point))).collect();
            if lines.is_empty() && counts.iter().all(Vec::is_empty) {
                break;
            }
            assert!(Instant::now() < deadline, "missing: lines {lines:?}, values by point {counts:?}");
            sleep(Duration::from_millis(100));
        }
        let lost: Vec<_> = missing(polls, &BTreeSet::new(), &|heard| count(heard, 0));
        println!("{lines} lines, {polls} polls of {POINTS} points, not stored when killed: {lost:?}");
        for point in 0..POINTS {
            for replayed in [false, true] {
                in_order(&self.upstream.heard(), point, replayed);
            }
        }
    }
}

/// The values of a point, those that were replayed or those that were not: none comes for the
/// first time after a higher one.
fn in_order(heard: &[Heard], point: usize, replayed: bool) {
    let lane = heard.iter().filter(|heard| {
        count(heard, point).is_some() && heard.json()["replay"].as_bool().unwrap_or_default() == replayed
    });
    let mut seen = BTreeSet::new();
    for number in lane.filter_map(|heard| count(heard, point)) {
        let highest = seen.last().copied().unwrap_or_default();
        assert!(!seen.insert(number) || number > highest, "point {point}: {number} came after {highest}");
    }
}

/// The polls in a stretch of time against the ideal schedule: none missing, none far off. A
/// machine that is busy with other tests delays a poll now and then, so it is the median that has
/// to be right and the count that must not lag; and no pause is anywhere near a stall.
fn rhythm_was_kept(asked: &[Asked], from: Instant, to: Instant) {
    let polls: Vec<Instant> = asked.iter().map(|asked| asked.at).filter(|at| from <= *at && *at < to).collect();
    let ideal = (to - from).as_millis() as usize / EVERY.as_millis() as usize;
    assert!(polls.len() * 10 >= ideal * 9, "{} polls in {:?}, {ideal} would be ideal", polls.len(), to - from);
    let mut gaps: Vec<Duration> = polls.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_unstable();
    let (median, longest) = (gaps[gaps.len() / 2], gaps[gaps.len() - 1]);
    println!("{} of {ideal} polls, median gap {median:?}, longest {longest:?}", polls.len());
    assert!(median > EVERY * 8 / 10 && median < EVERY * 12 / 10, "median gap {median:?}");
    assert!(longest < Duration::from_secs(2), "polling paused for {longest:?}");
}

/// The numbers of the polls within a stretch of time, counted from 1.
fn polls_within(asked: &[Asked], from: Instant, to: Instant) -> BTreeSet<u64> {
    (1..).zip(asked).filter(|(_, asked)| from <= asked.at && asked.at < to).map(|(number, _)| number).collect()
}

fn count(heard: &Heard, point: usize) -> Option<u64> {
    (heard.topic == format!("gw1-out/meter/c{point}")).then(|| heard.json()["value"].as_u64().unwrap())
}
