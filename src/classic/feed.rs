//! What passes the mapping, on its way to virtual nodes and to controllers at the doors. Nobody here is
//! waited for: what does not keep up misses something, and that is counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value as Json, json};
use tokio::sync::{broadcast, mpsc};
use tracing::warn;
use wharf_contract::{DeviceId, Reading};

use super::KIND;
use super::presented::{News, Presented};
use crate::mapping::LinkFacts;
use crate::seldom::Seldom;

/// How many lines a controller may be behind.
pub const LINES_WAITING: usize = 4096;

/// The labels that make a reading a message of the protocol.
const FIELDS: [&str; 5] = ["node", "child", "command", "ack", "type"];

/// The way to both. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Feed {
    presented: Option<(Arc<Presented>, mpsc::Sender<News>)>,
    lines: Option<broadcast::Sender<Arc<str>>>,
    is_for_controllers: bool,
    missed: Arc<AtomicU64>,
    clashes: Arc<AtomicU64>,
    complaints: Arc<Mutex<Seldom>>,
    doubles: Arc<Mutex<Seldom>>,
}

impl Feed {
    /// To the virtual nodes, if there are any, and to the doors, if there are any. `is_for_controllers`:
    /// whether there may be controllers that speak MQTT.
    pub fn new(
        presented: Option<(Arc<Presented>, mpsc::Sender<News>)>,
        has_doors: bool,
        is_for_controllers: bool,
    ) -> Self {
        let lines = has_doors.then(|| broadcast::channel(LINES_WAITING).0);
        Self {
            presented,
            lines,
            is_for_controllers,
            missed: Arc::default(),
            clashes: Arc::default(),
            complaints: Arc::default(),
            doubles: Arc::default(),
        }
    }

    /// A reading passes. `is_presented`: its device is shown as a node.
    pub fn show(&self, link: &LinkFacts, reading: &Reading, is_presented: impl FnOnce() -> bool) {
        if link.labels.contains(&FIELDS[0]) {
            self.look_for_doubles(link, reading);
            if let Some(lines) = self.lines.as_ref().filter(|lines| lines.receiver_count() > 0)
                && let Some(line) = line(reading)
            {
                // Nobody may be there any more.
                let _ = lines.send(line.into());
            }
        } else if let Some((_, presented)) = &self.presented
            && is_presented()
        {
            self.note(presented.try_send(News::Reading(Box::new(reading.clone()))).is_ok());
        }
    }

    /// A node of a network that has the number of a virtual one: to a controller the two are one.
    fn look_for_doubles(&self, link: &LinkFacts, reading: &Reading) {
        if let Some((presented, _)) = self.presented.as_ref().filter(|_| link.driver != KIND)
            && let Some(node) = reading.labels.get(FIELDS[0]).and_then(|node| node.parse().ok())
            && presented.has(node)
        {
            self.clashes.fetch_add(1, Ordering::Relaxed);
            if let Some(line) = self.doubles.lock().unwrap_or_else(PoisonError::into_inner).note(1) {
                warn!(link = %link.link, node, messages = line.count, "a node has the number of a virtual one: give one of them another");
            }
        }
    }

    /// A device answers, or does not.
    pub fn device(&self, link: &LinkFacts, device: &DeviceId, is_alive: bool) {
        if let Some((_, presented)) = self.presented.as_ref().filter(|_| !link.labels.contains(&FIELDS[0])) {
            self.note(presented.try_send(News::Device(device.clone(), is_alive)).is_ok());
        }
    }

    /// Whether virtual nodes took their news.
    fn note(&self, is_taken: bool) {
        if is_taken {
            return;
        }
        self.missed.fetch_add(1, Ordering::Relaxed);
        if let Some(line) = self.complaints.lock().unwrap_or_else(PoisonError::into_inner).note(1) {
            warn!(missed = line.count, "virtual nodes do not keep up with their devices, and miss values");
        }
    }

    /// A controller upstream has started and wants to know every node.
    pub fn birth(&self) {
        if let Some((_, presented)) = &self.presented {
            let _ = presented.try_send(News::Birth);
        }
    }

    /// Whether there may be controllers that speak MQTT.
    pub fn is_for_controllers(&self) -> bool {
        self.is_for_controllers
    }

    /// Every message from now on, a line each without its ending. A controller that falls behind by more
    /// than [`LINES_WAITING`] is told so in place of a line.
    pub fn lines(&self) -> Option<broadcast::Receiver<Arc<str>>> {
        self.lines.as_ref().map(broadcast::Sender::subscribe)
    }

    /// How many virtual nodes there are, how much of their news they missed because it came too fast, and how
    /// many messages came from nodes that have the number of one; `None` on a site that has none.
    pub fn to_json(&self) -> Option<Json> {
        let (presented, _) = self.presented.as_ref()?;
        let clashes = self.clashes.load(Ordering::Relaxed);
        Some(json!({ "nodes": presented.count(), "missed": self.missed(), "clashes": clashes }))
    }

    /// How many readings virtual nodes missed because they came too fast.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

/// The line that a reading was made of, or is to be; `None` if it has nothing that a line can say.
fn line(reading: &Reading) -> Option<String> {
    let mut line = String::with_capacity(48);
    for field in FIELDS {
        line.push_str(reading.labels.get(field)?);
        line.push(';');
    }
    match (&reading.verbatim, &reading.value) {
        (Some(verbatim), _) => line.push_str(verbatim),
        (None, Some(value)) => line.push_str(&value.to_string()),
        (None, None) => return None,
    }
    // A line is one, whatever a device says.
    Some(line.replace(char::is_control, " "))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use wharf_contract::{Labels, Value};

    use super::super::Way;
    use super::*;
    use crate::config::rules::Presents;
    use crate::topics::Topics;

    const RADIO: &[&str] = &FIELDS;

    fn reading(payload: &str) -> Reading {
        let numbers = FIELDS.into_iter().zip(["2", "1", "1", "0", "47"]);
        Reading {
            verbatim: Some(payload.into()),
            labels: Labels::new(numbers.map(|(field, number)| (field, number.to_owned()))),
            ..Reading::good("soil".into(), "1-text".into(), Value::Text(String::new()), SystemTime::UNIX_EPOCH)
        }
    }

    fn radio() -> LinkFacts {
        LinkFacts { link: "garden".into(), driver: "mysensors", labels: RADIO }
    }

    fn bus() -> LinkFacts {
        LinkFacts { link: "bus".into(), driver: "modbus", labels: &[] }
    }

    #[test]
    fn doors_see_messages_as_they_were_and_never_two_in_one_line() {
        let feed = Feed::new(None, true, false);
        let mut lines = feed.lines().unwrap();
        feed.show(&radio(), &reading("21.50"), || panic!("a node is no virtual one"));
        feed.show(&radio(), &reading("a\n2;255;3;0;13;"), || false);
        assert_eq!(&*lines.try_recv().unwrap(), "2;1;1;0;47;21.50");
        assert_eq!(&*lines.try_recv().unwrap(), "2;1;1;0;47;a 2;255;3;0;13;");
        feed.show(&bus(), &reading("1"), || true);
        assert!(lines.try_recv().is_err());
    }

    #[test]
    fn virtual_nodes_that_do_not_keep_up_miss_something_and_that_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let way = Way::new(Topics::new("gw1"), mpsc::channel(1).0);
        let (nodes, _told) = Presented::new(Presents::default(), &[], &dir.path().join("nodes.json"), way);
        let (news, mut told) = mpsc::channel(1);
        let feed = Feed::new(Some((nodes, news)), false, false);
        feed.show(&bus(), &reading("1"), || false);
        feed.show(&radio(), &reading("1"), || true);
        assert!(told.try_recv().is_err());
        for _ in 0..3 {
            feed.show(&bus(), &reading("1"), || true);
        }
        assert!(told.try_recv().is_ok());
        assert_eq!(feed.missed(), 2);
    }
}
