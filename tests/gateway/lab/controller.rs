//! A MySensors controller: pymysensors, attached as Home Assistant attaches it; see
//! `tests/lab/mysensors/controller.py`.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value as Json, json};
use wharf_test_support::lab;

use super::{PATIENCE, wait_for};

/// A running controller; it ends when its standard input closes, so it never outlives the test.
pub struct Controller {
    child: Child,
    events: Arc<Mutex<Vec<Json>>>,
    complaints: Arc<Mutex<Vec<String>>>,
}

impl Controller {
    /// Attaches over MQTT, as a client of the broker that the gateway `gw1` delivers to.
    pub fn over_mqtt(port: u16) -> Option<Self> {
        let controller = Self::start(&["mqtt", "127.0.0.1", &port.to_string(), "gw1-out", "gw1-in"])?;
        controller.wait("the controller to be connected", |event| event["event"] == "connected");
        Some(controller)
    }

    /// The same without the retain flag, as the local broker wants it for messages that are no values.
    pub fn over_mqtt_live(port: u16) -> Option<Self> {
        let controller = Self::start(&["mqtt", "127.0.0.1", &port.to_string(), "gw1-out", "gw1-in", "--live"])?;
        controller.wait("the controller to be connected", |event| event["event"] == "connected");
        Some(controller)
    }

    /// Attaches to a TCP port, and comes back to it by itself. It asks for a sign of life every second.
    pub fn over_tcp(port: u16) -> Option<Self> {
        Self::start(&["tcp", "127.0.0.1", &port.to_string(), "--reconnect", "1"])
    }

    /// Attaches to a serial port, and comes back to it by itself.
    pub fn over_serial(port: &Path) -> Option<Self> {
        Self::start(&["serial", port.to_str().unwrap(), "--reconnect", "1"])
    }

    /// `None`, and said, where Python lacks what it needs and cannot get it.
    fn start(args: &[&str]) -> Option<Self> {
        let mut child = Command::new(lab::python("mysensors")?)
            .arg(lab::folder("mysensors").join("controller.py"))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let events: Arc<Mutex<Vec<Json>>> = Arc::default();
        let complaints: Arc<Mutex<Vec<String>>> = Arc::default();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        // They end with the child, whose output they read.
        std::thread::spawn({
            let events = events.clone();
            move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    events.lock().unwrap().push(serde_json::from_str(&line).unwrap());
                }
            }
        });
        std::thread::spawn({
            let complaints = complaints.clone();
            move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    complaints.lock().unwrap().push(line);
                }
            }
        });
        Some(Self { child, events, complaints })
    }

    /// Sets a child's value, and wants the echo of it.
    pub fn set(&mut self, node: u64, child: u64, kind: u64, value: &str) {
        self.order(json!({ "do": "set", "node": node, "child": child, "type": kind, "value": value, "ack": 1 }));
    }

    /// Sends a line as it is.
    pub fn send(&mut self, line: &str) {
        self.order(json!({ "do": "send", "line": line }));
    }

    fn order(&mut self, order: Json) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{order}").unwrap();
    }

    /// Everything so far.
    pub fn events(&self) -> Vec<Json> {
        self.events.lock().unwrap().clone()
    }

    /// Forgets what it has told.
    pub fn forget(&self) {
        self.events.lock().unwrap().clear();
    }

    /// Waits for something it tells.
    pub fn wait(&self, what: &str, wanted: impl Fn(&Json) -> bool) -> Json {
        wait_for(what, PATIENCE, || self.events().into_iter().find(|event| wanted(event)))
    }

    /// Waits until it knows a node that is as wanted.
    pub fn wait_node(&mut self, node: u64, what: &str, wanted: impl Fn(&Json) -> bool) -> Json {
        wait_for(&format!("the controller to know {what}"), PATIENCE, || {
            let told = |events: &[Json]| events.iter().filter(|event| event["event"] == "nodes").count();
            let before = told(&self.events());
            self.order(json!({ "do": "nodes" }));
            wait_for("the controller to tell of its nodes", PATIENCE, || (told(&self.events()) > before).then_some(()));
            let events = self.events();
            let nodes = events.iter().rev().find(|event| event["event"] == "nodes")?;
            Some(nodes["nodes"][node.to_string()].clone()).filter(|node| wanted(node))
        })
    }

    /// Waits for the echo of a set message.
    pub fn wait_echo(&self, node: u64, child: u64, kind: u64, payload: &str) {
        self.wait(&format!("{node};{child};1;1;{kind};{payload}"), |event| {
            event["event"] == "message"
                && (&event["node"], &event["child"], &event["type"]) == (&node.into(), &child.into(), &kind.into())
                && (&event["command"], &event["ack"]) == (&1.into(), &1.into())
                && event["payload"] == payload
        });
    }
}

/// The number of the child with this description.
pub fn child(node: &Json, description: &str) -> Option<u64> {
    let children = node["children"].as_object()?;
    children.iter().find(|(_, child)| child["description"] == description)?.0.parse().ok()
}

/// The last value of a child.
pub fn value(node: &Json, child: u64, kind: u64) -> Option<&str> {
    node["children"][child.to_string()]["values"][kind.to_string()].as_str()
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let events: Vec<_> = self.events().iter().map(Json::to_string).collect();
            let complaints = self.complaints.lock().unwrap().join("\n");
            eprintln!("--- the controller ---\n{}\n--- and its log ---\n{complaints}\n---", events.join("\n"));
        }
    }
}
