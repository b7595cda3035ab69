//! One device: from what was made of its advertisements to readings, and to whether it is there.
//!
//! Pure but for what it remembers: clocks come in as arguments, and what is to be told goes out into
//! a list of events.
//!
//! - `point`: which values are news. `signal`: the strength of the signal.
//! - `pulse`: how often the device speaks, and when its silence means that it is gone.

pub mod point;
pub mod pulse;
mod signal;

use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use wharf_contract::plan::spell;
use wharf_contract::{DeviceId, Event, Labels, PointInfo, Reading, Value};

use crate::advert::{Absent, Address, Advert, Datum, IMPLAUSIBLE, Kind, Refusal, quantity};
use crate::config::{AdoptSettings, DeviceSettings, USUAL_HEARTBEAT};
use crate::known::Verdict;
use point::{News, Plan, Point};
use pulse::Pulse;
use signal::Signal;

/// The most points of one device. None has a tenth as many; what a damaged or hostile sender makes up
/// beyond that is counted.
const MOST_POINTS: usize = 128;

/// How long one is waited for that was never heard, before that is said.
const NEVER_HEARD: Duration = Duration::from_secs(300);

/// The words that the readings' topics may use: the address in small letters without colons, and
/// what kind of point it is.
pub const LABELS: [&str; 2] = ["address", "kind"];

/// A device and what was told of it.
#[derive(Debug)]
pub struct Device {
    /// Its name.
    pub name: DeviceId,
    /// Its address.
    pub address: Address,
    heartbeat: Duration,
    every: Option<Duration>,
    plans: HashMap<String, Plan>,
    points: HashMap<String, Point>,
    pulse: Pulse,
    on_event_only: bool,
    signal: Signal,
    labels: [Labels; 3],
    presence: Presence,
    /// Whether it is connected to, and that tells whether it is there: a connected device is not heard.
    is_connected_to: bool,
    /// Whether something was read of it since it was last told to be there.
    is_read: bool,
    /// Whether it was known before the gateway was started.
    is_recalled: bool,
    /// Why nothing could be read since the last time that something could.
    trouble: Option<Trouble>,
    /// Since when it could have been heard.
    listening: Option<Instant>,
}

/// What was heard of a device and is not used, or not all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unused {
    /// The reason's name. There are a dozen.
    pub reason: &'static str,
    /// The reason in words, where there is more to say.
    pub words: Option<String>,
}

impl Unused {
    fn of(refusal: &Refusal) -> Self {
        Self { reason: refusal.name(), words: Some(refusal.to_string()) }
    }

    /// If this value cannot be.
    fn of_value(datum: &Datum) -> Option<Self> {
        let Err(absent @ Absent::Implausible(_)) = &datum.value else { return None };
        Some(Self { reason: IMPLAUSIBLE, words: Some(format!("{}: {absent}", datum.point)) })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Presence {
    /// Nothing was said yet.
    Unsaid,
    There,
    /// For this reason.
    Gone(Option<Discriminant<Refusal>>),
}

#[derive(Clone, Debug)]
struct Trouble {
    kind: Option<Discriminant<Refusal>>,
    words: String,
    times: u32,
}

impl Device {
    /// A device of the site file.
    pub fn listed(name: DeviceId, settings: &DeviceSettings) -> Self {
        let every = settings.every.map(Into::into);
        let heard = settings.points.iter().filter(|(_, point)| point.characteristic.is_none());
        let plans = heard.map(|(name, point)| (name, Plan::new(name.as_str(), point, every)));
        Self {
            heartbeat: settings.heartbeat.get(),
            every,
            plans: plans.map(|(name, plan)| (name.to_string(), plan)).collect(),
            pulse: Pulse::new(settings.quiet_after.map(Into::into)),
            is_connected_to: settings.is_connected_to(),
            ..Self::new(name, settings.mac.0)
        }
    }

    /// A device that was adopted.
    pub fn adopted(name: DeviceId, address: Address, settings: &AdoptSettings) -> Self {
        Self {
            heartbeat: settings.heartbeat.get(),
            every: settings.every.map(Into::into),
            pulse: Pulse::new(settings.quiet_after.map(Into::into)),
            ..Self::new(name, address)
        }
    }

    fn new(name: DeviceId, address: Address) -> Self {
        let digits: String = address.0.iter().map(|byte| format!("{byte:02x}")).collect();
        let labels = ["measurement", "diagnostic", "event"]
            .map(|kind| Labels::new([("address", digits.clone()), ("kind", kind.to_owned())]));
        Self {
            name,
            address,
            heartbeat: USUAL_HEARTBEAT,
            every: None,
            plans: HashMap::new(),
            points: HashMap::new(),
            pulse: Pulse::new(None),
            on_event_only: false,
            signal: Signal::default(),
            labels,
            presence: Presence::Unsaid,
            is_connected_to: false,
            is_read: false,
            is_recalled: false,
            trouble: None,
            listening: None,
        }
    }

    /// Something of it was heard. What is to be told of that is added to `events`. Returns what of it is
    /// not used, if anything.
    pub fn hear(
        &mut self,
        advert: &Advert,
        heard: &Word,
        at: SystemTime,
        now: Instant,
        events: &mut Vec<Event>,
    ) -> Option<Unused> {
        self.listening.get_or_insert(now);
        let mut unused = None;
        match heard {
            Word::Said(Verdict::New(frame)) => {
                self.on_event_only = frame.on_event_only;
                if frame.values.is_empty() {
                    self.gives_a_sign(now, events);
                } else {
                    self.is_there(now, events);
                }
                for datum in &frame.values {
                    let left = self.value(datum.clone(), frame.sequence.is_some(), at, now, events);
                    unused = unused.or(left).or_else(|| Unused::of_value(datum));
                }
            }
            Word::Said(Verdict::Repeat) => self.is_there(now, events),
            Word::Said(Verdict::Lesser) => self.gives_a_sign(now, events),
            Word::Bytes(values) => {
                self.is_there(now, events);
                for datum in values {
                    let left = self.value(datum.clone(), false, at, now, events);
                    unused = unused.or(left);
                }
            }
            Word::Said(Verdict::Unsure) => unused = Some(Unused::of(&Refusal::WrongKey)),
            Word::Said(Verdict::Refused(refusal)) => {
                unused = Some(Unused::of(refusal));
                self.not_read(Some(discriminant(refusal)), &refusal.to_string(), events);
            }
            Word::Said(Verdict::NotMine) => {
                unused = Some(Unused { reason: "unread", words: None });
                self.not_read(None, "it is heard, and no format reads what it sends", events);
            }
        }
        if let Some(rssi) = advert.rssi
            && let Some(rssi) = self.signal.heard(rssi, self.heartbeat, now)
        {
            self.value(quantity::RSSI.whole(rssi), false, at, now, events);
        }
        unused
    }

    /// Tells what had to wait until now, and that the device is gone if it has been silent for too
    /// long. To be called about once a second while the radio listens.
    pub fn tick(&mut self, now: Instant, events: &mut Vec<Event>) {
        let due: Vec<(String, News)> =
            self.points.iter_mut().filter_map(|(name, point)| Some((name.clone(), point.due(now)?))).collect();
        for (name, news) in due {
            self.tell(&name, news, events);
        }
        let since = *self.listening.get_or_insert(now);
        let is_over = match self.pulse.last() {
            None => self.presence == Presence::Unsaid && now.saturating_duration_since(since) >= NEVER_HEARD,
            Some(_) => self.is_alive_or_unsaid() && self.is_missed(now),
        };
        if is_over {
            let (kind, reason) = match self.trouble.take() {
                Some(trouble) => (trouble.kind, trouble.words),
                None => (None, self.silence()),
            };
            self.gone(kind, reason, events);
        }
    }

    /// The radio hears nothing any more, so nothing is known of the device.
    pub fn deaf(&mut self, reason: &str, events: &mut Vec<Event>) {
        if self.presence == Presence::There {
            self.gone(None, reason.to_owned(), events);
        }
    }

    /// The radio hears again: the silence until now was not the device's.
    pub fn excuse(&mut self, now: Instant, events: &mut Vec<Event>) {
        self.pulse.excuse(now);
        self.listening = Some(now);
        if !matches!(self.presence, Presence::Gone(None) | Presence::Unsaid) {
            return;
        }
        // It is told anew whether it is there, by its next word or by its silence, and what cannot be
        // read of it. Of one whose silence says nothing it may be long until that word.
        self.presence = Presence::Unsaid;
        self.trouble = None;
        if self.on_event_only && (self.pulse.last().is_some() || self.is_recalled) {
            self.presence = Presence::There;
            self.say(true, None, events);
        }
    }

    /// Whether it speaks only when something happens, so that its silence means nothing.
    pub fn is_on_event_only(&self) -> bool {
        self.on_event_only
    }

    /// As was learnt of it before.
    pub fn speaks_on_event_only(&mut self) {
        self.on_event_only = true;
        self.is_recalled = true;
    }

    /// Whether it has said nothing that could be used for so long that it must have been away. The
    /// silence of one that speaks only when something happens says nothing.
    pub fn is_missed(&self, now: Instant) -> bool {
        !self.on_event_only && self.pulse.is_quiet(now)
    }

    /// How often it is usually heard.
    pub fn interval(&self) -> Option<Duration> {
        self.pulse.interval()
    }

    /// Whether it was last told to be there.
    pub fn is_alive(&self) -> bool {
        self.presence == Presence::There
    }

    /// The last good value of a point that was told.
    pub fn last(&self, point: &str) -> Option<&Value> {
        self.points.values().find(|known| known.plan.name.as_str() == point)?.last()
    }

    /// The points that are known before it was heard: those of the site file, and its signal.
    pub fn catalogue(&self) -> Vec<PointInfo> {
        let known = |name: &str| quantity::ALL.iter().find(|quantity| quantity.name == name);
        let mut names: Vec<&str> = self.plans.keys().map(String::as_str).collect();
        names.extend(Some(quantity::RSSI.name).filter(|rssi| !self.plans.contains_key(*rssi)));
        names.sort_unstable();
        let plan = |name| self.plans.get(name).cloned().unwrap_or_else(|| Plan::plain(name, None));
        let info = |name| {
            let (plan, quantity) = (plan(name), known(name));
            let kind = quantity.map(|quantity| quantity.kind).unwrap_or_default();
            PointInfo {
                device: self.name.clone(),
                unit: plan.unit(quantity.map_or("", |quantity| quantity.unit)),
                point: plan.name,
                labels: self.labels(kind).clone(),
                write: None,
            }
        };
        names.into_iter().filter(|name| !plan(name).is_dropped()).map(info).collect()
    }

    fn is_alive_or_unsaid(&self) -> bool {
        matches!(self.presence, Presence::There | Presence::Unsaid)
    }

    fn silence(&self) -> String {
        if self.pulse.last().is_none() {
            return "not heard since the gateway began to listen".to_owned();
        }
        let patience = spell(whole_secs(self.pulse.patience()));
        match self.pulse.interval() {
            Some(usual) => format!("not heard for {patience}; usually it is every {}", spell(whole_secs(usual))),
            None => format!("not heard for {patience}"),
        }
    }

    /// It was heard, and nothing that was said is a reading. That is no news of one that cannot be read:
    /// it would be called well, with a wrong key and without a single value.
    fn gives_a_sign(&mut self, now: Instant, events: &mut Vec<Event>) {
        let lacks_key = self.trouble.as_ref().is_some_and(|trouble| is_of_keys(trouble.kind));
        if !lacks_key && !matches!(self.presence, Presence::Gone(Some(_))) {
            self.appears(now, events);
        }
    }

    /// It was heard, and could be read.
    fn is_there(&mut self, now: Instant, events: &mut Vec<Event>) {
        self.trouble = None;
        self.appears(now, events);
        self.is_read = true;
    }

    fn appears(&mut self, now: Instant, events: &mut Vec<Event>) {
        self.pulse.heard(now);
        if self.presence != Presence::There {
            self.presence = Presence::There;
            self.say(true, None, events);
        }
    }

    /// It spoke, and what it said cannot be used. As long as it is read now and then nothing is said
    /// of that: many sensors send things of several kinds. Else the reason is told, once.
    fn not_read(&mut self, kind: Option<Discriminant<Refusal>>, words: &str, events: &mut Vec<Event>) {
        let times = self.trouble.as_ref().filter(|trouble| trouble.kind == kind).map_or(0, |trouble| trouble.times);
        let times = times.saturating_add(1);
        self.trouble = Some(Trouble { kind, words: words.to_owned(), times });
        // One that is damaged on the way is no news. What has to do with keys is, at once: a wrong one
        // was tried twice before it is called so.
        let certain = is_of_keys(kind);
        let told = match &self.presence {
            Presence::There => self.is_read || !certain,
            Presence::Gone(Some(before)) => kind.is_none() || kind == Some(*before),
            Presence::Gone(None) | Presence::Unsaid => false,
        };
        if !told && (certain || times == 2) {
            self.gone(kind, words.to_owned(), events);
        }
    }

    fn gone(&mut self, kind: Option<Discriminant<Refusal>>, reason: String, events: &mut Vec<Event>) {
        self.presence = Presence::Gone(kind);
        self.is_read = false;
        self.say(false, Some(reason), events);
    }

    fn say(&self, alive: bool, reason: Option<String>, events: &mut Vec<Event>) {
        if !self.is_connected_to {
            events.push(Event::Device { device: self.name.clone(), alive, reason });
        }
    }

    /// One of its values. Returns what it is if there is no place for it.
    fn value(
        &mut self,
        datum: Datum,
        numbered: bool,
        at: SystemTime,
        now: Instant,
        events: &mut Vec<Event>,
    ) -> Option<Unused> {
        let name = datum.point.to_string();
        if !self.points.contains_key(&name) {
            if self.points.len() >= MOST_POINTS {
                return Some(Unused { reason: "too_many_points", words: None });
            }
            let plan = self.plans.get(&name).cloned().unwrap_or_else(|| Plan::plain(&name, self.every));
            self.points.insert(name.clone(), Point::new(plan));
        }
        let heartbeat = self.heartbeat;
        let news = self.points.get_mut(&name).and_then(|point| point.hear(datum, numbered, heartbeat, at, now));
        if let Some(news) = news {
            self.tell(&name, news, events);
        }
        None
    }

    fn tell(&mut self, point: &str, news: News, events: &mut Vec<Event>) {
        let Some(known) = self.points.get(point) else { return };
        let (device, point) = (self.name.clone(), known.plan.name.clone());
        let reading = match news.value {
            Ok(value) => Reading::good(device, point, value, news.at),
            Err(absent) => Reading::bad(device, point, absent.to_string(), news.at),
        };
        events.push(Event::Reading(Reading { unit: news.unit, labels: self.labels(news.kind).clone(), ..reading }));
    }

    fn labels(&self, kind: Kind) -> &Labels {
        let [measurement, diagnostic, event] = &self.labels;
        match kind {
            Kind::Measurement => measurement,
            Kind::Diagnostic => diagnostic,
            Kind::Event => event,
        }
    }
}

/// What was made of an advertisement of a device.
#[derive(Clone, Debug, PartialEq)]
pub enum Word {
    /// By its format, and by what the device has said before.
    Said(Verdict),
    /// Of no known format, to be told as bytes.
    Bytes(Vec<Datum>),
}

impl Word {
    /// The bytes of an advertisement that no format reads.
    pub fn bytes(advert: &Advert) -> Self {
        match bytes_of(advert) {
            none if none.is_empty() => Self::Said(Verdict::NotMine),
            bytes => Self::Bytes(bytes),
        }
    }
}

/// The bytes of an advertisement as values: `service_fcd2`, `company_0499`.
fn bytes_of(advert: &Advert) -> Vec<Datum> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let datum = |name: String, bytes: &[u8]| Datum { point: name.into(), ..quantity::RAW.says(hex(bytes)) };
    let services = advert.service_data.iter().map(|(uuid, data)| datum(format!("service_{uuid}"), data));
    let companies = advert.manufacturer_data.iter().map(|(id, data)| datum(format!("company_{id:04x}"), data));
    services.chain(companies).collect()
}

/// Whether a refusal has to do with keys.
fn is_of_keys(kind: Option<Discriminant<Refusal>>) -> bool {
    let of_keys = [Refusal::NoKey, Refusal::WrongKey, Refusal::NotEncrypted].map(|refusal| discriminant(&refusal));
    kind.is_some_and(|kind| of_keys.contains(&kind))
}

fn whole_secs(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs().max(1))
}

#[cfg(test)]
mod tests;
