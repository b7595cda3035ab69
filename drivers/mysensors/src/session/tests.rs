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
use crate::stats::Stats;
use crate::zone::Zone;

mod firmware;
mod sleepers;

const VERSION_REQUEST: &str = "0;255;3;0;2;";

/// A session, and the gateway that it talks to.
struct Bench {
    gateway: BufReader<DuplexStream>,
    end: PortEnd,
    events: mpsc::Receiver<LinkEvent>,
    stop: tokio_util::sync::CancellationToken,
    session: JoinHandle<(Result<(), DriverError>, Stats)>,
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
        counters: Counters::default(),
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
        let session = tokio::spawn(async move {
            let ended = run(&link, Box::new(near), &mut port).await;
            (ended, link.counters.snapshot())
        });
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

    async fn stopped(self) -> Stats {
        self.stop.cancel();
        let (ended, stats) = soon(self.session).await.unwrap();
        ended.unwrap();
        stats
    }

    async fn lost(self) -> String {
        match soon(self.session).await.unwrap() {
            (Err(DriverError::Lost(error)), _) => error.to_string(),
            (other, _) => panic!("the session was not lost but {other:?}"),
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
    let stats = bench.stopped().await;
    assert_eq!(stats, Stats { lines: 7, bad_lines: 2, too_long: 1, logs: 1, echoes: 1 });
}

#[tokio::test(start_paused = true)]
async fn a_write_is_done_when_it_was_sent() {
    let mut bench = Bench::up(serial()).await;
    let answer = bench.writes("target", Value::Float(21.5), false).await;
    assert_eq!(bench.sent().await, "2;4;1;0;0;21.5");
    assert_eq!(soon(answer.wait()).await, Ok(Done { written: Some(Value::Float(21.5)), observed: None, note: None }));
    bench.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_verified_write_is_done_when_its_echo_came_and_readings_go_on_meanwhile() {
    let mut bench = Bench::up(serial()).await;
    let answer = bench.writes("valve", Value::Bool(true), true).await;
    assert_eq!(bench.sent().await, "2;3;1;1;2;1");
    bench.says("2;1;1;0;37;80").await;
    assert_eq!(bench.reading().await.value, Some(Value::Float(80.0)));
    bench.says("2;3;1;1;2;1").await;
    let done = Done { written: Some(Value::Bool(true)), observed: Some(Value::Bool(true)), note: None };
    assert_eq!(soon(answer.wait()).await, Ok(done));
    assert!(bench.events.is_empty(), "an echo is no reading");
    bench.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn an_echo_that_differs_or_stays_away_is_told_to_the_asker() {
    let mut bench = Bench::up(serial()).await;
    let answer = bench.writes("valve", Value::Bool(true), true).await;
    assert_eq!(bench.sent().await, "2;3;1;1;2;1");
    bench.says("2;3;1;1;2;0").await;
    assert_eq!(
        soon(answer.wait()).await,
        Err(CommandError::NotHeld { written: Value::Bool(true), observed: Value::Bool(false) })
    );

    let asked = Instant::now();
    let answer = bench.writes("valve", Value::Bool(true), true).await;
    // What the node reports by itself is no echo.
    bench.says("2;3;1;0;2;1").await;
    assert_eq!(
        soon(answer.wait()).await,
        Err(CommandError::NoAnswer("the write was sent twice and not echoed in time".into()))
    );
    assert!(asked.elapsed() >= Duration::from_secs(2));
    bench.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_read_asks_the_node_and_is_answered_by_the_next_value() {
    let mut bench = Bench::up(serial()).await;
    let answer = bench.asks("moisture", Action::Read).await;
    assert_eq!(bench.sent().await, "2;1;2;0;37;");
    bench.says("2;2;1;0;37;10").await;
    bench.says("2;1;1;0;37;80").await;
    let done = Done { written: None, observed: Some(Value::Float(80.0)), note: None };
    assert_eq!(soon(answer.wait()).await, Ok(done));
    assert_eq!(bench.reading().await.point.as_str(), "2-level");
    assert_eq!(bench.reading().await.point.as_str(), "moisture", "the reading goes its usual way too");

    let answer = bench.asks("moisture", Action::Read).await;
    assert_eq!(soon(answer.wait()).await, Err(CommandError::NoAnswer("it sent no value in time".into())));
    bench.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_written_never_reaches_the_wire() {
    let mut bench = Bench::up(serial()).await;
    let refused = [
        ("pump", Value::Bool(true), "soil/pump is not declared in the site file"),
        ("moisture", Value::Int(1), "soil/moisture is not open for writing"),
        ("target", Value::Float(31.0), "31 is above the maximum 30"),
        ("valve", Value::Text("ajar".into()), "`ajar` is neither on nor off"),
        ("sign", Value::Text("x".repeat(26)), "the value takes 26 bytes, and a node is sent at most 25"),
        ("sign", Value::Text("a\n2;3;1;0;2;1".into()), { "the text holds a line break or another control character" }),
    ];
    for (point, value, reason) in refused {
        let answer = soon(bench.writes(point, value, false).await.wait()).await;
        assert_eq!(answer, Err(CommandError::Refused(reason.into())));
    }
    soon(bench.writes("sign", Value::Text("ok".into()), false).await.wait()).await.unwrap();
    assert_eq!(bench.sent().await, "2;5;1;0;47;ok", "nothing was sent before it");
    bench.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn the_commands_that_wait_are_bounded() {
    let mut bench = Bench::up(serial()).await;
    let mut waiting = Vec::new();
    for _ in 0..MOST_AWAITED {
        waiting.push(bench.writes("valve", Value::Bool(true), true).await);
        assert_eq!(bench.sent().await, "2;3;1;1;2;1");
    }
    let one_more = soon(bench.writes("valve", Value::Bool(true), true).await.wait()).await;
    assert!(matches!(one_more, Err(CommandError::Refused(_))), "{one_more:?}");
    for answer in waiting {
        bench.says("2;3;1;1;2;1").await;
        soon(answer.wait()).await.unwrap();
    }
    bench.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_port_is_degraded_and_commands_wait_until_the_gateway_had_time_to_start() {
    let mut bench = Bench::opened(serial()).await;
    let opened = Instant::now();
    assert_eq!(*bench.end.health.borrow(), Health::Connecting);
    let answer = bench.writes("valve", Value::Bool(true), false).await;
    assert_eq!(bench.sent().await, VERSION_REQUEST, "it is asked again first");
    assert_eq!(bench.sent().await, "2;3;1;0;2;1");
    soon(answer.wait()).await.unwrap();
    assert!(opened.elapsed() >= crate::pulse::START);
    assert_eq!(*bench.end.health.borrow(), Health::Degraded("the port is open, nothing heard yet".into()));
    bench.says("2;1;1;0;37;80").await;
    soon(bench.end.health.wait_for(|health| *health == Health::Online)).await.unwrap();
    bench.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_port_that_speaks_nothing_but_noise_is_told_from_a_silent_one() {
    let mut bench = Bench::opened(serial()).await;
    bench.gateway.write_all(b"\xf0\x9e\x06\n\x80\x98").await.unwrap();
    let degraded =
        soon(bench.end.health.wait_for(|health| matches!(health, Health::Degraded(_)))).await.unwrap().clone();
    let reason = degraded.reason().unwrap();
    assert!(reason.starts_with("nothing that was heard makes sense"), "{reason}");
    bench.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_quiet_gateway_is_asked_and_kept_while_it_answers() {
    let mut bench = Bench::up(tcp()).await;
    for _ in 0..5 {
        assert_eq!(bench.sent().await, VERSION_REQUEST);
        bench.says("0;255;3;0;2;2.3.2").await;
    }
    assert_eq!(*bench.end.health.borrow(), Health::Online);
    bench.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn an_ethernet_gateway_that_does_not_answer_is_lost() {
    let bench = Bench::up(tcp()).await;
    let quiet_since = Instant::now();
    let reason = bench.lost().await;
    assert_eq!(reason, "nothing was heard from gateway:5003, not even an answer to a version request");
    assert!(quiet_since.elapsed() >= crate::pulse::QUIET + crate::pulse::ANSWER);
}

#[tokio::test(start_paused = true)]
async fn a_serial_gateway_that_does_not_answer_is_kept_and_said_to_be_silent() {
    let mut bench = Bench::up(serial()).await;
    let degraded =
        soon(bench.end.health.wait_for(|health| matches!(health, Health::Degraded(_)))).await.unwrap().clone();
    assert_eq!(degraded.reason(), Some("the port is open, but the gateway does not answer"));
    bench.says("2;1;1;0;37;80").await;
    soon(bench.end.health.wait_for(|health| *health == Health::Online)).await.unwrap();
    bench.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_stream_is_a_lost_link_and_what_waits_is_abandoned() {
    for (transport, reason) in [(serial(), "/dev/ttyUSB0 was unplugged"), (tcp(), "gateway:5003 closed the connection")]
    {
        let mut bench = Bench::up(transport).await;
        let answer = bench.writes("valve", Value::Bool(true), true).await;
        assert_eq!(bench.sent().await, "2;3;1;1;2;1");
        let (_, elsewhere) = duplex(1);
        bench.gateway = BufReader::new(elsewhere);
        assert_eq!(bench.lost().await, reason);
        assert_eq!(soon(answer.wait()).await, Err(CommandError::Abandoned));
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_that_takes_no_data_is_lost() {
    let bench = Bench::up(serial()).await;
    // Nobody reads at the other end, so what lies between fills up.
    let mut answers = Vec::new();
    while !bench.session.is_finished() {
        let deadline = Instant::now() + Duration::from_secs(60);
        let write = Action::Write { value: Value::Text("x".repeat(25)), verify: false };
        let (command, answer) = Command::new("soil".into(), "sign".into(), write, deadline);
        if soon(bench.end.commands.send(command)).await.is_err() {
            break;
        }
        answers.push(answer);
    }
    assert_eq!(bench.lost().await, "/dev/ttyUSB0 takes no data");
}

#[tokio::test(start_paused = true)]
async fn when_the_link_is_lost_every_node_heard_is_told_to_be_gone_and_no_other() {
    let mut bench = Bench::up(serial()).await;
    for line in ["2;1;1;0;37;80", "7;255;3;0;0;87", "2;1;1;0;37;81", "255;255;3;0;3;", "9;1;1;1;2;1", "nonsense"] {
        bench.says(line).await;
    }
    // The answer to a question asked now comes when everything before it was taken in.
    let answer = bench.asks("moisture", Action::Read).await;
    assert_eq!(bench.sent().await, "2;1;2;0;37;");
    bench.says("2;1;1;0;37;82").await;
    soon(answer.wait()).await.unwrap();
    let mut heard = Vec::new();
    // Two nodes met, and five readings: one of them is of the node without a number.
    while heard.len() < 2 + 5 {
        heard.push(bench.event().await);
    }
    let alive = |event: &&Event| matches!(event, Event::Device { alive: true, .. });
    assert_eq!(heard.iter().filter(alive).count(), 2, "{heard:?}");

    let (_, elsewhere) = duplex(1);
    bench.gateway = BufReader::new(elsewhere);
    let reason = "the link is down: /dev/ttyUSB0 was unplugged";
    assert_eq!(bench.told_gone().await, [("soil".into(), reason.into()), ("garden-7".into(), reason.into())]);
    assert_eq!(bench.lost().await, "/dev/ttyUSB0 was unplugged");
}

#[tokio::test(start_paused = true)]
async fn a_stop_tells_that_all_nodes_are_gone_however_many_and_then_ends_the_session() {
    let mut bench = Bench::up(serial()).await;
    // The highest number there is; 255 is a node that has none yet.
    for node in 0..=254 {
        bench.says(&format!("{node};1;1;0;37;80")).await;
        assert!(matches!(bench.event().await, Event::Device { alive: true, .. }));
        assert!(matches!(bench.event().await, Event::Reading(_)));
    }
    bench.stop.cancel();
    let told = bench.told_gone().await;
    let nodes: Vec<_> = (0..=254).map(|n| if n == 2 { "soil".to_owned() } else { format!("garden-{n}") }).collect();
    assert_eq!(told.iter().map(|(device, _)| device.clone()).collect::<Vec<_>>(), nodes);
    assert!(told.iter().all(|(_, reason)| reason == "the gateway is stopping"), "{told:?}");
    bench.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_the_session_when_nobody_takes_its_events_any_more() {
    let mut bench = Bench::up(serial()).await;
    bench.says("2;1;1;0;37;80").await;
    bench.reading().await;
    bench.events.close();
    bench.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_although_nobody_takes_its_events() {
    let mut bench = Bench::up(serial()).await;
    // Two events for the first node and one for each line after it fill all the places.
    for _ in 0..bench.events.max_capacity() - 1 {
        bench.says("2;1;1;0;37;80").await;
    }
    let full = async {
        while bench.events.len() < bench.events.max_capacity() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon(full).await;
    let answer = bench.writes("valve", Value::Bool(true), true).await;
    assert_eq!(bench.sent().await, "2;3;1;1;2;1");
    bench.stop.cancel();
    assert_eq!(soon(answer.wait()).await, Err(CommandError::Abandoned));
    assert_eq!(bench.sent().await, "", "the stream has come to its end");
    bench.stopped().await;
}

/// A session with a controller, whose gateway has answered.
async fn controlled(rules: Rules) -> Bench {
    let mut bench = Bench::opened_by(serial(), rules).await;
    bench.says("0;255;3;0;2;2.3.2").await;
    soon(bench.end.health.wait_for(|health| *health == Health::Online)).await.unwrap();
    bench
}

#[tokio::test(start_paused = true)]
async fn a_local_controller_answers_at_once_and_the_question_still_goes_north() {
    let mut bench = controlled(Rules::of(Role::Local)).await;
    bench.says("255;17;3;0;3;").await;
    assert_eq!(bench.sent().await, "255;17;3;0;4;1");
    assert_eq!(bench.reading().await.point.as_str(), "internal-id-request");
    bench.says("1;255;0;0;17;2.3.2").await;
    bench.says("1;255;3;0;6;0").await;
    assert_eq!(bench.sent().await, "1;255;3;0;6;M");
    bench.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_written_is_what_a_node_is_told_when_it_asks() {
    let mut bench = controlled(Rules::of(Role::Local)).await;
    let answer = bench.writes("target", Value::Float(21.5), false).await;
    assert_eq!(bench.sent().await, "2;4;1;0;0;21.5");
    soon(answer.wait()).await.unwrap();
    for line in ["2;255;0;0;17;2.3.2", "2;4;0;0;14;Heater", "2;4;2;0;0;"] {
        bench.says(line).await;
    }
    assert_eq!(bench.sent().await, "2;4;1;0;0;21.5");
    bench.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_says_its_name_is_called_by_it_from_then_on() {
    let mut bench = Bench::up(serial()).await;
    bench.says("7;1;1;0;37;80").await;
    let alive = |name: &str| Event::Device { device: name.into(), alive: true, reason: None };
    assert_eq!(bench.event().await, alive("garden-7"));
    assert_eq!(bench.reading().await.device.as_str(), "garden-7");
    bench.says("7;255;3;0;11;Flower bed").await;
    let gone = Event::Device {
        device: "garden-7".into(),
        alive: false,
        reason: Some("it is called garden-flower-bed now".into()),
    };
    assert_eq!((bench.event().await, bench.event().await), (gone, alive("garden-flower-bed")));
    bench.reading().await;
    bench.says("7;1;0;0;35;Roses").await;
    bench.says("7;1;1;0;37;81").await;
    bench.reading().await;
    let reading = bench.reading().await;
    assert_eq!((reading.device.as_str(), reading.point.as_str()), ("garden-flower-bed", "roses"));
    bench.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn upstream_being_away_for_long_makes_the_gateway_answer_until_it_is_back() {
    let take_over = Some(Duration::from_secs(600));
    let mut bench = controlled(Rules { take_over, ..Rules::of(Role::Upstream) }).await;
    bench.end.upstream.send_replace(false);
    tokio::time::sleep(Duration::from_secs(700)).await;
    // What it asked the gateway meanwhile.
    while let Ok(Ok(count)) = timeout(Duration::from_secs(1), bench.gateway.read_line(&mut String::new())).await {
        assert!(count > 0);
    }
    bench.says("2;255;3;0;6;0").await;
    assert_eq!([bench.sent().await, bench.sent().await], ["2;255;3;0;6;M", "2;255;3;0;19;"]);
    bench.end.upstream.send_replace(true);
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.says("2;255;3;0;6;0").await;
    bench.says("2;255;3;0;22;1").await;
    let silent = timeout(Duration::from_secs(20), bench.sent()).await;
    assert!(silent.is_err(), "{silent:?}");
    bench.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_with_a_number_nobody_gave_makes_the_link_say_that_there_may_be_two_controllers() {
    let mut bench = controlled(Rules::of(Role::Local)).await;
    bench.says("255;255;3;0;3;").await;
    assert_eq!(bench.sent().await, "255;255;3;0;4;1");
    bench.says("9;255;0;0;17;2.3.2").await;
    bench.says("9;255;3;0;12;1").await;
    let degraded =
        soon(bench.end.health.wait_for(|health| matches!(health, Health::Degraded(_)))).await.unwrap().clone();
    assert!(degraded.reason().unwrap().contains("does another controller give numbers too?"), "{degraded:?}");
    bench.stopped().await;
}
