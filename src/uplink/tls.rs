//! TLS for an uplink: whom to trust, and how to show who we are.

use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::config::load::{LARGEST_PEM, read_bounded};

/// An uplink's `tls:` settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Whom to trust; the system's own list without it.
    pub ca: Option<PathBuf>,
    /// Our certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The protocols offered by ALPN.
    pub alpn: Vec<String>,
    /// Whether nothing older than TLS 1.3 will do.
    pub only_1_3: bool,
}

/// A file and what was in it.
struct Pem {
    file: PathBuf,
    text: Vec<u8>,
}

/// What was in the files, before anyone has looked whether it is any good.
pub struct TlsFiles {
    ca: Option<Pem>,
    identity: Option<(Pem, Pem)>,
}

impl TlsSettings {
    /// The files named.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let identity = self.identity.iter().flat_map(|(cert, key)| [cert, key]);
        self.ca.iter().chain(identity).map(PathBuf::as_path)
    }

    /// Reads the files.
    ///
    /// # Errors
    ///
    /// A file that cannot be read.
    pub fn read(&self) -> anyhow::Result<TlsFiles> {
        let identity = match &self.identity {
            Some((cert, key)) => Some((Pem::read(cert)?, Pem::read(key)?)),
            None => None,
        };
        Ok(TlsFiles { ca: self.ca.as_deref().map(Pem::read).transpose()?, identity })
    }

    /// Makes a client's TLS settings of what was in the files, with `ring`.
    ///
    /// # Errors
    ///
    /// A file that holds no certificate or key; a key that does not fit the certificate; no trusted
    /// certificate at all.
    pub fn client_config(&self, files: &TlsFiles) -> anyhow::Result<Arc<ClientConfig>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = if self.only_1_3 { &[&rustls::version::TLS13][..] } else { rustls::DEFAULT_VERSIONS };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .context("setting up TLS")?
            .with_root_certificates(roots(files.ca.as_ref())?);
        let mut config = match &files.identity {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let chain = cert.certificates()?;
                let private = PrivateKeyDer::from_pem_slice(&key.text)
                    .map_err(|error| anyhow!("reading the private key in {}: {error}", key.file.display()))?;
                builder
                    .with_client_auth_cert(chain, private)
                    .with_context(|| format!("{} and {} do not go together", cert.file.display(), key.file.display()))?
            }
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.clone().into_bytes()).collect();
        Ok(Arc::new(config))
    }
}

impl Pem {
    fn read(file: &Path) -> anyhow::Result<Self> {
        let text = read_bounded(file, LARGEST_PEM).map_err(|why| anyhow!("reading {}: {why}", file.display()))?;
        Ok(Self { file: file.to_owned(), text })
    }

    fn certificates(&self) -> anyhow::Result<Vec<CertificateDer<'static>>> {
        let certificates = CertificateDer::pem_slice_iter(&self.text)
            .collect::<Result<Vec<_>, _>>()
            .with_context(|| format!("reading certificates from {}", self.file.display()))?;
        if certificates.is_empty() {
            bail!("{} holds no certificate (PEM expected)", self.file.display());
        }
        Ok(certificates)
    }
}

/// Only the content counts: a file that was merely touched is the same.
impl Hash for TlsFiles {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let identity = self.identity.iter().flat_map(|(cert, key)| [cert, key]);
        self.ca.iter().chain(identity).for_each(|pem| pem.text.hash(state));
    }
}

fn roots(ca: Option<&Pem>) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(pem) => {
            for certificate in pem.certificates()? {
                roots.add(certificate).with_context(|| format!("{} holds no CA certificate", pem.file.display()))?;
            }
        }
        None => {
            // A single unreadable certificate in the system's list is no reason to trust none.
            let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if added == 0 {
                bail!("this system has no list of trusted CAs; install ca-certificates or set `tls: ca`");
            }
        }
    }
    Ok(roots)
}
