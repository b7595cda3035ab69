//! Topics that pass between clients of the local broker and a broker upstream.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use crate::lab::broker::Mosquitto;
use crate::lab::client::{Client, Heard};
use crate::lab::forwarder::Forwarder;
use crate::lab::gateway::{Gateway, Site};
use crate::lab::raw::{Heard as Said, Raw, packet, string};
use crate::lab::{PATIENCE, free_port, wait_for};

/// A gateway with a local broker on that port, and these bridge rules.
fn site(gateway: &str, upstream: u16, local: u16, protocol: &str, rules: &str) -> Site {
    Site::new(&format!(
        "gateway: {gateway}\nuplinks:\n  central: {{ url: \"mqtt://127.0.0.1:{upstream}\", protocol: \"{protocol}\" }}\n\
         broker: {{ listen: [127.0.0.1:{local}] }}\nbridge:\n{rules}"
    ))
}

fn ready(gateway: &Gateway, upstream: &Client, name: &str) {
    gateway.wait_log("local broker listening");
    upstream.wait_on(&format!("{name}-sys/state"));
}

#[test]
fn a_plug_on_the_local_broker_is_stored_while_upstream_is_away_and_is_commanded_from_there() {
    let broker = Mosquitto::start();
    let (way, local_port) = (Forwarder::to(broker.port), free_port());
    let rules = "  up:\n    - { topic: \"tele/{plug}/#\", to: \"site/{plug}/tele/#\" }\n  down:\n    - { topic: \"site/{plug}/cmnd/#\", to: \"cmnd/{plug}/#\" }\n";
    let site = site("gw1", way.port, local_port, "5", rules);
    let gateway = site.run();
    let upstream = Client::subscribe(broker.port, &["#"]);
    ready(&gateway, &upstream, "gw1");
    let plug = Client::subscribe(local_port, &["cmnd/#", "tele/#"]);

    upstream.publish("site/plug1/cmnd/POWER", "ON");
    assert_eq!(plug.wait_on("cmnd/plug1/POWER").payload, "ON");

    way.close();
    gateway.wait_log("uplink down");
    for number in 0..500 {
        plug.publish("tele/plug1/SENSOR", &number.to_string());
    }
    wait_for("the site to see its plug", PATIENCE, || (plug.on("tele/plug1/SENSOR").len() == 500).then_some(()));
    wait_for("the queue to hold all of it", PATIENCE, || {
        let waiting = &site.wharf(&["status"], &["--json"]).json()["uplinks"][0]["queue"];
        (waiting["waiting"].as_u64()? >= 500).then_some(())
    });
    assert!(upstream.on("site/plug1/tele/SENSOR").is_empty(), "there is no way");
    way.open();
    wait_for("everything upstream", PATIENCE, || {
        let there: BTreeSet<_> =
            upstream.on("site/plug1/tele/SENSOR").iter().map(|heard| heard.payload.clone()).collect();
        (there.len() == 500).then_some(())
    });
}

/// How often each payload was heard on each topic.
fn times(client: &Client) -> BTreeMap<(String, String), usize> {
    let mut times = BTreeMap::new();
    for Heard { topic, payload, .. } in client.heard() {
        *times.entry((topic, payload)).or_default() += 1;
    }
    times
}

#[test]
fn two_gateways_that_bridge_the_same_topics_both_ways_through_one_broker_do_not_make_a_loop() {
    let broker = Mosquitto::start();
    let upstream = Client::subscribe(broker.port, &["#"]);
    let rules = "  up:\n    - topic: \"house/#\"\n  down:\n    - topic: \"house/#\"\n";
    let ports = [free_port(), free_port()];
    let sites = [site("gw1", broker.port, ports[0], "5", rules), site("gw2", broker.port, ports[1], "5", rules)];
    let gateways = [sites[0].run(), sites[1].run()];
    ready(&gateways[0], &upstream, "gw1");
    ready(&gateways[1], &upstream, "gw2");
    let locals = ports.map(|port| Client::subscribe(port, &["house/#"]));

    upstream.publish("house/from-above", "1");
    for number in 0..50 {
        locals[0].publish(&format!("house/one/{number}"), "1");
        locals[1].publish(&format!("house/two/{number}"), "1");
    }
    for client in locals.iter().chain([&upstream]) {
        wait_for("everybody to hear everything", PATIENCE, || {
            (client.heard().iter().filter(|heard| heard.topic.starts_with("house/")).count() >= 101).then_some(())
        });
    }
    // What goes round would go round a few thousand times meanwhile.
    std::thread::sleep(std::time::Duration::from_secs(1));
    for client in locals.iter().chain([&upstream]) {
        let mut times = times(client);
        times.retain(|(topic, _), _| topic.starts_with("house/"));
        assert_eq!(times.len(), 101);
        assert!(times.values().all(|count| *count == 1), "{times:?}");
    }
}

#[test]
fn commands_from_local_clients_are_for_this_gateway_and_go_nowhere_else() {
    let broker = Mosquitto::start();
    let upstream = Client::subscribe(broker.port, &["#"]);
    let port = free_port();
    let site = site("gw1", broker.port, port, "3.1.1", "  up:\n    - { topic: \"#\", to: \"all/#\" }\n");
    let gateway = site.run();
    ready(&gateway, &upstream, "gw1");
    let local = Client::subscribe(port, &["gw1-sys/answer/#"]);
    local.publish("gw1-in/tank/valve", "1");
    local.wait_on("gw1-sys/answer/tank/valve");
    local.publish("shelly/1", "on");
    upstream.wait_on("all/shelly/1");
    assert!(upstream.heard().iter().all(|heard| !heard.topic.starts_with("all/gw1")), "{:?}", upstream.heard());
}

/// Publishes with QoS 1 and MQTT 5, to be retained, with these properties: `content-type text/plain`.
fn publish(port: u16, topic: &str, payload: &str, properties: &[String]) {
    let port = port.to_string();
    let mut args = vec!["-V", "5", "-p", &port, "-q", "1", "-r", "-t", topic, "-m", payload];
    args.extend(properties.iter().flat_map(|property| ["-D", "publish"].into_iter().chain(property.split(' '))));
    assert!(Command::new("mosquitto_pub").args(args).status().unwrap().success());
}

/// What is retained there, and what MQTT 5 says of it: topic, payload, content type, whether it is text, response topic,
/// correlation data, user properties, and for how many seconds it is worth delivering.
fn kept(port: u16, topic: &str) -> Vec<String> {
    let port = port.to_string();
    let format = "%t|%p|%C|%F|%R|%D|%P|%E";
    let args = ["-V", "5", "-p", &port, "-t", topic, "-C", "1", "-W", "2", "-F", format];
    let output = Command::new("mosquitto_sub").args(args).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim_end().split('|').map(str::to_owned).collect()
}

#[test]
fn what_mqtt_5_says_of_a_message_crosses_with_it_over_an_outage_and_what_has_expired_does_not() {
    let mut broker = Mosquitto::start();
    let (upstream_port, local_port) = (broker.port, free_port());
    let rules = "  up:\n    - { topic: \"tele/{plug}/#\", to: \"site/{plug}/tele/#\" }\n  down:\n    - { topic: \"site/{plug}/cmnd/#\", to: \"cmnd/{plug}/#\" }\n";
    let site = site("gw1", upstream_port, local_port, "5", rules);
    let gateway = site.run();
    let upstream = Client::subscribe(upstream_port, &["#"]);
    ready(&gateway, &upstream, "gw1");
    let local = Client::subscribe(local_port, &["cmnd/#", "$SYS/broker/store/#"]);
    for name in ["commits", "bytes/waiting", "behind"] {
        local.wait_on(&format!("$SYS/broker/store/{name}"));
    }
    assert_eq!(local.wait_on("$SYS/broker/store/error").payload, "none");

    let asking = |wanted: &str| {
        let said = [
            "content-type text/plain",
            "payload-format-indicator 1",
            "correlation-data 7",
            "user-property who plug",
            "user-property who 1",
            "message-expiry-interval 3600",
        ];
        said.into_iter().map(str::to_owned).chain([format!("response-topic {wanted}")]).collect::<Vec<_>>()
    };
    publish(upstream_port, "site/p1/cmnd/ask", "?", &asking("site/p1/tele/RESULT"));
    local.wait_on("cmnd/p1/ask");
    let heard = kept(local_port, "cmnd/p1/ask");
    assert_eq!(heard[..7], ["cmnd/p1/ask", "?", "text/plain", "1", "tele/p1/RESULT", "7", "who:plug who:1"]);
    assert!(heard[7].parse::<u32>().is_ok_and(|left| left > 3000 && left <= 3600), "{heard:?}");

    drop(upstream);
    broker.terminate();
    gateway.wait_log("uplink down");
    publish(local_port, "tele/p1/asks", "1", &asking("cmnd/p1/reply"));
    publish(local_port, "tele/p1/lost", "2", &asking("elsewhere/reply"));
    publish(local_port, "tele/p1/gone", "3", &["message-expiry-interval 1".to_owned()]);
    std::thread::sleep(Duration::from_millis(1500));
    broker.restart();
    let status = wait_for("everything to have gone up or expired", PATIENCE, || {
        let status = site.wharf(&["status"], &["--json"]).json();
        let uplink = &status["uplinks"][0];
        (uplink["state"] == "up" && uplink["queue"]["waiting"] == 0).then_some(status)
    });
    let heard = kept(upstream_port, "site/p1/tele/asks");
    assert_eq!(heard[..5], ["site/p1/tele/asks", "1", "text/plain", "1", "site/p1/cmnd/reply"]);
    assert!(heard[6].starts_with("who:plug who:1"), "{heard:?}");
    assert_eq!(heard[5], "7");
    assert!(heard[7].parse::<u32>().is_ok_and(|left| left > 3000 && left < 3600), "{heard:?}");
    assert_eq!(kept(upstream_port, "site/p1/tele/lost")[..5], ["site/p1/tele/lost", "2", "text/plain", "1", ""]);
    assert_eq!(kept(upstream_port, "site/p1/tele/gone"), [""]);

    let (queue, bridge) = (&status["uplinks"][0]["queue"], &status["bridge"]);
    assert_eq!(queue["dropped"]["expired"], 1, "{queue}");
    let number = |key: &str| queue[key].as_u64().unwrap();
    let dropped: u64 = queue["dropped"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(number("captured"), number("acknowledged") + number("waiting") + dropped, "{queue}");
    assert_eq!((&bridge["up"][0]["passed"], &bridge["unanswerable"]), (&3.into(), &1.into()), "{bridge}");
    assert_eq!((&bridge["down"][0]["passed"], &bridge["down"][0]["unanswerable"]), (&1.into(), &0.into()), "{bridge}");
    let said = site.wharf(&["status"], &[]).out;
    let listener = format!("local broker on mqtt://127.0.0.1:{local_port}");
    for words in [&listener[..], "kept over a restart: ", "BRIDGE", "1 (1 expired)", "1 passed without the topic"] {
        assert!(said.contains(words), "{words}\n{said}");
    }
    let metrics = site.wharf(&["status"], &["--metrics"]).out;
    for line in ["wharf_bridge_up_total{uplink=\"central\"} 3", "wharf_broker_store_behind 0"] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
    assert_eq!(site.wharf(&["queue", "audit"], &[]).code, 0);
}

#[test]
fn what_a_client_was_told_is_taken_goes_upstream_however_close_to_the_end_that_was() {
    let broker = Mosquitto::start();
    let local_port = free_port();
    let site = site("gw1", broker.port, local_port, "5", "  up:\n    - { topic: \"tele/#\" }\n");
    let upstream = Client::subscribe(broker.port, &["#"]);
    let gateway = site.run();
    ready(&gateway, &upstream, "gw1");

    // One message at a time, until the gateway is gone.
    let plug = std::thread::spawn(move || {
        let (mut plug, _) = Raw::v3(local_port, "plug", false);
        for number in 1_u16.. {
            let publish = [&string("tele/plug")[..], &number.to_be_bytes(), number.to_string().as_bytes()].concat();
            plug.say(&packet(0x32, &publish));
            match plug.hear() {
                Said::Packet(0x40, id) => assert_eq!(id, number.to_be_bytes()),
                _ => return number - 1,
            }
        }
        u16::MAX
    });
    wait_for("some of it upstream", PATIENCE, || (upstream.on("tele/plug").len() > 20).then_some(()));
    let (status, _) = gateway.terminate();
    assert!(status.success(), "{status}");
    let taken = plug.join().unwrap();

    let _gateway = site.run();
    let missing = || {
        let heard = upstream.on("tele/plug");
        let there: BTreeSet<u16> = heard.iter().map(|heard| heard.payload.parse().unwrap()).collect();
        (1..=taken).filter(|number| !there.contains(number)).count()
    };
    wait_for("all that was taken", PATIENCE, || (missing() == 0).then_some(()));
}
