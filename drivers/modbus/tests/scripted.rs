//! The driver against a counterpart that misbehaves on purpose, request by request.

#![expect(clippy::unwrap_used, reason = "everything here is a test")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::scripted::{Reply, Request, Scripted, device, impatient, now};
use common::{PATIENCE, start};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use wharf_contract::port::Outcome;
use wharf_contract::{Action, CommandError, DriverError, Event, Health, Quality, Value};

#[tokio::test]
async fn a_device_that_never_answers_is_told_bad_once_and_the_session_goes_on() {
    let mut slave = Scripted::start(|_| Reply::Silence).await;
    let mut driver = slave.drive_impatiently("50ms");
    assert_eq!(driver.device("tank").await, (false, Some("no answer within 500ms".into())));
    let reading = driver.reading("tank", "level").await;
    assert_eq!((reading.quality, reading.reason.as_deref()), (Quality::Bad, Some("no answer within 500ms")));
    let health = driver.health(|health| matches!(health, Health::Degraded(_))).await;
    assert_eq!(health.reason(), Some("tank does not answer: no answer within 500ms"));

    // The second request comes over a new connection. Its timeout brings no second event.
    slave.request().await;
    slave.request().await;
    assert_eq!(slave.connections(), 2);
    let answer = driver.command("tank", "level", Action::Read).await;
    assert_eq!(answer, Err(CommandError::NoAnswer("no answer within 500ms".into())));
    assert!(driver.events.try_recv().is_err(), "nothing more was told");
    assert!(!driver.task.is_finished());
    driver.stop().await;
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_never_taken_for_the_next_one() {
    // Request 0 is answered with 0, far too late. Whoever takes that for the answer to a later
    // request reads a 0 that belongs to nobody.
    let slave = Scripted::start(|request| {
        let wait = if request.number == 0 { Duration::from_millis(700) } else { Duration::from_millis(1) };
        Reply::Bytes(request.answer(), wait)
    })
    .await;
    let mut driver = slave.drive_impatiently("50ms");
    assert!(!driver.device("tank").await.0);
    for _ in 0..5 {
        let answer = driver.command("tank", "level", Action::Read).await.unwrap();
        assert_ne!(answer.observed, Some(Value::Int(0)));
        sleep(Duration::from_millis(60)).await;
    }
    assert_eq!(slave.connections(), 2);
    driver.stop().await;
}

#[tokio::test]
async fn a_silent_device_recovers_at_its_first_answer() {
    let slave =
        Scripted::start(|request| if request.number == 0 { Reply::Silence } else { now(request.answer()) }).await;
    let mut driver = slave.drive_impatiently("50ms");
    assert!(!driver.device("tank").await.0);
    assert_eq!(driver.reading("tank", "level").await.quality, Quality::Bad);
    assert_eq!(driver.device("tank").await, (true, None));
    // From then on it has its rhythm again, one request after the other.
    for expected in 1..=10 {
        assert_eq!(driver.value("tank", "level").await, Value::Int(expected));
    }
    driver.health(|health| *health == Health::Online).await;
    driver.stop().await;
}

#[tokio::test]
async fn a_connection_that_closes_mid_answer_costs_one_more_request_and_no_reading() {
    let slave = Scripted::start(|request| {
        if request.number == 1 { Reply::Close(request.answer()[..8].to_vec()) } else { now(request.answer()) }
    })
    .await;
    let mut driver = slave.drive("50ms");
    for expected in [0, 2, 3] {
        let reading = driver.reading("tank", "level").await;
        assert_eq!((reading.quality, reading.value), (Quality::Good, Some(Value::Int(expected))));
    }
    driver.stop().await;
}

/// Runs a slave that always answers in one wrong way; gives the reason of the bad reading.
async fn reason_of(wrong: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> String {
    let slave = Scripted::start(move |request| now(wrong(request))).await;
    let mut driver = slave.drive_impatiently("50ms");
    let reading = driver.reading("tank", "level").await;
    assert_eq!((reading.quality, reading.value), (Quality::Bad, None));
    driver.stop().await;
    reading.reason.unwrap().to_string()
}

#[tokio::test]
async fn what_is_no_answer_to_the_request_is_never_a_value() {
    let foreign = |request: &Request| {
        let mut bytes = request.answer();
        bytes[0] ^= 0x40;
        bytes
    };
    // Such answers are read over, for the right one may still come.
    let words = reason_of(foreign).await;
    assert!(words.starts_with("no answer within 500ms; what came is an answer with the transaction id"), "{words}");
    let other_unit = |request: &Request| Request { unit: 99, ..request.clone() }.answer();
    assert_eq!(
        reason_of(other_unit).await,
        "no answer within 500ms; what came is an answer from unit 99 where unit 1 was asked"
    );
    assert_eq!(reason_of(|request| request.frame(&[4, 2, 0, 1])).await, "the answer is to another function");
    assert_eq!(reason_of(|request| request.frame(&[3, 0])).await, "0 bytes came where 2 were due");
    assert_eq!(reason_of(|request| request.frame(&[3, 4, 0, 1, 0, 2])).await, "4 bytes came where 2 were due");
    let words = reason_of(|request| request.frame(&[3, 2, 0])).await;
    assert_eq!(words, "the answer speaks of 2 bytes and holds 1");
    assert_eq!(reason_of(|request| request.frame(&[3, 3, 0, 1, 0])).await, "3 bytes came where 2 were due");
    let words = reason_of(|_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()).await;
    assert_eq!(words, "the answer makes no sense: it does not speak Modbus TCP");
}

#[tokio::test]
async fn an_exception_of_the_gateway_means_that_the_device_is_silent_and_keeps_the_connection() {
    let mut slave = Scripted::start(|request| match request.unit {
        9 => now(request.frame(&[0x83, 11])),
        _ => now(request.answer()),
    })
    .await;
    let mut driver = start(&slave.link("50ms", json!({ "tank": device(1), "gone": device(9) })));
    let (alive, reason) = driver.device("gone").await;
    let words =
        "the gateway got no answer from the device (exception 11): it is off, not wired, or has another unit id";
    assert_eq!((alive, reason.as_deref()), (false, Some(words)));
    for _ in 0..10 {
        driver.value("tank", "level").await;
    }
    assert_eq!(slave.connections(), 1);
    let mut asked = [0, 0];
    while let Ok(request) = slave.requests.try_recv() {
        asked[usize::from(request.unit == 9)] += 1;
    }
    assert!(asked[1] * 3 < asked[0], "the silent device is asked less often: {asked:?}");
    driver.stop().await;
}

#[tokio::test]
async fn a_link_without_a_counterpart_is_lost() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let driver = start(&json!({ "tcp": format!("127.0.0.1:{port}"), "devices": { "tank": device(1) } }));
    let error = timeout(PATIENCE, driver.task).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(&error, DriverError::Lost(_)), "{error:?}");
    assert!(error.to_string().starts_with(&format!("no connection to 127.0.0.1:{port}")), "{error}");
}

#[tokio::test]
async fn a_block_that_is_never_answered_does_not_make_its_device_silent_for_ever() {
    // Some devices say nothing at all about an address they do not have.
    let slave = Scripted::start(|request| match request.pdu[1..3] {
        [0, 100] => Reply::Silence,
        _ => now(request.frame(&[3, 2, 0, 42])),
    })
    .await;
    let points = json!({ "level": { "holding": 0 }, "wrong": { "holding": 100 } });
    let mut driver = start(&impatient(slave.link("50ms", json!({ "tank": { "unit": 1, "points": points } }))));
    assert_eq!(driver.device("tank").await, (true, None));
    // The first silence may be the device's; a probe for what it answers tells otherwise. After the
    // second it is known to be the block's.
    let wrong = driver.reading("tank", "wrong").await;
    assert_eq!((wrong.quality, wrong.reason.as_deref()), (Quality::Bad, Some("no answer to a read of 1 from 100")));
    // While the block is left alone, 4.5 s and then twice that, the device has its rhythm.
    for _ in 0..60 {
        let alive = driver
            .event(|event| match event {
                Event::Device { alive, .. } => Some(*alive),
                Event::Reading(reading) if reading.point.as_str() == "level" => Some(true),
                _ => None,
            })
            .await;
        assert!(alive);
    }
    driver.stop().await;
}

#[tokio::test]
async fn a_link_that_goes_away_takes_its_points_with_it() {
    let (slave, gone) = Scripted::start_with_switch().await;
    let mut idle = device(2);
    idle["every"] = json!("1h");
    let mut driver = start(&slave.link("50ms", json!({ "tank": device(1), "idle": idle })));
    driver.value("idle", "level").await;
    driver.value("tank", "level").await;
    slave.listening.abort();
    gone.store(true, Ordering::SeqCst);

    let (alive, reason) = driver
        .event(|event| match event {
            Event::Device { alive: false, reason, .. } => Some((false, reason.clone())),
            _ => None,
        })
        .await;
    assert!(!alive && reason.is_some_and(|reason| reason.starts_with("no connection to 127.0.0.1")));
    assert_eq!(driver.reading("tank", "level").await.quality, Quality::Bad);
    // Its turn is far away, but it went with the link.
    assert_eq!(driver.reading("idle", "level").await.quality, Quality::Bad);
    let error = timeout(PATIENCE, driver.task).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, DriverError::Lost(_)));
}

#[tokio::test]
async fn a_stop_waits_for_the_exchange_under_way_and_no_longer() {
    let mut slave = Scripted::start(|request| Reply::Bytes(request.answer(), Duration::from_millis(150))).await;
    let mut driver = slave.drive("10ms");
    slave.request().await;
    driver.stop.cancel();
    assert_eq!(driver.value("tank", "level").await, Value::Int(0));
    timeout(PATIENCE, driver.task).await.unwrap().unwrap().unwrap();
    assert!(slave.requests.try_recv().is_err(), "no request after the stop");
}

#[tokio::test]
async fn a_value_goes_stale_at_the_first_silence_and_bad_at_the_second() {
    let silent = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&silent);
    let slave = Scripted::start(
        move |request| {
            if seen.load(Ordering::SeqCst) { Reply::Silence } else { now(request.answer()) }
        },
    )
    .await;
    let mut link = impatient(slave.link("50ms", json!({ "tank": device(1) })));
    link["timeout"] = json!("100ms");
    let mut driver = start(&link);
    assert_eq!(driver.device("tank").await, (true, None));
    silent.store(true, Ordering::SeqCst);
    let mut last = driver.reading("tank", "level").await;
    let stale = loop {
        let next = driver.reading("tank", "level").await;
        if next.quality != Quality::Good {
            break next;
        }
        last = next;
    };
    assert_eq!(stale.quality, Quality::Stale);
    assert_eq!((&stale.value, stale.taken_at), (&last.value, last.taken_at), "the last value, and when it was taken");
    assert_eq!(stale.reason.as_deref(), Some("no answer within 100ms"));
    assert_eq!(driver.device("tank").await, (false, Some("no answer within 100ms".into())));
    let bad = driver.reading("tank", "level").await;
    assert_eq!((bad.quality, bad.value), (Quality::Bad, None));

    silent.store(false, Ordering::SeqCst);
    assert_eq!(driver.device("tank").await, (true, None));
    assert_eq!(driver.reading("tank", "level").await.quality, Quality::Good);
    driver.stop().await;
}

#[tokio::test]
async fn a_device_has_its_own_timeout_and_is_asked_again_as_often_as_it_says() {
    let mut slave =
        Scripted::start(|request| if request.number < 3 { Reply::Silence } else { now(request.answer()) }).await;
    let mut tank = device(1);
    tank["timeout"] = json!("100ms");
    tank["retries"] = json!(3);
    let mut driver = start(&slave.link("1h", json!({ "tank": tank })));
    assert_eq!(driver.value("tank", "level").await, Value::Int(3));
    for number in 0..=3 {
        assert_eq!(slave.request().await.number, number);
    }
    driver.stop().await;
}

#[tokio::test]
async fn a_slow_point_in_a_fast_block_is_told_at_its_own_rhythm() {
    let slave = Scripted::start(|request| now(request.answer())).await;
    let points = json!({ "fast": { "holding": 0 }, "slow": { "holding": 1, "every": "500ms" } });
    let mut driver = start(&slave.link("50ms", json!({ "tank": { "unit": 1, "points": points } })));
    driver.value("tank", "slow").await;
    let mut fast = 0;
    driver
        .event(|event| match event {
            Event::Reading(reading) if reading.point.as_str() == "slow" => Some(()),
            _ => None,
        })
        .await;
    let search = async {
        loop {
            match driver.events.recv().await.unwrap().event {
                Event::Reading(reading) if reading.point.as_str() == "slow" => return,
                Event::Reading(_) => fast += 1,
                Event::Device { .. } | Event::Renamed { .. } => {}
            }
        }
    };
    timeout(PATIENCE, search).await.unwrap();
    assert!((5..=10).contains(&fast), "{fast} readings of the fast point between two of the slow one");
    driver.stop().await;
}

#[tokio::test]
async fn a_connection_that_goes_dead_without_a_word_is_replaced() {
    // The first connection is left open and is never served again after its third request.
    let dead = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&dead);
    let slave = Scripted::start(move |request| match request.number {
        0..3 => now(request.answer()),
        _ if seen.fetch_add(1, Ordering::SeqCst) == 0 => Reply::Silence,
        _ => now(request.answer()),
    })
    .await;
    let mut driver = slave.drive_impatiently("50ms");
    for expected in [0, 1, 2, 4, 5] {
        assert_eq!(driver.value("tank", "level").await, Value::Int(expected));
    }
    assert_eq!(slave.connections(), 2);
    driver.stop().await;
}

#[tokio::test]
async fn a_device_that_hangs_up_on_every_request_is_not_connected_to_over_and_over() {
    let slave = Scripted::start(|_| Reply::Close(Vec::new())).await;
    let mut driver = slave.drive("10ms");
    let (alive, reason) = driver.device("tank").await;
    assert_eq!((alive, reason.as_deref()), (false, Some("the connection was closed")));
    sleep(Duration::from_secs(3)).await;
    // It is left alone for a second, then for two: three polls, asked twice each, and a connection ready.
    let connections = slave.connections();
    assert!(connections <= 12, "{connections} connections in three seconds");
    driver.stop().await;
}

#[tokio::test]
async fn a_device_that_hangs_up_after_every_answer_is_read_all_the_same() {
    let slave = Scripted::start(|request| Reply::Close(request.answer())).await;
    let mut driver = slave.drive("50ms");
    for expected in 0..10 {
        let reading = driver.reading("tank", "level").await;
        assert_eq!((reading.quality, reading.value), (Quality::Good, Some(Value::Int(expected))));
    }
    driver.stop().await;
}

#[tokio::test]
async fn every_request_is_counted_by_what_came_of_it() {
    let slave = Scripted::start(|request| match (request.unit, request.pdu[0]) {
        (1, _) => now(request.answer()),
        (2, _) => now(request.frame(&[0x83, 4])),
        (3, _) => Reply::Silence,
        _ => now(request.frame(&[3, 2, 0])),
    })
    .await;
    let devices = json!({ "a": device(1), "b": device(2), "c": device(3), "d": device(4) });
    let driver = start(&impatient(slave.link("50ms", devices)));
    let traffic = driver.end.traffic.clone();
    let wanted = [Outcome::Answered, Outcome::Silent, Outcome::Damaged];
    let all = async {
        while wanted.iter().any(|outcome| traffic.of(*outcome) < 2) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, all).await.expect("every outcome comes about");
    assert_eq!((traffic.of(Outcome::Unsent), traffic.of(Outcome::Untold)), (0, 0));
    driver.stop().await;
    let mut slave = slave;
    let mut asked = 0;
    while slave.requests.try_recv().is_ok() {
        asked += 1;
    }
    assert_eq!(traffic.requests(), asked);
}

#[tokio::test]
async fn behind_a_link_that_never_came_up_each_device_is_said_to_be_away_once() {
    let nobody = wharf_test_support::lab::free_port();
    let link = json!({ "tcp": format!("127.0.0.1:{nobody}"), "devices": { "tank": device(1), "well": device(2) } });
    let gone = common::driver(&link);
    let (events_in, mut events) = tokio::sync::mpsc::channel(64);
    let (mut port, _end) = wharf_contract::Port::new("bus".into(), events_in, Default::default());
    for told in [true, false] {
        assert!(wharf_contract::Driver::run(&gone, &mut port).await.is_err());
        let mut away = Vec::new();
        while let Ok(event) = events.try_recv() {
            match event.event {
                wharf_contract::Event::Device { device, alive: false, reason: Some(_) } => {
                    away.push(device.to_string())
                }
                wharf_contract::Event::Reading(reading) => assert_eq!(reading.quality, Quality::Bad),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(away, if told { vec!["tank", "well"] } else { vec![] });
    }
}
