//! The settings, as the session uses them.

use std::sync::Arc;
use std::time::Duration;

use wharf_contract::meaning::{Scaling, Words};
use wharf_contract::settings::{Name, Named, OneOrMany, Spanned, WriteSettings};
use wharf_contract::{DeviceId, PointId, Unit, Value, WriteRule};

use super::text::Word;
use super::{
    AvailableSettings, DeviceSettings, DiscoverSettings, LinkSettings, PointSettings, PublishWrite, TimeSettings,
};
use crate::device::{Ask, Available, Identity, Point, Shape, TimeRule, Write};
use crate::topic::Pattern;
use crate::value::{Meaning, ValueType};

impl LinkSettings {
    /// The devices: those that are listed, in the order of the file, then those to discover.
    pub(crate) fn shapes(&self) -> Vec<Shape> {
        let listed = self.devices.iter().map(|(name, device)| device.build(name, self.timeout.get()));
        listed.chain(self.discover.iter().map(|kind| kind.build(self.timeout.get()))).collect()
    }
}

impl LinkSettings {
    /// What is published to write a value, and where.
    ///
    /// # Errors
    /// There is no such point, it is not open for writing, or the value must not be written: in words.
    pub fn publication(&self, device: &str, point: &str, value: &Value) -> Result<(String, Vec<u8>), String> {
        let shapes = self.shapes();
        let shape = shapes.iter().find(|shape| shape.name().is_some_and(|name| name.as_str() == device));
        let point = shape.and_then(|shape| shape.points.iter().find(|known| known.id.as_str() == point));
        let point = point.ok_or("there is no such point")?;
        let write = point.write.as_ref().ok_or("it is not open for writing")?;
        Ok((write.topic.clone(), write.prepare(&point.meaning, value)?.0))
    }

    /// The topics that are published on, where they stand.
    pub fn placed_targets(&self) -> impl Iterator<Item = &Spanned<Pattern>> {
        self.devices.iter().flat_map(|(_, device)| {
            let writes = device.points.iter().filter_map(|(_, point)| point.write.as_ref()?.topic.as_ref());
            writes.chain(device.ask.as_ref().map(|ask| &ask.topic))
        })
    }

    /// The topics that are listened to, where they stand.
    pub fn placed_topics(&self) -> impl Iterator<Item = &Spanned<Pattern>> {
        fn all<'s>(
            topic: Option<&'s OneOrMany<Spanned<Pattern>>>,
            available: Option<&'s OneOrMany<AvailableSettings>>,
            points: &'s Named<PointSettings>,
        ) -> impl Iterator<Item = &'s Spanned<Pattern>> {
            let of_points = points.iter().filter_map(|(_, point)| point.topic.as_ref());
            let told = topic.into_iter().chain(of_points).flat_map(|topics| topics.iter());
            let available = available.into_iter().flat_map(|topics| topics.iter());
            told.chain(available.map(|available| &available.topic))
        }
        let devices = self.devices.iter();
        let listed =
            devices.flat_map(|(_, device)| all(device.topic.as_ref(), device.available.as_ref(), &device.points));
        let kinds = self.discover.iter();
        listed.chain(kinds.flat_map(|kind| all(kind.topic.as_ref(), kind.available.as_ref(), &kind.points)))
    }
}

impl DeviceSettings {
    fn build(&self, name: &Name, timeout: Duration) -> Shape {
        let own = |pattern: &Pattern| pattern.of(name.as_str());
        let mut points = points(&self.points, self.topic.as_ref(), timeout);
        points.iter_mut().flat_map(|point| &mut point.topics).for_each(|topic| *topic = own(topic));
        Shape {
            identity: Identity::Named(DeviceId::from(name)),
            available: available(self.available.as_ref())
                .map(|available| Available { topic: own(&available.topic), ..available })
                .collect(),
            time: self.time.as_ref().map(TimeSettings::build),
            ask: self.ask.as_ref().map(|ask| Ask {
                topic: own(&ask.topic).as_str().to_owned(),
                payload: ask.payload.clone(),
                every: ask.every.map(|every| every.get()),
            }),
            retained: self.retained,
            quiet_after: self.quiet_after.map(|quiet| quiet.get()),
            points,
        }
    }
}

impl DiscoverSettings {
    fn build(&self, timeout: Duration) -> Shape {
        Shape {
            identity: Identity::Found { most: usize::from(self.most.get()) },
            available: available(self.available.as_ref()).collect(),
            time: self.time.as_ref().map(TimeSettings::build),
            ask: None,
            retained: self.retained,
            quiet_after: self.quiet_after.map(|quiet| quiet.get()),
            points: points(&self.points, self.topic.as_ref(), timeout),
        }
    }
}

fn available(topics: Option<&OneOrMany<AvailableSettings>>) -> impl Iterator<Item = Available> {
    topics.into_iter().flat_map(|topics| topics.iter()).map(AvailableSettings::build)
}

fn points(points: &Named<PointSettings>, topic: Option<&OneOrMany<Spanned<Pattern>>>, timeout: Duration) -> Vec<Point> {
    points.iter().map(|(name, point)| point.build(name, topic, timeout)).collect()
}

impl AvailableSettings {
    fn build(&self) -> Available {
        Available {
            topic: self.topic.value.clone(),
            of: self.of,
            path: self.path.clone(),
            online: words(Some(&self.online)),
            offline: words(Some(&self.offline)),
        }
    }
}

impl TimeSettings {
    fn build(&self) -> TimeRule {
        TimeRule { path: self.path.clone(), zone: self.zone.map(|zone| zone.minutes) }
    }
}

impl PointSettings {
    fn build(&self, name: &Name, topic: Option<&OneOrMany<Spanned<Pattern>>>, timeout: Duration) -> Point {
        // A point without a path that has no topic of its own is written alone, where the device's
        // payloads are JSON; else the payload is the value.
        let topics = self.topic.as_ref().or(topic.filter(|_| self.path.is_some() || self.write.is_none()));
        Point {
            id: PointId::from(name),
            topics: topics.map(|topics| topics.iter().map(|topic| topic.value.clone()).collect()).unwrap_or_default(),
            paths: self.path.as_ref().map(|paths| paths.to_vec()).unwrap_or_default(),
            meaning: self.meaning(),
            write: self.write.as_ref().map(|write| write.build(timeout)),
        }
    }

    /// What stands there.
    pub(super) fn kind(&self) -> ValueType {
        let told = if self.on.is_some() {
            ValueType::Bool
        } else if self.names.is_some() {
            ValueType::Text
        } else {
            ValueType::Number
        };
        self.r#type.unwrap_or(told)
    }

    fn meaning(&self) -> Meaning {
        Meaning {
            kind: self.kind(),
            number: Scaling {
                scale: self.scale,
                offset: self.offset,
                precision: self.precision.map(|precision| precision.get()),
                min: self.min,
                max: self.max,
            },
            words: Words {
                invalid: words(self.invalid.as_ref()),
                names: self.names.as_ref().map(|names| names.0.clone()).unwrap_or_default(),
            },
            on: words(self.on.as_ref()),
            off: words(self.off.as_ref()),
            unit: self.unit.as_deref().map(Unit::from),
        }
    }
}

impl PublishWrite {
    fn build(&self, timeout: Duration) -> Write {
        Write {
            // The decoder has seen to it that there is one.
            topic: self.topic.as_ref().map(|topic| topic.as_str().to_owned()).unwrap_or_default(),
            payload: self.payload.clone(),
            retain: self.retain,
            timeout: self.timeout.map_or(timeout, |timeout| timeout.get()),
            rule: Arc::new(WriteRule::from(&self.rules())),
        }
    }

    /// The rules, as other drivers have them.
    pub(super) fn rules(&self) -> WriteSettings {
        WriteSettings {
            min: self.min,
            max: self.max,
            step: self.step,
            allowed: self.allowed.clone(),
            rate: self.rate,
            verify: self.verify,
            fail_safe: self.fail_safe.clone(),
        }
    }
}

fn words(words: Option<&OneOrMany<Word>>) -> Vec<String> {
    words.map(|words| words.iter().map(|word| word.0.clone()).collect()).unwrap_or_default()
}
