//! Why a connection failed: in the words of someone who has to mend it, and as the kind of failure
//! that decides what is done next.

use std::error::Error;
use std::io;

use rustls::{AlertDescription as Alert, CertificateError as Cert, Error as Tls};

use crate::uplink::dial::Unreachable;

/// A connection that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct ConnectionError {
    /// What a person is told.
    pub words: String,
    /// What decides how the next try is made.
    pub cause: Cause,
}

/// What kind of failure ended a connection, or kept it from coming about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nobody was reached: nothing listens, no route, no such name. Trying again costs nothing.
    Unreachable,
    /// The broker answered, and does not let us in.
    Refused,
    /// TLS could not be agreed upon.
    Tls,
    /// The broker took the connection and then said nothing.
    Timeout,
    /// The broker ended the connection; an MQTT 5 broker may have said why, by its reason code.
    Closed(Option<u8>),
    /// Anything else.
    Other,
}

/// The reason code of a broker that lets another client have our session.
pub const TAKEN_OVER: u8 = 0x8E;

impl ConnectionError {
    /// A failure of this kind, in these words.
    pub fn new(cause: Cause, words: impl Into<String>) -> Self {
        Self { words: words.into(), cause }
    }

    /// The broker has said nothing for too long.
    pub fn timeout() -> Self {
        Self::new(Cause::Timeout, "the broker did not answer in time")
    }

    /// Whether this end says nothing about what was under way: the broker shuts down, is busy or
    /// moved, or another client has our session.
    pub fn is_blameless(&self) -> bool {
        matches!(self.cause, Cause::Closed(Some(0x89 | 0x8B | 0x8D | TAKEN_OVER | 0x98 | 0x9C | 0x9D | 0x9F)))
    }

    /// The connection is at its end.
    pub fn closed() -> Self {
        Self::new(Cause::Closed(None), "the broker closed the connection")
    }
}

/// An error of the client library, which wraps what is worth telling in several layers.
pub(super) fn explain(error: &(dyn Error + 'static)) -> ConnectionError {
    let mut link = Some(error);
    while let Some(error) = link {
        if let Some(unreachable) = inside::<Unreachable>(error) {
            return ConnectionError::new(Cause::Unreachable, unreachable.to_string());
        }
        if let Some(tls) = inside::<Tls>(error) {
            return ConnectionError::new(Cause::Tls, tls_words(tls));
        }
        if let Some(web) = inside::<tungstenite::Error>(error)
            && let Some(explained) = web_socket(web)
        {
            return explained;
        }
        if let Some(io) = error.downcast_ref::<io::Error>()
            && let Some(explained) = io_error(io)
        {
            return explained;
        }
        link = error.source();
    }
    ConnectionError::new(Cause::Other, error.to_string())
}

/// An error arrives as itself or inside an I/O error, whose `source` skips it.
fn inside<'e, E: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e E> {
    error.downcast_ref().or_else(|| error.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref())
}

fn tls_words(error: &Tls) -> String {
    match error {
        Tls::InvalidCertificate(Cert::UnknownIssuer) => {
            "the broker's certificate is not signed by a CA known here: check `tls: ca`".into()
        }
        Tls::InvalidCertificate(Cert::NotValidForName | Cert::NotValidForNameContext { .. }) => {
            "the broker's certificate is for another host name than the one in `url`".into()
        }
        Tls::InvalidCertificate(Cert::Expired | Cert::ExpiredContext { .. }) => {
            "the broker's certificate has expired, or this machine's clock is wrong".into()
        }
        Tls::InvalidCertificate(Cert::NotValidYet | Cert::NotValidYetContext { .. }) => {
            "the broker's certificate is not valid yet: this machine's clock is probably wrong".into()
        }
        Tls::AlertReceived(Alert::CertificateRequired) => {
            "the broker asks for a client certificate: set `tls: cert` and `tls: key`".into()
        }
        Tls::AlertReceived(Alert::UnknownCA | Alert::BadCertificate | Alert::CertificateUnknown) => {
            "the broker does not accept this gateway's client certificate (`tls: cert`)".into()
        }
        Tls::AlertReceived(Alert::CertificateExpired) => {
            "the broker says that this gateway's client certificate (`tls: cert`) has expired".into()
        }
        Tls::AlertReceived(Alert::ProtocolVersion) | Tls::PeerIncompatible(_) => {
            format!("the broker and this gateway have no version of TLS in common ({error}): check `tls: min_version`")
        }
        Tls::AlertReceived(Alert::NoApplicationProtocol) | Tls::NoApplicationProtocol => {
            "the broker speaks none of the protocols in `tls: alpn`".into()
        }
        Tls::InvalidMessage(_) => "the broker does not speak TLS on this port".into(),
        other => format!("TLS: {other}"),
    }
}

/// What a web socket has to say beyond I/O errors, which explain themselves.
fn web_socket(error: &tungstenite::Error) -> Option<ConnectionError> {
    use tungstenite::Error as Web;
    use tungstenite::error::ProtocolError;
    let refused = |words: String| Some(ConnectionError::new(Cause::Refused, words));
    match error {
        Web::Http(response) => {
            let status = response.status();
            let advice = match status.as_u16() {
                404 => ": check the path in `url`",
                401 | 403 => ": it does not let this gateway in",
                400 | 426 => ": it may not be a web socket",
                502..=504 => ": the broker behind it is away",
                _ => "",
            };
            refused(format!("the web server at the broker's address answers HTTP {status}{advice}"))
        }
        Web::Protocol(ProtocolError::ResetWithoutClosingHandshake) | Web::ConnectionClosed | Web::AlreadyClosed => {
            Some(ConnectionError::closed())
        }
        Web::Protocol(ProtocolError::HttparseError(_) | ProtocolError::SecWebSocketSubProtocolError(_))
        | Web::HttpFormat(_) => Some(no_mqtt_over_web_socket()),
        _ => None,
    }
}

/// A web socket that did not come about, although there was a connection for it.
pub(super) fn no_web_socket(error: &tungstenite::Error) -> ConnectionError {
    match explain(error) {
        ConnectionError { cause: Cause::Closed(_) | Cause::Other, .. } => {
            let words = "what listens at the broker's address ended the connection: it may not be a web socket";
            ConnectionError::new(Cause::Refused, words)
        }
        explained => explained,
    }
}

/// What answers is a web socket at best, and no broker.
pub(super) fn no_mqtt_over_web_socket() -> ConnectionError {
    let words =
        "what listens at the broker's address does not speak MQTT over web sockets: check port and path in `url`";
    ConnectionError::new(Cause::Refused, words)
}

fn io_error(error: &io::Error) -> Option<ConnectionError> {
    match error.kind() {
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            Some(ConnectionError::new(Cause::Unreachable, "no route to the broker"))
        }
        io::ErrorKind::TimedOut => Some(ConnectionError::timeout()),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::UnexpectedEof => Some(ConnectionError::closed()),
        _ => None,
    }
}

/// Why a broker refused a connection, by the name the library gives the code.
pub(super) fn refused(code: &str) -> ConnectionError {
    let words = match code {
        "BadUserNamePassword" => "the broker refused user name or password".into(),
        "NotAuthorized" => "the broker does not let this gateway in: check user name, password and its rules".into(),
        "RefusedProtocolVersion" | "UnsupportedProtocolVersion" => {
            "the broker does not speak this version of MQTT: try `protocol: 3.1.1`".into()
        }
        "RetainNotSupported" => "the broker keeps no retained messages: trying without".into(),
        "QoSNotSupported" => "the broker knows no acknowledgements (QoS 1): trying without".into(),
        "BadClientId" | "ClientIdentifierNotValid" => "the broker refused the client id".into(),
        "ServiceUnavailable" | "ServerUnavailable" | "ServerBusy" => "the broker is busy or not ready".into(),
        "Banned" => "the broker has banned this gateway".into(),
        "QuotaExceeded" => "a quota at the broker is used up".into(),
        "ConnectionRateExceeded" => "the broker finds this gateway connecting too often".into(),
        "UseAnotherServer" | "ServerMoved" => "the broker asks to use another server".into(),
        other => format!("the broker refused the connection: {other}"),
    };
    ConnectionError::new(Cause::Refused, words)
}

/// Why an MQTT 5 broker ended a connection.
pub(super) fn disconnected(code: u8, name: &str, client_id: &str, said: Option<&str>) -> ConnectionError {
    let mut words = match code {
        0x87 => "the broker does not let this gateway in any more".into(),
        0x89 => "the broker is busy".into(),
        0x8B => "the broker is shutting down".into(),
        0x8D => "the broker has not heard from this gateway for too long".into(),
        TAKEN_OVER => format!("another client uses the client id `{client_id}`"),
        0x93 => "the broker takes fewer messages at once than it said".into(),
        0x95 => "the broker does not take a packet this large".into(),
        0x96 => "the broker finds this gateway's messages too many at a time".into(),
        0x97 => "a quota at the broker is used up".into(),
        0x98 => "somebody ended the connection at the broker".into(),
        0x9C | 0x9D => "the broker asks to use another server".into(),
        0x9F => "the broker finds this gateway connecting too often".into(),
        _ => format!("the broker ended the connection: {name}"),
    };
    if let Some(said) = said {
        words += &format!(" ({said})");
    }
    ConnectionError::new(Cause::Closed(Some(code)), words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_broker_says_on_leaving_is_told_in_words_and_by_its_code() {
        let check = |code, expected: &str| {
            let error = disconnected(code, "SomeName", "gw1", None);
            assert_eq!((error.words.as_str(), error.cause), (expected, Cause::Closed(Some(code))));
        };
        check(0x8E, "another client uses the client id `gw1`");
        check(0x95, "the broker does not take a packet this large");
        check(0x97, "a quota at the broker is used up");
        check(0x82, "the broker ended the connection: SomeName");
        assert!(disconnected(0x97, "", "gw1", Some("10 MB a day")).words.ends_with("(10 MB a day)"));
    }

    #[test]
    fn a_tls_error_is_found_inside_an_io_error() {
        let wrapped = io::Error::new(io::ErrorKind::InvalidData, Tls::InvalidCertificate(Cert::Expired));
        let explained = explain(&wrapped);
        assert_eq!(explained.cause, Cause::Tls);
        assert!(explained.words.contains("has expired"), "{explained}");
    }

    #[test]
    fn a_broken_connection_is_no_unreachable_broker() {
        let check = |kind: io::ErrorKind, cause| assert_eq!(explain(&io::Error::from(kind)).cause, cause, "{kind:?}");
        check(io::ErrorKind::ConnectionReset, Cause::Closed(None));
        check(io::ErrorKind::UnexpectedEof, Cause::Closed(None));
        check(io::ErrorKind::TimedOut, Cause::Timeout);
        check(io::ErrorKind::PermissionDenied, Cause::Other);
        let refused = Unreachable::from(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert_eq!(explain(&io::Error::from(refused)).cause, Cause::Unreachable);
    }

    #[test]
    fn a_web_server_that_refuses_is_quoted() {
        let answer = |status: u16| {
            let response = tungstenite::http::Response::builder().status(status).body(None).unwrap();
            explain(&tungstenite::Error::Http(Box::new(response)))
        };
        assert!(answer(404).words.contains("HTTP 404 Not Found: check the path in `url`"), "{}", answer(404));
        assert_eq!(answer(503).cause, Cause::Refused);
    }
}
