//! Topics that pass between clients of the local broker and a broker upstream.

use std::collections::BTreeMap;

use crate::lab::broker::Mosquitto;
use crate::lab::client::{Client, Heard};
use crate::lab::gateway::{Gateway, Site};
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
    let mut broker = Mosquitto::start();
    let local_port = free_port();
    let rules = "  up:\n    - { topic: \"tele/{plug}/#\", to: \"site/{plug}/tele/#\" }\n  down:\n    - { topic: \"site/{plug}/cmnd/#\", to: \"cmnd/{plug}/#\" }\n";
    let site = site("gw1", broker.port, local_port, "5", rules);
    let gateway = site.run();
    let upstream = Client::subscribe(broker.port, &["#"]);
    ready(&gateway, &upstream, "gw1");
    let plug = Client::subscribe(local_port, &["cmnd/#", "tele/#"]);

    upstream.publish("site/plug1/cmnd/POWER", "ON");
    assert_eq!(plug.wait_on("cmnd/plug1/POWER").payload, "ON");

    drop(upstream);
    broker.terminate();
    gateway.wait_log("uplink down");
    for number in 0..500 {
        plug.publish("tele/plug1/SENSOR", &number.to_string());
    }
    wait_for("the site to see its plug", PATIENCE, || (plug.on("tele/plug1/SENSOR").len() == 500).then_some(()));
    wait_for("the queue to hold all of it", PATIENCE, || {
        let waiting = &site.wharf(&["status"], &["--json"]).json()["uplinks"][0]["queue"];
        (waiting["waiting"].as_u64()? >= 500).then_some(())
    });
    let upstream_port = broker.port;
    broker.restart();
    let upstream = Client::subscribe(upstream_port, &["site/#"]);
    wait_for("everything upstream", PATIENCE, || {
        let there: std::collections::BTreeSet<_> =
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
