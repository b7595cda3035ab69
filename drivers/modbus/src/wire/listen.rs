//! For devices that dial in: where they are waited for, and who may.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tracing::debug;
use wharf_contract::settings::Network;

/// How long a device is waited for before someone is told that there is none.
const WAIT: Duration = Duration::from_secs(10);

/// So many waiting connections are looked at in one go.
const MOST_AT_ONCE: usize = 64;

/// The place where devices dial in. It stays open from one session to the next, so a device finds
/// it whenever it tries.
pub(crate) struct Door {
    address: SocketAddr,
    /// Empty: everybody who reaches the address.
    allowed: Vec<Network>,
    listener: Mutex<Option<TcpListener>>,
}

impl Door {
    /// Where it is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Nothing is opened yet.
    pub(crate) fn new(address: SocketAddr, allowed: Vec<Network>) -> Self {
        Self { address, allowed, listener: Mutex::new(None) }
    }

    /// Waits for a device to dial in.
    ///
    /// # Errors
    /// The address cannot be listened on, or no device came.
    pub(super) async fn wait(&self) -> io::Result<TcpStream> {
        let failed = |error: io::Error| io::Error::new(error.kind(), format!("listening on {}: {error}", self.address));
        let mut slot = self.listener.lock().await;
        let listener = match slot.take() {
            Some(listener) => slot.insert(listener),
            None => slot.insert(TcpListener::bind(self.address).await.map_err(failed)?),
        };
        let mut turned_away = None;
        let welcome = async {
            loop {
                let (stream, from) = listener.accept().await?;
                if self.welcomes(from) {
                    return Ok(stream);
                }
                turned_away = Some(from.ip());
            }
        };
        let outcome = timeout(WAIT, welcome).await;
        let first = match (outcome, turned_away) {
            (Ok(outcome), _) => outcome.map_err(failed)?,
            (Err(_), None) => return Err(self.nobody("")),
            (Err(_), Some(from)) => return Err(self.nobody(&format!("; {from} tried, and is not allowed to"))),
        };
        Ok(self.newest(listener).await.unwrap_or(first))
    }

    /// The newest connection of a device that has dialled in meanwhile: it takes the place of the one
    /// that is there, which the device has given up.
    pub(super) async fn replacement(&self) -> Option<TcpStream> {
        let slot = self.listener.lock().await;
        self.newest(slot.as_ref()?).await
    }

    async fn newest(&self, listener: &TcpListener) -> Option<TcpStream> {
        let mut newest = None;
        for _ in 0..MOST_AT_ONCE {
            let waiting = poll_fn(|cx| match listener.poll_accept(cx) {
                Poll::Ready(Ok(accepted)) => Poll::Ready(Some(accepted)),
                Poll::Ready(Err(_)) | Poll::Pending => Poll::Ready(None),
            });
            let Some((stream, from)) = waiting.await else { break };
            if self.welcomes(from) {
                newest = Some(stream);
            }
        }
        newest
    }

    fn welcomes(&self, from: SocketAddr) -> bool {
        let welcome = self.allowed.is_empty() || self.allowed.iter().any(|network| network.contains(from.ip()));
        if !welcome {
            debug!(%from, address = %self.address, "turned away: not allowed to dial in");
        }
        welcome
    }

    fn nobody(&self, why: &str) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, format!("no device has dialled in on {}{why}", self.address))
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Door({})", self.address)
    }
}
