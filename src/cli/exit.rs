//! How the process ends: what it says, and the exit code.

use std::io::Write;
use std::process::ExitCode;

use crate::config::SiteErrors;

/// An end that is not a success. What there was to say has been printed.
#[derive(Debug)]
pub struct Exit(u8);

impl Exit {
    /// The site file is wrong (`EX_CONFIG`).
    pub const SITE_FILE: Self = Self(78);

    /// Failed at run time.
    pub const FAILED: Self = Self(1);
    /// Wrong usage: something has to be said differently.
    pub const USAGE: Self = Self(2);

    /// The site file names something that cannot be used, and why.
    pub fn site_file(error: &anyhow::Error) -> Self {
        complain(&format_args!("wharf: {error:#}"));
        Self::SITE_FILE
    }

    /// Failed at run time, and why.
    pub fn failure(error: &anyhow::Error) -> Self {
        complain(&format_args!("wharf: {error:#}"));
        Self::FAILED
    }
}

/// Prints to standard error, if anyone is there to read it.
pub fn complain(what: &dyn std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

/// Tells what a site file says that is most likely not meant, if there is any of it.
pub fn warn(warnings: &SiteErrors) {
    if !warnings.is_empty() {
        complain(warnings);
    }
}

impl From<anyhow::Error> for Exit {
    fn from(error: anyhow::Error) -> Self {
        Self::failure(&error)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}
