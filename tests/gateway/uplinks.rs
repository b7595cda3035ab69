//! Several uplinks: each gets what its filter says, and one that hangs or is gone changes nothing
//! for the other.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::lab::broker::Mosquitto;
use crate::lab::client::{Client, Heard};
use crate::lab::gateway::{Gateway, Site};
use crate::lab::meter::Meter;
use crate::lab::node::{Node, line};
use crate::lab::{PATIENCE, free_port, wait_for};

const EVERY: Duration = Duration::from_millis(100);
const TROUBLE: Duration = Duration::from_secs(8);

#[test]
fn each_uplink_gets_its_own_and_the_local_broker_gets_everything() {
    let scene = Scene::start(Mosquitto::start(), Mosquitto::start());
    let local = Client::subscribe(scene.local, &["gw1-out/#"]);
    let heard = |client: &Client, topic: &str| client.wait_on(topic).topic;
    for topic in ["gw1-out/meter/c0", "gw1-sys/state", "gw1-sys/link/bus", "gw1-sys/device/meter"] {
        heard(&scene.at_plant, topic);
    }
    for topic in ["gw1-out/2/1/1/0/24", "gw1-sys/state", "gw1-sys/link/garden", "gw1-sys/device/garden-2"] {
        heard(&scene.at_cloud, topic);
    }
    for topic in ["gw1-out/meter/c0", "gw1-out/meter/hidden", "gw1-out/2/1/1/0/24"] {
        heard(&local, topic);
    }
    // Whatever else would have come has had its time: later readings of the same poll are there.
    let polls = scene.meter.asked().len() as u64;
    scene.at_plant.wait("later polls", |heard| count(heard).is_some_and(|count| count > polls + 5));
    let strange = |client: &Client, own: &[&str]| -> BTreeSet<String> {
        let topics = client.heard().into_iter().map(|heard| heard.topic);
        topics.filter(|topic| !own.contains(&topic.as_str())).collect()
    };
    let plants = ["gw1-out/meter/c0", "gw1-sys/state", "gw1-sys/link/bus", "gw1-sys/device/meter"];
    assert_eq!(strange(&scene.at_plant, &plants), BTreeSet::new());
    let clouds = ["gw1-out/2/1/1/0/24", "gw1-sys/state", "gw1-sys/link/garden", "gw1-sys/device/garden-2"];
    assert_eq!(strange(&scene.at_cloud, &clouds), BTreeSet::new());
}

#[test]
fn an_uplink_that_hangs_or_is_gone_changes_nothing_for_the_other_and_catches_up() {
    let mut scene = Scene::start(Mosquitto::start(), Mosquitto::with_memory());
    scene.cloud.suspend();
    scene.plant_is_served_as_ever();
    scene.cloud.go_on();
    scene.cloud_catches_up();

    scene.cloud.terminate();
    scene.gateway.wait_log("uplink down");
    scene.plant_is_served_as_ever();
    scene.cloud.restart();
    scene.cloud_catches_up();

    let counts: Vec<u64> = scene.at_plant.heard().iter().filter_map(count).collect();
    assert_eq!(counts, (1..=counts.len() as u64).collect::<Vec<_>>(), "once each and in order");
}

/// A gateway with two uplinks: the plant's takes one point of the meter, the cloud's the garden.
struct Scene {
    at_plant: Client,
    at_cloud: Client,
    gateway: Gateway,
    node: Node,
    meter: Meter,
    local: u16,
    cloud: Mosquitto,
    _plant: Mosquitto,
}

impl Scene {
    fn start(plant: Mosquitto, cloud: Mosquitto) -> Self {
        let (meter, node, local) = (Meter::start(), Node::start(), free_port());
        let site = Site::new(&format!(
            "gateway: gw1
uplinks:
  plant: {{ url: \"mqtt://127.0.0.1:{}\", match: {{ driver: modbus, device: me*, point: c* }} }}
  cloud: {{ url: \"mqtt://127.0.0.1:{}\", match: {{ link: garden }} }}
broker: {{ listen: [127.0.0.1:{local}] }}
modbus:
  bus:
    tcp: 127.0.0.1:{}
    every: {}ms
    devices: {{ meter: {{ unit: 3, points: {{ c0: {{ holding: 0, type: u32 }}, hidden: {{ holding: 2, type: u32 }} }} }} }}
mysensors:
  garden: {{ tcp: {} }}
",
            plant.port,
            cloud.port,
            meter.port,
            EVERY.as_millis(),
            node.address
        ));
        let everything = ["gw1-out/#", "gw1-sys/#"];
        let at_plant = Client::subscribe(plant.port, &everything);
        let at_cloud = Client::subscribe(cloud.port, &everything);
        let gateway = site.run();
        at_plant.wait("polls", |heard| count(heard).is_some());
        at_cloud.wait("lines", |heard| line(heard).is_some());
        Self { at_plant, at_cloud, gateway, node, meter, local, cloud, _plant: plant }
    }

    /// For a while polls arrive at the plant at their pace, and none is held back.
    fn plant_is_served_as_ever(&self) {
        let (began, heard) = (Instant::now(), self.plants_polls());
        sleep(TROUBLE);
        let arrived = (self.plants_polls() - heard) as u128;
        let ideal = began.elapsed().as_millis() / EVERY.as_millis();
        assert!(arrived * 10 >= ideal * 8, "{arrived} polls arrived, {ideal} would be ideal");
    }

    fn plants_polls(&self) -> usize {
        self.at_plant.heard().iter().filter_map(count).count()
    }

    /// Every line said so far is heard, soon or later.
    fn cloud_catches_up(&self) {
        let said = self.node.said();
        let missing = || {
            let heard: BTreeSet<u64> = self.at_cloud.heard().iter().filter_map(line).collect();
            (1..=said).any(|number| !heard.contains(&number))
        };
        // The gateway may be in the middle of its longest wait between two attempts.
        wait_for("the lines of the meantime", PATIENCE * 2, || (!missing()).then_some(()));
    }
}

fn count(heard: &Heard) -> Option<u64> {
    (heard.topic == "gw1-out/meter/c0").then(|| heard.json()["value"].as_u64().unwrap())
}
