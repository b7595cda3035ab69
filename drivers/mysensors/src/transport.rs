//! The way to the gateway: a serial port, or a connection to an Ethernet gateway.
//!
//! It opens, and says in words what went wrong. Trying again is the supervisor's, and the path is
//! opened afresh each time: an adapter that comes back may be another device behind the same name.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_serial::{ErrorKind, SerialPortBuilderExt};
use wharf_contract::DriverError;
use wharf_contract::settings::HostPort;

use crate::config::{LinkSettings, USUAL_BAUD};

/// How long an Ethernet gateway may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What `read` and `write` say when the adapter was pulled out.
const EIO: i32 = 5;

/// An open way to the gateway.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Where the gateway is.
#[derive(Clone, Debug)]
pub enum Transport {
    /// On a serial port.
    Serial {
        /// The full path of the port.
        path: String,
        /// Its speed, in baud.
        baud: u32,
    },
    /// On Ethernet.
    Tcp(HostPort<5003>),
}

/// Why there is no way to the gateway, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The adapter is not there; it may be plugged in later.
    #[error("no such port {0}")]
    NoSuchPort(String),
    /// The port belongs to someone else.
    #[error("no permission to open {0}: add the user that runs the gateway to the group dialout")]
    NoPermission(String),
    /// The path leads to a file or a folder.
    #[error("{0} is not a serial port")]
    NotAPort(String),
    /// Another program holds the port.
    #[error("{0} is in use by another program")]
    InUse(String),
    /// The port is there and cannot be opened.
    #[error("{0} cannot be opened: {1}")]
    CannotOpen(String, String),
    /// The Ethernet gateway cannot be reached.
    #[error("{0} cannot be reached: {1}")]
    CannotConnect(String, io::Error),
    /// The adapter was pulled out.
    #[error("{0} was unplugged")]
    Unplugged(String),
    /// The Ethernet gateway ended the connection.
    #[error("{0} closed the connection")]
    Closed(String),
    /// The open way failed.
    #[error("{0} failed: {1}")]
    Failed(String, io::Error),
    /// The gateway takes no more data.
    #[error("{0} takes no data")]
    Stuck(String),
    /// The gateway says nothing, not even when asked.
    #[error("nothing was heard from {0}, not even an answer to a version request")]
    Silent(String),
}

impl Transport {
    /// The way that the settings describe. Their decoder has seen to it that there is one.
    pub fn new(settings: &LinkSettings) -> Self {
        match (&settings.tcp, &settings.serial) {
            (Some(address), _) => Self::Tcp(address.clone()),
            (None, serial) => Self::Serial {
                // An empty path cannot come out of the decoder, and would be no such port.
                path: serial.as_ref().map_or_else(String::new, |path| path.as_str().to_owned()),
                baud: settings.baud.map_or(USUAL_BAUD, |baud| baud.get()),
            },
        }
    }

    /// Opens it.
    ///
    /// # Errors
    /// `Fatal` when someone has to change something, else `Lost`.
    pub async fn open(&self) -> Result<Box<dyn Stream>, DriverError> {
        match self {
            Self::Serial { path, baud } => {
                // Opening takes milliseconds, so it needs no thread of its own. 8N1 without flow
                // control is the default of the builder, and so is holding the port exclusively.
                let port = tokio_serial::new(path, *baud).open_native_async();
                Ok(Box::new(port.map_err(|error| cannot_open(path, &error))?))
            }
            Self::Tcp(address) => {
                let connecting = timeout(CONNECT_TIMEOUT, TcpStream::connect((address.host(), address.port())));
                let connected = connecting.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                let lost = |error| DriverError::lost(TransportError::CannotConnect(address.to_string(), error));
                let stream = connected.map_err(lost)?;
                stream.set_nodelay(true).map_err(lost)?;
                Ok(Box::new(stream))
            }
        }
    }

    /// Whether silence, even after a question, means that the other end is gone. A serial port
    /// says so itself.
    pub fn silence_is_loss(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }

    /// The loss when the stream has come to its end.
    pub fn ended(&self) -> DriverError {
        DriverError::lost(match self {
            Self::Serial { path, .. } => TransportError::Unplugged(path.clone()),
            Self::Tcp(address) => TransportError::Closed(address.to_string()),
        })
    }

    /// The loss when reading or writing failed.
    pub fn failed(&self, error: io::Error) -> DriverError {
        if matches!(self, Self::Serial { .. }) && error.raw_os_error() == Some(EIO) {
            return self.ended();
        }
        DriverError::lost(TransportError::Failed(self.to_string(), error))
    }

    /// The loss when the gateway takes no more data.
    pub fn stuck(&self) -> DriverError {
        DriverError::lost(TransportError::Stuck(self.to_string()))
    }

    /// The loss when the gateway does not answer.
    pub fn silent(&self) -> DriverError {
        DriverError::lost(TransportError::Silent(self.to_string()))
    }
}

impl std::fmt::Display for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Serial { path, .. } => f.write_str(path),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

fn cannot_open(path: &str, error: &tokio_serial::Error) -> DriverError {
    let path = path.to_owned();
    match error.kind() {
        ErrorKind::Io(io::ErrorKind::NotFound) => DriverError::lost(TransportError::NoSuchPort(path)),
        ErrorKind::Io(io::ErrorKind::PermissionDenied) => DriverError::fatal(TransportError::NoPermission(path)),
        ErrorKind::NoDevice => DriverError::lost(TransportError::InUse(path)),
        _ if is_something_else(&path) => DriverError::fatal(TransportError::NotAPort(path)),
        _ => DriverError::lost(TransportError::CannotOpen(path, error.to_string())),
    }
}

fn is_something_else(path: &str) -> bool {
    std::fs::metadata(path).is_ok_and(|found| !found.file_type().is_char_device())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serial(path: &str) -> Transport {
        Transport::Serial { path: path.into(), baud: USUAL_BAUD }
    }

    #[tokio::test]
    async fn a_port_that_is_not_there_may_be_plugged_in_later() {
        let error = serial("/dev/no-such-port").open().await.err().unwrap();
        assert!(matches!(error, DriverError::Lost(_)), "{error:?}");
        assert_eq!(error.to_string(), "no such port /dev/no-such-port");
    }

    #[tokio::test]
    async fn a_file_will_never_be_a_port() {
        let error = serial("/etc/passwd").open().await.err().unwrap();
        assert!(matches!(error, DriverError::Fatal(_)), "{error:?}");
        assert_eq!(error.to_string(), "/etc/passwd is not a serial port");
    }

    #[test]
    fn a_missing_permission_is_fatal_and_says_what_to_do() {
        let denied = tokio_serial::Error::new(ErrorKind::Io(io::ErrorKind::PermissionDenied), "denied");
        let error = cannot_open("/dev/ttyUSB0", &denied);
        assert!(matches!(error, DriverError::Fatal(_)), "{error:?}");
        assert!(error.to_string().contains("dialout"), "{error}");
    }

    #[test]
    fn an_input_output_error_on_a_port_means_unplugged() {
        let error = serial("/dev/ttyUSB0").failed(io::Error::from_raw_os_error(EIO));
        assert_eq!(error.to_string(), "/dev/ttyUSB0 was unplugged");
    }
}
