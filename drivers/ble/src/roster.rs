//! The devices of one link: those of the site file, and those it adopted.

use std::collections::HashMap;
use std::time::SystemTime;

use tokio::time::Instant;
use tracing::{info, warn};
use wharf_contract::settings::Name;
use wharf_contract::{DeviceId, Event, PointInfo, Value};

use crate::advert::{self, Address, Advert, Descriptions, Frame, Key, Known, Medium, Outcome};
use crate::config::{AdoptSettings, Implausible, LinkSettings, Unknown, description};
use crate::device::{Device, Unused, Word};
use crate::known::{self, Verdict};
use crate::memory::Kept;
use crate::names::Names;

/// The longest name of a model that is remembered.
const LONGEST_MODEL: usize = 64;

/// All devices of a link.
#[derive(Debug)]
pub struct Roster {
    devices: HashMap<Address, Member>,
    rules: Vec<Rule>,
    names: Names,
    publish_unknown: bool,
    /// Sensors that are described by data.
    descriptions: Descriptions,
    /// Whether something was learnt that is worth keeping.
    learnt: bool,
}

#[derive(Debug)]
struct Member {
    device: Device,
    key: Option<Key>,
    /// What is in its tank, as the site file has it.
    medium: Option<Medium>,
    /// Whether its values are told even if no sensor can have measured them.
    unlimited: bool,
    /// The model, as the site file has it.
    listed_model: Option<String>,
    /// The model, as it said itself at some time.
    model: Option<String>,
    /// By which rule it was adopted.
    rule: Option<usize>,
    /// What it has said before.
    past: known::Memory,
}

/// What was made of an advertisement.
#[derive(Clone, Debug)]
pub struct Hearing {
    /// By its format.
    pub outcome: Outcome,
    /// The device it is of.
    pub device: Option<DeviceId>,
    /// What of it is not used, if it is of a device.
    pub unused: Option<Unused>,
}

impl Hearing {
    /// Of nobody who is known here.
    fn stranger(outcome: Outcome) -> Self {
        Self { outcome, device: None, unused: None }
    }
}

/// A rule of adoption.
#[derive(Debug)]
struct Rule {
    settings: AdoptSettings,
    adopted: u16,
    /// Whether it was said that there are too many.
    overfull: bool,
}

impl Roster {
    /// The devices of the site file. Nothing is adopted by a name that one of them has.
    pub fn new(settings: &LinkSettings) -> Self {
        Self::beside(settings, Names::default())
    }

    /// The same, where other links have devices of these names, and adopt some, too.
    pub fn beside(settings: &LinkSettings, names: Names) -> Self {
        for (name, _) in settings.devices.iter() {
            // Those of the site file are told apart when it is read.
            let _ = names.claim(name.as_str());
        }
        let member = |(name, device): (&Name, &crate::config::DeviceSettings)| {
            let member = Member {
                device: Device::listed(DeviceId::from(name), device),
                key: device.key.as_ref().map(|key| key.0.clone()),
                medium: device.medium,
                unlimited: device.implausible == Implausible::Publish,
                listed_model: device.model.clone(),
                model: None,
                rule: None,
                past: known::Memory::default(),
            };
            (device.mac.0, member)
        };
        let rule = |settings: &AdoptSettings| Rule { settings: settings.clone(), adopted: 0, overfull: false };
        Self {
            devices: settings.devices.iter().map(member).collect(),
            rules: settings.adopt.iter().map(rule).collect(),
            names,
            publish_unknown: settings.unknown == Unknown::Publish,
            descriptions: description::compile(&settings.descriptions),
            learnt: false,
        }
    }

    /// Takes back what was learnt before, as far as the site file still has a place for it.
    pub(crate) fn recall(&mut self, kept: Vec<Kept>) {
        for Kept { address, adopted, on_event_only, model } in kept {
            if let Some(name) = adopted {
                let shown = model.as_deref().unwrap_or_default();
                let rule = self.rules.iter().position(|rule| rule.settings.name.render(address, shown) == name);
                if let Some(rule) = rule {
                    self.adopt(rule, address, model.clone());
                }
            }
            let Some(member) = self.devices.get_mut(&address) else { continue };
            member.model = model;
            if on_event_only {
                member.device.speaks_on_event_only();
            }
        }
        self.learnt = false;
    }

    /// What there is to keep, if something was learnt since this was asked last.
    pub(crate) fn take_news(&mut self) -> Option<Vec<Kept>> {
        if !std::mem::take(&mut self.learnt) {
            return None;
        }
        let worth =
            |member: &&Member| member.rule.is_some() || member.model.is_some() || member.device.is_on_event_only();
        let keep = |member: &Member| Kept {
            address: member.device.address,
            adopted: member.rule.map(|_| member.device.name.to_string()),
            on_event_only: member.device.is_on_event_only(),
            model: member.model.clone(),
        };
        let mut kept: Vec<Kept> = self.devices.values().filter(worth).map(keep).collect();
        kept.sort_by_key(|kept| kept.address);
        Some(kept)
    }

    /// An advertisement was heard. What is to be told of it is added to `events`. `told`: the model that a stranger said it was before.
    pub fn hear(
        &mut self,
        advert: &Advert,
        told: Option<&str>,
        at: SystemTime,
        now: Instant,
        events: &mut Vec<Event>,
    ) -> Hearing {
        if !self.devices.contains_key(&advert.address) {
            let outcome = advert::read_with(advert, &Known { model: told, ..Known::default() }, &self.descriptions);
            let Outcome::Heard(frame) = &outcome else { return Hearing::stranger(outcome) };
            let Some(rule) = self.rule_for(advert, told, frame) else { return Hearing::stranger(outcome) };
            let model = frame.model.as_deref().or(told).unwrap_or(frame.format);
            self.adopt(rule, advert.address, Some(model.chars().take(LONGEST_MODEL).collect()));
        }
        let publish = self.publish_unknown;
        let Some(member) = self.devices.get_mut(&advert.address) else { return Hearing::stranger(Outcome::NotMine) };
        let model = member.listed_model.as_deref().or(member.past.model()).or(member.model.as_deref());
        let known = Known { key: member.key.as_ref(), model, medium: member.medium, unlimited: member.unlimited };
        let outcome = advert::read_with(advert, &known, &self.descriptions);
        if member.device.is_missed(now) {
            member.past.came_back();
        }
        let verdict = member.past.judge(outcome.clone(), member.key.is_some(), now.into_std());
        let word = match verdict {
            Verdict::NotMine if publish => Word::bytes(advert),
            verdict => Word::Said(verdict),
        };
        let slept = member.device.is_on_event_only();
        let unused = member.device.hear(advert, &word, at, now, events);
        self.learnt |= member.learn() || slept != member.device.is_on_event_only();
        Hearing { outcome, device: Some(member.device.name.clone()), unused }
    }

    /// Tells what is due. To be called about once a second while the radio listens.
    pub fn tick(&mut self, now: Instant, events: &mut Vec<Event>) {
        self.devices.values_mut().for_each(|member| member.device.tick(now, events));
    }

    /// The radio hears nothing any more.
    pub fn deaf(&mut self, reason: &str, events: &mut Vec<Event>) {
        self.devices.values_mut().for_each(|member| member.device.deaf(reason, events));
    }

    /// The radio hears again.
    pub fn excuse(&mut self, now: Instant, events: &mut Vec<Event>) {
        self.devices.values_mut().for_each(|member| member.device.excuse(now, events));
    }

    /// The points that are known before anything was heard.
    pub fn catalogue(&self) -> Vec<PointInfo> {
        let mut points: Vec<PointInfo> = self.devices.values().flat_map(|member| member.device.catalogue()).collect();
        points.sort_by(|a, b| (&a.device, &a.point).cmp(&(&b.device, &b.point)));
        points
    }

    /// The last value that was told of a point, if its device is there.
    pub fn last(&self, device: &DeviceId, point: &str) -> Option<&Value> {
        let member = self.devices.values().find(|member| member.device.name == *device)?;
        member.device.last(point).filter(|_| member.device.is_alive())
    }

    /// The names of all devices there are.
    pub(crate) fn names(&self) -> impl Iterator<Item = &DeviceId> {
        self.devices.values().map(|member| &member.device.name)
    }

    /// How many devices there are.
    pub fn len(&self) -> usize {
        self.devices.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    fn rule_for(&self, advert: &Advert, told: Option<&str>, frame: &Frame) -> Option<usize> {
        let words = [frame.model.as_deref().or(told), Some(frame.format), advert.name.as_deref()];
        self.rules.iter().position(|rule| {
            let is_near = rule.settings.rssi.is_none_or(|least| advert.rssi.is_some_and(|rssi| rssi >= least.get()));
            is_near && words.into_iter().flatten().any(|word| fits(&rule.settings.model, word))
        })
    }

    /// Makes a device of a sensor, if the rule has room for it.
    fn adopt(&mut self, index: usize, address: Address, model: Option<String>) {
        let Some(rule) = self.rules.get_mut(index) else { return };
        let pattern = &rule.settings.model;
        if rule.adopted >= rule.settings.most.get() {
            if !std::mem::replace(&mut rule.overfull, true) {
                let most = rule.settings.most.get();
                warn!(model = %pattern, most, %address, "more sensors are heard than may be adopted; raise `most` or lower `rssi`");
            }
            return;
        }
        let name = rule.settings.name.render(address, model.as_deref().unwrap_or_default());
        if self.devices.contains_key(&address) || !self.names.claim(&name) {
            if !std::mem::replace(&mut rule.overfull, true) {
                warn!(model = %pattern, %address, name, "not adopted: there is a device of that name already, on this link or another");
            }
            return;
        }
        info!(model = %pattern, %address, name, "adopted");
        rule.adopted += 1;
        let device = Device::adopted(DeviceId::from(name), address, &rule.settings);
        let past = known::Memory::default();
        let member = Member {
            device,
            key: None,
            medium: None,
            unlimited: false,
            listed_model: None,
            model,
            rule: Some(index),
            past,
        };
        self.devices.insert(address, member);
        self.learnt = true;
    }
}

impl Member {
    /// Notes what model the device says it is. Returns whether that is new and worth keeping.
    fn learn(&mut self) -> bool {
        let told = self.past.model().map(|model| model.chars().take(LONGEST_MODEL).collect::<String>());
        // The name of an adopted one was made of the model it had at first.
        let news = told.is_some() && self.rule.is_none() && told != self.model;
        if news {
            self.model = told;
        }
        news
    }
}

/// Whether a text fits a pattern in which `*` stands for any run of characters, whatever the case.
fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.to_lowercase(), text.to_lowercase());
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests;
