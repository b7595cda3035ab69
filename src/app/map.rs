//! The mapping at work: events in, messages out, until every driver is gone.

use std::collections::HashMap;
use std::time::SystemTime;

use tokio::sync::mpsc;
use tracing::{debug, info, warn};
use wharf_contract::{DeviceId, Event, LinkEvent, LinkId, Overrun, Reading};

use crate::clock::Clock;
use crate::health;
use crate::mapping::{LinkFacts, Mapped, Mapping};
use crate::north::{North, Route, Routes, To};
use crate::topics::Topics;

/// How many events are taken at once.
const EVENTS_AT_ONCE: usize = 256;

/// Turns events into messages and sends each where it belongs.
pub struct Mapper {
    mapping: Mapping,
    links: HashMap<LinkId, Routes>,
    north: North,
    topics: Topics,
    clock: Clock,
    /// Readings that uplinks did not get. When the gateway stops while a queue has no room, it
    /// will have none for what is behind either, so from the first on they are only counted.
    lost: Vec<(Route, Overrun)>,
}

impl Mapper {
    /// A mapper for events of these links.
    pub fn new(mapping: Mapping, links: Vec<LinkFacts>, north: North, topics: Topics, clock: Clock) -> Self {
        let links = links.into_iter().map(|facts| (facts.link.clone(), north.routes(facts))).collect();
        Self { mapping, links, north, topics, clock, lost: Vec::new() }
    }

    /// Runs until every driver is gone and nothing waits any more. An uplink that is told to block
    /// holds it up; the events that wait meanwhile are bounded by their channel.
    pub async fn run(mut self, mut events: mpsc::Receiver<LinkEvent>) {
        let mut batch = Vec::with_capacity(EVENTS_AT_ONCE);
        while events.recv_many(&mut batch, EVENTS_AT_ONCE).await > 0 {
            for LinkEvent { link, event } in batch.drain(..) {
                match event {
                    Event::Reading(mut reading) if self.lost.is_empty() => {
                        // The clock may have been set since a driver looked at it.
                        reading.taken_at = self.clock.settle(reading.taken_at);
                        self.carry(&link, &reading).await;
                    }
                    Event::Reading(reading) => {
                        let route = self.links.get_mut(&link).map(|routes| routes.reading(&reading));
                        self.lose(route.unwrap_or_default(), reading.taken_at);
                    }
                    Event::Device { device, alive, reason } => {
                        self.tell(&link, &device, alive, reason.as_deref()).await;
                    }
                }
            }
        }
        for (route, lost) in self.lost {
            self.north.count_lost(route, lost.count, lost.from, lost.to);
        }
    }

    async fn carry(&mut self, link: &LinkId, reading: &Reading) {
        let Some(routes) = self.links.get_mut(link) else { return };
        match self.mapping.apply(routes.facts(), reading, self.clock.is_sure()) {
            Mapped::Message(message) => {
                let without = self.north.carry(message, routes.reading(reading)).await;
                self.lose(without, reading.taken_at);
            }
            Mapped::Dropped => {}
            Mapped::Unsayable => {
                debug!(%link, device = %reading.device, point = %reading.point, "no value to publish");
            }
        }
    }

    fn lose(&mut self, route: Route, taken_at: SystemTime) {
        if route.is_empty() {
            return;
        }
        let one = Overrun { count: 1, from: taken_at, to: taken_at };
        match self.lost.iter_mut().find(|(known, _)| *known == route) {
            Some((_, lost)) => *lost = lost.and(one),
            None => self.lost.push((route, one)),
        }
    }

    async fn tell(&self, link: &LinkId, device: &DeviceId, alive: bool, reason: Option<&str>) {
        if alive {
            info!(%link, %device, "device answers");
        } else {
            warn!(%link, %device, reason, "device does not answer");
        }
        let Some(routes) = self.links.get(link) else { return };
        let message = health::device_message(&self.topics, device, alive, reason);
        self.north.publish(message, &To::Some(routes.device(device))).await;
    }
}
