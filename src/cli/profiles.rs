//! `wharf profiles`: which device models are known, and what of each.

use anyhow::anyhow;
use clap::Args;
use serde_json::json;

use super::exit::Exit;
use crate::config::profiles::builtin;

/// List the built-in device profiles, or print one.
#[derive(Args)]
pub struct ProfilesArgs {
    /// The profile to print, ready to be changed and kept as profiles/NAME.yaml beside the site file
    name: Option<String>,
    /// Print the list as JSON
    #[arg(long, conflicts_with = "name")]
    json: bool,
}

/// Prints the list, or one profile.
pub fn run(args: &ProfilesArgs) -> Result<(), Exit> {
    if let Some(name) = &args.name {
        let text =
            builtin::get(name).ok_or_else(|| Exit::failure(&anyhow!("there is no built-in profile `{name}`")))?;
        return super::say(text.trim_end());
    }
    if args.json {
        let list: Vec<_> =
            builtin::names().map(|name| json!({ "name": name, "title": builtin::title(name) })).collect();
        return super::say(&json!(list).to_string());
    }
    let width = builtin::names().map(str::len).max().unwrap_or_default();
    let lines: Vec<_> = builtin::names().map(|name| format!("{name:width$}  {}", builtin::title(name))).collect();
    super::say(&lines.join("\n"))
}
