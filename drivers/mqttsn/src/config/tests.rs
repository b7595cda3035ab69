use serde_json::json;
use wharf_test_support::settings::{mistake, read};

use super::*;

fn mistakes(value: &serde_json::Value) -> Vec<String> {
    read::<LinkSettings>(value).1.iter().map(mistake).collect()
}

#[test]
fn an_address_beyond_loopback_needs_a_list_of_who_may_connect() {
    let outside = "udp: 0.0.0.0:1884 can be reached from outside, and MQTT-SN knows no passwords";
    assert_eq!(mistakes(&json!({ "udp": "0.0.0.0:1884" })), [outside]);
    assert_eq!(mistakes(&json!({ "udp": "0.0.0.0:1884", "allow": [] })), [outside]);
    assert_eq!(mistakes(&json!({ "udp": "0.0.0.0:1884", "allow": ["192.168.1.0/24"] })), [""; 0]);
    assert_eq!(mistakes(&json!({ "udp": "192.168.1.2:1884", "allow": ["sensor-7"] })), [""; 0]);
    assert_eq!(mistakes(&json!({ "udp": "[::1]:1884" })), [""; 0]);
    assert_eq!(
        mistakes(&json!({ "udp": "127.0.0.1:1884", "group": "239.1.2.3:1885" })),
        ["group: a group can be reached from outside"]
    );
}

#[test]
fn what_cannot_work_together_says_why() {
    assert_eq!(
        mistakes(&json!({ "udp": "127.0.0.1:1884", "advertise": "15m" })),
        ["advertise: over UDP, `advertise` needs a group in which it is said"]
    );
    assert_eq!(
        mistakes(&json!({ "serial": "/dev/ttyS0", "allow": ["10.0.0.0/8"] })),
        ["allow: there are no addresses on a serial line"]
    );
    assert_eq!(
        mistakes(&json!({ "udp": "127.0.0.1:1", "allow": ["s1"], "qos_minus_one": true })),
        ["qos_minus_one: who publishes without connecting says no id, and `allow` lists ids"]
    );
    assert_eq!(mistakes(&json!({})), [": one of `udp`, `serial` is needed"]);
}

#[test]
fn predefined_topics_have_numbers_and_can_be_published_to() {
    let predefined = |value| mistakes(&json!({ "udp": "127.0.0.1:1884", "predefined": value }));
    assert_eq!(predefined(json!({ "1": "a/b", "65534": "c" })), [""; 0]);
    assert_eq!(predefined(json!({ "0": "a" })), ["predefined.0: `0` is not a number from 1 to 65534"]);
    assert_eq!(predefined(json!({ "1": "a/#" })), ["predefined.1: a topic has 1–512 bytes, and no + and # in it"]);
    assert_eq!(predefined(json!({ "1": "a", "01": "b" })), ["predefined.01: 1 is a topic already"]);
    assert_eq!(mistakes(&json!({ "udp": "127.0.0.1:1884", "allow": ["10.0.0.0/33"] })), ["allow[0]: `33` is not 0–32"]);
}
