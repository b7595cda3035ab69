//! The local broker beside a Mosquitto in the same run: messages per second and processor time at QoS 0 and 1, from one
//! publisher and from ten to one subscriber, 100 bytes each; and memory with 100 clients.
//!
//!     cargo bench -p wharf --bench local_broker [-- MESSAGES [DIRECTORY]]
//!
//! The clients send packets that were encoded before and read no more of the answers than they have to, so that both
//! brokers are what is measured. Each keeps at most [`WINDOW`] messages under way from end to end: nothing is dropped, and
//! every message is counted at the subscriber. Rounds alternate between the brokers, and the median of each is told.

mod broker;
mod measure;
mod process;

use std::fs;
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use broker::{Broker, free_port};
use measure::{Outcome, run};
use process::{Process, cpu, memory};

/// Messages under way of all publishers together: far below what may wait for a client at either broker.
const WINDOW: u64 = 1000;
/// Messages a publisher sends in one go.
const BLOCK: u64 = 50;
const PAYLOAD: usize = 100;
const TOPIC: &str = "plant/line-1/level";
const ROUNDS: usize = 3;
/// How long nothing may happen.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> Outcome<()> {
    run("local-broker", measure_both)
}

fn measure_both(dir: &Path, messages: u64) -> Outcome<()> {
    let port = free_port();
    let site = dir.join("site.yaml");
    fs::write(&site, format!("gateway: gw1\nbroker: {{ listen: [127.0.0.1:{port}] }}\n"))?;
    let (mosquitto, wharf) = (Broker::start(dir)?, Process::start(&site)?);
    let brokers = [("Mosquitto", mosquitto.port, mosquitto.id()), ("wharf", port, wharf.id())];
    wait_for_port(port)?;

    for (name, port, process) in brokers {
        let before = memory(process, "VmRSS:")?;
        let clients = idle_clients(port)?;
        let with = memory(process, "VmRSS:")?;
        println!("{name}: {before} KiB alone, {with} KiB with {} clients of five subscriptions each", clients.len());
    }
    for qos in [0, 1] {
        for publishers in [1, 10] {
            let mut rounds = [Vec::new(), Vec::new()];
            for _ in 0..ROUNDS {
                for (place, (_, port, process)) in brokers.iter().enumerate() {
                    rounds[place].push(round(*port, *process, qos, publishers, messages)?);
                }
            }
            for ((name, ..), mut rounds) in brokers.iter().zip(rounds) {
                rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
                let (rate, each) = rounds[ROUNDS / 2];
                println!(
                    "QoS {qos}, {publishers} to 1, {name}: {rate:.0} messages/s, {each:.2} µs of processor time each"
                );
            }
        }
    }
    for (name, _, process) in brokers {
        println!("{name}: {} KiB at most", memory(process, "VmHWM:")?);
    }
    Ok(())
}

/// Messages per second, and microseconds of the broker's processor time for each.
fn round(port: u16, process: u32, qos: u8, publishers: u64, messages: u64) -> Outcome<(f64, f64)> {
    let mut subscriber = connect(port, "subscriber")?;
    subscribe(&mut subscriber, TOPIC, qos)?;
    let (arrived, each) = (Arc::new(AtomicU64::new(0)), messages / publishers);
    let all = each * publishers;
    let (cpu_before, start) = (cpu(process)?, Instant::now());
    let reader = thread::spawn({
        let arrived = arrived.clone();
        move || read_all(subscriber, qos, all, &arrived).map_err(|error| error.to_string())
    });
    let writers: Vec<_> = (0..publishers)
        .map(|number| {
            let arrived = arrived.clone();
            thread::spawn(move || {
                publish_all(port, number, qos, each, publishers, &arrived).map_err(|error| error.to_string())
            })
        })
        .collect();
    for writer in writers {
        writer.join().map_err(|_| "a publisher panicked")??;
    }
    reader.join().map_err(|_| "the subscriber panicked")??;
    let (wall, cpu) = (start.elapsed(), cpu(process)? - cpu_before);
    Ok((all as f64 / wall.as_secs_f64(), cpu.as_secs_f64() * 1e6 / all as f64))
}

/// Publishes, and reads the acknowledgements, of which only the number matters.
fn publish_all(port: u16, number: u64, qos: u8, messages: u64, publishers: u64, arrived: &AtomicU64) -> Outcome<()> {
    let mut stream = connect(port, &format!("publisher-{number}"))?;
    let mut acknowledgements = BufReader::with_capacity(1 << 16, stream.try_clone()?);
    let (mut sent, mut acknowledged) = (0, 0);
    let mut block = Vec::new();
    while sent < messages {
        let count = BLOCK.min(messages - sent);
        // Its share of the window; what the others have under way is taken to be like its own.
        wait(|| sent + count <= arrived.load(Ordering::Relaxed) / publishers + WINDOW / publishers)?;
        block.clear();
        for index in 0..count {
            let id = (sent + index) % 60_000 + 1;
            block.extend(publish(qos, id as u16));
        }
        stream.write_all(&block)?;
        sent += count;
        if qos > 0 {
            // Two blocks under way: within any broker's bound, and it never runs dry.
            while acknowledged + BLOCK < sent {
                acknowledged += acknowledgement(&mut acknowledgements)?;
            }
        }
    }
    while qos > 0 && acknowledged < sent {
        acknowledged += acknowledgement(&mut acknowledgements)?;
    }
    stream.write_all(&[0xe0, 0])?;
    Ok(())
}

fn acknowledgement(reader: &mut impl Read) -> Outcome<u64> {
    let mut bytes = [0; 4];
    reader.read_exact(&mut bytes)?;
    if bytes[..2] != [0x40, 2] { Err(format!("{bytes:02x?} is no PUBACK").into()) } else { Ok(1) }
}

/// Reads so many messages, and acknowledges what wants it.
fn read_all(stream: TcpStream, qos: u8, messages: u64, arrived: &AtomicU64) -> Outcome<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::with_capacity(1 << 16, stream);
    let mut packet = vec![0; publish(qos, 1).len()];
    let mut acknowledgements = Vec::new();
    for count in 1..=messages {
        // All messages are of one length, whatever their packet ids.
        reader.read_exact(&mut packet)?;
        if packet[0] & 0xf6 != 0x30 | qos << 1 {
            return Err(format!("{:02x?} is no PUBLISH", &packet[..4]).into());
        }
        if qos > 0 {
            let id = 4 + TOPIC.len();
            acknowledgements.extend([0x40, 2, packet[id], packet[id + 1]]);
        }
        // What has come in one piece is answered in one.
        if reader.buffer().len() < packet.len() {
            writer.write_all(&acknowledgements)?;
            acknowledgements.clear();
            arrived.store(count, Ordering::Relaxed);
        }
    }
    writer.write_all(&[&acknowledgements[..], &[0xe0, 0]].concat())?;
    arrived.store(messages, Ordering::Relaxed);
    Ok(())
}

/// A hundred clients that have subscribed and wait.
fn idle_clients(port: u16) -> Outcome<Vec<TcpStream>> {
    (0..100)
        .map(|number| {
            let mut client = connect(port, &format!("idle-{number}"))?;
            for filter in 0..5 {
                subscribe(&mut client, &format!("plant/line-{number}/{filter}/+"), 1)?;
            }
            Ok(client)
        })
        .collect()
}

fn connect(port: u16, id: &str) -> Outcome<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let body = [&text("MQTT")[..], &[4, 2, 0, 0], &text(id)].concat();
    stream.write_all(&packet(0x10, &body))?;
    expect(&mut stream, &[0x20, 2, 0, 0])?;
    Ok(stream)
}

fn subscribe(stream: &mut TcpStream, filter: &str, qos: u8) -> Outcome<()> {
    stream.write_all(&packet(0x82, &[&[0, 1][..], &text(filter), &[qos]].concat()))?;
    expect(stream, &[0x90, 3, 0, 1, qos])
}

fn expect(stream: &mut TcpStream, wanted: &[u8]) -> Outcome<()> {
    let mut got = vec![0; wanted.len()];
    stream.read_exact(&mut got)?;
    if got == wanted { Ok(()) } else { Err(format!("{got:02x?}, not {wanted:02x?}").into()) }
}

fn publish(qos: u8, id: u16) -> Vec<u8> {
    let id = if qos > 0 { id.to_be_bytes().to_vec() } else { Vec::new() };
    packet(0x30 | qos << 1, &[&text(TOPIC)[..], &id, &[b'x'; PAYLOAD]].concat())
}

/// A packet with its length, which takes two bytes at most here.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head =
        if length < 128 { vec![first, length as u8] } else { vec![first, length as u8 | 0x80, (length >> 7) as u8] };
    [&head[..], body].concat()
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

/// Waits without burning the processor the brokers need.
fn wait(ready: impl Fn() -> bool) -> Outcome<()> {
    let since = Instant::now();
    while !ready() {
        if since.elapsed() > PATIENCE {
            return Err("nothing arrives any more".into());
        }
        thread::sleep(Duration::from_micros(50));
    }
    Ok(())
}

fn wait_for_port(port: u16) -> Outcome<()> {
    let since = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if since.elapsed() > PATIENCE {
            return Err("the gateway does not listen".into());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
