//! Descriptions of Bluetooth sensors: the profiles in `profiles/ble` beside the site file, and the built-in
//! ones. Each link gets all of them under `descriptions`, behind those that the site file has itself.

use std::fs;
use std::path::{Path, PathBuf};

use wharf_contract::settings::{Entry, Node, NodeKind, Problem, Span};

use super::super::sources::Sources;
use super::understand::understand_ble;
use super::{FOLDER, builtin, entries_mut, text};

/// The largest profile.
const LARGEST: u64 = 256 << 10;

/// The most profiles of a site's own.
const MOST: usize = 500;

/// Lays all descriptions under the Bluetooth links. What is wrong with one comes back; that one is left
/// out.
pub(super) fn join(root: &mut Node, directory: &Path, sources: &mut Sources) -> Vec<Problem> {
    let mut problems = Vec::new();
    let links = entries_mut(root, wharf_ble::KIND);
    if links.is_empty() {
        return problems;
    }
    let known = descriptions(&directory.join(FOLDER).join(wharf_ble::KIND), sources, &mut problems);
    for link in links {
        if link.value.is_null() {
            link.value.kind = NodeKind::Mapping(Vec::new().into());
        }
        let NodeKind::Mapping(entries) = &mut link.value.kind else { continue };
        let at = entries.iter().position(|entry| entry.key == "descriptions");
        let own = at.map(|at| entries.remove(at));
        let (key_span, mut all) = match own {
            Some(Entry { key_span, value: Node { kind: NodeKind::Mapping(own), .. }, .. }) => (key_span, own),
            Some(entry) if entry.value.is_null() => (entry.key_span, Vec::new().into()),
            // No names with settings: the decoder says so.
            Some(entry) => {
                entries.push(entry);
                continue;
            }
            None => (link.key_span, Vec::new().into()),
        };
        let others = known.iter().filter(|known| all.iter().all(|own| own.key != known.key));
        let others: Vec<_> = others.cloned().collect();
        all.extend(others);
        let value = Node { span: key_span, kind: NodeKind::Mapping(all) };
        entries.push(Entry { key: "descriptions".into(), key_span, value });
    }
    problems
}

/// All descriptions by name, the site's own first.
fn descriptions(folder: &Path, sources: &mut Sources, problems: &mut Vec<Problem>) -> Vec<Entry> {
    let mut known: Vec<Entry> = Vec::new();
    for file in own_files(folder, problems) {
        let Some(name) = file.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned) else { continue };
        match text::of_file(&file, LARGEST) {
            Ok(text) => known.extend(one(&name, file, &text, sources, problems)),
            Err(why) => problems.push(nowhere(why)),
        }
    }
    for name in builtin::ble::names().filter(|name| !known.iter().any(|own| own.key == *name)).collect::<Vec<_>>() {
        let text = builtin::ble::get(name).unwrap_or_default();
        known.extend(one(name, PathBuf::from(format!("built-in/ble/{name}.yaml")), text, sources, problems));
    }
    known
}

/// The site's own profiles, sorted. That there are none is usual.
fn own_files(folder: &Path, problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_profile = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "yaml");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_profile).take(MOST + 1).collect();
    files.sort();
    if files.len() > MOST {
        files.truncate(MOST);
        problems.push(nowhere(format!("{}: more than {MOST} profiles are not read", folder.display())));
    }
    files
}

/// A problem of no place in the site file.
fn nowhere(message: String) -> Problem {
    Problem::new(Span { line: 1, column: 1, length: 1 }, "ble", message)
}

/// Reads one profile, if it is of use.
fn one(name: &str, file: PathBuf, text: &str, sources: &mut Sources, problems: &mut Vec<Problem>) -> Option<Entry> {
    let value = text::read(file, text, |root| understand_ble(root, name), sources, problems)?;
    Some(Entry { key: name.to_owned(), key_span: value.span, value })
}
