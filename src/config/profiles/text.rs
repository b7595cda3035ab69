//! From a profile's file to what it says, whatever protocol it is of.

use std::path::{Path, PathBuf};

use wharf_contract::settings::{Node, Problem};

use super::super::load::read_bounded;
use super::super::sources::{Sources, move_down};
use super::super::tree;

/// The text of a profile of the site's own, of at most so many bytes. The error names the file.
pub(super) fn of_file(file: &Path, largest: u64) -> Result<String, String> {
    read_bounded(file, largest)
        .and_then(|bytes| String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".into()))
        .map_err(|why| format!("{}: {why}", file.display()))
}

/// What a profile's text says: `understand` takes its tree, whose places are counted through all sources by then. What is
/// wrong with it goes to `problems`; one with a mistake is of no use.
pub(super) fn read<T>(
    file: PathBuf,
    text: &str,
    understand: impl FnOnce(Node) -> (Option<T>, Vec<Problem>),
    sources: &mut Sources,
    problems: &mut Vec<Problem>,
) -> Option<T> {
    let text = tree::normalise(text);
    let parsed = tree::parse(&text);
    let before = sources.add(file, &text);
    let mut found = parsed.problems;
    found.iter_mut().for_each(|problem| problem.span.line += before);
    let mut profile = None;
    if let Some(mut root) = parsed.root {
        move_down(&mut root, before);
        let (understood, wrong) = understand(root);
        found.extend(wrong);
        profile = understood;
    }
    let usable = found.iter().all(Problem::is_warning);
    problems.extend(found);
    profile.filter(|_| usable)
}
