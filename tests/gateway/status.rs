//! `wharf status` and the control socket: what a running gateway says of itself.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;

use serde_json::Value as Json;

use crate::lab::broker::Mosquitto;
use crate::lab::gateway::Site;
use crate::lab::slave::Slave;
use crate::lab::{PATIENCE, accept, free_port, wait_for};

/// A site with one network, which delivers to one broker.
fn garden(broker: u16, network: &SocketAddr) -> Site {
    Site::new(&format!(
        "gateway: gw1
uplinks: {{ central: {{ url: \"mqtt://127.0.0.1:{broker}\" }} }}
broker: {{ listen: [] }}
mysensors: {{ garden: {{ tcp: {network} }} }}
"
    ))
}

/// A site whose broker and whose only device are away.
fn lonely() -> Site {
    garden(free_port(), &([127, 0, 0, 1], free_port()).into())
}

/// The status, once it is as wanted.
fn status(site: &Site, wanted: impl Fn(&Json) -> bool) -> Json {
    wait_for("the status", PATIENCE, || {
        let output = site.wharf(&["status"], &["--json"]);
        let status = output.json();
        (output.code == 0 && wanted(&status)).then_some(status)
    })
}

#[test]
fn a_gateway_tells_what_is_down_since_when_and_why_and_what_waits() {
    let site = lonely();
    let gateway = site.run();
    gateway.wait_log("uplink down");
    let status = status(&site, |status| {
        status["links"][0]["state"] == "offline"
            && status["uplinks"][0]["queue"]["oldest"].is_u64()
            && status["uplinks"][0]["queue"]["device_bytes"].as_u64() > Some(0)
    });
    assert_eq!(status["gateway"], "gw1");
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    let link = &status["links"][0];
    assert_eq!(link["name"], "garden");
    assert!(link["reason"].as_str().unwrap().contains("cannot be reached"), "{link}");
    let uplink = &status["uplinks"][0];
    assert_eq!((&uplink["name"], &uplink["state"]), (&"central".into(), &"down".into()));
    assert!(uplink["url"].as_str().unwrap().starts_with("mqtt://127.0.0.1:"), "{uplink}");
    assert!(uplink["last_error"]["error"].as_str().unwrap().contains("nothing listens"), "{uplink}");
    // To the millisecond: each is reckoned backwards from a look at the clock.
    let started = status["since"].as_u64().unwrap() - 5;
    assert!(uplink["since"].as_u64() >= Some(started), "{uplink}");
    let queue = &uplink["queue"];
    let dropped: u64 = queue["dropped"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    let number = |key: &str| queue[key].as_u64().unwrap();
    assert!(number("waiting") > 0 && number("oldest") >= started, "{queue}");
    assert_eq!(number("captured"), number("acknowledged") + number("waiting") + dropped, "{queue}");
    assert!(status["wear"]["bytes_per_day"].as_u64() > Some(0), "{status}");
    assert!(status["wear"]["years"][1].as_f64() > status["wear"]["years"][0].as_f64(), "{status}");

    let said = site.wharf(&["status"], &[]).out;
    for words in ["gateway gw1, wharf 0.", "offline", "nothing listens", "a day, projected from the", "lasts"] {
        assert!(said.contains(words), "{words}\n{said}");
    }
    let metrics = site.wharf(&["status"], &["--metrics"]).out;
    for line in ["wharf_up 1", "wharf_link_up{link=\"garden\"} 0", "wharf_uplink_up{uplink=\"central\"} 0"] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
    for reason in ["full", "age", "damaged", "too_large", "refused", "unwritable", "blocked", "purged"] {
        let line = format!("wharf_queue_dropped_total{{uplink=\"central\",reason=\"{reason}\"}} 0");
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
}

#[test]
fn a_gateway_tells_what_is_up_and_how_fast_messages_come_and_go() {
    let broker = Mosquitto::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let site = garden(broker.port, &listener.local_addr().unwrap());
    let _gateway = site.run();
    let mut node = accept(&listener);
    status(&site, |status| status["uplinks"][0]["state"] == "up");
    for n in 0..100 {
        writeln!(node, "2;1;1;0;24;{n}").unwrap();
    }
    let status = status(&site, |status| status["uplinks"][0]["queue"]["acknowledged"].as_u64() >= Some(100));
    let (link, uplink) = (&status["links"][0], &status["uplinks"][0]);
    assert_eq!((&link["state"], &link["reason"]), (&"online".into(), &Json::Null));
    assert_eq!((&uplink["connects"], &uplink["last_error"]), (&1.into(), &Json::Null), "{uplink}");
    assert!(uplink["rate"]["in"].as_f64() > Some(0.0) && uplink["rate"]["out"].as_f64() > Some(0.0), "{uplink}");
    let metrics = site.wharf(&["status"], &["--metrics"]).out;
    for line in ["wharf_link_up{link=\"garden\"} 1", "wharf_uplink_up{uplink=\"central\"} 1"] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
}

#[test]
fn a_gateway_tells_of_each_device_whether_it_answers_since_when_and_what_is_wrong_with_it() {
    let slave = Slave::start();
    // Accepts connections by its backlog, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let site = Site::new(&format!(
        "gateway: gw1
broker: {{ listen: [127.0.0.1:{}] }}
modbus:
  boiler-room:
    tcp: 127.0.0.1:{}
    every: 200ms
    devices:
      tank: {{ unit: 7, points: {{ counter: {{ holding: 120, type: u32 }} }} }}
      odd: {{ unit: 3, points: {{ nowhere: {{ holding: 60000 }} }} }}
  attic:
    tcp: {}
    timeout: 100ms
    devices:
      dead: {{ unit: 1, points: {{ level: {{ holding: 0 }} }} }}
",
        free_port(),
        slave.port,
        silent.local_addr().unwrap(),
    ));
    let _gateway = site.run();
    let status = status(&site, |status| {
        let [room, attic] = [0, 1].map(|link| &status["links"][link]["device_states"]);
        room["online"] == 2
            && attic["offline"] == 1
            && status["links"][0]["devices"][1]["requests"]["answered"].as_u64() > Some(2)
    });
    let (room, attic) = (&status["links"][0]["devices"], &status["links"][1]["devices"]);
    let now = status["now"].as_u64().unwrap();
    // What has trouble comes first, though it comes last in the site file.
    let (odd, tank) = (&room[0], &room[1]);
    assert_eq!((&odd["name"], &odd["trouble"]["point"]), (&"odd".into(), &"nowhere".into()), "{odd}");
    assert!(odd["trouble"]["reason"].as_str().unwrap().contains("illegal data address"), "{odd}");
    assert_eq!((&odd["state"], &odd["last_good"]), (&"online".into(), &Json::Null), "{odd}");
    assert_eq!((&tank["name"], &tank["state"], &tank["trouble"]), (&"tank".into(), &"online".into(), &Json::Null));
    assert!(
        tank["last_good"].as_u64().unwrap() <= now && tank["since"].as_u64() <= tank["last_good"].as_u64(),
        "{tank}"
    );
    let dead = &attic[0];
    assert_eq!((&dead["name"], &dead["state"]), (&"dead".into(), &"offline".into()), "{dead}");
    assert!(dead["reason"].as_str().unwrap().contains("no answer within 100ms"), "{dead}");
    assert!(dead["requests"]["silent"].as_u64() > Some(1), "{dead}");

    let said = site.wharf(&["status"], &[]).out;
    for words in ["boiler-room: 2 online", "attic: 1 offline", "never", "nowhere: illegal data address"] {
        assert!(said.contains(words), "{words}\n{said}");
    }
    let metrics = site.wharf(&["status"], &["--metrics"]).out;
    let line = "wharf_link_devices{link=\"attic\",state=\"offline\"} 1";
    assert!(metrics.lines().any(|found| found == line), "{metrics}");
}

#[test]
fn without_a_gateway_status_says_so_and_fails() {
    let site = lonely();
    for _ in 0..2 {
        let answer = site.wharf(&["status"], &["--json"]);
        assert_eq!((answer.code, &answer.json()["running"]), (1, &false.into()), "{answer:?}");
        let answer = site.wharf(&["status"], &[]);
        assert_eq!((answer.code, answer.out.as_str()), (1, ""));
        assert!(answer.err.contains("no gateway is running with the state in"), "{answer:?}");
        assert!(site.wharf(&["status"], &["--metrics"]).out.ends_with("wharf_up 0\n"));
        // The same where one has run and was killed.
        site.run().wait_log("uplink down");
        assert!(site.path().join("wharf-state/control.sock").exists());
    }
}

#[test]
fn a_site_file_that_is_no_good_any_more_is_told_and_keeps_nobody_from_asking_the_gateway_that_runs() {
    let port = free_port();
    let site = Site::new(&format!("gateway: gw1\nstate_dir: ./elsewhere\nbroker: {{ listen: [127.0.0.1:{port}] }}\n"));
    let gateway = site.run();
    gateway.wait_log("wharf starts");
    status(&site, |status| status["gateway"] == "gw1");
    let good = fs::read_to_string(site.file()).unwrap();
    fs::write(site.file(), format!("{good}modbuss: {{}}\n")).unwrap();
    let answer = site.wharf(&["status"], &[]);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert!(answer.out.starts_with("gateway gw1, wharf"), "{answer:?}");
    assert!(answer.err.contains("modbuss") && answer.err.contains("this site file cannot be used"), "{answer:?}");
    assert_eq!(site.wharf(&["status"], &["--json"]).json()["gateway"], "gw1");

    // What is no YAML does not say where the state is either.
    fs::write(site.file(), "gateway: [\n").unwrap();
    let answer = site.wharf(&["status"], &[]);
    assert_eq!((answer.code, answer.out.as_str()), (78, ""), "{answer:?}");
    assert!(answer.err.contains("no gateway is running with the state in"), "{answer:?}");
    let state_dir = site.path().join("elsewhere");
    let answer = site.wharf(&["status"], &["--state-dir", state_dir.to_str().unwrap()]);
    assert_eq!(answer.code, 0, "{answer:?}");
    fs::remove_file(site.file()).unwrap();
    assert_eq!(site.wharf(&["status"], &[]).code, 78);
}

#[test]
fn the_control_socket_is_for_its_owner_and_comes_and_goes_with_the_gateway() {
    let site = lonely();
    let socket = site.path().join("wharf-state/control.sock");
    let mode = || fs::metadata(&socket).unwrap().permissions().mode() & 0o777;
    let gateway = site.run();
    gateway.wait_log("uplink down");
    assert_eq!(mode(), 0o600);
    let folder = fs::metadata(site.path().join("wharf-state")).unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o700);
    gateway.kill();
    assert!(socket.exists(), "this test is about a socket that was left behind");

    let gateway = site.run();
    gateway.wait_log("uplink down");
    status(&site, |status| status["gateway"] == "gw1");
    assert_eq!(mode(), 0o600);
    let (ended, _) = gateway.terminate();
    assert!(ended.success(), "{ended}");
    assert!(!socket.exists());
}

#[test]
fn a_gateway_tells_what_was_replayed_and_counts_the_disk_as_the_queue_command_does() {
    let (port, listener) = (free_port(), TcpListener::bind("127.0.0.1:0").unwrap());
    let site = garden(port, &listener.local_addr().unwrap());
    let gateway = site.run();
    let mut node = accept(&listener);
    for n in 0..100 {
        writeln!(node, "2;1;1;0;24;{n}").unwrap();
    }
    let waiting = status(&site, |status| status["uplinks"][0]["queue"]["waiting"].as_u64() >= Some(100));
    let uplink = &waiting["uplinks"][0];
    assert_eq!((&uplink["replayed"], &uplink["queue"]["blocking"]), (&0.into(), &false.into()), "{uplink}");
    wait_for("one size on disk", PATIENCE, || {
        let of_status = status(&site, |_| true)["uplinks"][0]["queue"]["disk_bytes"].clone();
        let of_queue = site.wharf(&["queue"], &["--json"]).json()["queues"][0]["disk_bytes"].clone();
        (of_status.as_u64() > Some(0) && of_status == of_queue).then_some(())
    });
    let (ended, _) = gateway.terminate();
    assert!(ended.success(), "{ended}");

    let _broker = Mosquitto::on(port);
    let _gateway = site.run();
    let after = status(&site, |status| status["uplinks"][0]["replayed"].as_u64() >= Some(100));
    let uplink = &after["uplinks"][0];
    assert_eq!((&uplink["refusals"], &uplink["aside"]), (&0.into(), &0.into()), "{uplink}");
    let said = site.wharf(&["status"], &[]).out;
    assert!(said.contains("REPLAYED") && said.contains("REFUSALS") && said.contains("ASIDE"), "{said}");
    let metrics = site.wharf(&["status"], &["--metrics"]).out;
    for name in ["wharf_uplink_replayed_total", "wharf_uplink_refusals_total", "wharf_uplink_aside"] {
        assert!(metrics.contains(&format!("{name}{{uplink=\"central\"}} ")), "{name}\n{metrics}");
    }
}

#[test]
fn a_gateway_tells_what_the_broker_refuses_and_what_waits_aside_for_another_try() {
    let rules = tempfile::NamedTempFile::new().unwrap();
    fs::write(rules.path(), "topic readwrite gw1-sys/#\ntopic readwrite gw1-in/#\n").unwrap();
    // Without a bound of its own Mosquitto takes the refusal itself for one packet too many, and
    // closes the connection.
    let settings = format!("allow_anonymous true\nacl_file {}\nmax_queued_messages 1000\n", rules.path().display());
    let broker = Mosquitto::with(&settings);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let site = garden(broker.port, &listener.local_addr().unwrap());
    let _gateway = site.run();
    let mut node = accept(&listener);
    status(&site, |status| status["uplinks"][0]["state"] == "up");
    for n in 0..10 {
        writeln!(node, "2;1;1;0;24;{n}").unwrap();
    }
    status(&site, |status| status["uplinks"][0]["aside"].as_u64() >= Some(10));
    let after = status(&site, |status| status["uplinks"][0]["queue"]["dropped"]["refused"].as_u64() >= Some(10));
    let uplink = &after["uplinks"][0];
    // One try, and those that the reason deserves.
    assert!(uplink["refusals"].as_u64() >= Some(40), "{uplink}");
    status(&site, |status| status["uplinks"][0]["aside"] == 0);
}

#[test]
fn a_second_gateway_with_the_same_state_is_told_of_the_first() {
    let site = Site::new(&format!("gateway: gw1\nbroker: {{ listen: [127.0.0.1:{}] }}\n", free_port()));
    let first = site.run();
    first.wait_log("wharf starts");
    status(&site, |status| status["gateway"] == "gw1");
    let mut second = site.run();
    assert_eq!(second.wait().code(), Some(1));
    assert!(second.log().contains("another wharf is running with the state in"), "{}", second.log());
    status(&site, |status| status["gateway"] == "gw1");
}

#[test]
fn where_no_socket_can_be_the_gateway_runs_without() {
    let long = "a-path-longer-than-the-address-of-a-socket-may-be/".repeat(4);
    let site = Site::new(&format!(
        "gateway: gw1\nstate_dir: ./{long}\nuplinks: {{ central: {{ url: \"mqtt://127.0.0.1:{}\" }} }}\nbroker: {{ listen: [] }}\n",
        free_port()
    ));
    let gateway = site.run();
    gateway.wait_log("no control socket");
    gateway.wait_log("uplink down");
    assert_eq!(site.wharf(&["status"], &[]).code, 1);
    let (ended, _) = gateway.terminate();
    assert!(ended.success(), "{ended}");
}

#[test]
fn whoever_looks_need_not_know_the_secrets() {
    let site = Site::new(
        "gateway: gw1\nuplinks: { central: { url: \"mqtt://127.0.0.1:1\", username: a, password: \"${env:NOT_SET_HERE}\" } }\n",
    );
    let answer = site.wharf(&["status"], &[]);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.err.contains("no gateway is running"), "{answer:?}");
    assert_eq!(site.wharf(&["queue"], &[]).code, 0);
}
