//! Modbus points are read right, and one sick device does not hurt its neighbours.

use std::net::TcpListener;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::lab::broker::Mosquitto;
use crate::lab::client::Client;
use crate::lab::gateway::Site;
use crate::lab::slave::Slave;
use crate::lab::{PATIENCE, wait_for};

#[test]
fn five_readings_of_five_kinds_arrive_right_with_unit_and_time() {
    let broker = Mosquitto::start();
    let slave = Slave::start();
    let upstream = Client::subscribe(broker.port, &["gw1-out/#", "plant/#"]);
    let before = epoch_ms();
    let _gateway = Site::new(&format!(
        "gateway: gw1
uplinks:
  central: {{ url: \"mqtt://127.0.0.1:{}\" }}
broker: {{ listen: [] }}
modbus:
  boiler-room:
    tcp: 127.0.0.1:{}
    every: 500ms
    devices:
      tank:
        unit: 7
        points:
          voltage: {{ holding: 100, type: f32, unit: V }}
          power: {{ holding: 102, type: f32, order: CDAB, unit: kW }}
          temperature: {{ holding: 104, type: i16, scale: 0.1, unit: °C }}
          valve: {{ coil: 3 }}
          serial: {{ holding: 106, type: string, length: 6 }}
          words: {{ holding: 100, count: 2 }}
mapping:
  - {{ match: {{ point: words }}, topic: plant/words, payload: raw }}
",
        broker.port, slave.port
    ))
    .run();

    assert_eq!(upstream.wait_on("plant/words").payload, "[17254,32768]");
    let check = |point: &str, value: serde_json::Value, unit: Option<&str>| {
        let json = upstream.wait_on(&format!("gw1-out/tank/{point}")).json();
        assert_eq!(json["value"], value, "{point}");
        assert_eq!(json["unit"].as_str(), unit, "{point}");
        assert_eq!(json["quality"], "good", "{point}");
        let taken_at = json["ts"].as_u64().unwrap();
        assert!((before..=epoch_ms()).contains(&taken_at), "{point} was taken at {taken_at}");
    };
    check("voltage", 230.5.into(), Some("V"));
    check("power", (-1.25).into(), Some("kW"));
    check("temperature", 21.5.into(), Some("°C"));
    check("valve", true.into(), None);
    check("serial", "SN-0042".into(), None);
}

#[test]
fn neighbouring_points_are_read_in_one_request() {
    let broker = Mosquitto::start();
    let slave = Slave::start();
    let upstream = Client::subscribe(broker.port, &["gw1-out/#"]);
    let _gateway = Site::new(&format!(
        "gateway: gw1
uplinks:
  central: {{ url: \"mqtt://127.0.0.1:{}\" }}
broker: {{ listen: [] }}
modbus:
  boiler-room:
    tcp: 127.0.0.1:{}
    every: 300ms
    devices:
      tank:
        unit: 7
        points:
          voltage: {{ holding: 100, type: f32 }}
          power: {{ holding: 102, type: f32, order: CDAB }}
          temperature: {{ holding: 104, type: i16, scale: 0.1 }}
",
        broker.port, slave.port
    ))
    .run();
    wait_for("several rounds", PATIENCE, || (upstream.heard().len() >= 9).then_some(()));
    let requests: Vec<String> = slave.asked().into_iter().map(|(_, request)| request).collect();
    assert!(requests.iter().all(|request| request == "read holding 100 5"), "{requests:?}");
}

#[test]
fn the_status_tells_of_each_link_what_became_of_its_requests() {
    let slave = Slave::start();
    let site = Site::new(&format!(
        "gateway: gw1
uplinks: {{ central: {{ url: \"mqtt://127.0.0.1:1\" }} }}
broker: {{ listen: [] }}
modbus:
  boiler-room:
    tcp: 127.0.0.1:{}
    every: 100ms
    timeout: 200ms
    devices:
      tank: {{ unit: 7, points: {{ voltage: {{ holding: 100, type: f32 }} }} }}
  attic:
    tcp: 127.0.0.1:1
    devices:
      fan: {{ unit: 1, points: {{ speed: {{ holding: 0 }} }} }}
",
        slave.port
    ));
    let _gateway = site.run();
    let links = wait_for("the link to have asked", PATIENCE, || {
        let output = site.wharf(&["status"], &["--json"]);
        let asked = |status: &serde_json::Value| {
            let links = status["links"].as_array()?;
            links.iter().find(|link| link["requests"]["answered"].as_u64() >= Some(5)).map(|_| links.clone())
        };
        if output.code == 0 { asked(&output.json()) } else { None }
    });
    let of = |name: &str| links.iter().find(|link| link["name"] == name).unwrap()["requests"].clone();
    assert_eq!(of("boiler-room")["damaged"], 0);
    assert!(of("attic").is_null(), "where there is no connection nothing was asked: {links:?}");
    let metrics = site.wharf(&["status"], &["--metrics"]).out;
    assert!(metrics.contains("wharf_link_requests_total{link=\"boiler-room\",outcome=\"answered\"} "), "{metrics}");
}

#[test]
fn a_device_that_never_answers_does_not_delay_its_neighbours() {
    let broker = Mosquitto::start();
    let slave = Slave::start();
    // Accepts connections by its backlog, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = Client::subscribe(broker.port, &["gw1-out/#", "gw1-sys/#"]);
    let _gateway = Site::new(&format!(
        "gateway: gw1
uplinks:
  central: {{ url: \"mqtt://127.0.0.1:{}\" }}
broker: {{ listen: [] }}
modbus:
  silent:
    tcp: {}
    every: 200ms
    devices:
      dead: {{ unit: 1, points: {{ level: {{ holding: 0 }} }} }}
  boiler-room:
    tcp: 127.0.0.1:{}
    every: 200ms
    devices:
      tank: {{ unit: 7, points: {{ counter: {{ holding: 120, type: u32 }} }} }}
mysensors:
  missing: {{ serial: ./no-such-port }}
",
        broker.port,
        silent.local_addr().unwrap(),
        slave.port
    ))
    .run();
    upstream.wait_on("gw1-out/tank/counter");
    std::thread::sleep(Duration::from_secs(6));
    let dead = upstream.wait("the dead device's reading", |heard| heard.topic == "gw1-out/dead/level").json();
    assert_eq!(dead["quality"], "bad");
    assert_eq!(dead["value"], serde_json::Value::Null);
    upstream.wait("the dead device's health", |heard| {
        heard.topic == "gw1-sys/device/dead" && heard.payload.contains("offline")
    });
    // 30 rounds fit into 6 s. A neighbour that had to wait for the silent one's timeouts of 1 s
    // each would get a fraction of them; a busy machine costs a few.
    let rounds = slave.asked().len();
    assert!(rounds >= 20, "{rounds} rounds in 6 s at 200 ms");
}

fn epoch_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}
