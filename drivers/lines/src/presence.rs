//! Who was heard, and who has been silent for too long. The clock is an argument.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;
use wharf_contract::DeviceId;

/// The devices of one session: those of the site file from its beginning on, others once heard.
#[derive(Debug, Default)]
pub struct Presence {
    devices: HashMap<DeviceId, Seen>,
}

#[derive(Debug)]
struct Seen {
    last: Instant,
    quiet_after: Duration,
    /// What was said of it, once something was.
    alive: Option<bool>,
}

impl Presence {
    /// A device that should be heard from now on.
    pub fn expect(&mut self, device: DeviceId, quiet_after: Duration, now: Instant) {
        self.devices.insert(device, Seen { last: now, quiet_after, alive: None });
    }

    /// It was heard. Says whether that is news.
    pub fn heard(&mut self, device: &DeviceId, quiet_after: Duration, now: Instant) -> bool {
        match self.devices.get_mut(device) {
            Some(seen) => {
                seen.last = now;
                seen.alive.replace(true) != Some(true)
            }
            None => {
                self.devices.insert(device.clone(), Seen { last: now, quiet_after, alive: Some(true) });
                true
            }
        }
    }

    /// When the next one will have been silent for too long.
    pub fn until(&self) -> Option<Instant> {
        let waiting = self.devices.values().filter(|seen| seen.alive != Some(false));
        waiting.map(|seen| seen.last + seen.quiet_after).min()
    }

    /// Those that have been silent for too long by now, each told once, and for how long they may be.
    pub fn quiet(&mut self, now: Instant) -> Vec<(DeviceId, Duration)> {
        let mut quiet = Vec::new();
        for (device, seen) in &mut self.devices {
            if seen.alive != Some(false) && seen.last + seen.quiet_after <= now {
                seen.alive = Some(false);
                quiet.push((device.clone(), seen.quiet_after));
            }
        }
        quiet
    }

    /// Whether it was said to be gone.
    pub fn is_gone(&self, device: &DeviceId) -> bool {
        self.devices.get(device).is_some_and(|seen| seen.alive == Some(false))
    }

    /// Those that were said to be alive, and were not taken back.
    pub fn alive(&self) -> impl Iterator<Item = &DeviceId> {
        self.devices.iter().filter(|(_, seen)| seen.alive == Some(true)).map(|(device, _)| device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_told_once_and_so_is_the_return() {
        let (mut presence, start) = (Presence::default(), Instant::now());
        let (scale, patience) = (DeviceId::from("scale"), Duration::from_secs(30));
        presence.expect(scale.clone(), patience, start);
        assert!(presence.heard(&scale, patience, start));
        assert!(!presence.heard(&scale, patience, start + Duration::from_secs(10)));
        assert_eq!(presence.until(), Some(start + Duration::from_secs(40)));
        assert!(presence.quiet(start + Duration::from_secs(39)).is_empty());
        assert_eq!(presence.quiet(start + Duration::from_secs(40)), [(scale.clone(), patience)]);
        assert!(presence.quiet(start + Duration::from_secs(99)).is_empty());
        assert_eq!((presence.until(), presence.alive().count()), (None, 0));
        assert!(presence.heard(&scale, patience, start + Duration::from_secs(100)));
    }

    #[test]
    fn one_that_was_never_heard_is_missed_too() {
        let (mut presence, start) = (Presence::default(), Instant::now());
        presence.expect("scale".into(), Duration::from_secs(30), start);
        assert_eq!(presence.quiet(start + Duration::from_secs(30)).len(), 1);
    }
}
