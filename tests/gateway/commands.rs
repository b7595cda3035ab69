//! Commands come down from both sides and are answered; what must not reach a device does not.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value as Json;

use crate::lab::broker::Mosquitto;
use crate::lab::client::Client;
use crate::lab::gateway::{Gateway, Site};
use crate::lab::line::Line;
use crate::lab::raw::{Heard, Raw, packet, string};
use crate::lab::slave::Slave;
use crate::lab::{PATIENCE, free_port, wait_for};

/// A gateway with a tank on Modbus and a garden on MySensors, an uplink and a local broker.
struct Plant {
    upstream: Client,
    local: Client,
    local_port: u16,
    slave: Slave,
    garden: Arc<Mutex<Vec<String>>>,
    _line: Line,
    _gateway: Gateway,
    _site: Site,
    _broker: Mosquitto,
    _silent: TcpListener,
}

impl Plant {
    fn start(protocol: &str) -> Self {
        let broker = Mosquitto::start();
        let upstream = Client::subscribe(broker.port, &["#"]);
        let slave = Slave::start();
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let local_port = free_port();
        let site = Site::new(&format!(
            "gateway: gw1
uplinks:
  central: {{ url: \"mqtt://127.0.0.1:{}\", protocol: {protocol} }}
broker: {{ listen: [127.0.0.1:{local_port}] }}
commands: {{ deadline: 3s }}
modbus:
  boiler-room:
    tcp: 127.0.0.1:{}
    every: 500ms
    devices:
      tank:
        unit: 7
        points:
          voltage: {{ holding: 100, type: f32, unit: V }}
          valve: {{ coil: 4, write: {{}} }}
          setpoint: {{ holding: 112, type: i16, scale: 0.1, unit: °C, write: {{ min: 5, max: 80, verify: true }} }}
  gone:
    tcp: 127.0.0.1:{}
    devices:
      far: {{ unit: 1, points: {{ pump: {{ coil: 0, write: {{}} }} }} }}
mysensors:
  garden:
    serial: ./ttyGarden
    devices:
      soil:
        node: 2
        points:
          valve: {{ child: 3, type: status, write: {{}} }}
          moisture: {{ child: 1, type: level }}
",
            broker.port,
            slave.port,
            free_port(),
        ));
        let mut line = Line::plug(&site.path().join("ttyGarden"));
        let garden = listen_and_echo(&line);
        let gateway = site.run();
        gateway.wait_log("local broker listening");
        let local = Client::subscribe(local_port, &["#"]);
        let plant = Self {
            upstream,
            local,
            local_port,
            slave,
            garden,
            _gateway: gateway,
            _site: site,
            _broker: broker,
            _silent: silent,
            _line: {
                line.say("0;255;3;0;14;Gateway startup complete.");
                line
            },
        };
        for link in ["boiler-room", "garden"] {
            plant.upstream.wait("the links", |heard| {
                heard.topic == format!("gw1-sys/link/{link}") && heard.payload.contains("online")
            });
        }
        plant
    }

    fn sides(&self) -> [(&'static str, &Client); 2] {
        [("upstream", &self.upstream), ("local", &self.local)]
    }

    fn written(&self) -> Vec<String> {
        self.slave.asked().into_iter().map(|(_, request)| request).filter(|r| r.starts_with("write")).collect()
    }

    fn garden_heard(&self) -> Vec<String> {
        self.garden.lock().unwrap().iter().filter(|line| line.split(';').nth(2) == Some("1")).cloned().collect()
    }
}

/// Plays the nodes: remembers what comes, and echoes what asks for it.
fn listen_and_echo(line: &Line) -> Arc<Mutex<Vec<String>>> {
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let (mut ear, mut mouth) = (line.ear(), line.ear());
    std::thread::spawn({
        let heard = heard.clone();
        move || {
            while let Some(line) = ear.line() {
                let wants_echo = line.split(';').nth(3) == Some("1");
                heard.lock().unwrap().push(line.clone());
                if wants_echo {
                    mouth.say(&line);
                }
            }
        }
    });
    heard
}

/// Sends a command with an id and gives the answer with that id.
fn ask(side: &Client, topic: &str, answer_topic: &str, command: Json) -> Json {
    let id = fastrand::u32(..);
    let mut command = command;
    command["id"] = id.into();
    side.publish(topic, &command.to_string());
    wait_for(&format!("the answer to {command} on {topic}"), PATIENCE, || {
        side.on(answer_topic).iter().map(|heard| heard.json()).find(|json| json["id"] == id)
    })
}

#[test]
fn a_register_is_written_and_read_back_from_both_sides() {
    for protocol in ["5", "3.1.1"] {
        let plant = Plant::start(protocol);
        for ((name, side), (value, raw)) in plant.sides().into_iter().zip([(60.0, 600), (42.5, 425)]) {
            let command = serde_json::json!({ "value": value });
            let answer = ask(side, "gw1-in/tank/setpoint", "gw1-sys/answer/tank/setpoint", command);
            assert_eq!(answer["ok"], true, "{name}: {answer}");
            assert_eq!(answer["requested"].as_f64(), Some(value), "{name}: {answer}");
            assert_eq!(answer["written"].as_f64(), Some(value), "{name}: {answer}");
            assert_eq!(answer["observed"].as_f64(), Some(value), "{name}: {answer}");
            assert_eq!(plant.written().last().unwrap(), &format!("write holding 112 {raw}"), "{name}");
        }
        // Both sides see both answers.
        for (name, side) in plant.sides() {
            wait_for(name, PATIENCE, || (side.on("gw1-sys/answer/tank/setpoint").len() == 2).then_some(()));
        }
    }
}

#[test]
fn a_coil_is_written_and_a_point_is_read_on_request() {
    let plant = Plant::start("5");
    plant.local.publish("gw1-in/tank/valve", "on");
    let answer = plant.local.wait_on("gw1-sys/answer/tank/valve").json();
    assert_eq!((&answer["ok"], &answer["written"]), (&true.into(), &true.into()), "{answer}");
    assert_eq!(plant.written(), ["write coil 4 1"]);
    plant
        .upstream
        .wait("the valve's new reading", |heard| heard.topic == "gw1-out/tank/valve" && heard.json()["value"] == true);
    plant.upstream.publish("gw1-in/tank/voltage/get", "");
    let answer = plant.upstream.wait_on("gw1-sys/answer/tank/voltage").json();
    assert_eq!(answer["observed"], 230.5, "{answer}");
}

#[test]
fn a_command_that_a_local_client_sends_again_after_a_broken_connection_is_carried_out_once() {
    let plant = Plant::start("5");
    let command = |first: u8, id: u8, payload: &str| {
        packet(first, &[&string("gw1-in/tank/valve")[..], &[0, id], payload.as_bytes()].concat())
    };
    let carried_out = |count: usize| {
        wait_for("the answers", PATIENCE, || {
            (plant.local.on("gw1-sys/answer/tank/valve").len() == count).then_some(())
        });
        assert_eq!(plant.written().len(), count, "{:?}", plant.written());
    };
    let (mut panel, _) = Raw::v3(plant.local_port, "panel", false);
    panel.say(&command(0x32, 7, "on"));
    carried_out(1);
    // It has not read the acknowledgement.
    panel.cut();
    let (mut panel, _) = Raw::v3(plant.local_port, "panel", false);
    panel.say(&command(0x3a, 7, "on"));
    assert_eq!(panel.hear(), Heard::Packet(0x40, vec![0, 7]), "it is acknowledged all the same");
    // With the same id, it is another; and so is what another client sends.
    panel.say(&command(0x32, 7, "off"));
    carried_out(2);
    let (mut phone, _) = Raw::v3(plant.local_port, "phone", false);
    phone.say(&command(0x3a, 7, "off"));
    carried_out(3);
}

#[test]
fn a_mysensors_set_comes_down_in_classic_and_in_named_form_from_both_sides() {
    let plant = Plant::start("5");
    for (name, side) in plant.sides() {
        plant.garden.lock().unwrap().clear();
        side.forget();
        side.publish("gw1-in/2/3/1/1/2", "1");
        let answer = side.wait_on("gw1-sys/answer/soil/valve").json();
        assert_eq!((&answer["ok"], &answer["observed"]), (&true.into(), &true.into()), "{name}: {answer}");
        assert_eq!(plant.garden_heard(), ["2;3;1;1;2;1"], "{name}");

        let answer = ask(side, "gw1-in/soil/valve", "gw1-sys/answer/soil/valve", serde_json::json!({ "value": false }));
        assert_eq!(answer["ok"], true, "{name}: {answer}");
        // Without an echo it is answered when it has been sent, and heard a moment later.
        wait_for("the second set", PATIENCE, || (plant.garden_heard() == ["2;3;1;1;2;1", "2;3;1;0;2;0"]).then_some(()));
    }
}

#[test]
fn what_must_not_reach_a_device_is_refused_with_its_reason() {
    let plant = Plant::start("5");
    for (name, side) in plant.sides() {
        let refused = |topic: &str, command: Json, reason: &str| {
            let answer_topic = topic.replacen("gw1-in/", "gw1-sys/answer/", 1);
            let answer = ask(side, topic, &answer_topic, command);
            assert_eq!(answer["ok"], false, "{name}: {answer}");
            let error = answer["error"].as_str().unwrap();
            assert!(error.contains(reason), "{name}: {error}");
        };
        let value = |value: f64| serde_json::json!({ "value": value });
        refused("gw1-in/tank/voltage", value(1.0), "read-only");
        refused("gw1-in/soil/moisture", value(1.0), "read-only");
        refused("gw1-in/tank/setpoint", value(80.1), "above the maximum 80");
        refused("gw1-in/tank/setpoint", value(4.9), "below the minimum 5");
        let hour_ago = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64 - 3_600_000;
        refused("gw1-in/tank/setpoint", serde_json::json!({ "value": 20, "expires": hour_ago }), "expired");
        let sent_then = serde_json::json!({ "value": 20, "expires": "30s", "ts": hour_ago });
        refused("gw1-in/tank/setpoint", sent_then, "expired");
        refused("gw1-in/far/pump", value(1.0), "the link `gone` is");

        // These are refused before the payload is looked at, so no id comes back.
        let refused_at_sight = |topic: &str, answer_topic: &str, reason: &str| {
            side.forget();
            side.publish(topic, "1");
            let answer = side.wait_on(answer_topic).json();
            let error = answer["error"].as_str().unwrap();
            assert!(error.contains(reason), "{name}: {error}");
        };
        refused_at_sight("gw1-in/cellar/lamp", "gw1-sys/answer/cellar/lamp", "no device `cellar`");
        refused_at_sight("gw1-in/tank/lamp", "gw1-sys/answer/tank/lamp", "no point `lamp`");
        refused_at_sight("gw1-in/9/9/1/0/2", "gw1-sys/answer/9/9/1/0/2", "no point is declared for node 9");
        refused_at_sight("gw1-in/2/255/3/0/13", "gw1-sys/answer/2/255/3/0/13", "no link takes messages for node 2");

        side.forget();
        side.publish_retained("gw1-in/tank/setpoint", "33");
        let answer = side.wait_on("gw1-sys/answer/tank/setpoint").json();
        assert!(answer["error"].as_str().unwrap().contains("retained"), "{name}: {answer}");
        side.publish_retained("gw1-in/tank/setpoint", "");
    }
    assert_eq!(plant.written(), Vec::<String>::new());
    assert_eq!(plant.garden_heard(), Vec::<String>::new());
}

#[test]
fn a_retained_command_waiting_upstream_is_refused_at_the_start() {
    let broker = Mosquitto::start();
    let upstream = Client::subscribe(broker.port, &["gw1-sys/#"]);
    upstream.publish_retained("gw1-in/tank/setpoint", "33");
    let slave = Slave::start();
    let _gateway = Site::new(&format!(
        "gateway: gw1\nuplinks: {{ central: {{ url: \"mqtt://127.0.0.1:{}\" }} }}\nbroker: {{ listen: [] }}\nmodbus:\n  bus:\n    tcp: 127.0.0.1:{}\n    devices: {{ tank: {{ unit: 7, points: {{ setpoint: {{ holding: 112, type: i16, write: {{}} }} }} }} }}\n",
        broker.port, slave.port
    ))
    .run();
    let answer = upstream.wait_on("gw1-sys/answer/tank/setpoint").json();
    assert!(answer["error"].as_str().unwrap().contains("retained"), "{answer}");
    assert!(slave.asked().iter().all(|(_, request)| request.starts_with("read")), "{:?}", slave.asked());
}

#[test]
fn an_mqtt_5_request_is_answered_where_it_asks_for_it() {
    let plant = Plant::start("5");
    for (name, side) in plant.sides() {
        side.ask("gw1-in/tank/valve", "true", "panel/answers", b"\x00\xffabc");
        let answer = side.wait_on("panel/answers");
        assert_eq!(answer.json()["ok"], true, "{name}");
        assert_eq!(answer.correlation.as_deref(), Some(&b"\x00\xffabc"[..]), "{name}");
    }
}

#[test]
fn a_device_that_does_not_answer_has_its_command_answered_all_the_same() {
    let broker = Mosquitto::start();
    let upstream = Client::subscribe(broker.port, &["gw1-sys/#"]);
    let site = Site::new(&format!(
        "gateway: gw1
uplinks: {{ central: {{ url: \"mqtt://127.0.0.1:{}\" }} }}
broker: {{ listen: [] }}
commands: {{ deadline: 2s }}
mysensors:
  garden:
    serial: ./ttyGarden
    echo_timeout: 1s
    devices: {{ soil: {{ node: 2, points: {{ valve: {{ child: 3, type: status, write: {{ verify: true }} }} }} }} }}
",
        broker.port
    ));
    let mut line = Line::plug(&site.path().join("ttyGarden"));
    let _gateway = site.run();
    upstream.wait_on("gw1-sys/link/garden");
    line.say("0;255;3;0;14;Gateway startup complete.");
    upstream.wait("the link", |heard| heard.topic == "gw1-sys/link/garden" && heard.payload.contains("online"));
    upstream.publish("gw1-in/soil/valve", "1");
    let answer = upstream.wait_on("gw1-sys/answer/soil/valve").json();
    assert!(answer["error"].as_str().unwrap().contains("did not answer"), "{answer}");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(upstream.on("gw1-sys/answer/soil/valve").len(), 1, "answered once");
}
