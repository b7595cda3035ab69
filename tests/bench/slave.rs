//! The devices that the polling benchmark reads: a process of their own, so that their processor
//! time is not the gateway's. They answer reads of holding registers at once, and note when each
//! read came.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::measure::Outcome;

/// Set in the environment of the process that is to be the devices: how many ports they have.
const PORTS: &str = "WHARF_BENCH_SLAVE_PORTS";

/// When each block of registers was read: by port, unit id and first register.
type Arrivals = Arc<Mutex<HashMap<(usize, u8, u16), Vec<Instant>>>>;

/// Is the devices, in the process that was started for that; elsewhere returns at once.
pub fn serve_if_asked() -> Outcome<()> {
    let Ok(ports) = std::env::var(PORTS) else { return Ok(()) };
    let arrivals = Arrivals::default();
    let mut listening = Vec::new();
    for place in 0..ports.parse()? {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listening.push(listener.local_addr()?.port().to_string());
        let arrivals = arrivals.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let arrivals = arrivals.clone();
                std::thread::spawn(move || answer(stream, place, &arrivals));
            }
        });
    }
    println!("{}", listening.join(" "));
    for line in std::io::stdin().lock().lines() {
        let mut arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        if line? == "report" {
            let every = Duration::from_secs(1);
            let mut late: Vec<Duration> = arrivals.values().flat_map(|times| lateness(times, every)).collect();
            late.sort_unstable();
            let at =
                |share: usize| late.get(late.len().saturating_sub(1) * share / 1000).map_or(0, Duration::as_micros);
            println!("{} {} {} {}", late.len(), at(500), at(990), at(1000));
        }
        arrivals.clear();
    }
    std::process::exit(0);
}

/// Answers reads on one connection until it ends.
fn answer(mut stream: TcpStream, place: usize, arrivals: &Arrivals) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut request = [0; 12];
    loop {
        stream.read_exact(&mut request).ok()?;
        let (unit, start) = (request[6], u16::from_be_bytes([request[8], request[9]]));
        let count = u16::from_be_bytes([request[10], request[11]]);
        arrivals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry((place, unit, start))
            .or_default()
            .push(Instant::now());
        let bytes = u8::try_from(count * 2).ok()?;
        let mut frame = [&request[..4], &(u16::from(bytes) + 3).to_be_bytes(), &[unit, request[7], bytes]].concat();
        frame.extend((0..count).flat_map(|n| (start + n).to_be_bytes()));
        stream.write_all(&frame).ok()?;
    }
}

/// How much later than an even rhythm each of these moments is. The rhythm's phase is unknown here,
/// so the moment that is earliest against it counts as on time.
fn lateness(times: &[Instant], every: Duration) -> Vec<Duration> {
    let Some(first) = times.first() else { return Vec::new() };
    let against: Vec<i128> = times
        .iter()
        .enumerate()
        .map(|(turn, time)| (*time - *first).as_nanos() as i128 - (every * turn as u32).as_nanos() as i128)
        .collect();
    let earliest = against.iter().copied().min().unwrap_or_default();
    against.iter().map(|nanos| Duration::from_nanos((nanos - earliest) as u64)).collect()
}

/// The devices, seen from the benchmark. Ended when dropped.
pub struct Slave {
    pub ports: Vec<u16>,
    child: Child,
    said: BufReader<std::process::ChildStdout>,
}

/// How late reads came.
pub struct Late {
    pub reads: u64,
    pub p50: Duration,
    pub p99: Duration,
    pub longest: Duration,
}

impl Slave {
    /// Starts devices on so many ports.
    pub fn start(ports: usize) -> Outcome<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .env(PORTS, ports.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut said = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        let mut line = String::new();
        said.read_line(&mut line)?;
        let ports = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self { ports, child, said })
    }

    /// Forgets what came so far.
    pub fn reset(&mut self) -> Outcome<()> {
        self.tell("reset")
    }

    /// How late the reads since the last reset came, for a rhythm of a second.
    pub fn late(&mut self) -> Outcome<Late> {
        self.tell("report")?;
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        let figures: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let [reads, p50, p99, longest] = figures[..] else { return Err(format!("{line:?} is no report").into()) };
        let time = Duration::from_micros;
        Ok(Late { reads, p50: time(p50), p99: time(p99), longest: time(longest) })
    }

    fn tell(&mut self, word: &str) -> Outcome<()> {
        let input = self.child.stdin.as_mut().ok_or("no standard input")?;
        Ok(writeln!(input, "{word}")?)
    }
}

impl Drop for Slave {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
