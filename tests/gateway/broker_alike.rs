//! The local broker and a Mosquitto are told the same things in the same order, at random, and every client has to hear
//! the same from both after each step.
//!
//! Left to a broker by the standard, and therefore not compared: whether a message that fits several subscriptions comes
//! once or several times, and in which order retained messages come. `SEEDS=40` in the environment makes it more than the
//! six stories it is otherwise.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::lab::broker::Mosquitto;
use crate::lab::free_port;
use crate::lab::gateway::Site;
use crate::lab::raw::{Heard, Raw, packet, string};

const CLIENTS: usize = 4;
const STEPS: usize = 250;
const TOPICS: [&str; 7] = ["a", "a/b", "a/b/c", "b", "/a", "a/", "a//c"];
const FILTERS: [&str; 12] = ["#", "+", "a/#", "a/+", "+/+", "a/b", "+/b/#", "/+", "a/+/c", "b", "+/#", "a/b/c/#"];

/// Something a client does.
#[derive(Clone, Debug)]
enum Step {
    Connect {
        clean: bool,
    },
    Leave,
    Cut,
    /// With the options of MQTT 5, of which 3.1.1 knows the QoS.
    Subscribe {
        filter: &'static str,
        options: u8,
    },
    Unsubscribe {
        filter: &'static str,
    },
    Publish {
        topic: &'static str,
        qos: u8,
        retain: bool,
        payload: String,
    },
}

/// What a client heard in one step: topic, payload and retain flag, and the highest QoS it came with.
type Ear = BTreeMap<(String, String, bool), u8>;

/// The clients of one broker.
struct World {
    port: u16,
    five: bool,
    seed: u64,
    clients: [Option<Raw>; CLIENTS],
}

impl World {
    fn new(port: u16, five: bool, seed: u64) -> Self {
        Self { port, five, seed, clients: Default::default() }
    }

    /// Does it, and says what came of it: the answer, and what everybody heard.
    fn take(&mut self, who: usize, step: &Step) -> (Vec<u8>, Vec<Ear>) {
        let mut ears = vec![Ear::new(); CLIENTS];
        let answer = match (step, self.clients[who].take()) {
            (Step::Connect { clean }, None) => {
                let (raw, present) = self.connect(who, *clean);
                self.clients[who] = Some(raw);
                vec![u8::from(present)]
            }
            (Step::Leave, Some(mut raw)) => {
                raw.say(&[0xe0, 0]);
                assert_eq!(raw.hear(), Heard::End);
                Vec::new()
            }
            (Step::Cut, Some(raw)) => {
                raw.cut();
                // The broker knows of it once it has taken the next one of that name, so this one comes and goes.
                let (mut next, _) = self.connect(who, false);
                // It takes what is under way, so that nothing is left half done.
                listen(&mut next, &mut ears[who], self.five);
                next.say(&[0xe0, 0]);
                assert_eq!(next.hear(), Heard::End);
                Vec::new()
            }
            (step, Some(mut raw)) => {
                raw.say(&self.bytes(step));
                let answer = match step {
                    Step::Publish { qos: 0, .. } => Vec::new(),
                    _ => answer(&mut raw, &mut ears[who], self.five),
                };
                self.clients[who] = Some(raw);
                answer
            }
            (_, None) => Vec::new(),
        };
        // Who did it first: its answer says that the broker is done with it.
        for at in [who].into_iter().chain(0..CLIENTS) {
            if let Some(raw) = &mut self.clients[at] {
                listen(raw, &mut ears[at], self.five);
            }
        }
        (answer, ears)
    }

    /// Connects a client whose session stays, unless it is to be a clean one of 3.1.1; and whether it had one.
    fn connect(&self, who: usize, clean: bool) -> (Raw, bool) {
        let id = format!("client-{}-{who}", self.seed);
        if self.five { Raw::v5(self.port, &id, clean, &[0x11, 0, 0, 1, 0]) } else { Raw::v3(self.port, &id, clean) }
    }

    fn bytes(&self, step: &Step) -> Vec<u8> {
        let none: &[u8] = if self.five { &[0] } else { &[] };
        match step {
            Step::Subscribe { filter, options } => {
                let options = if self.five { *options } else { options & 3 };
                packet(0x82, &[&[0, 9], none, &string(filter), &[options]].concat())
            }
            Step::Unsubscribe { filter } => packet(0xa2, &[&[0, 9], none, &string(filter)].concat()),
            Step::Publish { topic, qos, retain, payload } => {
                let id: &[u8] = if *qos > 0 { &[0, 9] } else { &[] };
                let first = 0x30 | qos << 1 | u8::from(*retain);
                packet(first, &[&string(topic), id, none, payload.as_bytes()].concat())
            }
            Step::Connect { .. } | Step::Leave | Step::Cut => unreachable!("these are no packets of their own"),
        }
    }
}

/// The answer to what was said; what is heard before it is taken.
fn answer(raw: &mut Raw, ear: &mut Ear, five: bool) -> Vec<u8> {
    loop {
        match raw.hear() {
            Heard::Packet(0x90 | 0xb0, body) => return body,
            // Of a PUBACK only that it comes: whether somebody hears the message need not be told.
            Heard::Packet(0x40 | 0x70, body) => return body[..2].to_vec(),
            Heard::Packet(0x50, body) => raw.say(&packet(0x62, &body[..2])),
            Heard::Packet(first, body) => take_in(raw, first, &body, ear, five),
            Heard::End => panic!("the broker has closed the connection"),
        }
    }
}

/// Takes what has come so far. A broker may answer a ping before it sends what waits, and each step of QoS 2 takes one.
fn listen(raw: &mut Raw, ear: &mut Ear, five: bool) {
    for _ in 0..4 {
        raw.say(&[0xc0, 0]);
        loop {
            match raw.hear() {
                Heard::Packet(0xd0, _) => break,
                Heard::Packet(first, body) => take_in(raw, first, &body, ear, five),
                Heard::End => panic!("the broker has closed the connection"),
            }
        }
    }
}

fn take_in(raw: &mut Raw, first: u8, body: &[u8], ear: &mut Ear, five: bool) {
    if first == 0x62 {
        return raw.say(&packet(0x70, &body[..2]));
    }
    assert_eq!(first & 0xf0, 0x30, "{first:02x} {body:02x?}");
    let qos = first >> 1 & 3;
    let (topic, mut rest) = body[2..].split_at(usize::from(u16::from_be_bytes([body[0], body[1]])));
    if qos > 0 {
        raw.say(&packet(if qos == 1 { 0x40 } else { 0x50 }, &rest[..2]));
        rest = &rest[2..];
    }
    if five {
        assert_eq!(rest[0], 0, "properties nobody gave: {body:02x?}");
        rest = &rest[1..];
    }
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let highest = ear.entry((text(topic), text(rest), first & 1 == 1)).or_default();
    *highest = qos.max(*highest);
}

fn any<T: Copy>(random: &mut fastrand::Rng, of: &[T]) -> T {
    of[random.usize(..of.len())]
}

fn step(random: &mut fastrand::Rng, connected: bool, number: usize) -> Step {
    if !connected {
        return Step::Connect { clean: random.u8(..4) == 0 };
    }
    match random.u8(..20) {
        0 => Step::Cut,
        1 | 2 => Step::Leave,
        3..8 => {
            let filter = any(random, &FILTERS);
            // Not what one published oneself. Mosquitto 2.0.11 goes by the first subscription of that filter, so it
            // is always the same.
            let no_local = if ["a/+", "b"].contains(&filter) { 4 } else { 0 };
            Step::Subscribe { filter, options: random.u8(..3) | no_local | any(random, &[0, 0, 0x10, 0x20]) }
        }
        8 | 9 => Step::Unsubscribe { filter: any(random, &FILTERS) },
        _ => Step::Publish {
            topic: any(random, &TOPICS),
            qos: random.u8(..3),
            retain: random.u8(..4) == 0,
            payload: if random.u8(..6) == 0 { String::new() } else { number.to_string() },
        },
    }
}

fn compare(five: bool) {
    let ours = free_port();
    let site = Site::new(&format!("gateway: gw1\nbroker: {{ listen: [127.0.0.1:{ours}] }}\n"));
    let gateway = site.run();
    gateway.wait_log("local broker listening");
    // What the gateway says of itself, everybody hears here and nobody there.
    let quiet =
        |ears: &mut Vec<Ear>| ears.iter_mut().for_each(|ear| ear.retain(|(topic, ..), _| !topic.starts_with("gw1-")));
    let seeds = std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(6);
    for seed in 0..seeds {
        let theirs = Mosquitto::with("allow_anonymous true\nallow_duplicate_messages true\n");
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut left, mut right) = (World::new(ours, five, seed), World::new(theirs.port, five, seed));
        let mut story = String::new();
        for number in 0..STEPS {
            let who = random.usize(..CLIENTS);
            let step = step(&mut random, left.clients[who].is_some(), number);
            writeln!(story, "client {who}: {step:?}").unwrap();
            let (mut got, wanted) = (left.take(who, &step), right.take(who, &step));
            quiet(&mut got.1);
            if got != wanted {
                let last: Vec<&str> = story.lines().rev().take(60).collect();
                let last: Vec<&str> = last.into_iter().rev().collect();
                panic!("seed {seed}, step {number}\nours:      {got:?}\nMosquitto: {wanted:?}\n{}", last.join("\n"));
            }
        }
        // The next seed finds nothing of this one.
        left.clients[0] = None;
        let _ = left.take(0, &Step::Connect { clean: true });
        for topic in &TOPICS {
            let clear = Step::Publish { topic, qos: 1, retain: true, payload: String::new() };
            let _ = left.take(0, &clear);
        }
    }
}

#[test]
fn clients_of_3_1_1_hear_the_same_from_ours_and_from_mosquitto() {
    compare(false);
}

#[test]
fn clients_of_5_hear_the_same_from_ours_and_from_mosquitto() {
    compare(true);
}
