//! TLS for those who listen: what to show clients, and whom among them to trust.
//!
//! The files are looked at now and then, so that a renewed certificate is in use without a restart, for those who
//! connect from then on. What has become unreadable or broken is told once, and what worked before is kept.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow, bail};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::config::load::{LARGEST_PEM, read_bounded};

/// How often the files are looked at. A change is acted upon when it has lasted from one look to the next, because a
/// file may be in the middle of being written.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// How long reading them may take: they may lie on a network that is away.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where everything for TLS is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those between it and its CA.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Whom to trust to sign clients' certificates.
    pub client_ca: Option<PathBuf>,
    /// Whether clients have to show one.
    pub client_certificates: ClientCertificates,
}

/// Whether clients have to show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked.
    #[default]
    None,
    /// They may. What they show has to be good.
    Optional,
    /// They have to.
    Required,
}

/// What a listener uses now.
pub struct Keys {
    files: TlsFiles,
    current: Mutex<Arc<ServerConfig>>,
}

/// What is known of a file without reading it.
type Stamp = Option<(u64, SystemTime)>;

impl Keys {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// A file that cannot be read, or does not hold what it should.
    pub fn read(files: TlsFiles) -> anyhow::Result<Self> {
        let current = Mutex::new(config(&files)?.0);
        Ok(Self { files, current })
    }

    /// What to begin a handshake with.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at the files for as long as it is let.
    pub async fn watch(&self, address: SocketAddr) {
        let mut read_at = self.look().await;
        let mut content = self.read_again().await.map_or(0, |(_, content)| content);
        let mut before = read_at.clone();
        loop {
            sleep(LOOK_EVERY).await;
            let now = self.look().await;
            if now == before && now != read_at {
                read_at = now.clone();
                match self.read_again().await {
                    Ok((config, fresh)) if fresh != content => {
                        content = fresh;
                        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = config;
                        info!(%address, "the local broker's certificates have changed; new connections get the new ones");
                    }
                    Ok(_) => {}
                    Err(error) => {
                        let error = format!("{error:#}");
                        warn!(%address, error, "the local broker's certificates have changed, but are no good; the old ones are used");
                    }
                }
            }
            before = now;
        }
    }

    async fn look(&self) -> Vec<Stamp> {
        let files: Vec<PathBuf> = self.files.all().map(Path::to_owned).collect();
        let look = move || {
            let stamp =
                |file: &PathBuf| std::fs::metadata(file).ok().and_then(|of| Some((of.len(), of.modified().ok()?)));
            files.iter().map(stamp).collect()
        };
        let looked = timeout(PATIENCE, tokio::task::spawn_blocking(look)).await;
        looked.ok().and_then(Result::ok).unwrap_or_default()
    }

    async fn read_again(&self) -> anyhow::Result<(Arc<ServerConfig>, u64)> {
        let files = self.files.clone();
        let reading = tokio::task::spawn_blocking(move || config(&files));
        timeout(PATIENCE, reading).await.context("the files could not be read in time")??
    }
}

impl TlsFiles {
    /// Reads the files, to see whether they can be used.
    ///
    /// # Errors
    /// A file that cannot be read, or does not hold what it should.
    pub fn check(&self) -> anyhow::Result<()> {
        config(self).map(|_| ())
    }

    fn all(&self) -> impl Iterator<Item = &Path> {
        [&self.cert, &self.key].into_iter().chain(&self.client_ca).map(PathBuf::as_path)
    }
}

/// The settings that the files make, and a number that tells them from others.
fn config(files: &TlsFiles) -> anyhow::Result<(Arc<ServerConfig>, u64)> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut hasher = DefaultHasher::new();
    let mut read = |file: &Path| {
        let text = read_bounded(file, LARGEST_PEM).map_err(|why| anyhow!("reading {}: {why}", file.display()))?;
        text.hash(&mut hasher);
        anyhow::Ok(text)
    };
    let chain = certificates(&files.cert, &read(&files.cert)?)?;
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?)
        .map_err(|error| anyhow!("reading the private key in {}: {error}", files.key.display()))?;
    let verifier = match (files.client_certificates, &files.client_ca) {
        (ClientCertificates::None, _) => None,
        (_, None) => bail!("client certificates are asked for, but no `client_ca` says who signs them"),
        (asked, Some(ca)) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(ca, &read(ca)?)? {
                roots.add(certificate).with_context(|| format!("{} holds no CA certificate", ca.display()))?;
            }
            let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
            let builder = if asked == ClientCertificates::Optional { builder.allow_unauthenticated() } else { builder };
            Some(builder.build().with_context(|| format!("{} is no CA for clients", ca.display()))?)
        }
    };
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.context("setting up TLS")?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let config = builder
        .with_single_cert(chain, key)
        .with_context(|| format!("{} and {} do not go together", files.cert.display(), files.key.display()))?;
    Ok((Arc::new(config), hasher.finish()))
}

fn certificates(file: &Path, text: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_slice_iter(text)
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| format!("reading certificates from {}", file.display()))?;
    if certificates.is_empty() {
        bail!("{} holds no certificate (PEM expected)", file.display());
    }
    Ok(certificates)
}
