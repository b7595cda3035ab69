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

use super::certificate::{self, Facts};
use crate::config::load::{LARGEST_PEM, read_bounded};

/// How often the files are looked at. A change is acted upon when it has lasted from one look to the next, because a
/// file may be in the middle of being written.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// How long reading them may take: they may lie on a network that is away.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long before its end a certificate is worth a word.
const SOON: Duration = Duration::from_secs(14 * 86_400);

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

/// What is wrong with one of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which.
    pub of: Of,
    /// Whether it may do all the same.
    pub is_warning: bool,
    /// What is wrong, to be read after the name of the file.
    pub words: String,
    /// What mends it.
    pub fix: Option<String>,
}

/// One of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// The certificate.
    Cert,
    /// Its key.
    Key,
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

    /// What is wrong with the certificate and its key, for those who have set them up. A file that cannot be read is
    /// passed over, and what a wrong clock could have made up keeps nobody from starting.
    pub fn faults(&self, now: SystemTime) -> Vec<Fault> {
        let mut faults = Vec::new();
        let (Ok(cert), Ok(key)) = (read_bounded(&self.cert, LARGEST_PEM), read_bounded(&self.key, LARGEST_PEM)) else {
            return faults;
        };
        let mut fault =
            |of, is_warning, words: &str, fix| faults.push(Fault { of, is_warning, words: words.into(), fix });
        let first = CertificateDer::pem_slice_iter(&cert).next().and_then(Result::ok);
        match &first {
            None => {
                let (words, fix) = certificate::instead_of_certificate(&cert, &self.cert.to_string_lossy());
                fault(Of::Cert, false, words, fix);
            }
            Some(first) => {
                for (is_warning, words, fix) in told_of(first, now) {
                    fault(Of::Cert, is_warning, words, fix.map(str::to_owned));
                }
            }
        }
        match PrivateKeyDer::from_pem_slice(&key) {
            Err(_) => {
                let (words, fix) = certificate::instead_of_key(&key, &self.key.to_string_lossy());
                fault(Of::Key, false, words, fix);
            }
            Ok(key) => {
                let signs = rustls::crypto::ring::sign::any_supported_type(&key);
                match (signs, first) {
                    (Err(_), _) => fault(Of::Key, false, "holds a key of a kind that is not known here", None),
                    (Ok(signs), Some(first)) => {
                        let pair = rustls::sign::CertifiedKey::new(vec![first], signs).keys_match();
                        if matches!(pair, Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch))) {
                            let words = format!("is not the key of the certificate in {}", self.cert.display());
                            fault(
                                Of::Key,
                                false,
                                &words,
                                Some("name the key that the certificate was asked for with".into()),
                            );
                        }
                    }
                    (Ok(_), None) => {}
                }
            }
        }
        faults
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

/// What there is to say of a certificate that can be read.
fn told_of(certificate: &[u8], now: SystemTime) -> Vec<(bool, &'static str, Option<&'static str>)> {
    const NAMED: &str = "sign it anew with -extfile, in which stands: subjectAltName=DNS:gw1.local,IP:192.168.1.2";
    let Some(facts) = Facts::of(certificate) else { return Vec::new() };
    let mut told = Vec::new();
    if facts.until < now {
        told.push((true, "has expired, so that clients refuse it", Some("renew it, or set the clock of this machine")));
    } else if facts.until < now + SOON {
        told.push((
            true,
            "expires within two weeks",
            Some("renew it; a running gateway uses the new one without a restart"),
        ));
    }
    if facts.from > now {
        let words = "is not valid yet by the clock of this machine";
        told.push((true, words, Some("is the clock right? Clients by theirs may take it")));
    }
    if !facts.is_current {
        told.push((false, "is of version 1, which TLS does not take", Some(NAMED)));
    } else if !facts.names_hosts {
        told.push((true, "names no host or address (subjectAltName), so that most clients refuse it", Some(NAMED)));
    }
    told
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
