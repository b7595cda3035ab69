//! The site file as a whole: examples that load, a folder of good and broken files on which
//! decoder and schema agree, and the exact words in which mistakes are told.

#![expect(clippy::unwrap_used, reason = "the helpers below are part of the tests")]

mod agreement;
mod broker;
#[cfg(feature = "ble")]
mod descriptions;
mod examples;
mod passwords;
mod profiles;
mod secrets;
mod wording;

use std::path::{Path, PathBuf};

use wharf::config::{Site, SiteErrors};

/// A path in the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The files of a folder that end in `.yaml`, in order of name, with their text.
fn files(folder: &str) -> Vec<(PathBuf, String)> {
    let mut paths: Vec<_> = std::fs::read_dir(repository(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    assert!(!paths.is_empty(), "{folder} is empty");
    paths.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

/// Reads a text that stands in `site.yaml`; each secret is there, and is `hunter2`, or what a sensor's key
/// or passkey may be.
fn read(text: &str) -> Result<Site, SiteErrors> {
    wharf::config::read(text, Path::new("site.yaml"), &|reference| {
        Ok(match reference.rsplit_once('_') {
            Some((_, "KEY")) => "231d39c1d7cc1ab1aee224cd096db932",
            Some((_, "PASSKEY")) => "012345",
            _ => "hunter2",
        }
        .to_owned())
    })
}
