//! Which parts of a site file are different from those a gateway runs with.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use wharf_contract::settings::{Node, NodeKind};

/// A number for each section of a site file, profiles included; where its lines stand makes no difference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sections(BTreeMap<String, u64>);

impl Sections {
    /// Of a whole file.
    pub fn of(root: &Node) -> Self {
        let mut sections = BTreeMap::new();
        for entry in root.entries() {
            // Of the broker, some take effect at once and some do not.
            if entry.key != BROKER {
                sections.insert(entry.key.clone(), number(&entry.value));
                continue;
            }
            for within in entry.value.entries() {
                sections.insert(format!("{BROKER}.{}", within.key), number(&within.value));
            }
        }
        Self(sections)
    }

    /// The sections that are not the same in both, by name.
    pub fn changed(&self, other: &Self) -> Vec<String> {
        let mut names: Vec<&String> = self.0.keys().chain(other.0.keys()).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().filter(|name| self.0.get(*name) != other.0.get(*name)).cloned().collect()
    }
}

const BROKER: &str = "broker";

fn number(node: &Node) -> u64 {
    let mut hasher = DefaultHasher::new();
    hash(node, &mut hasher);
    hasher.finish()
}

fn hash(node: &Node, hasher: &mut DefaultHasher) {
    match &node.kind {
        NodeKind::Scalar { text, style } => (0, text, *style as u8).hash(hasher),
        NodeKind::Sequence(items) => {
            (1, items.len()).hash(hasher);
            items.iter().for_each(|item| hash(item, hasher));
        }
        NodeKind::Mapping(entries) => {
            (2, entries.len()).hash(hasher);
            for entry in entries.iter() {
                entry.key.hash(hasher);
                hash(&entry.value, hasher);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree;
    use super::*;

    fn of(text: &str) -> Sections {
        Sections::of(&tree::parse(text).root.unwrap())
    }

    #[test]
    fn what_is_said_differently_is_found_wherever_it_stands() {
        let before = of("gateway: g\nbroker: {listen: [a], users: {u: {}}}\nmodbus: {l: {tcp: a}}\n");
        let moved =
            of("# more lines\n\ngateway: g\nmodbus:\n  l:\n    tcp: a\nbroker: {users: {u: {}}, listen: [a]}\n");
        assert_eq!(before.changed(&moved), Vec::<String>::new());
        let other = of("gateway: g\nbroker: {listen: [a], users: {u: {}, v: {}}}\nmodbus: {l: {tcp: b}}\nble: {}\n");
        assert_eq!(before.changed(&other), ["ble", "broker.users", "modbus"]);
        assert_eq!(other.changed(&before), ["ble", "broker.users", "modbus"]);
        assert_eq!(of("gateway: g").changed(&of("gateway: g\nbroker:\n")), Vec::<String>::new());
        assert_eq!(of("gateway: g").changed(&of("gateway: \"g\"")), ["gateway"]);
    }
}
