//! Devices that speak MQTT, as a wharf driver: plugs, switches and sensors on the site's WiFi, and what
//! bridges from other radios publish. They speak to the gateway's own broker or to another one; the site
//! file says which of their topics are which points.
//!
//! - [`config`]: the part of the site file.
//! - [`topic`], [`path`]: where a value stands. [`value`], [`time`]: what it means, and when it was taken.
//! - [`payload`]: what is published to write one.
//! - [`device`]: the devices of the site file. [`roster`]: whose message it is, and what it says.
//! - `waiting`: which commands are under way.
//! - `broker`: the connection; the only one that knows the MQTT client. `session`: what is done with it.
//!   `plan`: what is listened to, for people.
//!
//! What the broker had retained is the last that is known of a device, of an unknown age: its quality is
//! stale unless the payload says when it was made, or the site file says that it is current.

mod broker;
pub mod config;
pub mod device;
pub mod path;
pub mod payload;
mod plan;
pub mod roster;
mod session;
mod standing;
pub mod time;
pub mod topic;
pub mod value;
mod waiting;

use std::sync::Arc;

use wharf_contract::{Dial, Driver, DriverError, LinkId, LinkPlan, PointInfo, Port, async_trait};

pub use config::{DeviceSettings, DiscoverSettings, LinkSettings, PointSettings};

use session::Link;

/// The name of the driver, as the site file spells its section.
pub const KIND: &str = "mqtt";

/// The devices of one broker.
#[derive(Debug)]
pub struct Mqtt {
    name: LinkId,
    link: Link,
}

impl Mqtt {
    /// The driver of one link. All that could be wrong with the settings was found when they were
    /// decoded, and nothing is opened yet.
    pub fn new(name: LinkId, settings: &LinkSettings) -> Self {
        Self { name, link: Link::new(settings) }
    }

    /// The same, in a gateway whose own broker is reached that way.
    #[must_use]
    pub fn beside(mut self, own: Arc<dyn Dial>) -> Self {
        self.link.broker.reach_own(own);
        self
    }

    /// The same for a gateway of that name: what it publishes itself is never taken for a device's.
    #[must_use]
    pub fn belonging_to(self, gateway: &str) -> Self {
        self.link.roster().belongs_to(gateway);
        self
    }

    /// The same, where no device that is discovered gets one of these names.
    #[must_use]
    pub fn avoiding(self, names: impl IntoIterator<Item = String>) -> Self {
        self.link.roster().avoid(names);
        self
    }
}

#[async_trait]
impl Driver for Mqtt {
    fn name(&self) -> &LinkId {
        &self.name
    }

    fn kind(&self) -> &'static str {
        KIND
    }

    fn catalogue(&self) -> Vec<PointInfo> {
        self.link.shapes().iter().flat_map(device::Shape::catalogue).collect()
    }

    fn plan(&self) -> Option<LinkPlan> {
        Some(plan::of(&self.link))
    }

    async fn run(&self, port: &mut Port) -> Result<(), DriverError> {
        let stop = port.stop();
        let connection = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            connected = self.link.broker.connect() => connected.map_err(|why| {
                DriverError::lost(format!("no connection to {}: {why}", self.link.broker))
            })?,
        };
        session::run(&self.link, connection, port).await
    }
}
