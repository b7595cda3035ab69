//! A Modbus TCP slave: pymodbus, written independently of the driver.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::{PATIENCE, free_port, wait_for};

/// A running slave; it ends when its standard input closes, so it never outlives the test.
pub struct Slave {
    pub port: u16,
    child: Child,
    asked: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Slave {
    /// A plant of one meter (unit 3) and one tank (unit 7); see `plant.py`.
    pub fn start() -> Self {
        let port = free_port();
        let mut child = Command::new("/usr/bin/python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gateway/lab/plant.py"))
            .arg(port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is not installed; `sh tests/prepare.sh` installs it");
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let asked: Arc<Mutex<Vec<(Instant, String)>>> = Arc::default();
        // Ends with the child, whose output it reads.
        std::thread::spawn({
            let asked = asked.clone();
            move || {
                for line in stdout.lines().map_while(Result::ok) {
                    asked.lock().unwrap().push((Instant::now(), line));
                }
            }
        });
        wait_for("the slave to listen", PATIENCE, || TcpStream::connect(("127.0.0.1", port)).ok());
        Self { port, child, asked }
    }

    /// Every request so far, with when it was served: `read holding 100 2`, `write coil 3 1`.
    pub fn asked(&self) -> Vec<(Instant, String)> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Slave {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
