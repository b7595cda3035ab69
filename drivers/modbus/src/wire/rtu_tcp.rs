//! Exchanges in RTU frames over TCP, as serial servers without a mind of their own carry them.
//!
//! There is no transaction id, and a fresh connection is no protection: the server hands whatever the
//! bus says to whoever is connected. So after a request that was not answered the line is kept quiet
//! for as long again, and what comes in that time is thrown away. The unit that owes the answer is left
//! alone longer than that if need be: of the others it can be told apart, of itself it cannot.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep, timeout_at};

use super::fault::Fault;
use super::rtu::{self, Length};
use super::stream::{self, Stream};

/// Bytes that follow one another closer than this belong together. On the bus itself it is a few
/// milliseconds; the network adds its own.
const SILENCE: Duration = Duration::from_millis(50);

/// How long the units get to digest what was said to all of them (2.4.1 of the serial line guide:
/// typically 100 to 200 ms).
const TURNAROUND: Duration = Duration::from_millis(100);

/// The most that is thrown away at once, in bytes. Who sends more unasked is no bus.
const MOST_UNASKED: usize = 16 * rtu::LONGEST;

/// A unit that owes an answer is left alone for at least this long.
const LEFT_ALONE: Duration = Duration::from_secs(1);

/// After so many silences in a row, without a single byte in between, the connection counts as dead.
const SILENCES: u8 = 2;

/// What is said of bytes that do not even begin as an answer of the unit that was asked.
const NOISE: &str = "bytes arrive but make no frame: another speed or parity at the serial server?";

/// The unit that stands for all of them.
const ALL: u8 = 0;

/// A connection.
pub(crate) struct RtuOverTcp {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
    /// The answers that may still come, one for each unit at most.
    late: Vec<Late>,
    silences: u8,
    broken: bool,
}

/// An answer that did not come in time.
struct Late {
    unit: u8,
    /// Until when the bus may be busy with it.
    busy: Instant,
    /// Until when it would be taken for another one of the same unit.
    mistakable: Instant,
}

/// What some bytes are to someone who waits for an answer.
enum Verdict {
    /// Its beginning, perhaps.
    More,
    /// A frame of unknown length: only silence tells its end.
    MoreUntilSilence,
    /// The answer's PDU.
    Answer(Vec<u8>),
    /// So many bytes are an answer that nobody waits for any more.
    Foreign(usize, u8),
    /// Nothing that can be trusted, and why.
    Damaged(&'static str),
}

impl RtuOverTcp {
    /// A fresh connection.
    pub(crate) fn new(stream: Box<dyn Stream>) -> Self {
        Self { stream, buffer: Vec::new(), late: Vec::new(), silences: 0, broken: false }
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// See [`Wire::make_ready`](super::Wire::make_ready).
    pub(super) async fn make_ready(&mut self, unit: u8) -> bool {
        self.keep_quiet(unit).await;
        self.buffer.clear();
        self.broken |= !stream::drain(&mut *self.stream, |_| ()).await;
        !self.broken
    }

    /// See [`Wire::exchange`](super::Wire::exchange).
    pub(super) async fn exchange(&mut self, unit: u8, pdu: &[u8], timeout: Duration) -> Result<Vec<u8>, Fault> {
        let until = Instant::now() + timeout;
        self.buffer.clear();
        match timeout_at(until, self.stream.write_all(&rtu::frame(unit, pdu))).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(self.broken(Fault::lost(&error))),
            Err(_) => return Err(self.broken(Fault::Broken(format!("no request could be sent within {timeout:?}")))),
        }
        if unit == ALL {
            sleep(TURNAROUND).await;
            return Ok(Vec::new());
        }
        let function = pdu.first().copied().unwrap_or_default();
        let mut instead = None;
        if let Ok(outcome) = timeout_at(until, self.answer(unit, function, &mut instead)).await {
            return outcome;
        }
        // The rest of a late answer may come as well as a whole one.
        self.late.retain(|late| late.unit != unit);
        self.late.push(Late { unit, busy: until + timeout, mistakable: until + timeout.max(LEFT_ALONE) });
        let count = self.buffer.len();
        self.silences = self.silences.saturating_add(1);
        if self.silences >= SILENCES {
            // The next connection knows nothing of this one's debts.
            self.keep_quiet(unit).await;
            self.broken = true;
        }
        match count {
            0 => Err(Fault::silent(timeout, instead)),
            _ if self.buffer.first() != Some(&unit) => Err(Fault::Broken(NOISE.into())),
            _ => Err(Fault::Broken(format!("the answer stopped after {count} bytes"))),
        }
    }

    async fn answer(&mut self, unit: u8, function: u8, instead: &mut Option<String>) -> Result<Vec<u8>, Fault> {
        loop {
            let mut silence = None;
            match judge(&self.buffer, unit, function) {
                Verdict::Answer(pdu) => return Ok(pdu),
                Verdict::Foreign(length, from) => {
                    *instead = Some(format!("an answer from unit {from}"));
                    self.late.retain(|late| late.unit != from);
                    self.buffer.drain(..length);
                    continue;
                }
                Verdict::Damaged(words) => {
                    let noise = self.buffer.first() != Some(&unit);
                    self.until_silence().await;
                    return Err(Fault::Broken(if noise { NOISE.to_owned() } else { format!("the answer {words}") }));
                }
                Verdict::More => {}
                Verdict::MoreUntilSilence => silence = Some(Instant::now() + SILENCE),
            }
            let more = stream::read_more(&mut *self.stream, &mut self.buffer);
            let more = match silence {
                None => more.await,
                Some(silence) => match timeout_at(silence, more).await {
                    Ok(more) => more,
                    Err(_) => return self.ended_by_silence(unit, function),
                },
            };
            if let Err(error) = more {
                return Err(self.broken(Fault::lost(&error)));
            }
            self.silences = 0;
        }
    }

    /// What has come is all there will be.
    fn ended_by_silence(&mut self, unit: u8, function: u8) -> Result<Vec<u8>, Fault> {
        match rtu::open(&self.buffer) {
            Ok((from, pdu)) if from == unit && pdu.first().is_some_and(|code| code & 0x7F == function) => {
                Ok(pdu.to_vec())
            }
            Ok(_) => Err(Fault::Broken("the answer is to another request".into())),
            Err(damage) => Err(Fault::Broken(format!("the answer {}", damage.words()))),
        }
    }

    /// Throws away what comes, until no late answer can disturb an exchange with this unit any more.
    async fn keep_quiet(&mut self, unit: u8) {
        while !self.broken {
            if let Length::Exactly(length) = rtu::answer_length(&self.buffer)
                && let Some(frame) = self.buffer.get(..length)
                && let Ok((from, _)) = rtu::open(frame)
            {
                self.late.retain(|late| late.unit != from);
                self.buffer.drain(..length);
            }
            let now = Instant::now();
            self.late.retain(|late| late.busy.max(late.mistakable) > now);
            let until = |late: &Late| if late.unit == unit { late.busy.max(late.mistakable) } else { late.busy };
            let Some(until) = self.late.iter().map(until).max().filter(|until| *until > now) else { return };
            match timeout_at(until, stream::read_more(&mut *self.stream, &mut self.buffer)).await {
                Ok(Ok(())) => self.broken |= self.buffer.len() > MOST_UNASKED,
                Ok(Err(_)) => self.broken = true,
                Err(_) => {}
            }
        }
    }

    /// Waits for the end of what is being sent. It ends with the exchange's time in any case.
    async fn until_silence(&mut self) {
        loop {
            self.buffer.clear();
            let silence = Instant::now() + SILENCE;
            match timeout_at(silence, stream::read_more(&mut *self.stream, &mut self.buffer)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => {
                    self.broken = true;
                    return;
                }
                Err(_) => return,
            }
        }
    }

    fn broken(&mut self, fault: Fault) -> Fault {
        self.broken = true;
        fault
    }
}

fn judge(bytes: &[u8], unit: u8, function: u8) -> Verdict {
    let length = match rtu::answer_length(bytes) {
        Length::Exactly(length) => length,
        Length::Unknown => return Verdict::More,
        Length::BySilence if bytes.len() > rtu::LONGEST => return Verdict::Damaged("is too long"),
        Length::BySilence => return Verdict::MoreUntilSilence,
    };
    if length > rtu::LONGEST {
        return Verdict::Damaged("was damaged on the way (its length is impossible)");
    }
    let Some((frame, behind)) = bytes.split_at_checked(length) else { return Verdict::More };
    match rtu::open(frame) {
        Err(damage) => Verdict::Damaged(damage.words()),
        Ok((from, pdu)) if from == unit && pdu.first().is_some_and(|code| code & 0x7F == function) => {
            // Whoever goes on talking behind the answer was not giving that answer.
            if behind.is_empty() {
                Verdict::Answer(pdu.to_vec())
            } else {
                Verdict::Damaged("does not end where it should")
            }
        }
        Ok((from, _)) => Verdict::Foreign(length, from),
    }
}
