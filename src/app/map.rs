//! The mapping at work: events in, messages out, until every driver is gone.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::SystemTime;

use tokio::sync::mpsc;
use tracing::{debug, info, warn};
use wharf_contract::{DeviceId, Event, LinkEvent, LinkId, Overrun, Reading};

use crate::classic::feed::Feed;
use crate::clock::Clock;
use crate::health;
use crate::mapping::{LinkFacts, Mapping};
use crate::message::Message;
use crate::north::{North, Route, Routes, To};
use crate::topics::Topics;

/// How many events are taken at once.
const EVENTS_AT_ONCE: usize = 256;

/// Why a device is not there any more once a gateway has stopped.
const STOPPING: &str = "the gateway is stopping";

/// Turns events into messages and sends each where it belongs.
pub struct Mapper {
    mapping: Mapping,
    links: HashMap<LinkId, Routes>,
    north: North,
    topics: Topics,
    clock: Clock,
    feed: Feed,
    events: mpsc::Receiver<LinkEvent>,
    /// Taken from the channel, and not looked at yet.
    batch: VecDeque<LinkEvent>,
    /// The reading on its way north: who takes it, when it was taken, and how many messages of it have not
    /// arrived.
    in_hand: Option<(Route, SystemTime, u64)>,
    /// Whether each device answers and since when, by what its driver has said of it: as many as there are
    /// at most.
    devices: BTreeMap<(LinkId, DeviceId), (bool, SystemTime)>,
    /// Readings that uplinks did not get. When the gateway stops while a queue has no room, it
    /// will have none for what is behind either, so from the first on they are only counted.
    lost: Vec<(Route, Overrun)>,
}

impl Mapper {
    /// A mapper for events of these links.
    pub fn new(
        mapping: Mapping,
        links: Vec<LinkFacts>,
        north: North,
        topics: Topics,
        clock: Clock,
        feed: Feed,
        events: mpsc::Receiver<LinkEvent>,
    ) -> Self {
        let links = links.into_iter().map(|facts| (facts.link.clone(), north.routes(facts))).collect();
        let (batch, in_hand, lost) = (VecDeque::new(), None, Vec::new());
        Self { mapping, links, north, topics, clock, feed, events, batch, in_hand, devices: BTreeMap::new(), lost }
    }

    /// Runs until every driver is gone and nothing waits any more. An uplink that is told to block
    /// holds it up; the events that wait meanwhile are bounded by their channel. However it ends,
    /// what it had taken in and not passed on is counted as lost.
    pub async fn run(mut self) {
        let mut received = Vec::with_capacity(EVENTS_AT_ONCE);
        while self.events.recv_many(&mut received, EVENTS_AT_ONCE).await > 0 {
            self.batch.extend(received.drain(..));
            while let Some(LinkEvent { link, event }) = self.batch.pop_front() {
                match event {
                    Event::Reading(reading) if self.lost.is_empty() => self.carry(&link, reading).await,
                    Event::Reading(reading) => self.lose_reading(&link, &reading),
                    Event::Renamed { from, to } => self.rename(&link, from, &to).await,
                    Event::Device { device, alive, reason } => {
                        match (alive, &reason) {
                            (true, None) => info!(%link, %device, "device online"),
                            (true, Some(reason)) => warn!(%link, %device, reason, "device online, with trouble"),
                            // Nobody has to hear of each device that the gateway itself takes leave of.
                            (false, Some(reason)) if **reason == *STOPPING => debug!(%link, %device, "device left"),
                            (false, _) => warn!(%link, %device, reason, "device offline"),
                        }
                        if let Some(routes) = self.links.get(&link) {
                            self.feed.device(routes.facts(), &device, alive);
                        }
                        let now = (alive, SystemTime::now());
                        let known = self.devices.entry((link.clone(), device.clone())).or_insert(now);
                        // There may be more to say of a device that is as it was.
                        if known.0 != alive {
                            *known = now;
                        }
                        let state = *known;
                        self.tell(&link, &device, state, reason.as_deref()).await;
                    }
                }
            }
        }
        // The drivers are gone, and what is retained of their devices would say `online` for ever. The
        // links take their leave in the same words.
        let stopped = (false, SystemTime::now());
        for ((link, device), _) in std::mem::take(&mut self.devices).into_iter().filter(|(_, (alive, _))| *alive) {
            self.tell(&link, &device, stopped, Some(STOPPING)).await;
        }
    }

    async fn carry(&mut self, link: &LinkId, mut reading: Reading) {
        let Some(routes) = self.links.get_mut(link) else { return };
        let route = routes.reading(&reading);
        self.feed.show(routes.facts(), &reading, || self.mapping.is_presented(routes.facts(), &reading));
        let (mapping, clock, facts, shown) = (&self.mapping, &self.clock, routes.facts(), reading.taken_at);
        let ways = mapping.publications(facts, &reading);
        let (mut left, mut lost) = (ways.len() as u64, Vec::new());
        for publish in ways {
            let mut say = || {
                // The clock may have been set since a driver looked at it.
                reading.taken_at = clock.settle(shown);
                mapping.message(publish, facts, &reading, clock.is_sure())
            };
            if let Some(message) = say() {
                self.in_hand = Some((route, shown, left));
                lost.push(self.north.carry(message, route, say).await);
            } else {
                debug!(%link, device = %reading.device, point = %reading.point, "no value to publish");
            }
            left -= 1;
        }
        self.in_hand = None;
        let taken_at = clock.settle(shown);
        lost.into_iter().for_each(|without| self.lose(without, 1, taken_at));
    }

    fn lose_reading(&mut self, link: &LinkId, reading: &Reading) {
        let Some(routes) = self.links.get_mut(link) else { return };
        let route = routes.reading(reading);
        let messages = self.mapping.publications(routes.facts(), reading).len();
        self.lose(route, messages as u64, self.clock.settle(reading.taken_at));
    }

    /// A device is called otherwise from now on. What is retained of it under its old name would say
    /// `online` or `offline` of no device for ever, so it is taken back.
    async fn rename(&mut self, link: &LinkId, from: DeviceId, to: &DeviceId) {
        info!(%link, old = %from, new = %to, "device renamed");
        if let Some(routes) = self.links.get(link) {
            self.feed.device(routes.facts(), &from, false);
            let nothing = Message::new(self.topics.device(&from), Vec::new()).retained();
            self.north.publish(nothing, &To::Some(routes.device(&from))).await;
        }
        self.devices.remove(&(link.clone(), from));
    }

    /// Counts messages of one reading that did not arrive.
    fn lose(&mut self, route: Route, count: u64, taken_at: SystemTime) {
        if route.is_empty() || count == 0 {
            return;
        }
        let one = Overrun { count, from: taken_at, to: taken_at };
        match self.lost.iter_mut().find(|(known, _)| *known == route) {
            Some((_, lost)) => *lost = lost.and(one),
            None => self.lost.push((route, one)),
        }
    }

    async fn tell(&self, link: &LinkId, device: &DeviceId, state: (bool, SystemTime), reason: Option<&str>) {
        let Some(routes) = self.links.get(link) else { return };
        let message = health::device_message(&self.topics, device, state, reason);
        self.north.publish(message, &To::Some(routes.device(device))).await;
    }
}

impl Drop for Mapper {
    /// Counts what uplinks did not get. Here, because the mapping may have to be ended.
    fn drop(&mut self) {
        if let Some((route, taken_at, left)) = self.in_hand.take() {
            self.lose(route, left, self.clock.settle(taken_at));
        }
        while let Some(LinkEvent { link, event }) = self.batch.pop_front().or_else(|| self.events.try_recv().ok()) {
            if let Event::Reading(reading) = event {
                self.lose_reading(&link, &reading);
            }
        }
        for (route, lost) in std::mem::take(&mut self.lost) {
            self.north.count_lost(route, lost.count, lost.from, lost.to);
        }
    }
}

#[cfg(test)]
mod tests;
