//! For devices that dial in: where they are waited for, and who may.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tracing::debug;

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

/// An address, or all that begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    first: IpAddr,
    /// How many bits count.
    bits: u8,
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

impl Network {
    /// Reads `192.168.1.0/24`, or an address alone.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let first: IpAddr = address.parse().map_err(|_| format!("`{address}` is not an IP address"))?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= most).ok_or(format!("`{bits}` is not 0–{most}"))?,
        };
        Ok(Self { first, bits })
    }

    /// Whether the address is one of it.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                (first.to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                (first.to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(self.bits)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(network: &str, address: &str) -> bool {
        Network::parse(network).unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn a_network_is_all_addresses_that_begin_alike() {
        assert!(contains("192.168.1.0/24", "192.168.1.77"));
        assert!(!contains("192.168.1.0/24", "192.168.2.77"));
        assert!(contains("10.1.2.3", "10.1.2.3") && !contains("10.1.2.3", "10.1.2.4"));
        assert!(contains("0.0.0.0/0", "8.8.8.8") && !contains("0.0.0.0/0", "2001:db8::1"));
        assert!(contains("10.0.0.0/8", "::ffff:10.9.9.9"));
        assert!(contains("2001:db8::/32", "2001:db8:7::1") && !contains("2001:db8::/32", "2001:db9::1"));
    }

    #[test]
    fn what_is_no_network_says_why() {
        assert_eq!(Network::parse("meter.local").unwrap_err(), "`meter.local` is not an IP address");
        assert_eq!(Network::parse("10.0.0.0/33").unwrap_err(), "`33` is not 0–32");
        assert_eq!(Network::parse("10.0.0.0/").unwrap_err(), "`` is not 0–32");
    }
}
