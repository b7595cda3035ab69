//! Local clients see everything, with or without an uplink.

use std::io::Write;
use std::net::TcpListener;

use crate::lab::client::Client;
use crate::lab::gateway::Site;
use crate::lab::{accept, free_port};

#[test]
fn local_clients_see_readings_and_health_without_any_uplink() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free_port();
    let gateway = Site::new(&format!(
        "gateway: gw1\nbroker: {{ listen: [127.0.0.1:{port}] }}\nmysensors:\n  garden: {{ tcp: {} }}\n",
        listener.local_addr().unwrap()
    ))
    .run();
    gateway.wait_log("local broker listening");
    let local = Client::subscribe(port, &["#"]);
    let mut node = accept(&listener);
    writeln!(node, "2;1;1;0;0;21.5").unwrap();
    assert_eq!(local.wait_on("gw1-out/2/1/1/0/0").payload, "21.5");
    local.wait("the link's health", |heard| heard.topic == "gw1-sys/link/garden" && heard.payload.contains("online"));
    let late = Client::subscribe(port, &["gw1-sys/#"]);
    assert!(late.wait_on("gw1-sys/link/garden").retained, "health is kept for those who come later");
}

#[test]
fn a_sites_own_rules_decide_about_topic_payload_and_retain() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free_port();
    let gateway = Site::new(&format!(
        r#"gateway: gw1
broker: {{ listen: [127.0.0.1:{port}] }}
mysensors:
  garden: {{ tcp: {} }}
mapping:
  - match: {{ point: battery }}
    drop: true
  - match: {{ driver: mysensors, point: "*-temp" }}
    topic: "plant/{{link}}/{{node}}/{{point}}"
    payload: '{{{{"v":{{value_json}},"u":"{{unit}}"}}}}'
    retain: true
"#,
        listener.local_addr().unwrap()
    ))
    .run();
    gateway.wait_log("local broker listening");
    let local = Client::subscribe(port, &["#"]);
    let mut node = accept(&listener);
    writeln!(node, "2;255;3;0;0;87\n2;1;1;0;0;21.5\n2;1;1;0;1;40").unwrap();
    assert_eq!(local.wait_on("plant/garden/2/1-temp").payload, r#"{"v":21.5,"u":"°C"}"#);
    assert_eq!(local.wait_on("gw1-out/2/1/1/0/1").payload, "40");
    // The battery level came first on the line, so it would be here by now.
    assert!(local.heard().iter().all(|heard| heard.payload != "87"), "{:?}", local.heard());
    let late = Client::subscribe(port, &["plant/#"]);
    assert!(late.wait_on("plant/garden/2/1-temp").retained);
}
