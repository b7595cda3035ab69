//! MySensors nodes get firmware over the air.

use std::time::Duration;

use crate::lab::bootloader::Radio;
use crate::lab::broker::Mosquitto;
use crate::lab::client::Client;
use crate::lab::gateway::Site;
use crate::lab::line::Line;
use crate::lab::{PATIENCE, wait_for};

/// What an ATmega328 holds, to the last byte.
const FULL: usize = 30 * 1024;

fn image(seed: u64) -> Vec<u8> {
    let mut chance = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| chance.u8(..)).take(FULL).collect()
}

/// The same as Intel HEX.
fn intel_hex(bytes: &[u8]) -> String {
    let record = |(at, data): (usize, &[u8])| {
        let mut record = vec![u8::try_from(data.len()).unwrap()];
        record.extend(u16::try_from(at * 16).unwrap().to_be_bytes());
        record.push(0);
        record.extend(data);
        record.push(record.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg());
        format!(":{}\n", record.iter().map(|byte| format!("{byte:02X}")).collect::<String>())
    };
    bytes.chunks(16).enumerate().map(record).collect::<String>() + ":00000001FF\n"
}

fn site(broker: &Mosquitto) -> Site {
    let site = Site::new(&format!(
        "gateway: gw1\nuplinks:\n  central: {{ url: \"mqtt://127.0.0.1:{}\" }}\nbroker: {{ listen: [] }}\n\
         mysensors:\n  garden:\n    serial: ./ttyGarden\n    devices:\n      valve: {{ node: 9, firmware: valve-4 }}\n    \
         firmware:\n      valve-4: {{ type: 2, version: 4, file: valve.bin }}\n",
        broker.port
    ));
    std::fs::write(site.path().join("valve.bin"), image(9)).unwrap();
    std::fs::write(site.path().join("soil.hex"), intel_hex(&image(5))).unwrap();
    site
}

fn give(site: &Site, more: &[&str]) -> crate::lab::gateway::Answer {
    let file = site.path().join("soil.hex");
    let rest = [&["garden", file.to_str().unwrap(), "--node", "5", "--version", "3"], more].concat();
    site.wharf(&["firmware"], &rest)
}

#[test]
fn two_nodes_take_30_kib_at_once_over_a_line_that_loses_some_while_the_gateway_is_killed() {
    let broker = Mosquitto::start();
    let upstream = Client::subscribe(broker.port, &["#"]);
    let site = site(&broker);
    let line = Line::plug(&site.path().join("ttyGarden"));
    let radio = Radio::start(&line, &[(5, [1, 2]), (9, [2, 3]), (7, [1, 1])]);
    let gateway = site.run();
    upstream.wait_on("gw1-out/7/1/1/0/0");
    let given = give(&site, &["--type", "1"]);
    assert_eq!(given.code, 0, "{given:?}");

    let half = u16::try_from(FULL / 16 / 2).unwrap();
    let is_half = |node| radio.seen(node).lacks.is_some_and(|lacks| lacks < half);
    wait_for("both nodes to have half of it", PATIENCE * 2, || (is_half(5) && is_half(9)).then_some(()));
    gateway.kill();
    let gateway = site.run();

    let runs = |node: u8, kind, version| {
        let patience = PATIENCE * 4;
        wait_for(&format!("node {node} to run it"), patience, || {
            let seen = radio.seen(node);
            (seen.runs[..2] == [kind, version]).then_some(seen)
        })
    };
    assert!(runs(5, 1, 3).memory == image(5), "what node 5 runs is the image");
    assert!(runs(9, 2, 4).memory == image(9), "what node 9 runs is the image");
    let is_told = |topic: &str, word: &str| {
        upstream.wait(&format!("{word} on {topic}"), |heard| heard.topic == topic && heard.payload.contains(word));
    };
    is_told("gw1-out/garden-5/firmware", "installed");
    is_told("gw1-out/valve/firmware", "installed");
    let told = site.wharf(&["firmware"], &["garden", "--json"]).json();
    for (at, node) in [5, 9].iter().enumerate() {
        assert_eq!((&told["nodes"][at]["node"], &told["nodes"][at]["state"]), (&(*node).into(), &"installed".into()));
    }
    assert!(radio.seen(7).runs[..2] == [1, 1] && radio.seen(7).restarts == 0, "nobody else is touched");
    // Each of them asked 1,920 times. What arrives from somebody else than the one who said it, or about
    // something else, is not for us to keep back.
    let streams = upstream.heard().into_iter().filter(|heard| heard.topic.contains("/255/4/")).count();
    assert!(streams < 100, "another controller was asked {streams} times for what is answered here");
    drop(gateway);
    radio.end();
}

#[test]
fn a_wrong_image_is_refused_in_words_before_anything_is_sent() {
    let broker = Mosquitto::start();
    let site = site(&broker);
    let line = Line::plug(&site.path().join("ttyGarden"));
    let radio = Radio::start(&line, &[(5, [1, 2])]);
    let gateway = site.run();
    let refused = |more: &[&str], words: &str| {
        let answer = give(&site, more);
        assert_eq!(answer.code, 1, "{more:?}: {answer:?}");
        assert!(answer.err.contains(words), "{more:?}: {answer:?}");
    };
    refused(&["--type", "1", "--max-size", "16"], "it has 30720 bytes, and the node holds 16384");
    refused(&["--type", "1", "--crc", "0x1234"], "0x1234 was expected");
    let file = site.path().join("soil.hex");
    std::fs::write(&file, intel_hex(&image(5)).replace(":10", ":1O")).unwrap();
    refused(&["--type", "1"], "soil.hex: line 1 is not Intel HEX");
    std::fs::write(&file, "").unwrap();
    refused(&["--type", "1"], "it is empty");
    std::fs::write(&file, intel_hex(&image(5))).unwrap();
    let valve =
        site.wharf(&["firmware"], &["garden", file.to_str().unwrap(), "--node", "9", "--type", "2", "--version", "5"]);
    assert!(valve.err.contains("the site file says which firmware node 9 gets"), "{valve:?}");

    // The node reports type 1 when it starts, so it starts for nothing and is left alone.
    let given = give(&site, &["--type", "2"]);
    assert_eq!(given.code, 0, "{given:?}");
    wait_for("the node's report to be seen", PATIENCE, || {
        let told = site.wharf(&["firmware"], &["garden", "--json"]).json();
        told["nodes"][0]["state"].as_str()?.starts_with("failed: node 5 reports firmware of type 1").then_some(())
    });
    std::thread::sleep(Duration::from_millis(300));
    assert!(radio.seen(5).runs[..2] == [1, 2] && radio.seen(5).lacks.is_none());
    refused(&["--type", "2"], "node 5 reports firmware of type 1, and the image is for type 2");
    drop(gateway);
    radio.end();
}

#[test]
fn a_site_file_with_a_broken_image_is_refused_with_its_place() {
    let broker = Mosquitto::start();
    let site = site(&broker);
    std::fs::write(site.path().join("valve.bin"), [0; 31 * 1024]).unwrap();
    let checked = site.wharf(&["check"], &[]);
    assert_eq!(checked.code, 78, "{checked:?}");
    let words = ["mysensors.garden.firmware.valve-4.file", "it has 31744 bytes, and the node holds 30720", "max_size"];
    assert!(words.iter().all(|words| checked.err.contains(words)), "{checked:?}");
    std::fs::remove_file(site.path().join("valve.bin")).unwrap();
    assert!(site.wharf(&["check"], &[]).err.contains("valve.bin: it cannot be read"));
}
