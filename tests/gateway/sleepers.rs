//! Nodes that sleep, by the clock on the wall, over a serial line at its real speed with noise on it: what is
//! for them arrives while they listen.
//!
//! A MySensors line has no check of its own, so noise costs what it hits. What may repeat is exactly this: a
//! value with `verify` whose echo did not come back whole. Payloads carry a check here, and the gateway
//! publishes what it was told, so the test knows which lines were hit.
//!
//! Ignored, because on a busy machine it is the machine that is late. On a quiet one, before a release:
//! `cargo test --test gateway a_hundred_values -- --ignored --nocapture`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use crate::lab::broker::Mosquitto;
use crate::lab::client::{Client, Heard};
use crate::lab::gateway::Site;
use crate::lab::serial_lab::SerialLab;
use crate::lab::wait_for;

const BAUD: u32 = 115_200;
const NODES: u8 = 12;
/// The last of each node's children has no `verify`.
const CHILDREN: u8 = 9;
const VERIFIED: u8 = 7;
const RETRIES: usize = 10;
const PATIENCE: Duration = Duration::from_secs(120);
/// What the gateway leaves of a window at its end, at most.
const MARGIN: Duration = Duration::from_millis(50);
/// What a sleep of the test's own may take longer than asked for before the machine counts as late.
const PUNCTUAL: Duration = Duration::from_millis(2);

/// Every third node has a library that announces no sleep, and listens for half a second when it wakes.
fn announces(node: u8) -> bool {
    !node.is_multiple_of(3)
}

fn window(node: u8) -> Duration {
    Duration::from_millis(if announces(node) { 100 + 40 * u64::from(node - 1) } else { 500 })
}

fn payload(node: u8, child: u8) -> String {
    let number = u64::from(node) * 100 + u64::from(child);
    format!("{number}:{}", (number + 1) * 7_919_993 % 10_000_019)
}

/// What the nodes know: when they listen, and what arrived.
#[derive(Default)]
struct Radio {
    /// When each node woke last, and when its first message came then.
    awake: BTreeMap<u8, (Instant, Option<Instant>)>,
    wakings: BTreeMap<u8, usize>,
    arrived: BTreeMap<(u8, u8), usize>,
    late: Vec<Late>,
    damaged: Vec<String>,
}

/// A message that arrived when its node slept.
#[derive(Debug)]
struct Late {
    node: u8,
    woke: Instant,
    arrived: Instant,
    /// How long after its end, counting from what the gateway leaves of the window.
    by: Duration,
    /// How long the first message of that waking took, there and back.
    way: Duration,
}

impl Radio {
    fn hear(&mut self, line: &str, now: Instant) -> Option<String> {
        if line == "0;255;3;0;2;" {
            return Some("0;255;3;0;2;2.3.2".into());
        }
        let mut fields = line.splitn(6, ';');
        let mut number = || fields.next()?.parse::<u8>().ok();
        let (node, child, command, ack, kind) = (number(), number(), number(), number(), number());
        let (Some(node @ 1..=NODES), Some(child), Some(1), Some(ack), Some(47)) = (node, child, command, ack, kind)
        else {
            self.damaged.push(line.to_owned());
            return None;
        };
        let (woke, first) = self.awake.get_mut(&node)?;
        // Noise may have made it a message for this node.
        let intact = fields.next().is_some_and(|said| said == payload(node, child));
        let first = if intact { *first.get_or_insert(now) } else { now };
        let until = *woke + window(node);
        match intact {
            false => self.damaged.push(line.to_owned()),
            true if now > until => {
                let by = now - until + MARGIN.min(window(node) / 10);
                self.late.push(Late { node, woke: *woke, arrived: now, by, way: first - *woke });
            }
            true => *self.arrived.entry((node, child)).or_default() += 1,
        }
        if now > until {
            return None;
        }
        (ack == 1).then(|| line.to_owned())
    }
}

/// A dozen nodes behind the node's end of the line, and a clock that notes how late the machine is.
struct Nodes {
    radio: Arc<Mutex<Radio>>,
    stalls: Arc<Mutex<Vec<(Instant, Duration)>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    ear: Option<JoinHandle<()>>,
}

impl Nodes {
    fn start(line: File) -> Self {
        let radio: Arc<Mutex<Radio>> = Arc::default();
        let stalls: Arc<Mutex<Vec<_>>> = Arc::default();
        let stop: Arc<AtomicBool> = Arc::default();
        let mouth = Arc::new(Mutex::new(line.try_clone().unwrap()));
        let ear = std::thread::spawn({
            let (radio, mouth) = (radio.clone(), mouth.clone());
            move || listen(BufReader::new(line), &radio, &mouth)
        });
        let nodes = std::thread::spawn({
            let (radio, stop) = (radio.clone(), stop.clone());
            move || live(&radio, &mouth, &stop)
        });
        let clock = std::thread::spawn({
            let (stalls, stop) = (stalls.clone(), stop.clone());
            move || {
                while !stop.load(Ordering::SeqCst) {
                    let before = Instant::now();
                    sleep(Duration::from_millis(1));
                    let over = before.elapsed();
                    if over > PUNCTUAL {
                        stalls.lock().unwrap().push((before, over));
                    }
                }
            }
        });
        Self { radio, stalls, stop, threads: vec![nodes, clock], ear: Some(ear) }
    }

    /// Whether the machine was so late that this is no wonder: the way was long, or nothing ran meanwhile.
    fn excused(&self, late: &Late) -> bool {
        let stalls = self.stalls.lock().unwrap();
        let meanwhile = stalls.iter().filter(|(at, over)| *at < late.arrived && *at + *over > late.woke);
        late.by <= late.way + meanwhile.map(|(_, over)| *over).sum::<Duration>()
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // The ear ends with the line.
        for thread in self.threads.drain(..).chain(self.ear.take()) {
            let _ = thread.join();
        }
    }
}

fn listen(mut line: BufReader<File>, radio: &Mutex<Radio>, mouth: &Mutex<File>) {
    let mut heard = Vec::new();
    while line.read_until(b'\n', &mut heard).is_ok_and(|count| count > 0) {
        let said = radio.lock().unwrap().hear(String::from_utf8_lossy(&heard).trim(), Instant::now());
        if let Some(said) = said {
            let _ = mouth.lock().unwrap().write_all(format!("{said}\n").as_bytes());
        }
        heard.clear();
    }
}

/// Has the nodes wake and sleep until it is told to stop.
fn live(radio: &Mutex<Radio>, mouth: &Mutex<File>, stop: &AtomicBool) {
    // The line may be gone already when the test is over.
    let say = |words: String| drop(mouth.lock().unwrap().write_all(words.as_bytes()));
    let start = Instant::now();
    let mut wakes: BTreeMap<u8, Instant> = BTreeMap::new();
    for node in 1..=NODES {
        say(format!("{node};255;0;0;17;{}\n", if announces(node) { "2.3.2" } else { "2.1.1" }));
        wakes.insert(node, start + Duration::from_millis(u64::from(node) * 83));
    }
    while !stop.load(Ordering::SeqCst) {
        let (node, at) = wakes.iter().map(|(node, at)| (*node, *at)).min_by_key(|(_, at)| *at).unwrap();
        sleep(at.saturating_duration_since(Instant::now()).min(Duration::from_millis(50)));
        if Instant::now() < at {
            continue;
        }
        let mut words = match announces(node) {
            true => format!("{node};255;3;0;33;700\n{node};0;1;0;0;21.5\n"),
            false => format!("{node};0;1;0;0;21.5\n"),
        };
        words += &match announces(node) {
            true => format!("{node};255;3;0;32;{}\n", window(node).as_millis()),
            false => format!("{node};255;3;0;22;{}\n", 1000 + u32::from(node)),
        };
        let mut radio = radio.lock().unwrap();
        let now = Instant::now();
        radio.awake.insert(node, (now, None));
        *radio.wakings.entry(node).or_default() += 1;
        drop(radio);
        say(words);
        wakes.insert(node, now + window(node) + Duration::from_millis(fastrand::u64(300..1200)));
    }
}

/// How often each node said that it listens, as the gateway heard it, and the nodes for which it heard
/// something else than they said.
fn windows_heard(upstream: &Client) -> (BTreeMap<u8, usize>, Vec<u8>) {
    let (mut heard, mut hit) = (BTreeMap::new(), Vec::new());
    for node in 1..=NODES {
        let kind = if announces(node) { 32 } else { 22 };
        let said =
            if announces(node) { window(node).as_millis().to_string() } else { (1000 + u32::from(node)).to_string() };
        let waking = upstream.on(&format!("gw1-out/{node}/255/3/0/{kind}"));
        hit.extend(waking.iter().any(|heard| heard.payload != said).then_some(node));
        let other = upstream.on(&format!("gw1-out/{node}/255/3/0/{}", if announces(node) { 22 } else { 32 }));
        hit.extend((!other.is_empty()).then_some(node));
        heard.insert(node, waking.len());
    }
    (heard, hit)
}

fn site(broker: u16) -> String {
    let mut yaml = format!(
        "gateway: gw1\nuplinks:\n  central: {{ url: \"mqtt://127.0.0.1:{broker}\" }}\nbroker: {{ listen: [] }}\n\
         mysensors:\n  garden:\n    serial: ./line/gateway\n    baud: {BAUD}\n    retries: {RETRIES}\n    hold: 5m\n    \
         devices:\n"
    );
    for node in 1..=NODES {
        yaml += &format!("      n{node}:\n        node: {node}\n        points:\n");
        for child in 1..=CHILDREN {
            let verify = child <= VERIFIED;
            yaml += &format!("          c{child}: {{ child: {child}, type: text, write: {{ verify: {verify} }} }}\n");
        }
    }
    yaml
}

#[test]
#[ignore = "real time: on a busy machine it is the machine that is late"]
fn a_hundred_values_reach_a_dozen_sleeping_nodes_while_they_listen() {
    let broker = Mosquitto::start();
    let upstream = Client::subscribe(broker.port, &["#"]);
    let site = Site::new(&site(broker.port));
    // Ends after the line, which its ear listens to.
    let nodes;
    let lab = SerialLab::start(&site.path().join("line"), BAUD);
    let _gateway = site.run();
    wait_for("the gateway to open its port", PATIENCE, || {
        (lab.tell("stats")["ports"]["gateway"]["open"] == true).then_some(())
    });
    nodes = Nodes::start(lab.node());
    wait_for("every node to have slept", PATIENCE, || {
        windows_heard(&upstream).0.values().all(|count| *count > 0).then_some(())
    });

    lab.tell("set flip=0.002 drop=0.001 insert=0.001");
    let all = || (1..=NODES).flat_map(|node| (1..=CHILDREN).map(move |child| (node, child)));
    for (node, child) in all() {
        upstream.publish(&format!("gw1-in/n{node}/c{child}"), &payload(node, child));
    }
    let answer_topic = |node: u8, child: u8| format!("gw1-sys/answer/n{node}/c{child}");
    wait_for("all answers", PATIENCE, || {
        all().all(|(node, child)| !upstream.on(&answer_topic(node, child)).is_empty()).then_some(())
    });
    let faults = lab.tell("set flip=0 drop=0 insert=0");
    let faults = ["flipped", "dropped", "inserted"].iter().map(|kind| faults[kind].as_u64().unwrap()).sum::<u64>();
    let faults = usize::try_from(faults).unwrap();
    // What is still on the line arrives.
    sleep(Duration::from_millis(200));

    let radio = nodes.radio.lock().unwrap();
    let (heard, mut hit) = windows_heard(&upstream);
    hit.extend(heard.iter().filter(|(node, count)| **count > radio.wakings[node]).map(|(node, _)| *node));
    let late: Vec<_> = radio.late.iter().filter(|late| !hit.contains(&late.node)).collect();
    let wrong: Vec<_> = late.iter().filter(|late| !nodes.excused(late)).collect();
    assert!(wrong.is_empty(), "arrived when their nodes slept: {wrong:?}");

    let (mut repeated, mut lost, mut refuted) = (0, 0, 0);
    for (node, child) in all() {
        let answers: Vec<_> = upstream.on(&answer_topic(node, child)).iter().map(Heard::json).collect();
        let [answer] = answers.as_slice() else { panic!("not one answer: {answers:?}") };
        let arrived = radio.arrived.get(&(node, child)).copied().unwrap_or(0);
        if child > VERIFIED {
            assert!(answer["ok"] == true && answer["observed"].is_null(), "{answer}");
            assert!(arrived <= 1, "n{node}/c{child} arrived {arrived} times, and nobody asked for that");
            lost += 1 - arrived;
        } else if answer["ok"] == true {
            assert_eq!(answer["observed"], payload(node, child), "{answer}");
            assert!((1..=1 + RETRIES).contains(&arrived), "n{node}/c{child} arrived {arrived} times: {answer}");
            repeated += arrived - 1;
        } else {
            assert_ne!(answer["observed"], payload(node, child), "{answer}");
            assert!(answer["observed"].is_string(), "{answer}");
            refuted += 1;
        }
        assert!(
            answer["ok"] != true || answer["note"].as_str().is_some_and(|note| note.contains("asleep")),
            "{answer}"
        );
    }
    println!(
        "{faults} faults: {repeated} values came again, {lost} of {} without echo were lost, {refuted} were damaged; \
         {} came late on a late machine, {} in a window that noise had made",
        NODES * (CHILDREN - VERIFIED),
        late.len(),
        radio.late.len() - late.len(),
    );
    assert!(faults > 0, "no noise: this would prove little");
    let excuses = faults + late.len();
    assert!(repeated + lost + refuted <= 2 * excuses, "{repeated} + {lost} + {refuted}, {excuses} excuses");
    drop(radio);
    drop(lab);
}
