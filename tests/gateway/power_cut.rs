//! The power goes under a whole gateway while its local clients are at it: what it acknowledged longer ago than it
//! says is there when it starts again, once, in order, and from one moment.
//!
//! Its state lies on a file system of the test's own, which forgets what has not reached the device. That needs root;
//! where there is none the test says `skipped`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use wharf_test_support::volume::{Volume, skipped};

use crate::lab::broker::Mosquitto;
use crate::lab::client::Client;
use crate::lab::forwarder::Forwarder;
use crate::lab::gateway::{Gateway, Site};
use crate::lab::raw::{Heard, Raw, packet, string};
use crate::lab::{PATIENCE, free_port, wait_for};

const ROUNDS: u64 = 8;
/// What waits, and what is retained, before the power may go.
const WAITING: u64 = 10_000;
const RETAINED: u64 = 5_000;
/// Each so manieth message goes upstream.
const BRIDGED: u64 = 10;
/// How long the local broker lets changes wait for others, and what a busy disk is granted beyond that.
const COMMIT: Duration = Duration::from_secs(1);
const DISK: Duration = Duration::from_secs(3);
/// The same for the queue, as the site file has it.
const QUEUE_COMMIT: Duration = Duration::from_millis(100);

#[test]
fn eight_power_cuts_cost_local_clients_and_the_way_upstream_nothing_that_was_safe() {
    let volume = match Volume::ext4(128) {
        Ok(volume) => volume,
        Err(why) => return skipped("power cuts of a gateway", &why),
    };
    let broker = Mosquitto::start();
    let way = Forwarder::to(broker.port);
    way.close();
    let port = free_port();
    let site = Site::new(&format!(
        "gateway: gw1
state_dir: {}/state
uplinks:
  central: {{ url: \"mqtt://127.0.0.1:{}\", queue: {{ commit: {}ms, max_size: 32MiB, min_free: 0B }} }}
broker:
  listen: [127.0.0.1:{port}]
  limits: {{ queued: 200000, queued_size: 100MiB, queued_size_together: 100MiB }}
bridge: {{ up: [{{ topic: \"up/#\", to: \"site/#\" }}] }}
",
        volume.path().display(),
        way.port,
        QUEUE_COMMIT.as_millis(),
    ));

    let mut gateway = start(&site);
    Panel::subscribe(port);
    sleep(COMMIT + DISK);
    // All below it were taken by the panel, at that time at the latest.
    let (mut taken, mut taken_at) = (0, Instant::now());
    let mut bridged = Vec::new();
    let mut checked = 0;
    for round in 0..ROUNDS {
        let publisher = Publisher::start(port, round, taken);
        publisher.wait_for(taken + WAITING);
        // Half of the cuts come when most was written long ago, the others while it is being written.
        let pause = fastrand::Rng::with_seed(round).u64(0..2000) + if round % 2 == 0 { 4500 } else { 0 };
        sleep(Duration::from_millis(pause));

        let switch = volume.switch();
        let cut_at = Instant::now();
        switch.cut();
        gateway.kill();
        let said = publisher.end();
        volume.remount();

        gateway = start(&site);
        let status = site.wharf(&["status"], &["--json"]).json();
        let store = &status["broker"]["store"];
        assert_eq!((&store["damaged"], &store["set_aside"]), (&0.into(), &0.into()), "round {round}: {status}");
        let waiting = status["broker"]["queued"].as_u64().unwrap();
        let found = Panel::take(port, waiting, taken);
        let (first, end) = (found.first().copied().unwrap_or(taken), found.last().map_or(taken, |last| last + 1));
        let safe = said.safe(cut_at - COMMIT - DISK);
        let lost = cut_at.saturating_duration_since(said.when(end).unwrap_or(taken_at));
        println!("round {round}: {safe} safe, {first}..{end} of {} found, the last {lost:?} are lost", said.sent);
        assert!(found.iter().copied().eq(first..end), "round {round}: not in order, or not all: {first}..{end}");
        assert!(end >= safe.max(taken), "round {round}: {safe} were safe, {end} are there");
        assert!(end <= said.sent, "round {round}: {end} are there, {} were sent", said.sent);
        let is_settled = taken_at + COMMIT + DISK <= cut_at;
        assert!(
            first == taken || !is_settled && first < taken,
            "round {round}: {first} comes again, {taken} were taken"
        );
        check_retained(port, round, end);
        check_queue(&status);
        bridged.push((round, taken, said.safe(cut_at - QUEUE_COMMIT - DISK), said.sent));
        checked += safe.saturating_sub(taken);
        (taken, taken_at) = (end, Instant::now());
    }
    assert!(checked > ROUNDS / 2 * WAITING, "{checked} were safe when the power went: this would prove little");
    assert!(!gateway.log().contains("panicked"));
    check_upstream(&site, &broker, &way, &bridged);
}

fn start(site: &Site) -> Gateway {
    let gateway = site.run();
    gateway.wait_log("local broker listening");
    gateway
}

/// What a publisher says as number `n`: first byte, topic and payload of each packet.
fn says(round: u64, n: u64) -> Vec<(u8, String, String)> {
    let mut says = vec![(0x32, "wait/a".to_owned(), n.to_string())];
    if n.is_multiple_of(2) {
        says.push((0x33, kept(n), n.to_string()));
    }
    if n.is_multiple_of(BRIDGED) {
        says.push((0x32, "up/a".to_owned(), format!("{round} {n}")));
    }
    says
}

/// Where an even number is retained.
fn kept(n: u64) -> String {
    format!("kept/{}", n / 2 % RETAINED)
}

/// A client that publishes number by number.
struct Publisher {
    said: Arc<Mutex<Said>>,
    thread: JoinHandle<()>,
}

/// What it has said.
#[derive(Clone, Default)]
struct Said {
    /// All below it may have reached the broker.
    sent: u64,
    /// All below it were acknowledged, and when that was known.
    acknowledged: Vec<(u64, Instant)>,
}

impl Said {
    fn acknowledged(&self) -> u64 {
        self.acknowledged.last().map_or(0, |(end, _)| *end)
    }

    /// When all below a number were acknowledged.
    fn when(&self, number: u64) -> Option<Instant> {
        self.acknowledged.iter().rfind(|(end, _)| *end <= number).map(|(_, at)| *at)
    }

    /// All below it were acknowledged by then.
    fn safe(&self, by: Instant) -> u64 {
        self.acknowledged.iter().filter(|(_, at)| *at <= by).map(|(end, _)| *end).max().unwrap_or(0)
    }
}

impl Publisher {
    /// Says a lot at first, and then a little at a time, from number `from` on.
    fn start(port: u16, round: u64, from: u64) -> Self {
        let said: Arc<Mutex<Said>> = Arc::default();
        let (mut raw, _) = Raw::v3(port, "publisher", true);
        let thread = thread::spawn({
            let said = said.clone();
            move || {
                let mut n = from;
                loop {
                    let count = if n < from + WAITING { 100 } else { 10 };
                    let packets = (1_u16..).zip((n..n + count).flat_map(|n| says(round, n)));
                    let packets = packets.map(|(id, (first, topic, payload))| {
                        let id = id.to_be_bytes();
                        (id, packet(first, &[&string(topic)[..], &id, payload.as_bytes()].concat()))
                    });
                    let (ids, packets): (Vec<_>, Vec<_>) = packets.unzip();
                    said.lock().unwrap().sent = n + count;
                    raw.say(&packets.concat());
                    for id in ids {
                        match raw.hear() {
                            Heard::Packet(0x40, body) => assert_eq!(body, id),
                            _ => return,
                        }
                    }
                    n += count;
                    said.lock().unwrap().acknowledged.push((n, Instant::now()));
                    if count == 10 {
                        sleep(Duration::from_millis(5));
                    }
                }
            }
        });
        Self { said, thread }
    }

    fn wait_for(&self, number: u64) {
        wait_for("what is published to be acknowledged", PATIENCE * 2, || {
            (self.said.lock().unwrap().acknowledged() >= number).then_some(())
        });
    }

    /// What it has said, when the broker is gone.
    fn end(self) -> Said {
        self.thread.join().unwrap();
        self.said.lock().unwrap().clone()
    }
}

/// A client for which everything waits.
struct Panel;

impl Panel {
    fn subscribe(port: u16) {
        let (mut raw, _) = Raw::v3(port, "panel", false);
        raw.say(&packet(0x82, &[&[0, 1][..], &string("wait/#"), &[1]].concat()));
        raw.hears(0x90, &[0, 1, 1]);
        raw.say(&[0xe0, 0]);
        assert_eq!(raw.hear(), Heard::End);
    }

    /// Takes all that waits, so many messages; none from `new` on was ever sent before.
    fn take(port: u16, count: u64, new: u64) -> Vec<u64> {
        let (mut raw, known) = Raw::v3(port, "panel", false);
        assert!(known, "the session is gone");
        let mut numbers = Vec::new();
        for _ in 0..count {
            let Heard::Packet(first, body) = raw.hear() else { panic!("{} of {count} came", numbers.len()) };
            assert_eq!(first & !8, 0x32);
            let at = 2 + "wait/a".len();
            let number = std::str::from_utf8(&body[at + 2..]).unwrap().parse().unwrap();
            assert!(number < new || first & 8 == 0, "{number} comes as if it had come before");
            numbers.push(number);
            raw.say(&[0x40, 2, body[at], body[at + 1]]);
        }
        raw.hears_nothing();
        raw.say(&[0xe0, 0]);
        assert_eq!(raw.hear(), Heard::End);
        numbers
    }
}

/// What is retained is what was when number `end` was said next; the number before it is said in two steps.
fn check_retained(port: u16, round: u64, end: u64) {
    let (mut raw, _) = Raw::v3(port, "looks", true);
    raw.say(&packet(0x82, &[&[0, 1][..], &string("kept/#"), &[0]].concat()));
    raw.hears(0x90, &[0, 1, 0]);
    let retained_by = |end: u64| -> BTreeMap<String, u64> {
        (0..end).filter(|n| n.is_multiple_of(2)).map(|n| (kept(n), n)).collect()
    };
    let (whole, cut_off) = (retained_by(end), retained_by(end.saturating_sub(1)));
    let mut found = BTreeMap::new();
    for _ in 0..cut_off.len() {
        let Heard::Packet(0x31, body) = raw.hear() else { panic!("{} topics of {}", found.len(), cut_off.len()) };
        let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let (topic, payload) = body[2..].split_at(length);
        let number: u64 = std::str::from_utf8(payload).unwrap().parse().unwrap();
        found.insert(String::from_utf8(topic.to_vec()).unwrap(), number);
    }
    raw.hears_nothing();
    let is_right = found == whole || found == cut_off;
    let wrong = whole.iter().find(|(topic, number)| found.get(*topic) != Some(*number));
    assert!(is_right, "round {round}: {} topics up to {end}, wrong is {wrong:?}", found.len());
}

/// The accounts balance, and nothing but what the power took is missing. How much found no room in time.
fn check_queue(status: &serde_json::Value) -> u64 {
    let queue = &status["uplinks"][0]["queue"];
    let number = |key: &str| queue[key].as_u64().unwrap();
    let dropped = |reason: &str| queue["dropped"][reason].as_u64().unwrap();
    let (crash, full) = (dropped("crash"), dropped("full"));
    assert_eq!(number("captured"), number("acknowledged") + number("waiting") + crash + full, "{queue}");
    assert_eq!(number("set_aside"), 0, "{queue}");
    full
}

/// Everything that was on its way upstream arrives when there is a way: in order, once, and of each round all that
/// was safe.
fn check_upstream(site: &Site, broker: &Mosquitto, way: &Forwarder, rounds: &[(u64, u64, u64, u64)]) {
    let upstream = Client::subscribe(broker.port, &["site/a"]);
    way.open();
    let status = wait_for("the queue to be empty", PATIENCE * 4, || {
        let status = site.wharf(&["status"], &["--json"]).json();
        (status["uplinks"][0]["state"] == "up" && status["uplinks"][0]["queue"]["waiting"] == 0).then_some(status)
    });
    let unlucky = check_queue(&status);
    let arrived = || -> Vec<(u64, u64)> {
        let numbers =
            |payload: &str| payload.split_once(' ').map(|(round, n)| (round.parse().unwrap(), n.parse().unwrap()));
        upstream.on("site/a").iter().map(|heard| numbers(&heard.payload).unwrap()).collect()
    };
    let acknowledged = status["uplinks"][0]["queue"]["acknowledged"].as_u64().unwrap();
    sleep(Duration::from_secs(1));
    let arrived = arrived();
    println!("{} arrived upstream, {acknowledged} messages acknowledged, {unlucky} found no room", arrived.len());
    assert!(arrived.is_sorted_by(|one, next| one < next), "not in order, or twice");
    for (round, from, safe, sent) in rounds {
        let of_it: Vec<u64> = arrived.iter().filter(|(of, _)| of == round).map(|(_, n)| *n).collect();
        let expected = (*from..*safe).filter(|n| n.is_multiple_of(BRIDGED));
        let missing = expected.filter(|n| of_it.binary_search(n).is_err()).count() as u64;
        assert!(missing <= unlucky, "round {round}: {missing} of what was safe are missing");
        assert!(of_it.iter().all(|n| (*from..*sent).contains(n)));
    }
}
