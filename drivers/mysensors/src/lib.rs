//! MySensors networks behind a serial or Ethernet gateway.
//!
//! A MySensors gateway passes on what the nodes of its radio network say, one line of text per
//! message. This driver makes a reading of each, whether or not the site file knows the node, and
//! writes to those points that the site file opens. It relays, or is the controller of the network
//! itself, as the site file says.
//!
//! - [`config`]: the part of the site file.
//! - [`message`]: the protocol's lines. [`types`], [`values`]: what is in them.
//! - [`registry`]: what is known of each node, kept on disk. [`controller`]: what nodes are answered, and
//!   [`zone`] the time among it.
//! - [`firmware`]: images for nodes, over the air.
//! - `nodes`, `reading`: names, and messages turned into readings.
//! - [`mqtt`]: gateways that speak MQTT themselves.
//! - [`paced`]: what is done once in a while, however often it is asked for.
//! - `session`: the conversation over the port, socket or broker; `outbox` and `pulse` are its memory of
//!   commands and of silence.

pub mod config;
pub mod controller;
pub mod firmware;
pub mod message;
pub mod mqtt;
mod nodes;
mod outbox;
pub mod paced;
mod pulse;
mod reading;
pub mod registry;
mod session;
mod transport;
pub mod types;
pub mod values;
pub mod zone;

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value as Json;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};
use tracing::warn;
use wharf_contract::{Dial, Driver, DriverError, LinkId, PointInfo, Port, Recipient, Relay, async_trait};

pub use config::{DeviceSettings, LinkSettings, PointSettings};

use controller::{Controller, Role};
use firmware::settings::Plan;
use registry::file::Damaged;
pub use registry::store::LARGEST as LARGEST_FILE;
use registry::store::Store;
use session::Link;
use zone::{TimeSetting, Zone};

/// The name of the protocol, as the site file spells its section.
pub const KIND: &str = "mysensors";

/// The labels that every reading carries, as the decimal numbers of its line. Points in the
/// catalogue carry `node`, `child` and `type`.
pub const LABELS: [&str; 5] = ["node", "child", "command", "ack", "type"];

/// How long the disk may take to give the zone of this machine.
const ZONE_PATIENCE: Duration = Duration::from_secs(4);

/// One MySensors network.
#[derive(Debug)]
pub struct MySensors {
    name: LinkId,
    link: Link,
    time: TimeSetting,
}

impl MySensors {
    /// The driver of one link. All that could be wrong with the settings was found when they were
    /// decoded, and nothing is opened yet.
    pub fn new(name: LinkId, settings: LinkSettings) -> Self {
        let link = Link {
            transport: settings.transport(),
            nodes: settings.nodes(name.clone()),
            holds: settings.holds(),
            relays: settings.controller == Role::Upstream,
            outbox: Mutex::new(settings.outbox()),
            firmware: firmware::store::Store::new(Plan::new(&settings)),
            store: Store::new(settings.registry(&name)),
            controller: Mutex::new(Controller::new(settings.rules(), Zone::Fixed(0))),
        };
        Self { name, link, time: settings.time }
    }

    /// The same, keeping what it learns of the nodes in this file.
    #[must_use]
    pub fn remembering(mut self, file: PathBuf) -> Self {
        self.link.store = self.link.store.in_file(file);
        self
    }

    /// The same, in a gateway whose own broker is reached that way.
    #[must_use]
    pub fn beside(mut self, own: Arc<dyn Dial>) -> Self {
        self.link.transport.reach_own_broker(own);
        self
    }

    /// The same, calling no node by one of these names: other devices of the site have them.
    #[must_use]
    pub fn avoiding(self, names: impl IntoIterator<Item = String>) -> Self {
        self.link.store.registry().avoid(names);
        self
    }

    /// The same, giving no node one of these numbers: the site file gives them elsewhere. With the device,
    /// where that is shown as a node to controllers, who then take the two for one.
    #[must_use]
    pub fn sparing(self, numbers: impl IntoIterator<Item = (u8, Option<String>)>) -> Self {
        self.link.store.registry().spare(numbers);
        self
    }

    /// The same, keeping what firmware was given to nodes in this file.
    #[must_use]
    pub fn keeping_firmware_in(mut self, file: PathBuf) -> Self {
        self.link.firmware = self.link.firmware.in_file(file);
        self
    }

    /// Reads what is on disk: what was known before this start, and the zone of the site, which may have
    /// changed since the last session.
    async fn remember(&self) {
        if self.link.store.recall(&self.name).await {
            self.recalled();
        }
        self.link.firmware.recall(&self.name).await;
        let time = self.time;
        match timeout(ZONE_PATIENCE, spawn_blocking(move || Zone::load(time))).await {
            Ok(Ok(zone)) => self.link.controller().set_zone(zone),
            _ => warn!(link = %self.name, "the zone of this machine cannot be read; nodes are told the time as before"),
        }
    }

    /// What was known of the nodes before this start has been read.
    fn recalled(&self) {
        let (mut registry, mut outbox) = (self.link.store.registry(), self.link.outbox());
        let (doubts, change) = registry.compare_with_the_site();
        self.link.store.note(change);
        for doubt in doubts {
            warn!(link = %self.name, "{doubt}");
        }
        for (node, record) in registry.nodes() {
            outbox.recall(node, registry.version(node), record.sleeps);
        }
    }

    /// Keeps what is known of the nodes on disk. A disk that is slow at first is asked until it answers.
    async fn keep_up(&self) -> Infallible {
        if self.link.store.recall_again(&self.name).await {
            self.recalled();
        }
        self.link.store.keep_up(&self.name).await
    }

    /// What the text of its file tells of the nodes, as [`Driver::nodes`] has it: for a gateway that does not
    /// run.
    ///
    /// # Errors
    /// It is no such file.
    pub fn known(&self, text: &str) -> Result<Json, Damaged> {
        self.link.store.registry().recall(text)?;
        Ok(self.link.shown())
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

    fn nodes(&self) -> Option<Json> {
        Some(self.link.shown())
    }

    fn relays(&self, node: u8) -> Relay {
        let is_known = || self.link.nodes.names(node) || self.link.store.registry().node(node).is_some();
        match self.link.relays {
            false => Relay::Not,
            true if node != message::SELF && is_known() => Relay::Owns,
            true => Relay::Takes,
        }
    }

    fn hold(&self, recipient: Recipient<'_>) -> Option<Duration> {
        let node = match recipient {
            Recipient::Device(device) => self.link.nodes.number(device)?,
            Recipient::Node(node) => node,
        };
        let (usual, own) = &self.link.holds;
        let hold = own.get(&node).copied().unwrap_or(*usual);
        (!hold.is_zero() && self.link.outbox().sleeps(node)).then_some(hold)
    }

    fn close(&self, reason: &str) {
        self.link.outbox().close(reason);
    }

    async fn ask(&self, request: &Json) -> Option<Result<Json, String>> {
        match request["do"].as_str() {
            Some("firmware") => Some(self.link.firmware.answer(&self.name, request).await),
            _ => None,
        }
    }

    async fn run(&self, port: &mut Port) -> Result<(), DriverError> {
        // While there is no link, this is what comes round.
        self.link.lost();
        self.link.outbox().expire(Instant::now());
        let stop = port.stop();
        // What is known can be asked for while there is no link.
        let open = async { tokio::join!(self.link.transport.open(), self.remember()).0 };
        let opened = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            opened = open => opened?,
        };
        let (stream, bridge) = opened.apart(port.counts());
        let ended = tokio::select! {
            ended = session::run(&self.link, stream, port) => ended,
            never = self.keep_up() => match never {},
            never = self.link.firmware.keep_up(&self.name) => match never {},
            never = bridge => match never {},
        };
        tokio::join!(self.link.store.keep_last(&self.name, stop.is_cancelled()), self.link.firmware.keep_last());
        ended
    }
}
