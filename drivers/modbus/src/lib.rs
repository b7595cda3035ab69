//! The Modbus driver of wharf.
//!
//! A [`Modbus`] owns one connection: to one device, or to a gateway or a bus with many devices.
//! It reads their points in few requests at a steady rhythm, writes the points that the site file
//! opens for writing, and keeps a silent device from taking its neighbours' time.
//!
//! From the site file to the wire:
//!
//! 1. `config` decodes and checks the settings; `link` is what they come to.
//! 2. `plan` joins points into the cheapest block reads; `schedule` says when each is due and whose
//!    turn it is; `breaker` says how long a silent device is left alone.
//! 3. `session` reads the blocks, `command` obeys, `tell` hands over what there is to say, and
//!    `told` keeps failures from being told over and over; `memory` keeps what was learnt about the
//!    devices.
//! 4. `line` asks one thing and gets its answer: `pdu` knows what requests and answers look like, `wire`
//!    carries them over each transport. `value` knows what the bits mean.
//! 5. `counters` keeps over a restart what counters have lost by beginning anew; it and `memory` store that
//!    in a small file each.
//!
//! [`commission`] is the link in a person's hand: read, write, scan and probe.
//!
//! All but `session`, `command`, `tell`, `line`, `memory`, `counters` and most of `wire` are pure. Where a moment
//! matters it comes in as an argument.

mod breaker;
mod command;
pub mod commission;
mod config;
mod counters;
#[cfg(test)]
mod fuzz;
mod line;
mod link;
mod memory;
mod pdu;
mod plan;
mod schedule;
mod session;
mod tell;
mod told;
mod value;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tracing::warn;
use wharf_contract::{Driver, DriverError, LinkId, LinkPlan, PointInfo, Port, Unit, WriteRule, async_trait};

pub use config::{
    Address, Connection, DeviceSettings, Half, Interval, LinkSettings, ListenAddress, Names, Order, PointSettings,
    PointType, RawNumber, TcpAddress, TlsSettings,
};

use counters::Counters;
use link::{Device, Link, Point};
use memory::Memory;
// The path that the rest of the driver knows it by.
use value::decode;

/// How long a session that has ended waits for the disk. A stopping gateway gives its drivers little more.
const LAST_WRITE: Duration = Duration::from_secs(1);

/// The protocol, as the site file spells its section.
pub const KIND: &str = "modbus";

/// One Modbus link.
#[derive(Debug)]
pub struct Modbus {
    link: Link,
    counters: Counters,
    memory: Memory,
}

impl Modbus {
    /// The driver for settings that were decoded, and thereby checked. Touches no hardware.
    pub fn new(name: LinkId, settings: &LinkSettings) -> Self {
        let devices = settings.devices.iter().map(|(name, device)| Device {
            name: name.into(),
            unit_id: device.unit,
            broadcast: device.broadcast,
            timeout: device.timeout.unwrap_or(settings.timeout).get(),
            retries: device.retries.unwrap_or(settings.retries).get(),
            max_registers: device.max_registers.unwrap_or(settings.max_registers).get(),
            points: device
                .points
                .iter()
                .map(|(name, point)| build_point(name.into(), point, device, settings))
                .collect(),
        });
        let devices = devices.collect();
        Self {
            link: Link { name, transport: settings.transport(), timeout: settings.timeout.get(), devices },
            counters: Counters::default(),
            memory: Memory::default(),
        }
    }

    /// Keeps in this file what its counters have counted, so that they go on after a restart. Without
    /// it they begin with what their devices show.
    #[must_use]
    pub fn counting_in(self, file: PathBuf) -> Self {
        Self { counters: Counters::in_file(file), ..self }
    }

    /// Keeps what it learns about its devices in this file, so that it is not learnt anew after a
    /// restart. Without it nothing is kept on disk.
    #[must_use]
    pub fn remembering(self, file: PathBuf) -> Self {
        Self { memory: Memory::in_file(file), ..self }
    }
}

fn build_point(
    name: wharf_contract::PointId,
    point: &PointSettings,
    device: &DeviceSettings,
    link: &LinkSettings,
) -> Point {
    let (table, own) = point.place();
    let layout = point.layout(device.order.or(link.order).unwrap_or(Order::Abcd));
    Point {
        name,
        table,
        address: layout.beside.as_ref().map_or(own, |beside| beside.first()),
        layout,
        memory: Default::default(),
        every: point.every.or(device.every).unwrap_or(link.every).get(),
        unit: point.unit.as_deref().map(Unit::from),
        write: point.write.as_ref().map(|write| Arc::new(WriteRule::from(&**write))),
    }
}

#[async_trait]
impl Driver for Modbus {
    fn name(&self) -> &LinkId {
        &self.link.name
    }

    fn kind(&self) -> &'static str {
        KIND
    }

    fn catalogue(&self) -> Vec<PointInfo> {
        let points = self.link.devices.iter().flat_map(|device| device.points.iter().map(move |point| (device, point)));
        let info = |(device, point): (&Device, &Point)| PointInfo {
            device: device.name.clone(),
            point: point.name.clone(),
            unit: point.unit.clone(),
            labels: wharf_contract::Labels::NONE,
            write: point.write.clone(),
        };
        points.map(info).collect()
    }

    fn plan(&self) -> Option<LinkPlan> {
        let plan = plan::load::explain(&self.link, &self.memory.look(&self.link));
        let refused = plan.devices.iter().any(|device| !device.refuses.is_empty());
        Some(LinkPlan { forget: self.memory.how_to_forget().filter(|_| refused), ..plan })
    }

    async fn run(&self, port: &mut Port) -> Result<(), DriverError> {
        self.counters.recall(&self.link).await;
        let ended = tokio::select! {
            ended = session::run(&self.link, &self.memory, port) => ended,
            never = self.counters.keep_up(&self.link) => match never {},
            never = self.memory.keep_up(&self.link) => match never {},
        };
        let kept = async { tokio::join!(self.counters.keep(&self.link), self.memory.keep(&self.link)) };
        if timeout(LAST_WRITE, kept).await.is_err() {
            warn!(link = %self.link.name, waited = ?LAST_WRITE, "the disk does not take what counters and devices have told; it is not waited for any longer");
        }
        ended
    }
}
