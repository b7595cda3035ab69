//! Pairing against a mock BlueZ, by the driver as a whole.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "everything here is a test")]

#[expect(dead_code, reason = "the radio's tests use the rest")]
mod lab;

use std::time::Duration;

use lab::site::{Site, hurried};
use lab::{Bluez, PATIENCE, brisk, with_bluez};
use serde_json::json;
use tokio::time::Instant;
use wharf_contract::{Action, CommandError, Event, Value};

/// A lock whose bolt is shown and moved to those alone who have paired with its passkey.
const LOCK: &str = r#"{"set":"gattsensor","notify_interval":0,"values":{"2a19":"57","2a56":"d200"},"encrypted":["2a56"],
    "passkey":12345}"#;

fn lock(pair: Option<&str>) -> serde_json::Value {
    let mut device = json!({
        "mac": "C0:00:00:00:00:04",
        "gatt": "battery",
        "connect": "keep",
        "points": { "bolt": {
            "characteristic": "2a56", "service": "181a", "type": "i16", "scale": 0.1, "every": "10m", "write": { "verify": true },
        } },
    });
    if let Some(pair) = pair {
        device["pair"] = pair.into();
    }
    device
}

fn start(link: &serde_json::Value) -> Site {
    Site::start(link, brisk().timeouts, hurried)
}

fn site(pair: Option<&str>) -> Site {
    start(&json!({ "devices": { "lock": lock(pair) } }))
}

fn tell(bluez: &mut Bluez, line: &str) -> serde_json::Value {
    bluez.tell(&line.replace('\n', ""))
}

fn stats(bluez: &mut Bluez) -> serde_json::Value {
    tell(bluez, r#"{"stats":1}"#)
}

/// Waits until something is so.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let late = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < late, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

const BOLT: Value = Value::Float(21.0);

#[test]
fn with_the_right_passkey_a_device_is_paired_with_once_and_read() {
    with_bluez(&["gattsensor"], async |mut bluez| {
        tell(&mut bluez, LOCK);
        let mut site = site(Some("012345"));
        assert_eq!(site.value("lock", "bolt").await, BOLT);
        site.write("lock", "bolt", Value::Int(3), true).await.unwrap();
        tell(&mut bluez, r#"{"drop":"gattsensor"}"#);
        until("connected again", || bluez.calls("Connect") >= 2).await;
        site.command("lock", "bolt", Action::Read, Duration::from_secs(10)).await.unwrap();
        let stats = stats(&mut bluez);
        assert_eq!(stats["tries"], json!([12345]));
        assert_eq!(stats["trusted"], json!(["gattsensor"]));
        assert_eq!(stats["agents"], json!([]), "it is there for a pairing and no longer");
        assert_eq!((stats["calls"]["Pair"].as_u64(), stats["calls"]["RequestDefaultAgent"].as_u64()), (Some(1), None));
        site.stop().await;
    });
}

#[test]
fn a_wrong_passkey_is_said_and_tried_three_times_and_no_more() {
    with_bluez(&["gattsensor"], async |mut bluez| {
        tell(&mut bluez, LOCK);
        let mut site = site(Some("054321"));
        let reason = site.device("lock", false).await;
        assert_eq!(reason, "the device does not accept its passkey: Authentication Failed");
        let mut answer = String::new();
        let late = Instant::now() + PATIENCE;
        while !answer.contains("tried 3 times and is not tried again") {
            assert!(Instant::now() < late, "{answer}");
            let refused = site.write("lock", "bolt", Value::Int(3), true).await.unwrap_err();
            assert!(refused.is_unsent(), "{refused}");
            answer = refused.to_string();
            assert!(!answer.contains("54321"), "{answer}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // What it tries from then on is whether somebody else has paired with it.
        let asked = bluez.calls("Get");
        until("looked at again", || bluez.calls("Get") >= asked + 2).await;
        let seen = stats(&mut bluez);
        assert_eq!((&seen["tries"], &seen["calls"]["Pair"]), (&json!([54321, 54321, 54321]), &json!(3)));
        tell(&mut bluez, r#"{"bond":"gattsensor","is":true}"#);
        assert_eq!(site.value("lock", "bolt").await, BOLT);
        site.stop().await;
    });
}

#[test]
fn a_device_without_a_passkey_is_paired_with_where_that_is_said() {
    with_bluez(&["gattsensor"], async |mut bluez| {
        tell(&mut bluez, r#"{"set":"gattsensor","notify_interval":0,"values":{"2a56":"d200"},"encrypted":["2a56"]}"#);
        let mut site = site(Some("just-works"));
        assert_eq!(site.value("lock", "bolt").await, BOLT);
        assert_eq!(stats(&mut bluez)["tries"], json!([]));
        site.stop().await;
    });
}

#[test]
fn a_device_that_asks_for_no_passkey_is_not_taken_for_one_that_has_it() {
    with_bluez(&["gattsensor"], async |mut bluez| {
        tell(&mut bluez, r#"{"set":"gattsensor","notify_interval":0,"encrypted":["2a56"]}"#);
        let mut site = site(Some("012345"));
        let reason = site.device("lock", false).await;
        assert!(reason.contains("asked for no passkey") && reason.contains("`pair: just-works`"), "{reason}");
        let until = Instant::now() + PATIENCE;
        loop {
            let refused = site.command("lock", "bolt", Action::Read, Duration::from_secs(10)).await.unwrap_err();
            if refused.to_string().contains("tried 3 times and is not tried again") {
                break;
            }
            assert!(Instant::now() < until, "{refused}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!((bluez.calls("Pair"), bluez.calls("RemoveDevice")), (3, 3), "each bond is undone");
        site.stop().await;
    });
}

#[test]
fn a_device_that_is_not_to_be_paired_with_says_what_it_lacks_and_the_rest_is_read() {
    with_bluez(&["gattsensor"], async |mut bluez| {
        tell(&mut bluez, LOCK);
        let mut site = site(None);
        assert_eq!(site.value("lock", "battery").await, Value::Int(87));
        let refused = site.command("lock", "bolt", Action::Read, Duration::from_secs(10)).await;
        let Err(CommandError::Refused(words)) = refused else { panic!("{refused:?}") };
        assert_eq!(
            words,
            "the device wants to be paired with (Not paired): say how with `pair`, or use `bluetoothctl`"
        );
        assert_eq!((bluez.calls("Pair"), bluez.calls("RegisterAgent")), (0, 0));
        site.stop().await;
    });
}

#[test]
fn a_pairing_that_hangs_ends_and_holds_up_nobody_and_no_stranger_is_let_in_meanwhile() {
    with_bluez(&["gattsensor", "counter"], async |mut bluez| {
        tell(&mut bluez, LOCK);
        tell(
            &mut bluez,
            r#"{"set":"second","address":"C0:00:00:00:00:05","interval":0.2,"rssi":-50,"gatt":true,
            "ad":[[1,"06"],[9,"7365636f6e64"]],"notify_interval":0,"values":{"2a19":"0a"}}"#,
        );
        tell(&mut bluez, r#"{"off":"gattsensor"}"#);
        let second = json!({ "mac": "C0:00:00:00:00:05", "connect": "keep", "gatt": "battery" });
        let beside = json!({ "mac": "C0:00:00:00:00:03" });
        let devices = json!({ "lock": lock(Some("012345")), "second": second, "beside": beside });
        let mut site = start(&json!({ "devices": devices, "unknown": "publish" }));
        site.device("second", true).await;

        tell(&mut bluez, r#"{"hang":"Pair","count":2}"#);
        tell(&mut bluez, r#"{"on":"gattsensor"}"#);
        until("pairing", || stats(&mut bluez)["agents"] != json!([])).await;
        for line in [
            r#"{"ask":"RequestPasskey","about":"second"}"#,
            r#"{"ask":"RequestAuthorization","about":"second"}"#,
            r#"{"ask":"RequestPasskey","about":"gattsensor","stranger":true}"#,
        ] {
            assert_eq!(tell(&mut bluez, line)["answers"], json!(["org.bluez.Error.Rejected"]), "{line}");
        }
        let read = site.command("second", "battery", Action::Read, Duration::from_secs(10)).await;
        assert_eq!(read.unwrap().observed, Some(Value::Int(10)));

        let mut heard = 0;
        let reason = site
            .told("the lock is gone", |event| match event {
                Event::Reading(reading) if reading.device.as_str() == "beside" => {
                    heard += 1;
                    None
                }
                Event::Device { device, alive: false, reason } if device.as_str() == "lock" => reason.clone(),
                Event::Device { device, alive: false, .. } if device.as_str() == "second" => panic!("cut"),
                _ => None,
            })
            .await;
        assert_eq!(reason, "pairing was not done within 2 s");
        assert!(heard > 0, "the scan was starved");
        assert_eq!(site.value("lock", "bolt").await, BOLT);
        assert!(bluez.calls("CancelPairing") >= 2);
        site.stop().await;
    });
}

#[test]
fn a_daemon_that_is_restarted_meanwhile_knows_the_agent_again() {
    with_bluez(&["gattsensor"], async |mut bluez| {
        tell(&mut bluez, LOCK);
        tell(&mut bluez, r#"{"hang":"Pair"}"#);
        let mut site = site(Some("012345"));
        until("pairing", || stats(&mut bluez)["agents"] != json!([])).await;
        tell(&mut bluez, r#"{"restart":1,"busy":1}"#);
        assert_eq!(site.value("lock", "bolt").await, BOLT);
        let seen = stats(&mut bluez);
        assert_eq!((&seen["tries"], &seen["calls"]["RegisterAgent"]), (&json!([12345]), &json!(2)));
        site.stop().await;
    });
}

fn bond_is_lost(event: &Event) -> Option<String> {
    match event {
        Event::Device { alive: false, reason, .. } => reason.clone().filter(|words| words.contains("bond")),
        _ => None,
    }
}

#[test]
fn a_daemon_that_does_not_say_why_is_believed_no_further() {
    with_bluez(&["gattsensor"], async |mut bluez| {
        tell(&mut bluez, LOCK);
        let mut site = site(Some("012345"));
        assert_eq!(site.value("lock", "bolt").await, BOLT);
        // As bluetoothd 5.66 says it.
        tell(&mut bluez, r#"{"reset":"gattsensor","error":"Failed","words":"br-connection-canceled"}"#);
        let reason = site.told("the bond", bond_is_lost).await;
        assert!(reason.contains("br-connection-canceled; if it stays so, its bond may be lost"), "{reason}");
        site.stop().await;
    });
}

#[test]
fn a_bond_the_device_has_lost_is_said_and_not_removed_and_made_anew_once_it_is() {
    with_bluez(&["gattsensor"], async |mut bluez| {
        tell(&mut bluez, LOCK);
        let mut site = site(Some("012345"));
        assert_eq!(site.value("lock", "bolt").await, BOLT);
        tell(&mut bluez, r#"{"reset":"gattsensor"}"#);
        let reason = site.told("the bond", bond_is_lost).await;
        assert!(reason.contains("does not accept the bond"), "{reason}");
        assert!(reason.contains("`bluetoothctl remove C0:00:00:00:00:04`"), "{reason}");
        let refused = site.write("lock", "bolt", Value::Int(3), false).await.unwrap_err();
        assert!(refused.is_unsent() && refused.to_string().contains("bluetoothctl remove"), "{refused}");
        assert_eq!((bluez.calls("RemoveDevice"), bluez.calls("Pair")), (0, 1));
        tell(&mut bluez, r#"{"bond":"gattsensor","is":false}"#);
        site.device("lock", true).await;
        site.command("lock", "bolt", Action::Read, Duration::from_secs(10)).await.unwrap();
        assert_eq!(bluez.calls("Pair"), 2);
        site.stop().await;
    });
}
