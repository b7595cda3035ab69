//! A changed site file, while the gateway runs.
//!
//! What it says of the local broker's users takes effect at once; for everything else it is said that it waits for a restart. A
//! file with a mistake changes nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::{Running, local, preflight};
use crate::config::{self, Sections, Site, SiteErrors};

/// What takes effect while the gateway runs.
const AT_ONCE: [&str; 4] = ["broker.anonymous", "broker.anonymous_may", "broker.passwords", "broker.users"];

/// How long the files may take to be read: they may lie on a network that is away.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why everything is as before.
pub enum NotReloaded {
    /// The site file is wrong.
    Site(SiteErrors),
    /// Something else is.
    Other(anyhow::Error),
}

impl Running {
    /// Reads the site file anew and goes by it as far as that is possible without a restart. Logs what became of it, for whoever asks for
    /// the status as well. `started_with` is what the gateway runs with. The warnings come back.
    ///
    /// # Errors
    /// The file is wrong, or cannot be read; nothing has changed.
    pub async fn reload(&self, file: &Path, started_with: &Sections) -> Result<SiteErrors, NotReloaded> {
        let loaded = match load(file.to_owned()).await {
            Ok((site, warnings, sections)) => {
                self.go_by(&site).map(|()| (warnings, sections)).map_err(NotReloaded::Other)
            }
            Err(error) => Err(error),
        };
        match loaded {
            Ok((warnings, sections)) => {
                let mut waiting = started_with.changed(&sections);
                waiting.retain(|section| !AT_ONCE.contains(&section.as_str()));
                info!("the site file was read anew; users and rights of the local broker are as it says");
                for section in &waiting {
                    warn!(section, "this section of the site file has changed, and takes effect with a restart");
                }
                self.reloads.note(Ok(waiting));
                Ok(warnings)
            }
            Err(not) => {
                let why = match &not {
                    NotReloaded::Site(errors) => errors.summary(),
                    NotReloaded::Other(error) => format!("{error:#}"),
                };
                error!(why, "the site file was read anew and is no good; nothing has changed");
                self.reloads.note(Err(why));
                Err(not)
            }
        }
    }

    fn go_by(&self, site: &Site) -> anyhow::Result<()> {
        let rules = local::rules(site)?;
        match &self.broker {
            Some(broker) => broker.go_by(rules),
            None => Ok(()),
        }
    }
}

async fn load(file: PathBuf) -> Result<(Site, SiteErrors, Sections), NotReloaded> {
    let work = move || {
        let loaded = config::load_in_full(&file).map_err(NotReloaded::Site)?;
        preflight(&loaded.0).map_err(NotReloaded::Other)?;
        Ok(loaded)
    };
    match timeout(PATIENCE, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(loaded)) => loaded,
        Ok(Err(error)) => Err(NotReloaded::Other(error.into())),
        Err(_) => Err(NotReloaded::Other(anyhow!("the site file could not be read in time"))),
    }
}
