//! A running `wharf`, with its site file and its state in a folder of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{PATIENCE, wait_for};

/// A site: a folder with `site.yaml` and whatever the file needs. It stays until the site and
/// every gateway started from it are gone.
pub struct Site {
    dir: Arc<tempfile::TempDir>,
}

impl Site {
    /// A site with this file. `./` in it stands for the site's folder: serial ports are absolute.
    pub fn new(yaml: &str) -> Self {
        let site = Self { dir: Arc::new(tempfile::tempdir().unwrap()) };
        let folder = format!("{}/", site.path().display());
        fs::write(site.file(), yaml.replace("./", &folder)).unwrap();
        site
    }

    /// The site file.
    pub fn file(&self) -> PathBuf {
        self.dir.path().join("site.yaml")
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Where the queue of an uplink lives.
    pub fn queue(&self, uplink: &str) -> PathBuf {
        self.dir.path().join("wharf-state/queue").join(uplink)
    }

    /// Starts the gateway.
    pub fn run(&self) -> Gateway {
        self.run_with(&[])
    }

    /// Starts the gateway with these environment variables.
    pub fn run_with(&self, variables: &[(&str, &str)]) -> Gateway {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wharf"));
        let mut gateway = Gateway::start(command.arg("run").arg(self.file()).envs(variables.iter().copied()));
        gateway.site = Some(self.dir.clone());
        gateway
    }

    /// Runs another command of wharf about this site, to its end: `what` comes before the site
    /// file, `rest` after it.
    pub fn wharf(&self, what: &[&str], rest: &[&str]) -> Answer {
        let file = self.file();
        wharf(&[what, &[file.to_str().unwrap()], rest].concat())
    }
}

/// Runs a command of wharf, to its end.
pub fn wharf(args: &[&str]) -> Answer {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wharf"));
    let output = command.args(args).env_remove("STATE_DIRECTORY").stdin(Stdio::null()).output().unwrap();
    Answer {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub struct Answer {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Answer {
    /// What was said, as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// What was said, as JSON line by line.
    pub fn lines(&self) -> Vec<serde_json::Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A running gateway; killed when dropped.
pub struct Gateway {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
    site: Option<Arc<tempfile::TempDir>>,
}

impl Gateway {
    /// Starts a command of wharf.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .env(
                "WHARF_LOG",
                "warn,audit=info,wharf=debug,wharf_modbus=debug,wharf_ble=debug,wharf_mysensors=debug,wharf_mqtt=debug",
            )
            .env_remove("STATE_DIRECTORY")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let reader = std::thread::spawn({
            let log = log.clone();
            move || {
                for line in stderr.lines().map_while(Result::ok) {
                    log.lock().unwrap().push(line);
                }
            }
        });
        Self { child, log, reader: Some(reader), site: None }
    }

    /// Waits for a log line with this text.
    pub fn wait_log(&self, text: &str) -> String {
        wait_for(&format!("log line with {text:?}"), PATIENCE, || {
            self.log.lock().unwrap().iter().find(|line| line.contains(text)).cloned()
        })
    }

    /// The log so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Pulls the plug.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, as systemd does, and says how it ended and how long that took.
    pub fn terminate(mut self) -> (ExitStatus, Duration) {
        let started = Instant::now();
        self.ask_to_stop();
        let status = self.wait();
        (status, started.elapsed())
    }

    /// Asks it to stop, and does not wait.
    pub fn ask_to_stop(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Tells it that its site file may be another one, as `systemctl reload` does.
    pub fn hang_up(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        wait_for("the gateway to end", PATIENCE, || child.try_wait().unwrap())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        drop(self.site.take());
        if std::thread::panicking() {
            eprintln!("--- the gateway's log ---\n{}\n---", self.log());
        }
    }
}
