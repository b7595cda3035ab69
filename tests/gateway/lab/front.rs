//! A TLS server in front of a broker, which remembers what it was shown.

use std::path::Path;
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::ca::Ca;

/// The server; ended when dropped.
pub struct Front {
    pub port: u16,
    shown: Arc<Mutex<Vec<Shown>>>,
    _runtime: tokio::runtime::Runtime,
}

/// What one client showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub server_name: Option<String>,
    pub alpn: Option<String>,
    pub version: rustls::ProtocolVersion,
    pub certificate: Option<Vec<u8>>,
}

impl Front {
    /// One that speaks a single version of TLS and one protocol inside, and passes everything on to
    /// this port. Its certificate is `broker.pem` in `dir`, and clients may have one of the same CA.
    pub fn start(ca: &Ca, dir: &Path, version: &'static SupportedProtocolVersion, behind: u16) -> Self {
        ca.write(&dir.join("ca.pem"));
        ca.issue("broker", dir);
        let certificate = |file: &str| CertificateDer::from_pem_file(dir.join(file)).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(certificate("ca.pem")).unwrap();
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .allow_unauthenticated()
            .build()
            .unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(
                vec![certificate("broker.pem")],
                PrivateKeyDer::from_pem_file(dir.join("broker.key")).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = vec![b"x-amzn-mqtt-ca".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shown: Arc<Mutex<Vec<Shown>>> = Arc::default();
        runtime.spawn(serve(listener, acceptor, shown.clone(), behind));
        Self { port, shown, _runtime: runtime }
    }

    /// What clients have shown so far, whoever got through the handshake.
    pub fn shown(&self) -> Vec<Shown> {
        self.shown.lock().unwrap().clone()
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, shown: Arc<Mutex<Vec<Shown>>>, behind: u16) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, shown) = (acceptor.clone(), shown.clone());
        tokio::spawn(async move {
            let Ok(mut client) = acceptor.accept(stream).await else { return };
            let (_, connection) = client.get_ref();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            shown.lock().unwrap().push(Shown {
                server_name: connection.server_name().map(str::to_owned),
                alpn: connection.alpn_protocol().map(text),
                version: connection.protocol_version().unwrap(),
                certificate: connection.peer_certificates().map(|chain| chain[0].to_vec()),
            });
            let Ok(mut broker) = TcpStream::connect(("127.0.0.1", behind)).await else { return };
            let _ = tokio::io::copy_bidirectional(&mut client, &mut broker).await;
        });
    }
}
