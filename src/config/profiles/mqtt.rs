//! Profiles of devices that speak MQTT, in `profiles/mqtt` beside the site file, and the built-in ones.
//!
//! A text in them may have words in braces, such as `tele/{topic}/SENSOR`: what a device has of its own,
//! said in the site file under `with`. What the profile has under `with` are the usual ones. `{device}` and
//! `{value}` are the driver's.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use wharf_contract::settings::{Entries, Entry, Node, NodeKind, Problem, Span, Style, Typed, suggestion};

use super::super::sources::Sources;
use super::understand::understand_mqtt;
use super::{FOLDER, builtin, entries_mut, merge, text};

/// The largest profile.
const LARGEST: u64 = 256 << 10;

/// The words that are the driver's own.
const DRIVERS_WORDS: [&str; 2] = ["device", "value"];

/// The keys that say where a value stands.
const PLACES: [&str; 3] = ["topic", "path", "write"];

/// The profiles used so far, by name; `None` for one that is of no use, which was said.
struct Library<'s> {
    folder: PathBuf,
    sources: &'s mut Sources,
    read: HashMap<String, Option<Entries>>,
}

/// Lays profiles under the devices that name one. What is found wrong comes back; such a device loses its
/// points, for without the profile they would only be puzzles.
pub(super) fn join(root: &mut Node, directory: &Path, sources: &mut Sources) -> Vec<Problem> {
    let folder = directory.join(FOLDER).join(wharf_mqtt::KIND);
    let mut library = Library { folder, sources, read: HashMap::new() };
    let mut problems = Vec::new();
    for link in entries_mut(root, wharf_mqtt::KIND) {
        let path = format!("{}.{}", wharf_mqtt::KIND, link.key);
        for device in entries_mut(&mut link.value, "devices") {
            let path = format!("{path}.devices.{}", device.key);
            join_one(&mut device.value, device.key_span, &path, &[], &mut library, &mut problems);
        }
        let NodeKind::Mapping(entries) = &mut link.value.kind else { continue };
        let Some(discover) = entries.iter_mut().find(|entry| entry.key == "discover") else { continue };
        let NodeKind::Sequence(kinds) = &mut discover.value.kind else { continue };
        for (index, kind) in kinds.iter_mut().enumerate() {
            let (span, path) = (kind.span, format!("{path}.discover[{index}]"));
            // Who is discovered is not asked.
            join_one(kind, span, &path, &["ask"], &mut library, &mut problems);
        }
    }
    problems
}

fn join_one(
    device: &mut Node,
    span: Span,
    path: &str,
    without: &[&str],
    library: &mut Library<'_>,
    problems: &mut Vec<Problem>,
) {
    let Some(named) = device.get("profile").map(|entry| entry.value.clone()) else { return };
    let profile = library.find(&named, &format!("{path}.profile"), problems);
    let NodeKind::Mapping(own) = &mut device.kind else { return };
    let name = named.text().unwrap_or_default();
    let filled = profile.and_then(|profile| with_words(profile, own, name, span, path, problems));
    let Some(profile) = filled else {
        own.retain(|entry| entry.key != "points");
        return;
    };
    let mut points = Entries::default();
    for entry in Vec::from(profile) {
        if entry.key == "points" {
            points = entry.value.entries().to_vec().into();
        } else if !without.contains(&entry.key.as_str()) && own.iter().all(|known| known.key != entry.key) {
            own.push(entry);
        }
    }
    let at = own.iter().position(|entry| entry.key == "points");
    let (key_span, of_site) = match at.map(|at| own.remove(at)) {
        None => (span, Vec::new()),
        Some(entry) if entry.value.is_null() => (entry.key_span, Vec::new()),
        Some(Entry { key_span, value: Node { kind: NodeKind::Mapping(points), .. }, .. }) => (key_span, points.into()),
        // No names with settings: the decoder says so.
        Some(entry) => {
            own.push(entry);
            return;
        }
    };
    let (points, wrong) = merge::points(points, of_site, name, path, &PLACES);
    problems.extend(wrong);
    own.push(Entry { key: "points".into(), key_span, value: Node { span: key_span, kind: NodeKind::Mapping(points) } });
}

/// The profile for one device: with its words filled in, or nothing and what is wrong with them.
fn with_words(
    profile: Entries,
    own: &[Entry],
    name: &str,
    span: Span,
    path: &str,
    problems: &mut Vec<Problem>,
) -> Option<Entries> {
    let mut root = Node { span, kind: NodeKind::Mapping(profile) };
    let words = words(&root);
    let usual: Vec<(String, String)> = pairs(&root);
    let said = own.iter().find(|entry| entry.key == "with");
    let before = problems.len();
    for entry in said.map_or(&[][..], |with| with.value.entries()) {
        if !words.contains(&entry.key) {
            let known: Vec<&str> = words.iter().map(String::as_str).collect();
            let message = format!("the profile {name} has no word `{}`", entry.key);
            let mut problem = Problem::new(entry.key_span, format!("{path}.with.{}", entry.key), message);
            problem.help(suggestion(&entry.key, &known));
            problems.push(problem);
        }
    }
    // Topics that end early would be no filters, and each of them a puzzle in a file that nobody has written here.
    for entry in said.map_or(&[][..], |with| with.value.entries()) {
        if entry.value.text().is_some_and(|text| text.contains('#')) {
            let message = format!("`{}` becomes a part of topics, where `#` cannot stand", entry.key);
            let mut problem = Problem::new(entry.value.span, format!("{path}.with.{}", entry.key), message);
            problem.help(format!("what this device has of its own, as `wharf profiles {name}` says"));
            problems.push(problem);
        }
    }
    let own: Vec<(String, String)> = said.map(|with| texts(&with.value)).unwrap_or_default();
    let find = |word: &str| own.iter().chain(&usual).find(|(known, _)| known == word).map(|(_, text)| text.clone());
    for word in words.iter().filter(|word| find(word).is_none()) {
        let mut problem =
            Problem::new(span, format!("{path}.with"), format!("the profile {name} needs `{word}` under `with`"));
        problem.help(format!("with: {{ {word}: … }}; `wharf profiles {name}` says what it is"));
        problems.push(problem);
    }
    if problems.len() > before {
        return None;
    }
    if let NodeKind::Mapping(entries) = &mut root.kind {
        entries.retain(|entry| entry.key != "with");
    }
    fill(&mut root, &find);
    match root.kind {
        NodeKind::Mapping(entries) => Some(entries),
        _ => None,
    }
}

/// The usual words of a profile.
fn pairs(root: &Node) -> Vec<(String, String)> {
    root.get("with").map(|with| texts(&with.value)).unwrap_or_default()
}

fn texts(with: &Node) -> Vec<(String, String)> {
    with.entries().iter().filter_map(|entry| Some((entry.key.clone(), entry.value.text()?.to_owned()))).collect()
}

/// The words in braces in all texts.
fn words(node: &Node) -> BTreeSet<String> {
    match &node.kind {
        NodeKind::Scalar { text, .. } => pieces(text).filter_map(|(_, word)| word.map(str::to_owned)).collect(),
        NodeKind::Sequence(items) => items.iter().flat_map(words).collect(),
        NodeKind::Mapping(entries) => entries.iter().flat_map(|entry| words(&entry.value)).collect(),
    }
}

/// Puts what words stand for in their places. A text that is one word alone takes the type of what it stands
/// for: `{channel}` becomes the number 0.
pub(super) fn fill(node: &mut Node, find: &dyn Fn(&str) -> Option<String>) {
    match &mut node.kind {
        NodeKind::Scalar { text, style } => {
            let mut filled = String::new();
            let mut is_one_word = true;
            for (before, word) in pieces(text) {
                filled.push_str(before);
                is_one_word &= before.is_empty();
                if let Some(word) = word {
                    filled.push_str(&find(word).unwrap_or_else(|| format!("{{{word}}}")));
                }
            }
            if filled != *text {
                let plain = Node::plain(filled.as_str(), node.span);
                let is_number = matches!(plain.typed(), Some(Typed::Int(_) | Typed::Float(_)));
                *style = if is_one_word && is_number { Style::Plain } else { Style::Quoted };
                *text = filled;
            }
        }
        NodeKind::Sequence(items) => items.iter_mut().for_each(|item| fill(item, find)),
        NodeKind::Mapping(entries) => entries.iter_mut().for_each(|entry| fill(&mut entry.value, find)),
    }
}

/// A text cut at its words: what comes before each of them, and the word; at the end what is left.
fn pieces(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest.take()?;
        let mut from = 0;
        while let Some(open) = text.get(from..).and_then(|later| later.find('{')).map(|at| at + from) {
            let inside = text.get(open + 1..).unwrap_or_default();
            let word = inside.split_once('}').map(|(word, _)| word).filter(|word| is_word(word));
            if let Some(word) = word {
                rest = inside.get(word.len() + 1..).filter(|after| !after.is_empty());
                return Some((text.get(..open).unwrap_or_default(), Some(word)));
            }
            from = open + 1;
        }
        Some((text, None))
    })
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && !DRIVERS_WORDS.contains(&text)
}

impl Library<'_> {
    /// The profile that is `named`, or `None` and a problem. `path` leads to where it is named.
    fn find(&mut self, named: &Node, path: &str, problems: &mut Vec<Problem>) -> Option<Entries> {
        // What is no text is the decoder's to report.
        let name = named.text().filter(|_| !named.is_null())?;
        if let Some(known) = self.read.get(name) {
            return known.clone();
        }
        let profile = self.read(named, name, path, problems);
        self.read.insert(name.to_owned(), profile.clone());
        profile
    }

    fn read(&mut self, named: &Node, name: &str, path: &str, problems: &mut Vec<Problem>) -> Option<Entries> {
        let own =
            super::find::is_name(name).then(|| self.folder.join(format!("{name}.yaml"))).filter(|own| own.exists());
        let (file, text) = match (own, builtin::mqtt::get(name)) {
            (Some(own), _) => match text::of_file(&own, LARGEST) {
                Ok(text) => (own, text.into()),
                Err(why) => {
                    problems.push(Problem::new(named.span, path, why));
                    return None;
                }
            },
            (None, Some(text)) => (PathBuf::from(format!("built-in/mqtt/{name}.yaml")), Cow::Borrowed(text)),
            (None, None) => {
                let names: Vec<&str> = builtin::mqtt::names().collect();
                let message = format!("there is no profile {} of devices that speak MQTT", named.describe());
                let mut problem = Problem::new(named.span, path, message);
                problem.help(suggestion(name, &names));
                problems.push(problem);
                return None;
            }
        };
        text::read(file, &text, |root| understand_mqtt(root, name), self.sources, problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tree;

    #[test]
    fn words_are_told_from_braces_that_mean_nothing() {
        let cut = |text| pieces(text).map(|(before, word)| (before, word.unwrap_or("-"))).collect::<Vec<_>>();
        assert_eq!(cut("tele/{topic}/SENSOR"), [("tele/", "topic"), ("/SENSOR", "-")]);
        assert_eq!(cut("{a}{b_2}"), [("", "a"), ("", "b_2")]);
        assert_eq!(cut(r#"{"state":"{value}"}"#), [(r#"{"state":"{value}"}"#, "-")]);
        assert_eq!(cut("{device}/{id}"), [("{device}/", "id")]);
        for plain in ["", "{", "}", "{}", "{a", "a}", "{A}", "é{é}"] {
            assert_eq!(cut(plain), [(plain, "-")]);
        }
    }

    #[test]
    fn a_profile_of_ones_own_is_laid_under_listed_devices_and_those_to_discover() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join(FOLDER).join(wharf_mqtt::KIND);
        std::fs::create_dir_all(&own).unwrap();
        let profile = |point: &str| {
            format!(
                "name: pump\nsource: here\nprotocol: mqtt\nwith: {{ base: p }}\ntopic: \"{{base}}/{{id}}\"\n\
                 ask: {{ topic: \"{{base}}/get\" }}\npoints:\n  rpm: {{ {point} }}\n"
            )
        };
        let site = "mqtt:\n  l:\n    devices: { a: { profile: pump, with: { id: 7 } } }\n    discover: [{ profile: pump, with: { id: \"{device}\" } }]\n";
        let joined = |profile: &str| {
            std::fs::write(own.join("pump.yaml"), profile).unwrap();
            let mut root = tree::parse(site).root.unwrap();
            let mut sources = Sources::new("site.yaml", site.into());
            let problems = join(&mut root, folder.path(), &mut sources);
            (root, problems)
        };
        let (root, problems) = joined(&profile("path: rpm, write: { topic: p/set }"));
        assert_eq!(problems, []);
        let link = &root.get("mqtt").unwrap().value.get("l").unwrap().value;
        let device = &link.get("devices").unwrap().value.get("a").unwrap().value;
        assert_eq!(device.get("topic").unwrap().value.text(), Some("p/7"));
        let point = &device.get("points").unwrap().value.get("rpm").unwrap().value;
        assert!(point.get("path").is_some() && point.get("write").is_none(), "a profile opens nothing for writing");
        let NodeKind::Sequence(kinds) = &link.get("discover").unwrap().value.kind else { panic!("{link:?}") };
        assert_eq!(kinds[0].get("topic").unwrap().value.text(), Some("p/{device}"));
        assert!(kinds[0].get("ask").is_none(), "who is discovered is not asked");

        let (_, problems) = joined(&profile("path: a..b"));
        let told: Vec<_> = problems.iter().map(|problem| (problem.path.as_str(), problem.message.as_str())).collect();
        assert_eq!(told, [("points.rpm.path", "a name in the path is empty")], "told once, however many use it");
    }

    #[test]
    fn a_text_that_is_one_word_takes_the_type_of_what_it_stands_for() {
        let span = Span { line: 1, column: 1, length: 1 };
        let filled = |text: &str| {
            let mut node = Node { span, kind: NodeKind::Scalar { text: text.into(), style: Style::Quoted } };
            fill(&mut node, &|_| Some("0".into()));
            format!("{:?}", node.typed().unwrap())
        };
        assert_eq!(filled("{channel}"), "Int(0)");
        assert_eq!(filled("switch:{channel}"), "Text(\"switch:0\")");
    }
}
