//! TLS for an uplink: whom to trust, and how to show who we are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// The files an uplink's `tls:` names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Whom to trust; the system's own list without it.
    pub ca: Option<PathBuf>,
    /// Our certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Reads the files and makes the TLS settings: TLS 1.2 and 1.3 with `ring`.
///
/// # Errors
///
/// A file that cannot be read or holds no certificate or key; a key that does not fit the
/// certificate; no trusted certificate at all.
pub fn client_config(files: &TlsFiles) -> anyhow::Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("setting up TLS")?
        .with_root_certificates(roots(files.ca.as_deref())?);
    let config = match &files.identity {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let chain = certificates(cert)?;
            let private = PrivateKeyDer::from_pem_file(key)
                .with_context(|| format!("reading the private key in {}", key.display()))?;
            builder
                .with_client_auth_cert(chain, private)
                .with_context(|| format!("{} and {} do not go together", cert.display(), key.display()))?
        }
    };
    Ok(Arc::new(config))
}

fn roots(ca: Option<&Path>) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(file) => {
            for certificate in certificates(file)? {
                roots.add(certificate).with_context(|| format!("{} holds no CA certificate", file.display()))?;
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

fn certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("reading certificates from {}", file.display()))?;
    if certificates.is_empty() {
        bail!("{} holds no certificate (PEM expected)", file.display());
    }
    Ok(certificates)
}
