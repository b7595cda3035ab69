//! One exchange, over whichever transport. Every transport carries PDUs, and none of them ever returns
//! an answer that is late, foreign or damaged: then there is no answer, and a reason why.
//!
//! - `mbap` and `rtu` know the two kinds of frames; `ledger` the transaction ids; `limits` how long an
//!   exchange may take and until when it may begin. They are pure.
//! - `tcp`, `rtu_tcp` and `udp` exchange frames over what is open.
//! - `dial`, `tls` and `listen` open it.
//! - `serial` is a serial line: `turns` says who may speak when and what is believed, with `pace` for the
//!   times and `question` for what an answer is; those are pure. `port` and `rs485` are the hardware.

mod debts;
mod dial;
mod fault;
#[cfg(test)]
mod lab;
mod ledger;
mod limits;
mod listen;
pub(crate) mod mbap;
mod pace;
mod port;
#[cfg(test)]
mod pretend;
pub(crate) mod question;
pub(crate) mod rs485;
pub(crate) mod rtu;
mod rtu_tcp;
mod serial;
mod stream;
mod tally;
mod tcp;
mod tls;
mod turns;
mod udp;

pub(crate) use dial::{Dialer, Opened};
pub(crate) use fault::Fault;
pub(crate) use limits::Limits;
pub(crate) use listen::Door;
pub(crate) use port::Setup;
pub(crate) use tls::TlsFiles;
pub(crate) use turns::Echo;

/// An open way to the devices.
pub(crate) enum Wire {
    /// Modbus TCP, with or without TLS, dialled by us or by the device.
    Tcp(tcp::Tcp),
    /// RTU frames over TCP.
    RtuOverTcp(rtu_tcp::RtuOverTcp),
    /// Modbus TCP's frames in datagrams.
    Udp(udp::Udp),
    /// RTU on a serial port.
    Serial(serial::Serial),
}

impl Wire {
    /// What was opened, as a wire. Transaction ids, where there are any, begin after `last_id`.
    pub(crate) fn new(opened: Opened, last_id: u16) -> Self {
        match opened {
            Opened::Tcp(stream) => Self::Tcp(tcp::Tcp::new(stream, last_id, false)),
            Opened::DialledIn(stream) => Self::Tcp(tcp::Tcp::new(stream, last_id, true)),
            Opened::RtuOverTcp(stream) => Self::RtuOverTcp(rtu_tcp::RtuOverTcp::new(stream)),
            Opened::Udp(socket) => Self::Udp(udp::Udp::new(socket, last_id)),
            Opened::Serial(serial) => Self::Serial(serial),
        }
    }

    /// Makes ready for a request to this unit: what came unasked is thrown away. False if the request
    /// needs a fresh connection, because this one was closed, or because the unit owes it an answer.
    pub(crate) async fn make_ready(&mut self, unit: u8) -> bool {
        match self {
            Self::Tcp(wire) => wire.make_ready(unit).await,
            Self::RtuOverTcp(wire) => wire.make_ready(unit).await,
            Self::Udp(wire) => wire.make_ready(unit),
            // The line gets ready with each exchange, where the time is right for it.
            Self::Serial(_) => true,
        }
    }

    /// Sends a request and waits for its answer. Returns the answer's PDU; an empty one when nobody
    /// answered because the request went to all units of a bus.
    ///
    /// # Errors
    /// The connection broke, or no answer came in time, or it was too late to send it. All but a serial
    /// line send at once, so whoever calls this has looked at the clock.
    pub(crate) async fn exchange(&mut self, unit: u8, pdu: &[u8], limits: Limits) -> Result<Vec<u8>, Fault> {
        match self {
            Self::Tcp(wire) => wire.exchange(unit, pdu, limits).await,
            Self::RtuOverTcp(wire) => wire.exchange(unit, pdu, limits.timeout).await,
            Self::Udp(wire) => wire.exchange(unit, pdu, limits).await,
            Self::Serial(wire) => wire.exchange(unit, pdu, limits).await,
        }
    }

    /// Whether we could make a new connection in its place. A device that dialled in comes when it likes,
    /// and a serial port has nobody behind it who could have closed it.
    pub(crate) fn is_renewable(&self) -> bool {
        match self {
            Self::Tcp(wire) => !wire.is_dialled_in(),
            Self::Serial(_) => false,
            Self::RtuOverTcp(_) | Self::Udp(_) => true,
        }
    }

    /// Whether an answer that is a copy of its request proves that somebody answered: always, but on a
    /// serial line that may give back what is sent on it.
    pub(crate) fn knows_echo(&self) -> bool {
        match self {
            Self::Serial(wire) => wire.knows_echo(),
            Self::Tcp(_) | Self::RtuOverTcp(_) | Self::Udp(_) => true,
        }
    }

    /// Whether bytes came over it and nothing that is a frame, as at a wrong speed. Only a serial line
    /// knows.
    pub(crate) fn is_noise(&self) -> bool {
        match self {
            Self::Serial(wire) => wire.tally().is_noise(),
            Self::Tcp(_) | Self::RtuOverTcp(_) | Self::Udp(_) => false,
        }
    }

    /// The last transaction id, where there are any.
    pub(crate) fn last_id(&self) -> Option<u16> {
        match self {
            Self::Tcp(wire) => Some(wire.last_id()),
            Self::Udp(wire) => Some(wire.last_id()),
            Self::RtuOverTcp(_) | Self::Serial(_) => None,
        }
    }

    /// Whether it is of no use any more.
    pub(crate) fn is_broken(&self) -> bool {
        match self {
            Self::Tcp(wire) => wire.is_broken(),
            Self::RtuOverTcp(wire) => wire.is_broken(),
            Self::Udp(wire) => wire.is_broken(),
            Self::Serial(wire) => wire.is_broken(),
        }
    }

    /// Closes it. What can be opened by one alone is free after that.
    pub(crate) async fn close(self) {
        if let Self::Serial(wire) = self {
            wire.close().await;
        }
    }
}
