//! Everything that is heard, whether or not it is a device of the site: for people who look for their
//! sensors. The table is bounded, because strangers pass by without end and many change their address
//! every quarter of an hour.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value as Json, json};
use tokio::time::Instant;
use wharf_contract::DeviceId;

use crate::advert::{Address, Advert, Datum, Outcome};
use crate::device::pulse::Pulse;

/// How many senders are remembered.
pub const MOST: usize = 1_000;

/// How many values of one sender, and how many bytes of one piece of its data.
const MOST_VALUES: usize = 24;
const MOST_BYTES: usize = 48;

/// How long the list may become, in bytes of JSON, for it is handed over as one line.
const LONGEST: usize = 900_000;

/// Everything that was heard of late.
#[derive(Debug)]
pub struct Heard {
    entries: HashMap<Address, Entry>,
    most: usize,
    adverts: u64,
    evicted: u64,
}

/// What was heard of one sender.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its address.
    pub address: Address,
    /// The device it is, if it is one of the site.
    pub device: Option<DeviceId>,
    /// Its name on the air.
    pub name: Option<String>,
    /// How strong it was heard last, in dBm.
    pub rssi: Option<i16>,
    /// The format that was read.
    pub format: Option<&'static str>,
    /// The model, if it tells.
    pub model: Option<String>,
    /// Its last values, one of each point.
    pub values: Vec<Datum>,
    /// Why the last advertisement could not be read.
    pub why_not: Option<String>,
    /// How many advertisements.
    pub count: u64,
    /// When the last was heard, by the gateway's clock.
    pub at: SystemTime,
    last: Instant,
    pulse: Pulse,
    data: Vec<(String, String)>,
}

impl Default for Heard {
    fn default() -> Self {
        Self::new(MOST)
    }
}

impl Heard {
    /// A table with room for so many senders.
    pub fn new(most: usize) -> Self {
        Self { entries: HashMap::new(), most, adverts: 0, evicted: 0 }
    }

    /// Notes what was heard, and what was made of it.
    pub fn note(
        &mut self,
        advert: &Advert,
        outcome: &Outcome,
        device: Option<&DeviceId>,
        at: SystemTime,
        now: Instant,
    ) {
        self.adverts += 1;
        if !self.entries.contains_key(&advert.address) && self.entries.len() >= self.most {
            self.evict();
        }
        let entry = self.entries.entry(advert.address).or_insert_with(|| Entry::new(advert.address, at, now));
        entry.note(advert, outcome, device, at, now);
    }

    /// The model that a sender said it is.
    pub fn model(&self, address: Address) -> Option<&str> {
        self.entries.get(&address)?.model.as_deref()
    }

    /// All of them: those that can be read first, then the strongest.
    pub fn list(&self) -> Vec<&Entry> {
        let mut entries: Vec<&Entry> = self.entries.values().collect();
        let rank = |entry: &&Entry| (entry.format.is_none(), Reverse(entry.rssi.unwrap_or(i16::MIN)), entry.address);
        entries.sort_by_key(rank);
        entries
    }

    /// All of them as JSON, with how many adverts were heard, how many senders were forgotten, and how
    /// many of those that are known found no room in the list.
    pub fn to_json(&self) -> Json {
        let (mut senders, mut length, mut left_off) = (Vec::new(), 0, 0_u64);
        for entry in self.list() {
            let entry = entry.to_json();
            length += entry.to_string().len() + 1;
            if length > LONGEST {
                left_off += 1;
            } else {
                senders.push(entry);
            }
        }
        json!({ "adverts": self.adverts, "forgotten": self.evicted, "left_off": left_off, "heard": senders })
    }

    /// How many senders are known.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing was heard.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Makes room: strangers that no format reads go first, among them the one that was silent for
    /// longest, and the weaker of two. Devices of the site go last.
    fn evict(&mut self) {
        let worth = |entry: &&Entry| (entry.device.is_some(), entry.format.is_some(), entry.last, entry.rssi);
        let least = self.entries.values().min_by_key(worth).map(|entry| entry.address);
        if let Some(address) = least {
            self.entries.remove(&address);
            self.evicted += 1;
        }
    }
}

impl Entry {
    fn new(address: Address, at: SystemTime, now: Instant) -> Self {
        Self {
            address,
            device: None,
            name: None,
            rssi: None,
            format: None,
            model: None,
            values: Vec::new(),
            why_not: None,
            count: 0,
            at,
            last: now,
            pulse: Pulse::new(None),
            data: Vec::new(),
        }
    }

    fn note(&mut self, advert: &Advert, outcome: &Outcome, device: Option<&DeviceId>, at: SystemTime, now: Instant) {
        self.count += 1;
        self.pulse.heard(now);
        (self.at, self.last) = (at, now);
        self.device = device.cloned();
        // A name that comes seldom is not taken away by an advertisement without one.
        if let Some(name) = &advert.name {
            self.name = Some(name.chars().take(MOST_BYTES).collect());
        }
        self.rssi = advert.rssi.or(self.rssi);
        match outcome {
            Outcome::Heard(frame) => {
                self.why_not = None;
                self.format = Some(frame.format);
                self.model = frame.model.as_ref().map(ToString::to_string).or(self.model.take());
                frame.values.iter().for_each(|datum| self.value(datum));
            }
            Outcome::Refused(refusal) => self.why_not = Some(refusal.to_string()),
            Outcome::NotMine => self.why_not = Some("no format reads it".to_owned()),
        }
        if self.why_not.is_some() {
            self.data = data_of(advert);
        }
    }

    fn value(&mut self, datum: &Datum) {
        if let Some(known) = self.values.iter_mut().find(|known| known.point == datum.point) {
            *known = datum.clone();
        } else if self.values.len() < MOST_VALUES {
            self.values.push(datum.clone());
        }
    }

    /// How often it is usually heard.
    pub fn interval(&self) -> Option<Duration> {
        self.pulse.interval()
    }

    /// The entry as JSON. `at` is in milliseconds since 1970, `interval_s` in seconds, `rssi` in dBm.
    pub fn to_json(&self) -> Json {
        let at = self.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let mut json = Map::new();
        let mut put = |key: &str, value: Json| {
            if !value.is_null() {
                json.insert(key.to_owned(), value);
            }
        };
        put("address", json!(self.address.to_string()));
        put("device", json!(self.device.as_ref().map(DeviceId::as_str)));
        put("name", json!(self.name));
        put("rssi", json!(self.rssi));
        put("format", json!(self.format));
        put("model", json!(self.model));
        put("values", values_to_json(&self.values));
        put("why_not", json!(self.why_not));
        if self.why_not.is_some() {
            put("data", self.data.iter().map(|(key, hex)| (key.clone(), json!(hex))).collect::<Map<_, _>>().into());
        }
        put("count", json!(self.count));
        put("interval_s", json!(self.interval().map(|interval| interval.as_secs())));
        put("at", json!(u64::try_from(at).unwrap_or(u64::MAX)));
        json.into()
    }
}

/// Values by the names of their points: `{"temperature":{"value":4.5,"unit":"°C"}}`, or the reason why
/// there is none.
pub fn values_to_json(values: &[Datum]) -> Json {
    let value = |datum: &Datum| {
        let mut json = match &datum.value {
            Ok(value) => json!({ "value": value.to_json() }),
            Err(absent) => json!({ "reason": absent.to_string() }),
        };
        if !datum.unit.is_empty() {
            json["unit"] = json!(datum.unit);
        }
        (datum.point.to_string(), json)
    };
    values.iter().map(value).collect::<Map<_, _>>().into()
}

fn data_of(advert: &Advert) -> Vec<(String, String)> {
    let hex = |bytes: &[u8]| bytes.iter().take(MOST_BYTES).map(|byte| format!("{byte:02x}")).collect::<String>();
    let services = advert.service_data.iter().map(|(uuid, data)| (format!("service {uuid}"), hex(data)));
    let companies = advert.manufacturer_data.iter().map(|(id, data)| (format!("company {id:04x}"), hex(data)));
    services.chain(companies).take(MOST_VALUES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advert::quantity::{HUMIDITY, TEMPERATURE};
    use crate::advert::{Frame, Refusal};

    fn advert(n: u64, rssi: i16) -> Advert {
        let [_, _, bytes @ ..] = n.to_be_bytes();
        Advert { rssi: Some(rssi), ..Advert::new(Address(bytes)) }
    }

    fn frame(values: Vec<Datum>) -> Outcome {
        Outcome::Heard(Frame { format: "BTHome v2", values, ..Frame::default() })
    }

    #[test]
    fn ten_thousand_strangers_leave_the_table_small_and_the_sensors_in_it() {
        let (mut heard, start) = (Heard::default(), Instant::now());
        heard.note(&advert(0, -90), &frame(vec![TEMPERATURE.of(4.0)]), None, UNIX_EPOCH, start);
        for n in 1..=10_000 {
            let now = start + Duration::from_secs(n);
            heard.note(&advert(n, -50), &Outcome::NotMine, None, UNIX_EPOCH, now);
        }
        assert_eq!(heard.len(), MOST);
        let first = heard.list()[0];
        assert_eq!((first.address, first.format), (advert(0, 0).address, Some("BTHome v2")));
        let json = heard.to_json();
        assert_eq!((&json["adverts"], &json["forgotten"]), (&json!(10_001), &json!(9_001)));
    }

    #[test]
    fn of_two_that_fell_silent_together_the_weaker_is_forgotten() {
        let (mut heard, now) = (Heard::new(2), Instant::now());
        for (n, rssi) in [(1, -50), (2, -90), (3, -70)] {
            heard.note(&advert(n, rssi), &Outcome::NotMine, None, UNIX_EPOCH, now);
        }
        let left: Vec<Option<i16>> = heard.list().iter().map(|entry| entry.rssi).collect();
        assert_eq!(left, [Some(-50), Some(-70)]);
    }

    #[test]
    fn values_that_come_one_at_a_time_are_shown_together() {
        let (mut heard, now) = (Heard::default(), Instant::now());
        for value in [TEMPERATURE.of(4.0), HUMIDITY.of(50.0), TEMPERATURE.of(4.5)] {
            heard.note(&advert(1, -50), &frame(vec![value]), None, UNIX_EPOCH, now);
        }
        let json = heard.to_json();
        assert_eq!(
            json["heard"][0]["values"],
            json!({ "temperature": { "value": 4.5, "unit": "°C" }, "humidity": { "value": 50, "unit": "%" } })
        );
    }

    #[test]
    fn what_cannot_be_read_is_shown_with_the_reason_and_the_bytes() {
        let (mut heard, now) = (Heard::default(), Instant::now());
        let mut locked = advert(1, -50);
        locked.manufacturer_data.insert(0x0499, vec![1, 2]);
        locked.name = Some("ATC_1".into());
        heard.note(&locked, &Outcome::Refused(Refusal::NoKey), None, UNIX_EPOCH, now);
        heard.note(&Advert { name: None, ..locked }, &Outcome::Refused(Refusal::NoKey), None, UNIX_EPOCH, now);
        let entry = &heard.to_json()["heard"][0];
        assert_eq!(entry["data"], json!({ "company 0499": "0102" }));
        assert_eq!(entry["name"], "ATC_1");
        assert!(entry["why_not"].as_str().unwrap().starts_with("encrypted"));
    }

    #[test]
    fn a_list_too_long_for_one_answer_says_how_many_were_left_off() {
        let (mut heard, now) = (Heard::default(), Instant::now());
        for n in 0..MOST as u64 {
            let mut wordy = advert(n, -50);
            for company in 0..20 {
                wordy.manufacturer_data.insert(company, vec![0; 48]);
            }
            heard.note(&wordy, &Outcome::NotMine, None, UNIX_EPOCH, now);
        }
        let json = heard.to_json();
        assert!(json["left_off"].as_u64().unwrap() > 0);
        assert!(json.to_string().len() < 1 << 20);
    }
}
