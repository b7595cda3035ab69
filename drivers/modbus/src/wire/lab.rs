//! A serial line with real timing and real faults, and slaves on it, as child processes. For tests.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value as Json;

/// The line. Its first port is `a`, which is ours.
pub struct Lab {
    process: Child,
    dir: PathBuf,
}

impl Lab {
    pub fn start(ports: &str, baud: u32, options: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("wharf-line-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/lab/serial_lab.py");
        let mut process = Command::new("python3")
            .args([script, "--ports", ports, "--baud", &baud.to_string(), "--dir"])
            .arg(&dir)
            .arg("--control")
            .arg(dir.join("control"))
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 runs");
        wait_until_ready(&mut process);
        Self { process, dir }
    }

    /// The path of a port.
    pub fn port(&self, name: &str) -> String {
        self.dir.join(name).to_str().unwrap().to_owned()
    }

    /// Tells the line something, and returns its statistics.
    pub fn tell(&self, command: &str) -> Json {
        let own = self.dir.join("own");
        let _ = std::fs::remove_file(&own);
        let socket = UnixDatagram::bind(&own).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        socket.send_to(command.as_bytes(), self.dir.join("control")).unwrap();
        let mut answer = vec![0; 65_536];
        let count = socket.recv(&mut answer).expect("the line answers");
        serde_json::from_slice(&answer[..count]).expect("statistics")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A slave made with libmodbus, at a port of the line.
pub struct Slave(Child);

impl Slave {
    pub fn start(port: &str, baud: u32, unit: u8) -> Self {
        let mut process = Command::new(slave())
            .args([port, &baud.to_string(), &unit.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the slave runs");
        wait_until_ready(&mut process);
        Self(process)
    }

    /// What its registers hold.
    pub fn registers(unit: u8, start: u16, count: u16) -> Vec<u8> {
        (start..start + count).flat_map(|n| (n * 7 + u16::from(unit) * 1000).to_be_bytes()).collect()
    }
}

impl Drop for Slave {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The slave's program, compiled once.
fn slave() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let program = std::env::temp_dir().join(format!("wharf-rtu-slave-{}", std::process::id()));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rtu_slave.c");
        let compiled =
            Command::new("cc").arg("-O1").arg("-o").arg(&program).args([source, "-lmodbus", "-lpthread"]).status();
        assert!(compiled.expect("cc runs").success(), "this test needs libmodbus: apt-get install libmodbus-dev");
        program
    })
}

fn wait_until_ready(process: &mut Child) {
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("ready"), "{line:?}");
}
