//! A TCP connection to a broker, or the reason why nobody could be reached.
//!
//! It is made here rather than by the client library to know a broker that was not reached from
//! one that was and did not answer: the first is tried again at once, the second is left in peace.

use std::io;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// How long looking up a name and connecting may take: a lost SYN is sent again after 1 s and 3 s.
const PATIENCE: Duration = Duration::from_secs(5);

/// Nobody was reached. It travels inside an [`io::Error`] of the same kind.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    /// The host name has no address, or nobody could be asked for it.
    #[error("the broker's host name cannot be looked up: {0}")]
    Name(io::Error),
    /// The address does not take connections.
    #[error("{}", words(.0))]
    Address(#[from] io::Error),
}

impl From<Unreachable> for io::Error {
    fn from(unreachable: Unreachable) -> Self {
        let (Unreachable::Name(error) | Unreachable::Address(error)) = &unreachable;
        Self::new(error.kind(), unreachable)
    }
}

/// Connects to `host:port`, trying each of the host's addresses.
///
/// # Errors
///
/// [`Unreachable`], after at most 5 s.
pub async fn dial(address: &str) -> Result<TcpStream, Unreachable> {
    match timeout(PATIENCE, each_address(address)).await {
        Ok(dialled) => dialled,
        Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
    }
}

async fn each_address(address: &str) -> Result<TcpStream, Unreachable> {
    let addresses: Vec<_> = lookup_host(address).await.map_err(Unreachable::Name)?.collect();
    let mut last = None;
    for (index, address) in addresses.iter().enumerate() {
        // A silent address leaves time for those behind it.
        let share = PATIENCE / u32::try_from(addresses.len() - index).unwrap_or(1);
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // A publication does not wait for the acknowledgement of the one before it.
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = Some(error),
            Err(_) => last = Some(io::ErrorKind::TimedOut.into()),
        }
    }
    let nowhere = || Unreachable::Name(io::Error::new(io::ErrorKind::NotFound, "it has no address"));
    Err(last.map_or_else(nowhere, Unreachable::Address))
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "nothing listens at the broker's address and port".into(),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown => {
            "no route to the broker".into()
        }
        io::ErrorKind::TimedOut => "nobody answers at the broker's address".into(),
        _ => format!("no connection to the broker: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn where_nothing_listens_that_is_said() {
        let port = {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap().port()
        };
        let error = dial(&format!("127.0.0.1:{port}")).await.unwrap_err();
        assert_eq!(error.to_string(), "nothing listens at the broker's address and port");
    }

    #[tokio::test]
    async fn a_connection_does_not_hold_small_packets_back() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = dial(&listener.local_addr().unwrap().to_string()).await.unwrap();
        assert!(stream.nodelay().unwrap());
    }
}
