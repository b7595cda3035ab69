//! An outage of two million messages: it costs disk, and nothing else.
//!
//! Takes minutes, so it runs when asked for:
//! `cargo test --release --test gateway two_million -- --ignored --nocapture`.

use std::fs;
use std::io::{BufWriter, Write};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use wharf::queue::{Queue, Settings};

use crate::lab::broker::Mosquitto;
use crate::lab::consumer::Consumer;
use crate::lab::gateway::Site;
use crate::lab::process::memory;
use crate::lab::source::Source;
use crate::lab::{PATIENCE, wait_for};

const MESSAGES: u64 = 2_000_000;
/// How fast the nodes speak, in readings per second: below what the gateway takes, in a debug
/// build as well.
const RATE: f64 = if cfg!(debug_assertions) { 8_000.0 } else { 40_000.0 };
/// How many messages `mosquitto_pub` sends, for comparison.
const YARDSTICK: u64 = 300_000;
const MAX_SIZE: u64 = 1 << 30;
/// What may be left on disk: the segment being written, a spare, and some change, in bytes.
const LEFT: u64 = 24 << 20;
const MEBIBYTE: u64 = 1 << 20;

#[test]
#[ignore = "takes minutes"]
fn an_outage_of_two_million_messages_costs_disk_and_nothing_else() {
    let mut broker = Mosquitto::with_memory();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let site = Site::new(&format!(
        "gateway: gw1
uplinks: {{ central: {{ url: \"mqtt://127.0.0.1:{}\", in_flight: 1000, queue: {{ max_size: 1GiB }} }} }}
broker: {{ listen: [] }}
mysensors:
  garden: {{ tcp: {} }}
",
        broker.port,
        listener.local_addr().unwrap()
    ));
    let queue = site.queue("central");

    let gateway = site.run();
    gateway.wait_log("uplink connected");
    std::thread::sleep(Duration::from_secs(1));
    let idle = memory(gateway.id(), "VmRSS");
    forget_peak(gateway.id());
    broker.terminate();
    gateway.wait_log("uplink down");
    let outage = Instant::now();
    let source =
        Source::start(listener, move |said| said < MESSAGES && (said as f64) < outage.elapsed().as_secs_f64() * RATE);
    wait_for("the nodes to say it all", Duration::from_secs(1200), || (source.said() == MESSAGES).then_some(()));
    std::thread::sleep(Duration::from_secs(2));
    let said_in = outage.elapsed();
    let peak = memory(gateway.id(), "VmHWM");
    let deep = disk(&queue);
    gateway.kill();
    println!("outage: {MESSAGES} messages in {:.0} s, {} MiB on disk", said_in.as_secs_f64(), deep / MEBIBYTE);
    assert!(deep > 4 * LEFT, "only {deep} bytes on disk: this would prove little");
    println!("memory: {} KiB idle, {} KiB at most", idle, peak);

    let opening = Instant::now();
    let reopened = Queue::open(Settings { max_size: MAX_SIZE, ..Settings::new(&queue) }).unwrap();
    let opened = opening.elapsed();
    let waiting = reopened.counters().queued;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(reopened.close()).unwrap();
    println!("reopened after a kill: {:.1} ms, {waiting} messages wait", opened.as_secs_f64() * 1e3);
    // A kill may cost what came in the last commit interval; the two seconds were for that.
    assert!(waiting >= MESSAGES, "{waiting} messages wait");

    broker.restart();
    let consumer = Consumer::start(broker.port);
    let gateway = site.run();
    let arrived = || consumer.look(|tally| tally.arrived);
    let mut before = 0;
    while before < MESSAGES {
        wait_for("more messages to arrive", PATIENCE, || (arrived() > before).then_some(()));
        before = arrived();
        std::thread::sleep(Duration::from_millis(50));
    }
    let tally = consumer.look(Clone::clone);
    let (first, last) = tally.times.unwrap();
    let drained = MESSAGES as f64 / (last - first).as_secs_f64();
    println!(
        "drained at {drained:.0} messages/s; mosquitto_pub: {:.0} messages/s",
        mosquitto_pub(broker.port, &consumer)
    );
    assert_eq!(tally.late, []);
    assert_eq!(tally.again.iter().sum::<u64>(), 0, "readings arrived twice, and nothing was interrupted");
    let left = wait_for("the disk to be given back", PATIENCE, || Some(disk(&queue)).filter(|left| *left <= LEFT));
    let peak_draining = memory(gateway.id(), "VmHWM");
    println!("left on disk: {} MiB; memory while draining: {peak_draining} KiB at most", left / MEBIBYTE);

    for peak in [peak, peak_draining] {
        assert!(peak < idle + 30 * 1024, "{peak} KiB of memory, {idle} KiB when idle");
    }
    if !cfg!(debug_assertions) {
        assert!(opened < Duration::from_millis(200), "reopening took {opened:?}");
    }
}

/// How fast `mosquitto_pub -l -q 1` gets such messages through the same broker to the same
/// consumer, in messages per second.
fn mosquitto_pub(port: u16, consumer: &Consumer) -> f64 {
    let before = consumer.look(|tally| tally.arrived);
    let mut child = Command::new("mosquitto_pub")
        .args(["-p", &port.to_string(), "-t", "gw1-out/99/1/1/0/24", "-q", "1", "-l"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let started = Instant::now();
    let mut lines = BufWriter::new(child.stdin.take().unwrap());
    for number in 1..=YARDSTICK {
        writeln!(lines, "n{number}e").unwrap();
    }
    lines.flush().unwrap();
    // At the end of its input it leaves at once, whatever it has not sent by then.
    consumer.wait("what mosquitto_pub sent", |tally| tally.arrived == before + YARDSTICK);
    let took = started.elapsed();
    drop(lines);
    child.wait().unwrap();
    YARDSTICK as f64 / took.as_secs_f64()
}

/// Has `VmHWM` begin anew: starting a process costs more for a moment than anything later.
fn forget_peak(process: u32) {
    fs::write(format!("/proc/{process}/clear_refs"), "5").unwrap();
}

/// What the files of a folder take on disk, in bytes.
fn disk(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).unwrap().filter_map(|entry| entry.ok()?.metadata().ok());
    files.map(|file| file.blocks() * 512).sum()
}
