//! Who is there, by what devices say of themselves and by how long they have been silent. The clock is
//! an argument.

use std::collections::HashMap;
use std::time::Duration;

use crate::DeviceId;
use tokio::time::Instant;

/// The devices of one session: those of the site file from its beginning on, others once heard.
#[derive(Debug, Default)]
pub struct Presence {
    devices: HashMap<DeviceId, Seen>,
}

#[derive(Debug)]
struct Seen {
    last: Instant,
    quiet_after: Option<Duration>,
    /// What was told of it, once something was.
    alive: Option<bool>,
}

impl Presence {
    /// A device that should be heard from now on.
    pub fn expect(&mut self, device: DeviceId, quiet_after: Option<Duration>, now: Instant) {
        self.devices.insert(device, Seen { last: now, quiet_after, alive: None });
    }

    /// It was heard, or says of itself that it is there or not. Returns whether that is news.
    pub fn tell(&mut self, device: &DeviceId, alive: bool, quiet_after: Option<Duration>, now: Instant) -> bool {
        let seen = self.devices.entry(device.clone()).or_insert(Seen { last: now, quiet_after, alive: None });
        if alive {
            seen.last = now;
        }
        seen.alive.replace(alive) != Some(alive)
    }

    /// When the next one will have been silent for too long.
    pub fn until(&self) -> Option<Instant> {
        let waiting = self.devices.values().filter(|seen| seen.alive != Some(false));
        waiting.filter_map(|seen| Some(seen.last + seen.quiet_after?)).min()
    }

    /// Those that have been silent for too long by now, each told once, and for how long they may be.
    pub fn quiet(&mut self, now: Instant) -> Vec<(DeviceId, Duration)> {
        let mut quiet = Vec::new();
        for (device, seen) in &mut self.devices {
            if let Some(after) = seen.quiet_after
                && seen.alive != Some(false)
                && seen.last + after <= now
            {
                seen.alive = Some(false);
                quiet.push((device.clone(), after));
            }
        }
        quiet
    }

    /// Whether it was told to be gone.
    pub fn is_gone(&self, device: &DeviceId) -> bool {
        self.devices.get(device).is_some_and(|seen| seen.alive == Some(false))
    }

    /// Those that were told to be there, and were not taken back.
    pub fn alive(&self) -> impl Iterator<Item = &DeviceId> {
        self.devices.iter().filter(|(_, seen)| seen.alive == Some(true)).map(|(device, _)| device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_gone_when_it_says_so_or_has_been_silent_for_too_long() {
        let (mut presence, start) = (Presence::default(), Instant::now());
        let (plug, minute) = (DeviceId::from("plug"), Some(Duration::from_secs(60)));
        presence.expect(plug.clone(), minute, start);
        assert!(presence.tell(&plug, true, minute, start));
        assert!(!presence.tell(&plug, true, minute, start + Duration::from_secs(10)));
        assert_eq!(presence.until(), Some(start + Duration::from_secs(70)));
        assert!(presence.tell(&plug, false, minute, start + Duration::from_secs(20)), "it says so");
        assert!(presence.is_gone(&plug) && presence.until().is_none());
        assert!(presence.tell(&plug, true, minute, start + Duration::from_secs(30)));
        assert!(presence.quiet(start + Duration::from_secs(89)).is_empty());
        assert_eq!(presence.quiet(start + Duration::from_secs(90)), [(plug, Duration::from_secs(60))]);
        assert!(presence.quiet(start + Duration::from_secs(999)).is_empty(), "told once");
    }

    #[test]
    fn one_that_may_be_silent_is_never_missed() {
        let (mut presence, start) = (Presence::default(), Instant::now());
        presence.expect("door".into(), None, start);
        assert_eq!(presence.until(), None);
        assert!(presence.quiet(start + Duration::from_secs(1_000_000)).is_empty());
    }
}
