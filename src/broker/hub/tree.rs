//! Which subscriptions a topic is for.
//!
//! Filters without wildcards are found by one look-up of the whole topic. The others are a tree of levels, in which
//! each node is visited at most once per topic. Nodes are numbered places in one list, and used again.

use std::collections::HashMap;

use crate::broker::publication::Qos;

use super::filter::{has_wildcards, is_system};

/// One client's subscription to a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// The place of its session.
    pub slot: usize,
    /// The number of the subscription; 0 if it has none.
    pub identifier: u32,
    /// How hard it wants it at most.
    pub qos: Qos,
    /// Not what it published itself.
    pub no_local: bool,
    /// The retain flag stays as it was published.
    pub as_published: bool,
    /// Whether its rights are looked at for each message.
    pub is_checked: bool,
}

/// Who subscribed to one filter.
#[derive(Debug, Default)]
pub struct Subscribers {
    /// Who gets everything.
    pub each: Vec<Subscriber>,
    /// The groups of which one member gets it, by their numbers.
    pub groups: Vec<u32>,
}

impl Subscribers {
    fn is_empty(&self) -> bool {
        self.each.is_empty() && self.groups.is_empty()
    }

    fn put(&mut self, subscriber: Subscriber) -> bool {
        match self.each.iter_mut().find(|other| other.slot == subscriber.slot) {
            Some(other) => {
                *other = subscriber;
                false
            }
            None => {
                self.each.push(subscriber);
                true
            }
        }
    }

    fn take(&mut self, who: Who) {
        match who {
            Who::Client(slot) => self.each.retain(|other| other.slot != slot),
            Who::Group(group) => self.groups.retain(|other| *other != group),
        }
    }
}

/// Who subscribes no more.
#[derive(Clone, Copy, Debug)]
pub enum Who {
    /// The client with its session at that place.
    Client(usize),
    /// A group, by its number.
    Group(u32),
}

/// All subscriptions.
#[derive(Debug)]
pub struct Tree {
    exact: HashMap<Box<str>, Subscribers>,
    nodes: Vec<Node>,
    free: Vec<usize>,
}

#[derive(Debug, Default)]
struct Node {
    children: HashMap<Box<str>, usize>,
    plus: Option<usize>,
    /// Filters that end here.
    here: Subscribers,
    /// Filters that end here with `#`.
    below: Subscribers,
}

const ROOT: usize = 0;

impl Default for Tree {
    fn default() -> Self {
        Self { exact: HashMap::new(), nodes: vec![Node::default()], free: Vec::new() }
    }
}

impl Tree {
    /// Adds a subscription, in place of the one its client had to the same filter. Whether it is new.
    pub fn insert(&mut self, filter: &str, subscriber: Subscriber) -> bool {
        self.place(filter).is_some_and(|place| place.put(subscriber))
    }

    /// Adds a group, once.
    pub fn insert_group(&mut self, filter: &str, group: u32) {
        if let Some(place) = self.place(filter) {
            place.groups.push(group);
        }
    }

    /// Takes a subscription away.
    pub fn remove(&mut self, filter: &str, who: Who) {
        if !has_wildcards(filter) {
            if let Some(place) = self.exact.get_mut(filter) {
                place.take(who);
                if place.is_empty() {
                    self.exact.remove(filter);
                }
            }
            return;
        }
        let mut path = vec![(ROOT, "")];
        let mut levels = filter.split('/').peekable();
        let mut is_below = false;
        while let Some(level) = levels.next() {
            if level == "#" && levels.peek().is_none() {
                is_below = true;
                break;
            }
            let next = path.last().and_then(|(at, _)| self.nodes.get(*at)).and_then(|node| node.child(level));
            let Some(next) = next else { return };
            path.push((next, level));
        }
        if let Some(node) = path.last().and_then(|(at, _)| self.nodes.get_mut(*at)) {
            if is_below { node.below.take(who) } else { node.here.take(who) }
        }
        self.prune(&path);
    }

    /// Shows everybody a topic is for.
    pub fn visit(&self, topic: &str, show: &mut impl FnMut(&Subscribers)) {
        if let Some(found) = self.exact.get(topic) {
            show(found);
        }
        let Some(root) = self.nodes.first() else { return };
        if root.is_leaf() && root.below.is_empty() {
            return;
        }
        // Topics that begin with `$` are not meant by a wildcard at the beginning.
        if !is_system(topic) {
            self.descend(root, Some(topic), show);
        } else {
            let (level, rest) = cut(topic);
            if let Some(child) = root.children.get(level).and_then(|child| self.nodes.get(*child)) {
                self.descend(child, rest, show);
            }
        }
    }

    // As deep as a filter has levels, which is bounded.
    fn descend(&self, node: &Node, rest: Option<&str>, show: &mut impl FnMut(&Subscribers)) {
        if !node.below.is_empty() {
            show(&node.below);
        }
        let Some(rest) = rest else {
            if !node.here.is_empty() {
                show(&node.here);
            }
            return;
        };
        if node.is_leaf() {
            return;
        }
        let (level, rest) = cut(rest);
        if let Some(child) = node.plus.and_then(|child| self.nodes.get(child)) {
            self.descend(child, rest, show);
        }
        if let Some(child) = node.children.get(level).and_then(|child| self.nodes.get(*child)) {
            self.descend(child, rest, show);
        }
    }

    fn place(&mut self, filter: &str) -> Option<&mut Subscribers> {
        if !has_wildcards(filter) {
            return Some(self.exact.entry(filter.into()).or_default());
        }
        let mut at = ROOT;
        let mut levels = filter.split('/').peekable();
        while let Some(level) = levels.next() {
            if level == "#" && levels.peek().is_none() {
                return self.nodes.get_mut(at).map(|node| &mut node.below);
            }
            at = match self.nodes.get(at)?.child(level) {
                Some(child) => child,
                None => {
                    let child = self.free.pop().unwrap_or_else(|| {
                        self.nodes.push(Node::default());
                        self.nodes.len() - 1
                    });
                    self.nodes.get_mut(at)?.adopt(level, child);
                    child
                }
            };
        }
        self.nodes.get_mut(at).map(|node| &mut node.here)
    }

    /// Removes the nodes at the end of a path that nobody needs any more.
    fn prune(&mut self, path: &[(usize, &str)]) {
        for pair in path.windows(2).rev() {
            let [(parent, _), (at, level)] = pair else { return };
            let is_needed = self.nodes.get(*at).is_none_or(|node| !node.is_empty());
            if is_needed {
                return;
            }
            if let Some(node) = self.nodes.get_mut(*at) {
                *node = Node::default();
            }
            self.free.push(*at);
            if let Some(parent) = self.nodes.get_mut(*parent) {
                parent.disown(level);
            }
        }
    }

    /// How many nodes are in use.
    #[cfg(test)]
    pub fn size(&self) -> usize {
        self.exact.len() + self.nodes.len() - self.free.len()
    }
}

impl Node {
    fn child(&self, level: &str) -> Option<usize> {
        if level == "+" { self.plus } else { self.children.get(level).copied() }
    }

    fn adopt(&mut self, level: &str, child: usize) {
        if level == "+" {
            self.plus = Some(child);
        } else {
            self.children.insert(level.into(), child);
        }
    }

    fn disown(&mut self, level: &str) {
        if level == "+" {
            self.plus = None;
        } else {
            self.children.remove(level);
        }
    }

    fn is_leaf(&self) -> bool {
        self.children.is_empty() && self.plus.is_none()
    }

    fn is_empty(&self) -> bool {
        self.is_leaf() && self.here.is_empty() && self.below.is_empty()
    }
}

fn cut(topic: &str) -> (&str, Option<&str>) {
    match topic.split_once('/') {
        Some((level, rest)) => (level, Some(rest)),
        None => (topic, None),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::filter::{matches, parse};
    use super::*;

    fn subscriber(slot: usize) -> Subscriber {
        Subscriber {
            slot,
            identifier: 0,
            qos: Qos::AtMostOnce,
            no_local: false,
            as_published: false,
            is_checked: false,
        }
    }

    fn found(tree: &Tree, topic: &str) -> Vec<usize> {
        let mut found = Vec::new();
        tree.visit(topic, &mut |all| found.extend(all.each.iter().map(|one| one.slot)));
        found.sort_unstable();
        found
    }

    #[test]
    fn what_was_taken_away_leaves_nothing_behind() {
        let mut tree = Tree::default();
        let filters = ["a/b", "a/+/c", "a/#", "#", "+", "a/+/c/#", "$SYS/#"];
        for filter in filters {
            assert!(tree.insert(filter, subscriber(1)), "{filter}");
            assert!(!tree.insert(filter, subscriber(1)), "{filter}");
        }
        assert_eq!(found(&tree, "a/b"), [1, 1, 1]);
        for filter in filters {
            tree.remove(filter, Who::Client(1));
        }
        assert_eq!(tree.size(), 1);
        assert_eq!(found(&tree, "a/b"), [] as [usize; 0]);
    }

    proptest! {
        #[test]
        fn the_tree_finds_what_a_look_at_each_filter_finds(
            steps in prop::collection::vec((any::<bool>(), 0usize..3, "(\\$?[ab+]{0,1}/){0,3}([ab]|#|\\+|)"), 1..40),
            topics in prop::collection::vec("\\$?[ab]?(/[ab]?){0,3}", 1..10),
        ) {
            let mut tree = Tree::default();
            let mut model = BTreeSet::new();
            for (adds, slot, filter) in steps {
                if parse(&filter, 8).is_none() {
                    continue;
                }
                if adds {
                    prop_assert_eq!(tree.insert(&filter, subscriber(slot)), model.insert((filter, slot)));
                } else {
                    tree.remove(&filter, Who::Client(slot));
                    model.remove(&(filter, slot));
                }
            }
            for topic in topics {
                let mut expected: Vec<_> =
                    model.iter().filter(|(filter, _)| matches(filter, &topic)).map(|(_, slot)| *slot).collect();
                expected.sort_unstable();
                prop_assert_eq!(found(&tree, &topic), expected, "{}", topic);
            }
            for (filter, slot) in model {
                tree.remove(&filter, Who::Client(slot));
            }
            prop_assert_eq!(tree.size(), 1);
        }
    }
}
