//! YAML text → a tree of [`Node`]s with their places.
//!
//! A site file uses the plain core of YAML. What would make two readers see two different files
//! is refused: duplicate keys, tags, anchors with their aliases, merge keys, several documents.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span as Place, StrInput};
use wharf_contract::settings::{Entry, Node, NodeKind, Problem, Severity, Span, Style, clip};

/// The deepest nesting. The site file itself needs nine levels.
const DEEPEST: usize = 32;

/// The most values in one file, so that a hostile file is refused early.
const MOST_NODES: usize = 200_000;

/// The key that pulls another mapping in, in YAML 1.1.
const MERGE: &str = "<<";

/// What became of a text.
#[derive(Debug)]
pub struct Tree {
    /// The root; `None` when the text is no YAML, or nothing.
    pub root: Option<Node>,
    /// The second of two equal keys, and its like: read, refused, and not in the tree.
    pub refused: Vec<Entry>,
    /// The mistakes. With a root they are such that decoding is still worth it.
    pub problems: Vec<Problem>,
}

/// The text as [`parse`] wants it: without byte order mark, lines ending in `\n`. Places count in
/// this text.
pub fn normalise(text: &str) -> String {
    text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n").replace('\r', "\n")
}

/// Reads a [normalised](normalise) text.
pub fn parse(text: &str) -> Tree {
    let mut builder = Builder::default();
    let mut parser: Parser<StrInput> = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let outcome = match event {
            Ok((event, place)) => builder.take(event, place),
            Err(error) => Err(syntax_problem(text, &error)),
        };
        if let Err(problem) = outcome {
            builder.problems.push(problem);
            return Tree { root: None, refused: Vec::new(), problems: builder.problems };
        }
    }
    if builder.root.as_ref().is_none_or(Node::is_null) && builder.problems.is_empty() {
        let start = Span { line: 1, column: 1, length: 1 };
        let mut empty = problem(start, "the file is empty");
        empty.help("the shortest site file is `gateway: gw1`");
        builder.problems.push(empty);
        builder.root = None;
    }
    Tree { root: builder.root, refused: builder.refused, problems: builder.problems }
}

/// Puts nodes together from events.
#[derive(Default)]
struct Builder {
    /// What is open, the outermost first.
    open: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
    documents: usize,
    refused: Vec<Entry>,
    problems: Vec<Problem>,
}

/// A list or mapping whose end has not come.
enum Open {
    Sequence {
        span: Span,
        items: Vec<Node>,
    },
    Mapping {
        span: Span,
        entries: Vec<Entry>,
        /// The lines of the keys so far.
        seen: HashMap<String, usize>,
        /// The key whose value has not come.
        key: Option<(String, Span)>,
    },
}

impl Builder {
    fn take(&mut self, event: Event<'_>, place: Place) -> Result<(), Problem> {
        let at = span(place);
        let start = Span { length: 1, ..at };
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    let mut second = problem(start, "a second document begins here");
                    second.help("a site is one document: remove the `---`");
                    return Err(second);
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse(anchor, tag.map(|tag| tag.to_string()), at);
                let style = if style == ScalarStyle::Plain { Style::Plain } else { Style::Quoted };
                self.scalar(text.into_owned(), style, at)?;
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse(anchor, tag.map(|tag| tag.to_string()), start);
                self.open(Open::Sequence { span: start, items: Vec::new() })?;
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse(anchor, tag.map(|tag| tag.to_string()), start);
                self.open(Open::Mapping { span: start, entries: Vec::new(), seen: HashMap::new(), key: None })?;
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::Sequence { span, items }) => self.place(Node { span, kind: NodeKind::Sequence(items) })?,
                Some(Open::Mapping { span, entries, .. }) => {
                    self.place(Node { span, kind: NodeKind::Mapping(entries.into()) })?;
                }
                None => {}
            },
            Event::Alias(_) => {
                self.report(at, "aliases are not used in site files", "write the value itself");
                self.scalar(String::new(), Style::Plain, at)?;
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    /// Anchors and tags are mistakes, but what they stand on can still be looked at.
    fn refuse(&mut self, anchor: usize, tag: Option<String>, at: Span) {
        if anchor != 0 {
            self.report(at, "anchors are not used in site files", "remove the `&` and the word after it");
        }
        if let Some(tag) = tag {
            let help = "tags are not used in site files; a secret is written ${file:name} or ${env:NAME}";
            self.report(at, format!("the tag `{tag}` is not known here"), help);
        }
    }

    /// Reports a mistake that does not end the reading.
    fn report(&mut self, span: Span, message: impl Into<String>, help: &str) {
        let mut path = String::new();
        for open in &self.open {
            match open {
                Open::Sequence { items, .. } => path.push_str(&format!("[{}]", items.len())),
                Open::Mapping { key: Some((key, _)), .. } => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(&clip(key));
                }
                Open::Mapping { key: None, .. } => {}
            }
        }
        self.problems.push(Problem {
            severity: Severity::Mistake,
            span,
            path,
            message: message.into(),
            help: Some(help.to_owned()),
        });
    }

    fn open(&mut self, open: Open) -> Result<(), Problem> {
        let (Open::Sequence { span, .. } | Open::Mapping { span, .. }) = &open;
        if self.open.len() == DEEPEST {
            return Err(problem(*span, format!("nested deeper than {DEEPEST} levels")));
        }
        if let Some(Open::Mapping { key: None, .. }) = self.open.last() {
            return Err(problem(*span, "a key has to be a single word"));
        }
        self.open.push(open);
        Ok(())
    }

    fn scalar(&mut self, text: String, style: Style, at: Span) -> Result<(), Problem> {
        if let Some(Open::Mapping { seen, key: key @ None, .. }) = self.open.last_mut() {
            let first = seen.get(&text).copied();
            *key = Some((text.clone(), at));
            if let Some(line) = first {
                let message = format!("`{}` is here twice: first in line {line}", clip(&text));
                self.report(at, message, "keep one of them");
            } else if text == MERGE {
                self.report(at, "merge keys are not used in site files", "write the values themselves");
            }
            return Ok(());
        }
        self.place(Node { span: at, kind: NodeKind::Scalar { text, style } })
    }

    /// Puts a finished value where it belongs.
    fn place(&mut self, mut node: Node) -> Result<(), Problem> {
        self.nodes += 1;
        if self.nodes > MOST_NODES {
            return Err(problem(node.span, format!("more than {MOST_NODES} values")));
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::Sequence { items, .. }) => items.push(node),
            Some(Open::Mapping { entries, seen, key, .. }) => {
                let Some((key, key_span)) = key.take() else {
                    return Err(problem(node.span, "a key has to be a single word"));
                };
                // An empty value stands nowhere; its key is the place to look.
                if matches!(&node.kind, NodeKind::Scalar { text, style: Style::Plain } if text.is_empty()) {
                    node.span = key_span;
                }
                if key == MERGE || seen.contains_key(&key) {
                    self.refused.push(Entry { key, key_span, value: node });
                } else {
                    seen.insert(key.clone(), key_span.line);
                    entries.push(Entry { key, key_span, value: node });
                }
            }
        }
        Ok(())
    }
}

fn span(place: Place) -> Span {
    Span { line: place.start.line(), column: place.start.col() + 1, length: place.len().max(1) }
}

fn problem(span: Span, message: impl Into<String>) -> Problem {
    Problem::new(span, "", message)
}

/// A syntax error, with help for those that happen most.
fn syntax_problem(text: &str, error: &ScanError) -> Problem {
    // At the end of the text the parser may point past the last line.
    let lines = text.lines().count().max(1);
    let line = error.marker().line().clamp(1, lines);
    let column = if line == error.marker().line() { error.marker().col() + 1 } else { 1 };
    let mut found = problem(Span { line, column, length: 1 }, format!("not valid YAML: {}", error.info()));
    let source = text.lines().nth(line - 1).unwrap_or_default();
    let indent = &source[..source.len() - source.trim_start().len()];
    if indent.contains('\t') {
        found.help("indent with spaces, not with tabs");
    } else if source.contains(":\t") {
        found.help("a blank follows the colon, not a tab");
    } else if source.contains("${") {
        found.help("put `${…}` in quotes: \"${file:name}\"");
    } else if source.contains(": {") && source.contains("}/") || source.contains("- {") && source.contains("}/") {
        found.help("text that begins with `{` stands in quotes: \"{gateway}/x\"");
    } else if error.info().starts_with("comments must be separated") {
        found.help("`#` begins a comment; a topic filter that is `#` alone stands in quotes: \"#\"");
    } else if error.info().contains("did not find expected key") {
        found.help("lines of one block begin in the same column; is this one, or one above it, indented too far or not far enough?");
    } else if error.info().starts_with("mapping values are not allowed") {
        found.help("text with a colon and a blank in it, or a colon at its end, stands in quotes");
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(text: &str) -> Vec<String> {
        let place = |p: &Problem| format!("{}:{} {}", p.span.line, p.span.column, p.message);
        parse(&normalise(text)).problems.iter().map(place).collect()
    }

    #[test]
    fn every_key_and_value_knows_its_place() {
        let tree = parse("gateway: gw1\nlist:\n  - {ä: \"x y\", n: 0x10}\n").root.unwrap();
        let at = |line, column, length| Span { line, column, length };
        let gateway = tree.get("gateway").unwrap();
        assert_eq!((gateway.key_span, gateway.value.span), (at(1, 1, 7), at(1, 10, 3)));
        let NodeKind::Sequence(items) = &tree.get("list").unwrap().value.kind else { panic!() };
        let text = items[0].get("ä").unwrap();
        assert_eq!((text.key_span, text.value.span), (at(3, 6, 1), at(3, 9, 5)));
        assert_eq!(items[0].get("n").unwrap().value.span, at(3, 19, 4));
    }

    #[test]
    fn an_empty_value_is_found_at_its_key() {
        let tree = parse("a:\n  write:\n  b: 1\n").root.unwrap();
        let write = tree.get("a").unwrap().value.get("write").unwrap();
        assert!(write.value.is_null());
        assert_eq!(write.value.span, write.key_span);
    }

    #[test]
    fn what_two_readers_could_see_differently_is_refused() {
        assert_eq!(messages("a: 1\nb: 2\na: 3\n"), ["3:1 `a` is here twice: first in line 1"]);
        assert_eq!(messages("a: !secret x\n").len(), 1);
        assert_eq!(messages("a: &x 1\nb: *x\n").len(), 2);
        assert_eq!(messages("a: &x {c: 1}\nb:\n  <<: *x\n").len(), 3);
        assert_eq!(messages("a: 1\n---\nb: 2\n"), ["2:1 a second document begins here"]);
        assert_eq!(messages("{[a]: 1}\n"), ["1:2 a key has to be a single word"]);
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        for text in ["", "\n\n", "# only a comment\n", "---\n", "~"] {
            assert_eq!(messages(text), ["1:1 the file is empty"], "{text:?}");
        }
    }

    #[test]
    fn windows_line_ends_and_a_byte_order_mark_are_no_mistake() {
        let tree = parse(&normalise("\u{feff}a: 1\r\nb: 2\r\n")).root.unwrap();
        assert_eq!(tree.get("b").unwrap().key_span, Span { line: 2, column: 1, length: 1 });
        assert_eq!(tree.get("a").unwrap().value.text(), Some("1"));
    }

    #[test]
    fn a_deep_file_is_refused_before_it_costs_anything() {
        assert_eq!(messages(&"[".repeat(100)), [format!("1:{} nested deeper than 32 levels", DEEPEST + 1)]);
        assert_eq!(messages(&"- ".repeat(100)), [format!("1:{} nested deeper than 32 levels", 2 * DEEPEST + 1)]);
        // So deep that the parser itself gives up first.
        assert_eq!(messages(&"[".repeat(100_000)).len(), 1);
    }

    #[test]
    fn an_unfinished_file_never_panics() {
        let whole = "a: {b: [1, \"x\\u00e4\", 'y'], c: |\n  text\n}\n? k\n: v\n- z\n\t%\n";
        for end in (0..=whole.len()).filter(|end| whole.is_char_boundary(*end)) {
            let tree = parse(&whole[..end]);
            assert!(tree.root.is_some() || !tree.problems.is_empty());
        }
    }
}
