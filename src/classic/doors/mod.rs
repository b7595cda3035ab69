//! Where MySensors controllers attach that do not speak MQTT: a TCP port, as an Ethernet gateway has, and
//! a pseudo terminal, as a serial gateway would be.
//!
//! Each controller is a task of its own and sees every message; what it sends is its own affair and that of
//! the [downlink](crate::downlink). The protocol knows no passwords, so a port that can be reached from
//! outside asks who is there: the site file lists the addresses that are let in.

mod conversation;
mod pty;
mod reception;
mod tally;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use wharf_contract::settings::Network;

use super::Way;
use super::feed::Feed;
use crate::config::controllers::Controllers;
use conversation::{Conversation, End};
use pty::Port;
use reception::{MOST, Reception};
pub use tally::Tally;

/// How many bytes may wait in the system for one controller, beside what waits in the feed.
const WAITING: u32 = 64 << 10;
/// How often a controller that says nothing is asked for a sign of life, by the system, and how many may be
/// missing: one that has vanished must not count as being there for hours.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
const MISSING: u32 = 3;
/// How long one may leave what it was sent without a confirmation, in ms.
const UNCONFIRMED_MS: u32 = 60_000;
/// How long to wait after an accept that failed, or when a pseudo terminal cannot be had.
const REST: Duration = Duration::from_secs(1);

/// The doors, open.
#[derive(Debug)]
pub struct Doors {
    listeners: Vec<TcpListener>,
    allow: Arc<[Network]>,
    pty: Option<(Port, PathBuf)>,
    tally: Arc<Tally>,
    reception: Arc<Reception>,
    feed: Feed,
    way: Way,
}

impl Doors {
    /// Opens the doors that a site has.
    ///
    /// # Errors
    ///
    /// An address that is taken, or a path that is.
    pub async fn open(settings: &Controllers, feed: Feed, way: Way) -> anyhow::Result<Self> {
        let mut listeners = Vec::new();
        for address in settings.listen.iter().map(|address| address.0) {
            let listener = listen(address).with_context(|| format!("controllers cannot attach at {address}"))?;
            info!(%address, "MySensors controllers can attach");
            listeners.push(listener);
        }
        let pty = match &settings.pty {
            None => None,
            Some(path) => {
                let path = path.as_path().to_owned();
                let port = Port::make(&path).with_context(|| format!("making the serial port {}", path.display()))?;
                info!(path = %path.display(), "a MySensors controller can attach");
                Some((port, path))
            }
        };
        let tally = Tally::new();
        let (allow, reception) = (settings.allow.iter().copied().collect(), Reception::new(tally.clone()));
        Ok(Self { listeners, allow, pty, tally, reception, feed, way })
    }

    /// What is counted at them.
    pub fn tally(&self) -> Arc<Tally> {
        self.tally.clone()
    }

    /// Lets controllers in until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        for listener in self.listeners {
            let hall = Hall {
                allow: self.allow.clone(),
                tally: self.tally.clone(),
                reception: self.reception.clone(),
                feed: self.feed.clone(),
                way: self.way.clone(),
            };
            tasks.spawn(hall.serve(listener, stop.clone()));
        }
        if let Some((port, path)) = self.pty {
            tasks.spawn(serve_pty(port, path, self.reception, (self.tally, self.feed, self.way), stop));
        }
        while tasks.join_next().await.is_some() {}
    }
}

/// A port that is listened on.
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    // Those that come in have the same.
    socket.set_send_buffer_size(WAITING)?;
    socket.bind(address)?;
    socket.listen(u32::try_from(MOST).unwrap_or(u32::MAX))
}

/// One TCP port.
struct Hall {
    allow: Arc<[Network]>,
    tally: Arc<Tally>,
    reception: Arc<Reception>,
    feed: Feed,
    way: Way,
}

impl Hall {
    async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let mut controllers = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => match self.place(peer) {
                        Ok(place) => { controllers.spawn(self.attend(stream, peer, place, stop.clone())); }
                        Err(why) => self.reception.send_away(peer, why),
                    },
                    Err(error) => {
                        warn!(%error, "a controller could not be let in");
                        tokio::time::sleep(REST).await;
                    }
                },
                Some(_) = controllers.join_next() => {}
            }
        }
        while controllers.join_next().await.is_some() {}
    }

    fn place(&self, peer: SocketAddr) -> Result<OwnedSemaphorePermit, &'static str> {
        let ip = peer.ip().to_canonical();
        if !ip.is_loopback() && !self.allow.iter().any(|network| network.contains(ip)) {
            return Err("its address is not in `allow`");
        }
        self.reception.place()
    }

    /// A controller's stay, from its coming to its going.
    fn attend(
        &self,
        mut stream: TcpStream,
        peer: SocketAddr,
        place: OwnedSemaphorePermit,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + use<> {
        let name: Arc<str> = format!("controller {peer}").into();
        let (tally, feed, way) = (self.tally.clone(), self.feed.clone(), self.way.clone());
        async move {
            let _place = place;
            // It can be talked to all the same.
            if let Err(error) = prepare(&stream) {
                warn!(controller = %name, %error, "its connection cannot be set up as it should");
            }
            // Halves that own it would close it in order when they go.
            let (reader, writer) = stream.split();
            let conversation = Conversation::new(name, tally, &feed, way);
            if let Some(conversation) = conversation {
                conversation.run(reader, writer, stop).await;
            }
        }
    }
}

/// Sets up a controller's connection.
fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    // Lines are short and each is worth its own packet.
    stream.set_nodelay(true)?;
    // To Home Assistant's library a connection that was closed in order is one that it has closed itself, and it
    // never comes back. One that breaks off, it makes anew.
    stream.set_zero_linger()?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, SIGN_OF_LIFE)?;
    sockopt::set_tcp_keepintvl(stream, SIGN_OF_LIFE)?;
    sockopt::set_tcp_keepcnt(stream, MISSING)?;
    sockopt::set_tcp_user_timeout(stream, UNCONFIRMED_MS)?;
    Ok(())
}

/// One controller after the other, at a pseudo terminal.
async fn serve_pty(
    mut port: Port,
    path: PathBuf,
    reception: Arc<Reception>,
    (tally, feed, way): (Arc<Tally>, Feed, Way),
    stop: CancellationToken,
) {
    let name: Arc<str> = format!("controller at {}", path.display()).into();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = port.attached() => {}
        }
        let Some(conversation) = Conversation::new(name.clone(), tally.clone(), &feed, way.clone()) else { return };
        match (reception.place(), port.ends()) {
            (Ok(_place), Ok((reader, writer))) => {
                let end = conversation.run(reader, writer, stop.clone()).await;
                if end == End::Stopped {
                    return;
                }
            }
            (Err(why), _) => reception.send_away(&name, why),
            (Ok(_), Err(_)) => {}
        }
        // A port that was held exclusively stays so, even when it is closed: so it is another one.
        while let Err(error) = port.renew() {
            warn!(%error, path = %path.display(), "no serial port for controllers can be made");
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(REST) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::sync::mpsc;
    use tokio::time::timeout;

    use super::*;
    use crate::topics::Topics;

    #[tokio::test]
    async fn a_controller_that_has_vanished_is_noticed_within_a_minute() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _controller = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        prepare(&stream).unwrap();
        // How the kernel goes about it cannot be seen without a network to pull the plug of; what it was told can.
        assert!(sockopt::socket_keepalive(&stream).unwrap());
        let (idle, between) = (sockopt::tcp_keepidle(&stream).unwrap(), sockopt::tcp_keepintvl(&stream).unwrap());
        assert!(idle + between * sockopt::tcp_keepcnt(&stream).unwrap() <= Duration::from_secs(60));
        assert!(sockopt::tcp_user_timeout(&stream).unwrap() <= 60_000);
    }

    #[tokio::test]
    async fn a_gateway_that_stops_breaks_off_lest_controllers_take_it_for_their_own_wish() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut controller = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let (feed, way) = (Feed::new(None, true, false), Way::new(Topics::new("gw1"), mpsc::channel(1).0));
        let tally = Tally::new();
        let reception = Reception::new(tally.clone());
        let hall = Hall { allow: Arc::new([]), tally, reception, feed, way };
        let place = hall.place(peer).unwrap();
        let stop = CancellationToken::new();
        let stay = tokio::spawn(hall.attend(stream, peer, place, stop.clone()));
        let mut greeting = [0; 39];
        controller.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting[..], b"0;255;3;0;14;Gateway startup complete.\n");
        stop.cancel();
        timeout(Duration::from_secs(20), stay).await.unwrap().unwrap();
        let ended = controller.read(&mut greeting).await.map_err(|error| error.kind());
        assert_eq!(ended, Err(std::io::ErrorKind::ConnectionReset));
    }
}
