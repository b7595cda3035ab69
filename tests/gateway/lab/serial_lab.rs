//! A serial line with the speed and the faults of a real one: `tests/lab/serial_lab.py`.

use std::fs::{self, File, OpenOptions};
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
        Self::start_with(dir, baud, &[])
    }

    /// The same, and it notes each line of text that goes by at its ends, see [`lines`](Self::lines).
    pub fn start_noting_lines(dir: &Path, baud: u32) -> Self {
        Self::start_with(dir, baud, &[Path::new("--lines"), &dir.join("lines")])
    }

    fn start_with(dir: &Path, baud: u32, more: &[&Path]) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/serial_lab.py");
        let mut child = Command::new("python3")
            .arg(program)
            .args([Path::new("--dir"), dir, Path::new("--control"), &dir.join("control")])
            .args(["--ports", "gateway,node", "--baud", &baud.to_string()])
            .args(more)
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

    /// The lines that have gone by so far.
    pub fn lines(&self) -> Vec<Line> {
        let text = fs::read_to_string(self.dir.join("lines")).unwrap();
        text.lines().map(|line| Line::read(&serde_json::from_str(line).unwrap())).collect()
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

/// A line of text that went by at one of the ends. Its moments are seconds of the monotonic clock.
#[derive(Clone, Debug)]
pub struct Line {
    /// Which end.
    pub port: String,
    /// Whether the program at that end said it; else it was given it.
    pub said: bool,
    /// When it was not yet there, surely: the line's own delays are not those of who said it.
    pub after: f64,
    /// When its end had passed.
    pub at: f64,
    /// Whether noise hit it, if it was said.
    pub hit: bool,
    /// For how long until then the threads of the watched process had been ready and did not run, all together.
    pub held_up: f64,
    /// What it said, a byte a character.
    pub text: String,
}

impl Line {
    fn read(note: &Json) -> Self {
        let (said, got) = (note["said"].as_str(), note["got"].as_str());
        let at = note["at"].as_f64().unwrap();
        Self {
            port: said.or(got).unwrap().to_owned(),
            said: said.is_some(),
            after: note["after"].as_f64().unwrap_or(at),
            at,
            hit: note["hit"] == true,
            held_up: note["held"].as_f64().unwrap(),
            text: note["line"].as_str().unwrap().to_owned(),
        }
    }
}

impl Drop for SerialLab {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
