//! A serial port made by wharf: a pseudo terminal that a controller opens by a path that stays.
//!
//! Whether somebody has it open shows at our end, where it is looked at now and then: there is nothing that
//! could be waited for.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::time::sleep;

const HOW: OpenptFlags = OpenptFlags::RDWR.union(OpenptFlags::NOCTTY).union(OpenptFlags::CLOEXEC);

/// How often it is looked whether somebody has opened the port.
const LOOK: Duration = Duration::from_millis(200);
/// How long whoever has opened it has to make its settings. Serial libraries throw away what came before.
const SETTLE: Duration = Duration::from_millis(300);

/// Our end of the port.
#[derive(Debug)]
pub struct Port {
    master: OwnedFd,
    path: PathBuf,
}

impl Port {
    /// Makes a port that appears at `path` for as long as this lives. What an earlier wharf left there is
    /// replaced.
    ///
    /// # Errors
    ///
    /// The system has none to give, or there is something else at `path`.
    pub fn make(path: &Path) -> io::Result<Self> {
        let (master, port) = open()?;
        if fs::read_link(path).is_ok_and(|there| there.starts_with("/dev/pts/")) {
            fs::remove_file(path)?;
        }
        symlink(port, path)?;
        Ok(Self { master, path: path.to_owned() })
    }

    /// Waits until somebody has opened it. Nothing is lost if the wait is dropped.
    pub async fn attached(&self) {
        while !self.is_open() {
            sleep(LOOK).await;
        }
        sleep(SETTLE).await;
    }

    /// What comes in and where it goes out.
    ///
    /// # Errors
    ///
    /// The system has no room for it.
    pub fn ends(&self) -> io::Result<(Receiver, Sender)> {
        // To tokio a pipe is whatever can be polled, read and written, which is all that is needed.
        let reader = Receiver::from_owned_fd_unchecked(self.master.try_clone()?)?;
        Ok((reader, Sender::from_owned_fd_unchecked(self.master.try_clone()?)?))
    }

    /// Another port in the place of this one, as when an adapter is pulled out and put back.
    ///
    /// # Errors
    ///
    /// The system has none to give.
    pub fn renew(&mut self) -> io::Result<()> {
        let (master, port) = open()?;
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        symlink(port, &self.path)?;
        self.master = master;
        Ok(())
    }

    fn is_open(&self) -> bool {
        let mut fds = [PollFd::new(&self.master, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&now)).is_ok() && !fds[0].revents().contains(PollFlags::HUP)
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        // Where it leads to is gone in a moment. If it cannot be removed, it leads nowhere.
        let _ = fs::remove_file(&self.path);
    }
}

/// A new pseudo terminal that nobody has open, and the path of its port.
fn open() -> io::Result<(OwnedFd, OsString)> {
    let master = openpt(HOW)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    rustix::io::ioctl_fionbio(&master, true)?;
    // Opened once and closed again, it says from then on whether it is open; and it is a wire, not a
    // terminal that sends back what it gets.
    let port = ioctl_tiocgptpeer(&master, HOW)?;
    let mut settings = tcgetattr(&port)?;
    settings.make_raw();
    tcsetattr(&port, OptionalActions::Now, &settings)?;
    let path = OsString::from_vec(ptsname(&master, Vec::new())?.into_bytes());
    Ok((master, path))
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::io::{Read, Write};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn open_it(path: &Path) -> File {
        OpenOptions::new().read(true).write(true).open(path).unwrap()
    }

    #[tokio::test]
    async fn it_is_known_when_somebody_has_the_port_open_and_when_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("port");
        let mut port = Port::make(&path).unwrap();
        for _ in 0..3 {
            assert!(!port.is_open());
            assert!(timeout(Duration::from_millis(20), port.attached()).await.is_err());
            let mut controller = open_it(&path);
            timeout(PATIENCE, port.attached()).await.unwrap();
            let (mut reader, mut writer) = port.ends().unwrap();
            writer.write_all(b"up\n\xff").await.unwrap();
            let mut bytes = [0; 4];
            controller.read_exact(&mut bytes).unwrap();
            assert_eq!(&bytes, b"up\n\xff");
            controller.write_all(b"down\n").unwrap();
            let mut bytes = [0; 5];
            timeout(PATIENCE, reader.read_exact(&mut bytes)).await.unwrap().unwrap();
            assert_eq!(&bytes, b"down\n");
            drop(controller);
            assert!(!timeout(PATIENCE, reader.read(&mut bytes)).await.unwrap().is_ok_and(|count| count > 0));
            drop((reader, writer));
            port.renew().unwrap();
        }
    }

    #[tokio::test]
    async fn what_an_earlier_wharf_left_is_replaced_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("port");
        symlink("/dev/pts/9999", &path).unwrap();
        let port = Port::make(&path).unwrap();
        assert!(path.exists());
        drop(port);
        assert!(path.symlink_metadata().is_err());
        fs::write(&path, "mine").unwrap();
        assert!(Port::make(&path).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }
}
