//! Commands and their answers.

use super::*;

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
async fn what_is_counted_of_commands_can_be_seen_beside_what_is_counted_of_lines() {
    let mut bench = Bench::up(serial()).await;
    let confirmed = bench.writes("valve", Value::Bool(true), true).await;
    assert_eq!(bench.sent().await, "2;3;1;1;2;1");
    bench.says("2;3;1;1;2;1").await;
    soon(confirmed.wait()).await.unwrap();
    let unanswered = bench.writes("valve", Value::Bool(false), true).await;
    assert!(soon(unanswered.wait()).await.is_err());
    let counted = bench.stopped().await;
    let expected = [("lines", 2), ("echoes", 1), ("sent", 3), ("confirmed", 1), ("repeated", 1), ("given_up", 1)];
    for (what, count) in expected {
        assert_eq!(counted.get(what), Some(&count), "{what} of {counted:?}");
    }
}
