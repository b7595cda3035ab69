//! Exchanges over UDP: Modbus TCP's frames, one in each datagram. A datagram that was lost is not
//! sent again here: whether to ask again is the session's to say.

use std::io;

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::fault::Fault;
use super::ledger::Ledger;
use super::limits::Limits;
use super::mbap::{self, Frame, LONGEST_FRAME, Next};

/// The most datagrams that are thrown away before a request.
const MOST_UNASKED: usize = 64;

/// A socket that is connected to the device, so the kernel passes over datagrams from elsewhere.
pub(crate) struct Udp {
    socket: UdpSocket,
    ledger: Ledger,
    broken: bool,
}

impl Udp {
    /// A connected socket; transaction ids begin after `last_id`.
    pub(crate) fn new(socket: UdpSocket, last_id: u16) -> Self {
        Self { socket, ledger: Ledger::new(last_id), broken: false }
    }

    /// The last transaction id used.
    pub(crate) fn last_id(&self) -> u16 {
        self.ledger.last()
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// See [`Wire::make_ready`](super::Wire::make_ready).
    pub(super) fn make_ready(&mut self, unit: u8) -> bool {
        let mut datagram = [0; LONGEST_FRAME + 1];
        for _ in 0..MOST_UNASKED {
            match self.socket.try_recv(&mut datagram) {
                Ok(length) => {
                    if let Some(frame) = whole(datagram.get(..length).unwrap_or_default()) {
                        let _ = self.ledger.judge(&frame, frame.unit);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // That nobody listened a while ago says nothing of now.
                Err(_) => {}
            }
        }
        !self.ledger.owes(unit, Instant::now())
    }

    /// See [`Wire::exchange`](super::Wire::exchange).
    pub(super) async fn exchange(&mut self, unit: u8, pdu: &[u8], limits: Limits) -> Result<Vec<u8>, Fault> {
        let timeout = limits.timeout;
        let until = Instant::now() + timeout;
        let request = mbap::frame(self.ledger.next(), unit, pdu);
        let mut instead = None;
        let exchanged = timeout_at(until, async {
            self.socket.send(&request).await.map_err(|error| in_words(&error))?;
            let mut datagram = [0; LONGEST_FRAME + 1];
            loop {
                let length = self.socket.recv(&mut datagram).await.map_err(|error| in_words(&error))?;
                let Some(frame) = whole(datagram.get(..length).unwrap_or_default()) else {
                    instead = Some("no Modbus".to_owned());
                    continue;
                };
                self.ledger.heard();
                match self.ledger.judge(&frame, unit) {
                    Ok(()) => return Ok(frame.pdu.to_vec()),
                    Err(words) => instead = Some(words),
                }
            }
        });
        match exchanged.await {
            Ok(Ok(pdu)) => Ok(pdu),
            Ok(Err(fault)) => {
                self.broken = true;
                Err(fault)
            }
            // Nobody owes an answer, and the connection is as good as it was.
            Err(_) if limits.broadcast => Ok(Vec::new()),
            Err(_) => {
                self.broken |= self.ledger.not_answered(unit, Instant::now());
                Err(Fault::silent(timeout, instead))
            }
        }
    }
}

/// The frame that fills the datagram.
fn whole(datagram: &[u8]) -> Option<Frame<'_>> {
    match mbap::next(datagram) {
        Next::Frame(frame, length) if length == datagram.len() => Some(frame),
        _ => None,
    }
}

fn in_words(error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Fault::Broken("nobody listens there".into()),
        _ => Fault::Broken(format!("the datagram could not be exchanged: {error}")),
    }
}
