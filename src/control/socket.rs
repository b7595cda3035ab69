//! The socket's file, and the lock beside it that says whose it is.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode};
use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tracing::warn;

/// How many clients the kernel lets wait until they are served.
const BACKLOG: u32 = 16;

/// A listening control socket; its file is removed when this is dropped.
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// Locked as long as this lives.
    _lock: File,
}

/// Another gateway runs with the same state directory.
#[derive(Debug, thiserror::Error)]
#[error("another wharf is running with the state in {dir}; one state directory, one queue, one gateway")]
pub struct Taken {
    dir: PathBuf,
}

impl Socket {
    /// Where the socket of a gateway with this state directory is.
    pub fn path(state_dir: &Path) -> PathBuf {
        state_dir.join("control.sock")
    }

    /// Begins to listen, in place of whatever a gateway that died has left. `None` if that cannot be:
    /// then a warning has said why. To be called within a runtime.
    ///
    /// # Errors
    ///
    /// Another gateway is running there.
    pub fn claim(state_dir: &Path) -> Result<Option<Self>, Taken> {
        let claimed = lock(state_dir).and_then(|lock| {
            let Some(lock) = lock else { return Ok(None) };
            let path = Self::path(state_dir);
            // Whoever holds the lock is alone here, so a socket that is there is nobody's.
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            Ok(Some(Self { listener: listen(&path)?, path, _lock: lock }))
        });
        match claimed {
            Ok(Some(socket)) => Ok(Some(socket)),
            Ok(None) => Err(Taken { dir: state_dir.to_owned() }),
            Err(error) => {
                let path = Self::path(state_dir);
                warn!(path = %path.display(), %error, "no control socket: `wharf status` will not find this gateway");
                Ok(None)
            }
        }
    }

    /// Waits for a client.
    ///
    /// # Errors
    ///
    /// Those of the system, such as too many open files.
    pub async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Takes the lock; `None` if another process has it. It goes with its process, however that ends.
fn lock(state_dir: &Path) -> io::Result<Option<File>> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(state_dir)?;
    let path = state_dir.join("control.lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = UnixSocket::new_stream()?;
    // Linux gives the file the mode its socket has when it is bound: there is no moment in which
    // others could connect.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    socket.bind(path)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn only_its_owner_may_come_in_and_nothing_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("a/state");
        let socket = Socket::claim(&state).unwrap().unwrap();
        assert_eq!((mode(&state), mode(&Socket::path(&state))), (0o700, 0o600));
        drop(socket);
        assert!(!Socket::path(&state).exists());
    }

    #[tokio::test]
    async fn the_socket_of_a_dead_gateway_is_replaced_and_that_of_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        drop(std::os::unix::net::UnixListener::bind(Socket::path(dir.path())).unwrap());
        assert!(Socket::path(dir.path()).exists());
        let socket = Socket::claim(dir.path()).unwrap();
        assert!(socket.is_some());
        let again = Socket::claim(dir.path()).err().unwrap();
        assert!(again.to_string().contains(&dir.path().display().to_string()), "{again}");
        assert!(Socket::path(dir.path()).exists());
    }

    #[tokio::test]
    async fn a_path_too_long_for_a_socket_is_no_reason_not_to_run() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("long".repeat(30));
        assert!(Socket::claim(&state).unwrap().is_none());
    }
}
