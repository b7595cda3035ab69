//! How a stream to the broker is made.

use std::fmt;
use std::io;
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::TcpStream;
use tokio::time::timeout;
use wharf_stream::Stream;

/// How long the broker may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Makes streams on which MQTT 3.1.1 is spoken.
#[async_trait]
pub trait Dial: fmt::Debug + Send + Sync {
    /// A new stream.
    ///
    /// # Errors
    /// There is none.
    async fn dial(&self) -> io::Result<Box<dyn Stream>>;

    /// What is at the other end, for people.
    fn place(&self) -> String;
}

/// A broker on the network.
#[derive(Clone, Debug)]
pub struct Tcp {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

#[async_trait]
impl Dial for Tcp {
    async fn dial(&self) -> io::Result<Box<dyn Stream>> {
        let connecting = timeout(CONNECT_TIMEOUT, TcpStream::connect((self.host.as_str(), self.port)));
        let stream = connecting.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }

    fn place(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}
