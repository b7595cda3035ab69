//! The connection: one request, one answer, and no answer taken for another. This is the one file
//! that knows the Modbus library and the socket; a serial line would be a second kind of it.
//!
//! A context of the library is of no use after its first timeout or transport error: the late
//! answer would meet the next request. So it is dropped then, and the next exchange needs a fresh
//! connection. The library's `read_…` helpers assert what a device sends, so requests go through
//! its `call` and every answer is checked here.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_modbus::client::{Client, Context, tcp};
use tokio_modbus::slave::{Slave, SlaveContext};
use tokio_modbus::{Error, ExceptionCode, ProtocolError, Request, Response};

use crate::decode::Raw;
use crate::link::{Link, Table};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that was idle for this long may be closed at the other side.
const STALE: Duration = Duration::from_secs(15);

/// The connection of one link, or the place for it.
pub(crate) struct Line {
    host: String,
    tcp_port: u16,
    timeout: Duration,
    context: Option<Context>,
    /// When the connection was made or last used.
    used: Instant,
}

/// Why an exchange brought no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The device, or a gateway for it, said no. `about_request`: a smaller
    /// request might be answered.
    Refused { reason: String, about_request: bool },
    /// The gateway spoke, the device behind it did not.
    Absent(String),
    /// No answer in time. The connection is gone.
    Silent(String),
    /// The connection broke, or what came is no answer to the request. The connection is gone.
    Broken(String),
}

impl Fault {
    /// The words for people.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Refused { reason, .. } | Self::Absent(reason) | Self::Silent(reason) | Self::Broken(reason) => reason,
        }
    }
}

impl Line {
    /// A line that is not connected yet.
    pub(crate) fn new(link: &Link) -> Self {
        Self {
            host: link.host.clone(),
            tcp_port: link.tcp_port,
            timeout: link.timeout,
            context: None,
            used: Instant::now(),
        }
    }

    /// Whether the other side may have closed the connection without our knowing.
    pub(crate) fn may_be_stale(&self) -> bool {
        self.context.is_none() || self.used.elapsed() >= STALE
    }

    /// Whether the next exchange has a connection to go over.
    pub(crate) fn is_connected(&self) -> bool {
        self.context.is_some()
    }

    /// Makes a fresh connection, within five seconds.
    pub(crate) async fn connect(&mut self) -> io::Result<()> {
        // Some devices serve a single connection: the old one goes first.
        self.context = None;
        let place = format!("{}:{}", self.host, self.tcp_port);
        let connecting = TcpStream::connect((self.host.as_str(), self.tcp_port));
        let stream = timeout(CONNECT_TIMEOUT, connecting)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
            .map_err(|error| io::Error::new(error.kind(), format!("no connection to {place}: {error}")))?;
        self.used = Instant::now();
        self.context = Some(tcp::attach_slave(stream, Slave(0)));
        Ok(())
    }

    /// Reads `count` bits or registers. The answer holds exactly that many.
    pub(crate) async fn read(&mut self, unit_id: u8, table: Table, start: u16, count: u16) -> Result<Raw, Fault> {
        let request = match table {
            Table::Coil => Request::ReadCoils(start, count),
            Table::Discrete => Request::ReadDiscreteInputs(start, count),
            Table::Holding => Request::ReadHoldingRegisters(start, count),
            Table::Input => Request::ReadInputRegisters(start, count),
        };
        let (raw, expected) = match self.call(unit_id, request).await? {
            Response::ReadCoils(bits) | Response::ReadDiscreteInputs(bits) => {
                (Raw::Bits(bits), usize::from(count).div_ceil(8) * 8)
            }
            Response::ReadHoldingRegisters(words) | Response::ReadInputRegisters(words) => {
                (Raw::Registers(words), usize::from(count))
            }
            _ => return Err(self.broken("the answer is of another kind than the request")),
        };
        if raw.len() != expected {
            return Err(self.broken(&format!("{} items came where {expected} were due", raw.len())));
        }
        // Bits come in whole bytes; those past the last one asked for mean nothing.
        raw.part(0, count).ok_or_else(|| self.broken("the answer is too short"))
    }

    /// Writes one bit, one register or several, each by the function made for it. Returns what the
    /// device confirmed: some answer a single write with what they hold now, not with an echo.
    pub(crate) async fn write(&mut self, unit_id: u8, start: u16, raw: &Raw) -> Result<Raw, Fault> {
        let request = match raw {
            Raw::Bits(bits) => match bits[..] {
                [bit] => Request::WriteSingleCoil(start, bit),
                _ => return Err(refused("several coils are not written at once")),
            },
            Raw::Registers(words) => match words[..] {
                [word] => Request::WriteSingleRegister(start, word),
                _ => Request::WriteMultipleRegisters(start, words.into()),
            },
        };
        match self.call(unit_id, request).await? {
            Response::WriteSingleCoil(at, bit) if at == start => Ok(Raw::Bits(vec![bit])),
            Response::WriteSingleRegister(at, word) if at == start => Ok(Raw::Registers(vec![word])),
            Response::WriteMultipleRegisters(at, count) if at == start && usize::from(count) == raw.len() => {
                Ok(raw.clone())
            }
            _ => Err(self.broken("the device confirmed another write")),
        }
    }

    /// One exchange. Never cut short from outside: whoever calls this waits for its end.
    async fn call(&mut self, unit_id: u8, request: Request<'_>) -> Result<Response, Fault> {
        let Some(context) = &mut self.context else {
            return Err(Fault::Broken("there is no connection".into()));
        };
        context.set_slave(Slave(unit_id));
        let outcome = timeout(self.timeout, context.call(request)).await;
        self.used = Instant::now();
        match outcome {
            Ok(Ok(Ok(response))) => Ok(response),
            Ok(Ok(Err(code))) => Err(spoken(code)),
            Ok(Err(error)) => Err(self.broken(&in_words(&error))),
            Err(_) => {
                self.context = None;
                Err(Fault::Silent(format!("no answer within {:?}", self.timeout)))
            }
        }
    }

    fn broken(&mut self, reason: &str) -> Fault {
        self.context = None;
        Fault::Broken(reason.to_owned())
    }
}

fn refused(reason: &str) -> Fault {
    Fault::Refused { reason: reason.to_owned(), about_request: false }
}

fn spoken(code: ExceptionCode) -> Fault {
    let words = match code {
        ExceptionCode::IllegalFunction => "illegal function",
        ExceptionCode::IllegalDataAddress => "illegal data address",
        ExceptionCode::IllegalDataValue => "illegal data value",
        ExceptionCode::ServerDeviceFailure => "device failure",
        ExceptionCode::Acknowledge => "accepted, but not finished yet",
        ExceptionCode::ServerDeviceBusy => "device busy",
        ExceptionCode::MemoryParityError => "memory parity error",
        ExceptionCode::GatewayPathUnavailable => "the gateway has no path to the device",
        ExceptionCode::GatewayTargetDevice => "the gateway got no answer from the device",
        ExceptionCode::Custom(_) => "an exception the protocol does not define",
    };
    let reason = format!("{words} (exception {})", u8::from(code));
    match code {
        ExceptionCode::GatewayPathUnavailable | ExceptionCode::GatewayTargetDevice => Fault::Absent(reason),
        // Devices that cannot read so many, or over such a gap, complain of the address or the value.
        ExceptionCode::IllegalDataAddress | ExceptionCode::IllegalDataValue => {
            Fault::Refused { reason, about_request: true }
        }
        _ => Fault::Refused { reason, about_request: false },
    }
}

fn in_words(error: &Error) -> String {
    match error {
        Error::Protocol(ProtocolError::HeaderMismatch { .. }) => "the answer belongs to another request".into(),
        Error::Protocol(ProtocolError::FunctionCodeMismatch { .. }) => "the answer is to another function".into(),
        Error::Transport(error) => match error.kind() {
            io::ErrorKind::InvalidData => format!("the answer makes no sense: {error}"),
            io::ErrorKind::UnexpectedEof => "the answer is too short".into(),
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable => format!("the connection broke: {error}"),
            // An orderly close reaches us as the last error of the system, whichever that was.
            _ => "the connection was closed".into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_is_named_in_words_with_its_number() {
        let fault = spoken(ExceptionCode::new(2));
        assert_eq!(fault.reason(), "illegal data address (exception 2)");
        assert!(matches!(fault, Fault::Refused { about_request: true, .. }));
        assert_eq!(
            spoken(ExceptionCode::new(0x77)).reason(),
            "an exception the protocol does not define (exception 119)"
        );
    }

    #[test]
    fn a_gateway_that_cannot_reach_a_device_says_that_the_device_is_absent() {
        assert!(matches!(spoken(ExceptionCode::new(10)), Fault::Absent(_)));
        assert!(matches!(spoken(ExceptionCode::new(11)), Fault::Absent(_)));
    }
}
