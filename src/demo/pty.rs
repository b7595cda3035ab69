//! A pseudo terminal: a serial port with us at its other end.
//!
//! While nobody has the port open, reading from our end fails. So this side keeps the port open
//! itself until it hears from whoever opened it. When they have closed it, another takes its place:
//! a port that was held exclusively stays so, even when it is closed.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::{Receiver, Sender};

const HOW: OpenptFlags = OpenptFlags::RDWR.union(OpenptFlags::NOCTTY).union(OpenptFlags::CLOEXEC);

/// Our end of the port.
#[derive(Debug)]
pub struct Pty {
    end: End,
    link: PathBuf,
}

/// One pseudo terminal, from the first opening of its port to the last closing.
#[derive(Debug)]
struct End {
    // To tokio a pipe is whatever can be polled, read and written, which is all that is needed.
    reader: Receiver,
    writer: Sender,
    /// The port, as long as nobody else has it open.
    port: Option<OwnedFd>,
}

/// What came in.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// So many bytes.
    Bytes(usize),
    /// Whoever had the port open has closed it.
    Closed,
}

impl Pty {
    /// Opens a pseudo terminal whose port appears at `link` for as long as this lives.
    ///
    /// # Errors
    ///
    /// The system has none to give, or `link` exists.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn open(link: &Path) -> io::Result<Self> {
        let (end, port) = End::open()?;
        symlink(port, link)?;
        Ok(Self { end, link: link.to_owned() })
    }

    /// Waits for bytes. Nothing is lost if the wait is dropped.
    ///
    /// # Errors
    ///
    /// The pseudo terminal is of no use any more.
    pub async fn read(&mut self, into: &mut [u8]) -> io::Result<Received> {
        match self.end.reader.read(into).await {
            Ok(count) if count > 0 => {
                self.end.port = None;
                Ok(Received::Bytes(count))
            }
            Err(error) if error.raw_os_error() != Some(Errno::IO.raw_os_error()) => Err(error),
            _ => {
                self.replace()?;
                Ok(Received::Closed)
            }
        }
    }

    /// Writes all of the bytes. Waits while the port is full.
    ///
    /// # Errors
    ///
    /// The port was closed, or the pseudo terminal is of no use any more; reading tells which.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.end.writer.write_all(bytes).await
    }

    /// Another port in the place of this one, as when an adapter is pulled out and put back.
    fn replace(&mut self) -> io::Result<()> {
        let (end, port) = End::open()?;
        fs::remove_file(&self.link)?;
        symlink(port, &self.link)?;
        self.end = end;
        Ok(())
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        // Where it leads to is gone in a moment. If it cannot be removed, it leads nowhere.
        let _ = fs::remove_file(&self.link);
    }
}

impl End {
    /// A new pseudo terminal, and the path of its port.
    fn open() -> io::Result<(Self, OsString)> {
        let master = openpt(HOW)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        rustix::io::ioctl_fionbio(&master, true)?;
        let port = open_port(&master)?;
        let path = OsString::from_vec(ptsname(&master, Vec::new())?.into_bytes());
        let reader = Receiver::from_owned_fd_unchecked(master.try_clone()?)?;
        let writer = Sender::from_owned_fd_unchecked(master)?;
        Ok((Self { reader, writer, port: Some(port) }, path))
    }
}

/// Opens the port itself, without making it anyone's controlling terminal, and turns off what a
/// terminal would do to the bytes.
fn open_port(master: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let port = ioctl_tiocgptpeer(master, HOW)?;
    let mut settings = tcgetattr(&port)?;
    settings.make_raw();
    tcsetattr(&port, OptionalActions::Now, &settings)?;
    Ok(port)
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::io::{Read, Write};
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Exclusively: from then on nobody but root could open the same port.
    fn open_as_a_driver_would(path: &Path) -> File {
        let port = OpenOptions::new().read(true).write(true).open(path).unwrap();
        rustix::termios::ioctl_tiocexcl(&port).unwrap();
        port
    }

    async fn received(pty: &mut Pty) -> Vec<u8> {
        let mut bytes = [0; 64];
        match timeout(PATIENCE, pty.read(&mut bytes)).await.expect("nothing was received").unwrap() {
            Received::Bytes(count) => bytes[..count].to_vec(),
            Received::Closed => panic!("the port was closed"),
        }
    }

    async fn closed(pty: &mut Pty) {
        let end = timeout(PATIENCE, pty.read(&mut [0; 64])).await.expect("closing was not noticed").unwrap();
        assert_eq!(end, Received::Closed);
    }

    #[tokio::test]
    async fn bytes_pass_both_ways_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let mut pty = Pty::open(&dir.path().join("port")).unwrap();
        let mut port = open_as_a_driver_would(&dir.path().join("port"));
        port.write_all(b"\x03a\r\n\0").unwrap();
        assert_eq!(received(&mut pty).await, b"\x03a\r\n\0");
        pty.write(b"b\n\xff").await.unwrap();
        let mut bytes = [0; 3];
        port.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"b\n\xff");
    }

    #[tokio::test]
    async fn a_port_that_was_closed_is_told_of_once_and_can_be_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut pty = Pty::open(&dir.path().join("port")).unwrap();
        for turn in 0..3 {
            let mut port = open_as_a_driver_would(&dir.path().join("port"));
            port.write_all(&[turn]).unwrap();
            assert_eq!(received(&mut pty).await, [turn]);
            drop(port);
            closed(&mut pty).await;
            assert!(timeout(Duration::from_millis(50), pty.read(&mut [0; 64])).await.is_err(), "told of twice");
        }
    }

    #[tokio::test]
    async fn nobody_at_the_port_is_no_failure() {
        let dir = tempfile::tempdir().unwrap();
        let mut pty = Pty::open(&dir.path().join("port")).unwrap();
        assert!(timeout(Duration::from_millis(50), pty.read(&mut [0; 64])).await.is_err());
        pty.write(b"unheard\n").await.unwrap();
    }

    #[tokio::test]
    async fn a_full_port_makes_the_writer_wait() {
        let dir = tempfile::tempdir().unwrap();
        let mut pty = Pty::open(&dir.path().join("port")).unwrap();
        let flood = vec![b'x'; 1 << 20];
        assert!(timeout(Duration::from_millis(200), pty.write(&flood)).await.is_err());
    }

    #[tokio::test]
    async fn the_link_goes_with_its_port() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("port");
        let pty = Pty::open(&path).unwrap();
        assert!(Pty::open(&path).is_err(), "a link was replaced");
        assert!(path.exists());
        drop(pty);
        assert!(path.symlink_metadata().is_err());
    }
}
