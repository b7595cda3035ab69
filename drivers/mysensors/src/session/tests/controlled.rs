//! A network whose controller is here.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

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

#[tokio::test(start_paused = true)]
async fn a_sleeper_that_asks_for_a_value_gets_the_new_one_that_waits_and_not_the_old_one_too() {
    let mut outbox = Outbox::new(outbox::Rules { echo_timeout: Duration::from_secs(2), retries: 1 });
    outbox.tell(2, true);
    let mut bench = Bench::over(link(serial(), Rules::of(Role::Local), outbox)).await;
    for line in ["0;255;3;0;2;2.3.2", "2;255;0;0;17;2.3.2", "2;4;0;0;14;Heater", "2;4;1;0;0;19"] {
        bench.says(line).await;
    }
    bench.reading().await;
    bench.says("2;4;2;0;0;").await;
    assert_eq!(bench.sent().await, "2;4;1;0;0;19");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let answer = bench.writes("target", Value::Float(21.5), false).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.says("2;4;2;0;0;").await;
    assert_eq!(bench.sent().await, "2;4;1;0;0;21.5");
    soon(answer.wait()).await.unwrap();
    bench.says("2;255;3;0;6;0").await;
    assert_eq!(bench.sent().await, "2;255;3;0;6;M", "nothing came between");
    bench.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn while_the_disk_does_not_tell_what_was_known_values_are_passed_on_and_nobody_gets_a_number() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("garden.nodes");
    std::fs::create_dir(&file).unwrap();
    let mut link =
        link(serial(), Rules::of(Role::Local), Outbox::new(outbox::Rules { echo_timeout: SECOND, retries: 1 }));
    link.store = link.store.in_file(file);
    assert!(!link.store.recall(&"garden".into()).await);
    let mut bench = Bench::over(link).await;
    bench.says("2;255;0;0;17;2.3.2").await;
    bench.says("255;255;3;0;3;").await;
    bench.says("2;255;3;0;6;0").await;
    assert_eq!(bench.sent().await, "2;255;3;0;6;M", "and nothing before it");
    bench.says("2;1;1;0;0;21.5").await;
    while bench.reading().await.verbatim.as_deref() != Some("21.5") {}
    let health = bench.end.health.borrow().clone();
    let Health::Degraded(why) = &health else { panic!("{health:?}") };
    assert!(why.contains("garden.nodes") && why.contains("new nodes get no numbers"), "{why}");
    bench.stopped().await;
}
