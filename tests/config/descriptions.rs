//! Profiles of Bluetooth sensors beside a site file: which of them a link knows, and where mistakes in
//! them are shown.

use wharf::config::{Site, SiteErrors, load_with_warnings};
use wharf_ble::config::description::compile;

const SITE: &str = "gateway: g\nble:\n  hall:\n    adapter: hci0\n  yard:\n    adapter: hci1\n";

const SENSOR: &str = "\
name: barrel
source: its maker's table, 2026
protocol: ble
company: 0xFFFF
match: { at: 0, is: 4d31 }
points:
  temperature: { at: 2, type: i16, scale: 0.01 }
  level: { at: 4, type: u16 }
";

/// A site file with these profiles beside it, and what is told with the temporary folder taken out.
fn load(site: &str, profiles: &[(&str, &str)]) -> Result<Site, String> {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("profiles/ble");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, text) in profiles {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let path = directory.path().join("site.yaml");
    std::fs::write(&path, site).unwrap();
    let told = |errors: SiteErrors| errors.to_string().replace(&format!("{}/", directory.path().display()), "");
    let (site, warnings) = load_with_warnings(&path).map_err(told)?;
    assert!(warnings.is_empty(), "{warnings}");
    Ok(site)
}

fn known(site: &Site, link: &str) -> Vec<String> {
    site.ble.get(link).unwrap().descriptions.iter().map(|(name, _)| name.to_string()).collect()
}

#[test]
fn a_profile_beside_the_site_file_is_known_to_every_link_before_the_built_in_ones() {
    let site = load(SITE, &[("barrel.yaml", SENSOR), ("notes.txt", "not a profile")]).unwrap();
    for link in ["hall", "yard"] {
        assert_eq!(known(&site, link)[..2], ["barrel", "acconeer-xm122"]);
    }
    let link = site.ble.get("hall").unwrap();
    assert_eq!(link.descriptions.get("barrel").unwrap().points.len(), 2);
    // All of them can be made ready for reading.
    assert_ne!(compile(&link.descriptions), Default::default());
}

#[test]
fn one_of_a_built_in_name_takes_its_place_and_one_in_the_site_file_that_of_both() {
    let own = SENSOR.replace("barrel", "tpms");
    let site = load(SITE, &[("tpms.yaml", &own)]).unwrap();
    let names = known(&site, "hall");
    assert_eq!(names.iter().filter(|name| *name == "tpms").count(), 1);
    assert!(site.ble.get("hall").unwrap().descriptions.get("tpms").unwrap().points.get("level").is_some());
    let inside = "    descriptions: { tpms: { service: fff0, points: { battery: {} } } }\n";
    let site = load(&format!("{SITE}{inside}"), &[("tpms.yaml", &own)]).unwrap();
    let [yard, hall] = ["yard", "hall"].map(|link| site.ble.get(link).unwrap());
    assert!(yard.descriptions.get("tpms").unwrap().points.get("battery").is_some());
    assert!(hall.descriptions.get("tpms").unwrap().points.get("level").is_some());
}

#[test]
fn a_value_that_only_a_profile_knows_can_be_named_in_the_site_file() {
    let site = "gateway: g\nble:\n  hall:\n    devices:\n      rain: { mac: A4C138000001, model: barrel, points: { \
                level: { unit: cm } } }\n";
    assert!(load(site, &[("barrel.yaml", SENSOR)]).is_ok());
}

#[test]
fn all_mistakes_in_a_profile_are_told_once_with_their_place() {
    let wrong = SENSOR
        .replace("type: i16, scale: 0.01", "type: int16, scale: 0,01")
        .replace("company: 0xFFFF", "compny: 0xFFFF")
        .replace("is: 4d31", "is: 4d3");
    let told = load(SITE, &[("barrel.yaml", &wrong)]).unwrap_err();
    insta::assert_snapshot!("ble-profile", told);
}

#[test]
fn what_every_profile_says_of_itself_is_asked_for() {
    let told = |profile: &str| load(SITE, &[("barrel.yaml", profile)]).unwrap_err();
    assert!(told(&SENSOR.replace("source: its maker's table, 2026\n", "")).contains("a profile needs its `source`"));
    assert!(told(&SENSOR.replace("name: barrel", "name: barel")).contains("the file is called barrel.yaml"));
    let modbus = told(&SENSOR.replace("protocol: ble", "protocol: modbus"));
    assert!(modbus.contains("the protocol is `ble`: in the folder ble are Bluetooth sensors"), "{modbus}");
    assert!(told("- 1\n").contains("a profile is a mapping"));
    assert!(told("name: [\n").contains("profiles/ble/barrel.yaml:"));
}

#[test]
fn without_a_bluetooth_link_no_profile_is_looked_at() {
    assert!(load("gateway: g\n", &[("barrel.yaml", "name: [\n")]).is_ok());
}
