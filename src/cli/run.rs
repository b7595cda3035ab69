//! `wharf run`: the gateway a site file describes, until it is told to stop.

use std::env;
use std::path::{Path, PathBuf};

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::exit::{self, Exit};
use crate::config::Site;
use crate::{app, config};

/// Run the gateway.
#[derive(Args)]
pub struct RunArgs {
    /// The site file
    file: PathBuf,
}

/// Runs the gateway until `stop`.
pub async fn run(args: &RunArgs, stop: CancellationToken) -> Result<(), Exit> {
    let site = config::load(&args.file).map_err(|errors| {
        exit::complain(&errors);
        Exit::SITE_FILE
    })?;
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

/// Where state lives: as the site file says, else where systemd says, else beside the site file.
fn state_dir(site: &Site, file: &Path) -> PathBuf {
    if let Some(dir) = &site.state_dir {
        return dir.as_path().to_owned();
    }
    // systemd separates several directories by colons; a unit of ours names one.
    if let Some(dir) = env::var_os("STATE_DIRECTORY").filter(|dir| !dir.is_empty()) {
        return PathBuf::from(dir);
    }
    file.parent().unwrap_or(Path::new(".")).join("wharf-state")
}
