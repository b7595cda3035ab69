//! Exchanges over Modbus TCP: whatever stream there is, with transaction ids.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};

use super::fault::Fault;
use super::ledger::Ledger;
use super::limits::Limits;
use super::mbap::{self, Next};
use super::stream::{self, Stream};

/// How long a device that dialled in, and cannot be called back, is given to send what it owes.
const LATE: Duration = Duration::from_secs(1);

/// So many answers to other requests are read over during one exchange. Who sends more is no device.
const MOST_FOREIGN: usize = 64;

/// A connection.
pub(crate) struct Tcp {
    stream: Box<dyn Stream>,
    /// The beginning of a frame, or what came behind the last one. Never much more than a frame.
    buffer: Vec<u8>,
    ledger: Ledger,
    /// Whether the device dialled in, so that we cannot make a new connection when we want one.
    dialled_in: bool,
    broken: bool,
}

impl Tcp {
    /// A connection whose transaction ids begin after `last_id`.
    pub(super) fn new(stream: Box<dyn Stream>, last_id: u16, dialled_in: bool) -> Self {
        Self { stream, buffer: Vec::new(), ledger: Ledger::new(last_id), dialled_in, broken: false }
    }

    pub(super) fn is_dialled_in(&self) -> bool {
        self.dialled_in
    }

    /// The last transaction id used.
    pub(crate) fn last_id(&self) -> u16 {
        self.ledger.last()
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// See [`Wire::make_ready`](super::Wire::make_ready).
    pub(super) async fn make_ready(&mut self, unit: u8) -> bool {
        let buffer = &mut self.buffer;
        self.broken |= !stream::drain(&mut *self.stream, |piece| buffer.extend_from_slice(piece)).await;
        self.settle();
        if self.dialled_in {
            let until = Instant::now() + LATE;
            while !self.broken && self.ledger.owes(unit, Instant::now()) {
                match timeout_at(until, stream::read_more(&mut *self.stream, &mut self.buffer)).await {
                    Ok(more) => self.broken |= more.is_err(),
                    // Hanging up on it would cost more: it dials in again when it likes.
                    Err(_) => return true,
                }
                self.settle();
            }
        }
        !self.broken && !self.ledger.owes(unit, Instant::now())
    }

    /// Late answers pay what was owed. An answer to a request that was never made is nonsense.
    fn settle(&mut self) {
        while let Next::Frame(frame, length) = mbap::next(&self.buffer) {
            let _ = self.ledger.judge(&frame, frame.unit);
            self.ledger.heard();
            self.buffer.drain(..length);
        }
        self.broken |= matches!(mbap::next(&self.buffer), Next::Nonsense(_));
    }

    /// See [`Wire::exchange`](super::Wire::exchange).
    pub(super) async fn exchange(&mut self, unit: u8, pdu: &[u8], limits: Limits) -> Result<Vec<u8>, Fault> {
        let timeout = limits.timeout;
        let until = Instant::now() + timeout;
        let request = mbap::frame(self.ledger.next(), unit, pdu);
        match timeout_at(until, self.stream.write_all(&request)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(self.broken(Fault::lost(&error))),
            // A part of the request may be on its way, so nothing can follow it.
            Err(_) => return Err(self.broken(Fault::Broken(format!("no request could be sent within {timeout:?}")))),
        }
        let mut instead = None;
        match timeout_at(until, self.answer(unit, &mut instead)).await {
            Ok(outcome) => outcome,
            // Nobody owes an answer, and the connection is as good as it was.
            Err(_) if limits.broadcast => Ok(Vec::new()),
            Err(_) => {
                self.broken |= self.ledger.not_answered(unit, Instant::now());
                Err(Fault::silent(timeout, instead))
            }
        }
    }

    /// Waits for the answer to the request under way, and reads over all others.
    async fn answer(&mut self, unit: u8, instead: &mut Option<String>) -> Result<Vec<u8>, Fault> {
        let mut foreign = 0;
        loop {
            match mbap::next(&self.buffer) {
                Next::More => {
                    if let Err(error) = stream::read_more(&mut *self.stream, &mut self.buffer).await {
                        return Err(self.broken(Fault::lost(&error)));
                    }
                    self.ledger.heard();
                }
                Next::Frame(frame, length) => {
                    let verdict = self.ledger.judge(&frame, unit);
                    let pdu = frame.pdu.to_vec();
                    self.buffer.drain(..length);
                    match verdict {
                        Ok(()) => return Ok(pdu),
                        Err(words) => *instead = Some(words),
                    }
                    foreign += 1;
                    if foreign > MOST_FOREIGN {
                        return Err(
                            self.broken(Fault::Broken("one answer after another came that nobody asked for".into()))
                        );
                    }
                }
                Next::Nonsense(words) => {
                    return Err(self.broken(Fault::Broken(format!("the answer makes no sense: {words}"))));
                }
            }
        }
    }

    fn broken(&mut self, fault: Fault) -> Fault {
        self.broken = true;
        fault
    }
}
