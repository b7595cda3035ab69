//! What a session says north: readings, who answers, how the link is. Failures that last are told
//! when they begin and then now and again, by what `told` remembers.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use wharf_contract::{Event, Health, Port, Quality, Reading};

use crate::decode::Raw;
use crate::link::{Device, Point};
use crate::plan::Block;
use crate::session::Session;

/// How many silent devices the link's health names; of the others it says how many they are.
const NAMED: usize = 5;

impl Session<'_> {
    /// The device spoke.
    pub(crate) async fn tell_alive(&mut self, device: usize, port: &Port) {
        let state = &mut self.states[device];
        state.reason.clear();
        if state.told.alive(true) {
            state.rested = None;
            let name = &self.link.devices[device].name;
            port.emit(Event::Device { device: name.clone(), alive: true, reason: None }).await;
            self.report(port);
        }
    }

    /// The device answers, but so slowly that it is left alone more than it is asked.
    pub(crate) async fn tell_slow(&mut self, device: usize, took: Duration, rest: Duration, port: &Port) {
        let reason = format!(
            "it is asked less often, every {rest:.0?} or so: an answer takes it {took:.1?}, and the others would miss \
             their turns"
        );
        self.tell_of_answers(device, Some(reason), port).await;
    }

    /// The device does not answer slowly any more.
    pub(crate) async fn tell_quick(&mut self, device: usize, port: &Port) {
        self.tell_of_answers(device, None, port).await;
    }

    async fn tell_of_answers(&mut self, device: usize, reason: Option<String>, port: &Port) {
        let device = self.link.devices[device].name.clone();
        port.emit(Event::Device { device, alive: true, reason }).await;
    }

    /// The device did not speak once: what was read before is the last that is known.
    pub(crate) async fn tell_stale(&mut self, device: usize, reason: &str, port: &Port) {
        let Device { name, points, .. } = &self.link.devices[device];
        for (index, spec) in points.iter().enumerate() {
            let Some((value, taken_at)) = self.states[device].told.stale(index) else { continue };
            let reading = Reading::good(name.clone(), spec.name.clone(), value, taken_at);
            let reading = Reading { quality: Quality::Stale, reason: Some(reason.into()), ..reading };
            port.emit(Event::Reading(with_unit(reading, spec))).await;
        }
    }

    /// The device does not speak, so none of its points has a value.
    pub(crate) async fn tell_silence(&mut self, device: usize, reason: &str, port: &Port) {
        let state = &mut self.states[device];
        let news = state.told.alive(false);
        if news || state.reason != reason {
            reason.clone_into(&mut state.reason);
            self.report(port);
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
        match spec.value(raw) {
            Ok(value) => {
                self.states[device].told.good(point, &value, taken_at);
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

    /// Says how the link is: degraded while any device is silent. Without a connection there is no link
    /// to say anything of; if none comes about, the session's end tells.
    pub(crate) fn report(&self, port: &Port) {
        if !self.line.is_connected() {
            return;
        }
        let states = self.link.devices.iter().zip(&self.states);
        let silent: Vec<_> = states.filter(|(_, state)| state.told.is_silent()).collect();
        if silent.is_empty() {
            port.report(Health::Online);
            return;
        }
        let words = |(device, state): &(&Device, &crate::session::State)| {
            format!("{} does not answer: {}", device.name, state.reason)
        };
        let mut reasons: Vec<String> = silent.iter().take(NAMED).map(words).collect();
        if silent.len() > NAMED {
            reasons.push(format!("{} more do not answer", silent.len() - NAMED));
        }
        port.report(Health::Degraded(reasons.join("; ")));
    }
}

fn with_unit(reading: Reading, point: &Point) -> Reading {
    Reading { unit: point.unit.clone(), ..reading }
}
