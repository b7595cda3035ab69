//! `wharf profiles`: which device models are known, and what of each.

use anyhow::anyhow;
use clap::Args;
use serde_json::json;

use super::exit::Exit;
use crate::config::profiles::builtin;

/// List the built-in device profiles, or print one.
#[derive(Args)]
pub struct ProfilesArgs {
    /// The profile to print, ready to be changed and kept beside the site file as profiles/NAME.yaml, or
    /// as profiles/ble/NAME.yaml or profiles/mqtt/NAME.yaml
    name: Option<String>,
    /// Print the list as JSON
    #[arg(long, conflicts_with = "name")]
    json: bool,
}

/// Prints the list, or one profile.
pub fn run(args: &ProfilesArgs) -> Result<(), Exit> {
    if let Some(name) = &args.name {
        let text = builtin::get(name)
            .or_else(|| builtin::ble::get(name))
            .or_else(|| builtin::mqtt::get(name))
            .ok_or_else(|| Exit::failure(&anyhow!("there is no built-in profile `{name}`")))?;
        return super::say(text.trim_end());
    }
    let modbus = builtin::names().map(|name| ("modbus", name, builtin::title(name)));
    let ble = builtin::ble::names().map(|name| ("ble", name, builtin::ble::title(name)));
    let mqtt = builtin::mqtt::names().map(|name| ("mqtt", name, builtin::mqtt::title(name)));
    let all: Vec<_> = modbus.chain(ble).chain(mqtt).collect();
    if args.json {
        let entry = |(protocol, name, title): &_| json!({ "name": name, "protocol": protocol, "title": title });
        return super::say(&json!(all.iter().map(entry).collect::<Vec<_>>()).to_string());
    }
    let width = all.iter().map(|(_, name, _)| name.len()).max().unwrap_or_default();
    let lines: Vec<_> =
        all.iter().map(|(protocol, name, title)| format!("{name:width$}  {protocol:6}  {title}")).collect();
    super::say(&lines.join("\n"))
}
