//! The gateway in a process of its own.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::measure::Outcome;

/// Clock ticks a second in /proc: the same on every Linux there is.
const TICKS: f64 = 100.0;

/// A gateway at work. Ended when dropped.
pub struct Process(Child);

impl Process {
    /// Starts it with this site file.
    pub fn start(site: &Path) -> Outcome<Self> {
        let child = Command::new(env!("CARGO_BIN_EXE_wharf")).arg("run").arg(site).stderr(Stdio::null()).spawn()?;
        Ok(Self(child))
    }

    /// User and system time so far.
    pub fn cpu(&self) -> Outcome<Duration> {
        cpu(self.0.id())
    }

    /// A figure of its memory, in KiB.
    pub fn memory(&self, which: &str) -> Outcome<u64> {
        memory(self.0.id(), which)
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

/// User and system time of a process so far.
pub fn cpu(process: u32) -> Outcome<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let after_name = stat.rsplit_once(')').ok_or("no name in /proc")?.1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let (user, system) = (fields[11].parse::<u64>()?, fields[12].parse::<u64>()?);
    Ok(Duration::from_secs_f64((user + system) as f64 / TICKS))
}

/// A figure of a process's memory, in KiB.
pub fn memory(process: u32, which: &str) -> Outcome<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(which)).ok_or("the process is gone")?;
    Ok(line.split_whitespace().next().ok_or("no figure")?.parse()?)
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
