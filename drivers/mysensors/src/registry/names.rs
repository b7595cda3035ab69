//! Names for topics from what nodes say of themselves: `garden-soil/moisture`.
//!
//! A name is given once, when a sketch or a child is presented, and stays: topics do not change
//! because somebody rewords a sketch. Names are safe as topic levels, unique, and none that a value
//! without a declaration has by itself.

use super::Registry;
use crate::message::{Command, GATEWAY, Message, SELF};
use crate::nodes::is_own_name;
use crate::types;

/// The longest part of a name that comes from a node, in characters.
const LONGEST: usize = 40;

wharf_contract::setting_enum! {
    /// Where the names of nodes and children come from that the site file does not name.
    pub enum NameSource {
        /// From their numbers: `garden-2/1-temp`.
        Numbers = "numbers",
        /// From what they say of themselves: `garden-soil/moisture`; until they have, from their numbers.
        Presentation = "presentation",
    }
}

#[expect(clippy::derivable_impls, reason = "the macro has no place for a `#[default]`")]
impl Default for NameSource {
    fn default() -> Self {
        Self::Numbers
    }
}

impl Registry {
    /// Never gives a node one of these names: others have them.
    pub fn avoid(&mut self, taken: impl IntoIterator<Item = String>) {
        self.taken.extend(taken);
    }

    /// The name of a node from its presentation, if names come from there.
    pub fn device_name(&self, node: u8) -> Option<&str> {
        if self.name_source == NameSource::Numbers {
            return None;
        }
        self.node(node)?.name.as_deref()
    }

    /// The name of the point a message is about, from the presentation of its child.
    ///
    /// The value that a child of its kind mainly has goes by the child's name alone, every other one
    /// has its type behind it: a weather station's `wind`, `wind-gust` and `wind-direction`.
    pub fn point_name(&self, message: &Message) -> Option<String> {
        if self.name_source == NameSource::Numbers || message.child == SELF {
            return None;
        }
        let child = self.child(message.node, message.child)?;
        let name = child.name.as_deref()?;
        let is_main = child.sensor.and_then(types::main_value) == Some(message.kind);
        let value = if is_main { name.to_owned() } else { format!("{name}-{}", types::value_in_topic(message.kind)) };
        match message.command {
            Command::Set => Some(value),
            Command::Req => Some(value + "-req"),
            Command::Presentation => Some(format!("{name}-presentation")),
            Command::Internal | Command::Stream => None,
        }
    }

    /// Gives a node its name, if it has none and has said enough.
    pub(super) fn name_node(&mut self, node: u8) {
        // The gateway keeps the name under which its own points are declared. What has not been read yet may hold
        // a name.
        if self.name_source == NameSource::Numbers
            || self.unread
            || node == GATEWAY
            || self.reserved.contains_key(&node)
        {
            return;
        }
        let Some(record) = self.nodes.get(&node).filter(|record| record.name.is_none()) else { return };
        let Some(sketch) = record.sketch.as_deref().and_then(safe) else { return };
        let wanted = format!("{}-{sketch}", self.prefix);
        // `garden-7` is what node 7 is called as long as it has no name.
        let is_number = sketch.bytes().all(|byte| byte.is_ascii_digit());
        let is_free = |name: &str| {
            !self.taken.contains(name) && !self.nodes.values().any(|other| other.name.as_deref() == Some(name))
        };
        let name = if !is_number && is_free(&wanted) { wanted } else { format!("{wanted}-{node}") };
        if is_free(&name)
            && let Some(record) = self.nodes.get_mut(&node)
        {
            record.name = Some(name);
        }
    }

    /// Gives a child its name, if it has none.
    pub(super) fn name_child(&mut self, node: u8, child: u8) {
        if self.name_source == NameSource::Numbers || self.unread {
            return;
        }
        let Some(record) = self.nodes.get_mut(&node) else { return };
        let Some(this) = record.children.get(&child).filter(|this| this.name.is_none()) else { return };
        let kind = this.sensor.and_then(types::sensor_name).map(|name| name.replace('_', "-"));
        let Some(wanted) = this.description.as_deref().and_then(safe).or(kind) else { return };
        let others: Vec<&str> = record.children.values().filter_map(|other| other.name.as_deref()).collect();
        let declared = self.reserved.get(&node).into_iter().flatten().map(String::as_str);
        let others: Vec<&str> = others.into_iter().chain(declared).collect();
        let is_free = |name: &str| !is_own_name(name) && !others.iter().any(|other| clash(name, other));
        let tried = [wanted.clone(), format!("{wanted}-{child}"), format!("child-{child}-{wanted}")];
        let name = tried.into_iter().find(|name| is_free(name));
        if let Some(this) = record.children.get_mut(&child) {
            this.name = name;
        }
    }
}

/// Whether two children of these names could have points of one name.
fn clash(a: &str, b: &str) -> bool {
    let ends = |long: &str, short: &str| {
        long.strip_prefix(short).and_then(|rest| rest.strip_prefix('-')).is_some_and(is_ending)
    };
    a == b || ends(a, b) || ends(b, a)
}

/// Whether a name may get this behind it.
fn is_ending(text: &str) -> bool {
    let value = text.strip_suffix("-req").unwrap_or(text);
    matches!(text, "req" | "presentation") || (0..=u8::MAX).any(|kind| types::value_in_topic(kind) == value)
}

/// A text from a sketch as a part of a topic: lower-case letters, digits and hyphens.
fn safe(text: &str) -> Option<String> {
    let mut name = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        match c {
            'a'..='z' | '0'..='9' => name.push(c),
            'ä' | 'æ' => name.push_str("ae"),
            'ö' | 'ø' => name.push_str("oe"),
            'ü' => name.push_str("ue"),
            'ß' => name.push_str("ss"),
            'à' | 'á' | 'â' | 'ã' | 'å' => name.push('a'),
            'è' | 'é' | 'ê' | 'ë' => name.push('e'),
            'ì' | 'í' | 'î' | 'ï' => name.push('i'),
            'ò' | 'ó' | 'ô' | 'õ' => name.push('o'),
            'ù' | 'ú' | 'û' => name.push('u'),
            'ç' => name.push('c'),
            'ñ' => name.push('n'),
            _ if name.is_empty() || name.ends_with('-') => {}
            _ => name.push('-'),
        }
    }
    let name: String = name.chars().take(LONGEST).collect();
    let name = name.trim_matches('-');
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn named(lines: &[&str]) -> Registry {
        let declared = [(9, ["pump".to_owned()].into())];
        let mut registry = Registry::new("garden", NameSource::Presentation).declaring(declared);
        registry.avoid(["garden-tank".to_owned()]);
        for line in lines {
            registry.hear(&message(line), SystemTime::UNIX_EPOCH);
        }
        registry
    }

    fn message(line: &str) -> Message {
        Message::parse(line.as_bytes()).unwrap()
    }

    fn point(registry: &Registry, line: &str) -> Option<String> {
        registry.point_name(&message(line))
    }

    #[test]
    fn a_node_is_called_by_its_sketch_and_a_value_by_its_child() {
        let garden = named(&["2;255;0;0;17;2.3.2", "2;255;3;0;11;Soil", "2;1;0;0;35;Möisture (bed 1)"]);
        assert_eq!(garden.device_name(2), Some("garden-soil"));
        assert_eq!(point(&garden, "2;1;1;0;37;80").as_deref(), Some("moeisture-bed-1"));
        assert_eq!(point(&garden, "2;1;1;0;16;1").as_deref(), Some("moeisture-bed-1-tripped"));
        assert_eq!(point(&garden, "2;1;2;0;37;").as_deref(), Some("moeisture-bed-1-req"));
        assert_eq!(point(&garden, "2;1;0;0;35;x").as_deref(), Some("moeisture-bed-1-presentation"));
        assert_eq!(point(&garden, "2;255;3;0;0;87"), None);
        assert_eq!(point(&garden, "2;7;1;0;37;80"), None, "never presented");
    }

    #[test]
    fn a_name_stays_whatever_the_node_says_later() {
        let mut garden = named(&["2;255;3;0;11;Soil", "2;1;0;0;35;Bed"]);
        for line in ["2;255;3;0;11;Soil v2", "2;1;0;0;35;Flower bed"] {
            garden.hear(&message(line), SystemTime::UNIX_EPOCH);
        }
        assert_eq!(garden.device_name(2), Some("garden-soil"));
        assert_eq!(point(&garden, "2;1;1;0;37;80").as_deref(), Some("bed"));
    }

    #[test]
    fn two_of_one_name_and_the_names_of_others_are_told_apart_by_the_number() {
        let garden = named(&[
            "2;255;3;0;11;Soil",
            "3;255;3;0;11;soil!",
            "4;255;3;0;11;Tank",
            "5;255;3;0;11;7",
            "9;255;3;0;11;Declared in the site file",
            "6;255;3;0;11;++//##",
        ]);
        let names = [2, 3, 4, 5, 9, 6].map(|node| garden.device_name(node).unwrap_or("none"));
        assert_eq!(names, ["garden-soil", "garden-soil-3", "garden-tank-4", "garden-7-5", "none", "none"]);
    }

    #[test]
    fn children_of_one_node_never_share_a_point() {
        let garden = named(&[
            "2;1;0;0;6;Temp",
            "2;2;0;0;6;temp",
            "2;3;0;0;6;temp-hum",
            "2;4;0;0;6;battery",
            "2;5;0;0;6;12-volt",
            "2;6;0;0;9;",
        ]);
        let names = (1..=6).map(|child| garden.child(2, child).unwrap().name.clone().unwrap());
        assert_eq!(names.collect::<Vec<_>>(), ["temp", "temp-2", "temp-hum-3", "battery-4", "child-5-12-volt", "wind"]);
        let points = ["2;6;1;0;8;3", "2;6;1;0;9;5", "2;6;1;0;10;180"].map(|line| point(&garden, line).unwrap());
        assert_eq!(points, ["wind", "wind-gust", "wind-direction"]);
    }

    #[test]
    fn a_child_never_takes_the_name_of_a_declared_point() {
        let garden = named(&["9;1;0;0;3;Pump", "9;2;0;0;3;Valve"]);
        assert_eq!(point(&garden, "9;1;1;0;2;1").as_deref(), Some("pump-1"));
        assert_eq!(point(&garden, "9;2;1;0;2;1").as_deref(), Some("valve"));
    }

    #[test]
    fn numbers_can_be_asked_for() {
        let mut garden = Registry::new("garden", NameSource::Numbers);
        for line in ["2;255;3;0;11;Soil", "2;1;0;0;35;Bed"] {
            garden.hear(&message(line), SystemTime::UNIX_EPOCH);
        }
        assert_eq!((garden.device_name(2), point(&garden, "2;1;1;0;37;80")), (None, None));
    }
}
