//! `wharf check`: is this site file right?

use std::path::PathBuf;

use clap::Args;

use super::exit::Exit;
use crate::config;

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
            if args.json {
                println!("{}", serde_json::json!({ "ok": true, "mistakes": [] }));
            } else {
                println!("{}: well ({})", args.file.display(), site.summary());
            }
            Ok(())
        }
        Err(errors) => {
            if args.json {
                println!("{}", serde_json::json!({ "ok": false, "mistakes": errors.to_json() }));
            } else {
                eprintln!("{errors}");
            }
            Err(Exit::SITE_FILE)
        }
    }
}
