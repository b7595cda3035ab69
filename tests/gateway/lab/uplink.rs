//! An uplink by itself: a queue in a folder of its own and the task that empties it, without
//! drivers in front of it. What is in the queue and when is then the test's to decide.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wharf::clock::Clock;
use wharf::config::url::BrokerUrl;
use wharf::message::Message;
use wharf::queue::{Counters, Queue, Settings};
use wharf::topics::Topics;
use wharf::uplink::{self, Delivery, Keyring, Options, Protocol, Sources, Uplink, UplinkEnd, UplinkState};

use super::scripted::{Publish, Scripted};
use super::{PATIENCE, wait_for};

/// Where readings go.
pub const TOPIC: &str = "gw1-out/tank/level";

/// A reading with this value.
pub fn reading(n: usize) -> Message {
    Message::new(TOPIC, format!(r#"{{"value":{n},"ts":1795219869123,"quality":"good"}}"#)).json()
}

/// A message that wharf has not made the payload of.
pub fn raw(topic: &str, text: &str) -> Message {
    Message::new(topic, text.to_owned())
}

/// All that came on a topic, on whatever connection.
pub fn heard(broker: &Scripted, topic: &str) -> Vec<Publish> {
    let all = broker.connects().into_iter().flat_map(|connect| connect.publishes);
    all.filter(|publish| publish.topic == topic).collect()
}

/// The value of a reading.
pub fn value(publish: &Publish) -> usize {
    json(publish)["value"].as_u64().unwrap() as usize
}

/// The payload as JSON.
pub fn json(publish: &Publish) -> serde_json::Value {
    serde_json::from_str(&publish.payload).unwrap_or_else(|error| panic!("{error}: {}", publish.payload))
}

/// Whether a reading says that it is replayed.
pub fn is_replayed(publish: &Publish) -> bool {
    json(publish).get("replay").is_some()
}

/// The queue of an uplink; the uplink itself runs while it is started.
pub struct Bare {
    runtime: Runtime,
    dir: tempfile::TempDir,
    queue: Option<Queue>,
    clock: Clock,
    running: Option<(CancellationToken, JoinHandle<()>, UplinkEnd)>,
}

/// How the uplink is to be.
#[derive(Clone)]
pub struct How {
    pub protocol: Protocol,
    pub window: u16,
    pub delivery: Delivery,
}

impl Default for How {
    fn default() -> Self {
        let delivery = Delivery { first_wait: Duration::from_millis(5), ..Delivery::default() };
        Self { protocol: Protocol::V5, window: 10, delivery }
    }
}

impl How {
    pub fn v311() -> Self {
        Self { protocol: Protocol::V311, ..Self::default() }
    }
}

impl Bare {
    /// An empty queue.
    pub fn new() -> Self {
        Self::with_clock(Clock::system())
    }

    /// The same, with a clock of the test's.
    pub fn with_clock(clock: Clock) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let mut bare = Self { runtime, dir: tempfile::tempdir().unwrap(), queue: None, clock, running: None };
        bare.queue = Some(bare.open());
        bare
    }

    /// Captures a message, and waits until it is on disk.
    pub fn capture(&self, message: &Message) {
        self.capture_all([message.clone()]);
    }

    /// Captures messages, and waits until they are on disk.
    pub fn capture_all(&self, messages: impl IntoIterator<Item = Message>) {
        let queue = self.queue();
        let before = queue.end().get();
        let mut count = 0;
        for message in messages {
            self.runtime.block_on(queue.append(message.encode())).unwrap();
            count += 1;
        }
        wait_for("the commit", PATIENCE, || (queue.end().get() >= before + count).then_some(()));
    }

    /// Captures something that is no message.
    pub fn capture_body(&self, body: &'static [u8]) {
        let end = self.queue().end();
        self.runtime.block_on(self.queue().append(bytes::Bytes::from_static(body))).unwrap();
        wait_for("the commit", PATIENCE, || (self.queue().end() > end).then_some(()));
    }

    /// Closes the queue and opens it again, as a restart does.
    pub fn reopen(&mut self) {
        self.stop();
        let queue = self.queue.take().unwrap();
        self.runtime.block_on(queue.close()).unwrap();
        drop(queue);
        self.queue = Some(self.open());
    }

    /// Starts the uplink.
    pub fn start(&mut self, port: u16, how: How) {
        let topics = Topics::new("gw1");
        let (asks, mut commands) = tokio::sync::mpsc::channel(16);
        self.runtime.spawn(async move { while commands.recv().await.is_some() {} });
        let uplink = Uplink {
            name: Arc::from("central"),
            urls: vec![BrokerUrl::parse(&format!("mqtt://127.0.0.1:{port}")).unwrap()],
            return_after: Duration::from_secs(600),
            options: Options {
                protocol: how.protocol,
                client_id: "wharf-gw1-central".into(),
                keep_alive: Duration::from_secs(30),
                will: uplink::will(&topics),
                window: how.window,
                session_expiry: Duration::from_secs(10),
                connect_timeout: Duration::from_secs(10),
                for_controllers: false,
            },
            command_age: Duration::from_secs(10),
            queue: self.queue().clone(),
            delivery: Delivery { clock: self.clock.clone(), ..how.delivery },
            topics,
            asks,
            down: None,
        };
        let stop = CancellationToken::new();
        let keyring = Keyring::new(uplink.name.clone(), Sources::default()).unwrap();
        let (end, task) = uplink.start(keyring, stop.clone());
        self.running = Some((stop, self.runtime.spawn(task), end));
    }

    /// Stops the uplink.
    pub fn stop(&mut self) {
        if let Some((stop, task, _)) = self.running.take() {
            stop.cancel();
            self.runtime.block_on(task).unwrap();
        }
    }

    /// Waits until the uplink is connected, or is not.
    pub fn wait_state(&self, wanted: UplinkState) {
        let (_, _, end) = self.running.as_ref().expect("a running uplink");
        wait_for("the state of the uplink", PATIENCE, || (*end.state.borrow() == wanted).then_some(()));
    }

    /// What went wrong last with the uplink.
    pub fn last_error(&self) -> Option<String> {
        let (_, _, end) = self.running.as_ref().expect("a running uplink");
        end.counters.news.last_error().map(|(_, words)| words)
    }

    /// Waits until nothing is queued any more.
    pub fn wait_empty(&self) {
        self.wait_empty_for(PATIENCE);
    }

    /// The same, for that long.
    pub fn wait_empty_for(&self, patience: Duration) {
        wait_for("the queue to be empty", patience, || (self.counters().queued == 0).then_some(()));
    }

    /// What the queue has counted; the equation holds.
    pub fn counters(&self) -> Counters {
        let counters = self.queue().counters();
        assert_eq!(counters.captured, counters.acknowledged + counters.queued + counters.dropped.total());
        counters
    }

    /// The queue.
    pub fn queue(&self) -> &Queue {
        self.queue.as_ref().expect("an open queue")
    }

    fn open(&self) -> Queue {
        let dir: PathBuf = self.dir.path().join("queue");
        let settings =
            Settings { commit_interval: Duration::ZERO, min_free: 0, clock: self.clock.clone(), ..Settings::new(dir) };
        let _context = self.runtime.enter();
        Queue::open(settings).unwrap()
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.stop();
    }
}
