//! The broker the benchmarks talk to, and the yardstick of `mosquitto_pub`.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub use wharf_test_support::lab::free_port;

use super::measure::Outcome;

/// A Mosquitto of our own, ended when dropped.
pub struct Broker {
    pub port: u16,
    child: Child,
}

impl Broker {
    /// Starts it.
    pub fn start(dir: &Path) -> Outcome<Self> {
        let port = free_port();
        let config = dir.join("mosquitto.conf");
        fs::write(
            &config,
            format!("listener {port} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 0\nsys_interval 1\n"),
        )?;
        let child =
            Command::new("mosquitto").arg("-c").arg(config).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let broker = Self { port, child };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > deadline {
                return Err("mosquitto does not listen".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(broker)
    }
}

impl Broker {
    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How many publications it has received, as it says itself once a second.
    fn received(&self) -> Outcome<u64> {
        std::thread::sleep(Duration::from_millis(1500));
        let topic = "$SYS/broker/publish/messages/received";
        let said =
            Command::new("mosquitto_sub").args(["-p", &self.port.to_string(), "-t", topic, "-C", "1"]).output()?;
        Ok(String::from_utf8(said.stdout)?.trim().parse()?)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How long `mosquitto_pub` takes until the last acknowledgement.
///
/// It is kept open until it has nothing more to read from the broker: at the end of its input
/// it leaves at once, and most of what it was given has not been sent then.
pub fn mosquitto_pub(broker: &Broker, payload: &str, messages: u64) -> Outcome<Duration> {
    let before = broker.received()?;
    let start = Instant::now();
    let mut child = Command::new("mosquitto_pub")
        .args(["-p", &broker.port.to_string(), "-t", "gw1-out/tank/point-1", "-q", "1", "-l"])
        .stdin(Stdio::piped())
        .spawn()?;
    let mut lines = std::io::BufWriter::new(child.stdin.take().ok_or("no standard input")?);
    for _ in 0..messages {
        writeln!(lines, "{payload}")?;
    }
    lines.flush()?;
    let (mut read, mut last) = (0, Instant::now());
    while last.elapsed() < Duration::from_millis(500) {
        let now = bytes_read(child.id())?;
        if now != read {
            (read, last) = (now, Instant::now());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    drop(lines);
    child.wait()?;
    let arrived = broker.received()? - before;
    if arrived < messages {
        return Err(format!("only {arrived} of {messages} messages of mosquitto_pub arrived").into());
    }
    Ok(last - start)
}

fn bytes_read(process: u32) -> Outcome<u64> {
    let io = fs::read_to_string(format!("/proc/{process}/io"))?;
    let read = io.lines().find_map(|line| line.strip_prefix("rchar: ")).ok_or("no rchar in /proc")?;
    Ok(read.parse()?)
}
