//! The whole of it: messages in, answers out, on a clock of the test's own.

use std::time::Duration;

use serde_json::Value as Json;

use super::image::{USUAL_ROOM, crc16};
use super::*;

const RECORDED: &str = ":100000000C94AC030C9491240C94B8240C94D40359\n:00000001FF\n";
const OTHER_VERSION: &str = "1;255;4;0;0;01000200B00626E80300";

fn offer_of(kind: u16, version: u16, bytes: &[u8]) -> Offer {
    let image = Image::new(Name { kind, version }, bytes.to_vec(), USUAL_ROOM, None).unwrap();
    Offer { image, may_change_type: false, may_repeat: false }
}

/// The image that pymysensors' tests send.
fn recorded() -> Offer {
    offer_of(1, 1, &hex::parse(RECORDED).unwrap())
}

fn hear(firmware: &mut Firmware, line: &str) -> Verdict {
    firmware.hear(&Message::parse(line.as_bytes()).unwrap(), Instant::now())
}

/// What is said to one line.
fn said(firmware: &mut Firmware, line: &str) -> Option<String> {
    hear(firmware, line);
    let said = firmware.next_answer().map(|message| message.to_string());
    assert_eq!(firmware.next_answer(), None, "one line has one answer");
    said
}

fn given(node: u8, offer: Offer) -> Firmware {
    let mut firmware = Firmware::default();
    firmware.give(node, offer).unwrap();
    firmware
}

fn state(firmware: &Firmware, node: u8) -> String {
    firmware.states().into_iter().find(|news| news.node == node).map(|news| news.state).unwrap_or_default()
}

/// A bootloader as simple as they come: asks from the last block to the first, checks the CRC.
fn load(firmware: &mut Firmware, node: u8, report: &str) -> Vec<u8> {
    let answer = said(firmware, &format!("{node};255;4;0;0;{report}")).expect("it is offered something");
    let config = wire::unhex(answer.rsplit(';').next().unwrap()).unwrap();
    let word = |at: usize| u16::from_le_bytes([config[at], config[at + 1]]);
    let (blocks, crc) = (word(4), word(6));
    let block_size = Report::parse(report).unwrap().block_size;
    let mut memory = vec![0; usize::from(blocks) * usize::from(block_size)];
    let mut next = blocks;
    while let Some(block) = next.checked_sub(1) {
        let name = wire::hex(&config[..4]);
        let asked = format!("{node};255;4;0;2;{name}{}", wire::hex(&block.to_le_bytes()));
        let answer = said(firmware, &asked).expect("each block is answered");
        let payload = wire::unhex(answer.rsplit(';').next().unwrap()).unwrap();
        assert_eq!(payload[..6], [&config[..4], &block.to_le_bytes()].concat(), "the block that was asked for");
        let size = usize::from(block_size);
        let (count, data) = match answer.split(';').nth(4).unwrap() {
            "3" => (1, payload[6..].to_vec()),
            "7" => (u16::from_le_bytes([payload[6], payload[7]]), vec![payload[8]; size]),
            other => panic!("an answer of type {other}"),
        };
        assert_eq!(data.len(), size);
        for block in (0..=block).rev().take(usize::from(count)) {
            memory[usize::from(block) * size..][..size].copy_from_slice(&data);
        }
        next = block + 1 - count;
    }
    assert_eq!(crc16(&memory), crc, "the bootloader accepts it");
    memory
}

/// What pymysensors answered, call by call. It answers a node only in the step it expects; here the image
/// alone decides, so that a transfer survives restarts, and these calls are answered too: a request for a
/// block although the update was started again, and a node that still reports something else after it got
/// everything.
const ANSWERED_HERE: [(&str, u64); 2] = [("test_restart_fw_update", 2), ("test_respond_fw", 9)];

#[test]
fn what_pymysensors_answered_is_answered_the_same() {
    let rows = include_str!("../../tests/vectors/lines.jsonl").lines().map(|line| serde_json::from_str(line).unwrap());
    let rows: Vec<Json> = rows.filter(|row: &Json| row["test"].as_str().unwrap().contains("test_ota.py")).collect();
    let (mut answered, mut differing) = (0, 0);
    for row in &rows {
        let test = row["test"].as_str().unwrap().rsplit("::").next().unwrap();
        let line = row["line"].as_str().unwrap().trim_end();
        let node: u8 = line.split(';').next().unwrap().parse().unwrap();
        let mut firmware = match test {
            "test_no_fw" | "test_bad_fw" | "test_bad_fw_type_or_version" => Firmware::default(),
            "test_different_firmware_type" => given(node, Offer { may_change_type: true, ..recorded() }),
            _ => given(node, recorded()),
        };
        if line.contains(";4;0;2;") {
            said(&mut firmware, &OTHER_VERSION.replacen('1', &node.to_string(), 1));
        }
        let expected = row["answer"].as_str().map(|answer| answer.trim_end().to_owned());
        let said = said(&mut firmware, line);
        if ANSWERED_HERE.iter().any(|(other, call)| test.starts_with(other) && row["call_no"] == *call)
            && said != expected
        {
            differing += 1;
            continue;
        }
        assert_eq!(said, expected, "{row}");
        answered += usize::from(expected.is_some());
    }
    assert!(answered >= 18, "only {answered} of {} rows have answers", rows.len());
    assert_eq!(differing, ANSWERED_HERE.len());
}

#[test]
fn a_node_gets_every_byte_whatever_its_blocks_and_then_reports_it() {
    let mut bytes: Vec<u8> = (0..5000_u32).map(|at| u8::try_from(at * at % 251).unwrap()).collect();
    bytes[1000..3000].fill(0);
    let offer = Offer { may_repeat: true, ..offer_of(7, 3, &bytes) };
    let plain = "0700020010002A2A0003";
    for (report, block_size) in [(plain.to_owned(), 16), (format!("{plain}0801"), 8), (format!("{plain}1001"), 16)] {
        let mut firmware = given(5, offer.clone());
        let loaded = load(&mut firmware, 5, &report);
        assert_eq!(loaded, offer.image.bytes(), "{report}");
        assert_eq!(state(&firmware, 5), "sent");
        let runs = offer.image.config(block_size).unwrap().payload() + &report[16..];
        hear(&mut firmware, &format!("5;255;4;0;0;{runs}"));
        assert_eq!(state(&firmware, 5), "installed");
        assert_eq!(firmware.next_answer().map(|message| message.kind), Some(types::FIRMWARE_CONFIG_RESPONSE));
        assert_eq!(hear(&mut firmware, OTHER_VERSION), Verdict::Relayed, "what was given is over with its arrival");
    }
}

#[test]
fn without_an_image_requests_are_left_to_whoever_else_gives_out_firmware() {
    let mut firmware = given(2, recorded());
    for line in
        [OTHER_VERSION, "1;255;4;0;2;010001000700", "2;255;4;0;2;020001000700", "2;255;4;0;4;00", "1;255;4;0;0;01"]
    {
        assert_eq!(hear(&mut firmware, line), Verdict::Relayed, "{line}");
        assert!(!firmware.has_answer(), "{line}");
    }
    assert_eq!(hear(&mut firmware, "2;255;4;0;0;01000200B00626E80300"), Verdict::Ours);
    for ours in ["2;255;4;0;2;010001000700", "2;255;4;0;2;0K0001000700", "2;255;4;0;0;01"] {
        assert_eq!(hear(&mut firmware, ours), Verdict::Ours, "{ours}");
    }
}

#[test]
fn a_node_is_asked_to_restart_right_after_it_said_something_and_once_it_did_not_again() {
    let mut firmware = given(1, recorded());
    assert_eq!(said(&mut firmware, "2;1;1;0;0;21.5"), None, "another node's word is nothing");
    assert_eq!(said(&mut firmware, "1;1;1;0;0;21.5").as_deref(), Some("1;255;3;0;13;"));
    assert_eq!(state(&firmware, 1), "asked to restart");
    assert_eq!(said(&mut firmware, "1;1;1;0;0;21.6"), None);
    assert_eq!(said(&mut firmware, "1;255;0;0;17;2.3.2"), None, "it has restarted, and reports nothing");
    let hour = Instant::now() + Duration::from_secs(3600);
    let value = Message::parse(b"1;1;1;0;0;21.7").unwrap();
    let mut again = Firmware::default();
    again.recall(&firmware.text()).unwrap();
    for mut firmware in [firmware, again] {
        firmware.hear(&value, hour);
        assert_eq!(firmware.next_answer(), None, "not even after a restart of the gateway");
    }
}

#[test]
fn a_node_that_did_not_hear_is_asked_again_but_not_for_ever() {
    let mut firmware = given(1, recorded());
    let start = Instant::now();
    let value = Message::parse(b"1;1;1;0;0;21.7").unwrap();
    let asked = (0..600).filter(|second| {
        firmware.hear(&value, start + Duration::from_secs(*second));
        firmware.next_answer().is_some()
    });
    assert_eq!(asked.collect::<Vec<_>>(), [0, 10, 20, 30, 40]);
}

#[test]
fn a_node_whose_transfer_broke_off_is_asked_again_and_one_that_loads_is_not() {
    let mut firmware = given(1, recorded());
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut hear = |line: &str, now| {
        firmware.hear(&Message::parse(line.as_bytes()).unwrap(), now);
        firmware.next_answer().map(|message| message.to_string())
    };
    assert!(hear("1;1;1;0;0;21.5", at(0)).is_some());
    assert!(hear(OTHER_VERSION, at(1)).is_some());
    assert!(hear("1;255;4;0;2;010001000700", at(2)).is_some());
    assert_eq!(hear("1;1;1;0;0;21.5", at(20)), None, "external flash: its old program goes on beside");
    assert_eq!(hear("1;1;1;0;0;21.5", at(40)).as_deref(), Some("1;255;3;0;13;"));
}

#[test]
fn a_transfer_goes_on_after_a_restart_in_the_middle_of_it() {
    let offer = offer_of(7, 3, &(0..=255).collect::<Vec<u8>>());
    let report = "070002000100FFFF000308";
    let mut firmware = given(5, offer.clone());
    hear(&mut firmware, &format!("5;255;4;0;0;{report}"));
    hear(&mut firmware, "5;255;4;0;2;070003001f00");
    assert!(firmware.take_changed() && !firmware.take_changed());
    let mut again = Firmware::default();
    again.recall(&firmware.text()).unwrap();
    assert_eq!(
        said(&mut again, "5;255;4;0;2;070003001e00").as_deref(),
        Some("5;255;4;0;3;070003001e00f0f1f2f3f4f5f6f7")
    );
    assert_eq!(load(&mut again, 5, report), offer.image.bytes());
    let mut blank = given(5, offer);
    assert_eq!(said(&mut blank, "5;255;4;0;2;070003001e00"), None, "the size of its blocks is not known");
}

#[test]
fn a_late_answer_gives_way_to_the_one_that_was_asked_for_last() {
    let mut firmware = given(1, recorded());
    hear(&mut firmware, OTHER_VERSION);
    firmware.next_answer();
    firmware.give(2, recorded()).unwrap();
    hear(&mut firmware, "2;255;4;0;0;01000200B00626E80300");
    for line in ["1;255;4;0;2;010001000700", "1;255;4;0;2;010001000700", "1;255;4;0;2;010001000600"] {
        hear(&mut firmware, line);
    }
    let answers: Vec<_> =
        std::iter::from_fn(|| firmware.next_answer()).map(|message| (message.node, message.payload)).collect();
    assert_eq!(answers.len(), 2, "{answers:?}");
    assert_eq!((answers[0].0, answers[1].0), (2, 1), "in turn");
    assert!(answers[1].1.starts_with("010001000600"), "{answers:?}");
}

#[test]
fn an_image_for_something_else_is_refused_before_it_begins() {
    let mut firmware = Firmware::default();
    hear(&mut firmware, "1;255;4;0;0;02000200B00626E80300");
    let refused = firmware.give(1, recorded()).unwrap_err();
    assert_eq!(refused.to_string(), "node 1 reports firmware of type 2, and the image is for type 1");
    assert!(firmware.give(1, Offer { may_change_type: true, ..recorded() }).is_ok());
    assert!(firmware.give(0, recorded()).is_err() && firmware.give(255, recorded()).is_err());

    let mut late = given(1, recorded());
    assert_eq!(said(&mut late, "1;255;4;0;0;02000200B00626E80300"), None);
    assert!(state(&late, 1).starts_with("failed: node 1 reports firmware of type 2"), "{}", state(&late, 1));
    let mut blank = given(1, recorded());
    assert!(said(&mut blank, "1;255;4;0;0;FFFFFFFFFFFFFFFFFFFF").is_some(), "a new node has no type yet");
    let mut odd = given(1, recorded());
    assert_eq!(said(&mut odd, "1;255;4;0;0;01000200B00626E803001F"), None);
    assert!(state(&odd, 1).contains("blocks of 31 bytes"), "{}", state(&odd, 1));

    let mut done = Firmware::default();
    hear(&mut done, "1;255;4;0;0;0100010008006A010003");
    assert_eq!(done.give(1, recorded()), Err(Refusal::Installed(1)));
}

#[test]
fn a_node_that_never_runs_what_it_got_is_left_alone_in_the_end() {
    let mut firmware = given(1, recorded());
    for _ in 0..MOST_SENT {
        load(&mut firmware, 1, "01000200B00626E80300");
    }
    assert_eq!(said(&mut firmware, OTHER_VERSION), None);
    assert_eq!(state(&firmware, 1), "failed: it was sent 3 times, and the node still runs something else");
    assert_eq!(said(&mut firmware, "1;1;1;0;0;21.5"), None, "and is not asked to restart");
}

#[test]
fn the_site_file_decides_for_its_nodes_by_number_and_by_type() {
    let offers = Offers {
        by_node: HashMap::from([(1, offer_of(1, 5, &[1]))]),
        by_type: HashMap::from([(2, offer_of(2, 6, &[2]))]),
    };
    let mut firmware = Firmware::default();
    firmware.settle(offers);
    assert!(said(&mut firmware, OTHER_VERSION).unwrap().starts_with("1;255;4;0;1;01000500"));
    assert!(said(&mut firmware, "9;255;4;0;0;02000200B00626E80300").unwrap().starts_with("9;255;4;0;1;02000600"));
    assert_eq!(hear(&mut firmware, "9;255;4;0;0;03000200B00626E80300"), Verdict::Relayed);
    assert_eq!(firmware.give(1, recorded()), Err(Refusal::Settled(1)));
    firmware.recall(&given(1, recorded()).text()).unwrap();
    assert!(
        said(&mut firmware, OTHER_VERSION).unwrap().starts_with("1;255;4;0;1;01000500"),
        "also over what was given before"
    );
    hear(&mut firmware, "9;255;4;0;0;02000200B00626E80300");
    assert_eq!(firmware.give(9, offer_of(2, 9, &[3])), Err(Refusal::Settled(9)));
    let loaded = load(&mut firmware, 9, "02000200B00626E80300");
    assert_eq!(loaded[0], 2);
    hear(&mut firmware, &format!("9;255;4;0;0;{}0003", offer_of(2, 6, &[2]).image.config(16).unwrap().payload()));
    assert_eq!(state(&firmware, 9), "installed");
}

#[test]
fn what_is_given_is_bounded_and_one_image_for_many_counts_once() {
    let mut firmware = Firmware::default();
    let images = [1, 2, 3]
        .map(|byte| Image::new(Name { kind: 1, version: 1 }, vec![byte; hex::LARGEST], usize::MAX, None).unwrap());
    let large = |which: usize| Offer { image: images[which - 1].clone(), may_change_type: false, may_repeat: false };
    for node in 1..=20 {
        firmware.give(node, large(1)).unwrap();
    }
    firmware.give(21, large(2)).unwrap();
    assert_eq!(firmware.give(22, large(3)), Err(Refusal::TooMany));
    firmware.give(21, large(2)).unwrap();
    assert!(firmware.text().len() as u64 <= keep::LARGEST);
    for node in 22..=32 {
        firmware.give(node, large(1)).unwrap();
    }
    assert_eq!(firmware.give(33, large(1)), Err(Refusal::TooMany));
}

#[test]
fn progress_is_told_in_steps_and_states_at_once() {
    let mut firmware = given(1, offer_of(1, 1, &[7; 16 * 1000]));
    let mut told = Vec::new();
    let mut listen = |firmware: &mut Firmware| told.extend(firmware.news());
    listen(&mut firmware);
    hear(&mut firmware, OTHER_VERSION);
    for block in (0..1000_u16).rev() {
        hear(&mut firmware, &format!("1;255;4;0;2;01000100{}", wire::hex(&block.to_le_bytes())));
        listen(&mut firmware);
    }
    assert_eq!((told[0].state.as_str(), told[0].percent), ("waiting", 0));
    assert_eq!(told.last().map(|news| (news.state.as_str(), news.percent)), Some(("sent", 100)));
    assert!((20..=23).contains(&told.len()), "{told:?}");
    assert!(told.windows(2).all(|pair| pair[0].percent <= pair[1].percent), "{told:?}");
}

#[test]
fn what_was_kept_and_is_damaged_is_refused_as_a_whole() {
    let text = given(1, recorded()).text();
    for broken in ["{", &text.replace("0c94", "0c95"), &text.replace("\"image\":0", "\"image\":7")] {
        let mut firmware = Firmware::default();
        assert!(firmware.recall(broken).is_err(), "{broken}");
        assert_eq!(firmware.text(), Firmware::default().text());
    }
    let mut firmware = Firmware::default();
    firmware.recall(&text).unwrap();
    assert_eq!(firmware.text(), text);
    assert!(firmware.recall("").is_ok());
}

#[test]
fn what_waits_when_the_link_is_lost_is_not_said_when_it_is_back() {
    let mut firmware = given(1, recorded());
    let mut hear = |line: &str| {
        firmware.hear(&Message::parse(line.as_bytes()).unwrap(), Instant::now());
        firmware.lost();
        assert!(!firmware.has_answer() && firmware.next_answer().is_none(), "{line}");
    };
    hear(OTHER_VERSION);
    hear("1;255;4;0;2;010001000700");
    let mut firmware = given(1, recorded());
    for _ in 0..20 {
        hear_and_lose(&mut firmware);
    }
    assert_eq!(said(&mut firmware, "1;1;1;0;0;21.5").as_deref(), Some("1;255;3;0;13;"), "it never was asked");
}

/// A node says something, and the link is lost before it is answered.
fn hear_and_lose(firmware: &mut Firmware) {
    hear(firmware, "1;1;1;0;0;21.5");
    assert!(firmware.has_answer());
    firmware.lost();
}
