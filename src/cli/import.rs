//! `wharf import`: a maker's register map → points for the site file.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;

use super::exit::{self, Exit};
use crate::config::load::read_bounded;
use crate::import::{Assumptions, Table, import};

/// The largest map.
const LARGEST: u64 = 4 << 20;

/// Turn a register map in CSV into points.
#[derive(Args)]
pub struct ImportArgs {
    /// The map: a table with headings, among them a name and an address
    #[arg(value_name = "CSV")]
    file: PathBuf,
    /// The table of addresses that do not say it
    #[arg(long)]
    table: Option<Table>,
    /// Plain addresses are counted from 1
    #[arg(long)]
    one_based: bool,
}

/// Prints the points: exit code 1 if a line was not understood, and each of them on standard error.
pub fn run(args: &ImportArgs) -> Result<(), Exit> {
    let file = args.file.display();
    let failed = |why: String| Exit::failure(&anyhow!("{file}: {why}"));
    let bytes = read_bounded(&args.file, LARGEST).map_err(failed)?;
    // Spreadsheets still write Latin-1 now and then; names and units may then look odd, addresses do not.
    let text =
        String::from_utf8(bytes).unwrap_or_else(|error| error.into_bytes().into_iter().map(char::from).collect());
    let import = import(&text, Assumptions { table: args.table, one_based: args.one_based }).map_err(failed)?;
    let points: String = import.points.iter().map(|point| format!("\n  {point}")).collect();
    super::say(&format!("points:{points}"))?;
    for (line, why) in &import.unread {
        exit::complain(&format_args!("{file}:{line}: {why}"));
    }
    if import.unread.is_empty() { Ok(()) } else { Err(Exit::FAILED) }
}
