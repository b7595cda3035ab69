//! Bluetooth sensors, heard by way of a pretended BlueZ, reach the broker upstream.

use std::process::Command;

use crate::lab::bluez::Bluez;
use crate::lab::broker::Mosquitto;
use crate::lab::client::Client;
use crate::lab::forwarder::Forwarder;
use crate::lab::gateway::{Gateway, Site};
use crate::lab::{PATIENCE, wait_for};

/// The address of the pretence's thermometer.
const FRIDGE: &str = "C0:00:00:00:00:01";

struct Scene {
    bluez: Bluez,
    site: Site,
    gateway: Gateway,
}

impl Scene {
    /// A gateway that knows the thermometer as `fridge`, with these settings beside its address.
    /// Nothing is on the air until the test says so.
    fn start(uplink: u16, settings: &str) -> Option<Self> {
        let mut bluez = Bluez::start()?;
        for name in ["bthome", "same", "counter", "gattsensor"] {
            bluez.tell(&format!(r#"{{"off":"{name}"}}"#));
        }
        let site = Site::new(&format!(
            "gateway: gw1\nuplinks:\n  central: {{ url: \"mqtt://127.0.0.1:{uplink}\" }}\nbroker: {{ listen: [] }}\n\
             ble:\n  hall:\n    devices:\n      fridge: {{ mac: \"{FRIDGE}\"{settings} }}\n"
        ));
        let gateway = site.run_with(&[("DBUS_SYSTEM_BUS_ADDRESS", &bluez.address)]);
        gateway.wait_log("link online");
        Some(Self { bluez, site, gateway })
    }

    /// The thermometer says once how warm it is, in hundredths of a degree.
    fn warm(&mut self, hundredths: i16) {
        let [low, high] = hundredths.to_le_bytes();
        let ad = format!(r#"[[1,"06"],[22,"d2fc4000{{n:02x}}02{low:02x}{high:02x}"]]"#);
        self.bluez.tell(&format!(r#"{{"set":"bthome","interval":0,"ad":{ad}}}"#));
        self.bluez.tell(r#"{"on":"bthome"}"#);
        self.bluez.tell(r#"{"adv":"bthome"}"#);
    }

    /// What `wharf` prints with the pretended BlueZ in place of the machine's own: a JSON object a line.
    fn wharf(&self, arguments: &[&str]) -> Vec<serde_json::Value> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wharf"));
        let output = command.args(arguments).env("DBUS_SYSTEM_BUS_ADDRESS", &self.bluez.address).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn temperature_arrives(upstream: &Client, degrees: f64) {
    upstream.wait(&format!("{degrees} °C"), |heard| {
        heard.topic == "gw1-out/fridge/temperature" && {
            let json = heard.json();
            json["value"] == degrees && json["unit"] == "°C" && json["quality"] == "good"
        }
    });
}

#[test]
fn a_thermometer_on_the_air_arrives_upstream_and_what_it_said_during_an_outage_follows() {
    let broker = Mosquitto::start();
    let upstream = Client::subscribe(broker.port, &["#"]);
    let way = Forwarder::to(broker.port);
    let Some(mut scene) = Scene::start(way.port, "") else { return };
    scene.warm(-450);
    temperature_arrives(&upstream, -4.5);
    upstream.wait("the fridge to be there", |heard| {
        heard.topic == "gw1-sys/device/fridge" && heard.json()["state"] == "online"
    });

    way.close();
    scene.gateway.wait_log("uplink down");
    for hundredths in [-400, -350, -300] {
        scene.warm(hundredths);
    }
    way.open();
    for degrees in [-4.0, -3.5, -3.0] {
        temperature_arrives(&upstream, degrees);
    }
}

#[test]
fn a_device_that_is_connected_to_is_read_and_a_write_comes_down_to_it() {
    let broker = Mosquitto::start();
    let upstream = Client::subscribe(broker.port, &["#"]);
    let settings = ", heartbeat: 10m }\n      probe:\n        mac: \"C0:00:00:00:00:04\"\n        points:\n          \
        temperature: { characteristic: 2a6e, notify: true }\n          \
        setpoint: { characteristic: 2a56, type: i16, scale: 0.1, every: 10m, write: { min: -30, max: 30, verify: true }";
    let Some(mut scene) = Scene::start(broker.port, settings) else { return };
    scene.bluez.tell(r#"{"set":"gattsensor","notify_interval":0,"values":{"2a6e":"2efb","2a56":"d200"}}"#);
    scene.bluez.tell(r#"{"on":"gattsensor"}"#);
    let reads = |topic: &str, value: f64| {
        upstream.wait(&format!("{topic} {value}"), |heard| heard.topic == topic && heard.json()["value"] == value);
    };
    reads("gw1-out/probe/temperature", -12.34);
    reads("gw1-out/probe/setpoint", 21.0);
    upstream.wait("the probe to be there", |heard| {
        heard.topic == "gw1-sys/device/probe" && heard.json()["state"] == "online"
    });
    scene.bluez.tell(r#"{"notify":"gattsensor","char":"2a6e","value":"c409"}"#);
    reads("gw1-out/probe/temperature", 25.0);

    upstream.publish("gw1-in/probe/setpoint", r#"{"value":-4.5,"id":"a1"}"#);
    let answer = upstream.wait_on("gw1-sys/answer/probe/setpoint").json();
    assert_eq!((&answer["ok"], &answer["observed"]), (&true.into(), &(-4.5).into()), "{answer}");
    reads("gw1-out/probe/setpoint", -4.5);
    assert_eq!(scene.bluez.tell(r#"{"stats":1}"#)["written"][0][2], "d3ff");

    upstream.forget();
    upstream.publish("gw1-in/probe/setpoint", "31");
    let answer = upstream.wait_on("gw1-sys/answer/probe/setpoint").json();
    assert!(answer["ok"] == false && answer["error"].as_str().unwrap().contains("above the maximum"), "{answer}");
}

#[test]
fn a_sensor_that_falls_silent_is_offline_until_its_next_word() {
    let broker = Mosquitto::start();
    let upstream = Client::subscribe(broker.port, &["#"]);
    let Some(mut scene) = Scene::start(broker.port, ", quiet_after: 2s") else { return };
    let is = |state: &'static str| {
        move |heard: &crate::lab::client::Heard| {
            heard.topic == "gw1-sys/device/fridge" && heard.json()["state"] == state
        }
    };
    scene.warm(450);
    upstream.wait("the fridge to be there", is("online"));
    let gone = upstream.wait("the fridge to be gone", is("offline"));
    assert_eq!(gone.json()["reason"], "not heard for 2s");
    upstream.forget();
    scene.warm(460);
    upstream.wait("the fridge to be back", is("online"));
}

#[test]
fn a_daemon_that_is_away_is_told_of_and_its_return_needs_nobody() {
    let broker = Mosquitto::start();
    let upstream = Client::subscribe(broker.port, &["#"]);
    let Some(mut scene) = Scene::start(broker.port, "") else { return };
    scene.bluez.tell(r#"{"restart":2,"busy":0}"#);
    let gone = upstream
        .wait("the link to be down", |heard| heard.topic == "gw1-sys/link/hall" && heard.payload.contains("offline"));
    // Its adapters leave with the daemon, and which of the two is noticed first is chance.
    let reason = gone.json()["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("bluetoothd") || reason.contains("adapter"), "{reason}");
    scene.gateway.wait_log("link down");
    upstream.forget();
    upstream.wait("the link to be up", |heard| {
        heard.topic == "gw1-sys/link/hall" && ["online", "degraded"].iter().any(|up| heard.payload.contains(up))
    });
    scene.warm(450);
    temperature_arrives(&upstream, 4.5);
}

#[test]
fn whoever_is_on_the_air_is_seen_through_the_running_gateway_and_without_one() {
    let broker = Mosquitto::start();
    let Some(mut scene) = Scene::start(broker.port, "") else { return };
    scene.warm(450);
    scene.bluez.tell(r#"{"on":"same"}"#);
    let file = scene.site.file();
    let file = file.to_str().unwrap();
    let address = |sender: &serde_json::Value| sender["address"].as_str().map(str::to_owned);
    let seen = scene.wharf(&["scan", "ble", file, "--for", "3s"]);
    let fridge = seen.iter().find(|sender| address(sender).as_deref() == Some(FRIDGE)).unwrap();
    assert_eq!((&fridge["device"], &fridge["format"]), (&"fridge".into(), &"BTHome v2".into()));
    assert_eq!(fridge["values"]["temperature"]["value"], 4.5);
    let stranger = seen.iter().find(|sender| address(sender).as_deref() == Some("C0:00:00:00:00:02")).unwrap();
    assert!(stranger["device"].is_null() && stranger["format"].is_string(), "{stranger}");

    scene.bluez.tell(r#"{"set":"bthome","interval":0.2}"#);
    let seen = scene.wharf(&["scan", "ble", "--for", "3s"]);
    let fridge = seen.iter().find(|sender| address(sender).as_deref() == Some(FRIDGE)).unwrap();
    assert!(fridge["device"].is_null(), "without a site file nobody has a name: {fridge}");

    let findings = scene.wharf(&["doctor", file]);
    assert!(!findings.is_empty() && findings.iter().all(|finding| finding["verdict"] != "ill"), "{findings:?}");
}

#[test]
fn status_tells_what_the_radio_has_counted_and_why_a_sensor_is_not_used() {
    let broker = Mosquitto::start();
    let key = ", key: 231d39c1d7cc1ab1aee224cd096db932";
    let Some(mut scene) = Scene::start(broker.port, key) else { return };
    scene.warm(450);
    let status = wait_for("what was not used", PATIENCE, || {
        let status = scene.site.wharf(&["status"], &["--json"]).json();
        let link = &status["links"][0];
        (link["refused"].is_object() && link["counts"]["heard"].as_u64() > Some(0)).then_some(status)
    });
    let (link, fridge) = (&status["links"][0], &status["links"][0]["devices"][0]);
    assert_eq!(link["counts"]["dropped"], 0, "{link}");
    assert!(link["refused"]["not_encrypted"].as_u64() > Some(0), "{link}");
    assert_eq!(fridge["name"], "fridge");
    assert_eq!(fridge["refused"], link["refused"], "{link}");
    assert!(fridge["last_refused"]["reason"].as_str().unwrap().contains("remove the key"), "{fridge}");
    let said = scene.site.wharf(&["status"], &[]).out;
    for words in [" heard", "fridge: not used: ", " not encrypted; last "] {
        assert!(said.contains(words), "{words}\n{said}");
    }
    let metrics = scene.site.wharf(&["status"], &["--metrics"]).out;
    for line in
        ["wharf_link_counted_total{link=\"hall\",what=\"dropped\"} 0", "{link=\"hall\",reason=\"not_encrypted\"}"]
    {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}
