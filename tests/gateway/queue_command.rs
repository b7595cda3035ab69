//! `wharf queue`: what waits on disk, from outside, while the gateway runs and when it does not.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value as Json;

use crate::lab::broker::Mosquitto;
use crate::lab::client::Client;
use crate::lab::gateway::{Answer, Gateway, Site};
use crate::lab::{PATIENCE, accept, free_port, wait_for};

const TOPIC: &str = "gw1-out/2/1/1/0/47";

/// A site with one node, and a broker that is not there unless a test starts one on that port.
struct Yard {
    site: Site,
    listener: TcpListener,
    port: u16,
    said: u64,
}

impl Yard {
    fn new() -> Self {
        Self::with_broker(free_port())
    }

    fn with_broker(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let site = Site::new(&format!(
            "gateway: gw1
uplinks: {{ central: {{ url: \"mqtt://127.0.0.1:{port}\" }} }}
broker: {{ listen: [] }}
mysensors: {{ garden: {{ tcp: {} }} }}
",
            listener.local_addr().unwrap()
        ));
        Self { site, listener, port, said: 0 }
    }

    fn run(&self) -> (Gateway, TcpStream) {
        let gateway = self.site.run();
        (gateway, accept(&self.listener))
    }

    /// The node says the next so many numbers, and the disk has them when this returns.
    fn say(&mut self, node: &mut TcpStream, count: u64) {
        for _ in 0..count {
            self.said += 1;
            writeln!(node, "2;1;1;0;47;n{}e", self.said).unwrap();
        }
        let last = format!("n{}e", self.said);
        wait_for("the last of them on disk", PATIENCE, || {
            self.exported().iter().any(|line| line["payload"] == last.as_str()).then_some(())
        });
    }

    /// Everything said so far waits on disk, and nothing runs.
    fn left_behind(&mut self, count: u64) {
        let (gateway, mut node) = self.run();
        self.say(&mut node, count);
        let (ended, _) = gateway.terminate();
        assert!(ended.success(), "{ended}");
    }

    /// What `export` says of the node's messages.
    fn exported(&self) -> Vec<Json> {
        let answer = self.queue("export", &[]);
        assert_eq!(answer.code, 0, "{answer:?}");
        answer.lines().into_iter().filter(|line| line["topic"] == TOPIC).collect()
    }

    fn queue(&self, what: &str, rest: &[&str]) -> Answer {
        self.site.wharf(&["queue", what], rest)
    }

    /// The only queue, as `show` has it.
    fn shown(&self) -> Json {
        self.site.wharf(&["queue"], &["--json"]).json()["queues"][0].clone()
    }

    /// The only queue, as `audit` has it, and the exit code.
    fn audited(&self) -> (i32, Json) {
        let answer = self.queue("audit", &["--json"]);
        let verdict = answer.json();
        assert_eq!(verdict["holds"], answer.code == 0, "{answer:?}");
        (answer.code, verdict["queues"][0].clone())
    }

    /// Changes a byte of a message on disk, found by its look.
    fn destroy(&self, payload: &str) {
        for path in segments(&self.site) {
            let mut bytes = fs::read(&path).unwrap();
            let Some(at) = bytes.windows(payload.len()).position(|window| window == payload.as_bytes()) else {
                continue;
            };
            bytes[at + 1] ^= 0x10;
            fs::write(&path, bytes).unwrap();
            return;
        }
        panic!("{payload} is in no segment");
    }
}

fn payloads(lines: &[Json]) -> Vec<String> {
    lines.iter().map(|line| line["payload"].as_str().unwrap().to_owned()).collect()
}

fn segments(site: &Site) -> Vec<PathBuf> {
    let files = fs::read_dir(site.queue("central")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "seg")).collect()
}

#[test]
fn what_waits_can_be_seen_while_the_gateway_runs_and_afterwards() {
    let mut yard = Yard::new();
    let empty = yard.audited();
    assert_eq!((empty.0, &empty.1["captured"]), (0, &0.into()), "a queue that does not exist yet is empty");

    let (gateway, mut node) = yard.run();
    yard.say(&mut node, 50);
    let running = yard.exported();
    assert_eq!(running.len(), 50);
    assert!(yard.shown()["rate"]["in"].as_f64() > Some(0.0));
    assert_eq!(yard.audited().0, 0);
    let (ended, _) = gateway.terminate();
    assert!(ended.success(), "{ended}");
    assert_eq!(yard.exported(), running);

    let queue = yard.shown();
    assert!(queue["waiting"].as_u64() >= Some(50) && queue["rate"].is_null(), "{queue}");
    assert_eq!(queue["captured"], queue["waiting"], "{queue}");
    assert!(queue["oldest"]["captured_at"].as_u64() <= running[0]["captured_at"].as_u64(), "{queue}");
    let (code, audit) = yard.audited();
    assert_eq!((code, &audit["found"]), (0, &queue["waiting"]), "{audit}");

    let third = running[2]["seq"].to_string();
    let mut peeked = yard.queue("peek", &["central", "-n", "8", "--from", &third]).lines();
    // What the gateway says of itself may lie between what the node said.
    peeked.retain(|line| line["topic"] == TOPIC);
    assert_eq!(peeked[..3], running[2..5]);
    assert_eq!(peeked[0]["payload"], "n3e");
    assert_eq!((&peeked[0]["qos"], &peeked[0]["retain"]), (&1.into(), &false.into()));
    let said = yard.site.wharf(&["queue"], &["central"]).out;
    assert!(said.contains("CAPTURED") && said.contains("central"), "{said}");
}

#[test]
fn what_export_prints_is_what_arrives_at_the_broker_later() {
    let mut yard = Yard::new();
    yard.left_behind(200);
    let exported = payloads(&yard.exported());
    assert_eq!(exported.len(), 200);

    let broker = Mosquitto::on(yard.port);
    let upstream = Client::subscribe(broker.port, &["gw1-out/#"]);
    let (gateway, _node) = yard.run();
    wait_for("everything exported to arrive", PATIENCE, || (upstream.on(TOPIC).len() >= 200).then_some(()));
    let arrived: Vec<String> = upstream.on(TOPIC).into_iter().map(|heard| heard.payload).collect();
    assert_eq!(arrived, exported);
    wait_for("nothing to wait any more", PATIENCE, || (yard.shown()["waiting"] == 0).then_some(()));
    drop(gateway);
    let (code, audit) = yard.audited();
    assert_eq!((code, &audit["captured"]), (0, &audit["acknowledged"]), "{audit}");
    assert!(yard.exported().is_empty());
    assert!(yard.queue("export", &["--all"]).lines().iter().all(|line| line["finished"] == true));
}

#[test]
fn a_message_that_the_disk_has_lost_is_named_by_its_number() {
    let mut yard = Yard::new();
    yard.left_behind(100);
    let number = |payload: &str| {
        let lines = yard.exported();
        lines.iter().find(|line| line["payload"] == payload).unwrap()["seq"].as_u64().unwrap()
    };
    let (one, other) = (number("n17e"), number("n60e"));
    yard.destroy("n17e");
    yard.destroy("n60e");
    yard.destroy("n61e");

    let (code, audit) = yard.audited();
    assert_eq!(code, 1, "{audit}");
    let expected = serde_json::json!([
        { "first": one, "last": one },
        { "first": other, "last": other + 1 },
    ]);
    assert_eq!((&audit["missing"], &audit["missing_count"]), (&expected, &3.into()), "{audit}");
    assert_eq!(audit["damaged_count"], 2, "{audit}");
    let said = yard.queue("audit", &[]);
    assert_eq!(said.code, 1);
    let words = format!("missing: 3 messages, with the numbers {one}, {other}–{}", other + 1);
    assert!(said.out.contains("DOES NOT HOLD") && said.out.contains(&words), "{said:?}");
    assert_eq!(yard.exported().len(), 97);

    // The gateway finds them missing when their turn comes, and counts them: then it holds again.
    let broker = Mosquitto::on(yard.port);
    let (gateway, _node) = yard.run();
    wait_for("all the others to be delivered", PATIENCE, || (yard.shown()["waiting"] == 0).then_some(()));
    let said = gateway.wait_log("messages lost: what is on disk is damaged or missing");
    assert!(said.contains("ERROR"), "{said}");
    drop((gateway, broker));
    let (code, audit) = yard.audited();
    assert_eq!((code, &audit["dropped"]["damaged"]), (0, &3.into()), "{audit}");
}

#[test]
fn of_a_gateway_that_was_killed_the_audit_holds_and_what_it_finds_is_delivered() {
    let mut yard = Yard::new();
    for _ in 0..5 {
        let (gateway, mut node) = yard.run();
        for _ in 0..2_000 {
            yard.said += 1;
            writeln!(node, "2;1;1;0;47;n{}e", yard.said).unwrap();
        }
        // Anywhere between nothing and all of it on disk.
        std::thread::sleep(Duration::from_millis(fastrand::u64(0..300)));
        gateway.kill();
        let (code, audit) = yard.audited();
        assert_eq!(code, 0, "{audit}");
        let number = |key: &str| audit[key].as_u64().unwrap();
        assert_eq!(number("waiting"), number("found") + number("unstored"), "{audit}");
    }
    let exported = payloads(&yard.exported());
    let broker = Mosquitto::on(yard.port);
    let upstream = Client::subscribe(broker.port, &["gw1-out/#"]);
    let (_gateway, _node) = yard.run();
    wait_for("everything exported to arrive", PATIENCE, || {
        let arrived: BTreeSet<String> = upstream.on(TOPIC).into_iter().map(|heard| heard.payload).collect();
        exported.iter().all(|payload| arrived.contains(payload)).then_some(())
    });
    wait_for("nothing to wait any more", PATIENCE, || (yard.shown()["waiting"] == 0).then_some(()));
    assert_eq!(yard.audited().0, 0);
}

#[test]
fn a_purge_needs_a_yes_and_what_it_drops_is_counted() {
    let mut yard = Yard::new();
    assert_eq!(yard.queue("purge", &["--yes"]).out, "central: 0 messages dropped\n");
    assert!(!yard.site.queue("central").exists(), "there was nothing to purge, so nothing was made");
    yard.left_behind(30);
    let before = yard.shown();
    let hesitant = yard.queue("purge", &[]);
    assert_eq!(hesitant.code, 2);
    let words = format!("central: {} messages would be dropped", before["waiting"]);
    assert!(hesitant.err.contains(&words), "{hesitant:?}");
    let hesitant = yard.queue("purge", &["--json"]);
    assert_eq!(
        (hesitant.code, &hesitant.json()["purged"], &hesitant.json()["count"]),
        (2, &false.into(), &before["waiting"])
    );
    assert_eq!(yard.shown(), before);

    let purged = yard.queue("purge", &["central", "--yes"]);
    assert_eq!((purged.code, purged.out), (0, format!("central: {} messages dropped\n", before["waiting"])));
    let (code, audit) = yard.audited();
    assert_eq!((code, &audit["waiting"], &audit["dropped"]["purged"]), (0, &0.into(), &before["waiting"]), "{audit}");
    let loss = &yard.shown()["losses_untold"][0];
    assert_eq!((&loss["reason"], &loss["count"]), (&"purged".into(), &before["waiting"]));
}

#[test]
fn a_purge_while_the_gateway_runs_is_told_upstream() {
    let mut yard = Yard::new();
    let (gateway, mut node) = yard.run();
    yard.say(&mut node, 30);
    let answer = yard.queue("purge", &["--yes"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let purged =
        wait_for("the ledger to have it", PATIENCE, || yard.shown()["dropped"]["purged"].as_u64().filter(|n| *n > 0));
    assert!(purged >= 30 && answer.out == format!("central: {purged} messages dropped\n"), "{purged} {answer:?}");
    gateway.wait_log("the queue was purged, as somebody asked");

    // Nobody keeps the report for a subscriber that comes late, so it comes first.
    assert!(!gateway.log().contains("ERROR"), "somebody asked for it: {}", gateway.log());
    let (ended, _) = gateway.terminate();
    assert!(ended.success(), "{ended}");
    let broker = Mosquitto::on(yard.port);
    let upstream = Client::subscribe(broker.port, &["gw1-sys/loss", "gw1-out/#"]);
    let (_gateway, mut node) = yard.run();
    let loss = upstream.wait_on("gw1-sys/loss").json();
    assert_eq!((&loss["reason"], &loss["count"]), (&"purged".into(), &purged.into()), "{loss}");
    // What is said afterwards arrives, and nothing of what was purged.
    writeln!(node, "2;1;1;0;47;after").unwrap();
    upstream.wait("what came later", |heard| heard.payload == "after");
    assert_eq!(upstream.on(TOPIC).len(), 1);
}

#[test]
fn what_was_purged_while_the_gateway_was_stopped_is_told_at_the_next_start() {
    let mut yard = Yard::new();
    yard.left_behind(30);
    let answer = yard.queue("purge", &["--yes"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert!(!answer.err.contains("ERROR"), "somebody asked for it: {answer:?}");
    let purged = yard.shown()["dropped"]["purged"].as_u64().unwrap();
    assert!(purged >= 30, "{purged}");

    let broker = Mosquitto::on(yard.port);
    let upstream = Client::subscribe(broker.port, &["gw1-sys/loss", "gw1-out/#"]);
    let (gateway, _node) = yard.run();
    let loss = upstream.wait_on("gw1-sys/loss").json();
    assert_eq!((&loss["reason"], &loss["count"]), (&"purged".into(), &purged.into()), "{loss}");
    wait_for("the ledger to know that it was told", PATIENCE, || {
        yard.shown()["losses_untold"].as_array().is_some_and(Vec::is_empty).then_some(())
    });
    assert!(upstream.on(TOPIC).is_empty(), "what was purged arrived");
    assert!(!gateway.log().contains("ERROR"), "{}", gateway.log());
}

#[test]
fn a_slip_in_the_name_of_an_uplink_is_pointed_out() {
    let yard = Yard::new();
    for what in ["show", "audit", "peek", "export", "purge"] {
        let answer = yard.queue(what, &["centrall"]);
        assert_eq!(answer.code, 2, "{answer:?}");
        assert!(answer.err.contains("did you mean `central`?"), "{answer:?}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let mut yard = Yard::new();
    yard.left_behind(300);
    let script = r#""$1" queue export "$2" | head -n 1 >&2; exit "${PIPESTATUS[0]}""#;
    let output = std::process::Command::new("bash")
        .args(["-c", script, "bash", env!("CARGO_BIN_EXE_wharf")])
        .arg(yard.site.file())
        .env_remove("STATE_DIRECTORY")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}
