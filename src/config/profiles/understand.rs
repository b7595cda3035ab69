//! From a profile's tree to a [`Profile`], or to what is wrong with it.

use wharf_contract::settings::{Context, Entries, Entry, Node, NodeKind, Problem, Setting, Span, Typed};

use super::{Profile, merge, mqtt};

/// What only a device of the site file has.
const NOT_HERE: [&str; 3] = ["unit", "profile", "base"];

/// Takes a profile apart and decodes what is in it as if it stood in a site file. Without a profile
/// there is a mistake among the problems; with one there may be warnings.
pub(super) fn understand(root: Node, file_name: &str) -> (Option<Profile>, Vec<Problem>) {
    let NodeKind::Mapping(entries) = root.kind else {
        return (None, vec![Problem::new(root.span, "", "a profile is a mapping")]);
    };
    let mut head = Head::new(entries.into(), root.span);
    let top = head.top;
    head.introduces(file_name, wharf_modbus::KIND, "profiles of Bluetooth sensors stand in the folder ble");
    let relative = head.is_relative();
    for key in NOT_HERE {
        if let Some(entry) = head.take(key) {
            head.problem(entry.key_span, key, format!("a profile has no `{key}`, a device has"));
        }
    }
    head.decode();
    let mut points: Vec<Entry> = head.take("points").map_or(Vec::new(), |entry| entry.value.entries().to_vec());
    if points.is_empty() && head.problems.is_empty() {
        head.problem(top, "points", "a profile needs `points`");
    }
    let Head { entries: device, problems, .. } = head;
    if !problems.iter().all(Problem::is_warning) {
        return (None, problems);
    }
    points.iter_mut().for_each(merge::mean_addresses);
    (Some(Profile { name: file_name.to_owned(), relative, device, points: points.into() }), problems)
}

/// Takes the profile of a Bluetooth sensor apart. What is left is a description, as it could stand in a
/// site file. Without it there is a mistake among the problems.
#[cfg(feature = "ble")]
pub(super) fn understand_ble(root: Node, file_name: &str) -> (Option<Node>, Vec<Problem>) {
    let NodeKind::Mapping(entries) = root.kind else {
        return (None, vec![Problem::new(root.span, "", "a profile is a mapping")]);
    };
    let mut head = Head::new(entries.into(), root.span);
    head.introduces(file_name, wharf_ble::KIND, "in the folder ble are Bluetooth sensors");
    let rest = Node { span: head.top, kind: NodeKind::Mapping(head.entries.clone().into()) };
    head.decode_as::<wharf_ble::config::DescriptionSettings>(&rest);
    let usable = head.problems.iter().all(Problem::is_warning);
    (usable.then_some(rest), head.problems)
}

/// Takes the profile of a device that speaks MQTT apart: what a device of the site file may have, with words
/// in braces, and what those stand for unless a device says otherwise. Without it there is a mistake among
/// the problems.
pub(super) fn understand_mqtt(root: Node, file_name: &str) -> (Option<Entries>, Vec<Problem>) {
    let NodeKind::Mapping(entries) = root.kind else {
        return (None, vec![Problem::new(root.span, "", "a profile is a mapping")]);
    };
    let mut head = Head::new(entries.into(), root.span);
    head.introduces(file_name, wharf_mqtt::KIND, "in the folder mqtt are devices that speak MQTT");
    if let Some(entry) = head.take("profile") {
        head.problem(entry.key_span, "profile", "a profile has no `profile`, a device has");
    }
    // Any word will do to see whether the rest is right.
    let mut rest = Node { span: head.top, kind: NodeKind::Mapping(head.entries.clone().into()) };
    mqtt::fill(&mut rest, &|_| Some("x".into()));
    head.decode_as::<wharf_mqtt::DeviceSettings>(&rest);
    let usable = head.problems.iter().all(Problem::is_warning);
    (usable.then(|| head.entries.into()), head.problems)
}

/// What is left of a profile after its head was taken off piece by piece.
struct Head {
    entries: Vec<Entry>,
    /// Where what is missing is pointed out.
    top: Span,
    problems: Vec<Problem>,
}

impl Head {
    fn new(entries: Vec<Entry>, span: Span) -> Self {
        Self { entries, top: Span { line: span.line, column: 1, length: 1 }, problems: Vec::new() }
    }

    /// Takes what every profile says of itself. `elsewhere` says where those of other protocols are.
    fn introduces(&mut self, file_name: &str, protocol: &str, elsewhere: &str) {
        self.says("name", file_name, &format!("the file is called {file_name}.yaml"));
        self.says_something("source", "the document it was made from: title and version");
        self.says("protocol", protocol, elsewhere);
    }

    fn take(&mut self, key: &str) -> Option<Entry> {
        self.entries.iter().position(|entry| entry.key == key).map(|at| self.entries.remove(at))
    }

    fn problem(&mut self, span: Span, path: &str, message: impl Into<String>) {
        self.problems.push(Problem::new(span, path, message));
    }

    /// Takes a text that has to be there.
    fn says_something(&mut self, key: &str, help: &str) -> Option<Entry> {
        let entry = self.take(key);
        let said = entry.as_ref().and_then(|entry| entry.value.text()).is_some_and(|text| !text.trim().is_empty());
        if said {
            return entry;
        }
        let span = entry.map_or(self.top, |entry| entry.value.span);
        self.problem(span, key, format!("a profile needs its `{key}`"));
        if let Some(problem) = self.problems.last_mut() {
            problem.help(help);
        }
        None
    }

    /// Takes a text that can only be this one, and why.
    fn says(&mut self, key: &str, expected: &str, why: &str) {
        let entry = self.says_something(key, &format!("write `{key}: {expected}`"));
        if let Some(entry) = entry.filter(|entry| entry.value.text() != Some(expected)) {
            self.problem(entry.value.span, key, format!("the {key} is `{expected}`: {why}"));
        }
    }

    fn is_relative(&mut self) -> bool {
        let Some(entry) = self.take("relative") else { return false };
        let is_true = entry.value.typed() == Some(Typed::Bool(true));
        if !is_true {
            self.problem(entry.value.span, "relative", "`relative: true`, or nothing");
        }
        is_true
    }

    /// Decodes the rest as a device of the site file, with the unit that only a device can know.
    fn decode(&mut self) {
        let unit = Entry { key: "unit".into(), key_span: self.top, value: Node::plain("1", self.top) };
        let entries = [vec![unit], self.entries.clone()].concat();
        self.decode_as::<wharf_modbus::DeviceSettings>(&Node {
            span: self.top,
            kind: NodeKind::Mapping(entries.into()),
        });
    }

    fn decode_as<T: Setting>(&mut self, node: &Node) {
        let mut cx = Context::new("", &|_| Err("a profile has no secrets".into()));
        T::decode(node, &mut cx);
        self.problems.extend(cx.finish().0);
    }
}
