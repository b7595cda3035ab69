//! Numbers that the site file gives, beside those that were given away here. Both are for good, so they may
//! meet: the site file says what it wants, and this says where that is doubtful.

use super::{Change, NodeRecord, Registry};

impl Registry {
    /// The same, knowing what the site file calls the nodes of this network.
    #[must_use]
    pub fn stating(mut self, stated: impl IntoIterator<Item = (u8, String)>) -> Self {
        self.stated.extend(stated);
        self
    }

    /// Never gives away one of these numbers: the site file gives them to others, perhaps to a device that is
    /// shown as a node.
    pub fn spare(&mut self, numbers: impl IntoIterator<Item = (u8, Option<String>)>) {
        for (number, device) in numbers {
            let known = self.elsewhere.entry(number).or_default();
            *known = device.or(known.take());
        }
    }

    /// Whether the site file gives this number to somebody.
    pub(super) fn is_stated(&self, number: u8) -> bool {
        self.reserved.contains_key(&number) || self.elsewhere.contains_key(&number)
    }

    /// A node of this network that has the number of a device which is shown as a node, in words.
    pub fn clash(&self) -> Option<String> {
        self.clashes().next()
    }

    fn clashes(&self) -> impl Iterator<Item = String> {
        self.elsewhere.iter().filter_map(|(number, device)| {
            let (node, device) = (self.nodes.get(number)?, device.as_deref()?);
            Some(format!(
                "node {number}{} has the number under which the site file shows `{device}`, and controllers take the two for one: give `{device}` another `node:`, or the node another number",
                called(node)
            ))
        })
    }

    /// What is doubtful where the site file gives a number that a node of this network has. That a node was
    /// given its number here and is named in the site file since is said once for each name.
    pub fn compare_with_the_site(&mut self) -> (Vec<String>, Change) {
        let mut doubts: Vec<String> = self.clashes().collect();
        let mut change = Change::Whenever;
        for (number, device) in &self.stated {
            let Some(node) = self.nodes.get_mut(number).filter(|node| node.stated.as_ref() != Some(device)) else {
                continue;
            };
            if node.given.is_some() {
                doubts.push(format!(
                    "node {number}{} got its number from this gateway, and is `{device}` in the site file now: if `{device}` is another node, give it a number that is free, for two nodes of one number disturb each other",
                    called(node)
                ));
            }
            node.stated = Some(device.clone());
            self.revision += 1;
            change = Change::Soon;
        }
        (doubts, change)
    }
}

/// What a node calls itself, as part of a sentence.
fn called(node: &NodeRecord) -> String {
    match node.sketch.as_deref() {
        Some(sketch) => format!(" (`{sketch}`)"),
        None if node.last_seen.is_none() => " (never heard yet)".to_owned(),
        None => String::new(),
    }
}
