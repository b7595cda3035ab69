//! Every built-in profile, through the real driver: raw registers in, readings out.
//!
//! A file in `cases/` holds one or more images of a device's memory and what has to come of each.
//! They were made with Python's `struct` from the makers' tables, not by our encoder.

#![expect(clippy::unwrap_used, reason = "the helpers below are part of the tests")]

#[cfg(feature = "ble")]
mod ble;
mod case;
mod commands;
mod mqtt;
mod slave;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wharf::config::profiles::builtin;
use wharf::config::{Site, read_with_warnings};
use wharf::drivers;
use wharf_contract::{Event, Port, Quality, Value};

use case::{Case, Image};
use slave::Slave;

/// How long an image may take to be read: far more than it ever does.
const PATIENCE: Duration = Duration::from_secs(60);

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The names of the `.yaml` files in a folder, without that ending.
fn names(folder: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(repository(folder)).unwrap();
    let file_names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    file_names.filter_map(|name| Some(name.strip_suffix(".yaml")?.to_owned())).collect()
}

/// The site of one device on one link, checked.
fn site(text: &str) -> Site {
    let (site, warnings) = read_with_warnings(text, Path::new("site.yaml"), &|_| Err("no secrets".into()))
        .unwrap_or_else(|errors| panic!("{errors}"));
    assert!(warnings.is_empty(), "{warnings}");
    site
}

/// A site of one device that has nothing but the profile.
fn plain_site(name: &str) -> Site {
    let device = Case::load(name).device(name);
    site(&format!("gateway: g\nmodbus: {{l: {{tcp: h, devices: {{d: {{{device}}}}}}}}}"))
}

#[test]
fn every_profile_is_built_in_and_every_built_in_one_is_a_file() {
    let files = names("config/profiles");
    let built_in: Vec<_> = builtin::names().map(str::to_owned).collect();
    assert_eq!(built_in, files.into_iter().collect::<Vec<_>>(), "the list in src/config/profiles/builtin.rs, in order");
    assert!(built_in.len() >= 25, "only {} profiles", built_in.len());
}

#[test]
fn every_profile_has_a_case_that_names_all_of_its_points() {
    assert_eq!(names("config/profiles"), names("tests/profiles/cases"));
    for name in builtin::names() {
        let site = plain_site(name);
        let points: BTreeSet<_> =
            site.modbus.get("l").unwrap().devices.get("d").unwrap().points.iter().map(|(n, _)| n.to_string()).collect();
        let case = Case::load(name);
        let expected: BTreeSet<_> = case.images.iter().flat_map(|image| image.points()).collect();
        assert_eq!(points, expected, "{name}");
    }
}

#[test]
fn no_profile_opens_a_point_for_writing() {
    for name in builtin::names() {
        let site = plain_site(name);
        for driver in drivers::build(&site, None) {
            assert!(driver.catalogue().iter().all(|point| point.write.is_none()), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_profile_reads_what_its_case_says() {
    let mut checks = JoinSet::new();
    for name in builtin::names() {
        checks.spawn(async move {
            let case = Case::load(name);
            for image in &case.images {
                check(name, &case, image).await;
            }
        });
    }
    while let Some(checked) = checks.join_next().await {
        checked.unwrap();
    }
}

/// Reads one image and compares what comes of it.
async fn check(name: &str, case: &Case, image: &Image) {
    let slave = Slave::start(image.tables.clone());
    let heard = readings(&case.device(name), image, slave.port).await;
    for (point, expected) in &image.readings {
        let (value, quality) = &heard[point];
        assert_eq!(*quality, Quality::Good, "{name} ({}): {point} is {value:?}", image.what);
        assert!(expected.is(value), "{name} ({}): {point} is {value:?}, not {expected:?}", image.what);
    }
    for point in &image.bad {
        assert_eq!(heard[point].1, Quality::Bad, "{name} ({}): {point} is {:?}", image.what, heard[point].0);
    }
}

/// The first reading of each point that an image speaks of.
async fn readings(device: &str, image: &Image, port: u16) -> BTreeMap<String, (Option<Value>, Quality)> {
    let hurry: Vec<_> = image.points().map(|point| format!("{point}: {{every: 500ms}}")).collect();
    let site = site(&format!(
        "gateway: g\nmodbus: {{l: {{tcp: 127.0.0.1:{port}, devices: {{d: {{{device}, points: {{{}}}}}}}}}}}\n",
        hurry.join(", ")
    ));
    let driver = drivers::build(&site, None).remove(0);
    let (events, mut heard) = mpsc::channel(1_000);
    let stop = CancellationToken::new();
    let (mut port, end) = Port::new(driver.name().clone(), events, stop.clone());
    let session = tokio::spawn(async move { driver.run(&mut port).await });
    let mut missing: BTreeSet<String> = image.points().collect();
    let mut readings = BTreeMap::new();
    let gathering = async {
        while !missing.is_empty() {
            if let Event::Reading(reading) = heard.recv().await.unwrap().event {
                missing.remove(reading.point.as_str());
                readings.entry(reading.point.to_string()).or_insert((reading.value, reading.quality));
            }
        }
    };
    let done = tokio::time::timeout(PATIENCE, gathering).await.is_ok();
    stop.cancel();
    session.await.unwrap().unwrap();
    drop(end);
    assert!(done, "{device} ({}): nothing was heard of {missing:?}", image.what);
    readings
}

#[test]
fn a_walk_over_the_network_finds_the_models_and_the_profile_reads_there() {
    let mut tables = slave::Tables::default();
    let inverter = Case::load("sunspec-103").images.remove(0).tables;
    tables.0[2].extend(inverter.0[2].iter().map(|(address, word)| (*address, *word)));
    // `SunS`, model 1 with its 65 registers, the inverter's length, and the end.
    tables.0[2].extend([(40_000, 0x5375), (40_001, 0x6E53), (40_002, 1), (40_003, 65), (40_070, 50), (40_121, 0xFFFF)]);
    let slave = Slave::start(tables);
    let (code, yaml, _) = sunspec(slave.port);
    assert_eq!(code, Some(0));
    assert!(yaml.contains("profile: sunspec-1\n    base: 40002"), "{yaml}");
    assert!(yaml.contains("profile: sunspec-103\n    base: 40069"), "{yaml}");
    assert!(!yaml.contains("power: off"), "{yaml}");
}

#[test]
fn a_silent_or_refusing_device_ends_a_walk_with_words() {
    let refusing = Slave::start(slave::Tables::default());
    let port = refusing.port;
    let (code, _, told) = sunspec(port);
    assert!(code == Some(1) && told.contains("no `SunS`"), "{told}");
    drop(refusing);
    let (code, _, told) = sunspec(port);
    assert!(code == Some(1) && told.contains("no connection to"), "{told}");
}

/// Walks through the device at this port: the exit code, and what was said.
fn sunspec(port: u16) -> (Option<i32>, String, String) {
    let place = format!("127.0.0.1:{port}");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_wharf")).args(["sunspec", &place]).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}
