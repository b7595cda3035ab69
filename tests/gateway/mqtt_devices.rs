//! Devices that speak MQTT: their readings arrive upstream, they obey and confirm, and whoever is gone is
//! told to be.

use std::process::Command;

use serde_json::json;

use crate::lab::broker::Mosquitto;
use crate::lab::ca::Ca;
use crate::lab::client::{Client, Heard};
use crate::lab::free_port;
use crate::lab::gateway::Site;
use crate::lab::raw::{Raw, connect_v3, packet, string};
use crate::lab::sensor::{ACCEPTED, Sensor, free_field};
use crate::lab::tasmota::Tasmota;
use crate::passwd::passwd;
use crate::users::reload;

fn is_link(heard: &Heard, state: &str) -> bool {
    heard.topic == "gw1-sys/link/wifi" && heard.json()["state"] == state
}

fn is_device(heard: &Heard, device: &str, state: &str) -> bool {
    heard.topic == format!("gw1-sys/device/{device}") && heard.json()["state"] == state
}

#[test]
fn a_plug_on_the_gateways_own_broker_arrives_upstream_obeys_and_is_missed() {
    let broker = Mosquitto::start();
    let upstream = Client::subscribe(broker.port, &["#"]);
    let own = free_port();
    let site = Site::new(&format!(
        "gateway: gw1
uplinks: {{ central: {{ url: \"mqtt://127.0.0.1:{}\" }} }}
broker: {{ listen: [127.0.0.1:{own}] }}
mqtt:
  wifi:
    timeout: 2s
    devices:
      plug: {{ profile: tasmota-plug, with: {{ topic: tasmota_4F2A }}, points: {{ switch: {{ write: {{}} }} }} }}
",
        broker.port
    ));
    let _gateway = site.run();
    upstream.wait("the link to be up", |heard| is_link(heard, "online"));
    let plug = Tasmota::plug(own, "tasmota_4F2A");
    upstream.wait("the plug to be there", |heard| is_device(heard, "plug", "online"));
    plug.measure(29.5);
    let power = upstream.wait_on("gw1-out/plug/power").json();
    assert_eq!((&power["value"], &power["unit"], &power["quality"]), (&json!(29.5), &json!("W"), &json!("good")));
    assert_eq!(upstream.wait_on("gw1-out/plug/energy").json()["value"], json!(2.896));

    let answer = |payload: &str| {
        upstream.forget();
        upstream.publish("gw1-in/plug/switch", payload);
        upstream.wait_on("gw1-sys/answer/plug/switch").json()
    };
    let done = answer("true");
    assert_eq!(
        (&done["ok"], &done["written"], &done["observed"]),
        (&json!(true), &json!(true), &json!(true)),
        "{done}"
    );
    assert_eq!(upstream.wait_on("gw1-out/plug/switch").json()["value"], json!(true));
    plug.be_stubborn(true);
    let refused = answer("false");
    assert_eq!(
        (&refused["ok"], &refused["error"]),
        (&json!(false), &json!("written, but the device holds true")),
        "{refused}"
    );
    assert_eq!(plug.obeyed(), ["ON", "OFF"]);
    upstream.forget();
    upstream.publish("gw1-in/plug/switch/get", "");
    assert_eq!(upstream.wait_on("gw1-sys/answer/plug/switch").json()["observed"], json!(true));

    upstream.forget();
    drop(plug);
    upstream.wait("the last will to be told", |heard| is_device(heard, "plug", "offline"));
    let late = answer("false");
    assert!(late["error"].as_str().unwrap().contains("plug is not there"), "{late}");
    let plug = Tasmota::plug(own, "tasmota_4F2A");
    upstream.wait("the plug to be back", |heard| is_device(heard, "plug", "online"));
    assert!(plug.obeyed().is_empty(), "nothing was kept for it: {:?}", plug.obeyed());
    // It tells by itself only what changes, so it is asked.
    let told = upstream.wait_on("gw1-out/plug/switch").json();
    assert_eq!((&told["value"], &told["quality"]), (&json!(false), &json!("good")), "{told}");

    let status = site.wharf(&["status"], &["--json"]).json();
    assert!(status["links"][0]["counts"]["messages"].as_u64().unwrap() > 5, "{status}");
    let explained = site.wharf(&["explain"], &[]).out;
    assert!(explained.contains("tele/tasmota_4F2A/SENSOR"), "{explained}");
}

#[test]
fn devices_of_another_broker_are_heard_again_when_it_comes_back() {
    let broker = Mosquitto::start();
    let mut hall = Mosquitto::start();
    let upstream = Client::subscribe(broker.port, &["#"]);
    let devices = Client::subscribe(hall.port, &[]);
    let site = Site::new(&format!(
        "gateway: gw1
uplinks: {{ central: {{ url: \"mqtt://127.0.0.1:{}\" }} }}
broker: {{ listen: [] }}
mqtt: {{ wifi: {{ broker: \"mqtt://127.0.0.1:{}\", devices: {{ boiler: {{ topic: boiler, points: {{ t: {{ path: t }} }} }} }} }} }}
",
        broker.port, hall.port
    ));
    let _gateway = site.run();
    upstream.wait("the link to be up", |heard| is_link(heard, "online"));
    devices.publish("boiler", r#"{"t":1}"#);
    assert_eq!(upstream.wait_on("gw1-out/boiler/t").json()["value"], json!(1));
    upstream.forget();
    hall.stop();
    upstream.wait("the link to be down", |heard| is_link(heard, "offline"));
    upstream.wait("the boiler to be missed", |heard| is_device(heard, "boiler", "offline"));
    hall.restart();
    upstream.wait("the link to be up again", |heard| is_link(heard, "online"));
    upstream.forget();
    devices.publish("boiler", r#"{"t":2}"#);
    assert_eq!(upstream.wait_on("gw1-out/boiler/t").json()["value"], json!(2));
}

#[test]
fn what_zigbee2mqtt_hears_is_gone_when_that_is_and_back_when_that_is() {
    let broker = Mosquitto::start();
    let upstream = Client::subscribe(broker.port, &["gw1-sys/device/#"]);
    let own = free_port();
    let site = Site::new(&format!(
        "gateway: gw1
uplinks: {{ central: {{ url: \"mqtt://127.0.0.1:{}\" }} }}
broker: {{ listen: [127.0.0.1:{own}] }}
mqtt:
  wifi:
    devices:
      kettle: {{ profile: zigbee2mqtt-plug, with: {{ name: kettle }}, points: {{ switch: {{ write: {{}} }} }} }}
    discover: [{{ profile: zigbee2mqtt-sensor, with: {{ name: \"{{device}}\" }} }}]
",
        broker.port
    ));
    let gateway = site.run();
    gateway.wait_log("local broker listening");
    let (state, offline) = ("zigbee2mqtt/bridge/state", r#"{"state":"offline"}"#);
    let comes = || {
        let mut bridge = Raw::new(own);
        // A will that is to be retained, of QoS 1.
        let payload = [string("zigbee2mqtt"), string(state), string(offline)].concat();
        bridge.say(&packet(0x10, &connect_v3(4, 0x2e, 60, &payload)));
        bridge.hears(0x20, &[0, 0]);
        let mut retain = |topic: &str, payload: &str| {
            bridge.say(&packet(0x31, &[&string(topic)[..], payload.as_bytes()].concat()));
        };
        retain(state, r#"{"state":"online"}"#);
        retain("zigbee2mqtt/kettle/availability", r#"{"state":"online"}"#);
        bridge
    };
    let mut bridge = comes();
    bridge.say(&packet(0x30, &[&string("zigbee2mqtt/hall")[..], br#"{"temperature":20.5}"#].concat()));
    for device in ["kettle", "hall"] {
        upstream.wait("the device to be there", |heard| is_device(heard, device, "online"));
    }
    upstream.forget();
    // It is killed: of its devices nobody says that they are gone.
    drop(bridge);
    for device in ["kettle", "hall"] {
        let gone = upstream.wait("the device to be gone", |heard| is_device(heard, device, "offline")).json();
        assert_eq!(gone["reason"], json!("zigbee2mqtt/bridge/state says so"), "{gone}");
    }
    let wrote = site.wharf(&["write"], &["kettle/switch", "on"]);
    assert!(wrote.code != 0 && format!("{wrote:?}").contains("kettle is not there"), "{wrote:?}");
    upstream.forget();
    let _bridge = comes();
    for device in ["kettle", "hall"] {
        upstream.wait("the device to be back", |heard| is_device(heard, device, "online"));
    }
}

#[test]
fn what_was_retained_is_the_last_that_is_known_and_strangers_become_devices() {
    let broker = Mosquitto::start();
    let before = Client::subscribe(broker.port, &["z/#"]);
    before.publish_retained("z/hall", r#"{"temperature":20.5,"linkquality":80}"#);
    before.publish_retained("z/cellar", r#"{"temperature":12,"last_seen":"2026-01-01T12:00:00Z"}"#);
    before.wait_on("z/cellar");
    let upstream = Client::subscribe(broker.port, &["gw1-out/#", "gw1-sys/#"]);
    let site = Site::new(&format!(
        "gateway: gw1
uplinks: {{ central: {{ url: \"mqtt://127.0.0.1:{port}\" }} }}
broker: {{ listen: [] }}
mqtt:
  wifi:
    broker: \"mqtt://127.0.0.1:{port}\"
    discover: [{{ profile: zigbee2mqtt-sensor, with: {{ base: z, name: \"{{device}}\" }}, most: 3 }}]
",
        port = broker.port
    ));
    let _gateway = site.run();
    let kept = upstream.wait_on("gw1-out/hall/temperature").json();
    assert_eq!((&kept["value"], &kept["quality"]), (&json!(20.5), &json!("stale")), "{kept}");
    let dated = upstream.wait_on("gw1-out/cellar/temperature").json();
    assert_eq!((&dated["quality"], &dated["ts"]), (&json!("good"), &json!(1_767_268_800_000_u64)), "{dated}");
    upstream.forget();
    before.publish("z/hall", r#"{"temperature":20.5}"#);
    assert_eq!(upstream.wait_on("gw1-out/hall/temperature").json()["quality"], json!("good"));
    for name in ["attic", "one-too-many"] {
        before.publish(&format!("z/{name}"), r#"{"temperature":1}"#);
    }
    before.publish("z/hall", r#"{"temperature":21}"#);
    upstream.wait("the last reading", |heard| heard.topic == "gw1-out/hall/temperature" && heard.json()["value"] == 21);
    assert_eq!(upstream.on("gw1-out/attic/temperature").len(), 1);
    assert!(upstream.on("gw1-out/one-too-many/temperature").is_empty());
    let status = site.wharf(&["status"], &["--json"]).json();
    assert_eq!(status["links"][0]["counts"]["nameless"], json!(1), "{status}");
}

#[test]
fn a_broker_behind_tls_lets_in_who_has_a_certificate_and_is_known_by_its_own() {
    let broker = Mosquitto::start();
    let upstream = Client::subscribe(broker.port, &["gw1-sys/#"]);
    let certificates = tempfile::tempdir().unwrap();
    let (ca, dir) = (Ca::new("the site's CA"), certificates.path().display());
    ca.write(&certificates.path().join("ca.pem"));
    ca.issue("broker", certificates.path());
    ca.issue("gw1", certificates.path());
    Ca::new("someone else's CA").write(&certificates.path().join("other.pem"));
    let hall = Mosquitto::with(&format!(
        "allow_anonymous false\ncafile {dir}/ca.pem\ncertfile {dir}/broker.pem\nkeyfile {dir}/broker.key\n\
         require_certificate true\nuse_identity_as_username true\n"
    ));
    let link = |name: &str, ca: &str| {
        format!(
            "  {name}: {{ broker: \"mqtts://localhost:{}\", tls: {{ ca: {dir}/{ca}, cert: {dir}/gw1.pem, key: {dir}/gw1.key }} }}\n",
            hall.port
        )
    };
    let site = Site::new(&format!(
        "gateway: gw1\nuplinks: {{ central: {{ url: \"mqtt://127.0.0.1:{}\" }} }}\nbroker: {{ listen: [] }}\nmqtt:\n{}{}",
        broker.port,
        link("wifi", "ca.pem"),
        link("wrong", "other.pem")
    ));
    let _gateway = site.run();
    upstream.wait("the link to be up", |heard| is_link(heard, "online"));
    let wrong = upstream.wait("the other one to be told", |heard| {
        heard.topic == "gw1-sys/link/wrong" && heard.json()["state"] == "offline"
    });
    assert!(wrong.payload.contains("TLS"), "{}", wrong.payload);
}

#[test]
fn behind_users_and_tls_the_link_hears_its_devices_without_a_login_of_its_own_and_stays_through_a_reload() {
    let broker = Mosquitto::start();
    let upstream = Client::subscribe(broker.port, &["#"]);
    let own = free_port();
    let file = |publish: &str| {
        format!(
            "gateway: gw1
uplinks: {{ central: {{ url: \"mqtt://127.0.0.1:{}\" }} }}
broker:
  listen: [{{ address: 127.0.0.1:{own}, tls: {{ cert: gw1.pem, key: gw1.key }} }}]
  passwords: broker.passwd
  users: {{ boiler: {{ publish: [{publish}] }} }}
mqtt:
  wifi:
    devices:
      boiler: {{ topic: boiler, points: {{ t: {{ path: t, write: {{ topic: boiler/set }} }} }} }}
",
            broker.port
        )
    };
    let site = Site::new(&file("boiler"));
    let (ca, folder) = (Ca::new("Plant"), site.path().display().to_string());
    ca.write(&site.path().join("ca.pem"));
    ca.issue("gw1", site.path());
    let answer = passwd(&["--file", &format!("{folder}/broker.passwd"), "boiler"], "hot");
    assert_eq!(answer.code, 0, "{answer:?}");
    let gateway = site.run();
    upstream.wait("the link to be up", |heard| is_link(heard, "online"));
    let says = |payload: &str| {
        let mut command = Command::new("mosquitto_pub");
        command.args(["-h", "localhost", "-p", &own.to_string(), "--cafile", &format!("{folder}/ca.pem"), "-q", "1"]);
        command.args(["--insecure", "-u", "boiler", "-P", "hot", "-t", "boiler", "-m", payload]);
        assert!(command.status().unwrap().success());
    };
    says(r#"{"t":1}"#);
    upstream.wait("the reading", |heard| heard.topic == "gw1-out/boiler/t" && heard.json()["value"] == 1);
    std::fs::write(site.file(), file("boiler, other")).unwrap();
    assert_eq!(reload(&gateway, &site)["ok"], true);
    says(r#"{"t":2}"#);
    upstream.wait("the reading", |heard| heard.topic == "gw1-out/boiler/t" && heard.json()["value"] == 2);
    upstream.publish("gw1-in/boiler/t", "3");
    assert_eq!(upstream.wait_on("gw1-sys/answer/boiler/t").json()["ok"], json!(true));
    assert!(!upstream.heard().iter().any(|heard| is_link(heard, "offline")), "{:?}", upstream.heard());
    let (status, _) = gateway.terminate();
    assert!(status.success(), "{status}");
}

#[test]
fn without_any_listener_what_a_sensor_says_over_mqtt_sn_is_a_reading_and_it_obeys() {
    let broker = Mosquitto::start();
    let upstream = Client::subscribe(broker.port, &["#"]);
    let field = free_field();
    let site = Site::new(&format!(
        "gateway: gw1
uplinks: {{ central: {{ url: \"mqtt://127.0.0.1:{}\" }} }}
broker: {{ listen: [] }}
mqttsn: {{ meadow: {{ udp: \"{field}\", predefined: {{ 1: meadow/soil, 2: meadow/soil/set }} }} }}
mqtt: {{ wifi: {{ devices: {{ soil: {{ points: {{ wet: {{ topic: meadow/soil, write: {{ topic: meadow/soil/set }} }} }} }} }} }} }}
",
        broker.port
    ));
    let gateway = site.run();
    upstream.wait("the link to be up", |heard| is_link(heard, "online"));
    upstream.wait("the field to be there", |heard| {
        heard.topic == "gw1-sys/link/meadow" && heard.json()["state"] == "online"
    });
    let sensor = Sensor::connected(field, "s1");
    assert_eq!(sensor.subscribe(2), ACCEPTED);
    sensor.publish(1, "41.5");
    assert_eq!(upstream.wait_on("gw1-out/soil/wet").json()["value"], json!(41.5));
    upstream.publish("gw1-in/soil/wet", "7");
    assert_eq!(sensor.delivered(), "7");
    let log = gateway.log();
    assert!(!log.contains("local broker listening"), "{log}");
    let (status, _) = gateway.terminate();
    assert!(status.success(), "{status}");
}
