//! How each device of a link is, in the words its driver has for it. Nothing is found out here: what
//! passes through the port is noted, for whoever asks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::{Event, Traffic, counts};
use crate::{DeviceId, PointId, Quality, Reading};

/// Of how many devices of one link a note is kept. No protocol here has as many; what is beyond is
/// only counted.
const MOST: usize = 16_384;

/// The devices of one link, shared by its port and the gateway.
#[derive(Clone, Debug, Default)]
pub struct Devices(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    /// In the order in which they were first spoken of.
    known: Vec<Device>,
    places: HashMap<DeviceId, usize>,
    /// What came of all of them and was not used, by reason.
    refused: Vec<(&'static str, u64)>,
    /// How often a device was spoken of that found no room.
    beyond: u64,
}

/// What a device was last said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Presence {
    /// It does not answer.
    Offline,
    /// It is asked, and nothing was said of it yet.
    Unheard,
    /// It answers.
    Online,
}

impl Presence {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Offline, Self::Unheard, Self::Online];

    /// As it stands in payloads: `online`, `offline`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Unheard => "unheard",
            Self::Online => "online",
        }
    }
}

/// What is known of one device.
#[derive(Clone, Debug)]
pub struct Device {
    /// Its name.
    pub name: DeviceId,
    /// What it was last said to be.
    pub presence: Presence,
    /// Since when.
    pub since: Instant,
    /// Why it does not answer, or what there is to know of one that does.
    pub reason: Option<Arc<str>>,
    /// The point that was last read in vain and has had no good value since, and why.
    pub trouble: Option<(PointId, Arc<str>)>,
    /// When its last good reading passed.
    pub last_good: Option<Instant>,
    /// What it was asked, as far as its driver counts that.
    pub traffic: Traffic,
    /// What came of it and was not used, by reason.
    pub refused: Vec<(&'static str, u64)>,
    /// When that was last for a reason in words, and the words.
    pub last_refused: Option<(Instant, Arc<str>)>,
}

impl Device {
    fn new(name: DeviceId) -> Self {
        Self {
            name,
            presence: Presence::Unheard,
            since: Instant::now(),
            reason: None,
            trouble: None,
            last_good: None,
            traffic: Traffic::default(),
            refused: Vec::new(),
            last_refused: None,
        }
    }

    /// What somebody should look at comes first: 0 is a device that does not answer, then one that
    /// answers with trouble, then one not heard yet, then all that is well.
    fn rank(&self) -> usize {
        match self.presence {
            Presence::Offline => 0,
            Presence::Online if self.reason.is_some() || self.trouble.is_some() => 1,
            Presence::Unheard => 2,
            Presence::Online => 3,
        }
    }

    fn heard(&mut self, reading: &Reading) {
        if reading.quality == Quality::Good {
            self.last_good = Some(Instant::now());
            self.trouble.take_if(|(point, _)| *point == reading.point);
        } else if let Some(reason) = &reading.reason {
            self.trouble = Some((reading.point.clone(), reason.clone()));
        }
    }

    fn told(&mut self, alive: bool, reason: Option<&str>) {
        let presence = if alive { Presence::Online } else { Presence::Offline };
        if self.presence != presence {
            (self.presence, self.since) = (presence, Instant::now());
            // What was told of its points was told of its silence, or of the time before it.
            self.trouble = None;
        }
        self.reason = reason.map(Arc::from);
    }
}

/// A look at the devices of a link.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// How many of them are so, in the order of [`Presence::ALL`].
    pub counts: [usize; Presence::ALL.len()],
    /// Some of them: those to look at first, then in the order in which they were first spoken of.
    pub devices: Vec<Device>,
    /// What came of all of them and was not used, by reason.
    pub refused: Vec<(&'static str, u64)>,
}

impl Devices {
    /// Notes a device that is going to be asked, and gives where its driver counts what it asks it.
    pub fn expect(&self, device: &DeviceId) -> Traffic {
        self.lock().find(device).map(|known| known.traffic.clone()).unwrap_or_default()
    }

    /// Notes what is said of a device. A reading alone makes none: a link may have something to tell in
    /// the name of what is no device, such as a question of a node that has no number yet.
    pub(super) fn note(&self, event: &Event) {
        let mut table = self.lock();
        match event {
            Event::Reading(reading) => {
                if let Some(device) = table.known(&reading.device) {
                    device.heard(reading);
                }
            }
            Event::Renamed { from, .. } => table.forget(from),
            Event::Device { device, alive, reason } => {
                if let Some(device) = table.find(device) {
                    device.told(*alive, reason.as_deref());
                }
            }
        }
    }

    /// Notes that something of a device came and was not used.
    pub(super) fn refused(&self, device: &DeviceId, reason: &'static str, words: Option<&str>) {
        let mut table = self.lock();
        counts::add(&mut table.refused, reason, 1);
        let Some(device) = table.find(device) else { return };
        counts::add(&mut device.refused, reason, 1);
        if let Some(words) = words {
            device.last_refused = Some((Instant::now(), Arc::from(words)));
        }
    }

    /// How they are: all of them counted, and the `most` to look at first.
    pub fn look(&self, most: usize) -> Sight {
        let table = self.lock();
        let mut counts = [0; Presence::ALL.len()];
        let mut order: Vec<(usize, usize)> = Vec::with_capacity(table.known.len());
        for (place, device) in table.known.iter().enumerate() {
            counts[device.presence as usize] += 1;
            order.push((device.rank(), place));
        }
        order.sort_unstable();
        let devices = order.iter().take(most).filter_map(|(_, place)| table.known.get(*place).cloned());
        Sight { counts, devices: devices.collect(), refused: table.refused.clone() }
    }

    /// How often a device was spoken of for which there was no room.
    pub fn beyond(&self) -> u64 {
        self.lock().beyond
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// The device, if something was said of it.
    fn known(&mut self, name: &DeviceId) -> Option<&mut Device> {
        self.known.get_mut(*self.places.get(name)?)
    }

    /// There is no device of this name any more. That is rare, so all places are counted anew.
    fn forget(&mut self, name: &DeviceId) {
        if self.places.remove(name).is_some() {
            self.known.retain(|device| device.name != *name);
            self.places = self.known.iter().enumerate().map(|(place, device)| (device.name.clone(), place)).collect();
        }
    }

    /// The device, known from now on; `None` if there is no room.
    fn find(&mut self, name: &DeviceId) -> Option<&mut Device> {
        let place = match self.places.get(name) {
            Some(place) => *place,
            None if self.known.len() >= MOST => {
                self.beyond += 1;
                return None;
            }
            None => {
                self.known.push(Device::new(name.clone()));
                self.places.insert(name.clone(), self.known.len() - 1);
                self.known.len() - 1
            }
        };
        self.known.get_mut(place)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::super::Outcome;
    use super::*;
    use crate::Value;

    fn told(devices: &Devices, device: &str, alive: bool, reason: Option<&str>) {
        devices.note(&Event::Device { device: device.into(), alive, reason: reason.map(str::to_owned) });
    }

    fn good(devices: &Devices, device: &str, point: &str) {
        let reading = Reading::good(device.into(), point.into(), Value::Int(1), SystemTime::UNIX_EPOCH);
        devices.note(&Event::Reading(reading));
    }

    fn bad(devices: &Devices, device: &str, point: &str) {
        let reading = Reading::bad(device.into(), point.into(), "refused", SystemTime::UNIX_EPOCH);
        devices.note(&Event::Reading(reading));
    }

    fn names(sight: &Sight) -> Vec<&str> {
        sight.devices.iter().map(|device| device.name.as_str()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_is_what_its_driver_last_said_since_when_it_began_to_say_so() {
        let devices = Devices::default();
        devices.expect(&"tank".into()).count(Outcome::Silent);
        let only = || devices.look(1).devices.remove(0);
        assert_eq!((only().presence, only().last_good), (Presence::Unheard, None));
        let at = Instant::now();
        told(&devices, "tank", true, None);
        good(&devices, "tank", "level");
        tokio::time::sleep(Duration::from_secs(5)).await;
        told(&devices, "tank", true, Some("slow"));
        assert_eq!((only().presence, only().since, only().last_good), (Presence::Online, at, Some(at)));
        assert_eq!((only().reason.as_deref(), only().traffic.of(Outcome::Silent)), (Some("slow"), 1));
        told(&devices, "tank", false, Some("no answer"));
        assert_eq!((only().presence, only().since), (Presence::Offline, at + Duration::from_secs(5)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_point_without_a_value_is_named_until_it_has_one() {
        let devices = Devices::default();
        let trouble = || devices.look(1).devices.remove(0).trouble.map(|(point, _)| point);
        told(&devices, "tank", true, None);
        bad(&devices, "tank", "level");
        good(&devices, "tank", "valve");
        assert_eq!(trouble(), Some("level".into()));
        good(&devices, "tank", "level");
        assert_eq!(trouble(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reading_alone_makes_no_device() {
        let devices = Devices::default();
        good(&devices, "garden-255", "internal-id-request");
        bad(&devices, "garden-0", "inclusion");
        assert_eq!(names(&devices.look(9)), Vec::<&str>::new());
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_that_is_called_otherwise_is_known_by_its_new_name_only() {
        let devices = Devices::default();
        for device in ["garden-7", "garden-8", "garden-9"] {
            told(&devices, device, true, None);
        }
        devices.note(&Event::Renamed { from: "garden-8".into(), to: "garden-roses".into() });
        told(&devices, "garden-roses", true, None);
        told(&devices, "garden-9", false, Some("the link is down"));
        good(&devices, "garden-8", "level");
        let all = devices.look(9);
        assert_eq!((names(&all), all.counts), (vec!["garden-9", "garden-7", "garden-roses"], [1, 0, 2]));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_used_is_counted_by_reason_and_the_last_one_is_told_in_words() {
        let devices = Devices::default();
        devices.refused(&"fridge".into(), "wrong_key", Some("the key does not open it"));
        devices.refused(&"fridge".into(), "unread", None);
        devices.refused(&"oven".into(), "unread", None);
        let sight = devices.look(2);
        assert_eq!(sight.refused, [("wrong_key", 1), ("unread", 2)]);
        let [fridge, oven] = &sight.devices[..] else { panic!("{sight:?}") };
        assert_eq!(fridge.refused, [("wrong_key", 1), ("unread", 1)]);
        let (at, words) = fridge.last_refused.as_ref().unwrap();
        assert_eq!((*at, &**words), (Instant::now(), "the key does not open it"));
        assert_eq!((oven.refused.as_slice(), oven.last_refused.is_none()), ([("unread", 1)].as_slice(), true));
    }

    #[tokio::test(start_paused = true)]
    async fn those_to_look_at_come_first_and_all_are_counted() {
        let devices = Devices::default();
        for device in ["a", "b", "c", "d", "e"] {
            devices.expect(&device.into());
        }
        for device in ["a", "b", "c"] {
            told(&devices, device, true, None);
        }
        bad(&devices, "b", "level");
        told(&devices, "e", false, Some("no answer"));
        let all = devices.look(9);
        assert_eq!((names(&all), all.counts), (vec!["e", "b", "d", "a", "c"], [1, 1, 3]));
        assert_eq!(names(&devices.look(2)), ["e", "b"]);
    }

    #[tokio::test(start_paused = true)]
    async fn more_devices_than_there_is_room_for_are_only_counted() {
        let devices = Devices::default();
        for number in 0..MOST + 3 {
            told(&devices, &number.to_string(), true, None);
        }
        assert_eq!((devices.look(1).counts, devices.beyond()), ([0, 0, MOST], 3));
    }
}
