//! The mistakes of a site file and its warnings, for people (with the line they are in) and for
//! programs (JSON).

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use wharf_contract::settings::{Problem, Severity, Span};

use super::sources::Sources;

/// The longest piece of a source line that is shown.
const WIDEST: usize = 140;

/// The longest underline. Where a longer one would begin is what matters.
const MOST_CARETS: usize = 40;

/// How many mistakes are shown to people. Who has more has made the same one many times.
const MOST_SHOWN: usize = 100;

/// Everything that is wrong with one site file, or looks wrong, in the order of the file. Beside a
/// site that could be read there are only warnings.
#[derive(Clone)]
pub struct SiteErrors {
    sources: Sources,
    problems: Vec<Problem>,
    hidden: Option<Vec<Span>>,
}

impl SiteErrors {
    /// The mistakes in `text`. What stands in the `hidden` places is never shown; `None` says that
    /// the text could not be read as YAML, so that no one knows what is secret in it.
    pub fn new(file: impl Into<PathBuf>, text: String, problems: Vec<Problem>, hidden: Option<Vec<Span>>) -> Self {
        Self::of_sources(Sources::new(file, text), problems, hidden)
    }

    /// The same of a site file with the profiles it uses.
    pub fn of_sources(sources: Sources, mut problems: Vec<Problem>, hidden: Option<Vec<Span>>) -> Self {
        problems.sort_by_key(|problem| problem.span);
        Self { sources, problems, hidden }
    }

    /// A file that could not be read at all.
    pub fn unreadable(file: impl Into<PathBuf>, why: String) -> Self {
        let problem = Problem::new(Span::default(), "", why);
        Self::new(file, String::new(), vec![problem], None)
    }

    /// The mistakes and warnings, each with its place.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// The mistakes as a list of objects: file, line, column, path, message, help.
    pub fn to_json(&self) -> Value {
        self.objects(Severity::Mistake)
    }

    /// The warnings, in the same form.
    pub fn warnings_to_json(&self) -> Value {
        self.objects(Severity::Warning)
    }

    fn objects(&self, severity: Severity) -> Value {
        let object = |problem: &Problem| {
            let (file, line) = self.sources.place(problem.span.line);
            json!({
                "file": file.display().to_string(),
                "line": line,
                "column": problem.span.column,
                "path": problem.path,
                "message": problem.message,
                "help": problem.help,
            })
        };
        self.problems.iter().filter(|problem| problem.severity == severity).map(object).collect()
    }

    /// A line of the file, fit to be shown, with the place in it that is meant.
    fn quote(&self, span: Span) -> Option<Quote> {
        let line = self.sources.text().lines().nth(span.line.checked_sub(1)?)?;
        let hidden: Vec<(usize, usize)> = match &self.hidden {
            Some(hidden) if self.sources.is_site(span) => {
                hidden.iter().filter_map(|hidden| self.columns(*hidden, span.line)).collect()
            }
            // A profile has no place for secrets, so any in it stands where nobody expects it.
            _ => sounds_secret(line).into_iter().collect(),
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
        for (index, text) in self.sources.text().lines().enumerate().skip(place.line.checked_sub(1)?) {
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

fn counted((count, word): (usize, &str)) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

/// Text without what could drive the terminal it is shown on.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl SiteErrors {
    /// How much is wrong, and where: `2 mistakes, 1 warning in site.yaml`.
    pub fn summary(&self) -> String {
        let warnings = self.problems.iter().filter(|problem| problem.is_warning()).count();
        let counts = [(self.problems.len() - warnings, "mistake"), (warnings, "warning")];
        let counts: Vec<_> = counts.into_iter().filter(|(count, _)| *count > 0).map(counted).collect();
        format!("{} in {}", counts.join(", "), self.file().display())
    }

    /// The one file that everything is wrong in, or else the site file.
    fn file(&self) -> &Path {
        let mut files = self.problems.iter().map(|problem| self.sources.place(problem.span.line).0);
        let first = files.next();
        first.filter(|first| files.all(|file| file == *first)).unwrap_or_else(|| self.sources.site_file())
    }
}

impl fmt::Display for SiteErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in self.problems.iter().take(MOST_SHOWN) {
            let (file, line) = self.sources.place(problem.span.line);
            let file = file.display();
            let Some(quote) = self.quote(problem.span) else {
                writeln!(f, "{file}: {}\n", printable(&problem.message))?;
                continue;
            };
            let separator = if problem.path.is_empty() { "" } else { ": " };
            writeln!(f, "{file}:{line}:{}{separator}{}", problem.span.column, printable(&problem.path))?;
            writeln!(f, "{line:>5} | {}", quote.text)?;
            let carets = "^".repeat(quote.length);
            let severity = if problem.is_warning() { "warning: " } else { "" };
            let message = printable(&problem.message);
            writeln!(f, "      | {:indent$}{carets} {severity}{message}", "", indent = quote.indent)?;
            if let Some(help) = &problem.help {
                writeln!(f, "      | help: {}", printable(help))?;
            }
            writeln!(f)?;
        }
        write!(f, "{}", self.summary())?;
        if self.problems.len() > MOST_SHOWN { write!(f, ", the first {MOST_SHOWN} shown") } else { Ok(()) }
    }
}

impl fmt::Debug for SiteErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The text is left out: there may be secrets in it.
        f.debug_struct("SiteErrors")
            .field("file", &self.sources.site_file())
            .field("problems", &self.problems)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for SiteErrors {}
