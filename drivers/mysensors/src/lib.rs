//! MySensors networks behind a serial or Ethernet gateway.
//!
//! A MySensors gateway passes on what the nodes of its radio network say, one line of text per
//! message. This driver makes a reading of each, whether or not the site file knows the node, and
//! writes to those points that the site file opens. It relays: it answers no request of a node, as
//! the controller of the network does.
//!
//! - [`config`]: the part of the site file.
//! - [`message`], [`lines`]: the protocol's lines. [`types`], [`values`]: what is in them.
//! - `nodes`, `reading`: names, and messages turned into readings.
//! - `transport`, `session`: the port or socket, and the conversation over it; `pending` and `pulse`
//!   are its memory of commands and of silence, `stats` its counters.

pub mod config;
pub mod lines;
pub mod message;
mod nodes;
mod pending;
mod pulse;
mod reading;
mod session;
mod stats;
mod transport;
pub mod types;
pub mod values;

use wharf_contract::{Driver, DriverError, LinkId, PointInfo, Port, async_trait};

pub use config::{DeviceSettings, LinkSettings, PointSettings};
pub use stats::Stats;

use session::Link;
use stats::Counters;
use transport::Transport;

/// The name of the protocol, as the site file spells its section.
pub const KIND: &str = "mysensors";

/// The labels that every reading carries, as the decimal numbers of its line. Points in the
/// catalogue carry `node`, `child` and `type`.
pub const LABELS: [&str; 5] = ["node", "child", "command", "ack", "type"];

/// One MySensors network.
#[derive(Debug)]
pub struct MySensors {
    name: LinkId,
    link: Link,
}

impl MySensors {
    /// The driver of one link. All that could be wrong with the settings was found when they were
    /// decoded, and nothing is opened yet.
    pub fn new(name: LinkId, settings: LinkSettings) -> Self {
        let link = Link {
            transport: Transport::new(&settings),
            nodes: settings.nodes(name.clone()),
            echo_timeout: settings.echo_timeout.get(),
            counters: Counters::default(),
        };
        Self { name, link }
    }

    /// What was counted since the gateway started.
    pub fn stats(&self) -> Stats {
        self.link.counters.snapshot()
    }
}

#[async_trait]
impl Driver for MySensors {
    fn name(&self) -> &LinkId {
        &self.name
    }

    fn kind(&self) -> &'static str {
        KIND
    }

    fn labels(&self) -> &'static [&'static str] {
        &LABELS
    }

    fn catalogue(&self) -> Vec<PointInfo> {
        self.link.nodes.catalogue()
    }

    async fn run(&self, port: &mut Port) -> Result<(), DriverError> {
        let stop = port.stop();
        let stream = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            opened = self.link.transport.open() => opened?,
        };
        session::run(&self.link, stream, port).await
    }
}
