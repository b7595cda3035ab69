//! Which site a command is about, and where its state is.

use std::env;
use std::path::{Path, PathBuf};

use clap::Args;

use super::exit::{self, Exit};
use crate::config::{self, Site};

/// A site whose gateway, running or not, is looked at from outside.
#[derive(Args)]
pub struct Place {
    /// The site file
    #[arg(value_name = "SITE")]
    file: PathBuf,
    /// Where its state is, if that is not what the site file or $STATE_DIRECTORY says (under
    /// systemd: /var/lib/wharf)
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

impl Place {
    /// The site of this file, with its state where it says, or elsewhere.
    pub fn of(file: PathBuf, state_dir: Option<PathBuf>) -> Self {
        Self { file, state_dir }
    }

    /// The site, and where its state is. Secrets are not opened: whoever looks need not have them.
    pub fn open(&self) -> Result<(Site, PathBuf), Exit> {
        let site = config::load_sealed(&self.file).map_err(|errors| {
            exit::complain(&errors);
            Exit::SITE_FILE
        })?;
        let state_dir = self.state_dir.clone().unwrap_or_else(|| state_dir(&site, &self.file));
        Ok((site, state_dir))
    }
}

impl Place {
    /// Where the state is, and whether the site file is good. If it is not, that is told, and the place is what can be
    /// made out of it all the same.
    ///
    /// # Errors
    /// There is no file at all, so nothing says where to look.
    pub fn find(&self) -> Result<(PathBuf, bool), Exit> {
        let errors = match config::load_sealed(&self.file) {
            Ok(site) => {
                let state_dir = self.state_dir.clone().unwrap_or_else(|| state_dir(&site, &self.file));
                return Ok((state_dir, true));
            }
            Err(errors) => errors,
        };
        exit::complain(&errors);
        if self.state_dir.is_none() && !self.file.exists() {
            return Err(Exit::SITE_FILE);
        }
        let named = || config::state_dir_of(&self.file);
        let state_dir = self.state_dir.clone().or_else(named).unwrap_or_else(|| usual_state_dir(&self.file));
        exit::complain(&format_args!(
            "wharf: this site file cannot be used; asking the gateway that may run with the state in {}",
            state_dir.display()
        ));
        Ok((state_dir, false))
    }
}

/// What to say of a state directory that is not there, as with a service whose state is elsewhere.
pub fn nowhere(state_dir: &Path) -> Option<String> {
    let hint = || format!("{} does not exist; --state-dir says where else to look", state_dir.display());
    (!state_dir.exists()).then(hint)
}

/// Where state lives: as the site file says, else where systemd says, else beside the site file.
pub fn state_dir(site: &Site, file: &Path) -> PathBuf {
    site.state_dir.as_ref().map_or_else(|| usual_state_dir(file), |dir| dir.as_path().to_owned())
}

/// Where it lives if the site file says nothing of it.
fn usual_state_dir(file: &Path) -> PathBuf {
    // systemd separates several directories by colons; a unit of ours names one.
    if let Some(dir) = env::var_os("STATE_DIRECTORY").filter(|dir| !dir.is_empty()) {
        return PathBuf::from(dir);
    }
    file.parent().unwrap_or(Path::new(".")).join("wharf-state")
}
