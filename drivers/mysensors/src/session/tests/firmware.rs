//! Firmware between commands and readings.

use super::*;
use crate::firmware::Offer;
use crate::firmware::image::{Image, Name, USUAL_ROOM};

const REPORT: &str = "5;255;4;0;0;01000200B00626E80300";

/// A session whose node 5 is to get an image of 64 blocks.
async fn with_image() -> Bench {
    let outbox = Outbox::new(outbox::Rules { echo_timeout: Duration::from_secs(2), retries: 1 });
    let link = link(serial(), Rules::of(Role::None), outbox);
    let image = Image::new(Name { kind: 1, version: 3 }, vec![7; 1024], USUAL_ROOM, None).unwrap();
    link.firmware.firmware().give(5, Offer { image, may_change_type: false, may_repeat: false }).unwrap();
    let mut bench = Bench::over(link).await;
    bench.says("0;255;3;0;2;2.3.2").await;
    soon(bench.end.health.wait_for(|health| *health == Health::Online)).await.unwrap();
    bench
}

fn asked_for(block: u16) -> String {
    format!("5;255;4;0;2;01000300{:02x}00", block)
}

#[tokio::test(start_paused = true)]
async fn a_node_is_asked_to_restart_after_it_was_heard_and_served_without_a_word_upstream() {
    let mut bench = with_image().await;
    bench.says("5;1;1;0;0;21.5").await;
    assert_eq!(bench.sent().await, "5;255;3;0;13;");
    bench.says(REPORT).await;
    assert!(bench.sent().await.starts_with("5;255;4;0;1;010003004000"));
    for block in (0..64).rev() {
        bench.says(&asked_for(block)).await;
        assert_eq!(bench.sent().await, format!("5;255;4;0;3;01000300{block:02x}00{}", "07".repeat(16)));
    }
    let mut told = Vec::new();
    while told.last().is_none_or(|(_, value)| *value != Value::Text("sent".into())) {
        let reading = bench.reading().await;
        told.push((reading.point.to_string(), reading.value.unwrap()));
    }
    assert!(
        told.iter().all(|(point, _)| ["1-temp", "firmware", "firmware-progress"].contains(&point.as_str())),
        "{told:?}"
    );
    assert!(told.contains(&("firmware-progress".into(), Value::Int(50))), "{told:?}");
    bench.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn commands_go_before_a_block_that_waits() {
    let mut bench = with_image().await;
    bench.says(REPORT).await;
    bench.sent().await;
    for block in (0..64).rev() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        // Nothing here yields, so the session finds all of it at once.
        bench.says(&asked_for(block)).await;
        let mut answers = Vec::new();
        for _ in 0..8 {
            answers.push(bench.writes("valve", Value::Bool(true), false).await);
        }
        for _ in 0..8 {
            assert_eq!(bench.sent().await, "2;3;1;0;2;1", "block {block}");
        }
        assert!(bench.sent().await.starts_with("5;255;4;0;3;"));
        for answer in answers {
            soon(answer.wait()).await.unwrap();
        }
    }
    bench.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn what_nobody_here_gives_out_goes_upstream_as_before() {
    let mut bench = Bench::up(serial()).await;
    bench.says(REPORT).await;
    let reading = bench.reading().await;
    assert_eq!(reading.point.as_str(), "stream-firmware-config-request");
    bench.says("5;1;1;0;0;21.5").await;
    assert_eq!(bench.reading().await.point.as_str(), "1-temp");
    bench.stopped().await;
}
