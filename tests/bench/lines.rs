//! MySensors lines over TCP, through the whole gateway, to Mosquitto.
//!
//! 5,000 lines a second for a while: whether everything arrives, and how far behind the last is.
//! Then 1,000 a second, evenly: how long it takes from a line's last byte to a client of the broker,
//! at different commits, and by way of the local broker. Beside it, in the same run, the same client
//! and broker without a gateway, and how long the disk takes for a commit of that size.
//!
//! `cargo bench --bench lines [-- SECONDS]`: 20 s of each, if nothing else is said. Needs Mosquitto.

mod broker;
mod measure;
mod process;

use std::fs::{self, File};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use broker::{Broker, free_port};
use measure::Outcome;
use process::Process;
use rumqttc_v5 as mqtt;

/// How long may pass until everything has arrived, or the gateway is connected.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many nodes speak in turn.
const NODES: u64 = 100;

fn main() -> Outcome<()> {
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    let seconds: u64 = words.next().map_or(Ok(20), |word| word.parse())?;
    let dir = std::env::temp_dir().join(format!("wharf-lines-bench-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let measured = measure(&dir, seconds);
    fs::remove_dir_all(&dir)?;
    measured
}

fn measure(dir: &Path, seconds: u64) -> Outcome<()> {
    let broker = Broker::start(dir)?;
    tell("yardstick, write and sync of 2 KiB", &mut syncs(dir)?);
    tell("yardstick, the client alone, 1000/s", &mut alone(&broker, seconds)?);
    sustained(dir, &broker, seconds)?;
    for commit in ["0ms", "10ms", "100ms"] {
        let site = Site { commit, uplink: broker.port, local: None };
        let mut times = run(dir, &site, broker.port, 1000, seconds)?.times;
        tell(&format!("1000 lines/s to the broker upstream, a commit each {commit}"), &mut times);
    }
    let local = free_port();
    let site = Site { commit: "100ms", uplink: broker.port, local: Some(local) };
    tell("1000 lines/s to the local broker", &mut run(dir, &site, local, 1000, seconds)?.times);
    Ok(())
}

fn tell(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 1000].as_secs_f64() * 1e3;
    println!("{what}: p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms", at(500), at(990), at(1000));
}

fn sustained(dir: &Path, broker: &Broker, seconds: u64) -> Outcome<()> {
    let site = Site { commit: "100ms", uplink: broker.port, local: None };
    let mut run = run(dir, &site, broker.port, 5000, seconds)?;
    println!(
        "5000 lines/s for {seconds} s: {} of {} arrived, {:.1} µs of processor time each",
        run.times.len(),
        5000 * seconds,
        run.cpu.as_secs_f64() * 1e6 / run.times.len() as f64,
    );
    let last_second = run.times.len() - 5000;
    tell("  the last second of it", &mut run.times[last_second..]);
    Ok(())
}

/// A site with one MySensors link.
struct Site {
    commit: &'static str,
    uplink: u16,
    local: Option<u16>,
}

/// What became of the lines of a run.
struct Run {
    /// From each line's last byte to the client, in the order of arrival.
    times: Vec<Duration>,
    /// Processor time of the gateway.
    cpu: Duration,
}

/// Lines through a gateway to a client of the broker on that port.
fn run(dir: &Path, site: &Site, watched: u16, rate: u64, seconds: u64) -> Outcome<Run> {
    let nodes = TcpListener::bind("127.0.0.1:0")?;
    let state = dir.join(format!("state-{}", free_port()));
    let listen = site.local.map_or_else(String::new, |port| format!("127.0.0.1:{port}"));
    let file = dir.join("site.yaml");
    fs::write(
        &file,
        format!(
            "gateway: gw1\nstate_dir: {}\nuplinks:\n  central:\n    url: mqtt://127.0.0.1:{}\n    in_flight: 1000\n    \
             queue: {{ commit: {}, min_free: 1MiB }}\nbroker: {{ listen: [{listen}] }}\nmysensors:\n  garden: {{ tcp: {} }}\n",
            state.display(),
            site.uplink,
            site.commit,
            nodes.local_addr()?,
        ),
    )?;
    let gateway = Process::start(&file)?;
    let (mut stream, _) = nodes.accept()?;
    stream.set_nodelay(true)?;
    let begin = Instant::now();
    let arrivals = listen_to(watched, begin)?;
    // Commands wait for a gateway's first word, and so does nothing here; the uplink takes a moment.
    writeln!(stream, "0;255;3;0;14;Gateway startup complete.")?;
    std::thread::sleep(Duration::from_secs(2));
    let cpu = gateway.cpu()?;
    speak(rate, seconds, |number| Ok(stream.write_all(line(number, begin).as_bytes())?))?;
    let times = collect(&arrivals, rate * seconds)?;
    Ok(Run { times, cpu: gateway.cpu()? - cpu })
}

/// What a node says: the moment it says it, in microseconds since the beginning.
fn line(number: u64, begin: Instant) -> String {
    format!("{};1;1;0;24;{}\n", 1 + number % NODES, begin.elapsed().as_micros())
}

/// Says something so many times a second, evenly, or as evenly as a sleep goes.
fn speak(rate: u64, seconds: u64, mut say: impl FnMut(u64) -> Outcome<()>) -> Outcome<()> {
    let start = Instant::now();
    for number in 0..rate * seconds {
        let due = start + Duration::from_nanos(1_000_000_000 / rate * number);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        say(number)?;
    }
    Ok(())
}

/// The same client and broker, and nothing in between.
fn alone(broker: &Broker, seconds: u64) -> Outcome<Vec<Duration>> {
    let begin = Instant::now();
    let arrivals = listen_to(broker.port, begin)?;
    let (client, mut connection) = mqtt::Client::builder(options("speaker", broker.port)).capacity(100).build();
    let running = std::thread::spawn(move || connection.iter().take_while(Result::is_ok).for_each(drop));
    speak(1000, seconds, |number| {
        let now = begin.elapsed().as_micros().to_string();
        let topic = format!("gw1-out/{}/1/1/0/24", 1 + number % NODES);
        Ok(client.publish(topic, now, mqtt::PublishOptions::at_least_once())?)
    })?;
    let times = collect(&arrivals, 1000 * seconds)?;
    client.disconnect_now()?;
    running.join().map_err(|_| "the speaker failed")?;
    Ok(times)
}

/// How long each of these arrivals took.
fn collect(arrivals: &Receiver<Duration>, count: u64) -> Outcome<Vec<Duration>> {
    let mut times = Vec::with_capacity(count as usize);
    while (times.len() as u64) < count {
        match arrivals.recv_timeout(PATIENCE) {
            Ok(time) => times.push(time),
            Err(_) => return Err(format!("only {} of {count} arrived", times.len()).into()),
        }
    }
    Ok(times)
}

/// Subscribes to readings; each arrival gives how long it took.
fn listen_to(port: u16, begin: Instant) -> Outcome<Receiver<Duration>> {
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if Instant::now() > deadline {
            return Err("the broker does not listen".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let (client, connection) = mqtt::Client::builder(options("listener", port)).capacity(10).build();
    client.subscribe("gw1-out/+/1/1/0/24", mqtt::mqttbytes::QoS::AtMostOnce)?;
    let (arrived, arrivals) = channel();
    let (subscribed, is_subscribed) = channel();
    std::thread::spawn(move || hear(client, connection, begin, &arrived, &subscribed));
    is_subscribed.recv_timeout(PATIENCE)?;
    Ok(arrivals)
}

/// Ends when nobody listens to its arrivals any more.
fn hear(
    client: mqtt::Client,
    mut connection: mqtt::Connection,
    begin: Instant,
    arrived: &Sender<Duration>,
    subscribed: &Sender<()>,
) {
    for event in connection.iter() {
        match event {
            Ok(mqtt::Event::Incoming(mqtt::Packet::SubAck(_))) => drop(subscribed.send(())),
            Ok(mqtt::Event::Incoming(mqtt::Packet::Publish(publish))) => {
                let now = begin.elapsed();
                let said = std::str::from_utf8(&publish.payload).ok().and_then(|text| text.parse().ok());
                let Some(said) = said.map(Duration::from_micros) else { continue };
                if arrived.send(now.saturating_sub(said)).is_err() {
                    break;
                }
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    drop(client);
}

fn options(name: &str, port: u16) -> mqtt::MqttOptions {
    let id = format!("{name}-{}-{port}-{}", std::process::id(), free_port());
    let mut options = mqtt::MqttOptions::new(id, mqtt::Broker::tcp("127.0.0.1", port));
    options.set_keep_alive(60);
    // As the gateway does; else a small packet waits for the acknowledgement of the one before.
    let mut network = options.network_options();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    options
}

/// How long the disk takes to make a commit of the size of twenty lines safe.
fn syncs(dir: &Path) -> Outcome<Vec<Duration>> {
    let file = File::create(dir.join("syncs"))?;
    file.write_all_at(&vec![0; 1 << 20], 0)?;
    file.sync_all()?;
    let mut times = Vec::new();
    for n in 0..500 {
        let start = Instant::now();
        file.write_all_at(&[b'x'; 2048], n % 256 * 4096)?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    Ok(times)
}
