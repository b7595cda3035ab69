//! What comes out where a profile and the site file both speak of a device, and where mistakes in
//! either are shown.

use std::path::Path;
use std::time::Duration;

use wharf::config::{Site, SiteErrors, load_with_warnings};
use wharf::drivers;
use wharf_contract::PointInfo;
use wharf_modbus::PointSettings;

use crate::read;

/// A site of one device, with what stands in it after `unit: 1`.
fn device(rest: &str) -> Result<Site, SiteErrors> {
    read(&format!(
        "gateway: g\nmodbus:\n  l:\n    tcp: a\n    every: 10s\n    devices:\n      d:\n        unit: 1\n{rest}"
    ))
}

fn points(site: &Site) -> Vec<(String, PointSettings)> {
    let device = site.modbus.get("l").unwrap().devices.get("d").unwrap();
    device.points.iter().map(|(name, point)| (name.to_string(), point.clone())).collect()
}

fn point(site: &Site, name: &str) -> PointSettings {
    points(site).into_iter().find(|(candidate, _)| candidate == name).unwrap().1
}

fn catalogue(site: &Site, name: &str) -> PointInfo {
    let points = drivers::build(site, None)[0].catalogue();
    points.into_iter().find(|info| info.point.as_str() == name).unwrap()
}

fn every(point: &PointSettings) -> Option<Duration> {
    point.every.map(|every| every.get())
}

/// A folder with a site file, and one profile of its own.
fn own_profile(name: &str, profile: &str, site: &str) -> (tempfile::TempDir, Result<(Site, SiteErrors), SiteErrors>) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("profiles")).unwrap();
    std::fs::write(directory.path().join("profiles").join(format!("{name}.yaml")), profile).unwrap();
    let path = directory.path().join("site.yaml");
    std::fs::write(&path, site).unwrap();
    let loaded = load_with_warnings(&path);
    (directory, loaded)
}

/// What is told, with the temporary folder taken out.
fn told(directory: &Path, errors: &SiteErrors) -> String {
    errors.to_string().replace(&format!("{}/", directory.display()), "")
}

const SENSOR: &str = "name: sensor\nsource: its manual, 2024\nprotocol: modbus\norder: CDAB\npoints:\n  \
                      level: { input: 3, type: u32, scale: 0.1, unit: m, every: 30s }\n  \
                      valve: { holding: 9, write: { min: 0, max: 100 } }\n";
const SITE: &str = "gateway: g\nmodbus:\n  l:\n    tcp: a\n    devices:\n      d: { unit: 1, profile: sensor }\n";

#[test]
fn a_profile_gives_a_device_its_points() {
    let site = device("        profile: eastron-sdm120\n").unwrap();
    assert_eq!(points(&site).len(), 13);
    assert_eq!(point(&site, "voltage").unit.as_deref(), Some("V"));
}

#[test]
fn the_site_file_overrides_any_key_of_any_point() {
    let rest =
        "        profile: eastron-sdm120\n        points: { voltage: { every: 1s, scale: 0.01, unit: kV }, power: }\n";
    let site = device(rest).unwrap();
    let voltage = point(&site, "voltage");
    assert_eq!(
        (voltage.scale, voltage.unit.as_deref(), every(&voltage)),
        (Some(0.01), Some("kV"), Some(Duration::from_secs(1)))
    );
    assert_eq!(voltage.input.unwrap().get(), 0);
    assert_eq!(point(&site, "power").unit.as_deref(), Some("W"));
}

#[test]
fn another_table_displaces_the_profiles() {
    let site = device("        profile: eastron-sdm120\n        points: { voltage: { holding: 7 } }\n").unwrap();
    let voltage = point(&site, "voltage");
    assert_eq!((voltage.holding.map(|at| at.get()), voltage.input), (Some(7), None));
}

#[test]
fn off_drops_a_point_and_a_new_name_adds_one() {
    let rest = "        profile: xy-md02\n        points: { humidity: off, address: { holding: 0x101 } }\n";
    let names: Vec<_> = points(&device(rest).unwrap()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["temperature", "address"]);
}

#[test]
fn the_sites_rhythm_holds_but_for_points_that_the_profile_reads_more_slowly() {
    let rhythm = |rest: &str| {
        let site = device(rest).unwrap();
        (every(&point(&site, "power")), every(&point(&site, "energy_import")))
    };
    let minute = Some(Duration::from_secs(60));
    // Neither the link's 10s nor a device's own rhythm stands at the points: the driver fills it in.
    assert_eq!(rhythm("        profile: eastron-sdm120\n"), (None, minute));
    assert_eq!(rhythm("        profile: eastron-sdm120\n        every: 1s\n"), (None, minute));
    assert_eq!(rhythm("        profile: eastron-sdm120\n        every: 10m\n"), (None, None));
    let site = device("        profile: waveshare-relay-8\n").unwrap();
    assert_eq!(site.modbus.get("l").unwrap().devices.get("d").unwrap().every, None, "the link says 10s");
}

#[test]
fn a_profile_says_in_which_order_its_numbers_stand_whatever_the_link_says() {
    let site = |rest: &str| {
        let text = "gateway: g\nmodbus:\n  l:\n    tcp: a\n    order: DCBA\n    devices:\n      d:\n        unit: 1\n";
        let site = read(&format!("{text}{rest}")).unwrap();
        let order = site.modbus.get("l").unwrap().devices.get("d").unwrap().order;
        order.map(|order| order.as_str())
    };
    assert_eq!(site("        profile: eastron-sdm120\n"), Some("ABCD"));
    assert_eq!(site("        profile: carlo-gavazzi-em340\n"), Some("CDAB"));
    assert_eq!(site("        profile: carlo-gavazzi-em340\n        order: BADC\n"), Some("BADC"));
}

#[test]
fn only_the_site_file_opens_a_point_and_the_profile_knows_its_limits() {
    let (_folder, closed) = own_profile("sensor", SENSOR, SITE);
    assert!(catalogue(&closed.unwrap().0, "valve").write.is_none());
    for (write, max) in [("", 100.0), ("{ max: 50 }", 50.0)] {
        let open = SITE
            .replace("profile: sensor }", &format!("profile: sensor, points: {{ valve: {{ write: {write} }} }} }}"));
        let (_folder, open) = own_profile("sensor", SENSOR, &open);
        let rule = catalogue(&open.unwrap().0, "valve").write.unwrap();
        assert_eq!((rule.min, rule.max), (Some(0.0), Some(max)));
    }
}

#[test]
fn a_sites_own_profile_comes_before_the_built_in_one_with_a_note() {
    let profile = SENSOR.replace("name: sensor", "name: xy-md02");
    let (folder, loaded) = own_profile("xy-md02", &profile, &SITE.replace("sensor", "xy-md02"));
    let (site, warnings) = loaded.unwrap();
    assert_eq!(point(&site, "level").scale, Some(0.1));
    assert!(
        told(folder.path(), &warnings).contains("profiles/xy-md02.yaml is used in place of the built-in"),
        "{warnings}"
    );
}

#[test]
fn a_mistake_in_a_profile_is_told_once_with_its_file_line_and_column() {
    let profile = SENSOR.replace("type: u32", "type: u33").replace("min: 0", "min: 200");
    let site = SITE.replace(
        "profile: sensor }\n",
        "profile: sensor, points: { level: off } }\n      e: { unit: 2, profile: sensor }\n",
    );
    let (folder, loaded) = own_profile("sensor", &profile, &site);
    let errors = loaded.unwrap_err();
    let told = told(folder.path(), &errors);
    assert!(
        told.contains("profiles/sensor.yaml:6:28: points.level.type\n    6 |   level: { input: 3, type: u33"),
        "{told}"
    );
    assert!(told.contains("profiles/sensor.yaml:7:48: points.valve.write.max"), "{told}");
    assert!(told.ends_with("2 mistakes in profiles/sensor.yaml"), "{told}");
    let json = errors.to_json();
    assert_eq!(json[0]["line"], 6);
    assert!(json[0]["file"].as_str().unwrap().ends_with("profiles/sensor.yaml"), "{json}");
}

#[test]
fn a_mistake_in_the_two_together_is_told_where_the_site_file_has_the_point() {
    let site = SITE.replace("profile: sensor }", "profile: sensor, points: { level: { type: string, length: 4 } } }");
    let (folder, loaded) = own_profile("sensor", SENSOR, &site);
    let told = told(folder.path(), &loaded.unwrap_err());
    assert!(told.contains("site.yaml:6:48: modbus.l.devices.d.points.level.scale"), "{told}");
}

#[test]
fn what_a_profile_must_have_is_asked_for() {
    let told_of = |profile: &str| {
        let (folder, loaded) = own_profile("sensor", profile, SITE);
        told(folder.path(), &loaded.unwrap_err())
    };
    assert!(told_of(&SENSOR.replace("source: its manual, 2024\n", "")).contains("a profile needs its `source`"));
    assert!(
        told_of(&SENSOR.replace("name: sensor", "name: sensr"))
            .contains("the name is `sensor`: the file is called sensor.yaml")
    );
    assert!(
        told_of(&SENSOR.replace("protocol: modbus", "protocol: ble"))
            .contains("the protocol is `modbus`: profiles of Bluetooth sensors stand in the folder ble")
    );
    assert!(told_of(&SENSOR.replace("order: CDAB", "unit: 5")).contains("a profile has no `unit`, a device has"));
    assert!(told_of("name: sensor\nsource: x\nprotocol: modbus\n").contains("a profile needs `points`"));
    assert!(told_of("- 1\n").contains("a profile is a mapping"));
    assert!(told_of("name: [\n").contains("profiles/sensor.yaml:"));
    assert!(told_of("").contains("the file is empty"));
}

#[test]
fn a_profile_is_never_looked_for_outside_of_its_folder() {
    for name in ["../site", "/etc/passwd", ".hidden", "a/b", "\"\""] {
        let errors = device(&format!("        profile: {name}\n")).unwrap_err().to_string();
        assert!(errors.contains("there is no profile"), "{name}: {errors}");
    }
}

const RELATIVE: &str = "name: sensor\nsource: its manual, 2024\nprotocol: modbus\nrelative: true\npoints:\n  \
                        power: { holding: 14, type: i16, scale_from: 15, requires: { 0: 103 } }\n";

#[test]
fn a_relative_profile_stands_where_the_device_says() {
    let site = SITE.replace("profile: sensor }", "profile: sensor, base: 40069, points: { own: { holding: 7 } } }");
    let (_folder, loaded) = own_profile("sensor", RELATIVE, &site);
    let (site, warnings) = loaded.unwrap();
    assert!(warnings.is_empty(), "{warnings}");
    let power = point(&site, "power");
    assert_eq!((power.holding.map(|at| at.get()), power.scale_from), (Some(40_083), Some(40_084)));
    assert_eq!(power.requires.unwrap().registers(), [(40_069, 103)]);
    assert_eq!(point(&site, "own").holding.map(|at| at.get()), Some(7), "what the site file says is where it says");
}

#[test]
fn a_base_is_asked_for_and_refused_where_there_is_none() {
    let told_of = |profile: &str, site: &str| {
        let (folder, loaded) = own_profile("sensor", profile, site);
        told(folder.path(), &loaded.unwrap_err())
    };
    assert!(told_of(RELATIVE, SITE).contains("the profile sensor needs `base`"));
    let based = SITE.replace("profile: sensor }", "profile: sensor, base: 65530 }");
    assert!(told_of(RELATIVE, &based).contains("beyond 65535"));
    assert!(told_of(SENSOR, &based).contains("the profile sensor has addresses of its own and no base"));
    let wrong = SITE.replace("profile: sensor }", "profile: sensor, base: here }");
    assert!(
        told_of(RELATIVE, &wrong).contains("site.yaml:6:44: modbus.l.devices.d.base"),
        "{}",
        told_of(RELATIVE, &wrong)
    );
    assert!(told_of(&RELATIVE.replace("true", "yes"), SITE).contains("`relative: true`, or nothing"));
    assert!(
        device("        base: 5\n").unwrap_err().to_string().contains("only the addresses of a profile have a base")
    );
}

#[test]
fn a_password_that_strayed_into_a_profile_is_not_shown() {
    for profile in [format!("{SENSOR}password: hunter2\n"), format!("{SENSOR}password: [hunter2\n")] {
        let (folder, loaded) = own_profile("sensor", &profile, SITE);
        let told = told(folder.path(), &loaded.unwrap_err());
        assert!(told.contains("profiles/sensor.yaml:") && !told.contains("hunter2"), "{told}");
    }
}
