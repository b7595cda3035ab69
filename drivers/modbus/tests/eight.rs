//! Eight devices on one link, one of them dead and one slow: what the other six notice of it.

#![expect(clippy::unwrap_used, reason = "everything here is a test")]

mod common;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use common::{PATIENCE, Running, start};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};
use wharf_contract::{Event, Quality};

/// How long an answer takes on this bus: of a device as it should be, and of the slow one.
const QUICK: Duration = Duration::from_millis(15);
const SLOW: Duration = Duration::from_millis(200);

/// A bus behind a gateway: one request at a time. Unit 7 is dead until it is revived, unit 8 slow.
struct Bus {
    port: u16,
    revived: Arc<AtomicBool>,
    slow_ms: Arc<AtomicU64>,
}

impl Bus {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let revived = Arc::new(AtomicBool::new(false));
        let slow_ms = Arc::new(AtomicU64::new(u64::try_from(SLOW.as_millis()).unwrap()));
        let bus = Self { port, revived: Arc::clone(&revived), slow_ms: Arc::clone(&slow_ms) };
        let wire = Arc::new(Mutex::new(()));
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let (revived, slow_ms, wire) = (Arc::clone(&revived), Arc::clone(&slow_ms), Arc::clone(&wire));
                tokio::spawn(async move {
                    let mut request = [0; 12];
                    while socket.read_exact(&mut request).await.is_ok() {
                        let _one_at_a_time = wire.lock().await;
                        let wait = match request[6] {
                            7 if !revived.load(Ordering::SeqCst) => continue,
                            8 => Duration::from_millis(slow_ms.load(Ordering::SeqCst)),
                            _ => QUICK,
                        };
                        sleep(wait).await;
                        let data = vec![0; usize::from(request[11]) * 2];
                        let head =
                            [request[0], request[1], 0, 0, 0, request[11] * 2 + 3, request[6], 3, request[11] * 2];
                        if socket.write_all(&[&head[..], &data].concat()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        bus
    }

    fn drive(&self) -> Running {
        let device =
            |unit: u8| (format!("unit-{unit}"), json!({ "unit": unit, "points": { "level": { "holding": 0 } } }));
        let devices: serde_json::Map<String, Json> = (1..=8).map(device).collect();
        let tcp = format!("127.0.0.1:{}", self.port);
        start(&json!({ "tcp": tcp, "every": "500ms", "timeout": "300ms", "retries": 1, "devices": devices }))
    }
}

/// When each device gave a good value, over a while.
async fn watch(driver: &mut Running, lasting: Duration) -> HashMap<String, Vec<SystemTime>> {
    let end = Instant::now() + lasting;
    let mut seen: HashMap<String, Vec<SystemTime>> = HashMap::new();
    while let Ok(event) = timeout_at(end, driver.events.recv()).await {
        if let Event::Reading(reading) = event.expect("the driver runs").event
            && reading.quality == Quality::Good
        {
            seen.entry(reading.device.as_str().to_owned()).or_default().push(reading.taken_at);
        }
    }
    seen
}

/// The mean interval in milliseconds.
fn interval(times: &[SystemTime]) -> u128 {
    let lasted = times[times.len() - 1].duration_since(times[0]).unwrap();
    lasted.as_millis() / (times.len() as u128 - 1)
}

#[tokio::test]
async fn one_dead_device_and_one_slow_one_leave_the_other_six_their_intervals() {
    let bus = Bus::start().await;
    let mut driver = bus.drive();
    assert!(!driver.device("unit-7").await.0, "the dead one is noticed");
    let seen = watch(&mut driver, Duration::from_secs(15)).await;
    for unit in 1..=6 {
        let mean = interval(&seen[&format!("unit-{unit}")]);
        assert!((450..=550).contains(&mean), "unit {unit} was read every {mean} ms");
    }
    // The slow one fits in as well.
    let mean = interval(&seen["unit-8"]);
    assert!((450..=550).contains(&mean), "the slow unit was read every {mean} ms");
    assert!(!seen.contains_key("unit-7"));

    // Its probes cost 300 ms and may take a tenth of the time: it is noticed within three seconds,
    // and a quarter more where the bus is busy.
    bus.revived.store(true, Ordering::SeqCst);
    let back = Instant::now();
    driver.value("unit-7", "level").await;
    assert!(back.elapsed() < PATIENCE, "it came back after {:?}", back.elapsed());
    let seen = watch(&mut driver, Duration::from_secs(5)).await;
    let mean = interval(&seen["unit-7"]);
    assert!((450..=550).contains(&mean), "after its return it was read every {mean} ms");
    driver.stop().await;
}

#[tokio::test]
async fn a_device_slower_than_the_rhythm_of_the_others_is_asked_less_often() {
    let bus = Bus::start().await;
    bus.revived.store(true, Ordering::SeqCst);
    // With one answer of 550 ms in each round the others could not have theirs every 500 ms.
    bus.slow_ms.store(550, Ordering::SeqCst);
    let tcp = format!("127.0.0.1:{}", bus.port);
    let device = |unit: u8| json!({ "unit": unit, "points": { "level": { "holding": 0 } } });
    let devices = json!({ "a": device(1), "b": device(2), "slow": device(8) });
    let mut driver = start(&json!({ "tcp": tcp, "every": "500ms", "timeout": "2s", "devices": devices }));
    driver.value("slow", "level").await;
    let seen = watch(&mut driver, Duration::from_secs(15)).await;
    for quick in ["a", "b"] {
        let mean = interval(&seen[quick]);
        assert!((450..=550).contains(&mean), "{quick} was read every {mean} ms");
    }
    let reads = seen["slow"].len();
    assert!((2..=4).contains(&reads), "the slow one has a tenth of the time: {reads} reads in 15 s");
    driver.stop().await;
}
