//! `wharf demo`: the whole product without hardware, seen by an ordinary MQTT client.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::lab::gateway::Gateway;
use crate::lab::{free_port, wait_for};

/// Starts the demo on a free port, with `mosquitto_sub` attached to it for the time given; says
/// which topics were heard.
fn topics_heard(seconds: u64) -> BTreeSet<String> {
    let port = free_port().to_string();
    let gateway = Gateway::start(Command::new(env!("CARGO_BIN_EXE_wharf")).args([
        "demo",
        "--listen",
        &format!("127.0.0.1:{port}"),
        "--seconds",
        "60",
    ]));
    gateway.wait_log("local broker listening");
    let heard = Command::new("mosquitto_sub")
        .args(["-p", &port, "-t", "demo-out/#", "-F", "%t", "-W", &seconds.to_string()])
        .stderr(Stdio::null())
        .output()
        .expect("mosquitto-clients is not installed; `sh tests/prepare.sh` installs it");
    let (status, _) = gateway.terminate();
    assert!(status.success(), "{status}");
    String::from_utf8(heard.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn every_simulated_point_is_published_within_five_seconds() {
    let named = [
        "meter/voltage",
        "meter/current",
        "meter/power",
        "meter/frequency",
        "meter/energy",
        "meter/serial",
        "boiler/level",
        "boiler/temperature",
        "boiler/burner",
        "boiler/setpoint",
        "boiler/pump",
    ];
    // Temperature and humidity, a position, moisture and a valve.
    let classic = ["1/1/1/0/0", "1/2/1/0/1", "2/1/1/0/49", "3/1/1/0/37", "3/3/1/0/2"];
    let wanted: BTreeSet<String> = named.iter().chain(&classic).map(|topic| format!("demo-out/{topic}")).collect();
    // The promise holds for a machine with nothing else to do; a loaded one gets several tries.
    wait_for("every point within five seconds", Duration::from_secs(60), || {
        let heard = topics_heard(5);
        println!("not heard: {:?}", wanted.difference(&heard));
        wanted.is_subset(&heard).then_some(())
    });
}
