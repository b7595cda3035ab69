//! Commands beside the polling, against a counterpart that misbehaves on purpose: whose turn it is, what
//! is never sent, and what is never sent twice.

#![allow(clippy::unwrap_used)] // everything here is a test

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::scripted::{Reply, Scripted, device, now};
use common::{PATIENCE, start, write};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use wharf_contract::port::COMMANDS_WAITING;
use wharf_contract::{Action, Command, CommandError, DriverError};

#[tokio::test]
async fn a_write_cut_off_by_a_closed_connection_is_not_sent_again() {
    let mut slave = Scripted::start(|request| match request.pdu[0] {
        6 => Reply::Close(Vec::new()),
        _ => now(request.answer()),
    })
    .await;
    let mut driver = slave.drive("1h");
    driver.value("tank", "level").await;
    let answer = driver.command("tank", "level", write(5, false)).await;
    assert!(matches!(answer, Err(CommandError::NoAnswer(_))), "{answer:?}");
    let after = driver.command("tank", "level", Action::Read).await;
    assert!(after.is_ok(), "{after:?}");
    let functions = [slave.request().await, slave.request().await, slave.request().await].map(|seen| seen.pdu[0]);
    assert_eq!(functions, [3, 6, 3]);
    driver.stop().await;
}

#[tokio::test]
async fn a_write_that_is_not_answered_in_time_says_so() {
    let slave =
        Scripted::start(|request| if request.pdu[0] == 6 { Reply::Silence } else { now(request.answer()) }).await;
    let mut driver = slave.drive_impatiently("1h");
    driver.value("tank", "level").await;
    let answer = driver.command("tank", "level", write(5, true)).await;
    assert_eq!(answer, Err(CommandError::NoAnswer("no answer within 500ms".into())));
    driver.stop().await;
}

#[tokio::test]
async fn a_command_goes_before_everything_that_is_due() {
    let mut slave = Scripted::start(|request| Reply::Bytes(request.answer(), Duration::from_millis(20))).await;
    // Twenty blocks, all overdue all the time.
    let points: serde_json::Map<_, _> =
        (0..20).map(|n| (format!("p{n}"), json!({ "holding": n * 100, "write": {} }))).collect();
    let mut driver = start(&slave.link("10ms", json!({ "tank": { "unit": 1, "points": points } })));
    driver.value("tank", "p0").await;
    let number = slave.requests.len();
    driver.command("tank", "p7", write(1, false)).await.unwrap();
    let seen = loop {
        let request = slave.request().await;
        if request.pdu[0] == 6 {
            break request.number;
        }
    };
    assert!(seen <= number + 2, "asked as number {seen}, after {number} requests");
    driver.stop().await;
}

#[tokio::test]
async fn under_a_flood_of_commands_every_other_request_is_a_due_read() {
    // An exchange takes as long as the whole rhythm, so both devices are overdue at every choice.
    let mut slave = Scripted::start(|request| Reply::Bytes(request.answer(), Duration::from_millis(10))).await;
    let mut driver = start(&slave.link("10ms", json!({ "tank": device(1), "well": device(2) })));
    // As many as may wait are there before the driver makes its first choice.
    let answers: Vec<_> = (0..COMMANDS_WAITING)
        .map(|value| {
            let deadline = Instant::now() + PATIENCE;
            let (command, answer) = Command::new("tank".into(), "level".into(), write(value, false), deadline);
            driver.end.commands.try_send(command).expect("room for one more");
            answer
        })
        .collect();
    let mut reads = Vec::new();
    for _ in 0..COMMANDS_WAITING / 2 {
        let turn = [slave.request().await, slave.request().await, slave.request().await, slave.request().await];
        let turn = turn.map(|request| (request.pdu[0], request.unit));
        assert!(matches!(turn, [(6, 1), (3, _), (6, 1), (3, _)]), "function and unit of four requests: {turn:?}");
        reads.extend([turn[1].1, turn[3].1]);
    }
    // Both have had about the same share of what the commands left.
    let of_tank = reads.iter().filter(|unit| **unit == 1).count();
    assert!(of_tank * 3 > reads.len() && of_tank * 3 < reads.len() * 2, "{of_tank} of {} reads", reads.len());
    for answer in answers {
        timeout(PATIENCE, answer.wait()).await.expect("an answer in time").expect("a good answer");
    }
    for device in ["tank", "well"] {
        driver.value(device, "level").await;
    }
    driver.stop().await;
}

#[tokio::test]
async fn a_command_whose_deadline_passes_while_a_block_has_its_turn_is_never_sent() {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let mut slave = Scripted::start(move |request| match request.pdu[0] {
        3 => Reply::Held(request.answer(), Arc::clone(&held)),
        _ => now(request.answer()),
    })
    .await;
    let driver = slave.drive("10ms");
    assert_eq!(slave.request().await.pdu[0], 3);
    let ask = |value: i64, deadline| {
        let (command, answer) = Command::new("tank".into(), "level".into(), write(value, false), deadline);
        driver.end.commands.try_send(command).expect("room for one more");
        answer
    };
    let deadline = Instant::now() + Duration::from_millis(300);
    let (first, late) = (ask(5, Instant::now() + PATIENCE), ask(6, deadline));
    // Now the block's next turn is due, and it comes between the two.
    sleep(Duration::from_millis(20)).await;
    gate.add_permits(1);
    assert_eq!(slave.request().await.pdu, [6, 0, 0, 0, 5]);
    assert_eq!(slave.request().await.pdu[0], 3);
    sleep_until(deadline).await;
    gate.add_permits(1);

    assert!(timeout(PATIENCE, first.wait()).await.expect("an answer in time").is_ok());
    let answer = timeout(PATIENCE, late.wait()).await.expect("an answer in time");
    assert_eq!(answer, Err(CommandError::Expired));
    gate.add_permits(100);
    driver.stop().await;
    while let Ok(request) = slave.requests.try_recv() {
        assert_eq!(request.pdu[0], 3, "nothing but reads came after the first write");
    }
}

#[tokio::test]
async fn a_session_that_ends_in_the_middle_of_a_request_for_several_points_answers_each_of_them() {
    let mut slave = Scripted::start(|request| match request.pdu[0] {
        6 => Reply::Close(request.answer()),
        _ => now(request.answer()),
    })
    .await;
    let point = json!({ "every": "1h", "write": {} });
    let at = |address: u16| {
        let mut point = point.clone();
        point["holding"] = json!(address);
        point
    };
    let points = json!({ "a": at(0), "b": at(500), "c": at(1000) });
    let driver = start(&slave.link("1h", json!({ "tank": { "unit": 1, "points": points } })));
    slave.request().await;
    // Whoever hangs up now is not to be reached again.
    slave.listening.abort();
    let answers: Vec<_> = ["a", "b", "c"]
        .map(|point| {
            let deadline = Instant::now() + PATIENCE;
            let (mut command, answer) = Command::new("tank".into(), point.into(), write(5, false), deadline);
            command.more_follow = point != "c";
            driver.end.commands.try_send(command).expect("room for one more");
            answer
        })
        .into();
    let mut outcomes = Vec::new();
    for answer in answers {
        outcomes.push(timeout(PATIENCE, answer.wait()).await.expect("an answer in time"));
    }
    assert!(outcomes[0].is_ok(), "{outcomes:?}");
    assert!(outcomes[1..].iter().all(|outcome| matches!(outcome, Err(CommandError::Offline(_)))), "{outcomes:?}");
    assert!(matches!(timeout(PATIENCE, driver.task).await.unwrap().unwrap(), Err(DriverError::Lost(_))));
    let mut writes = 0;
    while let Ok(request) = slave.requests.try_recv() {
        writes += usize::from(request.pdu[0] == 6);
    }
    assert_eq!(writes, 1);
}
