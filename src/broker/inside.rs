//! The way to the broker for links of the gateway, which are made before it has started.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::timeout;
use wharf_contract::dial::Connection;
use wharf_contract::{Dial, async_trait};

use super::listen::Dialer;
use super::rights::Visitor;

/// How long the broker may take to open its door.
const PATIENCE: Duration = Duration::from_secs(10);

/// The way to the broker of this gateway, once it has one that runs.
#[derive(Clone, Debug, Default)]
pub struct Inside(Arc<OnceLock<Dialer>>);

impl Inside {
    /// The broker runs, and is reached by that. The first that is told counts.
    pub fn open(&self, dialer: Dialer) {
        let _ = self.0.set(dialer);
    }

    /// The way for a part of the gateway, by its kind and name, such as `mqtt/wifi`. It may do everything.
    pub fn part(&self, name: &str) -> Arc<dyn Dial> {
        self.visitor(Visitor::Part(name.into()))
    }

    /// The way for those whom a link speaks for, as that user of the site file or as nobody.
    pub fn clients(&self, link: &str, user: Option<&str>) -> Arc<dyn Dial> {
        self.visitor(Visitor::Client { link: link.into(), user: user.map(Into::into) })
    }

    fn visitor(&self, visitor: Visitor) -> Arc<dyn Dial> {
        Arc::new(Way { inside: self.clone(), visitor })
    }
}

/// The way for one of them.
#[derive(Debug)]
struct Way {
    inside: Inside,
    visitor: Visitor,
}

#[async_trait]
impl Dial for Way {
    async fn dial(&self) -> io::Result<Box<dyn Connection>> {
        let closed = || io::Error::new(io::ErrorKind::NotConnected, "the gateway's own broker does not run");
        let dialer = self.inside.0.get().ok_or_else(closed)?;
        match timeout(PATIENCE, dialer.dial(self.visitor.clone())).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(_)) => Err(closed()),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_way_leads_to_a_broker_that_starts_later_and_nowhere_before_and_after() {
        let inside = Inside::default();
        let way = inside.part("mqtt/wifi");
        let no_broker = |tried: io::Result<Box<dyn Connection>>| tried.err().map(|error| error.kind());
        assert_eq!(no_broker(way.dial().await), Some(io::ErrorKind::NotConnected));
        let (dialer, mut guests) = Dialer::new();
        inside.open(dialer);
        assert_eq!(no_broker(way.dial().await), None);
        assert!(guests.try_recv().is_ok());
        drop(guests);
        assert_eq!(no_broker(way.dial().await), Some(io::ErrorKind::NotConnected));
    }
}
