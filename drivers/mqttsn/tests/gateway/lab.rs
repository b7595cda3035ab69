//! A Mosquitto, a gateway before it, a scripted client, and a radio that loses what it likes.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::{TcpStream, UdpSocket};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use wharf_contract::port::PortEnd;
use wharf_contract::{Driver, DriverError, Health, LinkEvent, Port};
use wharf_mqttsn::message::{Message, Publish, Qos, Return, Topic};
use wharf_mqttsn::{LinkSettings, MqttSn};
use wharf_test_support::lab::free_port;
use wharf_test_support::settings::valid;

/// How long anything may take. No test depends on its being shorter.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How long nothing may come before it counts as nothing.
const QUIET: Duration = Duration::from_millis(500);

/// The settings that the YAML of this would be.
pub fn settings(value: &Value) -> LinkSettings {
    valid(value)
}

/// A real broker, in a folder of its own.
pub struct Mosquitto {
    pub port: u16,
    _child: Child,
    _folder: TempDir,
}

impl Mosquitto {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let file = folder.path().join("mosquitto.conf");
        let text = format!("listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n");
        std::fs::write(&file, text).unwrap();
        let path =
            if std::path::Path::new("/usr/sbin/mosquitto").exists() { "/usr/sbin/mosquitto" } else { "mosquitto" };
        let child = Command::new(path)
            .args(["-c", file.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("mosquitto is installed");
        let up = async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, up).await.expect("mosquitto starts");
        Self { port, _child: child, _folder: folder }
    }

    /// Publishes as somebody else.
    pub async fn publish(&self, arguments: &[&str]) {
        let status = Command::new("mosquitto_pub").args(["-p", &self.port.to_string()]).args(arguments).status();
        assert!(timeout(PATIENCE, status).await.unwrap().unwrap().success());
    }

    /// Hears what is published: topic, QoS, retain flag, payload.
    pub async fn listen(&self, filter: &str) -> Watcher {
        let port = self.port.to_string();
        let mut child = Command::new("mosquitto_sub")
            .args(["-p", &port, "-q", "2", "-t", filter, "-t", "watcher/ready", "-F", "%t %q %r %p"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("mosquitto_sub is installed");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut watcher = Watcher { lines, _child: child };
        // It listens when it hears.
        let ready = async {
            loop {
                self.publish(&["-t", "watcher/ready", "-m", "x"]).await;
                if let Ok(Ok(Some(line))) = timeout(QUIET, watcher.lines.next_line()).await {
                    assert!(line.starts_with("watcher/ready"), "{line}");
                    break;
                }
            }
        };
        timeout(PATIENCE, ready).await.expect("mosquitto_sub listens");
        watcher
    }
}

/// A client of the broker.
pub struct Watcher {
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Watcher {
    pub async fn next(&mut self) -> String {
        loop {
            let line = timeout(PATIENCE, self.lines.next_line()).await.expect("a message").unwrap().unwrap();
            if !line.starts_with("watcher/ready") {
                return line;
            }
        }
    }

    pub async fn hears_nothing(&mut self) {
        while let Ok(line) = timeout(QUIET, self.lines.next_line()).await {
            let line = line.unwrap().unwrap();
            assert!(line.starts_with("watcher/ready"), "{line}");
        }
    }
}

/// A running gateway.
pub struct Gateway {
    pub address: SocketAddr,
    pub end: PortEnd,
    driver: Arc<MqttSn>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), DriverError>>,
    _events: mpsc::Receiver<LinkEvent>,
}

impl Gateway {
    /// Over UDP, with a broker behind it.
    pub async fn start(broker: &Mosquitto, more: Value) -> Self {
        let address = free_address();
        let mut all = json!({ "udp": address.to_string(), "retry": "300ms" });
        merge(&mut all, more);
        Self::run(broker, all, address).await
    }

    /// As the settings say.
    pub async fn run(broker: &Mosquitto, mut all: Value, address: SocketAddr) -> Self {
        merge(&mut all, json!({ "broker": format!("127.0.0.1:{}", broker.port) }));
        let driver = Arc::new(MqttSn::new("field".into(), &settings(&all), None));
        let (events, kept) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let (mut port, end) = Port::new("field".into(), events, stop.clone());
        let running = Arc::clone(&driver);
        let task = tokio::spawn(async move { running.run(&mut port).await });
        let mut health = end.health.clone();
        timeout(PATIENCE, health.wait_for(|health| *health == Health::Online)).await.unwrap().unwrap();
        Self { address, end, driver, stop, task, _events: kept }
    }

    pub fn count(&self, what: &str) -> u64 {
        self.end.counts.read().into_iter().find(|(name, _)| *name == what).map_or(0, |(_, count)| count)
    }

    /// Waits until so many have been counted.
    pub async fn counted(&self, what: &str, least: u64) {
        let counted = async {
            while self.count(what) < least {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let counts = || self.end.counts.read();
        assert!(timeout(PATIENCE, counted).await.is_ok(), "{what}: {:?}", counts());
    }

    /// What is known of the clients, once it fits.
    pub async fn known(&self, fits: impl Fn(&Value) -> bool) -> Value {
        let known = async {
            loop {
                let answer = self.driver.ask(&json!({ "do": "mqttsn" })).await.unwrap().unwrap();
                if fits(&answer["clients"]) {
                    return answer["clients"].clone();
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, known).await.expect("it is shown")
    }

    pub async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
    }

    /// How it ends by itself.
    pub async fn ends(self) -> String {
        timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap_err().to_string()
    }
}

fn merge(all: &mut Value, more: Value) {
    if let (Some(all), Value::Object(more)) = (all.as_object_mut(), more) {
        all.extend(more);
    }
}

/// A port of loopback that nobody has.
pub fn free_address() -> SocketAddr {
    ([127, 0, 0, 1], free_port()).into()
}

/// A scripted client.
pub struct Sensor {
    socket: UdpSocket,
}

impl Sensor {
    pub async fn at(address: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(address).await.unwrap();
        Self { socket }
    }

    /// One that is let in.
    pub async fn connected(address: SocketAddr, id: &str, clean: bool) -> Self {
        let sensor = Self::at(address).await;
        sensor.say(&connect(id, clean)).await;
        sensor.hears(&Message::ConnAck(Return::Accepted)).await;
        sensor
    }

    pub async fn say(&self, message: &Message) {
        self.raw(&message.write().unwrap()).await;
    }

    pub async fn raw(&self, bytes: &[u8]) {
        self.socket.send(bytes).await.unwrap();
    }

    pub async fn next(&self) -> Message {
        let mut buffer = [0; 9000];
        let length = timeout(PATIENCE, self.socket.recv(&mut buffer)).await.expect("an answer").unwrap();
        Message::read(&buffer[..length]).unwrap()
    }

    /// The next that comes within so long.
    pub async fn within(&self, time: Duration) -> Option<Message> {
        let mut buffer = [0; 9000];
        let length = timeout(time, self.socket.recv(&mut buffer)).await.ok()?.unwrap();
        Some(Message::read(&buffer[..length]).unwrap())
    }

    pub async fn hears(&self, expected: &Message) {
        assert_eq!(&self.next().await, expected);
    }

    pub async fn hears_nothing(&self) {
        assert_eq!(self.within(QUIET).await, None);
    }

    /// A number for a topic.
    pub async fn register(&self, name: &str) -> u16 {
        self.say(&Message::Register { topic: 0, id: 900, name: name.into() }).await;
        match self.next().await {
            Message::RegAck { topic, id: 900, code: Return::Accepted } => topic,
            other => panic!("{other:?}"),
        }
    }

    pub async fn subscribe(&self, filter: wharf_mqttsn::message::Filter, qos: Qos) -> u16 {
        self.say(&Message::Subscribe { dup: false, qos, id: 901, filter }).await;
        match self.next().await {
            Message::SubAck { topic, id: 901, code: Return::Accepted, .. } => topic,
            other => panic!("{other:?}"),
        }
    }

    /// What is delivered, whose topic is told first where it must be.
    pub async fn delivered(&self) -> Publish {
        loop {
            match self.next().await {
                Message::Publish(publish) => return publish,
                Message::Register { topic, id, .. } => {
                    self.say(&Message::RegAck { topic, id, code: Return::Accepted }).await;
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

pub fn connect(id: &str, clean: bool) -> Message {
    Message::Connect { will: false, clean, duration: 60, client: id.into() }
}

pub fn publish(qos: Qos, topic: Topic, id: u16, data: &str) -> Message {
    Message::Publish(Publish { dup: false, qos, retain: false, topic, id, data: data.as_bytes().to_vec().into() })
}

/// A radio between clients and a gateway: it loses, doubles and holds back datagrams, by a seed.
pub struct Radio {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Radio {
    /// For one client. `badness` of 100 datagrams are lost, as many come twice, and as many too late.
    pub async fn before(gateway: SocketAddr, seed: u64, badness: u8) -> Self {
        let near = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let far = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        far.connect(gateway).await.unwrap();
        let address = near.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut dice = fastrand::Rng::with_seed(seed);
            let mut client = None;
            let (mut up, mut down) = ([0; 9000], [0; 9000]);
            loop {
                let (datagram, upwards) = tokio::select! {
                    Ok((length, from)) = near.recv_from(&mut up) => {
                        client = Some(from);
                        (up[..length].to_vec(), true)
                    }
                    Ok(length) = far.recv(&mut down) => (down[..length].to_vec(), false),
                    else => continue,
                };
                let (near, far, lots) = (Arc::clone(&near), Arc::clone(&far), dice.u8(..100));
                let times = if lots < badness {
                    0
                } else if lots < 2 * badness {
                    2
                } else {
                    1
                };
                let late = (100 - lots <= badness).then(|| Duration::from_millis(dice.u64(20..200)));
                tokio::spawn(async move {
                    sleep(late.unwrap_or_default()).await;
                    for _ in 0..times {
                        let _ = match client {
                            _ if upwards => far.send(&datagram).await,
                            Some(client) => near.send_to(&datagram, client).await,
                            None => Ok(0),
                        };
                    }
                });
            }
        });
        Self { address, task }
    }
}

impl Drop for Radio {
    fn drop(&mut self) {
        self.task.abort();
    }
}
