//! The gateway is killed at random moments: what was stored arrives, in order, and no more than a
//! window twice.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::lab::broker::Mosquitto;
use crate::lab::consumer::{Consumer, Said, said};
use crate::lab::gateway::Site;
use crate::lab::source::Source;
use crate::lab::{PATIENCE, wait_for};

const ROUNDS: usize = 100;
/// How many readings may be said that have not arrived at the consumer: several windows, so that a
/// kill finds more of them acknowledged since the last commit than fit into one.
const UNHEARD: u64 = 500;
/// The gateway's window.
const IN_FLIGHT: u64 = 100;
/// How many readings arrive in a round, at least: enough for what was left by the last one to
/// arrive, and to be acknowledged on disk.
const FLOW: u64 = 1000;

#[test]
fn killed_a_hundred_times_under_load_it_delivers_everything_stored_in_order_and_at_most_a_window_twice() {
    let broker = Mosquitto::start();
    let upstream = Consumer::start(broker.port);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let site = Site::new(&format!(
        "gateway: gw1
uplinks: {{ central: {{ url: \"mqtt://127.0.0.1:{}\", in_flight: {IN_FLIGHT}, queue: {{ commit: 20ms, max_size: 16MiB }} }} }}
broker: {{ listen: [] }}
mysensors:
  garden: {{ tcp: {} }}
",
        broker.port,
        listener.local_addr().unwrap()
    ));
    // Said to a gateway that was killed before it had stored them: they will not come.
    let lost = Arc::new(AtomicU64::new(0));
    let source = Source::start(listener, {
        let (tally, lost) = (upstream.tally(), lost.clone());
        move |said| said < tally.lock().unwrap().arrived + lost.load(Ordering::SeqCst) + UNHEARD
    });
    let (mut stored, mut left_behind) = (BTreeSet::new(), 0);
    for round in 0..ROUNDS {
        let gateway = site.run();
        let already = upstream.look(|tally| tally.arrived);
        upstream.wait("the load to flow", |tally| tally.arrived > already + FLOW);
        std::thread::sleep(Duration::from_millis(fastrand::u64(0..200)));
        gateway.kill();
        // The broker says so behind everything it still had from it.
        upstream.wait("the news that the gateway is gone", |tally| tally.gone > round);
        wait_for("the nodes to notice", PATIENCE, || (!source.is_connected()).then_some(()));
        stored.extend(numbers_in_files(&site.queue("central")));
        let waiting = upstream.look(|tally| stored.iter().filter(|reading| !tally.has(**reading)).count() as u64);
        left_behind += waiting;
        lost.store(source.said() - upstream.look(|tally| tally.arrived) - waiting, Ordering::SeqCst);
    }
    drop(source);

    let gateway = site.run();
    gateway.wait_log("uplink connected");
    upstream.wait("everything stored to arrive", |tally| stored.iter().all(|reading| tally.has(*reading)));
    gateway.kill();
    upstream.wait("the news that the gateway is gone", |tally| tally.gone > ROUNDS);

    let tally = upstream.look(Clone::clone);
    println!(
        "{left_behind} readings left behind by kills; {} arrived, again after each kill: {:?}",
        tally.arrived, tally.again
    );
    assert!(left_behind > ROUNDS as u64, "only {left_behind} readings were on disk alone: this would prove little");
    assert_eq!(tally.late, [], "readings that arrived for the first time after later ones");
    // What arrives again was published, and its acknowledgement was not written down when the gateway
    // was killed.
    let most = tally.again.iter().max().copied().unwrap_or_default();
    assert!(most <= IN_FLIGHT, "{most} readings arrived again after one kill");
}

/// What stands in the queue's files, found by its look and not by the queue's own code.
fn numbers_in_files(queue: &Path) -> Vec<Said> {
    let mut found = Vec::new();
    for entry in fs::read_dir(queue).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            let bytes = fs::read(path).unwrap();
            let places = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'g');
            found.extend(places.filter_map(|(at, _)| said(&bytes[at..])));
        }
    }
    found
}
