//! What tests need of the machine they run on.

use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The folder `tests/lab/NAME` of the repository.
#[must_use]
pub fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../lab").join(name)
}

/// A Python with what `tests/lab/NAME` needs. `None`, and said, where it is missing and cannot be had.
///
/// # Panics
/// If there is no shell.
#[must_use]
pub fn python(name: &str) -> Option<PathBuf> {
    let made = Command::new("sh").arg(folder("python.sh")).arg(name).output().unwrap();
    if !made.status.success() {
        eprintln!("skipped: no Python for tests/lab/{name}: {}", String::from_utf8_lossy(&made.stderr));
        return None;
    }
    Some(PathBuf::from(String::from_utf8(made.stdout).unwrap().trim()))
}

/// A port of loopback that is free, for TCP and UDP, and not one that the system gives to others meanwhile: those begin at
/// 32768. Each process begins elsewhere, so two of them seldom look at the same one.
#[must_use]
pub fn free_port() -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let begin = std::process::id() as usize * 997;
    loop {
        let place = (begin + NEXT.fetch_add(1, Ordering::SeqCst)) % usize::from(COUNT);
        let port = FIRST + u16::try_from(place).unwrap_or_default();
        let here = ("127.0.0.1", port);
        if TcpListener::bind(here).is_ok() && UdpSocket::bind(here).is_ok() {
            return port;
        }
    }
}
