//! Where clients attach: addresses, TLS, web sockets, and a task for each connection.
//!
//! [`hello`] hears who is there and lets them in; [`connection`] serves them to the end. What a client costs while it
//! says nothing is its task and half a kilobyte to read into.

mod certificate;
mod connection;
mod hello;
pub(super) mod large;
mod tls;
mod trouble;
mod web_socket;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::DuplexStream;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::common::{Common, HANDSHAKES};
use super::figures::count;
use super::rights::{Peer, Subject, Visitor};
pub use tls::{ClientCertificates, Fault, Of, TlsFiles};
use web_socket::Pages;
use wire::{Stream, Wire};

/// How long a client has from its first byte on to say who it is, TLS and web socket included; less while many are
/// at it at once.
const HELLO: Duration = Duration::from_secs(10);
const HURRIED_HELLO: Duration = Duration::from_secs(3);
/// How long nobody is let in after the system could not, because it has no files or memory left.
const BREATH: Duration = Duration::from_millis(100);
/// After how long a silence of any kind the system asks whether the other side still exists.
const PROBED_AFTER: Duration = Duration::from_secs(60);

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The address. Port 0: the system chooses one.
    pub address: SocketAddr,
    /// How connections are encrypted, if they are.
    pub tls: Option<TlsFiles>,
    /// Whether MQTT comes over a web socket.
    pub web_socket: bool,
}

/// A listener that has its address.
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    /// What the log calls it.
    name: Arc<str>,
    keys: Option<Arc<tls::Keys>>,
    web_socket: bool,
}

impl Bound {
    /// Takes the address and reads the certificates.
    ///
    /// # Errors
    /// The address is taken, or is not this machine's; files that cannot be used.
    pub async fn bind(listener: &Listener) -> anyhow::Result<Self> {
        let Listener { address, tls, web_socket } = listener;
        let keys = tls.clone().map(tls::Keys::read).transpose()?.map(Arc::new);
        let listener = TcpListener::bind(address).await.map_err(|error| trouble::cannot_listen(*address, &error))?;
        let address = listener.local_addr()?;
        let scheme = match (keys.is_some(), web_socket) {
            (false, false) => "mqtt",
            (true, false) => "mqtts",
            (false, true) => "ws",
            (true, true) => "wss",
        };
        let name = format!("{scheme}://{address}").into();
        Ok(Self { listener, address, name, keys, web_socket: *web_socket })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the log calls it, such as `mqtts://127.0.0.1:8883`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lets clients in until it is told to stop, and then waits for those that are there.
    pub async fn run(self, common: Arc<Common>, stop: CancellationToken) {
        let mut connections = JoinSet::new();
        let watch = async {
            match &self.keys {
                Some(keys) => keys.watch(self.address).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = watch => {}
            () = self.accept(&common, &mut connections) => {}
        }
        drop(self.listener);
        while connections.join_next().await.is_some() {}
    }

    async fn accept(&self, common: &Arc<Common>, connections: &mut JoinSet<()>) {
        loop {
            // Beyond so many handshakes further clients wait in the system's queue.
            let turn = tokio::select! {
                turn = common.handshakes.clone().acquire_owned() => turn,
                Some(_) = connections.join_next() => continue,
            };
            let Ok(turn) = turn else { return };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
            };
            match accepted {
                Ok((stream, address)) => {
                    count(&common.figures.connections);
                    let is_hurried = common.handshakes.available_permits() < HANDSHAKES / 2;
                    let deadline = Instant::now() + if is_hurried { HURRIED_HELLO } else { HELLO };
                    let door =
                        Doorway { listener: self.name.clone(), keys: self.keys.clone(), web_socket: self.web_socket };
                    let common = common.clone();
                    connections.spawn(async move {
                        let peer = Peer { address: Some(address), listener: door.listener.clone(), ..Peer::default() };
                        let pages = if common.door.is_open_to(&peer) { Pages::Own } else { Pages::All };
                        let connection = match door.shake_hands(stream, peer, pages, deadline).await {
                            Ok((stream, peer)) => {
                                Box::pin(hello::welcome(Wire::new(stream), &peer, &common, deadline)).await
                            }
                            Err(why) => {
                                count(&common.figures.violations);
                                common.door.audit.turned_away(Some(address), &door.listener, why);
                                None
                            }
                        };
                        drop(turn);
                        if let Some(connection) = connection {
                            Box::pin(connection.live()).await;
                        }
                    });
                }
                Err(error) => {
                    warn!(listener = %self.name, %error, "no client can be let in");
                    sleep(BREATH).await;
                }
            }
        }
    }
}

/// What a client passes before MQTT begins.
struct Doorway {
    listener: Arc<str>,
    keys: Option<Arc<tls::Keys>>,
    web_socket: bool,
}

impl Doorway {
    /// TLS and web socket, as far as they are asked for.
    ///
    /// # Errors
    /// Why the client has not come through.
    async fn shake_hands(
        &self,
        stream: TcpStream,
        mut peer: Peer,
        pages: Pages,
        deadline: Instant,
    ) -> Result<(Box<dyn Stream>, Peer), &'static str> {
        // Small packets go out at once; and a client that has lost its power goes some time, keep alive or not.
        let _ = stream.set_nodelay(true);
        let _ = sockopt::set_socket_keepalive(&stream, true);
        let _ = sockopt::set_tcp_keepidle(&stream, PROBED_AFTER);
        let shaking = async {
            let mut shaken: Box<dyn Stream> = match &self.keys {
                None => Box::new(stream),
                Some(keys) => {
                    let stream = Box::pin(TlsAcceptor::from(keys.current()).accept(stream)).await?;
                    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
                    peer.certificate = shown.map(|certificate| Subject::of(certificate));
                    Box::new(stream)
                }
            };
            if self.web_socket {
                shaken = Box::pin(web_socket::accept(shaken, pages)).await?;
            }
            Ok::<_, std::io::Error>((shaken, peer))
        };
        match timeout_at(deadline, shaking).await {
            Ok(Ok(shaken)) => Ok(shaken),
            Ok(Err(error)) => {
                debug!(listener = %self.listener, %error, "a client has not come through the handshake");
                Err(trouble::why(&error, self.web_socket))
            }
            Err(_) => Err("it took too long over the handshake"),
        }
    }
}

/// How those attach who are inside the gateway and speak MQTT themselves, without a socket.
#[derive(Clone, Debug)]
pub struct Dialer(mpsc::Sender<Guest>);

/// Somebody from inside the gateway at the door.
#[derive(Debug)]
pub struct Guest {
    stream: DuplexStream,
    visitor: Visitor,
}

/// What is under way between one of them and the broker, each way, in bytes.
const BETWEEN: usize = 64 * 1024;
/// How many may be at the door at once.
const GUESTS: usize = 16;

impl Dialer {
    /// How to attach, and where those who do arrive.
    pub fn new() -> (Self, mpsc::Receiver<Guest>) {
        let (sender, receiver) = mpsc::channel(GUESTS);
        (Self(sender), receiver)
    }

    /// A connection to the broker for that visitor.
    ///
    /// # Errors
    /// The broker has ended.
    pub async fn dial(&self, visitor: Visitor) -> std::io::Result<DuplexStream> {
        let (ours, theirs) = tokio::io::duplex(BETWEEN);
        let guest = Guest { stream: theirs, visitor };
        self.0.send(guest).await.map_err(|_| std::io::ErrorKind::NotConnected)?;
        Ok(ours)
    }
}

/// Lets those in who come from inside the gateway, until it is told to stop, and then waits for those that are there.
pub async fn serve_guests(mut guests: mpsc::Receiver<Guest>, common: Arc<Common>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        let guest = tokio::select! {
            () = stop.cancelled() => break,
            guest = guests.recv() => guest,
            Some(_) = connections.join_next() => continue,
        };
        let Some(Guest { stream, visitor }) = guest else {
            // Nobody can come any more, and this ends with the others.
            stop.cancelled().await;
            break;
        };
        count(&common.figures.connections);
        let common = common.clone();
        connections.spawn(async move {
            let listener = match &visitor {
                Visitor::Part(_) => "inside".into(),
                Visitor::Client { link, .. } => link.clone(),
            };
            let peer = Peer { listener, visitor: Some(visitor), ..Peer::default() };
            let deadline = Instant::now() + HELLO;
            if let Some(connection) = hello::welcome(Wire::new(Box::new(stream)), &peer, &common, deadline).await {
                Box::pin(connection.live()).await;
            }
        });
    }
    // Who is at the door still is not left to wait.
    drop(guests);
    while connections.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests;
