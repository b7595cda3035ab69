//! The driver against a real Mosquitto: messages in, publications out, refusals and the end of a connection.

#![allow(clippy::unwrap_used)] // in a test, an unwrap is the assertion

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command as Process, Stdio};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use wharf_contract::{
    Action, Answer, Command, CommandError, Driver, DriverError, Event, Health, LinkEvent, Port, PortEnd, Quality, Value,
};
use wharf_mqtt::{LinkSettings, Mqtt};
use wharf_test_support::lab::free_port;
use wharf_test_support::settings::valid;

/// How long something may take that is expected to happen: generous, because machines are slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running Mosquitto; ended when dropped.
struct Mosquitto {
    child: Child,
    port: u16,
    folder: PathBuf,
}

impl Mosquitto {
    /// One that lets everyone in, and to these topics.
    async fn start(acl: &str) -> Self {
        let port = free_port();
        let folder = std::env::temp_dir().join(format!("wharf-mqtt-{}-{port}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("acl"), acl).unwrap();
        let acl = folder.join("acl");
        let config =
            format!("listener {port} 127.0.0.1\nuser root\nallow_anonymous true\nacl_file {}\n", acl.display());
        std::fs::write(folder.join("conf"), config).unwrap();
        let mut process = Process::new("mosquitto");
        process.arg("-c").arg(folder.join("conf")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = process.spawn().expect("mosquitto is not installed; `sh tests/prepare.sh` installs it");
        let broker = Self { child, port, folder };
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "mosquitto does not listen");
            sleep(Duration::from_millis(20)).await;
        }
        broker
    }

    /// Publishes with QoS 1, as a device does.
    fn publish(&self, topic: &str, payload: &str, retain: bool) {
        let port = self.port.to_string();
        let mut process = Process::new("mosquitto_pub");
        process.args(["-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", topic, "-m", payload]);
        if retain {
            process.arg("-r");
        }
        assert!(process.status().unwrap().success());
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// All topics.
const EVERYTHING: &str = "topic readwrite #\n";

/// The driver at work.
struct Running {
    session: JoinHandle<Result<(), DriverError>>,
    events: mpsc::Receiver<LinkEvent>,
    end: PortEnd,
    stop: CancellationToken,
}

impl Running {
    async fn start(broker: &Mosquitto, settings: &str) -> Self {
        let settings = settings.replacen('{', &format!("{{\"broker\":\"mqtt://127.0.0.1:{}\",", broker.port), 1);
        let driver = Mqtt::new("wifi".into(), &decode(&settings)).belonging_to("gw1");
        let (sender, events) = mpsc::channel(1000);
        let stop = CancellationToken::new();
        let (mut port, end) = Port::new("wifi".into(), sender, stop.clone());
        let session = tokio::spawn(async move { driver.run(&mut port).await });
        let mut running = Self { session, events, end, stop };
        timeout(PATIENCE, running.end.health.wait_for(Health::is_up)).await.unwrap().unwrap();
        running
    }

    async fn event(&mut self) -> Event {
        timeout(PATIENCE, self.events.recv()).await.unwrap().unwrap().event
    }

    async fn reading(&mut self) -> (String, Option<Value>, Quality) {
        loop {
            if let Event::Reading(reading) = self.event().await {
                return (format!("{}/{}", reading.device, reading.point), reading.value, reading.quality);
            }
        }
    }

    /// Reads on until a device is told to be gone.
    async fn gone(&mut self) {
        while !matches!(self.event().await, Event::Device { alive: false, .. }) {}
    }

    async fn write(&self, point: &str, value: Value, verify: bool) -> Answer {
        let action = Action::Write { value, verify };
        let (command, answer) = Command::new("lamp".into(), point.into(), action, Instant::now() + PATIENCE);
        self.end.commands.send(command).await.unwrap();
        answer.wait().await
    }

    async fn finish(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.session).await.unwrap().unwrap().unwrap();
    }
}

fn decode(json: &str) -> LinkSettings {
    valid(&serde_json::from_str(json).unwrap())
}

/// What is written to its level comes back as its state, because both are one topic.
const LAMP: &str = r#"{"timeout":"1s","devices":{"lamp":{"topic":"lamp","quiet_after":"1h",
    "available":{"topic":"lamp/status"},
    "points":{
        "level":{"path":"level","write":{"topic":"lamp","payload":{"level":"{value}"}}},
        "deaf":{"path":"deaf","write":{"topic":"lamp/set"}}}}}}"#;

#[tokio::test]
async fn messages_become_readings_and_values_become_messages() {
    let broker = Mosquitto::start(EVERYTHING).await;
    broker.publish("lamp", r#"{"level":5}"#, true);
    let mut driver = Running::start(&broker, LAMP).await;
    assert_eq!(driver.reading().await, ("lamp/level".into(), Some(Value::Float(5.0)), Quality::Stale));
    broker.publish("lamp", r#"{"level":7}"#, false);
    assert_eq!(driver.event().await, Event::Device { device: "lamp".into(), alive: true, reason: None });
    assert_eq!(driver.reading().await, ("lamp/level".into(), Some(Value::Float(7.0)), Quality::Good));

    let done = driver.write("level", Value::Int(40), true).await.unwrap();
    assert_eq!((done.written, done.observed), (Some(Value::Float(40.0)), Some(Value::Float(40.0))));
    let told = driver.write("deaf", Value::Int(1), false).await.unwrap();
    assert!(told.note.is_some() && told.observed.is_none(), "{told:?}");
    let deaf = driver.write("deaf", Value::Int(1), true).await;
    assert_eq!(deaf, Err(CommandError::NoAnswer("it did not tell the value in time".into())));
    assert!(matches!(driver.write("level", Value::Text("x".into()), false).await, Err(CommandError::Refused(_))));

    broker.publish("lamp/status", "offline", true);
    driver.gone().await;
    assert!(matches!(driver.write("level", Value::Int(1), false).await, Err(CommandError::NotSent(_))));
    driver.finish().await;
}

#[tokio::test]
async fn a_message_that_is_too_large_is_counted_and_the_next_one_heard() {
    let broker = Mosquitto::start(EVERYTHING).await;
    let mut driver = Running::start(&broker, LAMP).await;
    std::fs::write(broker.folder.join("picture"), vec![b'9'; 1 << 20]).unwrap();
    let port = broker.port.to_string();
    let mut process = Process::new("mosquitto_pub");
    process
        .args(["-h", "127.0.0.1", "-p", &port, "-q", "1", "-r", "-t", "lamp", "-f"])
        .arg(broker.folder.join("picture"));
    assert!(process.status().unwrap().success());
    broker.publish("lamp", r#"{"level":7}"#, false);
    assert_eq!(driver.reading().await.0, "lamp/level");
    assert!(driver.end.counts.read().contains(&("too_large", 1)), "{:?}", driver.end.counts.read());
    driver.finish().await;
}

#[tokio::test]
async fn a_link_with_many_topics_subscribes_to_all_of_them() {
    let broker = Mosquitto::start(EVERYTHING).await;
    let points: Vec<String> = (0..180).map(|n| format!(r#""p{n}":{{"topic":"many/{n}"}}"#)).collect();
    let settings = format!(r#"{{"devices":{{"many":{{"points":{{{}}}}}}}}}"#, points.join(","));
    let mut driver = Running::start(&broker, &settings).await;
    for n in [0, 49, 50, 179] {
        broker.publish(&format!("many/{n}"), &n.to_string(), false);
        assert_eq!(driver.reading().await, (format!("many/p{n}"), Some(Value::Float(f64::from(n))), Quality::Good));
    }
    driver.finish().await;
}

/// Mosquitto grants a subscription that its list does not allow, and delivers nothing on it.
#[tokio::test]
async fn what_the_broker_keeps_from_one_point_does_not_keep_it_from_another() {
    let broker = Mosquitto::start("topic readwrite open/#\n").await;
    let settings = r#"{"devices":{"d":{"points":{"a":{"topic":"open/a"},"b":{"topic":"closed/b"}}}}}"#;
    let mut driver = Running::start(&broker, settings).await;
    broker.publish("closed/b", "1", false);
    broker.publish("open/a", "1", false);
    assert_eq!(driver.reading().await.0, "d/a");
    driver.finish().await;
}

#[tokio::test]
async fn a_broker_that_goes_away_ends_the_session_and_its_devices_are_told_to_be_gone() {
    let mut broker = Mosquitto::start(EVERYTHING).await;
    let mut driver = Running::start(&broker, LAMP).await;
    broker.publish("lamp", r#"{"level":7}"#, false);
    driver.reading().await;
    broker.child.kill().unwrap();
    driver.gone().await;
    let ended = timeout(PATIENCE, driver.session).await.unwrap().unwrap();
    assert!(matches!(ended, Err(DriverError::Lost(_))), "{ended:?}");
}

#[tokio::test]
async fn where_nobody_listens_the_session_ends_with_words() {
    let nobody = free_port();
    let driver = Mqtt::new("wifi".into(), &decode(&format!(r#"{{"broker":"mqtt://127.0.0.1:{nobody}"}}"#)));
    let (mut port, _end) = Port::new("wifi".into(), mpsc::channel(1).0, CancellationToken::new());
    let error = timeout(PATIENCE, driver.run(&mut port)).await.unwrap().unwrap_err();
    assert!(error.to_string().starts_with(&format!("no connection to mqtt://127.0.0.1:{nobody}: ")), "{error}");
}
