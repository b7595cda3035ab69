//! `wharf run`: the gateway a site file describes, until it is told to stop.

use std::path::PathBuf;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::exit::{self, Exit};
use super::place::state_dir;
use crate::{app, config};

/// Run the gateway.
#[derive(Args)]
pub struct RunArgs {
    /// The site file
    #[arg(value_name = "SITE")]
    file: PathBuf,
}

/// Runs the gateway until `stop`.
pub async fn run(args: &RunArgs, stop: CancellationToken) -> Result<(), Exit> {
    let (site, warnings) = config::load_with_warnings(&args.file).map_err(|errors| {
        exit::complain(&errors);
        Exit::SITE_FILE
    })?;
    exit::warn(&warnings);
    app::preflight(&site).map_err(|error| Exit::site_file(&error))?;
    let state_dir = state_dir(&site, &args.file);
    let mut running = app::start(site, app::Options { state_dir, tap: None }).await?;
    let broken = tokio::select! {
        () = stop.cancelled() => None,
        part = running.ended_early() => Some(part),
    };
    running.stop().await?;
    match broken {
        None => Ok(()),
        // Whatever watches over wharf starts it again; half a gateway would look like a whole one.
        Some(part) => Err(anyhow::anyhow!("{part} ended without being asked to").into()),
    }
}
