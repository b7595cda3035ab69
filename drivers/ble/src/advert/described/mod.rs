//! Sensors that are described by data: how they are recognised, and what their bytes mean.
//!
//! A [`Description`] is what a format's file would say in code, made by [`crate::config`] from a
//! profile that a user can write. It is compiled once and then only looked at: reading an
//! advertisement takes no more steps than the description has conditions and values.
//!
//! - [`condition`]: what has to stand in the data.
//! - [`field`]: one value: where it stands, how its bits are read, what they mean.
//! - [`exact`]: scaling without binary noise.
//!
//! What was written without thinking of an advertisement that comes after all (too short, of another
//! kind) is refused or passed over and never guessed at.

pub(crate) mod condition;
pub(crate) mod exact;
pub(crate) mod field;

use std::borrow::Cow;
use std::ops::RangeInclusive;

use super::{Advert, Datum, Frame, Kind, Known, Outcome, Refusal, Sequence, Uuid};
use condition::{Condition, Position, all_hold};
use field::{Field, Place};

/// What [`Frame::format`] says of every advertisement that was read by a description.
pub const FORMAT: &str = "profile";

/// The descriptions of a link, in the order they are asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Descriptions(Vec<Description>);

/// How one kind of sensor is recognised and read.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    pub(crate) name: String,
    pub(crate) model: Model,
    pub(crate) source: Source,
    /// Any of these, if there are any.
    pub(crate) local_names: Vec<NamePattern>,
    /// All of these.
    pub(crate) advertises: Vec<Uuid>,
    /// Any of these, if there are any.
    pub(crate) lengths: Vec<RangeInclusive<usize>>,
    /// All of these.
    pub(crate) conditions: Vec<Condition>,
    /// What it is told by that there is nothing to read, and why, in words.
    pub(crate) refusals: Vec<(Vec<Condition>, String)>,
    /// Whether it is for devices alone that name its model.
    pub(crate) only_named: bool,
    pub(crate) counter: Option<Field>,
    pub(crate) on_event_only: bool,
    /// Where the values without a place of their own begin.
    pub(crate) begin: usize,
    pub(crate) points: Vec<Point>,
}

/// What the sensor's model is called.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Model {
    /// This.
    Is(String),
    /// One of these, by the byte there; another byte means another sensor.
    By(Position, Vec<(i64, String)>),
}

/// Where in an advertisement the data are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Source {
    /// In the data of the first of these services that is there.
    Services(Vec<Uuid>),
    /// In those of the first of these companies.
    Companies(Vec<u16>),
    /// In those of whatever company is there alone, its id among them.
    AnyCompany,
}

/// A local name: the whole of it, or how it begins.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum NamePattern {
    Is(String),
    Begins(String),
}

/// A value of the sensor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) name: String,
    pub(crate) unit: String,
    pub(crate) kind: Kind,
    /// The first of these that is there is the value.
    pub(crate) readings: Vec<Reading>,
}

/// One way to a value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reading {
    /// Where its data are, if not where the description's are.
    pub(crate) source: Option<Source>,
    /// All of these, in its data.
    pub(crate) when: Vec<Condition>,
    pub(crate) field: Field,
}

impl Descriptions {
    /// These, in this order.
    pub fn new(descriptions: Vec<Description>) -> Self {
        Self(descriptions)
    }

    /// What the one that is called so makes of an advertisement.
    pub(super) fn read_named(&self, advert: &Advert, known: &Known<'_>) -> Outcome {
        let Some(model) = known.model else { return Outcome::NotMine };
        self.first(advert, known, |description| description.is_called(model))
    }

    /// What all of them make of it.
    pub(super) fn read(&self, advert: &Advert, known: &Known<'_>) -> Outcome {
        self.first(advert, known, |_| true)
    }

    /// The first frame that is heard; else the first refusal.
    fn first(&self, advert: &Advert, known: &Known<'_>, of: impl Fn(&Description) -> bool) -> Outcome {
        let mut refused = Outcome::NotMine;
        for description in self.0.iter().filter(|description| of(description)) {
            match description.read(advert, known) {
                Outcome::NotMine => {}
                Outcome::Refused(refusal) if refused == Outcome::NotMine => refused = Outcome::Refused(refusal),
                Outcome::Refused(_) => {}
                heard @ Outcome::Heard(_) => return heard,
            }
        }
        refused
    }
}

impl Source {
    fn data<'a>(&self, advert: &'a Advert) -> Option<Cow<'a, [u8]>> {
        match self {
            Self::Services(any) => any.iter().find_map(|uuid| advert.service_data.get(uuid)).map(|data| data.into()),
            Self::Companies(any) => any.iter().find_map(|id| advert.company(*id)).map(Cow::Borrowed),
            Self::AnyCompany => advert.only_manufacturer_block().map(Cow::Owned),
        }
    }
}

impl NamePattern {
    fn fits(&self, name: &str) -> bool {
        match self {
            Self::Is(whole) => name == whole,
            Self::Begins(with) => name.starts_with(with),
        }
    }
}

impl Description {
    /// What it is called, as the profile says.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a model's name means it: its own name is one, too.
    fn is_called(&self, model: &str) -> bool {
        self.name == model
            || match &self.model {
                Model::Is(name) => name == model,
                Model::By(_, names) => names.iter().any(|(_, name)| name == model),
            }
    }

    /// What it makes of an advertisement.
    pub fn read(&self, advert: &Advert, known: &Known<'_>) -> Outcome {
        let is_named = known.model.is_some_and(|model| self.is_called(model));
        let Some(data) = self.source.data(advert).filter(|_| is_named || !self.only_named) else {
            return Outcome::NotMine;
        };
        // Names come only sometimes; who is known by one is known without it.
        let fits = (is_named || self.fits_name(advert.name()))
            && self.advertises.iter().all(|uuid| advert.services.contains(uuid))
            && (self.lengths.is_empty() || self.lengths.iter().any(|range| range.contains(&data.len())))
            && all_hold(&self.conditions, &data, advert.address);
        let Some(model) = self.model_of(&data).filter(|_| fits) else { return Outcome::NotMine };
        if known.key.is_some() {
            return Outcome::Refused(Refusal::NotEncrypted);
        }
        let refusal = self.refusals.iter().find(|(conditions, _)| all_hold(conditions, &data, advert.address));
        if let Some((_, why)) = refusal {
            return Outcome::Refused(Refusal::Unknown(why.clone()));
        }
        self.frame(advert, &data, model).into()
    }

    fn fits_name(&self, name: &str) -> bool {
        self.local_names.is_empty() || self.local_names.iter().any(|pattern| pattern.fits(name))
    }

    fn model_of(&self, data: &[u8]) -> Option<&str> {
        match &self.model {
            Model::Is(name) => Some(name),
            Model::By(at, names) => {
                let byte = data.get(at.index(data.len())?)?;
                names.iter().find(|(number, _)| *number == i64::from(*byte)).map(|(_, name)| name.as_str())
            }
        }
    }

    fn frame(&self, advert: &Advert, data: &[u8], model: &str) -> Result<Frame, Refusal> {
        let mut walk = Walk { next: self.begin, last: self.begin };
        let mut values = Vec::with_capacity(self.points.len());
        for point in &self.points {
            values.extend(point.read(advert, data, &mut walk)?);
        }
        Ok(Frame {
            format: FORMAT,
            model: Some(Cow::Owned(model.to_owned())),
            values,
            sequence: self.counter.as_ref().map(|counter| sequence(counter, data)).transpose()?,
            on_event_only: self.on_event_only,
            ..Frame::default()
        })
    }
}

fn sequence(counter: &Field, data: &[u8]) -> Result<Sequence, Refusal> {
    let bits = counter.bits(counter.bytes(data, Walk::default().start(counter, data))?);
    // A counter has 32 bits at most.
    let number = u32::try_from(bits).unwrap_or(u32::MAX);
    Ok(Sequence::Frame { number, bits: u8::try_from(counter.bit_count()).unwrap_or(32) })
}

/// Where the values without a place of their own stand.
#[derive(Default)]
struct Walk {
    next: usize,
    last: usize,
}

impl Walk {
    /// Where a value stands in `data`.
    fn start(&mut self, field: &Field, data: &[u8]) -> usize {
        match field.place {
            // Before the beginning is as far away as past the end.
            Place::At(position) => position.index(data.len()).unwrap_or(usize::MAX),
            Place::Last => self.last,
            Place::Next => {
                self.last = self.next;
                self.next = self.next.saturating_add(field.form.width().into());
                self.last
            }
        }
    }
}

impl Point {
    fn read(&self, advert: &Advert, data: &[u8], walk: &mut Walk) -> Result<Option<Datum>, Refusal> {
        for reading in &self.readings {
            let own = reading.source.as_ref().map(|source| source.data(advert));
            let data = match &own {
                None => data,
                Some(Some(own)) => own,
                Some(None) => continue,
            };
            if !all_hold(&reading.when, data, advert.address) {
                continue;
            }
            let bytes = reading.field.bytes(data, walk.start(&reading.field, data))?;
            let value = reading.field.read(bytes, data, advert.address);
            let (point, unit) = (Cow::Owned(self.name.clone()), Cow::Owned(self.unit.clone()));
            return Ok(Some(Datum { point, value, unit, kind: self.kind }));
        }
        Ok(None)
    }
}
