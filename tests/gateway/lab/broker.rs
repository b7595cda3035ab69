//! A real Mosquitto, on a port of its own.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::{PATIENCE, free_port, wait_for};

/// A running Mosquitto; ended when dropped.
pub struct Mosquitto {
    pub port: u16,
    dir: TempDir,
    child: Option<Child>,
}

impl Mosquitto {
    /// One that lets everyone in and remembers nothing over a restart.
    pub fn start() -> Self {
        Self::with("allow_anonymous true\n")
    }

    /// One that lets everyone in, on a port that is known already.
    pub fn on(port: u16) -> Self {
        Self::listening(port, "allow_anonymous true\n")
    }

    /// One with these lines after its listener.
    pub fn with(settings: &str) -> Self {
        Self::listening(free_port(), settings)
    }

    fn listening(port: u16, settings: &str) -> Self {
        let mut broker = Self { port, dir: tempfile::tempdir().unwrap(), child: None };
        let config = format!(
            "listener {} 127.0.0.1\nuser root\nmax_queued_messages 0\nmax_inflight_messages 0\n{settings}",
            broker.port
        );
        fs::write(broker.config(), config).unwrap();
        broker.restart();
        broker
    }

    /// The folder of its files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts it, again if need be, on the same port.
    pub fn restart(&mut self) {
        self.stop();
        let log = fs::File::create(self.dir.path().join("mosquitto.log")).unwrap();
        let child = Command::new("mosquitto")
            .arg("-c")
            .arg(self.config())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("mosquitto is not installed; `sh tests/prepare.sh` installs it");
        self.child = Some(child);
        let port = self.port;
        wait_for("mosquitto to listen", PATIENCE, || TcpStream::connect(("127.0.0.1", port)).ok());
    }

    /// One that keeps its clients' sessions over a clean restart.
    pub fn with_memory() -> Self {
        let broker = Self::with("allow_anonymous true\npersistence true\nautosave_interval 0\n");
        let config = fs::read_to_string(broker.config()).unwrap();
        let location = format!("persistence_location {}/\n", broker.dir().display());
        fs::write(broker.config(), config + &location).unwrap();
        let mut broker = broker;
        broker.restart();
        broker
    }

    /// Ends it cleanly.
    pub fn terminate(&mut self) {
        self.signal("-TERM");
        if let Some(mut child) = self.child.take() {
            child.wait().unwrap();
        }
    }

    /// Makes it hang: its connections stay open and nothing moves.
    pub fn suspend(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        if let Some(child) = &self.child {
            assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        }
    }

    /// Has it read its files again.
    pub fn reload(&self) {
        let pid = self.child.as_ref().expect("a broker that runs").id().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    }

    /// Ends it at once, as a power cut would.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn config(&self) -> std::path::PathBuf {
        self.dir.path().join("mosquitto.conf")
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.stop();
    }
}
