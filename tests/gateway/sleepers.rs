//! Nodes that sleep, by the clock on the wall, over a serial line at its real speed with noise on it: what is
//! for them leaves while they listen.
//!
//! What the gateway is answerable for is judged at its own end of the line, from what the line noted there: a
//! value leaves no later than the window that was announced, less its margin, after the announcement's last
//! byte was there. How late line and nodes are does not count. For how long the gateway's threads were ready
//! and given no processor, the kernel tells, and that excuses them; but for three milliseconds, nothing else does.
//!
//! A MySensors line has no check of its own, so noise costs what it hits. The line knows what it has hit, so of
//! each value it is known whether it may be lost, refuted or said again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use crate::lab::broker::Mosquitto;
use crate::lab::client::{Client, Heard};
use crate::lab::gateway::Site;
use crate::lab::serial_lab::{Line, SerialLab};
use crate::lab::wait_for;

const BAUD: u32 = 115_200;
const NODES: u8 = 12;
/// The last of each node's children has no `verify`.
const CHILDREN: u8 = 9;
const VERIFIED: u8 = 7;
const RETRIES: usize = 10;
const PATIENCE: Duration = Duration::from_secs(120);
/// How long the gateway waits for an echo, in seconds.
const ECHO_TIMEOUT: f64 = 2.0;
/// What the kernel may take between an end of the line and the gateway, there and back, in seconds: what comes
/// through a pty is passed on by a thread of the kernel.
const PASSING_ON: f64 = 0.003;

/// Every third node has a library that announces no sleep, and listens for half a second when it wakes.
fn announces(node: u8) -> bool {
    !node.is_multiple_of(3)
}

/// Short enough that most nodes have to wake several times for what waits for them.
fn window(node: u8) -> Duration {
    Duration::from_millis(if announces(node) { 40 + 20 * u64::from(node) } else { 500 })
}

fn payload(node: u8, child: u8) -> String {
    let number = u64::from(node) * 100 + u64::from(child);
    format!("{number}:{}", (number + 1) * 7_919_993 % 10_000_019)
}

fn is_verified(child: u8) -> bool {
    child <= VERIFIED
}

/// Every value that is to be set, as node and child.
fn all() -> impl Iterator<Item = (u8, u8)> {
    (1..=NODES).flat_map(|node| (1..=CHILDREN).map(move |child| (node, child)))
}

/// The message that sets a value, and its echo.
fn setting(node: u8, child: u8) -> String {
    format!("{node};{child};1;{};47;{}", u8::from(is_verified(child)), payload(node, child))
}

/// A line's numbers and its payload, if it is a message.
fn message(line: &str) -> Option<([u8; 5], &str)> {
    let mut fields = line.splitn(6, ';');
    let mut number = || fields.next()?.parse::<u8>().ok();
    let numbers = [number()?, number()?, number()?, number()?, number()?];
    Some((numbers, fields.next()?))
}

/// A dozen nodes behind the node's end of the line. They echo whatever reaches them and asks for it.
struct Nodes {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Nodes {
    fn start(line: File) -> Self {
        let stop: Arc<AtomicBool> = Arc::default();
        let mouth = Arc::new(Mutex::new(line.try_clone().unwrap()));
        let nodes = std::thread::spawn({
            let (mouth, stop) = (mouth.clone(), stop.clone());
            move || live(&mouth, &stop)
        });
        let ear = std::thread::spawn(move || listen(BufReader::new(line), &mouth));
        Self { stop, threads: vec![nodes, ear] }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // The ear ends with the line.
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn listen(mut line: BufReader<File>, mouth: &Mutex<File>) {
    let mut heard = Vec::new();
    while line.read_until(b'\n', &mut heard).is_ok_and(|count| count > 0) {
        let text = String::from_utf8_lossy(&heard);
        let said = match message(text.trim_end_matches('\n')) {
            Some(([0, 255, 3, 0, 2], _)) => Some("0;255;3;0;2;2.3.2\n".as_bytes()),
            Some(([1..=NODES, _, 1, 1, 47], _)) => Some(heard.as_slice()),
            _ => None,
        };
        if let Some(said) = said {
            let _ = mouth.lock().unwrap().write_all(said);
        }
        heard.clear();
    }
}

/// Has the nodes wake and sleep until it is told to stop.
fn live(mouth: &Mutex<File>, stop: &AtomicBool) {
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
        let now = Instant::now();
        if now < at {
            continue;
        }
        say(match announces(node) {
            true => {
                let window = window(node).as_millis();
                format!("{node};255;3;0;33;700\n{node};0;1;0;0;21.5\n{node};255;3;0;32;{window}\n")
            }
            false => format!("{node};0;1;0;0;21.5\n{node};255;3;0;22;{}\n", 1000 + u32::from(node)),
        });
        wakes.insert(node, now + window(node) + Duration::from_millis(fastrand::u64(300..1200)));
    }
}

/// A node's window, as it was announced at the gateway's end, be it by noise. In seconds.
struct Window {
    node: u8,
    from: f64,
    /// Without the margin that the gateway leaves at its end.
    until: f64,
    held_up: f64,
}

impl Window {
    /// The one that this line opens, if it does.
    fn opened_by(line: &Line) -> Option<Self> {
        let (node, millis) = match message(&line.text)? {
            ([node, 255, 3, 0, 32], window) => (node, window.trim().parse().unwrap_or(500.0)),
            ([node, 255, 3, 0, 22], _) if !announces(node) => (node, 500.0),
            _ => return None,
        };
        let margin = f64::min(50.0, millis / 10.0);
        Some(Self { node, from: line.at, until: line.at + (millis - margin) / 1000.0, held_up: line.held_up })
    }
}

/// By how many seconds a line has left after a window's end, and how many of those the gateway has to answer
/// for: not those in which it had no processor. Below zero if it left before.
#[derive(Clone, Copy, Debug)]
struct Missed {
    late: f64,
    answerable: f64,
}

impl Missed {
    const ALL: Self = Self { late: f64::INFINITY, answerable: f64::INFINITY };
}

/// What went by, at the gateway's end above all.
struct Record {
    /// Each value as often as the gateway said it.
    said: BTreeMap<(u8, u8), Vec<Line>>,
    /// Everything that it said, as it came.
    spoken: Vec<Line>,
    heard: Vec<Line>,
    /// What has come to the nodes.
    reached: BTreeSet<String>,
    windows: Vec<Window>,
}

impl Record {
    fn new(lines: Vec<Line>) -> Self {
        let (here, there): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| line.port == "gateway");
        let (said, heard): (Vec<_>, Vec<_>) = here.into_iter().partition(|line| line.said);
        let mut record = Self {
            said: BTreeMap::new(),
            spoken: said.clone(),
            windows: heard.iter().filter_map(Window::opened_by).collect(),
            heard,
            reached: there.into_iter().filter(|line| !line.said).map(|line| line.text).collect(),
        };
        for line in said {
            if let Some(([node @ 1..=NODES, child, 1, _, _], _)) = message(&line.text) {
                assert_eq!(line.text, setting(node, child), "nobody asked for that");
                record.said.entry((node, child)).or_default().push(line);
            }
        }
        record
    }

    /// By how much each value missed the window it came closest to, whenever it was said.
    fn misses(&self) -> impl Iterator<Item = (Missed, &Line)> {
        self.said.iter().flat_map(move |(&(node, _), lines)| {
            lines.iter().map(move |line| {
                let open = self.windows.iter().filter(|window| window.node == node && window.from <= line.at);
                let closest = open.max_by(|a, b| a.until.total_cmp(&b.until));
                (closest.map_or(Missed::ALL, |window| self.missed(window, line)), line)
            })
        })
    }

    /// By how much a line missed that window. Two stretches without a processor excuse the gateway: before the
    /// first that it said to the node then, for only then it surely knew of the window; and since what it said
    /// before this, for meanwhile it decided to say it.
    fn missed(&self, window: &Window, line: &Line) -> Missed {
        let to_node = |said: &&Line| {
            said.at >= window.from && message(&said.text).is_some_and(|(numbers, _)| numbers[0] == window.node)
        };
        let first = self.spoken.iter().find(to_node).map_or(line.held_up, |first| first.held_up);
        let before = self.spoken.iter().rev().find(|said| said.at < line.at).map_or(first, |said| said.held_up);
        let held_up = (first - window.held_up).max(0.0) + (line.held_up - before.max(first)).max(0.0);
        let late = line.after - window.until;
        Missed { late, answerable: late - held_up }
    }

    /// Whether this was heard so soon after that was said.
    fn heard_within(&self, seconds: f64, said: &Line, text: &str) -> bool {
        self.heard.iter().any(|heard| heard.text == text && (said.after..said.after + seconds).contains(&heard.at))
    }

    /// Whether this was heard as an echo of a value at that place.
    fn heard_as_echo(&self, (node, child): (u8, u8), payload: &str) -> bool {
        let is_it = |said: ([u8; 5], &str)| said == ([node, child, 1, 1, 47], payload);
        self.heard.iter().filter_map(|heard| message(&heard.text)).any(is_it)
    }
}

fn site(broker: u16) -> String {
    let mut yaml = format!(
        "gateway: gw1\nuplinks:\n  central: {{ url: \"mqtt://127.0.0.1:{broker}\" }}\nbroker: {{ listen: [] }}\n\
         mysensors:\n  garden:\n    serial: ./line/gateway\n    baud: {BAUD}\n    retries: {RETRIES}\n    \
         echo_timeout: {ECHO_TIMEOUT}s\n    hold: 5m\n    devices:\n"
    );
    for node in 1..=NODES {
        yaml += &format!("      n{node}:\n        node: {node}\n        points:\n");
        for child in 1..=CHILDREN {
            let verify = is_verified(child);
            yaml += &format!("          c{child}: {{ child: {child}, type: text, write: {{ verify: {verify} }} }}\n");
        }
    }
    yaml
}

#[test]
fn a_hundred_values_reach_a_dozen_sleeping_nodes_while_they_listen() {
    let broker = Mosquitto::start();
    let upstream = Client::subscribe(broker.port, &["#"]);
    let site = Site::new(&site(broker.port));
    // Ends after the line, which its ear listens to.
    let _nodes;
    let lab = SerialLab::start_noting_lines(&site.path().join("line"), BAUD);
    let gateway = site.run();
    lab.tell(&format!("set watch={}", gateway.id()));
    wait_for("the gateway to open its port", PATIENCE, || {
        (lab.tell("stats")["ports"]["gateway"]["open"] == true).then_some(())
    });
    _nodes = Nodes::start(lab.node());
    wait_for("every node to have slept", PATIENCE, || {
        let announced = |node: u8| format!("gw1-out/{node}/255/3/0/{}", if announces(node) { 32 } else { 22 });
        (1..=NODES).all(|node| !upstream.on(&announced(node)).is_empty()).then_some(())
    });

    lab.tell("set flip=0.002 drop=0.001 insert=0.001");
    for (node, child) in all() {
        upstream.publish(&format!("gw1-in/n{node}/c{child}"), &payload(node, child));
        // A link takes only so many at once, and refuses what comes faster.
        sleep(Duration::from_millis(20));
    }
    let answer_topic = |(node, child): (u8, u8)| format!("gw1-sys/answer/n{node}/c{child}");
    wait_for("all answers", PATIENCE, || {
        all().all(|place| !upstream.on(&answer_topic(place)).is_empty()).then_some(())
    });
    lab.tell("set flip=0 drop=0 insert=0");
    // What is still on the line arrives.
    sleep(Duration::from_millis(200));

    let lines = lab.lines();
    let hit = lines.iter().filter(|line| line.hit).count();
    assert!(hit > 0, "no noise: this would prove little");
    let record = Record::new(lines);
    let missed: Vec<_> = record.misses().filter(|(missed, _)| missed.answerable > PASSING_ON).collect();
    assert!(missed.is_empty(), "said when their nodes slept, by so many seconds: {missed:?}");
    let excused = record.misses().filter(|(missed, _)| missed.late > PASSING_ON).count();
    let latest = record.misses().map(|(missed, _)| missed.late).fold(f64::NEG_INFINITY, f64::max);

    let (mut again, mut lost, mut refuted) = (0, 0, 0);
    for (node, child) in all() {
        let place = (node, child);
        let answers: Vec<_> = upstream.on(&answer_topic(place)).iter().map(Heard::json).collect();
        let [answer] = answers.as_slice() else { panic!("not one answer: {answers:?}") };
        let is_asleep = |note: &str| note.contains("asleep");
        assert!(answer["ok"] != true || answer["note"].as_str().is_some_and(is_asleep), "{answer}");
        let said = record.said.get(&place).unwrap_or_else(|| panic!("never said: {answer}"));
        if !is_verified(child) {
            assert!(answer["ok"] == true && answer["observed"].is_null(), "{answer}");
            assert_eq!(said.len(), 1, "nobody asked for that: {said:?}");
            let is_there = record.reached.contains(&said[0].text);
            assert!(is_there || said[0].hit, "nothing hit it, and it did not arrive: {said:?}");
            lost += usize::from(!is_there);
            continue;
        }
        for (earlier, later) in said.iter().zip(&said[1..]) {
            let is_echoed = record.heard_within(ECHO_TIMEOUT / 2.0, earlier, &earlier.text);
            assert!(!is_echoed, "said again although its echo had come: {earlier:?}, {later:?}");
        }
        again += said.len() - 1;
        if answer["ok"] == true {
            assert_eq!(answer["observed"], payload(node, child), "{answer}");
        } else {
            assert_ne!(answer["observed"], payload(node, child), "{answer}");
            refuted += 1;
        }
        let observed = answer["observed"].as_str().unwrap_or_else(|| panic!("{answer}"));
        assert!(record.heard_as_echo(place, observed), "no such echo was heard: {answer}");
    }
    println!(
        "{hit} lines were hit: {again} values were said again, {lost} of {} without echo were lost, {refuted} were \
         refuted; {excused} came late for want of a processor; the latest came {:.1} ms after its window",
        NODES * (CHILDREN - VERIFIED),
        latest * 1000.0,
    );
    drop(lab);
}
