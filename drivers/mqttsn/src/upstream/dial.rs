//! How a connection to a broker on the network is made.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use wharf_contract::dial::Connection;
use wharf_contract::{Dial, async_trait};

/// How long the broker may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

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
    async fn dial(&self) -> io::Result<Box<dyn Connection>> {
        let connecting = timeout(CONNECT_TIMEOUT, TcpStream::connect((self.host.as_str(), self.port)));
        let stream = connecting.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}
