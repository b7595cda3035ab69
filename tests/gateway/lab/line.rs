//! A serial line: a pty whose other end the test holds, behind a link as `/dev/serial/by-id` has.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

/// The device's end of a serial line; the cable is pulled when it is dropped.
pub struct Line {
    device: File,
    port: PathBuf,
}

impl Line {
    /// Plugs a device in at that path. Whatever was there before is replaced.
    pub fn plug(port: &Path) -> Self {
        let master: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let mut raw = tcgetattr(&master).unwrap();
        raw.make_raw();
        tcsetattr(&master, OptionalActions::Now, &raw).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let _ = std::fs::remove_file(port);
        symlink(name.to_str().unwrap(), port).unwrap();
        Self { device: File::from(master), port: port.to_owned() }
    }

    /// The device says something.
    pub fn say(&mut self, line: &str) {
        self.device.write_all(line.as_bytes()).unwrap();
        self.device.write_all(b"\n").unwrap();
    }

    /// The device's end itself, for what does not speak in lines.
    pub fn device(&self) -> File {
        self.device.try_clone().unwrap()
    }

    /// A second handle on the device's end, to hear what the gateway says.
    pub fn ear(&self) -> Ear {
        Ear { device: self.device.try_clone().unwrap(), heard: Vec::new() }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.port);
    }
}

/// Hears what the gateway says on the line.
pub struct Ear {
    device: File,
    heard: Vec<u8>,
}

impl Ear {
    /// Says something on the same line.
    pub fn say(&mut self, line: &str) {
        writeln!(self.device, "{line}").unwrap();
    }

    /// The next line; `None` when the gateway has closed its end.
    pub fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.heard.iter().position(|&b| b == b'\n') {
                let line: Vec<u8> = self.heard.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            let mut chunk = [0; 256];
            match self.device.read(&mut chunk) {
                Ok(0) | Err(_) => return None,
                Ok(read) => self.heard.extend_from_slice(&chunk[..read]),
            }
        }
    }
}
