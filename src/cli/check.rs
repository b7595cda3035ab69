//! `wharf check`: is this site file right?

use std::path::PathBuf;

use clap::Args;

use super::exit::{self, Exit};
use crate::{app, config};

/// Check a site file.
#[derive(Args)]
pub struct CheckArgs {
    /// The site file
    file: PathBuf,
    /// Print the verdict as JSON
    #[arg(long)]
    json: bool,
}

/// Checks the file: exit code 78 and every mistake if it is wrong.
pub fn run(args: &CheckArgs) -> Result<(), Exit> {
    match config::load(&args.file) {
        Ok(site) => {
            app::preflight(&site).map_err(|error| {
                Exit::failure(&error);
                Exit::SITE_FILE
            })?;
            match args.json {
                true => super::say(&serde_json::json!({ "ok": true, "mistakes": [] }).to_string()),
                false => super::say(&format!("{}: well ({})", args.file.display(), site.summary())),
            }
        }
        Err(errors) => {
            if args.json {
                super::say(&serde_json::json!({ "ok": false, "mistakes": errors.to_json() }).to_string())?;
            } else {
                exit::complain(&errors);
            }
            Err(Exit::SITE_FILE)
        }
    }
}
