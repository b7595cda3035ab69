//! How well a device is heard: told seldom, and rounded, because it never stands still.

use std::time::Duration;

use tokio::time::Instant;

/// By how many dB it has to change to be told before its time.
const MUCH: f64 = 6.0;

/// The least time between two of them.
const SELDOM: Duration = Duration::from_secs(60);

/// Of how many advertisements about the average is taken.
const AVERAGED: f64 = 8.0;

/// The strength of one device's signal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Signal {
    average: Option<f64>,
    told: Option<(f64, Instant)>,
}

impl Signal {
    /// It was heard with so many dBm. Returns the strength, rounded to whole dBm, if it is to be told.
    pub fn heard(&mut self, rssi: i16, heartbeat: Duration, now: Instant) -> Option<i64> {
        let rssi = f64::from(rssi);
        let average = self.average.map_or(rssi, |average| average + (rssi - average) / AVERAGED);
        self.average = Some(average);
        if let Some((told, at)) = self.told {
            let much = (average - told).abs() >= MUCH && now >= at + SELDOM;
            if !much && now < at + heartbeat {
                return None;
            }
        }
        self.told = Some((average, now));
        // It is within the bounds of an i16.
        Some(average.round() as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEARTBEAT: Duration = Duration::from_secs(600);

    #[test]
    fn it_is_told_at_first_when_it_changes_for_good_and_at_every_heartbeat() {
        let (mut signal, start) = (Signal::default(), Instant::now());
        let told: Vec<(u64, i64)> = (0..=1_000)
            .filter_map(|secs| {
                let rssi = if secs < 200 { -60 - i16::try_from(secs % 3).unwrap() } else { -80 };
                Some((secs, signal.heard(rssi, HEARTBEAT, start + Duration::from_secs(secs))?))
            })
            .collect();
        assert_eq!(told[0], (0, -60));
        assert!(told[1].0 > 200 && told[1].0 < 210, "{told:?}");
        assert!(told.len() < 6, "{told:?}");
        assert_eq!(told.last().unwrap().1, -80);
    }

    #[test]
    fn one_echo_is_not_told() {
        let (mut signal, start) = (Signal::default(), Instant::now());
        signal.heard(-60, HEARTBEAT, start);
        assert_eq!(signal.heard(-90, HEARTBEAT, start + Duration::from_secs(70)), None);
    }
}
