//! What the local broker's clients rely on after a restart: what is retained, and what waits for those who were away.

use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::lab::gateway::Site;
use crate::lab::raw::{Raw, connect_v3, packet, string};
use crate::lab::{PATIENCE, free_port, wait_for};

/// Longer than a commit takes to come.
const COMMITTED: Duration = Duration::from_millis(2500);

/// Publishes lines, each on the topic.
fn publish(port: &str, topic: &str, retain: bool, lines: impl Iterator<Item = u32>) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), lines.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let mut args = vec!["-p", port, "-q", "1", "-t", topic, "-l"];
    args.extend(retain.then_some("-r"));
    let stdin = std::fs::File::open(file.path()).unwrap();
    assert!(Command::new("mosquitto_pub").args(args).stdin(stdin).status().unwrap().success());
}

/// What a client hears, with a session if it has an id: so many lines, or what comes in so many seconds.
fn hear(port: &str, client: Option<&str>, topic: &str, count: &str, seconds: &str) -> Vec<String> {
    let mut args = vec!["-p", port, "-q", "1", "-t", topic, "-C", count, "-W", seconds];
    args.extend(client.into_iter().flat_map(|client| ["-c", "-i", client]));
    let output = Command::new("mosquitto_sub").args(args).stderr(Stdio::null()).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn wills_of_those_who_were_there_when_the_gateway_was_stopped_are_retained_as_with_mosquitto() {
    let port = free_port();
    let site = Site::new(&format!("gateway: gw1\nbroker: {{ listen: [127.0.0.1:{port}] }}\n"));
    let gateway = site.run();
    gateway.wait_log("local broker listening");
    let clients = [("passing", 2), ("lasting", 0)].map(|(id, clean)| {
        let (mut raw, topic) = (Raw::new(port), format!("there/{id}"));
        // A will of QoS 1 that is to be retained.
        let payload = [string(id), string(&topic), string("0")].concat();
        raw.say(&packet(0x10, &connect_v3(4, clean | 0x2c, 60, &payload)));
        raw.hears(0x20, &[0, 0]);
        raw.say(&packet(0x31, &[&string(&topic)[..], b"1"].concat()));
        raw.hears_nothing();
        raw
    });
    let (ended, _) = gateway.terminate();
    assert!(ended.success(), "{ended}");
    drop(clients);
    let gateway = site.run();
    gateway.wait_log("local broker listening");
    assert_eq!(hear(&port.to_string(), None, "there/#", "2", "3"), ["0", "0"]);
}

/// Has a message of that many bytes retained, topic and payload together.
fn retain(port: u16, topic: &str, bytes: usize) {
    let payload = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(payload.path(), "x".repeat(bytes - topic.len())).unwrap();
    let mut pub_ = Command::new("mosquitto_pub");
    pub_.args(["-p", &port.to_string(), "-q", "1", "-r", "-t", topic, "-f"]).arg(payload.path());
    assert!(pub_.status().unwrap().success());
}

#[test]
fn the_largest_message_that_is_retained_survives_a_kill_and_of_a_larger_one_it_is_told() {
    let port = free_port();
    // Of itself a packet is the bound: what is taken is retained as well.
    const LARGEST: usize = (1 << 20) - 16;
    for (limits, largest) in [("", LARGEST), ("retained_message: 300KiB", 300 << 10)] {
        let site =
            Site::new(&format!("gateway: gw1\nbroker: {{ listen: [127.0.0.1:{port}], limits: {{ {limits} }} }}\n"));
        let gateway = site.run();
        gateway.wait_log("local broker listening");
        retain(port, "zigbee2mqtt/bridge/devices", largest);
        if largest < LARGEST {
            retain(port, "zigbee2mqtt/bridge/definitions", largest + 1);
            let line = gateway.wait_log("a message was not retained");
            assert!(line.contains(&format!("bytes={}", largest + 1)) && line.contains("`retained_message`"), "{line}");
        }
        sleep(COMMITTED);
        gateway.kill();
        let gateway = site.run();
        gateway.wait_log("local broker listening");
        let kept = hear(&port.to_string(), None, "zigbee2mqtt/#", "2", "3");
        let kept: Vec<usize> = kept.iter().map(String::len).collect();
        assert_eq!(kept, [largest - "zigbee2mqtt/bridge/devices".len()]);
        let status = site.wharf(&["status"], &["--json"]).json();
        let store = &status["broker"]["store"];
        assert_eq!((&store["damaged"], &store["too_large"]), (&0.into(), &0.into()), "{status}");
        assert!(gateway.terminate().0.success());
    }
}

#[test]
fn what_is_retained_and_what_waits_survive_a_stop_and_a_kill_in_order() {
    let port = free_port().to_string();
    let site = Site::new(&format!("gateway: gw1\nbroker: {{ listen: [127.0.0.1:{port}] }}\n"));
    let mut from = 0;
    for is_killed in [false, true, false] {
        let gateway = site.run();
        gateway.wait_log("local broker listening");
        if from == 0 {
            assert_eq!(hear(&port, Some("panel"), "wait/#", "1", "1"), Vec::<String>::new());
        }
        publish(&port, "wait/a", false, from..from + 2000);
        for topic in 0..20 {
            publish(&port, &format!("kept/{topic}"), true, std::iter::once(from + topic));
        }
        if is_killed {
            sleep(COMMITTED);
            gateway.kill();
        } else {
            assert!(gateway.terminate().0.success());
        }
        let gateway = site.run();
        gateway.wait_log("local broker listening");
        let expected: Vec<String> = (from..from + 2000).map(|line| line.to_string()).collect();
        let heard = hear(&port, Some("panel"), "wait/#", "2000", "20");
        assert!(heard == expected, "{} of 2000 lines, the first {:?}", heard.len(), heard.first());
        let mut kept = hear(&port, None, "kept/#", "20", "20");
        kept.sort_by_key(|line| line.parse::<u32>().unwrap());
        assert_eq!(kept, (from..from + 20).map(|line| line.to_string()).collect::<Vec<_>>());
        let status = site.wharf(&["status"], &["--json"]).json();
        assert_eq!(status["broker"]["store"]["damaged"], 0, "{status}");
        wait_for("what was taken to be gone from the disk", PATIENCE, || {
            let status = site.wharf(&["status"], &["--json"]).json();
            (status["broker"]["queued"] == 0 && status["broker"]["store"]["pending_bytes"] == 0).then_some(())
        });
        assert!(gateway.terminate().0.success());
        from += 10_000;
    }
}
