//! Opens a queue in a directory made of arbitrary bytes.
//!
//! The bytes are a program for a vandal who knows the format: it writes segments, records, ledgers,
//! cursor slots and marks with good checksums and nonsense in them, and then damages them. Whatever comes
//! of it, the queue has to start, to read to its end, to take new records, and to say the same
//! after a restart: `captured = acknowledged + queued + dropped`, and what it calls queued is what
//! can be read.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::queue::{Counters, Queue, Seq, Settings};

const SLOT: usize = 256 * 1024;
const SEGMENT: usize = 64 * 1024;

/// Runs one program.
pub fn run(input: &[u8]) {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory");
    Vandal { input, dir: dir.path(), segment: Vec::new(), first: 0, seq: 0 }.run();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(live(dir.path()));
}

/// What every queue has to be capable of.
async fn live(dir: &Path) {
    let queue = open(dir);
    let found = read_all(&queue).await;
    let counters = balanced(&queue);
    assert_eq!(counters.queued, found.len() as u64, "what waits can be read");

    let end = queue.end();
    for n in 0..3u8 {
        queue.append(vec![n; 40].into()).await.expect("an open queue");
    }
    if let Some(first) = found.first() {
        queue.acknowledge(*first);
    }
    queue.close().await.expect("a disk that works");
    let before = balanced(&queue);
    drop(queue);

    let queue = open(dir);
    let after = balanced(&queue);
    let lasting = |counters: &Counters| (counters.captured, counters.acknowledged, counters.queued, counters.dropped);
    assert_eq!(lasting(&after), lasting(&before), "a restart changes nothing");
    let again = read_all(&queue).await;
    let expected: Vec<Seq> = found.into_iter().skip(1).chain((0..3).map(|n| nth(end, n))).collect();
    assert_eq!(again, expected, "nothing is forgotten, repeated or reordered");
    queue.close().await.expect("a disk that works");
}

fn nth(seq: Seq, n: u32) -> Seq {
    (0..n).fold(seq, |seq, _| seq.next())
}

fn open(dir: &Path) -> Queue {
    let settings = Settings {
        max_size: 64 << 20,
        min_free: 0,
        commit_interval: Duration::ZERO,
        segment_size: SEGMENT as u64,
        ..Settings::new(dir)
    };
    Queue::open(settings).expect("a queue always starts")
}

async fn read_all(queue: &Queue) -> Vec<Seq> {
    let start = Instant::now();
    let (mut from, mut found) = (Seq::FIRST, Vec::new());
    loop {
        assert!(start.elapsed() < Duration::from_secs(20), "reading comes to an end");
        let records = queue.read(from, queue.end(), 100, 1 << 20).await.expect("an open queue");
        let Some(last) = records.last() else { return found };
        from = last.seq.next();
        found.extend(records.iter().map(|record| record.seq));
        assert!(found.is_sorted_by(|a, b| a < b), "in order, and none twice");
    }
}

fn balanced(queue: &Queue) -> Counters {
    let counters = queue.counters();
    let sum = counters.acknowledged + counters.queued + counters.dropped.total();
    assert_eq!(counters.captured, sum, "{counters:?}");
    counters
}

/// Turns bytes into files.
struct Vandal<'a> {
    input: &'a [u8],
    dir: &'a Path,
    /// The segment that is being written.
    segment: Vec<u8>,
    first: u64,
    seq: u64,
}

impl Vandal<'_> {
    fn run(mut self) {
        while let Some(step) = self.byte() {
            match step % 10 {
                0 => self.new_segment(),
                1..4 => self.record(),
                4 => self.ledger_frame(),
                5 => self.garbage(),
                6 => self.slot(),
                7 => self.flip(),
                8 => self.cut(),
                _ => self.seq = self.seq.wrapping_add(u64::from(self.short())),
            }
        }
        self.finish_segment();
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.input.split_first()?;
        self.input = rest;
        Some(*first)
    }

    fn small(&mut self) -> u64 {
        u64::from(self.byte().unwrap_or_default())
    }

    fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte().unwrap_or_default(), self.byte().unwrap_or_default()])
    }

    fn finish_segment(&mut self) {
        if self.segment.is_empty() {
            return;
        }
        let bytes = std::mem::take(&mut self.segment);
        let _ = fs::write(self.dir.join(format!("{:020}.seg", self.first)), bytes);
    }

    /// Begins a segment, now and then with a gap before it, or far away, or of nothing.
    fn new_segment(&mut self) {
        self.finish_segment();
        let how = self.small();
        self.first = match how % 8 {
            0 => self.seq.wrapping_add(u64::from(self.short())),
            1 => u64::from(self.short()) << (self.small() % 60),
            _ => self.seq,
        };
        self.seq = self.first;
        let mut header = b"whsg\0\0\0\0\x01\0\0\0\0\0\0\0".to_vec();
        header.extend_from_slice(&self.first.to_le_bytes());
        if how == 255 {
            header[8] = 2;
        }
        let crc = crc32c::crc32c(&header[8..]);
        header[4..8].copy_from_slice(&crc.to_le_bytes());
        self.segment = header;
    }

    fn record(&mut self) {
        let length = self.small() as usize;
        let captured_at = u64::from(self.short()) << (self.small() % 49);
        self.frame(0, self.seq, captured_at, &vec![b'r'; length]);
        self.seq = self.seq.wrapping_add(1);
    }

    fn ledger_frame(&mut self) {
        let ledger = self.ledger();
        self.frame(1, self.seq, 0, &ledger);
    }

    fn frame(&mut self, kind: u8, seq: u64, captured_at: u64, body: &[u8]) {
        if self.segment.is_empty() {
            self.new_segment();
        }
        let mut frame = (body.len() as u32).to_le_bytes().to_vec();
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(&seq.to_le_bytes());
        frame.extend_from_slice(&captured_at.to_le_bytes());
        frame.push(kind);
        frame.extend_from_slice(body);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&frame[..4]), &frame[8..]);
        frame[4..8].copy_from_slice(&crc.to_le_bytes());
        if self.segment.len() + frame.len() <= SEGMENT {
            self.segment.extend_from_slice(&frame);
        }
    }

    /// A ledger about the numbers in use, more or less.
    fn ledger(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        let generation = u64::from(self.short());
        let next = self.seq.wrapping_add(self.small()).wrapping_sub(self.small() / 8);
        let settled = next.wrapping_sub(self.small() / 4);
        let mut numbers = vec![generation, next, settled, self.small() / 16];
        numbers.extend((0..8).map(|_| self.small() / 32));
        for number in numbers {
            out.extend_from_slice(&number.to_le_bytes());
        }
        self.losses(&mut out);
        self.eras(&mut out);
        let mut at = next.wrapping_sub(self.small());
        out.extend_from_slice(&at.to_le_bytes());
        for _ in 0..self.small() % 8 {
            let start = at.wrapping_add(self.small());
            at = start.wrapping_add(self.small());
            out.extend_from_slice(&start.to_le_bytes());
            out.extend_from_slice(&at.to_le_bytes());
        }
        out
    }

    fn losses(&mut self, out: &mut Vec<u8>) {
        let count = self.small() % 80 / 16;
        out.extend_from_slice(&(self.small() + 1).to_le_bytes());
        out.push((self.small() % 2) as u8);
        out.extend_from_slice(&(count as u16).to_le_bytes());
        for _ in 0..count {
            for _ in 0..6 {
                let number = self.small() << (self.small() % 57);
                out.extend_from_slice(&number.to_le_bytes());
            }
            out.push((self.small() % 9) as u8);
        }
    }

    fn eras(&mut self, out: &mut Vec<u8>) {
        let count = self.small() % 80 / 16;
        out.extend_from_slice(&(count as u16).to_le_bytes());
        let mut first = 0;
        for _ in 0..count {
            first += self.small();
            out.extend_from_slice(&u64::to_le_bytes(first));
            out.extend_from_slice(&[(self.small() % 3) as u8; 16]);
            let offset = (self.small() << (self.small() % 57)).cast_signed();
            out.extend_from_slice(&(if self.small().is_multiple_of(2) { offset } else { -offset }).to_le_bytes());
            out.push((self.small() % 2) as u8);
        }
    }

    fn slot(&mut self) {
        let how = self.small();
        let ledger = self.ledger();
        let mut slot = b"whcu\0\0\0\0".to_vec();
        slot.extend_from_slice(&(ledger.len() as u32).to_le_bytes());
        slot.extend_from_slice(&ledger);
        let crc = crc32c::crc32c(&slot[8..]);
        slot[4..8].copy_from_slice(&crc.to_le_bytes());
        let path = self.dir.join(if how % 4 == 3 { "mark" } else { "cursor" });
        let mut bytes = fs::read(&path).unwrap_or_default();
        bytes.resize(2 * SLOT, 0);
        let at = if how % 2 == 1 { SLOT } else { 0 };
        bytes[at..at + slot.len()].copy_from_slice(&slot);
        let _ = fs::write(path, bytes);
    }

    fn garbage(&mut self) {
        let length = (self.small() as usize).min(self.input.len());
        let (garbage, rest) = self.input.split_at(length);
        self.input = rest;
        if self.small().is_multiple_of(8) {
            let name = ["cursor", "spare", "notes.txt", "x.seg", "00000000000000000007.seg"][self.small() as usize % 5];
            if let Ok(mut file) = fs::OpenOptions::new().create(true).append(true).open(self.dir.join(name)) {
                let _ = file.write_all(garbage);
            }
        } else if self.segment.len() + length <= SEGMENT {
            self.segment.extend_from_slice(garbage);
        }
    }

    fn flip(&mut self) {
        let at = usize::from(self.short());
        if let Some(byte) = self.segment.get_mut(at) {
            *byte ^= 1 << (at % 8);
        }
    }

    fn cut(&mut self) {
        let length = usize::from(self.short()) * 2;
        self.segment.truncate(length);
        self.segment.resize(self.segment.len().max(length.min(SEGMENT) / 4), 0);
    }
}
