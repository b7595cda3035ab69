//! Device profiles: what is known of a device's model, laid under what the site file says of it.
//!
//! A profile is a YAML file: `name`, `source` (the document it was made from), `protocol`, and
//! then what a device may have in the site file, its `points` above all, in the same words. The
//! built-in ones are in [`builtin`]; a site's own stand in `profiles/` beside the site file and
//! come before a built-in one of the same name.
//!
//! A profile may say `relative: true`: then its addresses count from the device's `base`, as those of
//! SunSpec's models do, which begin somewhere else in each make.
//!
//! [`join`] works on the tree, before anything is decoded. [`find`] reads each profile that is named
//! and [`understand`] decodes it by itself, so a mistake in it is shown once and in its own file.
//! [`merge`] says what comes out where profile and site file both speak; a mistake of the two
//! together is shown in the site file.

pub mod builtin;
mod find;
mod merge;
mod understand;

use std::path::Path;

use wharf_contract::settings::{Entry, Node, NodeKind, Problem};

use super::sources::Sources;
use find::Library;

/// The folder of a site's own profiles, beside the site file.
pub const FOLDER: &str = "profiles";

/// A profile that was read, with its places counted through all [`Sources`].
#[derive(Clone, Debug)]
struct Profile {
    name: String,
    /// Whether its addresses count from the device's `base`.
    relative: bool,
    /// What the device has beside its points: order, rhythm, limits.
    device: Vec<Entry>,
    points: Vec<Entry>,
}

/// Lays profiles under the devices that name one. What is found wrong comes back; such a device
/// loses its points, for without the profile they would only be puzzles.
pub fn join(root: &mut Node, directory: &Path, sources: &mut Sources) -> Vec<Problem> {
    let mut library = Library::new(directory, sources);
    let mut problems = Vec::new();
    for link in entries_mut(root, wharf_modbus::KIND) {
        let path = format!("{}.{}", wharf_modbus::KIND, link.key);
        let link_every = link.value.get("every").map(|entry| entry.value.clone());
        for device in entries_mut(&mut link.value, "devices") {
            let Some(named) = device.value.get("profile").map(|entry| entry.value.clone()) else { continue };
            let path = format!("{path}.devices.{}", device.key);
            let found = library.find(&named, &format!("{path}.profile"), &mut problems);
            match (found, &mut device.value.kind) {
                (Some(profile), NodeKind::Mapping(entries)) => {
                    let key_span = device.key_span;
                    problems.extend(merge::merge(entries, &profile, link_every.as_ref(), key_span, &path));
                }
                (None, NodeKind::Mapping(entries)) => entries.retain(|entry| entry.key != "points"),
                _ => {}
            }
        }
    }
    problems
}

/// The entries of the mapping under a key.
fn entries_mut<'n>(node: &'n mut Node, key: &str) -> &'n mut [Entry] {
    let NodeKind::Mapping(entries) = &mut node.kind else { return &mut [] };
    match entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.value.kind) {
        Some(NodeKind::Mapping(entries)) => entries,
        _ => &mut [],
    }
}
