//! Stock MySensors controllers see the site: Home Assistant's own library, attached over MQTT, over TCP and
//! at a serial port, knows the nodes of a network and the devices that are shown as nodes, and sets them.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::lab::broker::Mosquitto;
use crate::lab::client::Client;
use crate::lab::controller::{Controller, child, value};
use crate::lab::gateway::{Gateway, Site};
use crate::lab::network::Network;
use crate::lab::slave::Slave;
use crate::lab::{PATIENCE, free_port, wait_for};

const STATUS: u64 = 2;
const TEMP: u64 = 0;
#[cfg(feature = "ble")]
const HUM: u64 = 1;

/// A plant whose tank is shown as a node, beside a network with a node of its own.
struct Plant {
    broker: Mosquitto,
    slave: Slave,
    network: Network,
    door: u16,
    site: Site,
}

impl Plant {
    fn new() -> Self {
        let (broker, slave, network, door) = (Mosquitto::start(), Slave::start(), Network::start(), free_port());
        let site = Site::new(&format!(
            "gateway: gw1\n\
             uplinks:\n  central: {{ url: \"mqtt://127.0.0.1:{}\" }}\n\
             broker: {{ listen: [] }}\n\
             modbus:\n  plant:\n    tcp: 127.0.0.1:{}\n    every: 200ms\n    devices:\n      tank:\n        unit: 7\n        points:\n\
             \x20         level: {{ holding: 100, type: f32, unit: m }}\n\
             \x20         valve: {{ coil: 3, write: {{}} }}\n\
             mysensors:\n  garden: {{ {}, controller: upstream }}\n\
             controllers: {{ listen: [127.0.0.1:{door}], pty: ./ttyController }}\n\
             mapping:\n  - match: {{ link: plant }}\n    present_as: mysensors\n",
            broker.port,
            slave.port,
            network.settings(),
        ));
        Self { broker, slave, network, door, site }
    }

    fn pty(&self) -> std::path::PathBuf {
        self.site.path().join("ttyController")
    }

    fn wrote(&self, request: &str) {
        wait_for(request, PATIENCE, || self.slave.asked().iter().any(|(_, asked)| asked == request).then_some(()));
    }
}

/// A controller has everything of the site in front of it, and what it sets gets there.
fn is_seen_and_set(controller: &mut Controller, plant: &Plant, on: &str, echoes: impl Fn(&Controller, u64, u64, &str)) {
    // What it knows may be of the gateway before, whose links were up.
    for node in [200, 2] {
        let is_value = |event: &Json| event["event"] == "message" && event["command"] == 1;
        controller.wait("a fresh value", |event| is_value(event) && event["node"] == node);
    }
    let tank = controller.wait_node(200, "the tank with its values", |tank| {
        let level = child(tank, "level").and_then(|level| value(tank, level, 13));
        let valve = child(tank, "valve").and_then(|valve| value(tank, valve, STATUS));
        level.is_some() && valve.is_some()
    });
    assert_eq!((&tank["sketch"], &tank["version"], &tank["type"]), (&"tank".into(), &"2.3.2".into(), &17.into()));
    let (level, valve) = (child(&tank, "level").unwrap(), child(&tank, "valve").unwrap());
    assert_eq!(tank["children"][level.to_string()]["type"], 15);
    assert_eq!(tank["children"][valve.to_string()]["type"], 3);
    assert_eq!(value(&tank, level, 13), Some("230.5"));

    controller.set(200, valve, STATUS, on);
    echoes(controller, 200, valve, on);
    plant.wrote(&format!("write coil 3 {on}"));

    let bed = controller.wait_node(2, "the garden bed", |bed| {
        value(bed, 1, TEMP).is_some() && value(bed, 3, STATUS).is_some() && bed["battery"] == 87
    });
    assert_eq!((&bed["sketch"], &bed["sketch_version"]), (&"Bed".into(), &"1.1".into()));
    assert_eq!(value(&bed, 1, TEMP), Some("21.50"));
    controller.set(2, 3, STATUS, on);
    echoes(controller, 2, 3, on);
    assert!(plant.network.told().contains(&format!("2;3;1;1;2;{on}")));
}

fn echo_by_line(controller: &Controller, node: u64, child: u64, payload: &str) {
    controller.wait_echo(node, child, STATUS, payload);
}

#[test]
fn home_assistants_library_sees_and_sets_everything_over_tcp_also_after_a_restart() {
    let plant = Plant::new();
    let gateway = plant.site.run();
    let Some(mut controller) = Controller::over_tcp(plant.door) else { return };
    is_seen_and_set(&mut controller, &plant, "1", echo_by_line);
    // It asks for a sign of life every second, and without one makes the connection anew after two.
    let count = |controller: &Controller, key: &str, what: &str| {
        controller.events().iter().filter(|event| event[key] == what).count()
    };
    wait_for("four questions", PATIENCE, || (count(&controller, "line", "0;255;3;0;2;") >= 4).then_some(()));
    assert_eq!(count(&controller, "event", "connected"), 1);

    controller.forget();
    gateway.kill();
    let gateway = plant.site.run();
    controller.wait("the controller to come back", |event| event["event"] == "connected");
    is_seen_and_set(&mut controller, &plant, "0", echo_by_line);

    // A gateway that is stopped in order closes its connections itself.
    controller.forget();
    gateway.terminate();
    let _gateway = plant.site.run();
    controller.wait("the controller to come back once more", |event| event["event"] == "connected");
    is_seen_and_set(&mut controller, &plant, "1", echo_by_line);
}

#[test]
fn home_assistants_library_sees_and_sets_everything_at_a_serial_port_also_after_a_restart() {
    let plant = Plant::new();
    let gateway = plant.site.run();
    wait_for("the port", PATIENCE, || plant.pty().exists().then_some(()));
    let Some(mut controller) = Controller::over_serial(&plant.pty()) else { return };
    is_seen_and_set(&mut controller, &plant, "1", echo_by_line);

    // Pulled, as it were: what is left of the port is replaced.
    gateway.kill();
    controller.wait("the port to be lost", |event| event["event"] == "lost");
    controller.forget();
    let _gateway = plant.site.run();
    controller.wait("the controller to come back", |event| event["event"] == "connected");
    is_seen_and_set(&mut controller, &plant, "0", echo_by_line);
}

#[test]
fn home_assistants_library_sees_and_sets_everything_over_mqtt_also_after_a_restart() {
    let plant = Plant::new();
    let upstream = Client::subscribe(plant.broker.port, &["gw1-out/#"]);
    // An echo has a topic of its own; the library takes it for a value.
    let echo_by_topic = |_: &Controller, node: u64, child: u64, payload: &str| {
        let topic = format!("gw1-out/{node}/{child}/1/1/{STATUS}");
        upstream.wait(&topic, |heard| heard.topic == topic && heard.payload == payload);
    };
    let Some(mut controller) = Controller::over_mqtt(plant.broker.port) else { return };
    let gateway = plant.site.run();
    is_seen_and_set(&mut controller, &plant, "1", echo_by_topic);

    gateway.kill();
    drop(controller);
    upstream.forget();
    let Some(mut controller) = Controller::over_mqtt(plant.broker.port) else { return };
    let _gateway = plant.site.run();
    is_seen_and_set(&mut controller, &plant, "0", echo_by_topic);
}

#[test]
fn a_controller_that_asks_late_over_mqtt_is_told_of_every_node() {
    let plant = Plant::new();
    let _gateway = plant.site.run();
    let upstream = Client::subscribe(plant.broker.port, &["gw1-out/#"]);
    upstream.wait("a value of the tank", |heard| heard.topic.starts_with("gw1-out/200/"));
    let Some(mut controller) = Controller::over_mqtt(plant.broker.port) else { return };
    controller.send("255;255;3;0;20;");
    controller.wait_node(200, "the tank with its level", |tank| {
        child(tank, "level").is_some_and(|level| value(tank, level, 13).is_some())
    });
    controller.wait_node(2, "the garden bed", |bed| bed["sketch"] == "Bed");
}

fn attach(port: u16) -> TcpStream {
    let stream = wait_for("the door", PATIENCE, || TcpStream::connect(("127.0.0.1", port)).ok());
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn line(lines: &mut impl BufRead, wanted: impl Fn(&str) -> bool) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Other lines may come for ever.
        assert!(Instant::now() < deadline, "the line that is waited for does not come");
        let mut line = String::new();
        assert!(lines.read_line(&mut line).unwrap() > 0, "the door was closed");
        if wanted(line.trim_end()) {
            return line.trim_end().to_owned();
        }
    }
}

/// A site of one tank and a door.
fn door(slave: &Slave, rule: &str) -> (Site, u16) {
    let port = free_port();
    let site = Site::new(&format!(
        "gateway: gw1\nbroker: {{ listen: [127.0.0.1:{}] }}\n\
         modbus:\n  plant:\n    tcp: 127.0.0.1:{}\n    every: 100ms\n    devices:\n      tank:\n        unit: 7\n        points:\n\
         \x20         level: {{ holding: 100, type: f32, unit: m }}\n\
         \x20         setpoint: {{ holding: 112, type: i16, scale: 0.1, unit: °C, write: {{ min: 5, max: 80 }} }}\n\
         controllers: {{ listen: [127.0.0.1:{port}] }}\n\
         mapping:\n  - match: {{ link: plant }}\n    present_as: mysensors\n{rule}",
        free_port(),
        slave.port,
    ));
    (site, port)
}

#[test]
fn an_echo_is_for_who_asked_and_a_refusal_has_none() {
    let slave = Slave::start();
    let (site, port) = door(&slave, "");
    let gateway = site.run();
    let (mut asks, watches) = (attach(port), attach(port));
    let mut asked = BufReader::new(asks.try_clone().unwrap());
    let mut watched = BufReader::new(watches);
    assert_eq!(line(&mut asked, |_| true), "0;255;3;0;14;Gateway startup complete.");
    line(&mut watched, |line| line.ends_with("startup complete."));
    asks.write_all(b"200;255;3;0;19;\n").unwrap();
    let setpoint = line(&mut asked, |line| line.ends_with(";0;0;29;setpoint"));
    let child: u8 = setpoint.split(';').nth(1).unwrap().parse().unwrap();
    line(&mut watched, |line| line == setpoint);

    writeln!(asks, "200;{child};1;1;45;90").unwrap();
    writeln!(asks, "200;{child};1;1;45;21.5").unwrap();
    let echo = line(&mut asked, |line| line.starts_with(&format!("200;{child};1;1;45;")));
    assert_eq!(echo, format!("200;{child};1;1;45;21.5"), "90 is beyond the limit and has no echo");
    gateway.wait_log("90 is above the maximum 80");
    // Its value reaches everyone, the echo one alone.
    let told = line(&mut watched, |line| line.starts_with(&format!("200;{child};1;")) && line.ends_with(";21.5"));
    assert_eq!(told, format!("200;{child};1;0;45;21.5"));
    asks.write_all(b"0;255;3;0;2;\n").unwrap();
    line(&mut asked, |line| line == "0;255;3;0;2;2.3.2");
}

#[test]
fn a_controller_that_does_not_read_is_dropped_and_the_others_go_on() {
    let slave = Slave::start();
    let (site, port) = door(&slave, "");
    let gateway = site.run();
    let mut deaf = attach(port);
    let mut hears = BufReader::new(attach(port));
    line(&mut hears, |line| line.contains(";1;0;13;"));
    // It asks again and again, and never takes what it gets.
    deaf.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let asking = std::thread::spawn(move || {
        // The one question that is answered each time.
        let questions = b"0;255;3;0;2;\n".repeat(200);
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until && deaf.write_all(&questions).is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
        deaf
    });
    let reading = std::thread::spawn(move || {
        let mut sink = [0; 65536];
        while hears.read(&mut sink).is_ok_and(|count| count > 0) {}
    });
    gateway.wait_log("it does not read what it is sent");
    drop(asking.join().unwrap());
    line(&mut BufReader::new(attach(port)), |line| line.contains(";1;0;13;"));
    gateway.kill();
    reading.join().unwrap();
}

#[test]
fn lines_that_make_no_sense_at_a_door_disturb_nothing() {
    let slave = Slave::start();
    let (site, port) = door(&slave, "");
    let _gateway = site.run();
    let mut controller = attach(port);
    let mut lines = BufReader::new(controller.try_clone().unwrap());
    let noise: Vec<u8> = (0..=255).chain(std::iter::repeat_n(b'x', 5000)).collect();
    controller.write_all(&noise).unwrap();
    controller.write_all(b"\n;;;;;\n999;1;1;0;0;1\n2;1;1;0;49\n200;1;1;1;0;x\n200;255;4;0;0;00\n\n").unwrap();
    controller.write_all(b"0;255;3;0;2;\n").unwrap();
    line(&mut lines, |line| line == "0;255;3;0;2;2.3.2");
    line(&mut lines, |line| line.contains(";1;0;13;"));
}

#[test]
fn home_assistants_birth_on_the_local_broker_has_every_node_presented_again() {
    let slave = Slave::start();
    let (site, _) = door(&slave, "");
    let gateway = site.run();
    let port = local_port(&gateway);
    let client = Client::subscribe(port, &["gw1-out/200/#"]);
    client.wait("a value", |heard| heard.topic.contains("/1/0/13"));
    client.forget();
    client.publish("homeassistant/status", "online");
    assert_eq!(client.wait_on("gw1-out/200/255/0/0/17").payload, "2.3.2");
    assert_eq!(client.wait_on("gw1-out/200/255/3/0/11").payload, "tank");
}

fn local_port(gateway: &Gateway) -> u16 {
    let line = gateway.wait_log("local broker listening");
    line.rsplit(':').next().unwrap().trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()
}

#[test]
fn with_a_topic_a_device_goes_out_in_both_forms_and_numbers_are_kept() {
    let slave = Slave::start();
    let topic = "    topic: \"{gateway}-out/{device}/{point}\"\n    retain: false\n";
    let (site, _) = door(&slave, topic);
    let gateway = site.run();
    let client = Client::subscribe(local_port(&gateway), &["gw1-out/#"]);
    client.wait_on("gw1-out/tank/level");
    client.wait("the same as a node", |heard| {
        heard.topic.starts_with("gw1-out/200/") && heard.topic.ends_with("/1/0/13")
    });
    let kept = kept(site.path());
    assert!(kept.contains("\"device\":\"tank\"") && kept.contains("\"point\":\"level\""), "{kept}");
}

fn kept(site: &Path) -> String {
    fs::read_to_string(site.join("wharf-state/presented/nodes.json")).unwrap()
}

/// The status, once it is as wanted.
fn status(site: &Site, wanted: impl Fn(&Json) -> bool) -> Json {
    wait_for("the status", PATIENCE, || {
        let output = site.wharf(&["status"], &["--json"]);
        Some(output.json()).filter(|status| output.code == 0 && wanted(status))
    })
}

#[test]
fn who_is_attached_and_what_passes_is_in_the_status_and_the_metrics() {
    let slave = Slave::start();
    let (site, port) = door(&slave, "");
    let _gateway = site.run();
    let mut controller = attach(port);
    let other = attach(port);
    let mut lines = BufReader::new(controller.try_clone().unwrap());
    controller.write_all(format!("{}\nnonsense\n0;255;3;0;2;\n", "x".repeat(10_000)).as_bytes()).unwrap();
    line(&mut lines, |line| line == "0;255;3;0;2;2.3.2");
    line(&mut lines, |line| line.contains(";1;0;13;"));
    let seen = status(&site, |status| {
        status["controllers"]["attached"] == 2
            && status["controllers"]["not_taken"] == 2
            && status["virtual_nodes"]["nodes"] == 1
    });
    let doors = &seen["controllers"];
    assert_eq!(doors["lines_in"], 3, "{doors}");
    assert!(doors["lines_out"].as_u64() > Some(3), "{doors}");
    assert_eq!((&doors["dropped"], &doors["refused"]), (&0.into(), &0.into()));
    let human = site.wharf(&["status"], &[]).out;
    assert!(human.contains("controllers: 2 attached; 3 lines in, "), "{human}");
    let metrics = site.wharf(&["status"], &["--metrics"]).out;
    assert!(metrics.contains("\nwharf_controllers_attached 2\n"), "{metrics}");
    drop(other);
    status(&site, |status| status["controllers"]["attached"] == 1);
}

#[test]
fn a_controller_at_a_door_is_upstream_and_when_it_is_gone_the_gateway_takes_over() {
    let (network, port) = (Network::start(), free_port());
    let site = Site::new(&format!(
        "gateway: gw1\nbroker: {{ listen: [] }}\n\
         uplinks:\n  central: {{ url: \"mqtt://127.0.0.1:{}\" }}\n\
         mysensors:\n  garden: {{ {}, controller: upstream, take_over: 1s }}\n\
         controllers: {{ listen: [127.0.0.1:{port}] }}\n",
        free_port(),
        network.settings(),
    ));
    let gateway = site.run();
    gateway.wait_log("everything upstream has been away for long");
    let controller = attach(port);
    gateway.wait_log("upstream is back");
    drop(controller);
    let took_over = |log: &str| log.matches("everything upstream has been away for long").count() == 2;
    wait_for("the gateway to take over again", PATIENCE, || took_over(&gateway.log()).then_some(()));
}

#[test]
fn the_node_of_a_device_that_is_offline_gives_no_sign_of_life() {
    let slave = Slave::start();
    let (site, port) = door(&slave, "");
    let gateway = site.run();
    let mut controller = attach(port);
    let mut lines = BufReader::new(controller.try_clone().unwrap());
    line(&mut lines, |line| line.contains(";1;0;13;"));
    controller.write_all(b"200;255;3;0;18;\n").unwrap();
    line(&mut lines, |line| line.starts_with("200;255;3;0;22;"));
    drop(slave);
    gateway.wait_log("device offline");
    controller.write_all(b"200;255;3;0;18;\n").unwrap();
    gateway.wait_log("tank is offline");
}

#[cfg(feature = "ble")]
#[test]
fn home_assistants_library_sees_a_bluetooth_thermometer_with_its_battery() {
    let Some(mut bluez) = crate::lab::bluez::Bluez::start() else { return };
    let port = free_port();
    let site = Site::new(&format!(
        "gateway: gw1\nbroker: {{ listen: [127.0.0.1:{}] }}\ncontrollers: {{ listen: [127.0.0.1:{port}] }}\n\
         ble: {{ hall: {{ devices: {{ fridge: {{ mac: \"C0:00:00:00:00:01\" }} }} }} }}\n\
         mapping: [{{ match: {{ link: hall }}, present_as: mysensors }}]\n",
        free_port(),
    ));
    // -4.5 degrees, 55.5 % humidity, 87 % battery, again and again.
    let ad = r#"[[1,"06"],[22,"d2fc4000{n:02x}0157023efe03ae15"]]"#;
    bluez.tell(&format!(r#"{{"set":"bthome","interval":0.5,"ad":{ad}}}"#));
    let _gateway = site.run_with(&[("DBUS_SYSTEM_BUS_ADDRESS", &bluez.address)]);
    let Some(mut controller) = Controller::over_tcp(port) else { return };
    let fridge = controller.wait_node(200, "the fridge with its values", |fridge| {
        let is_known = |name, kind| child(fridge, name).and_then(|child| value(fridge, child, kind)).is_some();
        is_known("temperature", TEMP) && is_known("humidity", HUM) && fridge["battery"] != 0
    });
    let (warm, damp) = (child(&fridge, "temperature").unwrap(), child(&fridge, "humidity").unwrap());
    assert_eq!((&fridge["sketch"], &fridge["type"], &fridge["battery"]), (&"fridge".into(), &17.into(), &87.into()));
    assert_eq!((value(&fridge, warm, TEMP), value(&fridge, damp, HUM)), (Some("-4.5"), Some("55.5")));
    let sensor = |child: u64| &fridge["children"][child.to_string()]["type"];
    assert_eq!((sensor(warm), sensor(damp)), (&6.into(), &7.into()));
    assert_eq!(child(&fridge, "battery"), None, "it is the node's own");
}
