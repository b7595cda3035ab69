//! What the driver learns of a device, holes in its address space above all, and keeps on disk.

#![allow(clippy::unwrap_used)] // everything here is a test

mod common;

use common::scripted::{Reply, Scripted, impatient, now};
use common::start;
use serde_json::json;
use wharf_contract::{Quality, Value};

/// A slave that refuses what touches these addresses, with exception 2.
async fn refusing(refused: &'static [u16]) -> Scripted {
    Scripted::start(move |request| {
        let start = u16::from_be_bytes([request.pdu[1], request.pdu[2]]);
        let end = start + u16::from(request.pdu[4]);
        let is_refused = refused.iter().any(|address| (start..end).contains(address));
        now(if is_refused { request.frame(&[0x83, 2]) } else { request.answer() })
    })
    .await
}

#[tokio::test]
async fn a_hole_is_searched_for_once_and_kept_clear_of_after_a_restart() {
    let mut slave = refusing(&[5]).await;
    let folder = std::env::temp_dir().join(format!("wharf-holes-{}", std::process::id()));
    let file = folder.join("bus.holes");
    let points: serde_json::Map<_, _> = (0..16).map(|n| (format!("p{n}"), json!({ "holding": n }))).collect();
    let link = slave.link("100ms", json!({ "tank": { "unit": 1, "points": points } }));

    let mut driver = common::start_remembering(&link, &file);
    let wrong = driver.reading("tank", "p5").await;
    assert_eq!(wrong.quality, Quality::Bad);
    assert!(wrong.reason.unwrap().starts_with("illegal data address (exception 2)"));
    while !file.exists() {
        driver.value("tank", "p0").await;
    }
    driver.stop().await;
    while slave.requests.try_recv().is_ok() {}

    let plan = wharf_contract::Driver::plan(&common::driver(&link).remembering(file.clone())).unwrap();
    assert_eq!(plan.devices[0].refuses, ["holding 5 (p5)"]);
    let requests: Vec<_> = plan.devices[0].requests.iter().map(|request| request.what.as_str()).collect();
    assert_eq!(requests, ["holding 0–4", "holding 5", "holding 6–15"]);
    assert!(plan.forget.unwrap().ends_with("/bus.holes"));
    let mut driver = common::start_remembering(&link, &file);
    for point in ["p0", "p4", "p6", "p15"] {
        driver.value("tank", point).await;
    }
    driver.stop().await;
    let mut asked: Vec<(u8, u8)> = Vec::new();
    while let Ok(request) = slave.requests.try_recv() {
        asked.push((request.pdu[2], request.pdu[4]));
    }
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked, [(0, 5), (5, 1), (6, 10)]);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn an_address_that_is_met_with_silence_is_found_and_costs_no_other_point_its_readings() {
    let slave = Scripted::start(|request| {
        let start = u16::from_be_bytes([request.pdu[1], request.pdu[2]]);
        let is_in = (start..start + u16::from(request.pdu[4])).contains(&2);
        if is_in { Reply::Silence } else { now(request.answer()) }
    })
    .await;
    let points = json!({ "a": { "holding": 0 }, "b": { "holding": 1 }, "wrong": { "holding": 2 } });
    let mut link = impatient(slave.link("50ms", json!({ "tank": { "unit": 1, "points": points } })));
    link["timeout"] = json!("100ms");
    let mut driver = start(&link);
    // All three are in one request, so at first the device looks dead.
    assert!(!driver.device("tank").await.0);
    assert_eq!(driver.reading("tank", "wrong").await.quality, Quality::Bad);
    for _ in 0..3 {
        driver.value("tank", "a").await;
        driver.value("tank", "b").await;
    }
    driver.stop().await;
}

#[tokio::test]
async fn what_cannot_be_kept_on_disk_does_not_stop_the_polling() {
    let slave = refusing(&[3]).await;
    // A file stands where the folder should be.
    let file = tempfile::NamedTempFile::new().unwrap();
    let points = json!({
        "a": { "holding": 0, "type": "u16", "counter": true }, "b": { "holding": 3 }, "c": { "holding": 5 },
    });
    let link = slave.link("20ms", json!({ "tank": { "unit": 1, "points": points } }));
    let driver = common::driver(&link);
    let driver = driver.remembering(file.path().join("bus.holes")).counting_in(file.path().join("bus.counters"));
    let mut driver = common::run(driver);
    for _ in 0..10 {
        driver.value("tank", "a").await;
        driver.value("tank", "c").await;
    }
    driver.stop().await;
}

#[tokio::test]
async fn what_stands_in_a_damaged_memory_is_learnt_anew() {
    let dir = tempfile::tempdir().unwrap();
    let first = "# What the devices of this link refuse to have read, as wharf found out. May be deleted.";
    let large = format!("{first}\n{}", "tank 0123456789abcdef holding 0 65536 18446744073709551615\n".repeat(70_000));
    let contents: [&[u8]; 5] =
        [b"", b"\xFF\xFE\x00", b"tank level holding 0 65536 99 -1\n", first.as_bytes(), large.as_bytes()];
    let point = json!({ "holding": 0, "type": "u16", "counter": true });
    for content in contents {
        let (holes, counters) = (dir.path().join("bus.holes"), dir.path().join("bus.counters"));
        std::fs::write(&holes, content).unwrap();
        std::fs::write(&counters, content).unwrap();
        let slave = Scripted::start(|request| now(request.answer())).await;
        let link = slave.link("20ms", json!({ "tank": { "unit": 1, "points": { "level": point } } }));
        let mut driver = common::run(common::driver(&link).remembering(holes).counting_in(counters));
        let Value::Int(first) = driver.value("tank", "level").await else { panic!("a whole number") };
        assert!(first < 256, "{first}");
        driver.stop().await;
    }
}
