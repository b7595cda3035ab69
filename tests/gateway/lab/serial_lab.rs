//! A serial line with the speed and the faults of a real one: `tests/lab/serial_lab.py`.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use serde_json::Value as Json;

/// The line between the ports `gateway` and `node`, 8N1. It ends when dropped.
pub struct SerialLab {
    child: Child,
    dir: PathBuf,
}

impl SerialLab {
    /// Lays it, with its ports in that folder.
    pub fn start(dir: &Path, baud: u32) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/serial_lab.py");
        let mut child = Command::new("python3")
            .arg(program)
            .args([Path::new("--dir"), dir, Path::new("--control"), &dir.join("control")])
            .args(["--ports", "gateway,node", "--baud", &baud.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        assert!(ready.starts_with("ready"), "{ready}");
        Self { child, dir: dir.to_owned() }
    }

    /// The node's end, raw.
    pub fn node(&self) -> File {
        let end = OpenOptions::new().read(true).write(true).open(self.dir.join("node")).unwrap();
        let mut raw = tcgetattr(&end).unwrap();
        raw.make_raw();
        tcsetattr(&end, OptionalActions::Now, &raw).unwrap();
        end
    }

    /// Steers it, see the head of the program, and gives its figures.
    pub fn tell(&self, words: &str) -> Json {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/serial_lab.py");
        let output = Command::new("python3")
            .arg(program)
            .arg("ctl")
            .arg(self.dir.join("control"))
            .args(words.split(' '))
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words}: {error}: {text}"))
    }
}

impl Drop for SerialLab {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
