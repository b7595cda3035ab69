//! What an uplink shows its broker, and whom it trusts: user name, password, certificates.
//!
//! They are read anew before every connect, and looked at now and then while a connection lasts, so
//! that a renewed certificate or a changed password is in use without a restart. What has become
//! unreadable or broken is told once, and what worked before is kept.

use std::fs::Metadata;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};
use wharf_contract::settings::Secret;

use super::tls::TlsSettings;
use crate::config::load::read_secret;

/// How often the files are looked at. A change is acted upon when it has lasted from one look to
/// the next, because a file may be in the middle of being written.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// How long reading them may take: they may lie on a network that is away.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where everything comes from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The user name.
    pub username: Option<String>,
    /// The password, perhaps from a file.
    pub password: Option<Secret>,
    /// How connections are encrypted; `None` if none of them is.
    pub tls: Option<TlsSettings>,
}

/// What a connect needs.
#[derive(Clone, Default)]
pub struct Keys {
    /// User name and password.
    pub credentials: Option<(String, String)>,
    /// Certificates and all else for TLS.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Tells these keys from others.
    fingerprint: u64,
}

/// The keys in use, and how to know that there are others.
pub struct Keyring {
    uplink: Arc<str>,
    sources: Arc<Sources>,
    keys: Keys,
    /// What the files looked like when they were last read, for better or worse.
    read_at: Vec<Stamp>,
}

/// What is known of a file without reading it: its number, size and times.
type Stamp = Option<(u64, u64, u64, i64, i64, i64, i64)>;

impl Keyring {
    /// Reads everything for the first time.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, or does not hold what it should.
    pub fn new(uplink: Arc<str>, sources: Sources) -> anyhow::Result<Self> {
        let read_at = stamps(&sources);
        let keys = sources.read(None)?;
        Ok(Self { uplink, sources: Arc::new(sources), keys, read_at })
    }

    /// What to connect with now: what the files hold, or what they held when they were last good.
    pub async fn keys(&mut self) -> Keys {
        let now = self.look().await;
        self.refresh(now).await;
        self.keys.clone()
    }

    /// Waits until the files hold something else that is good.
    pub async fn changed(&mut self) {
        if self.sources.files().next().is_none() {
            return std::future::pending().await;
        }
        let mut before = self.read_at.clone();
        loop {
            sleep(LOOK_EVERY).await;
            let now = self.look().await;
            if now == before && now != self.read_at && self.refresh(now.clone()).await {
                info!(uplink = %self.uplink, "password or certificates have changed; connecting anew with the new ones");
                return;
            }
            before = now;
        }
    }

    /// What the files look like; what they looked like before, if that cannot be found out.
    async fn look(&self) -> Vec<Stamp> {
        let sources = self.sources.clone();
        let looked = timeout(PATIENCE, tokio::task::spawn_blocking(move || stamps(&sources))).await;
        looked.ok().and_then(Result::ok).unwrap_or_else(|| self.read_at.clone())
    }

    /// Reads the files, which look like this. Whether there are other keys now.
    async fn refresh(&mut self, look: Vec<Stamp>) -> bool {
        let (sources, keys) = (self.sources.clone(), self.keys.clone());
        let reading = tokio::task::spawn_blocking(move || sources.read(Some(keys)));
        let read = match timeout(PATIENCE, reading).await {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(anyhow!("the files with password and certificates could not be read in time")),
        };
        let seen_before = std::mem::replace(&mut self.read_at, look) == self.read_at;
        match read {
            Ok(keys) if keys.fingerprint != self.keys.fingerprint => {
                self.keys = keys;
                true
            }
            Ok(_) => false,
            Err(_) if seen_before => false,
            Err(error) => {
                let error = format!("{error:#}");
                warn!(uplink = %self.uplink, error, "password or certificates have changed, but are no good; the old ones are used");
                false
            }
        }
    }
}

impl Sources {
    /// Reads everything there is; `known` comes back if nothing has changed, with what TLS
    /// remembers of its sessions.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, or does not hold what it should.
    pub fn read(&self, known: Option<Keys>) -> anyhow::Result<Keys> {
        let password = self.read_password()?;
        let tls_files = self.tls.as_ref().map(TlsSettings::read).transpose()?;
        let fingerprint = {
            let mut hasher = DefaultHasher::new();
            (&password, &tls_files).hash(&mut hasher);
            hasher.finish()
        };
        if let Some(known) = known.filter(|known| known.fingerprint == fingerprint) {
            return Ok(known);
        }
        let tls = match (&self.tls, &tls_files) {
            (Some(settings), Some(files)) => Some(settings.client_config(files)?),
            _ => None,
        };
        // A password alone is allowed in MQTT 5; it then goes with an empty user name.
        let credentials = match (&self.username, password) {
            (None, None) => None,
            (user, password) => Some((user.clone().unwrap_or_default(), password.unwrap_or_default())),
        };
        Ok(Keys { credentials, tls, fingerprint })
    }

    fn read_password(&self) -> anyhow::Result<Option<String>> {
        let Some(secret) = &self.password else { return Ok(None) };
        let Some(file) = secret.file() else { return Ok(Some(secret.expose().to_owned())) };
        match read_secret(file).map_err(|why| anyhow!(why))? {
            empty if empty.is_empty() => Err(anyhow!("{} is empty", file.display())),
            password => Ok(Some(password)),
        }
    }

    fn files(&self) -> impl Iterator<Item = &Path> {
        let password = self.password.as_ref().and_then(Secret::file);
        password.into_iter().chain(self.tls.iter().flat_map(TlsSettings::files))
    }
}

fn stamps(sources: &Sources) -> Vec<Stamp> {
    let stamp = |of: Metadata| (of.dev(), of.ino(), of.len(), of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec());
    sources.files().map(|file| std::fs::metadata(file).ok().map(stamp)).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use wharf_contract::settings::{Context, Node, Setting, Span};

    use super::*;

    struct Folder {
        dir: tempfile::TempDir,
        sources: Sources,
    }

    impl Folder {
        fn with(password: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("password"), password).unwrap();
            let mut cx = Context::new(dir.path(), &|_| Ok("read at the start".into()));
            let secret = Secret::decode(&Node::plain("${file:password}", Span::default()), &mut cx);
            let sources = Sources { password: secret, ..Sources::default() };
            assert!(sources.password.is_some());
            Self { dir, sources }
        }

        fn write(&self, password: &str) {
            fs::write(self.dir.path().join("password"), password).unwrap();
        }

        fn keyring(&self) -> Keyring {
            Keyring::new("central".into(), self.sources.clone()).unwrap()
        }
    }

    fn password(keys: &Keys) -> &str {
        &keys.credentials.as_ref().unwrap().1
    }

    #[tokio::test]
    async fn every_connect_reads_the_password_anew() {
        let folder = Folder::with("first\n");
        let mut keyring = folder.keyring();
        assert_eq!(password(&keyring.keys().await), "first");
        folder.write("second");
        assert_eq!(password(&keyring.keys().await), "second");
    }

    #[tokio::test]
    async fn what_worked_is_kept_while_the_file_is_empty_or_gone() {
        let folder = Folder::with("first");
        let mut keyring = folder.keyring();
        folder.write("");
        assert_eq!(password(&keyring.keys().await), "first");
        fs::remove_file(folder.dir.path().join("password")).unwrap();
        assert_eq!(password(&keyring.keys().await), "first");
        folder.write("second");
        assert_eq!(password(&keyring.keys().await), "second");
    }

    #[tokio::test]
    async fn a_change_is_noticed_and_a_file_that_was_only_touched_is_none() {
        let folder = Folder::with("first");
        let mut keyring = folder.keyring();
        folder.write("first");
        let touched = timeout(LOOK_EVERY * 3, keyring.changed()).await;
        assert!(touched.is_err(), "the password is still the same");
        folder.write("second");
        timeout(LOOK_EVERY * 10, keyring.changed()).await.expect("the change is noticed");
        assert_eq!(password(&keyring.keys().await), "second");
    }

    #[test]
    fn a_password_file_that_is_not_there_is_named() {
        let folder = Folder::with("first");
        fs::remove_file(folder.dir.path().join("password")).unwrap();
        let error = folder.sources.read(None).err().unwrap().to_string();
        assert!(error.contains("password: no such file"), "{error}");
    }
}
