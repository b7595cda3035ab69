//! `wharf check`: is this site file right?

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::exit::{self, Exit};
use crate::{app, config};

/// Check a site file.
#[derive(Args)]
pub struct CheckArgs {
    /// The site file
    #[arg(value_name = "SITE")]
    file: PathBuf,
    /// Print the verdict as JSON
    #[arg(long)]
    json: bool,
}

/// Checks the file: exit code 78 and every mistake if it is wrong. Warnings are told and change nothing.
pub fn run(args: &CheckArgs) -> Result<(), Exit> {
    let (site, warnings) = match config::load_with_warnings(&args.file) {
        Ok(read) => read,
        Err(errors) if args.json => return wrong(errors.to_json(), errors.warnings_to_json()),
        Err(errors) => {
            exit::complain(&errors);
            return Err(Exit::SITE_FILE);
        }
    };
    let warned = warnings.warnings_to_json();
    if !args.json {
        exit::warn(&warnings);
    }
    match app::preflight(&site) {
        Ok(()) if args.json => super::say(&json!({ "ok": true, "mistakes": [], "warnings": warned }).to_string()),
        Ok(()) => super::say(&format!("{}: well ({})", args.file.display(), site.summary())),
        // It stands in a file that the site file names, so it has no line there.
        Err(error) if args.json => wrong(json!([{ "file": args.file, "message": format!("{error:#}") }]), warned),
        Err(error) => Err(Exit::site_file(&error)),
    }
}

/// The verdict on a wrong site file, for scripts.
fn wrong(mistakes: serde_json::Value, warnings: serde_json::Value) -> Result<(), Exit> {
    super::say(&json!({ "ok": false, "mistakes": mistakes, "warnings": warnings }).to_string())?;
    Err(Exit::SITE_FILE)
}
