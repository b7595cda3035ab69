//! `wharf nodes`: the nodes of the MySensors networks, and what is known of them.

use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, SystemTime};

use clap::Args;
use serde_json::{Value as Json, json};
use wharf_contract::{LinkId, small_file};
use wharf_mysensors::MySensors;

use super::exit::{self, Exit};
use super::place::{Place, nowhere};
use super::words::{harmless, lasting, table};
use crate::config::Site;
use crate::control::{self, AskError};
use crate::drivers;
use crate::mapping::epoch_ms;

/// How much of a name from the radio fits a cell, in characters.
const WIDEST: usize = 32;

/// List the nodes of MySensors networks, and what is known of them.
#[derive(Args)]
pub struct NodesArgs {
    #[command(flatten)]
    place: Place,
    /// The link whose nodes they are; without it, those of all
    #[arg(value_name = "LINK")]
    link: Option<String>,
    /// Print a JSON object a line, also on a terminal
    #[arg(long)]
    json: bool,
}

/// Asks the gateway, or reads what it has kept, and prints it.
pub fn run(args: &NodesArgs) -> Result<(), Exit> {
    let (site, state_dir) = args.place.open()?;
    let known: Vec<&str> = site.mysensors.iter().map(|(name, _)| name.as_str()).collect();
    if known.is_empty() {
        return Err(Exit::failure(&anyhow::anyhow!("this site has no MySensors network")));
    }
    if let Some(link) = args.link.as_deref().filter(|link| !known.contains(link)) {
        let suggestion = wharf_contract::settings::suggestion(link, &known);
        exit::complain(&format_args!("wharf: there is no MySensors network `{link}`; {suggestion}"));
        return Err(Exit::USAGE);
    }
    let links = match control::ask(&state_dir, &json!({ "do": "nodes" })) {
        Ok(answer) => answer["links"].as_array().cloned().unwrap_or_default(),
        Err(error) => {
            if !matches!(error, AskError::Nobody) {
                exit::complain(&format_args!("wharf: {error}; this is what it has kept on disk"));
            } else if let Some(hint) = nowhere(&state_dir) {
                exit::complain(&format_args!("wharf: {hint}"));
            }
            kept(&site, &state_dir)?
        }
    };
    let wanted = links.into_iter().filter(|link| args.link.as_deref().is_none_or(|name| link["link"] == name));
    let nodes: Vec<Json> = wanted.flat_map(nodes_of).collect();
    if args.json || !std::io::stdout().is_terminal() {
        return nodes.iter().try_for_each(|node| super::say(&node.to_string()));
    }
    super::say(&human(&nodes, epoch_ms(SystemTime::now())))
}

/// What the files of a gateway that does not run say.
fn kept(site: &Site, state_dir: &Path) -> Result<Vec<Json>, Exit> {
    let mut links = Vec::new();
    for (name, settings) in site.mysensors.iter() {
        let file = drivers::nodes_file(state_dir, name.as_str());
        let wrong = |error: anyhow::Error| Exit::failure(&error.context(format!("reading {}", file.display())));
        let text = small_file::look(&file, wharf_mysensors::LARGEST_FILE).map_err(|error| wrong(error.into()))?;
        let driver = MySensors::new(LinkId::from(name.as_str()), settings.clone());
        let mut link = driver.known(&text).map_err(|error| wrong(error.into()))?;
        link["link"] = name.as_str().into();
        links.push(link);
    }
    Ok(links)
}

/// The nodes of a link, each with its name.
fn nodes_of(mut link: Json) -> Vec<Json> {
    let (name, nodes) = (link["link"].take(), link["nodes"].take());
    let nodes = nodes.as_array().cloned().unwrap_or_default().into_iter();
    nodes
        .map(|mut node| {
            node["link"] = name.clone();
            node
        })
        .collect()
}

/// The table for people. `now`: in milliseconds since 1970.
fn human(nodes: &[Json], now: u64) -> String {
    if nodes.is_empty() {
        return "no node has been heard yet".to_owned();
    }
    let rows: Vec<Vec<String>> = nodes.iter().map(|node| row(node, now)).collect();
    let header = [
        "LINK",
        "NODE",
        "DEVICE",
        "SKETCH",
        "VERSION",
        "LIBRARY",
        "BATTERY",
        "CHILDREN",
        "WAITING",
        "SLEEPS",
        "LAST SEEN",
    ];
    table(&header, 6, 9, &rows)
}

fn row(node: &Json, now: u64) -> Vec<String> {
    let number = |key: &str| node[key].as_u64().map(|number| number.to_string()).unwrap_or_default();
    let battery = node["battery"].as_u64().map(|percent| format!("{percent} %")).unwrap_or_default();
    let children = node["children"].as_array().map_or(0, Vec::len).to_string();
    let waiting = node["waiting"].as_u64().filter(|count| *count > 0).map(|count| count.to_string());
    let sleeps = if node["sleeping"] == true { "yes" } else { "" };
    let seen = match (node["last_seen"].as_u64(), node["given"].as_u64()) {
        (Some(at), _) => format!("{} ago", lasting(Duration::from_millis(now.saturating_sub(at)))),
        (None, Some(_)) => "never: its number was given away".to_owned(),
        (None, None) => "never".to_owned(),
    };
    vec![
        word(&node["link"]),
        number("node"),
        word(&node["device"]),
        word(&node["sketch"]),
        word(&node["sketch_version"]),
        word(&node["library"]),
        battery,
        children,
        waiting.unwrap_or_default(),
        sleeps.to_owned(),
        seen,
    ]
}

/// A text from the radio, as much of it as fits.
fn word(text: &Json) -> String {
    let text = text.as_str().unwrap_or_default();
    let mut word = harmless(&text.chars().take(WIDEST).collect::<String>());
    if text.chars().nth(WIDEST).is_some() {
        word.push('…');
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_shown_a_node_a_line_and_no_name_can_steer_the_terminal() {
        let soil = json!({
            "node": 2, "device": "soil", "sketch": "Soil\u{1b}[2J", "sketch_version": "1.1", "library": "2.3.2",
            "battery": 87, "sleeping": true, "last_seen": 940_000, "waiting": 3, "children": [{ "child": 1 }],
        });
        let unused =
            json!({ "node": 3, "device": "x".repeat(50), "given": 900_000, "sleeping": false, "children": [] });
        let nodes = nodes_of(json!({ "link": "garden", "nodes": [soil, unused] }));
        let shown = human(&nodes, 1_000_000);
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[0].starts_with("LINK    NODE  DEVICE"), "{shown}");
        assert!(lines[1].contains("soil") && lines[1].contains("Soil\\u{1b}[2J  1.1"), "{shown}");
        assert!(lines[1].ends_with("87 %         1        3  yes     60 s ago"), "{shown}");
        assert!(lines[2].contains(&format!("{}…", "x".repeat(32))), "{shown}");
        assert!(lines[2].ends_with("never: its number was given away"), "{shown}");
        assert_eq!(human(&[], 0), "no node has been heard yet");
    }
}
