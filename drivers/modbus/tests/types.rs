//! Every type in every order, read and written, against two slaves that are not ours: pymodbus and
//! libmodbus. What the registers hold and what the values have to be is computed by a script of its
//! own, `types/cases.py`; the driver's code has no part in it. Over TCP, and over a serial line.
//!
//! Debian: `python3-pymodbus`, `python3-serial-asyncio`, `libmodbus-dev` and a C compiler.

#![expect(clippy::unwrap_used, reason = "everything here is a test")]

mod common;
#[expect(dead_code, reason = "the slaves here are others")]
#[path = "../src/wire/lab.rs"]
mod lab;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

use common::{PATIENCE, Running, driver, run, start};
use lab::Lab;
use serde_json::{Map, Value as Json, json};
use wharf_contract::{Action, Event, Quality, Value};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/types");

/// The speed of the serial line, in baud.
const BAUD: u32 = 115_200;

/// What stands between driver and slave.
enum Wire {
    /// A port of this machine.
    Tcp(u16),
    /// A line with the driver at `a` and the slave at `b`.
    Rtu(Lab),
}

impl Wire {
    fn tcp() -> Self {
        Self::Tcp(wharf_test_support::lab::free_port())
    }

    fn rtu() -> Self {
        Self::Rtu(Lab::start("a,b", BAUD, &[]))
    }

    /// The slave's end, as its arguments say it.
    fn arguments(&self) -> Vec<String> {
        match self {
            Self::Tcp(port) => vec!["tcp".into(), port.to_string()],
            Self::Rtu(line) => vec!["rtu".into(), line.port("b"), BAUD.to_string()],
        }
    }

    /// The driver's end, as the site file says it. A serial line with all its points takes a while.
    fn settings(&self) -> Map<String, Json> {
        let settings = match self {
            Self::Tcp(port) => json!({ "tcp": format!("127.0.0.1:{port}"), "every": "200ms" }),
            Self::Rtu(line) => json!({ "serial": line.port("a"), "baud": BAUD, "every": "2s" }),
        };
        settings.as_object().unwrap().clone()
    }

    /// Waits until someone is at the slave's end.
    fn wait(&self, process: &mut Child) {
        let deadline = Instant::now() + PATIENCE;
        while !self.is_manned() {
            assert!(process.try_wait().unwrap().is_none(), "the slave ended");
            assert!(Instant::now() < deadline, "the slave does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn is_manned(&self) -> bool {
        match self {
            Self::Tcp(port) => TcpStream::connect(("127.0.0.1", *port)).is_ok(),
            Self::Rtu(line) => line.tell("stats")["ports"]["b"]["open"] == true,
        }
    }
}

/// A slave for as long as the test runs.
struct Slave {
    wire: Wire,
    process: Child,
    questions: ChildStdin,
    answers: mpsc::Receiver<String>,
}

impl Slave {
    fn start(mut program: Command, wire: Wire, image: &Json) -> Self {
        let mut process = program.args(wire.arguments()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut script = String::new();
        for (table, cells) in image.as_object().unwrap() {
            for (at, cell) in cells.as_array().unwrap().iter().enumerate() {
                script.push_str(&format!("{table} {at} {cell}\n"));
            }
        }
        let questions = process.stdin.take().unwrap();
        let answers = lines(process.stdout.take().unwrap());
        let mut slave = Self { wire, process, questions, answers };
        slave.say(&(script + "serve\n"));
        assert_eq!(slave.answer(), "ready");
        slave.wire.wait(&mut slave.process);
        slave
    }

    fn pymodbus(wire: Wire, image: &Json) -> Self {
        let mut program = Command::new(python());
        program.arg(Path::new(FOLDER).join("slave.py"));
        Self::start(program, wire, image)
    }

    fn libmodbus(wire: Wire, image: &Json) -> Self {
        static COMPILED: OnceLock<PathBuf> = OnceLock::new();
        let program = COMPILED.get_or_init(|| {
            let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("libmodbus-slave");
            let mut compiler = Command::new("cc");
            compiler.args(["-Wall", "-I/usr/include/modbus", "-o"]).arg(&program);
            let status = compiler.arg(Path::new(FOLDER).join("slave.c")).arg("-lmodbus").status();
            let compiled = status.is_ok_and(|status| status.success());
            assert!(compiled, "this test needs libmodbus: apt-get install libmodbus-dev gcc libc6-dev");
            program
        });
        Self::start(Command::new(program), wire, image)
    }

    /// In one piece, as the slaves expect a question.
    fn say(&mut self, text: &str) {
        self.questions.write_all(text.as_bytes()).unwrap();
    }

    fn answer(&mut self) -> String {
        self.answers.recv_timeout(PATIENCE).expect("the slave answers in time")
    }

    /// What the cells hold now, by the slave's own word.
    fn held(&mut self, table: &str, start: u64, count: usize) -> Vec<u64> {
        self.say(&format!("dump {table} {start} {count}\n"));
        self.answer().split(' ').map(|cell| cell.parse().unwrap()).collect()
    }

    fn run(&self, points: Map<String, Json>) -> Running {
        start(&self.link(points))
    }

    fn link(&self, points: Map<String, Json>) -> Json {
        let mut link = self.wire.settings();
        link.insert("devices".into(), json!({ "meter": { "unit": 1, "points": points } }));
        link.into()
    }
}

impl Drop for Slave {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a process says, line by line, so that waiting for it can end.
fn lines(output: ChildStdout) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        let mut said = BufReader::new(output).lines().map_while(Result::ok);
        said.try_for_each(|line| sender.send(line))
    });
    lines
}

fn python() -> &'static str {
    let python = ["/usr/bin/python3", "python3"].into_iter().find(|python| {
        let check = Command::new(python).args(["-c", "import pymodbus.server"]).stderr(Stdio::null()).status();
        check.is_ok_and(|status| status.success())
    });
    python.expect("this test needs pymodbus: apt-get install python3-pymodbus python3-serial-asyncio")
}

fn cases() -> Json {
    let output = Command::new(python()).arg(Path::new(FOLDER).join("cases.py")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The points of the cases, named by their place in the list.
fn points(cases: &[Json]) -> Map<String, Json> {
    cases.iter().enumerate().map(|(index, case)| (format!("p{index}"), case["point"].clone())).collect()
}

/// Reads every case and holds it against what it has to be.
async fn reads(slave: &Slave, cases: &Json) {
    let cases = cases["reads"].as_array().unwrap();
    assert!(cases.len() > 500, "only {} cases: the script has lost its teeth", cases.len());
    let mut driver = slave.run(points(cases));
    let mut seen: HashMap<String, Result<Json, String>> = HashMap::new();
    while seen.len() < cases.len() {
        let (point, outcome) = driver
            .event(|event| match event {
                Event::Reading(reading) => Some((
                    reading.point.to_string(),
                    match reading.quality {
                        Quality::Good => Ok(reading.value.as_ref().unwrap().to_json()),
                        _ => Err(reading.reason.as_deref().unwrap_or_default().to_owned()),
                    },
                )),
                _ => None,
            })
            .await;
        seen.insert(point, outcome);
    }
    driver.stop().await;
    let mut wrong = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let outcome = &seen[&format!("p{index}")];
        let right = match outcome {
            Ok(value) => case.get("value").is_some_and(|expected| same(value, expected)),
            Err(reason) => case.get("bad").is_some_and(|words| reason.contains(words.as_str().unwrap())),
        };
        if !right {
            wrong.push(format!("{case}\n    came as {outcome:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} are wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// Whether two are the same value: `1` and `1.0` are.
fn same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        // As whole numbers to the last digit where both are that.
        (Json::Number(a), Json::Number(b)) if a.is_f64() || b.is_f64() => a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

/// Writes every case and asks the slave what it holds then.
async fn writes(slave: &mut Slave, cases: &Json) {
    let cases = cases["writes"].as_array().unwrap();
    assert!(cases.len() > 400, "only {} cases: the script has lost its teeth", cases.len());
    let mut driver = slave.run(points(cases));
    let mut wrong = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let value = value_of(&case["value"]);
        let action = Action::Write { value: value.clone(), verify: true };
        let answer = driver.command("meter", &format!("p{index}"), action).await;
        let table = case["table"].as_str().unwrap();
        let expected: Vec<u64> =
            case["registers"].as_array().unwrap().iter().map(|cell| cell.as_u64().unwrap()).collect();
        let held = slave.held(table, case["at"].as_u64().unwrap(), expected.len());
        let read_back = answer.as_ref().ok().and_then(|done| done.observed.as_ref());
        if held != expected || read_back != Some(&value) {
            wrong.push(format!("{case}\n    came to {held:?}, answered {answer:?}"));
        }
    }
    driver.stop().await;
    assert!(wrong.is_empty(), "{} of {} are wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

fn value_of(json: &Json) -> Value {
    match json {
        Json::Bool(on) => Value::Bool(*on),
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(values) => Value::List(values.iter().map(value_of).collect()),
        number => match number.as_i64() {
            Some(number) => Value::Int(number),
            None => Value::Float(number.as_f64().unwrap()),
        },
    }
}

#[tokio::test]
async fn a_counter_goes_on_over_its_end_and_over_a_restart() {
    let slave = Slave::libmodbus(Wire::tcp(), &json!({ "holding": [65_000] }));
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("counters-{}", std::process::id()));
    let points = json!({ "shown": { "holding": 0, "write": {} }, "total": { "holding": 0, "counter": true } });
    let points = points.as_object().unwrap();
    let shows = |count: i64| Action::Write { value: Value::Int(count), verify: true };
    // What the device shows in the first life of the gateway and in the second, and what that comes to.
    let lives = [[(65_000, 65_000), (10, 65_546), (60_000, 125_536)], [(60_001, 125_537), (5, 131_077), (1, 131_073)]];
    for life in lives {
        let mut driver = run(driver(&slave.link(points.clone())).counting_in(file.clone()));
        for (shown, total) in life {
            driver.command("meter", "shown", shows(shown)).await.unwrap();
            let read = driver.command("meter", "total", Action::Read).await.unwrap();
            assert_eq!(read.observed, Some(Value::Int(total)), "{shown}");
        }
        driver.stop().await;
    }
    // The file names the counter, what was added, and what it showed last.
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "meter total holding 0 65536 131072 1\n");
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn every_type_and_order_is_read_right_from_pymodbus_over_tcp() {
    let cases = cases();
    reads(&Slave::pymodbus(Wire::tcp(), &cases["image"]), &cases).await;
}

#[tokio::test]
async fn every_type_and_order_is_read_right_from_pymodbus_over_rtu() {
    let cases = cases();
    reads(&Slave::pymodbus(Wire::rtu(), &cases["image"]), &cases).await;
}

#[tokio::test]
async fn every_type_and_order_is_read_right_from_libmodbus_over_tcp() {
    let cases = cases();
    reads(&Slave::libmodbus(Wire::tcp(), &cases["image"]), &cases).await;
}

#[tokio::test]
async fn every_type_and_order_is_read_right_from_libmodbus_over_rtu() {
    let cases = cases();
    reads(&Slave::libmodbus(Wire::rtu(), &cases["image"]), &cases).await;
}

#[tokio::test]
async fn every_type_and_order_is_written_right_to_pymodbus_over_tcp() {
    let cases = cases();
    writes(&mut Slave::pymodbus(Wire::tcp(), &cases["image"]), &cases).await;
}

#[tokio::test]
async fn every_type_and_order_is_written_right_to_pymodbus_over_rtu() {
    let cases = cases();
    writes(&mut Slave::pymodbus(Wire::rtu(), &cases["image"]), &cases).await;
}

#[tokio::test]
async fn every_type_and_order_is_written_right_to_libmodbus_over_tcp() {
    let cases = cases();
    writes(&mut Slave::libmodbus(Wire::tcp(), &cases["image"]), &cases).await;
}

#[tokio::test]
async fn every_type_and_order_is_written_right_to_libmodbus_over_rtu() {
    let cases = cases();
    writes(&mut Slave::libmodbus(Wire::rtu(), &cases["image"]), &cases).await;
}
