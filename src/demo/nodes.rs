//! The simulated MySensors gateway: the network on a pseudo terminal, which is a serial port to the
//! driver.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, warn};

use super::network::Network;
use super::pty::{Pty, Received};

/// What the link to the port is called.
const NAME: &str = "ttyDemo";
/// The longest line; what is longer is thrown away, as the library does.
const LONGEST_LINE: usize = 100;
/// How long a line may wait for a reader that has fallen behind. Then it is thrown away.
const SEND_PATIENCE: Duration = Duration::from_millis(500);
/// How long stopping may take: a line under way, and a little more.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// The running gateway. Dropping it stops it too, without waiting for the end.
#[derive(Debug)]
pub struct Nodes {
    path: PathBuf,
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl Nodes {
    /// Opens a port in this directory and waits there for a driver.
    ///
    /// # Errors
    ///
    /// The system has no pseudo terminal to give, or the directory is not ours to write to.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn start(dir: &Path) -> io::Result<Self> {
        let path = dir.join(NAME);
        let pty = Pty::open(&path)?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(pty, stop.clone()));
        Ok(Self { path, stop: stop.drop_guard(), task })
    }

    /// The port to open, as a full path if the directory was one.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Closes the port and waits until that is done.
    pub async fn stop(mut self) {
        drop(self.stop);
        if timeout(STOP_PATIENCE, &mut self.task).await.is_err() {
            warn!("the simulated mysensors gateway did not end in time");
            self.task.abort();
        }
    }
}

async fn run(mut pty: Pty, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        ended = serve(&mut pty) => if let Err(error) = ended {
            warn!(%error, "the simulated mysensors gateway failed");
        }
    }
}

async fn serve(pty: &mut Pty) -> io::Result<()> {
    let mut network = Network::default();
    let mut lines = Lines::default();
    let mut chunk = [0; 256];
    let begin = Instant::now();
    let mut lost: u64 = 0;
    loop {
        let next = network.next().map(|due| begin + due);
        let mut said = Vec::new();
        // Arms only choose what to do next, so that no line is cut in half by another.
        tokio::select! {
            received = pty.read(&mut chunk) => match received? {
                Received::Closed => {
                    network.halt();
                    lines = Lines::default();
                }
                Received::Bytes(count) => {
                    // A real gateway restarts when its port is opened. A pseudo terminal does not
                    // show that, so the first thing heard stands for it.
                    if !network.is_running() {
                        said = network.start(begin.elapsed());
                    }
                    for line in lines.push(&chunk[..count]) {
                        said.extend(network.hear(&line, begin.elapsed()));
                    }
                }
            },
            () = due(next) => said = network.speak(begin.elapsed()),
        }
        for line in said {
            if !send(pty, &line).await {
                lost += 1;
                debug!(lost, "nobody reads the simulated serial port, a line was lost");
            }
        }
    }
}

/// Waits until then; for ever, if there is nothing to wait for.
async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Sends a line, and says whether all of it left in time. A port that has just been closed takes
/// none; reading is what tells so.
async fn send(pty: &mut Pty, line: &str) -> bool {
    matches!(timeout(SEND_PATIENCE, pty.write(format!("{line}\n").as_bytes())).await, Ok(Ok(())))
}

/// Cuts what comes in into lines.
#[derive(Debug, Default)]
struct Lines {
    begun: Vec<u8>,
    /// Whether the line that has begun is too long and is thrown away.
    too_long: bool,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for &byte in bytes {
            if byte == b'\n' {
                // What is no text is no message either; the network ignores both.
                let line = String::from_utf8_lossy(&std::mem::take(&mut self.begun)).into_owned();
                if !std::mem::take(&mut self.too_long) {
                    lines.push(line);
                }
            } else if self.begun.len() < LONGEST_LINE {
                self.begun.push(byte);
            } else {
                self.too_long = true;
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::io::{BufRead, BufReader, Write};

    use super::*;

    /// The port as a driver would open it. Reading blocks, so it is done on a thread of its own.
    struct Port {
        file: File,
        lines: tokio::sync::mpsc::UnboundedReceiver<String>,
    }

    impl Port {
        fn open(nodes: &Nodes) -> Self {
            let file = OpenOptions::new().read(true).write(true).open(nodes.path()).unwrap();
            let reader = BufReader::new(file.try_clone().unwrap());
            let (sender, lines) = tokio::sync::mpsc::unbounded_channel();
            std::thread::spawn(move || {
                for line in reader.lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
            Self { file, lines }
        }

        fn say(&mut self, line: &str) {
            self.file.write_all(format!("{line}\n").as_bytes()).unwrap();
        }

        async fn expect(&mut self, expected: &str) {
            let heard = async { while self.lines.recv().await.expect("the port was closed") != expected {} };
            timeout(Duration::from_secs(20), heard).await.unwrap_or_else(|_| panic!("never heard: {expected}"));
        }
    }

    fn start() -> (tempfile::TempDir, Nodes) {
        let dir = tempfile::tempdir().unwrap();
        let nodes = Nodes::start(dir.path()).unwrap();
        (dir, nodes)
    }

    #[tokio::test]
    async fn the_first_question_starts_the_gateway_and_a_valve_obeys() {
        let (_dir, nodes) = start();
        let mut port = Port::open(&nodes);
        port.say("0;255;3;0;2;");
        port.expect("0;255;3;0;14;Gateway startup complete.").await;
        port.expect("0;255;3;0;2;2.3.2").await;
        port.expect("3;3;1;0;2;0").await;
        port.say("3;3;1;1;2;1");
        port.expect("3;3;1;1;2;1").await;
        port.expect("3;3;1;0;2;1").await;
        nodes.stop().await;
    }

    #[tokio::test]
    async fn stopping_hangs_up_and_removes_the_port() {
        let (_dir, nodes) = start();
        let path = nodes.path().to_owned();
        let mut port = Port::open(&nodes);
        port.say("0;255;3;0;2;");
        port.expect("0;255;3;0;2;2.3.2").await;
        nodes.stop().await;
        let hung_up = async { while port.lines.recv().await.is_some() {} };
        timeout(Duration::from_secs(20), hung_up).await.expect("the port was not hung up");
        assert!(path.symlink_metadata().is_err());
    }

    #[test]
    fn lines_come_in_pieces_and_too_long_ones_not_at_all() {
        let mut lines = Lines::default();
        assert!(lines.push(b"0;255;3").is_empty());
        assert_eq!(lines.push(b";0;2;\n1;2\n3"), ["0;255;3;0;2;", "1;2"]);
        assert!(lines.push(&[b'x'; 5_000]).is_empty());
        assert_eq!(lines.begun.len(), LONGEST_LINE);
        assert_eq!(lines.push(b"\nnext\n"), ["next"]);
        assert_eq!(lines.push(&[0xff, b'\n']), ["\u{fffd}"]);
    }
}
