//! Topics of local clients on their way upstream, and topics from upstream on their way to local clients.
//!
//! What goes up goes through the queues on disk, like readings: it waits there until the broker upstream has
//! acknowledged it, and it is in the ledger. What comes down is published on the local broker.
//!
//! A message cannot go round: what goes up was published by a client of the local broker, and what came down was
//! not, so nothing crosses twice in the same direction. It cannot come back as an echo either: a site whose rules
//! ask for what the same rules send to the same broker is refused ([`overlap`]).

mod pattern;

use std::sync::Arc;

use bytes::Bytes;

use crate::message::{Message, Qos};
use crate::north::{North, Route, To};
use crate::topics::Topics;
use crate::uplink::Incoming;
pub use pattern::{Pattern, PatternError, overlap};

/// Something a client of the local broker has published.
#[derive(Clone, Copy, Debug)]
pub struct Published<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// What it says.
    pub payload: &'a Bytes,
    /// How hard it was published; QoS 2 counts as 1.
    pub qos: Qos,
    /// Whether it is to be retained.
    pub retain: bool,
}

/// The rules of a site.
#[derive(Clone, Debug, Default)]
pub struct Bridge {
    /// From local clients to uplinks.
    pub up: Vec<Rule>,
    /// From uplinks to local clients.
    pub down: Vec<Rule>,
}

/// A rule: which topics, between whom, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which topics, and what they are called on the other side.
    pub pattern: Pattern,
    /// Which uplinks.
    pub uplinks: Route,
    /// How hard, where that is not left to the publisher.
    pub qos: Option<Qos>,
    /// Whether it is retained, where that is not left to the publisher.
    pub retain: Option<bool>,
}

impl Bridge {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.up.is_empty() && self.down.is_empty()
    }

    /// Where something goes that a client of the local broker has published: the first rule that fits decides.
    /// Commands to the gateway itself stay here.
    pub fn up(&self, topics: &Topics, published: &Published<'_>) -> Option<(Message, Route)> {
        if self.up.is_empty() || topics.is_command(published.topic) {
            return None;
        }
        let (rule, topic) = self.up.iter().find_map(|rule| Some((rule, rule.pattern.rename(published.topic)?)))?;
        Some((rule.message(topic, published.payload.clone(), published.qos, published.retain), rule.uplinks))
    }

    /// What local clients get of something that came down the uplink at that place: the first rule that fits
    /// decides.
    pub fn down(&self, uplink: usize, incoming: &Incoming) -> Option<Message> {
        let rules = self.down.iter().filter(|rule| rule.uplinks.takes(uplink));
        let (rule, topic) = rules.into_iter().find_map(|rule| Some((rule, rule.pattern.rename(&incoming.topic)?)))?;
        let qos = if incoming.id == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
        Some(rule.message(topic, incoming.payload.clone(), qos, incoming.retained))
    }

    /// What to subscribe to at the uplink at that place.
    pub fn wanted(&self, uplink: usize) -> Vec<String> {
        let mut filters: Vec<_> = self
            .down
            .iter()
            .filter(|rule| rule.uplinks.takes(uplink))
            .map(|rule| rule.pattern.from_filter().to_owned())
            .collect();
        filters.sort();
        filters.dedup();
        filters
    }
}

/// The way up. Cheap to clone.
#[derive(Clone)]
pub struct Up {
    /// The rules.
    pub bridge: Arc<Bridge>,
    /// The gateway's topics.
    pub topics: Topics,
    /// The way to the queues, [without](North::upstream) local clients.
    pub north: North,
}

impl Up {
    /// Whether a rule fits a topic.
    pub fn concerns(&self, topic: &str) -> bool {
        let fits = |rule: &Rule| rule.pattern.rename(topic).is_some();
        !self.topics.is_command(topic) && self.bridge.up.iter().any(fits)
    }

    /// Puts it into the queues, if a rule fits it. Waits for room for a moment only; what finds none is counted as lost
    /// there.
    pub async fn pass(&self, published: &Published<'_>) {
        if let Some((message, uplinks)) = self.bridge.up(&self.topics, published) {
            self.north.publish(message, &To::Some(uplinks)).await;
        }
    }
}

impl Rule {
    fn message(&self, topic: String, payload: Bytes, qos: Qos, retain: bool) -> Message {
        let mut message = Message::new(topic, payload);
        message.qos = self.qos.unwrap_or(qos);
        message.retain = self.retain.unwrap_or(retain);
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(from: &str, to: &str, uplinks: &[usize]) -> Rule {
        Rule {
            pattern: Pattern::new(from, Some(to), "gw1").unwrap(),
            uplinks: uplinks.iter().fold(Route::default(), |route, place| route.and(*place)),
            qos: None,
            retain: None,
        }
    }

    fn published(topic: &str) -> Published<'_> {
        static PAYLOAD: Bytes = Bytes::from_static(b"on");
        Published { topic, payload: &PAYLOAD, qos: Qos::AtLeastOnce, retain: true }
    }

    fn incoming(topic: &str, id: u16) -> Incoming {
        Incoming {
            topic: topic.into(),
            payload: "on".into(),
            retained: true,
            duplicate: false,
            id,
            expires_in: None,
            response_topic: None,
            correlation: None,
        }
    }

    #[test]
    fn the_first_rule_that_fits_decides_where_something_goes_and_how() {
        let quiet = Rule { qos: Some(Qos::AtMostOnce), retain: Some(false), ..rule("a/b", "first", &[0]) };
        let bridge = Bridge { up: vec![quiet, rule("a/#", "second/#", &[0, 1])], down: Vec::new() };
        let (message, route) = bridge.up(&Topics::new("gw1"), &published("a/b")).unwrap();
        assert_eq!((message.topic.as_str(), message.qos, message.retain), ("first", Qos::AtMostOnce, false));
        assert!(route.takes(0) && !route.takes(1));
        let (message, route) = bridge.up(&Topics::new("gw1"), &published("a/c")).unwrap();
        assert_eq!((message.topic.as_str(), message.qos, message.retain), ("second/c", Qos::AtLeastOnce, true));
        assert!(route.takes(1));
        assert!(bridge.up(&Topics::new("gw1"), &published("b")).is_none());
    }

    #[test]
    fn commands_to_the_gateway_stay_here() {
        let bridge = Bridge { up: vec![rule("#", "site/#", &[0])], down: Vec::new() };
        assert!(bridge.up(&Topics::new("gw1"), &published("gw1-in/tank/valve")).is_none());
        assert!(bridge.up(&Topics::new("gw1"), &published("gw2-in/tank/valve")).is_some());
    }

    #[test]
    fn what_comes_down_an_uplink_is_for_the_rules_of_that_uplink() {
        let bridge = Bridge { up: Vec::new(), down: vec![rule("house/#", "#", &[1]), rule("house/x", "x", &[1])] };
        assert_eq!(bridge.wanted(0), Vec::<String>::new());
        assert_eq!(bridge.wanted(1), ["house/#", "house/x"]);
        assert!(bridge.down(0, &incoming("house/x", 1)).is_none());
        let message = bridge.down(1, &incoming("house/a/b", 0)).unwrap();
        assert_eq!((message.topic.as_str(), message.qos, message.retain), ("a/b", Qos::AtMostOnce, true));
        assert_eq!(bridge.down(1, &incoming("house/a/b", 3)).unwrap().qos, Qos::AtLeastOnce);
    }
}
