//! MySensors over a serial line at its real speed, with noise on it and its cable pulled in the middle
//! of a message: what was damaged may be lost, and nothing else.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::time::Duration;

use crate::lab::broker::Mosquitto;
use crate::lab::client::Client;
use crate::lab::gateway::{Gateway, Site};
use crate::lab::serial_lab::SerialLab;
use crate::lab::wait_for;

const BAUD: u32 = 115_200;
/// Longer than the lines take at that speed, by far.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a node says: a number, and a check that noise does not meet by chance. The protocol has none.
fn line(number: u64) -> String {
    format!("2;1;1;0;47;{number}:{}\n", check(number))
}

fn check(number: u64) -> u64 {
    (number + 1) * 7_919_993 % 10_000_019
}

/// The numbers that arrived undamaged.
fn numbers(upstream: &Client) -> BTreeSet<u64> {
    let payloads = upstream.on("gw1-out/2/1/1/0/47").into_iter().map(|heard| heard.payload);
    let number = |payload: String| {
        let (number, said) = payload.split_once(':')?;
        let number = number.parse().ok()?;
        (said.parse() == Ok(check(number))).then_some(number)
    };
    payloads.filter_map(number).collect()
}

struct Scene {
    _broker: Mosquitto,
    upstream: Client,
    lab: SerialLab,
    node: File,
    gateway: Gateway,
    _site: Site,
}

impl Scene {
    fn start() -> Self {
        let broker = Mosquitto::start();
        let upstream = Client::subscribe(broker.port, &["#"]);
        let site = Site::new(&format!(
            "gateway: gw1\nuplinks:\n  central: {{ url: \"mqtt://127.0.0.1:{}\" }}\nbroker: {{ listen: [] }}\n\
             mysensors:\n  garden: {{ serial: ./line/gateway, baud: {BAUD} }}\n",
            broker.port
        ));
        let lab = SerialLab::start(&site.path().join("line"), BAUD);
        let node = lab.node();
        let gateway = site.run();
        let scene = Self { _broker: broker, upstream, lab, node, gateway, _site: site };
        scene.is_open();
        scene
    }

    /// Waits until the gateway has its port open.
    fn is_open(&self) {
        wait_for("the gateway to open its port", PATIENCE, || {
            (self.lab.tell("stats")["ports"]["gateway"]["open"] == true).then_some(())
        });
    }

    fn say(&mut self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            self.node.write_all(line(number).as_bytes()).unwrap();
        }
    }

    fn arrive(&self, wanted: std::ops::Range<u64>) {
        wait_for(&format!("numbers {wanted:?}"), PATIENCE, || {
            let arrived = numbers(&self.upstream);
            wanted.clone().all(|number| arrived.contains(&number)).then_some(())
        });
    }
}

#[test]
fn noise_on_the_line_costs_the_lines_that_it_hits() {
    const LINES: u64 = 3000;
    let mut scene = Scene::start();
    scene.lab.tell("set flip=0.0003 drop=0.0003 insert=0.0003");
    scene.say(0..LINES);
    wait_for("the line to be idle", PATIENCE, || {
        let before = scene.lab.tell("stats")["chars"].clone();
        std::thread::sleep(Duration::from_millis(500));
        (scene.lab.tell("stats")["chars"] == before).then_some(())
    });
    let faults = scene.lab.tell("set flip=0 drop=0 insert=0");
    // The end of the last line may have been hit as well.
    scene.node.write_all(b"\n").unwrap();
    scene.say(LINES..LINES + 10);
    scene.arrive(LINES..LINES + 10);

    let faults = ["flipped", "dropped", "inserted"].iter().map(|kind| faults[kind].as_u64().unwrap()).sum::<u64>();
    let arrived = numbers(&scene.upstream).range(..LINES).count() as u64;
    println!("{faults} faults, {} of {LINES} lines lost", LINES - arrived);
    assert!(faults > 20, "{faults} faults: this would prove little");
    // A fault in a line's ending joins it to the next one.
    assert!(LINES - arrived <= 2 * faults, "{faults} faults, {} lines lost", LINES - arrived);
}

#[test]
fn a_cable_pulled_in_the_middle_of_a_message_costs_that_message() {
    let mut scene = Scene::start();
    scene.say(0..300);
    scene.arrive(0..300);
    let broken = line(300);
    let (first, second) = broken.split_at(14);
    scene.node.write_all(first.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    scene.lab.tell("unplug gateway");
    scene.gateway.wait_log("link lost");
    scene.lab.tell("plug gateway");
    scene.is_open();
    scene.node.write_all(second.as_bytes()).unwrap();
    scene.say(301..600);
    scene.arrive(301..600);
    assert!(!numbers(&scene.upstream).contains(&300), "two halves of different connections are no message");
}
