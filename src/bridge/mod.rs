//! Topics of local clients on their way upstream, and topics from upstream on their way to local clients.
//!
//! What goes up goes through the queues on disk, like readings: it waits there until the broker upstream has
//! acknowledged it, and it is in the ledger. What comes down is published on the local broker.
//!
//! A message cannot go round: what goes up was published by a client of the local broker, and what came down was
//! not, so nothing crosses twice in the same direction. It cannot come back as an echo either: a site whose rules
//! ask for what the same rules send to the same broker is refused ([`overlap`](wharf_contract::topic::overlap)).
//!
//! What MQTT 5 says of a message goes with it. The topic its sender wants an answer on is called otherwise on the
//! other side, like every topic: the name is the one from which the rules of the other direction bring an answer
//! back there. If there is none, an answer could not arrive, and the message goes without.

mod pattern;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tracing::debug;

use crate::message::{Message, Properties, Qos};
use crate::north::{MOST_UPLINKS, North, Route, To};
use crate::queue::{Closed, LossReason};
use crate::topics::Topics;
use crate::uplink::Incoming;
pub use pattern::{Pattern, PatternError};

/// How long a client that publishes at QoS 0, or at 1 and 2, is held up while a queue has no room: disks are busy
/// for seconds now and then, and what was published hard is worth waiting for.
const PATIENCE: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];

/// Something a client of the local broker has published.
#[derive(Clone, Debug)]
pub struct Published<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// What it says.
    pub payload: &'a Bytes,
    /// How hard it was published; QoS 2 counts as 1.
    pub qos: Qos,
    /// Whether it is to be retained.
    pub retain: bool,
    /// What an answer shall carry.
    pub correlation: Option<Bytes>,
    /// What else MQTT 5 says of it.
    pub properties: Option<Box<Properties>>,
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
    pub fn up(&self, topics: &Topics, published: Published<'_>) -> Option<(Message, Route)> {
        let Published { topic, payload, qos, retain, correlation, mut properties } = published;
        if topics.is_command(topic) {
            return None;
        }
        let (rule, topic) = self.first_up(topic)?;
        if let Some(said) = &mut properties {
            let wanted = said.response_topic.take();
            said.response_topic = wanted.and_then(|local| self.answered_from_above(topics, &local, rule.uplinks));
        }
        let message = rule.message(topic, payload.clone(), qos, retain);
        Some((Message { correlation, properties, ..message }, rule.uplinks))
    }

    /// What local clients get of something that came down the uplink at that place: the first rule that fits
    /// decides.
    pub fn down(&self, topics: &Topics, uplink: usize, incoming: &Incoming) -> Option<Message> {
        let (rule, topic) = self.first_down(uplink, &incoming.topic)?;
        let qos = if incoming.id == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
        let wanted = incoming.response_topic.as_deref();
        let properties = Properties {
            response_topic: wanted.and_then(|above| self.answered_from_below(topics, above, uplink)),
            expires_in: incoming.expires_in,
            ..incoming.properties.as_deref().cloned().unwrap_or_default()
        };
        let message = rule.message(topic, incoming.payload.clone(), qos, incoming.retained);
        Some(Message { correlation: incoming.correlation.clone(), properties: properties.boxed(), ..message })
    }

    /// The rule that decides what becomes of a topic of a local client, and the topic's name upstream.
    fn first_up(&self, topic: &str) -> Option<(&Rule, String)> {
        self.up.iter().find_map(|rule| Some((rule, rule.pattern.rename(topic)?)))
    }

    /// The same for what comes down the uplink at that place, and its name here.
    fn first_down(&self, uplink: usize, topic: &str) -> Option<(&Rule, String)> {
        let mut rules = self.down.iter().filter(|rule| rule.uplinks.takes(uplink));
        rules.find_map(|rule| Some((rule, rule.pattern.rename(topic)?)))
    }

    /// Where someone upstream has to answer for the answer to come down as `local`, from each of those uplinks.
    fn answered_from_above(&self, topics: &Topics, local: &str, uplinks: Route) -> Option<String> {
        let comes_down = |above: &str, uplink| self.first_down(uplink, above).is_some_and(|(_, name)| name == local);
        self.down.iter().filter_map(|rule| rule.pattern.original(local)).find(|above| {
            let mut places = (0..MOST_UPLINKS).filter(|place| uplinks.takes(*place));
            !topics.is_command(above) && places.all(|uplink| comes_down(above, uplink))
        })
    }

    /// Where a local client has to answer for the answer to go up the uplink at that place as `above`.
    fn answered_from_below(&self, topics: &Topics, above: &str, uplink: usize) -> Option<String> {
        self.up.iter().filter_map(|rule| rule.pattern.original(above)).find(|local| {
            let goes_up = |(rule, name): (&Rule, String)| name == above && rule.uplinks.takes(uplink);
            !topics.is_command(local) && self.first_up(local).is_some_and(goes_up)
        })
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
    bridge: Arc<Bridge>,
    topics: Topics,
    north: North,
    counters: Arc<Counters>,
}

/// What was counted on the way up since the start.
#[derive(Debug)]
pub struct Counters {
    /// By the place of the uplink.
    pub uplinks: [UplinkCounters; MOST_UPLINKS],
    /// Messages that went without the topic they wanted an answer on: no rule brings an answer down to it.
    pub unanswerable: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self { uplinks: std::array::from_fn(|_| UplinkCounters::default()), unanswerable: AtomicU64::new(0) }
    }
}

/// What was counted of one uplink.
#[derive(Debug, Default)]
pub struct UplinkCounters {
    /// Messages its queue has taken.
    pub passed: AtomicU64,
    /// Messages for which it had no room.
    pub no_room: AtomicU64,
    /// Messages that were too large for it.
    pub too_large: AtomicU64,
}

impl Up {
    /// The way up by these rules, through a `north` [without](North::upstream) local clients.
    pub fn new(bridge: Arc<Bridge>, topics: Topics, north: North) -> Self {
        Self { bridge, topics, north, counters: Arc::default() }
    }

    /// The rules.
    pub fn bridge(&self) -> &Bridge {
        &self.bridge
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether a rule may fit a topic. The others need not [pass](Self::pass).
    pub fn concerns(&self, topic: &str) -> bool {
        !self.topics.is_command(topic) && self.bridge.up.iter().any(|rule| rule.pattern.fits(topic))
    }

    /// Puts it into the queues, if a rule fits it. Waits for room for [a moment](PATIENCE) only; what finds none is counted
    /// as lost there.
    ///
    /// # Errors
    /// The gateway stops, and a queue is closed or has no room now: nobody has it, and its publisher may not believe so.
    pub async fn pass(&self, published: Published<'_>) -> Result<(), Closed> {
        let wants_answer = published.properties.as_ref().is_some_and(|said| said.response_topic.is_some());
        let [lightly, hard] = PATIENCE;
        let patience = if published.qos == Qos::AtMostOnce { lightly } else { hard };
        let Some((message, uplinks)) = self.bridge.up(&self.topics, published) else { return Ok(()) };
        if wants_answer && !message.wants_answer() {
            self.counters.unanswerable.fetch_add(1, Ordering::Relaxed);
            debug!(topic = message.topic, "no bridge rule brings an answer down to where it is wanted");
        }
        let counters = &self.counters.uplinks;
        let note = |place: usize, dropped: Option<LossReason>| {
            let Some(counters) = counters.get(place) else { return };
            let counter = match dropped {
                None => &counters.passed,
                Some(LossReason::TooLarge) => &counters.too_large,
                Some(_) => &counters.no_room,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        };
        self.north.pass_on(message, &To::Some(uplinks), patience, note).await
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
        let (qos, retain, correlation, properties) = (Qos::AtLeastOnce, true, None, None);
        Published { topic, payload: &PAYLOAD, qos, retain, correlation, properties }
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
            properties: None,
        }
    }

    #[test]
    fn the_first_rule_that_fits_decides_where_something_goes_and_how() {
        let quiet = Rule { qos: Some(Qos::AtMostOnce), retain: Some(false), ..rule("a/b", "first", &[0]) };
        let bridge = Bridge { up: vec![quiet, rule("a/#", "second/#", &[0, 1])], down: Vec::new() };
        let (message, route) = bridge.up(&Topics::new("gw1"), published("a/b")).unwrap();
        assert_eq!((message.topic.as_str(), message.qos, message.retain), ("first", Qos::AtMostOnce, false));
        assert!(route.takes(0) && !route.takes(1));
        let (message, route) = bridge.up(&Topics::new("gw1"), published("a/c")).unwrap();
        assert_eq!((message.topic.as_str(), message.qos, message.retain), ("second/c", Qos::AtLeastOnce, true));
        assert!(route.takes(1));
        assert!(bridge.up(&Topics::new("gw1"), published("b")).is_none());
    }

    /// What is published with that response topic.
    fn asking(topic: &'static str, wanted: &str) -> Published<'static> {
        let said = Properties {
            content_type: Some("application/json".into()),
            response_topic: Some(wanted.into()),
            expires_in: Some(std::time::Duration::from_secs(60)),
            user: vec![("a".into(), "b".into())],
            is_text: Some(true),
        };
        Published { correlation: Some("7".into()), properties: said.boxed(), ..published(topic) }
    }

    #[test]
    fn what_is_said_of_a_message_goes_up_with_it_and_its_answer_is_wanted_where_it_comes_down_from() {
        let down = vec![rule("site/{plug}/cmnd/#", "cmnd/{plug}/#", &[0]), rule("house/#", "cmnd/#", &[0])];
        let bridge = Bridge { up: vec![rule("tele/#", "site/#", &[0])], down };
        let up = |wanted| bridge.up(&Topics::new("gw1"), asking("tele/p1", wanted)).unwrap().0;
        let message = up("cmnd/p1/reply");
        assert_eq!(message.correlation.as_deref(), Some(&b"7"[..]));
        let said = message.properties.unwrap();
        let wanted = Some("site/p1/cmnd/reply".to_owned());
        let expected = asking("tele/p1", "").properties.unwrap();
        assert_eq!(*said, Properties { response_topic: wanted, ..*expected });
        let lost = up("elsewhere");
        assert!(!lost.wants_answer() && lost.properties.is_some(), "no rule brings it down");
        assert_eq!(up("cmnd/p1").properties.unwrap().response_topic.as_deref(), Some("site/p1/cmnd"));
    }

    #[test]
    fn an_answer_that_does_not_come_down_from_everywhere_the_question_goes_to_is_not_asked_for() {
        let bridge = |uplinks: &[usize]| Bridge {
            up: vec![rule("ask/#", "ask/#", &[0, 1])],
            down: vec![rule("answer/#", "answer/#", uplinks)],
        };
        let wants =
            |uplinks| bridge(uplinks).up(&Topics::new("gw1"), asking("ask/a", "answer/a")).unwrap().0.wants_answer();
        assert!(wants(&[0, 1]) && !wants(&[0]));
    }

    #[test]
    fn a_question_from_upstream_is_answered_where_the_answer_goes_up_and_never_on_a_command() {
        let topics = Topics::new("gw1");
        let bridge = Bridge {
            up: vec![rule("kept/#", "all/kept/#", &[1]), rule("#", "all/#", &[0])],
            down: vec![rule("ask/#", "ask/#", &[0])],
        };
        let wanted = |above: &str| {
            let asked = Incoming { response_topic: Some(above.into()), ..incoming("ask/a", 1) };
            let said = bridge.down(&topics, 0, &asked).unwrap().properties;
            said.and_then(|said| said.response_topic)
        };
        assert_eq!(wanted("all/answer/a").as_deref(), Some("answer/a"));
        assert_eq!(wanted("other/answer"), None);
        assert_eq!(wanted("all/gw1-in/tank/valve"), None, "a command stays here");
        assert_eq!(wanted("all/kept/a"), None, "it goes up another uplink");
    }

    #[test]
    fn commands_to_the_gateway_stay_here() {
        let bridge = Bridge { up: vec![rule("#", "site/#", &[0])], down: Vec::new() };
        assert!(bridge.up(&Topics::new("gw1"), published("gw1-in/tank/valve")).is_none());
        assert!(bridge.up(&Topics::new("gw1"), published("gw2-in/tank/valve")).is_some());
    }

    #[test]
    fn what_comes_down_an_uplink_is_for_the_rules_of_that_uplink() {
        let bridge = Bridge { up: Vec::new(), down: vec![rule("house/#", "#", &[1]), rule("house/x", "x", &[1])] };
        assert_eq!(bridge.wanted(0), Vec::<String>::new());
        assert_eq!(bridge.wanted(1), ["house/#", "house/x"]);
        assert!(bridge.down(&Topics::new("gw1"), 0, &incoming("house/x", 1)).is_none());
        let message = bridge.down(&Topics::new("gw1"), 1, &incoming("house/a/b", 0)).unwrap();
        assert_eq!((message.topic.as_str(), message.qos, message.retain), ("a/b", Qos::AtMostOnce, true));
        assert_eq!(bridge.down(&Topics::new("gw1"), 1, &incoming("house/a/b", 3)).unwrap().qos, Qos::AtLeastOnce);
    }
}
