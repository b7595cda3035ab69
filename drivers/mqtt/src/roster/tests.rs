//! Messages in, readings out.

use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::config::tests::link;

/// 2026-11-21 18:45:00 UTC
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_286_700)
}

fn roster(settings: serde_json::Value) -> Roster {
    Roster::new(link(&settings).shapes().into())
}

fn live<'m>(topic: &'m str, payload: &'m str) -> Message<'m> {
    Message { topic, payload: payload.as_bytes(), retained: false }
}

fn kept<'m>(topic: &'m str, payload: &'m str) -> Message<'m> {
    Message { retained: true, ..live(topic, payload) }
}

/// The readings of a message: `boiler/t=21.5`, with the quality behind it unless it is good.
fn said(roster: &mut Roster, message: Message<'_>) -> Vec<String> {
    let heard = roster.take(message, now()).heard;
    let show = |reading: Reading| {
        let value = reading.value.map_or_else(|| "?".into(), |value| value.to_string());
        let quality =
            if reading.quality == Quality::Good { String::new() } else { format!(" {}", reading.quality.as_str()) };
        format!("{}/{}={value}{quality}", reading.device, reading.point)
    };
    heard.into_iter().flat_map(|heard| heard.readings).map(show).collect()
}

/// What was refused, by its word.
fn refused(roster: &mut Roster, message: Message<'_>) -> Vec<&'static str> {
    roster.take(message, now()).refused.into_iter().map(|(what, ..)| what).collect()
}

fn boiler() -> Roster {
    roster(json!({ "devices": { "boiler": {
        "topic": "boiler/state",
        "available": { "topic": "boiler/status", "online": "up", "offline": "down" },
        "points": {
            "temperature": { "path": "sensors[0].temp", "unit": "°C", "max": 120 },
            "heating": { "topic": "boiler/heat", "on": "ON", "off": "OFF" },
        },
    } } }))
}

#[test]
fn points_are_read_from_topics_and_paths() {
    let mut boiler = boiler();
    assert_eq!(said(&mut boiler, live("boiler/state", r#"{"sensors":[{"temp":61.5}]}"#)), ["boiler/temperature=61.5"]);
    assert_eq!(said(&mut boiler, live("boiler/heat", "ON")), ["boiler/heating=true"]);
    assert_eq!(said(&mut boiler, live("boiler/other", "ON")), [""; 0]);
}

#[test]
fn a_path_that_leads_nowhere_is_no_reading_and_null_is_a_bad_one() {
    let mut boiler = boiler();
    assert_eq!(said(&mut boiler, live("boiler/state", r#"{"sensors":[]}"#)), [""; 0]);
    assert_eq!(said(&mut boiler, live("boiler/state", r#"{"sensors":[{"temp":null}]}"#)), ["boiler/temperature=? bad"]);
    assert_eq!(said(&mut boiler, live("boiler/state", r#"{"sensors":[{"temp":121}]}"#)), ["boiler/temperature=? bad"]);
    assert_eq!(refused(&mut boiler, live("boiler/state", "offline")), ["not_json"]);
    assert_eq!(boiler.take(live("boiler/state", ""), now()), Taken::default(), "a retained message is taken back");
}

#[test]
fn a_device_says_whether_it_is_there() {
    let mut boiler = boiler();
    let mut alive = |message| boiler.take(message, now()).heard.first().and_then(|heard| heard.alive);
    assert_eq!(alive(kept("boiler/status", "down")), Some(false));
    assert_eq!(alive(live("boiler/status", "up")), Some(true));
    assert_eq!(alive(live("boiler/heat", "ON")), Some(true), "what it says shows that it is there");
    assert_eq!(alive(kept("boiler/heat", "OFF")), None, "what was kept does not");
    assert_eq!(refused(&mut boiler, live("boiler/status", "rebooting")), ["availability"]);
}

/// What a message says of who is there, as `lamp+` and `lamp-`.
fn there(roster: &mut Roster, message: Message<'_>) -> Vec<String> {
    let heard = roster.take(message, now()).heard.into_iter();
    heard.filter_map(|heard| Some(format!("{}{}", heard.device, if heard.alive? { '+' } else { '-' }))).collect()
}

/// Devices behind Zigbee2MQTT: one that is listed, and those to discover.
fn zigbee() -> Roster {
    let available = |name: &str| {
        json!([{ "topic": format!("z/{name}/availability"), "path": "state" },
            { "topic": "z/bridge/state", "path": "state", "of": "gateway" }])
    };
    let points = json!({ "t": { "path": "t" } });
    let mut roster = roster(json!({
        "devices": { "lamp": { "topic": "z/lamp", "available": available("lamp"), "points": points } },
        "discover": [{ "topic": "z/{device}", "available": available("{device}"), "points": points }],
    }));
    roster.belongs_to("gw1");
    roster
}

const ONLINE: &str = r#"{"state":"online"}"#;
const OFFLINE: &str = r#"{"state":"offline"}"#;

#[test]
fn a_bridge_that_is_gone_takes_its_devices_along() {
    let mut zigbee = zigbee();
    let bridge = "z/bridge/state";
    // What the broker had retained, in its order.
    assert_eq!(there(&mut zigbee, kept(bridge, ONLINE)), [""; 0], "of the lamp it says nothing");
    assert_eq!(there(&mut zigbee, kept("z/lamp/availability", ONLINE)), ["lamp+"]);
    assert_eq!(there(&mut zigbee, live("z/hall", r#"{"t":1}"#)), ["hall+"]);
    assert_eq!(there(&mut zigbee, live("z/attic", r#"{"t":1}"#)), ["attic+"]);
    assert_eq!(there(&mut zigbee, live("z/attic/availability", OFFLINE)), ["attic-"]);
    // Its last will.
    assert_eq!(there(&mut zigbee, live(bridge, OFFLINE)), ["lamp-", "attic-", "hall-"]);
    assert_eq!(there(&mut zigbee, live("z/lamp/availability", ONLINE)), ["lamp-"], "all have to say so");
    assert_eq!(there(&mut zigbee, live(bridge, ONLINE)), ["lamp+", "attic-", "hall+"], "as they were before");
    assert_eq!(zigbee.found(), 2, "the bridge is no device");
}

#[test]
fn a_bridge_speaks_plainly_as_well() {
    let mut zigbee = zigbee();
    there(&mut zigbee, live("z/lamp", r#"{"t":1}"#));
    assert_eq!(there(&mut zigbee, live("z/bridge/state", "offline")), ["lamp-"]);
    assert_eq!(there(&mut zigbee, live("z/bridge/state", "online")), ["lamp+"]);
    assert_eq!(refused(&mut zigbee, live("z/bridge/state", "error")), ["availability", "availability"]);
    assert_eq!(there(&mut zigbee, live("z/bridge/state", "error")), [""; 0], "nor does that say anything of the lamp");
}

#[test]
fn a_message_that_comes_late_shows_that_its_device_is_there() {
    let mut zigbee = zigbee();
    assert_eq!(there(&mut zigbee, live("z/bridge/state", OFFLINE)), ["lamp-"]);
    assert_eq!(there(&mut zigbee, kept("z/lamp", r#"{"t":1}"#)), [""; 0], "what was kept does not");
    assert_eq!(there(&mut zigbee, live("z/lamp", r#"{"t":1}"#)), ["lamp+"]);
    assert_eq!(there(&mut zigbee, live("z/lamp/availability", OFFLINE)), ["lamp-"]);
}

#[test]
fn who_is_discovered_while_the_bridge_is_gone_begins_so() {
    let mut zigbee = zigbee();
    there(&mut zigbee, kept("z/bridge/state", OFFLINE));
    assert_eq!(said(&mut zigbee, kept("z/hall", r#"{"t":1}"#)), ["hall/t=1 stale"]);
    assert_eq!(there(&mut zigbee, kept("z/hall/availability", ONLINE)), ["hall-"]);
    assert_eq!(there(&mut zigbee, live("z/bridge/state", ONLINE)), ["hall+"]);
}

#[test]
fn a_new_connection_begins_with_what_its_broker_says() {
    let mut zigbee = zigbee();
    there(&mut zigbee, live("z/lamp", r#"{"t":1}"#));
    there(&mut zigbee, live("z/bridge/state", ONLINE));
    zigbee.forget_who_is_there();
    assert_eq!(there(&mut zigbee, kept("z/lamp/availability", ONLINE)), [""; 0], "the bridge has not spoken yet");
    assert_eq!(there(&mut zigbee, kept("z/bridge/state", OFFLINE)), ["lamp-"]);
}

#[test]
fn a_sensor_that_several_gateways_hear_is_gone_with_the_last_of_them() {
    let mut radio = roster(json!({ "discover": [{ "topic": "home/+/BTtoMQTT/{device}",
        "available": { "topic": "home/+/LWT", "of": "gateway" }, "points": { "t": { "path": "tempc" } } }] }));
    there(&mut radio, kept("home/OpenMQTTGateway/LWT", "online"));
    there(&mut radio, kept("home/TheengsGateway/LWT", "online"));
    assert_eq!(there(&mut radio, live("home/OpenMQTTGateway/BTtoMQTT/A4C138", r#"{"tempc":2}"#)), ["A4C138+"]);
    assert_eq!(there(&mut radio, live("home/OpenMQTTGateway/LWT", "offline")), ["A4C138+"]);
    assert_eq!(there(&mut radio, live("home/TheengsGateway/LWT", "offline")), ["A4C138-"]);
    assert_eq!(there(&mut radio, live("home/TheengsGateway/LWT", "online")), ["A4C138+"]);
    for number in 2..16 {
        assert_eq!(refused(&mut radio, live(&format!("home/{number}/LWT"), "online")), [""; 0]);
    }
    assert_eq!(refused(&mut radio, live("home/16/LWT", "online")), ["availability"]);
}

#[test]
fn what_the_broker_had_kept_is_stale_unless_it_says_when_it_was_made() {
    let with = |more: serde_json::Value| {
        let mut device = json!({ "topic": "d", "points": { "t": { "path": "t" } } });
        device.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        roster(json!({ "devices": { "d": device } }))
    };
    let plain = kept("d", r#"{"t":1}"#);
    assert_eq!(said(&mut with(json!({})), plain), ["d/t=1 stale"]);
    assert_eq!(said(&mut with(json!({ "retained": "current" })), plain), ["d/t=1"]);
    assert_eq!(said(&mut with(json!({ "retained": "ignore" })), plain), [""; 0]);
    let mut timed = with(json!({ "time": { "path": "at" }, "quiet_after": "1h" }));
    let taken = timed.take(kept("d", r#"{"t":1,"at":1795286100}"#), now());
    let reading = &taken.heard[0].readings[0];
    assert_eq!((reading.quality, reading.taken_at), (Quality::Good, now() - Duration::from_secs(600)));
    assert_eq!(said(&mut timed, kept("d", r#"{"t":2,"at":1795280000}"#)), ["d/t=2 stale"]);
}

#[test]
fn what_was_heard_live_does_not_become_stale_when_the_broker_repeats_it() {
    let mut boiler = boiler();
    said(&mut boiler, live("boiler/heat", "ON"));
    assert_eq!(said(&mut boiler, kept("boiler/heat", "ON")), [""; 0]);
    assert_eq!(said(&mut boiler, kept("boiler/heat", "OFF")), ["boiler/heating=false stale"]);
    assert_eq!(said(&mut boiler, live("boiler/heat", "OFF")), ["boiler/heating=false"]);
}

#[test]
fn a_time_that_cannot_be_is_not_believed() {
    let mut device = roster(
        json!({ "devices": { "d": { "topic": "d", "time": { "path": "at" }, "points": { "t": { "path": "t" } } } } }),
    );
    let taken = device.take(live("d", r#"{"t":1,"at":"1970-01-01T00:00:07Z"}"#), now());
    assert_eq!(taken.heard[0].readings[0].taken_at, now());
    assert_eq!(taken.refused[0].0, "time");
}

fn radio(most: u16) -> Roster {
    let mut radio = roster(json!({
        "devices": { "lamp": { "topic": "z/{device}", "points": { "state": { "path": "state", "type": "bool" } } } },
        "discover": [{ "topic": "z/{device}", "most": most, "available": { "topic": "z/{device}/availability" },
            "points": { "t": { "path": "t" }, "battery": { "path": "battery", "unit": "%" } } }],
    }));
    radio.belongs_to("gw1");
    radio.avoid(["main-meter".to_owned()]);
    radio
}

#[test]
fn devices_are_discovered_as_they_are_heard() {
    let mut radio = radio(50);
    assert_eq!(said(&mut radio, live("z/hall", r#"{"t":20.5,"battery":97}"#)), ["hall/t=20.5", "hall/battery=97"]);
    assert_eq!(
        said(&mut radio, live("z/lamp", r#"{"t":20,"state":"ON"}"#)),
        ["lamp/state=true"],
        "a listed one is itself"
    );
    assert_eq!(said(&mut radio, live("z/remote", r#"{"action":"single"}"#)), [""; 0]);
    assert_eq!(radio.found(), 1, "who says nothing of a point is not taken in");
    assert_eq!(radio.take(live("z/hall/availability", "offline"), now()).heard[0].alive, Some(false));
    assert_eq!(radio.take(live("z/other/availability", "online"), now()), Taken::default());
}

#[test]
fn no_device_that_is_heard_takes_anothers_name_or_more_room_than_there_is() {
    let mut radio = radio(2);
    let name = |radio: &mut Roster, name: &str| refused(radio, live(&format!("z/{name}"), r#"{"t":1}"#));
    assert_eq!(name(&mut radio, "main-meter"), ["nameless"]);
    assert_eq!(name(&mut radio, "a b"), ["nameless"]);
    assert_eq!(name(&mut radio, "one"), [""; 0]);
    assert_eq!(name(&mut radio, "two"), [""; 0]);
    assert_eq!(name(&mut radio, "three"), ["nameless"]);
    assert_eq!(name(&mut radio, "two"), [""; 0], "who is known stays known");
    assert_eq!(radio.found(), 2);
}

#[test]
fn what_the_gateway_publishes_itself_is_never_taken_for_a_devices() {
    let mut open =
        roster(json!({ "discover": [{ "topic": "{device}/t/value", "points": { "t": { "path": "value" } } }] }));
    open.belongs_to("gw1");
    for own in ["gw1-out/t/value", "gw1-in/t/value", "gw1-sys/t/value"] {
        assert_eq!(open.take(live(own, r#"{"value":1}"#), now()), Taken::default(), "{own}");
    }
    assert_eq!(said(&mut open, live("gw2/t/value", r#"{"value":1}"#)), ["gw2/t=1"]);
}

#[test]
fn a_payload_is_bounded() {
    let huge = "9".repeat(LARGEST_PAYLOAD + 1);
    assert_eq!(refused(&mut boiler(), live("boiler/heat", &huge)), ["too_large"]);
    let deep = "[".repeat(10_000);
    assert_eq!(refused(&mut boiler(), live("boiler/state", &deep)), ["not_json"]);
}

proptest! {
    /// Whatever is published, nothing panics, and no reading without a value is called good.
    #[test]
    fn any_message_is_taken_or_refused(topic in "(boiler/(state|heat|status)|z/.{0,12}|.{0,20})", payload in prop::collection::vec(any::<u8>(), 0..200), retained: bool) {
        for mut roster in [boiler(), radio(3)] {
            let taken = roster.take(Message { topic: &topic, payload: &payload, retained }, now());
            for reading in taken.heard.iter().flat_map(|heard| &heard.readings) {
                prop_assert_eq!(reading.value.is_none(), reading.quality == Quality::Bad);
            }
        }
    }
}
