//! Reading Modbus devices over TCP.
//!
//! First the driver alone, one connection, as fast as it goes: registers a second, and processor
//! time per register. Beside it, in the same run and with the same devices, a bare loop of
//! libmodbus that reads blocks of the same size and makes nothing of them.
//! Then the whole gateway, publishing to Mosquitto: 10,000 and 100,000 points once a second, over
//! ten connections: processor time, memory, and how late the reads come, as the devices see it.
//!
//! `cargo bench --bench polling [-- SECONDS]`: 10 s of each, if nothing else is said. Needs
//! Mosquitto, a C compiler and libmodbus with its headers.

mod broker;
mod measure;
mod process;
mod slave;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use broker::Broker;
use measure::{Outcome, Start};
use process::Process;
use slave::Slave;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wharf::{config, drivers};
use wharf_contract::{Event, Port, Quality};

/// How many registers one request reads.
const BLOCK: u64 = 100;
/// How many units the fast loop reads in turn: more than it can read in 10 ms.
const UNITS: u64 = 240;
/// How many connections the gateway has.
const CONNECTIONS: usize = 10;

fn main() -> Outcome<()> {
    slave::serve_if_asked()?;
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    let time = Duration::from_secs(words.next().map_or(Ok(10), |word| word.parse())?);
    let dir = std::env::temp_dir().join(format!("wharf-polling-bench-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let measured = measure(&dir, time);
    fs::remove_dir_all(&dir)?;
    measured
}

fn measure(dir: &Path, time: Duration) -> Outcome<()> {
    write_profile(dir)?;
    let slave = Slave::start(1)?;
    let (requests, cpu) = libmodbus(dir, slave.ports[0], time)?;
    tell("yardstick, a bare loop of libmodbus", requests * BLOCK, cpu, time);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (registers, cpu) = runtime.block_on(driver(dir, slave.ports[0], time))?;
    tell("the driver, every register a point", registers, cpu, time);
    for units in [10, 100] {
        gateway(dir, units, time)?;
    }
    Ok(())
}

fn tell(what: &str, registers: u64, cpu: Duration, time: Duration) {
    println!("{what}:");
    println!("  {:.0} registers/s", registers as f64 / time.as_secs_f64());
    println!("  {:.3} µs of processor time per register", cpu.as_secs_f64() * 1e6 / registers as f64);
}

/// The links of a site: so many connections to these ports, with so many units of a hundred points.
fn links(ports: &[u16], units: u64, every: &str) -> String {
    let mut text = String::from("modbus:\n");
    for (link, port) in ports.iter().enumerate() {
        let _ = writeln!(text, "  bus{link}:\n    tcp: 127.0.0.1:{port}\n    every: {every}\n    devices:");
        for unit in 1..=units {
            let _ = writeln!(text, "      d{link}-{unit}: {{ unit: {unit}, profile: block }}");
        }
    }
    text
}

/// The profile of all units: a block of registers, each of them a point.
fn write_profile(dir: &Path) -> Outcome<()> {
    fs::create_dir_all(dir.join("profiles"))?;
    let mut text = String::from("name: block\nsource: this benchmark\nprotocol: modbus\npoints:\n");
    for n in 0..BLOCK {
        let _ = writeln!(text, "  p{n}: {{ holding: {n} }}");
    }
    Ok(fs::write(dir.join("profiles/block.yaml"), text)?)
}

/// Requests and processor time of the yardstick.
fn libmodbus(dir: &Path, port: u16, time: Duration) -> Outcome<(u64, Duration)> {
    let program = dir.join("loop");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/loop.c");
    let compiled = Command::new("cc")
        .args(["-O2", "-I/usr/include/modbus", "-o"])
        .arg(&program)
        .arg(source)
        .arg("-lmodbus")
        .status()?;
    if !compiled.success() {
        return Err("the loop of libmodbus could not be compiled: is libmodbus-dev installed?".into());
    }
    let output =
        Command::new(program).args([port.to_string(), UNITS.to_string(), time.as_secs().to_string()]).output()?;
    let text = String::from_utf8(output.stdout)?;
    let (requests, micros) = text.trim().split_once(' ').ok_or("the loop of libmodbus failed")?;
    Ok((requests.parse()?, Duration::from_micros(micros.parse()?)))
}

/// Good readings and processor time of the driver alone, asked for more than it can read.
async fn driver(dir: &Path, port: u16, time: Duration) -> Outcome<(u64, Duration)> {
    let text = format!("gateway: gw1\n{}", links(&[port], UNITS, "10ms"));
    let no_secrets = |name: &str| Err(format!("no secret {name} here"));
    let site = config::read(&text, &dir.join("site.yaml"), &no_secrets).map_err(|errors| errors.to_string())?;
    let driver = drivers::build(&site, None).pop().ok_or("no driver")?;
    let (events_in, mut events) = mpsc::channel(4096);
    let stop = CancellationToken::new();
    let (mut port, _end) = Port::new("bus0".into(), events_in, stop.clone());
    let running = tokio::spawn(async move { driver.run(&mut port).await });
    let begin = tokio::time::Instant::now() + Duration::from_secs(1);
    let end = begin + time;
    let (mut good, mut start) = (0, None);
    while let Ok(Some(event)) = tokio::time::timeout_at(end, events.recv()).await {
        if start.is_none() && tokio::time::Instant::now() >= begin {
            (good, start) = (0, Some(Start::now(dir)));
        }
        good += u64::from(matches!(event.event, Event::Reading(reading) if reading.quality == Quality::Good));
    }
    let cost = start.ok_or("nothing was read")?.cost(dir);
    stop.cancel();
    // What still comes has to be taken, or the driver would wait to hand it over.
    while events.recv().await.is_some() {}
    running.await??;
    Ok((good, cost.cpu))
}

/// The whole gateway, in a process of its own.
fn gateway(dir: &Path, units: u64, time: Duration) -> Outcome<()> {
    let points = CONNECTIONS as u64 * units * BLOCK;
    println!("the gateway, {points} points once a second over {CONNECTIONS} connections, to Mosquitto:");
    let broker = Broker::start(dir)?;
    let mut slave = Slave::start(CONNECTIONS)?;
    let state = dir.join(format!("state-{points}"));
    let text = format!(
        "gateway: gw1\nstate_dir: {}\nuplinks:\n  central: {{ url: \"mqtt://127.0.0.1:{}\", queue: {{ min_free: 1MiB }} }}\nbroker: {{ listen: [] }}\n{}",
        state.display(),
        broker.port,
        links(&slave.ports, units, "1s")
    );
    let site = dir.join("site.yaml");
    fs::write(&site, text)?;
    let begun = Instant::now();
    let gateway = Process::start(&site)?;
    // The first round connects and reads everything at once.
    std::thread::sleep(Duration::from_secs(5));
    slave.reset()?;
    let (cpu, start) = (gateway.cpu()?, Instant::now());
    std::thread::sleep(time);
    let (cpu, over) = (gateway.cpu()? - cpu, start.elapsed());
    let late = slave.late()?;
    let reads = late.reads as f64 / over.as_secs_f64();
    println!("  {reads:.0} requests/s of {}", points / BLOCK);
    println!(
        "  {:.2} µs of processor time per value, {:.0} % of a core",
        cpu.as_secs_f64() * 1e6 / (reads * over.as_secs_f64() * BLOCK as f64),
        cpu.as_secs_f64() / over.as_secs_f64() * 100.0
    );
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "  reads later than an even rhythm by p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
        ms(late.p50),
        ms(late.p99),
        ms(late.longest)
    );
    println!(
        "  {} KiB resident after {:.0} s, {} KiB at most",
        gateway.memory("VmRSS:")?,
        begun.elapsed().as_secs_f64(),
        gateway.memory("VmHWM:")?
    );
    Ok(())
}
