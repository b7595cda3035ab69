//! Sessions over a stream in memory, on a clock that jumps whenever everyone waits.

use std::collections::HashMap;

use tokio::io::{AsyncBufReadExt, BufReader, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use wharf_contract::command::PendingAnswer;
use wharf_contract::settings::HostPort;
use wharf_contract::{Action, Command, CommandError, Done, LinkEvent, PortEnd, Quality, Reading, Value, WriteRule};
use wharf_stream::SerialPort;

use super::*;
use crate::controller::{Role, Rules};
use crate::nodes::Declared;
use crate::outbox::{self, MOST_AWAITED};
use crate::registry::Registry;
use crate::registry::names::NameSource;
use crate::zone::Zone;

mod commands;
mod controlled;
mod firmware;
mod link;
mod sleepers;

const VERSION_REQUEST: &str = "0;255;3;0;2;";

/// A session, and the gateway that it talks to.
struct Bench {
    gateway: BufReader<DuplexStream>,
    end: PortEnd,
    events: mpsc::Receiver<LinkEvent>,
    stop: tokio_util::sync::CancellationToken,
    session: JoinHandle<Result<(), DriverError>>,
}

fn serial() -> Transport {
    Transport::Direct(wharf_stream::Transport::Serial(SerialPort::new("/dev/ttyUSB0", 115_200)))
}

fn tcp() -> Transport {
    Transport::Direct(wharf_stream::Transport::tcp(&HostPort::<5003>::parse("gateway").unwrap()))
}

fn declared(name: &str, child: u8, type_name: &str, write: Option<WriteRule>) -> Declared {
    let value_type = types::value_type_named(type_name).unwrap();
    let address = Address { node: 2, child, kind: value_type.number };
    Declared { device: "soil".into(), point: name.into(), address, value_type, write }
}

/// A network with one node of which a few points are declared.
fn link(transport: Transport, rules: Rules, outbox: Outbox) -> Link {
    let points = vec![
        declared("moisture", 1, "level", None),
        declared("valve", 3, "status", Some(WriteRule::default())),
        declared("target", 4, "temp", Some(WriteRule { min: Some(5.0), max: Some(30.0), ..WriteRule::default() })),
        declared("sign", 5, "text", Some(WriteRule::default())),
    ];
    let nodes = Nodes::new("garden".into(), HashMap::from([(2, "soil".into())]), points);
    let store = Store::new(Registry::new("garden", NameSource::Presentation));
    let controller = Mutex::new(Controller::new(rules, Zone::Fixed(0)));
    Link {
        transport,
        nodes,
        holds: (Duration::from_secs(3600), HashMap::new()),
        relays: rules.role == Role::Upstream,
        outbox: Mutex::new(outbox),
        firmware: crate::firmware::store::Store::default(),
        store,
        controller,
    }
}

/// Waits, but not for ever: a test fails sooner than it hangs. Hours pass in no time here.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(3600), what).await.expect("nothing came of it")
}

impl Bench {
    /// A session that has just opened its port.
    async fn opened(transport: Transport) -> Self {
        Self::opened_by(transport, Rules::of(Role::None)).await
    }

    /// The same, with a controller.
    async fn opened_by(transport: Transport, rules: Rules) -> Self {
        let outbox = Outbox::new(outbox::Rules { echo_timeout: Duration::from_secs(2), retries: 1 });
        Self::over(link(transport, rules, outbox)).await
    }

    /// The same, of a link made otherwise.
    async fn over(link: Link) -> Self {
        let (near, far) = duplex(4096);
        let (sender, events) = mpsc::channel(512);
        let stop = tokio_util::sync::CancellationToken::new();
        let (mut port, end) = Port::new("garden".into(), sender, stop.clone());
        let session = tokio::spawn(async move { run(&link, Box::new(near), &mut port).await });
        let mut bench = Self { gateway: BufReader::new(far), end, events, stop, session };
        assert_eq!(bench.sent().await, VERSION_REQUEST);
        bench
    }

    /// A session whose gateway has answered.
    async fn up(transport: Transport) -> Self {
        let mut bench = Self::opened(transport).await;
        bench.says("0;255;3;0;2;2.3.2").await;
        soon(bench.end.health.wait_for(|health| *health == Health::Online)).await.unwrap();
        bench
    }

    async fn says(&mut self, line: &str) {
        self.gateway.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// The next line the gateway receives.
    async fn sent(&mut self) -> String {
        let mut line = String::new();
        soon(self.gateway.read_line(&mut line)).await.unwrap();
        line.trim_end().to_owned()
    }

    async fn event(&mut self) -> Event {
        soon(self.events.recv()).await.unwrap().event
    }

    /// What is told after the session has ended: which devices are gone, and why.
    async fn told_gone(&mut self) -> Vec<(String, String)> {
        let mut told = Vec::new();
        while let Some(LinkEvent { event, .. }) = soon(self.events.recv()).await {
            let Event::Device { device, alive: false, reason: Some(reason) } = event else {
                panic!("told at the end: {event:?}");
            };
            told.push((device.to_string(), reason));
        }
        told
    }

    async fn reading(&mut self) -> Reading {
        loop {
            if let Event::Reading(reading) = self.event().await {
                return reading;
            }
        }
    }

    async fn asks(&self, point: &str, action: Action) -> PendingAnswer {
        let deadline = Instant::now() + Duration::from_secs(10);
        let (command, answer) = Command::new("soil".into(), point.into(), action, deadline);
        self.end.commands.send(command).await.unwrap();
        answer
    }

    async fn writes(&self, point: &str, value: Value, verify: bool) -> PendingAnswer {
        self.asks(point, Action::Write { value, verify }).await
    }

    /// Stops the session, and gives what was counted.
    async fn stopped(self) -> HashMap<&'static str, u64> {
        self.stop.cancel();
        soon(self.session).await.unwrap().unwrap();
        self.end.counts.read().into_iter().collect()
    }

    async fn lost(self) -> String {
        match soon(self.session).await.unwrap() {
            Err(DriverError::Lost(error)) => error.to_string(),
            other => panic!("the session was not lost but {other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_set_message_becomes_a_reading() {
    let mut bench = Bench::up(serial()).await;
    bench.says("2;1;1;0;49;55.722526;13.017972;18").await;
    let alive = Event::Device { device: "soil".into(), alive: true, reason: None };
    assert_eq!(bench.event().await, alive);
    let reading = bench.reading().await;
    assert_eq!((reading.device.as_str(), reading.point.as_str()), ("soil", "1-position"));
    assert_eq!(reading.value, Some(Value::Text("55.722526,13.017972,18".into())));

    bench.says("2;1;1;0;37;nan").await;
    let Event::Reading(reading) = bench.event().await else { panic!("a node is met once") };
    assert_eq!((reading.point.as_str(), reading.quality), ("moisture", Quality::Bad));
    bench.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_value_makes_no_reading_and_noise_upsets_nothing() {
    let mut bench = Bench::up(serial()).await;
    bench.says("0;255;3;0;9;TSF:MSG:READ,2-2-0,s=1;x").await;
    bench.says("0;255;3;0;14;Gateway startup complete.").await;
    bench.says("2;3;1;1;2;1").await;
    bench.says("Gateway booting, please wait").await;
    bench.gateway.write_all(&[0xff; 20]).await.unwrap();
    bench.says("").await;
    bench.says(&"x".repeat(300)).await;
    bench.says("2;1;1;0;37;80").await;
    let alive = Event::Device { device: "soil".into(), alive: true, reason: None };
    assert_eq!(bench.event().await, alive);
    assert_eq!(bench.reading().await.value, Some(Value::Float(80.0)));
    let counted = bench.stopped().await;
    let heard = ["lines", "bad_lines", "too_long", "logs", "echoes", "unasked_echoes"].map(|what| counted[what]);
    assert_eq!(heard, [7, 2, 1, 1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_says_its_name_is_called_by_it_from_then_on() {
    let mut bench = Bench::up(serial()).await;
    bench.says("7;1;1;0;37;80").await;
    let alive = |name: &str| Event::Device { device: name.into(), alive: true, reason: None };
    assert_eq!(bench.event().await, alive("garden-7"));
    assert_eq!(bench.reading().await.device.as_str(), "garden-7");
    bench.says("7;255;3;0;11;Flower bed").await;
    let renamed = Event::Renamed { from: "garden-7".into(), to: "garden-flower-bed".into() };
    assert_eq!((bench.event().await, bench.event().await), (renamed, alive("garden-flower-bed")));
    bench.reading().await;

    // One that was told by its number in an earlier session is known under that, and this is its first word.
    bench.says("8;255;3;0;11;Herbs").await;
    let renamed = Event::Renamed { from: "garden-8".into(), to: "garden-herbs".into() };
    assert_eq!((bench.event().await, bench.event().await), (renamed, alive("garden-herbs")));
    bench.reading().await;
    bench.says("7;1;0;0;35;Roses").await;
    bench.says("7;1;1;0;37;81").await;
    bench.reading().await;
    let reading = bench.reading().await;
    assert_eq!((reading.device.as_str(), reading.point.as_str()), ("garden-flower-bed", "roses"));
    bench.stopped().await;
}
