//! The fuzz target for the MQTT-SN gateway. The input is a program: datagrams from a few peers, what the
//! broker says, and time that passes; and it is a stream from a serial line. Nothing may panic; what is a
//! message is the same when it is written and read again; every bound holds; what the broker is asked is
//! allowed; and the gateway never asks to be called again at once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use wharf_mqttsn::client::Rules;
use wharf_mqttsn::client::topics::{Predefined, is_filter, is_topic};
use wharf_mqttsn::config::Framing;
use wharf_mqttsn::field::frames::Frames;
use wharf_mqttsn::gateway::{Access, Gateway, Key, Output, Way};
use wharf_mqttsn::message::{LONGEST, Message, Qos};
use wharf_mqttsn::upstream::{Delivery, News, Receipt, Request};

const CLIENTS: usize = 3;
const BUFFER: usize = 4;
const TOPICS: usize = 3;

/// What is delivered.
const TOPIC_NAMES: [&str; 6] = ["a", "ab", "a/b", "c/d", "e/f", "known"];

/// Tries one input.
pub fn run(input: &[u8]) {
    for framing in [Framing::Plain, Framing::Hdlc] {
        let (mut whole, mut pieces) = (Frames::new(framing), Frames::new(framing));
        let at_once = whole.push(input);
        let in_pieces: Vec<_> = input.chunks(7).flat_map(|piece| pieces.push(piece)).collect();
        assert_eq!(at_once, in_pieces);
        assert!(pieces.held() <= LONGEST * 2 + 7);
    }
    Scene::new().run(input);
}

struct Scene {
    gateway: Gateway,
    now: Instant,
    keys: Vec<Key>,
    tags: Vec<(Key, u16, bool)>,
    receipts: u16,
}

impl Scene {
    fn new() -> Self {
        let predefined = Predefined(vec![(1, "known".into())]);
        let rules = Rules {
            retry: Duration::from_secs(10),
            tries: 2,
            wait: Duration::from_secs(300),
            topics: TOPICS,
            buffer: BUFFER,
            predefined,
        };
        let access = Access {
            gateway: 1,
            own_id: "s0".into(),
            networks: Vec::new(),
            ids: Vec::new(),
            clients: CLIENTS,
            qos_minus_one: true,
            rate: 1000,
            advertise: Some(Duration::from_secs(900)),
        };
        let now = Instant::now();
        let gateway = Gateway::new(access, Arc::new(rules), now);
        Self { gateway, now, keys: Vec::new(), tags: Vec::new(), receipts: 0 }
    }

    fn run(&mut self, mut program: &[u8]) {
        while let Some((&[what, length], rest)) = program.split_first_chunk() {
            let (argument, rest) = rest.split_at(usize::from(length % 32).min(rest.len()));
            program = rest;
            let mut out = Vec::new();
            match what % 8 {
                0 => self.gateway.receive(way(length), argument, self.now, &mut out),
                1..=4 => {
                    // Few inputs would have a length that fits.
                    let mut fitted = vec![u8::try_from(argument.len() + 1).unwrap_or(2)];
                    fitted.extend_from_slice(argument);
                    if let Ok(message) = Message::read(&fitted) {
                        assert_eq!(Message::read(&message.write().expect("it was read")), Ok(message));
                    }
                    self.gateway.receive(way(length), &fitted, self.now, &mut out);
                }
                5 | 6 => self.broker(what, length, argument, &mut out),
                _ => self.now += Duration::from_secs(u64::from(length)),
            }
            self.gateway.tick(self.now, &mut out);
            assert!(self.gateway.due().is_none_or(|due| due > self.now), "it would never rest");
            self.check(out);
        }
        let mut out = Vec::new();
        self.gateway.end(&mut out);
        assert!(self.gateway.is_empty());
    }

    fn broker(&mut self, what: u8, length: u8, argument: &[u8], out: &mut Vec<Output>) {
        let Some(key) = self.keys.get(usize::from(length / 32) % self.keys.len().max(1)).copied() else { return };
        let Some(session) = self.gateway.session_of(key) else { return };
        let choice = argument.first().copied().unwrap_or_default();
        let tag = self.tags.iter().position(|(of, ..)| *of == key).map(|at| self.tags.swap_remove(at));
        let news = match (what / 8 % 6, tag) {
            (0, _) => News::Connected,
            (1, Some((_, tag, true))) => News::Subscribed(tag, (choice % 2 == 0).then_some(Qos::AtLeastOnce)),
            (1 | 2, Some((_, tag, false))) => News::Published(tag),
            (3, _) if choice == 255 => News::Lost("gone".into()),
            (4, _) => News::Fenced,
            _ => {
                let qos = Qos::from_bits(choice % 3);
                self.receipts = self.receipts.wrapping_add(1);
                let receipt = (qos != Qos::AtMostOnce).then_some(Receipt { id: self.receipts, qos });
                let topic = TOPIC_NAMES[usize::from(choice / 3) % TOPIC_NAMES.len()].to_owned();
                let payload = Bytes::copy_from_slice(argument);
                News::Delivery(Delivery { topic, payload, qos, retain: choice > 127, receipt })
            }
        };
        self.gateway.news(key, session, news, self.now, out);
    }

    fn check(&mut self, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Send(_, message) | Output::Broadcast(message) => {
                    assert_eq!(Message::read(&message.write().expect("it is not too long")), Ok(message));
                }
                Output::Ask(key, Request::Connect { client, will, .. }) => {
                    assert!(!client.is_empty() && will.is_none_or(|will| is_topic(&will.topic)));
                    self.keys.retain(|of| *of != key);
                    self.keys.push(key);
                }
                Output::Ask(key, Request::Publish { topic, tag, qos, .. }) => {
                    assert!(is_topic(&topic) && qos != Qos::Unconnected);
                    self.tags.extend(tag.map(|tag| (key, tag, false)));
                }
                Output::Ask(key, Request::Subscribe { filter, tag, qos }) => {
                    assert!(is_filter(&filter) && qos != Qos::Unconnected);
                    self.tags.push((key, tag, true));
                }
                Output::Forget(key) => {
                    self.keys.retain(|of| *of != key);
                    self.tags.retain(|(of, ..)| *of != key);
                }
                Output::Ask(..) | Output::Count(_) | Output::Complain(_) => {}
            }
        }
        assert!(self.gateway.len() <= CLIENTS);
        for client in self.gateway.describe(self.now).as_array().into_iter().flatten() {
            assert!(client["waiting"].as_u64() <= Some(BUFFER as u64 + 1), "{client}");
            assert!(client["topics"].as_u64() <= Some(TOPICS as u64), "{client}");
        }
    }
}

fn way(choice: u8) -> Way {
    match choice / 32 {
        0 => Way::Line,
        port => Way::Udp(([127, 0, 0, 1], 1000 + u16::from(port % 4)).into()),
    }
}
