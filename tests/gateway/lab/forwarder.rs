//! A way to a broker that the test can open and close. While it is closed its port is taken and
//! refuses connections, as that of a broker that is gone.

use std::net::SocketAddr;
use std::thread::JoinHandle;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A running forwarder, open at first; it ends when dropped.
pub struct Forwarder {
    pub port: u16,
    wanted: watch::Sender<Wanted>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Wanted {
    Open,
    Closed,
    Ended,
}

impl Forwarder {
    /// A way to this port of loopback.
    pub fn to(target: u16) -> Self {
        let (wanted, seen) = watch::channel(Wanted::Open);
        let (port_sender, port) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                // Never listens: it keeps the port while the way is closed and while it changes.
                let keeper = bound(0);
                let port = keeper.local_addr().unwrap().port();
                port_sender.send(port).unwrap();
                run(port, target, seen).await;
            });
        });
        Self { port: port.recv().unwrap(), wanted, thread: Some(thread) }
    }

    /// Lets connections through.
    pub fn open(&self) {
        self.wanted.send_replace(Wanted::Open);
    }

    /// Breaks every connection and refuses new ones.
    pub fn close(&self) {
        self.wanted.send_replace(Wanted::Closed);
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.wanted.send_replace(Wanted::Ended);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A port that is taken, and refuses connections until somebody listens. Several may be bound to it.
fn bound(port: u16) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
    socket
}

async fn run(port: u16, target: u16, mut wanted: watch::Receiver<Wanted>) {
    while *wanted.wait_for(|wanted| *wanted != Wanted::Closed).await.unwrap() == Wanted::Open {
        forward(bound(port).listen(64).unwrap(), target, &mut wanted).await;
    }
}

async fn forward(listener: TcpListener, target: u16, wanted: &mut watch::Receiver<Wanted>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = wanted.wait_for(|wanted| *wanted != Wanted::Open) => break,
            Ok((mut gateway, _)) = listener.accept() => {
                connections.spawn(async move {
                    let Ok(mut broker) = TcpStream::connect(("127.0.0.1", target)).await else { return };
                    let _ = copy_bidirectional(&mut gateway, &mut broker).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
    connections.shutdown().await;
}
