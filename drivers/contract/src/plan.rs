//! What a driver means to do on its link: for people who set a site up, and for warnings before
//! it starts. It follows from the site file, and from what the driver has learnt and kept.

use std::time::Duration;

use crate::{DeviceId, PointId};

/// From this share of its time on, a link has too little room for what comes in between.
pub const NEARLY_FULL: f64 = 0.8;

/// All that a driver asks for on its link.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkPlan {
    /// Where the link is: `192.168.1.40:502`, `/dev/ttyUSB0`.
    pub place: String,
    /// What the figures rest on: `9600 baud`, `2 ms a request, assumed`.
    pub pace: String,
    /// Whether the figures follow from the link's settings; else they are assumed.
    pub is_certain: bool,
    /// What holds for the whole link, as the site file spells it: `timeout`, `1s`.
    pub settings: Vec<(&'static str, String)>,
    /// Each of its devices.
    pub devices: Vec<DevicePlan>,
    /// How to have it forget what it has learnt about its devices, if that is anything.
    pub forget: Option<String>,
}

/// All that is asked of one device.
#[derive(Clone, Debug, PartialEq)]
pub struct DevicePlan {
    /// The device.
    pub device: DeviceId,
    /// What holds for it, with every default filled in.
    pub settings: Vec<(&'static str, String)>,
    /// What is asked, by address.
    pub requests: Vec<RequestPlan>,
    /// What it was found to refuse and is therefore asked for alone or not at all: `holding 17 (level)`.
    pub refuses: Vec<String>,
}

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestPlan {
    /// What it asks for: `holding 100–105`.
    pub what: String,
    /// How often.
    pub every: Duration,
    /// How long it takes the link.
    pub takes: Duration,
    /// The points in it, and how often each of them is told.
    pub points: Vec<(PointId, Duration)>,
}

impl RequestPlan {
    /// The share of the link's time it takes: 1 is all of it.
    pub fn load(&self) -> f64 {
        self.takes.as_secs_f64() / self.every.as_secs_f64().max(1e-9)
    }
}

impl DevicePlan {
    /// The share of the link's time it takes: 1 is all of it.
    pub fn load(&self) -> f64 {
        self.requests.iter().map(RequestPlan::load).sum()
    }
}

impl LinkPlan {
    /// The share of the link's time that everything takes: beyond 1 it cannot be done.
    pub fn load(&self) -> f64 {
        self.devices.iter().map(DevicePlan::load).sum()
    }

    /// What to say of a link that has more to do than it can, or nearly so; `None` if there is room.
    pub fn warning(&self) -> Option<String> {
        let load = self.load();
        let limit = if self.is_certain { NEARLY_FULL } else { 1.0 };
        if load < limit {
            return None;
        }
        let about = if self.is_certain { "at least " } else { "about " };
        Some(format!("{} needs {about}{} of its time at {}", self.place, percent(load), self.pace))
    }

    /// What could be done about it: whose `every` to raise, and to what if one change is enough.
    pub fn advice(&self) -> Option<String> {
        let load = self.load();
        if load < NEARLY_FULL {
            return None;
        }
        let mut rhythms = self.rhythms();
        rhythms.sort_by(|a, b| b.load.total_cmp(&a.load));
        let first = rhythms.first()?;
        let room = NEARLY_FULL - (load - first.load);
        if room > 0.0 {
            let enough = first.every.mul_f64(first.load / room);
            return Some(format!(
                "raise `every` of {} from {} to {} or more",
                first.device,
                spell(first.every),
                spell(round_up(enough))
            ));
        }
        let mut heavy = Vec::new();
        let mut rest = load;
        for rhythm in &rhythms {
            heavy.push(format!("{} ({}: {})", rhythm.device, spell(rhythm.every), percent(rhythm.load)));
            rest -= rhythm.load;
            if rest < NEARLY_FULL / 2.0 || heavy.len() == 4 {
                break;
            }
        }
        Some(format!("raise `every` of {}", heavy.join(", ")))
    }

    /// What each device takes at each of its rhythms.
    fn rhythms(&self) -> Vec<Rhythm<'_>> {
        let mut found: Vec<Rhythm> = Vec::new();
        for device in &self.devices {
            for request in &device.requests {
                let same = |rhythm: &&mut Rhythm| rhythm.every == request.every && *rhythm.device == device.device;
                match found.iter_mut().find(same) {
                    Some(rhythm) => rhythm.load += request.load(),
                    None => {
                        found.push(Rhythm { device: &device.device, every: request.every, load: request.load() });
                    }
                }
            }
        }
        found
    }
}

struct Rhythm<'a> {
    device: &'a DeviceId,
    every: Duration,
    load: f64,
}

/// `137 %`, `4.2 %`
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent < 9.95 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

/// A time as the site file spells it: `10s`, `250ms`, `1.5s`, `90m`.
pub fn spell(time: Duration) -> String {
    let ms = time.as_millis();
    match ms {
        _ if !time.as_nanos().is_multiple_of(1_000_000) => format!("{:.1}ms", time.as_secs_f64() * 1000.0),
        _ if ms >= 3_600_000 && ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms >= 60_000 && ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms >= 1000 && ms.is_multiple_of(1000) => format!("{}s", ms / 1000),
        _ => format!("{ms}ms"),
    }
}

/// To the next time that people would write: whole seconds, or tenths of one below ten.
fn round_up(time: Duration) -> Duration {
    let step = if time > Duration::from_secs(10) { 1000 } else { 100 };
    let steps = time.as_micros().div_ceil(u128::from(step) * 1000);
    Duration::from_millis(u64::try_from(steps).unwrap_or(u64::MAX).saturating_mul(step))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(every_ms: u64, takes_ms: u64) -> RequestPlan {
        RequestPlan {
            what: "holding 0–9".into(),
            every: Duration::from_millis(every_ms),
            takes: Duration::from_millis(takes_ms),
            points: Vec::new(),
        }
    }

    fn plan(devices: &[(&str, &[(u64, u64)])]) -> LinkPlan {
        let device = |(name, requests): &(&str, &[(u64, u64)])| DevicePlan {
            device: (*name).into(),
            settings: Vec::new(),
            requests: requests.iter().map(|&(every, takes)| request(every, takes)).collect(),
            refuses: Vec::new(),
        };
        LinkPlan {
            place: "/dev/ttyUSB0".into(),
            pace: "9600 baud".into(),
            is_certain: true,
            settings: Vec::new(),
            devices: devices.iter().map(device).collect(),
            forget: None,
        }
    }

    #[test]
    fn a_bus_with_too_much_to_do_is_named_with_the_one_change_that_is_enough() {
        let bus = plan(&[("main", &[(1000, 600), (1000, 570)]), ("side", &[(1000, 200)])]);
        assert_eq!(bus.warning().as_deref(), Some("/dev/ttyUSB0 needs at least 137 % of its time at 9600 baud"));
        assert_eq!(bus.advice().as_deref(), Some("raise `every` of main from 1s to 2s or more"));
    }

    #[test]
    fn where_one_change_is_not_enough_the_heaviest_are_named() {
        let bus = plan(&[("a", &[(1000, 900)]), ("b", &[(500, 450)]), ("c", &[(1000, 10)])]);
        assert_eq!(bus.advice().as_deref(), Some("raise `every` of a (1s: 90 %), b (500ms: 90 %)"));
    }

    #[test]
    fn a_bus_with_room_is_not_spoken_of_and_a_guess_only_when_it_cannot_be_done() {
        let mut bus = plan(&[("main", &[(1000, 790)])]);
        assert_eq!((bus.warning(), bus.advice()), (None, None));
        bus.devices[0].requests.push(request(1000, 20));
        assert!(bus.warning().is_some());
        bus.is_certain = false;
        assert_eq!(bus.warning(), None);
    }

    #[test]
    fn times_are_spelt_as_in_the_site_file() {
        let times = [250, 1000, 1500, 60_000, 90_000, 7_200_000].map(|ms| spell(Duration::from_millis(ms)));
        assert_eq!(times, ["250ms", "1s", "1500ms", "1m", "90s", "2h"]);
        assert_eq!(spell(Duration::from_micros(41_667)), "41.7ms");
        assert_eq!([0.0423, 1.37].map(percent), ["4.2 %", "137 %"]);
    }
}
