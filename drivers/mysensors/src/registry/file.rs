//! The registry as JSON: what stands in its file, and what is shown of it to those who ask.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value as Json, json};

use super::{ChildRecord, NodeRecord, Registry, clipped};
use crate::types;

/// What the file begins with, for those who find it.
const WHAT: &str = "what wharf knows of the nodes of a MySensors network; without it the numbers it gave away are lost";

/// A file that is none of ours, or is damaged.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("it holds no list of nodes")]
pub struct Damaged;

impl Registry {
    /// What is to stand in the file.
    pub fn to_file(&self) -> String {
        let nodes: Vec<Json> = self.nodes().map(|(number, node)| node_json(number, node, true)).collect();
        json!({ "what": WHAT, "version": 1, "incomplete": self.is_incomplete(), "nodes": nodes }).to_string()
    }

    /// Takes over what a file tells, beside what was heard before it could be read. An empty one tells
    /// nothing. What makes no sense in an otherwise good file is left out.
    ///
    /// # Errors
    /// It is no such file. Nothing is taken over, and until [`Registry::accept`] no number is given away.
    pub fn recall(&mut self, text: &str) -> Result<(), Damaged> {
        let file: Json = serde_json::from_str(text).unwrap_or_default();
        match file["nodes"].as_array() {
            Some(nodes) => {
                self.incomplete = file["incomplete"] == true;
                self.merge(nodes.iter().filter_map(node_of));
            }
            None if text.is_empty() => self.merge(std::iter::empty()),
            None => {
                self.forget();
                return Err(Damaged);
            }
        }
        Ok(())
    }

    /// What was known got lost.
    pub fn forget(&mut self) {
        self.incomplete = true;
        self.merge(std::iter::empty());
    }

    /// Every node without its values, for people and programs that ask. `device`: the name of each;
    /// `waiting`: how many commands wait for it.
    pub fn shown(&self, device: impl Fn(u8) -> String, waiting: impl Fn(u8) -> usize) -> Vec<Json> {
        let shown = |(number, node): (u8, &NodeRecord)| {
            let mut shown = node_json(number, node, false);
            shown["sleeping"] = self.sleeps(number).into();
            shown["device"] = device(number).into();
            shown["waiting"] = waiting(number).into();
            shown
        };
        self.nodes().map(shown).collect()
    }
}

fn node_json(number: u8, node: &NodeRecord, with_values: bool) -> Json {
    let mut json = Map::from_iter([("node".to_owned(), number.into()), ("sleeping".to_owned(), node.sleeps.into())]);
    let mut put = |key: &str, value: Option<Json>| {
        json.extend(value.map(|value| (key.to_owned(), value)));
    };
    put("library", node.library.as_deref().map(Json::from));
    put("repeater", node.repeater.then_some(true.into()));
    put("sketch", node.sketch.as_deref().map(Json::from));
    put("sketch_version", node.sketch_version.as_deref().map(Json::from));
    put("battery", node.battery.map(Json::from));
    put("parent", node.parent.map(Json::from));
    put("last_seen", node.last_seen.map(|at| epoch_ms(at).into()));
    put("given", node.given.map(|at| epoch_ms(at).into()));
    put("name", node.name.as_deref().map(Json::from));
    put("stated", node.stated.as_deref().filter(|_| with_values).map(Json::from));
    let children: Vec<Json> =
        node.children.iter().map(|(number, child)| child_json(*number, child, with_values)).collect();
    put("children", Some(children.into()));
    json.into()
}

fn child_json(number: u8, child: &ChildRecord, with_values: bool) -> Json {
    let mut json = json!({ "child": number });
    if let Some(sensor) = child.sensor {
        json["type"] = sensor.into();
        json["sensor"] = types::sensor_name(sensor).unwrap_or("unknown").into();
    }
    if let Some(description) = &child.description {
        json["description"] = description.as_str().into();
    }
    if let Some(name) = &child.name {
        json["name"] = name.as_str().into();
    }
    if with_values {
        let values = child.values.iter().map(|(kind, payload)| (kind.to_string(), payload.as_str().into()));
        json["values"] = values.collect::<Map<_, _>>().into();
    }
    json
}

fn node_of(json: &Json) -> Option<(u8, NodeRecord)> {
    let children = json["children"].as_array().into_iter().flatten();
    let node = NodeRecord {
        library: text(&json["library"]),
        repeater: json["repeater"] == true,
        sketch: text(&json["sketch"]),
        sketch_version: text(&json["sketch_version"]),
        battery: number(&json["battery"]),
        parent: number(&json["parent"]),
        last_seen: time(&json["last_seen"]),
        sleeps: json["sleeping"] == true,
        given: time(&json["given"]),
        name: text(&json["name"]),
        stated: text(&json["stated"]),
        children: children.filter_map(child_of).collect(),
    };
    Some((number(&json["node"]).filter(|number| *number <= super::HIGHEST_NODE)?, node))
}

fn child_of(json: &Json) -> Option<(u8, ChildRecord)> {
    let values = json["values"].as_object().into_iter().flatten();
    let child = ChildRecord {
        sensor: number(&json["type"]),
        description: text(&json["description"]),
        name: text(&json["name"]),
        values: values
            .filter_map(|(kind, payload)| Some((kind.parse().ok()?, text(payload)?)))
            .collect::<BTreeMap<_, _>>(),
    };
    Some((number(&json["child"])?, child))
}

fn text(json: &Json) -> Option<String> {
    json.as_str().map(clipped)
}

fn number(json: &Json) -> Option<u8> {
    json.as_u64()?.try_into().ok()
}

fn time(json: &Json) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_millis(json.as_u64()?))
}

fn epoch_ms(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
