//! Why a client has not come through the handshake, and why nobody can be let in at all: in words for who has set it up.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;

use anyhow::anyhow;
use rustls::{AlertDescription as Alert, CertificateError};

use super::web_socket::ForeignPage;

/// Why a handshake has failed, as far as it can be told from here.
pub fn why(error: &Error, web_socket: bool) -> &'static str {
    if error.get_ref().is_some_and(|inner| inner.is::<ForeignPage>()) {
        return "it is a web page that does not come from this machine, and without a login any page could send commands: give \
                the broker users";
    }
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match (tls, error.kind()) {
        (Some(error), _) => why_no_tls(error),
        (None, ErrorKind::InvalidData) if web_socket => {
            "it does not ask for a web socket, which this listener is for: browsers come by ws:// or wss://"
        }
        (None, ErrorKind::UnexpectedEof | ErrorKind::NotConnected | ErrorKind::ConnectionReset) => {
            "it hung up during the handshake; some do so when they do not trust the broker's certificate"
        }
        (None, _) => "the handshake failed",
    }
}

fn why_no_tls(error: &rustls::Error) -> &'static str {
    use rustls::Error as Tls;
    match error {
        Tls::InvalidMessage(_) => {
            "it does not speak TLS, and this listener does: its address has to begin with mqtts:// or wss://"
        }
        Tls::AlertReceived(Alert::CertificateExpired) => {
            "it takes the broker's certificate for expired: renew the certificate, or set its clock"
        }
        Tls::AlertReceived(
            Alert::UnknownCA | Alert::BadCertificate | Alert::CertificateUnknown | Alert::UnsupportedCertificate,
        ) => {
            "it does not trust the broker's certificate: it needs the certificate of the CA, and the name or address it \
             connects to has to be in the broker's"
        }
        Tls::NoCertificatesPresented => "it shows no certificate, and has to",
        Tls::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "its certificate has expired, or the clock of this machine is wrong"
        }
        Tls::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
            "its certificate is not valid yet, or the clock of this machine is wrong"
        }
        Tls::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "its certificate is not signed by a CA in `client_ca`"
        }
        Tls::InvalidCertificate(_) => "its certificate is no good",
        Tls::PeerIncompatible(_) | Tls::AlertReceived(Alert::ProtocolVersion | Alert::HandshakeFailure) => {
            "it and the broker have no version or cipher of TLS in common; the broker's are TLS 1.2 and 1.3"
        }
        _ => "the TLS handshake failed",
    }
}

/// Why nobody can be let in at an address.
pub fn cannot_listen(address: SocketAddr, error: &Error) -> anyhow::Error {
    let port = address.port();
    let help = match error.kind() {
        ErrorKind::AddrInUse => {
            format!("another program listens there, perhaps another broker; `ss -ltnp sport = :{port}` tells which")
        }
        ErrorKind::AddrNotAvailable => "this machine has no such address; `ip address` shows those it has".into(),
        ErrorKind::PermissionDenied => {
            format!("port {port} needs the right to use ports below 1024; take another, such as 1883 or 8883")
        }
        _ => "the system says no more".into(),
    };
    anyhow!("the local broker cannot listen on {address}: {error}; {help}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_an_address_of_another_machine_and_a_port_without_the_right_have_remedies_of_their_own() {
        let address = "127.0.0.1:80".parse().unwrap();
        let words = |kind: ErrorKind| cannot_listen(address, &kind.into()).to_string();
        assert!(words(ErrorKind::AddrInUse).contains("ss -ltnp sport = :80"));
        assert!(words(ErrorKind::AddrNotAvailable).contains("ip address"));
        assert!(words(ErrorKind::PermissionDenied).contains("below 1024"));
    }

    #[test]
    fn what_a_client_says_of_the_brokers_certificate_is_told_apart_from_what_is_wrong_with_its_own() {
        let tls = |error: rustls::Error| why(&Error::new(ErrorKind::InvalidData, error), true);
        assert!(tls(rustls::Error::AlertReceived(Alert::UnknownCA)).contains("does not trust the broker"));
        assert!(tls(rustls::Error::NoCertificatesPresented).contains("shows no certificate"));
        assert!(tls(CertificateError::UnknownIssuer.into()).contains("`client_ca`"));
        assert!(why(&ErrorKind::InvalidData.into(), true).contains("web socket"));
        assert!(why(&ErrorKind::UnexpectedEof.into(), false).contains("hung up"));
    }
}
