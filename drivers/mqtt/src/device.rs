//! The devices of a link, as the site file has them.

use std::sync::Arc;
use std::time::Duration;

use wharf_contract::{DeviceId, Labels, PointId, PointInfo, Value, WriteRule};

use crate::config::{Retained, Whose};
use crate::path::JsonPath;
use crate::payload::Payload;
use crate::topic::Pattern;
use crate::value::Meaning;

/// One device; or many of one kind, if they are named by their topics.
#[derive(Clone, Debug)]
pub struct Shape {
    /// What it is called.
    pub identity: Identity,
    /// Where it is said whether it is there.
    pub available: Vec<Available>,
    /// Where its payloads say when they were made.
    pub time: Option<TimeRule>,
    /// What makes it tell its values.
    pub ask: Option<Ask>,
    /// What retained values are.
    pub retained: Retained,
    /// How long it may be silent.
    pub quiet_after: Option<Duration>,
    /// Its points.
    pub points: Vec<Point>,
}

/// What a device is called.
#[derive(Clone, Debug)]
pub enum Identity {
    /// As in the site file.
    Named(DeviceId),
    /// As its topics say.
    Found {
        /// How many there may be.
        most: usize,
    },
}

/// Where it is said whether a device is there.
#[derive(Clone, Debug)]
pub struct Available {
    /// The topic.
    pub topic: Pattern,
    /// Whose word it is.
    pub of: Whose,
    /// The way to it, if the payload is JSON.
    pub path: Option<JsonPath>,
    /// What says that it is.
    pub online: Vec<String>,
    /// What says that it is not.
    pub offline: Vec<String>,
}

/// When a payload was made.
#[derive(Clone, Debug)]
pub struct TimeRule {
    /// The way to it.
    pub path: JsonPath,
    /// The zone of times that do not say theirs, in minutes east of Greenwich.
    pub zone: Option<i16>,
}

/// What makes a device tell its values.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Where it listens.
    pub topic: String,
    /// What it is sent.
    pub payload: Payload,
    /// How often, beside once at the beginning.
    pub every: Option<Duration>,
}

/// One value of a device.
#[derive(Clone, Debug)]
pub struct Point {
    /// Its name.
    pub id: PointId,
    /// Where it is told.
    pub topics: Vec<Pattern>,
    /// The ways to it, if the payload is JSON; the first that leads somewhere counts.
    pub paths: Vec<JsonPath>,
    /// What stands there.
    pub meaning: Meaning,
    /// How it is written, if it is.
    pub write: Option<Write>,
}

/// How a point is written.
#[derive(Clone, Debug)]
pub struct Write {
    /// Where the device listens.
    pub topic: String,
    /// What it is sent.
    pub payload: Payload,
    /// Whether the broker keeps it.
    pub retain: bool,
    /// How long the device may take to confirm it.
    pub timeout: Duration,
    /// What may be written.
    pub rule: Arc<WriteRule>,
}

impl Write {
    /// What to publish for a value, and the value as the device will understand it.
    ///
    /// # Errors
    /// The value must not be written, or cannot be: in words.
    pub fn prepare(&self, meaning: &Meaning, value: &Value) -> Result<(Vec<u8>, Value), String> {
        let (spelt, understood) =
            self.rule.prepare(value, |value| meaning.spell(value), |spelt| meaning.read(spelt))?;
        Ok((self.payload.render(&spelt)?, understood))
    }
}

impl Shape {
    /// The name, if the site file gives one.
    pub fn name(&self) -> Option<&DeviceId> {
        match &self.identity {
            Identity::Named(name) => Some(name),
            Identity::Found { .. } => None,
        }
    }

    /// Where it is heard.
    pub fn topics(&self) -> impl Iterator<Item = &Pattern> {
        let points = self.points.iter().flat_map(|point| &point.topics);
        points.chain(self.available.iter().map(|available| &available.topic))
    }

    /// Where it is said on a topic whether it is there, with their places in the list.
    pub fn available_on<'s>(&'s self, topic: &'s str) -> impl Iterator<Item = (usize, &'s Available)> {
        self.available.iter().enumerate().filter(move |(_, available)| available.topic.fit(topic).is_some())
    }

    /// The points that are known from the site file alone.
    pub fn catalogue(&self) -> impl Iterator<Item = PointInfo> {
        self.name().into_iter().flat_map(|name| {
            self.points.iter().map(|point| PointInfo {
                device: name.clone(),
                point: point.id.clone(),
                unit: point.meaning.unit.clone(),
                labels: Labels::NONE,
                write: point.write.as_ref().map(|write| Arc::clone(&write.rule)),
            })
        })
    }
}
