//! How a way to the devices is opened, and which of two addresses is used.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::info;

use super::serial::Serial;
use super::stream::Stream;
use super::tls::TlsFiles;
use crate::link::{Place, Way};

/// How long a connection to one address may take to come about, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection on which nothing happens is tested after this long, and then as often as this.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// So many tests in vain end it.
const KEEP_ALIVE_TRIES: u32 = 3;

/// What was sent and is not confirmed after this long, in milliseconds, ends it as well. The kernel's
/// own patience is a quarter of an hour.
const UNCONFIRMED_MS: u32 = 20_000;

/// Something that was opened.
pub(crate) enum Opened {
    /// A stream for Modbus TCP.
    Tcp(Box<dyn Stream>),
    /// The same, of a device that dialled in.
    DialledIn(Box<dyn Stream>),
    /// A stream for RTU frames.
    RtuOverTcp(Box<dyn Stream>),
    /// A socket.
    Udp(UdpSocket),
    /// A serial line.
    Serial(Serial),
}

/// Opens the way, again and again.
pub(crate) struct Dialer {
    way: Way,
    /// Which of several addresses is in use.
    chosen: usize,
    /// When those before it were last tried.
    tried: Instant,
    /// The look whether one of those is back. One at a time; it ends with the dialer.
    looking: JoinSet<io::Result<(usize, Opened)>>,
}

impl Dialer {
    /// Nothing is opened yet.
    pub(crate) fn new(way: Way) -> Self {
        Self { way, chosen: 0, tried: Instant::now(), looking: JoinSet::new() }
    }

    /// Opens the way. With several addresses the first is preferred; when it did not answer, the one
    /// that did is, until it is time to look again.
    ///
    /// # Errors
    /// Why none of them could be opened.
    pub(crate) async fn open(&mut self) -> io::Result<Opened> {
        self.looking = JoinSet::new();
        match &self.way {
            Way::Tcp { places, tls, return_after } => {
                if self.chosen > 0 && self.tried.elapsed() >= *return_after {
                    self.chosen = 0;
                }
                let order = (self.chosen..places.len()).chain(0..self.chosen.min(places.len()));
                let mut failures: Option<io::Error> = None;
                for index in order {
                    let Some(place) = places.get(index) else { continue };
                    match open_tcp(place, tls.as_ref()).await {
                        Ok(stream) => {
                            if self.chosen != index {
                                info!(address = %place, "another address of the device is used");
                                self.tried = Instant::now();
                            }
                            self.chosen = index;
                            return Ok(Opened::Tcp(stream));
                        }
                        Err(error) => {
                            failures = Some(match failures {
                                None => error,
                                Some(before) => io::Error::new(before.kind(), format!("{before}; {error}")),
                            });
                        }
                    }
                }
                Err(failures.unwrap_or_else(|| io::Error::other("there is no address")))
            }
            Way::RtuOverTcp(place) => Ok(Opened::RtuOverTcp(open_tcp(place, None).await?)),
            Way::Udp(place) => Ok(Opened::Udp(open_udp(place).await?)),
            // What kind of error it is goes with it: some ports will never open.
            Way::Serial(setup) => Serial::open(setup.clone()).await.map(Opened::Serial).map_err(io::Error::other),
            Way::Listen(door) => {
                let stream = door.wait().await?;
                prepare(&stream)?;
                Ok(Opened::DialledIn(Box::new(stream)))
            }
        }
    }

    /// The address in use took a connection and answered nothing, so the next one has its turn.
    pub(crate) fn pass_over(&mut self) {
        if let Way::Tcp { places, .. } = &self.way {
            self.chosen = (self.chosen + 1) % places.len().max(1);
            self.tried = Instant::now();
        }
    }

    /// A better way than the one in use, if there is one by now: a device that has dialled in anew, or
    /// an address before the one in use that is back. Never waits.
    pub(crate) async fn better(&mut self) -> Option<Opened> {
        match &self.way {
            Way::Listen(door) => {
                let stream = door.replacement().await?;
                prepare(&stream).ok()?;
                Some(Opened::DialledIn(Box::new(stream)))
            }
            Way::Tcp { places, tls, return_after } if self.chosen > 0 => {
                match self.looking.try_join_next() {
                    Some(Ok(Ok((index, opened)))) => {
                        info!(address = %places.get(index)?, "an address that is preferred is back");
                        self.chosen = index;
                        return Some(opened);
                    }
                    Some(_) => self.tried = Instant::now(),
                    None if self.looking.is_empty() && self.tried.elapsed() >= *return_after => {
                        let before: Vec<_> = places.iter().take(self.chosen).cloned().collect();
                        let tls = tls.clone();
                        self.looking.spawn(async move {
                            let mut last = io::Error::other("there is no address");
                            for (index, place) in before.iter().enumerate() {
                                match open_tcp(place, tls.as_ref()).await {
                                    Ok(stream) => return Ok((index, Opened::Tcp(stream))),
                                    Err(error) => last = error,
                                }
                            }
                            Err(last)
                        });
                    }
                    None => {}
                }
                None
            }
            _ => None,
        }
    }
}

/// Connects to one address, in five seconds or not at all.
async fn open_tcp(place: &Place, tls: Option<&TlsFiles>) -> io::Result<Box<dyn Stream>> {
    let connecting = async {
        let stream = TcpStream::connect((place.host.as_str(), place.port)).await?;
        prepare(&stream)?;
        let secure: Box<dyn Stream> = match tls {
            None => Box::new(stream),
            Some(tls) => Box::new(tls.secure(&place.host, stream).await?),
        };
        Ok(secure)
    };
    let connected = timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    connected.map_err(|error: io::Error| io::Error::new(error.kind(), format!("no connection to {place}: {error}")))
}

/// A small request goes out at once, and a connection that the other side has left without a word is
/// noticed even while nothing is asked.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEP_ALIVE)?;
    sockopt::set_tcp_keepintvl(stream, KEEP_ALIVE)?;
    sockopt::set_tcp_keepcnt(stream, KEEP_ALIVE_TRIES)?;
    sockopt::set_tcp_user_timeout(stream, UNCONFIRMED_MS)?;
    Ok(())
}

async fn open_udp(place: &Place) -> io::Result<UdpSocket> {
    let opening = async {
        let mut last = io::Error::other("the name has no address");
        for address in tokio::net::lookup_host((place.host.as_str(), place.port)).await? {
            let any: SocketAddr = match address {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            let socket = UdpSocket::bind(any).await?;
            match socket.connect(address).await {
                Ok(()) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(last)
    };
    let opened = timeout(CONNECT_TIMEOUT, opening).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    opened.map_err(|error: io::Error| io::Error::new(error.kind(), format!("no way to {place} by UDP: {error}")))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_connection_that_the_other_side_leaves_without_a_word_is_given_up_within_a_minute() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        prepare(&stream).unwrap();
        // How the kernel goes about it cannot be seen without a network to pull the plug of; what it was
        // told can.
        assert!(sockopt::socket_keepalive(&stream).unwrap());
        let idle = sockopt::tcp_keepidle(&stream).unwrap();
        let tries = sockopt::tcp_keepintvl(&stream).unwrap() * sockopt::tcp_keepcnt(&stream).unwrap();
        assert!(idle + tries <= Duration::from_secs(60), "{idle:?} + {tries:?}");
        assert!(sockopt::tcp_user_timeout(&stream).unwrap() <= 60_000);
        assert!(stream.nodelay().unwrap());
    }
}
