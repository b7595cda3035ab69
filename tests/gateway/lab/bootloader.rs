//! MySensors nodes that take firmware over the air, behind a radio and a line that lose and damage some of
//! it.
//!
//! They do as the bootloaders of the MySensors library do: report what they run, ask for the blocks from
//! the last to the first, ask again when nothing comes, start anew when nothing comes for 2.5 s, and
//! check the CRC. A bootloader asks 5 times, 500 ms apart; these ask 25 times, 100 ms apart.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use super::line::Line;

const AGAIN: Duration = Duration::from_millis(100);
const TRIES: u32 = 25;
const SAYS_SOMETHING: Duration = Duration::from_millis(300);
/// How many lines of a hundred do not arrive as they were sent, each way; half of them not at all.
const SPOILT_PERCENT: u8 = 3;

/// A node, as a test sees it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Type, version, blocks and CRC of what it runs.
    pub runs: [u16; 4],
    /// What is in its memory.
    pub memory: Vec<u8>,
    /// How many blocks it still lacks, if it loads.
    pub lacks: Option<u16>,
    /// How often it was asked to restart.
    pub restarts: usize,
}

/// Nodes on a line. They live as long as it.
pub struct Radio {
    seen: Arc<Mutex<HashMap<u8, Seen>>>,
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Radio {
    /// Nodes with these numbers, each running type and version.
    pub fn start(line: &Line, nodes: &[(u8, [u16; 2])]) -> Self {
        let seen: Arc<Mutex<HashMap<u8, Seen>>> = Arc::default();
        let is_over = Arc::new(AtomicBool::new(false));
        let (heard, hear) = mpsc::channel();
        let (ear, over) = (line.device(), is_over.clone());
        let listening = std::thread::spawn(move || listen(ear, &heard, &over));
        let mut air = Air { voice: line.device(), chance: fastrand::Rng::with_seed(7) };
        let mut all: Vec<Node> =
            nodes.iter().map(|&(number, [kind, version])| Node::new(number, kind, version)).collect();
        let (shown, over) = (Arc::clone(&seen), is_over.clone());
        let living = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                if let Ok(line) = hear.recv_timeout(Duration::from_millis(2)) {
                    air.deliver(&line, &mut all);
                }
                for node in &mut all {
                    node.live(&mut air);
                    shown.lock().unwrap().insert(node.number, node.seen());
                }
            }
        });
        Self { seen, is_over, threads: vec![listening, living] }
    }

    /// How a node is.
    pub fn seen(&self, node: u8) -> Seen {
        self.seen.lock().unwrap().get(&node).cloned().unwrap_or_default()
    }
}

impl Drop for Radio {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

impl Radio {
    /// Ends the nodes. The gateway has to be gone, for only then nobody waits for it to speak.
    pub fn end(mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

/// What the gateway says, line by line; between two gateways nothing.
fn listen(mut ear: File, heard: &mpsc::Sender<Vec<u8>>, over: &AtomicBool) {
    let (mut begun, mut chunk) = (Vec::new(), [0; 4096]);
    while !over.load(Ordering::Relaxed) {
        let Ok(count @ 1..) = ear.read(&mut chunk) else {
            sleep(Duration::from_millis(10));
            continue;
        };
        begun.extend_from_slice(&chunk[..count]);
        while let Some(end) = begun.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = begun.drain(..=end).collect();
            let _ = heard.send(line);
        }
    }
}

/// What is between a node and the gateway.
struct Air {
    voice: File,
    chance: fastrand::Rng,
}

impl Air {
    fn is_spoilt(&mut self) -> bool {
        self.chance.u8(..100) < SPOILT_PERCENT
    }

    /// From a node to the gateway. Any byte may arrive as any other.
    fn say(&mut self, line: &str) {
        let mut line = line.as_bytes().to_vec();
        if self.is_spoilt() {
            if self.chance.bool() {
                return;
            }
            let at = self.chance.usize(..line.len());
            line[at] = self.chance.u8(..);
        }
        line.push(b'\n');
        // Between two gateways nobody takes it.
        let _ = self.voice.write_all(&line);
    }

    /// From the gateway to a node. A byte may get lost, which the node's length checks notice; one that
    /// turns into another digit would only be noticed by the CRC over everything.
    fn deliver(&mut self, line: &[u8], nodes: &mut [Node]) {
        let mut line = line.to_vec();
        if self.is_spoilt() {
            if self.chance.bool() {
                return;
            }
            line.remove(self.chance.usize(..line.len()));
        }
        let Ok(text) = std::str::from_utf8(&line) else { return };
        let fields: Vec<&str> = text.trim_end().split(';').collect();
        let &[number, "255", command, "0", kind, payload] = fields.as_slice() else { return };
        if (number, command, kind) == ("0", "3", "2") {
            return self.say("0;255;3;0;2;2.3.2");
        }
        if let Some(node) = nodes.iter_mut().find(|node| node.number.to_string() == number) {
            node.hear(command, kind, payload);
        }
    }
}

struct Node {
    number: u8,
    runs: [u16; 4],
    memory: Vec<u8>,
    /// Whether its old program is gone.
    is_erased: bool,
    does: Does,
    tries: u32,
    next: Instant,
    restarts: usize,
}

enum Does {
    Run,
    Report,
    /// Loads what it was offered, and lacks so many blocks.
    Load([u16; 4], u16),
}

impl Node {
    fn new(number: u8, kind: u16, version: u16) -> Self {
        let (runs, memory) = ([kind, version, 8, 0x1234], Vec::new());
        Self { number, runs, memory, is_erased: false, does: Does::Run, tries: 0, next: Instant::now(), restarts: 0 }
    }

    fn seen(&self) -> Seen {
        let lacks = match self.does {
            Does::Load(_, lacks) => Some(lacks),
            _ => None,
        };
        Seen { runs: self.runs, memory: self.memory.clone(), lacks, restarts: self.restarts }
    }

    fn turn_to(&mut self, does: Does) {
        (self.does, self.tries, self.next) = (does, 0, Instant::now());
    }

    /// Does what is due.
    fn live(&mut self, air: &mut Air) {
        if Instant::now() < self.next {
            return;
        }
        if self.tries >= TRIES {
            // Without a program there is nothing to do but to report again.
            self.turn_to(if self.is_erased { Does::Report } else { Does::Run });
        }
        let number = self.number;
        match self.does {
            Does::Run => {
                air.say(&format!("{number};1;1;0;0;21.5"));
                self.next = Instant::now() + SAYS_SOMETHING;
                return;
            }
            Does::Report => air.say(&format!("{number};255;4;0;0;{}0003", words(&self.runs))),
            Does::Load([kind, version, ..], lacks) => {
                air.say(&format!("{number};255;4;0;2;{}", words(&[kind, version, lacks - 1])));
            }
        }
        self.tries += 1;
        self.next = Instant::now() + AGAIN;
    }

    fn hear(&mut self, command: &str, kind: &str, payload: &str) {
        let Some(bytes) = wharf::control::unhex(payload) else { return };
        let word = |at: usize| u16::from_le_bytes([bytes[2 * at], bytes[2 * at + 1]]);
        match (&self.does, command, kind, bytes.len()) {
            (Does::Run, "3", "13", 0) => {
                self.restarts += 1;
                self.turn_to(Does::Report);
            }
            (Does::Report, "4", "1", 8) => {
                let offered = [word(0), word(1), word(2), word(3)];
                if offered == self.runs {
                    return self.turn_to(Does::Run);
                }
                self.memory = vec![0; usize::from(offered[2]) * 16];
                self.is_erased = true;
                self.turn_to(Does::Load(offered, offered[2]));
            }
            (&Does::Load(offered, lacks), "4", "3", 22) => {
                if [word(0), word(1), word(2)] != [offered[0], offered[1], lacks - 1] {
                    return;
                }
                self.memory[usize::from(lacks - 1) * 16..][..16].copy_from_slice(&bytes[6..]);
                if lacks > 1 {
                    return self.turn_to(Does::Load(offered, lacks - 1));
                }
                if crc16(&self.memory) == offered[3] {
                    (self.runs, self.is_erased) = (offered, false);
                }
                self.turn_to(Does::Report);
            }
            _ => {}
        }
    }
}

fn words(words: &[u16]) -> String {
    words.iter().flat_map(|word| word.to_le_bytes()).map(|byte| format!("{byte:02X}")).collect()
}

/// As bootloaders reckon it, bit by bit.
fn crc16(bytes: &[u8]) -> u16 {
    let mut crc = !0;
    for byte in bytes {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xA001 } else { crc >> 1 };
        }
    }
    crc
}
