//! Modbus/TCP Security: TLS around Modbus TCP, and on both sides a certificate.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, DEFAULT_VERSIONS, RootCertStore, crypto::ring};

/// The largest file with certificates or a key, in bytes.
const LARGEST_PEM: u64 = 1 << 20;

/// Whom to trust, and how to show who we are. The files are read for each connection, so renewed ones
/// are used without a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// Whom to trust.
    pub(crate) ca: PathBuf,
    /// Our certificate and its key.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
    /// The name in the device's certificate, where it is not the host's.
    pub(crate) server_name: Option<String>,
}

impl TlsFiles {
    /// Makes an open connection to `host` a secure one.
    ///
    /// # Errors
    /// A file that does not hold what it should; a device that cannot show who it is, or does not
    /// accept who we are.
    pub(super) async fn secure(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = self.server_name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name).map_err(|_| io::Error::other("the host is no name for a certificate"))?;
        let files = self.clone();
        // Reading files would hold up everybody else on this thread.
        let config = tokio::task::spawn_blocking(move || files.config()).await.map_err(io::Error::other)?;
        let config = config.map_err(io::Error::other)?;
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
        connecting.await.map_err(|error| io::Error::new(error.kind(), format!("no secure connection: {error}")))
    }

    fn config(&self) -> Result<ClientConfig, String> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.ca)? {
            roots.add(certificate).map_err(|error| format!("{} holds no CA: {error}", self.ca.display()))?;
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(DEFAULT_VERSIONS)
            .map_err(|error| format!("setting up TLS: {error}"))?
            .with_root_certificates(roots);
        let Some((certificate, key)) = &self.identity else { return Ok(builder.with_no_client_auth()) };
        let private = PrivateKeyDer::from_pem_slice(&read(key)?)
            .map_err(|error| format!("reading the private key in {}: {error}", key.display()))?;
        builder
            .with_client_auth_cert(certificates(certificate)?, private)
            .map_err(|error| format!("{} and {} do not go together: {error}", certificate.display(), key.display()))
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(file)?).collect();
    let found = found.map_err(|error| format!("reading certificates from {}: {error}", file.display()))?;
    if found.is_empty() {
        return Err(format!("{} holds no certificate (PEM expected)", file.display()));
    }
    Ok(found)
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: io::Error| format!("reading {}: {error}", file.display());
    let about = std::fs::metadata(file).map_err(failed)?;
    // Opening a pipe without a writer would wait for ever.
    if !about.is_file() || about.len() > LARGEST_PEM {
        return Err(format!("{} is not a file of at most {} KiB", file.display(), LARGEST_PEM >> 10));
    }
    std::fs::read(file).map_err(failed)
}
