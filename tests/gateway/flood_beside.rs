//! Local clients at their worst, all at once, beside a gateway at its work: polls keep their rhythm, and every
//! reading arrives upstream.
//!
//! Whoever floods a broker at full speed keeps the whole machine busy. So beside the gateway there is its twin, which
//! nobody floods, and the one is to poll as well as the other.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;

use crate::lab::broker::Mosquitto;
use crate::lab::client::Client;
use crate::lab::gateway::{Gateway, Site};
use crate::lab::meter::Meter;
use crate::lab::process::memory;
use crate::lab::raw::{Raw, packet, string};
use crate::lab::rhythm::as_good_as;
use crate::lab::{PATIENCE, free_port, wait_for};

const EVERY: Duration = Duration::from_millis(100);
const UNITS: u8 = 5;
const POINTS: usize = 4;
const FLOOD: Duration = Duration::from_secs(15);

#[test]
fn polls_and_readings_are_undisturbed_by_a_flood_of_every_kind_on_the_local_broker() {
    let scene = Scene::start("");
    let before = memory(scene.gateway.id(), "VmRSS");
    let neighbour = Client::subscribe(scene.local, &["fine/#", "gw1-out/u1/p1"]);
    scene.pass_through(|| {
        // Those who wait for others to say something are the first to end.
        let mut floods = vec![
            Flood::begin("a subscriber", hears(scene.local)),
            Flood::begin("QoS 0", says(scene.local, "fast-0", b"\x30", "flood/0")),
            Flood::begin("QoS 0 again", says(scene.local, "fast-1", b"\x30", "flood/1")),
            Flood::begin("QoS 1", says(scene.local, "fast-2", b"\x32", "flood/2")),
            Flood::begin("retained", retains(scene.local)),
            Flood::begin("connections", connects(scene.local)),
            Flood::begin("nonsense", talks_nonsense(scene.local)),
        ];
        // It has a session, so that all of it waits for it.
        let (mut mute, _) = Raw::v3(scene.local, "mute", false);
        mute.say(&packet(0x82, &[&[0, 1][..], &string("flood/#"), &[1]].concat()));
        floods.insert(
            0,
            Flood::begin("a neighbour", {
                let mut said = 0;
                move || {
                    said += 1;
                    neighbour.publish("fine/a", &said.to_string());
                    neighbour.wait("its own words", |heard| heard.payload == said.to_string());
                    neighbour.wait_on("gw1-out/u1/p1");
                    neighbour.forget();
                    sleep(Duration::from_millis(100));
                }
            }),
        );
        floods
    });
    let peak = memory(scene.gateway.id(), "VmHWM");
    println!("{before} KiB before, {peak} KiB at most");
    // What waits for all clients, what is retained, and what the store remembers of both until it is written.
    assert!(peak < before + 160 * 1024, "{before} KiB before, {peak} KiB at most");
    assert_eq!(scene.everything_arrives(), 0);
}

#[test]
fn polls_and_readings_are_undisturbed_by_a_flood_that_goes_upstream_through_the_same_queue() {
    let scene = Scene::start("bridge: { up: [{ topic: \"flood/#\" }] }\n");
    scene.pass_through(|| {
        vec![
            Flood::begin("QoS 0", says(scene.local, "fast-0", b"\x30", "flood/0")),
            Flood::begin("QoS 1", says(scene.local, "fast-1", b"\x32", "flood/1")),
            Flood::begin("QoS 1 again", says(scene.local, "fast-2", b"\x32", "flood/2")),
        ]
    });
    // What the flood loses is what waited for a busy disk for too long; of the readings nothing is lost.
    println!("{} of the flood lost", scene.everything_arrives());
}

/// A gateway with a meter, a broker upstream, and a local broker; and its twin.
struct Scene {
    upstream: Client,
    gateway: Gateway,
    site: Site,
    meter: Meter,
    local: u16,
    _twin: Gateway,
    twin_meter: Meter,
    _broker: Mosquitto,
}

impl Scene {
    fn start(more: &str) -> Self {
        let broker = Mosquitto::start();
        let (meter, twin_meter) = (Meter::start(), Meter::start());
        let local = free_port();
        let upstream = Client::subscribe(broker.port, &["gw1-out/#", "gw2-out/u1/p1"]);
        let site = site("gw1", &broker, local, &meter, more);
        let gateway = site.run();
        let twin = self::site("gw2", &broker, free_port(), &twin_meter, more).run();
        upstream.wait_on("gw1-out/u1/p1");
        upstream.wait_on("gw2-out/u1/p1");
        Self { upstream, gateway, site, meter, local, _twin: twin, twin_meter, _broker: broker }
    }

    /// Judges the polls of the two during a flood of the one.
    fn pass_through(&self, begin: impl FnOnce() -> Vec<Flood>) {
        let floods = begin();
        let flooded = Instant::now();
        sleep(FLOOD);
        let ebbed = Instant::now();
        for flood in floods {
            flood.end();
        }
        as_good_as(&self.twin_meter.asked(), &self.meter.asked(), (flooded, ebbed), (UNITS, EVERY));
    }

    /// Each poll of each unit up to now arrives upstream, and the queue's accounts balance. How much of all that was
    /// meant to go upstream was lost.
    fn everything_arrives(&self) -> u64 {
        let asked = self.meter.asked();
        let of = |unit| asked.iter().filter(|asked| asked.unit == unit).count() as u64;
        for unit in 1..=UNITS {
            for point in 0..POINTS {
                let topic = format!("gw1-out/u{unit}/p{point}");
                wait_for(&format!("all {} of {topic}", of(unit)), PATIENCE * 2, || {
                    let heard: BTreeSet<u64> =
                        self.upstream.on(&topic).iter().map(|heard| heard.payload.parse().unwrap()).collect();
                    (1..=of(unit)).all(|number| heard.contains(&number)).then_some(())
                });
            }
        }
        let status = self.site.wharf(&["status"], &["--json"]).json();
        let queue = &status["uplinks"][0]["queue"];
        let number = |key: &str| queue[key].as_u64().unwrap();
        let dropped: u64 = queue["dropped"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(number("captured"), number("acknowledged") + number("waiting") + dropped, "{queue}");
        println!("{} captured, {}", number("captured"), status["broker"]);
        assert!(!self.gateway.log().contains("dropped at the driver's port"));
        assert!(!self.gateway.log().contains("panicked"));
        dropped
    }
}

/// A site that polls a meter, with a broker upstream and one of its own.
fn site(gateway: &str, broker: &Mosquitto, local: u16, meter: &Meter, more: &str) -> Site {
    let points: String =
        (0..POINTS).map(|point| format!("p{point}: {{ holding: {}, type: u32 }}, ", point * 2)).collect();
    let devices: String =
        (1..=UNITS).map(|unit| format!("      u{unit}: {{ unit: {unit}, points: {{ {points} }} }}\n")).collect();
    Site::new(&format!(
        "gateway: {gateway}
uplinks: {{ central: {{ url: \"mqtt://127.0.0.1:{}\" }} }}
broker: {{ listen: [127.0.0.1:{local}] }}
modbus:
  bus:
    tcp: 127.0.0.1:{}
    every: {}ms
    devices:
{devices}
mapping:
  - topic: \"{{gateway}}-out/{{device}}/{{point}}\"
    payload: \"{{value}}\"
{more}",
        broker.port,
        meter.port,
        EVERY.as_millis(),
    ))
}

/// Somebody who does something over and over.
struct Flood {
    what: &'static str,
    stop: Arc<AtomicBool>,
    times: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Flood {
    fn begin(what: &'static str, mut work: impl FnMut() + Send + 'static) -> Self {
        let (stop, times): (Arc<AtomicBool>, Arc<AtomicU64>) = Default::default();
        let thread = thread::spawn({
            let (stop, times) = (stop.clone(), times.clone());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    work();
                    times.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { what, stop, times, thread }
    }

    /// Ends it. It has got on.
    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        let times = self.times.load(Ordering::Relaxed);
        println!("{}: {times} times", self.what);
        assert!(times > 10, "{}: {times} times", self.what);
    }
}

/// A publisher that says a hundred things at a time, and above QoS 0 waits until they are acknowledged.
fn says(port: u16, client: &str, first: &[u8; 1], topic: &str) -> impl FnMut() + Send + 'static {
    const AT_ONCE: u16 = 100;
    let (mut raw, _) = Raw::v3(port, client, true);
    let acknowledged = first[0] & 6 != 0;
    let bodies = (1..=AT_ONCE).map(|id| {
        let id = if acknowledged { id.to_be_bytes().to_vec() } else { Vec::new() };
        packet(first[0], &[string(topic), id, vec![b'x'; 100]].concat())
    });
    let bodies: Vec<u8> = bodies.flatten().collect();
    move || {
        raw.say(&bodies);
        for id in (1..=AT_ONCE).filter(|_| acknowledged) {
            raw.hears(0x40, &id.to_be_bytes());
        }
    }
}

/// A publisher that has ever new topics retained.
fn retains(port: u16) -> impl FnMut() + Send + 'static {
    let (mut raw, _) = Raw::v3(port, "retains", true);
    let mut topic = 0;
    move || {
        topic += 1;
        raw.say(&packet(0x33, &[string(format!("kept/{topic}")), vec![0, 1], vec![b'x'; 100]].concat()));
        raw.hears(0x40, &[0, 1]);
    }
}

/// Clients that come, subscribe, and break off.
fn connects(port: u16) -> impl FnMut() + Send + 'static {
    move || {
        for number in 0..10 {
            let mut stream = without_a_trace(port);
            let hello = [b"\x10\x12\0\x04MQTT\x04\x02\0\0\0\x06storm".as_slice(), &[b'0' + number]].concat();
            let subscribe = packet(0x82, &[&[0, 1][..], &string("storm/#"), &[1]].concat());
            // Some do not even say who they are.
            let said = if number % 3 == 0 { &hello[..4] } else { &[hello, subscribe].concat() };
            let _ = stream.write_all(said);
        }
        sleep(Duration::from_millis(5));
    }
}

/// Clients that say what means nothing.
fn talks_nonsense(port: u16) -> impl FnMut() + Send + 'static {
    let mut random = fastrand::Rng::with_seed(7);
    move || {
        let mut stream = without_a_trace(port);
        let mut said = b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01n".to_vec();
        said.extend((0..random.usize(1..2000)).map(|_| random.u8(..)));
        // It may be closed before all of it is said.
        let _ = stream.write_all(&said);
        sleep(Duration::from_millis(1));
    }
}

/// A connection that leaves nothing behind when it breaks off: thousands would use up the machine's ports.
fn without_a_trace(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    stream
}

/// A subscriber that reads what it gets.
fn hears(port: u16) -> impl FnMut() + Send + 'static {
    let (mut raw, _) = Raw::v3(port, "hears", true);
    raw.say(&packet(0x82, &[&[0, 1][..], &string("flood/#"), &[0]].concat()));
    move || {
        raw.hear();
    }
}
