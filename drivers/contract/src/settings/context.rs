//! What a decoder carries with it: where it is, what it found wrong, and how to open a secret.

use std::path::{Path, PathBuf};

use super::{Entry, Node, NodeKind, Span};

/// How bad a [`Problem`] is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Severity {
    /// It cannot be meant: the site does not start.
    #[default]
    Mistake,
    /// It may be meant, and often is not: the site starts, and says so.
    Warning,
}

/// One thing that is wrong, or looks wrong, in the site file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether the site can start all the same.
    pub severity: Severity,
    /// Where it stands.
    pub span: Span,
    /// The keys that lead there: `modbus.boiler-room.devices.tank.unit`.
    pub path: String,
    /// What is wrong: lower case, no full stop, naming the thing.
    pub message: String,
    /// What could be done about it.
    pub help: Option<String>,
}

impl Problem {
    /// A mistake, without help.
    pub fn new(span: Span, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Mistake, span, path: path.into(), message: message.into(), help: None }
    }

    /// A warning, without help.
    pub fn warning(span: Span, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::new(span, path, message) }
    }

    /// Whether the site can start all the same.
    pub fn is_warning(&self) -> bool {
        self.severity == Severity::Warning
    }

    /// Adds what could be done about it.
    pub fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }
}

/// Opens a secret: takes `file:/run/secrets/central` or `env:NAME` and gives what is in it. The
/// error names the file or the variable, never what was read.
pub type SecretResolver<'a> = &'a dyn Fn(&str) -> Result<String, String>;

/// The decoder's surroundings. Every mistake is kept, so a file shows all of them at once.
pub struct Context<'a> {
    path: String,
    key_span: Option<Span>,
    problems: Vec<Problem>,
    hidden: Vec<Span>,
    directory: PathBuf,
    secrets: SecretResolver<'a>,
}

impl<'a> Context<'a> {
    /// The surroundings of a site file in `directory`, to which its file names are relative.
    pub fn new(directory: impl Into<PathBuf>, secrets: SecretResolver<'a>) -> Self {
        Self {
            path: String::new(),
            key_span: None,
            problems: Vec::new(),
            hidden: Vec::new(),
            directory: directory.into(),
            secrets,
        }
    }

    /// Goes down one key. What is reported inside has that key in its path.
    pub fn within<R>(&mut self, key: &str, inside: impl FnOnce(&mut Self) -> R) -> R {
        let length = self.path.len();
        if !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(&super::node::clip(key));
        let result = inside(self);
        self.path.truncate(length);
        result
    }

    /// Goes down to an entry's value. What is missing inside is reported at the entry's key.
    pub fn within_entry<R>(&mut self, entry: &Entry, inside: impl FnOnce(&mut Self, &Node) -> R) -> R {
        let outer = self.key_span.replace(entry.key_span);
        let result = self.within(&entry.key, |cx| inside(cx, &entry.value));
        self.key_span = outer;
        result
    }

    /// Goes down to a list's item, counted from 0.
    pub fn within_item<R>(&mut self, index: usize, item: &Node, inside: impl FnOnce(&mut Self, &Node) -> R) -> R {
        let outer = self.key_span.take();
        let length = self.path.len();
        self.path.push_str(&format!("[{index}]"));
        let result = inside(self, item);
        self.path.truncate(length);
        self.key_span = outer;
        result
    }

    /// Reports a mistake: `cx.problem(node.span, "300 is not …").help("…")`.
    pub fn problem(&mut self, span: Span, message: impl Into<String>) -> &mut Problem {
        let problem = Problem::new(span, self.path.clone(), message);
        let index = self.problems.len();
        self.problems.push(problem);
        &mut self.problems[index]
    }

    /// Reports a mistake at a key's value inside `node`; at the node's own key if it is not there.
    /// For rules over several fields.
    pub fn field_problem(&mut self, node: &Node, key: &str, message: impl Into<String>) -> &mut Problem {
        let span = node.get(key).map_or_else(|| self.here(node), |entry| entry.value.span);
        let path = self.within(key, |cx| cx.path.clone());
        let problem = self.problem(span, message);
        problem.path = path;
        problem
    }

    /// Like [`field_problem`](Self::field_problem), for what is allowed and most likely not meant.
    pub fn field_warning(&mut self, node: &Node, key: &str, message: impl Into<String>) -> &mut Problem {
        let problem = self.field_problem(node, key, message);
        problem.severity = Severity::Warning;
        problem
    }

    /// Reports that a value is of the wrong shape: `expected a duration such as 10s, found a list`.
    /// Returns `None`, to end a decoder with.
    pub fn unexpected<T>(&mut self, node: &Node, expected: &str) -> Option<T> {
        let problem = self.problem(node.span, format!("expected {expected}, found {}", node.describe()));
        if node.is_null() {
            problem.help("give it a value, or remove the key");
        }
        None
    }

    /// Adds help to the mistake reported last.
    pub fn help_last(&mut self, help: impl Into<String>) {
        if let Some(problem) = self.problems.last_mut() {
            problem.help(help);
        }
    }

    /// Where something that is missing in `node` should be pointed out: the key above it.
    pub fn here(&self, node: &Node) -> Span {
        self.key_span.unwrap_or(node.span)
    }

    /// The keys that lead here.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The directory that file names are relative to.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Opens a secret, see [`SecretResolver`].
    pub fn resolve_secret(&self, reference: &str) -> Result<String, String> {
        (self.secrets)(reference)
    }

    /// Keeps what stands there out of every message that quotes the site file.
    pub fn hide(&mut self, span: Span) {
        self.hidden.push(span);
    }

    /// Keeps a value and all that is in it out of every message that quotes the site file.
    pub fn hide_all(&mut self, node: &Node) {
        match &node.kind {
            NodeKind::Scalar { .. } => self.hide(node.span),
            NodeKind::Sequence(items) => items.iter().for_each(|item| self.hide_all(item)),
            NodeKind::Mapping(entries) => entries.iter().for_each(|entry| self.hide_all(&entry.value)),
        }
    }

    /// Hides the value of a key that is not known, but sounds as if a secret were behind it.
    pub(super) fn hide_if_secret(&mut self, entry: &Entry) {
        let key = entry.key.to_lowercase();
        if ["pas", "pwd", "secret", "token", "key"].iter().any(|word| key.contains(word)) {
            self.hide_all(&entry.value);
        }
    }

    /// All problems so far, the warnings among them.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The problems, the warnings among them, and the places that must not be quoted.
    pub fn finish(self) -> (Vec<Problem>, Vec<Span>) {
        (self.problems, self.hidden)
    }
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("path", &self.path).field("problems", &self.problems).finish_non_exhaustive()
    }
}

/// What other tools and manuals call the things of a site file: our word, and theirs.
const ELSEWHERE: [(&str, &[&str]); 12] = [
    ("u16", &["uint16", "uint", "ushort", "word"]),
    ("i16", &["int16", "int", "short", "sint16"]),
    ("u32", &["uint32", "udint", "dword", "ulong"]),
    ("i32", &["int32", "dint", "long", "sint32"]),
    ("u64", &["uint64", "ulint"]),
    ("i64", &["int64", "lint"]),
    ("f32", &["float", "float32", "real", "single"]),
    ("f64", &["float64", "double", "lreal"]),
    ("unit", &["id", "slave", "slave_id", "unit_id"]),
    ("tcp", &["ip", "host"]),
    ("frame", &["parity", "stop_bits", "stopbits", "data_bits", "databits"]),
    ("every", &["interval", "scan_interval", "poll"]),
];

/// The candidate that was probably meant: by its meaning, or because it is spelt nearly the same.
pub fn suggest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let candidates: Vec<_> = candidates.into_iter().collect();
    let elsewhere = ELSEWHERE.iter().find(|(_, words)| words.contains(&word.as_str()));
    if let Some(here) = elsewhere.and_then(|(here, _)| candidates.iter().find(|candidate| *candidate == here)) {
        return Some(here);
    }
    // One slip in a short word, one more for every third letter: `unti` finds `unit`, `foo` nothing.
    let allowed = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= allowed && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `did you mean …?` when a candidate is near, else the list of what there is.
pub fn suggestion(word: &str, candidates: &[&str]) -> String {
    match suggest(word, candidates.iter().copied()) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None if candidates.is_empty() => "none is known here".to_owned(),
        None => format!("known here: {}", candidates.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_fingers_is_recognised_and_a_strange_word_is_not() {
        let known = ["unit", "points", "profile"];
        assert_eq!(suggest("unti", known), Some("unit"));
        assert_eq!(suggestion("tank", &[]), "none is known here");
        assert_eq!(suggest("Unit", known), Some("unit"));
        assert_eq!(suggest("point", known), Some("points"));
        assert_eq!(suggest("baud", known), None);
    }

    #[test]
    fn a_problem_carries_the_path_it_was_found_at() {
        let mut cx = Context::new(".", &|_| Err("none".into()));
        let span = Span { line: 3, column: 5, length: 2 };
        cx.within("modbus", |cx| cx.within("boiler", |cx| cx.problem(span, "odd").help("mend it").help.is_some()));
        cx.problem(span, "outside");
        let (problems, _) = cx.finish();
        assert_eq!(problems[0].path, "modbus.boiler");
        assert_eq!(problems[0].help.as_deref(), Some("mend it"));
        assert_eq!(problems[1].path, "");
    }
}
