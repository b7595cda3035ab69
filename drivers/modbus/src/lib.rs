//! The Modbus driver of wharf, over TCP.
//!
//! A [`Modbus`] owns one connection: to one device, or to a gateway with many devices behind it.
//! It reads their points in few requests at a steady rhythm, writes the points that the site file
//! opens for writing, and keeps a silent device from taking its neighbours' time.
//!
//! From the site file to the wire:
//!
//! 1. `config` decodes and checks the settings; `link` is what they come to.
//! 2. `plan` joins points into block reads; `schedule` says when each is due; `patience` says how
//!    long a silent device is left alone.
//! 3. `session` reads the blocks, `command` obeys, `tell` hands over what there is to say, and
//!    `told` keeps failures from being told over and over.
//! 4. `line` carries one request and its answer; `decode` and `encode` know what the bits mean.
//!
//! All but `session`, `command`, `tell` and `line` are pure. Where a moment matters it comes in as an
//! argument.

mod command;
mod config;
mod decode;
mod encode;
mod line;
mod link;
mod patience;
mod plan;
mod schedule;
mod session;
mod tell;
mod told;

use wharf_contract::{Driver, DriverError, LinkId, PointInfo, Port, Unit, WriteRule, async_trait};

pub use config::{ByteOrder, DeviceSettings, Interval, LinkSettings, PointSettings, PointType, WordOrder};

use link::{Device, Link, Point};

/// The protocol, as the site file spells its section.
pub const KIND: &str = "modbus";

/// One Modbus link.
#[derive(Debug)]
pub struct Modbus {
    link: Link,
}

impl Modbus {
    /// The driver for settings that were decoded, and thereby checked. Touches no hardware.
    pub fn new(name: LinkId, settings: LinkSettings) -> Self {
        let devices = settings.devices.iter().map(|(name, device)| Device {
            name: name.into(),
            unit_id: device.unit,
            points: device
                .points
                .iter()
                .map(|(name, point)| build_point(name.into(), point, device, &settings))
                .collect(),
        });
        let devices = devices.collect();
        Self {
            link: Link {
                name,
                host: settings.tcp.host().to_owned(),
                tcp_port: settings.tcp.port(),
                timeout: settings.timeout.get(),
                devices,
            },
        }
    }
}

fn build_point(
    name: wharf_contract::PointId,
    point: &PointSettings,
    device: &DeviceSettings,
    link: &LinkSettings,
) -> Point {
    let (table, address) = point.place();
    Point {
        name,
        table,
        address,
        layout: point.layout(),
        every: point.every.or(device.every).unwrap_or(link.every).get(),
        unit: point.unit.as_deref().map(Unit::from),
        write: point.write.as_ref().map(WriteRule::from),
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

    async fn run(&self, port: &mut Port) -> Result<(), DriverError> {
        session::run(&self.link, port).await
    }
}
