//! `wharf firmware`: new firmware for a MySensors node, over the air.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use serde_json::{Value as Json, json};
use wharf_mysensors::firmware::image::{Image, Name};
use wharf_mysensors::firmware::settings::read;
use wharf_mysensors::firmware::wire::hex;

use super::exit::Exit;
use super::place::{Place, nowhere};
use super::words::{harmless, table};
use crate::control::{self, AskError};

/// Give a MySensors node new firmware, or show how far every node is.
#[derive(Args)]
#[command(disable_version_flag = true)] // a firmware has a version too
pub struct FirmwareArgs {
    #[command(flatten)]
    place: Place,
    /// The link of the node, as the site file names it
    #[arg(value_name = "LINK")]
    link: String,
    /// The image: Intel HEX, or the bytes themselves. Without it the states of all nodes are shown
    #[arg(value_name = "FILE", requires_all = ["node", "type", "version"])]
    image: Option<PathBuf>,
    /// The number of the node
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=254), requires = "image")]
    node: Option<u8>,
    /// The type of firmware: a node that reports another type is left alone
    #[arg(long, requires = "image")]
    r#type: Option<u16>,
    /// Its version
    #[arg(long, requires = "image")]
    version: Option<u16>,
    /// The CRC it has to have, such as 0x016a
    #[arg(long, value_parser = crc, requires = "image")]
    crc: Option<u16>,
    /// How much the node can hold, in KiB; an `ATmega328` holds 30 beside its bootloader
    #[arg(long, value_name = "KIB", default_value_t = 30)]
    max_size: u16,
    /// Give it to a node that reports another type too
    #[arg(long, requires = "image")]
    change_type: bool,
    /// Tell blocks made of one byte together, if the node speaks version 3.1 of the protocol
    #[arg(long, requires = "image")]
    rle: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Gives or shows, through the running gateway. Exit code 1 if that did not do it.
pub fn run(args: &FirmwareArgs) -> Result<(), Exit> {
    let (_, state_dir) = args.place.open()?;
    let mut request = json!({ "do": "firmware", "link": args.link });
    if let (Some(file), Some(node), Some(kind), Some(version)) = (&args.image, args.node, args.r#type, args.version) {
        let (name, room) = (Name { kind, version }, usize::from(args.max_size) << 10);
        let image = read(file).and_then(|bytes| Ok(Image::new(name, bytes, room, args.crc)?));
        let image = image.map_err(|error| Exit::failure(&anyhow!("{}: {error}", file.display())))?;
        request["node"] = node.into();
        request["type"] = kind.into();
        request["version"] = version.into();
        request["image"] = hex(image.bytes()).into();
        request["change_type"] = args.change_type.into();
        request["rle"] = args.rle.into();
    }
    let answer = control::ask(&state_dir, &request).map_err(|error| match error {
        AskError::Nobody => {
            let hint = nowhere(&state_dir).map(|hint| format!(" ({hint})")).unwrap_or_default();
            Exit::failure(&anyhow!("no gateway is running with the state in {}{hint}", state_dir.display()))
        }
        other => Exit::failure(&anyhow!("{other}")),
    })?;
    super::say(&if args.json { answer.to_string() } else { human(&answer, &args.link) })
}

fn human(answer: &Json, link: &str) -> String {
    let nodes = answer["nodes"].as_array().into_iter().flatten();
    let rows: Vec<Vec<String>> = nodes
        .map(|node| {
            let state = harmless(node["state"].as_str().unwrap_or_default());
            vec![node["node"].to_string(), node["percent"].to_string() + " %", state]
        })
        .collect();
    if rows.is_empty() {
        return format!("no node of {} is to get firmware", harmless(link));
    }
    table(&["NODE", "SENT", "STATE"], 0, 2, &rows)
}

/// A CRC in hexadecimal with `0x`, else in decimal.
fn crc(text: &str) -> Result<u16, std::num::ParseIntError> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u16::from_str_radix(digits, 16),
        None => text.parse(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crc_is_read_as_it_is_written_and_states_are_a_table() {
        assert_eq!((crc("0x016A"), crc("362")), (Ok(0x016A), Ok(0x016A)));
        assert!(crc("016A").is_err() && crc("0x1016A").is_err());
        let answer = json!({ "nodes": [{ "node": 5, "state": "loading", "percent": 45 }] });
        let shown = human(&answer, "garden");
        assert!(shown.contains("45 %") && shown.contains("loading"), "{shown}");
        assert_eq!(human(&json!({ "nodes": [] }), "garden"), "no node of garden is to get firmware");
    }
}
