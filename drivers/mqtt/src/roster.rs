//! Whose message it is, and what it says. Pure: a message goes in, and what is known of the devices;
//! readings come out.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value as Json;
use wharf_contract::settings::{Name, node::clip};
use wharf_contract::{DeviceId, Labels, PointId, Quality, Reading, Value};

use crate::config::{LinkSettings, Retained, Whose};
use crate::device::{Available, Identity, Point, Shape};
use crate::standing::Standing;
use crate::time;

/// The largest payload that is looked at, in bytes.
pub const LARGEST_PAYLOAD: usize = 256 * 1024;

/// What is said of a value that the broker had kept.
const KEPT: &str = "retained by the broker: when it was taken is not known";

/// What is said of one that was kept, and says itself that it is old.
const OLD: &str = "retained by the broker, and older than the device may be silent";

/// A message as it came.
#[derive(Clone, Copy, Debug)]
pub struct Message<'m> {
    /// Its topic.
    pub topic: &'m str,
    /// What was published.
    pub payload: &'m [u8],
    /// Whether the broker had kept it.
    pub retained: bool,
}

/// The devices of a link, and those that their topics have named so far.
#[derive(Debug)]
pub struct Roster {
    shapes: Arc<[Shape]>,
    /// The shapes that one topic belongs to.
    plain: HashMap<String, Vec<usize>>,
    /// The shapes that have patterns.
    open: Vec<usize>,
    /// The names that nothing heard can take.
    taken: HashSet<String>,
    /// The levels that the gateway's own topics begin with.
    own: Vec<String>,
    /// The devices that were discovered, and as what.
    found: HashMap<DeviceId, usize>,
    /// What each point last held: a retained message that says the same is no news. It has an entry per
    /// point of the site file and of the devices discovered, so it is bounded as they are.
    last: HashMap<(DeviceId, PointId), Value>,
    /// What was said of who is there; it has an entry per device of the site file and per one discovered.
    standings: HashMap<DeviceId, Standing>,
    /// The same of the gateways that devices to discover are heard through, by shape: for those that come later.
    gateways: HashMap<usize, Standing>,
}

/// What a message says.
#[derive(Debug, Default, PartialEq)]
pub struct Taken {
    /// By device.
    pub heard: Vec<Heard>,
    /// What was not used: a word that is counted, whose it was, and why.
    pub refused: Vec<(&'static str, Option<DeviceId>, String)>,
}

/// What a device said.
#[derive(Debug, PartialEq)]
pub struct Heard {
    /// Its place in the site file.
    pub shape: usize,
    /// Which device.
    pub device: DeviceId,
    /// What it says of itself: that it is there, or not.
    pub alive: Option<bool>,
    /// What it says of its points.
    pub readings: Vec<Reading>,
}

impl Roster {
    /// The devices of the site file.
    pub fn new(shapes: Arc<[Shape]>) -> Self {
        let mut plain: HashMap<String, Vec<usize>> = HashMap::new();
        let mut open = Vec::new();
        for (index, shape) in shapes.iter().enumerate() {
            for topic in shape.topics() {
                let places =
                    if topic.is_plain() { plain.entry(topic.as_str().to_owned()).or_default() } else { &mut open };
                if places.last() != Some(&index) {
                    places.push(index);
                }
            }
        }
        let taken = shapes.iter().filter_map(|shape| Some(shape.name()?.as_str().to_owned())).collect();
        Self {
            shapes,
            plain,
            open,
            taken,
            own: Vec::new(),
            found: HashMap::new(),
            last: HashMap::new(),
            standings: HashMap::new(),
            gateways: HashMap::new(),
        }
    }

    /// The devices of a link, by themselves.
    pub fn of(settings: &LinkSettings) -> Self {
        Self::new(settings.shapes().into())
    }

    /// Names that belong to others.
    pub fn avoid(&mut self, names: impl IntoIterator<Item = String>) {
        self.taken.extend(names);
    }

    /// The gateway's name: what it publishes itself is never taken for a device's.
    pub fn belongs_to(&mut self, gateway: &str) {
        self.own = own_levels(gateway).to_vec();
    }

    /// How many devices were discovered.
    pub fn found(&self) -> usize {
        self.found.len()
    }

    /// What was said of who is there does not hold any more.
    pub fn forget_who_is_there(&mut self) {
        self.standings.clear();
        self.gateways.clear();
    }

    /// What a message says.
    pub fn take(&mut self, message: Message<'_>, now: SystemTime) -> Taken {
        let mut taken = Taken::default();
        let first = message.topic.split('/').next().unwrap_or_default();
        // Nobody means the empty payload that takes a retained message back.
        if self.own.iter().any(|own| own == first) || message.payload.is_empty() {
            return taken;
        }
        if message.payload.len() > LARGEST_PAYLOAD {
            taken.refused.push((
                "too_large",
                None,
                format!("{} has {} bytes", clip(message.topic), message.payload.len()),
            ));
            return taken;
        }
        let content = Content::new(message.payload);
        let plain = self.plain.get(message.topic).cloned().unwrap_or_default();
        // In the order of the site file: what is listed comes before what is discovered.
        let mut places: Vec<usize> = plain.into_iter().chain(self.open.iter().copied()).collect();
        places.sort_unstable();
        places.dedup();
        let mut is_claimed = false;
        let shapes = Arc::clone(&self.shapes);
        for index in places {
            let Some(shape) = shapes.get(index) else { continue };
            let is_listed = shape.name().is_some();
            // What a listed device says is that one's, and nobody else's.
            if !is_listed && is_claimed {
                break;
            }
            is_claimed |= self.offer(index, shape, message, &content, now, &mut taken);
        }
        taken
    }

    /// Offers a message to one shape. Returns whether it is a listed device's, and nobody else's.
    fn offer(
        &mut self,
        index: usize,
        shape: &Shape,
        message: Message<'_>,
        content: &Content<'_>,
        now: SystemTime,
        taken: &mut Taken,
    ) -> bool {
        let is_listed = shape.name().is_some();
        if !is_listed {
            self.hear_gateway(index, shape, message, content, taken);
        }
        // What a device is called stands in every topic that is about just one.
        let mut topics = shape.topics().filter(|topic| is_listed || topic.names_device());
        let Some(called) = topics.find_map(|topic| topic.fit(message.topic)) else { return false };
        let device = match &shape.identity {
            Identity::Named(name) => name.clone(),
            Identity::Found { .. } => match self.name_of(index, called) {
                Ok(name) => name,
                Err(why) => {
                    taken.refused.push(("nameless", None, why));
                    return false;
                }
            },
        };
        let mut heard = Heard { shape: index, device, alive: None, readings: Vec::new() };
        let mut said = Vec::new();
        let mut is_its_own = false;
        for (place, available) in shape.available_on(message.topic) {
            if !is_listed && !available.topic.names_device() {
                continue;
            }
            is_its_own |= available.of == Whose::Device;
            match is_there(available, content) {
                Ok(is_there) => said.extend(is_there.map(|is_there| (place, is_there))),
                Err(why) => taken.refused.push(("availability", Some(heard.device.clone()), why)),
            }
        }
        let is_ignored = message.retained && shape.retained == Retained::Ignore;
        let told_there = |point: &&Point| point.topics.iter().any(|topic| topic.fit(message.topic).is_some());
        let mut points: Vec<&Point> = shape.points.iter().filter(told_there).collect();
        let is_about_points = !points.is_empty();
        points.retain(|_| !is_ignored);
        let mut when = When { taken_at: now, is_told: false };
        if let Some(rule) = shape.time.as_ref().filter(|_| !points.is_empty())
            && let Some(told) = content.json().and_then(|json| rule.path.find(json))
        {
            match time::read(told, rule.zone, now) {
                Some(time) => when = When { taken_at: time, is_told: true },
                None => {
                    let why = format!(
                        "`{}` is not believed as the time: it has no zone, or cannot be",
                        clip(&told.to_string())
                    );
                    taken.refused.push(("time", Some(heard.device.clone()), why));
                }
            }
        }
        let mut not_json = false;
        for point in points {
            match value(point, content) {
                Said::Nothing => {}
                Said::NotJson => not_json = true,
                Said::Value(value) => {
                    let reading = reading(point, &heard.device, shape, value, message.retained, when, now);
                    if self.is_news(&reading, message.retained) {
                        heard.readings.push(reading);
                    }
                }
            }
        }
        if not_json {
            let why = format!("{}: the payload is not JSON", clip(message.topic));
            taken.refused.push(("not_json", Some(heard.device.clone()), why));
        }
        if !self.admit(index, shape, &heard) {
            return false;
        }
        let standing = self.standing(index, &heard.device);
        // A device that says something is there, even if it says nothing that anybody asked for.
        let is_alive = !message.retained && !not_json;
        if is_alive && (is_about_points || is_its_own && said.is_empty()) {
            standing.hear();
            heard.alive = Some(true);
        }
        if !said.is_empty() {
            for (place, is_there) in &said {
                if let Err(why) = standing.note(*place, message.topic, *is_there) {
                    taken.refused.push(("availability", Some(heard.device.clone()), why));
                }
            }
            heard.alive = standing.verdict(&shape.available);
        }
        if heard.alive.is_some() || !said.is_empty() || !heard.readings.is_empty() {
            taken.heard.push(heard);
        }
        is_listed && (is_about_points || is_its_own)
    }

    /// What a gateway says of itself is said of all the devices it was discovered through.
    fn hear_gateway(
        &mut self,
        index: usize,
        shape: &Shape,
        message: Message<'_>,
        content: &Content<'_>,
        taken: &mut Taken,
    ) {
        for (place, available) in shape.available_on(message.topic) {
            if available.topic.names_device() {
                continue;
            }
            let is_there = match is_there(available, content) {
                Ok(Some(is_there)) => is_there,
                Ok(None) => continue,
                Err(why) => {
                    taken.refused.push(("availability", None, why));
                    continue;
                }
            };
            if let Err(why) = self.gateways.entry(index).or_default().note(place, message.topic, is_there) {
                taken.refused.push(("availability", None, why));
                continue;
            }
            let of_this = self.found.iter().filter(|(_, known)| **known == index);
            let mut devices: Vec<DeviceId> = of_this.map(|(device, _)| device.clone()).collect();
            devices.sort_unstable();
            for device in devices {
                let standing = self.standing(index, &device);
                // There is as much room for it as there was for all of them.
                let _ = standing.note(place, message.topic, is_there);
                let alive = standing.verdict(&shape.available);
                taken.heard.push(Heard { shape: index, device, alive, readings: Vec::new() });
            }
        }
    }

    /// What was said of whether a device is there. One that was discovered begins with what was said of its gateways.
    fn standing(&mut self, index: usize, device: &DeviceId) -> &mut Standing {
        let gateways = self.gateways.get(&index);
        self.standings.entry(device.clone()).or_insert_with(|| gateways.cloned().unwrap_or_default())
    }

    /// A device that was discovered becomes known when it says something of a point.
    fn admit(&mut self, index: usize, shape: &Shape, heard: &Heard) -> bool {
        if shape.name().is_some() || self.found.contains_key(&heard.device) {
            return true;
        }
        if heard.readings.is_empty() {
            return false;
        }
        self.found.insert(heard.device.clone(), index);
        true
    }

    /// The name of a device that is heard.
    fn name_of(&self, index: usize, called: &str) -> Result<DeviceId, String> {
        let name = Name::new(called).map_err(|why| format!("`{}`: {why}", clip(called)))?;
        if self.taken.contains(name.as_str()) {
            return Err(format!("`{name}` is another device's name"));
        }
        let device = DeviceId::from(&name);
        let most = match self.shapes.get(index).map(|shape| &shape.identity) {
            Some(Identity::Found { most }) => *most,
            _ => 0,
        };
        match self.found.get(&device) {
            Some(known) if *known != index => Err(format!("`{name}` was discovered by another topic already")),
            Some(_) => Ok(device),
            None if self.found.values().filter(|known| **known == index).count() >= most => {
                Err(format!("there are {most} already, so {name} is not taken in"))
            }
            None => Ok(device),
        }
    }

    /// Notes what a point holds, and whether a message that the broker had kept says anything new.
    fn is_news(&mut self, reading: &Reading, retained: bool) -> bool {
        let key = (reading.device.clone(), reading.point.clone());
        let Some(value) = &reading.value else { return true };
        if retained && self.last.get(&key) == Some(value) {
            return false;
        }
        // A device that is not known yet leaves no trace here until it is.
        if self.taken.contains(key.0.as_str()) || self.found.contains_key(&key.0) {
            self.last.insert(key, value.clone());
        }
        true
    }
}

/// The levels that topics of a gateway begin with.
pub fn own_levels(gateway: &str) -> [String; 3] {
    ["out", "in", "sys"].map(|end| format!("{gateway}-{end}"))
}

/// What a payload is, found out when somebody asks.
struct Content<'p> {
    text: Option<&'p str>,
    json: OnceCell<Option<Json>>,
}

impl<'p> Content<'p> {
    fn new(payload: &'p [u8]) -> Self {
        Self { text: std::str::from_utf8(payload).ok(), json: OnceCell::new() }
    }

    fn json(&self) -> Option<&Json> {
        // The parser itself refuses what is nested more than 128 deep.
        self.json.get_or_init(|| serde_json::from_str(self.text?).ok()).as_ref()
    }
}

/// What a payload says of a point.
enum Said {
    Nothing,
    NotJson,
    Value(Result<Value, String>),
}

fn value(point: &Point, content: &Content<'_>) -> Said {
    if point.paths.is_empty() {
        return Said::Value(match content.text {
            Some(text) => point.meaning.read(&Json::String(text.to_owned())),
            None => Err("the payload is not text".into()),
        });
    }
    let Some(json) = content.json() else { return Said::NotJson };
    match point.paths.iter().find_map(|path| path.find(json)) {
        Some(found) => Said::Value(point.meaning.read(found)),
        None => Said::Nothing,
    }
}

/// Whether a device says that it is there; `None` if it does not say.
fn is_there(available: &Available, content: &Content<'_>) -> Result<Option<bool>, String> {
    let told = match &available.path {
        None => content.text.map(|text| text.trim().to_owned()),
        Some(path) => match content.json().map(|json| path.find(json)) {
            Some(None) => return Ok(None),
            Some(Some(Json::String(text))) => Some(text.clone()),
            Some(Some(other)) => Some(other.to_string()),
            // Zigbee2MQTT said `online` before it said {"state":"online"}, and can be told to do so still.
            None => content.text.map(|text| text.trim().to_owned()),
        },
    };
    match told {
        Some(told) if available.online.contains(&told) => Ok(Some(true)),
        Some(told) if available.offline.contains(&told) => Ok(Some(false)),
        Some(told) => Err(format!("`{}` says neither that it is there nor that it is not", clip(&told))),
        None => Err("its availability cannot be read".into()),
    }
}

/// When a message was made.
#[derive(Clone, Copy)]
struct When {
    taken_at: SystemTime,
    is_told: bool,
}

fn reading(
    point: &Point,
    device: &DeviceId,
    shape: &Shape,
    value: Result<Value, String>,
    retained: bool,
    when: When,
    now: SystemTime,
) -> Reading {
    let age = now.duration_since(when.taken_at).unwrap_or_default();
    let doubt = match (retained && shape.retained == Retained::LastKnown, when.is_told) {
        (true, false) => Some(KEPT),
        (true, true) => shape.quiet_after.filter(|quiet| age > *quiet).map(|_| OLD),
        (false, _) => None,
    };
    let (value, quality, reason) = match (value, doubt) {
        (Ok(value), None) => (Some(value), Quality::Good, None),
        (Ok(value), Some(doubt)) => (Some(value), Quality::Stale, Some(Arc::from(doubt))),
        (Err(why), _) => (None, Quality::Bad, Some(Arc::from(why))),
    };
    Reading {
        device: device.clone(),
        point: point.id.clone(),
        value,
        verbatim: None,
        unit: point.meaning.unit.clone(),
        quality,
        reason,
        taken_at: when.taken_at,
        labels: Labels::NONE,
    }
}

#[cfg(test)]
mod tests;
