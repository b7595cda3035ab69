//! The examples in `config/` load, and the full one is full.

use std::collections::BTreeSet;

use serde_json::Value;
use wharf::config::{schema, tree};
use wharf_contract::settings::{Node, NodeKind};

use crate::{files, read, repository};

#[test]
fn every_example_is_a_good_site_file() {
    for folder in ["config", "config/sites"] {
        for (path, text) in files(folder) {
            if let Err(errors) = read(&text) {
                panic!("{}:\n{errors}", path.display());
            }
        }
    }
}

#[test]
fn the_site_in_the_readme_is_a_good_site_file() {
    let readme = std::fs::read_to_string(repository("README.md")).unwrap();
    let (_, rest) = readme.split_once("```yaml\n").unwrap();
    let (site, _) = rest.split_once("```").unwrap();
    read(site).unwrap_or_else(|errors| panic!("{errors}"));
}

#[test]
fn the_worked_examples_of_the_driver_for_lines_are_good() {
    let readme = std::fs::read_to_string(repository("drivers/lines/README.md")).unwrap();
    let examples: Vec<&str> = readme.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 3);
    for example in examples {
        read(&format!("gateway: g\n{example}")).unwrap_or_else(|errors| panic!("{errors}"));
    }
}

#[test]
fn the_full_example_shows_every_option() {
    let text = std::fs::read_to_string(repository("config/wharf.example.yaml")).unwrap();
    let root = tree::parse(&text).root.unwrap();
    let (mut known, mut shown) = (BTreeSet::new(), BTreeSet::new());
    known_keys(&schema(), String::new(), &mut known);
    shown_keys(&root, &schema(), String::new(), &mut shown);
    // What is discovered on a broker has most in common with what is listed, and that is shown once.
    let is_shown_of_listed = |key: &str| shown.contains(&key.replacen("mqtt.*.discover.*.", "mqtt.*.devices.*.", 1));
    let missing: Vec<_> = known.difference(&shown).filter(|key| !is_shown_of_listed(key)).collect();
    assert!(missing.is_empty(), "config/wharf.example.yaml does not show {missing:?}");
    assert!(known.contains("modbus.*.devices.*.points.*.write.verify"), "{known:?}");
}

#[test]
fn the_schema_file_is_up_to_date() {
    let path = repository("config/wharf.schema.json");
    let fresh = format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap());
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == fresh, "config/wharf.schema.json is out of date: run the tests once with UPDATE_SCHEMA=1");
}

/// Every path of keys the schema knows; `*` for names that the user chooses.
fn known_keys(schema: &Value, path: String, found: &mut BTreeSet<String>) {
    for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
        let path = join(&path, key);
        found.insert(path.clone());
        known_keys(inner, path, found);
    }
    for inner in [&schema["additionalProperties"], &schema["items"]].into_iter().filter(|inner| inner.is_object()) {
        known_keys(inner, join(&path, "*"), found);
    }
}

/// Every path of keys that stands in a file, spelt as in [`known_keys`].
fn shown_keys(node: &Node, schema: &Value, path: String, found: &mut BTreeSet<String>) {
    if let NodeKind::Sequence(items) = &node.kind {
        items.iter().for_each(|item| shown_keys(item, &schema["items"], join(&path, "*"), found));
    }
    for entry in node.entries() {
        let named = &schema["properties"][&entry.key];
        let (key, inner) =
            if named.is_object() { (entry.key.as_str(), named) } else { ("*", &schema["additionalProperties"]) };
        let path = join(&path, key);
        found.insert(path.clone());
        shown_keys(&entry.value, inner, path, found);
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
