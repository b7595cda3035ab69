//! The devices of a link: whose line it is, and what it says.
//!
//! Pure: a line goes in, and what is known of the devices; readings come out.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use wharf_contract::{DeviceId, Labels, PointId, PointInfo, Quality, Reading, Value, WriteRule};

use crate::config::text::{NameTemplate, Template};
use crate::form::pattern::Pattern;
use crate::form::{Fields, Form, Found, Misfit};
use crate::value::Meaning;

/// One device of the site file; or many, if they are named by their lines.
#[derive(Clone, Debug)]
pub struct Device {
    /// What it is called.
    pub identity: Identity,
    /// How its lines are taken apart; without it, it has none.
    pub form: Option<Form>,
    /// What its fields have to hold.
    pub matches: Vec<(String, Vec<String>)>,
    /// What it is asked.
    pub ask: Option<Ask>,
    /// The least time between two readings of one number, if it speaks by itself.
    pub thin: Option<Duration>,
    /// How long it may be silent.
    pub quiet_after: Duration,
    /// Its points.
    pub points: Vec<Point>,
}

/// What a device is called.
#[derive(Clone, Debug)]
pub enum Identity {
    /// As in the site file.
    Named(DeviceId),
    /// As its line says.
    InLine {
        /// How the name is made.
        template: NameTemplate,
        /// How many there may be.
        most: usize,
    },
}

/// What makes a device speak.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What is sent.
    pub bytes: Vec<u8>,
    /// How often.
    pub every: Duration,
    /// How long the answer may take.
    pub timeout: Duration,
}

/// One value of a device.
#[derive(Clone, Debug)]
pub struct Point {
    /// Its name.
    pub id: PointId,
    /// The field it stands in.
    pub field: String,
    /// What the field means.
    pub meaning: Meaning,
    /// How it is written, if it is.
    pub write: Option<Write>,
}

/// How a point is written.
#[derive(Clone, Debug)]
pub struct Write {
    /// What is sent.
    pub send: Template,
    /// The line that says that it was done.
    pub expect: Option<Pattern>,
    /// The line that says no.
    pub refused: Option<Pattern>,
    /// How long that line may take.
    pub timeout: Duration,
    /// What may be written.
    pub rule: Arc<WriteRule>,
}

impl Write {
    /// What to send for a value, and the value as the device will understand it.
    ///
    /// # Errors
    /// The value must not be written, or cannot be: in words.
    pub fn prepare(&self, meaning: &Meaning, value: &Value) -> Result<(Vec<u8>, Value), String> {
        if !self.send.has_value() {
            return self.rule.refuse(value).map_or_else(|| Ok((self.send.render("")?, value.clone())), Err);
        }
        let spell = |value: &Value| meaning.spell(value, self.send.spelling());
        let (text, understood) = self.rule.prepare(value, spell, |text| meaning.read(text))?;
        Ok((self.send.render(&text)?, understood))
    }
}

/// The devices of a link, and those of them that their lines have named so far.
#[derive(Debug)]
pub struct Roster {
    devices: Arc<[Device]>,
    /// The names of the site file, which no line can take.
    taken: HashSet<String>,
    /// By device of the site file: the names its lines have given.
    named: Vec<HashSet<DeviceId>>,
}

/// What became of a line.
#[derive(Clone, Debug, PartialEq)]
pub enum Claim {
    /// It is a device's.
    Of(Spoken),
    /// It is a device's heading, and says nothing.
    Heading,
    /// It is of a kind that a device speaks, and was damaged on its way.
    Damaged,
    /// It would be a device's whose name cannot be taken in, and why.
    Nameless(String),
    /// Nobody claims it.
    Nobody,
}

/// What a device said.
#[derive(Clone, Debug, PartialEq)]
pub struct Spoken {
    /// Its place in the site file.
    pub index: usize,
    /// Which device.
    pub device: DeviceId,
    /// What it said.
    pub readings: Vec<Reading>,
}

impl Roster {
    /// The devices of the site file.
    pub fn new(devices: Arc<[Device]>) -> Self {
        let taken = devices.iter().filter_map(|device| match &device.identity {
            Identity::Named(name) => Some(name.as_str().to_owned()),
            Identity::InLine { .. } => None,
        });
        let named = devices.iter().map(|_| HashSet::new()).collect();
        Self { taken: taken.collect(), named, devices }
    }

    /// The point of that name on the device of that name.
    pub fn point(&self, device: &DeviceId, point: &PointId) -> Option<(usize, &Point)> {
        let named = |candidate: &&Device| matches!(&candidate.identity, Identity::Named(name) if name == device);
        let index = self.devices.iter().position(|candidate| named(&candidate))?;
        let found = self.devices.get(index)?.points.iter().find(|candidate| candidate.id == *point)?;
        Some((index, found))
    }

    /// The points that are known from the site file alone.
    pub fn catalogue(&self) -> Vec<PointInfo> {
        let points = self.devices.iter().flat_map(|device| {
            let name = match &device.identity {
                Identity::Named(name) => Some(name.clone()),
                Identity::InLine { .. } => None,
            };
            name.into_iter().flat_map(|name| {
                device.points.iter().map(move |point| PointInfo {
                    device: name.clone(),
                    point: point.id.clone(),
                    unit: point.meaning.unit.clone(),
                    labels: Labels::NONE,
                    write: point.write.as_ref().map(|write| Arc::clone(&write.rule)),
                })
            })
        });
        points.collect()
    }

    /// Whether a device is told from others only by who was asked.
    fn needs_its_question(&self, index: usize) -> bool {
        let asked = |device: &Device| device.ask.is_some() && device.matches.is_empty();
        self.devices.get(index).is_some_and(asked) && self.devices.iter().filter(|device| asked(device)).count() > 1
    }

    /// Whose line it is: the device's that was asked if it fits, else the first one's that it fits.
    pub fn claim(&mut self, line: &str, asked: Option<usize>, taken_at: SystemTime) -> Claim {
        let order = asked.into_iter().chain((0..self.devices.len()).filter(|index| Some(*index) != asked));
        let mut outcome = Claim::Nobody;
        for index in order.collect::<Vec<_>>() {
            if asked != Some(index) && self.needs_its_question(index) {
                continue;
            }
            match self.offer(index, line, taken_at) {
                Claim::Nobody => {}
                // Another device may have better use for it.
                damaged @ (Claim::Damaged | Claim::Nameless(_)) => outcome = damaged,
                claimed => return claimed,
            }
        }
        outcome
    }

    fn offer(&mut self, index: usize, line: &str, taken_at: SystemTime) -> Claim {
        let Some(device) = self.devices.get(index) else { return Claim::Nobody };
        let Some(form) = &device.form else { return Claim::Nobody };
        let fields = match form.take_apart(line) {
            Ok(fields) => fields,
            Err(Misfit::Other) => return Claim::Nobody,
            Err(Misfit::Damaged) => return Claim::Damaged,
            Err(Misfit::Heading) => return Claim::Heading,
        };
        let holds = |(field, texts): &(String, Vec<String>)| {
            text(&fields, field).is_some_and(|text| texts.iter().any(|wanted| wanted.trim() == text.trim()))
        };
        if !device.matches.iter().all(holds) {
            return Claim::Nobody;
        }
        let (name, is_new) = match &device.identity {
            Identity::Named(name) => (name.clone(), false),
            Identity::InLine { template, most } => {
                let name = template.render(|field| text(&fields, field).map(|text| text.trim().to_owned()));
                let name = match name {
                    Ok(name) => name,
                    Err(why) => return Claim::Nameless(why),
                };
                if self.taken.contains(name.as_str()) {
                    return Claim::Nameless(format!("`{name}` is another device's name"));
                }
                let known = self.named.get(index).map_or(0, HashSet::len);
                let name = DeviceId::from(&name);
                let is_new = self.named.get(index).is_some_and(|named| !named.contains(&name));
                if is_new && known >= *most {
                    return Claim::Nameless(format!("there are {most} already, so {name} is not taken in"));
                }
                (name, is_new)
            }
        };
        let readings: Vec<Reading> =
            device.points.iter().filter_map(|point| reading(point, &name, &fields, taken_at)).collect();
        if readings.is_empty()
            && device.matches.is_empty()
            && !fields.is_complete_without()
            && !device.points.is_empty()
        {
            return Claim::Nobody;
        }
        if is_new && let Some(named) = self.named.get_mut(index) {
            named.insert(name.clone());
        }
        Claim::Of(Spoken { index, device: name, readings })
    }
}

/// What a field holds, as text.
fn text<'f>(fields: &'f Fields<'_>, field: &str) -> Option<Cow<'f, str>> {
    match fields.get(field)? {
        Found::Text(text) => Some(text),
        Found::Nothing(_) => None,
    }
}

/// What a line says of a point, if it says anything.
fn reading(point: &Point, device: &DeviceId, fields: &Fields<'_>, taken_at: SystemTime) -> Option<Reading> {
    let (value, verbatim) = match fields.get(&point.field)? {
        Found::Nothing(why) => (Err(why.to_owned()), None),
        Found::Text(text) => {
            let value = point.meaning.read(&text);
            let is_shown = value.is_err() || point.meaning.is_verbatim();
            (value, is_shown.then(|| Arc::from(text.trim())))
        }
    };
    let (value, reason) = match value {
        Ok(value) => (Some(value), None),
        Err(reason) => (None, Some(Arc::from(reason))),
    };
    Some(Reading {
        device: device.clone(),
        point: point.id.clone(),
        quality: if value.is_some() { Quality::Good } else { Quality::Bad },
        value,
        verbatim,
        unit: point.meaning.unit.clone(),
        reason,
        taken_at,
        labels: Labels::NONE,
    })
}

#[cfg(test)]
mod tests;
