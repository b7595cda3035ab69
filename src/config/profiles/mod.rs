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
//! Profiles of Bluetooth sensors stand in the folder `ble` of either. They need not be named: each says
//! which advertisements it is for, so all of them are laid under each link, see `ble`.
//!
//! Profiles of devices that speak MQTT stand in the folder `mqtt` of either, and have words in braces for
//! what each device has of its own, see `mqtt`.
//!
//! [`join`] works on the tree, before anything is decoded. [`find`] reads each profile that is named
//! and [`understand`] decodes it by itself, so a mistake in it is shown once and in its own file.
//! [`merge`] says what comes out where profile and site file both speak; a mistake of the two
//! together is shown in the site file.

#[cfg(feature = "ble")]
mod ble;
pub mod builtin;
mod find;
mod merge;
mod mqtt;
mod text;
mod understand;

use std::path::Path;

use wharf_contract::settings::{Entries, Entry, Node, NodeKind, Problem};

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
    points: Entries,
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
    #[cfg(feature = "ble")]
    problems.extend(ble::join(root, directory, sources));
    problems.extend(mqtt::join(root, directory, sources));
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::tree;

    const PROFILE: &str =
        "name: meter\nsource: here\nprotocol: modbus\npoints:\n  u: { holding: 0 }\n  i: { holding: 1, every: 1s }\n";
    const SITE: &str = "modbus:\n  bus:\n    tcp: meter\n    devices:\n      a: { unit: 1, profile: meter }\n      b: { unit: 2, profile: meter }\n      c: { unit: 3, profile: meter, every: 10s }\n";

    #[test]
    fn devices_that_take_a_profile_as_it_is_have_its_points_once_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(FOLDER)).unwrap();
        fs::write(folder.path().join(FOLDER).join("meter.yaml"), PROFILE).unwrap();
        let mut root = tree::parse(SITE).root.unwrap();
        let mut sources = Sources::new("site.yaml", SITE.into());
        assert_eq!(join(&mut root, folder.path(), &mut sources), []);
        let points = |device: &str| {
            let path = ["modbus", "bus", "devices", device, "points"];
            path.iter().fold(&root, |node, key| &node.get(key).unwrap().value)
        };
        assert!(std::ptr::eq(points("a").entries(), points("b").entries()), "the second device has a copy");
        assert!(points("a").get("i").unwrap().value.get("every").is_some());
        assert!(points("c").get("i").unwrap().value.get("every").is_none(), "the site file wants it read more slowly");
    }
}
