//! The whole path: readings in a driver's port, through mapping, queue and uplink, until Mosquitto
//! has acknowledged them. Beside it two yardsticks in the same run: `mosquitto_pub -l -q 1` with
//! the same topic and payload to the same broker, and plain writes of the same bytes with as many
//! syncs.
//!
//! `cargo bench --bench gateway [-- MESSAGES [DIRECTORY]]`: 300000 messages, the queue in the
//! system's temporary directory, if nothing else is said. Needs Mosquitto and its clients.

mod measure;

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use measure::{Outcome, Start, peak_memory, print, yardstick};
use tokio::sync::OnceCell;
use wharf::queue::Queue;
use wharf::{app, config};
use wharf_contract::{
    Driver, DriverError, Event, Health, LinkId, PointId, PointInfo, Port, Reading, Value, async_trait,
};

/// A message as the default mapping makes it of this benchmark's readings, for the yardstick.
const TYPICAL: &str = r#"{"value":21.5,"unit":"°C","ts":1795219869123,"quality":"good"}"#;

fn main() -> Outcome<()> {
    measure::run("gateway", measure)
}

fn measure(dir: &Path, messages: u64) -> Outcome<()> {
    let broker = Broker::start(dir)?;
    let payload = messages * TYPICAL.len() as u64;
    println!("{messages} readings through the whole path, queue in {}", dir.display());
    for (what, listen) in [("without the local broker", None), ("with the local broker", Some(free_port()?))] {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let (cost, syncs) = runtime.block_on(whole_path(dir, &broker, listen, messages))?;
        print(&format!("gateway, port to PUBACK, {what}"), messages, payload, &cost);
        println!("  {syncs} syncs");
        println!("  peak memory of the process so far: {} KiB", peak_memory().unwrap_or_default());
        if listen.is_none() {
            let cost = yardstick(dir, payload, syncs)?;
            print("yardstick, plain writes of the payloads with as many syncs", messages, payload, &cost);
        }
    }
    let rate = messages as f64 / mosquitto_pub(&broker, messages)?.as_secs_f64();
    println!("yardstick, mosquitto_pub -l -q 1, same topic and payload:\n  {rate:.0} messages/s");
    Ok(())
}

/// Runs a gateway with a driver that emits as fast as it is let, until all is acknowledged.
async fn whole_path(dir: &Path, broker: &Broker, listen: Option<u16>, messages: u64) -> Outcome<(measure::Cost, u64)> {
    let listen = listen.map_or(String::new(), |port| format!("127.0.0.1:{port}"));
    let text = format!(
        "gateway: gw1\nuplinks: {{ central: {{ url: \"mqtt://127.0.0.1:{}\", in_flight: 1000, queue: {{ min_free: 1MiB }} }} }}\nbroker: {{ listen: [{listen}] }}\n",
        broker.port
    );
    let no_secrets = |name: &str| Err(format!("no secret {name} here"));
    let site = config::read(&text, &dir.join("site.yaml"), &no_secrets).map_err(|errors| errors.to_string())?;
    let state_dir = dir.join(format!("state-{}", listen.len()));
    let source = Arc::new(Source { name: LinkId::from("source"), go: OnceCell::new(), messages });
    let running = app::start_with(site, vec![source.clone()], app::Options { state_dir, tap: None }).await?;
    running.connected().await?;
    let queue = running.queues()[0].1.clone();
    let start = Start::now(dir);
    let before = queue.counters();
    // The uplink is connected, so what is measured is the steady flow.
    source.go.set(queue.clone()).map_err(|_| "it has begun already")?;
    while queue.counters().acknowledged < before.acknowledged + messages {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let cost = start.cost(dir);
    let syncs = queue.counters().syncs - before.syncs;
    running.stop().await?;
    Ok((cost, syncs))
}

/// How many readings the driver may be ahead of the queue. They fit the channel behind the port, so
/// none is ever dropped there.
const AHEAD: u64 = 2048;

/// A driver that emits readings of ten points in turn, as fast as the gateway takes them.
struct Source {
    name: LinkId,
    /// Where the readings get to; set when the driver may begin.
    go: OnceCell<Queue>,
    messages: u64,
}

#[async_trait]
impl Driver for Source {
    fn name(&self) -> &LinkId {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "bench"
    }

    fn catalogue(&self) -> Vec<PointInfo> {
        Vec::new()
    }

    async fn run(&self, port: &mut Port) -> Result<(), DriverError> {
        port.report(Health::Online);
        while self.go.get().is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let queue = self.go.get().ok_or_else(|| DriverError::fatal("no queue"))?;
        let before = queue.counters().captured;
        let points: Vec<PointId> = (0..10).map(|point| format!("point-{point}").into()).collect();
        for number in 0..self.messages {
            while number % 256 == 0 && before + number > queue.counters().captured + AHEAD {
                tokio::time::sleep(Duration::from_micros(100)).await;
            }
            let point = points[number as usize % points.len()].clone();
            let value = Value::Float(f64::from(u32::try_from(number % 1000).unwrap_or_default()) / 10.0);
            let reading =
                Reading { unit: Some("°C".into()), ..Reading::good("tank".into(), point, value, SystemTime::now()) };
            port.emit(Event::Reading(reading)).await;
        }
        port.stop().cancelled().await;
        Ok(())
    }
}

/// A Mosquitto of our own, ended when dropped.
struct Broker {
    port: u16,
    child: Child,
}

impl Broker {
    fn start(dir: &Path) -> Outcome<Self> {
        let port = free_port()?;
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
fn mosquitto_pub(broker: &Broker, messages: u64) -> Outcome<Duration> {
    let before = broker.received()?;
    let start = Instant::now();
    let mut child = Command::new("mosquitto_pub")
        .args(["-p", &broker.port.to_string(), "-t", "gw1-out/tank/point-1", "-q", "1", "-l"])
        .stdin(Stdio::piped())
        .spawn()?;
    let mut lines = std::io::BufWriter::new(child.stdin.take().ok_or("no standard input")?);
    for _ in 0..messages {
        writeln!(lines, "{TYPICAL}")?;
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

fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
