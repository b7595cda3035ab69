//! How a link that speaks MQTT reaches a broker that is not on the network: the one inside the gateway.

use std::fmt::Debug;
use std::io;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection on which MQTT is spoken.
pub trait Connection: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Connection for T {}

/// Makes connections to a broker. Who comes over them is settled already: a CONNECT needs neither user nor password.
#[async_trait]
pub trait Dial: Debug + Send + Sync {
    /// A new connection.
    ///
    /// # Errors
    /// There is none: the broker has ended, or never began.
    async fn dial(&self) -> io::Result<Box<dyn Connection>>;
}
