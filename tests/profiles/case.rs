//! The cases: what stands in a device, and what has to be read from it.

use std::collections::BTreeMap;

use wharf::config::tree;
use wharf_contract::Value;
use wharf_contract::settings::{Node, NodeKind, Typed};

use crate::repository;
use crate::slave::Tables;

/// One profile's case.
pub struct Case {
    /// Where its registers begin, for a profile that asks for it.
    pub base: Option<u16>,
    pub images: Vec<Image>,
}

/// One state of a device.
pub struct Image {
    /// What it shows.
    pub what: String,
    pub tables: Tables,
    /// Points with the values that have to be read.
    pub readings: BTreeMap<String, Expected>,
    /// Points that have to be without a value.
    pub bad: Vec<String>,
}

/// A value as a case says it.
#[derive(Debug)]
pub enum Expected {
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<String>),
}

impl Expected {
    /// Whether a reading's value is this one. Numbers may differ in the last digits of a double.
    pub fn is(&self, value: &Option<Value>) -> bool {
        match (self, value) {
            (Self::Bool(expected), Some(Value::Bool(value))) => expected == value,
            // The numbers of the cases are small enough.
            (Self::Number(expected), Some(Value::Int(value))) => *expected == *value as f64,
            (Self::Number(expected), Some(Value::Float(value))) => (expected - value).abs() <= expected.abs() * 1e-12,
            (Self::Text(expected), Some(Value::Text(value))) => expected == value,
            (Self::List(expected), Some(Value::List(values))) => {
                let texts = values.iter().map(|value| if let Value::Text(text) = value { text } else { "?" });
                texts.eq(expected.iter().map(String::as_str))
            }
            _ => false,
        }
    }
}

impl Image {
    /// All points it speaks of.
    pub fn points(&self) -> impl Iterator<Item = String> {
        self.readings.keys().chain(&self.bad).cloned()
    }
}

impl Case {
    /// What a device of the site file says to have this profile.
    pub fn device(&self, name: &str) -> String {
        let base = self.base.map_or(String::new(), |base| format!(", base: {base}"));
        format!("unit: 1, profile: {name}{base}")
    }

    pub fn load(name: &str) -> Self {
        let path = repository("tests/profiles/cases").join(format!("{name}.yaml"));
        let text = std::fs::read_to_string(path).unwrap();
        let parsed = tree::parse(&tree::normalise(&text));
        assert!(parsed.problems.is_empty(), "{name}: {:?}", parsed.problems);
        let root = parsed.root.unwrap();
        let base = root.get("base").map(|entry| whole(&entry.value));
        Self { base, images: items(&root.get("images").unwrap().value).iter().map(image).collect() }
    }
}

fn image(node: &Node) -> Image {
    let at = |key: &str| node.get(key).map_or(&[][..], |entry| entry.value.entries());
    let mut tables = Tables::default();
    for (table, key) in tables.0.iter_mut().zip(["coil", "discrete", "holding", "input"]) {
        for run in at(key) {
            let start = u16::from_str_radix(run.key.strip_prefix("0x").unwrap(), 16).unwrap();
            table.extend((start..).zip(items(&run.value).iter().map(whole)));
        }
    }
    Image {
        what: node.get("what").unwrap().value.text().unwrap().to_owned(),
        tables,
        readings: at("readings").iter().map(|entry| (entry.key.clone(), expected(&entry.value))).collect(),
        bad: node.get("bad").map_or(Vec::new(), |entry| items(&entry.value).iter().map(text).collect()),
    }
}

pub fn expected(node: &Node) -> Expected {
    match node.typed() {
        None => Expected::List(items(node).iter().map(text).collect()),
        Some(Typed::Bool(value)) => Expected::Bool(value),
        // The numbers of the cases are small enough.
        Some(Typed::Int(number)) => Expected::Number(number as f64),
        Some(Typed::Float(number)) => Expected::Number(number),
        Some(Typed::Text(text)) => Expected::Text(text.to_owned()),
        Some(Typed::Null) => panic!("an empty value"),
    }
}

fn items(node: &Node) -> &[Node] {
    if let NodeKind::Sequence(items) = &node.kind { items } else { panic!("{node:?} is no list") }
}

fn whole(node: &Node) -> u16 {
    if let Some(Typed::Int(number)) = node.typed() { number.try_into().unwrap() } else { panic!("{node:?}") }
}

fn text(node: &Node) -> String {
    node.text().unwrap().to_owned()
}
