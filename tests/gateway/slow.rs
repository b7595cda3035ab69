//! Nothing northbound slows anything southbound: how late polls are while the broker is there,
//! against how late they are in a long outage with the queue at its bound.
//!
//! Forty seconds stand for thirteen hours. What a long outage does to a gateway is that its queue
//! goes round: 512 MiB hold some ten hours of a hundred values a second, so in thirteen hours they
//! are filled once and a third of them is written over. Here 16 MiB, the least there is, meet two
//! megabytes a second (long payloads from few values, so that the test's own machine has little to
//! do), are full after eight seconds and written over for thirty: almost four times. With
//! `when_full: block` it takes some seconds more until what waits in memory is full, too.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::lab::broker::Mosquitto;
use crate::lab::client::Client;
use crate::lab::forwarder::Forwarder;
use crate::lab::gateway::{Gateway, Site};
use crate::lab::meter::Meter;
use crate::lab::rhythm::no_later;
use crate::lab::{PATIENCE, wait_for};

const EVERY: Duration = Duration::from_millis(100);
const UNITS: u8 = 5;
const POINTS: usize = 20;
const BEFORE: Duration = Duration::from_secs(15);
const OUTAGE: Duration = Duration::from_secs(40);

#[test]
fn polls_are_no_later_while_a_full_queue_evicts_its_oldest_messages() {
    let scene = Scene::start("drop_oldest");
    scene.pass_through_the_outage(|| {
        let oldest = scene.oldest_segment();
        wait_for("the oldest to be evicted", PATIENCE, || (scene.oldest_segment() > oldest).then_some(()));
    });
    scene.hears_of_losses_for("full");
}

#[test]
fn polls_are_no_later_while_a_full_queue_blocks() {
    let scene = Scene::start("block");
    scene.pass_through_the_outage(|| {
        scene.gateway.wait_log("readings dropped at the driver's port");
        wait_for("the status to say that the queue blocks", PATIENCE, || {
            let status = scene.site.wharf(&["status"], &["--json"]).json();
            (status["uplinks"][0]["queue"]["blocking"] == true).then_some(())
        });
        let metrics = scene.site.wharf(&["status"], &["--metrics"]).out;
        assert!(metrics.contains("wharf_queue_blocking{uplink=\"central\"} 1\n"), "{metrics}");
    });
    scene.hears_of_losses_for("blocked");
}

struct Scene {
    upstream: Client,
    gateway: Gateway,
    site: Site,
    meter: Meter,
    way: Forwarder,
    _broker: Mosquitto,
}

impl Scene {
    fn start(when_full: &str) -> Self {
        let broker = Mosquitto::start();
        let way = Forwarder::to(broker.port);
        let meter = Meter::start();
        let points: String =
            (0..POINTS).map(|point| format!("p{point}: {{ holding: {}, type: u32 }}, ", point * 2)).collect();
        let devices: String =
            (1..=UNITS).map(|unit| format!("      u{unit}: {{ unit: {unit}, points: {{ {points} }} }}\n")).collect();
        let site = Site::new(&format!(
            "gateway: gw1
uplinks:
  central:
    url: mqtt://127.0.0.1:{}
    queue: {{ max_size: 16MiB, min_free: 0B, when_full: {when_full} }}
broker: {{ listen: [] }}
modbus:
  bus:
    tcp: 127.0.0.1:{}
    every: {}ms
    devices:
{devices}
mapping:
  - topic: \"{{gateway}}-out/{{device}}/{{point}}\"
    payload: \"{{value}} {}\"
",
            way.port,
            meter.port,
            EVERY.as_millis(),
            "x".repeat(2000)
        ));
        let upstream = Client::subscribe(broker.port, &["gw1-sys/loss", "gw1-out/u1/p1"]);
        let gateway = site.run();
        upstream.wait_on("gw1-out/u1/p1");
        Self { upstream, gateway, site, meter, way, _broker: broker }
    }

    /// Waits until the queue is full, and judges the polls from then on to the broker's return.
    fn pass_through_the_outage(&self, filled: impl Fn()) {
        let began = Instant::now();
        sleep(BEFORE);
        let gone = Instant::now();
        self.way.close();
        // What was acknowledged last may still free a segment.
        sleep(Duration::from_secs(1));
        filled();
        let full = Instant::now();
        println!("full {:?} after the broker had gone", full - gone);
        let back = gone + OUTAGE;
        sleep(back.saturating_duration_since(full));
        no_later(&self.meter.asked(), (began, gone), (full, back), (UNITS, EVERY));
        // Thousands of messages were lost, over and over: that is a first line and a summary or two,
        // of the queue and of the port.
        let log = self.gateway.log();
        let errors: Vec<_> = log.lines().filter(|line| line.contains("ERROR")).collect();
        assert!((1..=6).contains(&errors.len()), "{} lines:\n{}", errors.len(), errors.join("\n"));
        self.way.open();
    }

    /// The lowest number that a record in the queue's files may have.
    fn oldest_segment(&self) -> u64 {
        let names = fs::read_dir(self.site.queue("central")).unwrap().map(|entry| entry.unwrap().path());
        let segments = names.filter(|path| path.extension().is_some_and(|extension| extension == "seg"));
        segments.map(|path| path.file_stem().unwrap().to_str().unwrap().parse().unwrap()).min().unwrap()
    }

    fn hears_of_losses_for(&self, reason: &str) {
        wait_for("the report of the losses", PATIENCE * 2, || {
            let told = self.upstream.on("gw1-sys/loss");
            told.iter().any(|heard| heard.json()["reason"] == reason).then_some(())
        });
    }
}
