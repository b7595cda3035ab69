//! A MySensors node behind a gateway reached over TCP, paced by the test.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use super::client::Heard;

/// A radio node that counts aloud, twenty times a second, while it is connected. It ends when
/// dropped.
pub struct Node {
    pub address: SocketAddr,
    said: Arc<AtomicU64>,
    quiet: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Node {
    /// One behind a serial gateway that listens on loopback.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let said: Arc<AtomicU64> = Arc::default();
        let (quiet, stop): (Arc<AtomicBool>, Arc<AtomicBool>) = Default::default();
        let thread = std::thread::spawn({
            let (said, quiet, stop) = (said.clone(), quiet.clone(), stop.clone());
            move || {
                let set = |flag: &AtomicBool| flag.load(Ordering::SeqCst);
                let mut connection = None;
                while !set(&stop) {
                    sleep(Duration::from_millis(50));
                    if let Ok((fresh, _)) = listener.accept() {
                        connection = Some(fresh);
                        quiet.store(false, Ordering::SeqCst);
                    }
                    let Some(line) = connection.as_mut().filter(|_| !set(&quiet)) else { continue };
                    if writeln!(line, "2;1;1;0;24;{}", said.load(Ordering::SeqCst) + 1).is_ok() {
                        said.fetch_add(1, Ordering::SeqCst);
                    } else {
                        connection = None;
                    }
                }
            }
        });
        Self { address, said, quiet, stop, thread: Some(thread) }
    }

    /// The last number it said.
    pub fn said(&self) -> u64 {
        self.said.load(Ordering::SeqCst)
    }

    /// Keeps quiet until somebody connects anew.
    pub fn hold(&self) {
        self.quiet.store(true, Ordering::SeqCst);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The number in a message that the gateway `gw1` made of what the node said.
pub fn line(heard: &Heard) -> Option<u64> {
    (heard.topic == "gw1-out/2/1/1/0/24").then(|| heard.payload.parse().unwrap())
}
