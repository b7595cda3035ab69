//! Nodes that count: each number once, whoever is connected.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How many nodes take turns.
pub const NODES: u64 = 4;

/// A MySensors gateway on a TCP port, with nodes that count; it ends when dropped.
pub struct Source {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    said: AtomicU64,
    connected: AtomicBool,
    stop: AtomicBool,
}

impl Source {
    /// Starts to speak to whoever connects. `may_say` is told how many numbers were said so far,
    /// and says whether the next one may be.
    pub fn start(listener: TcpListener, may_say: impl Fn(u64) -> bool + Send + 'static) -> Self {
        let shared: Arc<Shared> = Arc::default();
        listener.set_nonblocking(true).unwrap();
        let thread = std::thread::spawn({
            let shared = shared.clone();
            move || {
                while !shared.stop.load(Ordering::SeqCst) {
                    match listener.accept() {
                        Ok((connection, _)) => speak(connection, &shared, &may_say),
                        Err(_) => std::thread::sleep(Duration::from_millis(5)),
                    }
                }
            }
        });
        Self { shared, thread: Some(thread) }
    }

    /// How many numbers were said.
    pub fn said(&self) -> u64 {
        self.shared.said.load(Ordering::SeqCst)
    }

    /// Whether somebody is connected, as far as is known.
    pub fn is_connected(&self) -> bool {
        self.shared.connected.load(Ordering::SeqCst)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn speak(mut connection: TcpStream, shared: &Shared, may_say: &impl Fn(u64) -> bool) {
    connection.set_nonblocking(false).unwrap();
    connection.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    shared.connected.store(true, Ordering::SeqCst);
    while !shared.stop.load(Ordering::SeqCst) {
        let said = shared.said.load(Ordering::SeqCst);
        if !may_say(said) {
            // This waits, too.
            if is_gone(&mut connection) {
                break;
            }
            continue;
        }
        let (node, number) = (said % NODES + 1, said / NODES + 1);
        let line = format!("{node};1;1;0;24;n{number}e\n");
        if connection.write_all(line.as_bytes()).is_err() {
            break;
        }
        shared.said.fetch_add(1, Ordering::SeqCst);
    }
    shared.connected.store(false, Ordering::SeqCst);
}

/// Listens for a moment; what is said is nothing to us.
fn is_gone(connection: &mut TcpStream) -> bool {
    match connection.read(&mut [0; 1024]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}
