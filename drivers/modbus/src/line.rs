//! The session's view of the wire: ask a unit something, get its answer or a reason. One request at a
//! time, over a connection that is made anew when it has to be.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{self, Instant, sleep, sleep_until};
use wharf_contract::DriverError;
use wharf_contract::port::{Outcome, Traffic};

use crate::decode::Raw;
use crate::link::{Link, Table};
use crate::pdu::{self, Answer, BadAnswer, Request};
use crate::wire::{Dialer, Opened, Wire};

pub(crate) use crate::wire::{Fault, Limits};

/// A connection that was idle for this long may be closed at the other side.
const STALE: Duration = Duration::from_secs(15);

/// A connection that is released stays for this long, in case there is more to ask.
const LINGER: Duration = Duration::from_millis(100);

/// A connection that an exchange needs afresh may take at least this long.
const SOON: Duration = Duration::from_secs(1);

/// Why a session ends that could not connect. What will never open is not tried again.
pub(crate) fn ended(error: io::Error) -> DriverError {
    match error.downcast::<DriverError>() {
        Ok(known) => known,
        Err(error) => DriverError::lost(error),
    }
}

/// The exception by which a gateway says that nobody answered (Modbus application protocol 1.1b3, 7).
const NOBODY: u8 = 11;

/// More parts than this no identification has: one for each object.
const MOST_PARTS: usize = 256;

/// What a device says it is: number and bytes of each object, in as many requests as it takes. Level 1
/// is basic, 2 regular, 3 extended. `ask` puts a request to the device.
pub(crate) async fn identify(
    level: u8,
    mut ask: impl AsyncFnMut(Request) -> Result<Answer, Fault>,
) -> Result<Vec<(u8, Vec<u8>)>, Fault> {
    let (mut objects, mut object) = (Vec::new(), 0);
    for _ in 0..MOST_PARTS {
        let Answer::Identification(part) = ask(Request::Identify { level, object }).await? else { break };
        objects.extend(part.objects);
        match part.next {
            None => return Ok(objects),
            // A device that leads in circles would be followed for ever.
            Some(next) if next > object => object = next,
            Some(next) => return Err(Fault::Broken(format!("after object {object} the device leads to {next}"))),
        }
    }
    Err(Fault::Broken("the identification does not end".into()))
}

/// The connection of one link, or the place for it.
pub(crate) struct Line {
    dialer: Dialer,
    wire: Option<Wire>,
    /// When the connection was made or last used.
    used: Instant,
    /// The last transaction id, so that the next connection goes on from there.
    last_id: u16,
    pause: Duration,
    pause_after_connect: Duration,
    /// Whether the connection is given back between polls.
    release: bool,
    /// Whether it was, so there is none for a good reason.
    resting: bool,
    /// Whether anything was answered over this connection; and whether nothing was, though it was asked.
    answered: bool,
    fruitless: bool,
    traffic: Traffic,
    /// Where the next request is counted as well.
    of_device: Option<Traffic>,
}

impl Line {
    /// A line that is not connected yet.
    pub(crate) fn new(link: &Link) -> Self {
        let transport = &link.transport;
        Self {
            dialer: Dialer::new(transport.way.clone()),
            wire: None,
            used: Instant::now(),
            last_id: anywhere(),
            pause: transport.pause,
            pause_after_connect: transport.pause_after_connect,
            release: transport.release,
            resting: false,
            answered: false,
            fruitless: false,
            traffic: Traffic::default(),
            of_device: None,
        }
    }

    /// Counts what is asked there.
    pub(crate) fn counting(self, traffic: Traffic) -> Self {
        Self { traffic, ..self }
    }

    /// Counts the next request for its device as well.
    pub(crate) fn asking(&mut self, device: &Traffic) -> &mut Self {
        self.of_device = Some(device.clone());
        self
    }

    fn count(&mut self, way: Outcome) {
        self.traffic.count(way);
        if let Some(device) = self.of_device.take() {
            device.count(way);
        }
    }

    /// Whether the other side may have closed the connection without our knowing, and a new one is to be
    /// had for the asking.
    pub(crate) fn may_be_stale(&self) -> bool {
        self.wire.as_ref().is_none_or(|wire| wire.is_renewable() && self.used.elapsed() >= STALE)
    }

    /// Whether the answer to a write proves that somebody answered. A read that is answered makes it so.
    pub(crate) fn knows_echo(&self) -> bool {
        self.wire.as_ref().is_none_or(Wire::knows_echo)
    }

    /// Whether the next exchange can begin: there is a connection, or one is made for it because
    /// connections are not held on this link.
    pub(crate) fn is_connected(&self) -> bool {
        self.wire.is_some() || self.resting
    }

    /// Whether bytes come and make no frame.
    pub(crate) fn is_noise(&self) -> bool {
        self.wire.as_ref().is_some_and(Wire::is_noise)
    }

    /// Makes a fresh connection, within five seconds for each address of the link.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn connect(&mut self) -> io::Result<()> {
        // Some devices serve a single connection: the old one goes first.
        self.close().await;
        if std::mem::take(&mut self.fruitless) {
            self.dialer.pass_over();
        }
        let opened = self.dialer.open().await?;
        self.take(opened);
        sleep(self.pause_after_connect).await;
        Ok(())
    }

    /// Gives the connection back if it is not to be held, and nothing is to be asked before `next`.
    pub(crate) fn rest(&mut self, next: Option<Instant>) {
        let soon = next.is_some_and(|next| next <= Instant::now() + LINGER);
        if self.release && !soon && self.wire.is_some() {
            self.hang_up();
            self.resting = true;
        }
    }

    /// Reads `count` bits or registers. The answer holds exactly that many.
    pub(crate) async fn read(
        &mut self,
        unit_id: u8,
        table: Table,
        start: u16,
        count: u16,
        limits: impl Into<Limits>,
    ) -> Result<Raw, Fault> {
        let request = match table {
            Table::Coil => Request::ReadCoils { start, count },
            Table::Discrete => Request::ReadDiscreteInputs { start, count },
            Table::Holding => Request::ReadHolding { start, count },
            Table::Input => Request::ReadInput { start, count },
        };
        match self.ask(unit_id, &request, limits).await? {
            Answer::Bits(bits) => Ok(Raw::Bits(bits)),
            Answer::Registers(registers) => Ok(Raw::Registers(registers)),
            _ => Err(Fault::not_sent("nobody answers a request to all units")),
        }
    }

    /// Writes bits or registers, one or several, each by the function made for it. Returns what the
    /// device confirmed: some answer a single write with what they hold now, not with an echo.
    pub(crate) async fn write(
        &mut self,
        unit_id: u8,
        start: u16,
        raw: &Raw,
        limits: impl Into<Limits>,
    ) -> Result<Raw, Fault> {
        let request = match raw {
            Raw::Bits(bits) => match bits[..] {
                [on] => Request::WriteCoil { address: start, on },
                _ => Request::WriteCoils { start, bits: bits.clone() },
            },
            Raw::Registers(words) => match words[..] {
                [value] => Request::WriteRegister { address: start, value },
                _ => Request::WriteRegisters { start, values: words.clone() },
            },
        };
        match self.ask(unit_id, &request, limits).await? {
            Answer::Bits(bits) => Ok(Raw::Bits(bits)),
            Answer::Registers(registers) => Ok(Raw::Registers(registers)),
            Answer::Written | Answer::Identification(_) | Answer::Raw(_) => Ok(raw.clone()),
        }
    }

    /// Asks a unit anything. Never cut short from outside: whoever calls this waits for its end. A
    /// request to all units of a bus is not answered, and counts as written.
    ///
    /// # Errors
    /// Why there is no answer. A request that the protocol does not allow is not sent.
    pub(crate) async fn ask(
        &mut self,
        unit_id: u8,
        request: &Request,
        limits: impl Into<Limits>,
    ) -> Result<Answer, Fault> {
        if let Err(reason) = request.check() {
            self.of_device = None;
            return Err(Fault::not_sent(reason));
        }
        let limits = limits.into();
        let outcome = self.put(unit_id, &request.encode(), limits).await;
        // A gateway that waited for an answer all the same says that nobody gave one.
        let is_untold = |answer: &[u8]| answer.is_empty() || limits.broadcast && answer.get(1..) == Some(&[NOBODY]);
        let untold = outcome.as_ref().is_ok_and(|answer| is_untold(answer));
        let outcome =
            outcome.and_then(|answer| if untold { Ok(Answer::Written) } else { self.understand(request, &answer) });
        let way = match &outcome {
            Ok(_) if untold => Outcome::Untold,
            Ok(_) => Outcome::Answered,
            Err(fault) => way_of(fault),
        };
        self.count(way);
        outcome
    }

    fn understand(&mut self, request: &Request, answer: &[u8]) -> Result<Answer, Fault> {
        pdu::parse(request, answer).map_err(|bad| {
            // Whoever answers nonsense may do so again: the next request starts afresh.
            // Only a serial port stays, for a fresh one would not know which late answers to expect.
            if matches!(bad, BadAnswer::Nonsense(_)) && !matches!(self.wire, Some(Wire::Serial(_))) {
                self.hang_up();
            }
            bad.into()
        })
    }

    /// Puts a PDU to a unit and brings the answer's, also an exception; an empty one after a request
    /// to all units of a serial bus. Never cut short from outside, as [`ask`](Self::ask).
    ///
    /// # Errors
    /// Why there is no answer.
    pub(crate) async fn exchange(
        &mut self,
        unit_id: u8,
        pdu: &[u8],
        limits: impl Into<Limits>,
    ) -> Result<Vec<u8>, Fault> {
        let outcome = self.put(unit_id, pdu, limits.into()).await;
        let way = match &outcome {
            Ok(answer) if answer.is_empty() => Outcome::Untold,
            Ok(_) => Outcome::Answered,
            Err(fault) => way_of(fault),
        };
        self.count(way);
        outcome
    }

    async fn put(&mut self, unit_id: u8, pdu: &[u8], limits: Limits) -> Result<Vec<u8>, Fault> {
        limits.in_time(self.make_ready(unit_id, limits.timeout)).await.ok_or(Fault::Expired)??;
        let Some(wire) = &mut self.wire else { return Err(Fault::Broken("there is no connection".into())) };
        // Getting ready may have taken long. A serial line looks once more when it is quiet.
        if limits.are_over(Instant::now()) {
            return Err(Fault::Expired);
        }
        let outcome = wire.exchange(unit_id, pdu, limits).await;
        self.used = Instant::now();
        self.answered |= outcome.is_ok();
        self.fruitless = !self.answered;
        if wire.is_broken() {
            self.hang_up();
        }
        outcome
    }

    /// Sees to it that there is a connection that this unit can be asked over, and that it had its pause.
    /// Each exchange begins with this. Whoever must not be late calls it first and looks at the clock then.
    ///
    /// # Errors
    /// There is no connection, and none could be made within `timeout`, or a second if that is longer.
    pub(crate) async fn make_ready(&mut self, unit_id: u8, timeout: Duration) -> Result<(), Fault> {
        if !self.pause.is_zero() {
            sleep_until(self.used + self.pause).await;
        }
        if self.wire.is_some()
            && let Some(better) = self.dialer.better().await
        {
            self.hang_up();
            self.take(better);
            sleep(self.pause_after_connect).await;
        }
        let ready = match &mut self.wire {
            Some(wire) => wire.make_ready(unit_id).await,
            None if self.resting => false,
            None => return Err(Fault::Broken("there is no connection".into())),
        };
        if ready {
            return Ok(());
        }
        // A stop of the gateway waits for this, so it has less time than the session's own attempts.
        match time::timeout(timeout.max(SOON), self.connect()).await {
            Ok(connected) => connected.map_err(|error| Fault::Broken(error.to_string())),
            Err(_) => Err(Fault::Broken("the connection was lost, and a new one takes its time".into())),
        }
    }

    fn take(&mut self, opened: Opened) {
        self.used = Instant::now();
        self.resting = false;
        self.answered = false;
        self.wire = Some(Wire::new(opened, self.last_id));
    }

    /// Ends the connection, and returns when it is closed: a port is free then.
    pub(crate) async fn close(&mut self) {
        if let Some(wire) = self.hang_up() {
            wire.close().await;
        }
    }

    /// Ends the connection, and gives what was it: some take a moment to close.
    fn hang_up(&mut self) -> Option<Wire> {
        self.resting = false;
        let wire = self.wire.take()?;
        self.last_id = wire.last_id().unwrap_or(self.last_id);
        Some(wire)
    }
}

/// How a request without a value ended, for the counts.
fn way_of(fault: &Fault) -> Outcome {
    match fault {
        Fault::Refused { exception: Some(_), .. } => Outcome::Answered,
        Fault::Refused { exception: None, .. } | Fault::Unsent(_) | Fault::Expired => Outcome::Unsent,
        Fault::Absent(_) | Fault::Silent(_) => Outcome::Silent,
        Fault::Broken(_) => Outcome::Damaged,
    }
}

/// Where transaction ids begin: each session elsewhere, so that answers which a gateway still holds for
/// the one before are known to be foreign.
fn anywhere() -> u16 {
    let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_micros());
    let [low, high, ..] = micros.to_le_bytes();
    u16::from_le_bytes([low, high])
}

#[cfg(test)]
mod tests;
