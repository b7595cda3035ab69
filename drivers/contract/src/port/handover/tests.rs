use std::pin::pin;

use tokio::time::{Instant, sleep};

use super::*;
use crate::{Reading, Value};

/// A port's side with room for so many events, and the gateway's.
fn pair(room: usize) -> (Handover, mpsc::Receiver<LinkEvent>) {
    let (events, received) = mpsc::channel(room);
    (Handover::new("bus".into(), events), received)
}

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(second)
}

/// A reading taken in that second, with the second as its value.
fn reading(second: u64) -> Event {
    Event::Reading(Reading::good("tank".into(), "level".into(), Value::Int(second as i64), at(second)))
}

fn device(name: &str, alive: bool) -> Event {
    Event::Device { device: name.into(), alive, reason: None }
}

/// Everything that waits now: readings by their second, devices by name and state.
fn waiting(received: &mut mpsc::Receiver<LinkEvent>) -> Vec<String> {
    let events = std::iter::from_fn(|| received.try_recv().ok());
    let words = events.map(|LinkEvent { event, .. }| match event {
        Event::Reading(reading) => reading.value.map_or_else(String::new, |value| value.to_string()),
        Event::Device { device, alive, .. } => format!("{device} {alive}"),
        Event::Renamed { from, to } => format!("{from} is {to}"),
    });
    words.collect()
}

#[tokio::test(start_paused = true)]
async fn a_burst_waits_for_room_and_loses_nothing() {
    let (port, mut received) = pair(10);
    let gateway = tokio::spawn(async move {
        let mut taken = 0;
        while received.recv().await.is_some() {
            taken += 1;
            sleep(PATIENCE / 2).await;
        }
        taken
    });
    for second in 0..100 {
        port.emit(reading(second)).await;
    }
    assert_eq!(port.overruns().take(), None);
    drop(port);
    assert_eq!(gateway.await.unwrap(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_stall_costs_one_short_wait_and_every_reading_that_found_no_room_is_counted() {
    let (port, mut received) = pair(4);
    let began = Instant::now();
    for second in 0..1000 {
        port.emit(reading(second)).await;
    }
    assert!(began.elapsed() <= PATIENCE * 2, "1000 readings took {:?}", began.elapsed());
    let overruns = port.overruns();
    assert_eq!(overruns.take(), Some(Overrun { count: 996, from: at(4), to: at(999) }));
    assert_eq!(overruns.take(), None);

    assert_eq!(waiting(&mut received), ["0", "1", "2", "3"]);
    port.emit(reading(1000)).await;
    assert_eq!(waiting(&mut received), ["1000"]);
    assert_eq!((overruns.take(), overruns.total()), (None, 996));
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_takes_one_event_now_and_then_does_not_cost_a_wait_each_time() {
    let (port, mut received) = pair(8);
    let began = Instant::now();
    for second in 0..1000 {
        port.emit(reading(second)).await;
        if second % 10 == 9 {
            received.try_recv().unwrap();
        }
    }
    assert!(began.elapsed() <= PATIENCE * 2, "1000 readings took {:?}", began.elapsed());
    // Each place that became free was used nevertheless.
    assert_eq!(port.overruns().total(), 1000 - 8 - 99);
}

#[tokio::test(start_paused = true)]
async fn after_a_stall_that_is_over_a_burst_is_waited_for_again() {
    let (port, mut received) = pair(4);
    for second in 0..6 {
        port.emit(reading(second)).await;
    }
    assert_eq!(port.overruns().total(), 2);
    assert_eq!(waiting(&mut received).len(), 4);
    for second in 10..14 {
        port.emit(reading(second)).await;
    }
    let mut last = pin!(port.emit(reading(14)));
    assert!(timeout(PATIENCE / 2, &mut last).await.is_err(), "there was no room, and yet it did not wait");
    received.recv().await.unwrap();
    last.await;
    assert_eq!(waiting(&mut received), ["11", "12", "13", "14"]);
    assert_eq!(port.overruns().total(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_newest_word_on_each_device_survives_a_stall_and_comes_before_later_readings() {
    let (port, mut received) = pair(2);
    for second in 0..5 {
        port.emit(reading(second)).await;
    }
    port.emit(device("tank", false)).await;
    port.emit(device("meter", false)).await;
    port.emit(device("tank", true)).await;
    assert_eq!(waiting(&mut received), ["0", "1"]);
    port.emit(device("meter", true)).await;
    port.emit(reading(9)).await;
    // There was room for two: the devices, in the order they were first told of. The reading found
    // none and was dropped, as the gateway has not been seen to go on.
    assert_eq!(waiting(&mut received), ["tank true", "meter true"]);
    assert_eq!(port.overruns().total(), 3 + 1);
}

#[tokio::test(start_paused = true)]
async fn late_news_reaches_the_gateway_although_the_driver_says_nothing_more() {
    let (port, mut received) = pair(1);
    let late = port.late_news();
    let gateway = async {
        sleep(Duration::from_secs(3600)).await;
        [received.recv().await, received.recv().await, received.recv().await].map(|event| event.unwrap().event)
    };
    port.emit(reading(1)).await;
    port.emit(device("tank", false)).await;
    port.emit(device("meter", false)).await;
    let told = tokio::select! {
        told = gateway => told,
        never = late.deliver() => match never {},
    };
    assert_eq!(told, [reading(1), device("tank", false), device("meter", false)]);
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_aside_is_bounded_and_what_does_not_fit_is_counted() {
    let (port, _received) = pair(1);
    port.emit(reading(0)).await;
    for number in 0..DEVICES_KEPT + 5 {
        port.emit(device(&format!("d{number}"), false)).await;
    }
    assert_eq!(port.overruns().total(), 5);
}

#[tokio::test]
async fn a_reading_for_a_gateway_that_is_gone_is_counted() {
    let (port, received) = pair(4);
    drop(received);
    port.emit(reading(7)).await;
    assert_eq!(port.overruns().take(), Some(Overrun { count: 1, from: at(7), to: at(7) }));
}
