//! The way to a device: a serial port, or a connection to something on the network.
//!
//! It opens, and says in words what went wrong. Trying again is the supervisor's, and the path is
//! opened afresh each time: an adapter that comes back may be another device behind the same name.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_serial::ErrorKind;
use wharf_contract::DriverError;
use wharf_contract::settings::HostPort;

use crate::serial::SerialPort;

/// How long the other side may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection rests before it is looked whether the other side is still there, and how long
/// until it is looked again.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How often it is looked in vain before the connection is given up.
const KEEP_ALIVE_TRIES: u32 = 3;

/// What `read` and `write` say when the adapter was pulled out.
const EIO: i32 = 5;

/// An open way to a device.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Where the device is.
#[derive(Clone, Debug)]
pub enum Transport {
    /// On a serial port.
    Serial(SerialPort),
    /// On the network.
    Tcp {
        /// Its name or address.
        host: String,
        /// Its TCP port.
        port: u16,
        /// Both, as they are written.
        place: String,
    },
}

/// Why there is no way to the device, or no longer.
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
    /// There is no connection.
    #[error("{0} cannot be reached: {1}")]
    CannotConnect(String, io::Error),
    /// The adapter was pulled out.
    #[error("{0} was unplugged")]
    Unplugged(String),
    /// The other side ended the connection.
    #[error("{0} closed the connection")]
    Closed(String),
    /// The open way failed.
    #[error("{0} failed: {1}")]
    Failed(String, io::Error),
    /// The other side takes no more data.
    #[error("{0} takes no data")]
    Stuck(String),
    /// Nothing comes, not even an answer.
    #[error("nothing was heard from {0}, not even an answer to a version request")]
    Silent(String),
}

impl Transport {
    /// A connection to that host and port.
    pub fn tcp<const PORT: u16>(address: &HostPort<PORT>) -> Self {
        Self::Tcp { host: address.host().to_owned(), port: address.port(), place: address.to_string() }
    }

    /// Opens it.
    ///
    /// # Errors
    /// `Fatal` when someone has to change something, else `Lost`.
    pub async fn open(&self) -> Result<Box<dyn Stream>, DriverError> {
        match self {
            Self::Serial(serial) => {
                let port = serial.open().map_err(|error| cannot_open(&serial.path, &error))?;
                Ok(Box::new(port))
            }
            Self::Tcp { host, port, place } => {
                let connecting = timeout(CONNECT_TIMEOUT, TcpStream::connect((host.as_str(), *port)));
                let connected = connecting.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                let lost = |error| DriverError::lost(TransportError::CannotConnect(place.clone(), error));
                let stream = connected.map_err(lost)?;
                prepare(&stream).map_err(lost)?;
                Ok(Box::new(stream))
            }
        }
    }

    /// Whether silence, even after a question, means that the other end is gone. A serial port
    /// says so itself.
    pub fn silence_is_loss(&self) -> bool {
        matches!(self, Self::Tcp { .. })
    }

    /// The loss when the stream has come to its end.
    pub fn ended(&self) -> DriverError {
        DriverError::lost(match self {
            Self::Serial(serial) => TransportError::Unplugged(serial.path.clone()),
            Self::Tcp { place, .. } => TransportError::Closed(place.clone()),
        })
    }

    /// The loss when reading or writing failed.
    pub fn failed(&self, error: io::Error) -> DriverError {
        if matches!(self, Self::Serial(_)) && error.raw_os_error() == Some(EIO) {
            return self.ended();
        }
        DriverError::lost(TransportError::Failed(self.to_string(), error))
    }

    /// The loss when the other side takes no more data.
    pub fn stuck(&self) -> DriverError {
        DriverError::lost(TransportError::Stuck(self.to_string()))
    }

    /// The loss when nothing comes, not even an answer.
    pub fn silent(&self) -> DriverError {
        DriverError::lost(TransportError::Silent(self.to_string()))
    }
}

impl std::fmt::Display for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Serial(serial) => f.write_str(&serial.path),
            Self::Tcp { place, .. } => f.write_str(place),
        }
    }
}

/// A short line goes out at once, and a connection that the other side has left without a word is
/// noticed even while nothing is said.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEP_ALIVE)?;
    sockopt::set_tcp_keepintvl(stream, KEEP_ALIVE)?;
    sockopt::set_tcp_keepcnt(stream, KEEP_ALIVE_TRIES)?;
    Ok(())
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
        Transport::Serial(SerialPort::new(path, 9600))
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
