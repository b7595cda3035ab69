//! Topics by pattern, and what they are called on the other side.
//!
//! A pattern is an MQTT filter whose single levels may have names: `tele/{plug}/+/#`. Its target has the
//! same names, and `#` at its end for what the pattern's `#` matched: `house/{plug}/#`.

use wharf_contract::topic;

use crate::mapping::TemplateError;

/// The most levels a pattern or a topic may have. A topic with more fits no pattern.
const MOST_LEVELS: usize = 64;

/// Which topics, and what they are called on the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    from: Vec<Level>,
    to: Vec<Part>,
    /// The same, as filters.
    from_filter: String,
    to_filter: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    Text(String),
    One(Option<String>),
    Rest,
}

/// A level of a target: one of the pattern's, by its place, or a text.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Level(usize),
    Rest,
}

impl Pattern {
    /// Compiles a pattern and its target; without a target the topic stays what it is. `{gateway}` stands for
    /// the gateway's name in both.
    ///
    /// # Errors
    /// Says in words what is wrong, and with which of the two.
    pub fn new(from: &str, to: Option<&str>, gateway: &str) -> Result<Self, PatternError> {
        let from = levels(from, gateway).map_err(PatternError::From)?;
        let to = match to {
            Some(to) => target(to, &from, gateway).map_err(PatternError::To)?,
            None => itself(&from),
        };
        let (from_filter, to_filter) = (filter_of(&from), filter_of_target(&to));
        Ok(Self { from, to, from_filter, to_filter })
    }

    /// The topic on the other side; `None` if the pattern does not fit this one. Topics that begin with `$`
    /// are the broker's, and fit only patterns that say so.
    pub fn rename(&self, topic: &str) -> Option<String> {
        if topic::is_system(topic) && !matches!(self.from.first(), Some(Level::Text(_))) {
            return None;
        }
        let mut levels = [""; MOST_LEVELS];
        let mut count = 0;
        for level in topic.split('/') {
            *levels.get_mut(count)? = level;
            count += 1;
        }
        let levels = &levels[..count];
        let rest = self.rest_of(levels)?;
        let mut renamed = String::with_capacity(topic.len() + 32);
        for part in &self.to {
            let mut say = |level: &str, is_first: bool| {
                if !is_first {
                    renamed.push('/');
                }
                renamed.push_str(level);
            };
            match part {
                Part::Text(text) => say(text, std::ptr::eq(part, &self.to[0])),
                Part::Level(place) => say(levels[*place], std::ptr::eq(part, &self.to[0])),
                Part::Rest => {
                    for (place, level) in levels[rest..].iter().enumerate() {
                        say(level, place == 0 && std::ptr::eq(part, &self.to[0]));
                    }
                }
            }
        }
        // `a/#` fits `a` too; with nothing before it on the other side nothing would be left. And what begins with `$`
        // on the other side is for the broker there to say, whatever a level here is called.
        (!renamed.is_empty() && !topic::is_system(&renamed) && renamed.len() <= topic::LONGEST).then_some(renamed)
    }

    /// Whether the pattern fits a topic. It fits everything that [`rename`](Self::rename) has a name for, and a few
    /// topics more, for which nothing or too much would be left; it costs no memory.
    pub fn fits(&self, topic: &str) -> bool {
        if topic::is_system(topic) && !matches!(self.from.first(), Some(Level::Text(_))) {
            return false;
        }
        let mut levels = topic.split('/');
        for level in &self.from {
            match (level, levels.next()) {
                (Level::Rest, _) => return true,
                (Level::Text(text), Some(there)) if text == there => {}
                (Level::One(_), Some(_)) => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }

    /// The topic that is called this on the other side: what [`rename`](Self::rename) makes this of. `None` if there
    /// is none, or more than one.
    pub fn original(&self, renamed: &str) -> Option<String> {
        let mut known = [None; MOST_LEVELS];
        let mut there = renamed.split('/');
        let mut rest = Vec::new();
        for part in &self.to {
            match part {
                Part::Text(text) if Some(text.as_str()) == there.next() => {}
                Part::Text(_) => return None,
                Part::Level(place) => {
                    let (level, known) = (there.next()?, known.get_mut(*place)?);
                    if known.is_some_and(|known| known != level) {
                        return None;
                    }
                    *known = Some(level);
                }
                Part::Rest => rest.extend(there.by_ref()),
            }
        }
        if there.next().is_some() {
            return None;
        }
        let mut levels = Vec::new();
        for (level, known) in self.from.iter().zip(known) {
            match level {
                Level::Text(text) => levels.push(text.as_str()),
                Level::One(_) => levels.push(known?),
                Level::Rest => levels.append(&mut rest),
            }
        }
        let original = levels.join("/");
        (self.rename(&original).as_deref() == Some(renamed)).then_some(original)
    }

    /// The pattern as an MQTT filter.
    pub fn from_filter(&self) -> &str {
        &self.from_filter
    }

    /// What it makes of topics, as an MQTT filter.
    pub fn to_filter(&self) -> &str {
        &self.to_filter
    }

    /// Whether a level that may be anything has no place in the target, so that many topics become one.
    pub fn merges(&self) -> bool {
        let is_lost = |place: usize| !self.to.iter().any(|part| matches!(part, Part::Level(kept) if *kept == place));
        self.from.iter().enumerate().any(|(place, level)| matches!(level, Level::One(_)) && is_lost(place))
    }

    /// Where the rest begins, if these levels fit.
    fn rest_of(&self, levels: &[&str]) -> Option<usize> {
        for (place, level) in self.from.iter().enumerate() {
            match (level, levels.get(place)) {
                (Level::Rest, _) => return Some(place.min(levels.len())),
                (Level::Text(text), Some(there)) if text == there => {}
                (Level::One(_), Some(_)) => {}
                _ => return None,
            }
        }
        (levels.len() == self.from.len()).then_some(levels.len())
    }
}

/// What is wrong with a pattern, or with its target.
#[derive(Debug, PartialEq, Eq)]
pub enum PatternError {
    /// With the pattern.
    From(TemplateError),
    /// With the target.
    To(TemplateError),
}

fn levels(text: &str, gateway: &str) -> Result<Vec<Level>, TemplateError> {
    let mut levels = Vec::new();
    let mut names: Vec<String> = Vec::new();
    let count = plain(text)?;
    for (place, level) in text.split('/').enumerate() {
        levels.push(match level {
            "#" if place + 1 == count => Level::Rest,
            "+" => Level::One(None),
            _ if topic::has_wildcards(level) => {
                return Err(TemplateError::new(format!("`{level}`: + and # stand alone, and # at the end"))
                    .with_help("a level has one of: text, +, {name}; the last may be #"));
            }
            _ => match name(level, gateway)? {
                Some(name) if names.contains(&name) => {
                    return Err(TemplateError::new(format!("`{{{name}}}` is here twice")));
                }
                Some(name) => {
                    names.push(name.clone());
                    Level::One(Some(name))
                }
                None => Level::Text(level.replace("{gateway}", gateway)),
            },
        });
    }
    Ok(levels)
}

fn target(text: &str, from: &[Level], gateway: &str) -> Result<Vec<Part>, TemplateError> {
    let mut parts = Vec::new();
    let mut names_of = from.iter().filter_map(|level| match level {
        Level::One(Some(name)) => Some(name.as_str()),
        _ => None,
    });
    let count = plain(text)?;
    for (place, level) in text.split('/').enumerate() {
        parts.push(match level {
            "#" if place + 1 != count => return Err(TemplateError::new("`#` stands at the end")),
            "#" if from.last() != Some(&Level::Rest) => {
                return Err(TemplateError::new("`#` stands for what `#` in `topic` fits, and there is none"));
            }
            "#" => Part::Rest,
            _ if topic::has_wildcards(level) => {
                return Err(TemplateError::new(format!("`{level}` cannot stand in a topic"))
                    .with_help("give the level a name in `topic`, such as {plug}, and write that here"));
            }
            _ => match name(level, gateway)? {
                Some(name) => {
                    let known = |level: &Level| matches!(level, Level::One(Some(known)) if *known == name);
                    let place = from.iter().position(known).ok_or_else(|| {
                        let known: Vec<_> = names_of.by_ref().map(|name| format!("{{{name}}}")).collect();
                        let help = match known.as_slice() {
                            [] => "`topic` has no named level: write {name} in place of +".into(),
                            known => format!("`topic` has {}", known.join(", ")),
                        };
                        TemplateError::new(format!("`{{{name}}}` is not known here")).with_help(help)
                    })?;
                    Part::Level(place)
                }
                None => Part::Text(level.replace("{gateway}", gateway)),
            },
        });
    }
    if from.last() == Some(&Level::Rest) && parts.last() != Some(&Part::Rest) {
        return Err(TemplateError::new("what `#` in `topic` fits is lost: many topics would become one")
            .with_help("end it with /#"));
    }
    Ok(parts)
}

fn itself(from: &[Level]) -> Vec<Part> {
    let part = |(place, level): (usize, &Level)| match level {
        Level::Text(text) => Part::Text(text.clone()),
        Level::One(_) => Part::Level(place),
        Level::Rest => Part::Rest,
    };
    from.iter().enumerate().map(part).collect()
}

/// What is never right, in a pattern or in a target. The number of levels.
fn plain(text: &str) -> Result<usize, TemplateError> {
    let count = topic::levels(text);
    if text.is_empty() {
        return Err(TemplateError::new("a topic cannot be empty"));
    }
    if count > MOST_LEVELS || text.len() > 1024 {
        return Err(TemplateError::new(format!("it can have {MOST_LEVELS} levels and 1024 bytes at most")));
    }
    if topic::is_system(text) {
        return Err(TemplateError::new("topics that begin with `$` belong to the broker"));
    }
    if let Some(bad) = text.chars().find(|c| c.is_control()) {
        return Err(TemplateError::new(format!("{bad:?} cannot stand in a topic")));
    }
    Ok(count)
}

/// The name of a level that is `{name}`; none if it is text.
fn name(level: &str, gateway: &str) -> Result<Option<String>, TemplateError> {
    let text = level.replace("{gateway}", gateway);
    if !text.contains(['{', '}']) {
        return Ok(None);
    }
    let name = text.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
    let is_word =
        |name: &&str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    match name.filter(is_word) {
        Some(name) => Ok(Some(name.to_owned())),
        None => Err(TemplateError::new(format!("`{level}`: a name stands for a whole level, such as {{plug}}"))),
    }
}

fn filter_of(levels: &[Level]) -> String {
    let level = |level: &Level| match level {
        Level::Text(text) => text.clone(),
        Level::One(_) => "+".into(),
        Level::Rest => "#".into(),
    };
    levels.iter().map(level).collect::<Vec<_>>().join("/")
}

fn filter_of_target(parts: &[Part]) -> String {
    let level = |part: &Part| match part {
        Part::Text(text) => text.clone(),
        Part::Level(_) => "+".into(),
        Part::Rest => "#".into(),
    };
    parts.iter().map(level).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wharf_contract::topic::overlap;

    use super::*;

    fn renamed(from: &str, to: Option<&str>, topic: &str) -> Option<String> {
        Pattern::new(from, to, "gw1").unwrap().rename(topic)
    }

    #[test]
    fn a_topic_is_renamed_by_its_pattern() {
        let check = |from, to, topic, expected: Option<&str>| {
            assert_eq!(renamed(from, to, topic).as_deref(), expected, "{from} -> {to:?}, {topic}");
        };
        check("tele/#", None, "tele/plug/SENSOR", Some("tele/plug/SENSOR"));
        check("tele/#", None, "tele", Some("tele"));
        check("tele/#", None, "television", None);
        check("tele/{plug}/SENSOR", Some("{gateway}-out/{plug}/energy"), "tele/p1/SENSOR", Some("gw1-out/p1/energy"));
        check("tele/{plug}/SENSOR", Some("{gateway}-out/{plug}/energy"), "tele/p1/STATE", None);
        check("tele/{plug}/#", Some("house/{plug}/tele/#"), "tele/p1/a/b", Some("house/p1/tele/a/b"));
        check("tele/{plug}/#", Some("house/{plug}/tele/#"), "tele/p1", Some("house/p1/tele"));
        check("{a}/{b}", Some("{b}/{a}"), "x/y", Some("y/x"));
        check("{a}/{b}", Some("{b}/{a}"), "/y", Some("y/"));
        check("+/b", Some("c"), "a/b", Some("c"));
        check("site/#", Some("#"), "site/a/b", Some("a/b"));
        check("site/#", Some("#"), "site", None);
        check("#", Some("{gateway}-site/#"), "a/b", Some("gw1-site/a/b"));
        check("#", None, "$SYS/uptime", None);
        check("site/#", Some("#"), "site/$SYS/uptime", None);
        check("site/{a}/#", Some("{a}/#"), "site/$share/g/a", None);
        check("site/#", None, "site/$SYS/uptime", Some("site/$SYS/uptime"));
    }

    #[test]
    fn from_its_new_name_a_topic_is_found_again() {
        let check = |from, to, renamed: &str, expected: Option<&str>| {
            let found = Pattern::new(from, to, "gw1").unwrap().original(renamed);
            assert_eq!(found.as_deref(), expected, "{from} -> {to:?}, {renamed}");
        };
        check("tele/{plug}/#", Some("house/{plug}/tele/#"), "house/p1/tele/a/b", Some("tele/p1/a/b"));
        check("tele/{plug}/#", Some("house/{plug}/tele/#"), "house/p1/tele", Some("tele/p1"));
        check("tele/{plug}/#", Some("house/{plug}/tele/#"), "house/p1/stat/a", None);
        check("{a}/{b}", Some("{b}/{a}"), "y/x", Some("x/y"));
        check("{a}/x", Some("{a}/{a}"), "y/y", Some("y/x"));
        check("{a}/x", Some("{a}/{a}"), "y/z", None);
        check("answers/#", None, "answers/panel/7", Some("answers/panel/7"));
        check("site/#", Some("#"), "a/b", Some("site/a/b"));
        check("+/b", Some("c"), "c", None);
        check("a/b", Some("c"), "c/d", None);
        check("#", Some("x/#"), "x/$SYS/uptime", None);
    }

    #[test]
    fn mistakes_are_named() {
        let wrong = |from: &str, to: Option<&str>| match Pattern::new(from, to, "gw1").unwrap_err() {
            PatternError::From(error) => format!("topic: {error}"),
            PatternError::To(error) => format!("to: {error}"),
        };
        assert_eq!(wrong("", None), "topic: a topic cannot be empty");
        assert_eq!(wrong("$SYS/#", None), "topic: topics that begin with `$` belong to the broker");
        assert_eq!(wrong("a/#/b", None), "topic: `#`: + and # stand alone, and # at the end");
        assert_eq!(wrong("a/b+", None), "topic: `b+`: + and # stand alone, and # at the end");
        assert_eq!(wrong("a/x{b}", None), "topic: `x{b}`: a name stands for a whole level, such as {plug}");
        assert_eq!(wrong("{a}/{a}", None), "topic: `{a}` is here twice");
        assert_eq!(wrong("a/{b}", Some("c/{d}")), "to: `{d}` is not known here");
        assert_eq!(wrong("a/+", Some("c/+")), "to: `+` cannot stand in a topic");
        assert_eq!(wrong("a/b", Some("c/#")), "to: `#` stands for what `#` in `topic` fits, and there is none");
        assert_eq!(wrong("a/#", Some("c")), "to: what `#` in `topic` fits is lost: many topics would become one");
    }

    proptest! {
        #[test]
        fn what_a_pattern_makes_fits_its_filter(topic in "[ab]{0,1}(/[ab]{0,1}){0,4}", which in 0..4usize) {
            let (from, to) = [("#", Some("x/#")), ("{p}/#", Some("{p}/y/#")), ("{p}/{q}", Some("{q}/{p}")), ("+/b", None)][which];
            let pattern = Pattern::new(from, to, "gw1").unwrap();
            if let Some(renamed) = pattern.rename(&topic) {
                prop_assert!(overlap(&renamed, pattern.to_filter()), "{topic} became {renamed}");
                prop_assert!(overlap(&topic, pattern.from_filter()));
                prop_assert!(pattern.fits(&topic));
                prop_assert_eq!(pattern.original(&renamed), Some(topic));
            } else {
                prop_assert!(!pattern.fits(&topic));
            }
        }
    }
}
