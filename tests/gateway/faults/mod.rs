//! The uplink against a broker that is late, forgetful, wrong or hostile, in both versions of MQTT.
//!
//! Whatever the broker does to a connection, every line told by a node is acknowledged in the end,
//! in the order it was told, with no more repetitions than were under way when a connection broke.

mod acknowledgements;
mod commands;
mod hostile;
mod sessions;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

use crate::lab::gateway::{Gateway, Site};
use crate::lab::scripted::{Acks, Close, Command, Connect, Script, Scripted, Session};
use crate::lab::{PATIENCE, accept, wait_for};

const VALVE: &str = "gw1-in/2/3/1/0/2";
const ANSWER: &str = "gw1-sys/answer/soil/valve";
/// Long enough for something unwanted to show itself.
const A_WHILE: Duration = Duration::from_millis(500);
const HONEST: Script = Script {
    refuse: None,
    mute: false,
    session: Session::Honest,
    receive_maximum: None,
    maximum_packet_size: None,
    maximum_qos: None,
    no_retain: false,
    refuse_topic: None,
    acks: Acks::AtOnce,
    refuse_every: None,
    close: Close::Never,
    goodbye: None,
    refuse_subscription: false,
    deaf_to_pings: false,
    garbage: None,
};

/// A scripted broker, a gateway that may have ten publications under way, and its garden.
struct Bench {
    broker: Scripted,
    gateway: Option<Gateway>,
    listener: TcpListener,
    node: TcpStream,
    /// The set commands that reached the node.
    garden: Arc<Mutex<Vec<String>>>,
    site: Site,
    protocol: &'static str,
    told: usize,
    window: usize,
}

impl Bench {
    fn start(protocol: &'static str, settings: &str, scripts: &[Script]) -> Self {
        let broker = Scripted::start(scripts);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let site = Site::new(&format!(
            "gateway: gw1
uplinks:
  central:
    url: mqtt://127.0.0.1:{}
    protocol: {protocol}
    in_flight: 10
{settings}
broker: {{ listen: [] }}
mysensors:
  garden:
    tcp: {}
    devices: {{ soil: {{ node: 2, points: {{ valve: {{ child: 3, type: status, write: {{}} }} }} }} }}
",
            broker.port,
            listener.local_addr().unwrap(),
        ));
        let gateway = Some(site.run());
        let node = accept(&listener);
        let garden = Arc::default();
        listen(&node, &garden);
        let announced = scripts.iter().filter_map(|script| script.receive_maximum).map(usize::from).min();
        let window = announced.filter(|_| protocol == "5").unwrap_or(10).min(10);
        Self { broker, gateway, listener, node, garden, site, protocol, told: 0, window }
    }

    /// Has the node tell so many lines, numbered on from the last.
    fn tell(&mut self, lines: usize) {
        for _ in 0..lines {
            self.told += 1;
            writeln!(self.node, "2;1;1;0;24;{}", self.told).unwrap();
        }
    }

    /// The connections that carried messages, without the short clean ones of 3.1.1.
    fn sessions(&self) -> Vec<Connect> {
        let carries = |connect: &Connect| self.protocol == "5" || !connect.clean;
        self.broker.connects().into_iter().filter(carries).collect()
    }

    /// Waits for something about the newest connection.
    fn wait_newest(&self, what: &str, sessions: usize, is_so: impl Fn(&Connect) -> bool) {
        wait_for(what, PATIENCE, || {
            let all = self.sessions();
            (all.len() >= sessions && all.last().is_some_and(&is_so)).then_some(())
        });
    }

    /// Waits until every line told is acknowledged, and looks at how they came.
    fn everything_arrives(&self) {
        wait_for("every line to be acknowledged", PATIENCE, || {
            (acknowledged(&self.broker.connects()).len() == self.told).then_some(())
        });
        let connects = self.broker.connects();
        assert_eq!(acknowledged(&connects), (1..=self.told).collect());
        let mut highest = 0;
        for (number, connect) in connects.iter().enumerate() {
            let place = format!("MQTT {}, connection {number}", self.protocol);
            let lines = lines(connect);
            let lanes = lanes(&lines).unwrap_or_else(|| panic!("{place}: a line came twice or too early: {lines:?}"));
            let again = lines.iter().filter(|&&line| line <= highest).count();
            assert!(again <= self.window, "{place}: {again} lines came again");
            if lanes == 1 {
                for &line in &lines {
                    assert!(line <= highest + 1, "{place}: {line} came after {highest}");
                    highest = highest.max(line);
                }
            }
            highest = highest.max(lines.iter().copied().max().unwrap_or_default());
            // The goodbye of a stopping gateway does not wait for room, unless the broker set the bound.
            let goodbye = connect.publishes.last().is_some_and(|publish| publish.payload == "offline");
            let most = self.window + usize::from(goodbye && self.protocol == "3.1.1");
            assert!(connect.most_in_flight <= most, "{place}: {} in flight", connect.most_in_flight);
        }
    }

    /// Waits until the link takes commands.
    fn ready_for_commands(&mut self) {
        self.tell(1);
        self.everything_arrives();
        self.wait_log("link online");
        self.wait_newest("the subscription", 1, |connect| connect.subscribes == 1);
    }

    fn wait_log(&self, text: &str) {
        self.gateway.as_ref().expect("a running gateway").wait_log(text);
    }

    fn garden(&self) -> Vec<String> {
        self.garden.lock().unwrap().clone()
    }

    /// Waits until the node has got exactly these commands, and no more for a while.
    fn obeyed(&self, lines: &[&str]) {
        wait_for("the commands", PATIENCE, || (self.garden().len() >= lines.len()).then_some(()));
        sleep(A_WHILE);
        assert_eq!(self.garden(), lines, "MQTT {}", self.protocol);
    }

    /// The different answers to commands.
    fn answers(&self) -> BTreeSet<String> {
        let all = self.broker.connects().into_iter().flat_map(|connect| connect.publishes);
        all.filter(|publish| publish.topic == ANSWER).map(|publish| publish.payload).collect()
    }
}

/// Notes the set commands that reach the node.
fn listen(node: &TcpStream, garden: &Arc<Mutex<Vec<String>>>) {
    let (ear, garden) = (BufReader::new(node.try_clone().unwrap()), garden.clone());
    std::thread::spawn(move || {
        for line in ear.lines().map_while(Result::ok).filter(|line| line.split(';').nth(2) == Some("1")) {
            garden.lock().unwrap().push(line);
        }
    });
}

/// The lines of a connection in the order they came.
fn lines(connect: &Connect) -> Vec<usize> {
    let all = connect.publishes.iter().filter(|publish| publish.topic == "gw1-out/2/1/1/0/24");
    all.map(|publish| publish.payload.parse().unwrap()).collect()
}

/// In how many lanes the lines of a connection came, each in order and without repetitions: one, or
/// two if some had waited for so long that the newer ones went first.
fn lanes(lines: &[usize]) -> Option<usize> {
    let rises = |lines: &mut dyn Iterator<Item = &usize>| lines.is_sorted_by(|a, b| a < b);
    if rises(&mut lines.iter()) {
        return Some(1);
    }
    let split = |from: usize| {
        rises(&mut lines.iter().filter(|&&line| line < from)) && rises(&mut lines.iter().filter(|&&line| line >= from))
    };
    lines.iter().any(|&from| split(from)).then_some(2)
}

/// The lines that were acknowledged at least once.
fn acknowledged(connects: &[Connect]) -> BTreeSet<usize> {
    let publishes = connects.iter().flat_map(|connect| &connect.publishes).filter(|publish| publish.acked);
    publishes.filter(|publish| publish.topic == "gw1-out/2/1/1/0/24").map(|p| p.payload.parse().unwrap()).collect()
}

/// Runs a test in both versions of the protocol, side by side.
fn in_both(test: impl Fn(&'static str) + Sync) {
    std::thread::scope(|scope| {
        for protocol in ["5", "3.1.1"] {
            let test = &test;
            scope.spawn(move || test(protocol));
        }
    });
}

fn valve(id: u16, payload: &'static str) -> Command {
    Command { topic: VALVE, payload, id, duplicate: false, retained: false }
}

fn again(command: Command) -> Command {
    Command { duplicate: true, ..command }
}
