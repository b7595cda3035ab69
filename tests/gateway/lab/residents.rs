//! Who lives at the local broker of a site: ten clients that publish numbers, one that breaks off and says things
//! again, one that tries what it may not, one that comes and goes, and one with a will.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use super::raw::{Heard, Raw, connect_v3, packet, string};
use super::tools::{Pub, Who};

/// A client that publishes numbers, one after the other.
pub struct Talker {
    pub who: Who,
    /// Where it publishes.
    pub topic: &'static str,
    /// What is heard upstream of it, if anything is to be.
    pub upstream: Option<&'static str>,
    /// Whether it wants the last one retained.
    retained: bool,
}

const fn talker(
    (id, user, version, qos): (&'static str, &'static str, &'static str, u8),
    topic: &'static str,
    upstream: Option<&'static str>,
) -> Talker {
    Talker { who: Who { id, user, version, qos }, topic, upstream, retained: false }
}

/// All that publish numbers, but for the one that says things again.
pub const TALKERS: [Talker; 10] = [
    talker(("plug1", "plug", "311", 0), "tele/plug1/fast", Some("gw1-site/plug1/fast")),
    talker(("plug2", "plug", "5", 0), "tele/plug2/energy", Some("gw1-site/plug2/tele/energy")),
    talker(("plug3", "plug", "311", 1), "tele/plug3/energy", Some("gw1-site/plug3/tele/energy")),
    talker(("plug4", "plug", "5", 1), "tele/plug4/energy", Some("gw1-site/plug4/tele/energy")),
    talker(("plug5", "plug", "311", 2), "tele/plug5/energy", Some("gw1-site/plug5/tele/energy")),
    talker(("plug6", "plug", "5", 2), "tele/plug6/energy", Some("gw1-site/plug6/tele/energy")),
    talker(("door1", "door", "311", 1), "by/door/door1/opened", Some("gw1-doors/door1/door/opened")),
    talker(("door2", "door", "5", 2), "by/door/door2/opened", Some("gw1-doors/door2/door/opened")),
    Talker { retained: true, ..talker(("gauge", "gauge", "5", 1), "state/level", Some("gw1-state/level")) },
    talker(("stove", "gauge", "311", 1), "inside/stove", None),
];
/// The one whose messages go upstream as hard as they were published, which is not hard at all.
pub const UNSURE: &str = "tele/plug1/fast";
/// Where the one publishes that says things again, and what is heard of it upstream.
pub const REPEATED: (&str, &str) = ("tele/plc/count", "gw1-site/plc/tele/count");
/// What the one says that tries what it may not.
pub const FORBIDDEN: &str = "88";
/// How long the one that comes and goes stays, and is away.
const VISIT: Duration = Duration::from_secs(3);

/// Connects with MQTT 3.1.1, user and password. Whether there was a session.
fn login(port: u16, id: &str, user: &str, clean: bool, will: Option<(&str, &str)>) -> (Raw, bool) {
    // User name and password; a will with QoS 1 that is retained.
    let flags = 0xc0 | if clean { 2 } else { 0 } | if will.is_some() { 0x2c } else { 0 };
    let will = will.map(|(topic, payload)| [string(topic), string(payload)].concat()).unwrap_or_default();
    let mut raw = Raw::new(port);
    raw.say(&packet(0x10, &connect_v3(4, flags, 60, &[string(id), will, string(user), string(user)].concat())));
    match raw.hear() {
        Heard::Packet(0x20, body) if body[1] == 0 => (raw, body[0] == 1),
        other => panic!("{other:?} in answer to the CONNECT of {id}"),
    }
}

fn publish(first: u8, topic: &str, id: u16, payload: &str) -> Vec<u8> {
    packet(first, &[&string(topic)[..], &id.to_be_bytes(), payload.as_bytes()].concat())
}

/// A client that is there and has a will: `stat/lamp/LWT` says whether it is.
pub struct Lamp(Raw);

impl Lamp {
    pub fn connect(port: u16) -> Self {
        let (mut raw, _) = login(port, "lamp", "plug", true, Some(("stat/lamp/LWT", "Offline")));
        raw.say(&publish(0x33, "stat/lamp/LWT", 1, "Online"));
        raw.hears(0x40, &[0, 1]);
        Self(raw)
    }

    /// Goes without a word.
    pub fn cut(self) {
        self.0.cut();
    }
}

/// All who publish numbers, the same one every time, at a pace.
pub struct Chorus {
    said: Arc<AtomicU64>,
    repeated_from: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Chorus {
    /// Begins with 1.
    pub fn start(port: u16, every: Duration) -> Self {
        let (said, stop): (Arc<AtomicU64>, Arc<AtomicBool>) = Default::default();
        let repeated_from = Arc::new(AtomicU64::new(u64::MAX));
        let thread = std::thread::spawn({
            let (said, repeated_from, stop) = (said.clone(), repeated_from.clone(), stop.clone());
            move || {
                let mut talkers: Vec<Pub> = TALKERS.iter().map(|talker| talker.start(port)).collect();
                let who = Who { id: "plug8", user: "plug", version: "311", qos: 1 };
                let mut intruder = Pub::start(port, &who, "gw1-in/tank/setpoint", &[]);
                let mut plc = Plc::connect(port);
                let mut next = Instant::now();
                for number in 1.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    talkers.iter_mut().for_each(|talker| talker.say(&number.to_string()));
                    intruder.say(FORBIDDEN);
                    plc = plc.say(number, is_repeated(number, &repeated_from));
                    said.store(number, Ordering::SeqCst);
                    next += every;
                    sleep(next.saturating_duration_since(Instant::now()));
                }
                talkers.into_iter().chain([intruder]).for_each(Pub::finish);
            }
        });
        Self { said, repeated_from, stop, thread: Some(thread) }
    }

    /// The last number that each of them has said.
    pub fn said(&self) -> u64 {
        self.said.load(Ordering::SeqCst)
    }

    /// From now on the one that says things again does so.
    pub fn repeat(&self) {
        self.repeated_from.store(self.said() + 1, Ordering::SeqCst);
    }

    /// Whether it may have said this number again.
    pub fn may_be_repeated(&self, number: u64) -> bool {
        is_repeated(number, &self.repeated_from)
    }

    /// Has them finish, which they are once all is acknowledged. The last number.
    pub fn finish(&mut self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
        self.said()
    }
}

impl Drop for Chorus {
    fn drop(&mut self) {
        end(&self.stop, self.thread.take());
    }
}

fn is_repeated(number: u64, from: &AtomicU64) -> bool {
    number >= from.load(Ordering::SeqCst) && number.is_multiple_of(25)
}

impl Talker {
    fn start(&self, port: u16) -> Pub {
        Pub::start(port, &self.who, self.topic, if self.retained { &["-r"] } else { &[] })
    }
}

/// One with a session that breaks off before its message is acknowledged, and sends it again.
struct Plc {
    raw: Raw,
    port: u16,
}

impl Plc {
    fn connect(port: u16) -> Self {
        let (raw, _) = login(port, "plc", "plug", false, None);
        Self { raw, port }
    }

    fn say(mut self, number: u64, again: bool) -> Self {
        let id = (number % 1000) as u16 + 1;
        let said = |first| publish(first, REPEATED.0, id, &number.to_string());
        self.raw.say(&said(0x32));
        if again {
            self.raw.cut();
            let (raw, present) = login(self.port, "plc", "plug", false, None);
            assert!(present, "its session is gone");
            self.raw = raw;
            self.raw.say(&said(0x3a));
        }
        self.raw.hears(0x40, &id.to_be_bytes());
        self
    }
}

/// One with a session that is there for a while and away for a while.
pub struct Tablet {
    heard: Arc<Mutex<Vec<Taken>>>,
    visits: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What it was sent.
#[derive(Clone, Debug)]
pub struct Taken {
    pub topic: String,
    pub payload: String,
    /// Whether it may have been sent before.
    pub again: bool,
}

impl Tablet {
    /// Subscribes to everything below `tele` with QoS 1.
    pub fn start(port: u16) -> Self {
        let (mut raw, _) = login(port, "tablet", "panel", false, None);
        raw.say(&packet(0x82, &[&[0, 9][..], &string("tele/#"), &[1]].concat()));
        raw.hears(0x90, &[0, 9, 1]);
        let (heard, visits, stop): (Arc<Mutex<Vec<Taken>>>, Arc<AtomicU64>, Arc<AtomicBool>) = Default::default();
        let thread = std::thread::spawn({
            let (heard, visits, stop) = (heard.clone(), visits.clone(), stop.clone());
            move || {
                loop {
                    let over = Instant::now() + VISIT;
                    // The last visit is as long as it has to be.
                    while stop.load(Ordering::SeqCst) || Instant::now() < over {
                        match take(&mut raw) {
                            Some(taken) => heard.lock().unwrap().push(taken),
                            None if stop.load(Ordering::SeqCst) => return,
                            None => {}
                        }
                    }
                    raw.cut();
                    sleep(VISIT);
                    let present;
                    (raw, present) = login(port, "tablet", "panel", false, None);
                    assert!(present, "its session is gone");
                    visits.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        Self { heard, visits, stop, thread: Some(thread) }
    }

    /// Has it stay until nothing more comes. What it was sent, and how often it came back.
    pub fn finish(&mut self) -> (Vec<Taken>, u64) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
        let heard = self.heard.lock().unwrap().clone();
        (heard, self.visits.load(Ordering::SeqCst))
    }
}

impl Drop for Tablet {
    fn drop(&mut self) {
        end(&self.stop, self.thread.take());
    }
}

/// However it ended: who drops it has something else to tell.
fn end(stop: &AtomicBool, thread: Option<JoinHandle<()>>) {
    stop.store(true, Ordering::SeqCst);
    let _ = thread.map(JoinHandle::join);
}

/// The next message, acknowledged; `None` if none comes for a second.
fn take(raw: &mut Raw) -> Option<Taken> {
    raw.waits(Duration::from_secs(1));
    let Heard::Packet(first, body) = raw.try_hear()? else { panic!("the broker closes the tablet's connection") };
    assert_eq!(first & 0xf0, 0x30, "{first:02x} {body:02x?}");
    let (topic, rest) = body[2..].split_at(usize::from(u16::from_be_bytes([body[0], body[1]])));
    let payload = match first & 6 {
        0 => rest,
        _ => {
            raw.say(&packet(0x40, &rest[..2]));
            &rest[2..]
        }
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Some(Taken { topic: text(topic), payload: text(payload), again: first & 8 != 0 })
}
