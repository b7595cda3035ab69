//! Mosquitto's own clients, for as long as a test wants them.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::{PATIENCE, wait_for};

/// Who a client is, and how it speaks.
#[derive(Clone, Copy, Debug)]
pub struct Who {
    /// Its client id.
    pub id: &'static str,
    /// Its user; the password is the same word.
    pub user: &'static str,
    /// `311` or `5`.
    pub version: &'static str,
    /// How hard it publishes or subscribes.
    pub qos: u8,
}

impl Who {
    fn command(&self, tool: &str, port: u16) -> Command {
        let mut command = Command::new(tool);
        command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-q", &self.qos.to_string()]);
        command.args(["-V", self.version, "-i", self.id, "-u", self.user, "-P", self.user]);
        command
    }
}

/// A `mosquitto_pub` that publishes a line whenever it is told to, on one connection.
pub struct Pub {
    child: Child,
    mouth: Option<ChildStdin>,
}

impl Pub {
    /// One that publishes on that topic.
    pub fn start(port: u16, who: &Who, topic: &str, rest: &[&str]) -> Self {
        let mut command = who.command("mosquitto_pub", port);
        command.args(["-l", "-t", topic]).args(rest).stdin(Stdio::piped());
        let mut child = command.spawn().expect("mosquitto_pub is not installed; `sh tests/prepare.sh` installs it");
        let mouth = child.stdin.take();
        Self { child, mouth }
    }

    /// Publishes a line.
    pub fn say(&mut self, line: &str) {
        let mouth = self.mouth.as_mut().unwrap();
        // In one write, or it would be read in two.
        mouth.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Has it finish and go; it is content if all was acknowledged.
    pub fn finish(mut self) {
        self.mouth = None;
        let status = wait_for("mosquitto_pub to be done", PATIENCE, || self.child.try_wait().unwrap());
        assert!(status.success(), "{status}");
    }
}

impl Drop for Pub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A topic, and what was said on it.
pub type Line = (String, String);

/// A `mosquitto_sub` that is there until it is dropped.
pub struct Sub {
    child: Child,
    heard: Arc<Mutex<Vec<Line>>>,
    reader: Option<JoinHandle<()>>,
}

impl Sub {
    /// One that subscribes to these filters; it does not wait until it has.
    pub fn start(port: u16, who: &Who, filters: &[&str]) -> Self {
        let mut command = who.command("mosquitto_sub", port);
        command.args(["-F", "%t %p"]).args(filters.iter().flat_map(|filter| ["-t", *filter]));
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("mosquitto_sub is not installed; `sh tests/prepare.sh` installs it");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let heard: Arc<Mutex<Vec<Line>>> = Arc::default();
        let reader = std::thread::spawn({
            let heard = heard.clone();
            move || {
                for line in lines {
                    let (topic, payload) = line.split_once(' ').unwrap();
                    heard.lock().unwrap().push((topic.to_owned(), payload.to_owned()));
                }
            }
        });
        Self { child, heard, reader: Some(reader) }
    }

    /// All it has heard so far.
    pub fn heard(&self) -> Vec<Line> {
        self.heard.lock().unwrap().clone()
    }
}

impl Drop for Sub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}
