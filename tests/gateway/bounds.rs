//! What controllers and nodes cannot do to the gateway: fill its queues with questions, take each other's places,
//! have it obey what is old, or get one number twice.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use serde_json::Value as Json;

use crate::lab::broker::Mosquitto;
use crate::lab::client::Client;
use crate::lab::gateway::Site;
use crate::lab::network::Network;
use crate::lab::slave::Slave;
use crate::lab::{PATIENCE, accept, free_port, wait_for};

/// A controller at a door: its lines go to the gateway, and those of the gateway come.
struct Attached {
    says: TcpStream,
    hears: BufReader<TcpStream>,
}

impl Attached {
    /// One that has been let in.
    fn at(port: u16) -> Self {
        let says = wait_for("the door", PATIENCE, || TcpStream::connect(("127.0.0.1", port)).ok());
        says.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut this = Self { hears: BufReader::new(says.try_clone().unwrap()), says };
        this.hears("0;255;3;0;14;Gateway startup complete.");
        this
    }

    fn say(&mut self, line: &str) {
        writeln!(self.says, "{line}").unwrap();
    }

    fn hears(&mut self, wanted: &str) {
        let (mut line, deadline) = (String::new(), Instant::now() + PATIENCE);
        while line.trim_end() != wanted {
            // Other lines may come for ever.
            assert!(Instant::now() < deadline, "{wanted} does not come");
            line.clear();
            assert!(self.hears.read_line(&mut line).unwrap() > 0, "the door was closed");
        }
    }
}

/// The status, once it is as wanted.
fn status(site: &Site, wanted: impl Fn(&Json) -> bool) -> Json {
    wait_for("the status", PATIENCE, || {
        let output = site.wharf(&["status"], &["--json"]);
        Some(output).filter(|output| output.code == 0).map(|output| output.json()).filter(&wanted)
    })
}

/// What a link has counted.
fn counted(status: &Json, link: &str, what: &str) -> u64 {
    let links = status["links"].as_array().unwrap();
    let link = links.iter().find(|row| row["name"] == link).unwrap();
    link["counts"][what].as_u64().unwrap_or_default()
}

#[test]
fn what_waits_for_sleepers_takes_no_place_of_its_controller() {
    let (network, port) = (Network::start(), free_port());
    let site = Site::new(&format!(
        "gateway: gw1\nbroker: {{ listen: [127.0.0.1:{}] }}\ncontrollers: {{ listen: [127.0.0.1:{port}] }}\n\
         mysensors:\n  garden:\n    {}\n    controller: upstream\n    devices:\n\
         \x20     a: {{ node: 11, sleeps: true }}\n      b: {{ node: 12, sleeps: true }}\n      c: {{ node: 13, sleeps: true }}\n",
        free_port(),
        network.settings(),
    ));
    let _gateway = site.run();
    let mut controller = Attached::at(port);
    controller.hears("2;1;1;0;0;21.50");
    for (node, child) in (11..=13).flat_map(|node| (1..=25).map(move |child| (node, child))) {
        controller.say(&format!("{node};{child};1;1;2;1"));
        // One at a time: how many of them the gateway has not looked at yet is not what is looked at here.
        if child % 5 == 0 {
            controller.say("2;3;1;1;2;1");
            controller.hears("2;3;1;1;2;1");
        }
    }
    let seen = status(&site, |status| counted(status, "garden", "held") == 75);
    assert_eq!(seen["controllers"]["not_taken"], 0);
    assert!(!network.told().iter().any(|line| line.starts_with("1")), "they sleep");
}

#[test]
fn all_doors_together_let_sixteen_in_and_say_it_once_that_more_have_come() {
    let (network, doors) = (Network::start(), [free_port(), free_port()]);
    let site = Site::new(&format!(
        "gateway: gw1\nbroker: {{ listen: [127.0.0.1:{}] }}\nmysensors: {{ garden: {{ {} }} }}\n\
         controllers: {{ listen: [127.0.0.1:{}, 127.0.0.1:{}] }}\n",
        free_port(),
        network.settings(),
        doors[0],
        doors[1],
    ));
    let gateway = site.run();
    let mut inside: Vec<_> = (0..16).map(|n| Attached::at(doors[n % 2])).collect();
    let is_sent_away = |port| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // In order, or broken off.
        stream.read(&mut [0]).unwrap_or(0) == 0
    };
    for port in doors.repeat(3) {
        assert!(is_sent_away(port));
    }
    let seen = status(&site, |status| status["controllers"]["refused"] == 6);
    assert_eq!(seen["controllers"]["attached"], 16);
    assert_eq!(gateway.log().matches("a controller was sent away").count(), 1);
    drop(inside.pop());
    status(&site, |status| status["controllers"]["attached"] == 15);
    Attached::at(doors[0]).hears("2;1;1;0;0;21.50");
}

/// Publishes, and gives what was answered for it: why it was refused, if it was.
fn refusal(client: &Client, topic: &str, payload: &str, retained: bool) -> Option<String> {
    client.forget();
    let full = format!("gw1-in/{topic}");
    if retained {
        client.publish_retained(&full, payload)
    } else {
        client.publish(&full, payload)
    }
    client.wait_on(&format!("gw1-sys/answer/{topic}")).json()["error"].as_str().map(str::to_owned)
}

const SET: (&str, &str) = ("2/3/1/0/2", "1");
const REQUEST: (&str, &str) = ("2/3/2/0/2", "?");
const REBOOT: (&str, &str) = ("2/255/3/0/13", "0");
const FIRMWARE: (&str, &str) = ("2/255/4/0/1", "00");

#[test]
fn on_the_local_broker_values_and_requests_are_obeyed_with_the_retain_flag_and_nothing_else_is() {
    let (network, port) = (Network::start(), free_port());
    let site = Site::new(&format!(
        "gateway: gw1\nbroker: {{ listen: [127.0.0.1:{port}] }}\n\
         mysensors: {{ garden: {{ {}, controller: upstream }} }}\n",
        network.settings(),
    ));
    let gateway = site.run();
    gateway.wait_log("link online");
    let client = Client::subscribe(port, &["gw1-sys/answer/#"]);
    let told = |line: &str| network.told().iter().any(|told| told == line);
    for ((topic, payload), line) in [(SET, "2;3;1;0;2;1"), (REQUEST, "2;3;2;0;2;?")] {
        assert_eq!(refusal(&client, topic, payload, true), None, "{topic}");
        assert!(told(line));
    }
    for (topic, payload) in [REBOOT, FIRMWARE] {
        let why = refusal(&client, topic, payload, true).unwrap();
        assert!(why.contains("without the retain flag") && why.contains("`MQTT retain`"), "{why}");
    }
    assert!(!told("2;255;3;0;13;0") && !told("2;255;4;0;1;00"));
    let seen = status(&site, |status| counted(status, "garden", "retained_commands") > 0);
    assert_eq!(counted(&seen, "garden", "retained_commands"), 2);
    assert_eq!(refusal(&client, REBOOT.0, REBOOT.1, false), None);
    assert!(told("2;255;3;0;13;0"));
}

#[test]
fn upstream_what_the_broker_had_stored_is_refused_and_counted_and_what_is_published_now_is_obeyed() {
    for (retained_sets, refused) in [(false, 4), (true, 3)] {
        let (broker, network) = (Mosquitto::start(), Network::start());
        let client = Client::subscribe(broker.port, &["gw1-sys/answer/#"]);
        for (topic, payload) in [SET, REQUEST, REBOOT, FIRMWARE] {
            client.publish_retained(&format!("gw1-in/{topic}"), payload);
        }
        let site = Site::new(&format!(
            "gateway: gw1\nuplinks:\n  central: {{ url: \"mqtt://127.0.0.1:{}\" }}\nbroker: {{ listen: [] }}\n\
             commands: {{ retained_sets: {retained_sets} }}\n\
             mysensors: {{ garden: {{ {}, controller: upstream }} }}\n",
            broker.port,
            network.settings(),
        ));
        let gateway = site.run();
        gateway.wait_log("link online");
        for (topic, _) in [SET, REQUEST, REBOOT, FIRMWARE] {
            let answer = client.wait_on(&format!("gw1-sys/answer/{topic}")).json();
            let is_old = answer["error"].as_str().unwrap_or_default().contains("retained");
            // The link may not have been up when the set came; what counts is that it was not refused as old.
            assert_eq!(is_old, !(retained_sets && topic == SET.0), "{answer}");
        }
        let told = |line: &str| network.told().iter().any(|told| told == line);
        assert!(!told("2;255;3;0;13;0") && !told("2;255;4;0;1;00") && !told("2;3;2;0;2;?"));
        let seen = status(&site, |status| counted(status, "garden", "retained_commands") > 0);
        assert_eq!(counted(&seen, "garden", "retained_commands"), refused);
        // With the flag, but now: a broker passes that on without it.
        for ((topic, _), line) in [(SET, "2;3;1;0;2;0"), (REQUEST, "2;3;2;0;2;0")] {
            assert_eq!(refusal(&client, topic, "0", true), None, "{topic}");
            assert!(told(line), "{line}");
        }
    }
}

#[test]
fn a_controller_that_asks_in_a_loop_what_everybody_is_is_not_answered_each_time() {
    let (slave, network, port) = (Slave::start(), Network::start(), free_port());
    let site = Site::new(&format!(
        "gateway: gw1\nbroker: {{ listen: [127.0.0.1:{}] }}\ncontrollers: {{ listen: [127.0.0.1:{port}] }}\n\
         modbus: {{ plant: {{ tcp: 127.0.0.1:{}, every: 200ms, devices: {{ tank: {{ unit: 7, points: {{ level: {{ holding: 100, type: f32, unit: m }} }} }} }} }} }}\n\
         mysensors: {{ garden: {{ {}, controller: upstream }} }}\n\
         mapping: [{{ match: {{ link: plant }}, present_as: mysensors }}]\n",
        free_port(),
        slave.port,
        network.settings(),
    ));
    let _gateway = site.run();
    let mut controller = Attached::at(port);
    controller.hears("200;1;1;0;13;230.5");
    controller.hears("2;1;1;0;0;21.50");
    for _ in 0..100 {
        for question in ["200;255;3;0;19;", "2;255;3;0;19;"] {
            controller.say(question);
            // It is answered at once, so all hundred get their turn.
            controller.say("0;255;3;0;2;");
            controller.hears("0;255;3;0;2;2.3.2");
        }
    }
    let is_told =
        |link: &str| counted(&status(&site, |status| counted(status, link, "coalesced") > 0), link, "coalesced");
    for link in ["garden", "presented"] {
        wait_for("the last question", PATIENCE, || (is_told(link) >= 90).then_some(()));
    }
    let asked = network.told().iter().filter(|line| *line == "2;255;3;0;19;").count();
    assert!((1..10).contains(&asked), "{asked}");
}

#[test]
fn a_number_stated_after_a_node_got_it_is_said_and_makes_no_third() {
    let (slave, listener) = (Slave::start(), TcpListener::bind("127.0.0.1:0").unwrap());
    let text = |more: &str, rule: &str| {
        format!(
            "gateway: gw1\nbroker: {{ listen: [127.0.0.1:{}] }}\n\
             modbus: {{ plant: {{ tcp: 127.0.0.1:{}, every: 200ms, devices: {{ tank: {{ unit: 7, points: {{ level: {{ holding: 100, type: f32, unit: m }} }} }} }} }} }}\n\
             mysensors: {{ garden: {{ tcp: {}, controller: local{more} }} }}\n\
             mapping: [{{ match: {{ device: tank }}, present_as: mysensors{rule} }}]\n",
            free_port(),
            slave.port,
            listener.local_addr().unwrap(),
        )
    };
    let ask = |radio: &mut (TcpStream, BufReader<TcpStream>), lines: &[&str]| {
        lines.iter().for_each(|line| writeln!(radio.0, "{line}").unwrap());
        let mut answer = String::new();
        while matches!(answer.trim_end(), "" | "0;255;3;0;2;") {
            answer.clear();
            assert!(radio.1.read_line(&mut answer).unwrap() > 0, "the link has ended");
        }
        answer.trim_end().to_owned()
    };
    let radio = || {
        let stream = accept(&listener);
        (stream.try_clone().unwrap(), BufReader::new(stream))
    };
    let site = Site::new(&text("", ""));
    let gateway = site.run();
    let mut before = radio();
    assert_eq!(ask(&mut before, &["255;255;3;0;3;"]), "255;255;3;0;4;1");
    assert_eq!(ask(&mut before, &["255;255;3;0;3;"]), "255;255;3;0;4;2");
    let presents = ["1;255;0;0;17;2.3.2", "1;255;3;0;11;Bed", "1;255;3;0;6;0"];
    assert_eq!(ask(&mut before, &presents), "1;255;3;0;6;M");
    gateway.terminate();

    fs::write(site.file(), text(", devices: { soil: { node: 2 }, pump: { node: 3 } }", ", node: 1")).unwrap();
    let gateway = site.run();
    let clash = "node 1 (`Bed`) has the number under which the site file shows `tank`";
    gateway.wait_log(clash);
    gateway.wait_log("node 2 (never heard yet) got its number from this gateway, and is `soil` in the site file now");
    let mut after = radio();
    assert_eq!(ask(&mut after, &["255;255;3;0;3;"]), "255;255;3;0;4;4", "2 and 3 are stated");
    let degraded = |row: &Json| row["name"] == "garden" && row.to_string().contains(clash);
    status(&site, |status| status["links"].as_array().unwrap().iter().any(degraded));
}
