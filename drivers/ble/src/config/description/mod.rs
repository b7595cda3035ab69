//! Sensors described by their users: how they are recognised, and what their bytes mean.
//!
//! A description says in a profile's words what a format's file says in code; numbers are described as
//! those of Modbus are: type, order, scale, offset, precision, unit, invalid, names, flags. What is new
//! are conditions, places in bytes, and steps.

mod check;
mod condition;
mod point;
mod words;

use std::ops::Deref;

use serde_json::json;
use wharf_contract::settings;
use wharf_contract::settings::{Context, Named, NamedEntry, Names, Node, OneOrMany, Ranged, Schema, Setting};

pub use condition::ConditionSettings;
pub use point::ReadingSettings;
pub use words::{
    AddressOrder, At, BitRange, Company, HexBytes, Length, LocalName, Offset, Order, PointKind, Service, StepSetting,
};

use crate::advert::described::field::{Field, Form};
use crate::advert::described::{Description, Descriptions, Model, Point, Source};
use crate::advert::{Kind, Quantity, quantity};
use crate::config::ValueType;

settings! {
    /// How one kind of sensor is recognised, and what it says.
    pub struct DescriptionSettings {
        /// What the model is called, if not as the description is.
        model: Option<String> = None,
        /// Several models at once: the byte that tells them apart, and their names. Other bytes mean other
        /// sensors.
        model_from: Option<ModelSettings> = None,
        /// The service whose data it sends, such as fe95; of a list the first that is there.
        service: Option<OneOrMany<Service>> = None,
        /// The company whose data it sends, such as 0x0499; of a list the first that is there. With `any`
        /// the bytes of the company's number are the first two of the data: some sensors put
        /// readings there.
        company: Option<Company> = None,
        /// Its local name, or how that begins, with a `*` behind. It has to be heard once.
        local_name: Option<OneOrMany<LocalName>> = None,
        /// Services it claims to have, all of them.
        advertises: Option<OneOrMany<Service>> = None,
        /// How many bytes the data have, without the service's or company's number: 18, or 18-24, or a
        /// list of these.
        length: Option<OneOrMany<Length>> = None,
        /// What stands in the data, all of it.
        r#match: Option<OneOrMany<ConditionSettings>> = None,
        /// Whether it is meant only for devices of the site file that name its model: for sensors that
        /// cannot be told from others.
        only_named: bool = false,
        /// What shows that there is nothing to be read, and why, as its user will be told.
        refuse: Vec<RefusalSettings> = Vec::new(),
        /// The order of the bytes of its numbers.
        order: Order = Order::Little,
        /// Where it counts what it measures or sends: the same number again is a repetition.
        counter: Option<CounterSettings> = None,
        /// Whether it speaks only when something happens, so that silence means nothing.
        events_only: bool = false,
        /// Where the values without a place of their own begin.
        begin: Ranged<u8, 0, 254> = Ranged::new(0),
        /// Its values, by name.
        points: Named<OneOrMany<ReadingSettings>>,
    }
    exactly_one_of: [service, company];
    at_most_one_of: [model, model_from];
    check: check::description;
}

settings! {
    /// Models that share a description.
    pub struct ModelSettings {
        /// The byte that tells them apart, counted from 0.
        at: Offset,
        /// What the models are called, such as {0x81: ST5, 0x83: ST6}.
        names: Names<0, 255>,
    }
}

settings! {
    /// An advertisement of the sensor that has nothing to be read in it.
    pub struct RefusalSettings {
        /// What it is told by.
        when: OneOrMany<ConditionSettings>,
        /// What its user is told.
        says: String,
    }
}

settings! {
    /// A counter of measurements or frames.
    pub struct CounterSettings {
        /// The byte it begins at, counted from 0; from the end if it is negative.
        at: Offset,
        /// How wide it is: u8, u16, u24 or u32.
        r#type: ValueType = ValueType::U8,
        /// Which of its bits count.
        bits: Option<BitRange> = None,
        /// The order of its bytes, if not that of the description.
        order: Option<Order> = None,
    }
    check: check::counter;
}

/// A description where it stands in a site file, as most do not: it is checked as strictly as in a file of
/// its own, and editors are not told all of its words, which would be half of the site file's.
#[derive(Clone, Debug, PartialEq)]
pub struct Described(DescriptionSettings);

impl Deref for Described {
    type Target = DescriptionSettings;

    fn deref(&self) -> &DescriptionSettings {
        &self.0
    }
}

impl Setting for Described {
    fn schema() -> Schema {
        json!({
            "description": "How one kind of sensor is recognised, and what it says: as in a file of profiles/ble.",
            "type": "object",
        })
    }

    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        DescriptionSettings::decode(node, cx).map(Self)
    }
}

impl CounterSettings {
    fn field(&self, order: Order) -> Field {
        let reading = ReadingSettings {
            at: Some(At::Byte(self.at)),
            r#type: Some(self.r#type),
            bits: self.bits,
            order: self.order,
            ..ReadingSettings::default()
        };
        reading.field(order)
    }

    fn is_counter(&self) -> bool {
        matches!(self.field(Order::Little).form, Form::Unsigned(1..=4))
    }
}

impl DescriptionSettings {
    /// Made ready for reading. What could be wrong with it was found when it was decoded.
    pub fn compile(&self, name: &str) -> Description {
        let services = self.service.as_ref().map(|any| Source::Services(any.iter().map(|one| one.0).collect()));
        let companies = self.company.as_ref().map(point::source_of_company);
        let models = |from: &ModelSettings| {
            let names = from.names.iter().map(|(number, name)| (number, name.to_owned()));
            Model::By(from.at.0, names.collect())
        };
        let own = || Model::Is(self.model.clone().unwrap_or_else(|| name.to_owned()));
        let refusal = |refusal: &RefusalSettings| (condition::compile(Some(&refusal.when)), refusal.says.clone());
        let list = |names: &OneOrMany<LocalName>| names.iter().map(|name| name.0.clone()).collect();
        let lengths = |any: &OneOrMany<Length>| {
            any.iter().map(|length| usize::from(length.least)..=usize::from(length.most)).collect()
        };
        Description {
            name: name.to_owned(),
            model: self.model_from.as_ref().map_or_else(own, models),
            // One of the two is there once it is decoded.
            source: services.or(companies).unwrap_or(Source::AnyCompany),
            local_names: self.local_name.as_ref().map_or_else(Vec::new, list),
            advertises: self.advertises.iter().flat_map(|all| all.iter()).map(|one| one.0).collect(),
            lengths: self.length.as_ref().map_or_else(Vec::new, lengths),
            conditions: condition::compile(self.r#match.as_ref()),
            refusals: self.refuse.iter().map(refusal).collect(),
            only_named: self.only_named,
            counter: self.counter.as_ref().map(|counter| counter.field(self.order)),
            on_event_only: self.events_only,
            begin: self.begin.get().into(),
            points: self.points.entries().iter().map(|entry| self.point(entry)).collect(),
        }
    }

    fn point(&self, entry: &NamedEntry<OneOrMany<ReadingSettings>>) -> Point {
        let name = entry.name.as_str();
        let known = known(name);
        let said = entry.value.iter().find_map(|reading| reading.unit.clone());
        let kind = entry.value.iter().find_map(|reading| reading.kind).map(|kind| match kind {
            PointKind::Measurement => Kind::Measurement,
            PointKind::Diagnostic => Kind::Diagnostic,
            PointKind::Event => Kind::Event,
        });
        Point {
            name: name.to_owned(),
            unit: known.map(|known| known.unit.to_owned()).or(said).unwrap_or_default(),
            kind: known.map(|known| known.kind).or(kind).unwrap_or_default(),
            readings: entry.value.iter().map(|reading| reading.compile(self.order)).collect(),
        }
    }
}

/// All descriptions of a link, ready for reading.
pub fn compile(settings: &Named<Described>) -> Descriptions {
    Descriptions::new(settings.iter().map(|(name, settings)| settings.compile(name.as_str())).collect())
}

/// The quantity that goes by a point's name: `temperature`, and `temperature_2` as well.
fn known(name: &str) -> Option<Quantity> {
    let find = |name: &str| quantity::ALL.iter().find(|quantity| quantity.name == name).copied();
    find(name).or_else(|| {
        let (plain, number) = name.rsplit_once('_')?;
        number.parse::<u16>().ok().and_then(|_| find(plain))
    })
}

#[cfg(test)]
mod tests;
