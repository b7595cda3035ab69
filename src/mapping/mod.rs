//! Reading → message: which topic, which payload, how delivered. Pure: no I/O, no clock.
//!
//! A site's rules are tried in order and the first that matches decides. After them come the
//! default rules, so that a reading no rule mentions still has a topic: links whose driver has a
//! topic form of its own (MySensors) use that, everything else `{gateway}-out/{device}/{point}`.
//! A rule with `drop` says that its readings are deliberately not published; one with several topics
//! publishes each of its readings several times, as MySensors' own form and by name say.

mod glob;
mod payload;
mod template;

use std::sync::Arc;

use wharf_contract::{DeviceId, LinkId, Reading};

pub use glob::Glob;
pub use payload::{Payload, epoch_ms};
pub use template::{Template, TemplateError};

use crate::message::{Message, Qos};
use crate::topics;

/// The words every topic template may use; a driver's labels come in addition.
pub const TOPIC_WORDS: &[&str] = &["gateway", "link", "driver", "device", "point"];

/// The words every payload template may use; a driver's labels come in addition.
pub const PAYLOAD_WORDS: &[&str] =
    &["gateway", "link", "driver", "device", "point", "value", "value_json", "unit", "ts", "quality"];

/// Where a default rule's topic form comes from: MySensors' own.
const CLASSIC_TOPIC: &str = "{gateway}-out/{node}/{child}/{command}/{ack}/{type}";
const DEFAULT_TOPIC: &str = "{gateway}-out/{device}/{point}";

/// Which readings a rule or an uplink is for; what is not given matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matcher {
    /// The link's name.
    pub link: Option<Glob>,
    /// The driver's kind.
    pub driver: Option<Glob>,
    /// The device's name.
    pub device: Option<Glob>,
    /// The point's name.
    pub point: Option<Glob>,
}

/// A rule: which readings, and what becomes of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which readings.
    pub matcher: Matcher,
    /// What becomes of them: one message for each of these. None of them means they are not published.
    pub publish: Vec<Publish>,
    /// Whether their devices are shown as MySensors nodes.
    pub is_presented: bool,
}

/// How a rule's readings are published, or one of the ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// The topic.
    pub topic: Template,
    /// The payload.
    pub payload: Payload,
    /// How hard it is delivered.
    pub qos: Qos,
    /// Whether the broker keeps it.
    pub retain: bool,
}

/// A link as rules see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkFacts {
    /// Its name.
    pub link: LinkId,
    /// Its driver's kind.
    pub driver: &'static str,
    /// The labels its readings carry.
    pub labels: &'static [&'static str],
}

/// A site's rules, ready to use.
#[derive(Clone, Debug)]
pub struct Mapping {
    gateway: Arc<str>,
    rules: Vec<Rule>,
}

impl Matcher {
    /// Whether a reading of this link can match at all.
    pub fn could_match(&self, link: &LinkFacts) -> bool {
        fits(self.link.as_ref(), link.link.as_str()) && fits(self.driver.as_ref(), link.driver)
    }

    /// Whether a reading of this device can match.
    pub fn could_match_device(&self, link: &LinkFacts, device: &DeviceId) -> bool {
        self.could_match(link) && fits(self.device.as_ref(), device.as_str())
    }

    /// Whether this reading matches.
    pub fn matches(&self, link: &LinkFacts, reading: &Reading) -> bool {
        self.could_match_device(link, &reading.device) && fits(self.point.as_ref(), reading.point.as_str())
    }

    /// The words a template of this rule may use: the common ones, and the labels that every link
    /// it could match has. A word that only some of them know would come out empty for the rest.
    pub fn words(&self, common: &[&'static str], links: &[LinkFacts]) -> Vec<&'static str> {
        let matched: Vec<&LinkFacts> = links.iter().filter(|link| self.could_match(link)).collect();
        let shared = matched.first().map(|first| first.labels).unwrap_or_default();
        let shared = shared.iter().filter(|label| matched.iter().all(|link| link.labels.contains(label)));
        common.iter().chain(shared).copied().collect()
    }
}

impl Mapping {
    /// The site's rules, followed by the default ones for these links.
    pub fn new(gateway: &str, mut rules: Vec<Rule>, links: &[LinkFacts]) -> Self {
        rules.extend(default_rules(links));
        Self { gateway: gateway.into(), rules }
    }

    /// How a reading of that link is published: the ways of the first rule that matches it.
    pub fn publications(&self, link: &LinkFacts, reading: &Reading) -> &[Publish] {
        let rule = self.rule(link, reading);
        rule.map(|rule| rule.publish.as_slice()).unwrap_or_default()
    }

    /// The message of a reading, published in that way; `None` if it has no value, and its payload cannot
    /// say so. `clock_set`: whether the time it was taken at can be trusted.
    pub fn message(&self, publish: &Publish, link: &LinkFacts, reading: &Reading, clock_set: bool) -> Option<Message> {
        let rendered = publish.payload.render(&self.gateway, link, reading, clock_set)?;
        let mut topic = String::with_capacity(64);
        publish.topic.render(&mut topic, |word, out| self.topic_word(word, link, reading, out));
        Some(Message {
            topic,
            payload: rendered.text.into(),
            qos: publish.qos,
            retain: publish.retain,
            correlation: None,
            json: publish.payload == Payload::Json,
            times: rendered.times,
            properties: None,
        })
    }

    /// Whether the device of this reading is shown as a MySensors node, with this point.
    pub fn is_presented(&self, link: &LinkFacts, reading: &Reading) -> bool {
        self.rule(link, reading).is_some_and(|rule| rule.is_presented)
    }

    /// The topics of a link with labels, with `*` for what differs from one of its messages to the next. A
    /// device's name is its link's own.
    pub fn topics_of(&self, link: &LinkFacts) -> Vec<String> {
        let mut topics = Vec::new();
        for rule in self.rules.iter().filter(|rule| rule.matcher.could_match(link)) {
            for publish in &rule.publish {
                let mut topic = String::new();
                publish.topic.render(&mut topic, |word, out| match word {
                    "gateway" => out.push_str(&self.gateway),
                    "driver" => out.push_str(link.driver),
                    "link" | "device" => out.push_str(link.link.as_str()),
                    _ => out.push('*'),
                });
                topics.push(topic);
            }
            if rule.matcher.device.is_none() && rule.matcher.point.is_none() {
                break;
            }
        }
        topics
    }

    /// The first rule that matches a reading. A reading without the labels of its link, about a node and no
    /// message of it, has no place in a topic that is made of them: such a rule is not for it.
    fn rule(&self, link: &LinkFacts, reading: &Reading) -> Option<&Rule> {
        let is_labelled = reading.labels.iter().next().is_some();
        let is_sayable = |publish: &Publish| is_labelled || !link.labels.iter().any(|label| publish.topic.uses(label));
        let fits = |rule: &&Rule| rule.matcher.matches(link, reading) && rule.publish.iter().all(is_sayable);
        self.rules.iter().find(fits)
    }

    fn topic_word(&self, word: &str, link: &LinkFacts, reading: &Reading, out: &mut String) {
        let text = common_word(&self.gateway, word, link, reading);
        // Names from the site file are safe as they are; what a device said need not be.
        match text {
            Some(text) if is_level(text) => out.push_str(text),
            other => out.push_str(&topics::level(other.unwrap_or_default())),
        }
    }
}

/// The words that topics and payloads share.
fn common_word<'r>(gateway: &'r str, word: &str, link: &'r LinkFacts, reading: &'r Reading) -> Option<&'r str> {
    match word {
        "gateway" => Some(gateway),
        "link" => Some(link.link.as_str()),
        "driver" => Some(link.driver),
        "device" => Some(reading.device.as_str()),
        "point" => Some(reading.point.as_str()),
        label => reading.labels.get(label),
    }
}

fn is_level(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| !matches!(b, b'/' | b'+' | b'#' | 0..=31 | 127) && b.is_ascii())
}

fn fits(pattern: Option<&Glob>, text: &str) -> bool {
    pattern.is_none_or(|glob| glob.matches(text))
}

/// The rules that stand behind every site's own: MySensors in its classic form with bare payload,
/// everything else by device and point as JSON.
fn default_rules(links: &[LinkFacts]) -> Vec<Rule> {
    let rule = |matcher: Matcher, topic: &str, payload: Payload| {
        let words = matcher.words(TOPIC_WORDS, links);
        Template::topic(topic, &words).ok().map(|topic| Rule {
            matcher,
            publish: vec![Publish { topic, payload, qos: Qos::AtLeastOnce, retain: false }],
            is_presented: false,
        })
    };
    let classic = links.iter().filter(|link| link.labels.contains(&"node")).filter_map(|link| {
        let matcher = Matcher { link: Some(Glob::new(link.link.as_str())), ..Matcher::default() };
        rule(matcher, CLASSIC_TOPIC, Payload::Raw)
    });
    classic.chain(rule(Matcher::default(), DEFAULT_TOPIC, Payload::Json)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use wharf_contract::{Labels, Quality, Value};

    use super::*;

    const CLASSIC_LABELS: &[&str] = &["node", "child", "command", "ack", "type"];

    fn bus() -> LinkFacts {
        LinkFacts { link: "boiler-room".into(), driver: "modbus", labels: &[] }
    }

    fn radio() -> LinkFacts {
        LinkFacts { link: "garden".into(), driver: "mysensors", labels: CLASSIC_LABELS }
    }

    fn reading(device: &str, point: &str, value: Value) -> Reading {
        let taken_at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_219_869_123);
        Reading::good(device.into(), point.into(), value, taken_at)
    }

    fn position() -> Reading {
        let labels = [("node", "2"), ("child", "1"), ("command", "1"), ("ack", "0"), ("type", "49")];
        Reading {
            labels: Labels::new(labels.map(|(k, v)| (k, v.to_owned()))),
            verbatim: Some("55.722526,13.017972,18".into()),
            ..reading("garden-2", "1-position", Value::Text("55.722526,13.017972,18".into()))
        }
    }

    fn rule(matcher: Matcher, topic: &str, payload: Payload) -> Rule {
        let topic = Template::topic(topic, TOPIC_WORDS).unwrap();
        let publish = vec![Publish { topic, payload, qos: Qos::AtLeastOnce, retain: false }];
        Rule { matcher, publish, is_presented: false }
    }

    /// What becomes of a reading: topics and payloads.
    fn all(mapping: &Mapping, link: &LinkFacts, reading: &Reading) -> Vec<(String, String)> {
        let messages = mapping.publications(link, reading).iter();
        let messages = messages.filter_map(|publish| mapping.message(publish, link, reading, true));
        messages.map(|message| (message.topic, String::from_utf8(message.payload.to_vec()).unwrap())).collect()
    }

    fn sent(mapping: &Mapping, link: &LinkFacts, reading: &Reading) -> (String, String) {
        let mut all = all(mapping, link, reading);
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    #[test]
    fn without_rules_a_reading_goes_out_by_device_and_point_as_json() {
        let mapping = Mapping::new("gw1", Vec::new(), &[bus(), radio()]);
        let mut level = reading("tank", "level", Value::Float(21.5));
        level.unit = Some("m".into());
        let (topic, payload) = sent(&mapping, &bus(), &level);
        assert_eq!(topic, "gw1-out/tank/level");
        assert_eq!(payload, r#"{"value":21.5,"unit":"m","ts":1795219869123,"quality":"good"}"#);
    }

    #[test]
    fn without_rules_mysensors_goes_out_in_its_classic_form() {
        let mapping = Mapping::new("gw1", Vec::new(), &[bus(), radio()]);
        let expected = ("gw1-out/2/1/1/0/49".to_owned(), "55.722526,13.017972,18".to_owned());
        assert_eq!(sent(&mapping, &radio(), &position()), expected);
    }

    #[test]
    fn what_is_said_about_a_node_and_not_by_it_has_no_classic_topic() {
        let topic = Template::topic("x/{node}/{type}", CLASSIC_LABELS).unwrap();
        let publish = Publish { topic, payload: Payload::Raw, qos: Qos::AtLeastOnce, retain: false };
        let own = Rule { publish: vec![publish], matcher: Matcher::default(), is_presented: false };
        let mapping = Mapping::new("gw1", vec![own], &[radio()]);
        assert_eq!(sent(&mapping, &radio(), &position()).0, "x/2/49");
        let progress = reading("garden-2", "firmware-progress", Value::Int(45));
        assert_eq!(sent(&mapping, &radio(), &progress).0, "gw1-out/garden-2/firmware-progress");
    }

    #[test]
    fn the_first_rule_that_matches_decides_and_the_defaults_come_last() {
        let only = |device: &str| Matcher { device: Some(Glob::new(device)), ..Matcher::default() };
        let rules = vec![
            Rule { matcher: only("secret-*"), publish: Vec::new(), is_presented: false },
            rule(only("tank"), "plant/{link}/{point}", Payload::Raw),
            rule(only("*"), "never/{device}", Payload::Raw),
        ];
        let mapping = Mapping::new("gw1", rules[..2].to_vec(), &[bus()]);
        let mapped = |device: &str| all(&mapping, &bus(), &reading(device, "level", Value::Int(3)));
        assert_eq!(mapped("secret-1"), []);
        assert_eq!(mapped("tank"), [("plant/boiler-room/level".into(), "3".into())]);
        assert_eq!(mapped("other")[0].0, "gw1-out/other/level");
        let every = Mapping::new("gw1", rules, &[bus()]);
        let level = reading("tank", "level", Value::Int(3));
        assert_eq!(sent(&every, &bus(), &level).0, "plant/boiler-room/level");
    }

    #[test]
    fn a_rule_with_two_topics_publishes_a_reading_twice() {
        let mut both = rule(Matcher::default(), "{gateway}-out/{device}/{point}", Payload::Json);
        let words = Matcher::default().words(TOPIC_WORDS, &[radio()]);
        let topic = Template::topic(CLASSIC_TOPIC, &words).unwrap();
        both.publish.push(Publish { topic, payload: Payload::Raw, qos: Qos::AtMostOnce, retain: true });
        let mapping = Mapping::new("gw1", vec![both], &[radio()]);
        let all = all(&mapping, &radio(), &position());
        let topics: Vec<_> = all.iter().map(|(topic, _)| topic.as_str()).collect();
        assert_eq!(topics, ["gw1-out/garden-2/1-position", "gw1-out/2/1/1/0/49"]);
        assert!(all[0].1.starts_with("{\"value\":\"55.7"));
        assert_eq!(all[1].1, "55.722526,13.017972,18");
    }

    #[test]
    fn what_a_device_says_cannot_add_levels_or_wildcards_to_a_topic() {
        let mapping = Mapping::new("gw1", Vec::new(), &[bus()]);
        let (topic, _) = sent(&mapping, &bus(), &reading("a/b", "+#\0", Value::Int(1)));
        assert_eq!(topic, "gw1-out/a_b/___");
        let (topic, _) = sent(&mapping, &bus(), &reading("", "x", Value::Int(1)));
        assert_eq!(topic, "gw1-out/_/x");
    }

    #[test]
    fn a_label_may_be_used_only_where_every_matched_link_has_it() {
        let links = [bus(), radio()];
        let garden = Matcher { link: Some(Glob::new("garden")), ..Matcher::default() };
        assert!(garden.words(TOPIC_WORDS, &links).contains(&"node"));
        assert!(!Matcher::default().words(TOPIC_WORDS, &links).contains(&"node"));
    }

    #[test]
    fn a_bad_reading_says_so_in_json_and_is_not_sent_as_a_bare_value() {
        let taken_at = SystemTime::UNIX_EPOCH;
        let bad = Reading::bad("tank".into(), "level".into(), "no answer", taken_at);
        let json = Mapping::new("gw1", Vec::new(), &[bus()]);
        let (_, payload) = sent(&json, &bus(), &bad);
        assert_eq!(payload, r#"{"value":null,"ts":0,"quality":"bad","reason":"no answer"}"#);
        let raw = Mapping::new("gw1", vec![rule(Matcher::default(), "x/{point}", Payload::Raw)], &[bus()]);
        assert_eq!(all(&raw, &bus(), &bad), []);
        assert_eq!(bad.quality, Quality::Bad);
    }
}
