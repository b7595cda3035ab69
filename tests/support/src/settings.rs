//! Settings as a site file holds them, written as JSON.

use serde_json::Value as Json;
use wharf_contract::settings::{Context, Entry, Node, NodeKind, Problem, Setting, Span, Style};

/// The tree that a site file with the same content would become. All of it stands in the first column of
/// the first line.
#[must_use]
pub fn tree(json: &Json) -> Node {
    let span = Span { line: 1, column: 1, length: 1 };
    let scalar = |text: String, style| NodeKind::Scalar { text, style };
    let kind = match json {
        Json::Object(fields) => {
            let entry = |(key, value): (&String, _)| Entry { key: key.clone(), key_span: span, value: tree(value) };
            NodeKind::Mapping(fields.iter().map(entry).collect())
        }
        Json::Array(items) => NodeKind::Sequence(items.iter().map(tree).collect()),
        Json::String(text) => scalar(text.clone(), Style::Quoted),
        Json::Null => scalar(String::new(), Style::Plain),
        other => scalar(other.to_string(), Style::Plain),
    };
    Node { span, kind }
}

/// Reads settings of a site file in `/etc/wharf` that has no secrets; gives what was read, and all mistakes.
#[must_use]
pub fn read<T: Setting>(json: &Json) -> (Option<T>, Vec<Problem>) {
    read_with(json, &|name| Err(format!("{name} cannot be read")))
}

/// The same with secrets: what a reference such as `file:key` stands for, or why it cannot be read.
#[must_use]
pub fn read_with<T: Setting>(
    json: &Json,
    secrets: &dyn Fn(&str) -> Result<String, String>,
) -> (Option<T>, Vec<Problem>) {
    let mut cx = Context::new("/etc/wharf", secrets);
    let settings = T::decode(&tree(json), &mut cx);
    (settings, cx.finish().0)
}

/// Settings that have to be right.
///
/// # Panics
/// If there is a mistake in them.
#[must_use]
#[track_caller]
pub fn valid<T: Setting>(json: &Json) -> T {
    let (settings, problems) = read(json);
    assert_eq!(problems, []);
    settings.expect("settings without a problem")
}

/// A mistake in one line: its path, and what it is.
#[must_use]
pub fn mistake(problem: &Problem) -> String {
    format!("{}: {}", problem.path, problem.message)
}

/// The same, and in brackets what helps.
#[must_use]
pub fn told(problem: &Problem) -> String {
    let help = problem.help.as_ref().map_or(String::new(), |help| format!(" [{help}]"));
    mistake(problem) + &help
}
