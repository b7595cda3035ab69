//! From what BlueZ has gathered to what was on the air.
//!
//! What the daemon tells of a device is a map of data by company, and another by service. While a scan
//! with duplicates runs it replaces them with every report. Otherwise (an advertisement monitor alone,
//! another program's scan without duplicates) it adds: a sensor that sends two kinds of frames in turn
//! then shows both, the older of them again and again. What is passed on from here is only what the
//! last report can have carried:
//!
//! - an entry has gone: the map was replaced, and all of it is new;
//! - some entries have changed: these are new, and nothing can be said of the others;
//! - nothing has changed: the map was replaced by the same, since what is added is only told when
//!   it changes something (`src/device.c`, `add_manufacturer_data`, and `src/shared/ad.c`); all of it is new;
//! - nothing was known before: new if there is one entry, else there is no telling, and none is passed on.
//!
//! Repetitions come out as what they are, one advertisement each.
//!
//! The table is bounded: who has been silent longest is forgotten first.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::advert::{Address, Advert, Uuid};

use super::gather::Report;

/// How many devices are remembered. A thousand phones go by in a day, each with a hundred addresses.
pub(super) const DEVICES: usize = 2048;

/// How many entries a map may have. An advertisement has room for a few; who has more is not read.
const ENTRIES: usize = 16;

/// How long a device without a name waits to be asked for one again, at first and at most.
const NAME: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));

/// What is remembered of the devices heard.
#[derive(Debug)]
pub(super) struct Fresh {
    devices: HashMap<Address, Device>,
    most: usize,
    forgotten: u64,
}

#[derive(Debug)]
struct Device {
    name: Option<String>,
    services: Vec<Uuid>,
    manufacturer: Option<HashMap<u16, Vec<u8>>>,
    service: Option<HashMap<Uuid, Vec<u8>>>,
    seen: Instant,
    /// When an advertisement of it was passed on.
    told: Option<Instant>,
    /// When to ask for its name, and how long to wait after that.
    ask: (Instant, Duration),
}

/// An advertisement, and whether data had to be left out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub advert: Advert,
    pub ambiguous: bool,
}

impl Fresh {
    /// Remembers up to so many devices.
    pub(super) fn new(most: usize) -> Self {
        Self { devices: HashMap::new(), most: most.max(1), forgotten: 0 }
    }

    /// How many are remembered.
    pub(super) fn len(&self) -> usize {
        self.devices.len()
    }

    /// How many were forgotten to make room.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// A device the daemon has just heard for the first time: all it has is from this advertisement.
    pub(super) fn discovered(&mut self, address: Address, name: Option<String>, report: Report, now: Instant) -> Told {
        let device = self.device(address, now);
        device.manufacturer = None;
        device.service = None;
        device.named(name);
        device.ask.0 = now + device.ask.1;
        let mut told = device.tell(address, &report, now);
        told.advert.manufacturer_data = bounded(report.manufacturer.unwrap_or_default());
        told.advert.service_data = bounded(report.service.unwrap_or_default());
        told.ambiguous = false;
        told
    }

    /// A signal about a device.
    pub(super) fn signal(&mut self, address: Address, report: &Report, now: Instant) -> Told {
        self.device(address, now).tell(address, report, now)
    }

    /// A device was heard at `found`, and it may be that nothing was told of it because nothing has
    /// changed: the repetition, unless something has been told of it since a little before.
    ///
    /// There is one thing it can have carried, or there is no telling.
    pub(super) fn repetition(
        &mut self,
        address: Address,
        found: Instant,
        before: Duration,
        now: Instant,
    ) -> Option<Told> {
        let device = self.devices.get_mut(&address)?;
        if device.told.is_some_and(|told| told + before >= found) {
            return None;
        }
        let entries =
            device.manufacturer.as_ref().map_or(0, HashMap::len) + device.service.as_ref().map_or(0, HashMap::len);
        let mut told = device.tell(address, &Report::default(), now);
        if entries == 1 {
            told.advert.manufacturer_data = bounded(device.manufacturer.clone().unwrap_or_default());
            told.advert.service_data = bounded(device.service.clone().unwrap_or_default());
        }
        told.ambiguous = entries > 1;
        Some(told)
    }

    /// Whether a device's name is not known and it is time to ask for it. Asking too often would be a
    /// call for each advertisement of all that have none.
    pub(super) fn wants_name(&mut self, address: Address, now: Instant) -> bool {
        let device = self.device(address, now);
        if device.name.is_some() || now < device.ask.0 {
            return false;
        }
        let (_, wait) = device.ask;
        device.ask = (now + wait, (wait * 2).min(NAME.1));
        true
    }

    /// What was answered.
    pub(super) fn named(&mut self, address: Address, name: Option<String>, services: Vec<Uuid>, now: Instant) {
        let device = self.device(address, now);
        device.named(name);
        if device.services.is_empty() {
            device.services = few(services);
        }
    }

    /// Forgets the data of all devices: what a new connection tells has another past.
    pub(super) fn begin_anew(&mut self) {
        for device in self.devices.values_mut() {
            device.manufacturer = None;
            device.service = None;
        }
    }

    fn device(&mut self, address: Address, now: Instant) -> &mut Device {
        if !self.devices.contains_key(&address) && self.devices.len() >= self.most {
            let silent = self.devices.iter().min_by_key(|(_, device)| device.seen).map(|(address, _)| *address);
            if let Some(silent) = silent {
                self.devices.remove(&silent);
                self.forgotten += 1;
            }
        }
        let device = self.devices.entry(address).or_insert_with(|| Device {
            name: None,
            services: Vec::new(),
            manufacturer: None,
            service: None,
            seen: now,
            told: None,
            ask: (now, NAME.0),
        });
        device.seen = now;
        device
    }
}

impl Device {
    fn named(&mut self, name: Option<String>) {
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            self.name = Some(name.chars().take(248).collect());
        }
    }

    fn tell(&mut self, address: Address, report: &Report, now: Instant) -> Told {
        self.seen = now;
        self.told = Some(now);
        if let Some(services) = &report.services {
            self.services = few(services.clone());
        }
        let (manufacturer_data, first) = newest(&mut self.manufacturer, report.manufacturer.as_ref());
        let (service_data, second) = newest(&mut self.service, report.service.as_ref());
        let advert = Advert {
            address,
            name: self.name.clone(),
            rssi: report.rssi,
            services: self.services.clone(),
            service_data,
            manufacturer_data,
        };
        Told { advert, ambiguous: first || second }
    }
}

/// The entries of a map that the last report can have carried, and whether there is no telling.
fn newest<K>(
    before: &mut Option<HashMap<K, Vec<u8>>>,
    map: Option<&HashMap<K, Vec<u8>>>,
) -> (BTreeMap<K, Vec<u8>>, bool)
where
    K: Copy + Ord + std::hash::Hash,
{
    let Some(map) = map else { return (BTreeMap::new(), false) };
    if map.len() > ENTRIES {
        *before = None;
        return (BTreeMap::new(), true);
    }
    let before = before.replace(map.clone());
    let all = || map.clone().into_iter().collect();
    let Some(before) = before else {
        return if map.len() <= 1 { (all(), false) } else { (BTreeMap::new(), true) };
    };
    let was_replaced = before.keys().any(|key| !map.contains_key(key));
    let changed: BTreeMap<K, Vec<u8>> = map
        .iter()
        .filter(|(key, data)| before.get(key) != Some(data))
        .map(|(key, data)| (*key, data.clone()))
        .collect();
    if was_replaced || changed.is_empty() { (all(), false) } else { (changed, false) }
}

fn bounded<K: Ord>(map: HashMap<K, Vec<u8>>) -> BTreeMap<K, Vec<u8>> {
    if map.len() > ENTRIES { BTreeMap::new() } else { map.into_iter().collect() }
}

fn few(mut services: Vec<Uuid>) -> Vec<Uuid> {
    services.truncate(ENTRIES * 2);
    services
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENSOR: Address = Address([0xc0, 0, 0, 0, 0, 1]);

    fn signal(entries: &[(u16, &[u8])]) -> Report {
        let manufacturer = entries.iter().map(|(id, data)| (*id, data.to_vec())).collect();
        Report { rssi: Some(-60), manufacturer: Some(manufacturer), ..Report::default() }
    }

    /// What comes out of a run of signals, by company.
    fn tell(signals: &[&[(u16, &[u8])]]) -> Vec<Vec<u16>> {
        let mut fresh = Fresh::new(8);
        let now = Instant::now();
        signals
            .iter()
            .map(|entries| {
                let told = fresh.signal(SENSOR, &signal(entries), now);
                told.advert.manufacturer_data.into_keys().collect()
            })
            .collect()
    }

    #[test]
    fn what_was_added_to_is_told_without_what_was_there() {
        let told = tell(&[&[(1, b"a")], &[(1, b"a"), (2, b"x")], &[(1, b"b"), (2, b"x")], &[(1, b"b"), (2, b"y")]]);
        assert_eq!(told, [vec![1], vec![2], vec![1], vec![2]]);
    }

    #[test]
    fn what_replaces_is_told_whole() {
        let told = tell(&[&[(1, b"a")], &[(2, b"x"), (3, b"z")], &[(1, b"a")], &[(2, b"x")]]);
        assert_eq!(told, [vec![1], vec![2, 3], vec![1], vec![2]]);
    }

    #[test]
    fn a_repetition_is_told_again_and_whole() {
        assert_eq!(tell(&[&[(1, b"a")], &[(1, b"a")], &[(1, b"a")]]), [vec![1], vec![1], vec![1]]);
        let both: &[(u16, &[u8])] = &[(1, b"a"), (2, b"x")];
        assert_eq!(tell(&[both, both, both]), [vec![], vec![1, 2], vec![1, 2]], "the first may be of two");
    }

    #[test]
    fn what_a_new_device_has_is_all_of_its_first_advertisement() {
        let mut fresh = Fresh::new(8);
        let now = Instant::now();
        let first = signal(&[(1, b"a"), (2, b"x")]);
        let told = fresh.discovered(SENSOR, Some("tag".to_owned()), first, now);
        assert_eq!(told.advert.manufacturer_data.len(), 2);
        let told = fresh.signal(SENSOR, &signal(&[(1, b"b"), (2, b"x")]), now);
        assert_eq!(told.advert.manufacturer_data, BTreeMap::from([(1, b"b".to_vec())]));
        assert_eq!(told.advert.name(), "tag", "the name is remembered");
    }

    #[test]
    fn strength_alone_is_an_advertisement_without_data() {
        let mut fresh = Fresh::new(8);
        let now = Instant::now();
        fresh.signal(SENSOR, &signal(&[(1, b"a")]), now);
        let told = fresh.signal(SENSOR, &Report { rssi: Some(-70), ..Report::default() }, now);
        assert_eq!((told.advert.rssi, told.advert.manufacturer_data.len()), (Some(-70), 0));
        assert!(!told.ambiguous);
    }

    #[test]
    fn what_was_heard_without_a_signal_is_the_one_thing_that_was_known() {
        let begin = Instant::now();
        let at = |milliseconds| begin + Duration::from_millis(milliseconds);
        let before = Duration::from_millis(100);
        let mut fresh = Fresh::new(8);
        assert_eq!(fresh.repetition(SENSOR, at(0), before, at(0)), None, "of whom nothing is known");
        fresh.signal(SENSOR, &signal(&[(1, b"a")]), at(1000));
        for found in [950, 1050] {
            assert_eq!(fresh.repetition(SENSOR, at(found), before, at(1200)), None, "it was told of by a signal");
        }
        let told = fresh.repetition(SENSOR, at(2000), before, at(2100)).unwrap();
        assert_eq!((told.advert.company(1), told.advert.rssi, told.ambiguous), (Some(&b"a"[..]), None, false));
        fresh.signal(SENSOR, &signal(&[(1, b"a"), (2, b"x")]), at(3000));
        let told = fresh.repetition(SENSOR, at(4000), before, at(4100)).unwrap();
        assert!(told.ambiguous && told.advert.manufacturer_data.is_empty());
    }

    #[test]
    fn a_map_with_more_entries_than_an_advertisement_can_have_is_not_read() {
        let mut fresh = Fresh::new(8);
        let now = Instant::now();
        let many: HashMap<u16, Vec<u8>> = (0..17).map(|id| (id, vec![1])).collect();
        let report = Report { manufacturer: Some(many), ..Report::default() };
        for _ in 0..2 {
            let told = fresh.signal(SENSOR, &report, now);
            assert!(told.ambiguous && told.advert.manufacturer_data.is_empty());
        }
    }

    #[test]
    fn who_has_been_silent_longest_is_forgotten_first() {
        let mut fresh = Fresh::new(2);
        let begin = Instant::now();
        let address = |last| Address([0, 0, 0, 0, 0, last]);
        for (last, second) in [(1, 0), (2, 1), (1, 2), (3, 3)] {
            fresh.signal(address(last), &signal(&[(1, b"a")]), begin + Duration::from_secs(second));
        }
        assert_eq!((fresh.len(), fresh.forgotten()), (2, 1));
        assert!(fresh.devices.contains_key(&address(1)) && fresh.devices.contains_key(&address(3)));
    }

    #[test]
    fn a_name_is_asked_for_less_and_less_often_and_not_once_it_is_known() {
        let mut fresh = Fresh::new(2);
        let begin = Instant::now();
        let asked: Vec<u64> =
            (0..100).filter(|second| fresh.wants_name(SENSOR, begin + Duration::from_secs(*second))).collect();
        assert_eq!(asked, [0, 10, 30, 70]);
        fresh.named(SENSOR, Some("tag".to_owned()), vec![], begin);
        assert!(!fresh.wants_name(SENSOR, begin + Duration::from_secs(10_000)));
    }
}
