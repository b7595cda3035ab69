//! Starting and stopping, as service managers and people see it.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::lab::broker::Mosquitto;
use crate::lab::client::Client;
use crate::lab::gateway::{Gateway, Site};
use crate::lab::{PATIENCE, free_port, wait_for};

#[test]
fn birth_and_death_are_told_upstream_and_to_local_clients() {
    let broker = Mosquitto::start();
    let upstream = Client::subscribe(broker.port, &["gw1-sys/state"]);
    let port = free_port();
    let site = Site::new(&format!(
        "gateway: gw1\nuplinks: {{ central: {{ url: \"mqtt://127.0.0.1:{}\" }} }}\nbroker: {{ listen: [127.0.0.1:{port}] }}\n",
        broker.port
    ));
    let gateway = site.run();
    assert_eq!(upstream.wait_on("gw1-sys/state").payload, "online");
    let local = Client::subscribe(port, &["gw1-sys/state"]);
    assert_eq!(local.wait_on("gw1-sys/state").payload, "online");

    let (status, _) = gateway.terminate();
    assert!(status.success(), "{status}");
    upstream.wait("the goodbye", |heard| heard.payload == "offline");
    local.wait("the goodbye", |heard| heard.payload == "offline");
    let late = Client::subscribe(broker.port, &["gw1-sys/state"]);
    assert_eq!(late.wait_on("gw1-sys/state").payload, "offline", "the broker keeps the last state");
}

#[test]
fn a_gateway_whose_log_nobody_reads_any_more_goes_on_and_stops_well() {
    let port = free_port();
    let site = Site::new(&format!("gateway: gw1\nbroker: {{ listen: [127.0.0.1:{port}] }}\n"));
    for is_closed in [true, false] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wharf"));
        let command = command.args(["--log", "trace", "run"]).arg(site.file()).env_remove("STATE_DIRECTORY");
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        // Closed, or kept and never read until it is full.
        let unread = child.stderr.take().filter(|_| !is_closed);
        let local = wait_for("the local broker", PATIENCE, || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok().map(|_| Client::subscribe(port, &["#"]))
        });
        for number in 0..200 {
            local.publish(&format!("gw1-in/no/{number}"), "1");
        }
        local.wait_on("gw1-sys/answer/no/199");
        assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
        let status = wait_for("the end", PATIENCE, || child.try_wait().unwrap());
        assert!(status.success(), "{status}, read until then: {is_closed}");
        drop(unread);
    }
}

#[test]
fn a_gateway_that_is_killed_is_reported_by_its_will() {
    let broker = Mosquitto::start();
    let upstream = Client::subscribe(broker.port, &["gw1-sys/state"]);
    for protocol in ["5", "3.1.1"] {
        upstream.forget();
        let site = Site::new(&format!(
            "gateway: gw1\nuplinks: {{ central: {{ url: \"mqtt://127.0.0.1:{}\", protocol: {protocol} }} }}\nbroker: {{ listen: [] }}\n",
            broker.port
        ));
        let gateway = site.run();
        upstream.wait("the birth", |heard| heard.payload == "online");
        gateway.kill();
        upstream.wait("the will", |heard| heard.payload == "offline");
    }
}

#[test]
fn with_broker_and_devices_away_it_starts_and_stops_within_five_seconds() {
    let site = Site::new(&format!(
        "gateway: gw1
uplinks: {{ central: {{ url: \"mqtt://127.0.0.1:{}\" }} }}
broker: {{ listen: [] }}
modbus:
  bus: {{ tcp: 127.0.0.1:{}, devices: {{ tank: {{ unit: 1, points: {{ level: {{ holding: 0 }} }} }} }} }}
mysensors:
  garden: {{ serial: ./none }}
",
        free_port(),
        free_port()
    ));
    let gateway = site.run();
    gateway.wait_log("uplink down");
    gateway.wait_log("link is down");
    let (status, took) = gateway.terminate();
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(5), "stopping took {took:?}");
}

#[test]
fn a_wrong_site_file_is_refused_before_anything_starts() {
    let site = Site::new("gateway: gw1\nuplink: {}\n");
    for command in ["check", "run"] {
        let output = Command::new(env!("CARGO_BIN_EXE_wharf")).arg(command).arg(site.file()).output().unwrap();
        assert_eq!(output.status.code(), Some(78));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("site.yaml:2:1: uplink"), "{said}");
        assert!(said.contains("uplinks"), "{said}");
    }
    assert!(!site.path().join("wharf-state").exists());
    let output = Command::new(env!("CARGO_BIN_EXE_wharf")).args(["check", "--json"]).arg(site.file()).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    let verdict: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(verdict["ok"], false);
    assert_eq!(verdict["mistakes"][0]["line"], 2);
}

#[test]
fn check_warns_of_what_is_most_likely_not_meant_and_finds_the_site_well() {
    let point = "modbus: {l: {tcp: 127.0.0.1, devices: {d: {unit: 1, points: {p: {holding: 40101}}}}}}";
    let site = Site::new(&format!("gateway: gw1\n{point}\n"));
    let output = Command::new(env!("CARGO_BIN_EXE_wharf")).arg("check").arg(site.file()).output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains("warning: 40101 looks like a number from a manual"));
    let output = Command::new(env!("CARGO_BIN_EXE_wharf")).args(["check", "--json"]).arg(site.file()).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    let verdict: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&verdict["ok"], &verdict["mistakes"]), (&true.into(), &serde_json::json!([])));
    assert_eq!(verdict["warnings"][0]["line"], 2);
}

#[test]
fn an_address_that_is_taken_is_named() {
    let broker = Mosquitto::start();
    let site = Site::new(&format!("gateway: gw1\nbroker: {{ listen: [127.0.0.1:{}] }}\n", broker.port));
    let mut gateway = site.run();
    assert_eq!(gateway.wait().code(), Some(1));
    gateway.wait_log(&format!("cannot listen on 127.0.0.1:{}", broker.port));
}

#[test]
fn two_gateways_do_not_share_a_queue() {
    let broker = Mosquitto::start();
    let site = Site::new(&format!(
        "gateway: gw1\nuplinks: {{ central: {{ url: \"mqtt://127.0.0.1:{}\" }} }}\nbroker: {{ listen: [] }}\n",
        broker.port
    ));
    let first = site.run();
    first.wait_log("uplink connected");
    let mut second = site.run();
    assert_eq!(second.wait().code(), Some(1));
    assert!(second.log().contains("queue"), "{}", second.log());
}

#[test]
fn a_site_that_delivers_nowhere_is_told_so_and_not_started() {
    let site = Site::new("gateway: gw1\nbroker: { listen: [] }\n");
    for command in ["check", "run"] {
        let answer = site.wharf(&[command], &[]);
        assert_eq!(answer.code, 78, "{answer:?}");
        assert!(answer.err.contains("neither an uplink nor a local broker"), "{answer:?}");
    }
}

#[test]
fn logs_can_be_json() {
    let site = Site::new(&format!("gateway: gw1\nbroker: {{ listen: [127.0.0.1:{}] }}\n", free_port()));
    let gateway = Gateway::start(
        Command::new(env!("CARGO_BIN_EXE_wharf")).args(["--log-format", "json", "run"]).arg(site.file()),
    );
    let line = gateway.wait_log("wharf starts");
    let json: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(json["level"], "INFO");
    assert_eq!(json["gateway"], "gw1");
}

#[test]
fn it_works_within_a_second_of_starting() {
    // Counted from the start of the process to the first thing that only a working gateway does.
    // The bound is the product's promise; a loaded machine gets several tries.
    let took = wait_for("a start within a second", Duration::from_secs(60), || {
        let port = free_port();
        let site = Site::new(&format!("gateway: gw1\nbroker: {{ listen: [127.0.0.1:{port}] }}\n"));
        let started = Instant::now();
        let gateway = site.run();
        gateway.wait_log("local broker listening");
        Some(started.elapsed()).filter(|took| *took < Duration::from_secs(1))
    });
    println!("started in {took:?}");
}
