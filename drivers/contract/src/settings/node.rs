//! The site file as a tree: what was written, and where.
//!
//! The tree knows no YAML library; the gateway's `config` module builds it. Plain scalars get
//! their type by the core schema of YAML 1.2, so `on` and `1:30` are text and `0x10` is a number.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// A place in the site file. All counts are in characters, not bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
    /// How many characters to underline.
    pub length: usize,
}

/// One value of the site file.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it stands.
    pub span: Span,
    /// What it is.
    pub kind: NodeKind,
}

/// The three shapes a value can have.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeKind {
    /// A single word, number or text.
    Scalar {
        /// The text, with quotes and escapes undone.
        text: String,
        /// How it was written.
        style: Style,
    },
    /// A list.
    Sequence(Vec<Node>),
    /// Keys with values, in the order written. No key stands in it twice.
    Mapping(Entries),
}

/// The entries of a mapping. Copies share them until one is changed, so that a thousand devices of
/// one profile have its points once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entries(Arc<Vec<Entry>>);

/// How a scalar was written, which decides whether it can be anything but text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Without quotes: may be a number, a boolean or nothing.
    Plain,
    /// In quotes or as a block: always text.
    Quoted,
}

/// One key of a mapping and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key, always text.
    pub key: String,
    /// Where the key stands.
    pub key_span: Span,
    /// Its value.
    pub value: Node,
}

/// A scalar by its type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Typed<'a> {
    /// An empty value, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number: decimal, `0x…` or `0o…`.
    Int(i128),
    /// Any other number, among them `.inf` and `.nan`.
    Float(f64),
    /// Everything else.
    Text(&'a str),
}

impl Deref for Entries {
    type Target = Vec<Entry>;

    fn deref(&self) -> &Vec<Entry> {
        &self.0
    }
}

impl DerefMut for Entries {
    fn deref_mut(&mut self) -> &mut Vec<Entry> {
        Arc::make_mut(&mut self.0)
    }
}

impl From<Vec<Entry>> for Entries {
    fn from(entries: Vec<Entry>) -> Self {
        Self(Arc::new(entries))
    }
}

impl From<Entries> for Vec<Entry> {
    fn from(entries: Entries) -> Self {
        Arc::unwrap_or_clone(entries.0)
    }
}

impl FromIterator<Entry> for Entries {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        entries.into_iter().collect::<Vec<_>>().into()
    }
}

impl Node {
    /// A plain scalar, mostly for tests.
    pub fn plain(text: impl Into<String>, span: Span) -> Self {
        Self { span, kind: NodeKind::Scalar { text: text.into(), style: Style::Plain } }
    }

    /// The scalar by its type; `None` for lists and mappings.
    pub fn typed(&self) -> Option<Typed<'_>> {
        match &self.kind {
            NodeKind::Scalar { text, style: Style::Quoted } => Some(Typed::Text(text)),
            NodeKind::Scalar { text, style: Style::Plain } => Some(typed(text)),
            NodeKind::Sequence(_) | NodeKind::Mapping(_) => None,
        }
    }

    /// The scalar's text as written; `None` for lists and mappings.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::Scalar { text, .. } => Some(text),
            NodeKind::Sequence(_) | NodeKind::Mapping(_) => None,
        }
    }

    /// Whether the value is empty, `~` or `null`.
    pub fn is_null(&self) -> bool {
        self.typed() == Some(Typed::Null)
    }

    /// The entry of that key, when this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The entries, when this is a mapping; else none.
    pub fn entries(&self) -> &[Entry] {
        match &self.kind {
            NodeKind::Mapping(entries) => entries,
            NodeKind::Scalar { .. } | NodeKind::Sequence(_) => &[],
        }
    }

    /// The value in words for a message: `a list`, `300`, `"abc"`, `nothing`. Long texts are cut.
    pub fn describe(&self) -> String {
        match (&self.kind, self.typed()) {
            (NodeKind::Sequence(_), _) => "a list".into(),
            (NodeKind::Mapping(_), _) => "a mapping".into(),
            (_, None | Some(Typed::Null)) => "nothing".into(),
            (_, Some(Typed::Text(text))) => format!("\"{}\"", clip(text)),
            (NodeKind::Scalar { text, .. }, _) => clip(text),
        }
    }
}

/// The text on one line, without control characters, and not longer than a message can bear.
pub fn clip(text: &str) -> String {
    const LONGEST: usize = 60;
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut clipped: String = clean.take(LONGEST).collect();
    if text.chars().nth(LONGEST).is_some() {
        clipped.push('…');
    }
    clipped
}

fn typed(text: &str) -> Typed<'_> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Typed::Null,
        "true" | "True" | "TRUE" => return Typed::Bool(true),
        "false" | "False" | "FALSE" => return Typed::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Typed::Float(f64::NAN),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Typed::Float(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    int(text).map(Typed::Int).or_else(|| float(text, unsigned).map(Typed::Float)).unwrap_or(Typed::Text(text))
}

fn int(text: &str) -> Option<i128> {
    // `from_str_radix` would take a second sign after the prefix.
    let prefixed = |prefix, radix| {
        let digits: &str = text.strip_prefix(prefix)?;
        digits.chars().all(|c| c.is_digit(radix)).then(|| i128::from_str_radix(digits, radix).ok())?
    };
    prefixed("0x", 16).or_else(|| prefixed("0o", 8)).or_else(|| text.parse().ok())
}

fn float(text: &str, unsigned: &str) -> Option<f64> {
    // Rust would also read `inf` and `nan`, which are text in YAML.
    let mantissa = unsigned.split(['e', 'E']).next().unwrap_or_default();
    let numeric = mantissa.chars().all(|c| c.is_ascii_digit() || c == '.') && mantissa != ".";
    numeric.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_have_the_types_of_the_yaml_core_schema() {
        let cases = [
            ("", Typed::Null),
            ("~", Typed::Null),
            ("true", Typed::Bool(true)),
            ("FALSE", Typed::Bool(false)),
            ("on", Typed::Text("on")),
            ("no", Typed::Text("no")),
            ("12", Typed::Int(12)),
            ("-7", Typed::Int(-7)),
            ("+7", Typed::Int(7)),
            ("007", Typed::Int(7)),
            ("0x1F", Typed::Int(31)),
            ("0o17", Typed::Int(15)),
            ("0x-1", Typed::Text("0x-1")),
            ("0x", Typed::Text("0x")),
            ("1.5", Typed::Float(1.5)),
            (".5", Typed::Float(0.5)),
            ("1.", Typed::Float(1.0)),
            ("-1e3", Typed::Float(-1000.0)),
            ("-.inf", Typed::Float(f64::NEG_INFINITY)),
            ("inf", Typed::Text("inf")),
            ("nan", Typed::Text("nan")),
            (".", Typed::Text(".")),
            ("e3", Typed::Text("e3")),
            ("1_000", Typed::Text("1_000")),
            ("3.1.1", Typed::Text("3.1.1")),
            ("1:30", Typed::Text("1:30")),
        ];
        for (text, expected) in cases {
            assert_eq!(typed(text), expected, "{text:?}");
        }
        assert!(matches!(typed(".nan"), Typed::Float(number) if number.is_nan()));
    }

    #[test]
    fn a_quoted_number_is_text() {
        let kind = NodeKind::Scalar { text: "12".into(), style: Style::Quoted };
        assert_eq!(Node { span: Span::default(), kind }.typed(), Some(Typed::Text("12")));
    }
}
