//! Devices that speak in lines of text: their readings arrive upstream, they are asked and written,
//! and what nobody claims is counted.

use std::io::Write;
use std::net::TcpListener;

use serde_json::json;

use crate::lab::broker::Mosquitto;
use crate::lab::client::Client;
use crate::lab::gateway::Site;
use crate::lab::line::Line;
use crate::lab::{PATIENCE, accept, wait_for};

fn site(broker: &Mosquitto, links: &str) -> Site {
    Site::new(&format!(
        "gateway: gw1\nuplinks:\n  central: {{ url: \"mqtt://127.0.0.1:{}\" }}\nbroker: {{ listen: [] }}\nlines:\n{links}",
        broker.port
    ))
}

const SCALE: &str = "  packing:
    serial: ./ttyScale
    frame: 7E1
    records: { end: \"\\r\" }
    devices:
      scale:
        pattern: \"{state},{mode},{weight:number} kg\"
        quiet_after: 2s
        points:
          weight: { unit: kg, max: 60 }
          stable: { field: state, names: { ST: true, US: false } }
";

#[test]
fn a_scale_on_a_serial_port_arrives_upstream_and_its_silence_is_told() {
    let broker = Mosquitto::start();
    let upstream = Client::subscribe(broker.port, &["#"]);
    let site = site(&broker, SCALE);
    let line = Line::plug(&site.path().join("ttyScale"));
    let gateway = site.run();
    upstream
        .wait("the link to be up", |heard| heard.topic == "gw1-sys/link/packing" && heard.payload.contains("online"));
    // What comes just when a port is opened may be half a line; the scale is silent as long as that.
    std::thread::sleep(std::time::Duration::from_millis(300));
    let mut scale = line.device();
    scale.write_all(b"ST,GS,+  12.345 kg\rWHO IS IT\r").unwrap();
    let weight = upstream.wait_on("gw1-out/scale/weight").json();
    assert_eq!((&weight["value"], &weight["unit"], &weight["quality"]), (&json!(12.345), &json!("kg"), &json!("good")));
    assert_eq!(upstream.wait_on("gw1-out/scale/stable").json()["value"], json!(true));
    gateway.wait_log("a line fits no device");
    upstream.wait("the silence to be told", |heard| {
        heard.topic == "gw1-sys/device/scale" && heard.payload.contains("nothing was heard of it for 2s")
    });
    upstream.forget();
    scale.write_all(b"US,GS,+  99.000 kg\r").unwrap();
    let heavy = upstream.wait_on("gw1-out/scale/weight").json();
    assert_eq!((&heavy["quality"], &heavy["value"]), (&json!("bad"), &json!(null)));
    assert_eq!(heavy["reason"], json!("99 cannot be: it is above 60"));

    let status = site.wharf(&["status"], &["--json"]).json();
    assert_eq!(status["links"][0]["counts"]["unclaimed"], json!(1), "{status}");
    assert_eq!(status["links"][0]["counts"]["lines"], json!(3), "{status}");
    let told = site.wharf(&["status"], &[]).out;
    assert!(told.contains("packing: 3 lines, 1 unclaimed"), "{told}");
    let explained = site.wharf(&["explain"], &[]).out;
    assert!(explained.contains("ttyScale, listens, and asks for nothing at a rhythm"), "{explained}");
    assert!(explained.contains("pattern `{state},{mode},{weight:number} kg`"), "{explained}");
}

#[test]
fn a_device_that_speaks_when_asked_is_asked_and_written() {
    let broker = Mosquitto::start();
    let upstream = Client::subscribe(broker.port, &["#"]);
    let site = site(
        &broker,
        "  oven:
    serial: ./ttyOven
    devices:
      oven:
        pattern: \"TEMP {temperature}\"
        ask: \"TEMP?\\n\"
        every: 200ms
        points:
          temperature: { unit: °C }
          setpoint: { unit: °C, write: { send: \"SET {value:.1}\\n\", expect: \"SET {value} OK\", refused: \"ERR {}\", min: 5, max: 80 } }
",
    );
    let line = Line::plug(&site.path().join("ttyOven"));
    let mut oven = line.ear();
    let oven = std::thread::spawn(move || {
        let mut written = Vec::new();
        while let Some(asked) = oven.line() {
            match asked.strip_prefix("SET ") {
                None => oven.say("TEMP 181.5"),
                Some("33.0") => oven.say("ERR too low for bread"),
                Some(value) => {
                    written.push(value.to_owned());
                    oven.say(&format!("SET {value} OK"));
                }
            }
        }
        written
    });
    let gateway = site.run();
    assert_eq!(upstream.wait_on("gw1-out/oven/temperature").json()["value"], json!(181.5));

    let answer = |payload: &str| {
        upstream.forget();
        upstream.publish("gw1-in/oven/setpoint", payload);
        upstream.wait_on("gw1-sys/answer/oven/setpoint").json()
    };
    let done = answer("60.04");
    assert_eq!((&done["ok"], &done["written"], &done["observed"]), (&json!(true), &json!(60), &json!(60)), "{done}");
    let hot = answer("81");
    assert_eq!((&hot["ok"], &hot["error"]), (&json!(false), &json!("81 is above the maximum 80")), "{hot}");
    let refused = answer("33");
    assert_eq!(refused["error"], json!("refused: the device says `ERR too low for bread`"), "{refused}");

    let explained = site.wharf(&["explain"], &[]).out;
    assert!(explained.contains("\"TEMP?\\n\""), "{explained}");
    drop(gateway);
    drop(line);
    assert_eq!(oven.join().unwrap(), ["60.0"], "only what was allowed was ever sent");
}

#[test]
fn devices_behind_one_connection_are_told_apart_by_what_is_in_their_lines() {
    let broker = Mosquitto::start();
    let upstream = Client::subscribe(broker.port, &["#"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let site = site(
        &broker,
        &format!(
            "  boat:
    tcp: {}
    devices:
      gps: {{ nmea: {{}}, points: {{ position: {{ field: GGA.position, type: text }} }} }}
      sensors: {{ json: {{}}, device: \"rf-{{id}}\", points: {{ temperature: {{ field: main.temp, unit: °C }} }} }}
",
            listener.local_addr().unwrap()
        ),
    );
    let _gateway = site.run();
    let mut server = accept(&listener);
    let noise: Vec<u8> = (0..=255).chain(std::iter::repeat_n(b'x', 5000)).collect();
    server.write_all(&noise).unwrap();
    write!(
        server,
        "\n$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47\r\n\
         {{\"id\":17,\"main\":{{\"temp\":21.5}}}}\n{{\"id\":\"#/+\",\"main\":{{\"temp\":1}}}}\n\
         $GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.5,M,46.9,M,,*47\r\n"
    )
    .unwrap();
    let position = upstream.wait_on("gw1-out/gps/position").json();
    assert_eq!(position["value"], json!("48.1173000,11.5166667,545.4"));
    assert_eq!(upstream.wait_on("gw1-out/rf-17/temperature").json()["value"], json!(21.5));
    let counted = wait_for("the damaged line to be counted", PATIENCE, || {
        let status = site.wharf(&["status"], &["--json"]).json();
        Some(status["links"][0]["counts"].clone()).filter(|counted| counted["damaged"] == 1)
    });
    assert_eq!((&counted["nameless"], &counted["too_long"]), (&json!(1), &json!(1)), "{counted}");
    assert_eq!(upstream.on("gw1-out/gps/position").len(), 1);
}
