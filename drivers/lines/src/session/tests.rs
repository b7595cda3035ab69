//! Sessions over a stream in memory, on a clock that jumps whenever everyone waits.

use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use wharf_contract::command::PendingAnswer;
use wharf_contract::{Answer, LinkEvent, PortEnd, Value};
use wharf_test_support::settings::valid;

use super::*;
use crate::session::turn::MOST_WAITING;

/// A session, and the device that it talks to.
struct Bench {
    device: BufReader<DuplexStream>,
    end: PortEnd,
    events: mpsc::Receiver<LinkEvent>,
    stop: tokio_util::sync::CancellationToken,
    session: JoinHandle<(Result<(), DriverError>, Counted)>,
}

/// What was counted, by name.
type Counted = Vec<(&'static str, u64)>;

/// Waits, but not for ever: a test fails sooner than it hangs. Hours pass in no time here.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(100_000), what).await.expect("nothing came of it")
}

impl Bench {
    /// A session on a link that was described so, with some keys more.
    fn with(keys: &serde_json::Value, devices: &serde_json::Value) -> Self {
        let mut link = json!({ "serial": "/dev/ttyUSB0", "devices": devices });
        link.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        let link = Link::new(&valid(&link));
        let (near, far) = duplex(4096);
        let (sender, events) = mpsc::channel(512);
        let stop = tokio_util::sync::CancellationToken::new();
        let (mut port, end) = Port::new("shed".into(), sender, stop.clone());
        let session = tokio::spawn(async move {
            let ended = run(&link, Box::new(near), &mut port).await;
            (ended, port.counts().read())
        });
        Self { device: BufReader::new(far), end, events, stop, session }
    }

    fn on(devices: &serde_json::Value) -> Self {
        Self::with(&json!({}), devices)
    }

    /// A session whose port has been open for a while.
    async fn settled(devices: &serde_json::Value) -> Self {
        let bench = Self::on(devices);
        tokio::time::sleep(LISTEN_FIRST * 2).await;
        bench
    }

    async fn says(&mut self, text: &str) {
        self.device.write_all(text.as_bytes()).await.unwrap();
    }

    /// The next line the device is sent.
    async fn sent(&mut self) -> String {
        let mut line = String::new();
        soon(self.device.read_line(&mut line)).await.unwrap();
        line.trim_end().to_owned()
    }

    /// The next event, in one line.
    async fn told(&mut self) -> String {
        match soon(self.events.recv()).await.unwrap().event {
            Event::Device { device, alive, reason } => {
                format!(
                    "{device} {}{}",
                    if alive { "alive" } else { "gone" },
                    reason.map(|r| format!(": {r}")).unwrap_or_default()
                )
            }
            Event::Reading(reading) => match reading.value {
                Some(value) => format!("{}/{} {value}", reading.device, reading.point),
                None => format!("{}/{}: {}", reading.device, reading.point, reading.reason.unwrap()),
            },
            other => format!("{other:?}"),
        }
    }

    fn command(&self, point: &str, action: Action) -> PendingAnswer {
        let deadline = Instant::now() + Duration::from_secs(10);
        let (command, answer) = Command::new("d".into(), point.into(), action, deadline);
        self.end.commands.try_send(command).unwrap();
        answer
    }

    fn write(&self, point: &str, value: impl Into<f64>) -> PendingAnswer {
        self.command(point, Action::Write { value: Value::Float(value.into()), verify: true })
    }

    /// Stops it, and gives what was counted.
    async fn counted(self) -> Counted {
        self.stop.cancel();
        let (ended, counted) = soon(self.session).await.unwrap();
        ended.unwrap();
        counted
    }
}

fn thermometer() -> serde_json::Value {
    json!({ "d": { "pattern": "T={t}", "quiet_after": "30s", "points": { "t": { "unit": "°C" } } } })
}

#[tokio::test(start_paused = true)]
async fn lines_become_readings_and_strangers_are_counted() {
    let mut bench = Bench::settled(&thermometer()).await;
    bench.says("T=21.5\r\nhello\nT=").await;
    bench.says("22\n\n").await;
    assert_eq!((bench.told().await.as_str(), bench.told().await.as_str()), ("d alive", "d/t 21.5"));
    assert_eq!(bench.told().await, "d/t 22");
    assert_eq!(bench.counted().await, [("lines", 3), ("unclaimed", 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_under_way_when_the_port_is_opened_may_be_half_and_is_not_believed() {
    let mut bench = Bench::on(&json!({ "d": { "csv": {}, "points": { "t": { "field": 1 } } } }));
    bench.says("2.5\n112.5\n").await;
    assert_eq!((bench.told().await.as_str(), bench.told().await.as_str()), ("d alive", "d/t 112.5"));
    assert_eq!(bench.counted().await, [("halves", 1), ("lines", 1)]);

    let mut trusting = Bench::with(&json!({ "skip_first": false }), &thermometer());
    trusting.says("T=1\n").await;
    trusting.told().await;
    assert_eq!(trusting.told().await, "d/t 1");
}

#[tokio::test(start_paused = true)]
async fn noise_is_counted_and_disturbs_nothing() {
    let mut bench = Bench::settled(&thermometer()).await;
    bench.device.write_all(&[b'x'; 3000]).await.unwrap();
    bench.device.write_all(b"\na\x01\x02b\n").await.unwrap();
    bench.device.write_all(b"T=21,\xb0\n\x02T=21.5\x03\n").await.unwrap();
    bench.told().await;
    assert_eq!(bench.told().await, "d/t: `21,°` is not a number; `decimal_comma: true` reads a comma");
    assert_eq!(bench.told().await, "d/t 21.5");
    assert_eq!(bench.counted().await, [("too_long", 1), ("lines", 3), ("binary", 1)]);
}

#[tokio::test(start_paused = true)]
async fn silence_is_told_and_so_is_the_return() {
    let mut bench = Bench::settled(&thermometer()).await;
    assert_eq!(bench.told().await, "d gone: nothing was heard of it for 30s");
    bench.says("T=1\n").await;
    assert_eq!((bench.told().await.as_str(), bench.told().await.as_str()), ("d alive", "d/t 1"));
    assert_eq!(bench.told().await, "d gone: nothing was heard of it for 30s");
    bench.says("T=2\n").await;
    bench.told().await;
    bench.told().await;
    bench.stop.cancel();
    assert_eq!(bench.told().await, "d gone: the gateway is stopping");
}

#[tokio::test(start_paused = true)]
async fn nothing_but_nonsense_for_a_minute_is_said_of_the_link() {
    let mut bench = Bench::settled(&thermometer()).await;
    for _ in 0..7 {
        bench.says("?!\n").await;
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    let degraded = |health: &Health| health.reason().is_some_and(|reason| reason.contains("fits a device"));
    soon(bench.end.health.wait_for(degraded)).await.unwrap();
    bench.says("T=1\n").await;
    soon(bench.end.health.wait_for(|health| *health == Health::Online)).await.unwrap();
}

fn asked() -> serde_json::Value {
    let device = |ask: &str| json!({ "pattern": ">{t:number}", "ask": ask, "every": "10s", "points": { "t": {} } });
    json!({ "d": device("#01\\n"), "e": device("#02\\n") })
}

#[tokio::test(start_paused = true)]
async fn devices_that_are_asked_take_turns_and_one_that_is_silent_holds_nobody_up() {
    let mut bench = Bench::on(&asked());
    let started = Instant::now();
    assert_eq!(bench.sent().await, "#01");
    bench.says(">21.5\n").await;
    assert_eq!((bench.told().await.as_str(), bench.told().await.as_str()), ("d alive", "d/t 21.5"));
    assert_eq!(bench.sent().await, "#02");
    // It does not answer; after its two seconds the other has its turn.
    assert_eq!(bench.sent().await, "#01");
    let waited = started.elapsed();
    assert!((10.0..10.5).contains(&waited.as_secs_f64()), "{waited:?}");
    bench.says(">22.5\n").await;
    assert_eq!(bench.told().await, "d/t 22.5");
    assert_eq!(bench.sent().await, "#02");
    assert_eq!(bench.told().await, "e gone: nothing was heard of it for 32s");
    let traffic = bench.end.traffic.clone();
    // From now on it is left alone for longer.
    let mut asked = Vec::new();
    while asked.len() < 20 {
        let line = bench.sent().await;
        if line == "#01" {
            bench.says(">23\n").await;
        }
        asked.push(line);
    }
    let to_the_gone = asked[10..].iter().filter(|line| *line == "#02").count();
    assert!((1..=3).contains(&to_the_gone), "{asked:?}");
    assert!(traffic.of(Outcome::Silent) >= 3 && traffic.of(Outcome::Answered) >= 5, "{traffic:?}");
}

#[tokio::test(start_paused = true)]
async fn somebody_who_wants_to_know_now_has_the_device_asked_at_once() {
    let mut bench = Bench::on(&asked());
    assert_eq!(bench.sent().await, "#01");
    bench.says(">1\n").await;
    assert_eq!(bench.sent().await, "#02");
    bench.says(">2\n").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let answer = bench.command("t", Action::Read);
    assert_eq!(bench.sent().await, "#01");
    bench.says(">3\n").await;
    let done = soon(answer.wait()).await.unwrap();
    assert_eq!((done.observed, done.written), (Some(Value::Float(3.0)), None));
    let unanswered = bench.command("t", Action::Read);
    assert_eq!(bench.sent().await, "#01");
    let asked_in_vain = "it was asked, and no line came in time".to_owned();
    assert_eq!(soon(unanswered.wait()).await, Err(CommandError::NoAnswer(asked_in_vain)));
}

#[tokio::test(start_paused = true)]
async fn a_read_of_one_that_speaks_by_itself_waits_for_its_next_line() {
    let mut bench = Bench::settled(&thermometer()).await;
    let answers = [bench.command("t", Action::Read), bench.command("t", Action::Read)];
    tokio::time::sleep(Duration::from_millis(10)).await;
    bench.says("T=5\n").await;
    for answer in answers {
        assert_eq!(soon(answer.wait()).await.unwrap().observed, Some(Value::Float(5.0)));
    }
    let late = bench.command("t", Action::Read);
    assert!(matches!(soon(late.wait()).await, Err(CommandError::NoAnswer(_))));
    let many: Vec<_> = (0..MOST_WAITING).map(|_| bench.command("t", Action::Read)).collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let one_too_many = bench.command("t", Action::Read);
    assert!(matches!(soon(one_too_many.wait()).await, Err(CommandError::Refused(_))));
    drop(many);
}

fn heater() -> serde_json::Value {
    let write =
        json!({ "send": "SET {value:.1}\\r\\n", "expect": "SET={value}", "refused": "ERR {}", "min": 5, "max": 30 });
    json!({ "d": { "pattern": "T={t}", "points": {
        "t": {}, "target": { "write": write },
        "tare": { "write": { "send": "TARE\\r\\n", "allowed": [1] } },
    } } })
}

async fn written(value: f64, reply: &str) -> (Answer, String) {
    let mut bench = Bench::settled(&heater()).await;
    let answer = bench.write("target", value);
    let sent = bench.sent().await;
    // What comes in the meantime is a reading, and no answer.
    bench.says("T=1\n").await;
    bench.says(reply).await;
    (soon(answer.wait()).await, sent)
}

#[tokio::test(start_paused = true)]
async fn a_write_is_done_when_the_device_says_what_was_expected() {
    let (answer, sent) = written(21.54, "SET=21.5\n").await;
    assert_eq!(sent, "SET 21.5");
    let done = answer.unwrap();
    assert_eq!((done.written, done.observed), (Some(Value::Float(21.5)), Some(Value::Float(21.5))));
    let (answer, _) = written(21.5, "SET=7\n").await;
    assert_eq!(answer, Err(CommandError::NotHeld { written: Value::Float(21.5), observed: Value::Float(7.0) }));
    let (answer, _) = written(21.5, "ERR range\n").await;
    assert_eq!(answer, Err(CommandError::Refused("the device says `ERR range`".into())));
    let (answer, _) = written(21.5, "what?\n").await;
    assert_eq!(answer, Err(CommandError::NoAnswer("no `SET={value}` came in time".into())));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_nothing_confirms_says_so_and_one_outside_its_limits_is_not_sent() {
    let mut bench = Bench::settled(&heater()).await;
    let hot = bench.write("target", 31);
    assert_eq!(soon(hot.wait()).await, Err(CommandError::Refused("31 is above the maximum 30".into())));
    let closed = bench.write("t", 1);
    assert!(matches!(soon(closed.wait()).await, Err(CommandError::Refused(_))));
    let tare = bench.write("tare", 1);
    assert_eq!(bench.sent().await, "TARE");
    let done = soon(tare.wait()).await.unwrap();
    assert_eq!((done.written, done.observed, done.note), (Some(Value::Float(1.0)), None, Some(UNCONFIRMED)));
    let raw = bench.command("t", Action::Raw(b"x".to_vec()));
    assert!(matches!(soon(raw.wait()).await, Err(CommandError::Refused(_))));
}

#[tokio::test(start_paused = true)]
async fn writes_go_one_after_the_other_and_questions_in_between() {
    let mut devices = heater();
    devices["d"]["ask"] = json!("T?\n");
    // The answers take longer than that, so there is always somebody to be asked.
    devices["d"]["every"] = json!("50ms");
    let mut bench = Bench::with(&json!({ "timeout": "200ms" }), &devices);
    let answers = [6, 7, 8].map(|value| bench.write("target", value));
    let mut sent = Vec::new();
    while sent.iter().filter(|line: &&String| line.starts_with("SET")).count() < 3 {
        assert!(sent.len() < 20, "nobody has a turn but {sent:?}");
        let line = bench.sent().await;
        tokio::time::sleep(Duration::from_millis(60)).await;
        if line == "T?" {
            bench.says("T=1\n").await;
        } else {
            bench.says(&format!("{}\n", line.replace(' ', "="))).await;
        }
        sent.push(line);
    }
    for (answer, value) in answers.into_iter().zip([6.0, 7.0, 8.0]) {
        assert_eq!(soon(answer.wait()).await.unwrap().observed, Some(Value::Float(value)));
    }
    let first = sent.iter().position(|line| line.starts_with("SET")).unwrap();
    let last = sent.iter().rposition(|line| line.starts_with("SET")).unwrap();
    assert!(sent[first..last].iter().any(|line| line == "T?"), "{sent:?}");
}

#[tokio::test(start_paused = true)]
async fn of_a_flood_of_numbers_some_are_told_and_the_last_always() {
    let devices =
        json!({ "d": { "pattern": "{s} {w:number}", "every": "1m", "points": { "w": {}, "s": { "type": "text" } } } });
    let mut bench = Bench::settled(&devices).await;
    for weight in 0..50 {
        bench.says(&format!("ST {weight}\n")).await;
    }
    bench.says("US 50\n").await;
    let told = [bench.told().await, bench.told().await, bench.told().await];
    assert_eq!(told, ["d alive", "d/w 0", "d/s ST"]);
    assert_eq!(bench.told().await, "d/s US");
    assert_eq!(bench.told().await, "d/w 50");
    bench.says("US 51\n").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.stop.cancel();
    let rest = [bench.told().await, bench.told().await];
    assert!(rest.contains(&"d/w 51".to_owned()), "{rest:?}");
}

#[tokio::test(start_paused = true)]
async fn records_that_say_how_long_they_are_are_lines_too() {
    let records = json!({ "records": { "start": "\\x02", "length_at": 1, "plus": 3, "end": "\\x03" } });
    let mut bench = Bench::with(&records, &thermometer());
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.says("x\u{2}\u{4}T=21\u{3}\u{2}\u{9}T=").await;
    bench.told().await;
    assert_eq!(bench.told().await, "d/t 21");
    // The rest never comes; the next record begins anew.
    tokio::time::sleep(PAUSE * 2).await;
    bench.says("\u{2}\u{4}T=22\u{3}").await;
    assert_eq!(bench.told().await, "d/t 22");
    assert_eq!(bench.counted().await, [("stray_bytes", 1), ("lines", 2), ("broken", 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_port_that_is_pulled_out_ends_the_session_and_tells_why() {
    let mut bench = Bench::settled(&thermometer()).await;
    bench.says("T=1\n").await;
    bench.told().await;
    bench.told().await;
    let waiting = bench.command("t", Action::Read);
    tokio::time::sleep(Duration::from_millis(10)).await;
    let Bench { device, mut events, session, .. } = bench;
    drop(device);
    let (ended, _) = soon(session).await.unwrap();
    assert_eq!(ended.unwrap_err().to_string(), "/dev/ttyUSB0 was unplugged");
    assert_eq!(soon(waiting.wait()).await, Err(CommandError::Abandoned));
    let Event::Device { alive: false, reason: Some(reason), .. } = events.recv().await.unwrap().event else {
        panic!("it was not told to be gone");
    };
    assert_eq!(reason, "the link is down: /dev/ttyUSB0 was unplugged");
}
