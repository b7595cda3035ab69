//! What a file tells, joined with what was heard before the disk gave it.

use std::collections::btree_map::Entry;

use super::{ChildRecord, NodeRecord, Registry};

impl Registry {
    /// Takes over these nodes. What was heard since the start is newer; but a name that was given once
    /// stays, and so does everything that was not said again. Both together may be more than is
    /// remembered otherwise, twice as much at most.
    pub(super) fn merge(&mut self, nodes: impl Iterator<Item = (u8, NodeRecord)>) {
        self.unread = false;
        let heard: Vec<u8> = self.nodes.keys().copied().collect();
        for (number, before) in nodes {
            match self.nodes.entry(number) {
                Entry::Vacant(place) => drop(place.insert(before)),
                Entry::Occupied(mut heard) => heard.get_mut().complete(before),
            }
        }
        // These had to wait for the names that were given before.
        for node in heard {
            self.name_node(node);
            let children: Vec<u8> =
                self.nodes.get(&node).into_iter().flat_map(|node| node.children.keys().copied()).collect();
            children.into_iter().for_each(|child| self.name_child(node, child));
        }
    }
}

impl NodeRecord {
    fn complete(&mut self, before: Self) {
        // What it passes on is said together with its version.
        if self.library.is_none() {
            (self.library, self.repeater) = (before.library, before.repeater);
        }
        self.sketch = self.sketch.take().or(before.sketch);
        self.sketch_version = self.sketch_version.take().or(before.sketch_version);
        self.battery = self.battery.or(before.battery);
        self.parent = self.parent.or(before.parent);
        self.last_seen = self.last_seen.or(before.last_seen);
        self.sleeps |= before.sleeps;
        self.given = before.given.or(self.given);
        self.name = before.name.or(self.name.take());
        self.stated = before.stated;
        for (number, before) in before.children {
            match self.children.entry(number) {
                Entry::Vacant(place) => drop(place.insert(before)),
                Entry::Occupied(mut heard) => heard.get_mut().complete(before),
            }
        }
    }
}

impl ChildRecord {
    fn complete(&mut self, before: Self) {
        self.sensor = self.sensor.or(before.sensor);
        self.description = self.description.take().or(before.description);
        self.name = before.name.or(self.name.take());
        for (kind, payload) in before.values {
            self.values.entry(kind).or_insert(payload);
        }
    }
}
