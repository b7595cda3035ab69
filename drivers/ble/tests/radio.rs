//! The radio against a mock BlueZ: what it hears, and how it gets itself going again.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "everything here is a test")]

mod lab;

use std::time::Duration;

use lab::{BTHOME, COUNTER, Listening, SAME, brisk, resident, sensor, unwatched, with_bluez};
use wharf_ble::advert::{Address, Advert};
use wharf_ble::radio::{RadioSettings, RadioState, ScanMode, WAITING};

fn from(address: Address) -> impl Fn(&Advert) -> bool {
    move |advert| advert.address == address
}

/// An advertisement of the sensor that counts, with its data.
fn counting(advert: &Advert) -> bool {
    advert.address == COUNTER && advert.company(0xffff).is_some_and(|data| data.len() == 4)
}

#[test]
fn the_first_advertisement_of_a_device_is_not_lost() {
    with_bluez(&[], async |mut bluez| {
        let mut listening = Listening::start(brisk());
        listening.is(RadioState::is_listening).await;
        bluez.tell(r#"{"adv":"bthome"}"#);
        let advert = listening.hears(from(BTHOME)).await;
        let n = advert.service(0xfcd2).unwrap()[2];
        assert_eq!(advert.service(0xfcd2), Some(&[0x40, 0x00, n, 0x02, 0xc4, 0x09][..]));
        assert_eq!(advert.name(), "bthome");
        assert!(advert.rssi.is_some());
        // And not twice: neither by the discovery nor by a signal after it.
        assert!(listening.hears_nothing(Duration::from_millis(500)).await);
        listening.radio.stop().await;
    });
}

#[test]
fn what_changes_and_what_stays_the_same_arrives_as_often_as_it_is_sent() {
    with_bluez(&[], async |mut bluez| {
        let mut listening = Listening::start(brisk());
        listening.is(RadioState::is_listening).await;
        for _ in 0..20 {
            bluez.tell(r#"{"adv":"same"}"#);
            let advert = listening.hears(from(SAME)).await;
            assert_eq!(advert.company(0x0499).map(<[u8]>::len), Some(24));
        }
        let mut last = None;
        for _ in 0..20 {
            bluez.tell(r#"{"adv":"counter"}"#);
            let advert = listening.hears(from(COUNTER)).await;
            let count = advert.company(0xffff).unwrap().to_vec();
            assert_ne!(last.replace(count.clone()), Some(count));
        }
        assert_eq!(listening.radio.counters().heard, 40);
        listening.radio.stop().await;
    });
}

#[test]
fn frames_of_two_kinds_in_turn_come_out_one_by_one() {
    with_bluez(&[], async |mut bluez| {
        let mut listening = Listening::start(brisk());
        listening.is(RadioState::is_listening).await;
        for turn in 0..6 {
            let (id, data) = if turn % 2 == 0 { (0x1111_u16, "aa") } else { (0x2222, "bb") };
            let [low, high] = id.to_le_bytes();
            bluez.tell(&format!(r#"{{"set":"same","ad":[[255,"{low:02x}{high:02x}{data}"]],"interval":0}}"#));
            bluez.tell(r#"{"adv":"same"}"#);
            let advert = listening.hears(from(SAME)).await;
            assert_eq!(advert.manufacturer_data.into_keys().collect::<Vec<_>>(), [id]);
        }
        listening.radio.stop().await;
    });
}

#[test]
fn what_one_advertisement_carries_stays_together() {
    with_bluez(&[], async |mut bluez| {
        bluez.tell(r#"{"set":"same","ad":[[255,"6909aa{n:02x}"],[22,"3dfd54{n:02x}"],[3,"3dfd"]],"interval":0}"#);
        let mut listening = Listening::start(brisk());
        listening.is(RadioState::is_listening).await;
        for _ in 0..10 {
            bluez.tell(r#"{"adv":"same"}"#);
            let advert = listening.hears(from(SAME)).await;
            assert_eq!(advert.company(0x0969).unwrap()[1], advert.service(0xfd3d).unwrap()[1]);
            assert!(advert.has_service(0xfd3d) && advert.rssi.is_some());
        }
        listening.radio.stop().await;
    });
}

#[test]
fn a_restart_of_the_daemon_is_survived() {
    with_bluez(&["counter"], async |mut bluez| {
        let mut listening = Listening::start(unwatched());
        listening.hears(counting).await;
        bluez.tell(r#"{"restart":0.5,"busy":1}"#);
        listening.forget();
        listening.hears(counting).await;
        listening.is(|state| *state == RadioState::Scanning).await;
        assert!(listening.radio.counters().connections >= 2);
        listening.radio.stop().await;
    });
}

#[test]
fn an_adapter_that_is_switched_off_is_switched_on_again() {
    with_bluez(&["counter"], async |mut bluez| {
        let mut listening = Listening::start(unwatched());
        listening.hears(counting).await;
        bluez.tell(r#"{"power":false}"#);
        listening.forget();
        listening.hears(counting).await;
        listening.is(|state| *state == RadioState::Scanning).await;
        listening.radio.stop().await;
    });
}

#[test]
fn an_adapter_that_cannot_be_switched_on_is_told_of_and_tried_again() {
    with_bluez(&["counter"], async |mut bluez| {
        bluez.tell(r#"{"power":false}"#);
        bluez.tell(r#"{"fail":"Set","message":"Blocked through rfkill","count":3}"#);
        let mut listening = Listening::start(unwatched());
        let off = listening.is(|state| matches!(state, RadioState::Off { .. })).await;
        assert_eq!(off.to_string(), "adapter hci0 is switched off: Blocked through rfkill");
        listening.hears(counting).await;
        listening.radio.stop().await;
    });
}

#[test]
fn an_adapter_may_be_pulled_out_and_come_back_even_under_another_name() {
    with_bluez(&["counter"], async |mut bluez| {
        let settings = RadioSettings { adapter: Some("hci0".to_owned()), ..unwatched() };
        let mut listening = Listening::start(settings);
        listening.hears(counting).await;
        for name in ["hci0", "hci1"] {
            bluez.tell(r#"{"adapter":"remove"}"#);
            let gone = listening.is(|state| matches!(state, RadioState::Gone { .. })).await;
            assert!(gone.to_string().ends_with(" is not there"), "{gone}");
            bluez.tell(&format!(r#"{{"adapter":"add","name":"{name}"}}"#));
            listening.forget();
            listening.hears(counting).await;
        }
        listening.radio.stop().await;
    });
}

#[test]
fn a_site_without_an_adapter_waits_for_one() {
    with_bluez(&["counter"], async |mut bluez| {
        bluez.tell(r#"{"adapter":"remove"}"#);
        let mut listening = Listening::start(unwatched());
        let gone = listening.is(|state| matches!(state, RadioState::Gone { .. })).await;
        assert_eq!(gone.to_string(), "there is no Bluetooth adapter");
        assert!(listening.radio.finder().peripheral(COUNTER).await.is_err());
        bluez.tell(r#"{"adapter":"add"}"#);
        listening.hears(counting).await;
        listening.radio.stop().await;
    });
}

#[test]
fn calls_that_fail_are_tried_again() {
    with_bluez(&["counter"], async |mut bluez| {
        bluez.tell(r#"{"fail":"StartDiscovery","message":"no luck","count":3}"#);
        let mut listening = Listening::start(unwatched());
        let refused = listening.is(|state| matches!(state, RadioState::Refused { .. })).await;
        assert_eq!(refused.to_string(), "adapter hci0 does not scan: no luck");
        listening.hears(counting).await;
        assert_eq!(listening.radio.counters().failures, 3);
        listening.radio.stop().await;
    });
}

#[test]
fn calls_that_are_never_answered_are_given_up() {
    with_bluez(&["counter"], async |mut bluez| {
        for method in ["GetManagedObjects", "Set", "SetDiscoveryFilter", "StartDiscovery", "RegisterMonitor"] {
            bluez.tell(&format!(r#"{{"hang":"{method}"}}"#));
            let mut listening = Listening::start(brisk());
            listening.hears(counting).await;
            listening.radio.stop().await;
        }
    });
}

#[test]
fn a_daemon_that_hangs_is_called_so_and_listened_with_as_soon_as_it_answers() {
    with_bluez(&["counter"], async |mut bluez| {
        let mut settings = unwatched();
        settings.timeouts.call = Duration::from_secs(1);
        let mut listening = Listening::start(settings);
        listening.hears(counting).await;
        bluez.tell(r#"{"hang":"GetManagedObjects","count":4}"#);
        bluez.tell(r#"{"restart":0.5}"#);
        let hung = listening.is(|state| matches!(state, RadioState::Unanswered { .. })).await;
        assert_eq!(hung.to_string(), "bluetoothd runs and cannot be used: bluetoothd did not answer in time");
        listening.forget();
        listening.hears(counting).await;
        listening.is(|state| *state == RadioState::Scanning).await;
        listening.radio.stop().await;
    });
}

#[test]
fn a_device_whose_properties_are_never_told_holds_nobody_up_for_long() {
    with_bluez(&["counter"], async |mut bluez| {
        let mut listening = Listening::start(brisk());
        listening.hears(counting).await;
        bluez.tell(r#"{"hang":"GetAll","count":1}"#);
        listening.forget();
        listening.hears(counting).await;
        listening.radio.stop().await;
    });
}

#[test]
fn a_dead_bus_is_noticed_and_a_new_one_found() {
    with_bluez(&["counter"], async |mut bluez| {
        let mut listening = Listening::start(unwatched());
        listening.hears(counting).await;
        bluez.tell(r#"{"bus":"die"}"#);
        let state = listening.is(|state| matches!(state, RadioState::NoBus { .. })).await;
        assert!(state.to_string().starts_with("no D-Bus system bus: "), "{state}");
        bluez.tell(r#"{"bus":"start"}"#);
        listening.forget();
        listening.hears(counting).await;
        listening.is(|state| *state == RadioState::Scanning).await;
        listening.radio.stop().await;
    });
}

#[test]
fn silence_is_met_with_stronger_and_stronger_remedies() {
    with_bluez(&[], async |mut bluez| {
        let mut settings = brisk();
        settings.timeouts.silence = Duration::from_millis(500);
        let mut listening = Listening::start(settings);
        let quiet = listening.is(|state| matches!(state, RadioState::Quiet { .. })).await;
        assert!(quiet.to_string().starts_with("quiet for "), "{quiet}");
        let counters = listening.counts(|counters| counters.connections >= 2).await;
        assert!(counters.scans >= 3 && counters.power_cycles >= 1, "{counters:?}");
        listening.is(RadioState::is_listening).await;
        bluez.tell(r#"{"on":"counter"}"#);
        listening.hears(counting).await;
        listening.is(|state| *state == RadioState::Scanning).await;
        listening.radio.stop().await;
    });
}

#[test]
fn ten_thousand_devices_passing_by_take_no_more_room_than_two_thousand() {
    with_bluez(&["counter"], async |mut bluez| {
        let mut listening = Listening::start(brisk());
        listening.hears(counting).await;
        bluez.tell(r#"{"flood":1000}"#);
        let before = resident();
        bluez.tell(r#"{"flood":10000}"#);
        let counters = listening.counts(|counters| counters.forgotten >= 10_000 - 2048).await;
        assert_eq!(counters.remembered, 2048, "{counters:?}");
        listening.forget();
        listening.hears(counting).await;
        let grown = resident().saturating_sub(before);
        assert!(grown < 30_000, "{grown} kB more");
        listening.radio.stop().await;
    });
}

#[test]
fn more_than_can_be_looked_at_is_thrown_away_before_it_takes_room() {
    with_bluez(&[], async |mut bluez| {
        let mut listening = Listening::start(unwatched());
        listening.is(RadioState::is_listening).await;
        bluez.tell(r#"{"burst":"counter","count":1000}"#);
        listening.forget();
        assert_eq!(listening.counts(|counters| counters.heard >= 900).await.overruns, 0, "a burst is no flood");
        bluez.tell(r#"{"burst":"counter","count":20000}"#);
        let counters = listening.counts(|counters| counters.overruns == 1 && counters.connections == 2).await;
        assert!(counters.heard < 20_000, "{counters:?}");
        bluez.tell(r#"{"on":"counter"}"#);
        listening.forget();
        listening.hears(counting).await;
        listening.radio.stop().await;
    });
}

#[test]
fn what_nobody_takes_is_counted_and_does_not_pile_up() {
    with_bluez(&[], async |mut bluez| {
        let listening = Listening::start(brisk());
        listening.is(RadioState::is_listening).await;
        bluez.tell(r#"{"burst":"counter","count":2000,"gap":0.001}"#);
        let counters = listening.counts(|counters| counters.heard >= 2000).await;
        assert_eq!(counters.dropped, counters.heard - WAITING as u64);
        assert_eq!(listening.heard.len(), WAITING);
        listening.radio.stop().await;
    });
}

#[test]
fn a_monitor_is_registered_beside_the_scan() {
    with_bluez(&["counter"], async |mut bluez| {
        let mut listening = Listening::start(brisk());
        listening.hears(counting).await;
        assert_eq!(bluez.calls("RegisterMonitor"), 1);
        listening.radio.stop().await;
    });
}

#[test]
fn a_daemon_without_monitors_is_listened_to_all_the_same() {
    with_bluez(&["counter"], async |mut bluez| {
        bluez.tell(r#"{"monitors":false}"#);
        let mut listening = Listening::start(brisk());
        listening.hears(counting).await;
        listening.radio.stop().await;
    });
}

#[test]
fn a_daemon_that_keeps_ending_over_monitors_is_used_without() {
    with_bluez(&["counter"], async |mut bluez| {
        let mut listening = Listening::start(unwatched());
        for (scans, registered) in [(1, 1), (2, 2), (3, 3), (4, 3), (5, 3)] {
            listening.counts(|counters| counters.scans == scans).await;
            listening.forget();
            listening.hears(counting).await;
            assert_eq!(bluez.calls("RegisterMonitor"), registered);
            bluez.tell(r#"{"restart":0.3,"busy":0}"#);
        }
        listening.radio.stop().await;
    });
}

#[test]
fn passive_listening_hears_two_kinds_of_frames_in_turn_one_by_one() {
    with_bluez(&[], async |mut bluez| {
        let mut listening = Listening::start(RadioSettings { mode: ScanMode::Passive, ..brisk() });
        listening.is(RadioState::is_listening).await;
        // The daemon says yes before it has looked at what is registered.
        while bluez.tell(r#"{"stats":1}"#)["monitors"] == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Without a scan the daemon adds to what it has: both kinds are there from the second on.
        for turn in 0..6 {
            let (low, id) = if turn % 2 == 0 { ("1111", 0x1111_u16) } else { ("2222", 0x2222) };
            bluez.tell(&format!(r#"{{"set":"same","ad":[[1,"06"],[255,"{low}{{n:02x}}"]],"interval":0}}"#));
            bluez.tell(r#"{"adv":"same"}"#);
            let advert = listening.hears(from(SAME)).await;
            assert_eq!(advert.manufacturer_data.into_keys().collect::<Vec<_>>(), [id]);
        }
        listening.radio.stop().await;
    });
}

#[test]
fn passive_listening_starts_no_scan() {
    with_bluez(&["counter"], async |mut bluez| {
        let mut listening = Listening::start(RadioSettings { mode: ScanMode::Passive, ..brisk() });
        listening.hears(counting).await;
        assert_eq!(bluez.calls("StartDiscovery"), 0);
        listening.radio.stop().await;
    });
}

#[test]
fn passive_listening_hears_repetitions_too() {
    with_bluez(&["same"], async |mut bluez| {
        let mut listening = Listening::start(RadioSettings { mode: ScanMode::Passive, ..brisk() });
        for _ in 0..4 {
            let advert = listening.hears(from(SAME)).await;
            assert_eq!(advert.company(0x0499).map(<[u8]>::len), Some(24));
        }
        bluez.tell(r#"{"off":"same"}"#);
        tokio::time::sleep(Duration::from_millis(500)).await;
        for _ in 0..4 {
            listening.forget();
            bluez.tell(r#"{"adv":"counter"}"#);
            listening.hears(counting).await;
            assert!(listening.hears_nothing(Duration::from_millis(500)).await, "what a signal tells is no repetition");
        }
        listening.radio.stop().await;
    });
}

#[test]
fn passive_listening_needs_monitors_and_says_so() {
    with_bluez(&["counter"], async |mut bluez| {
        bluez.tell(r#"{"monitors":false}"#);
        let mut listening = Listening::start(RadioSettings { mode: ScanMode::Passive, ..unwatched() });
        let state = listening.is(|state| *state == RadioState::NoPassiveScan).await;
        assert!(state.to_string().contains("--experimental"));
        bluez.tell(r#"{"monitors":true}"#);
        listening.hears(counting).await;
        listening.radio.stop().await;
    });
}

#[test]
fn links_left_behind_are_cut_at_the_start_if_they_are_ours() {
    with_bluez(&[], async |mut bluez| {
        let ours = sensor(4);
        let mut listening = Listening::start(RadioSettings { connectable: vec![ours], ..brisk() });
        listening.is(RadioState::is_listening).await;
        bluez.tell(r#"{"adv":"gattsensor"}"#);
        listening.hears(from(ours)).await;
        let reach = listening.radio.finder().peripheral(ours).await.unwrap();
        let connected = reach.runtime.spawn(async move {
            use btleplug::api::Peripheral as _;
            reach.peripheral.connect().await
        });
        connected.await.unwrap().unwrap();
        listening.radio.stop().await;
        for (connectable, disconnects) in [(vec![BTHOME], 0), (vec![ours], 1)] {
            let listening = Listening::start(RadioSettings { connectable, ..brisk() });
            listening.is(RadioState::is_listening).await;
            assert_eq!(bluez.calls("Disconnect"), disconnects);
            listening.radio.stop().await;
        }
    });
}

#[test]
fn two_radios_in_one_gateway_do_not_disturb_each_other() {
    with_bluez(&["counter"], async |_| {
        let mut one = Listening::start(unwatched());
        let mut other = Listening::start(RadioSettings { mode: ScanMode::Passive, ..unwatched() });
        one.hears(counting).await;
        other.hears(counting).await;
        one.radio.stop().await;
        other.forget();
        other.hears(counting).await;
        other.radio.stop().await;
    });
}

#[test]
fn connections_that_were_given_up_leave_nothing_behind() {
    with_bluez(&["counter"], async |mut bluez| {
        let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let mut listening = Listening::start(unwatched());
        listening.hears(counting).await;
        let before = open();
        for _ in 0..8 {
            bluez.tell(r#"{"restart":0.2,"busy":0}"#);
            listening.forget();
            listening.hears(counting).await;
        }
        assert!(listening.radio.counters().connections >= 9);
        assert!(open() <= before + 1, "{} files open, {before} before", open());
        listening.radio.stop().await;
    });
}

#[test]
fn stopping_ends_the_scan_and_the_connections() {
    with_bluez(&["counter"], async |mut bluez| {
        let mut listening = Listening::start(brisk());
        listening.hears(counting).await;
        assert_eq!(bluez.tell(r#"{"stats":1}"#)["discovering"], true);
        let state = listening.radio.state();
        listening.radio.stop().await;
        assert_eq!(*state.borrow(), RadioState::Stopped);
        while bluez.tell(r#"{"stats":1}"#)["discovering"] == true {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}
