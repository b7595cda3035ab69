//! Commands against a counterpart that remembers what it was asked and holds what it was written,
//! as obediently as the test wants.

#![expect(clippy::unwrap_used, reason = "everything here is a test")]

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::scripted::{Scripted, now};
use common::{PATIENCE, Running, start, write};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use wharf_contract::command::PendingAnswer;
use wharf_contract::port::Outcome;
use wharf_contract::{Action, Answer, Command, CommandError, Done, Value};

/// How a device behaves.
#[derive(Clone, Default)]
struct Habits {
    /// Functions it does not have.
    lacks: Vec<u8>,
    /// Units that never answer.
    silent: Vec<u8>,
    /// Whether it answers nobody now.
    asleep: Arc<AtomicBool>,
    /// The highest value it takes; more is exception 3.
    highest: Option<u16>,
    /// How long it thinks about each request.
    slow: Duration,
}

#[derive(Default)]
struct Memory {
    /// Registers by unit and address; coils stand at 65536 and up.
    held: BTreeMap<(u8, u32), u16>,
    /// Unit, function and data of every request but reads.
    asked: Vec<(u8, u8, Vec<u16>)>,
    reads: Vec<(u8, Instant)>,
    connections: usize,
}

struct Device {
    port: u16,
    memory: Arc<Mutex<Memory>>,
}

const COILS: u32 = 65_536;

impl Device {
    async fn start(habits: Habits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let memory: Arc<Mutex<Memory>> = Arc::default();
        let shared = Arc::clone(&memory);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                shared.lock().unwrap().connections += 1;
                tokio::spawn(serve(socket, habits.clone(), Arc::clone(&shared)));
            }
        });
        Self { port, memory }
    }

    fn drive(&self, devices: Json) -> Running {
        let tcp = format!("127.0.0.1:{}", self.port);
        start(&json!({ "tcp": tcp, "every": "50ms", "timeout": "500ms", "devices": devices }))
    }

    /// Every write so far: function, then address and values as they are on the wire.
    fn written(&self) -> Vec<(u8, Vec<u16>)> {
        self.memory.lock().unwrap().asked.iter().map(|(_, function, data)| (*function, data.clone())).collect()
    }

    fn hold(&self, unit: u8, address: u32, value: u16) {
        self.memory.lock().unwrap().held.insert((unit, address), value);
    }

    fn held(&self, unit: u8, address: u32) -> u16 {
        self.memory.lock().unwrap().held.get(&(unit, address)).copied().unwrap_or_default()
    }
}

async fn serve(mut socket: TcpStream, habits: Habits, memory: Arc<Mutex<Memory>>) {
    let mut header = [0; 7];
    while socket.read_exact(&mut header).await.is_ok() {
        let mut pdu = vec![0; usize::from(u16::from_be_bytes([header[4], header[5]])) - 1];
        socket.read_exact(&mut pdu).await.unwrap();
        sleep(habits.slow).await;
        let unit = header[6];
        if habits.asleep.load(Ordering::SeqCst) {
            continue;
        }
        let answer = answer(unit, &pdu, &habits, &mut memory.lock().unwrap());
        if habits.silent.contains(&unit) {
            continue;
        }
        let length = u16::try_from(answer.len() + 1).unwrap().to_be_bytes();
        let frame = [&header[..2], &[0, 0], &length, &[unit], &answer].concat();
        let _ = socket.write_all(&frame).await;
    }
}

fn answer(unit: u8, pdu: &[u8], habits: &Habits, memory: &mut Memory) -> Vec<u8> {
    let function = pdu[0];
    let words: Vec<u16> = pdu[1..5].chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    let (start, count) = (u32::from(words[0]), u32::from(words[1]));
    let no = |code| vec![function | 0x80, code];
    if matches!(function, 1 | 3) {
        memory.reads.push((unit, Instant::now()));
    } else {
        let data = match function {
            15 => pdu[6..].iter().map(|byte| u16::from(*byte)).collect(),
            16 => pdu[6..].chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect(),
            22 => vec![words[1], u16::from_be_bytes([pdu[5], pdu[6]])],
            _ => vec![words[1]],
        };
        memory.asked.push((unit, function, [vec![words[0]], data].concat()));
    }
    if habits.lacks.contains(&function) {
        return no(1);
    }
    let held = |memory: &Memory, address| memory.held.get(&(unit, address)).copied().unwrap_or_default();
    match function {
        1 => {
            let mut bytes = vec![0_u8; count.div_ceil(8) as usize];
            for index in 0..count {
                bytes[index as usize / 8] |= u8::from(held(memory, COILS + start + index) != 0) << (index % 8);
            }
            [vec![1, u8::try_from(bytes.len()).unwrap()], bytes].concat()
        }
        3 => {
            let bytes = (start..start + count).flat_map(|address| held(memory, address).to_be_bytes());
            [vec![3, u8::try_from(count * 2).unwrap()], bytes.collect()].concat()
        }
        5 => {
            memory.held.insert((unit, COILS + start), u16::from(words[1] == 0xFF00));
            pdu.to_vec()
        }
        6 | 16 => {
            let values = memory.asked.last().unwrap().2[1..].to_vec();
            if habits.highest.is_some_and(|highest| values.iter().any(|value| *value > highest)) {
                return no(3);
            }
            memory.held.extend((start..).zip(values).map(|(address, value)| ((unit, address), value)));
            pdu[..5].to_vec()
        }
        15 => {
            let bit = |index: u32| u16::from(pdu[6 + index as usize / 8] >> (index % 8) & 1);
            memory.held.extend((0..count).map(|index| ((unit, COILS + start + index), bit(index))));
            pdu[..5].to_vec()
        }
        22 => {
            let (and, or) = (words[1], u16::from_be_bytes([pdu[5], pdu[6]]));
            let now = held(memory, start);
            memory.held.insert((unit, start), now & and | or & !and);
            pdu.to_vec()
        }
        _ => no(1),
    }
}

/// Puts commands into the driver's port. The driver shares this thread, so they wait there together.
fn ask(driver: &Running, commands: &[(&str, Action)], more_follow: bool) -> Vec<PendingAnswer> {
    let last = commands.len() - 1;
    let ask = |(index, (point, action)): (usize, &(&str, Action))| {
        let deadline = Instant::now() + PATIENCE;
        let (mut command, answer) = Command::new("tank".into(), (*point).into(), action.clone(), deadline);
        command.more_follow = more_follow && index < last;
        driver.end.commands.try_send(command).expect("room for one more");
        answer
    };
    commands.iter().enumerate().map(ask).collect()
}

async fn all(answers: Vec<PendingAnswer>) -> Vec<Answer> {
    let mut all = Vec::new();
    for answer in answers {
        all.push(timeout(PATIENCE, answer.wait()).await.expect("an answer in time"));
    }
    all
}

fn done(value: impl Into<Json>) -> Answer {
    let Action::Write { value, .. } = write(value, false) else { panic!("a write") };
    Ok(Done { written: Some(value), ..Done::default() })
}

fn tank() -> Json {
    json!({ "tank": { "unit": 7, "points": {
        "mode": { "holding": 10, "write": {} },
        "setpoint": { "holding": 11, "type": "i16", "scale": 0.1, "write": {} },
        "limit": { "holding": 12, "type": "u32", "write": {} },
        "far": { "holding": 20, "write": {} },
        "valve": { "coil": 0, "write": {} },
        "pump": { "coil": 1, "write": {} },
        "lamp": { "coil": 2, "write": {} },
    } } })
}

#[tokio::test]
async fn writes_of_neighbours_that_wait_together_go_in_one_request_and_are_answered_each() {
    let device = Device::start(Habits { slow: Duration::from_millis(60), ..Habits::default() }).await;
    let mut driver = device.drive(tank());
    driver.value("tank", "far").await;
    let commands = [
        ("far", write(1, false)),
        ("setpoint", write(21.5, false)),
        ("limit", write(70_000, true)),
        ("mode", write(2, false)),
        ("valve", write(true, false)),
        ("pump", write(false, false)),
        ("lamp", write(true, true)),
    ];
    let answers = all(ask(&driver, &commands, false)).await;
    let held = |value: Value| Ok(Done { written: Some(value.clone()), observed: Some(value), note: None });
    assert_eq!(answers[1..4], [done(21.5), held(Value::Int(70_000)), done(2)]);
    assert_eq!(answers[4..], [done(true), done(false), held(Value::Bool(true))]);
    assert_eq!(
        device.written(),
        [(6, vec![20, 1]), (16, vec![10, 2, 215, 1, 4464]), (15, vec![0, 0b101])],
        "function, address and values"
    );
    driver.stop().await;
}

#[tokio::test]
async fn of_one_request_for_several_points_neighbours_go_together_in_whatever_order_they_come() {
    let device = Device::start(Habits::default()).await;
    let mut driver = device.drive(tank());
    driver.value("tank", "far").await;
    let commands = [
        ("limit", write(5, false)),
        ("far", write(9, false)),
        ("mode", write(1, false)),
        ("setpoint", write(2, false)),
    ];
    let answers = all(ask(&driver, &commands, true)).await;
    assert_eq!(answers, [done(5), done(9), done(1), done(2.0)]);
    assert_eq!(device.written(), [(16, vec![10, 1, 20, 0, 5]), (6, vec![20, 9])]);
    driver.stop().await;
}

#[tokio::test]
async fn two_writes_of_one_point_are_never_joined_and_the_later_one_stays() {
    let device = Device::start(Habits { slow: Duration::from_millis(30), ..Habits::default() }).await;
    let mut driver = device.drive(tank());
    driver.value("tank", "far").await;
    let commands = [
        ("mode", write(1, false)),
        ("setpoint", write(1, false)),
        ("mode", write(2, false)),
        ("mode", write(3, false)),
    ];
    let answers = all(ask(&driver, &commands, false)).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(device.held(7, 10), 3);
    driver.stop().await;
}

#[tokio::test]
async fn what_a_device_refuses_together_is_tried_one_by_one() {
    for habits in [Habits { lacks: vec![16], ..Habits::default() }, Habits { highest: Some(100), ..Habits::default() }]
    {
        let refused = habits.highest.is_some();
        let device = Device::start(habits).await;
        let mut driver = device.drive(tank());
        driver.value("tank", "far").await;
        let answers = all(ask(&driver, &[("mode", write(1, false)), ("setpoint", write(20, false))], true)).await;
        assert_eq!(answers[0], done(1));
        if refused {
            assert!(
                matches!(&answers[1], Err(CommandError::Refused(why)) if why.contains("exception 3")),
                "{answers:?}"
            );
        } else {
            assert_eq!(answers[1], done(20.0));
        }
        let functions: Vec<u8> = device.written().into_iter().map(|(function, _)| function).collect();
        assert_eq!(functions, [16, 6, 6]);
        driver.stop().await;
    }
}

#[tokio::test]
async fn a_bit_of_a_register_is_written_and_its_neighbours_stay() {
    for lacks in [vec![], vec![22]] {
        let has_mask = lacks.is_empty();
        let device = Device::start(Habits { lacks, ..Habits::default() }).await;
        device.hold(7, 30, 0b1010_0000);
        let mut driver = device.drive(json!({ "tank": { "unit": 7, "points": {
            "alarm": { "holding": 30, "bit": 3, "write": {} },
            "door": { "holding": 30, "bit": 5, "write": {} },
        } } }));
        assert_eq!(driver.value("tank", "door").await, Value::Bool(true));
        assert_eq!(
            driver.command("tank", "alarm", write(true, true)).await,
            Ok(Done { written: Some(Value::Bool(true)), observed: Some(Value::Bool(true)), note: None })
        );
        assert_eq!(driver.command("tank", "door", write("off", false)).await, done(false));
        assert_eq!(device.held(7, 30), 0b1000_1000);
        let functions: Vec<u8> = device.written().into_iter().map(|(function, _)| function).collect();
        // That it lacks the function is asked once.
        assert_eq!(functions, if has_mask { vec![22, 22] } else { vec![22, 6, 6] });
        driver.stop().await;
    }
}

#[tokio::test]
async fn sixty_commands_to_a_silent_device_cost_its_neighbours_one_timeout() {
    let device = Device::start(Habits { silent: vec![9], ..Habits::default() }).await;
    let level = json!({ "holding": 0, "write": {} });
    let mut driver = device.drive(json!({
        "tank": { "unit": 9, "points": { "level": level } },
        "well": { "unit": 8, "points": { "level": level } },
    }));
    assert!(!driver.device("tank").await.0);
    let before = device.memory.lock().unwrap().asked.len();
    let commands = vec![("level", write(1, false)); 60];
    let answers = all(ask(&driver, &commands, false)).await;
    let unsent = answers.iter().filter(|answer| matches!(answer, Err(CommandError::NotSent(_)))).count();
    let tried = device.memory.lock().unwrap().asked.len() - before;
    assert_eq!(unsent + tried, 60, "each is tried or answered unasked");
    assert!((1..=3).contains(&tried), "{tried} of 60 were tried");
    let Some(Err(CommandError::NotSent(why))) = answers.last() else { panic!("{answers:?}") };
    assert!(why.starts_with("the device does not answer (no answer within 500ms)"), "{why}");
    driver.value("well", "level").await;
    driver.stop().await;
}

#[tokio::test]
async fn the_rest_of_a_request_for_several_points_is_waited_for() {
    let device = Device::start(Habits::default()).await;
    let mut driver = device.drive(tank());
    driver.value("tank", "far").await;
    assert_eq!(driver.command("tank", "mode", write(1, false)).await, done(1));
    let deadline = Instant::now() + PATIENCE;
    let (mut command, answer) = Command::new("tank".into(), "mode".into(), write(3, false), deadline);
    command.more_follow = true;
    driver.end.commands.try_send(command).unwrap();
    sleep(Duration::from_millis(20)).await;
    let rest = ask(&driver, &[("setpoint", write(4, false))], false);
    assert_eq!(all([vec![answer], rest].into_iter().flatten().collect()).await, [done(3), done(4.0)]);
    assert_eq!(device.written(), [(6, vec![10, 1]), (16, vec![10, 3, 40])]);
    driver.stop().await;
}

#[tokio::test]
async fn a_device_that_is_back_obeys_the_first_command_although_it_is_not_asked_yet() {
    let habits = Habits::default();
    habits.asleep.store(true, Ordering::SeqCst);
    let device = Device::start(habits.clone()).await;
    let mut driver = device.drive(tank());
    assert!(!driver.device("tank").await.0);
    habits.asleep.store(false, Ordering::SeqCst);
    assert_eq!(driver.command("tank", "mode", write(1, false)).await, done(1));
    assert!(driver.device("tank").await.0);
    driver.stop().await;
}

#[tokio::test]
async fn a_broadcast_is_sent_and_nobody_is_asked_to_confirm_it() {
    let device = Device::start(Habits { silent: vec![0], ..Habits::default() }).await;
    let mut driver = device.drive(json!({
        "tank": { "unit": 0, "broadcast": true, "points": { "limit": { "holding": 5, "write": { "max": 100 } } } },
        "well": { "unit": 8, "points": { "level": { "holding": 0 } } },
    }));
    driver.value("well", "level").await;
    let answer = driver.command("tank", "limit", write(60, true)).await;
    let note = Some("sent to every device; nobody confirms");
    assert_eq!(answer, Ok(Done { written: Some(Value::Int(60)), observed: None, note }));
    assert_eq!(device.held(0, 5), 60);
    let refused = driver.command("tank", "limit", Action::Read).await;
    assert_eq!(refused, Err(CommandError::Refused("a broadcast is never read".into())));
    for _ in 0..3 {
        driver.value("well", "level").await;
    }
    assert!(device.memory.lock().unwrap().reads.iter().all(|(unit, _)| *unit == 8));
    driver.stop().await;
}

#[tokio::test]
async fn a_broadcast_that_nobody_answers_is_no_silence_and_costs_no_connection() {
    let device = Device::start(Habits { silent: vec![0], ..Habits::default() }).await;
    let points = json!({ "limit": { "holding": 5, "write": {} }, "bit": { "holding": 6, "bit": 3, "write": {} } });
    let mut driver = device.drive(json!({
        "all": { "unit": 0, "broadcast": true, "points": points },
        "well": { "unit": 8, "points": { "level": { "holding": 0, "every": "1h" } } },
    }));
    driver.value("well", "level").await;
    // Nobody else speaks in between, so a silence that counted would end the connection.
    for value in 1..=4 {
        let done = driver.command("all", "limit", write(value, false)).await.unwrap();
        assert_eq!(done.note, Some("sent to every device; nobody confirms"));
    }
    driver.command("all", "bit", write(true, false)).await.unwrap();
    assert_eq!(device.held(0, 6), 8);
    let traffic = driver.end.traffic.clone();
    assert_eq!((traffic.of(Outcome::Untold), traffic.of(Outcome::Silent)), (5, 0));
    assert_eq!(device.memory.lock().unwrap().connections, 1);
    assert_eq!(driver.end.health.borrow().as_str(), "online");
    driver.stop().await;
}

#[tokio::test]
async fn a_gateway_that_says_that_nobody_answered_a_broadcast_has_sent_it() {
    let nobody = Scripted::start(|request| match request.unit {
        0 => now(request.frame(&[request.pdu[0] | 0x80, 11])),
        _ => now(request.answer()),
    })
    .await;
    let points = json!({ "limit": { "holding": 5, "write": {} } });
    let mut driver = start(&nobody.link("50ms", json!({ "all": { "unit": 0, "broadcast": true, "points": points } })));
    let done = driver.command("all", "limit", write(60, false)).await.unwrap();
    assert_eq!(done.written, Some(Value::Int(60)));
    driver.stop().await;
}

#[tokio::test]
async fn what_waits_in_a_session_that_ends_is_answered_as_never_sent() {
    let device = Device::start(Habits { slow: Duration::from_millis(200), ..Habits::default() }).await;
    let mut driver = device.drive(tank());
    driver.value("tank", "far").await;
    let commands =
        [("far", write(1, false)), ("mode", write(1, false)), ("far", write(2, false)), ("mode", write(2, false))];
    let mut answers = ask(&driver, &commands, false);
    // The first is on its way, the second was taken out of the port with it, and so they go on.
    let first = timeout(PATIENCE, answers.remove(0).wait()).await.unwrap();
    assert_eq!(first, done(1));
    driver.stop.cancel();
    timeout(PATIENCE, driver.task).await.unwrap().unwrap().unwrap();
    let rest = all(answers).await;
    assert!(
        rest.iter()
            .any(|answer| matches!(answer, Err(CommandError::Offline(why)) if why.contains("before it was sent"))),
        "{rest:?}"
    );
    assert!(
        rest.iter()
            .all(|answer| answer.is_ok()
                || answer.as_ref().is_err_and(|e| e.is_unsent() || *e == CommandError::Abandoned)),
        "{rest:?}"
    );
}

#[tokio::test]
async fn what_is_written_together_is_no_more_than_the_device_takes_at_once() {
    let device = Device::start(Habits::default()).await;
    let mut site = tank();
    site["tank"]["max_registers"] = json!(2);
    let mut driver = device.drive(site);
    driver.value("tank", "far").await;
    let commands = [("limit", write(5, false)), ("mode", write(1, false)), ("setpoint", write(2, false))];
    assert_eq!(all(ask(&driver, &commands, true)).await, [done(5), done(1), done(2.0)]);
    assert_eq!(device.written(), [(16, vec![10, 1, 20]), (16, vec![12, 0, 5])]);
    driver.stop().await;
}

#[tokio::test]
async fn a_bit_that_has_to_be_written_the_long_way_round_is_not_written_when_that_takes_too_long() {
    let slow = Duration::from_millis(200);
    let device = Device::start(Habits { lacks: vec![22], slow, ..Habits::default() }).await;
    let mut driver = device.drive(json!({ "tank": { "unit": 7, "every": "1h", "points": {
        "alarm": { "holding": 30, "bit": 3, "write": {} },
    } } }));
    driver.value("tank", "alarm").await;
    // Function 22 is refused in time, and what the register holds is known too late.
    let deadline = Instant::now() + slow + slow / 2;
    let (command, answer) = Command::new("tank".into(), "alarm".into(), write(true, false), deadline);
    driver.end.commands.try_send(command).unwrap();
    let answer = timeout(PATIENCE, answer.wait()).await.expect("an answer in time");
    assert_eq!(answer, Err(CommandError::Expired));
    let functions: Vec<u8> = device.written().into_iter().map(|(function, _)| function).collect();
    assert!(!functions.contains(&6), "{functions:?}");
    driver.stop().await;
}

#[tokio::test]
async fn a_persons_raw_request_that_has_waited_too_long_is_never_sent() {
    let device = Device::start(Habits { slow: Duration::from_millis(300), ..Habits::default() }).await;
    let mut driver = device.drive(tank());
    driver.value("tank", "far").await;
    let deadline = Instant::now() + Duration::from_millis(100);
    let first = ask(&driver, &[("far", write(1, false))], false);
    let raw = Action::Raw(vec![7, 6, 0, 10, 0, 1]);
    let (command, answer) = Command::new("".into(), "".into(), raw, deadline);
    // It stands right behind the write, and is taken out of the port with it.
    driver.end.commands.try_send(command).unwrap();
    assert_eq!(all(first).await, [done(1)]);
    assert_eq!(timeout(PATIENCE, answer.wait()).await.expect("an answer in time"), Err(CommandError::Expired));
    assert_eq!(device.held(7, 10), 0);
    driver.stop().await;
}
