//! Devices that speak in lines of text, over a serial port or TCP, as a wharf driver.
//!
//! A scale, a weather station, a receiver of positions, a board somebody has programmed: each sends
//! lines, or answers with one when it is asked. The site file says how the lines are taken apart and
//! what their fields mean.
//!
//! - [`config`]: the part of the site file.
//! - [`form`]: how a line is taken apart: patterns, columns, JSON, NMEA sentences, names with values.
//! - [`value`]: what a field means, and how a value is spelt.
//! - [`device`]: whose line it is, and what it says.
//! - `asks`, `thin`: who is asked when, what is told how often.
//! - `session`: the conversation over the port or socket. `plan`: what it means to do.

mod asks;
pub mod config;
pub mod device;
pub mod form;
mod plan;
mod session;
mod thin;
pub mod value;

use wharf_contract::{Driver, DriverError, LinkId, LinkPlan, PointInfo, Port, async_trait};

pub use config::{DeviceSettings, LinkSettings, PointSettings};

use session::Link;

/// The name of the driver, as the site file spells its section.
pub const KIND: &str = "lines";

/// One serial port or connection.
#[derive(Debug)]
pub struct Lines {
    name: LinkId,
    link: Link,
}

impl Lines {
    /// The driver of one link. All that could be wrong with the settings was found when they were
    /// decoded, and nothing is opened yet.
    pub fn new(name: LinkId, settings: &LinkSettings) -> Self {
        Self { name, link: Link::new(settings) }
    }
}

#[async_trait]
impl Driver for Lines {
    fn name(&self) -> &LinkId {
        &self.name
    }

    fn kind(&self) -> &'static str {
        KIND
    }

    fn catalogue(&self) -> Vec<PointInfo> {
        self.link.catalogue()
    }

    fn plan(&self) -> Option<LinkPlan> {
        Some(plan::of(&self.link))
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
