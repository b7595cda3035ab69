//! What becomes of a message from the network.

use std::time::SystemTime;

use tokio::time::Instant;
use tracing::{debug, info};
use wharf_contract::{Event, Health, Port};

use super::Session;
use crate::message::{self, GATEWAY, Message};
use crate::nodes::by_number;
use crate::{reading, types};

impl Session<'_> {
    /// Takes in one message. What is to be said to it is added to what is said next.
    pub(super) async fn hear(&mut self, message: &Message, taken_at: SystemTime, port: &Port) {
        let now = Instant::now();
        self.pulse.heard(now);
        (self.only_noise, self.told_silent) = (false, false);
        let rival = || self.link.controller().rival(now).map(str::to_owned);
        let clash = self.link.store.registry().clash();
        let trouble = self.link.store.why_unread().or(clash).or_else(rival);
        port.report(trouble.map_or(Health::Online, Health::Degraded));
        self.link.outbox().hear(message, now);
        if message.ack {
            // It confirms a command and is never a reading: the node only repeats what it was told.
            port.counts().add("echoes", 1);
            return;
        }
        let had_name = self.has_name(message.node);
        self.govern(message, taken_at, port).await;
        if self.is_about_the_gateway(message, port) {
            // What else it is, it says only when it starts: this tells that it is there.
            if message.node == GATEWAY {
                self.meet(message, had_name, port).await;
            }
            return;
        }
        self.meet(message, had_name, port).await;
        if self.is_about_firmware(message, taken_at, port).await {
            return;
        }
        let reading = reading::reading(&self.link.nodes, &self.link.store.registry(), message, taken_at);
        port.emit(Event::Reading(reading)).await;
    }

    /// Keeps back what the gateway says for the log, and what it says about itself.
    fn is_about_the_gateway(&self, message: &Message, port: &Port) -> bool {
        if message.command != message::Command::Internal {
            return false;
        }
        let (link, payload) = (port.link(), message.payload.as_str());
        match message.kind {
            types::LOG => {
                port.counts().add("logs", 1);
                debug!(%link, node = message.node, payload, "gateway log");
            }
            types::READY => info!(%link, payload, "gateway ready"),
            types::VERSION if message.node == GATEWAY => debug!(%link, version = payload, "gateway version"),
            _ => return false,
        }
        true
    }

    /// Whether a node is called by what it said of itself.
    fn has_name(&self, node: u8) -> bool {
        self.link.store.registry().device_name(node).is_some()
    }

    /// Says so when a node is heard for the first time in this session, or has got another name. `had_name`:
    /// whether it was called by what it said of itself before this message.
    async fn meet(&mut self, message: &Message, had_name: bool, port: &Port) {
        let (is_device, is_named) = (self.is_device(message.node), !had_name && self.has_name(message.node));
        let Some(known) = self.seen.get_mut(usize::from(message.node)).filter(|_| is_device) else { return };
        let may_be_renamed = message.command == message::Command::Internal && message.kind == types::SKETCH_NAME;
        if known.is_none() || may_be_renamed {
            let device = self.link.nodes.device(message.node, &self.link.store.registry());
            if *known != Some(device.clone()) {
                // It may have been told by its number before this session, too.
                let by_number = || is_named.then(|| by_number(port.link(), message.node).into());
                if let Some(before) = known.replace(device.clone()).or_else(by_number) {
                    port.emit(Event::Renamed { from: before, to: device.clone() }).await;
                }
                let reason = self.why_late(message.node);
                port.emit(Event::Device { device, alive: true, reason }).await;
            }
        }
        if message.command == message::Command::Presentation {
            let sensor = types::sensor_name(message.kind).unwrap_or("unknown");
            debug!(link = %port.link(), node = message.node, child = message.child, sensor, "presented");
        }
    }

    /// Whether there is a device behind a number. 255 is a node that has none yet, or everybody; and most
    /// gateways only pass on, which the health of the link tells: one that has children is a device as well.
    fn is_device(&self, node: u8) -> bool {
        match node {
            message::SELF => false,
            GATEWAY => {
                let registry = self.link.store.registry();
                self.link.nodes.names(GATEWAY) || registry.node(GATEWAY).is_some_and(|it| !it.children.is_empty())
            }
            _ => true,
        }
    }
}
