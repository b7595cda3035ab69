//! Topics of devices: `tele/plug/SENSOR`, and patterns for those of many: `zigbee2mqtt/{device}`.
//!
//! `{device}` stands for a level or a part of one, and is what the device is called; `+` stands for any
//! level. Pure functions over text.

use std::fmt;

use wharf_contract::settings::node::clip;
use wharf_contract::topic;

/// The longest topic, in bytes.
const LONGEST: usize = 256;

/// The most levels.
const MOST_LEVELS: usize = 16;

/// A topic, or a pattern for topics.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    text: String,
    levels: Vec<Level>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Level {
    /// Just this.
    Exactly(String),
    /// Anything.
    Any,
    /// What the device is called, between these two.
    Device(String, String),
}

impl Pattern {
    /// Takes a text apart.
    ///
    /// # Errors
    /// It is no topic, and no pattern: in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a topic cannot be empty".into());
        }
        if text.len() > LONGEST {
            return Err(format!("a topic has {LONGEST} bytes at most here"));
        }
        if topic::is_system(text) {
            return Err("topics that begin with $ are the broker's own".into());
        }
        if text.chars().any(char::is_control) {
            return Err("a topic cannot contain control characters".into());
        }
        let levels = text.split('/').map(level).collect::<Result<Vec<_>, _>>()?;
        if levels.len() > MOST_LEVELS {
            return Err(format!("a topic has {MOST_LEVELS} levels at most here"));
        }
        if levels.iter().filter(|level| matches!(level, Level::Device(..))).count() > 1 {
            return Err("{device} can stand in a topic once".into());
        }
        Ok(Self { text: text.to_owned(), levels })
    }

    /// Whether `{device}` stands in it.
    pub fn names_device(&self) -> bool {
        self.levels.iter().any(|level| matches!(level, Level::Device(..)))
    }

    /// Whether it stands for just one topic, as one to publish on has to.
    pub fn is_plain(&self) -> bool {
        self.levels.iter().all(|level| matches!(level, Level::Exactly(_)))
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The same for one device.
    #[must_use]
    pub fn of(&self, device: &str) -> Self {
        let levels = self.levels.iter().map(|level| match level {
            Level::Device(before, after) => Level::Exactly(format!("{before}{device}{after}")),
            other => other.clone(),
        });
        Self { text: self.text.replace("{device}", device), levels: levels.collect() }
    }

    /// What is subscribed to.
    pub fn filter(&self) -> String {
        let levels: Vec<&str> = self
            .levels
            .iter()
            .map(|level| match level {
                Level::Exactly(text) => text,
                Level::Any | Level::Device(..) => "+",
            })
            .collect();
        levels.join("/")
    }

    /// Whether a topic fits, and what it calls the device: nothing if it does not say.
    pub fn fit<'t>(&self, topic: &'t str) -> Option<&'t str> {
        let mut device = "";
        let mut found = topic.split('/');
        for level in &self.levels {
            let text = found.next()?;
            match level {
                Level::Exactly(exactly) if exactly == text => {}
                Level::Exactly(_) => return None,
                Level::Any => {}
                Level::Device(before, after) => {
                    device = text.strip_prefix(before.as_str())?.strip_suffix(after.as_str())?;
                    if device.is_empty() {
                        return None;
                    }
                }
            }
        }
        found.next().is_none().then_some(device)
    }

    /// Whether a topic made by a template such as `site/{device}/{point}` may fit: a word in braces can be
    /// anything within its level.
    pub fn may_fit(&self, template: &str) -> bool {
        let made: Vec<&str> = template.split('/').collect();
        made.len() == self.levels.len()
            && self.levels.iter().zip(made).all(|(level, made)| {
                let (from, to) = (made.find('{'), made.rfind('}'));
                let ends = from.zip(to).and_then(|(from, to)| Some((made.get(..from)?, made.get(to + 1..)?)));
                match (level, ends) {
                    (Level::Any, _) => true,
                    (Level::Exactly(text), None) => text == made,
                    (Level::Exactly(text), Some((before, after))) => text.starts_with(before) && text.ends_with(after),
                    (Level::Device(before, after), None) => {
                        made.starts_with(before.as_str()) && made.ends_with(after.as_str())
                    }
                    (Level::Device(before, after), Some((from, to))) => {
                        let begins = before.starts_with(from) || from.starts_with(before.as_str());
                        begins && (after.ends_with(to) || to.ends_with(after.as_str()))
                    }
                }
            })
    }

    /// Whether everything it stands for begins with that level.
    pub fn begins_with(&self, first: &str) -> bool {
        matches!(self.levels.first(), Some(Level::Exactly(text)) if text == first)
    }
}

fn level(text: &str) -> Result<Level, String> {
    if text == "+" {
        return Ok(Level::Any);
    }
    if text == "#" {
        return Err("# would be too much: + stands for one level, {device} for one that names the device".into());
    }
    if topic::has_wildcards(text) {
        return Err(format!("`{}` is not a level of a topic: + stands alone", clip(text)));
    }
    match text.split_once("{device}") {
        Some((before, after)) if before.contains(['{', '}']) || after.contains(['{', '}']) => Err(braces()),
        Some((before, after)) => Ok(Level::Device(before.to_owned(), after.to_owned())),
        None if text.contains(['{', '}']) => Err(braces()),
        None => Ok(Level::Exactly(text.to_owned())),
    }
}

fn braces() -> String {
    "of words in braces only {device} is known in a topic, and those of its profile under `with`".into()
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, topic: &str, expected: Option<&str>) {
        assert_eq!(Pattern::parse(pattern).unwrap().fit(topic), expected, "{pattern} and {topic}");
    }

    #[test]
    fn a_pattern_fits_topics_and_names_their_device() {
        check("boiler/state", "boiler/state", Some(""));
        check("boiler/state", "boiler/state/x", None);
        check("boiler/state", "boiler", None);
        check("zigbee2mqtt/{device}", "zigbee2mqtt/lamp", Some("lamp"));
        check("zigbee2mqtt/{device}", "zigbee2mqtt/lamp/availability", None);
        check("zigbee2mqtt/{device}", "zigbee2mqtt/", None);
        check("shellies/shelly1-{device}/relay/0", "shellies/shelly1-AB12/relay/0", Some("AB12"));
        check("shellies/shelly1-{device}/relay/0", "shellies/shellyht-AB12/relay/0", None);
        check("home/+/BTtoMQTT/{device}", "home/OMG/BTtoMQTT/A4C1", Some("A4C1"));
    }

    #[test]
    fn what_is_no_topic_is_refused() {
        for wrong in
            ["", "a/#", "#", "a+/b", "$SYS/x", "a/{node}", "{device}/{device}", "a\nb", "a}", "{device}{device}"]
        {
            assert!(Pattern::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Pattern::parse(&"a/".repeat(16)).is_err());
        assert!(Pattern::parse(&"a".repeat(257)).is_err());
    }

    #[test]
    fn a_template_may_make_a_topic_that_fits() {
        let check = |pattern: &str, template: &str, expected: bool| {
            assert_eq!(Pattern::parse(pattern).unwrap().may_fit(template), expected, "{pattern} and {template}");
        };
        check("site/boiler/t", "site/{device}/{point}", true);
        check("site/boiler/t", "plant/{device}/{point}", false);
        check("site/boiler", "site/{device}/{point}", false);
        check("site/x-{device}/t", "site/x-{device}/{point}", true);
        check("site/x-{device}/t", "site/y-{device}/{point}", false);
        check("site/+/t", "site/fixed/t", true);
    }

    #[test]
    fn a_filter_has_a_plus_where_the_pattern_is_open() {
        let pattern = Pattern::parse("home/+/x-{device}/state").unwrap();
        assert_eq!(pattern.filter(), "home/+/+/state");
        assert_eq!(pattern.of("lamp").as_str(), "home/+/x-lamp/state");
        assert!(!pattern.is_plain() && pattern.names_device());
        assert!(Pattern::parse("{device}/x").unwrap().of("lamp").is_plain());
    }
}
