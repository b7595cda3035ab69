//! `wharf profiles`, `wharf import` and `wharf sunspec` as programs.

use std::process::{Command, Output};

use crate::slave::{Slave, Tables};

fn wharf(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wharf")).args(arguments).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn profiles_are_listed_and_one_is_printed_ready_to_be_kept() {
    let list = out(&wharf(&["profiles"]));
    assert!(list.lines().any(|line| line.starts_with("eastron-sdm630  ") && line.ends_with("energy meter")), "{list}");
    let json: serde_json::Value = serde_json::from_str(&out(&wharf(&["profiles", "--json"]))).unwrap();
    assert_eq!(json.as_array().unwrap().len(), list.lines().count());
    let printed = out(&wharf(&["profiles", "xy-md02"]));
    assert_eq!(printed, std::fs::read_to_string(crate::repository("config/profiles/xy-md02.yaml")).unwrap());
    #[cfg(feature = "ble")]
    assert_eq!(
        out(&wharf(&["profiles", "aranet4"])),
        std::fs::read_to_string(crate::repository("config/profiles/ble/aranet4.yaml")).unwrap()
    );
    let unknown = wharf(&["profiles", "toaster"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(err(&unknown).contains("no built-in profile `toaster`"));
}

#[test]
fn a_map_that_is_understood_becomes_points_and_exit_code_0() {
    let folder = tempfile::tempdir().unwrap();
    let map = folder.path().join("map.csv");
    std::fs::write(&map, "Register;Name;Type;Unit;Scale\n30001;Voltage;UINT16;V;0,1\n5;Pump on;bit;;\n").unwrap();
    let imported = wharf(&["import", map.to_str().unwrap(), "--table", "coil"]);
    assert_eq!(imported.status.code(), Some(1), "30001 cannot be both");
    let imported = wharf(&["import", map.to_str().unwrap()]);
    assert_eq!(imported.status.code(), Some(1));
    assert_eq!(out(&imported), "points:\n  voltage: { input: 0x0000, type: u16, scale: 0.1, unit: V }\n");
    assert!(err(&imported).contains("map.csv:3: nothing says whether it is a coil"), "{}", err(&imported));
    std::fs::write(&map, "Register;Name;Type\n30001;Voltage;UINT16\n").unwrap();
    let imported = wharf(&["import", map.to_str().unwrap()]);
    assert_eq!((imported.status.code(), err(&imported)), (Some(0), String::new()));
}

#[test]
fn a_map_that_cannot_be_read_at_all_is_told() {
    let missing = wharf(&["import", "/nonexistent/map.csv"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(err(&missing).contains("no such file"), "{}", err(&missing));
    assert_eq!(wharf(&["import"]).status.code(), Some(2));
}

#[test]
fn a_device_that_is_no_sunspec_device_is_told() {
    let slave = Slave::start(Tables::default());
    let told = wharf(&["sunspec", &format!("127.0.0.1:{}", slave.port)]);
    assert_eq!(told.status.code(), Some(1));
    assert!(err(&told).contains("no SunSpec device"), "{}", err(&told));
}
