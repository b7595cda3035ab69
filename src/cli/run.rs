//! `wharf run`: the gateway a site file describes, until it is told to stop.
//!
//! A site file that has changed is read anew when it is told to.

use std::path::PathBuf;

use super::Signals;
use super::exit::{self, Exit};
use super::place::state_dir;
use crate::app::reload::NotReloaded;
use crate::{app, config};
use clap::Args;

/// Run the gateway.
#[derive(Args)]
pub struct RunArgs {
    /// The site file
    #[arg(value_name = "SITE")]
    file: PathBuf,
}

/// Runs the gateway until it is to stop.
pub async fn run(args: &RunArgs, signals: Signals) -> Result<(), Exit> {
    let Signals { stop, reload } = signals;
    let (site, warnings, sections) = config::load_in_full(&args.file).map_err(|errors| {
        exit::complain(&errors);
        Exit::SITE_FILE
    })?;
    exit::warn(&warnings);
    app::preflight(&site).map_err(|error| Exit::site_file(&error))?;
    let state_dir = state_dir(&site, &args.file);
    let mut running = app::start(site, app::Options { state_dir, tap: None }).await?;
    let broken = loop {
        tokio::select! {
            () = stop.cancelled() => break None,
            part = running.ended_early() => break Some(part),
            () = reload.notified() => {}
        }
        tokio::select! {
            () = stop.cancelled() => break None,
            reloaded = running.reload(&args.file, &sections) => match reloaded {
                Ok(warnings) => exit::warn(&warnings),
                Err(NotReloaded::Site(errors)) => exit::complain(&errors),
                // It has been logged.
                Err(NotReloaded::Other(_)) => {}
            },
        }
    };
    running.stop().await?;
    match broken {
        None => Ok(()),
        // Whatever watches over wharf starts it again; half a gateway would look like a whole one.
        Some(part) => Err(anyhow::anyhow!("{part} ended without being asked to").into()),
    }
}
