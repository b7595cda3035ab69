//! The gateway is killed at random moments: what was stored arrives, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::lab::broker::Mosquitto;
use crate::lab::client::{Client, Heard};
use crate::lab::gateway::Site;
use crate::lab::{PATIENCE, wait_for};

const ROUNDS: usize = 20;
const NODES: u64 = 4;

/// A node's number and the number it said.
type Said = (u64, u64);

#[test]
fn killed_twenty_times_under_load_it_delivers_everything_stored_in_order() {
    let broker = Mosquitto::start();
    let upstream = Client::subscribe(broker.port, &["gw1-out/#"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let site = Site::new(&format!(
        "gateway: gw1
uplinks: {{ central: {{ url: \"mqtt://127.0.0.1:{}\", queue: {{ commit: 20ms }} }} }}
broker: {{ listen: [] }}
mysensors:
  garden: {{ tcp: {} }}
",
        broker.port,
        listener.local_addr().unwrap()
    ));
    let source = Source::start(listener);
    let mut stored: BTreeSet<Said> = BTreeSet::new();
    for _ in 0..ROUNDS {
        let gateway = site.run();
        let already = source.said();
        wait_for("the load to flow", PATIENCE, || (source.said() > already + 200).then_some(()));
        std::thread::sleep(Duration::from_millis(fastrand::u64(0..400)));
        gateway.kill();
        stored.extend(numbers_in_files(&site.queue("central")));
    }
    source.stop();
    assert!(stored.len() > ROUNDS * 20, "only {} readings on disk: this would prove little", stored.len());

    let gateway = site.run();
    gateway.wait_log("uplink connected");
    let arrived = || -> Vec<Said> { upstream.heard().iter().filter_map(said).collect() };
    wait_for("everything stored to arrive", PATIENCE, || {
        let arrived: BTreeSet<Said> = arrived().into_iter().collect();
        stored.is_subset(&arrived).then_some(())
    });

    let mut highest: BTreeMap<u64, u64> = BTreeMap::new();
    let mut seen: BTreeSet<Said> = BTreeSet::new();
    for (node, number) in arrived() {
        let before = highest.entry(node).or_default();
        let again = !seen.insert((node, number));
        assert!(again || number > *before, "node {node}: {number} arrived for the first time after {before}");
        *before = number.max(*before);
    }
    assert_eq!(highest.len() as u64, NODES);
}

/// Nodes that count, each number once, whoever is connected.
struct Source {
    said: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Source {
    fn start(listener: TcpListener) -> Self {
        let (said, stop): (Arc<AtomicU64>, Arc<AtomicBool>) = Default::default();
        listener.set_nonblocking(true).unwrap();
        let thread = std::thread::spawn({
            let (said, stop) = (said.clone(), stop.clone());
            move || {
                while !stop.load(Ordering::SeqCst) {
                    let Ok((mut connection, _)) = listener.accept() else {
                        std::thread::sleep(Duration::from_millis(5));
                        continue;
                    };
                    connection.set_nonblocking(false).unwrap();
                    while !stop.load(Ordering::SeqCst) {
                        let number = said.load(Ordering::SeqCst) / NODES + 1;
                        let node = said.load(Ordering::SeqCst) % NODES + 1;
                        if writeln!(connection, "{node};1;1;0;24;n{number}e").is_err() {
                            break;
                        }
                        if said.fetch_add(1, Ordering::SeqCst) % 20 == 0 {
                            std::thread::sleep(Duration::from_millis(5));
                        }
                    }
                }
            }
        });
        Self { said, stop, thread }
    }

    fn said(&self) -> u64 {
        self.said.load(Ordering::SeqCst)
    }

    fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap();
    }
}

fn said(heard: &Heard) -> Option<Said> {
    let node = heard.topic.strip_prefix("gw1-out/")?.strip_suffix("/1/1/0/24")?.parse().ok()?;
    let number = heard.payload.strip_prefix('n')?.strip_suffix('e')?.parse().ok()?;
    Some((node, number))
}

/// What stands in the queue's files, found by its look and not by the queue's own code.
fn numbers_in_files(queue: &Path) -> Vec<Said> {
    let mut found = Vec::new();
    for entry in fs::read_dir(queue).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            let bytes = fs::read(path).unwrap();
            found.extend(bytes.split(|&b| b == b'g').filter_map(number_after_g));
        }
    }
    found
}

/// `w1-out/2/1/1/0/24n17e…`: what follows the `g` of `gw1`.
fn number_after_g(bytes: &[u8]) -> Option<Said> {
    let rest = bytes.strip_prefix(b"w1-out/")?;
    let text: String = rest.iter().take(40).map(|&b| char::from(b)).collect();
    let (node, rest) = text.split_once("/1/1/0/24n")?;
    let (number, _) = rest.split_once('e')?;
    Some((node.parse().ok()?, number.parse().ok()?))
}
