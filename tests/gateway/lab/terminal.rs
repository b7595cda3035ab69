//! A terminal with somebody before it: a pty whose other end the test holds.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::{PATIENCE, wait_for};

/// A terminal.
pub struct Terminal {
    keys: File,
    shown: Arc<Mutex<Vec<u8>>>,
    line: File,
}

impl Terminal {
    /// One that shows what is typed, as terminals do.
    pub fn open() -> Self {
        let master: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let line = ptsname(&master, Vec::new()).unwrap();
        let line = File::options().read(true).write(true).open(line.to_str().unwrap()).unwrap();
        let keys = File::from(master);
        let shown: Arc<Mutex<Vec<u8>>> = Arc::default();
        let (mut screen, seen) = (keys.try_clone().unwrap(), shown.clone());
        // Ends when nobody has the line open any more.
        std::thread::spawn(move || {
            let mut piece = [0; 1024];
            while let Ok(length @ 1..) = screen.read(&mut piece) {
                seen.lock().unwrap().extend_from_slice(&piece[..length]);
            }
        });
        Self { keys, shown, line }
    }

    /// What a process reads from and writes to.
    pub fn stdio(&self) -> Stdio {
        self.line.try_clone().unwrap().into()
    }

    /// Types something.
    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Everything it has shown.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// Waits until it shows something.
    pub fn wait(&self, text: &str) {
        wait_for(&format!("{text:?} on the terminal"), PATIENCE, || self.shown().contains(text).then_some(()));
    }
}
