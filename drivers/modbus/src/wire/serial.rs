//! A serial line at work. It has a thread of its own: the silence between frames is down to
//! 1.75 ms, which a runtime that counts in milliseconds cannot keep without losing a third of the
//! line, and no call of a serial driver can be trusted to return at once.
//!
//! What happens when is decided in [`turns`](super::turns); here are the port and the clock.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, warn};
use wharf_contract::DriverError;

use super::fault::Fault;
use super::limits::Limits;
use super::port::{Port, Setup, Woken};
use super::question::Question;
use super::rtu;
use super::tally::Tally;
use super::turns::{Echo, Failure, Step, Turns};

/// An open serial line. Dropping it closes the port soon, also in the middle of an exchange.
#[derive(Debug)]
pub(crate) struct Serial {
    /// `None` when it is to be closed.
    jobs: Option<mpsc::Sender<Job>>,
    /// Written to, it wakes the thread.
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
    tally: Arc<Mutex<Tally>>,
    /// Whether it is known by now if the line gives back what is sent on it.
    knows_echo: Arc<AtomicBool>,
    broken: bool,
}

#[derive(Debug)]
struct Job {
    question: Question,
    timeout: Duration,
    send_by: Option<Instant>,
    reply: oneshot::Sender<Result<Vec<u8>, Failure>>,
}

impl Serial {
    /// Opens the line.
    ///
    /// # Errors
    /// `Fatal` when someone has to change something, else `Lost`.
    pub(crate) async fn open(setup: Setup) -> Result<Self, DriverError> {
        let lost = |error: io::Error| DriverError::lost(error);
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|e| lost(e.into()))?);
        let tally = Arc::new(Mutex::new(Tally::default()));
        let knows_echo = Arc::new(AtomicBool::new(setup.echo != Echo::Unknown));
        let (jobs, queue) = mpsc::channel(1);
        let (opened, is_open) = oneshot::channel();
        let keeper =
            Keeper { setup, wake: Arc::clone(&wake), tally: Arc::clone(&tally), knows_echo: Arc::clone(&knows_echo) };
        let thread = std::thread::Builder::new().name("modbus-serial".into()).spawn(move || keeper.run(queue, opened));
        let thread = Some(thread.map_err(lost)?);
        let serial = Self { jobs: Some(jobs), wake, thread, tally, knows_echo, broken: false };
        match is_open.await {
            Ok(outcome) => outcome.map(|()| serial),
            Err(_) => Err(DriverError::lost("the thread of the serial line ended")),
        }
    }

    /// One exchange: the request's PDU to a unit, and the answer's PDU; empty after a broadcast.
    /// `timeout` is the device's own time, what the characters take on the wire comes on top. The
    /// wait for a quiet line, which may last four timeouts after an unanswered request, does too.
    ///
    /// # Errors
    /// There was no answer, or none that can be believed; it could not be sent in time; or the port is
    /// gone: then the line is broken.
    pub(super) async fn exchange(&mut self, unit: u8, pdu: &[u8], limits: impl Into<Limits>) -> Result<Vec<u8>, Fault> {
        let Limits { timeout, send_by, .. } = limits.into();
        let question =
            Question::new(unit, pdu).ok_or_else(|| Fault::not_sent(format!("{} bytes are no request", pdu.len())))?;
        let gone = || Failure::Gone("the serial line is closed".into());
        let (reply, answer) = oneshot::channel();
        let job = Job { question, timeout, send_by: send_by.map(Into::into), reply };
        let outcome = match &self.jobs {
            Some(jobs) if jobs.send(job).await.is_ok() => answer.await.unwrap_or_else(|_| Err(gone())),
            _ => Err(gone()),
        };
        outcome.map_err(|failure| match failure {
            Failure::Silent(reason) => Fault::Silent(reason),
            Failure::Noisy(reason) => Fault::Unsent(reason),
            Failure::Expired => Fault::Expired,
            Failure::Damaged(reason) => Fault::Broken(reason),
            Failure::Gone(reason) => {
                self.broken = true;
                Fault::Broken(reason)
            }
        })
    }

    /// Whether it is known by now if the line gives back what is sent on it. Until then the answer to a
    /// write of one place is no proof: it could be an echo.
    pub(super) fn knows_echo(&self) -> bool {
        self.knows_echo.load(Ordering::Relaxed)
    }

    /// Whether it is of no use any more.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Closes it, and returns when the port is free.
    pub(crate) async fn close(mut self) {
        if let Some(ended) = self.end() {
            let _ = ended.await;
        }
    }

    /// Tells the thread to end, and has somebody wait for it who may.
    fn end(&mut self) -> Option<tokio::task::JoinHandle<()>> {
        self.jobs = None;
        // It cannot fail: the counter is far from full.
        let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
        let thread = self.thread.take()?;
        // Without a runtime the program is ending, and the thread with it.
        let runtime = Handle::try_current().ok()?;
        Some(runtime.spawn_blocking(move || {
            // A panic was seen as a line that is gone.
            let _ = thread.join();
        }))
    }

    /// What was counted since it was opened.
    pub(crate) fn tally(&self) -> Tally {
        *self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Serial {
    fn drop(&mut self) {
        self.end();
    }
}

/// The thread's side.
struct Keeper {
    setup: Setup,
    wake: Arc<OwnedFd>,
    tally: Arc<Mutex<Tally>>,
    knows_echo: Arc<AtomicBool>,
}

impl Keeper {
    fn run(self, mut jobs: mpsc::Receiver<Job>, opened: oneshot::Sender<Result<(), DriverError>>) {
        let port = match Port::open(&self.setup) {
            Ok(port) => port,
            Err(error) => {
                let _ = opened.send(Err(error));
                return;
            }
        };
        if opened.send(Ok(())).is_err() {
            return;
        }
        let mut turns = Turns::new(self.setup.pace(), self.setup.echo);
        let mut is_warned = self.setup.echo == Echo::On;
        while let Some(job) = jobs.blocking_recv() {
            turns.begin(job.question, job.timeout, job.send_by, Instant::now());
            let outcome = self.converse(&port, &mut turns).unwrap_or_else(|error| {
                turns.abandon();
                Err(Failure::Gone(format!("{} is gone: {error}", self.setup.path)))
            });
            if turns.echo() == Echo::On && !std::mem::replace(&mut is_warned, true) {
                warn!(port = %self.setup.path, "the line gives back what is sent on it: write `echo: true`");
            }
            self.knows_echo.store(turns.echo() != Echo::Unknown, Ordering::Relaxed);
            *self.tally.lock().unwrap_or_else(PoisonError::into_inner) = turns.tally();
            let is_gone = matches!(outcome, Err(Failure::Gone(_)));
            let _ = job.reply.send(outcome);
            if is_gone {
                break;
            }
        }
        let tally = turns.tally();
        debug!(port = %self.setup.path, ?tally, unanswered = tally.unanswered(), "the serial line is closed");
    }

    /// One exchange. An error means that the port is gone, or should go.
    fn converse(&self, port: &Port, turns: &mut Turns) -> io::Result<Result<Vec<u8>, Failure>> {
        let mut buffer = [0; rtu::LONGEST];
        loop {
            // The clock first and then the port: a thread that had to wait for its turn on a busy machine
            // does not give an answer up that has come in meanwhile.
            let now = Instant::now();
            let count = port.read(&mut buffer)?;
            if count > 0 {
                turns.heard(buffer.get(..count).unwrap_or_default(), Instant::now());
            }
            match turns.step(now) {
                Step::Done(outcome) => return Ok(outcome),
                Step::Listen(until) => match port.listen(until, &self.wake)? {
                    Woken::Time | Woken::Characters => {}
                    Woken::Call => return Err(io::Error::other("the link was given up")),
                },
                Step::Send(frame) => {
                    port.write(&frame)?;
                    turns.sent(Instant::now());
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "serial_tests.rs"]
mod tests;
