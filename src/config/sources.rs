//! The texts that a site is made of: the site file, and the profiles it uses.

use std::path::{Path, PathBuf};

use wharf_contract::settings::{Node, NodeKind, Span};

/// The texts, one behind the other. Lines are counted through all of them, so that a [`Span`] can
/// name a place in any of them; [`place`](Self::place) says which.
#[derive(Clone)]
pub struct Sources {
    text: String,
    /// Each file with the number of lines before it, the site file first.
    files: Vec<(PathBuf, usize)>,
}

impl Sources {
    /// The site file alone.
    pub fn new(file: impl Into<PathBuf>, text: String) -> Self {
        Self { text, files: vec![(file.into(), 0)] }
    }

    /// Adds a text. Returns how many lines stand before it: what its spans have to be moved by.
    pub fn add(&mut self, file: impl Into<PathBuf>, text: &str) -> usize {
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push('\n');
        }
        let before = self.text.lines().count();
        self.text.push_str(text);
        self.files.push((file.into(), before));
        before
    }

    /// All texts.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The site file.
    pub fn site_file(&self) -> &Path {
        self.files.first().map_or(Path::new(""), |(file, _)| file)
    }

    /// The file that a line stands in, and which of its lines it is.
    pub fn place(&self, line: usize) -> (&Path, usize) {
        let found = self.files.iter().rev().find(|(_, before)| *before < line);
        found.map_or((self.site_file(), line), |(file, before)| (file, line - before))
    }

    /// Whether a place is in the site file itself.
    pub fn is_site(&self, span: Span) -> bool {
        self.files.get(1).is_none_or(|(_, before)| span.line <= *before)
    }
}

/// Moves every place in a tree down by that many lines.
pub fn move_down(node: &mut Node, lines: usize) {
    node.span.line += lines;
    match &mut node.kind {
        NodeKind::Scalar { .. } => {}
        NodeKind::Sequence(items) => items.iter_mut().for_each(|item| move_down(item, lines)),
        NodeKind::Mapping(entries) => {
            for entry in entries.iter_mut() {
                entry.key_span.line += lines;
                move_down(&mut entry.value, lines);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_in_the_file_it_stands_in() {
        let mut sources = Sources::new("site.yaml", "a\nb".into());
        assert_eq!(sources.add("one.yaml", "c\nd\n"), 2);
        assert_eq!(sources.add("two.yaml", "e\n"), 4);
        let place = |line| {
            let (file, line) = sources.place(line);
            format!("{}:{line}", file.display())
        };
        let places = [0, 1, 2, 3, 4, 5].map(place);
        assert_eq!(places, ["site.yaml:0", "site.yaml:1", "site.yaml:2", "one.yaml:1", "one.yaml:2", "two.yaml:1"]);
        assert_eq!(sources.text().lines().nth(4), Some("e"));
        assert!(sources.is_site(Span { line: 2, column: 1, length: 1 }));
        assert!(!sources.is_site(Span { line: 3, column: 1, length: 1 }));
    }
}
