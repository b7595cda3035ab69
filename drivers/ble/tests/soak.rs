//! Two hundred advertisements a second from five hundred devices.
//!
//! Ignored, because the mock itself takes most of a processor. For longer than a minute:
//! `WHARF_SOAK_SECONDS=7200 cargo test -p wharf-ble --test soak -- --ignored --nocapture`
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // everything here is a test

#[allow(dead_code)] // each test binary uses a part
mod lab;

use std::time::{Duration, Instant};

use lab::{Bluez, Listening, brisk, resident, with_bluez};
use wharf_ble::radio::{RadioSettings, RadioState, Timeouts};

const DEVICES: u64 = 500;

#[test]
#[ignore = "takes a minute and a processor"]
fn nothing_is_lost_and_nothing_grows() {
    with_bluez(&[], async |mut bluez| {
        let seconds = std::env::var("WHARF_SOAK_SECONDS").map_or(60, |text| text.parse().unwrap());
        let timeouts = Timeouts { silence: Duration::from_secs(30), ..brisk().timeouts };
        let mut listening = Listening::start(RadioSettings { timeouts, ..brisk() });
        listening.is(RadioState::is_listening).await;
        for n in 0..DEVICES {
            bluez.tell(&format!(
                r#"{{"set":"s{n}","address":"C1:00:00:00:{:02X}:{:02X}","interval":2.5,"ad":[[1,"06"],[22,"d2fc4000{{n:02x}}02c409"]]}}"#,
                n / 256,
                n % 256,
            ));
        }
        let mut taken = 0;
        let mut take = async |listening: &mut Listening, long: Duration| {
            let end = tokio::time::Instant::now() + long;
            while let Ok(heard) = tokio::time::timeout_at(end, listening.heard.recv()).await {
                taken += u64::from(!heard.unwrap().advert.service_data.is_empty());
            }
            taken
        };
        take(&mut listening, Duration::from_secs(10)).await;
        let (memory, processor, begin) = (resident(), processor(), Instant::now());
        take(&mut listening, Duration::from_secs(seconds)).await;
        let (grown, used) = (resident().saturating_sub(memory), processor_since(processor));
        let long = begin.elapsed();
        for n in 0..DEVICES {
            bluez.tell(&format!(r#"{{"off":"s{n}"}}"#));
        }
        let taken = take(&mut listening, Duration::from_secs(3)).await;
        let sent = sent(&mut bluez);
        let counters = listening.radio.counters();
        println!(
            "{sent} sent, {taken} taken in {long:.0?}; {:.1} % of a processor; {grown} kB more of {memory} kB; {counters:?}",
            used.as_secs_f64() / long.as_secs_f64() * 100.0,
        );
        assert_eq!((counters.dropped, counters.connections), (0, 1));
        assert_eq!(taken, sent);
        assert!(grown < 8_000, "{grown} kB more");
        listening.radio.stop().await;
    });
}

fn sent(bluez: &mut Bluez) -> u64 {
    let statistics = bluez.tell(r#"{"stats":1}"#);
    let sent = statistics["sent"].as_object().unwrap().iter();
    sent.filter(|(name, _)| name.starts_with("s") && *name != "same").map(|(_, count)| count.as_u64().unwrap()).sum()
}

/// What this process has used of a processor so far, in hundredths of a second.
fn processor() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    after_name.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

fn processor_since(before: u64) -> Duration {
    Duration::from_millis((processor() - before) * 10)
}
