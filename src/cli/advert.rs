//! `wharf explain advert`: advertisements that somebody has written down, and what they say. Without
//! `advert` it is a site that is explained.

use std::io::{BufRead, Read};
use std::path::Path;

use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand};
use serde_json::json;
use wharf_ble::config::Described;
use wharf_ble::config::description::compile;
use wharf_ble::explain;
use wharf_contract::settings::Named;

use super::exit::{self, Exit};
use crate::config;

/// Explain a site, or advertisements.
pub enum WhatToExplain {
    Site(super::explain::ExplainArgs),
    Adverts,
}

#[derive(Subcommand)]
#[command(subcommand_required = false)]
enum What {
    /// Say what Bluetooth advertisements mean: one line of JSON for each line of standard input
    ///
    /// A line is a JSON object {"mac", "service_data": {uuid: hex}, "manufacturer_data": {"0x0499": hex},
    /// "local_name", "key", "model"}, of which only "mac" has to be there, or an address and the bytes
    /// from the air in hexadecimal, or what `wharf scan ble --all --json` prints. What cannot be read is `refused`, with the reason. Profiles of sensors
    /// in profiles/ble of the current directory are used.
    ///
    /// Example:
    ///   echo 'A4:C1:38:02:83:F4 0a16d2fc4002ca0903bf13' | wharf explain advert
    #[command(verbatim_doc_comment)]
    Advert,
}

// By hand, because what a site needs is needed only where there is no subcommand.
impl Args for WhatToExplain {
    fn augment_args(command: Command) -> Command {
        let command = super::explain::ExplainArgs::augment_args(command);
        What::augment_subcommands(command).args_conflicts_with_subcommands(true).subcommand_negates_reqs(true)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for WhatToExplain {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        match matches.subcommand_name() {
            Some(_) => Ok(Self::Adverts),
            None => super::explain::ExplainArgs::from_arg_matches(matches).map(Self::Site),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Explains what is asked for.
pub fn run(what: &WhatToExplain) -> Result<(), Exit> {
    match what {
        WhatToExplain::Site(args) => super::explain::run(args),
        WhatToExplain::Adverts => adverts(),
    }
}

/// The sensors that are known here without a site file: the built-in ones, and those in profiles/ble of
/// the current directory.
pub(crate) fn descriptions() -> Result<Named<Described>, Exit> {
    config::descriptions(Path::new("")).map_err(|errors| {
        exit::complain(&errors);
        Exit::SITE_FILE
    })
}

/// One line of JSON for each line of standard input that is not empty.
fn adverts() -> Result<(), Exit> {
    let failed = |error: std::io::Error| Exit::failure(&anyhow::Error::new(error).context("reading standard input"));
    let described = compile(&descriptions()?);
    let mut input = std::io::stdin().lock();
    let mut line = Vec::new();
    loop {
        line.clear();
        // One byte more than may be, so that what is too long is seen to be.
        let limit = explain::LONGEST as u64 + 1;
        if input.by_ref().take(limit).read_until(b'\n', &mut line).map_err(failed)? == 0 {
            return Ok(());
        }
        if !line.ends_with(b"\n") && line.len() > explain::LONGEST {
            input.skip_until(b'\n').map_err(failed)?;
        }
        let told = match std::str::from_utf8(&line).map(str::trim) {
            Ok("") => continue,
            Ok(text) => explain::explain_with(text, &described),
            Err(_) => json!({ "error": "the line is not UTF-8 text" }),
        };
        super::say(&told.to_string())?;
    }
}
