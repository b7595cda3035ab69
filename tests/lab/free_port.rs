//! A port for a test, shared by several test binaries by its path.

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A port of loopback that is free, and not one that the system gives to others meanwhile: those begin at
/// 32768. Each process begins elsewhere, so two of them seldom look at the same one.
pub fn free_port() -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let begin = std::process::id() as usize * 997;
    loop {
        let place = (begin + NEXT.fetch_add(1, Ordering::SeqCst)) % usize::from(COUNT);
        let port = FIRST + u16::try_from(place).unwrap_or_default();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
