//! Files that were damaged: what can be read is found, what cannot is counted, and the broker starts.

use super::super::log::file_name;
use super::*;

/// A log of a session in which messages wait, each written by a commit of its own; and where each ends.
fn log(count: u64) -> (Vec<u8>, Vec<usize>) {
    let dir = tempfile::tempdir().unwrap();
    let (_, store) = open(dir.path(), on_request());
    let mut journal = store.journal();
    queue(&mut *journal, "panel", 0, &[]);
    journal.note(Change::Retained(&publication("kept", "kept")));
    let mut ends = Vec::new();
    for number in 0..count {
        let message = publication("a", &format!("message {number}"));
        journal.note(Change::Queued { client: "panel", waiting: &waiting(number, &message) });
        assert!(store.settle(PATIENCE));
        ends.push(end_of(1, &dir.path().join(file_name(1))).0);
    }
    store.close().unwrap();
    let bytes = fs::read(dir.path().join(file_name(1))).unwrap();
    (bytes[..*ends.last().unwrap()].to_vec(), ends)
}

/// A folder with such a file.
fn folder(bytes: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(file_name(1)), bytes).unwrap();
    dir
}

fn numbers(saved: &Saved) -> Vec<u64> {
    saved.sessions.iter().flat_map(|session| &session.waiting).map(|waiting| waiting.number).collect()
}

#[test]
fn one_flipped_bit_costs_the_record_it_hit_and_is_counted_once() {
    let (bytes, ends) = log(100);
    for number in [10, 40, 98] {
        let mut bytes = bytes.clone();
        // Behind the end of the commit before, in the middle of the message.
        bytes[ends[number - 1] + 40] ^= 4;
        let dir = folder(&bytes);
        let (saved, store) = Store::open_with(dir.path(), on_request()).unwrap();
        assert_eq!(store.counters().damaged, 1);
        let expected: Vec<u64> = (0..100).filter(|other| *other != number as u64).collect();
        assert_eq!(numbers(&saved), expected);
        assert_eq!(saved.retained.len(), 1);
        store.close().unwrap();
        drop(store);
        assert_eq!(found(dir.path()), saved, "opened again, it is whole");
    }
}

#[test]
fn a_damaged_end_of_a_commit_costs_nothing_as_long_as_another_follows() {
    let (mut bytes, ends) = log(20);
    bytes[ends[7] - 1] ^= 1;
    let (saved, store) = Store::open_with(folder(&bytes).path(), on_request()).unwrap();
    assert_eq!((numbers(&saved), store.counters().damaged), ((0..20).collect(), 1));
}

#[test]
fn a_damaged_header_costs_nothing() {
    let (mut bytes, _) = log(5);
    bytes[..24].fill(0xee);
    assert_eq!(numbers(&found(folder(&bytes).path())), (0..5).collect::<Vec<_>>());
}

#[test]
fn what_lies_in_a_payload_is_not_taken_for_a_record() {
    let (inner, _) = log(50);
    let dir = tempfile::tempdir().unwrap();
    let (_, store) = open(dir.path(), on_request());
    let mut journal = store.journal();
    let message = Arc::new(Publication { payload: inner.into(), ..(*publication("backup", "")).clone() });
    queue(&mut *journal, "other", 0, &[&message, &publication("a", "behind it")]);
    store.close().unwrap();
    drop(store);
    let (number, path) = newest(dir.path());
    let end = end_of(number, &path).0;
    let mut bytes = fs::read(&path).unwrap();
    // The message's own frame is damaged, and what is in it is found when its bytes are searched.
    let at = bytes.windows(6).position(|window| window == b"backup").unwrap();
    bytes[at] ^= 1;
    fs::write(&path, &bytes[..end]).unwrap();
    let (saved, store) = Store::open_with(dir.path(), on_request()).unwrap();
    assert_eq!((saved.sessions.len(), payloads(&saved.sessions[0])), (1, vec![&b"behind it"[..]]));
    assert_eq!((saved.retained.len(), store.counters().damaged), (0, 1));
}

#[test]
fn a_file_in_which_nothing_can_be_read_is_set_aside() {
    for bytes in [&[][..], &[0; 5000], &[0xff; 5000]] {
        let dir = folder(bytes);
        let (saved, store) = Store::open_with(dir.path(), on_request()).unwrap();
        assert_eq!((saved, store.counters().set_aside), (Saved::default(), 1));
        assert!(dir.path().join("00000000000000000001.corrupt").exists());
        queue(&mut *store.journal(), "panel", 0, &[]);
        store.close().unwrap();
        drop(store);
        assert_eq!(found(dir.path()).sessions.len(), 1, "and it goes on");
    }
}

#[test]
fn the_file_before_an_unreadable_one_is_used_if_it_is_still_there() {
    let (bytes, _) = log(5);
    let dir = folder(&bytes);
    fs::write(dir.path().join(file_name(2)), [0xff; 100]).unwrap();
    let (saved, store) = Store::open_with(dir.path(), on_request()).unwrap();
    assert_eq!((numbers(&saved).len(), store.counters().set_aside), (5, 1));
}

#[test]
fn files_a_cut_left_behind_are_removed() {
    let (bytes, _) = log(5);
    let dir = folder(&log(1).0);
    fs::write(dir.path().join(file_name(2)), renumbered(&bytes, 2)).unwrap();
    fs::write(dir.path().join("next"), b"half a file").unwrap();
    assert_eq!(numbers(&found(dir.path())).len(), 5);
    let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [file_name(2).as_str(), "lock"]);
}

#[test]
fn a_file_of_a_newer_version_is_refused_in_words_and_left_alone() {
    let (mut bytes, _) = log(5);
    bytes[8] = 2;
    let crc = crc32c::crc32c(&bytes[8..24]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    let dir = folder(&bytes);
    let error = Store::open(dir.path(), LATER).err().unwrap().to_string();
    assert!(error.contains("was written by a newer version of wharf (format 2, this one reads 1)"), "{error}");
    assert_eq!(fs::read(dir.path().join(file_name(1))).unwrap(), bytes);
}

#[test]
fn whatever_was_done_to_a_file_it_starts_and_goes_on() {
    let (bytes, _) = log(30);
    for seed in 0..100 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bytes = bytes.clone();
        for _ in 0..random.usize(1..6) {
            let at = random.usize(0..bytes.len());
            match random.u8(0..4) {
                0 => bytes[at] ^= 1 << random.u8(0..8),
                1 => bytes.truncate(at.max(1)),
                2 => {
                    let end = (at + random.usize(1..500)).min(bytes.len());
                    bytes[at..end].fill(random.u8(..));
                }
                _ => {
                    let end = (at + random.usize(1..500)).min(bytes.len());
                    let piece = bytes[at..end].to_vec();
                    let to = random.usize(0..bytes.len());
                    bytes.splice(to..to, piece);
                }
            }
        }
        let dir = folder(&bytes);
        let (saved, store) = Store::open_with(dir.path(), on_request()).unwrap();
        assert!(numbers(&saved).is_sorted_by(|one, next| one < next), "seed {seed}");
        store.close().unwrap();
        drop(store);
        assert_eq!(found(dir.path()), saved, "seed {seed}");
    }
}

/// The same log, as if it were file `number`.
fn renumbered(bytes: &[u8], number: u64) -> Vec<u8> {
    let source = folder(bytes);
    let file = fs::File::open(source.path().join(file_name(1))).unwrap();
    let mut out = super::super::FORMAT.header(number).to_vec();
    let frames = Frames::new(&file, header::LENGTH..bytes.len() as u64, seqs(1), MAX_BODY, 1 << 16);
    for (seq, found) in (seqs(number).start..).zip(frames) {
        let frame = found.frame;
        crate::queue::frame::encode(&mut out, frame.kind, seq, frame.captured_at, &frame.body);
    }
    out
}
