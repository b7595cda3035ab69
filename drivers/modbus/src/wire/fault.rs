//! Why an exchange brought no answer.

use std::io;
use std::time::Duration;

use crate::pdu::{BadAnswer, Exception};

/// Why an exchange brought no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The device, or a gateway for it, said no by an exception; without one we did, and nothing was sent.
    Refused { reason: String, exception: Option<Exception> },
    /// Nothing was sent: the line was never quiet.
    Unsent(String),
    /// Nothing was sent: the moment by which it had to be sent had passed.
    Expired,
    /// The gateway spoke, the device behind it did not.
    Absent(String),
    /// No answer in time.
    Silent(String),
    /// The connection broke, or what came is no answer to the request. Whether there still is a
    /// connection is the line's to say.
    Broken(String),
}

impl Fault {
    /// The words for people.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Expired => "the time to send it had passed",
            Self::Refused { reason, .. }
            | Self::Unsent(reason)
            | Self::Absent(reason)
            | Self::Silent(reason)
            | Self::Broken(reason) => reason,
        }
    }

    /// Whether a smaller request might be answered.
    pub(crate) fn is_about_request(&self) -> bool {
        matches!(self, Self::Refused { exception: Some(exception), .. } if exception.is_about_request())
    }

    /// Whether the device said that it does not have the function, which means that it did nothing.
    pub(crate) fn is_unknown_function(&self) -> bool {
        matches!(self, Self::Refused { exception: Some(Exception(1)), .. })
    }

    /// A request that is not sent, because the protocol does not allow it.
    pub(crate) fn not_sent(reason: impl Into<String>) -> Self {
        Self::Refused { reason: reason.into(), exception: None }
    }

    /// The silence after which nobody waits any longer; `instead` is what came in place of the answer.
    pub(super) fn silent(timeout: Duration, instead: Option<String>) -> Self {
        Self::Silent(match instead {
            None => format!("no answer within {timeout:?}"),
            Some(instead) => format!("no answer within {timeout:?}; what came is {instead}"),
        })
    }

    pub(super) fn closed() -> Self {
        Self::Broken("the connection was closed".into())
    }

    pub(super) fn lost(error: &io::Error) -> Self {
        match error.kind() {
            // A TLS peer that goes without a word of farewell is gone all the same.
            io::ErrorKind::UnexpectedEof => Self::closed(),
            _ => Self::Broken(format!("the connection broke: {error}")),
        }
    }
}

impl From<BadAnswer> for Fault {
    fn from(bad: BadAnswer) -> Self {
        match bad {
            BadAnswer::Nonsense(reason) => Self::Broken(reason),
            BadAnswer::Exception(exception) => exception.into(),
        }
    }
}

impl From<Exception> for Fault {
    fn from(exception: Exception) -> Self {
        let reason = exception.to_string();
        if exception.is_absence() { Self::Absent(reason) } else { Self::Refused { reason, exception: Some(exception) } }
    }
}
