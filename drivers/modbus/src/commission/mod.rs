//! What a person with a laptop needs at a cabinet: a link that is asked by hand, in no rhythm.
//!
//! - [`Tester`] reads and writes one thing at a time and shows the registers beside the value.
//! - [`scan`] finds out which units there are, and what they say they are. It never writes.
//! - [`probe`] shows what registers come to in every type and order. Pure.

pub mod probe;
pub mod scan;
mod tester;

use std::fmt;

use wharf_contract::async_trait;

pub use tester::{Content, Seen, Spot, Tester, Wrote};

use crate::line::Fault;

/// Why something that was asked by hand came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The device said no, or what was asked for cannot be.
    Refused(String),
    /// The device did not answer, or a gateway said so for it.
    Silent(String),
    /// There is no connection, or what comes over it makes no sense.
    Broken(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) | Self::Silent(reason) | Self::Broken(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for Trouble {}

/// Someone else who holds the link, and puts requests to it for us: a running gateway.
#[async_trait]
pub trait Relay: Send {
    /// Puts a PDU to a unit and brings the answer's, also an exception.
    ///
    /// # Errors
    /// Why there is no answer.
    async fn exchange(&mut self, unit: u8, pdu: &[u8]) -> Result<Vec<u8>, Trouble>;
}

impl From<Trouble> for Fault {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Refused(reason) => Self::not_sent(reason),
            Trouble::Silent(reason) => Self::Silent(reason),
            Trouble::Broken(reason) => Self::Broken(reason),
        }
    }
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        let reason = fault.reason().to_owned();
        match fault {
            Fault::Refused { .. } => Self::Refused(reason),
            Fault::Absent(_) | Fault::Silent(_) => Self::Silent(reason),
            Fault::Broken(_) | Fault::Unsent(_) | Fault::Expired => Self::Broken(reason),
        }
    }
}
