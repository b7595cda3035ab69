//! Two hundred advertisements a second from five hundred Bluetooth devices, all the way to a broker.
//!
//! Ignored, because the pretended BlueZ takes most of a processor. For longer than a minute:
//! `WHARF_SOAK_SECONDS=7200 cargo test --release --test gateway bluetooth_soak -- --ignored --nocapture`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::lab::bluez::Bluez;
use crate::lab::broker::Mosquitto;
use crate::lab::client::Client;
use crate::lab::gateway::Site;
use crate::lab::process::{memory, processor};

const DEVICES: u64 = 500;
/// How often each of them speaks, in seconds.
const INTERVAL: f64 = 2.5;

/// What arrived, as the device counted it: every advertisement carries the next number.
#[derive(Default)]
struct Arrived {
    highest: BTreeMap<String, u64>,
    readings: u64,
    /// Numbers that were not above the one before.
    again: u64,
}

impl Arrived {
    fn take(&mut self, upstream: &Client, long: Duration) {
        let end = Instant::now() + long;
        loop {
            for heard in upstream.take() {
                let number = heard.json()["value"].as_u64().unwrap();
                let highest = self.highest.entry(heard.topic).or_default();
                self.again += u64::from(number <= *highest);
                *highest = number.max(*highest);
                self.readings += 1;
            }
            let Some(left) = end.checked_duration_since(Instant::now()) else { return };
            sleep(left.min(Duration::from_millis(500)));
        }
    }
}

#[test]
#[ignore = "takes a minute and a processor"]
fn a_bluetooth_soak_loses_nothing_and_grows_nothing() {
    let seconds = std::env::var("WHARF_SOAK_SECONDS").map_or(60, |text| text.parse().unwrap());
    let Some(mut bluez) = Bluez::start() else { return };
    for name in ["bthome", "same", "counter", "gattsensor"] {
        bluez.tell(&format!(r#"{{"off":"{name}"}}"#));
    }
    let broker = Mosquitto::start();
    let upstream = Client::subscribe(broker.port, &["gw1-out/+/count"]);
    let mut yaml = format!(
        "gateway: gw1\nuplinks:\n  central: {{ url: \"mqtt://127.0.0.1:{}\" }}\nbroker: {{ listen: [] }}\n\
         ble:\n  hall:\n    devices:\n",
        broker.port
    );
    for n in 0..DEVICES {
        writeln!(yaml, "      s{n}: {{ mac: \"{}\" }}", address(n)).unwrap();
    }
    let site = Site::new(&yaml);
    let gateway = site.run_with(&[("DBUS_SYSTEM_BUS_ADDRESS", &bluez.address)]);
    gateway.wait_log("link online");
    for n in 0..DEVICES {
        bluez.tell(&format!(
            r#"{{"set":"s{n}","address":"{}","interval":{INTERVAL},"ad":[[1,"06"],[22,"d2fc4000{{b:02x}}3d{{b:02x}}{{h:02x}}"]]}}"#,
            address(n),
        ));
    }

    let mut arrived = Arrived::default();
    arrived.take(&upstream, Duration::from_secs(30));
    let (first, processor_before, begin) = (memory(gateway.id(), "VmRSS"), processor(gateway.id()), Instant::now());
    let mut minutes = Vec::new();
    while begin.elapsed() < Duration::from_secs(seconds) {
        arrived.take(&upstream, Duration::from_secs(60).min(Duration::from_secs(seconds) - begin.elapsed()));
        minutes.push(memory(gateway.id(), "VmRSS"));
    }
    let used = (processor(gateway.id()) - processor_before) as f64 / 100.0;
    let long = begin.elapsed().as_secs_f64();
    for n in 0..DEVICES {
        bluez.tell(&format!(r#"{{"off":"s{n}"}}"#));
    }
    let statistics = bluez.tell(r#"{"stats":1}"#);
    let sent: u64 = (0..DEVICES).map(|n| statistics["sent"][format!("s{n}")].as_u64().unwrap()).sum();
    // And a little longer: none may come twice. A busy machine takes its time for the last.
    let patience = Instant::now() + Duration::from_secs(60);
    while arrived.readings < sent && Instant::now() < patience {
        arrived.take(&upstream, Duration::from_secs(1));
    }
    arrived.take(&upstream, Duration::from_secs(5));
    println!(
        "{sent} advertisements, {} readings upstream ({} again) in {long:.0} s; {:.1} % of a processor; \
         {first} kB at first, {} kB at most, {} kB at last; a tenth each: {:?}",
        arrived.readings,
        arrived.again,
        used / long * 100.0,
        minutes.iter().max().unwrap(),
        minutes.last().unwrap(),
        minutes.iter().step_by(minutes.len().div_ceil(10)).collect::<Vec<_>>(),
    );
    assert!(arrived.readings > seconds * 100, "this would prove little");
    assert_eq!((arrived.readings, arrived.again), (sent, 0));
    assert!(minutes.last().unwrap().saturating_sub(minutes[minutes.len() / 4]) < 4_000, "{minutes:?}");
}

fn address(n: u64) -> String {
    format!("C1:00:00:00:{:02X}:{:02X}", n / 256, n % 256)
}
