//! What the tests are made of: a gateway, a broker, a client, a serial line, a Modbus slave, an
//! uplink by itself.

#[cfg(feature = "ble")]
pub mod bluez;
pub mod bootloader;
pub mod broker;
pub mod ca;
pub mod cases;
pub mod client;
pub mod consumer;
pub mod controller;
pub mod forwarder;
pub mod front;
pub mod garden;
pub mod gateway;
pub mod line;
pub mod meter;
pub mod network;
pub mod node;
pub mod process;
pub mod raw;
pub mod residents;
pub mod rhythm;
pub mod rtu;
pub mod scripted;
pub mod sensor;
pub mod serial_lab;
pub mod slave;
pub mod source;
pub mod tasmota;
pub mod terminal;
pub mod tools;
pub mod uplink;

use std::net::{TcpListener, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

pub use wharf_test_support::lab::free_port;

/// How long something may take that is expected to happen: generous, because machines are slow.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The gateway's connection to a listener of the test's.
pub fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let (stream, _) = wait_for("the gateway to connect", PATIENCE, || listener.accept().ok());
    stream.set_nonblocking(false).unwrap();
    stream
}

/// Waits until `happened` gives something.
pub fn wait_for<T>(what: &str, patience: Duration, mut happened: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(value) = happened() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {patience:?} in vain: {what}");
        sleep(Duration::from_millis(20));
    }
}
