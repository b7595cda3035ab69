//! `wharf read`, `write`, `probe` and `scan`: someone at the cabinet, with and without a gateway.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value as Json, json};

use crate::lab::gateway::{Answer, Site, wharf};
use crate::lab::line::Line;
use crate::lab::rtu;
use crate::lab::slave::Slave;
use crate::lab::{PATIENCE, free_port, wait_for};

/// A site with the tank of the slave, and a garden that is not there.
fn site(slave: &Slave) -> Site {
    Site::new(&format!(
        "gateway: gw1
broker: {{ listen: [127.0.0.1:{}] }}
modbus:
  boiler-room:
    tcp: 127.0.0.1:{}
    every: 1h
    devices:
      tank:
        unit: 7
        points:
          voltage: {{ holding: 100, type: f32, unit: V }}
          power: {{ holding: 102, type: f32, order: CDAB }}
          valve: {{ coil: 4, write: {{}} }}
          setpoint: {{ holding: 112, type: i16, scale: 0.1, unit: °C, write: {{ min: 5, max: 80, verify: true }} }}
mysensors:
  garden: {{ serial: ./no-such-port, devices: {{ soil: {{ node: 2, points: {{ valve: {{ child: 3, type: status, write: {{}} }} }} }} }} }}
",
        free_port(),
        slave.port
    ))
}

fn written(slave: &Slave) -> Vec<String> {
    slave.asked().into_iter().map(|(_, request)| request).filter(|request| request.starts_with("write")).collect()
}

/// Checks that a command failed with this code and these words.
fn check_failure(answer: &Answer, code: i32, words: &str) {
    assert!(answer.code == code && (answer.err.contains(words) || answer.out.contains(words)), "{words}: {answer:?}");
}

/// What holds with a gateway and without.
fn check_points(site: &Site, slave: &Slave) {
    let voltage = site.wharf(&["read"], &["tank/voltage"]);
    let expected = json!({ "device": "tank", "point": "voltage", "unit_id": 7, "table": "holding", "address": 100,
        "registers": [0x4366, 0x8000], "value": 230.5, "unit": "V" });
    assert_eq!((voltage.code, voltage.json()), (0, expected), "{voltage:?}");

    let all = site.wharf(&["read"], &["tank"]).lines();
    let values: Vec<&Json> = all.iter().map(|row| &row["value"]).collect();
    assert_eq!((values[0], values[1], values.len()), (&json!(230.5), &json!(-1.25), 4), "{all:?}");

    let wrote = site.wharf(&["write"], &["tank/setpoint", "21.52"]);
    let told = wrote.json();
    assert_eq!((&told["requested"], &told["written"], &told["observed"]), (&json!(21.52), &json!(21.5), &json!(21.5)));
    assert_eq!((wrote.code, site.wharf(&["read"], &["tank/setpoint"]).json()["value"].clone()), (0, json!(21.5)));
    assert_eq!(site.wharf(&["write"], &["tank/valve", "on"]).code, 0);

    check_failure(&site.wharf(&["write"], &["tank/setpoint", "81"]), 1, "above the maximum 80");
    check_failure(&site.wharf(&["write"], &["tank/voltage", "1"]), 1, "read-only: the site file has no `write:`");
    check_failure(&site.wharf(&["write"], &["tank", "holding:112", "300"]), 2, "say --yes if it is meant");
    assert_eq!(site.wharf(&["write", "--yes"], &["tank", "holding:112", "300"]).json()["observed"], 300);
    assert_eq!(written(slave), ["write holding 112 215", "write coil 4 1", "write holding 112 300"]);

    let raw = site.wharf(&["read"], &["tank", "holding:102", "2"]).lines();
    assert_eq!((&raw[0]["value"], &raw[1]["value"]), (&json!(0), &json!(0xBFA0)), "{raw:?}");
    let probed = site.wharf(&["probe"], &["tank", "holding:102", "--expect", "-1.25"]).lines();
    assert_eq!(probed[0]["point"], json!({ "holding": 102, "type": "f32", "order": "CDAB" }), "{probed:?}");

    check_failure(&site.wharf(&["read"], &["tnak"]), 2, "did you mean `tank`?");
    check_failure(&site.wharf(&["read"], &["tank/volt"]), 2, "`tank` has no point `volt`");
    check_failure(&site.wharf(&["read"], &["tank", "holding:5000"]), 1, "illegal data address (exception 2)");
}

#[test]
fn while_a_gateway_runs_it_is_the_one_that_asks() {
    let slave = Slave::start();
    let site = site(&slave);
    let gateway = site.run();
    gateway.wait_log("link online");
    check_points(&site, &slave);
    // The device of a link that is down is not asked behind the gateway's back.
    check_failure(&site.wharf(&["read"], &["soil/valve"]), 1, "the link `garden` is");
    gateway.wait_log("write, as somebody at this machine asked");
    gateway.wait_log("raw request that writes, as somebody at this machine asked");
    let (ended, _) = gateway.terminate();
    assert!(ended.success(), "{ended}");
}

#[test]
fn without_a_gateway_the_device_is_asked_directly() {
    let slave = Slave::start();
    let site = site(&slave);
    check_points(&site, &slave);
    let read = site.wharf(&["read"], &["tank/voltage"]);
    assert!(read.err.contains("asking the device directly"), "{read:?}");
    check_failure(&site.wharf(&["read"], &["soil/valve"]), 1, "only be read through a running gateway");
    check_failure(&site.wharf(&["read"], &["soil"]), 2, "which point? write soil/POINT; it has valve");
    check_failure(&site.wharf(&["write"], &["soil/valve", "on"]), 1, "only be written through a running gateway");
}

#[test]
fn a_node_without_registers_is_written_through_its_gateway_like_any_point() {
    let site = Site::new(&format!(
        "gateway: gw1
broker: {{ listen: [127.0.0.1:{}] }}
mysensors:
  garden: {{ serial: ./ttyGarden, devices: {{ soil: {{ node: 2, points: {{ valve: {{ child: 3, type: status, write: {{}} }} }} }} }} }}
",
        free_port()
    ));
    let line = Line::plug(&site.path().join("ttyGarden"));
    let mut ear = line.ear();
    let gateway = site.run();
    gateway.wait_log("link online");
    let wrote = site.wharf(&["write"], &["soil/valve", "on"]);
    assert_eq!((wrote.code, wrote.json()["written"].clone()), (0, json!(true)), "{wrote:?}");
    while !ear.line().expect("the node is told").starts_with("2;3;1;0;2;1") {}
    check_failure(&site.wharf(&["read"], &["soil", "holding:1"]), 2, "is no Modbus device");
    gateway.terminate();
}

#[test]
fn a_node_that_sleeps_is_written_when_it_wakes_if_there_is_time() {
    let site = Site::new(&format!(
        "gateway: gw1
broker: {{ listen: [127.0.0.1:{}] }}
mysensors:
  garden:
    serial: ./ttyGarden
    devices: {{ soil: {{ node: 2, sleeps: true, points: {{ valve: {{ child: 3, type: status, write: {{}} }} }} }} }}
",
        free_port()
    ));
    let mut line = Line::plug(&site.path().join("ttyGarden"));
    let mut ear = line.ear();
    let gateway = site.run();
    gateway.wait_log("link online");
    line.say("2;255;3;0;32;1");
    gateway.wait_log("device online");
    check_failure(&site.wharf(&["write", "--expires", "2h"], &["soil/valve", "on"]), 1, "from 10s to 1h, such as 5m");
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| site.wharf(&["write", "--expires", "2m"], &["soil/valve", "on"]));
        wait_for("the command to wait", PATIENCE, || {
            let nodes = site.wharf(&["nodes"], &["--json"]);
            nodes.out.contains("\"waiting\":1").then_some(())
        });
        line.say("2;255;3;0;32;20000");
        while !ear.line().expect("the node is told").starts_with("2;3;1;0;2;1") {}
        let wrote = writing.join().unwrap();
        assert_eq!((wrote.code, wrote.json()["written"].clone()), (0, json!(true)), "{wrote:?}");
    });
    gateway.terminate();
    check_failure(&site.wharf(&["write", "--expires", "1h"], &["soil/valve", "on"]), 2, "none is running");
    check_failure(&site.wharf(&["write", "--expires", "1h", "--yes"], &["tank", "holding:1", "1"]), 2, "by name");
}

#[test]
fn an_address_needs_no_site_file() {
    let slave = Slave::start();
    let at = format!("127.0.0.1:{}", slave.port);
    let here = |command: &str, rest: &[&str]| wharf(&[&[command, "--tcp", &at, "--unit", "7"], rest].concat());
    let three = here("read", &["holding:100", "3", "--type", "f32"]);
    // The third reaches past what the device has, and costs the others nothing.
    let lines = three.lines();
    assert_eq!((three.code, lines.len(), &lines[0]["value"]), (1, 3, &json!(230.5)), "{three:?}");
    assert!(lines[2]["error"].as_str().unwrap().contains("exception 2"), "{three:?}");
    assert_eq!(here("read", &["coil:3"]).json()["bits"], json!([true]));
    let serial = here("read", &["holding:106", "--type", "string", "--length", "6"]);
    assert_eq!(serial.json()["value"], "SN-0042");
    let wrote = here("write", &["--yes", "holding:112", "-5.5", "--type", "i16", "--scale", "0.1"]);
    assert_eq!((wrote.code, wrote.json()["observed"].clone()), (0, json!(-5.5)), "{wrote:?}");

    check_failure(&here("read", &["holding:100", "--type", "f33"]), 2, "--type: \"f33\" is not known here");
    check_failure(&here("read", &["holding:70000"]), 2, "holding: ");
    check_failure(&here("read", &["register:1"]), 2, "is not an address");
    check_failure(&here("write", &["holding:112", "1"]), 2, "--yes");
    check_failure(&here("write", &["--yes", "holding:112", "99999"]), 1, "99999");
    check_failure(&wharf(&["read", "--tcp", "127.0.0.1:1", "holding:0"]), 1, "no connection to 127.0.0.1:1");
}

#[test]
fn a_probe_finds_what_stands_beside_the_address_of_the_manual() {
    let slave = Slave::start();
    let at = format!("127.0.0.1:{}", slave.port);
    let probe = |rest: &[&str]| wharf(&[&["probe", "--tcp", &at, "--unit", "7"], rest].concat());
    // 230.5 stands at 100; the manual, counting from 1, says 101.
    let beside = probe(&["holding:101", "--expect", "230"]).lines();
    assert_eq!(beside[0]["point"], json!({ "holding": 100, "type": "f32" }), "{beside:?}");
    // 215 tenths.
    let scaled = probe(&["holding:104", "--expect", "21.5"]).lines();
    assert_eq!(scaled[0]["point"], json!({ "holding": 104, "scale": 0.1 }), "{scaled:?}");
    let all = probe(&["holding:106"]).lines();
    assert!(all.iter().any(|row| row["type"] == "string" && row["value"] == "SN-0042"), "{all:?}");
    check_failure(&probe(&["holding:100", "--expect", "77777"]), 1, "nothing near 77777");
    check_failure(&probe(&["coil:3"]), 1, "is one bit");
}

#[test]
fn a_scan_finds_the_units_and_what_they_are_and_writes_nothing() {
    let slave = Slave::start();
    let at = format!("127.0.0.1:{}", slave.port);
    let scan = wharf(&["scan", "modbus", "--tcp", &at, "--units", "2-4,7", "--timeout", "1s", "--pause", "0ms"]);
    let found = scan.lines();
    let units: Vec<&Json> = found.iter().map(|unit| &unit["unit_id"]).collect();
    assert_eq!((scan.code, units), (0, vec![&json!(3), &json!(7)]), "{scan:?}");
    assert_eq!(found[1]["identification"]["vendor"], "Anchor", "{scan:?}");
    assert_eq!(found[1]["tables"]["input"], json!({ "value": 0 }));
    assert_eq!(written(&slave), [] as [&str; 0]);

    let nobody = wharf(&["scan", "modbus", "--tcp", &at, "--units", "200", "--timeout", "100ms"]);
    check_failure(&nobody, 1, "nobody answered");
    check_failure(&wharf(&["scan", "modbus", "--tcp", "127.0.0.1:1"]), 1, "no connection to 127.0.0.1:1");
}

#[test]
fn a_link_in_use_is_scanned_only_if_that_is_meant_and_then_through_its_gateway() {
    let slave = Slave::start();
    let site = site(&slave);
    let gateway = site.run();
    gateway.wait_log("link online");
    let units = ["boiler-room", "--units", "6,7", "--timeout", "300ms"];
    check_failure(&site.wharf(&["scan", "modbus"], &units), 1, "a running gateway is using the link `boiler-room`");
    let through = site.wharf(&["scan", "modbus", "--in-use"], &units);
    let found = through.lines();
    assert_eq!((through.code, found.len(), &found[0]["unit_id"]), (0, 1, &json!(7)), "{through:?}");
    assert_eq!(found[0]["link"], "boiler-room");
    check_failure(&site.wharf(&["scan", "modbus"], &["boiler"]), 2, "there is no Modbus link `boiler`");
    gateway.terminate();
}

#[test]
fn a_scan_tries_the_speeds_of_a_serial_line_until_somebody_answers() {
    let dir = tempfile::tempdir().unwrap();
    let port = dir.path().join("ttyBus");
    let line = Line::plug(&port);
    let _device = rtu::Device::start(&line, 5, 19200);
    let port = port.to_str().unwrap();
    let speeds = "9600,19200,38400";
    let scan = wharf(&["scan", "modbus", "--serial", port, "--baud", speeds, "--units", "4-6", "--pause", "0ms"]);
    let found = scan.lines();
    assert_eq!((scan.code, found.len()), (0, 1), "{scan:?}");
    assert_eq!((&found[0]["baud"], &found[0]["unit_id"]), (&json!("19200"), &json!(5)));
    assert_eq!(found[0]["identification"], json!({ "vendor": "Anchor" }));
    assert!(scan.err.contains("9600") && !scan.err.contains("38400"), "{scan:?}");

    let read = wharf(&["read", "--serial", port, "--baud", "19200", "--unit", "5", "holding:3"]);
    assert_eq!(read.json()["value"], rtu::REGISTER_3);
    check_failure(&wharf(&["read", "--serial", port, "--baud", speeds, "holding:3"]), 2, "can only be scanned");
}

#[test]
fn a_serial_line_that_is_silent_or_garbled_says_what_to_look_at() {
    let dir = tempfile::tempdir().unwrap();
    let port = dir.path().join("ttyBus");
    let line = Line::plug(&port);
    let port = port.to_str().unwrap();
    let asked = |command: &[&str]| wharf(&[command, &["--serial", port, "--timeout", "100ms"]].concat());
    {
        let _device = rtu::Device::start(&line, 1, 19_200);
        for command in [&["read", "holding:3"][..], &["probe", "holding:3"]] {
            check_failure(&asked(command), 1, "A and B swapped");
        }
        check_failure(&asked(&["scan", "modbus", "--units", "1-2"]), 1, "are A and B swapped");
    }
    let _device = rtu::Device::garbling(&line);
    for command in [&["read", "holding:3"][..], &["probe", "holding:3"]] {
        check_failure(&asked(command), 1, "bytes arrive but make no frame: another `baud` or `frame`?");
    }
    check_failure(
        &asked(&["scan", "modbus", "--units", "1-2"]),
        1,
        "bytes arrive that make no frame: try other speeds",
    );
}

#[test]
fn an_interrupted_scan_has_printed_what_it_found() {
    let slave = Slave::start();
    let mut scan = Command::new(env!("CARGO_BIN_EXE_wharf"))
        .args(["scan", "modbus", "--units", "7,100-200", "--tcp", &format!("127.0.0.1:{}", slave.port)])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(scan.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(serde_json::from_str::<Json>(&line).unwrap()["unit_id"], 7);
    assert!(Command::new("kill").args(["-INT", &scan.id().to_string()]).status().unwrap().success());
    let ended = scan.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.code() == Some(1) && said.contains("not all units were asked"), "{said}");
}

#[test]
fn the_commands_explain_themselves() {
    for command in ["read", "write", "probe"] {
        insta::assert_snapshot!(format!("help-{command}"), wharf(&[command, "--help"]).out);
    }
    insta::assert_snapshot!("help-scan-modbus", wharf(&["scan", "modbus", "--help"]).out);
}
