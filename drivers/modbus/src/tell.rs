//! What a session says north: readings, who answers, how the link is. Failures that last are told
//! when they begin and then now and again, by what `told` remembers.

use std::time::SystemTime;

use tokio::time::Instant;
use wharf_contract::{Event, Health, Port, Reading};

use crate::decode::{Raw, decode};
use crate::link::{Device, Point};
use crate::plan::Block;
use crate::session::Session;

impl Session<'_> {
    /// The device spoke.
    pub(crate) async fn tell_alive(&mut self, device: usize, port: &Port) {
        let state = &mut self.states[device];
        state.reason.clear();
        if state.told.alive(true) {
            let name = &self.link.devices[device].name;
            port.emit(Event::Device { device: name.clone(), alive: true, reason: None }).await;
        }
    }

    /// The device did not speak, so none of its points has a value.
    pub(crate) async fn tell_silence(&mut self, device: usize, reason: &str, port: &Port) {
        let state = &mut self.states[device];
        state.reason = reason.to_owned();
        if state.told.alive(false) {
            let name = &self.link.devices[device].name;
            port.emit(Event::Device { device: name.clone(), alive: false, reason: Some(reason.to_owned()) }).await;
        }
        for point in 0..self.link.devices[device].points.len() {
            self.tell_bad(device, point, reason, port).await;
        }
    }

    /// Hands over what was read of a point, as a good or a bad reading.
    pub(crate) async fn tell_reading(
        &mut self,
        device: usize,
        point: usize,
        raw: &Raw,
        taken_at: SystemTime,
        port: &Port,
    ) {
        let Device { name, points, .. } = &self.link.devices[device];
        let spec = &points[point];
        match decode(raw, &spec.layout) {
            Ok(value) => {
                self.states[device].told.good(point);
                let reading = Reading::good(name.clone(), spec.name.clone(), value, taken_at);
                port.emit(Event::Reading(with_unit(reading, spec))).await;
            }
            Err(reason) => self.tell_bad(device, point, &reason, port).await,
        }
    }

    /// None of the block's points could be read.
    pub(crate) async fn tell_block_bad(&mut self, block: &Block, reason: &str, port: &Port) {
        for slot in &block.slots {
            self.tell_bad(block.device, slot.point, reason, port).await;
        }
    }

    async fn tell_bad(&mut self, device: usize, point: usize, reason: &str, port: &Port) {
        if self.states[device].told.bad(point, Instant::now()) {
            let Device { name, points, .. } = &self.link.devices[device];
            let spec = &points[point];
            let reading = Reading::bad(name.clone(), spec.name.clone(), reason, SystemTime::now());
            port.emit(Event::Reading(with_unit(reading, spec))).await;
        }
    }

    /// Says how the link is: degraded while any device is silent.
    pub(crate) fn report(&self, port: &Port) {
        let states = self.link.devices.iter().zip(&self.states);
        let silent: Vec<_> = states
            .filter(|(_, state)| state.told.is_silent())
            .map(|(device, state)| format!("{} does not answer: {}", device.name, state.reason))
            .collect();
        port.report(if silent.is_empty() { Health::Online } else { Health::Degraded(silent.join("; ")) });
    }
}

fn with_unit(reading: Reading, point: &Point) -> Reading {
    Reading { unit: point.unit.clone(), ..reading }
}
