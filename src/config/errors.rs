//! The mistakes of a site file, for people (with the line they are in) and for programs (JSON).

use std::fmt;
use std::path::PathBuf;

use serde_json::{Value, json};
use wharf_contract::settings::{Problem, Span};

/// The longest piece of a source line that is shown.
const WIDEST: usize = 140;

/// The longest underline. Where a longer one would begin is what matters.
const MOST_CARETS: usize = 40;

/// How many mistakes are shown to people. Who has more has made the same one many times.
const MOST_SHOWN: usize = 100;

/// Everything that is wrong with one site file, in the order of the file.
#[derive(Clone)]
pub struct SiteErrors {
    file: PathBuf,
    text: String,
    problems: Vec<Problem>,
    hidden: Option<Vec<Span>>,
}

impl SiteErrors {
    /// The mistakes in `text`. What stands in the `hidden` places is never shown; `None` says that
    /// the text could not be read as YAML, so that no one knows what is secret in it.
    pub fn new(file: impl Into<PathBuf>, text: String, mut problems: Vec<Problem>, hidden: Option<Vec<Span>>) -> Self {
        problems.sort_by_key(|problem| problem.span);
        Self { file: file.into(), text, problems, hidden }
    }

    /// A file that could not be read at all.
    pub fn unreadable(file: impl Into<PathBuf>, why: String) -> Self {
        let problem = Problem { span: Span::default(), path: String::new(), message: why, help: None };
        Self::new(file, String::new(), vec![problem], None)
    }

    /// The mistakes, each with its place.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The mistakes as a list of objects: file, line, column, path, message, help.
    pub fn to_json(&self) -> Value {
        let file = self.file.display().to_string();
        let object = |problem: &Problem| {
            json!({
                "file": file,
                "line": problem.span.line,
                "column": problem.span.column,
                "path": problem.path,
                "message": problem.message,
                "help": problem.help,
            })
        };
        self.problems.iter().map(object).collect()
    }

    /// A line of the file, fit to be shown, with the place in it that is meant.
    fn quote(&self, span: Span) -> Option<Quote> {
        let line = self.text.lines().nth(span.line.checked_sub(1)?)?;
        let hidden: Vec<(usize, usize)> = match &self.hidden {
            Some(hidden) => hidden.iter().filter_map(|hidden| self.columns(*hidden, span.line)).collect(),
            None => sounds_secret(line).into_iter().collect(),
        };
        let mut shown: Vec<(usize, char)> = Vec::new();
        for (index, c) in line.chars().enumerate() {
            let column = index + 1;
            match hidden.iter().find(|(start, end)| (*start..*end).contains(&column)) {
                Some((start, _)) if *start == column => shown.extend([(column, '•'); 3]),
                Some(_) => {}
                // Nothing in a file may drive the terminal.
                None => shown.push((column, if c.is_control() { ' ' } else { c })),
            }
        }
        let position = |wanted: usize| shown.iter().position(|(column, _)| *column >= wanted).unwrap_or(shown.len());
        let (at, mut end) = (position(span.column), position(span.column + span.length));
        // The parser counts the blanks behind a quoted text with it.
        while end > at && shown[end - 1].1 == ' ' {
            end -= 1;
        }
        let from = if at > WIDEST * 2 / 3 { at - WIDEST / 2 } else { 0 };
        let text: String = shown.iter().skip(from).take(WIDEST).map(|(_, c)| *c).collect();
        let length = end.saturating_sub(at).clamp(1, MOST_CARETS);
        Some(Quote { text: text.trim_end().to_owned(), indent: at - from, length })
    }

    /// The columns of a line that a place covers, the last one excluded.
    fn columns(&self, place: Span, line: usize) -> Option<(usize, usize)> {
        // Each line it covers takes at least the one character that ends it.
        if line < place.line || line > place.line + place.length {
            return None;
        }
        let (mut start, mut left) = (place.column, place.length);
        for (index, text) in self.text.lines().enumerate().skip(place.line.checked_sub(1)?) {
            let end = start + left;
            if index + 1 == line {
                return Some((start, end));
            }
            // The line end counts as a character.
            left = left.checked_sub((text.chars().count() + 2).saturating_sub(start)).filter(|left| *left > 0)?;
            start = 1;
        }
        None
    }
}

/// A piece of the file.
struct Quote {
    text: String,
    indent: usize,
    length: usize,
}

/// The columns after a key that sounds as if a secret were behind it, to the end of the line.
fn sounds_secret(line: &str) -> Option<(usize, usize)> {
    let lower = line.to_ascii_lowercase();
    let word = ["pas", "pwd", "secret", "token", "key"].iter().filter_map(|word| lower.find(word)).min()?;
    let colon = lower[word..].find(':')? + word;
    let value = line[colon + 1..].trim_start();
    if value.starts_with("${file:") || value.starts_with("${env:") {
        return None;
    }
    let before = line[..line.len() - value.len()].chars().count();
    Some((before + 1, usize::MAX))
}

/// Text without what could drive the terminal it is shown on.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl fmt::Display for SiteErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        for problem in self.problems.iter().take(MOST_SHOWN) {
            let Some(quote) = self.quote(problem.span) else {
                writeln!(f, "{file}: {}\n", printable(&problem.message))?;
                continue;
            };
            let separator = if problem.path.is_empty() { "" } else { ": " };
            writeln!(f, "{file}:{}:{}{separator}{}", problem.span.line, problem.span.column, printable(&problem.path))?;
            writeln!(f, "{:>5} | {}", problem.span.line, quote.text)?;
            let carets = "^".repeat(quote.length);
            writeln!(f, "      | {:indent$}{carets} {}", "", printable(&problem.message), indent = quote.indent)?;
            if let Some(help) = &problem.help {
                writeln!(f, "      | help: {}", printable(help))?;
            }
            writeln!(f)?;
        }
        match self.problems.len() {
            count if count > MOST_SHOWN => write!(f, "{count} mistakes in {file}, the first {MOST_SHOWN} shown"),
            1 => write!(f, "1 mistake in {file}"),
            count => write!(f, "{count} mistakes in {file}"),
        }
    }
}

impl fmt::Debug for SiteErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The text is left out: there may be secrets in it.
        f.debug_struct("SiteErrors").field("file", &self.file).field("problems", &self.problems).finish_non_exhaustive()
    }
}

impl std::error::Error for SiteErrors {}
