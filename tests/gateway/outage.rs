//! The broker upstream goes away and comes back: nothing is lost, and polling keeps its rhythm.

use std::io::Write;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::lab::broker::Mosquitto;
use crate::lab::client::{Client, Heard};
use crate::lab::gateway::Site;
use crate::lab::slave::Slave;
use crate::lab::{PATIENCE, accept, wait_for};

const EVERY: Duration = Duration::from_millis(100);
const OUTAGE: Duration = Duration::from_secs(20);

#[test]
fn twenty_seconds_without_the_broker_lose_nothing_and_polling_keeps_its_rhythm() {
    let mut broker = Mosquitto::with_memory();
    let slave = Slave::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let gateway = Site::new(&format!(
        "gateway: gw1
uplinks: {{ central: {{ url: \"mqtt://127.0.0.1:{}\" }} }}
broker: {{ listen: [] }}
modbus:
  bus:
    tcp: 127.0.0.1:{}
    every: {}ms
    devices: {{ meter: {{ unit: 3, points: {{ count: {{ holding: 120, type: u32 }} }} }} }}
mysensors:
  garden: {{ tcp: {} }}
",
        broker.port,
        slave.port,
        EVERY.as_millis(),
        listener.local_addr().unwrap()
    ))
    .run();
    let upstream = Client::subscribe(broker.port, &["gw1-out/#"]);
    let mut node = accept(&listener);
    let mut told = 0_u32;
    let mut tell = |lines: u32| {
        for _ in 0..lines {
            told += 1;
            writeln!(node, "2;1;1;0;24;{told}").unwrap();
        }
        told
    };
    tell(100);
    upstream.wait("readings before the outage", |heard| line(heard) == Some(100));
    upstream.wait("polls before the outage", |heard| count(heard).is_some());

    broker.terminate();
    let outage_began = Instant::now();
    gateway.wait_log("uplink down");
    while outage_began.elapsed() < OUTAGE {
        tell(20);
        std::thread::sleep(Duration::from_millis(100));
    }
    let polled_by_then = slave.asked().len() as u64;
    broker.restart();
    let last = u64::from(tell(100));
    // The gateway may be in the middle of its longest wait between two attempts.
    let arrived = |what: &str, wanted: &dyn Fn(&Heard) -> bool| {
        wait_for(what, PATIENCE * 2, || upstream.heard().iter().any(wanted).then_some(()));
    };
    arrived("the last line", &|heard| line(heard) == Some(last));
    arrived("a poll after the outage", &|heard| count(heard).is_some_and(|count| count > polled_by_then));

    let heard = upstream.heard();
    whole_and_in_order("lines", heard.iter().filter_map(line).collect(), last);
    let counts: Vec<u64> = heard.iter().filter_map(count).collect();
    let polls = counts.iter().copied().max().unwrap();
    whole_and_in_order("polls", counts, polls);
    rhythm_was_kept(&slave, outage_began);
}

/// Every number up to `last` is there, and none comes for the first time after a higher one.
/// Repetitions are allowed: delivery is at least once.
fn whole_and_in_order(what: &str, heard: Vec<u64>, last: u64) {
    let mut highest = heard[0] - 1;
    for number in heard {
        assert!(number <= highest + 1, "{what}: {number} came after {highest}");
        highest = highest.max(number);
    }
    assert_eq!(highest, last, "{what}");
}

/// The polls of the outage against the ideal schedule: none missing, none far off. A machine that
/// is busy with other tests delays a poll now and then, so it is the median that has to be right
/// and the count that must not lag.
fn rhythm_was_kept(slave: &Slave, outage_began: Instant) {
    let polls: Vec<Instant> = slave.asked().into_iter().map(|(at, _)| at).collect();
    let within = |from: Instant, to: Instant| polls.iter().filter(|&&at| from <= at && at < to).count();
    let ideal = OUTAGE.as_millis() as usize / EVERY.as_millis() as usize;
    let polled = within(outage_began, outage_began + OUTAGE);
    assert!(polled * 10 >= ideal * 9, "{polled} polls in {OUTAGE:?}, {ideal} would be ideal");
    let mut gaps: Vec<Duration> = polls.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_unstable();
    let median = gaps[gaps.len() / 2];
    assert!(median > EVERY * 8 / 10 && median < EVERY * 12 / 10, "median gap {median:?}");
}

fn line(heard: &Heard) -> Option<u64> {
    (heard.topic == "gw1-out/2/1/1/0/24").then(|| heard.payload.parse().unwrap())
}

fn count(heard: &Heard) -> Option<u64> {
    (heard.topic == "gw1-out/meter/count").then(|| heard.json()["value"].as_u64().unwrap())
}
