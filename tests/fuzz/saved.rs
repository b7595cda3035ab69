//! Opens what the local broker keeps, in a directory made of arbitrary bytes.
//!
//! The bytes are a program for a vandal who knows the format: it writes files of frames with good checksums and
//! nonsense in them, and then damages them. Whatever comes of it, the store has to start, to take changes, and to
//! say the same after a restart.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::broker::store::{Change, Origin, Publication, Qos, Saved, SessionFacts, Settings, Stage, Store, Waiting};

/// Runs one program.
pub fn run(input: &[u8]) {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory");
    Vandal { input, number: 1, seq: 1 << 32, file: Vec::new() }.run(dir.path());
    live(dir.path());
}

/// What every store has to be capable of.
fn live(dir: &Path) {
    let (found, store) = open(dir);
    let mut journal = store.journal();
    if journal.wants_everything() {
        journal.start_over(found.clone());
    }
    let new = Arc::new(Publication { from: Origin::Gateway, ..Publication::new("a", "new") });
    journal.note(Change::Retained(&new));
    for session in &found.sessions {
        let (client, number) = (&*session.client, session.waiting.last().map_or(0, |last| last.number));
        journal.note(Change::Done { client, number });
        let Some(number) = number.checked_add(1) else { continue };
        let (publication, qos, stage) = (new.clone(), Qos::AtLeastOnce, Stage::Waiting);
        let waiting = Waiting { number, publication, qos, retain: false, subscriptions: Vec::new(), stage };
        journal.note(Change::Queued { client, waiting: &waiting });
    }
    journal.note(Change::Session(SessionFacts { client: "new", user: None, expiry: 7, away_since: None }));
    store.close().expect("a disk that works");
    drop(store);

    let (again, store) = open(dir);
    assert_eq!(store.counters().damaged, 0, "it was mended");
    store.close().expect("a disk that works");
    drop(store);
    let mut expected = found;
    expected.retained.retain(|kept| &*kept.topic != "a");
    expected.retained.push(new.clone());
    for session in &mut expected.sessions {
        let number = session.waiting.pop().map_or(0, |last| last.number);
        let Some(number) = number.checked_add(1) else { continue };
        let (publication, qos, stage) = (new.clone(), Qos::AtLeastOnce, Stage::Waiting);
        session.waiting.push(Waiting { number, publication, qos, retain: false, subscriptions: Vec::new(), stage });
    }
    assert_eq!(timeless(again), with_new_session(timeless(expected)), "a restart changes nothing");
}

fn with_new_session(mut saved: Saved) -> Saved {
    let at = saved.sessions.partition_point(|session| &*session.client < "new");
    if saved.sessions.get(at).is_none_or(|session| &*session.client != "new") {
        let waiting = Vec::new();
        saved.sessions.insert(at, session("new", waiting));
    }
    saved.sessions[at].expiry = 7;
    saved.sessions[at].user = None;
    saved
}

fn session(client: &str, waiting: Vec<Waiting>) -> crate::broker::store::SavedSession {
    let (subscriptions, incoming) = (Vec::new(), Vec::new());
    crate::broker::store::SavedSession {
        client: client.into(),
        user: None,
        expiry: 0,
        away_since: None,
        subscriptions,
        waiting,
        incoming,
    }
}

/// Without what changes while one looks: how long a client has been away, and what expires.
fn timeless(mut saved: Saved) -> Saved {
    saved.retained.retain(|kept| kept.expires.is_none());
    saved.retained.sort_by(|one, other| one.topic.cmp(&other.topic));
    for session in &mut saved.sessions {
        session.away_since = None;
        session.waiting.retain(|waiting| waiting.publication.expires.is_none());
    }
    saved
}

fn open(dir: &Path) -> (Saved, Store) {
    // Nothing is written before it is closed.
    let later = Duration::from_secs(3600);
    Store::open_with(dir, Settings { commit: later, ..Settings::default() }).expect("no newer version")
}

struct Vandal<'a> {
    input: &'a [u8],
    number: u64,
    seq: u64,
    file: Vec<u8>,
}

impl Vandal<'_> {
    fn run(mut self, dir: &Path) {
        self.file = header(1);
        while let Some(order) = self.byte() {
            match order % 16 {
                0..=8 => self.frame(),
                9 => self.put(&[0]),
                10 => self.clock(),
                11 => self.seq = self.seq.wrapping_add(self.small() as u64),
                12 => {
                    let at = self.small() % self.file.len();
                    self.file[at] ^= 1 << (order / 32);
                }
                13 => {
                    let length = (self.small() % 64).min(self.input.len());
                    self.file.extend_from_slice(&self.input[..length]);
                }
                14 => {
                    self.save(dir);
                    self.number += 1;
                    self.seq = self.number << 32;
                    self.file = header(self.number);
                }
                _ => {
                    let length = self.small() % self.file.len();
                    let keep = self.file.len() - length.min(40);
                    // Not the header: whoever cuts that leaves another version's by chance.
                    self.file.truncate(keep.max(24));
                }
            }
        }
        self.save(dir);
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.input.split_first()?;
        self.input = rest;
        Some(*first)
    }

    fn small(&mut self) -> usize {
        usize::from(self.byte().unwrap_or(0)) | usize::from(self.byte().unwrap_or(0)) << 8
    }

    /// A frame of the input's own bytes.
    fn frame(&mut self) {
        let length = (usize::from(self.byte().unwrap_or(0)) % 80).min(self.input.len());
        let (body, rest) = self.input.split_at(length);
        self.input = rest;
        self.put(body);
    }

    fn clock(&mut self) {
        let mut body = vec![1];
        body.extend([self.byte().unwrap_or(0) % 2; 16]);
        body.extend((self.small() as i64 - 30_000).to_le_bytes());
        self.put(&body);
    }

    fn put(&mut self, body: &[u8]) {
        let mut frame = (body.len() as u32).to_le_bytes().to_vec();
        frame.extend(self.seq.to_le_bytes());
        frame.extend(1_795_000_000_000_u64.to_le_bytes());
        frame.push(0);
        frame.extend_from_slice(body);
        let crc = crc32c::crc32c(&frame);
        self.file.extend_from_slice(&frame[..4]);
        self.file.extend(crc.to_le_bytes());
        self.file.extend_from_slice(&frame[4..]);
        self.seq = self.seq.wrapping_add(1);
    }

    fn save(&mut self, dir: &Path) {
        // A header of a newer version is refused, rightly. Whatever a bit makes of it, its checksum does not fit.
        fs::write(dir.join(format!("{:020}.log", self.number)), &self.file).expect("a disk that works");
    }
}

fn header(number: u64) -> Vec<u8> {
    let mut header = b"whbs\0\0\0\0".to_vec();
    header.extend(1_u32.to_le_bytes());
    header.extend([0; 4]);
    header.extend(number.to_le_bytes());
    let crc = crc32c::crc32c(&header[8..]);
    header[4..8].copy_from_slice(&crc.to_le_bytes());
    header
}
