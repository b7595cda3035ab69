//! The way to a gateway: a stream, or the broker that it speaks to.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use wharf_contract::{Counts, Dial, DriverError};
use wharf_stream::{Stream, TransportError};

use crate::mqtt::{Bridge, Broker};

/// Where the gateway is.
#[derive(Debug)]
pub enum Transport {
    /// On a serial port or on the network.
    Direct(wharf_stream::Transport),
    /// Behind a broker.
    Mqtt(Box<Broker>),
}

/// An open way.
pub struct Opened<'a> {
    /// What is said and heard.
    pub stream: Box<dyn Stream>,
    /// What has to run for that.
    bridge: Option<Bridge<'a>>,
}

impl<'a> Opened<'a> {
    /// The stream, and what is to run beside whoever talks over it and counts there.
    pub fn apart(self, counts: Counts) -> (Box<dyn Stream>, impl Future<Output = Infallible> + 'a) {
        let bridge = self.bridge;
        (self.stream, async move {
            match bridge {
                Some(bridge) => bridge.run(counts).await,
                None => std::future::pending().await,
            }
        })
    }
}

impl Transport {
    /// The gateway has a broker of its own, which is reached that way.
    pub fn reach_own_broker(&mut self, own: Arc<dyn Dial>) {
        if let Self::Mqtt(broker) = self {
            broker.reach_own(own);
        }
    }

    /// Opens it.
    ///
    /// # Errors
    /// `Fatal` when someone has to change something, else `Lost`.
    pub async fn open(&self) -> Result<Opened<'_>, DriverError> {
        match self {
            Self::Direct(direct) => Ok(Opened { stream: direct.open().await?, bridge: None }),
            Self::Mqtt(broker) => {
                let unreachable = |why: String| {
                    DriverError::lost(TransportError::CannotConnect(broker.to_string(), io::Error::other(why)))
                };
                let (near, bridge) = broker.open().await.map_err(unreachable)?;
                Ok(Opened { stream: Box::new(near), bridge: Some(bridge) })
            }
        }
    }

    /// For people: that it is open, although nothing may come of it.
    pub fn open_in_words(&self) -> &'static str {
        match self {
            Self::Direct(_) => "the port is open",
            Self::Mqtt(_) => "the broker is reached",
        }
    }

    /// Whether silence, even after a question, means that the other end is gone. A serial port and a
    /// broker say so themselves.
    pub fn silence_is_loss(&self) -> bool {
        matches!(self, Self::Direct(direct) if direct.silence_is_loss())
    }

    /// The loss when the stream has come to its end.
    pub fn ended(&self) -> DriverError {
        match self {
            Self::Direct(direct) => direct.ended(),
            Self::Mqtt(broker) => DriverError::lost(match broker.why() {
                Some(why) => TransportError::Failed(broker.to_string(), io::Error::other(why)),
                None => TransportError::Closed(broker.to_string()),
            }),
        }
    }

    /// The loss when reading or writing failed.
    pub fn failed(&self, error: io::Error) -> DriverError {
        match self {
            Self::Direct(direct) => direct.failed(error),
            Self::Mqtt(_) => self.ended(),
        }
    }

    /// The loss when the other side takes no more data.
    pub fn stuck(&self) -> DriverError {
        match self {
            Self::Direct(direct) => direct.stuck(),
            Self::Mqtt(broker) => DriverError::lost(TransportError::Stuck(broker.to_string())),
        }
    }

    /// The loss when nothing comes, not even an answer.
    pub fn silent(&self) -> DriverError {
        match self {
            Self::Direct(direct) => direct.silent(),
            Self::Mqtt(broker) => DriverError::lost(TransportError::Silent(broker.to_string())),
        }
    }
}
