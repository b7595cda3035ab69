//! Where the clients are: on the network, or on a serial line.

pub mod frames;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use bytes::Bytes;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::UdpSocket;
use tokio::time::timeout;
use wharf_contract::DriverError;
use wharf_stream::{Stream, Transport};

use crate::config::{Framing, Group, LinkSettings};
use crate::gateway::{Peer, Way};
use crate::message::{LONGEST, Message};
use frames::{Frames, Tally, framed};

/// How long the line may take to accept what is sent.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// How long nothing comes on a serial line before a message that has begun is given up.
const PAUSE: Duration = Duration::from_millis(100);

/// The most that a datagram has which may be passed on by a forwarder.
const LARGEST_DATAGRAM: usize = LONGEST + 255;

/// Where datagrams come from and go to.
pub enum Field {
    /// The network.
    Udp {
        /// Where clients send to, and where all answers come from.
        socket: UdpSocket,
        /// What hears the group, and its address.
        group: Option<(UdpSocket, SocketAddr)>,
    },
    /// A serial line.
    Line {
        /// The port.
        transport: Transport,
        /// What is read from it.
        reader: ReadHalf<Box<dyn Stream>>,
        /// What is written to it.
        writer: WriteHalf<Box<dyn Stream>>,
        /// What was read and is no message yet.
        frames: Frames,
        /// How messages are told apart.
        framing: Framing,
    },
}

impl Field {
    /// Opens what the settings name.
    ///
    /// # Errors
    /// `Fatal` when someone has to change something, else `Lost`.
    pub async fn open(settings: &LinkSettings) -> Result<Self, DriverError> {
        if let Some(port) = settings.port() {
            let transport = Transport::Serial(port);
            let (reader, writer) = split(transport.open().await?);
            let framing = settings.framing.unwrap_or(Framing::Plain);
            return Ok(Self::Line { transport, reader, writer, frames: Frames::new(framing), framing });
        }
        // The decoder has seen to it that there is one or the other.
        let address = settings.udp.map_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 1884)), |udp| udp.0);
        let socket = UdpSocket::bind(address).await.map_err(|error| cannot(address, &error))?;
        let group = match settings.group {
            Some(Group(group)) => {
                let hears = member(group, Group::interface(address)).map_err(|error| cannot(group.into(), &error))?;
                Some((hears, SocketAddr::V4(group)))
            }
            None => None,
        };
        Ok(Self::Udp { socket, group })
    }

    /// The next datagrams. Safe to drop in a `select!`: none is lost.
    ///
    /// # Errors
    /// `Lost`, with what happened.
    pub async fn receive(&mut self, buffer: &mut Vec<u8>) -> Result<Vec<(Way, Bytes)>, DriverError> {
        match self {
            Self::Udp { socket, group } => {
                buffer.resize(LARGEST_DATAGRAM, 0);
                let readable = match group {
                    Some((hears, _)) => tokio::select! {
                        ready = socket.readable() => ready.map(|()| &*socket),
                        ready = hears.readable() => ready.map(|()| &*hears),
                    },
                    None => socket.readable().await.map(|()| &*socket),
                };
                let readable = readable.map_err(DriverError::lost)?;
                match readable.try_recv_from(buffer) {
                    Ok((length, from)) => {
                        let datagram = buffer.get(..length).unwrap_or_default();
                        Ok(vec![(Way::Udp(from), Bytes::copy_from_slice(datagram))])
                    }
                    // Nothing after all; or somebody has closed its port, which is no concern of ours.
                    Err(error) if is_harmless(&error) => Ok(Vec::new()),
                    Err(error) => Err(DriverError::lost(error)),
                }
            }
            Self::Line { transport, reader, frames, .. } => {
                buffer.resize(1024, 0);
                let read = async { reader.read(buffer).await };
                let read = if frames.minds_pauses() {
                    let Ok(read) = timeout(PAUSE, read).await else {
                        frames.pause();
                        return Ok(Vec::new());
                    };
                    read
                } else {
                    read.await
                };
                match read {
                    Ok(0) => Err(transport.ended()),
                    Ok(length) => {
                        let complete = frames.push(buffer.get(..length).unwrap_or_default());
                        Ok(complete.into_iter().map(|message| (Way::Line, Bytes::from(message))).collect())
                    }
                    Err(error) => Err(transport.failed(error)),
                }
            }
        }
    }

    /// Says something to somebody. Returns whether it went out; a radio loses more than that.
    ///
    /// # Errors
    /// `Lost`, if the line is.
    pub async fn send(&mut self, peer: &Peer, message: &Message) -> Result<bool, DriverError> {
        let Ok(written) = message.write() else { return Ok(false) };
        let written = match &peer.node {
            Some(node) => {
                let forwarded = Message::Forwarded { radius: 0, node: node.clone(), message: written };
                let Ok(written) = forwarded.write() else { return Ok(false) };
                written
            }
            None => written,
        };
        match peer.way {
            Way::Udp(address) => self.send_to(address, &written).await,
            Way::Line => self.write(&written).await,
        }
    }

    /// Says something to everybody.
    ///
    /// # Errors
    /// `Lost`, if the line is.
    pub async fn broadcast(&mut self, message: &Message) -> Result<bool, DriverError> {
        let Ok(written) = message.write() else { return Ok(false) };
        match self {
            Self::Udp { group: Some((_, address)), .. } => {
                let address = *address;
                self.send_to(address, &written).await
            }
            Self::Udp { .. } => Ok(false),
            Self::Line { .. } => self.write(&written).await,
        }
    }

    /// What was thrown away on the line.
    pub fn tally(&self) -> Tally {
        match self {
            Self::Udp { .. } => Tally::default(),
            Self::Line { frames, .. } => frames.tally(),
        }
    }

    async fn send_to(&mut self, address: SocketAddr, datagram: &[u8]) -> Result<bool, DriverError> {
        let Self::Udp { socket, .. } = self else { return Ok(false) };
        // A client that cannot be reached is its own loss, found by its silence.
        Ok(matches!(timeout(SEND_TIMEOUT, socket.send_to(datagram, address)).await, Ok(Ok(_))))
    }

    async fn write(&mut self, message: &[u8]) -> Result<bool, DriverError> {
        let Self::Line { writer, transport, framing, .. } = self else { return Ok(false) };
        let bytes = framed(*framing, message);
        let writing = async {
            writer.write_all(&bytes).await?;
            writer.flush().await
        };
        match timeout(SEND_TIMEOUT, writing).await {
            Ok(Ok(())) => Ok(true),
            Ok(Err(error)) => Err(transport.failed(error)),
            Err(_) => Err(transport.stuck()),
        }
    }
}

/// A socket that hears what is said in a group, and nothing else. Others on the machine may hear it, too.
///
/// # Errors
/// There is no such interface, or no permission.
pub fn member(group: SocketAddrV4, interface: Ipv4Addr) -> io::Result<UdpSocket> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    net::bind(&socket, &group)?;
    let socket = UdpSocket::from_std(socket.into())?;
    socket.join_multicast_v4(*group.ip(), interface)?;
    Ok(socket)
}

fn is_harmless(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset
    )
}

fn cannot(address: SocketAddr, error: &io::Error) -> DriverError {
    let words = format!("{address} cannot be listened on: {error}");
    match error.kind() {
        io::ErrorKind::PermissionDenied => DriverError::fatal(words),
        _ => DriverError::lost(words),
    }
}
