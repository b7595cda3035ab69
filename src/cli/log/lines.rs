//! Lines of log on their way out, on a thread of their own.
//!
//! Whoever reads standard error may go away or stop reading, a terminal that was closed, a log driver that
//! hangs. Nobody here waits for them: what finds no room is dropped and counted, and the count is told
//! as soon as lines go out again.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

/// How many lines may wait. The longest are a few hundred bytes.
const WAITING: usize = 4096;
/// How long the last lines may take when the process ends.
const LAST_LINES: Duration = Duration::from_millis(500);

/// Takes lines in. One is one write, as the subscriber does it.
#[derive(Clone)]
pub struct Lines {
    waiting: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
}

/// Sees the last lines out when it is dropped.
pub struct LastLines {
    lines: Lines,
    ended: Receiver<()>,
}

impl Lines {
    /// Lines that go to `out`. They go for as long as the second half is kept.
    pub fn to(out: impl Write + Send + 'static) -> (Self, LastLines) {
        let (waiting, lines) = sync_channel(WAITING);
        let (end, ended) = sync_channel(1);
        let dropped: Arc<AtomicU64> = Arc::default();
        let this = Self { waiting, dropped: dropped.clone() };
        // Not joined: a write to a reader that hangs never ends.
        std::thread::spawn(move || {
            write_out(&lines, &dropped, out);
            let _ = end.send(());
        });
        (this.clone(), LastLines { lines: this, ended })
    }
}

fn write_out(lines: &Receiver<Vec<u8>>, dropped: &AtomicU64, mut out: impl Write) {
    // An empty one is the last.
    for line in lines.iter().take_while(|line| !line.is_empty()) {
        let missing = dropped.swap(0, Ordering::Relaxed);
        if missing > 0 {
            let _ = writeln!(out, "{missing} lines of log were dropped here: nobody took them");
        }
        // Without a reader there is nobody to tell.
        let _ = out.write_all(&line);
    }
    let _ = out.flush();
}

/// What is one event is one line. Much of what is told comes from elsewhere, topics and names and errors, and a line break in
/// it would let strangers write lines of the log that look like ours.
fn one_line(event: &[u8]) -> Vec<u8> {
    let (body, end) = event.strip_suffix(b"\n").map_or((event, &b""[..]), |body| (body, b"\n"));
    let mut line = Vec::with_capacity(event.len());
    for byte in body {
        match byte {
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            byte => line.push(*byte),
        }
    }
    line.extend_from_slice(end);
    line
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !line.is_empty() && self.waiting.try_send(one_line(line)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Drop for LastLines {
    fn drop(&mut self) {
        let deadline = Instant::now() + LAST_LINES;
        while self.lines.waiting.try_send(Vec::new()).is_err() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.ended.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    use super::*;

    /// Takes what is written, once it is let.
    struct Reader {
        let_go: Receiver<()>,
        read: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.let_go.recv();
            self.read.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_hangs_holds_nobody_up_and_what_was_dropped_is_told() {
        let (release, let_go) = channel();
        let read: Arc<Mutex<Vec<u8>>> = Arc::default();
        let (mut lines, last) = Lines::to(Reader { let_go, read: read.clone() });
        // One more may be on its way out, or not yet.
        for number in 0..WAITING + 10 {
            writeln!(lines, "{number}").unwrap();
        }
        drop(release);
        drop(last);
        let text = String::from_utf8(read.lock().unwrap().clone()).unwrap();
        assert!(text.contains("lines of log were dropped here"), "{} lines", text.lines().count());
    }

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        assert_eq!(one_line(b"WARN a\nWARN b\r\n\n"), b"WARN a\\nWARN b\\r\\n\n");
        assert_eq!(one_line(b"WARN a\n"), b"WARN a\n");
        assert_eq!(one_line(b"a"), b"a");
    }

    #[test]
    fn the_last_lines_are_written_before_the_end() {
        let (release, let_go) = channel::<()>();
        drop(release);
        let read: Arc<Mutex<Vec<u8>>> = Arc::default();
        let (mut lines, last) = Lines::to(Reader { let_go, read: read.clone() });
        for _ in 0..100 {
            lines.write_all(b"line\n").unwrap();
        }
        drop(last);
        assert_eq!(read.lock().unwrap().len(), 500);
    }
}
